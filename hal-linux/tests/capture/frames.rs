//! Frames to send.

/// TCP header with these flags.
pub(crate) fn tcp(port: u16, flags: u8) -> (u8, Vec<u8>) {
    let mut header = vec![0; 20];
    header[..2].copy_from_slice(&40_000_u16.to_be_bytes());
    header[2..4].copy_from_slice(&port.to_be_bytes());
    (header[12], header[13]) = (0x50, flags);
    (6, header)
}

pub(crate) fn syn(port: u16) -> (u8, Vec<u8>) {
    tcp(port, 0x02)
}

pub(crate) fn udp(port: u16) -> (u8, Vec<u8>) {
    let mut header = vec![0; 8];
    header[2..4].copy_from_slice(&port.to_be_bytes());
    header[5] = 8;
    (17, header)
}

/// Echo request with `octets` octets behind its header.
pub(crate) fn echo(icmp: u8, octets: usize) -> (u8, Vec<u8>) {
    let mut message = vec![0; 8 + octets];
    message[0] = if icmp == 1 { 8 } else { 128 };
    (icmp, message)
}

pub(crate) fn ipv4((protocol, payload): (u8, Vec<u8>)) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 203, 0, 113, 9];
    packet.extend(payload);
    let length = u16::try_from(packet.len()).unwrap();
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let sum: u32 = packet[..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

pub(crate) fn ipv6((protocol, payload): (u8, Vec<u8>)) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, protocol, 64];
    packet[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    for host in [1, 2] {
        packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    packet.extend(payload);
    packet
}

/// Destination options before whatever the IPv6 packet carries.
pub(crate) fn with_options(mut packet: Vec<u8>) -> Vec<u8> {
    let next = std::mem::replace(&mut packet[6], 60);
    let length = u16::from_be_bytes([packet[4], packet[5]]) + 8;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet.splice(40..40, [next, 0, 1, 4, 0, 0, 0, 0]);
    packet
}

/// To everybody: nobody's address needs to be known.
pub(crate) fn ethernet(ether_type: u16, payload: Vec<u8>) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x02, 0, 0, 0, 0, 1]);
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Puts a VLAN tag into an Ethernet frame.
pub(crate) fn tagged(tag_type: u16, vlan: u16, mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, tag_type.to_be_bytes().into_iter().chain(vlan.to_be_bytes()));
    frame
}

/// A PPPoE session with this PPP protocol.
pub(crate) fn pppoe(protocol: u16, packet: Vec<u8>) -> Vec<u8> {
    let mut session = vec![0x11, 0, 0, 7];
    session.extend(u16::try_from(packet.len() + 2).unwrap().to_be_bytes());
    session.extend(protocol.to_be_bytes());
    session.extend(packet);
    ethernet(0x8864, session)
}
