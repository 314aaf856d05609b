//! Commit, trial, confirm, cancel, roll back.

use postern_config::secret::StoredSecret;
use postern_console::rpc::reply::{Origin, Reply, SequenceHeard};
use postern_console::rpc::request::{Request, Source, Standing};
use postern_console::rpc::{InvalidConfig, Refusal};

use crate::world::{Client, ROOT, World, site};

const TRIAL: Standing = Standing::Trial { secs: 60 };

/// A gateway with an admin, and root's connection.
pub(crate) fn commissioned() -> (World, Client) {
    let mut world = World::new();
    let mut root = world.connect(ROOT);
    world.enrol(&mut root, "maria").unwrap();
    let first = site("pump-17", 22, world.configuration.site());
    assert_eq!(world.commit(&mut root, &first, Standing::Permanent), Ok(2));
    world.machine.audit(world.now);
    (world, root)
}

#[test]
fn from_the_factory_to_a_configuration() {
    let mut world = World::new();
    assert_eq!(world.machine.audit(world.now), ["SAFE-MODE"]);
    let mut root = world.connect(ROOT);
    assert_eq!(world.status(&mut root).origin, Origin::Factory);
    world.enrol(&mut root, "maria").unwrap();
    let first = site("pump-17", 22, world.configuration.site());
    world.commit(&mut root, &first, Standing::Permanent).unwrap();
    let expected = ["CFG-APPLY", "CFG-COMMIT", "CONSOLE-ENROL", "CFG-APPLY", "CFG-COMMIT"];
    assert_eq!(world.machine.audit(world.now), expected);
    let status = world.status(&mut root);
    assert_eq!((status.gateway.as_str(), status.generation, status.origin), ("pump-17", 2, Origin::Slot));
    assert_eq!((status.accounts, status.doors), (1, 1));
    let world = world.restart();
    assert_eq!(*world.configuration.site(), *first);
}

#[test]
fn the_same_again_writes_nothing() {
    let (mut world, mut root) = commissioned();
    let same = Box::new(world.configuration.site().clone());
    let writes = world.medium.writes.get();
    for standing in [Standing::Permanent, TRIAL] {
        assert_eq!(world.commit(&mut root, &same, standing), Ok(2));
    }
    assert_eq!(world.medium.writes.get(), writes);
    assert!(world.machine.audit(world.now).is_empty());
}

#[test]
fn a_trial_that_nobody_confirms_is_taken_back() {
    let (mut world, mut root) = commissioned();
    let before = world.configuration.site().clone();
    let next = site("pump-17", 2222, &before);
    assert_eq!(world.commit(&mut root, &next, TRIAL), Ok(3));
    assert_eq!(*world.machine.applied, *next);
    let trial = world.status(&mut root).trial.unwrap();
    assert_eq!((trial.generation, trial.secs_left), (3, 60));
    world.pass(59);
    assert_eq!(*world.machine.applied, *next);
    assert_eq!(world.configuration.poll_at().map(|at| at.since(world.now).millis()), Some(1000));
    world.pass(1);
    assert_eq!(*world.machine.applied, before);
    assert_eq!((world.status(&mut root).generation, world.status(&mut root).trial), (2, None));
    assert_eq!(world.machine.audit(world.now), ["CFG-APPLY", "CFG-STAGE", "CFG-APPLY", "CFG-ROLLBACK"]);
    let mut world = world.restart();
    assert_eq!(*world.configuration.site(), before);
    assert!(world.machine.audit(world.now).is_empty(), "it was told already");
}

#[test]
fn a_trial_ends_with_a_restart_and_that_is_told_once() {
    let (mut world, mut root) = commissioned();
    let before = world.configuration.site().clone();
    world.commit(&mut root, &site("pump-17", 2222, &before), TRIAL).unwrap();
    let mut world = world.restart();
    assert_eq!(*world.configuration.site(), before);
    assert_eq!(world.machine.audit(world.now), ["CFG-ROLLBACK"]);
    let mut world = world.restart();
    assert!(world.machine.audit(world.now).is_empty());
}

#[test]
fn a_confirmed_trial_stands() {
    let (mut world, mut root) = commissioned();
    let next = site("pump-17", 2222, world.configuration.site());
    world.commit(&mut root, &next, TRIAL).unwrap();
    let confirmed = world.ask(&mut root, Request::Confirm { generation: 3 });
    assert_eq!(confirmed, Ok(Reply::InForce { generation: 3, written: true }));
    world.pass(3600);
    assert_eq!(*world.machine.applied, *next);
    assert_eq!(world.ask(&mut root, Request::Confirm { generation: 3 }), Err(Refusal::NoTrial));
    world.machine.audit(world.now);
    let mut world = world.restart();
    assert_eq!(*world.configuration.site(), *next);
    assert!(world.machine.audit(world.now).is_empty(), "nothing was lost");
}

