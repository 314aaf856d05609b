//! Opening, committing and confirming, over any [`Partition`].

use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};
use sha2::{Digest, Sha256};

use super::copies::Numbering;
use super::header::{Header, HeaderError};
use super::journal::{Confirmation, JournalState, Mark, VOID};
use super::leases::{Lease, LeaseError, Leases};
use super::records::{FoundIdentity, Places};
use super::{
    Choice, Identity, JOURNAL_RECORDS, LEASE_RECORDS, PARTITION_BYTES_MIN, PAYLOAD_BYTES_MAX, SLOT_BYTES,
    SLOTS, SlotState, choose, lease_offset, record_offset, records, slot_offset,
};

/// Octets read at once.
const CHUNK_BYTES: usize = 8 * SECTOR_BYTES;

/// Whether a commit stands at once or must be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stands at once.
    Permanent,
    /// Counts only once confirmed; a reboot before that takes it back.
    Trial,
}

/// Why a store could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The partition has fewer than [`PARTITION_BYTES_MIN`] octets.
    TooSmall,
}

/// Why a commit or a mark was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// More than [`PAYLOAD_BYTES_MAX`] octets.
    TooLong,
    /// There is no such trial.
    NoSuchTrial,
    /// Its floor is below the device's, so it would never count.
    BelowFloor,
    /// The medium did not do as it was told. After a reboot the old state or the new one is in
    /// force, never a mixture.
    Medium(PartitionError),
    /// What was read back is not what was written.
    ReadBack,
    /// Something failed before and may be on the medium all the same, or cannot be read: what is in force is not
    /// known until the store is opened anew or, after reads that failed, has been read ([`Store::read_again`]).
    Unsure,
}

impl From<PartitionError> for CommitError {
    fn from(error: PartitionError) -> Self {
        CommitError::Medium(error)
    }
}

/// An opened store.
#[derive(Debug)]
pub struct Store<P> {
    pub(super) partition: P,
    pub(super) identity: Option<Identity>,
    pub(super) slots: [SlotState; SLOTS],
    pub(super) journal: JournalState,
    pub(super) leases: Leases,
    /// Above every generation that may be on the medium, also after commits that failed.
    next_generation: u64,
    pub(super) numbers: Numbers,
    pub(super) unsure: Unsure,
    unread: Unread,
    pub(super) hidden: Hidden,
}

/// How the records of each kind are numbered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Numbers {
    pub(super) marks: Numbering,
    pub(super) leases: Numbering,
}

/// What failed, and may be on the medium all the same and newer than what is known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsure {
    /// The device may have an identity that is not known: nothing is written any more, because without its
    /// seal it may not count.
    pub(super) identity: bool,
    /// It was written, and not flushed as far as is known: it reads well, and may be gone with the power.
    pub(super) identity_unflushed: bool,
    /// A commit, a wipe or a mark: none of these is tried again. One more could overwrite the only
    /// slot that is above the floor of a mark nobody knows of.
    config: bool,
    /// A lease: the next one is written even if it would change nothing.
    leases: bool,
}

/// What could not be read as a whole since the store was opened: a newer record may stand there, and one that
/// went on from an older one would not count.
#[derive(Clone, Copy, Debug)]
struct Unread {
    marks: bool,
    leases: bool,
}

/// Where no record could be read while its other copy could, when it was tried last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    pub(super) marks: Places,
    pub(super) leases: Places,
}

impl<P: Partition> Store<P> {
    /// Reads every slot and every record. Never writes. A blank or ruined partition opens as well;
    /// its choice is the factory profile.
    ///
    /// # Errors
    /// [`OpenError::TooSmall`].
    pub fn open(partition: P) -> Result<Self, OpenError> {
        if partition.size_bytes() < PARTITION_BYTES_MIN as u64 {
            return Err(OpenError::TooSmall);
        }
        let mut store = Self {
            partition,
            identity: None,
            slots: [SlotState::Unreadable; SLOTS],
            journal: JournalState::default(),
            leases: Leases::default(),
            next_generation: 1,
            numbers: Numbers::default(),
            unsure: Unsure::default(),
            unread: Unread { marks: true, leases: true },
            hidden: Hidden::default(),
        };
        store.read_again();
        Ok(store)
    }

