//! A machine that refuses and a medium that fails: the configuration before stays in force on both.

use postern_console::rpc::Refusal;
use postern_console::rpc::reply::StoreHealth;
use postern_console::rpc::request::{Request, Standing};

use crate::changes::commissioned;
use crate::world::site;

#[test]
fn a_machine_that_refuses_keeps_the_old_and_writes_nothing() {
    let (mut world, mut root) = commissioned();
    let before = world.configuration.site().clone();
    let writes = world.medium.writes.get();
    world.machine.refuses = true;
    let next = site("pump-17", 2222, &before);
    assert_eq!(world.commit(&mut root, &next, Standing::Permanent), Err(Refusal::NotApplied));
    assert_eq!(*world.configuration.site(), before);
    assert_eq!(world.medium.writes.get(), writes);
    world.machine.refuses = false;
    assert_eq!(world.commit(&mut root, &next, Standing::Permanent), Ok(3));
}

#[test]
fn a_medium_that_fails_keeps_the_old_and_says_so() {
    let (mut world, mut root) = commissioned();
    let before = world.configuration.site().clone();
    world.medium.broken.set(true);
    let next = site("pump-17", 2222, &before);
    for _ in 0..2 {
        assert_eq!(world.commit(&mut root, &next, Standing::Permanent), Err(Refusal::Medium));
        assert_eq!(*world.machine.applied, before, "the machine went back");
        assert_eq!(*world.configuration.site(), before);
    }
    assert_eq!(world.status(&mut root).store, StoreHealth::Failed);
    let audit = world.machine.audit(world.now);
    assert_eq!(audit.iter().filter(|id| *id == "STORE-FAIL").count(), 1, "once: {audit:?}");
    // Nothing is believed until the partition is opened anew.
    world.medium.broken.set(false);
    assert_eq!(world.commit(&mut root, &next, Standing::Permanent), Err(Refusal::Medium));
    let mut world = world.restart();
    let mut root = world.connect(crate::world::ROOT);
    assert_eq!(*world.configuration.site(), before);
    assert!(world.commit(&mut root, &next, Standing::Permanent).is_ok());
}

#[test]
fn a_trial_whose_confirmation_cannot_be_kept_still_ends() {
    let (mut world, mut root) = commissioned();
    let before = world.configuration.site().clone();
    let next = site("pump-17", 2222, &before);
    world.commit(&mut root, &next, Standing::Trial { secs: 60 }).unwrap();
    world.medium.broken.set(true);
    assert_eq!(world.ask(&mut root, Request::Confirm { generation: 3 }), Err(Refusal::Medium));
    assert!(world.status(&mut root).trial.is_some(), "not acknowledged, not confirmed");
    world.pass(60);
    assert_eq!(*world.machine.applied, before);
}
