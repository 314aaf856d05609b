//! Ethernet frames made by hand: forged sources, VLAN tags, chosen flags.

use std::fmt;
use std::net::IpAddr;

/// A link-layer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a frame carries above IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A TCP segment without data and with these flags (RFC 9293, section 3.1).
    Tcp {
        /// Destination port.
        port: u16,
        /// The flag octet.
        flags: u8,
    },
    /// A UDP datagram with one octet of data.
    Udp {
        /// Destination port.
        port: u16,
    },
    /// An echo request with this many octets of data.
    Echo {
        /// Octets of data.
        octets: u16,
    },
}

impl Payload {
    /// The opening segment of a TCP connection.
    pub const fn syn(port: u16) -> Self {
        Payload::Tcp { port, flags: 0x02 }
    }

    /// A UDP knock.
    pub const fn udp(port: u16) -> Self {
        Payload::Udp { port }
    }

    /// An echo knock.
    pub const fn echo(octets: u16) -> Self {
        Payload::Echo { octets }
    }

    fn protocol(self, v6: bool) -> u8 {
        match self {
            Payload::Tcp { .. } => 6,
            Payload::Udp { .. } => 17,
            Payload::Echo { .. } => {
                if v6 {
                    58
                } else {
                    1
                }
            }
        }
    }
}

/// As a knock stands in a site file: `tcp/7351`, `udp/24011`, `icmp/83`.
impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Tcp { port, .. } => write!(f, "tcp/{port}"),
            Payload::Udp { port } => write!(f, "udp/{port}"),
            Payload::Echo { octets } => write!(f, "icmp/{octets}"),
        }
    }
}

/// Link-layer addresses and tags of a frame.
#[derive(Clone, Debug)]
pub struct Link {
    /// From.
    pub source: Mac,
    /// To.
    pub target: Mac,
    /// VLAN tags from the outside in: tag protocol (0x8100, 0x88a8) and VLAN number.
    pub tags: Vec<(u16, u16)>,
}

/// A whole frame. `source_port` is the TCP or UDP source port or the echo identifier.
///
/// # Panics
/// When `source` and `target` are of different families.
pub fn frame(link: &Link, source: IpAddr, target: IpAddr, source_port: u16, payload: Payload) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend(link.target.0);
    frame.extend(link.source.0);
    for (protocol, number) in &link.tags {
        frame.extend(protocol.to_be_bytes());
        frame.extend(number.to_be_bytes());
    }
    frame.extend(if target.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
    frame.extend(packet(source, target, source_port, payload));
    frame
}

/// The IP packet alone.
///
/// # Panics
/// When `source` and `target` are of different families.
pub fn packet(source: IpAddr, target: IpAddr, source_port: u16, payload: Payload) -> Vec<u8> {
    let protocol = payload.protocol(target.is_ipv6());
    let mut body = body(target.is_ipv6(), source_port, payload);
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut pseudo = Vec::new();
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            pseudo.extend(source.octets());
            pseudo.extend(target.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            pseudo.extend(source.octets());
            pseudo.extend(target.octets());
        }
        _ => panic!("{source} and {target} are of different families"),
    }
    // The pseudo header of RFC 9293, section 3.1, and RFC 8200, section 8.1, sums up the same.
    let addresses = pseudo.clone();
    pseudo.extend([0, protocol]);
    pseudo.extend(length.to_be_bytes());
    let (at, with_pseudo) = match payload {
        Payload::Tcp { .. } => (16, true),
        Payload::Udp { .. } => (6, true),
        Payload::Echo { .. } => (2, target.is_ipv6()),
    };
    let sum = checksum(&[if with_pseudo { pseudo.as_slice() } else { &[] }, &body].concat());
    body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    let mut packet = ip_header(target.is_ipv6(), protocol, length, &addresses);
    packet.extend(body);
    packet
}

fn body(v6: bool, source_port: u16, payload: Payload) -> Vec<u8> {
    let mut body = Vec::new();
    match payload {
        Payload::Tcp { port, flags } => {
            body.extend(source_port.to_be_bytes());
            body.extend(port.to_be_bytes());
            body.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        }
        Payload::Udp { port } => {
            body.extend(source_port.to_be_bytes());
            body.extend(port.to_be_bytes());
            body.extend([0, 9, 0, 0, 0]);
        }
        Payload::Echo { octets } => {
            body.extend([if v6 { 128 } else { 8 }, 0, 0, 0]);
            body.extend(source_port.to_be_bytes());
            body.extend([0, 1]);
            body.resize(8 + usize::from(octets), 0);
        }
    }
    body
}

fn ip_header(v6: bool, protocol: u8, length: u16, addresses: &[u8]) -> Vec<u8> {
    if v6 {
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(length.to_be_bytes());
        header.extend([protocol, 64]);
        header.extend(addresses);
        return header;
    }
    let mut header = vec![0x45, 0];
    header.extend((length + 20).to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(addresses);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// The internet checksum (RFC 1071).
fn checksum(octets: &[u8]) -> u16 {
    let mut sum: u32 = octets
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_a_header_with_its_checksum_is_zero() {
        let source = "198.18.0.2".parse().unwrap();
        let target = "198.18.0.1".parse().unwrap();
        let packet = packet(source, target, 40000, Payload::syn(7351));
        assert_eq!(checksum(&packet[..20]), 0);
        assert_eq!(packet.len(), 40);
        assert_eq!(packet[20 + 2..20 + 4], 7351u16.to_be_bytes());
    }

    #[test]
    fn tags_stand_between_the_addresses_and_the_type() {
        let link = Link { source: Mac([2; 6]), target: Mac([4; 6]), tags: vec![(0x88a8, 7), (0x8100, 5)] };
        let (source, target) = ("2001:db8::2".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let frame = frame(&link, source, target, 1, Payload::Echo { octets: 83 });
        assert_eq!(frame[12..22], [0x88, 0xa8, 0, 7, 0x81, 0, 0, 5, 0x86, 0xdd]);
        assert_eq!(frame.len(), 14 + 8 + 40 + 8 + 83);
    }
}
