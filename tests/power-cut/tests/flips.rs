//! Every single bit of a store that has been lived in, turned over: detected or harmless.
//!
//! What opening the store and reading what is in force never looks at cannot matter; that is recorded
//! and not assumed. Every bit of every sector that is looked at is turned over, one at a time.

use std::collections::BTreeSet;

use postern_config::partition::{
    Choice, PAYLOAD_BYTES_MAX, SLOT_BYTES, SLOTS, SlotState, Store, slot_offset,
};
use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};
use postern_power_cut::campaign::lived_in;
use postern_power_cut::medium::Image;
use postern_power_cut::oracle::View;

const SECTOR_BITS: usize = SECTOR_BYTES * 8;

/// A medium that remembers which sectors it was asked for.
struct Watched {
    image: Image,
    read: BTreeSet<usize>,
}

impl Partition for Watched {
    fn size_bytes(&self) -> u64 {
        self.image.size_bytes()
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        let first = usize::try_from(offset).unwrap() / SECTOR_BYTES;
        self.read.extend(first..first + buffer.len() / SECTOR_BYTES);
        self.image.read(offset, buffer)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), PartitionError> {
        Err(PartitionError::Write)
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        Err(PartitionError::Flush)
    }
}

/// What a sound store says, and what may be in force when the slot that was is damaged.
struct Sound {
    view: View,
    slots: [SlotState; SLOTS],
    in_force: usize,
    /// In force when the slot above is gone.
    second: Option<Vec<u8>>,
    read: Vec<usize>,
}

fn sound(image: &Image) -> Sound {
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    let mut store = Store::open(Watched { image: image.clone(), read: BTreeSet::new() }).unwrap();
    let Choice::Slot(in_force) = store.choice() else { panic!("nothing is in force") };
    store.read(in_force, &mut buffer).unwrap();
    let slots = *store.slots();
    let read = store.into_partition().read.into_iter().collect();
    let header = usize::try_from(slot_offset(in_force)).unwrap() / SECTOR_BYTES;
    let second = View::of(image.without(header..header + 1), &mut buffer).payload;
    Sound { view: View::of(image.clone(), &mut buffer), slots, in_force, second, read }
}

/// The slot a sector belongs to, and the octet of the slot it begins at.
fn slot_of(sector: usize) -> Option<(usize, usize)> {
    let at = sector * SECTOR_BYTES;
    let first = usize::try_from(slot_offset(0)).unwrap();
    let slot = at.checked_sub(first)? / SLOT_BYTES;
    (slot < SLOTS).then_some((slot, (at - first) % SLOT_BYTES))
}

/// Turns one bit over; what is wrong with what is found then.
fn flip(image: &Image, sound: &Sound, sector: usize, bit: usize, buffer: &mut [u8]) -> Result<(), String> {
    let mut octets = image.sector(sector);
    octets[bit / 8] ^= 1 << (bit % 8);
    let mut flipped = image.clone();
    flipped.set(sector, octets);
    let mut store = Store::open(flipped).map_err(|error| format!("a brick: {error:?}"))?;
    let mut damaged = None;
    for (slot, (found, before)) in store.slots().iter().zip(&sound.slots).enumerate() {
        let hit = slot_of(sector).filter(|(hit, _)| *hit == slot);
        // Behind the payload, in its last sector, nothing is written.
        let covered = before.header().map_or(0, |header| SECTOR_BYTES + header.payload_bytes as usize);
        let is_covered = hit.is_some_and(|(_, start)| start + bit / 8 < covered);
        if is_covered && found.refusal().is_none() {
            return Err(format!("slot {slot} is taken for good: {found:?}"));
        }
        if is_covered {
            damaged = Some(slot);
        } else if hit.is_none() && found != before {
            return Err(format!("slot {slot} was not touched and is {found:?}"));
        }
    }
    let device = store.identity().map(|identity| identity.id);
    let same = (store.journal(), store.leases(), device);
    if same != (&sound.view.journal, &sound.view.leases, sound.view.device) {
        return Err(format!("marks, leases or the device have changed: {same:?}"));
    }
    let expected = if damaged == Some(sound.in_force) { &sound.second } else { &sound.view.payload };
    let found = match store.choice() {
        Choice::Factory => None,
        Choice::Slot(slot) => Some(store.read(slot, buffer).map_err(|error| format!("{error:?}"))?),
    };
    if found != expected.as_deref() {
        return Err("another configuration is in force".to_owned());
    }
    Ok(())
}

fn flip_all(image: &Image, sound: &Sound, sectors: &[usize]) -> usize {
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    for &sector in sectors {
        for bit in 0..SECTOR_BITS {
            if let Err(wrong) = flip(image, sound, sector, bit, &mut buffer) {
                panic!("bit {bit} of sector {sector}: {wrong}");
            }
        }
    }
    sectors.len() * SECTOR_BITS
}

#[test]
fn every_bit_of_a_store_is_detected_or_harmless() {
    let image = lived_in(2).settled();
    let sound = sound(&image);
    assert!(sound.view.device.is_some(), "of a device that has started");
    assert!(sound.slots.iter().filter(|slot| slot.header().is_some()).count() >= SLOTS - 1, "slots in use");
    assert!(sound.view.leases.iter().next().is_some() && sound.second.is_some());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    // Sectors that cost more lie together: they are dealt out like cards.
    let hands = (0..workers).map(|worker| sound.read.iter().skip(worker).step_by(workers).copied());
    let hands: Vec<Vec<usize>> = hands.map(Iterator::collect).collect();
    let flipped: usize = std::thread::scope(|scope| {
        let running: Vec<_> =
            hands.iter().map(|hand| scope.spawn(|| flip_all(&image, &sound, hand))).collect();
        running.into_iter().map(|hand| hand.join().unwrap()).sum()
    });
    let never_read = image.sectors() - sound.read.len();
    println!("{flipped} bits turned over; {never_read} sectors are never looked at");
    assert_eq!(flipped, sound.read.len() * SECTOR_BITS);
}
