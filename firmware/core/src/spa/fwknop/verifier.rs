//! Which packets of stock clients count: the keys of a gateway, and the order of the checks.
//!
//! 1. Size, characters, front: what no stock client can have sent.
//! 2. For each kind of MAC there is a key for: whether the rest is the only text of its octets, and the
//!    octets are whole blocks.
//! 3. MAC: under every key, whichever it is, and always all of them. Up to here no state changes and
//!    nothing is decrypted, and neither answer nor record nor time tells which key was nearly right.
//! 4. Cipher, padding, digest, fields.
//! 5. Range of time stamps, clock, mark. A new ceiling must be on the medium before it goes on.
//! 6. The packet is used up.
//! 7. Everything else of the policy; as with our own packets, one that is refused here is used up.
//!
//! The format has no name of a key in clear, so each key costs one HMAC for every well-formed packet of
//! anybody. That is why there are few ([`FWKNOP_KEYS_MAX`]) and why our own packets are asked for
//! first: they have another length and never come here.

use core::net::IpAddr;

use heapless::Vec;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::framing::{self, Parts};
use super::key::FwknopKey;
use super::mark::{Admission, Mark, PacketName, TimeRefusal};
use super::request::{Access, Malformed, Request, Route, User, Wish};
use super::{BLOB_BYTES_MAX, MAGIC, PREFIX, SALT_BYTES, base64, cipher};
use crate::knock::ServicePort;
use crate::limits::{FWKNOP_KEYS_MAX, FWKNOP_PORTS_MAX};
use crate::rule::{Behind, Door, DoorId};
use crate::spa::allowance::WriteAllowance;
use crate::spa::key::{DeviceId, KeyTag};
use crate::spa::native::Arrival;
use crate::spa::native::verifier::{KeyError, KeyId, KeyStatus};
use crate::spa::policy::{Policy, PolicyRefusal, WallTime};
use crate::time::{Duration, Instant};

/// A door to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Which.
    pub door: DoorId,
    /// For how long, at least a second.
    pub lease: Duration,
}

/// A request that may be carried out. Its packet is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Whose it is, in order of adding.
    pub key: KeyId,
    /// Who the client says it is.
    pub user: User,
    /// The doors of the ports it asks for, each once, at least one.
    pub openings: Vec<Opening, FWKNOP_PORTS_MAX>,
    /// For whom.
    pub source: IpAddr,
    /// Grants the key may have at a door at a time.
    pub grants_per_door: u8,
    /// The client's clock in seconds since 1970, for the record.
    pub sent_at: u64,
}

/// A genuine request whose time stamp is above the ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose it is.
    pub key: KeyId,
    /// What to write: this ceiling under this tag.
    pub tag: KeyTag,
    /// What to write: this ceiling under this tag.
    pub ceiling: u64,
    request: Request,
    name: PacketName,
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
    /// Shorter or longer than a packet can be.
    Size,
    /// An octet that is none of base64: a line feed, padding, or the alphabet for HTTP.
    NotBase64,
    /// It does not begin like a salt: the prefix was put back, which no client sends, or it is noise.
    Prefix,
    /// Its octets have another text, or they are no whole blocks.
    NotCanonical,
    /// No key of this gateway made it. Also a packet without HMAC, or with one of another digest.
    NotGenuine,
    /// Genuine, but no request.
    Malformed(Malformed),
    /// Genuine, but not now or not any more.
    Time(TimeRefusal),
    /// The key's ceiling was written too often of late ([`crate::limits::CEILING_WRITES_AT_ONCE`]).
    TooManyWrites,
    /// The key was taken away while the packet waited.
    KeyRemoved,
    /// It wants a command run.
    Command,
    /// It wants to be let through to a host where no door leads.
    Nat,
    /// Genuine, but the key must not.
    Policy(PolicyRefusal),
}

impl Refusal {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            Refusal::Size => "size",
            Refusal::NotBase64 => "not-base64",
            Refusal::Prefix => "salt-prefix",
            Refusal::NotCanonical => "not-canonical",
            Refusal::NotGenuine => "not-genuine",
            Refusal::Malformed(malformed) => malformed.reason(),
            Refusal::Time(refusal) => refusal.reason(),
            Refusal::TooManyWrites => "too-many-writes",
            Refusal::KeyRemoved => "key-removed",
            Refusal::Command => "command-not-allowed",
            Refusal::Nat => "nat-not-allowed",
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

/// One key.
#[derive(Clone, Debug)]
struct Entry {
    tag: KeyTag,
    key: FwknopKey,
    policy: Policy,
    mark: Mark,
    /// The highest ceiling that was asked for.
    asked: u64,
    allowance: WriteAllowance,
    last_used: Option<Instant>,
}

/// A packet whose MAC is right.
struct Genuine<'a> {
    key: KeyId,
    parts: Parts<'a>,
}

/// The keys of one gateway.
#[derive(Clone, Debug)]
pub struct Verifier {
    device: DeviceId,
    entries: Vec<Entry, FWKNOP_KEYS_MAX>,
}

