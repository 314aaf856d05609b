//! How much of the network around a client a grant of a door covers.

use core::net::IpAddr;

use crate::limits::{REACH_V4_MIN, REACH_V6_MIN};
use crate::network::Network;

/// How much of the network around a client a grant of a door covers, in leading bits of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Of an IPv4 source; 32 is that address alone.
    pub v4: u8,
    /// Of an IPv6 source; 128 is that address alone.
    pub v6: u8,
}

impl Reach {
    /// Who knocked, and nobody else.
    pub const SOURCE_ALONE: Reach = Reach { v4: 32, v6: 128 };

    /// What a grant to `source` covers. Who comes with an address of the link alone gets it alone: its
    /// network is every link, and nobody is renumbered there. So does who comes with one that no packet
    /// has (RFC 4291, section 2.5.5.2).
    pub fn network(self, source: IpAddr) -> Network {
        match source {
            IpAddr::V4(v4) if v4.is_link_local() => Network::host(source),
            IpAddr::V4(_) => Network::around(source, self.v4),
            IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some() => {
                Network::host(source)
            }
            IpAddr::V6(_) => Network::around(source, self.v6),
        }
    }

    /// Whether grants to `source` are made: it is one address alone, or as wide as this says.
    pub fn holds(self, source: Network) -> bool {
        source.is_host() || self.network(source.address) == source
    }

    /// Whether a grant may cover others than who knocked.
    pub const fn is_wide(self) -> bool {
        self.v4 < Self::SOURCE_ALONE.v4 || self.v6 < Self::SOURCE_ALONE.v6
    }

    /// Whether a grant may be so wide.
    pub(super) const fn is_allowed(self) -> bool {
        let v4 = REACH_V4_MIN <= self.v4 && self.v4 <= Self::SOURCE_ALONE.v4;
        v4 && REACH_V6_MIN <= self.v6 && self.v6 <= Self::SOURCE_ALONE.v6
    }

    /// Whether the firewall can hold grants of both beside each other: for each family, one width
    /// besides that of a single address.
    pub(super) const fn agrees_with(self, other: Reach) -> bool {
        let alone = Self::SOURCE_ALONE;
        let v4 = self.v4 == other.v4 || self.v4 == alone.v4 || other.v4 == alone.v4;
        v4 && (self.v6 == other.v6 || self.v6 == alone.v6 || other.v6 == alone.v6)
    }

    /// The wider one for each family.
    #[must_use]
    pub(super) fn widest(self, other: Reach) -> Reach {
        Reach { v4: self.v4.min(other.v4), v6: self.v6.min(other.v6) }
    }
}
