//! Media that cannot be read for a moment: what they hold is not written over, and counts again.

use std::vec::Vec;

use super::tests::{Memory, adopted, device, in_force, open, reopened};
use super::*;
use postern_core::port::PartitionError;

#[test]
fn a_device_that_cannot_read_its_identity_gets_no_other() {
    let mut store = adopted();
    store.commit(b"mine", 1, 0, Kind::Permanent).unwrap();
    let mut memory = store.into_partition();
    memory.unreadable = std::vec![identity_offset(0), identity_offset(1)];
    let mut store = open(memory);
    assert!(store.identity().is_none());
    assert_eq!(store.adopt(device(2)), Err(CommitError::Medium(PartitionError::Read)));
    // Without the seal it would not count.
    assert_eq!(store.commit(b"lost", 1, 0, Kind::Permanent), Err(CommitError::Unsure));
    let mut memory = store.into_partition();
    memory.unreadable.clear();
    assert_eq!(in_force(&mut open(memory)), Some(b"mine".to_vec()), "once it reads again");
}

/// It could not be read when the store was opened, and can when the device would get another.
#[test]
fn an_identity_that_was_unreadable_for_a_moment_is_kept() {
    let mut store = adopted();
    store.commit(b"mine", 1, 2, Kind::Permanent).unwrap();
    let mut memory = store.into_partition();
    memory.unreadable = std::vec![identity_offset(0), identity_offset(1)];
    let mut store = open(memory);
    assert!(store.identity().is_none());
    store.partition_mut().unreadable.clear();
    store.adopt(device(2)).unwrap();
    assert_eq!(store.identity().map(|identity| identity.id), Some(device(1).id));
    let mut store = reopened(store);
    assert_eq!(in_force(&mut store), Some(b"mine".to_vec()));
    assert_eq!(store.journal().floor, 2);
}

/// The identity is on the medium, and could not be read back: the next one must not take what it sealed.
#[test]
fn an_identity_that_was_written_and_not_read_back_is_kept() {
    let mut store = open(Memory::blank());
    store.commit(b"mine", 1, 2, Kind::Permanent).unwrap();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    store.partition_mut().fading = std::vec![identity_offset(0), identity_offset(1)];
    assert_eq!(store.adopt(device(1)), Err(CommitError::ReadBack));
    assert_eq!(store.mark(Mark::Booted), Err(CommitError::Unsure));
    *store.partition_mut() =
        Memory { unreadable: Vec::new(), fading: Vec::new(), ..store.partition().clone() };
    store.adopt(device(2)).unwrap();
    store.mark(Mark::Booted).unwrap();
    let mut store = reopened(store);
    assert_eq!(store.identity().map(|identity| identity.id), Some(device(1).id));
    assert_eq!(in_force(&mut store), Some(b"mine".to_vec()));
    assert_eq!((store.journal().floor, store.leases().ceiling(7)), (2, Some(1000)));
}

/// Where nothing can be read a newer record may stand: what went on from an older one would not count.
#[test]
fn nothing_is_written_while_records_cannot_be_read() {
    let mut store = adopted();
    store.commit(b"mine", 1, 3, Kind::Permanent).unwrap();
    // An older record can be read.
    store.lease(Lease { fingerprint: 7, ceiling: 500 }, &[7]).unwrap();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    let (marks, leases) = (store.journal().record_index(), store.leases().record_index());
    let whole = store.into_partition();
    // One copy is enough.
    let mut one = Memory { unreadable: std::vec![record_offset(0, marks)], ..whole.clone() };
    one.unreadable.push(lease_offset(1, leases) + 2 * SECTOR_BYTES as u64);
    let store = open(one);
    assert!(store.is_read() && store.are_leases_known());
    assert_eq!((store.journal().floor, store.leases().ceiling(7)), (3, Some(1000)));

    let unreadable = std::vec![record_offset(0, marks), record_offset(1, marks)];
    let mut store = open(Memory { unreadable, ..whole.clone() });
    assert!(!store.is_read() && store.are_leases_known());
    assert_eq!(store.commit(b"older floor", 1, 0, Kind::Permanent), Err(CommitError::Unsure));
    assert_eq!(store.mark(Mark::Booted), Err(CommitError::Unsure));
    store.partition_mut().unreadable.clear();
    store.read_again();
    assert!(store.is_read());
    assert_eq!(store.journal().floor, 3);
    store.mark(Mark::Booted).unwrap();

    // The first sector of a record, or another of it, after its number was read.
    for sector in 0..LEASE_SECTORS {
        let at = |copy| lease_offset(copy, leases) + (sector * SECTOR_BYTES) as u64;
        let mut store = open(Memory { unreadable: std::vec![at(0), at(1)], ..whole.clone() });
        assert!(!store.is_read() && !store.are_leases_known(), "sector {sector}");
        let lease = Lease { fingerprint: 7, ceiling: 1 };
        assert_eq!(store.lease(lease, &[7]), Err(CommitError::Unsure.into()));
        assert_eq!(in_force(&mut store), Some(b"mine".to_vec()));
        store.partition_mut().unreadable.clear();
        store.read_again();
        assert_eq!(store.leases().ceiling(7), Some(1000));
        store.lease(lease, &[7]).unwrap();
    }
}

