//! What lies where: the only table of partitions.

use postern_board::{Architecture, Board};

/// Octets of a sector.
pub const SECTOR_BYTES: u64 = 512;

/// Octets behind the last partition, for the second partition table.
const TAIL_BYTES: u64 = 1024 * 1024;

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name in the table; boot script and initramfs find it by that.
    pub name: &'static str,
    /// Type, as a GUID.
    pub kind: &'static str,
    /// Where it begins, in octets.
    pub offset: u64,
    /// Its size in octets.
    pub bytes: u64,
    /// Whether the boot loader looks for its script here.
    pub bootable: bool,
}

/// The whole medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// In the order in which they lie.
    pub partitions: Vec<Partition>,
    /// Octets of the medium at least.
    pub bytes: u64,
}

/// EFI system partition: FAT, also for boot scripts.
const FAT: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// "Linux reserved": nobody mounts it.
const RAW: &str = "8da63339-0007-60c0-c436-083ac8230908";
/// Linux file system.
const DATA: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";

/// Root file system of an architecture (Discoverable Partitions Specification).
const fn root(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Aarch64 => "b921b045-1df0-41c3-af44-4c6f280d3fae",
        Architecture::Armv7HardFloat => "69dad710-2ce4-4e3c-b16c-21a1d49abed3",
    }
}

impl Layout {
    /// The layout of `board`.
    pub fn of(board: &Board) -> Self {
        let sizes = &board.storage.sizes;
        let root = root(board.architecture);
        let table = [
            ("boot", FAT, sizes.boot),
            ("environment", RAW, sizes.environment),
            ("kernel-a", RAW, sizes.kernel),
            ("root-a", root, sizes.root),
            ("kernel-b", RAW, sizes.kernel),
            ("root-b", root, sizes.root),
            ("config", RAW, sizes.config),
            ("data", DATA, sizes.data),
        ];
        let mut offset = u64::from(board.storage.first_partition_bytes);
        let place = |(name, kind, bytes)| {
            let bytes = u64::from(bytes);
            let partition = Partition { name, kind, offset, bytes, bootable: name == "boot" };
            offset += bytes;
            partition
        };
        let partitions = table.map(place).to_vec();
        Self { partitions, bytes: offset + TAIL_BYTES }
    }

    /// The partition called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn partition(&self, name: &str) -> anyhow::Result<&Partition> {
        let found = self.partitions.iter().find(|partition| partition.name == name);
        found.ok_or_else(|| anyhow::anyhow!("the layout has no partition {name}"))
    }
}

#[cfg(test)]
mod tests {
    use postern_board::BOARDS;
    use postern_config::partition::PARTITION_BYTES_MIN;

    use super::*;

    #[test]
    fn partitions_lie_side_by_side_within_the_medium() {
        for board in BOARDS {
            let layout = Layout::of(board);
            for pair in layout.partitions.windows(2) {
                assert_eq!(pair[0].offset + pair[0].bytes, pair[1].offset, "{}", board.name);
            }
            let last = layout.partitions.last().unwrap();
            assert!(last.offset + last.bytes < layout.bytes, "{}", board.name);
        }
    }

    #[test]
    fn the_config_partition_holds_what_the_daemon_wants() {
        for board in BOARDS {
            let config = *Layout::of(board).partition("config").unwrap();
            assert!(config.bytes >= PARTITION_BYTES_MIN as u64, "{}", board.name);
        }
    }

    #[test]
    fn emulated_sd_cards_have_a_power_of_two() {
        for board in BOARDS.iter().filter(|board| board.emulator.is_some()) {
            assert!(Layout::of(board).bytes.is_power_of_two(), "{}", board.name);
        }
    }
}
