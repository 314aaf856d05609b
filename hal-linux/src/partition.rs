//! The config partition on Linux: a raw partition, a loop device or a file, all the same.
//!
//! What is read comes from the medium: with `O_DIRECT` where the device and the file system take
//! requests of 512 octets, else through the page cache, whose clean pages are dropped before each
//! read (posix_fadvise(2), `POSIX_FADV_DONTNEED`; they are clean because the store flushes before it
//! reads back).
//!
//! A flush that failed is final. Linux may have marked the pages clean that could not be written
//! (fsync(2), "EIO"), so the next flush would succeed and prove nothing: until the partition is
//! opened anew, nothing is written any more.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, PosixFadviseAdvice, posix_fadvise};
use nix::libc::{O_CLOEXEC, O_DIRECT, O_EXCL, off_t};
use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};

/// Octets moved at once, aligned for any device.
const BOUNCE_BYTES: usize = 4096;

/// Octets of the largest page of the machines Postern runs on (arm64 with 64 KiB pages). Smaller
/// pages divide it.
const PAGE_BYTES_MAX: u64 = 64 * 1024;

/// Why a partition could not be opened.
#[derive(Debug)]
pub enum PartitionOpenError {
    /// There is nothing at the path.
    Absent(PathBuf),
    /// Somebody else has it open to write.
    InUse(PathBuf),
    /// It is neither a file nor a block device.
    WrongKind(PathBuf),
    /// The system refused.
    Refused(PathBuf, std::io::Error),
}

impl fmt::Display for PartitionOpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartitionOpenError::Absent(path) => write!(
                f,
                "no config partition at {}: make an image with `postern compile SITE.toml -o {0}`",
                path.display()
            ),
            PartitionOpenError::InUse(path) => write!(
                f,
                "the config partition {} is in use, by a running posternd, by `postern --to file:{0}`, or mounted",
                path.display()
            ),
            PartitionOpenError::WrongKind(path) => {
                write!(f, "{} is neither a file nor a block device", path.display())
            }
            PartitionOpenError::Refused(path, error) => {
                write!(
                    f,
                    "cannot open the config partition {}: {error}; posternd must be started as root, and with \
                     --user the partition that replaces this one must be that user's",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for PartitionOpenError {}

/// How what is read is known to be on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// `O_DIRECT`.
    Direct,
    /// Through the page cache, dropped before each read.
    CacheDropped,
}

/// The file, and whether somebody else may write it.
enum Held {
    Exclusively(Flock<File>),
    ToRead(File),
}

impl Held {
    fn file(&self) -> &File {
        match self {
            Held::Exclusively(file) => file,
            Held::ToRead(file) => file,
        }
    }
}

#[repr(C, align(4096))]
struct Bounce([u8; BOUNCE_BYTES]);

/// A partition that nobody else writes.
pub struct LinuxPartition {
    file: Held,
    size_bytes: u64,
    read_back: ReadBack,
    bounce: Box<Bounce>,
    /// A flush failed.
    broken: bool,
}

impl fmt::Debug for LinuxPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinuxPartition")
            .field("size_bytes", &self.size_bytes)
            .field("read_back", &self.read_back)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl LinuxPartition {
    /// Opens and locks it.
    ///
    /// # Errors
    /// [`PartitionOpenError`].
    pub fn open(path: &Path) -> Result<Self, PartitionOpenError> {
        Self::open_as(path, true)
    }

    /// Opens it to read, also while somebody else writes it: what is read may be half of a commit,
    /// and is then refused by its digest.
    ///
    /// # Errors
    /// [`PartitionOpenError`].
    pub fn open_to_read(path: &Path) -> Result<Self, PartitionOpenError> {
        Self::open_as(path, false)
    }

    fn open_as(path: &Path, exclusively: bool) -> Result<Self, PartitionOpenError> {
        let refused = |error: std::io::Error| match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) => PartitionOpenError::Absent(path.to_owned()),
            Some(Errno::EBUSY) => PartitionOpenError::InUse(path.to_owned()),
            _ => PartitionOpenError::Refused(path.to_owned(), error),
        };
        let kind = std::fs::metadata(path).map_err(refused)?.file_type();
        // On a block device O_EXCL without O_CREAT fails when it is mounted or held (open(2)).
        let flags = match (kind.is_file(), kind.is_block_device()) {
            (true, _) => O_CLOEXEC,
            (_, true) if exclusively => O_CLOEXEC | O_EXCL,
            (_, true) => O_CLOEXEC,
            _ => return Err(PartitionOpenError::WrongKind(path.to_owned())),
        };
        let open = |flags| OpenOptions::new().read(true).write(exclusively).custom_flags(flags).open(path);
        let mut bounce = Box::new(Bounce([0; BOUNCE_BYTES]));
        let direct = open(flags | O_DIRECT).ok().filter(|file| {
            // Some file systems take the flag and refuse the request.
            file.read_exact_at(bounce.0.get_mut(..SECTOR_BYTES).unwrap_or_default(), 0).is_ok()
        });
        let (file, read_back) = match direct {
            Some(file) => (file, ReadBack::Direct),
            None => (open(flags).map_err(refused)?, ReadBack::CacheDropped),
        };
        let size_bytes = size(&file).map_err(refused)?;
        let file = if exclusively {
            let locked = Flock::lock(file, FlockArg::LockExclusiveNonblock);
            Held::Exclusively(locked.map_err(|_| PartitionOpenError::InUse(path.to_owned()))?)
        } else {
            Held::ToRead(file)
        };
        Ok(Self { file, size_bytes, read_back, bounce, broken: false })
    }

    /// How what is read is known to be on the medium.
    pub fn read_back(&self) -> ReadBack {
        self.read_back
    }

    /// Whether `path` leads to this very partition.
    pub fn is_at(&self, path: &Path) -> bool {
        let own =
            self.file.file().metadata().map(|metadata| (metadata.dev(), metadata.ino(), metadata.rdev()));
        let other = std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino(), metadata.rdev()));
        matches!((own, other), (Ok(own), Ok(other)) if own == other)
    }

    /// Drops the clean pages that hold `length` octets at `offset`. The range is widened to whole
    /// pages: parts of a page are kept (posix_fadvise(2), "Requests to discard partial pages are
    /// ignored"), and a sector would then be read from the cache.
    fn drop_cached(&self, offset: u64, length: usize) -> Result<(), PartitionError> {
        let from = offset - offset % PAGE_BYTES_MAX;
        let end = offset.saturating_add(length as u64).checked_next_multiple_of(PAGE_BYTES_MAX);
        let end = end.ok_or(PartitionError::OutOfRange)?;
        // 32 bits wide on 32-bit ARM.
        let (from, length) = (off_t::try_from(from), off_t::try_from(end - from));
        let (Ok(from), Ok(length)) = (from, length) else { return Err(PartitionError::OutOfRange) };
        // Pages that cannot be dropped are dirty: not flushed yet, and nobody believes them.
        let _ =
            posix_fadvise(self.file.file().as_fd(), from, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        Ok(())
    }

    /// Whole sectors inside the partition, or an error.
    fn check(&self, offset: u64, length: usize) -> Result<(), PartitionError> {
        let sector = SECTOR_BYTES as u64;
        let length = length as u64;
        let whole = offset % sector == 0 && length % sector == 0;
        let inside = offset.checked_add(length).is_some_and(|end| end <= self.size_bytes);
        if whole && inside { Ok(()) } else { Err(PartitionError::OutOfRange) }
    }
}

