//! A slow, obviously right model of the rule beside the matcher, and every short story told to both.
//!
//! The model keeps everything a source ever sent and looks for a proof by trying all ways to pick
//! the knocks. It knows nothing of prefixes, stamps or tables.

use std::boxed::Box;
use std::vec::Vec;

use super::tests::{A, WITHIN, knock, matcher, rules, sequence};
use super::*;
use crate::knock::Step;

/// A port that is guarded by the rules of the tests.
const GUARD: u16 = 150;

/// Everything one source sent: milliseconds and port.
#[derive(Clone, Default)]
struct Model {
    sent: Vec<(u64, u16)>,
    /// Start of the last completion.
    used: Option<u64>,
}

impl Model {
    /// Whether the sequence completes with this knock.
    fn completes(&mut self, steps: &[u16], reorder: u64, millis: u64, port: u16) -> bool {
        self.sent.push((millis, port));
        let Some(start) = self.latest_start(steps, reorder) else { return false };
        let window = millis.saturating_sub(WITHIN.millis())..=millis;
        let tainted = self.sent.iter().any(|(at, port)| *port == GUARD && window.contains(at));
        if tainted || self.used.is_some_and(|used| used >= start) {
            return false;
        }
        self.used = Some(start);
        true
    }

    /// The latest first knock of any way to match the steps that uses the newest knock.
    fn latest_start(&self, steps: &[u16], reorder: u64) -> Option<u64> {
        let newest = self.sent.len() - 1;
        let (now, _) = self.sent[newest];
        let firsts = (0..=newest).filter(|&index| self.sent[index].1 == steps[0]);
        let starts = firsts.filter(|&first| {
            let begun = Pick { at: self.sent[first].0, order: first, has_newest: first == newest };
            now - begun.at <= WITHIN.millis() && self.continues(&steps[1..], reorder, begun, 1 << first)
        });
        starts.map(|first| self.sent[first].0).max()
    }

    /// Whether the remaining steps can be picked behind `last`, each packet once.
    fn continues(&self, steps: &[u16], reorder: u64, last: Pick, picked: u32) -> bool {
        let Some((step, rest)) = steps.split_first() else { return last.has_newest };
        let newest = self.sent.len() - 1;
        (0..=newest).any(|index| {
            let (at, port) = self.sent[index];
            if port != *step || picked & (1 << index) != 0 {
                return false;
            }
            // It counts from its arrival until `reorder` later: not before the step before it.
            let in_turn = if reorder == 0 { index > last.order } else { at.max(last.at) <= at + reorder };
            let pick =
                Pick { at: at.max(last.at), order: index, has_newest: last.has_newest || index == newest };
            in_turn && self.continues(rest, reorder, pick, picked | 1 << index)
        })
    }
}

/// Where a way of picking has got to.
#[derive(Clone, Copy)]
struct Pick {
    at: u64,
    order: usize,
    has_newest: bool,
}

/// Tells every story of `length` knocks on `ports`, with each of the `gaps` before each, to both.
struct Telling<'a> {
    rules: &'a RuleSet,
    steps: &'a [u16],
    reorder: u64,
    ports: &'a [u16],
    gaps: &'a [u64],
    told: u64,
    completed: u64,
}

impl Telling<'_> {
    fn tell(&mut self, real: &Matcher<1>, model: &Model, millis: u64, left: usize) {
        if left == 0 {
            return;
        }
        for &port in self.ports {
            for &gap in self.gaps {
                let (mut real, mut model) = (Box::new(real.clone()), model.clone());
                let now = millis + gap;
                let outcome = real.step(self.rules, &knock(A, Step::tcp(port)), Instant::from_millis(now));
                let found = outcome.progress.iter().any(|(_, progress)| *progress == Progress::Completed);
                let expected = model.completes(self.steps, self.reorder, now, port);
                assert_eq!(
                    found, expected,
                    "steps {:?} reorder {} story {:?}",
                    self.steps, self.reorder, model.sent
                );
                self.told += 1;
                self.completed += u64::from(found);
                self.tell(&real, &model, now, left - 1);
            }
        }
    }
}

fn check(steps: &[u16], reorder: u64, gaps: &[u64], length: usize) {
    let knocks: Vec<Step> = steps.iter().map(|&port| Step::tcp(port)).collect();
    let rules = rules(&[sequence(&knocks, reorder)]);
    let mut ports = steps.to_vec();
    ports.push(GUARD);
    ports.sort_unstable();
    ports.dedup();
    let mut telling = Telling { rules: &rules, steps, reorder, ports: &ports, gaps, told: 0, completed: 0 };
    telling.tell(&matcher(), &Model::default(), 1000, length);
    assert!(telling.completed > 0, "a telling in which nothing opens proves nothing");
}

/// Just inside and just outside of the window, alone and together.
const GAPS: [u64; 3] = [1, 4999, 10_001];

#[test]
fn every_short_story_of_two_knocks() {
    check(&[7, 9], 0, &GAPS, 5);
}

#[test]
fn every_short_story_of_three_knocks() {
    check(&[7, 9, 8], 0, &GAPS, 5);
    check(&[7, 9, 8], 0, &[1], 8);
}

#[test]
fn every_short_story_with_a_repeated_knock() {
    check(&[7, 9, 7], 0, &GAPS, 5);
    check(&[7, 9, 7, 9], 0, &[1, 4999], 6);
}

#[test]
fn every_short_story_with_a_reordering_window() {
    check(&[7, 9, 8], 100, &[1, 60, 9_990], 5);
    check(&[7, 9, 8, 6], 100, &[1, 60], 6);
    check(&[7, 9], 100, &[1, 60, 101, 9_950], 5);
}
