//! Worlds, campaigns and tables in the amounts a test run has time for, and the proof that the
//! oracles notice what is wrong.

use postern_sim::flood::{Kind, floods, table};
use postern_sim::hostile::campaign;
use postern_sim::rotation;
use postern_sim::world::{Planted, World};

/// The first seeds are the same in every run; `cargo xtask sim SEED` tells one again.
const WORLDS: u64 = 400;

#[test]
fn no_world_breaks_a_rule() {
    let (mut opened, mut frames, mut pets, mut refused) = (0, 0, 0, 0);
    for seed in 1..=WORLDS {
        let report = World::new(seed, Planted::default()).run();
        let violation = report.violation;
        assert_eq!(violation, None, "again: cargo xtask sim {seed}\n{}", report.last_events.join("\n"));
        opened += report.opened;
        frames += report.frames;
        pets += report.pets;
        refused += report.refused_pets;
    }
    assert!(opened > WORLDS && frames > 100 * WORLDS, "worlds in which nothing happens prove nothing");
    assert!(pets > WORLDS && refused > WORLDS, "{pets} pets, {refused} refused");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [3, 17, 99] {
        let told = || World::new(seed, Planted::default()).run();
        let (first, second) = (told(), told());
        assert_eq!((first.turns, first.opened), (second.turns, second.opened));
        assert_eq!(first.last_events, second.last_events);
    }
}

fn caught(planted: Planted) -> Option<String> {
    (1..=60).find_map(|seed| World::new(seed, planted).run().violation)
}

#[test]
fn a_firewall_that_never_closes_is_caught() {
    let violation = caught(Planted { never_closes: true, ..Planted::default() }).expect("caught");
    assert!(violation.contains(" is open for "), "{violation}");
}

#[test]
fn an_engine_that_misses_guard_touches_is_caught() {
    let violation = caught(Planted { loses_guard_touches: true, ..Planted::default() }).expect("caught");
    assert!(violation.contains("completions") || violation.contains("never proved"), "{violation}");
}

#[test]
fn an_engine_that_hears_late_is_caught() {
    let violation = caught(Planted { is_deaf: true, ..Planted::default() }).expect("caught");
    assert!(violation.contains("completions") || violation.contains("did not open"), "{violation}");
}

/// The list of bugs to plant must follow the sources: `cargo run --profile sim -p postern-sim --bin
/// planted` plants them.
#[test]
fn every_bug_can_still_be_planted() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for bug in postern_sim::planted::bugs() {
        let source = std::fs::read_to_string(root.join(bug.file)).expect("the file is there");
        assert_eq!(source.matches(bug.text).count(), 1, "{}: {:?} in {}", bug.name, bug.text, bug.file);
    }
}

#[test]
fn hostile_sessions_open_nothing() {
    let campaign = campaign(1, 200_000);
    assert_eq!(campaign.opened, 0);
    assert_eq!(campaign.sessions, 200_000);
    assert!(campaign.honest_opened >= 15, "the gate must work for the campaign to mean something");
}

#[test]
fn what_was_seen_of_rotating_sequences_opens_nothing() {
    let campaign = rotation::campaign(1, 200_000);
    assert_eq!(campaign.opened, 0);
    assert_eq!((campaign.sessions, campaign.visits), (200_000, 100));
    assert_eq!(campaign.honest_opened, campaign.visits, "{campaign:?}");
    assert!(campaign.replayed > 50_000 && campaign.cuts > 10, "{campaign:?}");
}

/// The promise: at least 99.9 % of honest clients get in while 100,000 spoofed first knocks arrive
/// every second, with the tables of the product.
#[test]
fn the_product_tables_hold_at_a_hundred_thousand_first_knocks_a_second() {
    let cell = floods::<{ postern_core::limits::TABLE_UNITS }>(Kind::FirstKnocks, 100_000, 1000);
    assert!(cell.succeeded * 1000 >= cell.clients * 999, "{cell:?}");
}

/// Whoever knows one door's sequence keeps nobody out of another door.
#[test]
fn a_crowd_that_knows_one_sequence_keeps_nobody_out_of_another() {
    let cell = floods::<{ postern_core::limits::TABLE_UNITS }>(Kind::KnownSequence, 100_000, 500);
    assert_eq!(cell.succeeded, cell.clients, "{cell:?}");
}

/// The published table, without its most expensive columns, is what the code does.
#[test]
fn the_flood_table_is_as_published() {
    let found = table(&[0, 10_000, 100_000], &[1, 8], 100);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots/flood-small.md");
    if std::env::var_os("POSTERN_REFRESH").is_some() {
        std::fs::write(path, &found).expect("the snapshot can be written");
    }
    let published = std::fs::read_to_string(path).expect("the snapshot is there");
    assert_eq!(found, published, "refresh with POSTERN_REFRESH=1 and look at the difference");
}
