//! A medium that fails while the power stays: errors once or for ever, writes that land elsewhere,
//! bits that turn over, flushes that lie.
//!
//! No store can keep what a medium loses. What must hold: it opens, what is in force is a
//! configuration that was committed once, whole, and nothing was acknowledged that is not there when it
//! is opened again; leases and the device survive any one damaged sector.

use core::ops::Range;

use postern_config::partition::{
    Choice, Header, PAYLOAD_BYTES_MAX, SLOT_BYTES, SlotState, Store, slot_offset,
};
use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};
use postern_sim::random::Random;

use crate::campaign::{Action, Failure, Report, carry_out, name};
use crate::medium::Image;
use crate::oracle::{View, Violation};
use crate::tally::Damage;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The `nth` write, and with `forever` every one behind it, is an error. `arrives`: it is on the
    /// medium all the same.
    Write {
        /// From 0.
        nth: usize,
        /// Whether all behind it fail, too.
        forever: bool,
        /// Whether it arrives.
        arrives: bool,
    },
    /// The `nth` flush is an error.
    Flush {
        /// From 0.
        nth: usize,
        /// Whether all behind it fail, too.
        forever: bool,
    },
    /// The `nth` read is an error.
    Read {
        /// From 0.
        nth: usize,
        /// Whether all behind it fail, too.
        forever: bool,
    },
    /// The `nth` sector that is written lands in `sector`.
    Misdirected {
        /// From 0.
        nth: usize,
        /// Where it lands.
        sector: usize,
    },
}

/// A medium with a fault.
#[derive(Clone, Debug)]
struct Faulty {
    image: Image,
    fault: Option<Fault>,
    writes: usize,
    sectors: usize,
    flushes: usize,
    reads: usize,
}

impl Faulty {
    fn new(image: Image) -> Self {
        Self { image, fault: None, writes: 0, sectors: 0, flushes: 0, reads: 0 }
    }
}

fn strikes(number: usize, nth: usize, forever: bool) -> bool {
    number == nth || forever && number > nth
}

