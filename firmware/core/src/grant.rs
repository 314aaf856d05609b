//! What is open, for whom, until when.
//!
//! A grant is *open* only after the firewall said so. The kernel holds the timer; the table keeps
//! the deadline beside it, to audit the end, to close what the kernel began late, and to take a
//! grant back before its time.
//!
//! ```text
//! complete proof -> Wanted -> Asked -> Open -> Ending -> Closing -> gone
//!                     ^         |        |                  |
//!                     +-- Err --+        +- asked again:    +-- Err: a few tries, then gone
//!                                           Wanted             (the kernel's timer remains)
//! ```

use core::net::IpAddr;

use heapless::Vec;

use crate::audit::{FirewallTask, Proof, RevokeReason};
use crate::knock::ServicePort;
use crate::limits::{
    FIREWALL_ANSWER, FIREWALL_RETRY, FIREWALL_TRIES_MAX, GRANTS_MAX, GRANTS_PER_DOOR_ASSURED,
    GRANTS_RESERVED, PORTS_PER_DOOR_MAX,
};
use crate::network::Network;
use crate::port::{FirewallCommand, FirewallError};
use crate::rule::{Door, DoorId, Name, RuleSet, Terms};
use crate::time::{Duration, Instant};

/// Names one grant; not used again while the daemon runs (4 billion grants).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(u32);

impl GrantId {
    /// The id with this number.
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// Its number, for a log line.
    pub const fn raw(self) -> u32 {
        self.0
    }
}

/// Where a grant is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The firewall shall be asked to open at `due`.
    Wanted,
    /// It was asked to open; no answer after `due` counts as failed.
    Asked,
    /// It said that the door is open; the end is at `due`.
    Open,
    /// It shall be asked to close at `due`.
    Ending,
    /// It was asked to close; no answer after `due` counts as failed.
    Closing,
}

/// What somebody may have of a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// For how long.
    pub time: Duration,
    /// Whether the first new connection uses it up; a door may want that by itself.
    pub one_shot: bool,
}

impl Lease {
    /// For any number of connections, unless the door says otherwise.
    pub const fn of(time: Duration) -> Self {
        Self { time, one_shot: false }
    }
}

/// One grant.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// Its door in the rule set in force; `None` when that has no such door any more.
    pub door: Option<DoorId>,
    /// The door's name when it was granted.
    pub door_name: Name,
    /// Who asked for it last.
    pub source: IpAddr,
    /// For whom: that address alone, or all of its network that the door opens for.
    pub network: Network,
    /// Which ports.
    pub ports: Vec<ServicePort, PORTS_PER_DOOR_MAX>,
    /// What it means beyond that; one-shot also when only this grant is.
    pub terms: Terms,
    /// How the client proved itself.
    pub proof: Proof,
    /// When it shall end.
    pub until: Instant,
    /// Where it is in its life.
    pub phase: Phase,
    /// When the engine must look at it again.
    due: Instant,
    /// Tries of the command in hand.
    tries: u8,
    /// Until when the firewall said the door is open, if ever it did.
    confirmed_until: Option<Instant>,
    /// The end the command in hand was computed for.
    asked_until: Instant,
    /// Why it ends, when not by time.
    revoked: Option<RevokeReason>,
    /// The kernel may hold a port of it for longer than anybody wants it: a grant that shared the
    /// port, and lasted longer, was taken back.
    is_overheld: bool,
    /// The command in hand only tells the kernel that shorter time: nobody is let in anew.
    only_shortens: bool,
}

impl Grant {
    /// Whether the firewall has said that the door is open, and no end is in sight.
    pub fn is_open(&self) -> bool {
        self.confirmed_until.is_some() && !self.is_ending()
    }

    /// Whether it goes on when its door is `door` from now on: that has all its ports, leads where it led,
    /// opens for as many and has not become one-shot.
    pub fn goes_on(&self, door: &Door) -> bool {
        let same_way = door.terms.behind == self.terms.behind;
        let same_reach = door.terms.reach.network(self.source) == self.network;
        let same_use = self.terms.one_shot || !door.terms.one_shot;
        let same = same_way && same_reach && same_use;
        same && self.ports.iter().all(|port| door.ports.contains(port))
    }

