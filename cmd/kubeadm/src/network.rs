//! Names and addresses of this machine and of the service network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// A network of services.
#[derive(Clone, Copy, Debug)]
pub struct ServiceNet {
    base: IpAddr,
}

impl ServiceNet {
    /// Parses `address/length` and clears the host bits.
    pub fn parse(text: &str) -> Result<ServiceNet, String> {
        let bad = || format!("couldn't parse subnet {text:?}");
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let length: u32 = length.parse().map_err(|_| bad())?;
        let (bits, base) = match address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(length)).unwrap_or(0);
                (32, IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask)))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(length)).unwrap_or(0);
                (128, IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask)))
            }
        };
        if length > bits {
            return Err(bad());
        }
        if length + 2 > bits {
            return Err(format!("subnet {text} is too small for services"));
        }
        Ok(ServiceNet { base })
    }

    /// The first address that is not the network's own.
    pub fn first(self) -> IpAddr {
        match self.base {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() + 1)),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() + 1)),
        }
    }
}

/// The host's name, in lower case.
pub fn host_name() -> Result<String, String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(|error| format!("cannot read the host name: {error}"))?;
    Ok(name.trim().to_lowercase())
}

/// The address from which this machine would reach others. Sends nothing: connecting a datagram socket only asks the
/// routing table. The targets are addresses for documentation.
pub fn default_address() -> Result<IpAddr, String> {
    let ask = |from: &str, to: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_unspecified() && !address.is_loopback()).then_some(address)
    };
    ask("0.0.0.0", "192.0.2.1")
        .or_else(|| ask("::", "2001:db8::1"))
        .ok_or_else(|| "unable to select an IP from default routes: set --apiserver-advertise-address".to_owned())
}

/// Whether the text is a DNS subdomain by RFC 1123.
pub fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        label.len() <= 63
            && label.bytes().all(|byte| plain(byte) || byte == b'-')
            && label.bytes().next().is_some_and(plain)
            && label.bytes().last().is_some_and(plain)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Host and port of `host`, `host:port`, `[v6]:port` or a bare v6 address.
pub fn parse_endpoint(text: &str, default_port: u16) -> Result<(String, u16), String> {
    let bad_port = |port: &str| format!("port {port:?} must be a valid number between 1 and 65535, inclusive");
    let (host, port) = if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(|| format!("missing ']' in address {text:?}"))?;
        (host, port.strip_prefix(':'))
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    if host.parse::<IpAddr>().is_err() && !is_dns_name(host) {
        return Err(format!("{host:?} is neither an IP address nor a DNS name"));
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|number| *number > 0).ok_or_else(|| bad_port(port))?,
    };
    Ok((host.to_owned(), port))
}

/// `https://host:port`, with brackets where the host is an IPv6 address.
pub fn url(host: &str, port: u16) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(ip) => format!("https://[{ip}]:{port}"),
        Err(_) => format!("https://{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_service_address() {
        for (text, first) in
            [("10.96.0.0/12", "10.96.0.1"), ("10.96.7.9/16", "10.96.0.1"), ("fd00:1::/112", "fd00:1::1"), ("0.0.0.0/0", "0.0.0.1")]
        {
            assert_eq!(ServiceNet::parse(text).unwrap().first().to_string(), first, "{text}");
        }
        for text in ["", "10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/31", "fd00::/127"] {
            assert!(ServiceNet::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_are_hosts_with_or_without_port() {
        for (text, expected) in [
            ("a.b", Ok(("a.b", 6443))),
            ("a.b:8443", Ok(("a.b", 8443))),
            ("10.0.0.1:1", Ok(("10.0.0.1", 1))),
            ("fd00::1", Ok(("fd00::1", 6443))),
            ("[fd00::1]:8443", Ok(("fd00::1", 8443))),
            ("a_b", Err("\"a_b\" is neither an IP address nor a DNS name")),
            ("a:0", Err("port \"0\" must be a valid number between 1 and 65535, inclusive")),
        ] {
            let got = parse_endpoint(text, 6443);
            assert_eq!(got.as_ref().map(|(host, port)| (host.as_str(), *port)).map_err(String::as_str), expected, "{text}");
        }
        assert_eq!(url("fd00::1", 1), "https://[fd00::1]:1");
    }
}
