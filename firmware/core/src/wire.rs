//! Frame bytes in, a [`Knock`] out, or the reason why not.
//!
//! Every header is first copied out as an array of its fixed size and only then looked at through
//! smoltcp's views, so that no accessor can run past the end and nothing here can panic. Lengths
//! inside the headers are believed, the captured length is not: captures are cut short by the snap
//! length, and some drivers leave the frame check sequence behind the packet.
//!
//! Fragments never match: a port stands only in the first one, and an attacker may send it without
//! the rest. Checksums are not verified: outbound offloading leaves them empty on virtual links,
//! and a knock with a bad one proves as much as a good one.

use smoltcp::wire::{EthernetFrame, EthernetProtocol};

use crate::knock::{Knock, Step, TcpFlags};
use crate::port::{Frame, LinkType};

mod ip;

/// Why a frame is not a knock. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// The frame ends before its headers do.
    TooShort,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// A header contradicts itself or the protocol.
    BadHeader,
    /// A fragment, first or later.
    Fragment,
    /// More IPv6 extension headers than are walked, or one that is not known.
    Extensions,
    /// Neither TCP nor UDP nor an echo request.
    OtherProtocol,
    /// From or to an address no client has: unspecified, loopback, multicast, broadcast,
    /// IPv4-mapped.
    BadAddress,
    /// The machine sent it itself (cooked capture tells).
    Outbound,
}

impl Ignored {
    /// Every reason, in the order of their counters.
    pub const ALL: [Ignored; 8] = [
        Ignored::TooShort,
        Ignored::NotIp,
        Ignored::BadHeader,
        Ignored::Fragment,
        Ignored::Extensions,
        Ignored::OtherProtocol,
        Ignored::BadAddress,
        Ignored::Outbound,
    ];
}

/// Reads a frame.
///
/// # Errors
/// The first reason why it is not a knock.
pub fn parse(frame: &Frame<'_>) -> Result<Knock, Ignored> {
    parse_with_datagram(frame).map(|(knock, _)| knock)
}

/// Reads a frame, and what was captured of the datagram in it; nothing when it is none.
///
/// # Errors
/// The first reason why it is not a knock.
pub fn parse_with_datagram<'a>(frame: &Frame<'a>) -> Result<(Knock, &'a [u8]), Ignored> {
    let (version, packet) = network_layer(frame.link, frame.bytes)?;
    let (source, target, inner) = match version {
        Version::V4 => ip::parse_v4(packet)?,
        Version::V6 => ip::parse_v6(packet)?,
    };
    let Inner { step, flags, datagram } = inner;
    Ok((Knock { source, target, step, flags, interface: frame.interface }, datagram))
}

/// What stands behind the IP headers.
struct Inner<'a> {
    step: Step,
    flags: TcpFlags,
    datagram: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V6,
}

/// The `N` octets at `offset` as an array.
fn take<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], Ignored> {
    let rest = bytes.get(offset..).ok_or(Ignored::TooShort)?;
    rest.first_chunk::<N>().copied().ok_or(Ignored::TooShort)
}

fn skip(bytes: &[u8], octets: usize) -> Result<&[u8], Ignored> {
    bytes.get(octets..).ok_or(Ignored::TooShort)
}

/// Strips the link layer.
fn network_layer(link: LinkType, bytes: &[u8]) -> Result<(Version, &[u8]), Ignored> {
    match link {
        LinkType::Ethernet => {
            let header = EthernetFrame::new_unchecked(take::<14>(bytes, 0)?);
            ether_payload(header.ethertype().into(), skip(bytes, 14)?)
        }
        LinkType::RawIp => by_version(bytes),
        LinkType::Ppp => ppp(bytes),
        LinkType::CookedV1 => {
            let header = take::<16>(bytes, 0)?;
            cooked(header[1], u16::from_be_bytes([header[14], header[15]]), skip(bytes, 16)?)
        }
        LinkType::CookedV2 => {
            let header = take::<20>(bytes, 0)?;
            cooked(header[10], u16::from_be_bytes([header[0], header[1]]), skip(bytes, 20)?)
        }
        // The four octets hold the address family in an unknown byte order, and the numbers differ
        // between systems; the version nibble behind them says as much.
        LinkType::Loopback => by_version(skip(bytes, 4)?),
    }
}

/// Linux cooked capture (<https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html>): packet
/// type 4 is "sent by us".
fn cooked(packet_type: u8, protocol: u16, payload: &[u8]) -> Result<(Version, &[u8]), Ignored> {
    const SENT_BY_US: u8 = 4;
    if packet_type == SENT_BY_US { Err(Ignored::Outbound) } else { ether_payload(protocol, payload) }
}

/// What stands behind an EtherType: at most two VLAN tags (IEEE 802.1Q), then IP or PPPoE.
fn ether_payload(mut ether_type: u16, mut payload: &[u8]) -> Result<(Version, &[u8]), Ignored> {
    const VLAN: u16 = 0x8100;
    const VLAN_SERVICE: u16 = 0x88a8;
    const VLAN_OLD_QINQ: u16 = 0x9100;
    const PPPOE_SESSION: u16 = 0x8864;
    for _ in 0..2 {
        if !matches!(ether_type, VLAN | VLAN_SERVICE | VLAN_OLD_QINQ) {
            break;
        }
        let tag = take::<4>(payload, 0)?;
        ether_type = u16::from_be_bytes([tag[2], tag[3]]);
        payload = skip(payload, 4)?;
    }
    if ether_type == PPPOE_SESSION {
        return pppoe(payload);
    }
    match EthernetProtocol::from(ether_type) {
        EthernetProtocol::Ipv4 => Ok((Version::V4, payload)),
        EthernetProtocol::Ipv6 => Ok((Version::V6, payload)),
        _ => Err(Ignored::NotIp),
    }
}

/// PPPoE session stage (RFC 2516, section 4): version and type 1, code 0, then a PPP protocol.
fn pppoe(bytes: &[u8]) -> Result<(Version, &[u8]), Ignored> {
    let header = take::<6>(bytes, 0)?;
    if header[0] != 0x11 || header[1] != 0 {
        return Err(Ignored::BadHeader);
    }
    ppp_protocol(skip(bytes, 6)?)
}

/// PPP with or without address and control octets (RFC 1662, section 3.1).
fn ppp(bytes: &[u8]) -> Result<(Version, &[u8]), Ignored> {
    let framed = bytes.starts_with(&[0xff, 0x03]);
    ppp_protocol(if framed { skip(bytes, 2)? } else { bytes })
}

/// PPP protocol number, possibly compressed to one octet, which is then odd (RFC 1661,
/// section 6.5): 0x0021 is IPv4 (RFC 1332), 0x0057 is IPv6 (RFC 5072).
fn ppp_protocol(bytes: &[u8]) -> Result<(Version, &[u8]), Ignored> {
    let [first] = take::<1>(bytes, 0)?;
    let (protocol, octets) =
        if first & 1 == 1 { (u16::from(first), 1) } else { (u16::from_be_bytes(take::<2>(bytes, 0)?), 2) };
    let payload = skip(bytes, octets)?;
    match protocol {
        0x0021 => Ok((Version::V4, payload)),
        0x0057 => Ok((Version::V6, payload)),
        _ => Err(Ignored::NotIp),
    }
}

fn by_version(bytes: &[u8]) -> Result<(Version, &[u8]), Ignored> {
    match take::<1>(bytes, 0)?[0] >> 4 {
        4 => Ok((Version::V4, bytes)),
        6 => Ok((Version::V6, bytes)),
        _ => Err(Ignored::NotIp),
    }
}

#[cfg(test)]
mod tests;