    /// Why it was taken back, when it was.
    pub(crate) fn revoked(&self) -> Option<RevokeReason> {
        self.revoked
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.revoked.is_some() || matches!(self.phase, Phase::Ending | Phase::Closing)
    }

    /// Its time was over before the firewall did as it was told: the machine slept between two tries.
    fn is_wanted_too_late(&self, now: Instant) -> bool {
        self.phase == Phase::Wanted && self.until <= now
    }

    fn end(&mut self, now: Instant) {
        self.phase = Phase::Ending;
        self.due = now;
        self.tries = 0;
    }

    fn shorten(&mut self, now: Instant) {
        self.phase = Phase::Wanted;
        self.due = now;
        self.tries = 0;
        self.only_shortens = true;
    }
}

/// What became of a grant, for the audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The firewall opened it (or extended it).
    Opened {
        /// Whether it was open already.
        extended: bool,
    },
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked(RevokeReason),
    /// The firewall would not open or close it.
    Failed {
        /// What it was asked to do.
        task: FirewallTask,
        /// What it said last.
        error: FirewallError,
    },
}

/// Every place is taken, or every place this door may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantsFull;

/// All grants.
#[derive(Debug)]
pub struct GrantTable {
    grants: Vec<Grant, GRANTS_MAX>,
    next_id: u32,
    /// The earliest `due`, or earlier.
    next_due: Option<Instant>,
}

impl Default for GrantTable {
    fn default() -> Self {
        Self::new()
    }
}

impl GrantTable {
    /// No grants.
    pub const fn new() -> Self {
        Self { grants: Vec::new(), next_id: 1, next_due: None }
    }

    /// Every grant, also those in the making and those ending.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// When [`GrantTable::next_command`] or [`GrantTable::expire`] has something to do.
    pub fn next_due(&self) -> Option<Instant> {
        self.next_due
    }

    /// Somebody proved that `source` may use `door` for the time of `lease`. One grant per door and
    /// network it opens for, which is one address but for few doors, and another one for one connection:
    /// asking again extends it, and gives back what a connection used up. The table is not told of that:
    /// it holds a grant until its time is over.
    ///
    /// # Errors
    /// [`GrantsFull`] when every place it may have is taken.
    pub fn want(
        &mut self,
        id: DoorId,
        door: &Door,
        source: IpAddr,
        lease: Lease,
        proof: Proof,
        now: Instant,
    ) -> Result<(), GrantsFull> {
        let until = now + lease.time;
        let terms = Terms { one_shot: door.terms.one_shot || lease.one_shot, ..door.terms };
        let network = terms.reach.network(source);
        let alive = |grant: &&mut Grant| {
            grant.door == Some(id)
                && grant.network == network
                && grant.terms.one_shot == terms.one_shot
                && !grant.is_ending()
        };
        if let Some(grant) = self.grants.iter_mut().find(alive) {
            grant.until = grant.until.max(until);
            (grant.source, grant.proof) = (source, proof);
            // A command in hand is answered first; its answer finds the later end and asks again.
            if grant.phase != Phase::Asked {
                grant.phase = Phase::Wanted;
                grant.due = now;
                grant.tries = 0;
                grant.only_shortens = false;
                // A reload may have added ports; none is gone, or the grant would be ending.
                grant.ports.clone_from(&door.ports);
            }
            self.note_due(now);
            return Ok(());
        }
        if !self.has_place_for(id) {
            return Err(GrantsFull);
        }
        let grant = Grant { terms, ..self.new_grant(id, door, source, proof, (now, until)) };
        self.grants.push(grant).map_err(|_| GrantsFull)?;
        self.next_id = self.next_id.wrapping_add(1);
        self.note_due(now);
        Ok(())
    }

