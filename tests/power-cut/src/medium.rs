//! The simulated twins of the config partition.

use std::sync::Arc;

use postern_config::partition::PARTITION_BYTES_MIN;
use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};

/// A sector.
pub type Sector = [u8; SECTOR_BYTES];

/// A whole partition that can be copied for nothing and changed sector by sector.
#[derive(Clone, Debug)]
pub struct Image {
    base: Arc<Vec<u8>>,
    /// Changed sectors, newest last; few.
    changed: Vec<(usize, Sector)>,
    /// One bit for each sector that may be among them: most are not, and are found at once.
    touched: Touched,
}

/// A bit for each of 64 x 32 sectors; those above share the bits.
type Touched = [u64; 32];

const fn bit_of(index: usize) -> (usize, u64) {
    (index / 64 % 32, 1 << (index % 64))
}

impl Image {
    /// A partition as it leaves the factory.
    pub fn blank() -> Self {
        Self { base: Arc::new(vec![0; PARTITION_BYTES_MIN]), changed: Vec::new(), touched: [0; 32] }
    }

    /// What stands in sector `index`.
    pub fn sector(&self, index: usize) -> Sector {
        let (word, bit) = bit_of(index);
        if self.touched[word] & bit != 0 {
            if let Some((_, sector)) = self.changed.iter().rev().find(|(changed, _)| *changed == index) {
                return *sector;
            }
        }
        let start = index * SECTOR_BYTES;
        self.base
            .get(start..start + SECTOR_BYTES)
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or([0; SECTOR_BYTES])
    }

    /// Puts `sector` at `index`.
    pub fn set(&mut self, index: usize, sector: Sector) {
        let (word, bit) = bit_of(index);
        self.touched[word] |= bit;
        self.changed.push((index, sector));
    }

    /// The same content with all changes in the base, for an image that others start from.
    pub fn settled(&self) -> Self {
        let mut bytes = self.base.as_ref().clone();
        for (index, sector) in &self.changed {
            bytes[index * SECTOR_BYTES..(index + 1) * SECTOR_BYTES].copy_from_slice(sector);
        }
        Self { base: Arc::new(bytes), changed: Vec::new(), touched: [0; 32] }
    }

    /// The same, cheap to read: settled when much has changed.
    #[must_use]
    pub fn light(self) -> Self {
        if self.changed.len() > 40 { self.settled() } else { self }
    }

    /// The same with these sectors blank.
    #[must_use]
    pub fn without(&self, sectors: std::ops::Range<usize>) -> Self {
        let mut bytes = self.settled().base.as_ref().clone();
        bytes[sectors.start * SECTOR_BYTES..sectors.end * SECTOR_BYTES].fill(0);
        Self { base: Arc::new(bytes), changed: Vec::new(), touched: [0; 32] }
    }

    /// All octets.
    pub fn bytes(&self) -> Vec<u8> {
        self.settled().base.as_ref().clone()
    }

    /// Sectors it holds.
    pub fn sectors(&self) -> usize {
        self.base.len() / SECTOR_BYTES
    }
}

impl Partition for Image {
    fn size_bytes(&self) -> u64 {
        self.base.len() as u64
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        let first = sector_index(offset)?;
        if buffer.len() % SECTOR_BYTES != 0 || first + buffer.len() / SECTOR_BYTES > self.sectors() {
            return Err(PartitionError::OutOfRange);
        }
        let untouched = |index: usize| {
            let (word, bit) = bit_of(index);
            self.touched[word] & bit == 0
        };
        for (index, part) in buffer.chunks_exact_mut(SECTOR_BYTES).enumerate() {
            let at = (first + index) * SECTOR_BYTES;
            match self.base.get(at..at + SECTOR_BYTES) {
                Some(bytes) if untouched(first + index) => part.copy_from_slice(bytes),
                _ => part.copy_from_slice(&self.sector(first + index)),
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        let first = sector_index(offset)?;
        let sectors = bytes.chunks_exact(SECTOR_BYTES);
        if !sectors.remainder().is_empty() || first + sectors.len() > self.sectors() {
            return Err(PartitionError::OutOfRange);
        }
        for (index, part) in sectors.enumerate() {
            self.set(first + index, part.try_into().map_err(|_| PartitionError::OutOfRange)?);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        Ok(())
    }
}

fn sector_index(offset: u64) -> Result<usize, PartitionError> {
    let offset = usize::try_from(offset).map_err(|_| PartitionError::OutOfRange)?;
    if offset % SECTOR_BYTES == 0 { Ok(offset / SECTOR_BYTES) } else { Err(PartitionError::OutOfRange) }
}

/// What a medium was told.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A sector was written.
    Write(usize, Box<Sector>),
    /// Everything before is on the medium.
    Flush,
}

/// A medium that works and remembers what it was told.
#[derive(Clone, Debug)]
pub struct Recorder {
    image: Image,
    /// Everything since the start, in order.
    pub operations: Vec<Operation>,
}

impl Recorder {
    /// Starts from `image`.
    pub fn new(image: Image) -> Self {
        Self { image, operations: Vec::new() }
    }

    /// The medium as it is now.
    pub fn into_parts(self) -> (Image, Vec<Operation>) {
        (self.image.settled(), self.operations)
    }
}

impl Partition for Recorder {
    fn size_bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        self.image.read(offset, buffer)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        self.image.write(offset, bytes)?;
        for (index, part) in bytes.chunks_exact(SECTOR_BYTES).enumerate() {
            let sector = part.try_into().map_err(|_| PartitionError::OutOfRange)?;
            self.operations.push(Operation::Write(sector_index(offset)? + index, Box::new(sector)));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        self.operations.push(Operation::Flush);
        Ok(())
    }
}
