//! Stories of knocks: `(milliseconds, source, knock)` in, completions out.

use std::boxed::Box;
use std::vec::Vec;

use super::*;
use crate::knock::{FlagCondition, InterfaceIndex, InterfaceSet, ServicePort, Step, TcpFlags};
use crate::rule::{Door, DoorId, GuardRange, Name, Purpose, RuleSetBuilder, Terms};

pub(super) const WITHIN: Duration = Duration::from_secs(10);
pub(super) const A: u8 = 1;
const B: u8 = 2;

pub(super) fn sequence(steps: &[Step], reorder: u64) -> Sequence {
    Sequence {
        door: DoorId(0),
        purpose: Purpose::Open,
        steps: heapless::Vec::from_slice(steps).unwrap(),
        within: WITHIN,
        reorder: Duration::from_millis(reorder),
        flags: FlagCondition::OPENING_SYN,
    }
}

pub(super) fn rules(sequences: &[Sequence]) -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    let door = Door {
        name: Name::try_from("ssh").unwrap(),
        ports: heapless::Vec::from_slice(&[ServicePort::tcp(22)]).unwrap(),
        open_for: Duration::from_secs(30),
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms::PLAIN,
    };
    builder.door(door).unwrap();
    for sequence in sequences {
        builder.sequence(sequence.clone()).unwrap();
    }
    builder.guard(GuardRange { protocol: Protocol::Tcp, first: 100, last: 199 }).unwrap();
    builder.build().unwrap()
}

fn ports(ports: &[u16]) -> Vec<Step> {
    ports.iter().map(|&port| Step::tcp(port)).collect()
}

pub(super) fn matcher() -> Box<Matcher<1>> {
    Box::new(Matcher::new(HashKey::new([9; 16]), WITHIN))
}

pub(super) fn knock(source: u8, step: Step) -> Knock {
    let source = IpAddr::from([192, 0, 2, source]);
    Knock { source, target: source, step, flags: TcpFlags::SYN, interface: InterfaceIndex(0) }
}

/// Plays a story; returns the places in it at which a sequence completed.
fn completions(sequence: Sequence, story: &[(u64, u8, u16)]) -> Vec<usize> {
    let (rules, mut matcher) = (rules(&[sequence]), matcher());
    let mut completed = Vec::new();
    for (index, &(millis, source, port)) in story.iter().enumerate() {
        let outcome = matcher.step(&rules, &knock(source, Step::tcp(port)), Instant::from_millis(millis));
        if outcome.progress.iter().any(|(_, progress)| *progress == Progress::Completed) {
            completed.push(index);
        }
    }
    completed
}

fn check(story: &[(u64, u8, u16)], expected: &[usize]) {
    assert_eq!(completions(sequence(&ports(&[7, 9, 8]), 0), story), expected, "{story:?}");
}

#[test]
fn in_order_and_in_time() {
    check(&[(0, A, 7), (10, A, 9), (20, A, 8)], &[2]);
    check(&[(0, A, 7), (20, A, 8), (30, A, 9)], &[]);
    check(&[(0, A, 7), (5000, A, 9), (10_000, A, 8)], &[2]);
    check(&[(0, A, 7), (5000, A, 9), (10_001, A, 8)], &[]);
    check(&[(0, A, 7), (10, B, 9), (20, A, 8)], &[]);
}

#[test]
fn duplicates_and_retransmissions_are_harmless() {
    check(&[(0, A, 7), (1, A, 7), (10, A, 9), (11, A, 9), (12, A, 7), (20, A, 8)], &[5]);
    // The last knock again opens nothing twice, a whole new sequence does.
    check(&[(0, A, 7), (10, A, 9), (20, A, 8), (30, A, 8), (3000, A, 8)], &[2]);
    check(&[(0, A, 7), (10, A, 9), (20, A, 8), (30, A, 7), (40, A, 9), (50, A, 8)], &[2, 5]);
}

#[test]
fn other_and_wrong_knocks_do_not_undo_progress() {
    check(&[(0, A, 7), (1, A, 8), (2, A, 1), (10, A, 9), (11, A, 22), (20, A, 8)], &[5]);
}

#[test]
fn starting_again_and_neighbours_behind_one_address_both_succeed() {
    // The first attempt got stuck and grew too old, the second counts.
    check(&[(0, A, 7), (10, A, 9), (9000, A, 7), (9010, A, 9), (18_000, A, 8)], &[4]);
    // Two people behind one address, interleaved: the second opening is a repetition of the first.
    check(&[(0, A, 7), (1, A, 7), (2, A, 9), (3, A, 9), (4, A, 8), (5, A, 8)], &[4]);
    // A forged first knock can only make the start younger.
    check(&[(0, A, 7), (9000, A, 7), (9001, A, 9), (9002, A, 7), (15_000, A, 8)], &[4]);
}

