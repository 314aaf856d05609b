//! Networks: the leading bits of an address.

use core::fmt;
use core::net::IpAddr;

/// A network: leading bits of an address (RFC 4632).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// Any address of it.
    pub address: IpAddr,
    /// Leading bits that count, 0 to 32 or 128; more are as many as there are.
    pub prefix: u8,
}

impl Network {
    /// The network of one address alone.
    pub const fn host(address: IpAddr) -> Self {
        Self { address, prefix: bits_of(address) }
    }

    /// The network of `prefix` bits that `address` is in, named by its lowest address: of all addresses
    /// of a network it is the same.
    pub fn around(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(bits_of(address));
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        Self { address, prefix }
    }

    /// Whether it is one address alone.
    pub const fn is_host(&self) -> bool {
        self.prefix >= bits_of(self.address)
    }

    /// Whether `source` is in it. An IPv4 address is in no IPv6 network.
    pub fn contains(&self, source: IpAddr) -> bool {
        match (self.address, source) {
            (IpAddr::V4(network), IpAddr::V4(source)) => {
                let host_bits = 32_u32.saturating_sub(u32::from(self.prefix));
                (network.to_bits() ^ source.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(source)) => {
                let host_bits = 128_u32.saturating_sub(u32::from(self.prefix));
                (network.to_bits() ^ source.to_bits()).checked_shr(host_bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self::host(address)
    }
}

impl fmt::Display for Network {
    /// `203.0.113.0/24`; one address alone as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            return self.address.fmt(f);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Bits of an address of this family.
const fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn around(address: &str, prefix: u8) -> Network {
        Network::around(address.parse().unwrap(), prefix)
    }

    #[test]
    fn neighbours_are_of_one_network() {
        for (address, prefix, shown) in [
            ("203.0.113.7", 24, "203.0.113.0/24"),
            ("203.0.113.7", 31, "203.0.113.6/31"),
            ("203.0.113.7", 32, "203.0.113.7"),
            ("203.0.113.7", 64, "203.0.113.7"),
            ("203.0.113.7", 16, "203.0.0.0/16"),
            ("203.0.113.7", 0, "0.0.0.0/0"),
            ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::/64"),
            ("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::/48"),
            ("2001:db8:1:2:3:4:5:6", 127, "2001:db8:1:2:3:4:5:6/127"),
            ("2001:db8:1:2:3:4:5:7", 127, "2001:db8:1:2:3:4:5:6/127"),
            ("2001:db8:1:2:3:4:5:7", 128, "2001:db8:1:2:3:4:5:7"),
            ("2001:db8:1:2:3:4:5:7", 0, "::/0"),
        ] {
            let network = around(address, prefix);
            assert_eq!(network.to_string(), shown);
            assert!(network.contains(address.parse().unwrap()), "{shown}");
            assert_eq!(network, Network::around(network.address, network.prefix), "named by its lowest");
        }
        assert_eq!(around("203.0.113.0", 24), around("203.0.113.255", 24));
        assert_ne!(around("203.0.113.0", 24), around("203.0.114.0", 24));
        assert_ne!(around("203.0.113.0", 24), around("203.0.113.0", 32), "its lowest address alone is less");
        assert!(!around("203.0.113.0", 24).contains("203.0.112.255".parse().unwrap()));
        assert!(!around("2001:db8::", 64).contains("2001:db8:0:1::".parse().unwrap()));
    }
}