/// All slots are unreadable for a moment: neither a trial nor an older configuration may cost the one in force.
#[test]
fn slots_that_cannot_be_read_for_a_moment_are_not_lost() {
    let mut store = adopted();
    for payload in [b"first", b"other", b"third"] {
        store.commit(payload, 1, 0, Kind::Permanent).unwrap();
    }
    let whole = store.into_partition();
    let all: Vec<u64> = (0..SLOTS).map(slot_offset).collect();
    let mut store = open(Memory { unreadable: all.clone(), ..whole.clone() });
    assert_eq!(store.choice(), Choice::Factory);
    store.partition_mut().unreadable.clear();
    assert_eq!(store.commit(b"tried", 1, 0, Kind::Trial), Err(CommitError::Unsure));
    assert_eq!(in_force(&mut reopened(store)), Some(b"third".to_vec()));

    let newest = Store::open(whole.clone()).map(|store| store.choice());
    let Ok(Choice::Slot(newest)) = newest else { panic!("{newest:?}") };
    let mut store = open(Memory { unreadable: std::vec![all[newest]], ..whole });
    assert_eq!(in_force(&mut store), Some(b"other".to_vec()));
    store.partition_mut().unreadable.clear();
    store.commit(b"other", 1, 0, Kind::Permanent).unwrap();
    assert_eq!(in_force(&mut reopened(store)), Some(b"other".to_vec()), "it was acknowledged");
}

#[test]
fn a_sector_that_cannot_be_read_hides_none_beside_it() {
    let mut store = open(Memory::blank());
    store.commit(b"doors", 1, 3, Kind::Permanent).unwrap();
    let index = store.journal().record_index();
    let mut memory = store.into_partition();
    memory.unreadable = std::vec![record_offset(0, index + 1), record_offset(1, index - 1)];
    assert_eq!(open(memory).journal().floor, 3);
}

/// While the identity cannot be read, sealed records look like none. When it can and they cannot, they are
/// still unread.
#[test]
fn records_are_not_known_before_the_key_is() {
    let mut store = adopted();
    store.commit(b"mine", 1, 3, Kind::Permanent).unwrap();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    let (marks, leases) = (store.journal().record_index(), store.leases().record_index());
    let mut memory = store.into_partition();
    memory.unreadable = std::vec![identity_offset(0), identity_offset(1)];
    for records in
        [[0, 1].map(|copy| record_offset(copy, marks)), [0, 1].map(|copy| lease_offset(copy, leases))]
    {
        let mut store = open(memory.clone());
        store.partition_mut().unreadable = records.to_vec();
        store.read_again();
        assert!(store.identity().is_some() && !store.is_read());
        store.partition_mut().unreadable.clear();
        store.read_again();
        assert!(store.is_read());
        assert_eq!((store.journal().floor, store.leases().ceiling(7)), (3, Some(1000)));
    }
}

/// What was flashed is not sealed over while its marks cannot be read.
#[test]
fn a_device_that_cannot_read_its_marks_gets_no_identity() {
    let mut store = open(Memory::blank());
    store.commit(b"factory", 1, 2, Kind::Permanent).unwrap();
    let marks = store.journal().record_index();
    let mut memory = store.into_partition();
    memory.unreadable = [0, 1].map(|copy| record_offset(copy, marks)).to_vec();
    let mut store = open(memory);
    assert_eq!(store.adopt(device(1)), Err(CommitError::Unsure));
    store.partition_mut().unreadable.clear();
    store.adopt(device(1)).unwrap();
    let mut store = reopened(store);
    assert_eq!((in_force(&mut store), store.journal().floor), (Some(b"factory".to_vec()), 2));
}

/// A commit that was cut between its slot and its mark, in the last slot, as the medium has it.
fn cut_before_its_mark(store: Store<Memory>) -> Memory {
    let mut store = store;
    let written = store.partition().writes;
    // The payload and the header.
    store.partition_mut().cut_after = Some(written + 2);
    assert!(store.commit(b"hidden", 1, 0, Kind::Permanent).is_err());
    let mut memory = store.into_partition();
    memory.cut_after = None;
    memory
}

#[test]
fn a_commit_is_newer_than_one_that_cannot_be_read() {
    let mut store = open(Memory::blank());
    // All slots but the last.
    for payload in 1..6 {
        store.commit(&[payload], 1, 0, Kind::Permanent).unwrap();
    }
    let mut memory = cut_before_its_mark(store);
    assert_eq!(in_force(&mut open(memory.clone())), Some(b"hidden".to_vec()), "it may be in force");
    memory.unreadable = std::vec![slot_offset(SLOTS - 1)];
    let mut store = open(memory);
    store.commit(b"next", 1, 0, Kind::Permanent).unwrap();
    store.partition_mut().unreadable.clear();
    assert_eq!(in_force(&mut reopened(store)), Some(b"next".to_vec()));
}

