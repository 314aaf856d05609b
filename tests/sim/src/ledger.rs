//! The naive ledger of grants: what must be open, for whom, until when, and what must be audited.
//!
//! It is told of proofs, revocations and reloads by the world, and of every command the firewall was
//! given, after the step in which that happened. From those it knows what the engine must hold, what
//! the kernel must hold, which command must follow which failure, and which records are owed. Only the
//! arithmetic of a second and the numbers of `limits` are shared with the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use postern_core::audit::{Event, FirewallTask, RevokeReason};
use postern_core::grant::{Grant, GrantId, Phase};
use postern_core::knock::ServicePort;
use postern_core::limits::{FIREWALL_RETRY, FIREWALL_TRIES_MAX};
use postern_core::network::Network;
use postern_core::port::{FirewallCommand, FirewallError};
use postern_core::rule::{Door, RuleSet};
use postern_core::time::{Duration, Instant};

use crate::neighbours::{lives_in, neighbourhood};
use crate::twin::{Done, SimFirewall};

/// The unit of the kernel's timers.
const KERNEL_UNIT: Duration = Duration::from_secs(1);

/// What a rule of the ledger found broken.
type Broken = String;

/// Why a grant is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Expired,
    Revoked(RevokeReason),
    /// The firewall would not open it.
    Failed,
}

/// A record that must be written once for each time it is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owed {
    Grant { extended: bool },
    Expire,
    Revoke(&'static str),
    Failed(&'static str),
    Reload,
    Notice,
}

/// One grant as it must be.
#[derive(Clone, Debug)]
struct Entry {
    /// Who proved it first.
    prover: IpAddr,
    /// Whom it lets in.
    source: Network,
    door: String,
    ports: Vec<ServicePort>,
    until: Instant,
    ended: Option<(Instant, End)>,
    /// The engine's name for it, once a command told.
    id: Option<GrantId>,
    /// Until when the firewall said it is open.
    confirmed: Option<Instant>,
    /// Whether a proof asks for something the firewall has not confirmed.
    is_wanted: bool,
    /// Commands in a row that failed, of the task in hand.
    failures: u8,
    /// When the next command for it must have come.
    retry_by: Option<Instant>,
    /// Whether the firewall was told to close it.
    is_closing: bool,
    /// The engine gave up closing it: the kernel's timer remains.
    is_abandoned: bool,
    /// What the kernel holds of it is not known: a command failed, or somebody took a member away.
    is_uncertain: bool,
}

impl Entry {
    fn is_alive(&self) -> bool {
        self.ended.is_none()
    }

    fn ended_before(&self, now: Instant) -> bool {
        self.ended.is_some_and(|(at, _)| at < now)
    }

    fn end(&mut self, at: Instant, why: End) {
        self.ended = Some((at, why));
        self.failures = 0;
        self.retry_by = None;
    }
}

/// The ledger.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    /// How often a record is owed, less how often it was seen.
    owed: BTreeMap<(Option<GrantId>, Owed), i64>,
    /// From whom something was taken in this step.
    closed: BTreeSet<Network>,
}

impl Ledger {
    /// `source` proved that it may use `door`.
    pub fn proved(&mut self, door: &Door, source: IpAddr, now: Instant) {
        let until = now + door.open_for;
        let name = door.name.as_str();
        let (prover, source) = (source, neighbourhood(source, door.terms.reach));
        let same = |entry: &&mut Entry| entry.is_alive() && entry.source == source && entry.door == name;
        if let Some(entry) = self.entries.iter_mut().find(same) {
            entry.until = entry.until.max(until);
            entry.ports = door.ports.to_vec();
            (entry.is_wanted, entry.failures, entry.retry_by) = (true, 0, None);
            return;
        }
        self.entries.push(Entry {
            prover,
            source,
            door: name.to_owned(),
            ports: door.ports.to_vec(),
            until,
            ended: None,
            id: None,
            confirmed: None,
            is_wanted: true,
            failures: 0,
            retry_by: None,
            is_closing: false,
            is_abandoned: false,
            is_uncertain: false,
        });
    }

    /// A door is taken back, from one source or from all.
    pub fn revoked(&mut self, door: &str, source: Option<IpAddr>, reason: RevokeReason, now: Instant) {
        self.revoke_where(reason, now, |entry| {
            entry.door == door && source.is_none_or(|source| lives_in(source, entry.source))
        });
    }

