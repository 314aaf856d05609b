//! Whether the daemon does its work. A watchdog is petted here and nowhere else, and only when it
//! does.

use postern_core::audit::Event;
use postern_core::time::{Duration, Instant};

mod rehearsal;

pub use rehearsal::Rehearsal;

/// Time between two looks when no watchdog asks for shorter ones.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Pause before the next look at what was found ill: it is petted again soon after it is well.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Looks in the time of a watchdog: a few may find something wrong that passes.
const LOOKS_PER_TIMEOUT: u64 = 4;

/// Longest turn when no watchdog says how long it waits.
const TURN_MAX: Duration = Duration::from_secs(5);

/// How long the gate may go unread: its programs wait while another program changes the firewall.
pub const GATE_UNREAD_MAX: Duration = Duration::from_secs(60);

/// Something that resets or restarts us when it is not petted. Two exist: the daemon's, which are the
/// hardware and the supervisor, and that of the tests.
pub trait Watchdog {
    /// All is well.
    fn pet(&mut self);
}

/// What was found when the gate was last read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateReading {
    /// As it was installed.
    Intact,
    /// Not as it was installed, and it could not be put right.
    Differs,
    /// It could not be read for this long.
    Unread(Duration),
}

/// What can be seen of the daemon between two turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// How long the last turn took, with everything between two waits.
    pub last_turn: Duration,
    /// Whether an interface of the site is there and up, and not captured.
    pub deaf: bool,
    /// The rules in the kernel.
    pub gate: GateReading,
    /// Whether a knock made up for this went through parser and matcher as it should.
    pub knock_matched: bool,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ailment {
    /// The last turn took too long.
    SlowTurn,
    /// No knock on some interface is heard.
    Deaf,
    /// The gate is not as it was installed.
    GateDiffers,
    /// It is not known how the gate is.
    GateUnread,
    /// Knocks are not understood.
    NoMatch,
}

impl Ailment {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            Ailment::SlowTurn => "slow-turn",
            Ailment::Deaf => "deaf",
            Ailment::GateDiffers => "gate-differs",
            Ailment::GateUnread => "gate-unread",
            Ailment::NoMatch => "no-match",
        }
    }
}

/// What is wrong, the gravest first; `None` when nothing is.
pub fn judge(vitals: &Vitals, turn_max: Duration) -> Option<Ailment> {
    let gate = match vitals.gate {
        GateReading::Intact => None,
        GateReading::Differs => Some(Ailment::GateDiffers),
        GateReading::Unread(long) => (long > GATE_UNREAD_MAX).then_some(Ailment::GateUnread),
    };
    let found = [
        gate,
        vitals.deaf.then_some(Ailment::Deaf),
        (!vitals.knock_matched).then_some(Ailment::NoMatch),
        (vitals.last_turn > turn_max).then_some(Ailment::SlowTurn),
    ];
    found.into_iter().flatten().next()
}

/// Looks from time to time, pets, and tells when something begins or ends to be wrong.
#[derive(Debug)]
pub struct Health {
    period: Duration,
    turn_max: Duration,
    look_at: Instant,
    ailment: Option<Ailment>,
}

impl Health {
    /// For a watchdog that waits `timeout`, if there is one. The first look is due at once.
    pub fn new(timeout: Option<Duration>, now: Instant) -> Self {
        let part = |parts| timeout.map(|timeout| Duration::from_millis(timeout.millis() / parts));
        let period = part(LOOKS_PER_TIMEOUT).map_or(LOOK_EVERY, |period| period.min(LOOK_EVERY));
        let turn_max = part(2).map_or(TURN_MAX, |turn_max| turn_max.min(TURN_MAX));
        Self { period, turn_max, look_at: now, ailment: None }
    }

    /// When the next look is due.
    pub const fn poll_at(&self) -> Instant {
        self.look_at
    }

    /// What was wrong at the last look.
    pub const fn ailment(&self) -> Option<Ailment> {
        self.ailment
    }

