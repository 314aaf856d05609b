//! Which of the two systems starts next, and how often that may still fail: what U-Boot's boot script
//! and the daemon read and write.
//!
//! Two copies lie in a raw partition. A copy is what U-Boot's `env import -c` takes: CRC-32 of the rest,
//! then `name=value`, each ended by a zero, filled up with zeros. Readers take the first copy that is
//! whole; writers write the other one first. So at every moment one of them is whole, and says what was
//! before or what shall be.

use core::fmt::Write as _;

use heapless::String;
use postern_core::port::{Partition, PartitionError};

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

    /// The slot with this letter.
    pub fn of_letter(letter: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.letter() == letter)
    }
}

/// Which slot is started next, and what is known of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The slot.
    pub slot: Slot,
    /// Attempts left.
    pub left: u8,
    /// Whether the other slot holds a whole system that may be started.
    pub other_good: bool,
    /// Whether the slot holds an update nobody has confirmed: each of its starts uses up an attempt for
    /// good, and when none is left the other slot is taken.
    pub trial: bool,
    /// Seconds a start on trial waits to be confirmed; 0 is confirmed when it is healthy.
    pub wait_secs: u32,
    /// Whether the boot script took the other slot because none of its attempts was left. Until somebody
    /// has read it.
    pub fell_back: bool,
    /// The highest release that was confirmed: an update to an older one is refused.
    pub floor: u32,
}

impl Choice {
    /// What a new device begins with.
    pub const FACTORY: Choice = Choice {
        slot: Slot::A,
        left: ATTEMPTS,
        other_good: true,
        trial: false,
        wait_secs: 0,
        fell_back: false,
        floor: 0,
    };

    /// The copy that says so.
    pub fn copy(self) -> [u8; COPY_BYTES] {
        let mut text: String<256> = String::new();
        let Choice { slot, left, other_good, trial, wait_secs, fell_back, floor } = self;
        let other = if other_good { "good" } else { "bad" };
        // At most 80 letters: it has room.
        let _ = write!(text, "fell={}\0floor={floor:x}\0left={left:x}\0other={other}\0", u8::from(fell_back));
        let _ = write!(text, "slot={}\0trial={}\0wait={wait_secs:x}\0\0", slot.letter(), u8::from(trial));
        let mut copy = [0; COPY_BYTES];
        if let Some((sum, rest)) = copy.split_first_chunk_mut::<4>() {
            rest.iter_mut().zip(text.bytes()).for_each(|(place, octet)| *place = octet);
            *sum = CRC.checksum(rest).to_le_bytes();
        }
        copy
    }

    /// Reads a copy; `None` when it is torn. What is missing is as on a new device.
    pub fn read(copy: &[u8]) -> Option<Self> {
        let (sum, rest) = copy.get(..COPY_BYTES)?.split_first_chunk::<4>()?;
        if CRC.checksum(rest) != u32::from_le_bytes(*sum) {
            return None;
        }
        let value = |name: &str| {
            let entries = rest.split(|&octet| octet == 0).take_while(|entry| !entry.is_empty());
            let mut values =
                entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
            values.next().and_then(|value| core::str::from_utf8(value).ok())
        };
        // U-Boot counts in hexadecimal.
        let number = |name: &str| u32::from_str_radix(value(name)?, 16).ok();
        Some(Self {
            slot: Slot::of_letter(value("slot")?)?,
            left: u8::try_from(number("left")?).ok()?,
            other_good: value("other") != Some("bad"),
            trial: number("trial") == Some(1),
            wait_secs: number("wait").unwrap_or(0),
            fell_back: number("fell") == Some(1),
            floor: number("floor").unwrap_or(0),
        })
    }

    /// The choice in the content of a partition, as the boot script makes it.
    pub fn of_partition(content: &[u8]) -> Self {
        let second = usize::try_from(SECOND_OFFSET).ok().and_then(|offset| content.get(offset..));
        Self::read(content).or_else(|| Self::read(second?)).unwrap_or(Self::FACTORY)
    }

    /// What the boot script writes before it starts the slot: one attempt less; or the other slot, when
    /// none was left and that one can be started.
    #[must_use]
    pub const fn next(self) -> Self {
        let chosen = if self.left > 0 {
            self
        } else if self.other_good {
            Self {
                slot: self.slot.other(),
                left: ATTEMPTS,
                // An update that never worked is not tried again.
                other_good: !self.trial,
                trial: false,
                fell_back: true,
                ..self
            }
        } else {
            Self { left: ATTEMPTS, ..self }
        };
        Self { left: chosen.left.saturating_sub(1), ..chosen }
    }

    /// Reads the choice of a partition, and says at which offset it stood; `None` when neither copy is
    /// whole.
    ///
    /// # Errors
    /// [`PartitionError`].
    pub fn load(partition: &mut (impl Partition + ?Sized)) -> Result<Option<(Self, u64)>, PartitionError> {
        for offset in [0, SECOND_OFFSET] {
            let mut copy = [0; COPY_BYTES];
            partition.read(offset, &mut copy)?;
            if let Some(choice) = Self::read(&copy) {
                return Ok(Some((choice, offset)));
            }
        }
        Ok(None)
    }

