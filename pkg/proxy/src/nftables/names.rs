//! Names of chains and sets: upstream's pattern, so that `nft list` reads alike.

use std::fmt::Write;
use std::sync::Arc;

use crate::service::{Endpoint, ServiceName, ServicePort};

/// Longest name of a chain or set that nft takes, less the terminating zero.
const LONGEST: usize = 127;

/// `PREFIX-HASH-namespace/name/protocol/port`
pub fn chain_name(prefix: &str, service: &ServiceName, port: &ServicePort) -> Arc<str> {
    let readable = port_path(service, port);
    finish(format!("{prefix}-{}-{readable}", hash(&readable)))
}

/// `PREFIX-HASH-namespace/name/protocol/port__address/port`
///
/// The affinity timeout goes into the hash: a set cannot change its timeout, so another timeout is another set.
pub fn endpoint_name(prefix: &str, service: &ServiceName, port: &ServicePort, endpoint: &Endpoint, timeout: u32) -> Arc<str> {
    let address = endpoint.ip.to_string().replace(':', ".");
    let readable = format!("{}__{address}/{}", port_path(service, port), endpoint.port);
    let hash = hash(&format!("{readable} {timeout}"));
    finish(format!("{prefix}-{hash}-{readable}"))
}

fn port_path(service: &ServiceName, port: &ServicePort) -> String {
    format!("{}/{}/{}/{}", service.namespace, service.name, port.protocol.as_str(), port.name)
}

fn finish(mut name: String) -> Arc<str> {
    if name.len() > LONGEST {
        name.truncate(LONGEST - 3);
        name.push_str("...");
    }
    name.into()
}

/// Eight letters that stay the same from one run to the next (FNV-1a, 40 bits of it, in base 32).
fn hash(text: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let folded = hash ^ (hash >> 40);
    (0..8).fold(String::new(), |mut letters, index| {
        let _ = write!(letters, "{}", ALPHABET[(folded >> (5 * index)) as usize & 31] as char);
        letters
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Protocol;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let service = ServiceName::new(&"n".repeat(63), &"s".repeat(63));
        let port = |name: &str| ServicePort { name: name.into(), protocol: Protocol::Tcp, port: 80, node_port: 0 };
        let (a, b) = (chain_name("service", &service, &port("a")), chain_name("service", &service, &port("b")));
        assert_eq!(a.len(), LONGEST);
        assert_ne!(a, b);
    }
}
