//! Meta types every object shares. `v1` is generated.

#[rustfmt::skip]
pub mod v1;
#[rustfmt::skip]
pub mod v1beta1;
#[rustfmt::skip]
pub mod version;
