//! Cuts one operation everywhere and counts.

use postern_config::partition::{Choice, Kind, Mark, PAYLOAD_BYTES_MAX, Store};
use postern_core::port::SECTOR_BYTES;
use postern_sim::random::Random;

use crate::medium::{Image, Operation, Recorder, Sector};
use crate::oracle::{Expected, Violation, check};
use crate::tear::{FILLS, tear};

/// Sectors whose subsets are all tried; of more, a choice.
const SUBSETS_OF_MAX: usize = 10;

/// Something the firmware does to its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A commit that stands at once.
    Commit(Vec<u8>),
    /// A commit on trial.
    Trial(Vec<u8>),
    /// The newest trial is confirmed.
    Confirm,
    /// The generation before the one in force is committed anew.
    Rollback,
    /// A start is counted.
    Boot,
    /// The security floor is raised to what is in force.
    RaiseFloor,
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Step between the places a sector is torn at, in octets.
    pub tear_step_bytes: usize,
    /// Whether the cut store is used again and cut once more.
    pub second_cut: bool,
    /// Subsets tried where there are too many for all.
    pub subsets_sampled: usize,
}

/// A state that must not be, and where to find it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong.
    pub violation: Violation,
    /// Which state, in words.
    pub state: String,
}

/// Counts and failures of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// States opened and checked.
    pub states: u64,
    /// Those that broke a rule; the first few.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Adds another.
    pub fn add(&mut self, other: Report) {
        self.states += other.states;
        self.failures.extend(other.failures);
        self.failures.truncate(20);
    }
}

/// Carries out `action`; whether it was acknowledged.
pub fn carry_out<P: postern_core::port::Partition>(store: &mut Store<P>, action: &Action) -> bool {
    match action {
        Action::Commit(payload) => store.commit(payload, 1, floor(store), Kind::Permanent).is_ok(),
        Action::Trial(payload) => store.commit(payload, 1, floor(store), Kind::Trial).is_ok(),
        Action::Confirm => {
            let trials = store.slots().iter().filter_map(|slot| slot.header()).filter(|header| header.trial);
            let newest = trials.map(|header| header.generation).max();
            newest.is_some_and(|generation| store.confirm(generation).is_ok())
        }
        Action::Rollback => rollback(store),
        Action::Boot => store.mark(Mark::Booted).is_ok(),
        Action::RaiseFloor => {
            let floor = store.in_force().map_or(0, |header| header.floor);
            store.mark(Mark::Floor(floor)).is_ok()
        }
    }
}

fn floor<P: postern_core::port::Partition>(store: &Store<P>) -> u32 {
    store.journal().floor
}

fn rollback<P: postern_core::port::Partition>(store: &mut Store<P>) -> bool {
    let Choice::Slot(current) = store.choice() else { return false };
    let others = store.slots().iter().enumerate().filter(|(index, _)| *index != current);
    let newest = others.filter_map(|(index, slot)| Some((slot.header()?.generation, index))).max();
    let Some((_, index)) = newest else { return false };
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    let Ok(payload) = store.read(index, &mut buffer) else { return false };
    let payload = payload.to_vec();
    store.commit(&payload, 1, floor(store), Kind::Permanent).is_ok()
}

/// Runs `action` on `start` and cuts it everywhere.
pub fn cut_everywhere(start: &Image, action: &Action, effort: Effort, seed: u64) -> Report {
    let mut cutter = Cutter {
        random: Random::new(seed),
        effort,
        report: Report::default(),
        buffer: vec![0; PAYLOAD_BYTES_MAX],
    };
    cutter.cut(start, action, effort.second_cut);
    cutter.report
}

/// What stands after `action`, without any cut.
pub fn settled_after(start: &Image, action: &Action) -> Image {
    let mut store = Store::open(Recorder::new(start.clone())).unwrap_or_else(|error| panic!("{error:?}"));
    carry_out(&mut store, action);
    store.into_partition().into_parts().0
}

struct Cutter {
    random: Random,
    effort: Effort,
    report: Report,
    buffer: Vec<u8>,
}

impl Cutter {
    fn cut(&mut self, start: &Image, action: &Action, second_cut: bool) {
        let before = self.view(start.clone());
        let mut store = Store::open(Recorder::new(start.clone())).unwrap_or_else(|error| panic!("{error:?}"));
        let done = carry_out(&mut store, action);
        let (end, operations) = store.into_partition().into_parts();
        let after = self.view(end);
        let mut expected = Expected {
            before: before.0,
            after: after.0,
            journal_before: before.1,
            journal_after: after.1,
            acknowledged: false,
        };
        let mut synced = start.clone();
        let mut pending: Vec<(usize, Sector)> = Vec::new();
        for (position, operation) in operations.iter().enumerate() {
            match operation {
                Operation::Write(index, sector) => {
                    pending.push((*index, **sector));
                    let what = format!("{} cut behind operation {position}", name(action));
                    self.subsets(&synced, &pending, &expected, &what, second_cut);
                }
                Operation::Flush => {
                    for (index, sector) in pending.drain(..) {
                        synced.set(index, sector);
                    }
                    synced = synced.settled();
                }
            }
        }
        expected.acknowledged = done;
        self.judge(synced, &expected, || format!("{} after the acknowledgement", name(action)));
    }

