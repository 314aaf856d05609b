//! Doors that lead behind the gateway.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use postern_core::knock::ServicePort;
use postern_core::rule::RuleSet;

use super::Family;

/// A port of the gateway and the service it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leading {
    pub(super) family: Family,
    /// The door's only port.
    pub(super) port: ServicePort,
    /// The host behind the gateway.
    pub(super) host: IpAddr,
    /// Its port, of the same transport.
    pub(super) host_port: u16,
}

impl fmt::Display for Leading {
    /// `tcp/10022 to 192.168.10.5:22`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.port, SocketAddr::new(self.host, self.host_port))
    }
}

/// Every one of `rules`.
pub(super) fn leadings(rules: &RuleSet) -> impl Iterator<Item = Leading> + '_ {
    rules.doors().iter().filter_map(|door| {
        let behind = door.terms.behind?;
        let family = if behind.host.is_ipv4() { Family::V4 } else { Family::V6 };
        Some(Leading { family, port: *door.ports.first()?, host: behind.host, host_port: behind.port })
    })
}
