//! Safe mode: what start after start that does not last leads to, and how it ends.

use postern_console::rpc::reply::Origin;
use postern_console::rpc::request::Standing;
use postern_core::audit::Event;

use crate::changes::commissioned;
use crate::world::{ROOT, World, site};

/// Starts until the journal counts `unclean` of them in a row.
fn crashed(mut world: World, unclean: u32) -> World {
    for _ in 0..unclean {
        world = world.restart();
    }
    world
}

fn origin(world: &mut World) -> Origin {
    let mut root = world.connect(ROOT);
    world.status(&mut root).origin
}

#[test]
fn three_starts_that_do_not_last_shut_everything_until_a_try_lasts() {
    let (mut world, _) = commissioned();
    world.pass(61);
    let whole = world.configuration.site().clone();
    let mut world = crashed(world, 3);
    assert_eq!(origin(&mut world), Origin::Slot, "the third may still last");
    let mut world = world.restart();
    assert_eq!(origin(&mut world), Origin::Safe);
    let used = world.configuration.used();
    assert_eq!(used.doors[0].ports, whole.doors[0].ports, "what was shut stays shut");
    assert_eq!(used.accounts, whole.accounts, "who could log in still can");
    assert!(used.sequences.is_empty() && used.interfaces.is_empty() && used.keys.is_empty());
    assert_eq!(*world.configuration.site(), whole, "nothing is lost");
    assert_eq!(world.machine.audit(world.now), ["SAFE-MODE"]);

    world.pass(59);
    assert_eq!(origin(&mut world), Origin::Safe);
    world.pass(1);
    assert_eq!(origin(&mut world), Origin::Slot);
    assert_eq!(*world.machine.applied, whole);
    assert_eq!(world.machine.audit(world.now), ["CFG-APPLY", "SAFE-MODE"]);
    // It does not last: the next start is safe at once, for twice the time.
    let mut world = world.restart();
    assert_eq!(origin(&mut world), Origin::Safe);
    world.pass(119);
    assert_eq!(origin(&mut world), Origin::Safe);
    world.pass(1);
    assert_eq!(origin(&mut world), Origin::Slot);
    // This time it lasts, and all is forgotten.
    world.pass(60);
    let mut root = world.connect(ROOT);
    assert_eq!(world.status(&mut root).unclean_boots, 0);
    let mut world = crashed(world, 2);
    assert_eq!(origin(&mut world), Origin::Slot);
}

#[test]
fn a_try_the_machine_refuses_is_put_off() {
    let (world, _) = commissioned();
    let mut world = crashed(world, 4);
    world.machine.refuses = true;
    world.pass(120);
    assert_eq!(origin(&mut world), Origin::Safe);
    world.machine.refuses = false;
    world.pass(119);
    assert_eq!(origin(&mut world), Origin::Safe);
    world.pass(1);
    assert_eq!(origin(&mut world), Origin::Slot);
}

#[test]
fn another_configuration_ends_safe_mode() {
    let (world, _) = commissioned();
    let mut world = crashed(world, 4);
    assert_eq!(origin(&mut world), Origin::Safe);
    let mut root = world.connect(ROOT);
    let next = site("pump-17", 2222, world.configuration.site());
    world.commit(&mut root, &next, Standing::Permanent).unwrap();
    assert_eq!(world.status(&mut root).origin, Origin::Slot);
    assert_eq!(*world.machine.applied, *next);
    world.pass(60);
    assert_eq!(world.status(&mut root).unclean_boots, 0);
}

#[test]
fn an_end_on_purpose_and_the_factory_profile_lead_nowhere() {
    let (mut world, _) = commissioned();
    for _ in 0..8 {
        world.configuration.ended();
        world = world.restart();
        assert_eq!(origin(&mut world), Origin::Slot);
    }
    let mut blank = crashed(World::new(), 5);
    assert_eq!(origin(&mut blank), Origin::Factory);
    let told = |event: &Event| matches!(event, Event::SafeMode { .. });
    assert!(!blank.machine.events(blank.now).iter().any(told));
}

#[test]
fn a_gateway_that_never_lasts_does_not_wear_its_medium_out() {
    let (world, _) = commissioned();
    let mut world = crashed(world, 11);
    let writes = world.medium.writes.get();
    for _ in 0..20 {
        world = world.restart();
        assert_eq!(origin(&mut world), Origin::Safe);
    }
    assert_eq!(world.medium.writes.get(), writes);
}
