//! Cutting connections: the netlink protocol of connection tracking
//! (`linux/netfilter/nfnetlink_conntrack.h`).
//!
//! Connections are listed, those of one client or network to one port of the gateway are picked, and each is
//! forgotten by its own tuple and id. The kernel sends what it lists already narrowed to the port
//! since Linux 5.8; older ones send all of it. Addresses are compared here only: the kernel's own
//! comparison of IPv6 addresses was the wrong way round for some years.
//!
//! A connection that is forgotten is not reset. Its next packet begins a new one as far as the
//! firewall can tell, and that needs a grant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heapless::Vec as Bounded;
use nix::libc;
use postern_core::knock::ServicePort;
use postern_core::network::Network;
use postern_core::rule::RuleSet;

use super::error::CONNECTION_OPTIONS;
use super::{Family, InstallError, LISTING_BYTES};
use crate::netlink::{
    Attribute, Encoder, Header, Message, NET_BYTE_ORDER, NetlinkError, NetlinkSocket, Subsystem, flags,
};

/// Connections of one client to one port that one command cuts: [`ROUNDS_MAX`] times [`PICKED_MAX`].
const ROUNDS_MAX: usize = 17;

/// Connections picked from one listing.
const PICKED_MAX: usize = 32;

/// Octets of the longest tuple as the kernel writes it: two IPv6 addresses, ports, a zone.
const TUPLE_BYTES_MAX: usize = 128;

/// Octets of a request, and of an answer but for listings: an error comes with its request.
const REQUEST_BYTES: usize = 256;
const ANSWER_BYTES: usize = 1024;

/// Messages (`IPCTNL_MSG_CT_*`).
mod kind {
    pub(super) const GET: u8 = 1;
    pub(super) const DELETE: u8 = 2;
}

/// Attributes (`CTA_*`).
mod attr {
    pub(super) const ORIGINAL: u16 = 1;
    pub(super) const ID: u16 = 12;
    pub(super) const ZONE: u16 = 18;
    pub(super) const FILTER: u16 = 25;
    pub(super) const FILTER_ORIGINAL: u16 = 1;
    pub(super) const ADDRESSES: u16 = 1;
    pub(super) const TRANSPORT: u16 = 2;
    pub(super) const V4_SOURCE: u16 = 1;
    pub(super) const V4_TARGET: u16 = 2;
    pub(super) const V6_SOURCE: u16 = 3;
    pub(super) const V6_TARGET: u16 = 4;
    pub(super) const NUMBER: u16 = 1;
    pub(super) const SOURCE_PORT: u16 = 2;
    pub(super) const TARGET_PORT: u16 = 3;
}

/// What the kernel narrows a listing to: the transport's number and the port it goes to
/// (`CTA_FILTER_FLAG_CTA_PROTO_NUM`, `..._DST_PORT`).
const BY_TARGET_PORT: u32 = 1 << 3 | 1 << 5;

/// `RTM_GETROUTE`, `RTA_DST` and `RTN_LOCAL` (rtnetlink(7)).
const GET_ROUTE: u16 = 26;
const ROUTE_TARGET: u16 = 1;
const ROUTE_LOCAL: u8 = 2;

/// A connection as the kernel names it.
#[derive(Debug)]
struct Picked {
    tuple: Bounded<u8, TUPLE_BYTES_MAX>,
    id: Option<[u8; 4]>,
    zone: Option<[u8; 2]>,
}

/// Speaks to the kernel about its connections. Of the network namespace it was made in.
#[derive(Debug)]
pub(super) struct Connections {
    tracking: NetlinkSocket,
    routes: NetlinkSocket,
    listing: Box<[u8]>,
}

impl Connections {
    /// Opens the ways to the kernel. Nothing is asked yet.
    pub(super) fn open() -> Result<Self, NetlinkError> {
        let tracking = NetlinkSocket::to_netfilter().map_err(NetlinkError::NotSent)?;
        let routes = NetlinkSocket::to_routes().map_err(NetlinkError::NotSent)?;
        Ok(Self { tracking, routes, listing: vec![0; LISTING_BYTES].into_boxed_slice() })
    }