impl Verifier {
    /// No key yet.
    pub const fn new(device: DeviceId) -> Self {
        Self { device, entries: Vec::new() }
    }

    /// Adds a key. `ceiling` is what the journal holds under its tag ([`FwknopKey::tag`]), 0 for a key
    /// that was never used here. The policy's counters are time stamps of the client, in seconds.
    ///
    /// # Errors
    /// [`KeyError`]; a key whose HMAC key is there already is a duplicate.
    pub fn add(&mut self, key: &FwknopKey, policy: Policy, ceiling: u64) -> Result<KeyId, KeyError> {
        let id = u8::try_from(self.entries.len()).map(KeyId).map_err(|_| KeyError::TooMany)?;
        if self.entries.iter().any(|entry| bool::from(entry.key.same_mac_key(key))) {
            return Err(KeyError::Duplicate);
        }
        let entry = Entry {
            tag: key.tag(self.device),
            key: key.clone(),
            mark: Mark::restored(ceiling, policy.counter_first),
            policy,
            asked: ceiling,
            allowance: WriteAllowance::new(),
            last_used: None,
        };
        self.entries.push(entry).map_err(|_| KeyError::TooMany)?;
        Ok(id)
    }

    /// Whether there is no key: nothing can be genuine then.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes over what `before` knows about the same keys: for a new configuration while running.
    pub fn carry_over(&mut self, before: &Verifier) {
        for entry in &mut self.entries {
            let Some(old) = before.entries.iter().find(|old| old.tag == entry.tag) else { continue };
            entry.mark = old.mark.clone();
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
        let genuine = self.authenticate(datagram).map_err(|reason| Refused { key: None, reason })?;
        let key = genuine.key;
        let refused = |reason| Refused { key: Some(key), reason };
        let entry = self.entry(key)?;
        let request = read(&entry.key, &genuine.parts);
        let request = request.map_err(|malformed| refused(Refusal::Malformed(malformed)))?;
        let sent_at = request.sent_at;
        let name = name(&genuine.parts);
        entry.policy.check_counter(sent_at).map_err(|refusal| refused(Refusal::Policy(refusal)))?;
        let admission = entry.mark.check(sent_at, &name, arrival.wall);
        match admission.map_err(|refusal| refused(Refusal::Time(refusal)))? {
            Admission::Now => self.admit(key, &request, &name, arrival, doors).map(Verdict::Admitted),
            Admission::AfterPersisting { ceiling } => {
                let ceiling = entry.ask(sent_at, ceiling, arrival.at).map_err(refused)?;
                let (tag, seen_from) = (entry.tag, arrival.seen_from);
                Ok(Verdict::Waiting(Waiting { key, tag, ceiling, request, name, seen_from }))
            }
        }
    }

    /// Goes on with a request whose ceiling is on the medium. The copies of a packet that waited
    /// together with it are refused as used.
    ///
    /// # Errors
    /// [`Refused`], with [`TimeRefusal::NotPersisted`] when [`Verifier::persisted`] was not called.
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
        let arrival = Arrival { seen_from: waiting.seen_from, at: now, wall };
        self.admit(key, &waiting.request, &waiting.name, arrival, doors)
    }

    /// `ceiling` of the key with this tag is on the medium.
    pub fn persisted(&mut self, tag: KeyTag, ceiling: u64) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.tag == tag) {
            entry.mark.persisted(ceiling);
        }
    }

    /// Every key, in order of adding; counters are time stamps.
    pub fn status(&self) -> impl Iterator<Item = KeyStatus> {
        self.entries.iter().map(|entry| KeyStatus {
            tag: entry.tag,
            highest: entry.mark.newest(),
            ceiling: entry.mark.ceiling(),
            last_used: entry.last_used,
        })
    }

    /// The entry of a key that was found a moment ago.
    fn entry(&mut self, key: KeyId) -> Result<&mut Entry, Refused> {
        let entry = self.entries.get_mut(usize::from(key.0));
        entry.ok_or(Refused { key: None, reason: Refusal::KeyRemoved })
    }

    /// Steps 1 to 3.
    fn authenticate<'a>(&self, datagram: &'a [u8]) -> Result<Genuine<'a>, Refusal> {
        framing::screen(datagram)?;
        let (mut found, mut position, mut framed) = (Choice::from(0), 0_u8, self.entries.is_empty());
        for (candidate, entry) in (0_u8..).zip(&self.entries) {
            let Some(parts) = Parts::split(datagram, entry.key.digest()) else { continue };
            framed = true;
            let right = entry.key.mac(parts.body).ct_eq(&parts.mac);
            found |= right;
            position.conditional_assign(&candidate, right);
        }
        if !framed {
            return Err(Refusal::NotCanonical);
        }
        if !bool::from(found) {
            return Err(Refusal::NotGenuine);
        }
        let entry = self.entries.get(usize::from(position)).ok_or(Refusal::NotGenuine)?;
        let parts = Parts::split(datagram, entry.key.digest()).ok_or(Refusal::NotGenuine)?;
        Ok(Genuine { key: KeyId(position), parts })
    }

    /// Steps 6 and 7.
    fn admit(
        &mut self,
        key: KeyId,
        request: &Request,
        name: &PacketName,
        arrival: Arrival,
        doors: &[Door],
    ) -> Result<Admitted, Refused> {
        let refused = |reason| Refused { key: Some(key), reason };
        let entry = self.entry(key)?;
        // Asked again: the policy may have changed while it waited.
        let sent_at = request.sent_at;
        entry.policy.check_counter(sent_at).map_err(|refusal| refused(Refusal::Policy(refusal)))?;
        let accepted = entry.mark.accept(sent_at, name, arrival.wall);
        accepted.map_err(|refusal| refused(Refusal::Time(refusal)))?;
        entry.last_used = Some(arrival.at);
        let Wish::Access(access) = &request.wish else { return Err(refused(Refusal::Command)) };
        let claimed = access.claimed.map(IpAddr::V4);
        let checked = entry.policy.check_bearer(claimed.as_slice(), arrival.seen_from, arrival.wall);
        checked.map_err(|refusal| refused(Refusal::Policy(refusal)))?;
        Ok(Admitted {
            key,
            user: request.user.clone(),
            openings: openings(&entry.policy, access, doors).map_err(refused)?,
            source: claimed.unwrap_or(arrival.seen_from),
            grants_per_door: entry.policy.grants_per_door,
            sent_at,
        })
    }
}