#[test]
fn a_guard_touch_taints_before_and_after() {
    check(&[(0, A, 150), (1, A, 7), (10, A, 9), (20, A, 8)], &[]);
    check(&[(0, A, 7), (10, A, 9), (15, A, 199), (20, A, 8)], &[]);
    check(&[(0, A, 150), (9990, A, 7), (9995, A, 9), (10_001, A, 8)], &[3]);
    check(&[(0, B, 150), (1, A, 7), (10, A, 9), (20, A, 8)], &[3]);
}

#[test]
fn no_full_scan_in_any_direction_completes() {
    for reverse in [false, true] {
        let mut story: Vec<_> = (1..=300_u16).map(|port| (u64::from(port), A, port)).collect();
        if reverse {
            story.reverse();
            story.iter_mut().enumerate().for_each(|(index, knock)| knock.0 = index as u64);
        }
        for steps in [[90, 210, 220], [210, 90, 220], [220, 210, 90], [90, 95, 210]] {
            assert_eq!(completions(sequence(&ports(&steps), 0), &story), [], "{steps:?} reverse {reverse}");
        }
    }
}

#[test]
fn a_knock_may_stand_twice_in_a_sequence() {
    let twice = sequence(&ports(&[7, 9, 7]), 0);
    assert_eq!(completions(twice.clone(), &[(0, A, 7), (1, A, 9), (2, A, 7)]), [2]);
    assert_eq!(completions(twice.clone(), &[(0, A, 7), (1, A, 7)]), []);
    // One packet never counts for two steps.
    assert_eq!(completions(sequence(&ports(&[7, 9, 7, 9]), 0), &[(0, A, 7), (1, A, 9)]), []);
}

#[test]
fn one_knock_and_sixteen_knocks() {
    assert_eq!(completions(sequence(&ports(&[7]), 0), &[(0, A, 7), (1, A, 7)]), [0, 1]);
    let many: Vec<u16> = (1..=16).collect();
    let story: Vec<_> = many.iter().map(|&port| (u64::from(port), A, port)).collect();
    assert_eq!(completions(sequence(&ports(&many), 0), &story), [15]);
}

#[test]
fn with_a_window_neighbours_may_overtake() {
    let reordered = sequence(&ports(&[7, 9, 8]), 100);
    let check = |story: &[(u64, u8, u16)], expected: &[usize]| {
        assert_eq!(completions(reordered.clone(), story), expected, "{story:?}");
    };
    check(&[(0, A, 7), (10, A, 9), (20, A, 8)], &[2]);
    check(&[(0, A, 9), (50, A, 7), (60, A, 8)], &[2]);
    check(&[(0, A, 8), (50, A, 9), (100, A, 7)], &[2]);
    check(&[(0, A, 7), (10, A, 8), (20, A, 9)], &[2]);
    check(&[(0, A, 9), (101, A, 7), (110, A, 8)], &[]);
    check(&[(0, A, 8), (50, A, 9), (101, A, 7)], &[]);
    // The same packets do not open it twice.
    check(&[(0, A, 9), (50, A, 7), (60, A, 8), (61, A, 8), (62, A, 9)], &[2]);
}

#[test]
fn what_a_sequence_does_not_count() {
    let mut fin = sequence(&ports(&[7]), 0);
    fin.flags = FlagCondition { mask: TcpFlags::FIN.union(TcpFlags::ACK), value: TcpFlags::FIN };
    let (rules, mut matcher) = (rules(&[fin]), matcher());
    let mut with = |flags| {
        let outcome =
            matcher.step(&rules, &Knock { flags, ..knock(A, Step::tcp(7)) }, Instant::from_millis(1));
        outcome.progress[0].1
    };
    assert_eq!(with(TcpFlags::SYN), Progress::NotMeant);
    assert_eq!(with(TcpFlags::FIN.union(TcpFlags::ACK)), Progress::NotMeant);
    assert_eq!(with(TcpFlags::FIN), Progress::Completed);
}

#[test]
fn who_is_further_on_keeps_the_place() {
    let long = sequence(&ports(&[1, 2, 3, 4]), 0);
    let (rules, mut matcher) = (rules(&[long]), matcher());
    let now = Instant::from_millis(1000);
    for port in [1, 2, 3] {
        matcher.step(&rules, &knock(A, Step::tcp(port)), now);
    }
    // Everybody else gets as far as the second knock, from far more sources than there is room.
    for stranger in 0..20_000_u32 {
        let source = IpAddr::from((0x0a00_0000 + stranger).to_be_bytes());
        for port in [1, 2] {
            matcher.step(&rules, &Knock { source, ..knock(B, Step::tcp(port)) }, Instant::from_millis(1100));
        }
    }
    assert!(matcher.counters().attempts_evicted > 0);
    let outcome = matcher.step(&rules, &knock(A, Step::tcp(4)), Instant::from_millis(1200));
    assert_eq!(outcome.progress[0].1, Progress::Completed);
}

