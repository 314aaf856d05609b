//! Single Packet Authorization in the engine: a datagram in, a grant out.
//!
//! Whatever is not genuine changes nothing but a counter. A genuine packet above its key's ceiling
//! waits until the shell says that a new ceiling is on the medium.

use core::net::IpAddr;

use heapless::{Deque, Vec};

use super::rows::Completion;
use super::{Engine, Format, Keys};
use crate::audit::{DenyClass, DenyReason, Event, Proof, RevokeReason};
use crate::grant::{Grant, Lease};
use crate::knock::{InterfaceIndex, Knock};
use crate::limiter::{Limiter, Verdict as Limit};
use crate::limits::{FWKNOP_PORTS_MAX, JOURNAL_ANSWER, WAITING_PACKETS_MAX};
use crate::port::{CeilingWrite, JournalFailed};
use crate::rule::{Door, DoorId, Name, Purpose, Row, SequenceId};
use crate::spa::fwknop;
use crate::spa::key::KeyTag;
use crate::spa::native::request::CLAIMS_MAX;
use crate::spa::native::{self, Arrival, PACKET_BYTES};
use crate::spa::policy::WallTime;
use crate::spa::rotating::cursor::CursorRefusal;
use crate::time::{Duration, Instant};

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

#[derive(Clone, Debug)]
enum Waiting {
    Native(native::Waiting),
    Fwknop(fwknop::Waiting),
    Row(Completion),
}

impl Waiting {
    const fn write(&self) -> CeilingWrite {
        match self {
            Waiting::Native(waiting) => CeilingWrite { tag: waiting.tag, ceiling: waiting.ceiling },
            Waiting::Fwknop(waiting) => CeilingWrite { tag: waiting.tag, ceiling: waiting.ceiling },
            Waiting::Row(waiting) => CeilingWrite { tag: waiting.tag, ceiling: waiting.ceiling },
        }
    }

    /// Whether it need not wait any longer once `written` is on the medium. Each sequence of a row has a
    /// write of its own.
    fn is_covered_by(&self, written: CeilingWrite) -> bool {
        let waits = self.write();
        let enough = waits.ceiling <= written.ceiling;
        waits.tag == written.tag && if matches!(self, Waiting::Row(_)) { waits == written } else { enough }
    }
}

/// What is asked for, whatever the format.
#[derive(Clone, Debug)]
struct Wish {
    proof: Proof,
    doors: Vec<(DoorId, Duration), FWKNOP_PORTS_MAX>,
    purpose: Purpose,
    sources: Vec<IpAddr, CLAIMS_MAX>,
    one_shot: bool,
    grants_per_door: u8,
}