    /// Shows whether the kernel tells of its connections at all and whether this process may ask.
    pub(super) fn shake_hands(&mut self) -> Result<(), NetlinkError> {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let content = |message: &mut Encoder<'_>| {
            message.nest(attr::ORIGINAL, |tuple| {
                tuple.nest(attr::ADDRESSES, |addresses| {
                    addresses.attribute(attr::V4_SOURCE | NET_BYTE_ORDER, &[0; 4]);
                    addresses.attribute(attr::V4_TARGET | NET_BYTE_ORDER, &[0; 4]);
                });
                write_transport(tuple, ServicePort::tcp(0));
            });
        };
        let mut answer = [0; ANSWER_BYTES];
        let family = family_of(nobody);
        match ask(&mut self.tracking, (kind::GET, family, flags::ACK), content, &mut answer, |_| {}) {
            // There is no such connection, and somebody who knows.
            Err(NetlinkError::Refused(libc::ENOENT)) => Ok(()),
            // There is no such subsystem (nfnetlink_rcv_msg).
            Err(NetlinkError::Refused(libc::EINVAL)) => Err(NetlinkError::Refused(libc::EPROTONOSUPPORT)),
            other => other,
        }
    }

    /// Refuses `rules` that want connections cut on a kernel that cannot.
    ///
    /// # Errors
    /// [`InstallError`].
    pub(super) fn require_for(&mut self, rules: &RuleSet) -> Result<(), InstallError> {
        if !cuts(rules) {
            return Ok(());
        }
        let doing = "use connection tracking (cut_at_end)";
        self.shake_hands().map_err(|error| InstallError::of_netlink(doing, CONNECTION_OPTIONS, error))
    }

    /// Every grant of doors that want it has ended: nobody accounts for those of another process.
    pub(super) fn cut_everybodys(&mut self, rules: &RuleSet) {
        for door in rules.doors().iter().filter(|door| door.terms.cut_at_end) {
            for &family in Family::of_this_kernel() {
                if let Err(error) = self.cut(Whose::Everybodys(family), &door.ports) {
                    let name = &door.name;
                    log::warn!("connections of door {name} from before the start go on: {error:?}");
                }
            }
        }
    }

    /// Forgets every connection that `source`, or anybody of a family, began to one of `ports` of
    /// the gateway itself. Services behind it have the gateway's port, too: that is where the client
    /// went. Connections that only pass through to such a port elsewhere go on.
    ///
    /// # Errors
    /// [`NetlinkError`]; [`NetlinkError::Interrupted`] when there are more than can be cut at once.
    pub(super) fn cut(&mut self, whose: Whose, ports: &[ServicePort]) -> Result<(), NetlinkError> {
        ports.iter().try_for_each(|&port| {
            for _ in 0..ROUNDS_MAX {
                let picked = match self.pick(whose, port) {
                    // What is left of the listing would be in the way of the next.
                    Err(error @ (NetlinkError::NoAnswer | NetlinkError::Interrupted)) => {
                        self.tracking = NetlinkSocket::to_netfilter().map_err(NetlinkError::NotSent)?;
                        return Err(error);
                    }
                    picked => picked?,
                };
                if picked.is_empty() {
                    return Ok(());
                }
                for connection in &picked {
                    self.forget(whose.family(), connection)?;
                }
            }
            Err(NetlinkError::Interrupted)
        })
    }

    fn pick(&mut self, whose: Whose, port: ServicePort) -> Result<Bounded<Picked, PICKED_MAX>, NetlinkError> {
        let mut picked = Bounded::new();
        let mut known = None;
        let content = |message: &mut Encoder<'_>| {
            message.nest(attr::ORIGINAL, |tuple| write_transport(tuple, port));
            message.nest(attr::FILTER, |filter| {
                filter.attribute(attr::FILTER_ORIGINAL, &BY_TARGET_PORT.to_ne_bytes());
            });
        };
        let routes = &mut self.routes;
        let each = |message: Message<'_>| {
            let Some(target) = target_of(message, whose, port).filter(|_| !picked.is_full()) else { return };
            let local = match known {
                Some((address, local)) if address == target => local,
                _ => is_local(routes, target),
            };
            known = Some((target, local));
            if let Some(connection) = read_picked(message).filter(|_| local) {
                let _ = picked.push(connection);
            }
        };
        let request = (kind::GET, whose.family(), flags::DUMP);
        ask(&mut self.tracking, request, content, &mut self.listing, each)?;
        Ok(picked)
    }

    /// One that has ended meanwhile is no error; another of the same tuple has another id.
    fn forget(&mut self, family: Family, connection: &Picked) -> Result<(), NetlinkError> {
        let content = |message: &mut Encoder<'_>| {
            message.nest(attr::ORIGINAL, |tuple| tuple.raw(&connection.tuple));
            if let Some(id) = &connection.id {
                message.attribute(attr::ID, id);
            }
            if let Some(zone) = &connection.zone {
                message.attribute(attr::ZONE, zone);
            }
        };
        let mut answer = [0; ANSWER_BYTES];
        match ask(&mut self.tracking, (kind::DELETE, family, flags::ACK), content, &mut answer, |_| {}) {
            Err(NetlinkError::Refused(libc::ENOENT)) => Ok(()),
            other => other,
        }
    }
}

