//! YAML as Kubernetes reads and writes it: YAML 1.1 in ([`parse`]), kubectl's `-o yaml` out ([`to_string`]).
//!
//! Upstream: sigs.k8s.io/yaml.

mod read;
mod resolve;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Parsed, YamlError, parse, parse_documents, parse_strict};
pub use write::{to_string, to_string_documents};
