//! The naive model: keeps every knock of every source and tries every way to pick a proof.
//!
//! It shares the vocabulary with the engine and nothing else: no tables, no latest starts, no hashes.

use std::collections::HashMap;
use std::net::IpAddr;

use postern_core::knock::{Knock, ServicePort};
use postern_core::limits::REORDER_MAX;
use postern_core::network::Network;
use postern_core::rule::{DoorId, Purpose, RuleSet, Sequence};
use postern_core::time::{Duration, Instant};

use crate::neighbours::{lives_in, neighbourhood};

/// What one source did.
#[derive(Clone, Debug, Default)]
struct Past {
    knocks: Vec<(Instant, Knock)>,
    touches: Vec<Instant>,
    /// Start of the last completion of each sequence.
    used: HashMap<usize, Instant>,
}

/// Counts that must agree with the engine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sequences completed.
    pub completions: u64,
    /// Completions refused because of a guard touch.
    pub tainted: u64,
}

/// The model.
#[derive(Clone, Debug)]
pub struct Reference {
    rules: RuleSet,
    pasts: HashMap<IpAddr, Past>,
    /// Until when each source, or everybody in its network, may reach each port at most.
    allowed: HashMap<(Network, ServicePort), Instant>,
    /// Counts so far.
    pub counts: Counts,
}

impl Reference {
    /// A model of these rules.
    pub fn new(rules: RuleSet) -> Self {
        Self { rules, pasts: HashMap::new(), allowed: HashMap::new(), counts: Counts::default() }
    }

    /// Other rules are in force: progress is forgotten, guard touches are not. What was opened
    /// before may stay until its time: a firewall that refuses to close keeps it that long.
    pub fn replace_rules(&mut self, rules: RuleSet) {
        for past in self.pasts.values_mut() {
            past.knocks.clear();
            past.used.clear();
        }
        self.rules = rules;
    }

    /// Until when `network` may reach `port` at most; `None` when nobody ever proved that it may.
    pub fn allowed_until(&self, network: Network, port: ServicePort) -> Option<Instant> {
        self.allowed.get(&(network, port)).copied()
    }

    /// Until when a packet from `source` to `port` may pass at most, whoever proved it.
    pub fn may_pass_until(&self, source: IpAddr, port: ServicePort) -> Option<Instant> {
        let theirs =
            self.allowed.iter().filter(|((network, open), _)| *open == port && lives_in(source, *network));
        theirs.map(|(_, &until)| until).max()
    }

    /// One knock arrives. Says which sequences it completes.
    pub fn knock(&mut self, knock: &Knock, now: Instant) -> Vec<(DoorId, Purpose)> {
        let mut found = Vec::new();
        let past = self.pasts.entry(knock.source).or_default();
        if self.rules.is_guarded(knock) {
            past.touches.push(now);
            return found;
        }
        if self.rules.places_of(knock.step).is_empty() {
            return found;
        }
        let longest = self.rules.within_longest();
        let kept = Duration::from_millis(longest.millis() + REORDER_MAX.millis());
        // A knock may arrive before the first one by a reordering window.
        past.knocks.retain(|(at, _)| now.since(*at) <= kept);
        past.touches.retain(|at| now.since(*at) <= longest);
        past.knocks.push((now, *knock));
        for (index, sequence) in self.rules.sequences().iter().enumerate() {
            let Some(start) = latest_start(&self.rules, sequence, &past.knocks, now) else { continue };
            if past.used.get(&index).is_some_and(|used| *used >= start) {
                continue;
            }
            if past.touches.iter().any(|at| now.since(*at) <= sequence.within) {
                self.counts.tainted += 1;
                continue;
            }
            past.used.insert(index, start);
            self.counts.completions += 1;
            completed(&self.rules, &mut self.allowed, sequence, knock.source, now);
            found.push((sequence.door, sequence.purpose));
        }
        found
    }
}

fn completed(
    rules: &RuleSet,
    allowed: &mut HashMap<(Network, ServicePort), Instant>,
    sequence: &Sequence,
    source: IpAddr,
    now: Instant,
) {
    let Some(door) = rules.door(sequence.door) else { return };
    if sequence.purpose == Purpose::Open {
        let network = neighbourhood(source, door.terms.reach);
        // A grant has one end: a port that a reload added to the door opens until that of the grant.
        let before = door.ports.iter().filter_map(|&port| allowed.get(&(network, port)).copied()).max();
        let until = before.unwrap_or(now).max(now + door.open_for);
        allowed.extend(door.ports.iter().map(|&port| ((network, port), until)));
    }
    // This is the outer bound, which holds whatever the firewall does; the ledger knows what a closing
    // sequence must do.
}

/// The latest first knock of any way to match the whole sequence that uses the newest knock.
fn latest_start(
    rules: &RuleSet,
    sequence: &Sequence,
    knocks: &[(Instant, Knock)],
    now: Instant,
) -> Option<Instant> {
    let newest = knocks.len() - 1;
    let meant = |index: usize, step: usize| {
        let (_, knock) = knocks[index];
        let door = rules.door(sequence.door);
        let door_fits = door.is_some_and(|door| {
            door.target.is_none_or(|target| target == knock.target)
                && door.interfaces.contains(knock.interface)
        });
        let flags_fit =
            knock.step.protocol != postern_core::Protocol::Tcp || sequence.flags.holds(knock.flags);
        knock.step == sequence.steps[step] && door_fits && flags_fit
    };
    let search =
        Search { knocks, newest, reorder: sequence.reorder, count: sequence.steps.len(), meant: &meant };
    let firsts = (0..=newest).rev().filter(|&index| meant(index, 0));
    let mut starts = firsts.filter(|&first| {
        let (at, _) = knocks[first];
        now.since(at) <= sequence.within
            && search.continues(1, &Pick { at, order: first, has_newest: first == newest, before: None })
    });
    starts.next().map(|first| knocks[first].0)
}

/// A knock picked for a step, and those picked before it.
struct Pick<'p> {
    at: Instant,
    order: usize,
    has_newest: bool,
    before: Option<&'p Pick<'p>>,
}

impl Pick<'_> {
    fn holds(&self, index: usize) -> bool {
        self.order == index || self.before.is_some_and(|before| before.holds(index))
    }
}

struct Search<'a> {
    knocks: &'a [(Instant, Knock)],
    newest: usize,
    reorder: Duration,
    count: usize,
    meant: &'a dyn Fn(usize, usize) -> bool,
}

impl Search<'_> {
    fn continues(&self, step: usize, last: &Pick<'_>) -> bool {
        if step == self.count {
            return last.has_newest;
        }
        let from = if self.reorder == Duration::ZERO { last.order + 1 } else { 0 };
        (from..=self.newest).any(|index| {
            if last.holds(index) || !(self.meant)(index, step) {
                return false;
            }
            let (at, _) = self.knocks[index];
            // It counts from its arrival until `reorder` later: not before the step before it.
            let taken = at.max(last.at);
            let in_turn = self.reorder == Duration::ZERO || taken <= at + self.reorder;
            let has_newest = last.has_newest || index == self.newest;
            let pick = Pick { at: taken, order: index, has_newest, before: Some(last) };
            in_turn && self.continues(step + 1, &pick)
        })
    }
}
