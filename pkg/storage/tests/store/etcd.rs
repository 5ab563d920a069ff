//! The etcd engine.
