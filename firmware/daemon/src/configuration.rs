//! What is in force, and how it changes: staging, commit, trial, confirm, roll back.
//!
//! The rule of every change: the machine takes it first, then the partition; when one of them
//! fails, the configuration before is in force on both.

use core::fmt;

use postern_config::partition::{Choice, CommitError, Header, Identity, Lease, Mark, SlotState, Store};
use postern_config::policy::KeysError;
use postern_config::{PAYLOAD_BYTES_MAX, PayloadError, SCHEMA, Site, held, schema};
use postern_console::rpc::reply::{Checked, ConfigPart, Generation, Origin, StoreHealth, Trial};
use postern_console::rpc::request::Source;
use postern_console::rpc::{CHUNK_BYTES_MAX, InvalidConfig, Refusal};
use postern_core::audit::{ConfigChange, Event};
use postern_core::engine::Keys;
use postern_core::limits::{HEALTHY_AFTER, KEYS_MAX, ROWS_MAX};
use postern_core::port::{CeilingWrite, Journal, JournalFailed, Partition};
use postern_core::rule::{Name, RuleSet};
use postern_core::spa::key::{DeviceId, KeyTag};
use postern_core::spa::replay::COUNT_BITS;
use postern_core::time::{Duration, Instant};

use crate::control::Device;
use crate::machine::Machine;
use crate::supervision::{self, Start};

mod change;
mod staging;
mod validity;

pub(crate) use change::whole;
use staging::Staging;
pub use validity::validate;

/// A configuration that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Running {
    site: Box<Site>,
    /// 0 is the factory profile.
    generation: u64,
    digest: [u8; 32],
    floor: u32,
}

/// A trial that runs.
#[derive(Clone, Debug)]
struct RunningTrial {
    ends: Instant,
    /// What is in force again when nobody confirms.
    before: Running,
    by: Name,
}

/// Who asks for a change.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// Which connection.
    pub peer: u32,
    /// As whom.
    pub account: &'a Name,
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The generation in force.
    pub generation: u64,
    /// Whether anything was written.
    pub written: bool,
}

/// The configuration of the gateway and the partition it lies on.
pub struct Configuration<P> {
    device: Device,
    store: Store<P>,
    running: Running,
    /// The factory profile as a payload, which is a hundredth of its size as a site.
    factory: Box<[u8]>,
    trial: Option<RunningTrial>,
    staging: Staging,
    failed: bool,
    /// A failure nobody has been told of.
    untold: bool,
    /// Keys and rows of sequences in force, by their names in the journal: leases of others may make room.
    live: heapless::Vec<u64, { KEYS_MAX + ROWS_MAX }>,
    healthy_at: Option<Instant>,
    /// Safe mode, and when it ends by itself.
    safe: Option<SafeMode>,
    /// A trial that the last start lost; 0 is none.
    lost_trial: u64,
}

/// Only the shut ports and the accounts of what is in force are used.
#[derive(Clone, Copy, Debug)]
struct SafeMode {
    retry_after: Duration,
    /// `None` until the machine runs.
    retry_at: Option<Instant>,
}

impl<P> fmt::Debug for Configuration<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration").field("generation", &self.running.generation).finish_non_exhaustive()
    }
}

impl<P: Partition> Configuration<P> {
    /// Chooses what is in force: the newest configuration that counts and that this version can
    /// run, or else the factory profile. Does not write.
    pub fn choose(mut store: Store<P>, factory: Box<Site>) -> Self {
        let mut scratch = scratch();
        let running = newest_that_runs(&mut store, &mut scratch);
        let octets = schema::encode(&factory, &mut scratch).ok().and_then(|bytes| scratch.get(..bytes));
        let octets = octets.map(Box::from).unwrap_or_default();
        let running = running.unwrap_or(Running { site: factory, generation: 0, digest: [0; 32], floor: 0 });
        // The factory profile is as safe as can be.
        let safe = match supervision::start_after(store.journal().unclean_boots) {
            Start::Safe { retry_after } if running.generation != 0 => {
                Some(SafeMode { retry_after, retry_at: None })
            }
            _ => None,
        };
        let lost_trial = store.journal().trial;
        Self {
            device: Device::default(),
            safe,
            lost_trial,
            store,
            running,
            factory: octets,
            trial: None,
            staging: Staging::new(),
            failed: false,
            untold: false,
            live: heapless::Vec::new(),
            healthy_at: None,
        }
    }

