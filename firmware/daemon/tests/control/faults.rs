//! A machine that refuses and a medium that fails: the configuration before stays in force on both.

use postern_config::partition::{lease_offset, slot_offset};
use postern_config::secret::{Secret, StoredSecret};
use postern_config::site::{StoredKey, StoredKeyKind};
use postern_console::rpc::Refusal;
use postern_console::rpc::reply::StoreHealth;
use postern_console::rpc::request::{Request, Standing};
use postern_core::port::{CeilingWrite, Journal};
use postern_core::spa::replay::ReplayState;
use posternd::machine::Machine;

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

/// What stands in the slot may be newer than the trial. A commit without a trial makes it void, at once.
#[test]
fn beside_a_slot_that_cannot_be_read_a_trial_is_not_confirmed_and_a_commit_counts() {
    let (world, _) = commissioned();
    world.medium.deaf.set(Some((slot_offset(4), slot_offset(5))));
    let mut world = world.restart();
    let mut root = world.connect(crate::world::ROOT);
    let before = world.configuration.site().clone();
    let next = site("pump-17", 2222, &before);
    let trial = world.commit(&mut root, &next, Standing::Trial { secs: 60 }).unwrap();
    assert_eq!(world.ask(&mut root, Request::Confirm { generation: trial }), Err(Refusal::Medium));
    assert!(world.status(&mut root).trial.is_some());
    world.pass(60);
    assert_eq!(*world.machine.applied, before);
    assert_eq!(world.status(&mut root).store, StoreHealth::SlotsRefused { slots: 1 });
    world.commit(&mut root, &next, Standing::Permanent).unwrap();
    let last = site("pump-17", 2223, &next);
    let trial = world.commit(&mut root, &last, Standing::Trial { secs: 60 }).unwrap();
    world.ask(&mut root, Request::Confirm { generation: trial }).unwrap();
    assert_eq!(*world.restart().configuration.site(), *last);
}

/// Which counters were used cannot be told, so none counts; and nothing is written over what cannot be read.
#[test]
fn a_start_that_cannot_read_its_leases_lets_no_key_open_anything() {
    let (mut world, mut root) = commissioned();
    let mut next = site("pump-17", 22, world.configuration.site());
    next.spa_port = 62_201;
    let secret = StoredSecret::Known(Secret::new(&[0x11; 32]).unwrap());
    let key = StoredKey {
        name: "maria".try_into().unwrap(),
        person: heapless::String::new(),
        kind: StoredKeyKind::Native { secret },
        longest_secs: 0,
        sources: heapless::Vec::new(),
        may_claim: false,
        counter_first: 0,
        counter_last: u64::MAX,
        valid_from_secs: 0,
        valid_until_secs: u64::MAX,
        windows: heapless::Vec::new(),
        grants_per_door: 1,
        disabled: false,
    };
    next.keys.push(key).unwrap();
    next.doors[0].keys = 1;
    world.commit(&mut root, &next, Standing::Permanent).unwrap();
    let tag = world.machine.engine().keys().status().next().unwrap().tag;
    world.configuration.write_ceiling(CeilingWrite { tag, ceiling: 5000 }).unwrap();

    let deaf = world.medium.deaf.clone();
    deaf.set(Some((lease_offset(0, 0), u64::MAX)));
    let mut world = world.restart();
    let mut root = world.connect(crate::world::ROOT);
    let status = world.configuration.keys().unwrap().status().next().unwrap();
    assert_eq!((status.highest, status.ceiling), (u64::MAX, u64::MAX));
    let state = ReplayState::restored(status.ceiling, 0);
    for counter in [0, 1, 5001, 1 << 48, u64::MAX - 1, u64::MAX] {
        assert!(state.check(counter).is_err(), "{counter}");
    }
    assert_eq!(world.status(&mut root).store, StoreHealth::Failed);
    assert!(world.configuration.write_ceiling(CeilingWrite { tag, ceiling: 9000 }).is_err());

    deaf.set(None);
    let mut world = world.restart();
    let status = world.configuration.keys().unwrap().status().next().unwrap();
    assert_eq!(status.ceiling, 5000, "what was leased is known again");
    let mut root = world.connect(crate::world::ROOT);
    assert_eq!(world.status(&mut root).store, StoreHealth::Good);
}