    /// The next one: wanted from `now` on, until `until`.
    fn new_grant(
        &self,
        id: DoorId,
        door: &Door,
        source: IpAddr,
        proof: Proof,
        (now, until): (Instant, Instant),
    ) -> Grant {
        Grant {
            id: GrantId(self.next_id),
            door: Some(id),
            door_name: door.name.clone(),
            source,
            network: door.terms.reach.network(source),
            ports: door.ports.clone(),
            terms: door.terms,
            proof,
            until,
            phase: Phase::Wanted,
            due: now,
            tries: 0,
            confirmed_until: None,
            asked_until: until,
            revoked: None,
            is_overheld: false,
            only_shortens: false,
        }
    }

    /// The kernel holds all ports of `door` open for `network`, and whoever told it to is gone. `None`
    /// when that cannot be a grant of this door: for longer than it opens, for somebody it cannot let
    /// in, for more or fewer than it opens for, or one that is there already; when connections should have
    /// ended with it, or when it is not known whether the one it is good for has come; or when there is no
    /// place.
    pub fn adopt(
        &mut self,
        id: DoorId,
        door: &Door,
        network: Network,
        left: Duration,
        now: Instant,
    ) -> Option<Grant> {
        // Who of a network it was is not known.
        let source = network.address;
        let own = door.terms.one_shot || door.terms.cut_at_end || !door.terms.can_admit(source);
        let is_there = self.grants.iter().any(|grant| grant.door == Some(id) && grant.network == network);
        let other = door.terms.reach.network(source) != network;
        if own || other || is_there || left > door.open_for || !self.has_place_for(id) {
            return None;
        }
        let until = now + left;
        let grant = Grant {
            phase: Phase::Open,
            due: until,
            confirmed_until: Some(until),
            ..self.new_grant(id, door, source, Proof::Adopted, (now, until))
        };
        self.grants.push(grant.clone()).ok()?;
        self.next_id = self.next_id.wrapping_add(1);
        self.note_due(until);
        Some(grant)
    }

    /// Whether a new grant of `door` has a place: the last ones are kept for doors with few.
    fn has_place_for(&self, door: DoorId) -> bool {
        let of_door = || self.grants.iter().filter(|grant| grant.door == Some(door)).count();
        self.grants.len() < GRANTS_MAX - GRANTS_RESERVED || of_door() < GRANTS_PER_DOOR_ASSURED
    }

    /// Takes back the grants that `select` picks. Says how many.
    pub fn revoke(
        &mut self,
        reason: RevokeReason,
        now: Instant,
        mut select: impl FnMut(&Grant) -> bool,
    ) -> usize {
        let mut count = 0;
        for grant in &mut self.grants {
            if !grant.is_ending() && select(grant) {
                grant.revoked = Some(reason);
                // A command in hand is answered first, so that an opening is never unrecorded.
                if grant.phase != Phase::Asked {
                    grant.end(now);
                }
                count += 1;
            }
        }
        if count > 0 {
            self.note_due(now);
        }
        count
    }

    /// Another rule set is in force: grants whose door is still there go on if they can; the others are
    /// taken back.
    pub fn rules_replaced(&mut self, rules: &RuleSet, now: Instant) {
        for grant in &mut self.grants {
            grant.door = rules.door_named(&grant.door_name).filter(|&id| {
                rules.door(id).is_some_and(|door| {
                    // Whoever goes on goes on under the new terms.
                    grant.terms.cut_at_end = door.terms.cut_at_end;
                    grant.goes_on(door)
                })
            });
        }
        self.revoke(RevokeReason::ConfigChanged, now, |grant| grant.door.is_none());
    }

    /// The next command that is due, if any. Call until `None`.
    pub fn next_command(&mut self, now: Instant) -> Option<FirewallCommand> {
        let ready = |grant: &Grant| matches!(grant.phase, Phase::Wanted | Phase::Ending) && grant.due <= now;
        let Some(index) = self.grants.iter().position(ready) else {
            // What was noted as due may have to wait for an answer first.
            self.recompute_due();
            return None;
        };
        let command = self.command(index, now);
        self.shorten_sharers(index, now);
        if let Some(grant) = self.grants.get_mut(index) {
            grant.phase = if grant.phase == Phase::Wanted { Phase::Asked } else { Phase::Closing };
            grant.is_overheld = false;
            grant.asked_until = grant.until;
            grant.due = now + FIREWALL_ANSWER;
            grant.tries += 1;
        }
        self.recompute_due();
        command
    }

