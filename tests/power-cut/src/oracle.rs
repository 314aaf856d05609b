//! What must hold of a store after a power cut.

use postern_config::partition::{Choice, JournalState, PAYLOAD_BYTES_MAX, Store};

use crate::medium::Image;

/// What is known of the configuration before and after the operation that was cut.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Payload in force before; `None` is the factory profile.
    pub before: Option<Vec<u8>>,
    /// Payload in force after.
    pub after: Option<Vec<u8>>,
    /// Journal before.
    pub journal_before: JournalState,
    /// Journal after.
    pub journal_after: JournalState,
    /// Whether the operation was acknowledged before the cut.
    pub acknowledged: bool,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The store could not be opened or what is in force could not be read.
    Brick,
    /// What is in force is neither the old nor the new configuration.
    Mixed,
    /// The operation was acknowledged and is gone.
    LostAcknowledged,
    /// The journal says something it never said.
    JournalMixed,
}

/// Opens the store and checks it. `buffer` holds [`PAYLOAD_BYTES_MAX`] octets.
///
/// # Errors
/// The first rule that does not hold.
pub fn check(image: Image, expected: &Expected, buffer: &mut [u8]) -> Result<(), Violation> {
    debug_assert_eq!(buffer.len(), PAYLOAD_BYTES_MAX);
    let mut store = Store::open(image).map_err(|_| Violation::Brick)?;
    let journal = *store.journal();
    let found = match store.choice() {
        Choice::Factory => None,
        Choice::Slot(index) => Some(store.read(index, buffer).map_err(|_| Violation::Brick)?),
    };
    let is_after = found == expected.after.as_deref();
    if !is_after && found != expected.before.as_deref() {
        return Err(Violation::Mixed);
    }
    let journal_is_after = journal == expected.journal_after;
    if !journal_is_after && journal != expected.journal_before {
        return Err(Violation::JournalMixed);
    }
    if expected.acknowledged && !(is_after && journal_is_after) {
        return Err(Violation::LostAcknowledged);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{Action, Effort, actions, cut_everywhere, lived_in, settled_after};
    use postern_config::partition::{header::Header, slot_offset};
    use postern_core::port::{Partition, SECTOR_BYTES};

    fn expected(before: &[u8], after: &[u8], journal: JournalState, acknowledged: bool) -> Expected {
        let (before, after) = (Some(before.to_vec()), Some(after.to_vec()));
        Expected { before, after, journal_before: journal, journal_after: journal, acknowledged }
    }

    fn judge(image: Image, expected: &Expected) -> Result<(), Violation> {
        check(image, expected, &mut vec![0; PAYLOAD_BYTES_MAX])
    }

    #[test]
    fn the_oracle_sees_what_is_wrong() {
        let image = settled_after(&Image::blank(), &Action::Commit(b"new".to_vec()));
        let journal = *Store::open(image.clone()).unwrap().journal();
        assert_eq!(judge(image.clone(), &expected(b"old", b"new", journal, true)), Ok(()));
        assert_eq!(judge(image.clone(), &expected(b"new", b"newer", journal, false)), Ok(()));
        let lost = expected(b"new", b"newer", journal, true);
        assert_eq!(judge(image.clone(), &lost), Err(Violation::LostAcknowledged));
        assert_eq!(judge(image.clone(), &expected(b"a", b"b", journal, false)), Err(Violation::Mixed));
        let other = JournalState { boots: 9, ..journal };
        assert_eq!(judge(image, &expected(b"old", b"new", other, false)), Err(Violation::JournalMixed));
    }

    /// A header that did not cover its payload would be chosen with whatever lies behind it.
    #[test]
    fn a_store_that_trusts_its_headers_alone_would_be_caught() {
        let mut image = settled_after(&Image::blank(), &Action::Commit(b"old".to_vec()));
        let digest = Store::open(image.clone()).unwrap().in_force().unwrap().digest;
        // Slot 1 claims a payload that never arrived: only the digest tells.
        let header = Header {
            generation: 9,
            trial: false,
            schema: 1,
            floor: 0,
            payload_bytes: 3,
            digest: [1; 32],
            seal: None,
        };
        image.write(slot_offset(1), &header.encode()).unwrap();
        let journal = *Store::open(image.clone()).unwrap().journal();
        assert_eq!(judge(image.clone(), &expected(b"old", b"old", journal, true)), Ok(()));
        // With the digest of what lies there it is chosen: the oracle must object.
        let lie = Header { payload_bytes: 3, digest, ..header };
        image.write(slot_offset(1), &lie.encode()).unwrap();
        let mut sector = [0; SECTOR_BYTES];
        sector[..3].copy_from_slice(b"old");
        image.write(slot_offset(1) + SECTOR_BYTES as u64, &sector).unwrap();
        assert_eq!(judge(image, &expected(b"x", b"y", journal, false)), Err(Violation::Mixed));
    }

    #[test]
    fn no_cut_of_any_action_breaks_a_rule() {
        let effort = Effort { tear_step_bytes: 64, second_cut: true, subsets_sampled: 16 };
        for seed in 1..=3 {
            let mut image = lived_in(seed);
            for action in actions(900, seed) {
                let report = cut_everywhere(&image, &action, effort, seed);
                assert_eq!(report.failures, [], "seed {seed}");
                assert!(report.states > 0 || action == Action::RaiseFloor, "{action:?} was never cut");
                image = settled_after(&image, &action);
            }
        }
    }
}
