//! A million packets a second, and what the log says of it.

use postern_sim::volume::{Attack, Volume, attack};

/// More than anybody reads, and little for a log: summaries and edges of all detectors together.
const MESSAGES_PER_SEC_MAX: f64 = 5.0;

const MILLION_PPS: u64 = 1_000_000;
const SECS: u64 = 6;

fn check(kind: Attack) -> Volume {
    let volume = attack(kind, MILLION_PPS, SECS, 7);
    println!(
        "{kind:?}: {} packets in {} s, {:.2} messages/s, {:?}",
        volume.packets,
        volume.secs,
        volume.messages_per_sec(),
        volume.records
    );
    assert!(volume.messages_per_sec() <= MESSAGES_PER_SEC_MAX, "{volume:?}");
    assert_eq!((volume.lost, volume.accused), (0, 0), "{volume:?}");
    assert_eq!(volume.records.get("FLOOD-ON"), Some(&1), "one edge, however long it lasts: {volume:?}");
    // Whoever got in has his record. How many do is the matter of the flood tables.
    assert_eq!(volume.records.get("GRANT").copied().unwrap_or(0), volume.opened, "{volume:?}");
    volume
}

#[test]
fn a_scan_by_a_few_is_named() {
    let volume = check(Attack::Sources(3));
    assert_eq!(volume.records.get("SCAN"), Some(&3), "{volume:?}");
    assert_eq!(volume.opened, SECS * 2, "no honest client is kept out: {volume:?}");
}

#[test]
fn a_scan_by_many_is_counted() {
    let volume = check(Attack::Sources(200));
    assert!(volume.records.get("SCAN").copied().unwrap_or(0) <= 8, "{volume:?}");
    assert_eq!(volume.opened, SECS * 2, "no honest client is kept out: {volume:?}");
}

#[test]
fn forged_sources_accuse_nobody() {
    let volume = check(Attack::Forged);
    assert_eq!(volume.records.get("SCAN"), None, "{volume:?}");
}
