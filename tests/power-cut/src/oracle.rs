//! What must hold of a store after a power cut.

use postern_config::partition::{Choice, JournalState, Leases, PAYLOAD_BYTES_MAX, SlotState, Store, choose};
use postern_core::port::Partition;

use crate::medium::Image;

/// What somebody sees who opens a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Payload in force; `None` is the factory profile.
    pub payload: Option<Vec<u8>>,
    /// The journal.
    pub journal: JournalState,
    /// Leases.
    pub leases: Leases,
    /// Id of the device.
    pub device: Option<[u8; 16]>,
}

impl View {
    /// Of a store that works. `buffer` holds [`PAYLOAD_BYTES_MAX`] octets.
    ///
    /// # Panics
    /// When it does not open.
    pub fn of(image: Image, buffer: &mut [u8]) -> Self {
        let mut store = Store::open(image).unwrap_or_else(|error| panic!("{error:?}"));
        let payload = match store.choice() {
            Choice::Factory => None,
            Choice::Slot(index) => store.read(index, buffer).ok().map(<[u8]>::to_vec),
        };
        let device = store.identity().map(|identity| identity.id);
        Self { payload, journal: *store.journal(), leases: store.leases().clone(), device }
    }
}

/// What is known before and after the operation that was cut.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Before.
    pub before: View,
    /// After.
    pub after: View,
    /// What a firmware that does not know the new schema must still find; `None`: not asked.
    pub older_firmware: Option<Option<Vec<u8>>>,
    /// Whether the operation was acknowledged before the cut.
    pub acknowledged: bool,
    /// The medium said that it had written what it had not: an older configuration may be in force
    /// again, one of these, or none when the floor was raised; and records from before the first start may
    /// be lost with it.
    pub lied: Option<Vec<Vec<u8>>>,
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
    /// The leases say something they never said.
    LeasesMixed,
    /// The device is another.
    OtherDevice,
    /// A firmware from before the migration finds nothing to start with.
    NoWayBack,
}

/// Opens the store and checks it. `buffer` holds [`PAYLOAD_BYTES_MAX`] octets.
///
/// # Errors
/// The first rule that does not hold.
pub fn check(image: Image, expected: &Expected, buffer: &mut [u8]) -> Result<(), Violation> {
    debug_assert_eq!(buffer.len(), PAYLOAD_BYTES_MAX);
    let mut store = Store::open(image).map_err(|_| Violation::Brick)?;
    let Expected { before, after, .. } = expected;
    let journal = *store.journal();
    let leases_are_after = *store.leases() == after.leases;
    let first_start_lied = expected.lied.is_some() && before.device != after.device;
    let lost = first_start_lied && *store.leases() == Leases::default();
    if !leases_are_after && *store.leases() != before.leases && !lost {
        return Err(Violation::LeasesMixed);
    }
    let device = store.identity().map(|identity| identity.id);
    if device != after.device && device != before.device {
        return Err(Violation::OtherDevice);
    }
    if let Some(wanted) = &expected.older_firmware {
        if newest_of_schema_1(&mut store, buffer)?.as_ref() != wanted.as_ref() {
            return Err(Violation::NoWayBack);
        }
    }
    let found = match store.choice() {
        Choice::Factory => None,
        Choice::Slot(index) => Some(store.read(index, buffer).map_err(|_| Violation::Brick)?),
    };
    let is_after = found == after.payload.as_deref();
    // The mark that raised the floor arrived, and what it was raised to did not: nothing counts.
    let floor_lied = expected.lied.is_some() && journal.floor > before.journal.floor && found.is_none();
    let is_older = |older: &Vec<Vec<u8>>| found.is_some_and(|found| older.iter().any(|one| one == found));
    let lied = floor_lied || expected.lied.as_ref().is_some_and(is_older);
    if !is_after && found != before.payload.as_deref() && !lied {
        return Err(Violation::Mixed);
    }
    let journal_is_after = journal == after.journal;
    let journal_lost = first_start_lied && journal == JournalState::default();
    if !journal_is_after && journal != before.journal && !journal_lost {
        return Err(Violation::JournalMixed);
    }
    let all_after = is_after && journal_is_after && leases_are_after && device == after.device;
    if expected.acknowledged && !all_after {
        return Err(Violation::LostAcknowledged);
    }
    Ok(())
}

/// What a firmware finds that knows schema 1 only.
fn newest_of_schema_1<P: Partition>(
    store: &mut Store<P>,
    buffer: &mut [u8],
) -> Result<Option<Vec<u8>>, Violation> {
    let known = store.slots().map(|slot| match slot {
        SlotState::Valid(header) if header.schema != 1 => SlotState::Unreadable,
        other => other,
    });
    match choose(&known, store.journal()) {
        Choice::Factory => Ok(None),
        Choice::Slot(index) => {
            store.read(index, buffer).map(|payload| Some(payload.to_vec())).map_err(|_| Violation::Brick)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::{Action, Bug, Effort, actions, cut_everywhere, lived_in, settled_after};
    use postern_config::partition::{header::Header, slot_offset};
    use postern_core::port::{Partition, SECTOR_BYTES};

    fn expected(before: &[u8], after: &[u8], journal: JournalState, acknowledged: bool) -> Expected {
        let view = |payload: &[u8]| View {
            payload: Some(payload.to_vec()),
            journal,
            leases: Leases::default(),
            device: None,
        };
        Expected { before: view(before), after: view(after), older_firmware: None, acknowledged, lied: None }
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
        let effort = Effort { tear_step_bytes: 200, second_cut: true, subsets_sampled: 16, bug: None };
        for seed in 1..=2 {
            let mut image = lived_in(seed);
            for action in actions(400, seed) {
                let report = cut_everywhere(&image, &action, effort, seed);
                assert_eq!(report.failures, [], "seed {seed}");
                let may_change_nothing = matches!(action, Action::Confirm | Action::Adopt(_));
                assert!(report.states > 1 || may_change_nothing, "{action:?} was never cut");
                image = settled_after(&image, &action);
            }
        }
    }

    #[test]
    fn every_planted_bug_is_found() {
        for bug in [Bug::NoFlush, Bug::LateFlush, Bug::MarksIgnored, Bug::LeasesIgnored] {
            let effort =
                Effort { tear_step_bytes: 64, second_cut: true, subsets_sampled: 16, bug: Some(bug) };
            let found = (1..=2).any(|seed| {
                let mut image = lived_in(seed);
                actions(300, seed).iter().any(|action| {
                    let report = cut_everywhere(&image, action, effort, seed);
                    image = settled_after(&image, action);
                    !report.failures.is_empty()
                })
            });
            assert!(found, "{bug:?} was not found");
        }
    }
}
