//! The verifier as an attacker, an administrator and a client meet it.

use core::net::{IpAddr, Ipv4Addr};
use std::format;
use std::string::String;

use heapless::Vec;

use super::key::{ENCRYPTION_KEY_BYTES_MAX, MAC_KEY_BYTES_MAX};
use super::mark::{AGE_MAX_SECS, JUMP_MAX_SECS, LEASE_AHEAD_SECS, TimeRefusal, WINDOW_SECS};
use super::sealer::{self, Packet};
use super::*;
use crate::knock::{InterfaceSet, ServicePort};
use crate::limits::{CEILING_WRITE_EVERY, CEILING_WRITES_AT_ONCE, FWKNOP_KEYS_MAX, FWKNOP_REMEMBERED_MAX};
use crate::rule::{Behind, Door, DoorId, Terms};
use crate::spa::key::DeviceId;
use crate::spa::native::Arrival;
use crate::spa::native::verifier::{KeyError, KeyId};
use crate::spa::policy::{ClaimRule, DoorSet, Policy, PolicyRefusal, WallTime};
use crate::time::{Duration, Instant};

const DEVICE: DeviceId = DeviceId(*b"pump station 17.");
const NOW: u64 = 1_795_602_600;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

fn key(number: u8, digest: MacDigest) -> FwknopKey {
    FwknopKey::new(&[number; 32], &[number; 64], digest).unwrap()
}

fn door(name: &str, ports: &[ServicePort]) -> Door {
    Door {
        name: name.try_into().unwrap(),
        ports: Vec::from_slice(ports).unwrap(),
        open_for: Duration::from_secs(30),
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms::PLAIN,
    }
}

struct World {
    doors: [Door; 4],
    verifier: Verifier,
    seen_from: IpAddr,
    at: Instant,
    wall: Option<WallTime>,
    /// What the medium holds for the second key.
    ceiling: u64,
    salts: u64,
}

fn policy() -> Policy {
    Policy {
        doors: DoorSet::NONE.with(DoorId(0)).with(DoorId(1)).with(DoorId(3)),
        claims: ClaimRule::Allowed,
        longest: Some(Duration::from_secs(3600)),
        ..Policy::default()
    }
}

impl World {
    fn with(policy: Policy) -> Self {
        let behind = Some(Behind { host: [192, 168, 10, 5].into(), port: 22 });
        let doors = [
            door("ssh", &[ServicePort::tcp(22)]),
            door("service", &[ServicePort::tcp(502), ServicePort::udp(161)]),
            door("closed", &[ServicePort::tcp(80)]),
            Door { terms: Terms { behind, ..Terms::PLAIN }, ..door("plc", &[ServicePort::tcp(10_022)]) },
        ];
        let mut verifier = Verifier::new(DEVICE);
        verifier.add(&key(1, MacDigest::Sha512), policy.clone(), 0).unwrap();
        verifier.add(&key(2, MacDigest::Sha256), policy, 0).unwrap();
        let (seen_from, at, ceiling) = (CLIENT, Instant::BOOT, 0);
        Self { doors, verifier, seen_from, at, wall: None, ceiling, salts: 0 }
    }

    fn new() -> Self {
        Self::with(policy())
    }

    /// Sealed with the second key.
    fn sealed(&mut self, text: &str) -> Packet {
        self.salts += 1;
        sealer::seal(&key(2, MacDigest::Sha256), text.as_bytes(), &self.salts.to_be_bytes()).unwrap()
    }

    /// As the stock client makes it.
    fn packet(&mut self, sent_at: u64, kind: u8, message: &str, behind: &str) -> Packet {
        let message: String = base64::encode(message.as_bytes()).map(char::from).collect();
        self.sealed(&format!("0123456789012345:YWxpY2U:{sent_at}:3.0.0:{kind}:{message}{behind}"))
    }

    fn access(&mut self, sent_at: u64) -> Packet {
        self.packet(sent_at, 1, "0.0.0.0,tcp/22", "")
    }

    fn deliver(&mut self, packet: &[u8]) -> Result<Admitted, Refused> {
        let arrival = Arrival { seen_from: self.seen_from, at: self.at, wall: self.wall };
        let doors = &self.doors;
        match self.verifier.verify(packet, arrival, doors)? {
            Verdict::Admitted(admitted) => Ok(admitted),
            Verdict::Waiting(waiting) => {
                self.ceiling = self.ceiling.max(waiting.ceiling);
                self.verifier.persisted(waiting.tag, waiting.ceiling);
                self.verifier.resume(&waiting, self.at, self.wall, doors)
            }
        }
    }

