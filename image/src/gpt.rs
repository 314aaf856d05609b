//! The partition table (UEFI specification 2.10, chapter 5), written octet by octet.

use sha2::{Digest, Sha256};

use crate::layout::{Layout, Partition, SECTOR_BYTES};

/// Entries of the table; every reader expects this number.
const ENTRIES: usize = 128;

/// Octets of an entry.
const ENTRY_BYTES: usize = 128;

/// Sectors of the table itself.
const TABLE_SECTORS: u64 = (ENTRIES * ENTRY_BYTES) as u64 / SECTOR_BYTES;

/// "A legacy boot loader looks here": U-Boot takes it for the mark of the boot partition.
const BOOTABLE: u64 = 1 << 2;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// Both tables, ready to be written.
#[derive(Debug, PartialEq, Eq)]
pub struct Tables {
    /// From sector 0 on: protective MBR, header, entries.
    pub first: Vec<u8>,
    /// The last sectors of the medium: entries, header.
    pub second: Vec<u8>,
}

/// The tables of `layout`. Identities are derived from `seed`, say the board's name: they are the
/// same in every build.
pub fn tables(layout: &Layout, seed: &str) -> Tables {
    let sectors = layout.bytes / SECTOR_BYTES;
    let mut entries = vec![0; ENTRIES * ENTRY_BYTES];
    for (slot, partition) in entries.chunks_exact_mut(ENTRY_BYTES).zip(&layout.partitions) {
        entry(slot, partition, seed);
    }
    let disk = identity(&format!("{seed}/disk"));
    let first_header = header(1, sectors - 1, 2, sectors, &disk, &entries);
    let second_header = header(sectors - 1, 1, sectors - 1 - TABLE_SECTORS, sectors, &disk, &entries);
    let first = [protective(sectors), first_header, entries.clone()].concat();
    Tables { first, second: [entries, second_header].concat() }
}

/// A sector that tells tools of old that the medium is taken.
fn protective(sectors: u64) -> Vec<u8> {
    let mut sector = vec![0; 512];
    let covered = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    sector[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    sector[458..462].copy_from_slice(&covered.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn header(own: u64, other: u64, table: u64, sectors: u64, disk: &[u8; 16], entries: &[u8]) -> Vec<u8> {
    let mut sector = Vec::with_capacity(512);
    sector.extend(b"EFI PART");
    sector.extend(0x0001_0000_u32.to_le_bytes());
    sector.extend(92_u32.to_le_bytes());
    // Its own sum and a reserved word, for now zero.
    sector.extend([0; 8]);
    let (first_usable, last_usable) = (2 + TABLE_SECTORS, sectors - 2 - TABLE_SECTORS);
    for word in [own, other, first_usable, last_usable] {
        sector.extend(word.to_le_bytes());
    }
    sector.extend(disk);
    sector.extend(table.to_le_bytes());
    for word in [ENTRIES, ENTRY_BYTES] {
        sector.extend(u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
    }
    sector.extend(CRC.checksum(entries).to_le_bytes());
    let sum = CRC.checksum(&sector);
    sector[16..20].copy_from_slice(&sum.to_le_bytes());
    sector.resize(512, 0);
    sector
}

fn entry(slot: &mut [u8], partition: &Partition, seed: &str) {
    let first = partition.offset / SECTOR_BYTES;
    let last = (partition.offset + partition.bytes) / SECTOR_BYTES - 1;
    slot[..16].copy_from_slice(&guid(partition.kind));
    slot[16..32].copy_from_slice(&identity(&format!("{seed}/{}", partition.name)));
    slot[32..40].copy_from_slice(&first.to_le_bytes());
    slot[40..48].copy_from_slice(&last.to_le_bytes());
    let attributes = if partition.bootable { BOOTABLE } else { 0 };
    slot[48..56].copy_from_slice(&attributes.to_le_bytes());
    for (place, unit) in slot[56..].chunks_exact_mut(2).zip(partition.name.encode_utf16()) {
        place.copy_from_slice(&unit.to_le_bytes());
    }
}

/// A GUID as it lies in the table: its first three numbers little-endian.
fn guid(text: &str) -> [u8; 16] {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    let mut octets = u128::from_str_radix(&digits, 16).unwrap_or_default().to_be_bytes();
    octets[..4].reverse();
    octets[4..6].reverse();
    octets[6..8].reverse();
    octets
}

/// A GUID of version 8 (RFC 9562) made of the hash of `what`.
fn identity(what: &str) -> [u8; 16] {
    let hash = Sha256::digest(format!("postern/{what}"));
    let mut octets = [0; 16];
    octets.copy_from_slice(&hash[..16]);
    // Version and variant, at their places in the little-endian form.
    octets[7] = octets[7] & 0x0f | 0x80;
    octets[8] = octets[8] & 0x3f | 0x80;
    octets
}

/// The same identity as text, for what is not a partition.
pub fn identity_text(what: &str) -> String {
    let mut octets = identity(what);
    octets[..4].reverse();
    octets[4..6].reverse();
    octets[6..8].reverse();
    let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};
    use std::process::Command;

    use super::*;

    #[test]
    fn sfdisk_reads_what_was_written() {
        let board = postern_board::find("qemu-arm64").unwrap();
        let layout = Layout::of(board);
        let tables = tables(&layout, board.name);
        let path = std::env::temp_dir().join(format!("postern-gpt-{}", std::process::id()));
        let mut file = std::fs::File::create(&path).unwrap();
        file.set_len(layout.bytes).unwrap();
        file.write_all(&tables.first).unwrap();
        file.seek(SeekFrom::Start(layout.bytes - tables.second.len() as u64)).unwrap();
        file.write_all(&tables.second).unwrap();
        let said = |option| Command::new("/usr/sbin/sfdisk").arg(option).arg(&path).output().unwrap();
        let (verified, listed) = (said("--verify"), said("--json"));
        std::fs::remove_file(&path).unwrap();
        let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(verified.status.success() && complaints.is_empty(), "{complaints}");
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        let read = listed["partitiontable"]["partitions"].as_array().unwrap();
        assert_eq!(read.len(), layout.partitions.len());
        for (read, wanted) in read.iter().zip(&layout.partitions) {
            assert_eq!(read["name"], wanted.name);
            assert_eq!(read["start"], wanted.offset / SECTOR_BYTES);
            assert_eq!(read["size"], wanted.bytes / SECTOR_BYTES);
            assert_eq!(read["type"].as_str().unwrap().to_lowercase(), wanted.kind);
        }
    }

    #[test]
    fn identities_are_stable_and_differ() {
        assert_eq!(identity_text("a"), identity_text("a"));
        assert_ne!(identity_text("a"), identity_text("b"));
        assert_eq!(identity_text("a").len(), 36);
    }
}
