//! Opening, committing and confirming, over any [`Partition`].

use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};
use sha2::{Digest, Sha256};

use super::header::{Header, HeaderError};
use super::journal::{Confirmation, JournalState, Mark};
use super::{
    Choice, JOURNAL_COPIES, JOURNAL_RECORDS, PARTITION_BYTES_MIN, PAYLOAD_BYTES_MAX, SLOTS, SlotState,
    choose, record_offset, slot_offset,
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
    /// The medium did not do as it was told. After a reboot the old state or the new one is in
    /// force, never a mixture.
    Medium(PartitionError),
    /// What was read back is not what was written.
    ReadBack,
}

impl From<PartitionError> for CommitError {
    fn from(error: PartitionError) -> Self {
        CommitError::Medium(error)
    }
}

/// An opened store.
#[derive(Debug)]
pub struct Store<P> {
    partition: P,
    slots: [SlotState; SLOTS],
    journal: JournalState,
    /// Above every generation that may be on the medium, also after commits that failed.
    next_generation: u64,
}

impl<P: Partition> Store<P> {
    /// Reads every slot and the journal. Never writes. A blank or ruined partition opens as well;
    /// its choice is the factory profile.
    ///
    /// # Errors
    /// [`OpenError::TooSmall`].
    pub fn open(mut partition: P) -> Result<Self, OpenError> {
        if partition.size_bytes() < PARTITION_BYTES_MIN as u64 {
            return Err(OpenError::TooSmall);
        }
        let journal = newest_record(&mut partition);
        let mut slots = [SlotState::Unreadable; SLOTS];
        for (index, slot) in slots.iter_mut().enumerate() {
            *slot = inspect(&mut partition, index);
        }
        let generations = slots.iter().filter_map(SlotState::header).map(|header| header.generation);
        let confirmed = journal.confirmed.iter().map(|one| one.generation);
        let next_generation = generations.chain(confirmed).max().unwrap_or(0).saturating_add(1);
        Ok(Self { partition, slots, journal, next_generation })
    }

    /// Reads everything once more, as [`Store::open`] does.
    pub fn read_again(&mut self) {
        self.journal = newest_record(&mut self.partition);
        for (index, slot) in self.slots.iter_mut().enumerate() {
            *slot = inspect(&mut self.partition, index);
        }
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
        for part in payload.chunks_mut(SECTOR_BYTES) {
            let mut sector = [0; SECTOR_BYTES];
            self.partition.read(at, &mut sector)?;
            part.copy_from_slice(sector.get(..part.len()).unwrap_or_default());
            at += SECTOR_BYTES as u64;
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
        let payload_bytes = u32::try_from(payload.len()).map_err(|_| CommitError::TooLong)?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(CommitError::TooLong);
        }
        let digest = <[u8; 32]>::from(Sha256::digest(payload));
        if let Some(header) =
            self.in_force().filter(|header| header.digest == digest && header.floor == floor)
        {
            return Ok(*header);
        }
        let generation = self.next_generation;
        self.next_generation = generation.saturating_add(1);
        let trial = kind == Kind::Trial;
        let header = Header { generation, trial, schema, floor, payload_bytes, digest };
        let index = self.slot_to_spend();
        let written = self.write_slot(index, &header, payload);
        // Whatever happened, believe only what can be read.
        let found = inspect(&mut self.partition, index);
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
        let trial =
            self.slots.iter().filter_map(SlotState::header).find(|header| header.generation == generation);
        let digest = trial.filter(|header| header.trial).ok_or(CommitError::NoSuchTrial)?.digest;
        self.mark(Mark::Confirmed(Confirmation { generation, digest }))
    }

