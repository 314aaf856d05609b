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

#[test]
fn a_device_that_cannot_read_its_slots_gets_no_identity() {
    let mut store = open(Memory::blank());
    store.commit(b"older", 1, 0, Kind::Permanent).unwrap();
    store.commit(b"factory", 1, 0, Kind::Permanent).unwrap();
    let Choice::Slot(slot) = store.choice() else { panic!() };
    let mut memory = store.into_partition();
    memory.unreadable = std::vec![slot_offset(slot)];
    let mut store = open(memory);
    assert_eq!(store.adopt(device(1)), Err(CommitError::Unsure));
    store.partition_mut().unreadable.clear();
    store.adopt(device(1)).unwrap();
    assert_eq!(in_force(&mut reopened(store)), Some(b"factory".to_vec()));
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

/// A commit raised the floor, was cut before its mark, and is committed again beside a trial from below.
#[test]
fn a_trial_below_the_floor_is_not_confirmed() {
    let mut store = open(Memory::blank());
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    let written = store.partition().writes;
    store.partition_mut().cut_after = Some(written + 2);
    assert!(store.commit(b"raised", 1, 1, Kind::Permanent).is_err());
    store.partition_mut().cut_after = None;
    let mut store = reopened(store);
    let trial = store.commit(b"tried", 1, 0, Kind::Trial).unwrap();
    assert_eq!((in_force(&mut store), store.journal().floor), (Some(b"raised".to_vec()), 0));
    store.commit(b"raised", 1, 1, Kind::Permanent).unwrap();
    assert_eq!(store.confirm(trial.generation), Err(CommitError::BelowFloor));
    assert_eq!(in_force(&mut reopened(store)), Some(b"raised".to_vec()));
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

/// A write that failed left one copy, which cannot be read at the next start: with the number after the newest, or
/// with any other, for numbers were skipped before it.
#[test]
fn records_that_cannot_be_read_do_not_come_back_over_newer_ones() {
    let mut store = adopted();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    let start = store.into_partition();
    for skipped in [1, 2, 30] {
        let mut later = open(start.clone());
        (0..skipped).for_each(|_| later.mark(Mark::Booted).unwrap());
        let at = record_offset(1, later.journal().record_index());
        let mut store = open(with_sectors_of(&start, later.partition(), &[at], SECTOR_BYTES));
        assert!(store.is_read());
        store.commit(b"mine", 1, 5, Kind::Permanent).unwrap();
        store.partition_mut().unreadable.clear();
        assert_eq!(reopened(store).journal().floor, 5, "{skipped} skipped");

        let mut later = open(start.clone());
        for ceiling in 0..skipped {
            later.rebase(Lease { fingerprint: 8, ceiling }, &[7, 8]).unwrap();
        }
        let at = lease_offset(1, later.leases().record_index());
        let mut store = open(with_sectors_of(&start, later.partition(), &[at], LEASE_SECTORS * SECTOR_BYTES));
        assert!(store.are_leases_known());
        store.lease(Lease { fingerprint: 7, ceiling: 9000 }, &[7, 8]).unwrap();
        store.partition_mut().unreadable.clear();
        assert_eq!(reopened(store).leases().ceiling(7), Some(9000), "{skipped} skipped");
    }
}

#[test]
fn they_come_back_over_no_wipe_and_no_confirmation_either() {
    let mut store = adopted();
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    let trial = store.commit(b"tried", 1, 0, Kind::Trial).unwrap();
    let start = store.into_partition();
    let mut later = open(start.clone());
    (0..30).for_each(|_| later.mark(Mark::Booted).unwrap());
    let at = record_offset(1, later.journal().record_index());
    let hidden = with_sectors_of(&start, later.partition(), &[at], SECTOR_BYTES);

    let mut store = open(hidden.clone());
    store.wipe().unwrap();
    store.partition_mut().unreadable.clear();
    assert_eq!(reopened(store).journal().committed, [trial.generation + 1; SLOTS]);

    let mut store = open(hidden);
    store.confirm(trial.generation).unwrap();
    store.partition_mut().unreadable.clear();
    assert_eq!(in_force(&mut reopened(store)), Some(b"tried".to_vec()));
}

/// It cannot be read, its write fails, and then it can be read: what it holds counts before anything is written.
#[test]
fn a_place_that_takes_nothing_and_can_be_read_then_is_looked_at_again() {
    let start = adopted().into_partition();
    let mut later = open(start.clone());
    later.commit(b"mine", 1, 5, Kind::Permanent).unwrap();
    let at = record_offset(1, later.journal().record_index());
    let mut memory = with_sectors_of(&start, later.partition(), &[at], SECTOR_BYTES);
    memory.waking = Some(at);
    let mut store = open(memory);
    assert_eq!(store.mark(Mark::Booted), Err(CommitError::Medium(PartitionError::Write)));
    store.mark(Mark::Booted).unwrap();
    assert_eq!(reopened(store).journal().floor, 5);
}

/// A sector that stays unreadable is written over once, not with every record.
#[test]
fn it_is_written_over_once() {
    let memory = adopted().into_partition();
    let mut store = open(Memory { unreadable: std::vec![record_offset(1, 60)], ..memory.clone() });
    let writes = [(); 3].map(|()| {
        store.mark(Mark::Booted).unwrap();
        store.partition().writes
    });
    assert_eq!((writes[1] - writes[0], writes[2] - writes[1]), (2, 2), "both copies of the mark");
    let mut store = open(Memory { unreadable: std::vec![lease_offset(1, 20)], ..memory });
    let writes = [1, 2, 3].map(|ceiling| {
        store.lease(Lease { fingerprint: 7, ceiling }, &[7]).unwrap();
        store.partition().writes
    });
    assert_eq!((writes[1] - writes[0], writes[2] - writes[1]), (2, 2), "both copies of the lease");
}

/// What is written over is on the medium before anything newer is.
#[test]
fn nothing_is_written_after_what_could_not_be_written_over_for_sure() {
    let mut memory = adopted().into_partition();
    let far = record_offset(1, 60);
    (memory.unreadable, memory.unflushable) = (std::vec![far], Some(far));
    let mut store = open(memory);
    let writes = store.partition().writes;
    assert_eq!(store.mark(Mark::Booted), Err(CommitError::Medium(PartitionError::Flush)));
    assert_eq!(store.partition().writes, writes + 1);
}

/// A sector was taken for broken, and lives again while the store is open: its record does not count against what
/// was acknowledged since, and what is written then is newer.
#[test]
fn a_broken_sector_that_lives_again_brings_nothing_back() {
    let mut store = adopted();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    let start = store.into_partition();
    let mut later = open(start.clone());
    for ceiling in 0..30 {
        later.mark(Mark::Booted).unwrap();
        later.rebase(Lease { fingerprint: 8, ceiling }, &[7, 8]).unwrap();
    }
    let marks = record_offset(1, later.journal().record_index());
    let leases = lease_offset(1, later.leases().record_index());
    let memory = with_sectors_of(&start, later.partition(), &[leases], LEASE_SECTORS * SECTOR_BYTES);
    let mut memory = with_sectors_of(&memory, later.partition(), &[marks], SECTOR_BYTES);
    (memory.unreadable, memory.broken) = (Vec::new(), std::vec![marks, leases]);
    let mut store = open(memory);
    store.commit(b"mine", 1, 5, Kind::Permanent).unwrap();
    store.lease(Lease { fingerprint: 7, ceiling: 9000 }, &[7, 8]).unwrap();
    store.partition_mut().broken.clear();
    store.read_again();
    assert_eq!((store.journal().floor, store.leases().ceiling(7)), (5, Some(9000)));
    store.mark(Mark::Booted).unwrap();
    store.lease(Lease { fingerprint: 7, ceiling: 9001 }, &[7, 8]).unwrap();
    let store = reopened(store);
    assert_eq!((store.journal().floor, store.leases().ceiling(7)), (5, Some(9001)));
}

/// A write that failed and can be read: it was perhaps not flushed.
#[test]
fn what_failed_here_is_not_trusted_when_it_is_read() {
    let mut store = adopted();
    store.partition_mut().flush_fails = true;
    assert!(store.lease(Lease { fingerprint: 8, ceiling: 1 }, &[8]).is_err());
    assert!(store.mark(Mark::Booted).is_err());
    store.partition_mut().flush_fails = false;
    store.read_again();
    assert_eq!((store.leases().ceiling(8), store.journal().boots), (None, 0));
}

/// It was a moment: what can be read by now counts, and is not written over.
#[test]
fn records_that_can_be_read_again_are_kept() {
    let mut store = adopted();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    let start = store.into_partition();
    let mut later = open(start.clone());
    later.commit(b"mine", 1, 5, Kind::Permanent).unwrap();
    later.rebase(Lease { fingerprint: 8, ceiling: 500 }, &[7, 8]).unwrap();
    let marks = record_offset(1, later.journal().record_index());
    let leases = lease_offset(1, later.leases().record_index());
    let memory = with_sectors_of(&start, later.partition(), &[leases], LEASE_SECTORS * SECTOR_BYTES);
    let mut memory = with_sectors_of(&memory, later.partition(), &[marks], SECTOR_BYTES);
    memory.unreadable = std::vec![marks, leases];
    let mut store = open(memory.clone());
    store.partition_mut().unreadable.clear();
    store.mark(Mark::Booted).unwrap();
    assert_eq!(reopened(store).journal().floor, 5);
    let mut store = open(memory);
    store.partition_mut().unreadable.clear();
    store.lease(Lease { fingerprint: 7, ceiling: 2000 }, &[7, 8]).unwrap();
    let store = reopened(store);
    assert_eq!((store.leases().ceiling(7), store.leases().ceiling(8)), (Some(2000), Some(500)));
}

/// Most of a copy cannot be read: what is written over is not the newest record.
#[test]
fn the_newest_record_is_in_both_copies_after_a_bad_moment() {
    let mut store = adopted();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    let (marks, leases) = (store.journal().record_index(), store.leases().record_index());
    let floor = store.journal().boots;
    let mut memory = store.into_partition();
    memory.unreadable = (0..LEASE_RECORDS).map(|index| lease_offset(1, index)).collect();
    memory.unreadable.extend((0..JOURNAL_RECORDS).map(|index| record_offset(1, index)));
    let mut store = open(memory);
    let writes = store.partition().writes;
    store.lease(Lease { fingerprint: 8, ceiling: 1 }, &[7, 8]).unwrap();
    store.mark(Mark::Booted).unwrap();
    assert!(store.partition().writes > writes + LEASE_RECORDS + JOURNAL_RECORDS);
    let mut memory = store.into_partition();
    // The records after it are lost, and its first copy.
    memory.unreadable = [0, 1].map(|copy| lease_offset(copy, leases + 1)).to_vec();
    memory.unreadable.extend([0, 1].map(|copy| record_offset(copy, marks + 1)));
    memory.unreadable.extend([lease_offset(0, leases), record_offset(0, marks)]);
    let store = open(memory);
    assert_eq!((store.leases().ceiling(7), store.journal().boots), (Some(1000), floor));
}

/// As many leases fail as there are places: the newest one that was acknowledged is not written over.
#[test]
fn leases_that_fail_do_not_cost_the_one_that_was_acknowledged() {
    let mut store = adopted();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    let at = usize::try_from(lease_offset(0, store.leases().record_index())).unwrap();
    store.partition_mut().flush_fails = true;
    for ceiling in 0..3 * LEASE_RECORDS as u64 {
        assert!(store.lease(Lease { fingerprint: 8, ceiling: 1 + ceiling }, &[7, 8]).is_err());
        // The power may go at any of them.
        let record: &leases::LeaseRecord = store.partition().bytes[at..].first_chunk().unwrap();
        let found = Leases::decode(record, Some(&device(1).key)).unwrap();
        assert_eq!((found.ceiling(7), found.ceiling(8)), (Some(1000), None), "{ceiling} failed before");
    }
}

/// One sector of each kind takes nothing and gives nothing any more: the device can be configured all the same,
/// start after start, all the way round.
#[test]
fn sectors_that_are_broken_for_good_do_not_end_all_writing() {
    let mut memory = adopted().into_partition();
    memory.broken = std::vec![identity_offset(1), record_offset(0, 5), lease_offset(1, 3), slot_offset(2)];
    for round in 1..=JOURNAL_RECORDS as u64 + 10 {
        let mut store = open(memory);
        store.adopt(device(2)).unwrap();
        assert_eq!(store.identity().map(|identity| identity.id), Some(device(1).id));
        store.mark(Mark::Booted).unwrap();
        store.lease(Lease { fingerprint: 7, ceiling: round }, &[7]).unwrap();
        store.commit(&round.to_le_bytes(), 1, 0, Kind::Permanent).unwrap();
        let mut store = reopened(store);
        assert_eq!(in_force(&mut store), Some(round.to_le_bytes().to_vec()));
        assert_eq!(store.leases().ceiling(7), Some(round));
        assert_eq!(u64::from(store.journal().boots), round);
        let trial = store.commit(b"tried", 1, 0, Kind::Trial).unwrap();
        store.confirm(trial.generation).unwrap();
        let mut store = reopened(store);
        assert_eq!(in_force(&mut store), Some(b"tried".to_vec()));
        memory = store.into_partition();
    }
}

/// A commit that was cut before its mark, with whatever generation, in a slot that cannot be read when the next one
/// is acknowledged, or everything wiped.
#[test]
fn what_is_in_a_slot_that_cannot_be_read_is_void_after_the_next_commit_or_wipe() {
    let mut store = open(Memory::blank());
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    let start = store.into_partition();
    let mut later = open(start.clone());
    for payload in 0..4_u8 {
        later.commit(&[payload], 1, 0, Kind::Permanent).unwrap();
    }
    let later = cut_before_its_mark(later);
    let hidden = slot_offset(SLOTS - 1);
    let memory = with_sectors_of(&start, &later, &[hidden], SLOT_BYTES);
    let mut seen = open(Memory { unreadable: Vec::new(), ..memory.clone() });
    assert_eq!(in_force(&mut seen), Some(b"hidden".to_vec()), "it was never acknowledged, and may count");

    let mut store = open(memory.clone());
    store.commit(b"next", 1, 0, Kind::Permanent).unwrap();
    let trial = store.commit(b"tried", 1, 0, Kind::Trial).unwrap();
    store.confirm(trial.generation).unwrap();
    store.partition_mut().unreadable.clear();
    let mut store = reopened(store);
    assert_eq!(in_force(&mut store), Some(b"tried".to_vec()));
    let SlotState::Replayed { generation: hidden_generation } = store.slots()[SLOTS - 1] else { panic!() };
    for payload in [0, 1, 2, 3, 4, 5_u8] {
        let header = store.commit(&[payload], 1, 0, Kind::Permanent).unwrap();
        assert!(header.generation > hidden_generation, "no generation is used twice");
    }
    assert!(reopened(store).slots()[SLOTS - 1].header().is_some(), "the slot is used again");

    let mut store = open(memory);
    assert_eq!(store.wipe(), Err(CommitError::ReadBack));
    let mut memory = store.into_partition();
    let at = usize::try_from(hidden).unwrap();
    memory.bytes[at..at + SLOT_BYTES].copy_from_slice(&later.bytes[at..at + SLOT_BYTES]);
    memory.unreadable.clear();
    let mut store = open(memory);
    assert_eq!(store.choice(), Choice::Factory, "the erasing did not arrive");
    store.commit(b"new", 1, 0, Kind::Permanent).unwrap();
    assert_eq!(in_force(&mut reopened(store)), Some(b"new".to_vec()));
}

/// A void slot is written to, and the mark does not arrive: it is void still, and stays so when all are wiped.
#[test]
fn a_slot_is_void_until_its_mark_has_arrived() {
    let mut store = open(Memory::blank());
    for payload in [0, 1, 2, 3, 4_u8] {
        store.commit(&[payload], 1, 0, Kind::Permanent).unwrap();
    }
    let last = store.slots().iter().position(|slot| slot.header().is_none()).unwrap();
    let mut memory = store.into_partition();
    memory.unreadable = std::vec![slot_offset(last)];
    let mut store = open(memory);
    store.commit(b"next", 1, 0, Kind::Permanent).unwrap();
    store.partition_mut().unreadable.clear();
    let memory = cut_before_its_mark(reopened(store));
    let mut store = open(memory.clone());
    assert!(matches!(store.slots()[last], SlotState::Replayed { .. }));
    assert_eq!(in_force(&mut store), Some(b"next".to_vec()));
    // The mark of the wipe, in both copies, and nothing else.
    store.partition_mut().cut_after = Some(memory.writes + 2);
    assert!(store.wipe().is_err());
    let store = reopened(store);
    assert!(store.slots().iter().all(|slot| slot.header().is_none()));
    assert_eq!(store.choice(), Choice::Factory);
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