impl Partition for Faulty {
    fn size_bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        let number = self.reads;
        self.reads += 1;
        match self.fault {
            Some(Fault::Read { nth, forever }) if strikes(number, nth, forever) => Err(PartitionError::Read),
            _ => self.image.read(offset, buffer),
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        let number = self.writes;
        self.writes += 1;
        if let Some(Fault::Write { nth, forever, arrives }) = self.fault {
            if strikes(number, nth, forever) {
                if arrives {
                    self.image.write(offset, bytes)?;
                }
                return Err(PartitionError::Write);
            }
        }
        for (index, part) in bytes.chunks_exact(SECTOR_BYTES).enumerate() {
            let mut place = offset + (index * SECTOR_BYTES) as u64;
            if let Some(Fault::Misdirected { nth, sector }) = self.fault {
                if nth == self.sectors {
                    place = (sector * SECTOR_BYTES) as u64;
                }
            }
            self.sectors += 1;
            self.image.write(place, part)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        let number = self.flushes;
        self.flushes += 1;
        match self.fault {
            Some(Fault::Flush { nth, forever }) if strikes(number, nth, forever) => {
                Err(PartitionError::Flush)
            }
            _ => Ok(()),
        }
    }
}

/// Everything that was known before the fault.
struct Known {
    before: View,
    after: View,
    /// Payloads of every slot that could be read.
    history: Vec<Vec<u8>>,
    /// Sectors of the only configuration that counts before or after the action, when there is but one: a
    /// write that strays into it leaves the factory profile.
    only: Vec<Range<usize>>,
}

/// Carries `action` out on a medium with every fault, one at a time.
pub fn fail_everywhere(start: &Image, action: &Action, seed: u64) -> Report {
    let mut report = Report::default();
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    let mut random = Random::new(seed);
    let mut clean = open(Faulty::new(start.clone()));
    let reads_of_opening = clean.partition().reads;
    let _ = carry_out(&mut clean, action);
    let end = clean.into_partition();
    let known = Known {
        before: View::of(start.clone(), &mut buffer),
        after: View::of(end.image.clone(), &mut buffer),
        history: history(start, &mut buffer),
        only: [start, &end.image].into_iter().filter_map(only).collect(),
    };
    let mut faults = Vec::new();
    for forever in [false, true] {
        for arrives in [false, true] {
            faults.extend((0..end.writes).map(|nth| Fault::Write { nth, forever, arrives }));
        }
        faults.extend((0..end.flushes).map(|nth| Fault::Flush { nth, forever }));
        faults.extend((reads_of_opening..end.reads).map(|nth| Fault::Read { nth, forever }));
    }
    let sectors = start.sectors() as u64;
    for nth in 0..end.sectors.min(64) {
        let mut anywhere = || random.below(sectors) as usize;
        faults.extend((0..8).map(|_| Fault::Misdirected { nth, sector: anywhere() }));
    }
    for fault in faults {
        let damage =
            if matches!(fault, Fault::Misdirected { .. }) { Damage::Misdirected } else { Damage::Error };
        report.count(name(action), damage);
        if let Err(violation) = with_fault(start, action, fault, &known, &mut buffer) {
            report.failures.push(Failure { violation, state: format!("{} with {fault:?}", name(action)) });
        }
    }
    report
}

fn open(medium: Faulty) -> Store<Faulty> {
    Store::open(medium).unwrap_or_else(|error| panic!("{error:?}"))
}

fn with_fault(
    start: &Image,
    action: &Action,
    fault: Fault,
    known: &Known,
    buffer: &mut [u8],
) -> Result<(), Violation> {
    // The store is open when the medium begins to fail; what it had read counts.
    let mut faulty = Faulty::new(start.clone());
    faulty.fault = Some(fault);
    let mut store = open(faulty);
    let acknowledged = carry_out(&mut store, action);
    let mut image = store.into_partition().image.settled();
    let view = View::of(image.clone(), buffer);
    let is_misdirected = matches!(fault, Fault::Misdirected { .. });
    let strays_into =
        |only: &Range<usize>| matches!(fault, Fault::Misdirected { sector, .. } if only.contains(&sector));
    let payload_is_known = view.payload == known.before.payload
        || view.payload == known.after.payload
        || is_misdirected && view.payload.as_ref().is_some_and(|payload| known.history.contains(payload))
        || view.payload.is_none() && known.only.iter().any(strays_into);
    if !payload_is_known {
        return Err(Violation::Mixed);
    }
    if view.device != known.before.device && view.device != known.after.device {
        return Err(Violation::OtherDevice);
    }
    let mut leases = [&known.before.leases, &known.after.leases].into_iter();
    if !leases.any(|leases| leases.iter().eq(view.leases.iter())) {
        return Err(Violation::LeasesMixed);
    }
    // Read back is what an acknowledgement means; damage to what was there before is another matter.
    if acknowledged && !is_misdirected && view != known.after {
        return Err(Violation::LostAcknowledged);
    }
    // The medium is well again: the next commit counts.
    let mut store = Store::open(image.clone()).map_err(|_| Violation::Brick)?;
    if !carry_out(&mut store, &Action::Commit(b"afterwards".to_vec())) {
        return Err(Violation::Brick);
    }
    image = store.into_partition();
    if View::of(image, buffer).payload.as_deref() != Some(b"afterwards") {
        return Err(Violation::LostAcknowledged);
    }
    Ok(())
}

/// Sectors of the slot in force, when no other counts.
fn only(image: &Image) -> Option<Range<usize>> {
    let store = open(Faulty::new(image.clone()));
    let Choice::Slot(index) = store.choice() else { return None };
    let first = slot_offset(index) as usize / SECTOR_BYTES;
    let journal = store.journal();
    let is_settled =
        |header: &Header| !header.trial || journal.is_confirmed(header.generation, &header.digest);
    let counts = |header: &&Header| header.floor >= journal.floor && is_settled(header);
    let alone = store.slots().iter().filter_map(SlotState::header).filter(counts).count() == 1;
    alone.then_some(first..first + SLOT_BYTES / SECTOR_BYTES)
}

/// Payloads of every slot that can be read.
pub(crate) fn history(image: &Image, buffer: &mut [u8]) -> Vec<Vec<u8>> {
    let mut store = open(Faulty::new(image.clone()));
    let valid: Vec<usize> = (0..)
        .zip(store.slots().iter().map(SlotState::header))
        .filter_map(|(index, header)| header.map(|_| index))
        .collect();
    valid.into_iter().filter_map(|index| store.read(index, buffer).ok().map(<[u8]>::to_vec)).collect()
}

/// Turns every bit of `image` over, `stride` bits apart, and looks at what is found.
///
/// A bit that is turned over is detected or harmless: what is in force is what was, or an older
/// configuration when its own slot was hit; leases, marks and the device are what they were.
pub fn flip_bits(image: &Image, first: usize, stride: usize, seed: u64) -> Report {
    let mut report = Report::default();
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    let before = View::of(image.clone(), &mut buffer);
    let history = history(image, &mut buffer);
    let bits = image.sectors() * SECTOR_BYTES * 8;
    for bit in (first..bits).step_by(stride) {
        let (index, octet, mask) = (bit / 8 / SECTOR_BYTES, bit / 8 % SECTOR_BYTES, 1_u8 << (bit % 8));
        let mut sector = image.sector(index);
        // Of what was never written, a few are enough.
        if sector == [0; SECTOR_BYTES] && octet % 64 != 0 {
            continue;
        }
        sector[octet] ^= mask;
        let mut flipped = image.clone();
        flipped.set(index, sector);
        report.count("any bit", Damage::Bit);
        let view = View::of(flipped, &mut buffer);
        // After a wipe there is one configuration: when its own slot is hit, the factory profile is all
        // there is.
        let known = view.payload == before.payload
            || view.payload.as_ref().is_some_and(|payload| history.contains(payload))
            || view.payload.is_none() && history.len() == 1;
        let violation = if !known {
            Some(Violation::Mixed)
        } else if view.device != before.device {
            Some(Violation::OtherDevice)
        } else if !view.leases.iter().eq(before.leases.iter()) {
            Some(Violation::LeasesMixed)
        } else if view.journal != before.journal {
            Some(Violation::JournalMixed)
        } else {
            None
        };
        if let Some(violation) = violation {
            report.failures.push(Failure { violation, state: format!("seed {seed}: bit {bit} turned over") });
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{actions, lived_in, settled_after};

    /// Trials nobody confirmed count for nothing (seed 20262020).
    #[test]
    fn what_stands_beside_trials_is_the_only_one() {
        let mut image = Image::blank();
        for action in [Action::Commit(vec![1; 100]), Action::Trial(vec![2; 100]), Action::Trial(vec![3; 100])]
        {
            image = settled_after(&image, &action);
        }
        let first = slot_offset(0) as usize / SECTOR_BYTES;
        assert_eq!(only(&image), Some(first..first + SLOT_BYTES / SECTOR_BYTES));
        let image = settled_after(&image, &Action::Confirm);
        assert_eq!(only(&image), None);
    }

    #[test]
    fn no_fault_of_the_medium_breaks_a_rule() {
        for seed in 1..=4 {
            let mut image = lived_in(seed);
            for action in actions(700, seed) {
                let report = fail_everywhere(&image, &action, seed);
                assert_eq!(report.failures, [], "seed {seed}");
                image = settled_after(&image, &action);
            }
        }
    }

    #[test]
    fn no_bit_breaks_a_rule() {
        for seed in 1..=2 {
            let image = lived_in(seed);
            let report = flip_bits(&image, seed as usize, 97, seed);
            assert_eq!(report.failures, [], "seed {seed}");
            assert!(report.states > 1000);
        }
    }
}
