//! Single Packet Authorization in the engine: a datagram in, a grant out.
//!
//! Whatever is not genuine changes nothing but a counter. A genuine packet above its key's ceiling
//! waits until the shell says that a new ceiling is on the medium.

use core::net::IpAddr;

use heapless::{Deque, Vec};

use super::{Engine, Keys};
use crate::audit::{DenyClass, Event, Proof, RevokeReason};
use crate::grant::Grant;
use crate::knock::{InterfaceIndex, Knock};
use crate::limiter::{Limiter, Verdict as Limit};
use crate::limits::{JOURNAL_ANSWER, WAITING_PACKETS_MAX};
use crate::port::{CeilingWrite, JournalFailed};
use crate::rule::{DoorId, Name, Purpose};
use crate::spa::key::KeyTag;
use crate::spa::native::{Admitted, Arrival, Refusal, Refused, Verdict, Waiting};
use crate::spa::policy::WallTime;
use crate::time::Instant;

/// What became of datagrams since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaCounters {
    /// Datagrams on the port.
    pub datagrams: u64,
    /// Carried out.
    pub accepted: u64,
    /// Of no key: the wrong size, an unknown hint, a wrong tag.
    pub not_genuine: u64,
    /// Genuine, with a counter that does not count.
    pub replayed: u64,
    /// Genuine and new, and not allowed.
    pub refused: u64,
    /// Had to wait for the medium.
    pub waited: u64,
}

/// Where a datagram came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Envelope {
    source: IpAddr,
    target: IpAddr,
    interface: InterfaceIndex,
}

/// A packet that waits for its ceiling.
#[derive(Clone, Debug)]
struct Parked {
    waiting: Waiting,
    envelope: Envelope,
    until: Instant,
}

/// Everything the engine keeps for it.
#[derive(Debug)]
pub(super) struct Spa {
    pub(super) keys: Keys,
    pub(super) counters: SpaCounters,
    parked: Vec<Parked, WAITING_PACKETS_MAX>,
    /// Ceilings the shell has not been asked for yet.
    writes: Deque<CeilingWrite, WAITING_PACKETS_MAX>,
    /// One for each [`DenyClass`].
    limiters: [Limiter; DenyClass::ALL.len()],
    wall: Option<(WallTime, Instant)>,
}

impl Spa {
    pub(super) const fn new() -> Self {
        Self {
            keys: Keys::none(),
            counters: SpaCounters {
                datagrams: 0,
                accepted: 0,
                not_genuine: 0,
                replayed: 0,
                refused: 0,
                waited: 0,
            },
            parked: Vec::new(),
            writes: Deque::new(),
            limiters: [Limiter::new(), Limiter::new(), Limiter::new()],
            wall: None,
        }
    }

    /// The next ceiling to be written.
    pub(super) fn next_write(&mut self) -> Option<CeilingWrite> {
        self.writes.pop_front()
    }

    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// When a summary of refusals is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.limiters.iter().filter_map(Limiter::due).min()
    }

    /// Takes other keys over; what is known about those that stay is kept.
    pub(super) fn replace_keys(&mut self, mut keys: Keys) {
        keys.verifier.carry_over(&self.keys.verifier);
        self.keys = keys;
    }

    pub(super) fn set_wall(&mut self, wall: Option<WallTime>, now: Instant) {
        self.wall = wall.map(|wall| (wall, now));
    }

    fn wall(&self, now: Instant) -> Option<WallTime> {
        let (wall, at) = self.wall?;
        Some(WallTime::from_secs(wall.secs().saturating_add(now.since(at).millis() / 1000)))
    }

    fn park(&mut self, waiting: Waiting, envelope: Envelope, now: Instant) -> Result<(), Waiting> {
        self.parked.retain(|parked| parked.until > now);
        let write = CeilingWrite { tag: waiting.tag, ceiling: waiting.ceiling };
        let same =
            |parked: &Parked| (parked.waiting.tag, parked.waiting.ceiling) == (write.tag, write.ceiling);
        let is_asked = self.parked.iter().any(same);
        let parked = Parked { waiting, envelope, until: now + JOURNAL_ANSWER };
        self.parked.push(parked).map_err(|parked| parked.waiting)?;
        self.counters.waited += 1;
        if !is_asked {
            // Never more of them than packets wait.
            let _ = self.writes.push_back(write);
        }
        Ok(())
    }
}

impl<const UNITS: usize> Engine<UNITS> {
    /// A datagram on the port of the keys.
    pub(super) fn datagram(&mut self, knock: &Knock, octets: &[u8], now: Instant) {
        self.spa.counters.datagrams += 1;
        let envelope = Envelope { source: knock.source, target: knock.target, interface: knock.interface };
        let arrival = Arrival { seen_from: knock.source, at: now, wall: self.spa.wall(now) };
        match self.spa.keys.verifier.verify(octets, arrival, self.rules.doors()) {
            Ok(Verdict::Admitted(admitted)) => self.admitted(&admitted, envelope, now),
            Ok(Verdict::Waiting(waiting)) => {
                if let Err(waiting) = self.spa.park(waiting, envelope, now) {
                    self.refuse(Some(waiting.tag), envelope.source, "busy", now);
                }
            }
            Err(refused) => self.refused(refused, envelope.source, now),
        }
    }

