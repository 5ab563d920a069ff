//! Addresses. Upstream: apimachinery `pkg/util/validation/ip.go`.

use std::net::{IpAddr, Ipv4Addr};

use super::field::{Error, ErrorList, Path};

/// An IP address as Kubernetes accepts it where old objects may hold odd spellings: leading zeros of IPv4 parts are decimal.
pub fn parse_ip_sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then_some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// Address and prefix length of `10.0.0.0/8`, with odd spellings of the address as in [`parse_ip_sloppy`].
pub fn parse_cidr_sloppy(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address = parse_ip_sloppy(address)?;
    if length.is_empty() || length.len() > 3 || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((address, length))
}

pub fn is_ip(path: &Path<'_>, value: &str) -> ErrorList {
    match parse_ip_sloppy(value) {
        Some(_) => Vec::new(),
        None => vec![Error::invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")],
    }
}

/// An IP address in a new object: canonical spelling only.
pub fn is_ip_strict(path: &Path<'_>, value: &str) -> ErrorList {
    let Some(address) = parse_ip_sloppy(value) else {
        return is_ip(path, value);
    };
    let mut errors = Vec::new();
    match address {
        IpAddr::V4(_) if value.parse::<IpAddr>().is_err() => errors.push(Error::invalid(path, value, "must not have leading 0s")),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            errors.push(Error::invalid(path, value, "must not be an IPv4-mapped IPv6 address"))
        }
        address if address.to_string() != value => {
            errors.push(Error::invalid(path, value, format!("must be in canonical form (\"{address}\")")));
        }
        _ => {}
    }
    errors
}

pub fn is_cidr(path: &Path<'_>, value: &str) -> ErrorList {
    match parse_cidr_sloppy(value) {
        Some(_) => Vec::new(),
        None => vec![Error::invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_addresses() {
        for (text, accepted) in [
            ("10.1.2.3", true),
            ("010.1.2.3", true),
            ("10.1.2", false),
            ("256.1.1.1", false),
            ("::1", true),
            ("fe80::1%eth0", false),
            ("", false),
        ] {
            assert_eq!(parse_ip_sloppy(text).is_some(), accepted, "{text}");
        }
        for (text, accepted) in [
            ("10.0.0.0/8", true),
            ("10.0.0.0/33", false),
            ("10.0.0.0", false),
            ("::/0", true),
            ("1.2.3.4/+8", false),
            ("1.2.3.4/255.0.0.0", false),
        ] {
            assert_eq!(parse_cidr_sloppy(text).is_some(), accepted, "{text}");
        }
        for (text, accepted) in [("10.1.2.3", true), ("010.1.2.3", false), ("::1", true), ("0::1", false), ("::ffff:1.2.3.4", false)] {
            assert_eq!(is_ip_strict(&Path::new("ip"), text).is_empty(), accepted, "{text}");
        }
    }
}