    fn command(&self, index: usize, now: Instant) -> Option<FirewallCommand> {
        let grant = self.grants.get(index)?;
        let (id, source, once) = (grant.id, grant.network, grant.terms.one_shot);
        if grant.phase == Phase::Wanted {
            let mut ports = Vec::new();
            for &port in &grant.ports {
                // Never shorten what another door has granted the same network on this port.
                let until =
                    self.covered_until(index, port).map_or(grant.until, |other| other.max(grant.until));
                let secs = u32::try_from(until.since(now).secs_ceil().max(1)).unwrap_or(u32::MAX);
                let _ = ports.push((port, secs));
            }
            return Some(FirewallCommand::Open { grant: id, source, ports, once });
        }
        let mut ports = Vec::new();
        for &port in &grant.ports {
            // Never take what another grant of the same network still holds. For one connection they hold
            // one thing together, which nobody could shorten without giving back what was used up.
            if once || self.covered_until(index, port).is_none() {
                let _ = ports.push(port);
            }
        }
        Some(FirewallCommand::Close { grant: id, source, ports, cut: grant.terms.cut_at_end, once })
    }

    /// Until when another grant of the same network and kind, alive or wanted, covers `port`. One of a
    /// network and one of an address in it are two things in the kernel.
    fn covered_until(&self, index: usize, port: ServicePort) -> Option<Instant> {
        let covered = self.grants.get(index)?;
        let others = self.grants.iter().enumerate().filter(|(other, _)| *other != index);
        let covering = others.filter(|(_, grant)| {
            let same = grant.network == covered.network && grant.terms.one_shot == covered.terms.one_shot;
            same && !grant.is_ending() && grant.ports.contains(&port)
        });
        covering.map(|(_, grant)| grant.until).max()
    }

    /// The kernel holds a port that doors share until the last of their grants ends. When that one is
    /// taken back, the others must have it told their own, shorter time.
    fn shorten_sharers(&mut self, index: usize, now: Instant) {
        let shortens = |grant: &&Grant| grant.phase == Phase::Ending && !grant.terms.one_shot;
        let Some(ending) = self.grants.get(index).filter(shortens) else { return };
        // An extension that failed may have been done all the same.
        let until = ending.until.max(ending.asked_until);
        let (network, ports) = (ending.network, ending.ports.clone());
        for grant in &mut self.grants {
            let same = grant.network == network && !grant.terms.one_shot;
            let shares = same && grant.ports.iter().any(|port| ports.contains(port));
            if shares && !grant.is_ending() && grant.until < until {
                grant.is_overheld = true;
                if grant.phase == Phase::Open {
                    grant.shorten(now);
                }
            }
        }
    }

    /// The firewall answered for grant `id`. Returns what became of it, for the audit trail.
    pub fn answered(
        &mut self,
        id: GrantId,
        result: Result<(), FirewallError>,
        now: Instant,
    ) -> Option<(Grant, Change)> {
        let index = self.grants.iter().position(|grant| grant.id == id)?;
        let grant = self.grants.get_mut(index)?;
        let change = match (grant.phase, result) {
            (Phase::Asked, Ok(())) => opened(grant, now),
            (Phase::Asked, Err(error)) => open_failed(grant, error, now),
            (Phase::Closing, Ok(())) => return self.closed(index, None),
            (Phase::Closing, Err(error)) if may_retry(error, grant.tries) => {
                grant.phase = Phase::Ending;
                grant.due = now + pause(grant.tries);
                None
            }
            (Phase::Closing, Err(error)) => return self.closed(index, Some(error)),
            // A late answer to something given up already.
            (Phase::Wanted | Phase::Open | Phase::Ending, _) => None,
        };
        let answer = change.map(|change| (grant.clone(), change));
        self.recompute_due();
        answer
    }

