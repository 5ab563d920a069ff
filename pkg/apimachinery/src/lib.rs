//! The bottom of the house: what every component knows about API objects, with no I/O.

pub mod quantity;
pub mod value;

pub use quantity::Quantity;
pub use value::Value;
