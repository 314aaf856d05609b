//! The store over a partition in memory that fails when told.

use std::vec::Vec;

use super::header::HeaderError;
use super::*;
use postern_core::port::{Partition, PartitionError};

/// A partition in memory.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    pub(super) writes: usize,
    pub(super) flush_fails: bool,
    /// Writes from this one on are lost.
    pub(super) cut_after: Option<usize>,
    /// Offset whose next write is lost.
    pub(super) lost_once: Option<u64>,
    /// Offset behind whose write flushes fail.
    pub(super) unflushable: Option<u64>,
    /// Offset whose writes are lost.
    pub(super) deaf_at: Option<u64>,
    /// Offsets of sectors that cannot be read.
    pub(super) unreadable: Vec<u64>,
    /// Those that cannot be read once they were written.
    pub(super) fading: Vec<u64>,
    /// Offset of a sector whose next write fails, and that can be read then.
    pub(super) waking: Option<u64>,
    /// Offsets of sectors that can neither be read nor written.
    pub(super) broken: Vec<u64>,
}

impl Memory {
    pub(super) fn blank() -> Self {
        let bytes = std::vec![0; PARTITION_BYTES_MIN];
        Self {
            bytes,
            writes: 0,
            flush_fails: false,
            cut_after: None,
            lost_once: None,
            unflushable: None,
            deaf_at: None,
            unreadable: Vec::new(),
            fading: Vec::new(),
            waking: None,
            broken: Vec::new(),
        }
    }
}

impl Partition for Memory {
    fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        let sectors = offset..offset + buffer.len() as u64;
        if self.unreadable.iter().chain(&self.broken).any(|sector| sectors.contains(sector)) {
            return Err(PartitionError::Read);
        }
        let start = usize::try_from(offset).unwrap();
        let source = self.bytes.get(start..start + buffer.len()).ok_or(PartitionError::OutOfRange)?;
        buffer.copy_from_slice(source);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        assert_eq!(offset % SECTOR_BYTES as u64, 0);
        assert_eq!(bytes.len() % SECTOR_BYTES, 0);
        self.writes += 1;
        if self.waking == Some(offset) {
            self.waking = None;
            self.unreadable.retain(|unreadable| *unreadable != offset);
            return Err(PartitionError::Write);
        }
        if self.broken.contains(&offset) {
            return Err(PartitionError::Write);
        }
        self.flush_fails |= self.unflushable == Some(offset);
        if self.fading.contains(&offset) {
            self.unreadable.push(offset);
        }
        if self.lost_once == Some(offset) {
            self.lost_once = None;
            return Ok(());
        }
        if self.deaf_at == Some(offset) || self.cut_after.is_some_and(|last| self.writes > last) {
            return Ok(());
        }
        let start = usize::try_from(offset).unwrap();
        let place = self.bytes.get_mut(start..start + bytes.len()).ok_or(PartitionError::OutOfRange)?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        if self.flush_fails { Err(PartitionError::Flush) } else { Ok(()) }
    }
}

pub(super) fn open(memory: Memory) -> Store<Memory> {
    Store::open(memory).unwrap()
}

pub(super) fn reopened(store: Store<Memory>) -> Store<Memory> {
    open(store.into_partition())
}

pub(super) fn in_force(store: &mut Store<Memory>) -> Option<Vec<u8>> {
    let Choice::Slot(index) = store.choice() else { return None };
    let mut buffer = std::vec![0; PAYLOAD_BYTES_MAX];
    Some(store.read(index, &mut buffer).unwrap().to_vec())
}

#[test]
fn a_blank_partition_is_the_factory_profile_and_opening_writes_nothing() {
    let store = open(Memory::blank());
    assert_eq!(store.choice(), Choice::Factory);
    assert_eq!(store.into_partition().writes, 0);
    let mut small = Memory::blank();
    small.bytes.pop();
    assert_eq!(Store::open(small).err(), Some(OpenError::TooSmall));
}

