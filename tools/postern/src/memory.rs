//! A config partition in memory.

use postern_config::partition::PARTITION_BYTES_MIN;
use postern_core::port::{Partition, PartitionError};

/// A partition in memory.
#[derive(Clone, Debug)]
pub struct Memory(pub Vec<u8>);

impl Memory {
    /// One of the smallest size, blank.
    pub fn blank() -> Self {
        Self(vec![0; PARTITION_BYTES_MIN])
    }
}

impl Memory {
    fn range(&mut self, offset: u64, length: usize) -> Result<&mut [u8], PartitionError> {
        let start = usize::try_from(offset).map_err(|_| PartitionError::OutOfRange)?;
        self.0.get_mut(start..).and_then(|rest| rest.get_mut(..length)).ok_or(PartitionError::OutOfRange)
    }
}

impl Partition for Memory {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        buffer.copy_from_slice(self.range(offset, buffer.len())?);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        self.range(offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        Ok(())
    }
}