    /// Other rules are in force: what they have no more of is taken back.
    pub fn rules_replaced(&mut self, rules: &RuleSet, now: Instant) {
        *self.owed.entry((None, Owed::Reload)).or_default() += 1;
        self.revoke_where(RevokeReason::ConfigChanged, now, |entry| {
            let door = rules.doors().iter().find(|door| door.name == entry.door.as_str());
            let same = |door: &&Door| neighbourhood(entry.prover, door.terms.reach) == entry.source;
            let door = door.filter(same);
            !door.is_some_and(|door| entry.ports.iter().all(|port| door.ports.contains(port)))
        });
    }

    /// The shell noticed something for the audit trail.
    pub fn noticed(&mut self) {
        *self.owed.entry((None, Owed::Notice)).or_default() += 1;
    }

    /// A third party took a member of the kernel's set away.
    pub fn stolen(&mut self, source: Network, port: ServicePort) {
        let holds = |entry: &&mut Entry| entry.source == source && entry.ports.contains(&port);
        self.entries.iter_mut().filter(holds).for_each(|entry| entry.is_uncertain = true);
    }

    /// Time has passed.
    pub fn pass(&mut self, now: Instant) {
        for entry in self.entries.iter_mut().filter(|entry| entry.is_alive() && entry.until <= now) {
            entry.end(entry.until, End::Expired);
            if entry.confirmed.is_some() {
                *self.owed.entry((entry.id, Owed::Expire)).or_default() += 1;
            }
        }
    }

    fn revoke_where(&mut self, reason: RevokeReason, now: Instant, meant: impl Fn(&Entry) -> bool) {
        for entry in self.entries.iter_mut().filter(|entry| entry.is_alive() && meant(entry)) {
            entry.end(now, End::Revoked(reason));
        }
    }