#[test]
fn commits_stand_and_history_is_kept() {
    let mut store = open(Memory::blank());
    for round in 0..20_u8 {
        let payload = std::vec![round; 1 + usize::from(round) * 600];
        store.commit(&payload, 1, 0, Kind::Permanent).unwrap();
        store = reopened(store);
        assert_eq!(in_force(&mut store), Some(payload));
    }
    let valid = store.slots().iter().filter_map(SlotState::header).count();
    assert_eq!(valid, SLOTS, "five older generations to go back to");
    let largest = std::vec![7; PAYLOAD_BYTES_MAX];
    store.commit(&largest, 1, 0, Kind::Permanent).unwrap();
    assert_eq!(in_force(&mut store), Some(largest));
    let too_long = std::vec![7; PAYLOAD_BYTES_MAX + 1];
    assert_eq!(store.commit(&too_long, 1, 0, Kind::Permanent), Err(CommitError::TooLong));
}

#[test]
fn an_unchanged_config_writes_nothing() {
    let mut store = open(Memory::blank());
    store.commit(b"doors", 1, 0, Kind::Permanent).unwrap();
    let mut memory = store.into_partition();
    memory.writes = 0;
    let mut store = open(memory);
    store.commit(b"doors", 1, 0, Kind::Permanent).unwrap();
    assert_eq!(store.into_partition().writes, 0);
}

#[test]
fn a_trial_counts_only_once_confirmed() {
    let mut store = open(Memory::blank());
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    let trial = store.commit(b"new", 1, 0, Kind::Trial).unwrap();
    assert_eq!(in_force(&mut store), Some(b"old".to_vec()));
    let mut rebooted = open(store.into_partition());
    assert_eq!(in_force(&mut rebooted), Some(b"old".to_vec()), "the reboot rolled it back");
    assert_eq!(rebooted.confirm(trial.generation + 1), Err(CommitError::NoSuchTrial));
    rebooted.confirm(trial.generation).unwrap();
    assert_eq!(in_force(&mut rebooted), Some(b"new".to_vec()));
    assert_eq!(in_force(&mut reopened(rebooted)), Some(b"new".to_vec()));
}

#[test]
fn a_commit_never_spends_the_slot_in_force() {
    let mut store = open(Memory::blank());
    store.commit(b"good", 1, 0, Kind::Permanent).unwrap();
    for round in 0..30_u8 {
        store.commit(&[round; 3], 1, 0, Kind::Trial).unwrap();
        assert_eq!(in_force(&mut store), Some(b"good".to_vec()));
    }
}

#[test]
fn a_raised_floor_refuses_what_lies_below() {
    let mut store = open(Memory::blank());
    store.commit(b"weak", 1, 0, Kind::Permanent).unwrap();
    store.commit(b"strong", 1, 3, Kind::Permanent).unwrap();
    store.mark(Mark::Floor(3)).unwrap();
    assert_eq!(in_force(&mut store), Some(b"strong".to_vec()));
    for kind in [Kind::Permanent, Kind::Trial] {
        assert_eq!(store.commit(b"weak again", 1, 2, kind), Err(CommitError::BelowFloor));
    }
    assert_eq!(in_force(&mut reopened(store)), Some(b"strong".to_vec()));
}

#[test]
fn a_failed_flush_is_not_acknowledged_and_not_believed() {
    let mut store = open(Memory::blank());
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    let mut memory = store.into_partition();
    memory.flush_fails = true;
    let mut store = open(memory);
    let error = CommitError::Medium(PartitionError::Flush);
    assert_eq!(store.commit(b"new", 1, 0, Kind::Permanent), Err(error));
    assert_eq!(in_force(&mut store), Some(b"old".to_vec()));
    assert_eq!(store.mark(Mark::Booted), Err(CommitError::Unsure), "not before it is opened anew");
    assert_eq!(store.journal().boots, 0);
    // The next commit, on a medium that works again, must win over whatever is on it.
    let mut memory = store.into_partition();
    memory.flush_fails = false;
    let mut store = open(memory);
    store.commit(b"newer", 1, 0, Kind::Permanent).unwrap();
    assert_eq!(in_force(&mut reopened(store)), Some(b"newer".to_vec()));
}

