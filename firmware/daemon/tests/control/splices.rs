//! Somebody has written the medium by hand: what this gateway did not put there, or has put there long
//! ago, does not count and is audited.

use std::ops::Range;

use postern_config::partition::{Choice, Header, SLOT_BYTES, SLOTS, slot_offset};
use postern_console::rpc::reply::StoreHealth;
use postern_console::rpc::request::Standing;
use postern_core::port::SECTOR_BYTES;
use sha2::{Digest, Sha256};

use crate::changes::commissioned;
use crate::world::{ROOT, World, site};

fn octets_of(slot: usize) -> Range<usize> {
    let start = usize::try_from(slot_offset(slot)).unwrap();
    start..start + SLOT_BYTES
}

/// Commits these, one after the other; the slot of the last.
fn commit(world: &mut World, names: &[&str]) -> usize {
    let mut root = world.connect(ROOT);
    for name in names {
        let next = site(name, 2222, world.configuration.site());
        world.commit(&mut root, &next, Standing::Permanent).unwrap();
    }
    slot_in_force(world)
}

fn slot_in_force(world: &World) -> usize {
    match world.configuration.store().choice() {
        Choice::Slot(slot) => slot,
        Choice::Factory => panic!("the factory profile"),
    }
}

fn assert_refused(mut world: World, in_force: &str, slot: usize, reason: &'static str) {
    assert_eq!(world.configuration.site().name, in_force);
    assert_eq!(world.machine.refused_slots(world.now), [(u8::try_from(slot).unwrap(), reason)]);
    let mut root = world.connect(ROOT);
    assert_eq!(world.status(&mut root).store, StoreHealth::SlotsRefused { slots: 1 });
    // It goes on: the next commit counts, over a restart too.
    commit(&mut world, &["afterwards"]);
    assert_eq!(world.restart().configuration.site().name, "afterwards");
}

#[test]
fn a_slot_of_another_device_is_refused_and_audited() {
    let mut other = World::of_device(7);
    let mut root = other.connect(ROOT);
    other.enrol(&mut root, "maria").unwrap();
    let theirs = commit(&mut other, &["one", "two", "three", "four"]);
    let (_, image) = other.image();
    let (world, _) = commissioned();
    let mine = slot_in_force(&world);
    assert_ne!(theirs, mine);
    // In the place it had there; its generation is the higher one.
    let world = world.restart_with(|own| own[octets_of(theirs)].copy_from_slice(&image[octets_of(theirs)]));
    assert_refused(world, "pump-17", theirs, "bad-seal");
}

#[test]
fn an_unsealed_slot_is_refused_and_audited() {
    let digest = Sha256::digest([]).into();
    let forged =
        Header { generation: 99, trial: false, schema: 1, floor: 0, payload_bytes: 0, digest, seal: None };
    let (world, _) = commissioned();
    let world = world.restart_with(|own| own[octets_of(4)][..SECTOR_BYTES].copy_from_slice(&forged.encode()));
    assert_refused(world, "pump-17", 4, "not-sealed");
}

#[test]
fn a_header_before_another_payload_is_refused_and_audited() {
    let (mut world, _) = commissioned();
    let older = slot_in_force(&world);
    let newer = commit(&mut world, &["pump-18"]);
    let world = world.restart_with(|own| {
        let payload = octets_of(older).start + SECTOR_BYTES..octets_of(older).end;
        own.copy_within(payload, octets_of(newer).start + SECTOR_BYTES);
    });
    assert_refused(world, "pump-17", newer, "torn");
}

#[test]
fn an_own_slot_in_another_place_is_refused_and_audited() {
    let (world, _) = commissioned();
    let mine = slot_in_force(&world);
    let place = SLOTS - 1;
    let world = world.restart_with(|own| own.copy_within(octets_of(mine), octets_of(place).start));
    assert_refused(world, "pump-17", place, "bad-seal");
}

#[test]
fn a_slot_written_back_is_refused_and_audited() {
    let (mut world, _) = commissioned();
    let weak = commit(&mut world, &["weak"]);
    let (mut world, before) = world.image();
    // All slots are used once more, so that its place holds a newer one.
    commit(&mut world, &["a", "b", "c", "d", "e", "f", "strong"]);
    let world = world.restart_with(|own| own[octets_of(weak)].copy_from_slice(&before[octets_of(weak)]));
    assert_refused(world, "strong", weak, "replayed");
}