#[test]
fn a_confirmation_is_bound_to_its_trial() {
    let (mut world, mut root) = commissioned();
    let first = site("pump-17", 2222, world.configuration.site());
    world.commit(&mut root, &first, TRIAL).unwrap();
    for other in [0, 1, 2, 4, u64::MAX] {
        assert_eq!(world.ask(&mut root, Request::Confirm { generation: other }), Err(Refusal::NoTrial));
    }
    world.ask(&mut root, Request::Cancel { generation: 3 }).unwrap();
    let second = site("pump-17", 2223, world.configuration.site());
    assert_eq!(world.commit(&mut root, &second, TRIAL), Ok(4));
    assert_eq!(world.ask(&mut root, Request::Confirm { generation: 3 }), Err(Refusal::NoTrial));
}

#[test]
fn during_a_trial_nothing_else_is_changed() {
    let (mut world, mut root) = commissioned();
    let next = site("pump-17", 2222, world.configuration.site());
    world.commit(&mut root, &next, TRIAL).unwrap();
    let pending = Refusal::TrialPending { generation: 3, secs_left: 60 };
    let third = site("pump-18", 2222, world.configuration.site());
    assert_eq!(world.commit(&mut root, &third, Standing::Permanent), Err(pending));
    let back = Request::Rollback { base: 3, to: 1, standing: Standing::Permanent };
    assert_eq!(world.ask(&mut root, back), Err(pending));
    let cancelled = world.ask(&mut root, Request::Cancel { generation: 3 });
    assert_eq!(cancelled, Ok(Reply::InForce { generation: 2, written: false }));
    assert_eq!(world.commit(&mut root, &third, Standing::Permanent), Ok(4), "3 is not used again");
}

#[test]
fn two_editors_do_not_overwrite_each_other() {
    let (mut world, mut root) = commissioned();
    let mut other = world.connect(ROOT);
    let mine = site("pump-17", 2222, world.configuration.site());
    world.stage(&mut root, &mine).unwrap();
    assert_eq!(world.stage(&mut other, &mine), Err(Refusal::Busy));
    world.pass(61);
    let theirs = site("pump-17", 2223, world.configuration.site());
    assert_eq!(
        world.commit(&mut other, &theirs, Standing::Permanent),
        Ok(3),
        "a minute of silence is enough"
    );
    world.stage(&mut root, &mine).unwrap();
    let stale = Request::Commit { base: 2, standing: Standing::Permanent, signature: None };
    assert_eq!(world.ask(&mut root, stale), Err(Refusal::Conflict { generation: 3 }));
    world.disconnect(root);
    assert_eq!(world.stage(&mut other, &mine), Ok(()), "who leaves makes room");
}