#[test]
fn a_write_that_was_lost_is_found_out() {
    let mut memory = Memory::blank();
    memory.deaf_at = Some(slot_offset(0) + SECTOR_BYTES as u64);
    let mut store = open(memory);
    assert_eq!(store.commit(b"new", 1, 0, Kind::Permanent), Err(CommitError::ReadBack));
    assert_eq!(store.choice(), Choice::Factory);
    // The ruined slot is spent again or passed by; either way the next one stands.
    let mut memory = store.into_partition();
    memory.deaf_at = None;
    let mut store = open(memory);
    store.commit(b"new", 1, 0, Kind::Permanent).unwrap();
    assert_eq!(in_force(&mut reopened(store)), Some(b"new".to_vec()));
}

#[test]
fn marks_go_round_and_survive_the_loss_of_a_copy() {
    let mut store = open(Memory::blank());
    for boots in 1..=300 {
        store.mark(Mark::Booted).unwrap();
        if boots % 50 == 0 {
            store = reopened(store);
        }
        assert_eq!(store.journal().boots, boots);
    }
    let mut memory = store.into_partition();
    let copy = |copy| {
        let start = usize::try_from(record_offset(copy, 0)).unwrap();
        start..start + JOURNAL_RECORDS * SECTOR_BYTES
    };
    memory.bytes[copy(0)].fill(0xff);
    assert_eq!(open(memory.clone()).journal().boots, 300);
    memory.bytes[copy(1)].fill(0);
    assert_eq!(open(memory).journal(), &JournalState::default());
}

#[test]
fn every_flipped_bit_of_a_slot_is_found() {
    let mut store = open(Memory::blank());
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    store.commit(b"some doors and keys", 1, 0, Kind::Permanent).unwrap();
    let Choice::Slot(index) = store.choice() else { panic!("no slot in force") };
    let memory = store.into_partition();
    let start = usize::try_from(slot_offset(index)).unwrap();
    for bit in 0..(SECTOR_BYTES + 19) * 8 {
        let mut flipped = memory.clone();
        flipped.bytes[start + bit / 8] ^= 1 << (bit % 8);
        let mut store = open(flipped);
        assert_eq!(in_force(&mut store), Some(b"old".to_vec()), "bit {bit}");
        let expected =
            if bit / 8 < SECTOR_BYTES { SlotState::Unusable(HeaderError::Damaged) } else { SlotState::Torn };
        assert_eq!(store.slots()[index], expected, "bit {bit}");
    }
}

pub(super) fn device(octet: u8) -> Identity {
    Identity::from_random(&[octet; 48])
}

/// A device that was flashed with "factory" and has started once.
pub(super) fn adopted() -> Store<Memory> {
    let mut store = open(Memory::blank());
    store.commit(b"factory", 1, 0, Kind::Permanent).unwrap();
    store.adopt(device(1)).unwrap();
    store
}

#[test]
fn a_device_makes_its_own_what_it_was_flashed_with() {
    let mut store = adopted();
    assert_eq!(in_force(&mut store), Some(b"factory".to_vec()));
    let mut store = reopened(store);
    assert_eq!(in_force(&mut store), Some(b"factory".to_vec()));
    assert_eq!(store.identity().map(|identity| identity.id), Some([1; 16]));
    store.adopt(device(2)).unwrap();
    assert_eq!(store.identity().map(|identity| identity.id), Some([1; 16]), "it keeps its identity");
    store.commit(b"mine", 1, 0, Kind::Permanent).unwrap();
    let header = *store.in_force().unwrap();
    assert!(header.seal.is_some());
    assert_eq!(in_force(&mut reopened(store)), Some(b"mine".to_vec()));
}

#[test]
fn what_was_marked_and_leased_before_the_identity_stays() {
    let mut store = open(Memory::blank());
    store.commit(b"old", 1, 2, Kind::Permanent).unwrap();
    let trial = store.commit(b"tried", 1, 3, Kind::Trial).unwrap();
    store.confirm(trial.generation).unwrap();
    store.lease(Lease { fingerprint: 7, ceiling: 1000 }, &[7]).unwrap();
    store.adopt(device(1)).unwrap();
    let mut store = reopened(store);
    assert_eq!(in_force(&mut store), Some(b"tried".to_vec()), "confirmed stays confirmed");
    assert_eq!((store.journal().floor, store.leases().ceiling(7)), (3, Some(1000)));
}

