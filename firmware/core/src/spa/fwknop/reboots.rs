//! Reboots at every point, clocks that go anywhere, an attacker who keeps every packet: none counts
//! twice, and whoever's clock goes on gets in again.

use std::collections::HashSet;
use std::vec::Vec;

use super::mark::{Admission, JUMP_MAX_SECS, Mark, PacketName, WINDOW_SECS};
use crate::spa::policy::WallTime;

const WORLDS: u64 = 400;
const REBOOTS: u64 = 2_500;

struct Random(u64);

impl Random {
    fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[derive(Clone, Copy)]
struct Packet {
    sent_at: u64,
    name: PacketName,
}

struct World {
    random: Random,
    mark: Mark,
    /// On the medium.
    ceiling: u64,
    now: u64,
    /// What two clients' clocks are wrong by.
    skew: [u64; 2],
    clock_trusted: bool,
    sent: Vec<Packet>,
    counted: HashSet<PacketName>,
    reboots: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed * 2 + 1);
        let skew = [random.draw(100), random.draw(100)];
        Self {
            mark: Mark::restored(0, 0),
            ceiling: 0,
            now: 1_795_000_000,
            skew,
            clock_trusted: false,
            sent: Vec::new(),
            counted: HashSet::new(),
            reboots: 0,
            random,
        }
    }

    fn reboot(&mut self) {
        self.reboots += 1;
        self.mark = Mark::restored(self.ceiling, 0);
        self.clock_trusted = self.random.draw(3) == 0;
    }

    /// A right clock, or none; or one that somebody set wrong and that is trusted all the same.
    fn wall(&mut self) -> Option<WallTime> {
        let wrong = self.random.draw(16) == 0;
        let now = if wrong { self.random.draw(4_102_444_800) } else { self.now };
        self.clock_trusted.then(|| WallTime::from_secs(now))
    }

    fn seal(&mut self, client: usize) -> Packet {
        let packet = Packet {
            sent_at: self.now + self.skew[client],
            name: (self.random.draw(u64::MAX) ^ self.sent.len() as u64).to_be_bytes(),
        };
        self.sent.push(packet);
        packet
    }

    /// Delivers a packet; power may go before the write and behind it.
    fn deliver(&mut self, packet: Packet, wall: Option<WallTime>, cuts: bool) -> bool {
        if let Ok(Admission::AfterPersisting { ceiling }) =
            self.mark.check(packet.sent_at, &packet.name, wall)
        {
            if cuts && self.random.draw(8) == 0 {
                self.reboot();
                return false;
            }
            self.ceiling = self.ceiling.max(ceiling);
            if cuts && self.random.draw(8) == 0 {
                self.reboot();
                return false;
            }
            self.mark.persisted(ceiling);
        }
        let counted = self.mark.accept(packet.sent_at, &packet.name, wall).is_ok();
        if counted {
            assert!(self.counted.insert(packet.name), "{} counted twice", packet.sent_at);
            assert!(packet.sent_at <= self.ceiling, "above the ceiling");
        }
        counted
    }

    fn replay(&mut self) {
        for _ in 0..2 {
            let count = self.sent.len() as u64;
            let any = self.random.draw(count);
            let recent = count - 1 - self.random.draw(20).min(count - 1);
            for index in [any, recent] {
                let index = usize::try_from(index).unwrap();
                let wall = self.wall();
                self.deliver(self.sent[index], wall, true);
            }
        }
    }

    /// A technician comes, sometimes with a packet lost, sometimes with several at once.
    fn visit(&mut self) {
        self.now += 1 + self.random.draw(400_000);
        self.reboot();
        let busy = self.random.draw(16) == 0;
        for _ in 0..1 + self.random.draw(if busy { 40 } else { 4 }) {
            let client = usize::from(self.random.draw(2) == 1);
            let packet = self.seal(client);
            if self.random.draw(4) > 0 {
                let wall = self.wall();
                self.deliver(packet, wall, true);
            }
            self.now += self.random.draw(3) / 2;
            if self.random.draw(8) == 0 {
                self.replay();
            }
        }
        self.replay();
        // Nobody stays out: at the latest when the clocks' difference has passed.
        self.now += 2 * WINDOW_SECS;
        let packet = self.seal(0);
        let wall = self.clock_trusted.then(|| WallTime::from_secs(self.now));
        assert!(self.deliver(packet, wall, false), "shut out at {}", self.now);
    }
}

#[test]
fn a_million_reboots_and_no_second_acceptance() {
    let (mut reboots, mut counted) = (0, 0);
    for seed in 0..WORLDS {
        let mut world = World::new(seed);
        while world.reboots < REBOOTS {
            world.visit();
        }
        for packet in std::mem::take(&mut world.sent) {
            world.deliver(packet, None, false);
        }
        reboots += world.reboots;
        counted += world.counted.len();
    }
    assert!(reboots >= 1_000_000);
    // The test must not be empty.
    assert!(counted > 1_000_000, "{counted}");
}

/// One packet from a clock that is years ahead, caught or not: the mark goes with it, no further than
/// this, and a clock to trust would not have let it.
#[test]
fn poison_reaches_no_further_than_one_step() {
    let mut mark = Mark::restored(1_795_000_000, 0);
    for sent_at in [u64::MAX, 999_999_999_999, 1_795_000_001 + JUMP_MAX_SECS] {
        assert!(mark.check(sent_at, &[1; 8], None).is_err(), "{sent_at}");
    }
    let wall = Some(WallTime::from_secs(1_795_000_100));
    assert!(mark.check(1_795_000_000 + JUMP_MAX_SECS, &[1; 8], wall).is_err());
    mark.persisted(1_795_000_200);
    assert!(mark.accept(1_795_000_100, &[1; 8], wall).is_ok());
}