    fn ask(&mut self, kind: u8, message: &str, behind: &str) -> Result<Admitted, Refused> {
        let packet = self.packet(NOW, kind, message, behind);
        self.deliver(&packet)
    }

    fn send(&mut self, sent_at: u64) -> Result<Admitted, Refused> {
        let packet = self.access(sent_at);
        self.deliver(&packet)
    }

    fn restart(&mut self) {
        let mut verifier = Verifier::new(DEVICE);
        verifier.add(&key(2, MacDigest::Sha256), policy(), self.ceiling).unwrap();
        self.verifier = verifier;
    }
}

fn refused<T>(reason: Refusal) -> Result<T, Refused> {
    Err(Refused { key: Some(KeyId(1)), reason })
}

fn nat(host_and_port: &str) -> String {
    let text: String = base64::encode(host_and_port.as_bytes()).map(char::from).collect();
    format!(":{text}")
}

#[test]
fn a_request_opens_the_doors_of_its_ports() {
    let admitted = World::new().ask(1, "192.0.2.7,tcp/22,udp/161,tcp/502", "").unwrap();
    let lease = Duration::from_secs(30);
    let openings = [Opening { door: DoorId(0), lease }, Opening { door: DoorId(1), lease }];
    assert_eq!(admitted.openings, openings, "each door once");
    assert_eq!(admitted.source, IpAddr::from([192, 0, 2, 7]));
    assert_eq!((admitted.key, admitted.user.as_str(), admitted.sent_at), (KeyId(1), "alice", NOW));
    let seen = World::new().ask(3, "0.0.0.0,tcp/22", ":900").unwrap();
    assert_eq!(seen.source, CLIENT);
    assert_eq!(seen.openings[0].lease, Duration::from_secs(900));
    let long = World::new().ask(3, "0.0.0.0,tcp/22", ":65535").unwrap();
    assert_eq!(long.openings[0].lease, Duration::from_secs(3600), "what the key may have at most");
}

#[test]
fn what_a_key_must_not_is_refused_and_used_up() {
    let cases: [(u8, &str, String, Refusal); 7] = [
        (1, "0.0.0.0,tcp/80", String::new(), Refusal::Policy(PolicyRefusal::DoorNotAllowed)),
        (1, "0.0.0.0,tcp/22,tcp/80", String::new(), Refusal::Policy(PolicyRefusal::DoorNotAllowed)),
        (1, "0.0.0.0,udp/22", String::new(), Refusal::Policy(PolicyRefusal::UnknownDoor)),
        (0, "0.0.0.0,/bin/sh -c id, really", String::new(), Refusal::Command),
        (2, "0.0.0.0,tcp/22", nat("192.168.10.6,10022"), Refusal::Nat),
        (2, "0.0.0.0,tcp/22", nat("192.168.10.5,10023"), Refusal::Nat),
        (5, "0.0.0.0,tcp/10022", nat("127.0.0.1,22"), Refusal::Nat),
    ];
    for (kind, message, behind, reason) in cases {
        let mut world = World::new();
        let packet = world.packet(NOW, kind, message, &behind);
        assert_eq!(world.deliver(&packet), refused(reason), "{message}");
        assert_eq!(world.deliver(&packet), refused(Refusal::Time(TimeRefusal::Used)), "{message}");
    }
}

#[test]
fn nat_leads_where_a_door_leads() {
    // As the client's manual has it, and as it is with `--nat-port` and fwknopd.
    World::new().ask(2, "0.0.0.0,tcp/10022", &nat("192.168.10.5,22")).unwrap();
    let admitted = World::new().ask(4, "0.0.0.0,tcp/22", &(nat("192.168.10.5,10022") + ":60")).unwrap();
    assert_eq!(admitted.openings, [Opening { door: DoorId(3), lease: Duration::from_secs(60) }]);
    let not_mine = Policy { doors: DoorSet::NONE.with(DoorId(0)), ..policy() };
    let asked = World::with(not_mine).ask(2, "0.0.0.0,tcp/22", &nat("192.168.10.5,10022"));
    assert_eq!(asked, refused(Refusal::Policy(PolicyRefusal::DoorNotAllowed)));
}

