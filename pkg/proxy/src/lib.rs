//! kube-proxy: makes Services reachable on a node, by rules in the kernel.
//!
//! Pure part: [`service`] (what is known of a Service), [`topology`] (which endpoints to use), [`nftables::rules`] (their
//! rules) and [`nftables::table`] (the transaction to them). Around it: conversion from API objects, the loop that
//! follows the API server and keeps the kernel up to date, health checks, metrics.
//! It never proxies a byte itself, and it writes nothing to the API.
//!
//! Upstream: pkg/proxy and cmd/kube-proxy.

pub mod options;

pub mod config;
pub mod convert;
pub mod service;
pub mod topology;

pub mod nftables;

pub mod changes;
pub mod conntrack;
pub mod health;
pub mod metrics;
pub mod sync;
pub mod watch;

pub mod app;
pub mod system;