/// A medium that lied about its flushes may keep the identity and lose the marks that were sealed for it.
#[test]
fn a_confirmed_trial_that_the_identity_names_stands_without_its_mark() {
    let mut store = open(Memory::blank());
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    let trial = store.commit(b"tried", 1, 0, Kind::Trial).unwrap();
    store.confirm(trial.generation).unwrap();
    store.adopt(device(1)).unwrap();
    let mut memory = store.into_partition();
    for (copy, index) in (0..COPIES).flat_map(|copy| (0..JOURNAL_RECORDS).map(move |index| (copy, index))) {
        let at = usize::try_from(record_offset(copy, index)).unwrap();
        memory.bytes[at..at + SECTOR_BYTES].fill(0);
    }
    assert_eq!(in_force(&mut open(memory)), Some(b"tried".to_vec()));
}

/// A flush that failed leaves an identity that reads well, and is gone with the power.
#[test]
fn an_identity_that_was_not_flushed_is_written_again() {
    let mut store = open(Memory::blank());
    store.commit(b"mine", 1, 0, Kind::Permanent).unwrap();
    store.partition_mut().unflushable = Some(identity_offset(0));
    assert!(store.adopt(device(1)).is_err());
    assert!(store.identity().is_some());
    assert_eq!(store.mark(Mark::Booted), Err(CommitError::Unsure));
    *store.partition_mut() = Memory { unflushable: None, flush_fails: false, ..store.partition().clone() };
    let writes = store.partition().writes;
    store.adopt(device(2)).unwrap();
    assert_eq!(store.partition().writes, writes + COPIES);
    assert_eq!(store.identity().map(|identity| identity.id), Some(device(1).id));
    store.mark(Mark::Booted).unwrap();
}

/// The header of a commit whose payload was torn, and a trial of the same payload that is cut before its own header.
#[test]
fn a_torn_commit_is_not_completed_by_a_trial() {
    let mut store = open(Memory::blank());
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    store.commit(b"new", 1, 0, Kind::Permanent).unwrap();
    let mut memory = store.into_partition();
    let payload = usize::try_from(slot_offset(1)).unwrap() + SECTOR_BYTES;
    memory.bytes[payload] ^= 1;
    for arrive in 0..=4 {
        let mut store = open(memory.clone());
        assert_eq!((in_force(&mut store), store.slots()[1]), (Some(b"old".to_vec()), SlotState::Torn));
        // Nothing but the torn slot is there to be spent.
        store.slots[2..].fill(SlotState::Unreadable);
        let written = store.partition().writes;
        store.partition_mut().cut_after = Some(written + arrive);
        let _ = store.commit(b"new", 1, 0, Kind::Trial);
        let mut cut = store.into_partition();
        cut.cut_after = None;
        assert_eq!(in_force(&mut open(cut)), Some(b"old".to_vec()), "{arrive} writes arrived");
    }
}

#[test]
fn the_same_octets_of_another_schema_are_another_configuration() {
    let mut store = open(Memory::blank());
    store.commit(b"doors", 1, 0, Kind::Permanent).unwrap();
    store.commit(b"doors", 2, 0, Kind::Permanent).unwrap();
    assert_eq!(reopened(store).in_force().unwrap().schema, 2);
}

#[test]
fn one_copy_of_the_identity_suffices_and_is_mended() {
    let mut memory = adopted().into_partition();
    memory.bytes[..SECTOR_BYTES].fill(0x55);
    let mut store = open(memory);
    assert_eq!(in_force(&mut store), Some(b"factory".to_vec()));
    store.adopt(device(9)).unwrap();
    let mut memory = store.into_partition();
    let second = usize::try_from(identity_offset(1)).unwrap();
    memory.bytes[second..second + SECTOR_BYTES].fill(0);
    assert_eq!(open(memory).identity().map(|identity| identity.id), Some([1; 16]));
}

