//! Packets of a client against the gateway's verifier.

use std::net::{IpAddr, UdpSocket};

use postern_core::knock::{InterfaceSet, ServicePort};
use postern_core::rule::{Door, DoorId, Terms};
use postern_core::spa::key::DeviceId;
use postern_core::spa::native::{Admitted, Arrival, Verdict, Verifier};
use postern_core::spa::policy::{ClaimRule, DoorSet, Policy};
use postern_core::spa::replay::counter::STRIDE;
use postern_core::time::{Duration as EngineDuration, Instant};

use super::*;
use crate::profile::KeyPlace;

const DEVICE: DeviceId = DeviceId([7; 16]);

fn spa(port: u16) -> Spa {
    Spa {
        key: KeyPlace { file: "unused".into(), device: DEVICE },
        door: "ssh".try_into().unwrap(),
        port,
        first_counter: 1_795_000_000_000,
        epoch: 0,
        remember: true,
        lease_secs: 90,
        one_shot: false,
        claim: Claim::Seen,
        copies: 1,
    }
}

fn key() -> SpaKey {
    SpaKey::new([3; 32])
}

/// A gateway of which only the verifier is there.
struct Gateway {
    socket: UdpSocket,
    verifier: Verifier,
    door: Door,
}

impl Gateway {
    fn new(address: &str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut verifier = Verifier::new(DEVICE);
        let policy = Policy {
            doors: DoorSet::NONE.with(DoorId(0)),
            claims: ClaimRule::Allowed,
            longest: Some(EngineDuration::from_secs(3600)),
            ..Policy::default()
        };
        verifier.add(&key(), policy, 0).unwrap();
        let door = Door {
            name: "ssh".try_into().unwrap(),
            ports: Vec::from_slice(&[ServicePort::tcp(22)]).unwrap(),
            open_for: EngineDuration::from_secs(30),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms::PLAIN,
        };
        Self { socket, verifier, door }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn receive(&self) -> ([u8; PACKET_BYTES], IpAddr) {
        let mut packet = [0; PACKET_BYTES + 1];
        let (length, from) = self.socket.recv_from(&mut packet).unwrap();
        (packet[..length].try_into().unwrap(), from.ip())
    }

    /// What it makes of the next packet.
    fn take(&mut self) -> Result<Admitted, &'static str> {
        let (packet, seen_from) = self.receive();
        let arrival = Arrival { seen_from, at: Instant::from_millis(1), wall: None };
        let doors = std::slice::from_ref(&self.door);
        let admitted = match self.verifier.verify(&packet, arrival, doors) {
            Ok(Verdict::Admitted(admitted)) => Ok(admitted),
            Ok(Verdict::Waiting(waiting)) => {
                self.verifier.persisted(waiting.tag, waiting.ceiling);
                self.verifier.resume(&waiting, arrival.at, arrival.wall, doors)
            }
            Err(refused) => Err(refused),
        };
        admitted.map_err(|refused| refused.reason.reason())
    }
}

fn counters(name: &str) -> Counters {
    let folder = std::env::temp_dir().join(format!("postern-datagram-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    Counters::at(folder)
}

fn way(spa: Spa, counters: &Counters) -> DatagramWay {
    DatagramWay::new(spa, Purpose::Open, &key(), Some(counters.clone()))
}

fn send(way: &mut DatagramWay, gateway: &Gateway, again: bool) {
    way.send(gateway.address(), again, &mut |_| {}).unwrap();
}

#[test]
fn a_gateway_takes_what_a_client_sends_over_both_families() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let mut gateway = Gateway::new(address);
        let counters = counters("families");
        let mut way = way(spa(gateway.address().port()), &counters);
        for again in [false, true, false] {
            send(&mut way, &gateway, again);
            let admitted = gateway.take().unwrap();
            assert_eq!(admitted.lease, EngineDuration::from_secs(90));
            assert_eq!(admitted.sources[0], gateway.address().ip());
            assert_eq!(Some(admitted.counter), way.counter());
        }
        std::fs::remove_dir_all(counters.folder()).unwrap();
    }
}

