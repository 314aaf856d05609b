//! Writing records so that each stands in both copies, and never over the newest.
//!
//! A write that failed may have left its record in one copy, with a number above all others; when that copy
//! cannot be read at the next start, what is written then must not be older. So every place that cannot be read
//! is written over first (`bury_marks`, `bury_leases`). Its other copy could be read, or nothing is written at all.

use postern_core::port::Partition;

use super::records::{Places, is_among};
use super::store::{CommitError, Store};
use super::{COPIES, JOURNAL_RECORDS, LEASE_RECORDS, lease_offset, record_offset};

/// Numbers of one kind of records.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbering {
    /// The highest that may be on the medium, also from writes that failed.
    highest: u64,
    /// Whether one was written since the store was opened.
    has_written: bool,
}

impl Numbering {
    /// A record was found to be the newest. Whether it counts: not when it is none, or when something was written
    /// since the store was opened. Nobody else writes, so it is what failed, or comes from a sector that was
    /// taken for broken; what is written next is newer.
    pub(super) fn found(&mut self, number: u64) -> bool {
        let counts = number > self.highest && !self.has_written;
        self.highest = self.highest.max(number);
        counts
    }

    /// The number of the next record, not in the place of the newest. Even if its write fails it may be on the
    /// medium: it is not used for anything else.
    pub(super) fn next(&mut self, newest_at: usize, records: usize) -> u64 {
        let next = self.highest.saturating_add(1);
        let is_its_place = next % records as u64 == newest_at as u64;
        self.highest = if is_its_place { next.saturating_add(1) } else { next };
        self.has_written = true;
        self.highest
    }
}

impl<P: Partition> Store<P> {
    /// Writes over the marks that could not be read when that was tried last.
    pub(super) fn bury_marks(&mut self) -> Result<(), CommitError> {
        let newest = self.journal.encode(self.identity.as_ref().map(|identity| &identity.key));
        self.bury(self.hidden.marks, JOURNAL_RECORDS, (self.journal.record_index(), newest), record_offset)?;
        self.hidden.marks = [0; COPIES];
        Ok(())
    }

    /// The same for leases.
    pub(super) fn bury_leases(&mut self) -> Result<(), CommitError> {
        let newest = self.leases.encode(self.identity.as_ref().map(|identity| &identity.key));
        self.bury(self.hidden.leases, LEASE_RECORDS, (self.leases.record_index(), newest), lease_offset)?;
        self.hidden.leases = [0; COPIES];
        Ok(())
    }

    /// Writes over these places: with the newest record in its own, with nothing elsewhere. One that takes nothing
    /// gives nothing either: a sector that is broken must not end all writing.
    fn bury<const N: usize>(
        &mut self,
        places: Places,
        records: usize,
        (newest_at, newest): (usize, [u8; N]),
        offset: impl Fn(usize, usize) -> u64,
    ) -> Result<(), CommitError> {
        if places == [0; COPIES] {
            return Ok(());
        }
        let all = (0..COPIES).flat_map(|copy| (0..records).map(move |index| (copy, index)));
        for (copy, index) in all.filter(|&(copy, index)| is_among(&places, copy, index)) {
            let record = if index == newest_at { newest } else { [0; N] };
            let at = offset(copy, index);
            if let Err(error) = self.partition.write(at, &record) {
                if self.partition.read(at, &mut [0; N]).is_ok() {
                    return Err(error.into());
                }
            }
        }
        Ok(self.partition.flush()?)
    }

    /// Writes the newest record of marks again where it is missing: a cut may have left it in one copy only,
    /// and the write of the next one beside it, when that is cut, too, may damage that.
    pub(super) fn mend_marks(&mut self) -> Result<(), CommitError> {
        if self.journal.sequence == 0 {
            return Ok(());
        }
        let newest = self.journal.encode(self.identity.as_ref().map(|identity| &identity.key));
        let index = self.journal.record_index();
        self.mend(&newest, |copy| record_offset(copy, index))
    }

    /// The same for leases.
    pub(super) fn mend_leases(&mut self) -> Result<(), CommitError> {
        if self.leases.sequence == 0 {
            return Ok(());
        }
        let newest = self.leases.encode(self.identity.as_ref().map(|identity| &identity.key));
        let index = self.leases.record_index();
        self.mend(&newest, |copy| lease_offset(copy, index))
    }

    fn mend<const N: usize>(
        &mut self,
        newest: &[u8; N],
        offset: impl Fn(usize) -> u64,
    ) -> Result<(), CommitError> {
        let mut missing = [false; COPIES];
        for (copy, missing) in missing.iter_mut().enumerate() {
            let mut found = [0; N];
            let read = self.partition.read(offset(copy), &mut found);
            *missing = read.is_ok() && found != *newest;
        }
        if missing.contains(&true) {
            self.write_copies(newest, offset, missing)?;
        }
        Ok(())
    }

    /// Writes a record into both copies; returns how many can be read back.
    ///
    /// # Errors
    /// [`CommitError::Medium`] when none was written, or the flush failed.
    pub(super) fn write_record<const N: usize>(
        &mut self,
        record: &[u8; N],
        offset: impl Fn(usize) -> u64,
    ) -> Result<usize, CommitError> {
        self.write_copies(record, offset, [true; COPIES])
    }

    /// Writes a record into some of its copies; returns how many of these can be read back. One that cannot is
    /// written once more: the next start may be unable to read the other.
    pub(super) fn write_copies<const N: usize>(
        &mut self,
        record: &[u8; N],
        offset: impl Fn(usize) -> u64,
        which: [bool; COPIES],
    ) -> Result<usize, CommitError> {
        let good = self.write_once(record, &offset, which)?;
        let mut copies = count(good);
        let mut left = which;
        left.iter_mut().zip(good).for_each(|(left, good)| *left &= !good);
        if copies > 0 && left.contains(&true) {
            // What is good already is on the medium, whatever becomes of this.
            copies += self.write_once(record, &offset, left).map_or(0, count);
        }
        Ok(copies)
    }

    /// Writes a record into some of its copies; returns which of these can be read back.
    fn write_once<const N: usize>(
        &mut self,
        record: &[u8; N],
        offset: impl Fn(usize) -> u64,
        which: [bool; COPIES],
    ) -> Result<[bool; COPIES], CommitError> {
        let mut good = which;
        let mut refused = None;
        for (copy, good) in good.iter_mut().enumerate().filter(|(_, good)| **good) {
            // One sector that is broken must not end all writing.
            if let Err(error) = self.partition.write(offset(copy), record) {
                (refused, *good) = (Some(error), false);
            }
        }
        if let Some(error) = refused.filter(|_| !good.contains(&true)) {
            return Err(error.into());
        }
        self.partition.flush()?;
        for (copy, good) in good.iter_mut().enumerate().filter(|(_, good)| **good) {
            let mut found = [0; N];
            *good = self.partition.read(offset(copy), &mut found).is_ok() && found == *record;
        }
        Ok(good)
    }
}

/// How many copies are good.
fn count(copies: [bool; COPIES]) -> usize {
    copies.into_iter().filter(|good| *good).count()
}
