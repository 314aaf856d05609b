//! The first start of a device: it gets an identity and makes what it was flashed with its own.
//!
//! One sector does it: the identity names the unsealed slot that counts by the digest of its header.
//! Before it is there, the unsealed slot is in force because there is no identity; afterwards,
//! because the identity names it; and the first commit is sealed. So nothing can be lost between two
//! steps, not even on a medium that says it has written and has not.

use postern_core::port::{Partition, SECTOR_BYTES};

use super::identity::Identity;
use super::store::{CommitError, Store};
use super::{COPIES, identity_offset};

impl<P: Partition> Store<P> {
    /// Gives the device its identity. One that has an identity keeps it, and a copy that is damaged
    /// is written again.
    ///
    /// # Errors
    /// [`CommitError`]; the device has its identity or has none yet, and its configuration either
    /// way.
    pub fn adopt(&mut self, identity: Identity) -> Result<(), CommitError> {
        let identity = match (&self.identity, self.in_force()) {
            (Some(own), _) => own.clone(),
            (None, Some(header)) => identity.adopting(header),
            (None, None) => identity,
        };
        let sector = identity.encode();
        let mut good = 0;
        for copy in 0..COPIES {
            let mut found = [0; SECTOR_BYTES];
            let there = self.partition.read(identity_offset(copy), &mut found).is_ok() && found == sector;
            good += usize::from(there);
        }
        if good < COPIES {
            let written = self.write_record(&sector, identity_offset);
            self.read_again();
            if written? == 0 {
                return Err(CommitError::ReadBack);
            }
        }
        Ok(())
    }
}
