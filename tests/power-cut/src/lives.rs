//! Whole lives of a device: action after action, cut after cut, error after error, with a ledger that
//! knows only what was acknowledged.
//!
//! The other campaigns compare with what the store itself says before and after one action; here a
//! ledger of a few lines says what must be found, a store that has seen an error is used on, and what
//! is found after a cut is where the next action begins.

use std::collections::BTreeMap;

use postern_config::partition::{Choice, Identity, Kind, Lease, Mark, PAYLOAD_BYTES_MAX, SlotState, Store};
use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};
use postern_sim::random::Random;

use crate::campaign::{Failure, Report};
use crate::medium::{Image, Sector};
use crate::oracle::Violation;
use crate::tally::Damage;
use crate::tear::{FILLS, tear};

/// Keys that lease counters.
const KEYS: u64 = 3;

/// What is wrong with the medium for now; counted down by what it is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// The power goes behind so many writes and flushes.
    Cut(u64),
    /// Behind so many writes and flushes, one is an error.
    Error(u64),
    /// So many reads are errors, behind so many that are not.
    Deaf {
        after: u64,
        reads: u64,
    },
}

/// A medium with a cache that is lost with the power.
#[derive(Debug)]
struct Shaky {
    /// What reads see.
    seen: Image,
    /// What a cut leaves for sure.
    synced: Image,
    pending: Vec<(usize, Sector)>,
    trouble: Trouble,
    is_off: bool,
    random: Random,
}

impl Shaky {
    fn new(image: Image, seed: u64) -> Self {
        let (seen, pending) = (image.clone(), Vec::new());
        Self {
            seen,
            synced: image,
            pending,
            trouble: Trouble::None,
            is_off: false,
            random: Random::new(seed),
        }
    }

    /// Counts one write or flush; whether it is the one that fails.
    fn strikes(&mut self) -> bool {
        match &mut self.trouble {
            Trouble::Cut(0) => {
                self.is_off = true;
                true
            }
            Trouble::Error(0) => {
                self.trouble = Trouble::None;
                true
            }
            Trouble::Cut(left) | Trouble::Error(left) => {
                *left -= 1;
                false
            }
            _ => false,
        }
    }

    /// What is on the medium when nobody says any more what has arrived.
    fn some_arrived(&mut self) -> Image {
        let mut image = self.synced.clone();
        let chance = [0, 1000, 500, 900, 100][self.random.below(5) as usize];
        for (index, sector) in &self.pending {
            if self.random.per_mille(chance) {
                image.set(*index, *sector);
            } else if self.random.per_mille(200) {
                let fill = FILLS[self.random.below(4) as usize];
                let kept = self.random.below(SECTOR_BYTES as u64) as usize;
                let torn = tear(
                    &image.sector(*index),
                    sector,
                    kept,
                    self.random.per_mille(500),
                    fill,
                    &mut self.random,
                );
                image.set(*index, torn);
            }
        }
        image.light()
    }
}