#[test]
fn what_is_not_sealed_by_this_device_for_this_slot_does_not_count() {
    let mut store = adopted();
    store.commit(b"mine", 1, 0, Kind::Permanent).unwrap();
    let Choice::Slot(mine) = store.choice() else { panic!() };
    let memory = store.into_partition();
    let range = |index: usize| {
        let start = usize::try_from(slot_offset(index)).unwrap();
        start..start + SLOT_BYTES
    };
    // Another slot unsealed, with a higher generation.
    let mut forged = open(Memory::blank());
    for round in 0..9_u8 {
        forged.commit(&[round], 1, 0, Kind::Permanent).unwrap();
    }
    let Choice::Slot(theirs) = forged.choice() else { panic!() };
    let forged = forged.into_partition();
    let place = (0..SLOTS).find(|index| *index != mine && *index != 0).unwrap();
    let mut spliced = memory.clone();
    spliced.bytes[range(place)].copy_from_slice(&forged.bytes[range(theirs)]);
    let mut store = open(spliced);
    assert_eq!(store.slots()[place], SlotState::NotSealed);
    assert_eq!(in_force(&mut store), Some(b"mine".to_vec()));
    // The device's own slot, copied to another place; and that of another device in its own place.
    let mut copied = memory.clone();
    let own = memory.bytes[range(mine)].to_vec();
    copied.bytes[range(place)].copy_from_slice(&own);
    assert_eq!(open(copied).slots()[place], SlotState::BadSeal);
    let mut other = open(Memory::blank());
    other.adopt(device(7)).unwrap();
    while other.choice() != Choice::Slot(mine) {
        other.commit(&other.journal().sequence.to_le_bytes(), 1, 0, Kind::Permanent).unwrap();
    }
    let other = other.into_partition();
    let mut moved = memory.clone();
    moved.bytes[range(mine)].copy_from_slice(&other.bytes[range(mine)]);
    let mut store = open(moved);
    assert_eq!(store.slots()[mine], SlotState::BadSeal);
    assert_eq!(in_force(&mut store), Some(b"factory".to_vec()));
}

#[test]
fn a_slot_that_was_written_back_does_not_count() {
    let mut store = adopted();
    store.commit(b"with a weak key", 1, 0, Kind::Permanent).unwrap();
    let Choice::Slot(weak) = store.choice() else { panic!() };
    let before = store.into_partition();
    let mut store = open(before.clone());
    // Round through all slots: the weak one is overwritten.
    for round in 0..=u8::try_from(SLOTS).unwrap() {
        store.commit(&[round; 7], 1, 0, Kind::Permanent).unwrap();
    }
    let mut memory = store.into_partition();
    let start = usize::try_from(slot_offset(weak)).unwrap();
    memory.bytes[start..start + SLOT_BYTES].copy_from_slice(&before.bytes[start..start + SLOT_BYTES]);
    let mut store = open(memory);
    assert!(matches!(store.slots()[weak], SlotState::Replayed { .. }));
    assert_eq!(in_force(&mut store), Some([6; 7].to_vec()));
    // After a wipe nothing of before counts, wherever it is written back.
    store.wipe().unwrap();
    assert_eq!(store.choice(), Choice::Factory);
    let mut memory = store.into_partition();
    memory.bytes[start..start + SLOT_BYTES].copy_from_slice(&before.bytes[start..start + SLOT_BYTES]);
    let mut store = open(memory);
    assert!(matches!(store.slots()[weak], SlotState::Replayed { .. }));
    assert_eq!(store.choice(), Choice::Factory);
    store.commit(b"anew", 1, 0, Kind::Permanent).unwrap();
    assert_eq!(in_force(&mut reopened(store)), Some(b"anew".to_vec()));
}

#[test]
fn marks_of_another_device_do_not_count() {
    let mut store = adopted();
    store.mark(Mark::Booted).unwrap();
    let own = store.into_partition();
    let mut other = open(Memory::blank());
    other.adopt(device(7)).unwrap();
    for _ in 0..50 {
        other.mark(Mark::Booted).unwrap();
    }
    other.lease(Lease { fingerprint: 1, ceiling: 1 }, &[]).unwrap();
    let other = other.into_partition();
    let mut spliced = own.clone();
    for at in [record_offset(0, 0), record_offset(1, 0), lease_offset(0, 0), lease_offset(1, 0)] {
        let start = usize::try_from(at).unwrap();
        for index in (1..40).map(|sector| start + sector * SECTOR_BYTES) {
            if own.bytes[index..index + SECTOR_BYTES].iter().all(|&octet| octet == 0) {
                spliced.bytes[index..index + SECTOR_BYTES]
                    .copy_from_slice(&other.bytes[index..index + SECTOR_BYTES]);
            }
        }
    }
    let store = open(spliced);
    assert_eq!((store.journal().boots, store.leases().ceiling(1)), (1, None));
}