    /// Keeps a mark. One that changes nothing writes nothing.
    ///
    /// # Errors
    /// [`CommitError`]; the mark may or may not be found after a reboot.
    pub fn mark(&mut self, mark: Mark) -> Result<(), CommitError> {
        let Some(next) = self.journal.with(mark) else { return Ok(()) };
        // Even if it fails this number may be on the medium: it is not used for anything else.
        self.journal.sequence = next.sequence;
        let sector = next.encode();
        for copy in 0..JOURNAL_COPIES {
            self.partition.write(record_offset(copy, next.record_index()), &sector)?;
        }
        self.partition.flush()?;
        let mut copies = 0;
        for copy in 0..JOURNAL_COPIES {
            let mut found = [0; SECTOR_BYTES];
            let read = self.partition.read(record_offset(copy, next.record_index()), &mut found);
            copies += usize::from(read.is_ok() && found == sector);
        }
        if copies == 0 {
            return Err(CommitError::ReadBack);
        }
        self.journal = next;
        Ok(())
    }

    /// Erases every slot and the journal: what is left is a partition that was never written.
    ///
    /// # Errors
    /// [`CommitError::Medium`]; some of it may then be erased and some not.
    pub fn wipe(&mut self) -> Result<(), CommitError> {
        let blank = [0; SECTOR_BYTES];
        for index in 0..SLOTS {
            self.partition.write(slot_offset(index), &blank)?;
        }
        for copy in 0..JOURNAL_COPIES {
            for index in 0..JOURNAL_RECORDS {
                self.partition.write(record_offset(copy, index), &blank)?;
            }
        }
        self.partition.flush()?;
        self.read_again();
        let erased = self.slots.iter().all(|slot| *slot == SlotState::Unusable(HeaderError::Blank));
        if erased && self.journal.sequence == 0 { Ok(()) } else { Err(CommitError::ReadBack) }
    }

    /// The partition.
    pub fn partition(&self) -> &P {
        &self.partition
    }

    /// Gives the partition back.
    pub fn into_partition(self) -> P {
        self.partition
    }

    /// The slot that is needed least: never the one in force; unusable ones first, then trials
    /// nobody confirmed, then the lowest generation.
    fn slot_to_spend(&self) -> usize {
        let in_force = self.choice();
        let others = self.slots.iter().enumerate().filter(|(index, _)| in_force != Choice::Slot(*index));
        let worth = |slot: &SlotState| match slot.header() {
            None => (0, 0),
            Some(header) if header.trial && !self.journal.is_confirmed(header.generation, &header.digest) => {
                (1, header.generation)
            }
            Some(header) => (2, header.generation),
        };
        others.min_by_key(|(_, slot)| worth(slot)).map_or(0, |(index, _)| index)
    }

    fn write_slot(&mut self, index: usize, header: &Header, payload: &[u8]) -> Result<(), PartitionError> {
        let mut at = slot_offset(index) + SECTOR_BYTES as u64;
        for part in payload.chunks(SECTOR_BYTES) {
            let mut sector = [0; SECTOR_BYTES];
            if let Some(place) = sector.get_mut(..part.len()) {
                place.copy_from_slice(part);
            }
            self.partition.write(at, &sector)?;
            at += SECTOR_BYTES as u64;
        }
        self.partition.write(slot_offset(index), &header.encode())?;
        self.partition.flush()
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
fn inspect(partition: &mut impl Partition, index: usize) -> SlotState {
    let mut sector = [0; SECTOR_BYTES];
    if partition.read(slot_offset(index), &mut sector).is_err() {
        return SlotState::Unreadable;
    }
    let header = match Header::decode(&sector) {
        Ok(header) => header,
        Err(error) => return SlotState::Unusable(error),
    };
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

/// The newest record of all copies; the empty state when there is none.
fn newest_record(partition: &mut impl Partition) -> JournalState {
    let mut newest = JournalState::default();
    for copy in 0..JOURNAL_COPIES {
        for index in 0..JOURNAL_RECORDS {
            let mut sector = [0; SECTOR_BYTES];
            if partition.read(record_offset(copy, index), &mut sector).is_err() {
                continue;
            }
            let record: Result<JournalState, HeaderError> = JournalState::decode(&sector);
            if let Ok(state) = record {
                // A record in a place that is not its own was misdirected.
                if state.sequence > newest.sequence && state.record_index() == index {
                    newest = state;
                }
            }
        }
    }
    newest
}