/// What is refused: for filters, of which key if it is genuine, and why.
type Refused = (DenyClass, Option<KeyTag>, &'static str);

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
        keys.carry_over(&self.keys);
        self.keys = keys;
    }

    pub(super) fn set_wall(&mut self, wall: Option<WallTime>, now: Instant) {
        self.wall = wall.map(|wall| (wall, now));
    }

    fn wall(&self, now: Instant) -> Option<WallTime> {
        let (wall, at) = self.wall?;
        Some(WallTime::from_secs(wall.secs().saturating_add(now.since(at).millis() / 1000)))
    }

    fn park(&mut self, waiting: Waiting, envelope: Envelope, now: Instant) -> Result<(), Refused> {
        self.parked.retain(|parked| parked.until > now);
        let write = waiting.write();
        let is_asked = self.parked.iter().any(|parked| parked.waiting.write() == write);
        let parked = Parked { waiting, envelope, until: now + JOURNAL_ANSWER };
        self.parked.push(parked).map_err(|_| (DenyClass::Policy, Some(write.tag), "busy"))?;
        self.counters.waited += 1;
        if !is_asked {
            // Never more of them than packets wait.
            let _ = self.writes.push_back(write);
        }
        Ok(())
    }

    /// Who shows a sequence first has it: it opens for nobody else while it waits.
    fn park_row(&mut self, completion: Completion, envelope: Envelope, now: Instant) -> Result<(), Refused> {
        let same = |parked: &Parked| {
            let waits = matches!(parked.waiting, Waiting::Row(waiting) if waiting == completion);
            waits && parked.until > now
        };
        if self.parked.iter().any(same) {
            return Err((DenyClass::Replay, Some(completion.tag), CursorRefusal::Used.reason()));
        }
        self.park(Waiting::Row(completion), envelope, now)
    }

    /// Reads a datagram: `None` when it has to wait.
    fn read(&mut self, octets: &[u8], envelope: Envelope, doors: &[Door], now: Instant) -> Option<Read> {
        let arrival = Arrival { seen_from: envelope.source, at: now, wall: self.wall(now) };
        // Only a stock client's packet has another length, and none has ours.
        let waiting = if octets.len() == PACKET_BYTES || self.keys.fwknop.is_empty() {
            match self.keys.native.verify(octets, arrival, doors) {
                Ok(native::Verdict::Admitted(admitted)) => return Some(self.native_wish(admitted)),
                Ok(native::Verdict::Waiting(waiting)) => Waiting::Native(waiting),
                Err(refused) => return Some(Err(self.native_refusal(refused))),
            }
        } else {
            match self.keys.fwknop.verify(octets, arrival, doors) {
                Ok(fwknop::Verdict::Admitted(admitted)) => return Some(self.fwknop_wish(&admitted)),
                Ok(fwknop::Verdict::Waiting(waiting)) => Waiting::Fwknop(waiting),
                Err(refused) => return Some(Err(self.fwknop_refusal(refused))),
            }
        };
        self.park(waiting, envelope, now).err().map(Err)
    }

    fn resume(&mut self, waiting: &Waiting, source: IpAddr, doors: &[Door], now: Instant) -> Read {
        let wall = self.wall(now);
        match waiting {
            Waiting::Native(waiting) => match self.keys.native.resume(waiting, now, wall, doors) {
                Ok(admitted) => self.native_wish(admitted),
                Err(refused) => Err(self.native_refusal(refused)),
            },
            Waiting::Fwknop(waiting) => match self.keys.fwknop.resume(waiting, now, wall, doors) {
                Ok(admitted) => self.fwknop_wish(&admitted),
                Err(refused) => Err(self.fwknop_refusal(refused)),
            },
            Waiting::Row(completion) => self.row_wish(completion, source, doors, now),
        }
    }

    /// A sequence of a row that was used up: what its key's policy makes of it.
    fn row_wish(&mut self, completion: &Completion, source: IpAddr, doors: &[Door], now: Instant) -> Read {
        let row = self.keys.row(completion.tag).ok_or(GONE)?;
        let (id, holder) = (row.door, row.holder());
        row.consume(completion).map_err(|refusal| (DenyClass::Replay, holder, refusal.reason()))?;
        let open_for = doors.get(usize::from(id.0)).map(|door| door.open_for).ok_or(GONE)?;
        let (proof, lease, grants_per_door) = match holder {
            None => (Proof::OneTime, open_for, u8::MAX),
            Some(tag) => {
                let clocks = (now, self.wall(now));
                let bearer = self.keys.native.bearer(tag, source, clocks, open_for);
                let bearer = bearer.map_err(|refused| self.native_refusal(refused))?;
                (Proof::Rotating(tag), bearer.lease, bearer.grants_per_door)
            }
        };
        let (mut doors, mut sources) = (Vec::new(), Vec::new());
        let _ = doors.push((id, lease));
        let _ = sources.push(source);
        Ok(Wish { proof, doors, purpose: Purpose::Open, sources, one_shot: false, grants_per_door })
    }

    fn native_wish(&self, admitted: native::Admitted) -> Read {
        let native::Admitted { key, door, purpose, lease, sources, one_shot, grants_per_door, .. } = admitted;
        let mut doors = Vec::new();
        let _ = doors.push((door, lease));
        let tag = self.keys.tag_at(Format::Native, key).ok_or(GONE)?;
        Ok(Wish { proof: Proof::Spa(tag), doors, purpose, sources, one_shot, grants_per_door })
    }

    fn fwknop_wish(&self, admitted: &fwknop::Admitted) -> Read {
        let (mut doors, mut sources) = (Vec::new(), Vec::new());
        for opening in &admitted.openings {
            let _ = doors.push((opening.door, opening.lease));
        }
        let _ = sources.push(admitted.source);
        let tag = self.keys.tag_at(Format::Fwknop, admitted.key).ok_or(GONE)?;
        let (proof, grants_per_door) = (Proof::Spa(tag), admitted.grants_per_door);
        Ok(Wish { proof, doors, purpose: Purpose::Open, sources, one_shot: false, grants_per_door })
    }

    fn native_refusal(&self, refused: native::Refused) -> Refused {
        let class = match refused.reason {
            native::Refusal::Size | native::Refusal::NotGenuine => DenyClass::Mac,
            native::Refusal::Counter(_) => DenyClass::Replay,
            _ => DenyClass::Policy,
        };
        let tag = refused.key.and_then(|key| self.keys.tag_at(Format::Native, key));
        (class, tag, refused.reason.reason())
    }

    fn fwknop_refusal(&self, refused: fwknop::Refused) -> Refused {
        let class = match refused.reason {
            fwknop::Refusal::Size
            | fwknop::Refusal::NotBase64
            | fwknop::Refusal::Prefix
            | fwknop::Refusal::NotCanonical
            | fwknop::Refusal::NotGenuine => DenyClass::Mac,
            fwknop::Refusal::Time(_) => DenyClass::Replay,
            _ => DenyClass::Policy,
        };
        let tag = refused.key.and_then(|key| self.keys.tag_at(Format::Fwknop, key));
        (class, tag, refused.reason.reason())
    }
}

