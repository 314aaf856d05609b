//! The choice of the slot, as boot script and system write it: two copies in a raw partition.
//!
//! A copy is what U-Boot's `env import -c` takes: CRC-32 of the rest, then `name=value`, each ended
//! by a zero, filled up with zeros. Writers write the first copy, then the second; readers take the
//! first that is whole. So a power cut while one is written leaves the other.

use anyhow::{Context, Result};

/// Octets of a copy.
pub const COPY_BYTES: usize = 4096;

/// Where the second copy lies in the partition, in octets.
pub const SECOND_OFFSET: u64 = 512 * 1024;

/// Attempts a slot has to become healthy.
pub const ATTEMPTS: u8 = 3;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// One of the two systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Slot; 2] = [Slot::A, Slot::B];

    /// Its letter in the environment.
    pub const fn letter(self) -> &'static str {
        match self {
            Slot::A => "A",
            Slot::B => "B",
        }
    }

    /// Its partition with kernel and initramfs.
    pub const fn kernel(self) -> &'static str {
        match self {
            Slot::A => "kernel-a",
            Slot::B => "kernel-b",
        }
    }

    /// Its partition with the root file system.
    pub const fn root(self) -> &'static str {
        match self {
            Slot::A => "root-a",
            Slot::B => "root-b",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }
}

/// Which slot is started next, and how often that may still fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The slot.
    pub slot: Slot,
    /// Attempts left.
    pub left: u8,
}

impl Choice {
    /// What a new device begins with.
    pub const FACTORY: Choice = Choice { slot: Slot::A, left: ATTEMPTS };

    /// The copy that says so.
    pub fn copy(self) -> Vec<u8> {
        let mut rest = format!("left={}\0slot={}\0\0", self.left, self.slot.letter()).into_bytes();
        rest.resize(COPY_BYTES - 4, 0);
        let sum = CRC.checksum(&rest).to_le_bytes();
        [&sum[..], &rest].concat()
    }

    /// Reads a copy; `None` when it is torn.
    pub fn read(copy: &[u8]) -> Option<Self> {
        let (sum, rest) = copy.get(..COPY_BYTES)?.split_first_chunk::<4>()?;
        if CRC.checksum(rest) != u32::from_le_bytes(*sum) {
            return None;
        }
        let text = std::str::from_utf8(rest).ok()?;
        let value = |name| text.split('\0').find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
        let slot = Slot::ALL.into_iter().find(|slot| value("slot") == Some(slot.letter()))?;
        Some(Self { slot, left: u8::from_str_radix(value("left")?, 16).ok()? })
    }

    /// The choice in the content of a partition, as the boot script makes it.
    pub fn of_partition(content: &[u8]) -> Self {
        let second = usize::try_from(SECOND_OFFSET).ok().and_then(|offset| content.get(offset..));
        Self::read(content).or_else(|| Self::read(second?)).unwrap_or(Self::FACTORY)
    }

    /// What the boot script writes before it starts the slot: one attempt less, or the other slot
    /// when none was left.
    ///
    /// # Errors
    /// Never; the type says that attempts are counted.
    pub fn next(self) -> Result<Self> {
        let Choice { slot, left } =
            if self.left == 0 { Choice { slot: self.slot.other(), left: ATTEMPTS } } else { self };
        Ok(Self { slot, left: left.checked_sub(1).context("no attempt is left")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_as_it_was_written_and_no_octet_may_differ() {
        let choice = Choice { slot: Slot::B, left: 2 };
        let copy = choice.copy();
        assert_eq!(copy.len(), COPY_BYTES);
        assert_eq!(Choice::read(&copy), Some(choice));
        for index in 0..COPY_BYTES {
            let mut torn = copy.clone();
            torn[index] ^= 1;
            assert_eq!(Choice::read(&torn), None, "octet {index}");
        }
    }

    #[test]
    fn the_second_copy_stands_in_for_a_torn_first() {
        let mut partition = vec![0xff; 1024 * 1024];
        assert_eq!(Choice::of_partition(&partition), Choice::FACTORY);
        let choice = Choice { slot: Slot::B, left: 1 };
        let second = usize::try_from(SECOND_OFFSET).unwrap();
        partition[second..second + COPY_BYTES].copy_from_slice(&choice.copy());
        assert_eq!(Choice::of_partition(&partition), choice);
    }

    #[test]
    fn three_attempts_then_the_other_slot() {
        let mut choice = Choice::FACTORY;
        let mut tried = String::new();
        for _ in 0..7 {
            choice = choice.next().unwrap();
            tried.push_str(choice.slot.letter());
        }
        assert_eq!(tried, "AAABBBA");
    }
}