impl Entry {
    /// The ceiling to write for a time stamp: one that was asked for already, or `wanted`.
    fn ask(&mut self, sent_at: u64, wanted: u64, now: Instant) -> Result<u64, Refusal> {
        if sent_at > self.asked {
            if !self.allowance.take(now) {
                return Err(Refusal::TooManyWrites);
            }
            self.asked = wanted;
        }
        Ok(self.asked)
    }
}

/// The front of the MAC.
fn name(parts: &Parts<'_>) -> PacketName {
    let [a, b, c, d, e, f, g, h, ..] = parts.mac;
    [a, b, c, d, e, f, g, h]
}

/// Step 4.
fn read(key: &FwknopKey, parts: &Parts<'_>) -> Result<Request, Malformed> {
    let mut blob = Zeroizing::new([0; BLOB_BYTES_MAX]);
    let length =
        base64::decode(PREFIX.iter().chain(parts.body), &mut *blob).ok_or(Malformed::NotDecrypted)?;
    let blob = blob.get_mut(..length).ok_or(Malformed::NotDecrypted)?;
    let (magic, rest) = blob.split_first_chunk_mut().ok_or(Malformed::NotDecrypted)?;
    let (salt, text) = rest.split_first_chunk_mut::<SALT_BYTES>().ok_or(Malformed::NotDecrypted)?;
    if magic != MAGIC {
        return Err(Malformed::NotDecrypted);
    }
    cipher::decrypt(key.encryption_key(), salt, text);
    Request::read(cipher::without_padding(text).ok_or(Malformed::NotDecrypted)?)
}

/// The doors of all ports asked for; one that must not be opened spoils the request.
fn openings(
    policy: &Policy,
    access: &Access,
    doors: &[Door],
) -> Result<Vec<Opening, FWKNOP_PORTS_MAX>, Refusal> {
    let mut openings: Vec<Opening, FWKNOP_PORTS_MAX> = Vec::new();
    for &port in &access.ports {
        let (door, open_for) = match access.route {
            Route::Gateway => door_of(policy, doors, |door| door.ports.contains(&port))?,
            Route::Behind { host, port: other } => {
                const UNKNOWN: Refusal = Refusal::Policy(PolicyRefusal::UnknownDoor);
                let leads = |outside, inside| {
                    let behind = Some(Behind { host: IpAddr::V4(host), port: inside });
                    let outside = ServicePort { port: outside, ..port };
                    let leads =
                        |door: &Door| door.terms.behind == behind && door.ports.first() == Some(&outside);
                    door_of(policy, doors, leads)
                };
                // As fwknopd does, or else as the client's manual says: both mean one door.
                match leads(port.port, other) {
                    Err(refusal) if refusal == UNKNOWN => match leads(other, port.port) {
                        Err(refusal) if refusal == UNKNOWN => return Err(Refusal::Nat),
                        found => found?,
                    },
                    found => found?,
                }
            }
            Route::Local => return Err(Refusal::Nat),
        };
        if openings.iter().all(|opening| opening.door != door) {
            let opening = Opening { door, lease: policy.lease(access.lease_secs, open_for) };
            // As many places as ports.
            let _ = openings.push(opening);
        }
    }
    Ok(openings)
}

/// The first door that fits and that the key opens.
fn door_of(
    policy: &Policy,
    doors: &[Door],
    fits: impl Fn(&Door) -> bool,
) -> Result<(DoorId, Duration), Refusal> {
    let mut refusal = PolicyRefusal::UnknownDoor;
    for (position, door) in (0_u16..).zip(doors) {
        let id = DoorId(position);
        if !fits(door) {
            continue;
        }
        if policy.doors.contains(id) {
            return Ok((id, door.open_for));
        }
        refusal = PolicyRefusal::DoorNotAllowed;
    }
    Err(Refusal::Policy(refusal))
}