#[test]
fn sources_follow_the_policy() {
    let as_seen = || World::with(Policy { claims: ClaimRule::OnlyAsSeen, ..policy() });
    assert!(as_seen().ask(1, "0.0.0.0,tcp/22", "").is_ok());
    assert!(as_seen().ask(1, "198.51.100.7,tcp/22", "").is_ok());
    let asked = as_seen().ask(1, "203.0.113.9,tcp/22", "");
    assert_eq!(asked, refused(Refusal::Policy(PolicyRefusal::ClaimNotAllowed)));
    let required = || World::with(Policy { claims: ClaimRule::Required, ..policy() });
    let asked = required().ask(1, "0.0.0.0,tcp/22", "");
    assert_eq!(asked, refused(Refusal::Policy(PolicyRefusal::ClaimMissing)));
    // Who catches the packet gets nothing for another address.
    let mut world = required();
    world.seen_from = OTHER;
    assert_eq!(world.ask(1, "198.51.100.7,tcp/22", "").unwrap().source, CLIENT);
    let disabled = Policy { disabled: true, ..policy() };
    let asked = World::with(disabled).ask(1, "0.0.0.0,tcp/22", "");
    assert_eq!(asked, refused(Refusal::Policy(PolicyRefusal::Disabled)));
}

#[test]
fn each_malformed_text_has_its_name() {
    let mut world = World::new();
    let mut refusal = |text: &str| {
        let packet = world.sealed(text);
        match world.deliver(&packet).unwrap_err().reason {
            Refusal::Malformed(malformed) => malformed,
            other => panic!("{text}: {other:?}"),
        }
    };
    let text = |fields: &str| format!("0123456789012345:{fields}");
    let of = |message: &str| {
        let message: String = base64::encode(message.as_bytes()).map(char::from).collect();
        text(&format!("YWxpY2U:{NOW}:3.0.0:1:{message}"))
    };
    assert_eq!(refusal("012345678901234x:YWxpY2U:1:3.0.0:1:MA"), Malformed::NotDecrypted);
    assert_eq!(refusal(&text("YWxpY2U\n")), Malformed::NotDecrypted);
    assert_eq!(refusal(&text("YWxpY2U:1795602600:3.0.0")), Malformed::Fields);
    assert_eq!(refusal(&text("YWxpY2V:1795602600:3.0.0:1:MA")), Malformed::User, "bits left over");
    assert_eq!(refusal(&text("YTpi:1795602600:3.0.0:1:MA")), Malformed::User, "a colon");
    assert_eq!(refusal(&text(":1795602600:3.0.0:1:MA")), Malformed::User);
    assert_eq!(refusal(&text("YWxpY2U:-1:3.0.0:1:MA")), Malformed::Time);
    assert_eq!(refusal(&text("YWxpY2U:1795602600123:3.0.0:1:MA")), Malformed::Time);
    assert_eq!(refusal(&text("YWxpY2U:1795602600:3.0.0-rc:1:MA")), Malformed::Version);
    assert_eq!(refusal(&text("YWxpY2U:1795602600:3.0.0:7:MA")), Malformed::Kind);
    assert_eq!(refusal(&text("YWxpY2U:1795602600:3.0.0:01:MA")), Malformed::Kind);
    assert_eq!(refusal(&text("YWxpY2U:1795602600:3.0.0:1:M")), Malformed::Message);
    for source in ["", "10.0.0", "10.0.0.0.1", "010.0.0.1", "127.0.0.1", "255.255.255.255", "::1", "pc"] {
        assert_eq!(refusal(&of(&format!("{source},tcp/22"))), Malformed::Source, "{source}");
    }
    for port in [
        "10.0.0.1",
        "10.0.0.1,",
        "10.0.0.1,tcp/0",
        "10.0.0.1,tcp/65536",
        "10.0.0.1,icmp/1",
        "10.0.0.1,tcp/+1",
    ] {
        assert_eq!(refusal(&of(port)), Malformed::Port, "{port}");
    }
    assert_eq!(refusal(&format!("{}:1", of("10.0.0.1,tcp/22"))), Malformed::ServerAuth);
    let nat_of = |nat: &str| text(&format!("YWxpY2U:{NOW}:3.0.0:2:MTAuMC4wLjEsdGNwLzIy{nat}"));
    assert_eq!(refusal(&nat_of("")), Malformed::Fields);
    for other in ["plc.example,22", "192.168.10.5", "192.168.10.5,0", "192.168.10.5,22,22"] {
        assert_eq!(refusal(&nat_of(&nat(other))), Malformed::Nat, "{other}");
    }
    let timed = |secs: &str| text(&format!("YWxpY2U:{NOW}:3.0.0:3:MTAuMC4wLjEsdGNwLzIy{secs}"));
    assert_eq!(refusal(&timed("")), Malformed::Fields);
    assert_eq!(refusal(&timed(":65537")), Malformed::Timeout);
    assert_eq!(refusal(&timed(":x")), Malformed::Timeout);
    assert_eq!(refusal(&timed(":YQ:60")), Malformed::ServerAuth);
}

