//! Edges, windows, crowds.

use std::vec::Vec;

use super::*;
use crate::limits::{
    FLOOD_OFF_PER_SEC, FLOOD_ON_PER_SEC, FLOOD_QUIET, SUSPECT_WINDOW, SUSPECTS_MAX, SUSPECTS_TOLD_MAX,
};
use crate::time::Duration;

fn source(number: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + number).to_be_bytes())
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(1_000_000 + millis)
}

fn drain(detectors: &mut Detectors, now: Instant) -> Vec<Event> {
    std::iter::from_fn(|| detectors.next(now)).collect()
}

#[test]
fn a_scan_is_told_when_it_begins_and_when_it_has_ended() {
    let mut detectors = Detectors::new();
    let told: Vec<Event> = (0..100).filter_map(|n| detectors.guard_touched(source(1), at(n))).collect();
    let begins =
        Event::Suspect { suspicion: Suspicion::Scan, source: source(1), begins: true, count: SCAN_TOUCHES };
    assert_eq!(told, [begins]);
    let window = SUSPECT_WINDOW.millis();
    assert_eq!(detectors.due(), Some(at(window)));
    assert_eq!(drain(&mut detectors, at(window - 1)), []);
    assert_eq!(drain(&mut detectors, at(window)), [], "it was busy in this window");
    let ended = Event::Suspect { suspicion: Suspicion::Scan, source: source(1), begins: false, count: 100 };
    assert_eq!(drain(&mut detectors, at(2 * window)), [ended]);
    assert_eq!(detectors.due(), None, "nothing is left to wake up for");
}

#[test]
fn a_few_stray_packets_are_no_scan() {
    let mut detectors = Detectors::new();
    for window in 0..20 {
        let now = at(window * SUSPECT_WINDOW.millis());
        assert_eq!(drain(&mut detectors, now), []);
        for _ in 0..SCAN_TOUCHES - 1 {
            assert_eq!(detectors.guard_touched(source(1), now), None);
        }
    }
}

#[test]
fn a_crowd_makes_nobody_a_suspect_but_hides_no_scanner() {
    let mut detectors = Detectors::new();
    let mut told = Vec::new();
    for n in 0..200_000 {
        let now = at(u64::from(n / 100));
        // Every sixteenth packet is the scanner's, the others come from all over.
        let from = if n % 16 == 0 { source(7) } else { source(1000 + n) };
        told.extend(detectors.guard_touched(from, now));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(matches!(told[0], Event::Suspect { source: from, begins: true, .. } if from == source(7)));
}

#[test]
fn beyond_a_few_suspects_are_counted() {
    let mut detectors = Detectors::new();
    let mut told = 0;
    for n in 0..u32::try_from(SUSPECTS_MAX).unwrap() {
        for _ in 0..SCAN_TOUCHES {
            told += u32::from(detectors.guard_touched(source(n), at(0)).is_some());
        }
    }
    assert_eq!(told, SUSPECTS_TOLD_MAX);
    let sources = u32::try_from(SUSPECTS_MAX).unwrap() - SUSPECTS_TOLD_MAX;
    let counted = Event::SuspectsCounted { suspicion: Suspicion::Scan, sources };
    assert_eq!(drain(&mut detectors, at(SUSPECT_WINDOW.millis())), [counted]);
    let ended = drain(&mut detectors, at(2 * SUSPECT_WINDOW.millis()));
    assert_eq!(
        ended.len(),
        usize::try_from(SUSPECTS_TOLD_MAX).unwrap(),
        "each that was told of ends: {ended:?}"
    );
}

#[test]
fn refusals_weigh_more_and_success_forgives() {
    let mut detectors = Detectors::new();
    let refusals = BRUTE_KNOCKS / BRUTE_REFUSAL_WEIGHT;
    let told = (0..refusals).filter_map(|_| detectors.refused(source(1), at(0))).count();
    assert_eq!(told, 1);
    for _ in 0..50 {
        for _ in 0..BRUTE_KNOCKS - 1 {
            assert_eq!(detectors.knocked(source(2), at(0)), None, "an office behind one address");
        }
        detectors.completed(source(2));
    }
}

#[test]
fn a_flood_has_two_edges_however_long_it_is() {
    let mut detectors = Detectors::new();
    let mut told = Vec::new();
    for millis in 0..60_000 {
        told.extend((0..5).filter_map(|_| detectors.frame(at(millis))));
        told.extend(drain(&mut detectors, at(millis)));
    }
    assert_eq!(told, [Event::FloodBegan { per_sec: FLOOD_ON_PER_SEC }]);
    let due = detectors.due().unwrap();
    assert!(due > at(60_000) && due <= at(60_000) + FLOOD_QUIET);
    // What is left of it does not keep it alive.
    for millis in (60_000..60_900).step_by(10) {
        assert_eq!(detectors.frame(at(millis)), None);
    }
    let ended = drain(&mut detectors, at(60_000) + FLOOD_QUIET);
    let frames = 300_000 - u64::from(FLOOD_ON_PER_SEC) + u64::from(FLOOD_ON_PER_SEC) + 90;
    assert!(
        matches!(ended[..], [Event::FloodEnded { frames: all, peak_per_sec: 5000, lasted }]
            if all == frames && lasted > Duration::from_secs(58)),
        "{ended:?}"
    );
    assert_eq!(detectors.due(), None);
}

#[test]
fn a_rate_between_the_edges_changes_nothing() {
    let mut detectors = Detectors::new();
    let between = u64::from(FLOOD_OFF_PER_SEC + FLOOD_ON_PER_SEC) / 2;
    for n in 0..between * 30 {
        assert_eq!(detectors.frame(at(n * 1000 / between)), None);
    }
}
