//! Port numbers, port names and addresses.

use std::net::IpAddr;

use apimachinery::IntOrString;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::{names, net};

use crate::validation::fields::extend_invalid;

/// 1 to 65535.
pub fn port_number(port: i32, path: &Path<'_>) -> ErrorList {
    names::is_port_number(port.into()).into_iter().map(|message| Error::invalid(path, port, message)).collect()
}

/// A number or a name.
pub fn port_number_or_name(port: &IntOrString, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    match port {
        IntOrString::Int(port) => errors.extend(port_number(*port, path)),
        IntOrString::String(name) => extend_invalid(&mut errors, path, name, names::is_port_name(name)),
    }
    errors
}

/// An address that traffic can be sent to: none that means this host, this link or everybody. What is no address at all is refused as well.
pub fn non_special_ip(text: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(address) = net::parse_ip_sloppy(text) else {
        return vec![Error::invalid(path, text, "must be a valid IP address")];
    };
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let link_local_multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    if address.is_unspecified() {
        errors.push(Error::invalid(path, text, format!("may not be unspecified ({address})")));
    }
    if address.is_loopback() {
        errors.push(Error::invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    if link_local {
        errors.push(Error::invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if link_local_multicast {
        errors.push(Error::invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"));
    }
    errors
}
