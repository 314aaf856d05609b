//! What the filter should pass, in the most obvious way: walk the headers, collect the step, look
//! it up in the rules one by one.

use postern_core::knock::{Protocol, Step, TcpFlags};
use postern_core::port::LinkType;
use postern_core::rule::RuleSet;

use crate::machine::Packet;

const OUTGOING: u8 = 4;

/// Whether the packet shall reach user space.
pub(crate) fn wants(rules: &RuleSet, datagram_ports: &[u16], link: LinkType, packet: &Packet<'_>) -> bool {
    if packet.packet_type == OUTGOING {
        return false;
    }
    let Some((step, flags)) = step(link, packet) else { return false };
    let is_watched = rules
        .watched()
        .any(|range| range.protocol == step.protocol && (range.first..=range.last).contains(&step.value));
    let is_datagram = step.protocol == Protocol::Udp && datagram_ports.contains(&step.value);
    let flags_fit = step.protocol != Protocol::Tcp || rules.counts_as_knock(flags);
    (is_watched || is_datagram) && flags_fit
}

fn step(link: LinkType, packet: &Packet<'_>) -> Option<(Step, TcpFlags)> {
    let data = packet.data;
    match link {
        LinkType::Ethernet => ether(u16_at(data, 12)?, data.get(14..)?),
        LinkType::CookedV1 | LinkType::CookedV2 => ether(packet.protocol, data),
        LinkType::RawIp => ip(data),
        LinkType::Loopback => ip(data.get(4..)?),
        LinkType::Ppp => ppp(data.strip_prefix(&[0xff, 0x03]).unwrap_or(data)),
    }
}

fn ether(mut ether_type: u16, mut payload: &[u8]) -> Option<(Step, TcpFlags)> {
    for _ in 0..2 {
        if [0x8100, 0x88a8, 0x9100].contains(&ether_type) {
            ether_type = u16_at(payload, 2)?;
            payload = payload.get(4..)?;
        }
    }
    match ether_type {
        0x0800 => ipv4(payload),
        0x86dd => ipv6(payload),
        0x8864 if u16_at(payload, 0)? == 0x1100 => ppp(payload.get(6..)?),
        _ => None,
    }
}

fn ppp(data: &[u8]) -> Option<(Step, TcpFlags)> {
    match (*data.first()?, u16_at(data, 0)) {
        (0x21, _) => ipv4(&data[1..]),
        (0x57, _) => ipv6(&data[1..]),
        (_, Some(0x0021)) => ipv4(&data[2..]),
        (_, Some(0x0057)) => ipv6(&data[2..]),
        _ => None,
    }
}

fn ip(data: &[u8]) -> Option<(Step, TcpFlags)> {
    match data.first()? >> 4 {
        4 => ipv4(data),
        6 => ipv6(data),
        _ => None,
    }
}

fn ipv4(data: &[u8]) -> Option<(Step, TcpFlags)> {
    let header = usize::from(data.first()? & 0x0f) * 4;
    if data[0] >> 4 != 4 || header < 20 || u16_at(data, 6)? & 0x3fff != 0 {
        return None;
    }
    let protocol = *data.get(9)?;
    let payload = data.get(header..)?;
    let octets = usize::from(u16_at(data, 2)?).checked_sub(header + 8);
    transport(if protocol == 58 { 0xff } else { protocol }, payload, octets)
}

fn ipv6(data: &[u8]) -> Option<(Step, TcpFlags)> {
    if data.first()? >> 4 != 6 {
        return None;
    }
    let mut next = *data.get(6)?;
    let mut rest = data.get(40..);
    let mut walked = 0;
    for count in 0.. {
        if ![0, 43, 60].contains(&next) {
            break;
        }
        if count == 6 {
            return None;
        }
        let octets = (usize::from(*rest?.get(1)?) + 1) * 8;
        walked += octets;
        if walked > 128 {
            return None;
        }
        next = rest?[0];
        rest = rest?.get(octets..);
    }
    let octets = usize::from(u16_at(data, 4)?).checked_sub(walked + 8);
    transport(if next == 1 { 0xff } else { next }, rest?, octets)
}

fn transport(protocol: u8, payload: &[u8], echo_octets: Option<usize>) -> Option<(Step, TcpFlags)> {
    match protocol {
        6 => Some((Step::tcp(u16_at(payload, 2)?), TcpFlags::from_bits(*payload.get(13)?))),
        17 => Some((Step::udp(u16_at(payload, 2)?), TcpFlags::NONE)),
        1 | 58 => {
            let request = if protocol == 1 { 0x0800 } else { 0x8000 };
            let octets = u16::try_from(echo_octets?).ok()?;
            (u16_at(payload, 0)? == request).then_some((Step::icmp(octets), TcpFlags::NONE))
        }
        _ => None,
    }
}

fn u16_at(data: &[u8], offset: usize) -> Option<u16> {
    data.get(offset..offset + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}