#[test]
fn no_two_packets_have_a_counter_in_common_and_the_last_is_on_the_disk_before() {
    let mut gateway = Gateway::new("127.0.0.1:0");
    let counters = counters("rising");
    let spa = spa(gateway.address().port());
    let mut last = 0;
    for process in 0..5 {
        let mut way = way(spa.clone(), &counters);
        let expected = way.look_ahead().unwrap();
        send(&mut way, &gateway, false);
        let counter = way.counter().unwrap();
        assert!(counter >= expected && counter > last, "process {process}");
        let kept: Option<LastCounter> = counters.look(key().tag(DEVICE)).unwrap();
        assert_eq!(kept, Some(LastCounter(counter)));
        gateway.take().unwrap();
        send(&mut way, &gateway, true);
        assert!(way.counter().unwrap() >= counter + STRIDE, "a retry is far enough ahead");
        gateway.take().unwrap();
        last = way.counter().unwrap();
    }
    std::fs::remove_dir_all(counters.folder()).unwrap();
}

#[test]
fn copies_are_the_same_octets_and_count_once() {
    let mut gateway = Gateway::new("127.0.0.1:0");
    let counters = counters("copies");
    let mut way = way(Spa { copies: 3, ..spa(gateway.address().port()) }, &counters);
    send(&mut way, &gateway, false);
    assert!(gateway.take().is_ok());
    assert_eq!(gateway.take(), Err("counter-used"));
    assert_eq!(gateway.take(), Err("counter-used"));
    std::fs::remove_dir_all(counters.folder()).unwrap();
}

#[test]
fn nothing_is_sent_when_the_counter_cannot_be_kept() {
    let gateway = Gateway::new("127.0.0.1:0");
    gateway.socket.set_nonblocking(true).unwrap();
    let counters = Counters::at("/proc/none".into());
    let refused = way(spa(gateway.address().port()), &counters).send(gateway.address(), false, &mut |_| {});
    assert!(refused.unwrap_err().to_string().contains("nothing was sent"));
    assert!(gateway.socket.recv(&mut [0; 200]).is_err(), "a packet came all the same");
}

#[test]
fn without_memory_the_clock_makes_counters() {
    let mut gateway = Gateway::new("127.0.0.1:0");
    let counters = counters("memory");
    let spa = Spa { remember: false, epoch: 2, ..spa(gateway.address().port()) };
    let mut way = way(spa, &counters);
    send(&mut way, &gateway, false);
    let first = gateway.take().unwrap().counter;
    assert_eq!(first >> COUNT_BITS, 2);
    send(&mut way, &gateway, true);
    assert!(gateway.take().unwrap().counter >= first + STRIDE);
    assert!(!counters.folder().exists());
}

/// A key of 1995 is further away than one step of a clock; who remembers nothing must not stay there.
#[test]
fn without_memory_an_old_key_is_as_good() {
    let first_counter = 788_918_400_000;
    let spa = Spa { remember: false, first_counter, ..spa(1) };
    let next = DatagramWay::new(spa, Purpose::Open, &key(), None).look_ahead().unwrap();
    assert!(next > first_counter + STRIDE, "{next}");
}

#[test]
fn wishes_are_in_the_packet() {
    let mut gateway = Gateway::new("127.0.0.1:0");
    let counters = counters("wishes");
    let claimed = vec!["203.0.113.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
    let spa = Spa { one_shot: true, claim: Claim::These(claimed.clone()), ..spa(gateway.address().port()) };
    send(&mut way(spa.clone(), &counters), &gateway, false);
    let admitted = gateway.take().unwrap();
    assert!(admitted.one_shot && *admitted.sources == *claimed);
    // A close has no lease and is not one-shot, whatever the profile wishes.
    let mut closes = DatagramWay::new(spa.clone(), Purpose::Close, &key(), Some(counters.clone()));
    send(&mut closes, &gateway, false);
    assert_eq!(gateway.take().unwrap().purpose, Purpose::Close);
    // The address of the loopback is no claim.
    let own = Spa { claim: Claim::Own, ..spa };
    let refused = way(own, &counters).send(gateway.address(), false, &mut |_| {}).unwrap_err();
    assert!(refused.to_string().contains("source-impossible"), "{refused}");
    std::fs::remove_dir_all(counters.folder()).unwrap();
}

#[test]
fn a_gateway_with_another_id_refuses() {
    let mut gateway = Gateway::new("127.0.0.1:0");
    let counters = counters("other");
    let mut other = spa(gateway.address().port());
    other.key.device = DeviceId([8; 16]);
    send(&mut way(other, &counters), &gateway, false);
    assert_eq!(gateway.take(), Err("not-genuine"));
    std::fs::remove_dir_all(counters.folder()).unwrap();
}
