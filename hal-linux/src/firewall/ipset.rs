//! The netlink protocol of IP sets (`linux/netfilter/ipset/ip_set.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;
use postern_core::knock::{ServicePort, Transport};
use postern_core::network::Network;

use super::{Family, Kind, LISTING_BYTES, Member};
use crate::netlink::{
    Attribute, Attributes, Encoder, Header, Message, NET_BYTE_ORDER, NetlinkError, NetlinkSocket, Subsystem,
    flags,
};

/// Octets of the longest command: a name of 31 and eight members of 64 with their addresses.
const COMMAND_BYTES: usize = 1024;

/// Protocol versions spoken here: 7 since Linux 4.20, 6 since 2.6.39 (`IPSET_PROTOCOL`).
const PROTOCOL_NEWEST: u8 = 7;
const PROTOCOL_OLDEST: u8 = 6;

/// Messages (`IPSET_CMD_*`).
mod command {
    pub(super) const PROTOCOL: u8 = 1;
    pub(super) const CREATE: u8 = 2;
    pub(super) const DESTROY: u8 = 3;
    pub(super) const FLUSH: u8 = 4;
    pub(super) const SWAP: u8 = 6;
    pub(super) const LIST: u8 = 7;
    pub(super) const ADD: u8 = 9;
    pub(super) const DELETE: u8 = 10;
}

/// Attributes of a command (`IPSET_ATTR_*`).
mod attr {
    pub(super) const PROTOCOL: u16 = 1;
    pub(super) const SET_NAME: u16 = 2;
    pub(super) const TYPE_NAME: u16 = 3;
    /// With `SWAP`.
    pub(super) const SET_NAME_2: u16 = 3;
    pub(super) const REVISION: u16 = 4;
    pub(super) const FAMILY: u16 = 5;
    pub(super) const DATA: u16 = 7;
    pub(super) const MEMBERS: u16 = 8;
    pub(super) const LINE: u16 = 9;
    pub(super) const PROTOCOL_OLDEST: u16 = 10;
}

/// Attributes of a set or a member (`IPSET_ATTR_*` inside `DATA`).
mod data {
    pub(super) const IP: u16 = 1;
    pub(super) const PREFIX: u16 = 3;
    pub(super) const PORT: u16 = 4;
    pub(super) const PORT_TO: u16 = 5;
    pub(super) const TIMEOUT: u16 = 6;
    pub(super) const TRANSPORT: u16 = 7;
    pub(super) const MEMBERS_MAX: u16 = 19;
    pub(super) const IPV4: u16 = 1;
    pub(super) const IPV6: u16 = 2;
}

/// Longest time-out the kernel takes, in seconds (`IPSET_MAX_TIMEOUT`).
const TIMEOUT_SECS_MAX: u32 = i32::MAX as u32 / 1000;

/// Time-out of a member that somebody adds by hand without one, in seconds: no door for ever.
const TIMEOUT_SECS_DEFAULT: u32 = 60;

/// `NFPROTO_UNSPEC`: sets of ports are of no family.
const NO_FAMILY: u8 = 0;

/// Speaks to the kernel's IP sets. Of the network namespace it was opened in.
#[derive(Debug)]
pub(super) struct IpSets {
    socket: NetlinkSocket,
    protocol: u8,
}