    /// Reads everything once more, as [`Store::open`] does. What cannot be read at the moment is not
    /// forgotten: a record that went on from an older one would not count.
    pub fn read_again(&mut self) {
        match records::identity(&mut self.partition) {
            FoundIdentity::Known(identity) => {
                self.identity = Some(identity);
                self.unsure.identity = false;
            }
            FoundIdentity::Unreadable => self.unsure.identity |= self.identity.is_none(),
            FoundIdentity::Absent => {}
        }
        let key = self.identity.as_ref().map(|identity| &identity.key);
        let marks = records::marks(&mut self.partition, key);
        // Without the key a sealed record is none: nothing was read of it.
        let is_key_known = !self.unsure.identity;
        self.hidden.marks = marks.hidden;
        self.unread.marks &= !(marks.is_whole && is_key_known);
        if self.numbers.marks.found(marks.newest.sequence) {
            self.journal = marks.newest;
        }
        let leases = records::leases(&mut self.partition, key);
        self.hidden.leases = leases.hidden;
        self.unread.leases &= !(leases.is_whole && is_key_known);
        if self.numbers.leases.found(leases.newest.sequence) {
            self.leases = leases.newest;
        }
        for index in 0..SLOTS {
            let before = self.slots.get(index).copied();
            self.look_at(index);
            if let (Some(slot @ SlotState::Unreadable), Some(before)) = (self.slots.get_mut(index), before) {
                *slot = before;
            }
        }
        self.next_generation = self.next_generation.max(self.generation_above_all());
    }

    fn generation_above_all(&self) -> u64 {
        let generations = self.slots.iter().filter_map(|slot| match slot {
            SlotState::Valid(header) => Some(header.generation),
            SlotState::Replayed { generation } => Some(*generation),
            _ => None,
        });
        let confirmed = self.journal.confirmed.iter().map(|one| one.generation);
        let committed = self.journal.committed.iter().copied().filter(|&committed| committed != VOID);
        let highest = generations.chain(confirmed).chain(committed).max().unwrap_or(0);
        // What cannot be read may hold the next ones already, each from a commit that was cut before its mark.
        let hidden = self.slots.iter().filter(|slot| **slot == SlotState::Unreadable).count();
        highest.saturating_add(1 + hidden as u64)
    }

    /// Who the device is; `None` before its first start.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Whether everything was read once that decides what is in force. If not, nothing is written until
    /// [`Store::read_again`] has: the medium may only have failed for a moment.
    pub fn is_read(&self) -> bool {
        self.are_records_read() && !self.unsure.identity
    }

    pub(super) const fn are_records_read(&self) -> bool {
        !self.unread.marks && !self.unread.leases
    }

    /// Whether [`Store::leases`] can be relied on. If not, a counter that was used may be missing.
    pub fn are_leases_known(&self) -> bool {
        !self.unread.leases && !self.unsure.identity
    }

    /// Whether a slot cannot be read and is not void: it may be newer than all that can, and be in force again one
    /// day. No trial is confirmed beside it, and a device that has none gets no identity; a commit makes it void.
    pub fn hides_something(&self) -> bool {
        let mut slots = self.slots.iter().zip(&self.journal.committed);
        slots.any(|(slot, &committed)| *slot == SlotState::Unreadable && committed != VOID)
    }

    /// Counters leased ahead.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// What is in force.
    pub fn choice(&self) -> Choice {
        choose(&self.slots, &self.journal)
    }

    /// The header of what is in force; `None` is the factory profile.
    pub fn in_force(&self) -> Option<&Header> {
        match self.choice() {
            Choice::Slot(index) => self.slots.get(index)?.header(),
            Choice::Factory => None,
        }
    }