impl Partition for Shaky {
    fn size_bytes(&self) -> u64 {
        self.seen.size_bytes()
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        if self.is_off {
            return Err(PartitionError::Read);
        }
        match &mut self.trouble {
            Trouble::Deaf { after: 0, reads: 0 } => self.trouble = Trouble::None,
            Trouble::Deaf { after: 0, reads } => {
                *reads -= 1;
                return Err(PartitionError::Read);
            }
            Trouble::Deaf { after, .. } => *after -= 1,
            _ => {}
        }
        self.seen.read(offset, buffer)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        if self.is_off {
            return Err(PartitionError::Write);
        }
        let fails = self.strikes();
        let first = offset as usize / SECTOR_BYTES;
        for (index, part) in bytes.chunks_exact(SECTOR_BYTES).enumerate() {
            if fails && self.random.per_mille(500) {
                continue;
            }
            let sector = part.try_into().map_err(|_| PartitionError::OutOfRange)?;
            self.pending.push((first + index, sector));
            self.seen.set(first + index, sector);
        }
        if fails { Err(PartitionError::Write) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        if self.is_off {
            return Err(PartitionError::Flush);
        }
        let fails = self.strikes();
        if self.is_off {
            return Err(PartitionError::Flush);
        }
        // After an error the kernel forgets what had not arrived.
        self.synced = if fails { self.some_arrived() } else { self.seen.clone().light() };
        self.seen = self.synced.clone();
        self.pending.clear();
        if fails { Err(PartitionError::Flush) } else { Ok(()) }
    }
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
struct Ledger {
    /// In force: generation and payload; `None` is the factory profile.
    in_force: Option<(u64, Vec<u8>)>,
    /// What may be in force instead: asked for, and not acknowledged.
    maybe: Vec<Option<Vec<u8>>>,
    /// What was known before the last start, if that start read something nobody had been told of.
    before: Option<(Found, Vec<Option<Vec<u8>>>)>,
    /// Payloads of trials, by generation.
    trials: BTreeMap<u64, Vec<u8>>,
    /// Highest counter handed out, by key.
    handed_out: BTreeMap<u64, u64>,
    floor: u32,
    boots: u32,
    device: Option<[u8; 16]>,
}

impl Ledger {
    /// Looks at a store that was opened just now.
    fn check(&self, store: &mut Store<impl Partition>, buffer: &mut [u8]) -> Result<Found, Violation> {
        let found = match store.choice() {
            Choice::Factory => None,
            Choice::Slot(index) => {
                let generation = store.in_force().map_or(0, |header| header.generation);
                Some((generation, store.read(index, buffer).map_err(|_| Violation::Brick)?.to_vec()))
            }
        };
        let payload = found.as_ref().map(|(_, payload)| payload);
        let acknowledged = self.in_force.as_ref().map(|(_, payload)| payload);
        if payload != acknowledged && !self.maybe.iter().any(|maybe| maybe.as_ref() == payload) {
            let is_known = payload.is_none() || self.trials.values().any(|trial| Some(trial) == payload);
            return Err(if is_known { Violation::LostAcknowledged } else { Violation::Mixed });
        }
        for (key, handed_out) in &self.handed_out {
            if store.leases().ceiling(*key).unwrap_or(0) < *handed_out {
                return Err(Violation::LeasesMixed);
            }
        }
        if store.journal().floor < self.floor || store.journal().boots < self.boots {
            return Err(Violation::JournalMixed);
        }
        if self.device.is_some() && store.identity().map(|identity| identity.id) != self.device {
            return Err(Violation::OtherDevice);
        }
        Ok(found)
    }

    /// What was found is what is known from now on.
    fn settle(&mut self, found: Found, store: &Store<impl Partition>) {
        let maybe = std::mem::take(&mut self.maybe);
        let known = std::mem::replace(&mut self.in_force, found);
        self.before = (known != self.in_force).then_some((known, maybe));
        self.device = store.identity().map(|identity| identity.id);
    }

    /// The store was opened, and what is known was found. When reads failed meanwhile, perhaps nobody has seen
    /// it yet: what was acknowledged before may still come back.
    fn opened(&mut self, reads_failed: bool) {
        let Some((known, maybe)) = self.before.take() else { return };
        if reads_failed {
            let found = std::mem::replace(&mut self.in_force, known);
            self.maybe = maybe;
            self.maybe.push(found.map(|(_, payload)| payload));
        }
    }

    fn now_in_force(&mut self, generation: u64, payload: Vec<u8>) {
        self.in_force = Some((generation, payload));
        self.maybe.clear();
    }

    fn maybe_in_force(&mut self, payload: Option<Vec<u8>>) {
        self.maybe.push(payload);
    }
}

type Found = Option<(u64, Vec<u8>)>;

/// One device.
struct Life {
    random: Random,
    ledger: Ledger,
    buffer: Vec<u8>,
}

impl Life {
    fn payload(&mut self) -> Vec<u8> {
        // Some are committed again and again.
        if self.random.per_mille(150) {
            return b"the usual".to_vec();
        }
        let mut payload = vec![0; 1 + self.random.below(1500) as usize];
        payload.fill_with(|| self.random.bits() as u8);
        payload
    }

    /// Does something with the store, and notes what was acknowledged.
    fn act(&mut self, store: &mut Store<Shaky>) {
        match self.random.below(12) {
            0..=2 => self.commit(store),
            3 => {
                let payload = self.payload();
                let floor = store.journal().floor;
                if let Ok(header) = store.commit(&payload, 1, floor, Kind::Trial) {
                    self.ledger.trials.insert(header.generation, payload);
                }
            }
            4..=5 => self.confirm(store),
            6 => self.ledger.boots += u32::from(store.mark(Mark::Booted).is_ok()),
            7..=9 => self.lease(store),
            10 => {
                // None is ever drawn twice: what one that came to nothing has sealed would count again.
                let mut octets = [0; 48];
                octets.fill_with(|| self.random.bits() as u8);
                if store.adopt(Identity::from_random(&octets)).is_ok() {
                    self.ledger.device = store.identity().map(|identity| identity.id);
                }
            }
            _ if self.random.per_mille(300) => match store.wipe() {
                Ok(()) => (self.ledger.in_force, self.ledger.maybe) = (None, Vec::new()),
                Err(_) => self.ledger.maybe_in_force(None),
            },
            _ => {}
        }
    }

    fn commit(&mut self, store: &mut Store<Shaky>) {
        let payload = self.payload();
        let floor = store.journal().floor + u32::from(self.random.per_mille(100));
        match store.commit(&payload, 1, floor, Kind::Permanent) {
            Ok(header) => {
                self.ledger.floor = self.ledger.floor.max(floor);
                self.ledger.now_in_force(header.generation, payload);
            }
            Err(_) => self.ledger.maybe_in_force(Some(payload)),
        }
    }

    fn confirm(&mut self, store: &mut Store<Shaky>) {
        let trials = store.slots().iter().filter_map(SlotState::header).filter(|header| header.trial);
        let newest = trials.map(|header| header.generation).max();
        let Some((generation, payload)) = newest.and_then(|newest| self.ledger.trials.get_key_value(&newest))
        else {
            return;
        };
        let (generation, payload) = (*generation, payload.clone());
        // The store may know of one that was not acknowledged, and has been read since.
        let is_newest = store.in_force().is_none_or(|header| generation > header.generation);
        let is_newer =
            is_newest && self.ledger.in_force.as_ref().is_none_or(|(in_force, _)| generation > *in_force);
        match store.confirm(generation) {
            Ok(()) if is_newer => self.ledger.now_in_force(generation, payload),
            Err(_) if is_newer => self.ledger.maybe_in_force(Some(payload)),
            _ => {}
        }
    }

    fn lease(&mut self, store: &mut Store<Shaky>) {
        let fingerprint = 1 + self.random.below(KEYS);
        let held = store.leases().ceiling(fingerprint).unwrap_or(0);
        let live: Vec<u64> = (1..=KEYS).collect();
        if self.random.per_mille(100) {
            // An admin sets it anew: what was handed out before does not bind any more.
            let ceiling = self.random.below(1000);
            self.ledger.handed_out.remove(&fingerprint);
            if store.rebase(Lease { fingerprint, ceiling }, &live).is_ok() {
                self.ledger.handed_out.insert(fingerprint, ceiling);
            }
            return;
        }
        let ceiling = (held + self.random.below(4096)).saturating_sub(100);
        if store.lease(Lease { fingerprint, ceiling }, &live).is_ok() {
            let handed_out = self.ledger.handed_out.entry(fingerprint).or_default();
            *handed_out = ceiling.max(*handed_out);
        }
    }

    /// Of some starts the first reads fail, or some in their middle.
    fn trouble_at_start(&mut self) -> Trouble {
        if self.random.per_mille(800) {
            return Trouble::None;
        }
        let (after, reads) = (self.random.below(160), 1 + self.random.below(160));
        Trouble::Deaf { after, reads }
    }

    fn trouble(&mut self) -> Trouble {
        match self.random.below(10) {
            0..=3 => Trouble::Cut(self.random.below(14)),
            4..=5 => Trouble::Error(self.random.below(8)),
            6 => {
                let many = [2, 20, 400][self.random.below(3) as usize];
                let reads = 1 + self.random.below(many);
                Trouble::Deaf { after: self.random.below(30), reads }
            }
            _ => Trouble::None,
        }
    }
}

/// Lives through `sessions` starts of one device, and checks what is found at each, in several ways a
/// cut can come out.
pub fn live(seed: u64, sessions: usize) -> Report {
    let mut report = Report::default();
    let mut life =
        Life { random: Random::new(seed), ledger: Ledger::default(), buffer: vec![0; PAYLOAD_BYTES_MAX] };
    let mut image = Image::blank();
    for session in 0..sessions {
        let mut medium = Shaky::new(image.clone(), life.random.bits());
        medium.trouble = life.trouble_at_start();
        let reads_fail = medium.trouble != Trouble::None;
        let mut store = Store::open(medium).unwrap_or_else(|error| panic!("{error:?}"));
        life.ledger.opened(reads_fail);
        // The start is counted first, whatever comes after; with it a mark that a cut left in one copy is in both.
        life.ledger.boots += u32::from(store.mark(Mark::Booted).is_ok());
        let actions = 1 + life.random.below(6);
        for _ in 0..actions {
            let trouble = life.trouble();
            // The store holds its medium: it is taken out and put back without being opened anew.
            store.partition_mut().trouble = trouble;
            life.act(&mut store);
            if store.partition().is_off {
                break;
            }
        }
        let mut medium = store.into_partition();
        let mut next = None;
        for _ in 0..8 {
            let left = medium.some_arrived();
            report.count("whole lives", Damage::Life);
            let mut store = Store::open(left.clone()).unwrap_or_else(|error| panic!("{error:?}"));
            match life.ledger.check(&mut store, &mut life.buffer) {
                Ok(found) => {
                    let mut ledger = life.ledger.clone();
                    ledger.settle(found, &store);
                    next = Some((left, ledger));
                }
                Err(violation) => {
                    let state = format!("life {seed}, start {session}: {:?}", medium.trouble);
                    report.failures.push(Failure { violation, state });
                    return report;
                }
            }
        }
        if let Some((left, ledger)) = next {
            (image, life.ledger) = (left.settled(), ledger);
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acknowledged_is_lost_in_a_long_life() {
        for seed in 1..=60 {
            let report = live(seed, 60);
            assert_eq!(report.failures, [], "seed {seed}");
            assert_eq!(report.states, 60 * 8);
        }
    }
}
