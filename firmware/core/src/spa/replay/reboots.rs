//! A million reboots: power goes at every write of the journal, clocks go anywhere, an attacker keeps
//! every packet. No counter is accepted twice and no honest client stays out.

use super::counter::{in_epoch, next};
use super::{Admission, COUNT_BITS, ReplayState};
use std::collections::HashSet;
use std::vec::Vec;

const WORLDS: u64 = 1000;
const REBOOTS: u64 = 1000;
const DAY: u64 = 86_400_000;
const IN_2026: u64 = 1_795_000_000_000;
const IN_2100: u64 = 4_102_444_800_000;

/// Failures in a row after which a person looks at the client and says "new epoch".
const PATIENCE: u32 = 3;

struct Random(u64);

impl Random {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Remembers its last counter and has a clock that may be set to anything.
    Remembers,
    /// Remembers, and has no clock.
    NoClock,
    /// Has nothing but a clock that may be set to anything.
    ClockOnly,
    /// Has nothing but a clock that is always right.
    GoodClockOnly,
}

struct Client {
    kind: Kind,
    last: u64,
    epoch: u16,
    /// What its clock shows, when that is wrong.
    wrong_clock: Option<u64>,
    asked_person: u64,
}

impl Client {
    fn seal(&mut self, now: u64) -> u64 {
        let clock = self.wrong_clock.unwrap_or(now);
        let counter = match self.kind {
            Kind::Remembers => next(self.last, Some(clock)),
            Kind::NoClock => next(self.last, None),
            Kind::ClockOnly | Kind::GoodClockOnly => Some(in_epoch(self.epoch, clock)),
        };
        self.last = counter.expect("epochs last longer than this test");
        self.last
    }

    fn ask_person(&mut self, now: u64) {
        self.asked_person += 1;
        let epoch = u16::try_from(self.last >> COUNT_BITS).expect("16 bits");
        self.epoch = epoch.max(self.epoch) + 1;
        self.last = in_epoch(self.epoch, now) - 1;
    }
}

struct World {
    random: Random,
    now: u64,
    client: Client,
    /// What the medium holds.
    durable: u64,
    device: ReplayState,
    sent: Vec<u64>,
    accepted: HashSet<u64>,
    writes: u64,
    reboots: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let kind = match seed % 4 {
            0 => Kind::Remembers,
            1 => Kind::NoClock,
            2 => Kind::ClockOnly,
            _ => Kind::GoodClockOnly,
        };
        // A key made with its time, or without.
        let first = if seed % 8 < 4 { IN_2026 } else { 0 };
        let client = Client { kind, last: first, epoch: 0, wrong_clock: None, asked_person: 0 };
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            now: IN_2026,
            client,
            durable: 0,
            device: ReplayState::restored(0, first),
            sent: Vec::new(),
            accepted: HashSet::new(),
            writes: 0,
            reboots: 0,
        }
    }

    fn reboot(&mut self) {
        self.reboots += 1;
        // Neither `first` of the configuration nor anything in memory matters once there is a ceiling.
        self.device = ReplayState::restored(self.durable, 0);
        // No gateway starts faster.
        self.now += 5_000;
    }

    /// One packet arrives. `cuts`: power may go at every write and behind it.
    fn deliver(&mut self, counter: u64, cuts: bool) -> bool {
        match self.device.check(counter) {
            Err(_) => return false,
            Ok(Admission::Now) => {}
            Ok(Admission::AfterPersisting { ceiling }) => {
                self.writes += 1;
                let cut = if cuts { self.random.draw(3) } else { 2 };
                if cut == 0 {
                    self.reboot();
                    return false;
                }
                self.durable = self.durable.max(ceiling);
                if cut == 1 {
                    self.reboot();
                    return false;
                }
                self.device.persisted(ceiling);
            }
        }
        self.device.accept(counter).expect("it was checked");
        assert!(self.accepted.insert(counter), "{counter:#x} was accepted twice");
        if cuts && self.random.draw(4) == 0 {
            self.reboot();
        }
        true
    }

    /// The attacker sends what it has kept, the last packets above all.
    fn replay(&mut self) {
        for _ in 0..self.random.draw(4) {
            let behind = self.random.draw(if self.random.0 & 1 == 0 { 4 } else { 4096 });
            let index = (self.sent.len() as u64).saturating_sub(1 + behind);
            if let Some(&counter) = self.sent.get(usize::try_from(index).expect("few packets")) {
                self.deliver(counter, true);
            }
        }
    }

    fn disturb_clock(&mut self) {
        self.client.wrong_clock = match (self.client.kind, self.random.draw(16)) {
            (Kind::GoodClockOnly, _) => None,
            (_, 0) => Some(self.random.draw(DAY)),
            (_, 1) => Some(IN_2100 + self.random.draw(DAY)),
            (_, 2) => Some(self.now + self.random.draw(20 * 365 * DAY)),
            (_, 3) => Some(self.now - self.random.draw(20 * 365 * DAY)),
            _ => None,
        };
    }

    /// One visit: knocks with power cuts, a clock that may be wrong, packets lost or kept back; then
    /// everything is in order again and the client must get in.
    fn visit(&mut self) {
        self.now += self.random.draw(30 * DAY);
        self.disturb_clock();
        for _ in 0..self.random.draw(4) {
            self.now += self.random.draw(10_000);
            let counter = self.client.seal(self.now);
            self.sent.push(counter);
            if self.random.draw(3) > 0 {
                self.deliver(counter, true);
            }
            self.replay();
        }
        self.client.wrong_clock = None;
        let mut failures = 0;
        loop {
            self.now += 5_000;
            let counter = self.client.seal(self.now);
            self.sent.push(counter);
            if self.deliver(counter, false) {
                break;
            }
            failures += 1;
            assert!(
                failures <= 2 * PATIENCE,
                "locked out at {counter:#x}, highest {:#x}",
                self.device.highest()
            );
            if failures % PATIENCE == 0 {
                self.client.ask_person(self.now);
            }
        }
        self.replay();
    }
}

#[test]
fn a_million_reboots_and_no_second_acceptance() {
    let (mut reboots, mut accepted, mut writes) = (0, 0, 0);
    for seed in 0..WORLDS {
        let mut world = World::new(seed);
        while world.reboots < REBOOTS {
            world.visit();
        }
        let asked = world.client.asked_person;
        match world.client.kind {
            Kind::NoClock | Kind::GoodClockOnly => assert_eq!(asked, 0, "seed {seed}: without any trouble"),
            Kind::Remembers => assert!(asked * 50 < world.reboots, "seed {seed}: {asked} times"),
            Kind::ClockOnly => {}
        }
        for counter in std::mem::take(&mut world.sent) {
            world.deliver(counter, false);
        }
        reboots += world.reboots;
        accepted += world.accepted.len();
        writes += world.writes;
    }
    assert!(reboots >= 1_000_000);
    // The test must not be empty.
    assert!(accepted > 500_000, "{accepted}");
    std::println!("{reboots} reboots, {accepted} accepted, {writes} writes");
}