    /// Counts the start, before anything of the configuration is used: whatever ends it is known to the
    /// next one.
    pub fn count_start(&mut self) {
        if !supervision::counts(self.store.journal().unclean_boots) {
            return;
        }
        if let Err(error) = self.store.mark(Mark::Booted) {
            log::error!("the config partition failed: {error:?}; nothing can be committed until a restart");
            self.untold |= !core::mem::replace(&mut self.failed, true);
        }
    }

    /// The daemon ends because it was told to: that is no start that did not last.
    pub fn ended(&mut self) {
        if let Err(error) = self.store.mark(Mark::Healthy) {
            log::warn!("the next start will count this one as one that did not last: {error:?}");
        }
    }

    /// The machine runs it: tells what was found on the partition.
    pub fn started(&mut self, machine: &mut impl Machine, now: Instant) {
        for (slot, reason) in self.refused_slots() {
            machine.notice(Event::SlotRefused { slot, reason }, now);
        }
        if self.running.generation == 0 {
            machine.notice(Event::FactoryProfile, now);
        }
        let lost = core::mem::take(&mut self.lost_trial);
        if lost != 0 {
            change::changed(machine, ConfigChange::TrialLost, lost, &Name::new(), now);
        }
        let Some(safe) = &mut self.safe else {
            self.healthy_at = Some(now + HEALTHY_AFTER);
            return;
        };
        let retry_after = safe.retry_after;
        safe.retry_at = Some(now + retry_after);
        let starts = self.store.journal().unclean_boots.saturating_sub(1);
        machine.notice(Event::SafeMode { starts, retry_after }, now);
    }

    /// Safe mode has lasted long enough: the whole configuration is tried again. The count is cleared
    /// when it lasts.
    fn leave_safe_mode(&mut self, machine: &mut impl Machine, now: Instant) {
        let Some(before) = self.safe.take() else { return };
        match self.apply(machine, now) {
            Ok(()) => {
                self.healthy_at = Some(now + HEALTHY_AFTER);
                machine.notice(Event::SafeModeLeft, now);
            }
            Err(reason) => {
                log::error!("the whole configuration could not be put in force, safe mode goes on: {reason}");
                self.safe = Some(SafeMode { retry_at: Some(now + before.retry_after), ..before });
            }
        }
    }

    /// Whether the partition still holds what is in force: nobody but this may write it.
    pub fn is_still_there(&mut self) -> bool {
        self.store.read_again();
        let running = self.trial.as_ref().map_or(&self.running, |trial| &trial.before);
        let held = self.store.in_force().map_or((0, [0; 32]), |header| (header.generation, header.digest));
        if held != (running.generation, running.digest) {
            return false;
        }
        // What cannot be read at the moment is not forgotten by the store, but is not there either.
        match self.store.choice() {
            Choice::Slot(index) => self.store.read(index, &mut scratch()).is_ok(),
            Choice::Factory => true,
        }
    }

    /// Another partition lies at the store's path: puts what it holds in force.
    ///
    /// # Errors
    /// What is wrong with it; what was in force stays, on the partition before.
    pub fn replace_store(
        &mut self,
        mut store: Store<P>,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<(), String> {
        let next = newest_that_runs(&mut store, &mut scratch()).ok_or("it holds no configuration")?;
        let rules = next.site.rules().map_err(|error| format!("its rules cannot be run: {error:?}"))?;
        // A partition that was never used has no device yet, for which its keys are made.
        let keys = match store.identity() {
            Some(identity) => keys_of(&next.site, &store, identity.id).map_err(|error| bad_keys(&error))?,
            None => Keys::none(),
        };
        machine.apply(&next.site, rules, keys, now)?;
        (self.store, self.running, self.trial) = (store, next, None);
        (self.staging, self.failed) = (Staging::new(), false);
        self.another_runs(now);
        Ok(())
    }

    /// Learns who this device is. At its first start it is given an identity, and what it was flashed
    /// with is sealed.
    ///
    /// # Errors
    /// When there are no random numbers to make it of.
    pub fn identify(&mut self, random: impl Fn() -> Result<[u8; 48], String>) -> Result<(), String> {
        let fresh = match self.store.identity() {
            Some(identity) => identity.clone(),
            None => Identity::from_random(&random()?),
        };
        if let Err(error) = self.store.adopt(fresh.clone()) {
            log::error!("the device could not be given an identity: {error:?}; it has none that lasts");
            self.failed = true;
        }
        let known = self.store.identity().unwrap_or(&fresh);
        self.device = Device { id: known.id, key: known.key };
        Ok(())
    }

    /// Answers for a device that is not here: its identity is nobody's, and is not written.
    pub fn stand_in(&mut self) {
        self.device = match self.store.identity() {
            Some(identity) => Device { id: identity.id, key: identity.key },
            None => Device::default(),
        };
    }

    /// The keys of the site in force, once it is known who this device is.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn keys(&mut self) -> Result<Keys, String> {
        let keys = keys_of(&self.used(), &self.store, self.device.id);
        let keys = keys.map_err(|error| bad_keys(&error))?;
        self.note_live(&keys);
        Ok(keys)
    }

