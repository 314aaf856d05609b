//! Cuts one operation everywhere and counts.

use postern_config::partition::{Choice, Identity, Kind, Lease, Mark, PAYLOAD_BYTES_MAX, Store};
use postern_core::port::SECTOR_BYTES;
use postern_sim::random::Random;

use crate::faults::history;
use crate::medium::{Image, Operation, Recorder, Sector};
use crate::oracle::{Expected, View, Violation, check};
use crate::tear::{FILLS, tear};

/// Sectors whose subsets are all tried; of more, a choice.
const SUBSETS_OF_MAX: usize = 8;

/// Sectors not flushed, up to which the power is cut behind every write; a wipe has more.
const PENDING_MAX: usize = 40;

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
    /// A commit whose payload has the next schema.
    Migrate(Vec<u8>),
    /// The lease of this key is raised to this.
    Lease(u64, u64),
    /// The device gets its identity, of this octet.
    Adopt(u8),
    /// Every slot is erased.
    Wipe,
}

/// A mistake made on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The store does not flush.
    NoFlush,
    /// The store flushes after it has acknowledged.
    LateFlush,
    /// Opening does not look at the marks.
    MarksIgnored,
    /// Opening does not look at the leases.
    LeasesIgnored,
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
    /// A mistake made on purpose.
    pub bug: Option<Bug>,
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
        Action::Migrate(payload) => store.commit(payload, 2, floor(store), Kind::Permanent).is_ok(),
        Action::Lease(fingerprint, ceiling) => {
            store.lease(Lease { fingerprint: *fingerprint, ceiling: *ceiling }, &[*fingerprint]).is_ok()
        }
        Action::Adopt(octet) => store.adopt(Identity::from_random(&[*octet; 48])).is_ok(),
        Action::Wipe => store.wipe().is_ok(),
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
        let mut store = Store::open(Recorder::new(start.clone())).unwrap_or_else(|error| panic!("{error:?}"));
        let done = carry_out(&mut store, action);
        let (end, mut operations) = store.into_partition().into_parts();
        self.plant(&mut operations);
        let before = View::of(start.clone(), &mut self.buffer);
        let after = View::of(end, &mut self.buffer);
        let older_firmware = matches!(action, Action::Migrate(_)).then(|| before.payload.clone());
        let mut expected = Expected { before, after, older_firmware, acknowledged: false, lied: None };
        let mut synced = start.clone();
        let mut pending: Vec<(usize, Sector)> = Vec::new();
        for (position, operation) in operations.iter().enumerate() {
            match operation {
                Operation::Write(index, sector) => {
                    pending.push((*index, **sector));
                    let what = format!("{} cut behind operation {position}", name(action));
                    if pending.len() <= PENDING_MAX || position % 61 == 0 {
                        self.subsets(&synced, &pending, &expected, &what, second_cut);
                    }
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
        let what = format!("{} after the acknowledgement", name(action));
        self.subsets(&synced, &pending, &expected, &what, false);
        self.lie(start, &operations, expected, name(action));
    }

    /// The medium flushed nothing and said it had: whatever was written may be there or not.
    fn lie(&mut self, start: &Image, operations: &[Operation], mut expected: Expected, action: &str) {
        expected.acknowledged = false;
        expected.older_firmware = None;
        expected.lied = Some(history(start, &mut self.buffer));
        let writes = operations.iter().filter_map(|operation| match operation {
            Operation::Write(index, sector) => Some((*index, **sector)),
            Operation::Flush => None,
        });
        let writes: Vec<(usize, Sector)> = writes.collect();
        self.subsets(start, &writes, &expected, &format!("{action} on a medium that lied"), false);
    }

    fn plant(&self, operations: &mut Vec<Operation>) {
        match self.effort.bug {
            Some(Bug::NoFlush) => operations.retain(|one| matches!(one, Operation::Write(..))),
            Some(Bug::LateFlush) => {
                if let Some(last) = operations.iter().rposition(|one| matches!(one, Operation::Flush)) {
                    operations.truncate(last);
                }
            }
            _ => {}
        }
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
        for (number, arrived) in self.choose_subsets(pending.len()).into_iter().enumerate() {
            let mut image = synced.clone();
            for ((index, sector), _) in pending.iter().zip(&arrived).filter(|(_, arrived)| **arrived) {
                image.set(*index, *sector);
            }
            image = image.light();
            self.torn(&image, pending, &arrived, expected, what);
            if second && number % 7 == 1 {
                self.cut_again(&image, what);
            }
            self.judge(image, expected, || format!("{what}, arrived {}", spell(&arrived)));
        }
    }

    /// All subsets of a few; of more: none, all, each alone, each missing, and some at random.
    fn choose_subsets(&mut self, count: usize) -> Vec<Vec<bool>> {
        if count <= SUBSETS_OF_MAX {
            let bits = |mask: usize| (0..count).map(|bit| mask & (1 << bit) != 0).collect();
            return (0..1 << count).map(bits).collect();
        }
        let mut subsets = vec![vec![false; count], vec![true; count]];
        if count <= PENDING_MAX {
            let but = |bit: usize, alone: bool| (0..count).map(|other| (other == bit) == alone).collect();
            subsets.extend((0..count).flat_map(|bit| [but(bit, true), but(bit, false)]));
        }
        for _ in 0..self.effort.subsets_sampled {
            let chance = 1 + self.random.below(999);
            subsets.push((0..count).map(|_| self.random.per_mille(chance)).collect());
        }
        subsets
    }

    /// One sector that has not arrived is torn instead, and its neighbour may be damaged.
    fn torn(
        &mut self,
        image: &Image,
        pending: &[(usize, Sector)],
        arrived: &[bool],
        expected: &Expected,
        what: &str,
    ) {
        let missing: Vec<usize> = (0..pending.len()).filter(|bit| !arrived[*bit]).collect();
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
                            "{what}, arrived {}, sector {index} torn at {kept} {fill:?} {suffix_first}",
                            spell(arrived)
                        )
                    };
                    self.judge(state, expected, place);
                }
            }
        }
    }

    /// The store that was cut is opened, used, and cut once more.
    fn cut_again(&mut self, image: &Image, what: &str) {
        let action = match self.random.below(5) {
            0 => Action::Boot,
            3 => Action::Lease(1, self.random.bits()),
            4 => Action::Adopt(9),
            1 => Action::Commit(format!("second {what}").into_bytes()),
            _ => Action::Confirm,
        };
        self.cut(&image.settled(), &action, false);
    }

    fn judge(&mut self, image: Image, expected: &Expected, state: impl FnOnce() -> String) {
        self.report.states += 1;
        let image = match self.effort.bug {
            Some(Bug::MarksIgnored) => image.without(8..128).without(136..256),
            Some(Bug::LeasesIgnored) => image.without(0xe_0000 / SECTOR_BYTES..0x10_0000 / SECTOR_BYTES),
            _ => image,
        };
        if let Err(violation) = check(image, expected, &mut self.buffer) {
            if self.report.failures.len() < 20 {
                self.report.failures.push(Failure { violation, state: state() });
            }
        }
    }
}

