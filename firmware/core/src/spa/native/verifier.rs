//! Which packets count: the keys of a gateway, and the order of the checks.
//!
//! 1. Size.
//! 2. Hint: every key is tried, whichever it is.
//! 3. Tag: always one check, with a key that stands in when no hint fits. Up to here no state changes,
//!    and neither answer nor record nor time tells an unknown key from a wrong tag.
//! 4. Encoding of the request.
//! 5. Range of counters, then the replay window. A new ceiling must be on the medium before it goes on.
//! 6. The counter is used up.
//! 7. Everything else of the policy. A packet that is refused here is used up all the same: somebody
//!    may have kept it, to send it when the key is enabled again or its time of the week has come.

use core::net::IpAddr;

use heapless::Vec;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::Parts;
use super::hint::{HintKey, words};
use super::request::{CLAIMS_MAX, Malformed, Request};
use crate::limits::KEYS_MAX;
use crate::rule::{Door, DoorId, Purpose};
use crate::spa::allowance::WriteAllowance;
use crate::spa::key::{DeviceId, KeyTag, KeyUse, SpaKey, SubKey};
use crate::spa::policy::{Policy, PolicyRefusal, WallTime};
use crate::spa::replay::{Admission, CounterRefusal, ReplayState};
use crate::time::{Duration, Instant};

/// Position of a key in its verifier, in order of adding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u8);

/// Where and when a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Source of the IP packet.
    pub seen_from: IpAddr,
    /// Now.
    pub at: Instant,
    /// Now by the wall clock, when there is one to trust.
    pub wall: Option<WallTime>,
}

/// A request that may be carried out. Its counter is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Whose it is.
    pub key: KeyId,
    /// Which door.
    pub door: DoorId,
    /// To open or to close it.
    pub purpose: Purpose,
    /// For how long, at least a second; of no meaning when closing.
    pub lease: Duration,
    /// For whom, at least one address.
    pub sources: Vec<IpAddr, CLAIMS_MAX>,
    /// Whether the first new connection shall use the grant up.
    pub one_shot: bool,
    /// Grants the key may have at this door at a time.
    pub grants_per_door: u8,
    /// The counter, for the record.
    pub counter: u64,
}

/// What a key's policy says about a grant that was not asked for by a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// For how long.
    pub lease: Duration,
    /// Grants the key may have at a door at a time.
    pub grants_per_door: u8,
}

/// A genuine request whose counter is above the ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose it is.
    pub key: KeyId,
    /// What to write: this ceiling under this tag.
    pub tag: KeyTag,
    /// What to write: this ceiling under this tag.
    pub ceiling: u64,
    request: Request,
    seen_from: IpAddr,
}

/// What to do with a genuine packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Carry it out.
    Admitted(Admitted),
    /// Have the ceiling written, call [`Verifier::persisted`], then [`Verifier::resume`].
    Waiting(Waiting),
}

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Not a packet's length.
    Size,
    /// No key of this gateway made it: an unknown hint or a wrong tag, which nobody is told apart.
    NotGenuine,
    /// Genuine, but no request.
    Malformed(Malformed),
    /// Genuine, but not now or not any more.
    Counter(CounterRefusal),
    /// The key's ceiling was written too often of late ([`crate::limits::CEILING_WRITES_AT_ONCE`]).
    TooManyWrites,
    /// The key was taken away while the packet waited.
    KeyRemoved,
    /// Genuine, but the key must not.
    Policy(PolicyRefusal),
}

impl Refusal {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            Refusal::Size => "size",
            Refusal::NotGenuine => "not-genuine",
            Refusal::Malformed(malformed) => malformed.reason(),
            Refusal::Counter(refusal) => refusal.reason(),
            Refusal::TooManyWrites => "too-many-writes",
            Refusal::KeyRemoved => "key-removed",
            Refusal::Policy(refusal) => refusal.reason(),
        }
    }
}

/// A refusal, and whose packet it was if that is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The key, when the packet is genuine.
    pub key: Option<KeyId>,
    /// Why.
    pub reason: Refusal,
}

/// Why a key was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// There are [`KEYS_MAX`] already.
    TooMany,
    /// The same secret is there already.
    Duplicate,
}

/// One key.
#[derive(Clone, Debug)]
struct Entry {
    tag: KeyTag,
    hint: HintKey,
    seal: SubKey,
    policy: Policy,
    replay: ReplayState,
    /// The highest ceiling that was asked for.
    asked: u64,
    allowance: WriteAllowance,
    last_used: Option<Instant>,
}

/// What an operator may know about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its name in the journal.
    pub tag: KeyTag,
    /// The highest counter that was used, or that may have been before the last start.
    pub highest: u64,
    /// The ceiling on the medium.
    pub ceiling: u64,
    /// When it was last used since the last start.
    pub last_used: Option<Instant>,
}