    /// The shell wrote a ceiling, or could not.
    pub(super) fn ceiling_written(
        &mut self,
        write: CeilingWrite,
        result: Result<(), JournalFailed>,
        now: Instant,
    ) {
        if result.is_ok() {
            self.spa.keys.verifier.persisted(write.tag, write.ceiling);
        }
        let covered =
            |parked: &Parked| parked.waiting.tag == write.tag && parked.waiting.ceiling <= write.ceiling;
        while let Some(index) = self.spa.parked.iter().position(covered) {
            let Parked { waiting, envelope, .. } = self.spa.parked.swap_remove(index);
            if result.is_err() {
                self.refuse(Some(write.tag), envelope.source, "journal-failed", now);
                continue;
            }
            let wall = self.spa.wall(now);
            match self.spa.keys.verifier.resume(&waiting, now, wall, self.rules.doors()) {
                Ok(admitted) => self.admitted(&admitted, envelope, now),
                Err(refused) => self.refused(refused, envelope.source, now),
            }
        }
    }

    /// Carries a request out.
    fn admitted(&mut self, admitted: &Admitted, envelope: Envelope, now: Instant) {
        let Some(tag) = self.spa.keys.tag_at(admitted.key) else { return };
        let Some(door) = self.rules.door(admitted.door) else { return };
        let here = door.target.is_none_or(|target| target == envelope.target)
            && door.interfaces.contains(envelope.interface);
        if !here {
            return self.refuse(Some(tag), envelope.source, "not-here", now);
        }
        if admitted.one_shot {
            // Open for longer than was asked is no favour.
            return self.refuse(Some(tag), envelope.source, "one-shot-unsupported", now);
        }
        self.spa.counters.accepted += 1;
        let mut full = false;
        for &source in &admitted.sources {
            match admitted.purpose {
                Purpose::Open => {
                    self.make_room_for_key(tag, admitted, source, now);
                    let Some(door) = self.rules.door(admitted.door) else { return };
                    let proof = Proof::Spa(tag);
                    let wanted = self.grants.want(admitted.door, door, source, admitted.lease, proof, now);
                    full |= wanted.is_err();
                }
                Purpose::Close => {
                    let meant = |grant: &Grant| grant.door == Some(admitted.door) && grant.source == source;
                    self.grants.revoke(RevokeReason::SpaRequest, now, meant);
                }
            }
        }
        if full {
            self.refuse(Some(tag), envelope.source, "grants-full", now);
        }
    }

    /// A key has so many grants at a door and no more, counted for each address family: the oldest makes
    /// room, because whoever moves to another network must get in.
    fn make_room_for_key(&mut self, tag: KeyTag, admitted: &Admitted, source: IpAddr, now: Instant) {
        let limit = usize::from(admitted.grants_per_door.max(1));
        let of_key = |grant: &&Grant, door: DoorId| {
            grant.door == Some(door)
                && grant.proof == Proof::Spa(tag)
                && grant.source.is_ipv4() == source.is_ipv4()
                && grant.source != source
                && !grant.is_ending()
        };
        // Bounded: every round ends one.
        loop {
            let others = || self.grants.iter().filter(|grant| of_key(grant, admitted.door));
            if others().count() < limit {
                return;
            }
            let Some(oldest) = others().map(|grant| grant.id).min() else { return };
            self.grants.revoke(RevokeReason::Superseded, now, |grant| grant.id == oldest);
        }
    }

    fn refused(&mut self, refused: Refused, source: IpAddr, now: Instant) {
        let tag = refused.key.and_then(|key| self.spa.keys.tag_at(key));
        let class = match refused.reason {
            Refusal::Size | Refusal::NotGenuine => DenyClass::Mac,
            Refusal::Counter(_) => DenyClass::Replay,
            _ => DenyClass::Policy,
        };
        self.deny_spa(class, tag, source, refused.reason.reason(), now);
    }

    fn refuse(&mut self, tag: Option<KeyTag>, source: IpAddr, reason: &'static str, now: Instant) {
        self.deny_spa(DenyClass::Policy, tag, source, reason, now);
    }

    fn deny_spa(
        &mut self,
        class: DenyClass,
        tag: Option<KeyTag>,
        source: IpAddr,
        reason: &'static str,
        now: Instant,
    ) {
        let counters = &mut self.spa.counters;
        let count = match class {
            DenyClass::Mac => &mut counters.not_genuine,
            DenyClass::Replay => &mut counters.replayed,
            DenyClass::Policy => &mut counters.refused,
        };
        *count += 1;
        self.summarise_spa_denials(now);
        let Some(limiter) = self.spa.limiters.get_mut(class as usize) else { return };
        if limiter.take(now) == Limit::Counted {
            return;
        }
        let key = tag.and_then(|tag| self.spa.keys.name(tag)).cloned().unwrap_or_else(Name::new);
        self.audit.push(Event::SpaRefused { class, key, source, reason }, now);
    }

    pub(super) fn summarise_spa_denials(&mut self, now: Instant) {
        for (class, limiter) in DenyClass::ALL.into_iter().zip(&mut self.spa.limiters) {
            if let Some(records) = limiter.summary(now) {
                self.audit.push(Event::DenySuppressed { class, records }, now);
            }
        }
    }
}