    /// What the machine is to run: the site in force, or what is used of it in safe mode.
    pub fn used(&self) -> Box<Site> {
        if self.safe.is_some() { supervision::shut(&self.running.site) } else { self.running.site.clone() }
    }

    /// Another configuration was put in force: what there was of safe mode is over, and it has to last.
    fn another_runs(&mut self, now: Instant) {
        if self.safe.take().is_some() {
            self.healthy_at = Some(now + HEALTHY_AFTER);
        }
    }

    fn note_live(&mut self, keys: &Keys) {
        self.live = keys.tags().map(KeyTag::fingerprint).collect();
    }

    /// Begins a new epoch of a key: whatever its client counts to from here on counts. Returns the epoch.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] and [`Refusal::Medium`].
    pub fn rebase_key(
        &mut self,
        account: &Name,
        name: &Name,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<u16, Refusal> {
        let keys = machine.engine().keys();
        let tag = keys.tag(name).ok_or(Refusal::NotFound)?;
        let start = keys.next_epoch(tag).ok_or(Refusal::NotFound)?;
        let lease = Lease { fingerprint: tag.fingerprint(), ceiling: start };
        if let Err(error) = self.store.rebase(lease, &self.live) {
            log::error!("the new epoch of key {name} could not be written: {error:?}");
            self.failed = true;
            machine.notice(Event::StoreFailed, now);
            return Err(Refusal::Medium);
        }
        machine.engine().key_rebased(tag, start);
        let epoch = u16::try_from(start >> COUNT_BITS).unwrap_or(u16::MAX);
        machine.notice(Event::KeyRebased { key: name.clone(), epoch, by: account.clone() }, now);
        Ok(epoch)
    }

    /// Who this device is.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The site in force.
    pub fn site(&self) -> &Site {
        &self.running.site
    }

    /// The rules of what is used.
    ///
    /// # Errors
    /// Never for a configuration this has chosen.
    pub fn rules(&self) -> Result<RuleSet, postern_core::rule::RuleError> {
        self.used().rules()
    }

    /// Its generation; 0 is the factory profile.
    pub fn generation(&self) -> u64 {
        self.running.generation
    }

    /// SHA-256 of its payload.
    pub fn digest(&self) -> [u8; 32] {
        self.running.digest
    }

    /// Where it came from.
    pub fn origin(&self) -> Origin {
        match (self.running.generation, &self.safe) {
            (0, _) => Origin::Factory,
            (_, Some(_)) => Origin::Safe,
            (_, None) => Origin::Slot,
        }
    }

    /// The store it lies in.
    pub fn store(&self) -> &Store<P> {
        &self.store
    }

    /// Gives the store back.
    pub fn into_store(self) -> Store<P> {
        self.store
    }

    /// How the partition is.
    pub fn health(&self) -> StoreHealth {
        let slots = u8::try_from(self.refused_slots().count()).unwrap_or(u8::MAX);
        match (self.failed || !self.store.is_read(), slots) {
            (true, _) => StoreHealth::Failed,
            (false, 0) => StoreHealth::Good,
            (false, slots) => StoreHealth::SlotsRefused { slots },
        }
    }

    /// The trial that runs.
    pub fn trial(&self, now: Instant) -> Option<Trial> {
        let trial = self.trial.as_ref()?;
        let secs_left = u32::try_from(trial.ends.since(now).secs_ceil()).unwrap_or(u32::MAX);
        Some(Trial { generation: self.running.generation, secs_left })
    }

    /// When [`Configuration::tick`] must be called.
    pub fn poll_at(&self) -> Option<Instant> {
        let trial = self.trial.as_ref().map(|trial| trial.ends);
        let retry = self.safe.and_then(|safe| safe.retry_at);
        [trial, self.healthy_at, retry, self.staging.expires_at()].into_iter().flatten().min()
    }

    /// Time has passed: ends what is over.
    pub fn tick(&mut self, machine: &mut impl Machine, now: Instant) {
        if core::mem::take(&mut self.untold) {
            machine.notice(Event::StoreFailed, now);
        }
        if self.trial.as_ref().is_some_and(|trial| trial.ends <= now) {
            self.end_trial(ConfigChange::TrialTimedOut, machine, now);
        }
        if self.safe.and_then(|safe| safe.retry_at).is_some_and(|at| at <= now) {
            self.leave_safe_mode(machine, now);
        }
        if self.healthy_at.is_some_and(|at| at <= now) {
            self.healthy_at = None;
            self.mark(Mark::Healthy, machine, now);
        }
        self.staging.expire(now);
    }

    /// A part of a configuration, with labels in the place of secrets.
    ///
    /// # Errors
    /// [`Refusal::NotFound`] and [`Refusal::Medium`].
    pub fn part(&mut self, source: Source, offset: u32) -> Result<ConfigPart, Refusal> {
        let running = match source {
            Source::Running => self.running.clone(),
            Source::Generation(generation) if generation == self.running.generation => self.running.clone(),
            Source::Generation(generation) => self.of_history(generation)?,
        };
        let mut site = running.site;
        held::hide(&mut site, &self.device.key);
        let mut scratch = scratch();
        let bytes = schema::encode(&site, &mut scratch).map_err(|_| Refusal::Medium)?;
        let payload = scratch.get(..bytes).unwrap_or_default();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = payload.get(from..).unwrap_or_default();
        let part = part.get(..CHUNK_BYTES_MAX).unwrap_or(part);
        Ok(ConfigPart {
            generation: running.generation,
            schema: SCHEMA,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            offset,
            part: heapless::Vec::from_slice(part).unwrap_or_default(),
        })
    }

    /// One entry of the history, 0 the newest.
    pub fn history(&self, index: u8) -> Option<Generation> {
        let mut headers: Vec<&Header> = self.store.slots().iter().filter_map(SlotState::header).collect();
        headers.sort_by_key(|header| std::cmp::Reverse(header.generation));
        let header = headers.get(usize::from(index))?;
        let confirmed = self.store.journal().is_confirmed(header.generation, &header.digest);
        Some(Generation {
            generation: header.generation,
            digest: header.digest,
            bytes: header.payload_bytes,
            floor: header.floor,
            unconfirmed: header.trial && !confirmed,
            in_force: header.generation == self.running.generation,
        })
    }

    /// Begins to take a configuration from `peer`.
    ///
    /// # Errors
    /// [`Refusal::Busy`] and [`Refusal::Invalid`].
    pub fn stage(
        &mut self,
        peer: u32,
        schema: u16,
        bytes: u32,
        digest: [u8; 32],
        now: Instant,
    ) -> Result<(), Refusal> {
        self.staging.begin(peer, schema, bytes, digest, now)
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// [`Refusal::OutOfOrder`].
    pub fn stage_part(&mut self, peer: u32, offset: u32, part: &[u8], now: Instant) -> Result<(), Refusal> {
        self.staging.take(peer, offset, part, now)
    }

    /// A peer is gone: what it was bringing is dropped.
    pub fn peer_left(&mut self, peer: u32) {
        self.staging.peer_left(peer);
    }

    /// What the staged configuration would be.
    ///
    /// # Errors
    /// [`Refusal::OutOfOrder`] and [`Refusal::Invalid`].
    pub fn check(&mut self, peer: u32, machine: &mut impl Machine) -> Result<Checked, Refusal> {
        let (site, rules) = self.staged(peer)?;
        let lost = machine.engine().grants().filter(|grant| {
            let kept = rules.doors().iter().find(|door| door.name == grant.door_name);
            !kept.is_some_and(|door| grant.goes_on(door))
        });
        let grants_lost = u16::try_from(lost.count()).unwrap_or(u16::MAX);
        let unchanged = *site == *self.running.site;
        let doors = u16::try_from(site.doors.len()).unwrap_or(u16::MAX);
        Ok(Checked { doors, grants_lost, unchanged })
    }

    /// The staged site, complete and valid.
    fn staged(&mut self, peer: u32) -> Result<(Box<Site>, RuleSet), Refusal> {
        let mut site = self.staging.site(peer)?;
        held::restore(&mut site, &self.running.site, &self.device.key)
            .map_err(|_| Refusal::Invalid(InvalidConfig::SecretNotHeld))?;
        let rules = validate(&site, &self.running.site)?;
        Ok((site, rules))
    }

    fn of_history(&mut self, generation: u64) -> Result<Running, Refusal> {
        let wanted = |slot: &SlotState| slot.header().is_some_and(|header| header.generation == generation);
        let index = self.store.slots().iter().position(wanted).ok_or(Refusal::NotFound)?;
        read_slot(&mut self.store, index, &mut scratch()).ok_or(Refusal::NotFound)
    }

    fn refused_slots(&self) -> impl Iterator<Item = (u8, &'static str)> + '_ {
        let slots = (0..).zip(self.store.slots());
        slots.filter_map(|(index, slot)| Some((index, slot.refusal()?)))
    }

    fn mark(&mut self, mark: Mark, machine: &mut impl Machine, now: Instant) {
        if let Err(error) = self.store.mark(mark) {
            let _ = self.medium(error, machine, now);
        }
    }

    /// The medium failed: what is on it is not known until it is opened anew.
    fn medium(&mut self, error: CommitError, machine: &mut impl Machine, now: Instant) -> Refusal {
        log::error!("the config partition failed: {error:?}; nothing can be committed until a restart");
        if !core::mem::replace(&mut self.failed, true) {
            machine.notice(Event::StoreFailed, now);
        }
        Refusal::Medium
    }
}

impl<P: Partition> Journal for Configuration<P> {
    fn write_ceiling(&mut self, write: CeilingWrite) -> Result<(), JournalFailed> {
        let lease = Lease { fingerprint: write.tag.fingerprint(), ceiling: write.ceiling };
        self.store.lease(lease, &self.live).map_err(|error| {
            log::error!("a counter could not be leased: {error:?}; its client must knock again");
            self.untold |= !core::mem::replace(&mut self.failed, true);
            JournalFailed
        })
    }
}

/// The keys of a site for one device, as far as they were used.
fn keys_of<P: Partition>(site: &Site, store: &Store<P>, device: [u8; 16]) -> Result<Keys, KeysError> {
    let ceiling = |tag: KeyTag| {
        // Which counters were used cannot be told: every one may have been.
        let unknown = if store.are_leases_known() { 0 } else { u64::MAX };
        store.leases().ceiling(tag.fingerprint()).unwrap_or(0).max(unknown)
    };
    site.spa_keys(DeviceId(device), ceiling)
}

fn bad_keys(error: &KeysError) -> String {
    format!("its keys cannot be honoured: {error:?}")
}

/// Room for the octets of a payload on its way out or in. Not kept: changes are rare.
fn scratch() -> Box<[u8]> {
    vec![0; PAYLOAD_BYTES_MAX].into_boxed_slice()
}

/// The newest configuration that counts, falling back where this version cannot run one: it may
/// have been written by a later version that was taken back.
fn newest_that_runs<P: Partition>(store: &mut Store<P>, scratch: &mut [u8]) -> Option<Running> {
    if let Choice::Slot(index) = store.choice() {
        if let Some(running) = read_slot(store, index, scratch) {
            return Some(running);
        }
    }
    let mut others: Vec<(u64, usize)> = Vec::new();
    for (index, slot) in store.slots().iter().enumerate() {
        let Some(header) = slot.header() else { continue };
        let confirmed = store.journal().is_confirmed(header.generation, &header.digest);
        if (!header.trial || confirmed) && header.floor >= store.journal().floor {
            others.push((header.generation, index));
        }
    }
    others.sort_by_key(|(generation, _)| std::cmp::Reverse(*generation));
    others.into_iter().find_map(|(_, index)| read_slot(store, index, scratch))
}

fn read_slot<P: Partition>(store: &mut Store<P>, index: usize, scratch: &mut [u8]) -> Option<Running> {
    let header = *store.slots().get(index)?.header()?;
    let payload = store.read(index, scratch).ok()?;
    let site = match schema::decode(header.schema, payload) {
        Ok(site) => Box::new(site),
        Err(PayloadError::OtherSchema(schema)) => {
            log::warn!("generation {} has schema {schema}, which a later version wrote", header.generation);
            return None;
        }
        Err(_) => return None,
    };
    site.rules().ok()?;
    Some(Running { site, generation: header.generation, digest: header.digest, floor: header.floor })
}
