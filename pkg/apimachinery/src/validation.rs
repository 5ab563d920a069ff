//! What makes a value valid, and how to say that it is not: field errors with paths ([`field`]) and the formats of names ([`names`]).
//!
//! The texts are upstream's, since users and programs match on them.

pub mod field;
pub mod names;
pub mod net;

pub use field::{BadValue, Error, ErrorList, ErrorType, Path};
