//! The bottom of the house: what every component knows about API objects, with no I/O.
//!
//! Start reading in [`wire`], the traits every API type has; [`json`] and [`proto`] are its two encodings, [`schema`] its description.
//! Objects of which only the JSON is known are [`Value`]s: [`patch`] and [`apply`] change them, [`typed`] tells what the schema says of each
//! place, [`yaml`] reads and prints them. [`status`] is how failures are answered, [`validation`] how they are found.
//! Upstream: staging/src/k8s.io/apimachinery.

pub mod apply;
mod bytes;
pub mod fields;
pub mod gotext;
pub mod gvk;
mod intstr;
pub mod json;
pub mod labels;
mod list;
mod map;
pub mod meta;
pub mod names;
pub mod patch;
pub mod proto;
pub mod quantity;
pub mod schema;
pub mod status;
pub mod time;
pub mod typed;
pub mod validation;
pub mod value;
pub mod wire;
pub mod yaml;

pub use bytes::{ByteString, RawJson};
pub use intstr::IntOrString;
pub use list::List;
pub use map::Map;
pub use quantity::Quantity;
pub use status::StatusError;
pub use time::{Duration, MicroTime, Time};
pub use value::Value;
pub use wire::{Kind, ListResource, Message, Object, Resource};