/// Plays `ports` for each of `sources` of a network, whose first octet is `network`, in turn; returns
/// how many completed.
fn crowd(
    matcher: &mut Matcher<1>,
    rules: &RuleSet,
    network: u8,
    sources: u16,
    ports: &[u16],
    at: u64,
) -> usize {
    let mut inside = 0;
    for number in 0..sources {
        let [high, low] = number.to_be_bytes();
        let source = IpAddr::from([network, 51, high, low]);
        for &port in ports {
            let knock = Knock { source, ..knock(0, Step::tcp(port)) };
            let outcome = matcher.step(rules, &knock, Instant::from_millis(at));
            inside += outcome.progress.iter().filter(|(_, done)| *done == Progress::Completed).count();
        }
    }
    inside
}

#[test]
fn one_known_sequence_keeps_nobody_out_of_another() {
    let known = sequence(&ports(&[7, 9, 8, 10]), 0);
    let other = sequence(&ports(&[27, 29, 28, 30]), 0);
    let (rules, mut matcher) = (rules(&[known, other]), matcher());
    crowd(&mut matcher, &rules, 198, 4000, &[7, 9, 8], 1000);
    for client in 0..100 {
        let source = IpAddr::from([192, 0, 2, client]);
        for (at, port) in [(2000, 27), (2200, 29), (2400, 28), (2600, 30)] {
            // The crowd goes on between any two knocks.
            crowd(&mut matcher, &rules, 199, 400, &[7, 9, 8], at);
            let knock = Knock { source, ..knock(0, Step::tcp(port)) };
            let outcome = matcher.step(&rules, &knock, Instant::from_millis(at));
            let is_last = port == 30;
            assert_eq!(outcome.progress[0].1 == Progress::Completed, is_last, "client {client} at {port}");
        }
    }
}

#[test]
fn seven_known_sequences_keep_nobody_out_of_an_eighth() {
    let known = |number: u16| [100 * number + 7, 100 * number + 9, 100 * number + 8, 100 * number + 10];
    let sequences: Vec<_> = (10..18).map(|number| sequence(&ports(&known(number)), 0)).collect();
    let (rules, mut matcher) = (rules(&sequences), matcher());
    for number in 10..17 {
        crowd(&mut matcher, &rules, 198, 1000, &known(number)[..3], 1000);
    }
    assert_eq!(crowd(&mut matcher, &rules, 10, 50, &known(17), 2000), 50);
}

#[test]
fn who_has_completed_needs_no_place() {
    let (rules, mut matcher) = (rules(&[sequence(&ports(&[7, 9, 8, 10]), 0)]), matcher());
    // Far more than there is room for, all within the sequence's time.
    assert_eq!(crowd(&mut matcher, &rules, 198, 4000, &[7, 9, 8, 10], 1000), 4000);
    assert_eq!(matcher.counters().attempts_evicted, 0);
    // Beside them everybody further on than nothing finds room.
    assert_eq!(crowd(&mut matcher, &rules, 10, 100, &[7, 9, 8, 10], 2000), 100);
    assert_eq!(matcher.counters().attempts_refused, 0);
}

#[test]
fn times_do_not_come_back_after_49_days() {
    let (rules, mut matcher) = (rules(&[sequence(&ports(&[7, 9, 8]), 0)]), matcher());
    for (millis, port) in [(1000, 7), (1001, 9)] {
        matcher.step(&rules, &knock(A, Step::tcp(port)), Instant::from_millis(millis));
    }
    for wraps in 1..=4_u64 {
        let now = Instant::from_millis((wraps << 31) + 1002);
        let outcome = matcher.step(&rules, &knock(A, Step::tcp(8)), now);
        assert_eq!(outcome.progress[0].1, Progress::OutOfTurn, "after {wraps} wraps");
    }
}

#[test]
fn new_rules_forget_progress_and_keep_taints() {
    let (rules, mut matcher) = (rules(&[sequence(&ports(&[7, 9]), 0)]), matcher());
    let at = Instant::from_millis;
    matcher.step(&rules, &knock(A, Step::tcp(7)), at(1));
    matcher.step(&rules, &knock(B, Step::tcp(150)), at(1));
    matcher.rules_replaced(WITHIN, at(2));
    assert_eq!(matcher.step(&rules, &knock(A, Step::tcp(9)), at(3)).progress[0].1, Progress::OutOfTurn);
    matcher.step(&rules, &knock(B, Step::tcp(7)), at(4));
    assert_eq!(matcher.step(&rules, &knock(B, Step::tcp(9)), at(5)).progress[0].1, Progress::Tainted);
}