    /// Everything the firewall was told in a step, in order.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn commanded(&mut self, log: &[Done], now: Instant) -> Result<(), Broken> {
        self.closed.clear();
        for done in log {
            match &done.command {
                FirewallCommand::Open { grant, source, ports, .. } => {
                    self.opening(*grant, *source, ports, done.result, now)?;
                }
                FirewallCommand::Close { grant, source, ports, .. } => {
                    self.closing(*grant, *source, ports, done.result, now)?;
                }
            }
        }
        let overdue = |entry: &&Entry| entry.retry_by.is_some_and(|by| by <= now);
        if let Some(entry) = self.entries.iter().find(overdue) {
            return Err(format!(
                "no other try for {} at {} after {} failed",
                entry.source, entry.door, entry.failures
            ));
        }
        let lingers = |entry: &&Entry| !entry.is_alive() && !entry.is_closing && !entry.is_abandoned;
        if let Some(entry) = self.entries.iter().find(lingers) {
            return Err(format!("{} for {} is over and was not closed: {entry:?}", entry.door, entry.source));
        }
        Ok(())
    }

    fn position(&self, id: GrantId, source: Network, ports: Option<&[ServicePort]>) -> Option<usize> {
        self.entries.iter().position(|entry| entry.id == Some(id)).or_else(|| {
            self.entries.iter().position(|entry| {
                let same_ports = ports.is_none_or(|ports| entry.ports == ports);
                entry.id.is_none() && entry.source == source && same_ports
            })
        })
    }

    fn opening(
        &mut self,
        id: GrantId,
        source: Network,
        told: &[(ServicePort, u32)],
        result: Result<(), FirewallError>,
        now: Instant,
    ) -> Result<(), Broken> {
        let ports: Vec<ServicePort> = told.iter().map(|(port, _)| *port).collect();
        let Some(index) = self.position(id, source, Some(&ports)) else {
            return Err(format!("{ports:?} were opened for {source}, who never proved anything"));
        };
        let entry = &self.entries[index];
        if entry.ended_before(now) || entry.is_closing {
            return Err(format!("{} was opened for {source} after its end", entry.door));
        }
        if entry.is_alive() && entry.ports != ports {
            return Err(format!("{} was opened for {source} with {ports:?}", entry.door));
        }
        self.check_times(index, told, now)?;
        let entry = &mut self.entries[index];
        entry.id = Some(id);
        // Nobody asked: then only because another door's hold on a port in common has ended.
        if !entry.is_wanted && entry.failures == 0 && !self.closed.contains(&source) {
            return Err(format!("{} was opened again for {source} without need", entry.door));
        }
        match result {
            Ok(()) => {
                if entry.is_wanted {
                    let extended = entry.confirmed.is_some();
                    *self.owed.entry((entry.id, Owed::Grant { extended })).or_default() += 1;
                }
                entry.confirmed = Some(entry.until);
                (entry.is_wanted, entry.is_uncertain) = (false, false);
                (entry.failures, entry.retry_by) = (0, None);
            }
            Err(error) => {
                entry.is_uncertain = true;
                entry.failures += 1;
                entry.retry_by = Some(now + pause(entry.failures));
                if is_final(error, entry.failures) {
                    *self.owed.entry((entry.id, Owed::Failed(FirewallTask::Open.name()))).or_default() += 1;
                    entry.is_wanted = false;
                    (entry.failures, entry.retry_by) = (0, None);
                    match entry.confirmed.filter(|&until| until > now) {
                        Some(until) => entry.until = until,
                        None => entry.end(now, End::Failed),
                    }
                }
            }
        }
        Ok(())
    }

    /// The kernel must be told the longest time anybody is owed. Of those who proved something in this
    /// very millisecond not all may have been known yet, so the least is the grant's own.
    fn check_times(&self, index: usize, told: &[(ServicePort, u32)], now: Instant) -> Result<(), Broken> {
        let own = &self.entries[index];
        let secs_until = |until: Instant| until.since(now).secs_ceil().max(1);
        let least = if own.is_alive() { secs_until(own.until) } else { 1 };
        for &(port, secs) in told {
            let holders = self.entries.iter().filter(|entry| {
                entry.source == own.source && entry.ports.contains(&port) && !entry.ended_before(now)
            });
            let most = secs_until(holders.map(|entry| entry.until).max().unwrap_or(now));
            if !(least..=most).contains(&u64::from(secs)) {
                let source = own.source;
                return Err(format!(
                    "{port} was opened for {source} for {secs} s instead of {least} to {most} s"
                ));
            }
        }
        Ok(())
    }

    fn closing(
        &mut self,
        id: GrantId,
        source: Network,
        ports: &[ServicePort],
        result: Result<(), FirewallError>,
        now: Instant,
    ) -> Result<(), Broken> {
        let Some(index) = self.position(id, source, None) else {
            return Err(format!("{ports:?} were closed for {source}, who had nothing open"));
        };
        let entry = &self.entries[index];
        let Some((ended, why)) = entry.ended else {
            let (door, failures) = (&entry.door, entry.failures);
            return Err(format!(
                "{door} was closed for {source} before its end, after {failures} failed tries"
            ));
        };
        if !entry.is_closing && ended != now {
            let late = now.since(ended).millis();
            return Err(format!("{} was closed for {source} {late} ms late", entry.door));
        }
        for &port in &entry.ports {
            let others = || {
                let holds = move |entry: &&Entry| entry.source == source && entry.ports.contains(&port);
                self.entries.iter().filter(holds).filter(move |entry| entry.id != Some(id))
            };
            let (held, was_held) = (
                others().any(Entry::is_alive),
                others().any(|entry| !entry.ended_before(now) || entry.is_alive()),
            );
            match ports.contains(&port) {
                true if held => return Err(format!("{port} was taken from {source}, who has another grant")),
                false if !was_held => return Err(format!("{port} was left open for {source}")),
                _ => {}
            }
        }
        self.closed.insert(source);
        let entry = &mut self.entries[index];
        (entry.id, entry.is_closing) = (Some(id), true);
        match result {
            Ok(()) => {
                if let (End::Revoked(reason), Some(_)) = (why, entry.confirmed) {
                    *self.owed.entry((entry.id, Owed::Revoke(reason.reason()))).or_default() += 1;
                }
                self.entries.remove(index);
            }
            Err(error) => {
                entry.is_uncertain = true;
                entry.failures += 1;
                entry.is_abandoned = is_final(error, entry.failures);
                entry.retry_by = (!entry.is_abandoned).then(|| now + pause(entry.failures));
                if entry.is_abandoned {
                    *self.owed.entry((entry.id, Owed::Failed(FirewallTask::Close.name()))).or_default() += 1;
                }
            }
        }
        Ok(())
    }

    /// Whether engine and kernel hold what they must, no more and no less.
    ///
    /// # Errors
    /// The first difference.
    pub fn judge<'a>(
        &mut self,
        grants: impl Iterator<Item = &'a Grant>,
        firewall: &SimFirewall,
    ) -> Result<(), Broken> {
        self.judge_engine(grants)?;
        let members: BTreeMap<_, _> =
            firewall.members().map(|(source, port, until)| ((source, port), until)).collect();
        self.judge_kernel(&members)?;
        self.entries.retain(|entry| {
            let is_held = entry.ports.iter().any(|port| members.contains_key(&(entry.source, *port)));
            // What it still holds then is judged by the outer bound.
            !entry.is_abandoned || is_held
        });
        Ok(())
    }

    fn judge_engine<'a>(&self, grants: impl Iterator<Item = &'a Grant>) -> Result<(), Broken> {
        let held: BTreeSet<_> = grants
            .filter(|grant| matches!(grant.phase, Phase::Wanted | Phase::Asked | Phase::Open))
            .map(|grant| (grant.network, grant.door_name.to_string(), grant.until, Some(grant.id)))
            .collect();
        let alive = self.entries.iter().filter(|entry| entry.is_alive());
        let owed: BTreeSet<_> =
            alive.map(|entry| (entry.source, entry.door.clone(), entry.until, entry.id)).collect();
        if held != owed {
            let surplus: Vec<_> = held.difference(&owed).collect();
            let missing: Vec<_> = owed.difference(&held).collect();
            return Err(format!("the engine's grants differ: surplus {surplus:?}, missing {missing:?}"));
        }
        Ok(())
    }

    fn judge_kernel(&self, members: &BTreeMap<(Network, ServicePort), Instant>) -> Result<(), Broken> {
        let holders = |source: Network, port: ServicePort| {
            self.entries.iter().filter(move |entry| entry.source == source && entry.ports.contains(&port))
        };
        for (&(source, port), &until) in members {
            if holders(source, port).any(|entry| entry.is_uncertain) {
                continue;
            }
            let alive = holders(source, port).filter(|entry| entry.is_alive());
            let Some(owed) = alive.map(|entry| entry.until).max() else {
                return Err(format!("{port} is open for {source}, who has no grant"));
            };
            if until < owed || until >= owed + KERNEL_UNIT {
                return Err(format!("{port} is open for {source} until {until:?} instead of {owed:?}"));
            }
        }
        for entry in self.entries.iter().filter(|entry| entry.is_alive() && !entry.is_wanted) {
            let is_missing = |port: &&ServicePort| {
                !members.contains_key(&(entry.source, **port))
                    && !holders(entry.source, **port).any(|entry| entry.is_uncertain)
            };
            if let Some(port) = entry.ports.iter().find(is_missing) {
                return Err(format!("{port} is shut for {}, who has a grant", entry.source));
            }
        }
        Ok(())
    }

    /// A record was written.
    pub fn written(&mut self, event: &Event) {
        let (id, owed) = match event {
            Event::Grant { grant, extended, .. } => (Some(*grant), Owed::Grant { extended: *extended }),
            Event::Expire { grant, .. } => (Some(*grant), Owed::Expire),
            Event::Revoke { grant, reason, .. } => (Some(*grant), Owed::Revoke(reason.reason())),
            Event::FirewallFailed { grant, task, .. } => (Some(*grant), Owed::Failed(task.name())),
            Event::ConfigApplied { .. } => (None, Owed::Reload),
            Event::CaptureDropped { .. } => (None, Owed::Notice),
            _ => return,
        };
        *self.owed.entry((id, owed)).or_default() -= 1;
    }

    /// Whether every record that was written is owed, and, of those that are owed, how many are
    /// still to be written.
    ///
    /// # Errors
    /// The first record that nothing explains.
    pub fn unwritten(&self) -> Result<u64, Broken> {
        if let Some((record, _)) = self.owed.iter().find(|(_, count)| **count < 0) {
            return Err(format!("a record that nothing explains: {record:?}"));
        }
        Ok(self.owed.values().sum::<i64>().unsigned_abs())
    }
}

fn is_final(error: FirewallError, failures: u8) -> bool {
    let hopeless = matches!(error, FirewallError::Denied | FirewallError::Unsupported);
    hopeless || failures == FIREWALL_TRIES_MAX
}

fn pause(failures: u8) -> Duration {
    Duration::from_millis(FIREWALL_RETRY.millis() * u64::from(failures))
}