/// A partition with a history: full of generations, trials, marks and leases; of a device that has
/// started when `seed` is even.
pub fn lived_in(seed: u64) -> Image {
    let mut random = Random::new(seed);
    let mut image = Image::blank();
    let rounds = 12 + random.below(12);
    for round in 0..rounds {
        let mut payload = vec![0; 1 + random.below(700) as usize];
        payload.fill_with(|| random.bits() as u8);
        let action = match random.below(7) {
            _ if round == rounds / 2 && seed % 2 == 0 => Action::Adopt(seed as u8),
            0 => Action::Trial(payload),
            1 => Action::Confirm,
            2 => Action::Boot,
            3 if round > 4 => Action::Rollback,
            4 => Action::Lease(random.below(4), random.bits()),
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
        Action::Migrate(payload()),
        Action::Lease(1, u64::MAX),
        Action::Adopt(seed as u8),
        Action::Commit(payload()),
        Action::Wipe,
        Action::Commit(payload()),
    ]
}

pub(crate) fn name(action: &Action) -> &'static str {
    match action {
        Action::Commit(_) => "commit",
        Action::Trial(_) => "trial",
        Action::Confirm => "confirm",
        Action::Rollback => "rollback",
        Action::Boot => "boot",
        Action::RaiseFloor => "raise-floor",
        Action::Migrate(_) => "migrate",
        Action::Lease(..) => "lease",
        Action::Adopt(_) => "adopt",
        Action::Wipe => "wipe",
    }
}

fn spell(arrived: &[bool]) -> String {
    arrived.iter().map(|one| if *one { '1' } else { '0' }).collect()
}