    /// Writes it: the copy that nobody would read first. Returns when both are on the medium and were
    /// read back.
    ///
    /// # Errors
    /// [`PartitionError`]; what was before is in force, or this.
    pub fn store(self, partition: &mut (impl Partition + ?Sized)) -> Result<(), PartitionError> {
        let in_use = Self::load(partition)?.map_or(SECOND_OFFSET, |(_, offset)| offset);
        let spare = if in_use == 0 { SECOND_OFFSET } else { 0 };
        let copy = self.copy();
        for offset in [spare, in_use] {
            partition.write(offset, &copy)?;
            partition.flush()?;
            let mut back = [0; COPY_BYTES];
            partition.read(offset, &mut back)?;
            // A medium that forgets is not asked to forget the other copy, too.
            if back != copy {
                return Err(PartitionError::Write);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    const CHOICE: Choice = Choice {
        slot: Slot::B,
        left: 2,
        other_good: false,
        trial: true,
        wait_secs: 3600,
        fell_back: true,
        floor: 0x6543_2100,
    };

    #[test]
    fn a_copy_is_read_as_it_was_written_and_no_octet_may_differ() {
        let copy = CHOICE.copy();
        assert!(
            copy[4..]
                .starts_with(b"fell=1\0floor=65432100\0left=2\0other=bad\0slot=B\0trial=1\0wait=e10\0\0")
        );
        assert_eq!(Choice::read(&copy), Some(CHOICE));
        for index in 0..COPY_BYTES {
            let mut torn = copy;
            torn[index] ^= 1;
            assert_eq!(Choice::read(&torn), None, "octet {index}");
        }
    }

    #[test]
    fn what_an_older_system_wrote_is_read() {
        let mut copy = [0; COPY_BYTES];
        copy[4..18].copy_from_slice(b"left=1\0slot=B\0");
        let sum = CRC.checksum(&copy[4..]).to_le_bytes();
        copy[..4].copy_from_slice(&sum);
        assert_eq!(Choice::read(&copy), Some(Choice { slot: Slot::B, left: 1, ..Choice::FACTORY }));
    }

    #[test]
    fn the_second_copy_stands_in_for_a_torn_first() {
        let mut partition = vec![0xff; 1024 * 1024];
        assert_eq!(Choice::of_partition(&partition), Choice::FACTORY);
        let second = usize::try_from(SECOND_OFFSET).unwrap();
        partition[second..second + COPY_BYTES].copy_from_slice(&CHOICE.copy());
        assert_eq!(Choice::of_partition(&partition), CHOICE);
    }

    fn tried(mut choice: Choice, times: usize) -> std::string::String {
        (0..times)
            .map(|_| {
                choice = choice.next();
                choice.slot.letter()
            })
            .collect()
    }

    #[test]
    fn three_attempts_then_the_other_slot() {
        assert_eq!(tried(Choice::FACTORY, 7), "AAABBBA");
        let trial = Choice { slot: Slot::B, trial: true, ..Choice::FACTORY };
        assert_eq!(tried(trial, 10), "BBBAAAAAAA", "an update that never worked is not tried again");
        let alone = Choice { other_good: false, ..Choice::FACTORY };
        assert_eq!(tried(alone, 7), "AAAAAAA", "what is not whole is not started");
        let fallen = Choice { left: 0, ..trial }.next();
        assert_eq!(fallen, Choice { left: 2, fell_back: true, other_good: false, ..Choice::FACTORY });
    }

    /// Sectors of which a cut leaves any first part written.
    #[derive(Clone)]
    struct Cut {
        octets: Vec<u8>,
        /// Sectors that are still written before the power goes.
        sectors: usize,
    }

    impl Partition for Cut {
        fn size_bytes(&self) -> u64 {
            self.octets.len() as u64
        }

        fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
            let offset = usize::try_from(offset).unwrap();
            buffer.copy_from_slice(&self.octets[offset..offset + buffer.len()]);
            Ok(())
        }

        fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
            let offset = usize::try_from(offset).unwrap();
            for (index, sector) in bytes.chunks(512).enumerate() {
                if self.sectors == 0 {
                    // The sector being written is torn in its middle.
                    let at = offset + index * 512;
                    self.octets[at..at + 256].copy_from_slice(&sector[..256]);
                    return Err(PartitionError::Write);
                }
                self.sectors -= 1;
                let at = offset + index * 512;
                self.octets[at..at + 512].copy_from_slice(sector);
            }
            Ok(())
        }

        fn flush(&mut self) -> Result<(), PartitionError> {
            if self.sectors == 0 { Err(PartitionError::Flush) } else { Ok(()) }
        }
    }

    /// Cuts at every sector of two writes in a row: always the one before or the one after.
    #[test]
    fn a_power_cut_leaves_the_old_choice_or_the_new_one() {
        let news = [
            CHOICE,
            Choice { slot: Slot::A, floor: 7, ..CHOICE },
            Choice { left: 1, wait_secs: 1, ..Choice::FACTORY },
        ];
        let mut fresh = Cut { octets: vec![0; 1024 * 1024], sectors: usize::MAX };
        Choice::FACTORY.store(&mut fresh).unwrap();
        for first in 0..=17 {
            for second in 0..=17 {
                let mut medium = fresh.clone();
                let mut before = Choice::FACTORY;
                for (sectors, new) in [(first, news[0]), (second, news[1]), (usize::MAX, news[2])] {
                    medium.sectors = sectors;
                    let told = new.store(&mut medium);
                    let found = Choice::of_partition(&medium.octets);
                    assert!(found == before || found == new, "{first}, {second}: {found:?}");
                    assert!(told.is_err() || found == new, "{first}, {second}: an acknowledged one is lost");
                    before = found;
                }
            }
        }
    }
}