#[test]
fn a_wrong_digest_or_padding_inside_is_refused() {
    let mut world = World::new();
    let text = format!("0123456789012345:YWxpY2U:{NOW}:3.0.0:1:MTAuMC4wLjEsdGNwLzIy");
    let key = key(2, MacDigest::Sha256);
    let other =
        sealer::seal_text(&key, format!("{text}:{}", "A".repeat(43)).as_bytes(), b"saltsalt").unwrap();
    assert_eq!(world.deliver(&other), refused(Refusal::Malformed(Malformed::Digest)));
    let blocks = [b'0'; 112];
    let other = sealer::seal_blocks(&key, &blocks, b"saltsalt").unwrap();
    assert_eq!(world.deliver(&other), refused(Refusal::Malformed(Malformed::NotDecrypted)));
    // Another encryption key under the right HMAC key.
    let mixed = FwknopKey::new(&[9; 32], &[2; 64], MacDigest::Sha256).unwrap();
    let other = sealer::seal(&mixed, text.as_bytes(), b"saltsalt").unwrap();
    assert_eq!(world.deliver(&other), refused(Refusal::Malformed(Malformed::NotDecrypted)));
}

#[test]
fn what_no_client_sends_is_refused_before_any_key_is_asked() {
    let mut world = World::new();
    let packet = world.access(NOW);
    let mut reason = |datagram: &[u8]| {
        let refused = world.deliver(datagram).unwrap_err();
        assert_eq!(refused.key, None);
        refused.reason
    };
    assert_eq!(reason(&[]), Refusal::Size);
    assert_eq!(reason(&packet[..PACKET_BYTES_MIN - 1]), Refusal::Size);
    assert_eq!(reason(&[b'A'; PACKET_BYTES_MAX + 1]), Refusal::Size);
    assert_eq!(reason(&[&packet[..], b"\n"].concat()), Refusal::NotBase64, "as -B writes it to a file");
    assert_eq!(reason(&[&packet[..], b"="].concat()), Refusal::NotBase64);
    assert_eq!(reason(&packet.map_for_http()), Refusal::NotBase64);
    assert_eq!(reason(&[PREFIX.as_slice(), &packet].concat()), Refusal::Prefix);
    assert_eq!(reason(&[&packet[..], b"A"].concat()), Refusal::NotCanonical);
    // The lowest bits of the last character of the MAC belong to no octet.
    let mut other = packet.clone();
    let last = other.last_mut().unwrap();
    *last = base64::encode(&[0, 0, (base64::value(*last).unwrap() | 1) & 63]).last().unwrap();
    assert_eq!(reason(&other), Refusal::NotCanonical);
}

trait ForHttp {
    fn map_for_http(&self) -> std::vec::Vec<u8>;
}

impl ForHttp for Packet {
    fn map_for_http(&self) -> std::vec::Vec<u8> {
        let with_both = self.iter().map(|&octet| if octet == b'A' { b'+' } else { octet });
        with_both.map(|octet| if octet == b'+' { b'-' } else { octet }).collect()
    }
}

#[test]
fn no_packet_counts_twice_though_seconds_repeat() {
    let mut world = World::new();
    let packets: std::vec::Vec<Packet> = (0..6).map(|index| world.access(NOW + index / 3)).collect();
    for packet in &packets {
        assert!(world.deliver(packet).is_ok());
        assert_eq!(world.deliver(packet), refused(Refusal::Time(TimeRefusal::Used)));
    }
    // A client whose clock is behind still comes, until the window has passed it.
    assert!(world.send(NOW - WINDOW_SECS + 2).is_ok());
    assert_eq!(world.send(NOW + 1 - WINDOW_SECS), refused(Refusal::Time(TimeRefusal::Old)));
    for packet in &packets {
        assert!(world.deliver(packet).is_err());
    }
}

