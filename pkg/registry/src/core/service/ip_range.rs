//! [`IpRange`]: addresses that Services may have.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A CIDR with its host bits cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    network: IpAddr,
    length: u8,
}

/// Text that is no CIDR.
#[derive(Debug, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct ParseRangeError(String);

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl FromStr for IpRange {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = apimachinery::validation::net::parse_cidr_sloppy(text).ok_or_else(|| ParseRangeError(text.to_owned()))?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let host = u32::from(bits - length);
        let mask = if host >= 128 { 0 } else { u128::MAX << host };
        let range = Self { network: address, length };
        Ok(Self { network: range.make(number(address) & mask), length })
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

impl IpRange {
    /// `IPv4` or `IPv6`.
    pub fn family(&self) -> &'static str {
        family(self.network)
    }

    fn make(&self, number: u128) -> IpAddr {
        match self.network {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(number as u32)),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
        }
    }

    fn host_bits(&self) -> u32 {
        u32::from(if self.network.is_ipv4() { 32 - self.length } else { 128 - self.length })
    }

    /// How many addresses can be given out: not the network's own and, for IPv4, not the broadcast address. At most 2^64.
    pub fn size(&self) -> u64 {
        let all = if self.host_bits() >= 64 { u64::MAX } else { 1u64 << self.host_bits() };
        let kept_back = if self.network.is_ipv4() { 2 } else { 1 };
        all.saturating_sub(kept_back)
    }

    /// The address at an offset below [`IpRange::size`].
    pub fn address(&self, offset: u64) -> IpAddr {
        self.make(number(self.network) + 1 + u128::from(offset))
    }

    /// Whether the address is one that can be given out.
    pub fn contains(&self, address: IpAddr) -> bool {
        if address.is_ipv4() != self.network.is_ipv4() {
            return false;
        }
        number(address).checked_sub(number(self.network) + 1).is_some_and(|offset| offset < u128::from(self.size()))
    }

    /// Whether the address lies in the network, given out or not.
    pub fn covers(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && {
            let host = self.host_bits();
            host >= 128 || number(address) >> host == number(self.network) >> host
        }
    }

    /// The first addresses are left to Services that ask for one; so many.
    pub fn static_band(&self) -> u64 {
        let size = self.size();
        if size < 16 { 0 } else { (size / 16).clamp(16, 256).min(size) }
    }
}

/// `IPv4` or `IPv6`.
pub fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_addresses() {
        for (text, shown, size, first) in [
            ("10.96.0.1/16", "10.96.0.0/16", 65534, "10.96.0.1"),
            ("10.0.0.0/30", "10.0.0.0/30", 2, "10.0.0.1"),
            ("fd00::/112", "fd00::/112", 65535, "fd00::1"),
            ("fd00::/64", "fd00::/64", u64::MAX - 1, "fd00::1"),
        ] {
            let range: IpRange = text.parse().unwrap();
            assert_eq!((range.to_string().as_str(), range.size(), range.address(0).to_string().as_str()), (shown, size, first));
            assert!(range.contains(range.address(size - 1)) && !range.contains("10.95.0.1".parse().unwrap()));
        }
        let range: IpRange = "10.0.0.0/24".parse().unwrap();
        assert!(!range.contains("10.0.0.0".parse().unwrap()) && !range.contains("10.0.0.255".parse().unwrap()));
        assert!(range.covers("10.0.0.255".parse().unwrap()));
        assert_eq!(range.static_band(), 16);
        assert!("10.0.0.0".parse::<IpRange>().is_err());
    }
}
