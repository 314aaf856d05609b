//! The daemon's look at its own health, with a watchdog that remembers, and what is wrong by chance.

use postern_core::time::{Duration, Instant};
use posternd::health::{GATE_UNREAD_MAX, GateReading, Health, Rehearsal, Vitals, Watchdog};

use crate::random::Random;

/// How long the watchdog waits before it bites.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest turn that is no ailment with this watchdog.
const TURN_MAX: Duration = Duration::from_secs(5);

/// Longest time between two looks.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);

/// What the daemon would see of itself beside its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ills {
    vitals: Vitals,
}

impl Ills {
    /// Nothing is wrong.
    pub const NONE: Ills = Ills {
        vitals: Vitals {
            last_turn: Duration::from_millis(2),
            deaf: false,
            gate: GateReading::Intact,
            knock_matched: true,
        },
    };

    /// Anything, alone or together with others, or nothing.
    pub fn any(random: &mut Random) -> Self {
        let gate = match random.below(8) {
            0 => GateReading::Differs,
            1 => GateReading::Unread(Duration::from_secs(random.below(120))),
            _ => GateReading::Intact,
        };
        let vitals = Vitals {
            last_turn: Duration::from_millis(*random.pick(&[1, 1, 40, 2000, 5000, 5001, 60_000])),
            deaf: random.per_mille(200),
            gate,
            knock_matched: !random.per_mille(100),
        };
        Self { vitals }
    }

    /// Said in another way than the daemon says it.
    fn are_none(&self) -> bool {
        let Vitals { last_turn, deaf, gate, knock_matched } = self.vitals;
        let gate_is_right = match gate {
            GateReading::Intact => true,
            GateReading::Unread(long) => long <= GATE_UNREAD_MAX,
            GateReading::Differs => false,
        };
        gate_is_right && knock_matched && !deaf && last_turn <= TURN_MAX
    }
}

/// The twin of a watchdog.
#[derive(Debug, Default)]
struct Twin {
    pets: u64,
}

impl Watchdog for Twin {
    fn pet(&mut self) {
        self.pets += 1;
    }
}

/// The daemon's health in a world.
#[derive(Debug)]
pub struct Vigil {
    health: Health,
    rehearsal: Rehearsal,
    twin: Twin,
    /// What is wrong now.
    pub ills: Ills,
    looked_at: Instant,
    refusals: u64,
}

impl Vigil {
    /// Begins to look.
    pub fn new(now: Instant) -> Self {
        let rehearsal = Rehearsal::new().expect("its rule is valid");
        let health = Health::new(Some(TIMEOUT), now);
        Self { health, rehearsal, twin: Twin::default(), ills: Ills::NONE, looked_at: now, refusals: 0 }
    }

    /// When the next look is due.
    pub fn poll_at(&self) -> Instant {
        self.health.poll_at()
    }

    /// Pets so far, and looks that found something wrong.
    pub fn counts(&self) -> (u64, u64) {
        (self.twin.pets, self.refusals)
    }

    /// Looks, if it is due, and judges: petted if and only if it was due and nothing is wrong, and never
    /// so late that a watchdog would bite a healthy daemon.
    pub fn look(&mut self, now: Instant) -> Result<(), String> {
        let (due, pets) = (self.health.poll_at() <= now, self.twin.pets);
        let Self { health, rehearsal, twin, ills, .. } = self;
        let vitals =
            || Vitals { knock_matched: ills.vitals.knock_matched && rehearsal.passes(now), ..ills.vitals };
        health.look(vitals, twin, now);
        let petted = self.twin.pets - pets;
        let wanted = u64::from(due && self.ills.are_none());
        if petted != wanted {
            return Err(format!("petted {petted} times instead of {wanted}: {:?}", self.ills));
        }
        if due {
            self.refusals += 1 - wanted;
            self.looked_at = now;
        }
        if now.since(self.looked_at) > LOOK_EVERY_MAX {
            return Err(format!("nobody has looked for {} ms", now.since(self.looked_at).millis()));
        }
        Ok(())
    }
}