#[test]
fn more_packets_than_are_remembered_go_below_the_mark() {
    let mut world = World::new();
    let mut sent = std::vec::Vec::new();
    for index in 0..5 * FWKNOP_REMEMBERED_MAX as u64 {
        // Two in each second, the later second first.
        let packet = world.access(NOW + (index / 4 * 2) + u64::from(index % 4 < 2));
        assert!(world.deliver(&packet).is_ok(), "{index}");
        sent.push(packet);
        for packet in &sent {
            assert!(world.deliver(packet).is_err(), "{index}");
        }
    }
    // One second holds more than there is room for: it is over then.
    let mut world = World::new();
    let counted = (0..100).filter(|_| world.send(NOW).is_ok()).count();
    assert_eq!(counted, FWKNOP_REMEMBERED_MAX + 1);
    assert!(world.send(NOW + 1).is_ok());
}

#[test]
fn after_a_start_everything_up_to_the_ceiling_is_used() {
    let mut world = World::new();
    let packet = world.access(NOW);
    assert!(world.deliver(&packet).is_ok());
    assert_eq!(world.ceiling, NOW + LEASE_AHEAD_SECS);
    world.restart();
    let old = Err(Refused { key: Some(KeyId(0)), reason: Refusal::Time(TimeRefusal::Old) });
    assert_eq!(world.deliver(&packet), old);
    assert_eq!(world.send(NOW + LEASE_AHEAD_SECS), old);
    assert!(world.send(NOW + LEASE_AHEAD_SECS + 1).is_ok());
}

#[test]
fn nothing_counts_before_its_ceiling_is_on_the_medium() {
    let mut world = World::new();
    let packet = world.access(NOW);
    let doors = world.doors.clone();
    let arrival = Arrival { seen_from: CLIENT, at: Instant::BOOT, wall: None };
    let Ok(Verdict::Waiting(waiting)) = world.verifier.verify(&packet, arrival, &doors) else { panic!() };
    assert_eq!(waiting.ceiling, NOW + LEASE_AHEAD_SECS);
    // Its copy waits for the same write.
    let Ok(Verdict::Waiting(copy)) = world.verifier.verify(&packet, arrival, &doors) else { panic!() };
    assert_eq!(copy.ceiling, waiting.ceiling);
    let resumed = world.verifier.resume(&waiting, Instant::BOOT, None, &doors);
    assert_eq!(resumed, refused(Refusal::Time(TimeRefusal::NotPersisted)));
    world.verifier.persisted(waiting.tag, waiting.ceiling);
    assert!(world.verifier.resume(&waiting, Instant::BOOT, None, &doors).is_ok());
    let resumed = world.verifier.resume(&copy, Instant::BOOT, None, &doors);
    assert_eq!(resumed, refused(Refusal::Time(TimeRefusal::Used)));
    let mut empty = Verifier::new(DEVICE);
    let resumed = empty.resume(&waiting, Instant::BOOT, None, &doors);
    assert_eq!(resumed.unwrap_err().reason, Refusal::KeyRemoved);
}

#[test]
fn a_clock_to_trust_keeps_late_and_early_packets_out() {
    let mut world = World::new();
    world.wall = Some(WallTime::from_secs(NOW));
    let late = refused(Refusal::Time(TimeRefusal::Late));
    let early = refused(Refusal::Time(TimeRefusal::Early));
    assert_eq!(world.send(NOW - AGE_MAX_SECS - 1), late);
    assert_eq!(world.send(NOW + AGE_MAX_SECS + 1), early);
    assert_eq!(world.send(u64::from(u32::MAX)), early, "the mark stays where it was");
    assert!(world.send(NOW + AGE_MAX_SECS).is_ok());
    assert!(world.send(NOW + 1 - AGE_MAX_SECS).is_ok(), "both ends of what clocks may differ");
    world.wall = Some(WallTime::from_secs(NOW + 20 * 366 * 86_400));
    assert!(world.send(NOW + 20 * 366 * 86_400).is_ok(), "any step up, when the clock says so");
}

