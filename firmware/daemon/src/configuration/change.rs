//! Changing what is in force: commit, trial, confirm, cancel, roll back, enrol, wipe.

use postern_config::partition::{Kind, Mark};
use postern_config::signed::{FleetConfig, SIGNATURE_BYTES};
use postern_config::{Role, SCHEMA, Site, schema};
use postern_console::rpc::reply::Trial;
use postern_console::rpc::request::{NewAccount, OwnerSignature, Standing};
use postern_console::rpc::{InvalidConfig, Refusal};
use postern_core::audit::{ConfigChange, Event};
use postern_core::limits::{TRIAL_MAX, TRIAL_MIN};
use postern_core::port::Partition;
use postern_core::rule::{Name, RuleSet};
use postern_core::time::{Duration, Instant};
use sha2::{Digest, Sha256};

use super::staging::Staging;
use super::validity::{self, validate};
use super::{Author, Configuration, InForce, Running, RunningTrial};
use crate::machine::Machine;

/// A change that was found valid.
struct Change<'a> {
    site: Box<Site>,
    rules: RuleSet,
    floor: u32,
    standing: Standing,
    by: &'a Name,
}

impl<P: Partition> Configuration<P> {
    /// Puts the staged configuration in force.
    ///
    /// # Errors
    /// [`Refusal`]; what was in force before is in force.
    pub fn commit(
        &mut self,
        author: Author<'_>,
        base: u64,
        standing: Standing,
        signed: Option<&OwnerSignature>,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<InForce, Refusal> {
        self.refuse_during_trial(now)?;
        self.refuse_conflict(base)?;
        let (site, rules) = self.staged(author.peer)?;
        let floor = self.floor_signed(signed)?;
        let change = Change { site, rules, floor, standing, by: author.account };
        let changed = self.put_in_force(change, machine, now)?;
        self.staging.peer_left(author.peer);
        Ok(changed)
    }

    /// The trial stands from now on.
    ///
    /// # Errors
    /// [`Refusal::NoTrial`] and [`Refusal::Medium`], after which the trial still runs.
    pub fn confirm(
        &mut self,
        account: &Name,
        generation: u64,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<InForce, Refusal> {
        self.trial_of(generation)?;
        if self.store.hides_something() {
            log::error!(
                "a slot of the config partition cannot be read and may hold what is newer: the trial cannot be \
                 confirmed. A commit without a trial makes that slot void"
            );
            return Err(Refusal::Medium);
        }
        self.store.confirm(generation).map_err(|error| self.medium(error, machine, now))?;
        self.trial = None;
        changed(machine, ConfigChange::Confirmed, generation, account, now);
        Ok(InForce { generation, written: true })
    }

    /// Takes the trial back.
    ///
    /// # Errors
    /// [`Refusal::NoTrial`].
    pub fn cancel(
        &mut self,
        account: &Name,
        generation: u64,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<InForce, Refusal> {
        self.trial_of(generation)?;
        if let Some(trial) = &mut self.trial {
            trial.by = account.clone();
        }
        self.end_trial(ConfigChange::TrialCancelled, machine, now);
        Ok(InForce { generation: self.running.generation, written: false })
    }

    /// Puts an older configuration in force, as a new generation.
    ///
    /// # Errors
    /// [`Refusal`]; what was in force before is in force.
    pub fn rollback(
        &mut self,
        account: &Name,
        (base, to): (u64, u64),
        standing: Standing,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<InForce, Refusal> {
        self.refuse_during_trial(now)?;
        self.refuse_conflict(base)?;
        let site = self.of_history(to)?.site;
        let rules = validate(&site, &self.running.site)?;
        let change = Change { site, rules, floor: self.running.floor, standing, by: account };
        self.put_in_force(change, machine, now)
    }

    /// Adds an account, or replaces the one with its name, for good.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was changed then.
    pub fn enrol(
        &mut self,
        account: &NewAccount,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<InForce, Refusal> {
        self.refuse_during_trial(now)?;
        let mut site = self.running.site.clone();
        let stored = validity::stored_account(account, Role::Admin)?;
        site.accounts.retain(|other| other.name != account.name);
        site.accounts.push(stored).map_err(|_| Refusal::Invalid(InvalidConfig::TooLong))?;
        let rules = site.rules().map_err(|_| Refusal::Invalid(InvalidConfig::Rules))?;
        let (floor, standing, by) = (self.running.floor, Standing::Permanent, &account.name);
        self.put_in_force(Change { site, rules, floor, standing, by }, machine, now)
    }

    /// Erases everything and runs the factory profile.
    ///
    /// # Errors
    /// [`Refusal::Medium`] and [`Refusal::NotApplied`].
    pub fn wipe(&mut self, account: &Name, machine: &mut impl Machine, now: Instant) -> Result<(), Refusal> {
        let factory = schema::decode(SCHEMA, &self.factory).map(Box::new);
        let factory = factory.map_err(|_| Refusal::NotApplied)?;
        let rules = factory.rules().map_err(|_| Refusal::NotApplied)?;
        let keys = super::keys_of(&factory, &self.store, self.device.id);
        let keys = keys.map_err(|_| Refusal::NotApplied)?;
        self.note_live(&keys);
        machine.apply(&factory, rules, keys, now).map_err(not_applied)?;
        let old = self.running.generation;
        self.running = Running { site: factory, generation: 0, digest: [0; 32], floor: 0 };
        self.trial = None;
        self.another_runs(now);
        self.staging = Staging::new();
        self.store.wipe().map_err(|error| self.medium(error, machine, now))?;
        changed(machine, ConfigChange::Wiped, old, account, now);
        Ok(())
    }

    fn put_in_force(
        &mut self,
        change: Change<'_>,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<InForce, Refusal> {
        let Change { site, rules, floor, standing, by } = change;
        let until = trial_end(standing, now)?;
        let mut scratch = super::scratch();
        let bytes =
            schema::encode(&site, &mut scratch).map_err(|_| Refusal::Invalid(InvalidConfig::TooLong))?;
        let digest: [u8; 32] = Sha256::digest(scratch.get(..bytes).unwrap_or_default()).into();
        if digest == self.running.digest && floor == self.running.floor {
            // The same again: for good or on trial, there is nothing to write and nothing to lose.
            return Ok(InForce { generation: self.running.generation, written: false });
        }
        if self.failed {
            return Err(Refusal::Medium);
        }
        let keys = super::keys_of(&site, &self.store, self.device.id);
        let keys = keys.map_err(|_| Refusal::Invalid(InvalidConfig::Malformed))?;
        let live = core::mem::take(&mut self.live);
        self.note_live(&keys);
        if let Err(reason) = machine.apply(&site, rules, keys, now) {
            self.live = live;
            return Err(not_applied(reason));
        }
        let kind = if until.is_some() { Kind::Trial } else { Kind::Permanent };
        let payload = scratch.get(..bytes).unwrap_or_default();
        let header = match self.store.commit(payload, SCHEMA, floor, kind) {
            Ok(header) => header,
            Err(error) => {
                let refusal = self.medium(error, machine, now);
                self.reapply(machine, now);
                return Err(refusal);
            }
        };
        let next = Running { site, generation: header.generation, digest, floor: header.floor };
        let before = core::mem::replace(&mut self.running, next);
        self.another_runs(now);
        self.trial = until.map(|ends| RunningTrial { ends, before, by: by.clone() });
        let change = if until.is_some() { ConfigChange::Tried } else { ConfigChange::Committed };
        changed(machine, change, header.generation, by, now);
        Ok(InForce { generation: header.generation, written: true })
    }

    pub(super) fn end_trial(&mut self, change: ConfigChange, machine: &mut impl Machine, now: Instant) {
        let Some(RunningTrial { before, by, .. }) = self.trial.take() else { return };
        let taken_back = self.running.generation;
        self.running = before;
        self.reapply(machine, now);
        // Without this the next start would say that it lost the trial.
        self.mark(Mark::TakenBack, machine, now);
        changed(machine, change, taken_back, &by, now);
    }

    /// Makes the machine run what is in force again.
    fn reapply(&mut self, machine: &mut impl Machine, now: Instant) {
        if let Err(reason) = self.apply(machine, now) {
            log::error!(
                "the configuration before could not be put in force again: {reason}; restart posternd"
            );
            machine.notice(Event::ConfigRejected, now);
        }
    }

    /// Makes the machine run what is to be used.
    pub(super) fn apply(&mut self, machine: &mut impl Machine, now: Instant) -> Result<(), String> {
        let site = self.used();
        let rules = site.rules().map_err(|error| format!("{error:?}"))?;
        let keys = self.keys()?;
        machine.apply(&site, rules, keys, now)
    }

    /// The floor an owner's signature over what is staged allows; without one it stays.
    fn floor_signed(&self, signed: Option<&OwnerSignature>) -> Result<u32, Refusal> {
        let Some(signature) = signed else { return Ok(self.running.floor) };
        let owner = self.running.site.owner.ok_or(Refusal::NoOwner)?;
        let (_, digest) = self.staging.announced().ok_or(Refusal::OutOfOrder)?;
        if !owner_signed(&owner, signature, self.device.id, digest) {
            return Err(Refusal::BadSignature);
        }
        let floor = self.store.journal().floor.max(self.running.floor);
        if signature.floor < floor { Err(Refusal::BelowFloor { floor }) } else { Ok(signature.floor) }
    }

    fn refuse_during_trial(&self, now: Instant) -> Result<(), Refusal> {
        match self.trial(now) {
            Some(Trial { generation, secs_left }) => Err(Refusal::TrialPending { generation, secs_left }),
            None => Ok(()),
        }
    }

    fn refuse_conflict(&self, base: u64) -> Result<(), Refusal> {
        let generation = self.running.generation;
        if base == generation { Ok(()) } else { Err(Refusal::Conflict { generation }) }
    }

    fn trial_of(&self, generation: u64) -> Result<(), Refusal> {
        let runs = self.trial.is_some() && self.running.generation == generation;
        if runs { Ok(()) } else { Err(Refusal::NoTrial) }
    }
}

pub(super) fn changed(
    machine: &mut impl Machine,
    change: ConfigChange,
    generation: u64,
    by: &Name,
    now: Instant,
) {
    machine.notice(Event::ConfigChanged { change, generation, by: by.clone() }, now);
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
fn not_applied(reason: String) -> Refusal {
    log::error!("a configuration was not put in force: {reason}");
    Refusal::NotApplied
}

fn trial_end(standing: Standing, now: Instant) -> Result<Option<Instant>, Refusal> {
    match standing {
        Standing::Permanent => Ok(None),
        Standing::Trial { secs } => {
            let time = Duration::from_secs(u64::from(secs));
            let fits = (TRIAL_MIN..=TRIAL_MAX).contains(&time);
            if fits { Ok(Some(now + time)) } else { Err(Refusal::Malformed) }
        }
    }
}

/// Whether the owner signed that this configuration may run on this device.
fn owner_signed(owner: &[u8; 32], signed: &OwnerSignature, device: [u8; 16], digest: [u8; 32]) -> bool {
    let config = FleetConfig { device: signed.device, floor: signed.floor, digest };
    let meant = signed.device.is_none_or(|only| only == device);
    meant && config.verify(owner, &whole(signed.signature_r, signed.signature_s)).is_ok()
}

/// The two halves of a signature: serde knows arrays of 32 octets and no longer ones.
pub(crate) fn whole(r: [u8; 32], s: [u8; 32]) -> [u8; SIGNATURE_BYTES] {
    let mut whole = [0; SIGNATURE_BYTES];
    for (place, octet) in whole.iter_mut().zip(r.into_iter().chain(s)) {
        *place = octet;
    }
    whole
}