/// The keys of one gateway.
#[derive(Clone, Debug)]
pub struct Verifier {
    device: DeviceId,
    entries: Vec<Entry, KEYS_MAX>,
}

impl Verifier {
    /// No key yet.
    pub const fn new(device: DeviceId) -> Self {
        Self { device, entries: Vec::new() }
    }

    /// Adds a key. `ceiling` is what the journal holds under its tag ([`SpaKey::tag`]), 0 for a key
    /// that was never used here.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn add(&mut self, key: &SpaKey, policy: Policy, ceiling: u64) -> Result<KeyId, KeyError> {
        let id = u8::try_from(self.entries.len()).map(KeyId).map_err(|_| KeyError::TooMany)?;
        let tag = key.tag(self.device);
        if self.entries.iter().any(|entry| entry.tag == tag) {
            return Err(KeyError::Duplicate);
        }
        let entry = Entry {
            tag,
            hint: HintKey::new(&key.derive(KeyUse::Hint, self.device)),
            seal: key.derive(KeyUse::Seal, self.device),
            replay: ReplayState::restored(ceiling, policy.counter_first),
            policy,
            asked: ceiling,
            allowance: WriteAllowance::new(),
            last_used: None,
        };
        self.entries.push(entry).map_err(|_| KeyError::TooMany)?;
        Ok(id)
    }

    /// Takes over what `before` knows about the same keys: for a new configuration while running.
    pub fn carry_over(&mut self, before: &Verifier) {
        for entry in &mut self.entries {
            let Some(old) = before.entries.iter().find(|old| old.tag == entry.tag) else { continue };
            entry.replay = old.replay;
            entry.asked = old.asked;
            entry.allowance = old.allowance;
            entry.last_used = old.last_used;
        }
    }

    /// Reads a datagram. See the head of this module for the order of the checks.
    ///
    /// # Errors
    /// [`Refused`]; nobody on the wire is told.
    pub fn verify(&mut self, datagram: &[u8], arrival: Arrival, doors: &[Door]) -> Result<Verdict, Refused> {
        let (key, request) = self.authenticate(datagram)?;
        let refused = |reason| Refused { key: Some(key), reason };
        let request = request.map_err(|malformed| refused(Refusal::Malformed(malformed)))?;
        let entry = self.entry(key)?;
        let counter = request.counter;
        entry.policy.check_counter(counter).map_err(|refusal| refused(Refusal::Policy(refusal)))?;
        match entry.replay.check(counter).map_err(|refusal| refused(Refusal::Counter(refusal)))? {
            Admission::Now => self.admit(key, &request, arrival, doors).map(Verdict::Admitted),
            Admission::AfterPersisting { ceiling } => {
                let ceiling = entry.ask(counter, ceiling, arrival.at).map_err(refused)?;
                let (tag, seen_from) = (entry.tag, arrival.seen_from);
                Ok(Verdict::Waiting(Waiting { key, tag, ceiling, request, seen_from }))
            }
        }
    }

    /// Goes on with a request whose ceiling is on the medium. The copies of a packet that waited
    /// together with it are refused as used.
    ///
    /// # Errors
    /// [`Refused`], with [`CounterRefusal::NotPersisted`] when [`Verifier::persisted`] was not called.
    pub fn resume(
        &mut self,
        waiting: &Waiting,
        now: Instant,
        wall: Option<WallTime>,
        doors: &[Door],
    ) -> Result<Admitted, Refused> {
        // By tag: the configuration may have changed meanwhile.
        let position = self.entries.iter().position(|entry| entry.tag == waiting.tag);
        let key = position.and_then(|position| u8::try_from(position).ok()).map(KeyId);
        let key = key.ok_or(Refused { key: None, reason: Refusal::KeyRemoved })?;
        self.admit(key, &waiting.request, Arrival { seen_from: waiting.seen_from, at: now, wall }, doors)
    }

    /// `ceiling` of the key with this tag is on the medium.
    pub fn persisted(&mut self, tag: KeyTag, ceiling: u64) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.tag == tag) {
            entry.replay.persisted(ceiling);
        }
    }

    /// Whether the holder of the key with this tag may open a door now for `source`, by another way than a
    /// packet: everything of its policy but counters and doors. Returns what it says about the grant, for a
    /// door that says `open_for`.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn bearer(
        &mut self,
        tag: KeyTag,
        source: IpAddr,
        (at, wall): (Instant, Option<WallTime>),
        open_for: Duration,
    ) -> Result<Bearer, Refused> {
        let found = (0..).zip(&mut self.entries).find(|(_, entry)| entry.tag == tag);
        let (id, entry) = found.ok_or(Refused { key: None, reason: Refusal::KeyRemoved })?;
        entry.last_used = Some(at);
        let checked = entry.policy.check_bearer(&[source], source, wall);
        checked.map_err(|refusal| Refused { key: Some(KeyId(id)), reason: Refusal::Policy(refusal) })?;
        let (lease, grants_per_door) = (entry.policy.lease(0, open_for), entry.policy.grants_per_door);
        Ok(Bearer { lease, grants_per_door })
    }

    /// The ceiling to write when an administrator begins a new epoch of `key`, see
    /// [`ReplayState::next_epoch`].
    pub fn next_epoch(&self, key: KeyId) -> Option<u64> {
        self.entries.get(usize::from(key.0))?.replay.next_epoch()
    }

    /// The start of a new epoch is on the medium.
    pub fn rebased(&mut self, tag: KeyTag, epoch_start: u64) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.tag == tag) {
            entry.replay.rebased(epoch_start);
            entry.asked = entry.asked.max(epoch_start);
        }
    }

    /// Every key, in order of adding.
    pub fn status(&self) -> impl Iterator<Item = KeyStatus> {
        self.entries.iter().map(|entry| KeyStatus {
            tag: entry.tag,
            highest: entry.replay.highest(),
            ceiling: entry.replay.ceiling(),
            last_used: entry.last_used,
        })
    }

    /// The entry of a key that was found a moment ago.
    fn entry(&mut self, key: KeyId) -> Result<&mut Entry, Refused> {
        let entry = self.entries.get_mut(usize::from(key.0));
        entry.ok_or(Refused { key: None, reason: Refusal::KeyRemoved })
    }

    /// Steps 1 to 4: the same work for every datagram of the right size that is not genuine.
    fn authenticate(&self, datagram: &[u8]) -> Result<(KeyId, Result<Request, Malformed>), Refused> {
        let refused = |reason| Refused { key: None, reason };
        let mut parts = Parts::split(datagram).ok_or(refused(Refusal::Size))?;
        let (found, position) = self.find(&parts);
        // When no hint fits, the first key stands in: the check costs the same, and counts for nothing.
        let entry = self.entries.get(usize::from(position)).ok_or(refused(Refusal::NotGenuine))?;
        let genuine = parts.open(entry.seal.expose()) & found;
        if bool::from(genuine) {
            Ok((KeyId(position), Request::decode(&parts.body)))
        } else {
            Err(refused(Refusal::NotGenuine))
        }
    }

    /// The position of the key whose hint fits, without a branch that depends on which; 0 when none
    /// does.
    fn find(&self, parts: &Parts) -> (Choice, u8) {
        let nonce = words(&parts.nonce);
        let hint = u64::from_le_bytes(parts.hint);
        let mut found = Choice::from(0);
        let mut position = 0_u8;
        for (candidate, entry) in (0_u8..).zip(&self.entries) {
            let fits = entry.hint.hint(nonce).ct_eq(&hint);
            found |= fits;
            position.conditional_assign(&candidate, fits);
        }
        (found, position)
    }

    /// Steps 6 and 7.
    fn admit(
        &mut self,
        key: KeyId,
        request: &Request,
        arrival: Arrival,
        doors: &[Door],
    ) -> Result<Admitted, Refused> {
        let refused = |reason| Refused { key: Some(key), reason };
        let entry = self.entry(key)?;
        // Asked again: the policy may have changed while it waited.
        let counter = request.counter;
        entry.policy.check_counter(counter).map_err(|refusal| refused(Refusal::Policy(refusal)))?;
        entry.replay.accept(counter).map_err(|refusal| refused(Refusal::Counter(refusal)))?;
        entry.last_used = Some(arrival.at);
        let named = (0_u16..).zip(doors).find(|(_, door)| door.name == request.door);
        let checked = entry.policy.check(
            request,
            arrival.seen_from,
            arrival.wall,
            named.map(|(position, _)| DoorId(position)),
        );
        let door = checked.map_err(|refusal| refused(Refusal::Policy(refusal)))?;
        let open_for = named.map_or(Duration::ZERO, |(_, door)| door.open_for);
        let mut sources = request.claimed.clone();
        if sources.is_empty() {
            let _ = sources.push(arrival.seen_from);
        }
        Ok(Admitted {
            key,
            door,
            purpose: request.purpose,
            lease: entry.policy.lease(request.lease_secs, open_for),
            sources,
            one_shot: request.one_shot,
            grants_per_door: entry.policy.grants_per_door,
            counter,
        })
    }
}

impl Entry {
    /// The ceiling to write for `counter`: one that was asked for already, or `wanted`.
    fn ask(&mut self, counter: u64, wanted: u64, now: Instant) -> Result<u64, Refusal> {
        if counter > self.asked {
            if !self.allowance.take(now) {
                return Err(Refusal::TooManyWrites);
            }
            self.asked = wanted;
        }
        Ok(self.asked)
    }
}