/// Octets of a file or block device: seeking to the end works for both (lseek(2)).
fn size(mut file: &File) -> std::io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    let end = file.seek(SeekFrom::End(0))?;
    // The last part of a sector cannot be used.
    Ok(end - end % SECTOR_BYTES as u64)
}

impl Partition for LinuxPartition {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        self.check(offset, buffer.len())?;
        if self.read_back == ReadBack::CacheDropped {
            self.drop_cached(offset, buffer.len())?;
        }
        let mut at = offset;
        for part in buffer.chunks_mut(BOUNCE_BYTES) {
            let bounce = self.bounce.0.get_mut(..part.len()).ok_or(PartitionError::OutOfRange)?;
            self.file.file().read_exact_at(bounce, at).map_err(|_| PartitionError::Read)?;
            part.copy_from_slice(bounce);
            at += BOUNCE_BYTES as u64;
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        self.check(offset, bytes.len())?;
        if self.broken {
            return Err(PartitionError::Write);
        }
        let mut at = offset;
        for part in bytes.chunks(BOUNCE_BYTES) {
            let bounce = self.bounce.0.get_mut(..part.len()).ok_or(PartitionError::OutOfRange)?;
            bounce.copy_from_slice(part);
            self.file.file().write_all_at(bounce, at).map_err(|_| PartitionError::Write)?;
            at += BOUNCE_BYTES as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        if self.broken {
            return Err(PartitionError::Flush);
        }
        // fdatasync(2) also flushes the disk's own cache; the size of the file never changes.
        self.file.file().sync_data().map_err(|_| {
            self.broken = true;
            PartitionError::Flush
        })
    }
}
