//! Frames built by hand, one for each way in and each reason to stay out.

use std::vec::Vec;

use core::net::IpAddr;

use super::*;
use crate::knock::{InterfaceIndex, Protocol};

const CLIENT: [u8; 4] = [198, 51, 100, 7];
const GATEWAY: [u8; 4] = [203, 0, 113, 1];

fn tcp_segment(port: u16, flags: u8) -> Vec<u8> {
    let mut segment = std::vec![0xc0, 0x00];
    segment.extend(port.to_be_bytes());
    segment.extend([0; 8]);
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment
}

fn udp_datagram(port: u16, payload: usize) -> Vec<u8> {
    let mut datagram = std::vec![0xc0, 0x00];
    datagram.extend(port.to_be_bytes());
    datagram.extend(u16::try_from(8 + payload).unwrap().to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(std::vec![0; payload]);
    datagram
}

fn echo(kind: u8, payload: usize) -> Vec<u8> {
    let mut message = std::vec![kind, 0, 0, 0, 0, 1, 0, 1];
    message.extend(std::vec![0xa5; payload]);
    message
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = std::vec![0x45, 0, total[0], total[1], 0, 1, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(CLIENT);
    packet.extend(GATEWAY);
    packet.extend(payload);
    packet
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut packet = std::vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    packet.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(payload);
    packet
}

fn ether(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = std::vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

fn vlan(inner: u16, payload: &[u8]) -> Vec<u8> {
    let mut tagged = std::vec![0x00, 0x05];
    tagged.extend(inner.to_be_bytes());
    tagged.extend(payload);
    tagged
}

fn read(link: LinkType, bytes: &[u8]) -> Result<Knock, Ignored> {
    parse(&Frame { interface: InterfaceIndex(1), link, bytes })
}

fn step(link: LinkType, bytes: &[u8]) -> Result<Step, Ignored> {
    read(link, bytes).map(|knock| knock.step)
}

#[test]
fn a_knock_carries_everything() {
    let knock = read(LinkType::Ethernet, &ether(0x0800, &v4(6, &tcp_segment(7351, 0x02)))).unwrap();
    assert_eq!(knock.source, IpAddr::from(CLIENT));
    assert_eq!(knock.target, IpAddr::from(GATEWAY));
    assert_eq!(knock.step, Step::tcp(7351));
    assert_eq!(knock.flags, TcpFlags::SYN);
    assert_eq!(knock.interface, InterfaceIndex(1));
}

#[test]
fn every_protocol_on_every_link() {
    let knocks = [
        (4, v4(6, &tcp_segment(7351, 2)), Step::tcp(7351)),
        (4, v4(17, &udp_datagram(24_011, 1)), Step::udp(24_011)),
        (4, v4(1, &echo(8, 83)), Step::icmp(83)),
        (6, v6(6, &tcp_segment(1490, 2)), Step::tcp(1490)),
        (6, v6(17, &udp_datagram(9, 0)), Step::udp(9)),
        (6, v6(58, &echo(128, 0)), Step::icmp(0)),
    ];
    for (version, packet, expected) in knocks {
        let ether_type = if version == 4 { 0x0800 } else { 0x86dd };
        let ppp_type: [u8; 2] = if version == 4 { [0x00, 0x21] } else { [0x00, 0x57] };
        let single = vlan(ether_type, &packet);
        let double = vlan(0x8100, &single);
        let ppp = [&ppp_type[..], &packet].concat();
        let pppoe = [&[0x11, 0, 0, 9, 0, 0][..], &ppp].concat();
        let sll = |kind: u8| {
            [&[0, kind, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0][..], &ether_type_bytes(ether_type), &packet]
                .concat()
        };
        let sll2 = [
            &ether_type_bytes(ether_type)[..],
            &[0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0],
            &packet,
        ]
        .concat();
        let frames = [
            (LinkType::Ethernet, ether(ether_type, &packet)),
            (LinkType::Ethernet, ether(0x8100, &single)),
            (LinkType::Ethernet, ether(0x88a8, &double)),
            (LinkType::Ethernet, ether(0x8864, &pppoe)),
            (LinkType::RawIp, packet.clone()),
            (LinkType::Ppp, ppp.clone()),
            (LinkType::Ppp, [&[0xff, 0x03][..], &ppp].concat()),
            (LinkType::Ppp, [&ppp_type[1..], &packet].concat()),
            (LinkType::CookedV1, sll(0)),
            (LinkType::CookedV2, sll2),
            (LinkType::Loopback, [&[0, 0, 0, 2][..], &packet].concat()),
        ];
        for (index, (link, frame)) in frames.iter().enumerate() {
            assert_eq!(step(*link, frame), Ok(expected), "frame {index} on {link:?}");
            // The frame check sequence, or padding, behind the packet must not matter.
            let padded = [frame, &[0xde, 0xad, 0xbe, 0xef][..]].concat();
            assert_eq!(step(*link, &padded), Ok(expected), "padded frame {index} on {link:?}");
        }
        assert_eq!(step(LinkType::CookedV1, &sll(4)), Err(Ignored::Outbound));
    }
}

fn ether_type_bytes(ether_type: u16) -> [u8; 2] {
    ether_type.to_be_bytes()
}

#[test]
fn a_cut_payload_does_not_change_the_length() {
    let packet = v4(1, &echo(8, 1000));
    assert_eq!(step(LinkType::RawIp, &packet[..40]), Ok(Step::icmp(1000)));
}

#[test]
fn options_and_extension_headers_are_walked() {
    let mut packet = v4(6, &tcp_segment(7351, 2));
    packet[0] = 0x47;
    packet[3] += 8;
    packet.splice(20..20, [1; 8]);
    assert_eq!(step(LinkType::RawIp, &packet), Ok(Step::tcp(7351)));

    let extended = |types: &[u8], units: u8| {
        let mut payload = Vec::new();
        for following in types.iter().skip(1).chain([&6]) {
            payload.extend([*following, units]);
            payload.extend(std::vec![0; (usize::from(units) + 1) * 8 - 2]);
        }
        payload.extend(tcp_segment(7351, 2));
        v6(types[0], &payload)
    };
    assert_eq!(step(LinkType::RawIp, &extended(&[0, 43, 60], 0)), Ok(Step::tcp(7351)));
    assert_eq!(step(LinkType::RawIp, &extended(&[60; 6], 0)), Ok(Step::tcp(7351)));
    assert_eq!(step(LinkType::RawIp, &extended(&[60; 7], 0)), Err(Ignored::Extensions));
    assert_eq!(step(LinkType::RawIp, &extended(&[60], 16)), Err(Ignored::Extensions));
    assert_eq!(step(LinkType::RawIp, &extended(&[44], 0)), Err(Ignored::Fragment));
    assert_eq!(step(LinkType::RawIp, &extended(&[135], 0)), Err(Ignored::OtherProtocol));
}

#[test]
fn what_is_no_knock_says_why() {
    let good = v4(6, &tcp_segment(7351, 2));
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        step(LinkType::RawIp, &packet)
    };
    assert_eq!(broken(&|p| p[6] = 0x20), Err(Ignored::Fragment), "first fragment");
    assert_eq!(broken(&|p| p[7] = 0x01), Err(Ignored::Fragment), "later fragment");
    assert_eq!(broken(&|p| p[0] = 0x44), Err(Ignored::BadHeader), "header length");
    assert_eq!(broken(&|p| p[3] = 19), Err(Ignored::BadHeader), "total length");
    assert_eq!(broken(&|p| p[3] = 39), Err(Ignored::BadHeader), "TCP header longer than the packet");
    assert_eq!(broken(&|p| p[32] = 0x40), Err(Ignored::BadHeader), "TCP data offset");
    assert_eq!(broken(&|p| p[9] = 47), Err(Ignored::OtherProtocol), "GRE");
    assert_eq!(broken(&|p| p[0] = 0x55), Err(Ignored::NotIp), "version");
    for source in [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
        assert_eq!(broken(&|p| p[12..16].copy_from_slice(&source)), Err(Ignored::BadAddress), "{source:?}");
    }
    assert_eq!(broken(&|p| p[16..20].copy_from_slice(&[239, 1, 2, 3])), Err(Ignored::BadAddress));
    assert_eq!(step(LinkType::RawIp, &v4(1, &echo(0, 83))), Err(Ignored::OtherProtocol), "echo reply");
    assert_eq!(step(LinkType::RawIp, &v4(58, &echo(128, 83))), Err(Ignored::OtherProtocol), "ICMPv6 in IPv4");
    assert_eq!(step(LinkType::Ethernet, &ether(0x0806, &[0; 28])), Err(Ignored::NotIp), "ARP");
    assert_eq!(
        step(LinkType::Ethernet, &ether(0x8100, &vlan(0x8100, &vlan(0x8100, &good)))),
        Err(Ignored::NotIp)
    );
    let mut mapped = v6(6, &tcp_segment(1, 2));
    mapped[8..24].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
    assert_eq!(step(LinkType::RawIp, &mapped), Err(Ignored::BadAddress), "IPv4-mapped");
}

#[test]
fn every_cut_is_refused_or_the_same_knock() {
    let frames = [
        ether(0x0800, &v4(6, &tcp_segment(7351, 2))),
        ether(0x8100, &vlan(0x86dd, &v6(17, &udp_datagram(5, 40)))),
        ether(0x8864, &[&[0x11, 0, 0, 9, 0, 0, 0, 0x21][..], &v4(1, &echo(8, 83))].concat()),
    ];
    for frame in frames {
        let whole = read(LinkType::Ethernet, &frame).unwrap();
        for cut in 0..frame.len() {
            match read(LinkType::Ethernet, &frame[..cut]) {
                Ok(knock) => assert_eq!(knock, whole, "cut at {cut}"),
                Err(reason) => assert_eq!(reason, Ignored::TooShort, "cut at {cut}"),
            }
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let seed = ether(0x8100, &vlan(0x86dd, &v6(0, &[6, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])));
    let mut knocks = 0;
    for _ in 0..200_000 {
        let mut bytes = seed.clone();
        for _ in 0..next() % 8 {
            let place = usize::try_from(next() % 60).unwrap();
            if let Some(byte) = bytes.get_mut(place) {
                *byte = next().to_le_bytes()[0];
            }
        }
        bytes.resize(usize::try_from(next() % 120).unwrap(), next().to_le_bytes()[3]);
        let link = LinkType::ALL[usize::try_from(next() % 6).unwrap()];
        knocks += u32::from(read(link, &bytes).is_ok_and(|knock| knock.step.protocol == Protocol::Tcp));
    }
    assert!(knocks > 0, "some must get through for the test to mean something");
}
