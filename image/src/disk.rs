//! The medium as a file: contents are put into partitions; what nobody wrote stays a hole.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::gpt;
use crate::layout::Layout;

/// Octets copied at a time; runs of zeros this long become holes.
const CHUNK: usize = 64 * 1024;

/// An image being written.
#[derive(Debug)]
pub struct Disk {
    file: File,
    layout: Layout,
}

impl Disk {
    /// Makes `path` anew, with both partition tables.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path, layout: Layout, seed: &str) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        file.set_len(layout.bytes)?;
        let tables = gpt::tables(&layout, seed);
        let mut disk = Self { file, layout };
        disk.write_at(0, &tables.first)?;
        let end = disk.layout.bytes - tables.second.len() as u64;
        disk.write_at(end, &tables.second)?;
        Ok(disk)
    }

    /// Puts `content` at the beginning of a partition.
    ///
    /// # Errors
    /// When it is too large, or cannot be written.
    pub fn put(&mut self, partition: &str, content: &[u8]) -> Result<()> {
        self.put_at(partition, 0, content)
    }

    /// Puts `content` into a partition, `offset` octets behind its beginning.
    ///
    /// # Errors
    /// When it is too large, or cannot be written.
    pub fn put_at(&mut self, partition: &str, offset: u64, content: &[u8]) -> Result<()> {
        let place = *self.layout.partition(partition)?;
        let end = offset + content.len() as u64;
        ensure!(end <= place.bytes, "{partition} has {} octets, its content needs {end}", place.bytes);
        for (index, chunk) in content.chunks(CHUNK).enumerate() {
            if chunk.iter().any(|octet| *octet != 0) {
                self.write_at(place.offset + offset + (index * CHUNK) as u64, chunk)?;
            }
        }
        Ok(())
    }

    /// The same from a file.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or cannot be written.
    pub fn put_file(&mut self, partition: &str, path: &Path) -> Result<()> {
        let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut offset = 0;
        let mut chunk = Vec::new();
        while (&mut file).take(1 << 20).read_to_end(&mut chunk)? > 0 {
            self.put_at(partition, offset, &chunk)?;
            offset += chunk.len() as u64;
            chunk.clear();
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, content: &[u8]) -> Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(content).context("cannot write the image")
    }
}