/// What a datagram asks for, or why not.
type Read = Result<Wish, Refused>;

const GONE: Refused = (DenyClass::Policy, None, "key-removed");

impl<const UNITS: usize> Engine<UNITS> {
    /// A datagram on the port of the keys.
    pub(super) fn datagram(&mut self, knock: &Knock, octets: &[u8], now: Instant) {
        self.spa.counters.datagrams += 1;
        let envelope = Envelope { source: knock.source, target: knock.target, interface: knock.interface };
        if let Some(read) = self.spa.read(octets, envelope, self.rules.doors(), now) {
            self.carry_out(read, envelope, now);
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
            self.spa.keys.persisted(write.tag, write.ceiling);
        }
        let covered = |parked: &Parked| parked.waiting.is_covered_by(write);
        while let Some(index) = self.spa.parked.iter().position(covered) {
            let Parked { waiting, envelope, .. } = self.spa.parked.swap_remove(index);
            let read = match result {
                Ok(()) => self.spa.resume(&waiting, envelope.source, self.rules.doors(), now),
                Err(JournalFailed) => Err((DenyClass::Policy, Some(write.tag), "journal-failed")),
            };
            if matches!(waiting, Waiting::Row(_)) {
                self.await_rows();
            }
            self.carry_out(read, envelope, now);
        }
    }

    /// A sequence that counts once was shown: it waits until the medium knows.
    pub(super) fn row_completed(
        &mut self,
        id: SequenceId,
        (row, position): (Row, u16),
        knock: &Knock,
        now: Instant,
    ) {
        let envelope = Envelope { source: knock.source, target: knock.target, interface: knock.interface };
        let line = self.rules.sequence(id).map(|sequence| sequence.steps.as_slice()).unwrap_or_default();
        let completed = self.spa.keys.completed((&row, position), line, now);
        let parked = completed
            .map_err(|(tag, reason)| (DenyClass::Policy, tag, reason))
            .and_then(|completion| self.spa.park_row(completion, envelope, now));
        if let Err(refused) = parked {
            self.deny_spa(refused, knock.source, now);
        }
    }

