//! The two families of addresses.

use std::fmt;
use std::net::IpAddr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use postern_core::port::FirewallError;
use postern_core::rule::{Reach, RuleSet};

/// A family of addresses. Each has its own set of grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The families this kernel can receive: always IPv4, and IPv6 unless it has none at all.
    pub(super) fn of_this_kernel() -> &'static [Family] {
        let v6 = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        match v6 {
            Err(Errno::EAFNOSUPPORT) => &[Family::V4],
            _ => &[Family::V4, Family::V6],
        }
    }

    /// The family of `source`.
    ///
    /// # Errors
    /// An IPv4 address in IPv6 clothes (RFC 4291, section 2.5.5.2) comes from no wire; a grant for
    /// it would open nothing and is refused.
    pub(super) fn of_source(source: IpAddr) -> Result<Family, FirewallError> {
        match source {
            IpAddr::V4(_) => Ok(Family::V4),
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(FirewallError::Other(libc::EINVAL)),
            IpAddr::V6(_) => Ok(Family::V6),
        }
    }

    /// How wide grants of networks are by `rules`; `None` when there are none.
    pub(super) fn width(self, rules: &RuleSet) -> Option<u8> {
        let (alone, reach) = match self {
            Family::V4 => (Reach::SOURCE_ALONE.v4, rules.reach().v4),
            Family::V6 => (Reach::SOURCE_ALONE.v6, rules.reach().v6),
        };
        (reach < alone).then_some(reach)
    }

    /// The kernel's number (`NFPROTO_IPV4`, `NFPROTO_IPV6`).
    pub(super) const fn number(self) -> u8 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}