#[test]
fn history_and_rollback() {
    let (mut world, mut root) = commissioned();
    for port in 3000..3010 {
        let next = site("pump-17", port, world.configuration.site());
        world.commit(&mut root, &next, Standing::Permanent).unwrap();
    }
    let mut generations = Vec::new();
    for index in 0..20 {
        match world.ask(&mut root, Request::History { index }) {
            Ok(Reply::History(Some(entry))) => {
                assert_eq!(entry.in_force, entry.generation == 12);
                generations.push(entry.generation);
            }
            Ok(Reply::History(None)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(generations, [12, 11, 10, 9, 8, 7], "five older ones");
    let back = |to| Request::Rollback { base: 12, to, standing: Standing::Permanent };
    assert_eq!(world.ask(&mut root, back(5)), Err(Refusal::NotFound));
    assert_eq!(world.ask(&mut root, back(9)), Ok(Reply::InForce { generation: 13, written: true }));
    let expected = site("pump-17", 3006, world.configuration.site());
    assert_eq!(*world.machine.applied, *expected);
    assert_eq!(world.fetch(&mut root, Source::Generation(11)).unwrap().doors[0].ports.len(), 1);
}

#[test]
fn secrets_stay_on_the_gateway() {
    let (mut world, mut root) = commissioned();
    let mut fetched = world.fetch(&mut root, Source::Running).unwrap();
    assert!(matches!(fetched.accounts[0].stored_key, StoredSecret::Held(_)));
    fetched.name = "pump-18".try_into().unwrap();
    world.commit(&mut root, &fetched, Standing::Permanent).unwrap();
    let kept = &world.configuration.site().accounts[0];
    assert!(kept.stored_key.known().is_some(), "the label was exchanged for the secret");
    let mut client = world.connect(crate::world::CONSOLE);
    world.log_in(&mut client, "maria", crate::world::PASSWORD).unwrap();
    // The label of another gateway means nothing here.
    fetched.accounts[0].stored_key = StoredSecret::Held([1; 8]);
    let refused = world.commit(&mut root, &fetched, Standing::Permanent);
    assert_eq!(refused, Err(Refusal::Invalid(InvalidConfig::SecretNotHeld)));
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    let (mut world, mut root) = commissioned();
    let good = site("pump-18", 22, world.configuration.site());
    let mut refuse = |change: &dyn Fn(&mut postern_config::Site), expected| {
        let mut bad = good.clone();
        change(&mut bad);
        let refused = world.commit(&mut root, &bad, Standing::Permanent);
        assert_eq!(refused, Err(Refusal::Invalid(expected)));
    };
    refuse(&|site| site.interfaces.clear(), InvalidConfig::Interfaces);
    refuse(&|site| site.accounts.clear(), InvalidConfig::NoAdmin);
    refuse(&|site| site.doors[0].ports.clear(), InvalidConfig::Rules);
    refuse(&|site| site.doors[0].prefix_v4 = 15, InvalidConfig::Rules);
    refuse(&|site| site.doors[0].prefix_v6 = 0, InvalidConfig::Rules);
    refuse(&|site| (site.doors[0].prefix_v4, site.doors[0].one_shot) = (24, true), InvalidConfig::Rules);
    refuse(&|site| site.name.clear(), InvalidConfig::Malformed);
    refuse(&|site| site.console.idle_lock_secs = 5, InvalidConfig::Malformed);
    refuse(&|site| site.console.banner.push_str("\x1b[2J").unwrap(), InvalidConfig::Malformed);
    refuse(
        &|site| {
            let twice = site.accounts[0].clone();
            site.accounts.push(twice).unwrap();
        },
        InvalidConfig::Malformed,
    );
    assert_eq!(world.configuration.generation(), 2);
}

#[test]
fn a_check_changes_nothing_and_tells_what_would_be_lost() {
    let (mut world, mut root) = commissioned();
    let next = site("pump-17", 2222, world.configuration.site());
    world.stage(&mut root, &next).unwrap();
    let writes = world.medium.writes.get();
    match world.ask(&mut root, Request::Check) {
        Ok(Reply::Checked(checked)) => assert_eq!((checked.doors, checked.unchanged), (1, false)),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.medium.writes.get(), writes);
    assert_eq!(world.configuration.generation(), 2);
}

#[test]
fn damaged_and_disordered_parts_are_refused() {
    let (mut world, mut root) = commissioned();
    let (schema, bytes, digest) = (postern_config::SCHEMA, 100, [0; 32]);
    assert_eq!(world.ask(&mut root, Request::Check), Err(Refusal::OutOfOrder));
    world.ask(&mut root, Request::Stage { schema, bytes, digest }).unwrap();
    let part = |offset| Request::StagePart { offset, part: heapless::Vec::from_slice(&[1; 50]).unwrap() };
    assert_eq!(world.ask(&mut root, part(50)), Err(Refusal::OutOfOrder), "a gap");
    assert_eq!(world.ask(&mut root, part(0)), Ok(Reply::Done));
    assert_eq!(world.ask(&mut root, part(0)), Ok(Reply::Done), "once more, the answer was lost");
    assert_eq!(world.ask(&mut root, Request::Check), Err(Refusal::OutOfOrder), "not all is there");
    assert_eq!(world.ask(&mut root, part(50)), Ok(Reply::Done));
    assert_eq!(world.ask(&mut root, part(60)), Err(Refusal::OutOfOrder), "past the end");
    assert_eq!(world.ask(&mut root, Request::Check), Err(Refusal::Invalid(InvalidConfig::Digest)));
    let huge = Request::Stage { schema, bytes: u32::MAX, digest };
    assert_eq!(world.ask(&mut root, huge), Err(Refusal::Invalid(InvalidConfig::TooLong)));
}

#[test]
fn wiping_asks_for_the_device_and_leaves_the_factory() {
    let (mut world, mut root) = commissioned();
    let device = world.status(&mut root).device;
    assert_eq!(world.ask(&mut root, Request::Wipe { device: [0; 16] }), Err(Refusal::OtherDevice));
    assert_eq!(world.ask(&mut root, Request::Wipe { device }), Ok(Reply::Done));
    assert_eq!(world.status(&mut root).origin, Origin::Factory);
    assert!(world.configuration.site().accounts.is_empty());
    let mut world = world.restart();
    let mut root = world.connect(ROOT);
    assert_eq!(world.status(&mut root).origin, Origin::Factory);
    assert_eq!(world.ask(&mut root, Request::History { index: 0 }), Ok(Reply::History(None)));
}

#[test]
fn how_far_anybody_came_is_told_from_a_position_on() {
    let (mut world, mut root) = commissioned();
    let mut heard = |from| match world.ask(&mut root, Request::Heard { from }) {
        Ok(Reply::Heard(heard)) => heard,
        other => panic!("{other:?}"),
    };
    assert_eq!(heard(0).as_slice(), [SequenceHeard { sequence: 0, heard: 0, furthest: 0 }]);
    assert!(heard(1).is_empty());
}
