//! The config partition on the real kernel: a file, and a loop device with sectors of 4096 octets.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};
use postern_hal_linux::partition::{LinuxPartition, PartitionOpenError, ReadBack};

const IMAGE_BYTES: u64 = 1 << 20;

/// One test at a time: a program started by another would hold our lock between fork and exec.
static ALONE: Mutex<()> = Mutex::new(());

/// An image file of zeros, removed when dropped.
struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postern-{name}-{}", std::process::id()));
        File::create(&path).unwrap().set_len(IMAGE_BYTES).unwrap();
        Self(path)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A loop device, detached when dropped.
struct Loop(PathBuf);

impl Loop {
    fn over(image: &Path, sector_bytes: &str) -> Self {
        let made = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", sector_bytes])
            .arg(image)
            .output()
            .expect("losetup (util-linux) must be installed");
        assert!(made.status.success(), "no loop device: {}", String::from_utf8_lossy(&made.stderr));
        Self(String::from_utf8(made.stdout).unwrap().trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

/// Writes, reads back, refuses what is outside or no whole sector, and has one writer only.
fn behaves(path: &Path) {
    let mut partition = LinuxPartition::open(path).unwrap();
    assert_eq!(partition.size_bytes(), IMAGE_BYTES);
    let last = IMAGE_BYTES - SECTOR_BYTES as u64;
    for (offset, fill) in [(0, 1), (SECTOR_BYTES as u64, 2), (last, 3)] {
        partition.write(offset, &[fill; SECTOR_BYTES]).unwrap();
    }
    partition.flush().unwrap();
    let mut read = [0; SECTOR_BYTES];
    for (offset, fill) in [(0, 1), (SECTOR_BYTES as u64, 2), (2 * SECTOR_BYTES as u64, 0), (last, 3)] {
        partition.read(offset, &mut read).unwrap();
        assert_eq!(read, [fill; SECTOR_BYTES], "at {offset}");
    }
    for (offset, length) in
        [(1, SECTOR_BYTES), (0, SECTOR_BYTES - 1), (last, 2 * SECTOR_BYTES), (u64::MAX - 511, 512)]
    {
        let bytes = vec![9; length];
        assert_eq!(partition.write(offset, &bytes), Err(PartitionError::OutOfRange), "{offset}+{length}");
    }
    assert!(matches!(LinuxPartition::open(path), Err(PartitionOpenError::InUse(_))), "a second writer");
    LinuxPartition::open_to_read(path).unwrap().read(last, &mut read).unwrap();
    drop(partition);
    LinuxPartition::open(path).unwrap().read(last, &mut read).unwrap();
    assert_eq!(read, [3; SECTOR_BYTES], "after it was opened anew");
}

#[test]
fn a_file_and_loop_devices_behave_the_same() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let image = Image::new("file");
    behaves(&image.0);
    for sector_bytes in ["512", "4096"] {
        let image = Image::new(sector_bytes);
        behaves(&Loop::over(&image.0, sector_bytes).0);
    }
}

/// A sector is a part of a page, and the kernel drops whole pages only.
#[test]
fn without_direct_access_one_sector_is_read_from_the_medium_all_the_same() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let image = Image::new("beneath");
    let device = Loop::over(&image.0, "4096");
    let mut partition = LinuxPartition::open(&device.0).unwrap();
    assert_eq!(partition.read_back(), ReadBack::CacheDropped);
    let (offset, mut read) = (SECTOR_BYTES as u64, [0; SECTOR_BYTES]);
    partition.write(offset, &[1; SECTOR_BYTES]).unwrap();
    partition.flush().unwrap();
    partition.read(offset, &mut read).unwrap();
    assert_eq!(read, [1; SECTOR_BYTES]);
    // The medium changes; the cache above it does not know.
    File::options().write(true).open(&image.0).unwrap().write_all_at(&[2; SECTOR_BYTES], offset).unwrap();
    partition.read(offset, &mut read).unwrap();
    assert_eq!(read, [2; SECTOR_BYTES]);
}

/// A file system in memory that has no room left, gone when dropped.
struct FullDisk(PathBuf);

impl FullDisk {
    /// With `image` on it, a file of zeros that takes no room until it is written.
    fn new(image: &str) -> Self {
        let path = std::env::temp_dir().join(format!("postern-full-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&path);
        assert!(mount.status().unwrap().success(), "no tmpfs");
        let disk = Self(path);
        File::create(disk.0.join(image)).unwrap().set_len(IMAGE_BYTES).unwrap();
        let filler = File::create(disk.0.join("filler")).unwrap();
        while filler.write_all_at(&[1; 4096], filler.metadata().unwrap().len()).is_ok() {}
        disk
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// After a flush that failed Linux takes the pages for clean, and the next flush succeeds.
#[test]
fn a_flush_that_failed_is_final() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = FullDisk::new("image");
    let device = Loop::over(&disk.0.join("image"), "4096");
    let mut partition = LinuxPartition::open(&device.0).unwrap();
    assert_eq!(partition.read_back(), ReadBack::CacheDropped);
    let mut read = [9; SECTOR_BYTES];
    partition.write(0, &[1; SECTOR_BYTES]).unwrap();
    assert_eq!(partition.flush(), Err(PartitionError::Flush));
    assert_eq!(partition.flush(), Err(PartitionError::Flush), "nothing was written meanwhile");
    assert_eq!(partition.write(0, &[1; SECTOR_BYTES]), Err(PartitionError::Write));
    // What is on the medium can still be read, and opened anew it may be better.
    partition.read(0, &mut read).unwrap();
    drop(partition);
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    let mut partition = LinuxPartition::open(&device.0).unwrap();
    partition.write(0, &[1; SECTOR_BYTES]).unwrap();
    partition.flush().unwrap();
    partition.read(0, &mut read).unwrap();
    assert_eq!(read, [1; SECTOR_BYTES]);
}

#[test]
fn what_is_no_partition_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let image = Image::new("none");
    std::fs::remove_file(&image.0).unwrap();
    assert!(matches!(LinuxPartition::open(&image.0), Err(PartitionOpenError::Absent(_))));
    nix::unistd::mkfifo(&image.0, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(LinuxPartition::open(&image.0), Err(PartitionOpenError::WrongKind(_))), "a FIFO");
}
