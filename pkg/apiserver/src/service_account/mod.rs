//! Service-account tokens: making them (TokenRequest, legacy secrets) and reading them. Upstream: pkg/serviceaccount.

pub mod claims;
pub mod jwt;
pub mod keys;

pub use claims::{Bound, Claims};
pub use keys::{KeyError, PublicKey, SigningKey, parse_public_keys};