    /// Looks, when it is due: pets `watchdog` if nothing is wrong. Returns what is to be audited.
    pub fn look(
        &mut self,
        vitals: impl FnOnce() -> Vitals,
        watchdog: &mut impl Watchdog,
        now: Instant,
    ) -> Option<Event> {
        if now < self.look_at {
            return None;
        }
        let before = self.ailment;
        self.ailment = judge(&vitals(), self.turn_max);
        let pause = match self.ailment {
            None => {
                watchdog.pet();
                self.period
            }
            Some(_) => LOOK_AGAIN.min(self.period),
        };
        self.look_at = now + pause;
        let failure = self.ailment.map(Ailment::reason);
        (self.ailment != before).then_some(Event::SelfTest { failure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Vitals = Vitals {
        last_turn: Duration::from_millis(3),
        deaf: false,
        gate: GateReading::Intact,
        knock_matched: true,
    };
    const TIMEOUT: Duration = Duration::from_secs(10);

    /// A watchdog that remembers when it was petted, and bites.
    #[derive(Default)]
    struct Twin {
        pets: u32,
        petted_now: bool,
    }

    impl Watchdog for Twin {
        fn pet(&mut self) {
            self.pets += 1;
            self.petted_now = true;
        }
    }

    /// Every mixture of everything that can be wrong: petted if and only if nothing is.
    #[test]
    fn petted_if_and_only_if_healthy() {
        let half = Duration::from_millis(TIMEOUT.millis() / 2);
        let turns = [(half, true), (Duration::from_millis(half.millis() + 1), false)];
        let gates = [
            (GateReading::Intact, true),
            (GateReading::Differs, false),
            (GateReading::Unread(GATE_UNREAD_MAX), true),
            (GateReading::Unread(Duration::from_millis(GATE_UNREAD_MAX.millis() + 1)), false),
        ];
        let mut seen = 0;
        for (last_turn, in_time) in turns {
            for (gate, gate_fine) in gates {
                for (deaf, knock_matched) in [(false, true), (true, true), (false, false), (true, false)] {
                    let vitals = Vitals { last_turn, deaf, gate, knock_matched };
                    let mut twin = Twin::default();
                    let mut health = Health::new(Some(TIMEOUT), Instant::BOOT);
                    let event = health.look(|| vitals, &mut twin, Instant::BOOT);
                    let healthy = in_time && gate_fine && !deaf && knock_matched;
                    assert_eq!(twin.pets, u32::from(healthy), "{vitals:?}");
                    assert_eq!(event.is_none(), healthy, "{vitals:?}");
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 32);
    }

    #[test]
    fn a_healthy_daemon_is_never_bitten_and_an_ill_one_always() {
        for ill_from_ms in (0..40_000).step_by(370) {
            let (mut twin, mut health) = (Twin::default(), Health::new(Some(TIMEOUT), Instant::BOOT));
            let mut last_pet = 0;
            let bitten = (0..60_000).step_by(10).find(|&millis| {
                let vitals = Vitals { deaf: millis >= ill_from_ms, ..WELL };
                health.look(|| vitals, &mut twin, Instant::from_millis(millis));
                if std::mem::take(&mut twin.petted_now) {
                    assert!(millis < ill_from_ms);
                    last_pet = millis;
                }
                millis - last_pet >= TIMEOUT.millis()
            });
            let bitten = bitten.expect("an ill daemon is bitten");
            assert!((ill_from_ms..=ill_from_ms + TIMEOUT.millis()).contains(&bitten));
        }
        let (mut twin, mut health) = (Twin::default(), Health::new(Some(TIMEOUT), Instant::BOOT));
        for millis in (0..100_000).step_by(10) {
            health.look(|| WELL, &mut twin, Instant::from_millis(millis));
        }
        assert_eq!(twin.pets, 40, "four times in its time-out, not more");
    }

    /// Faults that come and go at random, alone and together: at every look that is due the watchdog is
    /// petted if and only if nothing is wrong at that moment, and looks come often enough for a healthy
    /// daemon to be petted twice in every time-out.
    #[test]
    fn petted_if_and_only_if_healthy_while_faults_come_and_go() {
        let mut state = 0x1234_5678_9abc_def0_u64;
        let mut below = |end: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % end
        };
        let (mut pets, mut refusals) = (0, 0);
        for _ in 0..300 {
            let (mut twin, mut health) = (Twin::default(), Health::new(Some(TIMEOUT), Instant::BOOT));
            let (mut vitals, mut change_at, mut ill_at, mut last_pet) = (WELL, 0, 0, 0);
            for millis in (0..60_000).step_by(50) {
                if change_at <= millis {
                    change_at = millis + below(9000);
                    let faults = if below(2) == 0 { 0 } else { below(32) };
                    vitals = Vitals {
                        last_turn: if faults & 1 == 0 { WELL.last_turn } else { Duration::from_secs(6) },
                        deaf: faults & 2 != 0,
                        gate: match faults >> 3 {
                            0 | 1 => GateReading::Intact,
                            2 => GateReading::Differs,
                            _ => GateReading::Unread(Duration::from_millis(GATE_UNREAD_MAX.millis() + 1)),
                        },
                        knock_matched: faults & 4 == 0,
                    };
                }
                let is_well = vitals == WELL;
                let due = health.poll_at() <= Instant::from_millis(millis);
                health.look(|| vitals, &mut twin, Instant::from_millis(millis));
                let petted = std::mem::take(&mut twin.petted_now);
                assert_eq!(petted, due && is_well, "{vitals:?}");
                pets += u32::from(petted);
                refusals += u32::from(due && !petted);
                last_pet = if petted { millis } else { last_pet };
                ill_at = if is_well { ill_at } else { millis };
                let well_for = millis - ill_at.max(last_pet);
                assert!(well_for <= TIMEOUT.millis() / 2, "well, and not petted for {well_for} ms");
            }
        }
        assert!(pets > 1000 && refusals > 1000, "{pets} pets, {refusals} refusals");
    }

    #[test]
    fn beginning_and_end_are_told_once() {
        let (mut twin, mut health) = (Twin::default(), Health::new(None, Instant::BOOT));
        let mut told = Vec::new();
        for second in 0..60 {
            let deaf = (10..20).contains(&second);
            let slow = (15..25).contains(&second);
            let last_turn = if slow { Duration::from_secs(6) } else { WELL.last_turn };
            let vitals = Vitals { deaf, last_turn, ..WELL };
            if let Some(event) = health.look(|| vitals, &mut twin, Instant::from_millis(second * 1000)) {
                told.push((second, event));
            }
        }
        let test = |failure| Event::SelfTest { failure };
        let expected = [(10, test(Some("deaf"))), (20, test(Some("slow-turn"))), (25, test(None))];
        assert_eq!(told, expected);
    }

    #[test]
    fn nothing_is_looked_at_before_it_is_due() {
        let mut twin = Twin::default();
        let mut health = Health::new(Some(Duration::from_secs(2)), Instant::BOOT);
        assert_eq!(health.poll_at(), Instant::BOOT);
        health.look(|| WELL, &mut twin, Instant::BOOT);
        assert_eq!(health.poll_at(), Instant::from_millis(500));
        health.look(|| panic!("not due"), &mut twin, Instant::from_millis(499));
        assert_eq!((twin.pets, health.ailment()), (1, None));
    }
}