    fn view(&mut self, image: Image) -> (Option<Vec<u8>>, postern_config::partition::JournalState) {
        let mut store = Store::open(image).unwrap_or_else(|error| panic!("{error:?}"));
        let payload = match store.choice() {
            Choice::Factory => None,
            Choice::Slot(index) => store.read(index, &mut self.buffer).ok().map(<[u8]>::to_vec),
        };
        (payload, *store.journal())
    }

    /// Every subset of the pending sectors may have arrived; the newest one may be torn besides.
    fn subsets(
        &mut self,
        synced: &Image,
        pending: &[(usize, Sector)],
        expected: &Expected,
        what: &str,
        second: bool,
    ) {
        let count = pending.len();
        let all = 1_u64 << count.min(63);
        let masks: Vec<u64> = if count <= SUBSETS_OF_MAX {
            (0..all).collect()
        } else {
            let mut masks = vec![0, all - 1];
            masks.extend((0..count).flat_map(|bit| [1 << bit, (all - 1) ^ (1 << bit)]));
            masks.extend((0..self.effort.subsets_sampled).map(|_| self.random.bits() & (all - 1)));
            masks
        };
        for mask in masks {
            let mut image = synced.clone();
            for (bit, (index, sector)) in pending.iter().enumerate() {
                if mask & (1 << bit) != 0 {
                    image.set(*index, *sector);
                }
            }
            self.torn(&image, pending, mask, expected, what);
            if second && mask % 7 == 1 {
                self.cut_again(&image, what);
            }
            self.judge(image, expected, || format!("{what}, arrived {mask:b}"));
        }
    }

    /// One sector that has not arrived is torn instead, and its neighbour may be damaged.
    fn torn(
        &mut self,
        image: &Image,
        pending: &[(usize, Sector)],
        mask: u64,
        expected: &Expected,
        what: &str,
    ) {
        let missing: Vec<usize> = (0..pending.len()).filter(|bit| mask & (1 << bit) == 0).collect();
        if missing.is_empty() {
            return;
        }
        let (index, new) = pending[missing[self.random.below(missing.len() as u64) as usize]];
        let old = image.sector(index);
        for kept in (0..SECTOR_BYTES).step_by(self.effort.tear_step_bytes) {
            for fill in FILLS {
                for suffix_first in [false, true] {
                    let torn = tear(&old, &new, kept, suffix_first, fill, &mut self.random);
                    let mut state = image.clone();
                    state.set(index, torn);
                    let place = || {
                        format!(
                            "{what}, arrived {mask:b}, sector {index} torn at {kept} {fill:?} {suffix_first}"
                        )
                    };
                    self.judge(state, expected, place);
                }
            }
        }
    }

    /// The store that was cut is opened, used, and cut once more.
    fn cut_again(&mut self, image: &Image, what: &str) {
        let action = match self.random.below(3) {
            0 => Action::Boot,
            1 => Action::Commit(format!("second {what}").into_bytes()),
            _ => Action::Confirm,
        };
        self.cut(&image.settled(), &action, false);
    }

    fn judge(&mut self, image: Image, expected: &Expected, state: impl FnOnce() -> String) {
        self.report.states += 1;
        if let Err(violation) = check(image, expected, &mut self.buffer) {
            if self.report.failures.len() < 20 {
                self.report.failures.push(Failure { violation, state: state() });
            }
        }
    }
}

/// A partition with a history: full of generations, trials and marks.
pub fn lived_in(seed: u64) -> Image {
    let mut random = Random::new(seed);
    let mut image = Image::blank();
    for round in 0..12 + random.below(12) {
        let mut payload = vec![0; 1 + random.below(3000) as usize];
        payload.fill_with(|| random.bits() as u8);
        let action = match random.below(6) {
            0 => Action::Trial(payload),
            1 => Action::Confirm,
            2 => Action::Boot,
            3 if round > 4 => Action::Rollback,
            _ => Action::Commit(payload),
        };
        image = settled_after(&image, &action);
    }
    image
}

/// The actions cut in a campaign, with payloads of these many octets.
pub fn actions(payload_bytes: usize, seed: u64) -> Vec<Action> {
    let mut random = Random::new(seed);
    let mut payload = || {
        let mut bytes = vec![0; payload_bytes];
        bytes.fill_with(|| random.bits() as u8);
        bytes
    };
    vec![
        Action::Commit(payload()),
        Action::Trial(payload()),
        Action::Confirm,
        Action::Rollback,
        Action::Boot,
        Action::RaiseFloor,
    ]
}

fn name(action: &Action) -> &'static str {
    match action {
        Action::Commit(_) => "commit",
        Action::Trial(_) => "trial",
        Action::Confirm => "confirm",
        Action::Rollback => "rollback",
        Action::Boot => "boot",
        Action::RaiseFloor => "raise-floor",
    }
}
