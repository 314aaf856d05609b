//! Cuts one operation everywhere and counts.

use postern_config::partition::{Choice, Identity, Kind, Lease, Mark, PAYLOAD_BYTES_MAX, Store};
use postern_core::port::SECTOR_BYTES;
use postern_sim::random::Random;

use crate::faults::history;
use crate::medium::{Image, Operation, Recorder, Sector};
use crate::oracle::{Expected, View, Violation, check};
use crate::tally::{Damage, Tally};
use crate::tear::{FILLS, tear};

/// Sectors whose subsets are all tried; of more, which only a wipe and a lying medium have, a choice.
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
    /// A commit that raises the security floor.
    RaiseFloor(Vec<u8>),
    /// A commit whose payload has the next schema.
    Migrate(Vec<u8>),
    /// The lease of this key is raised to this.
    Lease(u64, u64),
    /// The partition is made this device's: it gets its identity, of this octet, and what it was flashed with is
    /// sealed.
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
    /// Which.
    pub tally: Tally,
    /// Those that broke a rule; the first few.
    pub failures: Vec<Failure>,
}

impl Report {
    /// One more state.
    pub(crate) fn count(&mut self, action: &'static str, damage: Damage) {
        self.states += 1;
        self.tally.count(action, damage);
    }

    /// Adds another.
    pub fn add(&mut self, other: Report) {
        self.states += other.states;
        self.tally.add(&other.tally);
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
        Action::RaiseFloor(payload) => store.commit(payload, 1, floor(store) + 1, Kind::Permanent).is_ok(),
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
        action: name(action),
        within: None,
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
    /// What the first cut was in.
    action: &'static str,
    /// What every state counts as, when not as what was done to it last.
    within: Option<Damage>,
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
        let outer = self.within;
        self.within = outer.or(Some(Damage::Lie));
        self.subsets(start, &writes, &expected, &format!("{action} on a medium that lied"), false);
        self.within = outer;
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
            let what_arrived = format!("{what}, arrived {}", spell(&arrived));
            for torn in self.choose_torn(&arrived, number) {
                self.torn(&image, pending[torn], expected, &what_arrived);
            }
            if second && (pending.len() <= SUBSETS_OF_MAX || number % 256 == 1) {
                // The start is counted first, whatever comes after.
                self.cut_again(&image, &Action::Boot);
                if number % 7 == 1 {
                    let next = self.what_comes_next(what);
                    self.cut_again(&image, &next);
                }
            }
            self.judge(image, expected, Damage::Cut, || what_arrived);
        }
    }

    /// Which of the sectors that have not arrived are torn, one at a time: each of a few, else now and then one.
    fn choose_torn(&mut self, arrived: &[bool], number: usize) -> Vec<usize> {
        let missing: Vec<usize> = (0..arrived.len()).filter(|bit| !arrived[*bit]).collect();
        let few = arrived.len() <= SUBSETS_OF_MAX;
        if missing.is_empty() || few && self.within.is_none() {
            return missing;
        }
        let one = missing[self.random.below(missing.len() as u64) as usize];
        if few || number % 64 == 0 { vec![one] } else { Vec::new() }
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

    /// A sector that has not arrived is torn instead; then the one beside it is damaged, too.
    fn torn(&mut self, image: &Image, (index, new): (usize, Sector), expected: &Expected, what: &str) {
        let old = image.sector(index);
        for kept in (0..SECTOR_BYTES).step_by(self.effort.tear_step_bytes) {
            for fill in FILLS {
                for suffix_first in [false, true] {
                    let torn = tear(&old, &new, kept, suffix_first, fill, &mut self.random);
                    let mut state = image.clone();
                    state.set(index, torn);
                    let place = || format!("{what}, sector {index} torn at {kept} {fill:?} {suffix_first}");
                    self.judge(state, expected, Damage::Torn, place);
                }
            }
        }
        // Two faults at once: a medium that lies and damages is beyond what two copies can do.
        if expected.lied.is_some() {
            return;
        }
        for (beside, fill) in
            neighbours(index, image.sectors()).flat_map(|beside| FILLS.map(|fill| (beside, fill)))
        {
            let mut state = image.clone();
            state.set(index, tear(&old, &new, 0, false, fill, &mut self.random));
            let damaged = image.sector(beside);
            state.set(beside, tear(&damaged, &damaged, SECTOR_BYTES / 2, false, fill, &mut self.random));
            let place = || format!("{what}, sector {index} torn and {beside} beside it {fill:?}");
            self.judge(state, expected, Damage::Neighbour, place);
        }
    }

    /// What somebody may do with a store that was cut.
    fn what_comes_next(&mut self, what: &str) -> Action {
        match self.random.below(4) {
            0 => Action::Lease(1, self.random.bits()),
            1 => Action::Adopt(9),
            2 => Action::Commit(format!("second {what}").into_bytes()),
            _ => Action::Confirm,
        }
    }

    /// The store that was cut is opened, used, and cut once more.
    fn cut_again(&mut self, image: &Image, action: &Action) {
        let (outer, effort) = (self.within, self.effort);
        self.within = Some(Damage::SecondCut);
        self.effort.tear_step_bytes = effort.tear_step_bytes.max(SECTOR_BYTES / 4);
        self.cut(&image.settled(), action, false);
        (self.within, self.effort) = (outer, effort);
    }

    fn judge(&mut self, image: Image, expected: &Expected, damage: Damage, state: impl FnOnce() -> String) {
        self.report.count(self.action, self.within.unwrap_or(damage));
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
        Action::RaiseFloor(payload()),
        Action::Migrate(payload()),
        Action::Lease(1, u64::MAX),
        Action::Adopt(seed as u8),
        Action::Commit(payload()),
        Action::Wipe,
        Action::Commit(payload()),
    ]
}

/// Names of everything in [`actions`].
pub const NAMES: [&str; 10] =
    ["commit", "trial", "confirm", "rollback", "boot", "raise-floor", "migrate", "lease", "format", "wipe"];

pub(crate) fn name(action: &Action) -> &'static str {
    match action {
        Action::Commit(_) => "commit",
        Action::Trial(_) => "trial",
        Action::Confirm => "confirm",
        Action::Rollback => "rollback",
        Action::Boot => "boot",
        Action::RaiseFloor(_) => "raise-floor",
        Action::Migrate(_) => "migrate",
        Action::Lease(..) => "lease",
        Action::Adopt(_) => "format",
        Action::Wipe => "wipe",
    }
}

/// Sectors beside `index`.
fn neighbours(index: usize, sectors: usize) -> impl Iterator<Item = usize> {
    [index.checked_sub(1), Some(index + 1)].into_iter().flatten().filter(move |beside| *beside < sectors)
}

fn spell(arrived: &[bool]) -> String {
    arrived.iter().map(|one| if *one { '1' } else { '0' }).collect()
}
