//! A machine on the laboratory's switch.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};

use crate::frame::Mac;
use crate::namespace::Namespace;

/// A namespace with `eth0` on the switch. Addresses are from the ranges reserved for benchmarks
/// (RFC 2544, `198.18.0.0/15`) and documentation (RFC 3849, `2001:db8::/32`).
#[derive(Clone, Debug)]
pub struct Host {
    /// Where it lives.
    pub namespace: Namespace,
    /// Link-layer address of `eth0`.
    pub mac: Mac,
    /// IPv4 address on `eth0`.
    pub v4: Ipv4Addr,
    /// IPv6 address on `eth0`.
    pub v6: Ipv6Addr,
    number: u8,
}

impl Host {
    pub(crate) fn new(namespace: Namespace, mac: Mac, number: u8) -> Self {
        let v4 = Ipv4Addr::new(198, 18, 0, number);
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, number.into());
        Self { namespace, mac, v4, v6, number }
    }

    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// The address of the same family as `other`.
    pub fn address_like(&self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4.into() } else { self.v6.into() }
    }

    /// Gives the host `count` more IPv4 addresses that `peer` knows for good, and returns them:
    /// so many clients in one namespace.
    ///
    /// # Errors
    /// When `count` is over 250 or `ip` refuses.
    pub fn more_addresses(&self, count: usize, peer: &Host) -> Result<Vec<Ipv4Addr>> {
        let count =
            u8::try_from(count).ok().filter(|count| *count <= 250).context("at most 250 addresses")?;
        let addresses: Vec<Ipv4Addr> =
            (1..=count).map(|last| Ipv4Addr::new(198, 18, self.number, last)).collect();
        let (mut own, mut known) = (String::new(), String::new());
        for address in &addresses {
            let _ = writeln!(own, "addr add {address}/16 dev eth0");
            let _ = writeln!(known, "neigh replace {address} lladdr {} dev eth0 nud permanent", self.mac);
        }
        self.namespace.ip_batch(&own)?;
        peer.namespace.ip_batch(&known)?;
        Ok(addresses)
    }

    /// What another host must know about this one.
    pub(crate) fn neighbour_lines(&self) -> String {
        let Self { mac, v4, v6, .. } = self;
        format!(
            "neigh replace {v4} lladdr {mac} dev eth0 nud permanent\n\
             neigh replace {v6} lladdr {mac} dev eth0 nud permanent\n"
        )
    }
}