    /// What every slot holds.
    pub fn slots(&self) -> &[SlotState; SLOTS] {
        &self.slots
    }

    /// What the journal says.
    pub fn journal(&self) -> &JournalState {
        &self.journal
    }

    /// Reads the payload of a valid slot into `buffer` and checks it once more: the medium may
    /// have changed its mind since the store was opened.
    ///
    /// # Errors
    /// [`CommitError::TooLong`] when the buffer is too short, [`CommitError::ReadBack`] when the
    /// payload does not fit its header (any more).
    pub fn read<'b>(&mut self, index: usize, buffer: &'b mut [u8]) -> Result<&'b [u8], CommitError> {
        let header = self.slots.get(index).and_then(SlotState::header).ok_or(CommitError::ReadBack)?;
        let length = usize::try_from(header.payload_bytes).map_err(|_| CommitError::TooLong)?;
        let payload = buffer.get_mut(..length).ok_or(CommitError::TooLong)?;
        let mut at = slot_offset(index) + SECTOR_BYTES as u64;
        for part in payload.chunks_mut(CHUNK_BYTES) {
            let mut chunk = [0; CHUNK_BYTES];
            let sectors = chunk.get_mut(..part.len().next_multiple_of(SECTOR_BYTES)).unwrap_or_default();
            self.partition.read(at, sectors)?;
            part.copy_from_slice(sectors.get(..part.len()).unwrap_or_default());
            at += CHUNK_BYTES as u64;
        }
        let fits = <[u8; 32]>::from(Sha256::digest(&*payload)) == header.digest;
        if fits { Ok(payload) } else { Err(CommitError::ReadBack) }
    }

    /// Writes `payload` into the slot that is needed least, and acknowledges only after it was
    /// flushed and read back. An unchanged permanent configuration writes nothing.
    ///
    /// # Errors
    /// [`CommitError`]; what was in force goes on.
    pub fn commit(
        &mut self,
        payload: &[u8],
        schema: u16,
        floor: u32,
        kind: Kind,
    ) -> Result<Header, CommitError> {
        self.make_sure()?;
        let payload_bytes = u32::try_from(payload.len()).map_err(|_| CommitError::TooLong)?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(CommitError::TooLong);
        }
        // Acknowledged, it would be gone with the next start.
        if floor < self.journal.floor {
            return Err(CommitError::BelowFloor);
        }
        let digest = <[u8; 32]>::from(Sha256::digest(payload));
        // A slot that cannot be read may hold what is in force in truth.
        let is_whole = !self.slots.contains(&SlotState::Unreadable);
        let same = |header: &&Header| {
            is_whole && (header.digest, header.floor, header.schema) == (digest, floor, schema)
        };
        if let (Choice::Slot(slot), Some(header)) = (self.choice(), self.in_force().filter(same).copied()) {
            // The power may have gone between the slot and its mark.
            self.write_mark(Mark::Committed { slot, generation: header.generation, floor })?;
            return Ok(header);
        }
        let index = self.slot_to_spend(schema).ok_or(CommitError::Unsure)?;
        let generation = self.next_generation;
        self.next_generation = generation.saturating_add(1);
        let trial = kind == Kind::Trial;
        let header = Header { generation, trial, schema, floor, payload_bytes, digest, seal: None };
        self.unsure.config = true;
        let header = self.write_and_read_back(index, header, payload)?;
        let mark = if trial {
            // It raises the floor when it is confirmed.
            Mark::Tried { slot: index, generation }
        } else {
            Mark::Committed { slot: index, generation, floor }
        };
        if let Err(error) = self.write_mark(mark) {
            self.distrust(index);
            return Err(error);
        }
        self.unsure.config = false;
        Ok(header)
    }

    /// Writes a slot, sealed when the device has a key, and believes only what can be read.
    fn write_and_read_back(
        &mut self,
        index: usize,
        header: Header,
        payload: &[u8],
    ) -> Result<Header, CommitError> {
        let place = u8::try_from(index).unwrap_or(u8::MAX);
        let header = match &self.identity {
            Some(identity) => header.sealed(&identity.key, place),
            None => header,
        };
        let written = self.write_slot(index, &header, payload);
        // What was committed there before does not bind what is committed now.
        let mut journal = self.journal;
        if let Some(committed) = journal.committed.get_mut(index) {
            *committed = 0;
        }
        let found = inspect(&mut self.partition, index, self.identity.as_ref(), &journal);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = found;
        }
        if let Err(error) = written {
            self.distrust(index);
            return Err(error.into());
        }
        if found == SlotState::Valid(header) { Ok(header) } else { Err(CommitError::ReadBack) }
    }

    /// Confirms the trial with this generation: from now on it counts.
    ///
    /// # Errors
    /// [`CommitError`]; the trial is then not confirmed, or it is and only the answer was lost.
    pub fn confirm(&mut self, generation: u64) -> Result<(), CommitError> {
        self.make_sure()?;
        let trial =
            self.slots.iter().filter_map(SlotState::header).find(|header| header.generation == generation);
        let Header { digest, floor, .. } =
            *trial.filter(|header| header.trial).ok_or(CommitError::NoSuchTrial)?;
        // Acknowledged, it would not count.
        if floor < self.journal.floor {
            return Err(CommitError::BelowFloor);
        }
        if self.hides_something() {
            return Err(CommitError::Unsure);
        }
        self.write_mark(Mark::Confirmed(Confirmation { generation, digest }, floor))
    }

    /// Keeps a mark. One that changes nothing writes nothing; after one that failed, see
    /// [`CommitError::Unsure`].
    ///
    /// # Errors
    /// [`CommitError`]; the mark may or may not be found after a reboot.
    pub fn mark(&mut self, mark: Mark) -> Result<(), CommitError> {
        self.make_sure()?;
        self.write_mark(mark)
    }

    fn write_mark(&mut self, mark: Mark) -> Result<(), CommitError> {
        let Some(mut next) = self.journal.with(mark) else { return Ok(()) };
        if matches!(mark, Mark::Committed { .. } | Mark::Wiped { .. }) {
            self.void_unreadable(&mut next);
        }
        self.mend_marks()?;
        self.unsure.config = true;
        next.sequence = self.numbers.marks.next(self.journal.record_index(), JOURNAL_RECORDS);
        let sector = next.encode(self.identity.as_ref().map(|identity| &identity.key));
        let index = next.record_index();
        let copies = self.write_record(&sector, |copy| record_offset(copy, index))?;
        if copies == 0 {
            return Err(CommitError::ReadBack);
        }
        self.journal = next;
        self.unsure.config = false;
        Ok(())
    }

    /// Makes a lease durable: only when this returned may numbers up to its ceiling be used. A
    /// lease that is there already writes nothing, and one never goes down.
    ///
    /// # Errors
    /// [`LeaseError`]; the lease before stays in force.
    pub fn lease(&mut self, lease: Lease, live: &[u64]) -> Result<(), LeaseError> {
        let held = self.leases.ceiling(lease.fingerprint).unwrap_or(0);
        let ceiling = lease.ceiling.max(held);
        self.rebase(Lease { ceiling, ..lease }, live)
    }

    /// Sets a lease, also to a lower ceiling: an admin gives a key new numbers.
    ///
    /// # Errors
    /// [`LeaseError`].
    pub fn rebase(&mut self, lease: Lease, live: &[u64]) -> Result<(), LeaseError> {
        if self.unsure.identity || self.unsure.identity_unflushed || self.unread.leases {
            return Err(CommitError::Unsure.into());
        }
        self.look_again();
        self.bury_leases()?;
        let mut next = match self.leases.with(lease, live)? {
            Some(next) => next,
            None if self.unsure.leases => self.leases.clone(),
            None => return Ok(()),
        };
        self.mend_leases()?;
        self.unsure.leases = true;
        next.sequence = self.numbers.leases.next(self.leases.record_index(), LEASE_RECORDS);
        let record = next.encode(self.identity.as_ref().map(|identity| &identity.key));
        let index = next.record_index();
        if self.write_record(&record, |copy| lease_offset(copy, index))? == 0 {
            return Err(CommitError::ReadBack.into());
        }
        self.leases = next;
        self.unsure.leases = false;
        Ok(())
    }

    /// Erases every slot. Identity, floor and leases stay: the device is still the same, what was
    /// erased does not count when it is written back, and no number may be used twice. A cut leaves what
    /// there was or nothing.
    ///
    /// # Errors
    /// [`CommitError::Medium`]; nothing counts then or everything, and some of what does not may not be erased.
    pub fn wipe(&mut self) -> Result<(), CommitError> {
        self.make_sure()?;
        // The mark does it, all at once: what it tells of does not count, also what cannot be read now.
        self.write_mark(Mark::Wiped { below: self.next_generation })?;
        self.unsure.config = true;
        for index in 0..SLOTS {
            self.erase(slot_offset(index), SLOT_BYTES)?;
        }
        self.partition.flush()?;
        self.read_again();
        let erased = self.slots.iter().all(|slot| *slot == SlotState::Unusable(HeaderError::Blank));
        self.unsure.config = !erased;
        if erased { Ok(()) } else { Err(CommitError::ReadBack) }
    }

    /// Whether marks can be written, once what could not be read has been looked at again or written over.
    fn make_sure(&mut self) -> Result<(), CommitError> {
        self.is_sure()?;
        self.look_again();
        self.bury_marks()
    }

    /// Reads again what could not be read: it may only have been a moment.
    fn look_again(&mut self) {
        if self.hidden != Hidden::default() {
            self.read_again();
        }
    }

    /// What cannot be read was perhaps not acknowledged, and is newer than all that can: it does not count any more.
    fn void_unreadable(&self, next: &mut JournalState) {
        for (slot, committed) in self.slots.iter().zip(&mut next.committed) {
            if *slot == SlotState::Unreadable {
                *committed = VOID;
            }
        }
    }

    const fn is_sure(&self) -> Result<(), CommitError> {
        let Unsure { identity, identity_unflushed, config, .. } = self.unsure;
        if identity || identity_unflushed || config || self.unread.marks {
            Err(CommitError::Unsure)
        } else {
            Ok(())
        }
    }

    fn erase(&mut self, offset: u64, bytes: usize) -> Result<(), PartitionError> {
        let blank = [0; CHUNK_BYTES];
        for at in (0..bytes).step_by(CHUNK_BYTES) {
            let part = blank.get(..CHUNK_BYTES.min(bytes - at)).unwrap_or_default();
            self.partition.write(offset + at as u64, part)?;
        }
        Ok(())
    }

    /// The partition.
    pub fn partition(&self) -> &P {
        &self.partition
    }

    /// The partition, for what is not the store's business: a simulated medium is given its faults.
    pub fn partition_mut(&mut self) -> &mut P {
        &mut self.partition
    }

    /// Gives the partition back.
    pub fn into_partition(self) -> P {
        self.partition
    }

    /// The slot that is needed least for one of `schema`: never the one in force; unusable ones first, then
    /// trials nobody confirmed, then the lowest generation. The newest of an older schema goes after these:
    /// a firmware that is taken back starts with it. One that cannot be read is none: it may be in force, and be read
    /// again at the next start, and if not it could not be read back either.
    fn slot_to_spend(&self, schema: u16) -> Option<usize> {
        let in_force = self.choice();
        let others = self
            .slots
            .iter()
            .enumerate()
            .filter(|(index, slot)| in_force != Choice::Slot(*index) && **slot != SlotState::Unreadable);
        let is_unconfirmed =
            |header: &Header| header.trial && !self.journal.is_confirmed(header.generation, &header.digest);
        let counts = |header: &&Header| !is_unconfirmed(header) && header.floor >= self.journal.floor;
        let older = self.slots.iter().filter_map(SlotState::header).filter(|header| header.schema < schema);
        let way_back = older.filter(counts).map(|header| header.generation).max();
        let worth = |slot: &SlotState| match slot.header() {
            None => (0, 0),
            Some(header) if is_unconfirmed(header) => (1, header.generation),
            Some(header) if Some(header.generation) == way_back => (3, 0),
            Some(header) => (2, header.generation),
        };
        others.min_by_key(|(_, slot)| worth(slot)).map(|(index, _)| index)
    }

    fn write_slot(&mut self, index: usize, header: &Header, payload: &[u8]) -> Result<(), PartitionError> {
        if self.slots.get(index) == Some(&SlotState::Torn) {
            // The header of a commit that was cut waits for its payload, which this may be.
            self.partition.write(slot_offset(index), &[0; SECTOR_BYTES])?;
            self.partition.flush()?;
        }
        let mut at = slot_offset(index) + SECTOR_BYTES as u64;
        for part in payload.chunks(CHUNK_BYTES) {
            let mut chunk = [0; CHUNK_BYTES];
            if let Some(place) = chunk.get_mut(..part.len()) {
                place.copy_from_slice(part);
            }
            let sectors = chunk.get(..part.len().next_multiple_of(SECTOR_BYTES)).unwrap_or_default();
            self.partition.write(at, sectors)?;
            at += CHUNK_BYTES as u64;
        }
        self.partition.write(slot_offset(index), &header.encode())?;
        self.partition.flush()
    }

    /// Reads slot `index` again.
    fn look_at(&mut self, index: usize) {
        let found = inspect(&mut self.partition, index, self.identity.as_ref(), &self.journal);
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = found;
        }
    }

    /// A slot whose flush failed may read well now and be gone later: it is not chosen while this
    /// store is open.
    fn distrust(&mut self, index: usize) {
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = SlotState::Unreadable;
        }
    }
}

