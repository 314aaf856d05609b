//! The whole verifier over thousands of reboots: keys change their order, power goes at every write, an
//! attacker sends again whatever it has seen. `replay/reboots.rs` does the same to the bare counters, a
//! million times.

use super::*;
use crate::knock::{InterfaceSet, ServicePort};
use crate::rule::{Door, Terms};
use crate::spa::key::KeyTag;
use crate::spa::policy::{DoorSet, Policy, WallTime};
use crate::spa::replay::counter;
use crate::time::{Duration, Instant};
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

const DEVICE: DeviceId = DeviceId([8; 16]);
const KEYS: u8 = 3;
const REBOOTS: u32 = 4000;
const IN_2026: u64 = 1_795_000_000_000;

struct Random(u64);

impl Random {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.draw(length as u64)).unwrap()
    }
}

fn key(number: u8) -> SpaKey {
    SpaKey::new([number + 1; 32])
}

fn doors() -> [Door; 1] {
    [Door {
        name: "ssh".try_into().unwrap(),
        ports: heapless::Vec::from_slice(&[ServicePort::tcp(22)]).unwrap(),
        open_for: Duration::from_secs(30),
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms::PLAIN,
    }]
}

struct World {
    random: Random,
    verifier: Verifier,
    medium: BTreeMap<KeyTag, u64>,
    uptime: Instant,
    reboots: u32,
    sent: Vec<[u8; PACKET_BYTES]>,
    admitted: BTreeSet<(KeyTag, u64)>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            random: Random(0x2545_f491_4f6c_dd1d),
            verifier: Verifier::new(DEVICE),
            medium: BTreeMap::new(),
            uptime: Instant::BOOT,
            reboots: 0,
            sent: Vec::new(),
            admitted: BTreeSet::new(),
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.verifier = Verifier::new(DEVICE);
        let first = u8::try_from(self.random.draw(u64::from(KEYS))).unwrap();
        for number in (0..KEYS).map(|number| (first + number) % KEYS) {
            let ceiling = self.medium.get(&key(number).tag(DEVICE)).copied().unwrap_or(0);
            let policy = Policy { doors: DoorSet::ALL, ..Policy::default() };
            self.verifier.add(&key(number), policy, ceiling).unwrap();
        }
        self.uptime = Instant::BOOT;
    }

    fn reboot(&mut self) {
        self.reboots += 1;
        self.start();
    }

    fn deliver(&mut self, packet: &[u8], cuts: bool) -> bool {
        // The wall clock of the gateway is anywhere, or nowhere.
        let wall = [None, Some(0), Some(4_102_444_800)][self.random.index(3)].map(WallTime::from_secs);
        self.uptime = self.uptime + Duration::from_secs(60);
        let arrival = Arrival { seen_from: IpAddr::from([198, 51, 100, 7]), at: self.uptime, wall };
        let admitted = match self.verifier.verify(packet, arrival, &doors()) {
            Err(_) => return false,
            Ok(Verdict::Admitted(admitted)) => admitted,
            Ok(Verdict::Waiting(waiting)) => {
                let cut = if cuts { self.random.draw(3) } else { 2 };
                if cut > 0 {
                    let held = self.medium.entry(waiting.tag).or_default();
                    *held = waiting.ceiling.max(*held);
                }
                if cut < 2 {
                    self.reboot();
                    return false;
                }
                self.verifier.persisted(waiting.tag, waiting.ceiling);
                let Ok(admitted) = self.verifier.resume(&waiting, self.uptime, wall, &doors()) else {
                    return false;
                };
                admitted
            }
        };
        let tag = self.verifier.status().nth(usize::from(admitted.key.0)).unwrap().tag;
        assert!(self.admitted.insert((tag, admitted.counter)), "{admitted:?} a second time");
        true
    }
}

#[test]
fn nothing_is_admitted_twice_and_nobody_stays_out() {
    let mut world = World::new();
    let sealers: Vec<Sealer> = (0..KEYS).map(|number| Sealer::new(&key(number), DEVICE)).collect();
    let mut last = [0; KEYS as usize];
    let mut now = IN_2026;
    while world.reboots < REBOOTS {
        let who = world.random.index(KEYS.into());
        now += 5_000 + world.random.draw(100_000_000);
        // One of them has no clock.
        let clock = (who > 0).then_some(now);
        for cuts in [true, true, false] {
            now += 5_000;
            last[who] = counter::next(last[who], clock.map(|_| now)).unwrap();
            let request = Request::open("ssh".try_into().unwrap(), last[who]);
            let packet = sealers[who].seal(&request, &[0; 24]).unwrap();
            world.sent.push(packet);
            let admitted = world.deliver(&packet, cuts);
            assert!(admitted || cuts, "key {who} stays out");
            for _ in 0..world.random.draw(3) {
                let newest = world.sent.len();
                let back = 1 + if world.random.draw(2) == 0 { 0 } else { world.random.index(newest) };
                let again = world.sent[newest - back];
                world.deliver(&again, true);
            }
        }
    }
    for packet in std::mem::take(&mut world.sent) {
        world.deliver(&packet, false);
    }
    assert!(world.admitted.len() > 1000, "the test is not empty");
}