    /// Has the rules await what comes next.
    pub(super) fn await_rows(&mut self) {
        self.spa.keys.await_rows(&mut self.rules);
    }

    fn carry_out(&mut self, read: Read, envelope: Envelope, now: Instant) {
        if let Err(refused) = read.and_then(|wish| self.fulfil(&wish, envelope, now)) {
            self.deny_spa(refused, envelope.source, now);
        }
    }

    fn fulfil(&mut self, wish: &Wish, envelope: Envelope, now: Instant) -> Result<(), Refused> {
        let refused = |reason| Err((DenyClass::Policy, wish.proof.key(), reason));
        let here = |door: &Door| {
            door.target.is_none_or(|target| target == envelope.target)
                && door.interfaces.contains(envelope.interface)
        };
        if !wish.doors.iter().all(|(door, _)| self.rules.door(*door).is_some_and(here)) {
            return refused("not-here");
        }
        let admits = |door: &Door| wish.sources.iter().all(|source| door.terms.can_admit(*source));
        let opens = wish.purpose == Purpose::Open;
        if opens && !wish.doors.iter().all(|(door, _)| self.rules.door(*door).is_some_and(admits)) {
            return refused(DenyReason::OtherFamily.reason());
        }
        let one_port = |door: &Door| door.ports.len() == 1;
        if wish.one_shot && !wish.doors.iter().all(|(door, _)| self.rules.door(*door).is_some_and(one_port)) {
            // A connection for each port is more than was asked for.
            return refused("one-shot-needs-one-port");
        }
        let alone =
            |door: &Door| wish.sources.iter().all(|source| door.terms.reach.network(*source).is_host());
        if wish.one_shot && !wish.doors.iter().all(|(door, _)| self.rules.door(*door).is_some_and(alone)) {
            // Any neighbour could use it up, and who asked would not know.
            return refused("one-shot-needs-one-address");
        }
        self.spa.counters.accepted += 1;
        let mut full = false;
        for &(id, lease) in &wish.doors {
            for &source in &wish.sources {
                if wish.purpose == Purpose::Close {
                    let meant = |grant: &Grant| grant.door == Some(id) && grant.network.contains(source);
                    self.grants.revoke(RevokeReason::SpaRequest, now, meant);
                    continue;
                }
                self.make_room_for_key(wish, id, source, now);
                let Some(door) = self.rules.door(id) else { continue };
                let lease = Lease { time: lease, one_shot: wish.one_shot };
                full |= self.grants.want(id, door, source, lease, wish.proof, now).is_err();
            }
        }
        if full { refused("grants-full") } else { Ok(()) }
    }

    /// A key has so many grants at a door and no more, counted for each address family: the oldest makes
    /// room, because whoever moves to another network must get in. Who moves within one that the door
    /// opens for as a whole has the same grant.
    fn make_room_for_key(&mut self, wish: &Wish, door: DoorId, source: IpAddr, now: Instant) {
        let Some(key) = wish.proof.key() else { return };
        let limit = usize::from(wish.grants_per_door.max(1));
        let of_key = |grant: &&Grant| {
            grant.door == Some(door)
                && grant.proof.key() == Some(key)
                && grant.source.is_ipv4() == source.is_ipv4()
                && !grant.network.contains(source)
                && !grant.is_ending()
        };
        // Bounded: every round ends one.
        loop {
            let others = || self.grants.iter().filter(of_key);
            if others().count() < limit {
                return;
            }
            let Some(oldest) = others().map(|grant| grant.id).min() else { return };
            self.grants.revoke(RevokeReason::Superseded, now, |grant| grant.id == oldest);
        }
    }

    fn deny_spa(&mut self, (class, tag, reason): Refused, source: IpAddr, now: Instant) {
        let counters = &mut self.spa.counters;
        let count = match class {
            DenyClass::Mac => &mut counters.not_genuine,
            DenyClass::Replay => &mut counters.replayed,
            DenyClass::Policy => &mut counters.refused,
        };
        *count += 1;
        let suspect = self.detectors.refused(source, now);
        self.tell(suspect, now);
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
