//! The interface that packets to the rest of the world leave by: asked of the kernel as a packet would
//! (rtnetlink(7), `RTM_GETROUTE`), so that metrics and routing rules are obeyed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;

use crate::netlink::{Attributes, Encoder, NetlinkError, NetlinkSocket, flags};

/// What a site calls it.
pub const DEFAULT_ROUTE: &str = "default-route";

/// `RTM_GETROUTE` and its attributes `RTA_DST` and `RTA_OIF`.
const GET_ROUTE: u16 = 26;
const TARGET: u16 = 1;
const OUT_INTERFACE: u16 = 4;

/// Octets of `struct rtmsg`.
const HEAD_BYTES: usize = 12;

/// Addresses nobody has (RFC 5737, RFC 3849): no route leads there but the one to everywhere.
const FAR: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

/// Its index, that of IPv4 before that of IPv6; `None` when there is no way to the rest of the world.
///
/// # Errors
/// When the kernel cannot be asked, as without a free descriptor.
pub(crate) fn index() -> Result<Option<u32>, NetlinkError> {
    let mut socket = NetlinkSocket::to_routes().map_err(NetlinkError::NotSent)?;
    for far in FAR {
        match way_to(&mut socket, far) {
            Ok(found @ Some(_)) => return Ok(found),
            Ok(None) | Err(NetlinkError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn way_to(socket: &mut NetlinkSocket, far: IpAddr) -> Result<Option<u32>, NetlinkError> {
    let (mut request, mut answer) = ([0; 128], [0; 2048]);
    let mut head = [0; HEAD_BYTES];
    let family = if far.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let bits = if far.is_ipv4() { 32 } else { 128 };
    let [first, second, ..] = &mut head;
    (*first, *second) = (u8::try_from(family).unwrap_or(0), bits);
    let window = socket.window(1);
    let mut encoder = Encoder::new(&mut request);
    encoder.framed(GET_ROUTE, flags::ACK, window.first, &head, |message| match far {
        IpAddr::V4(v4) => message.attribute(TARGET, &v4.octets()),
        IpAddr::V6(v6) => message.attribute(TARGET, &v6.octets()),
    });
    let mut found = None;
    socket.exchange(encoder.finish()?, window, &mut answer, |message| {
        let attributes = Attributes::new(message.payload.get(HEAD_BYTES..).unwrap_or_default());
        let index = attributes.find(OUT_INTERFACE).and_then(|index| index.payload.first_chunk().copied());
        found = index.map(u32::from_ne_bytes);
    })?;
    Ok(found)
}