impl IpSets {
    /// Opens the way to the kernel. Nothing is asked yet.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let socket = NetlinkSocket::to_netfilter().map_err(NetlinkError::NotSent)?;
        Ok(Self { socket, protocol: PROTOCOL_NEWEST })
    }

    /// Agrees on a version of the protocol. Shows also whether the kernel has IP sets at all and
    /// whether this process may use them.
    pub(super) fn shake_hands(&mut self) -> Result<(), NetlinkError> {
        let (mut newest, mut oldest) = (0, None);
        let answered = self.command(
            command::PROTOCOL,
            NO_FAMILY,
            flags::ACK,
            |_| {},
            |message| {
                let octet = |kind| message.attributes().find(kind)?.octet();
                newest = octet(attr::PROTOCOL).unwrap_or(0);
                oldest = octet(attr::PROTOCOL_OLDEST);
            },
        );
        match answered {
            // There is no such subsystem (nfnetlink_rcv_msg).
            Err(NetlinkError::Refused(libc::EINVAL)) => {
                return Err(NetlinkError::Refused(libc::EPROTONOSUPPORT));
            }
            other => other?,
        }
        if newest < PROTOCOL_OLDEST || oldest.unwrap_or(newest) > PROTOCOL_NEWEST {
            return Err(NetlinkError::Refused(libc::EPROTONOSUPPORT));
        }
        self.protocol = newest.min(PROTOCOL_NEWEST);
        Ok(())
    }

    /// Creates a set of granted (source, transport, port) with time-outs, unless it is there.
    pub(super) fn create_grants(
        &mut self,
        name: &str,
        family: Family,
        kind: Kind,
        members_max: u32,
    ) -> Result<(), NetlinkError> {
        // Revision 1 knows SCTP and UDP-Lite beside TCP and UDP; all since Linux 2.6.39 have it.
        self.create(name, type_of(kind), 1, family.number(), |data| {
            data.attribute(data::TIMEOUT | NET_BYTE_ORDER, &TIMEOUT_SECS_DEFAULT.to_be_bytes());
            data.attribute(data::MEMBERS_MAX | NET_BYTE_ORDER, &members_max.to_be_bytes());
        })
    }

    /// Creates a set of ports, unless it is there.
    pub(super) fn create_ports(&mut self, name: &str) -> Result<(), NetlinkError> {
        self.create(name, "bitmap:port", 0, NO_FAMILY, |data| {
            data.attribute(data::PORT | NET_BYTE_ORDER, &0u16.to_be_bytes());
            data.attribute(data::PORT_TO | NET_BYTE_ORDER, &u16::MAX.to_be_bytes());
        })
    }

    fn create(
        &mut self,
        name: &str,
        type_name: &str,
        revision: u8,
        family: u8,
        content: impl FnOnce(&mut Encoder<'_>),
    ) -> Result<(), NetlinkError> {
        let wanted = flags::ACK | flags::CREATE;
        let attributes = |message: &mut Encoder<'_>| {
            message.text(attr::SET_NAME, name);
            message.text(attr::TYPE_NAME, type_name);
            message.attribute(attr::REVISION, &[revision]);
            message.attribute(attr::FAMILY, &[family]);
            message.nest(attr::DATA, content);
        };
        self.command(command::CREATE, family, wanted, attributes, |_| {})
    }

    /// Adds `ports` for `source` to a set of a kind, each with its seconds. A member that is there gets
    /// the new time-out: that is what the absence of `NLM_F_EXCL` means here.
    pub(super) fn open_ports(
        &mut self,
        (name, kind): (&str, Kind),
        source: Network,
        ports: &[(ServicePort, u32)],
    ) -> Result<(), NetlinkError> {
        let members = |list: &mut Encoder<'_>| {
            for &(port, secs) in ports {
                list.nest(attr::DATA, |member| {
                    write_member(member, kind, source, port);
                    let secs = secs.clamp(1, TIMEOUT_SECS_MAX);
                    member.attribute(data::TIMEOUT | NET_BYTE_ORDER, &secs.to_be_bytes());
                });
            }
        };
        self.change_members(command::ADD, name, members)
    }

    /// Takes `ports` away from `source` in a set of a kind. One that is gone is no error, again without
    /// `NLM_F_EXCL`.
    pub(super) fn close_ports(
        &mut self,
        (name, kind): (&str, Kind),
        source: Network,
        ports: &[ServicePort],
    ) -> Result<(), NetlinkError> {
        let members = |list: &mut Encoder<'_>| {
            for &port in ports {
                list.nest(attr::DATA, |member| write_member(member, kind, source, port));
            }
        };
        self.change_members(command::DELETE, name, members)
    }

    /// Adds ports to a set made by [`IpSets::create_ports`]. For installing: it allocates.
    pub(super) fn add_ports(
        &mut self,
        name: &str,
        ports: impl Iterator<Item = u16>,
    ) -> Result<(), NetlinkError> {
        let mut ports = ports.peekable();
        if ports.peek().is_none() {
            return Ok(());
        }
        let members = |list: &mut Encoder<'_>| {
            for port in ports {
                list.nest(attr::DATA, |member| {
                    member.attribute(data::PORT | NET_BYTE_ORDER, &port.to_be_bytes());
                });
            }
        };
        let (mut request, mut answer) = (vec![0; LISTING_BYTES], vec![0; LISTING_BYTES]);
        let content = |message: &mut Encoder<'_>| write_change(message, name, members);
        self.exchange(command::ADD, NO_FAMILY, flags::ACK, content, (&mut request, &mut answer), |_| {})
    }

    /// Empties a set.
    pub(super) fn flush(&mut self, name: &str) -> Result<(), NetlinkError> {
        self.on_set(command::FLUSH, name)
    }

    /// Removes a set; refused while a rule uses it.
    pub(super) fn destroy(&mut self, name: &str) -> Result<(), NetlinkError> {
        self.on_set(command::DESTROY, name)
    }

    /// Exchanges the members of two sets of one type, atomically.
    pub(super) fn swap(&mut self, one: &str, other: &str) -> Result<(), NetlinkError> {
        let names = |message: &mut Encoder<'_>| {
            message.text(attr::SET_NAME, one);
            message.text(attr::SET_NAME_2, other);
        };
        self.command(command::SWAP, NO_FAMILY, flags::ACK, names, |_| {})
    }

    /// The members of a set of grants.
    pub(super) fn grants(&mut self, name: &str) -> Result<Vec<Member>, NetlinkError> {
        self.list(name, |member| {
            let address = member.find(data::IP)?.nested();
            let v4 = || Some(Ipv4Addr::from(*address.find(data::IPV4)?.payload.first_chunk::<4>()?).into());
            let v6 = || Some(Ipv6Addr::from(*address.find(data::IPV6)?.payload.first_chunk::<16>()?).into());
            let address: IpAddr = v4().or_else(v6)?;
            // Sets of networks tell it of all their members, sets of addresses of none.
            let prefix = member.find(data::PREFIX).and_then(Attribute::octet);
            let source = prefix.map_or(Network::host(address), |prefix| Network { address, prefix });
            let transport = match member.find(data::TRANSPORT)?.octet()? {
                6 => Transport::Tcp,
                17 => Transport::Udp,
                _ => return None,
            };
            let port = ServicePort { transport, port: member.find(data::PORT)?.be16()? };
            // 0: it never ends.
            let secs = member.find(data::TIMEOUT)?.be32()?;
            Some(Member { source, port, remaining_secs: (secs > 0).then_some(secs) })
        })
    }

    /// The members of a set of ports.
    pub(super) fn ports(&mut self, name: &str) -> Result<Vec<u16>, NetlinkError> {
        self.list(name, |member| member.find(data::PORT)?.be16())
    }

    fn list<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(Attributes<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let (mut request, mut answer) = ([0; COMMAND_BYTES], vec![0; LISTING_BYTES]);
        let mut members = Vec::new();
        let content = |message: &mut Encoder<'_>| message.text(attr::SET_NAME, name);
        let each = |message: Message<'_>| {
            let list = message.attributes().find_or_empty(attr::MEMBERS).nested();
            members.extend(list.filter_map(|member| read(member.nested())));
        };
        self.exchange(command::LIST, NO_FAMILY, flags::DUMP, content, (&mut request, &mut answer), each)?;
        Ok(members)
    }

    fn on_set(&mut self, kind: u8, name: &str) -> Result<(), NetlinkError> {
        self.command(kind, NO_FAMILY, flags::ACK, |message| message.text(attr::SET_NAME, name), |_| {})
    }

    fn change_members(
        &mut self,
        kind: u8,
        name: &str,
        members: impl FnOnce(&mut Encoder<'_>),
    ) -> Result<(), NetlinkError> {
        let content = |message: &mut Encoder<'_>| write_change(message, name, members);
        self.command(kind, NO_FAMILY, flags::ACK, content, |_| {})
    }

    fn command(
        &mut self,
        kind: u8,
        family: u8,
        flags: u16,
        content: impl FnOnce(&mut Encoder<'_>),
        each: impl FnMut(Message<'_>),
    ) -> Result<(), NetlinkError> {
        // An error comes back with the command that caused it.
        let (mut request, mut answer) = ([0; COMMAND_BYTES], [0; 2 * COMMAND_BYTES]);
        self.exchange(kind, family, flags, content, (&mut request, &mut answer), each)
    }

    fn exchange(
        &mut self,
        kind: u8,
        family: u8,
        flags: u16,
        content: impl FnOnce(&mut Encoder<'_>),
        (request, answer): (&mut [u8], &mut [u8]),
        each: impl FnMut(Message<'_>),
    ) -> Result<(), NetlinkError> {
        let window = self.socket.window(1);
        let header =
            Header { subsystem: Subsystem::IpSet, kind, flags, sequence: window.first, family, resource: 0 };
        let mut encoder = Encoder::new(request);
        encoder.message(header, |message| {
            message.attribute(attr::PROTOCOL, &[self.protocol]);
            content(message);
        });
        self.socket.exchange(encoder.finish()?, window, answer, each)
    }
}

/// A change of several members at once: the kernel wants a line number for its error report.
fn write_change(message: &mut Encoder<'_>, name: &str, members: impl FnOnce(&mut Encoder<'_>)) {
    message.text(attr::SET_NAME, name);
    message.attribute(attr::LINE, &0u32.to_ne_bytes());
    message.nest(attr::MEMBERS, members);
}

/// The type of the sets of a kind, as ipset(8) has it.
const fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Address | Kind::Once => "hash:ip,port",
        Kind::Network => "hash:net,port",
    }
}

fn write_member(member: &mut Encoder<'_>, kind: Kind, source: Network, port: ServicePort) {
    member.nest(data::IP, |address| match source.address {
        IpAddr::V4(v4) => address.attribute(data::IPV4 | NET_BYTE_ORDER, &v4.octets()),
        IpAddr::V6(v6) => address.attribute(data::IPV6 | NET_BYTE_ORDER, &v6.octets()),
    });
    // A set of addresses would take a network as so many members.
    if kind == Kind::Network {
        member.attribute(data::PREFIX, &[source.prefix]);
    }
    member.attribute(data::PORT | NET_BYTE_ORDER, &port.port.to_be_bytes());
    member.attribute(data::TRANSPORT, &[port.transport.number()]);
}