    fn closed(&mut self, index: usize, error: Option<FirewallError>) -> Option<(Grant, Change)> {
        let grant = (index < self.grants.len()).then(|| self.grants.swap_remove(index))?;
        self.recompute_due();
        let change = match (error, grant.revoked) {
            (Some(error), _) => Change::Failed { task: FirewallTask::Close, error },
            (None, Some(reason)) if grant.confirmed_until.is_some() => Change::Revoked(reason),
            // Its end was audited when its time was over, or it never was open.
            (None, _) => return None,
        };
        Some((grant, change))
    }

    /// The next grant whose time is over or whose firewall command got no answer, and what that
    /// means for the audit trail. Call until `None`.
    pub fn expire(&mut self, now: Instant) -> Option<(Grant, Option<Change>)> {
        let index = self.grants.iter().position(|grant| {
            let waits = matches!(grant.phase, Phase::Open | Phase::Asked | Phase::Closing);
            grant.due <= now && (waits || grant.is_wanted_too_late(now))
        })?;
        let grant = self.grants.get_mut(index)?;
        if grant.phase == Phase::Open || grant.is_wanted_too_late(now) {
            let was_open = grant.confirmed_until.is_some();
            grant.end(now);
            let ended = grant.clone();
            self.recompute_due();
            let never = Change::Failed { task: FirewallTask::Open, error: FirewallError::Busy };
            let change = if was_open { Change::Expired } else { never };
            return Some((ended, Some(change)));
        }
        let id = grant.id;
        let unanswered = grant.clone();
        let change = self.answered(id, Err(FirewallError::NoAnswer), now).map(|(_, change)| change);
        Some((unanswered, change))
    }

    fn note_due(&mut self, due: Instant) {
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    fn recompute_due(&mut self) {
        self.next_due = self.grants.iter().map(|grant| grant.due).min();
    }
}

fn opened(grant: &mut Grant, now: Instant) -> Option<Change> {
    let only_shortened = core::mem::take(&mut grant.only_shortens);
    let extended = grant.confirmed_until.is_some();
    grant.confirmed_until = Some(grant.asked_until);
    grant.tries = 0;
    if grant.revoked.is_some() {
        grant.end(now);
    } else if grant.until > grant.asked_until {
        grant.phase = Phase::Wanted;
        grant.due = now;
    } else if grant.is_overheld {
        grant.shorten(now);
    } else {
        grant.phase = Phase::Open;
        grant.due = grant.until;
    }
    (!only_shortened).then_some(Change::Opened { extended })
}

fn open_failed(grant: &mut Grant, error: FirewallError, now: Instant) -> Option<Change> {
    // It may have been done, and used up: doing it again would be a second connection.
    let unclear = grant.terms.one_shot && error == FirewallError::NoAnswer;
    if !unclear && may_retry(error, grant.tries) && grant.until > now && grant.revoked.is_none() {
        grant.phase = Phase::Wanted;
        grant.due = grant.until.min(now + pause(grant.tries));
        return None;
    }
    grant.only_shortens = false;
    match grant.confirmed_until {
        // Only the extension failed: what the kernel has goes on to its own end.
        Some(until) if until > now && grant.revoked.is_none() => {
            grant.until = until;
            grant.phase = Phase::Open;
            grant.due = until;
            grant.tries = 0;
        }
        // It may have been done in part, or without our hearing of it: take it back.
        _ => grant.end(now),
    }
    Some(Change::Failed { task: FirewallTask::Open, error })
}

fn may_retry(error: FirewallError, tries: u8) -> bool {
    let hopeless = matches!(error, FirewallError::Denied | FirewallError::Unsupported);
    !hopeless && tries < FIREWALL_TRIES_MAX
}

fn pause(tries: u8) -> Duration {
    Duration::from_millis(FIREWALL_RETRY.millis() * u64::from(tries))
}
