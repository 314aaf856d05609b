//! The first start of a device: it gets an identity and makes what it was flashed with its own.
//!
//! One sector does it: the identity names the unsealed slot that counts by the digest of its header.
//! Before it is there, the unsealed slot is in force because there is no identity; afterwards,
//! because the identity names it; and the first commit is sealed. So nothing can be lost between two
//! steps, not even on a medium that says it has written and has not.
//!
//! Marks and leases from before are sealed first: while there is no identity a sealed record does
//! not count, and with the identity it is the newest.

use postern_core::port::{Partition, SECTOR_BYTES};

use super::identity::Identity;
use super::store::{CommitError, Store};
use super::{COPIES, JOURNAL_RECORDS, LEASE_RECORDS, identity_offset, lease_offset, record_offset};

impl<P: Partition> Store<P> {
    /// Gives the device its identity. One that has an identity keeps it, and a copy that is damaged
    /// is written again, if the medium takes it.
    ///
    /// # Errors
    /// [`CommitError`]; the device has its identity or has none yet, and its configuration either
    /// way. When it may have an identity that cannot be read it gets no other: what it sealed would
    /// be lost for good.
    pub fn adopt(&mut self, identity: Identity) -> Result<(), CommitError> {
        if self.identity.is_none() {
            // It may have been unreadable for a moment, when the store was opened or after it was written.
            self.read_again();
        }
        let first = self.identity.is_none();
        let identity = match (&self.identity, self.in_force()) {
            (Some(own), _) => own.clone(),
            (None, Some(header)) => identity.adopting(header),
            (None, None) => identity,
        };
        let sector = identity.encode();
        // A copy that is good is left alone: while it is written it is none.
        let mut damaged = [self.unsure.identity_unflushed; COPIES];
        for (copy, damaged) in damaged.iter_mut().enumerate() {
            let mut found = [0; SECTOR_BYTES];
            match self.partition.read(identity_offset(copy), &mut found) {
                Err(error) if first => return Err(error.into()),
                Ok(()) if first && Identity::decode(&found).is_ok() => return Err(CommitError::Unsure),
                read => *damaged |= read.is_err() || found != sector,
            }
        }
        if !damaged.contains(&true) {
            return Ok(());
        }
        if first {
            // What is in force may be what cannot be read, and would not be named.
            if !self.are_records_read() || self.hides_something() {
                return Err(CommitError::Unsure);
            }
            self.seal_records(&identity)?;
        }
        self.unsure.identity = first;
        self.unsure.identity_unflushed |= first;
        let written = self.write_copies(&sector, identity_offset, damaged);
        self.read_again();
        // A copy that is broken for good costs a device nothing whose other one is good.
        if !damaged.contains(&false) {
            expect_one(written?)?;
        }
        self.unsure.identity_unflushed = false;
        Ok(())
    }

    /// Writes marks and leases once more, sealed by the device that is to be.
    fn seal_records(&mut self, identity: &Identity) -> Result<(), CommitError> {
        self.mend_marks()?;
        self.mend_leases()?;
        if self.journal.sequence != 0 {
            let mut sealed = self.journal;
            sealed.sequence = self.numbers.marks.next(self.journal.record_index(), JOURNAL_RECORDS);
            let (index, record) = (sealed.record_index(), sealed.encode(Some(&identity.key)));
            expect_one(self.write_record(&record, |copy| record_offset(copy, index))?)?;
            self.journal = sealed;
        }
        if self.leases.sequence != 0 {
            let mut sealed = self.leases.clone();
            sealed.sequence = self.numbers.leases.next(self.leases.record_index(), LEASE_RECORDS);
            let (index, record) = (sealed.record_index(), sealed.encode(Some(&identity.key)));
            expect_one(self.write_record(&record, |copy| lease_offset(copy, index))?)?;
            self.leases = sealed;
        }
        Ok(())
    }
}

/// One copy that can be read back is enough.
const fn expect_one(copies: usize) -> Result<(), CommitError> {
    if copies == 0 { Err(CommitError::ReadBack) } else { Ok(()) }
}