#[test]
fn no_trial_is_confirmed_below_a_commit_that_cannot_be_read() {
    let mut store = open(Memory::blank());
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    let trial = store.commit(b"tried", 1, 0, Kind::Trial).unwrap();
    let mut memory = cut_before_its_mark(store);
    memory.unreadable = std::vec![slot_offset(2)];
    let mut store = open(memory);
    assert_eq!(store.confirm(trial.generation), Err(CommitError::Unsure));
    store.partition_mut().unreadable.clear();
    assert_eq!(in_force(&mut reopened(store)), Some(b"hidden".to_vec()), "nothing was promised against it");
}

#[test]
fn what_is_read_later_counts_for_the_next_generation() {
    let mut store = adopted();
    for payload in 0..18 {
        store.commit(&[payload], 1, 0, Kind::Permanent).unwrap();
    }
    let mut memory = store.into_partition();
    let records =
        (0..COPIES).flat_map(|copy| (0..JOURNAL_RECORDS).map(move |index| record_offset(copy, index)));
    memory.unreadable =
        records.chain((0..SLOTS).map(slot_offset)).chain((0..COPIES).map(identity_offset)).collect();
    let mut store = open(memory);
    store.partition_mut().unreadable.clear();
    store.read_again();
    store.commit(b"new", 1, 0, Kind::Permanent).unwrap();
    assert_eq!(in_force(&mut reopened(store)), Some(b"new".to_vec()));
}

/// The same medium with the sectors at `offset` of a later one.
fn with_sectors_of(memory: &Memory, later: &Memory, offsets: &[u64], bytes: usize) -> Memory {
    let mut memory = memory.clone();
    for offset in offsets {
        let at = usize::try_from(*offset).unwrap();
        memory.bytes[at..at + bytes].copy_from_slice(&later.bytes[at..at + bytes]);
    }
    memory.unreadable = offsets.to_vec();
    memory
}

/// Two writes in a row that failed left one copy each, and neither can be read at the next start.
#[test]
fn records_that_cannot_be_read_do_not_come_back_over_newer_ones() {
    let mut store = adopted();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    let start = store.into_partition();

    let mut later = open(start.clone());
    let mut offsets = Vec::new();
    for _ in 0..2 {
        later.mark(Mark::Booted).unwrap();
        offsets.push(record_offset(1, later.journal().record_index()));
    }
    let mut store = open(with_sectors_of(&start, later.partition(), &offsets, SECTOR_BYTES));
    assert!(store.is_read());
    store.commit(b"mine", 1, 5, Kind::Permanent).unwrap();
    store.partition_mut().unreadable.clear();
    assert_eq!(reopened(store).journal().floor, 5);

    let mut later = open(start.clone());
    let mut offsets = Vec::new();
    for ceiling in [2000, 3000] {
        later.rebase(Lease { fingerprint: 8, ceiling }, &[7, 8]).unwrap();
        offsets.push(lease_offset(1, later.leases().record_index()));
    }
    let mut store = open(with_sectors_of(&start, later.partition(), &offsets, LEASE_SECTORS * SECTOR_BYTES));
    assert!(store.are_leases_known());
    store.lease(Lease { fingerprint: 7, ceiling: 9000 }, &[7, 8]).unwrap();
    store.partition_mut().unreadable.clear();
    assert_eq!(reopened(store).leases().ceiling(7), Some(9000));
}

/// A copy that is unreadable but for one place hides as many numbers as lead back to the newest record.
#[test]
fn skipped_numbers_do_not_lead_to_the_place_of_the_newest() {
    let mut store = adopted();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    let newest = store.leases().record_index();
    let mut memory = store.into_partition();
    memory.unreadable = (1..LEASE_RECORDS).map(|index| lease_offset(1, index)).collect();
    let mut store = open(memory);
    store.lease(Lease { fingerprint: 7, ceiling: 2000 }, &[7]).unwrap();
    assert_ne!(store.leases().record_index(), newest);
    store.partition_mut().unreadable.clear();
    assert_eq!(reopened(store).leases().ceiling(7), Some(2000));
}

#[test]
fn a_copy_that_does_not_arrive_is_written_once_more() {
    let mut store = adopted();
    let next = (store.journal().record_index() + 1) % JOURNAL_RECORDS;
    store.partition_mut().lost_once = Some(record_offset(1, next));
    store.mark(Mark::Booted).unwrap();
    assert_eq!(store.partition().lost_once, None);
    let mut memory = store.into_partition();
    memory.unreadable = std::vec![record_offset(0, next)];
    assert_eq!(open(memory).journal().boots, 1);
}
