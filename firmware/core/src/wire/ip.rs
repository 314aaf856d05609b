//! IPv4 and IPv6 headers, and the knock behind them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{
    Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
    UdpPacket,
};

use super::{Ignored, Inner, skip, take};
use crate::knock::{Step, TcpFlags};
use crate::limits::{EXTENSION_BYTES_MAX, EXTENSIONS_MAX};

type Parsed<'a> = (IpAddr, IpAddr, Inner<'a>);

const TCP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;
const ICMP_HEADER_BYTES: usize = 8;

/// IPv4 (RFC 791, section 3.1).
pub(super) fn parse_v4(bytes: &[u8]) -> Result<Parsed<'_>, Ignored> {
    let header = Ipv4Packet::new_unchecked(take::<20>(bytes, 0)?);
    let header_bytes = usize::from(header.header_len());
    if header.version() != 4 || header_bytes < 20 {
        return Err(Ignored::BadHeader);
    }
    if header.more_frags() || header.frag_offset() != 0 {
        return Err(Ignored::Fragment);
    }
    let payload_bytes =
        usize::from(header.total_len()).checked_sub(header_bytes).ok_or(Ignored::BadHeader)?;
    let (source, target) = (header.src_addr(), header.dst_addr());
    if !is_client_v4(source) || target.is_multicast() || target.is_broadcast() {
        return Err(Ignored::BadAddress);
    }
    let payload = skip(bytes, header_bytes)?;
    let inner = match header.next_header() {
        IpProtocol::Tcp => tcp(payload, payload_bytes)?,
        IpProtocol::Udp => udp(payload, payload_bytes)?,
        IpProtocol::Icmp => {
            let message = Icmpv4Packet::new_unchecked(take::<ICMP_HEADER_BYTES>(payload, 0)?);
            echo_request(message.msg_type() == Icmpv4Message::EchoRequest, message.msg_code(), payload_bytes)?
        }
        _ => return Err(Ignored::OtherProtocol),
    };
    Ok((IpAddr::V4(source), IpAddr::V4(target), inner))
}

/// IPv6 (RFC 8200, section 3).
pub(super) fn parse_v6(bytes: &[u8]) -> Result<Parsed<'_>, Ignored> {
    let header = Ipv6Packet::new_unchecked(take::<40>(bytes, 0)?);
    if header.version() != 6 {
        return Err(Ignored::BadHeader);
    }
    let (source, target) = (header.src_addr(), header.dst_addr());
    if !is_client_v6(source) || target.is_multicast() {
        return Err(Ignored::BadAddress);
    }
    let all = skip(bytes, 40)?;
    let (next, extension_bytes) = walk_extensions(header.next_header(), all)?;
    let payload = skip(all, extension_bytes)?;
    let payload_bytes =
        usize::from(header.payload_len()).checked_sub(extension_bytes).ok_or(Ignored::BadHeader)?;
    let inner = match next {
        IpProtocol::Tcp => tcp(payload, payload_bytes)?,
        IpProtocol::Udp => udp(payload, payload_bytes)?,
        IpProtocol::Icmpv6 => {
            let message = Icmpv6Packet::new_unchecked(take::<ICMP_HEADER_BYTES>(payload, 0)?);
            echo_request(message.msg_type() == Icmpv6Message::EchoRequest, message.msg_code(), payload_bytes)?
        }
        _ => return Err(Ignored::OtherProtocol),
    };
    Ok((IpAddr::V6(source), IpAddr::V6(target), inner))
}

/// Walks hop-by-hop options, routing headers and destination options (RFC 8200, section 4): all
/// of one shape. Returns what follows and how many octets were walked.
fn walk_extensions(mut next: IpProtocol, bytes: &[u8]) -> Result<(IpProtocol, usize), Ignored> {
    let mut walked = 0;
    for _ in 0..=EXTENSIONS_MAX {
        match next {
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {}
            IpProtocol::Ipv6Frag => return Err(Ignored::Fragment),
            other => return Ok((other, walked)),
        }
        let [following, units] = take::<2>(bytes, walked)?;
        next = IpProtocol::from(following);
        walked += (usize::from(units) + 1) * 8;
        if walked > EXTENSION_BYTES_MAX {
            return Err(Ignored::Extensions);
        }
    }
    Err(Ignored::Extensions)
}

/// TCP (RFC 9293, section 3.1).
fn tcp(payload: &[u8], payload_bytes: usize) -> Result<Inner<'static>, Ignored> {
    let octets = take::<TCP_HEADER_BYTES>(payload, 0)?;
    let segment = TcpPacket::new_unchecked(octets);
    let header_bytes = usize::from(segment.header_len());
    if header_bytes < TCP_HEADER_BYTES || header_bytes > payload_bytes {
        return Err(Ignored::BadHeader);
    }
    // smoltcp has an accessor per flag; a condition wants them together.
    Ok(Inner { step: Step::tcp(segment.dst_port()), flags: TcpFlags::from_bits(octets[13]), datagram: &[] })
}

/// UDP (RFC 768).
fn udp(payload: &[u8], payload_bytes: usize) -> Result<Inner<'_>, Ignored> {
    let header = UdpPacket::new_unchecked(take::<UDP_HEADER_BYTES>(payload, 0)?);
    let length = usize::from(header.len());
    if length < UDP_HEADER_BYTES || length > payload_bytes {
        return Err(Ignored::BadHeader);
    }
    // What the capture cut off is missing, and what the link put behind it is left out.
    let captured = payload.get(..length).unwrap_or(payload);
    let datagram = captured.get(UDP_HEADER_BYTES..).unwrap_or_default();
    Ok(Inner { step: Step::udp(header.dst_port()), flags: TcpFlags::NONE, datagram })
}

/// Echo request (RFC 792, page 14; RFC 4443, section 4.1): the knock is its payload length.
fn echo_request(is_request: bool, code: u8, payload_bytes: usize) -> Result<Inner<'static>, Ignored> {
    if !is_request || code != 0 {
        return Err(Ignored::OtherProtocol);
    }
    let octets = payload_bytes.checked_sub(ICMP_HEADER_BYTES).ok_or(Ignored::BadHeader)?;
    let octets = u16::try_from(octets).map_err(|_| Ignored::BadHeader)?;
    Ok(Inner { step: Step::icmp(octets), flags: TcpFlags::NONE, datagram: &[] })
}

/// Whether a client may have this address. 0.0.0.0/8 is "this network" (RFC 1122, section 3.2.1.3).
fn is_client_v4(source: Ipv4Addr) -> bool {
    let this_network = source.octets()[0] == 0;
    !this_network && !source.is_loopback() && !source.is_multicast() && !source.is_broadcast()
}

fn is_client_v6(source: Ipv6Addr) -> bool {
    let unusable = source.is_unspecified() || source.is_loopback() || source.is_multicast();
    !unusable && source.to_ipv4_mapped().is_none()
}