/// Reads one slot, header and payload.
fn inspect(
    partition: &mut impl Partition,
    index: usize,
    identity: Option<&Identity>,
    journal: &JournalState,
) -> SlotState {
    let mut sector = [0; SECTOR_BYTES];
    if partition.read(slot_offset(index), &mut sector).is_err() {
        return SlotState::Unreadable;
    }
    let mut header = match Header::decode(&sector) {
        Ok(header) => header,
        Err(error) => return SlotState::Unusable(error),
    };
    let place = u8::try_from(index).unwrap_or(u8::MAX);
    match (identity, header.seal) {
        (None, None) => {}
        // It was in force when it was named: a trial was confirmed by then, even if that mark is lost.
        (Some(identity), None) if identity.adopts(&header) => header.trial = false,
        (Some(_), None) => return SlotState::NotSealed,
        (Some(identity), Some(_)) if header.is_sealed_by(&identity.key, place) => {}
        _ => return SlotState::BadSeal,
    }
    if journal.committed.get(index).is_some_and(|&committed| header.generation < committed) {
        return SlotState::Replayed { generation: header.generation };
    }
    match payload_digest(partition, index, &header) {
        Some(digest) if digest == header.digest => SlotState::Valid(header),
        Some(_) => SlotState::Torn,
        None => SlotState::Unreadable,
    }
}

fn payload_digest(partition: &mut impl Partition, index: usize, header: &Header) -> Option<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut left = usize::try_from(header.payload_bytes).ok()?;
    let mut at = slot_offset(index) + SECTOR_BYTES as u64;
    let mut chunk = [0; CHUNK_BYTES];
    while left > 0 {
        let part = chunk.get_mut(..left.next_multiple_of(SECTOR_BYTES).min(CHUNK_BYTES))?;
        partition.read(at, part).ok()?;
        hasher.update(part.get(..left.min(CHUNK_BYTES))?);
        left = left.saturating_sub(CHUNK_BYTES);
        at += CHUNK_BYTES as u64;
    }
    Some(hasher.finalize().into())
}