#[test]
fn leases_rise_and_survive_the_loss_of_a_copy() {
    let mut store = adopted();
    for ceiling in 1..200 {
        store.lease(Lease { fingerprint: 7, ceiling }, &[7]).unwrap();
        store.lease(Lease { fingerprint: 7, ceiling: 1 }, &[7]).unwrap();
        assert_eq!(store.leases().ceiling(7), Some(ceiling), "never down");
        if ceiling % 50 == 0 {
            store = reopened(store);
        }
    }
    let writes = store.partition().writes;
    store.lease(Lease { fingerprint: 7, ceiling: 199 }, &[7]).unwrap();
    assert_eq!(store.partition().writes, writes, "nothing new, nothing written");
    store.rebase(Lease { fingerprint: 7, ceiling: 5 }, &[7]).unwrap();
    let mut memory = store.into_partition();
    let start = usize::try_from(lease_offset(0, 0)).unwrap();
    memory.bytes[start..start + LEASE_RECORDS * LEASE_SECTORS * SECTOR_BYTES].fill(0xff);
    assert_eq!(open(memory).leases().ceiling(7), Some(5), "an admin may");
}

/// A cut may leave a record in one copy; the sector before the next one must not be all there is of it.
#[test]
fn a_record_that_a_cut_left_in_one_copy_is_written_again_before_the_next() {
    let mut store = open(Memory::blank());
    store.adopt(Identity::from_random(&[7; 48])).unwrap();
    store.commit(b"old", 1, 0, Kind::Permanent).unwrap();
    let trial = store.commit(b"tried", 1, 0, Kind::Trial).unwrap();
    store.lease(Lease { fingerprint: 1, ceiling: 100 }, &[1]).unwrap();
    for copy in 0..COPIES {
        let mut store = open(store.partition().clone());
        store.confirm(trial.generation).unwrap();
        store.lease(Lease { fingerprint: 1, ceiling: 200 }, &[1]).unwrap();
        // Both arrived in the other copy only.
        let (mark, lease) = (store.journal().record_index(), store.leases().record_index());
        let mut memory = store.into_partition();
        memory.write(record_offset(copy, mark), &[0; SECTOR_BYTES]).unwrap();
        memory.write(lease_offset(copy, lease), &[0; LEASE_SECTORS * SECTOR_BYTES]).unwrap();
        let mut store = open(memory);
        store.mark(Mark::Booted).unwrap();
        store.lease(Lease { fingerprint: 1, ceiling: 300 }, &[1]).unwrap();
        // The next ones are lost, and each takes the one before it along in the other copy.
        let mut memory = store.into_partition();
        for lost in [mark, mark + 1] {
            memory.write(record_offset(1 - copy, lost), &[0xff; SECTOR_BYTES]).unwrap();
        }
        memory.write(record_offset(copy, mark + 1), &[0xff; SECTOR_BYTES]).unwrap();
        for lost in [lease, lease + 1] {
            memory.write(lease_offset(1 - copy, lost), &[0xff; LEASE_SECTORS * SECTOR_BYTES]).unwrap();
        }
        memory.write(lease_offset(copy, lease + 1), &[0xff; LEASE_SECTORS * SECTOR_BYTES]).unwrap();
        let mut store = open(memory);
        assert_eq!(in_force(&mut store).as_deref(), Some(&b"tried"[..]), "copy {copy}");
        assert_eq!(store.leases().ceiling(1), Some(200), "copy {copy}");
    }
}

/// RFC 3720, appendix B.4, and by the table, whichever way this build does it.
#[test]
fn check_sums_are_those_of_castagnoli() {
    assert_eq!(check_sum(&[0; 32]), 0x8a91_36aa);
    assert_eq!(check_sum(&[0xff; 32]), 0x62a8_ab43);
    let table = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let bytes: Vec<u8> = (0..=255).cycle().take(1532).collect();
    for length in 0..=bytes.len() {
        assert_eq!(check_sum(&bytes[..length]), table.checksum(&bytes[..length]), "{length} octets");
    }
}