#[test]
fn without_a_clock_the_mark_takes_no_giant_step() {
    let mut world = World::new();
    assert!(world.send(NOW).is_ok());
    assert_eq!(world.send(NOW + JUMP_MAX_SECS + 1), refused(Refusal::Time(TimeRefusal::Jump)));
    assert!(world.send(NOW + JUMP_MAX_SECS).is_ok());
    // What was recorded before the key was made counts for nothing.
    let from = Policy { counter_first: NOW, ..policy() };
    let mut world = World::with(from.clone());
    assert_eq!(world.send(NOW - 1), refused(Refusal::Policy(PolicyRefusal::CounterTooEarly)));
    assert!(world.send(NOW).is_ok());
    let until = Policy { counter_last: NOW, ..from };
    let mut world = World::with(until);
    assert_eq!(world.send(NOW + 1), refused(Refusal::Policy(PolicyRefusal::CounterTooLate)));
}

#[test]
fn a_key_does_not_wear_out_the_medium() {
    let mut world = World::new();
    let mut sent_at = NOW;
    let mut written = 0;
    let refusal = loop {
        sent_at += LEASE_AHEAD_SECS + 1;
        match world.send(sent_at) {
            Ok(_) => written += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(written, CEILING_WRITES_AT_ONCE);
    assert_eq!(refusal.reason, Refusal::TooManyWrites);
    world.at = world.at + CEILING_WRITE_EVERY;
    assert!(world.send(sent_at).is_ok());
}

#[test]
fn a_new_configuration_knows_what_was_used() {
    let mut world = World::new();
    let packet = world.access(NOW);
    assert!(world.deliver(&packet).is_ok());
    // Another place, and another encryption key: the packets of before mean nothing then anyway.
    let mut next = Verifier::new(DEVICE);
    next.add(&FwknopKey::new(&[9; 32], &[2; 64], MacDigest::Sha256).unwrap(), policy(), 0).unwrap();
    next.carry_over(&world.verifier);
    let status = next.status().next().unwrap();
    assert_eq!((status.highest, status.ceiling), (NOW, NOW + LEASE_AHEAD_SECS));
    assert_eq!(status.last_used, Some(Instant::BOOT));
}

#[test]
fn keys_that_cannot_be() {
    let digest = MacDigest::Sha256;
    assert_eq!(FwknopKey::new(&[], &[1], digest).unwrap_err(), KeyLength::Encryption);
    assert_eq!(
        FwknopKey::new(&[1; ENCRYPTION_KEY_BYTES_MAX + 1], &[1], digest).unwrap_err(),
        KeyLength::Encryption
    );
    assert_eq!(FwknopKey::new(&[1], &[], digest).unwrap_err(), KeyLength::Mac);
    assert_eq!(FwknopKey::new(&[1], &[1; MAC_KEY_BYTES_MAX + 1], digest).unwrap_err(), KeyLength::Mac);
    assert_eq!(format!("{:?}", key(7, digest)), "FwknopKey(..)");
    let mut verifier = Verifier::new(DEVICE);
    for number in 0..FWKNOP_KEYS_MAX {
        verifier.add(&key(u8::try_from(number).unwrap(), digest), Policy::default(), 0).unwrap();
    }
    assert_eq!(verifier.add(&key(200, digest), Policy::default(), 0), Err(KeyError::TooMany));
    let mut verifier = Verifier::new(DEVICE);
    assert!(verifier.is_empty());
    verifier.add(&key(1, digest), Policy::default(), 0).unwrap();
    assert_eq!(verifier.add(&key(1, MacDigest::Sha512), Policy::default(), 0), Err(KeyError::Duplicate));
    assert_ne!(key(1, digest).tag(DEVICE), key(1, digest).tag(DeviceId([0; 16])));
    assert_ne!(key(1, digest).tag(DEVICE), key(2, digest).tag(DEVICE));
}

#[test]
fn every_key_of_the_gateway_is_found() {
    for digest in MacDigest::ALL {
        let mut verifier = Verifier::new(DEVICE);
        for number in 0..5 {
            let other = MacDigest::ALL[usize::from(number) % 3];
            verifier.add(&key(number, if number == 3 { digest } else { other }), policy(), 0).unwrap();
        }
        let text = format!("0123456789012345:YWxpY2U:{NOW}:3.0.0:1:MC4wLjAuMCx0Y3AvMjI");
        let packet = sealer::seal(&key(3, digest), text.as_bytes(), b"saltsalt").unwrap();
        let world = World::new();
        let doors = world.doors.clone();
        let arrival = Arrival { seen_from: CLIENT, at: Instant::BOOT, wall: None };
        let Ok(Verdict::Waiting(waiting)) = verifier.verify(&packet, arrival, &doors) else {
            panic!("{digest:?}")
        };
        assert_eq!(waiting.key, KeyId(3));
    }
}