/// Whether a grant of any door takes the connections with it.
pub(super) fn cuts(rules: &RuleSet) -> bool {
    rules.doors().iter().any(|door| door.terms.cut_at_end)
}

/// Whose connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of every client in a network, which may be one alone.
    Of(Network),
    /// Of every client of a family.
    Everybodys(Family),
}

impl Whose {
    const fn family(self) -> Family {
        match self {
            Whose::Of(source) => family_of(source.address),
            Whose::Everybodys(family) => family,
        }
    }
}

const fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

fn ask(
    socket: &mut NetlinkSocket,
    (kind, family, flags): (u8, Family, u16),
    content: impl FnOnce(&mut Encoder<'_>),
    answer: &mut [u8],
    each: impl FnMut(Message<'_>),
) -> Result<(), NetlinkError> {
    let mut request = [0; REQUEST_BYTES];
    let window = socket.window(1);
    let (sequence, family) = (window.first, family.number());
    let mut encoder = Encoder::new(&mut request);
    let header = Header { subsystem: Subsystem::Connections, kind, flags, sequence, family, resource: 0 };
    encoder.message(header, content);
    socket.exchange(encoder.finish()?, window, answer, each)
}

fn write_transport(tuple: &mut Encoder<'_>, port: ServicePort) {
    tuple.nest(attr::TRANSPORT, |transport| {
        transport.attribute(attr::NUMBER, &[port.transport.number()]);
        transport.attribute(attr::SOURCE_PORT | NET_BYTE_ORDER, &[0; 2]);
        transport.attribute(attr::TARGET_PORT | NET_BYTE_ORDER, &port.port.to_be_bytes());
    });
}

/// Where the connection of `message` was sent to, when it is one of those that are meant.
fn target_of(message: Message<'_>, whose: Whose, port: ServicePort) -> Option<IpAddr> {
    let tuple = message.attributes().find(attr::ORIGINAL)?.nested();
    let transport = tuple.find(attr::TRANSPORT)?.nested();
    let number = transport.find(attr::NUMBER)?.octet()?;
    let target_port = transport.find(attr::TARGET_PORT)?.be16()?;
    if (number, target_port) != (port.transport.number(), port.port) {
        return None;
    }
    let addresses = tuple.find(attr::ADDRESSES)?.nested();
    let v4 = |kind| Some(IpAddr::V4(Ipv4Addr::from(*addresses.find(kind)?.payload.first_chunk::<4>()?)));
    let v6 = |kind| Some(IpAddr::V6(Ipv6Addr::from(*addresses.find(kind)?.payload.first_chunk::<16>()?)));
    let (source, target) = match whose.family() {
        Family::V4 => (v4(attr::V4_SOURCE)?, v4(attr::V4_TARGET)?),
        Family::V6 => (v6(attr::V6_SOURCE)?, v6(attr::V6_TARGET)?),
    };
    match whose {
        Whose::Of(clients) if !clients.contains(source) => None,
        Whose::Of(_) | Whose::Everybodys(_) => Some(target),
    }
}

fn read_picked(message: Message<'_>) -> Option<Picked> {
    let attributes = message.attributes();
    let tuple = Bounded::from_slice(attributes.find(attr::ORIGINAL)?.payload).ok()?;
    let id = attributes.find(attr::ID).and_then(|id| id.payload.first_chunk().copied());
    let zone =
        attributes.find(attr::ZONE).and_then(|zone: Attribute<'_>| zone.payload.first_chunk().copied());
    Some(Picked { tuple, id, zone })
}

/// Whether the gateway itself has `address`, as the kernel's routes see it. Not known is no.
fn is_local(routes: &mut NetlinkSocket, address: IpAddr) -> bool {
    let (v4, v6);
    let (bits, octets): (u8, &[u8]) = match address {
        IpAddr::V4(address) => {
            v4 = address.octets();
            (32, &v4)
        }
        IpAddr::V6(address) => {
            v6 = address.octets();
            (128, &v6)
        }
    };
    // `struct rtmsg`: family (`NFPROTO_*` are `AF_*`), prefix length; the rest is not asked for.
    let head = [family_of(address).number(), bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (mut request, mut answer) = ([0; REQUEST_BYTES], [0; ANSWER_BYTES]);
    let window = routes.window(1);
    let mut encoder = Encoder::new(&mut request);
    encoder.framed(GET_ROUTE, flags::ACK, window.first, &head, |message| {
        message.attribute(ROUTE_TARGET, octets);
    });
    let Ok(request) = encoder.finish() else { return false };
    let mut local = false;
    // `rtm_type` is the eighth octet of `struct rtmsg`.
    let each = |message: Message<'_>| local |= message.payload.get(7) == Some(&ROUTE_LOCAL);
    routes.exchange(request, window, &mut answer, each).is_ok() && local
}
