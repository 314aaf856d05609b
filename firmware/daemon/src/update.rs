//! Updates of the whole system: a signed one is streamed to the slot that does not run, read back, and
//! tried with the next start.
//!
//! ```text
//! other slot marked as nothing to start -> octets written -> read back, digests compared
//!   -> other slot started next, on trial -> confirmed: it stays
//!                                       \-> not confirmed, or never healthy: this one again
//! ```
//!
//! Signature, board, release and sizes are proved before the first octet is written. Everything is done
//! inside the turn, in slices of [`SLICE_BYTES`]: a turn writes or reads one slice at most twice, past the
//! page cache, so that no flush has more than that to do. There is no thread and no other process that
//! would need the medium, and nothing that the simulator does not drive as well.

use core::fmt;

use heapless::String;
use postern_config::slots::{ATTEMPTS, Choice, Slot};
use postern_config::update::{BOARD_BYTES_MAX, MANIFEST_BYTES, Manifest, ManifestError};
use postern_console::rpc::reply::{UpdateFailure, UpdateStage, UpdateStatus};
use postern_console::rpc::{Refusal, UpdateRefusal};
use postern_core::audit::{Event, UpdateAct};
use postern_core::limits::{SLOT_HEALTHY_AFTER, STAGING_IDLE};
use postern_core::port::{Partition, PartitionError};
use postern_core::rule::Name;
use postern_core::time::{Duration, Instant};
use sha2::{Digest, Sha256};

use crate::machine::Machine;

/// Octets written or read at once.
pub const SLICE_BYTES: usize = 16 * 1024;

/// Octets between two flushes.
const FLUSH_EVERY: u64 = 1024 * 1024;

/// How long a start on trial may wait to be confirmed, in seconds.
const WAIT_SECS: core::ops::RangeInclusive<u32> = 60..=86_400;

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct This {
    /// Name of the board.
    pub board: String<BOARD_BYTES_MAX>,
    /// The slot.
    pub slot: Slot,
    /// Its release.
    pub release: u32,
}

/// The partitions of updates.
pub struct Media {
    /// The choice of the slot.
    pub environment: Box<dyn Partition + Send>,
    /// Kernel of the slot that does not run.
    pub kernel: Box<dyn Partition + Send>,
    /// Root file system of the slot that does not run.
    pub root: Box<dyn Partition + Send>,
}

/// An update on its way.
struct Arriving {
    octets: heapless::Vec<u8, MANIFEST_BYTES>,
    manifest: Manifest,
    by: Name,
    /// Octets that came in order; those behind the last slice are in the buffer.
    received: u64,
    expires: Instant,
}

/// An update that is read back.
struct Verifying {
    arriving: Box<Arriving>,
    checked: u64,
    wait_secs: u32,
    hasher: Sha256,
}

enum Stage {
    Idle,
    Receiving(Box<Arriving>),
    Verifying(Box<Verifying>),
    Ready(Box<Arriving>),
    Failed(u32, UpdateFailure),
}

/// Updates of this machine.
pub struct Updates {
    this: This,
    media: Media,
    /// As it stands on the medium, but for a last resort that has not lasted yet.
    choice: Choice,
    stage: Stage,
    slice: Box<[u8]>,
    filled: usize,
    unflushed: u64,
    /// Nothing was wrong since then.
    well_since: Instant,
    healthy: bool,
    fell_back: bool,
    /// When a trial that waits is taken back.
    ends: Option<Instant>,
}

impl fmt::Debug for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates")
            .field("this", &self.this)
            .field("choice", &self.choice)
            .finish_non_exhaustive()
    }
}

/// What to make of a choice that names the other slot, if the boot script has started `this` slot as its last
/// resort: an attempt of the other was taken, and that one did not even start. A choice that a daemon of this
/// slot has made for the next start has all its attempts.
fn last_resort(choice: Choice, this: Slot) -> Option<Choice> {
    let resort = choice.slot != this && !choice.other_good && choice.left < ATTEMPTS;
    resort.then_some(Choice { slot: this, trial: false, wait_secs: 0, fell_back: true, ..choice })
}

fn name_of(error: PartitionError) -> Refusal {
    log::error!("the medium of the slots failed: {error:?}");
    Refusal::Update(UpdateRefusal::Medium)
}

impl Updates {
    /// Reads which slot is started next, and tells what the boot loader has done.
    ///
    /// # Errors
    /// When the choice cannot be read.
    pub fn begin_watch(
        this: This,
        mut media: Media,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<Self, PartitionError> {
        let found = Choice::load(&mut *media.environment)?.map(|(choice, _)| choice);
        // Neither copy is whole: nothing is known of the other slot, and this one runs.
        let choice = found.unwrap_or(Choice { slot: this.slot, ..Choice::FACTORY });
        let choice = last_resort(choice, this.slot).unwrap_or(choice);
        let mut updates = Self {
            this,
            media,
            choice,
            stage: Stage::Idle,
            slice: vec![0; SLICE_BYTES].into_boxed_slice(),
            filled: 0,
            unflushed: 0,
            well_since: now,
            healthy: false,
            fell_back: choice.fell_back,
            ends: None,
        };
        if choice.fell_back {
            updates.tell(UpdateAct::FellBack, updates.this.release, &Name::new(), machine, now);
        }
        if updates.on_trial() {
            let wait = Duration::from_secs(u64::from(choice.wait_secs));
            updates.ends = (choice.wait_secs > 0).then(|| now + wait);
            updates.tell(UpdateAct::OnTrial, updates.this.release, &Name::new(), machine, now);
        }
        Ok(updates)
    }

    /// How updates stand.
    pub fn status(&self, now: Instant) -> UpdateStatus {
        let bytes = |manifest: &Manifest| octets(manifest.bytes());
        UpdateStatus {
            board: self.this.board.clone(),
            slot_b: self.this.slot == Slot::B,
            release: self.this.release,
            floor: self.floor(),
            trial: self.on_trial(),
            secs_left: self.ends.map(|ends| u32::try_from(ends.since(now).secs_ceil()).unwrap_or(u32::MAX)),
            left: self.choice.left,
            other_good: self.choice.other_good,
            fell_back: self.fell_back,
            healthy: self.healthy,
            stage: match &self.stage {
                Stage::Idle => UpdateStage::Idle,
                Stage::Receiving(arriving) => {
                    let Arriving { manifest, received, .. } = &**arriving;
                    let (release, received) = (manifest.release, octets(*received));
                    UpdateStage::Receiving { release, received, bytes: bytes(manifest) }
                }
                Stage::Verifying(verifying) => {
                    let Verifying { arriving, checked, .. } = &**verifying;
                    let Arriving { manifest, .. } = &**arriving;
                    let (release, checked) = (manifest.release, octets(*checked));
                    UpdateStage::Verifying { release, checked, bytes: bytes(manifest) }
                }
                Stage::Ready(arriving) => UpdateStage::Ready { release: arriving.manifest.release },
                Stage::Failed(release, why) => UpdateStage::Failed { release: *release, why: *why },
            },
        }
    }

    /// Begins to take an update, or goes on with the same. `owner` is the key that must have signed it.
    ///
    /// # Errors
    /// Why not; nothing was written then, but for [`UpdateRefusal::Medium`].
    pub fn begin(
        &mut self,
        octets: &[u8],
        owner: Option<[u8; 32]>,
        only_check: bool,
        by: &Name,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<UpdateStatus, Refusal> {
        let manifest = self.admit(octets, owner).map_err(|(refusal, release, reason)| {
            self.tell(UpdateAct::Refused(reason), release, by, machine, now);
            refusal
        })?;
        if self.on_trial() {
            return Err(Refusal::Update(UpdateRefusal::OnTrial));
        }
        let same = match &self.stage {
            Stage::Receiving(arriving) if arriving.octets != octets && arriving.expires > now => {
                return Err(Refusal::Busy);
            }
            Stage::Receiving(arriving) => arriving.octets == octets,
            Stage::Verifying(verifying) if verifying.arriving.octets != octets => return Err(Refusal::Busy),
            Stage::Verifying(_) => true,
            Stage::Ready(ready) => ready.octets == octets && self.choice.slot != self.this.slot,
            Stage::Idle | Stage::Failed(..) => false,
        };
        if same || only_check {
            return Ok(self.status(now));
        }
        // Before the first octet: what is in the other slot is nothing to start from now on.
        self.keep_this(false).map_err(name_of)?;
        let octets = heapless::Vec::from_slice(octets).map_err(|_| Refusal::Malformed)?;
        (self.filled, self.unflushed) = (0, 0);
        self.tell(UpdateAct::Begun, manifest.release, by, machine, now);
        let expires = now + STAGING_IDLE;
        let by = by.clone();
        self.stage = Stage::Receiving(Box::new(Arriving { octets, manifest, by, received: 0, expires }));
        Ok(self.status(now))
    }

    /// Proves a manifest.
    fn admit(
        &mut self,
        octets: &[u8],
        owner: Option<[u8; 32]>,
    ) -> Result<Manifest, (Refusal, u32, &'static str)> {
        let owner = owner.ok_or((Refusal::NoOwner, 0, "no-owner"))?;
        let manifest = Manifest::verify(octets, &owner).map_err(|error| match error {
            ManifestError::Signature(_) => (Refusal::BadSignature, 0, "signature"),
            ManifestError::NotOne | ManifestError::OtherFormat(_) | ManifestError::Malformed => {
                (Refusal::Update(UpdateRefusal::Malformed), 0, "malformed")
            }
        })?;
        let (release, floor) = (manifest.release, self.floor());
        let refused = |refusal, reason| (Refusal::Update(refusal), release, reason);
        if manifest.board != self.this.board {
            return Err(refused(UpdateRefusal::OtherBoard, "other-board"));
        }
        if release < floor {
            return Err(refused(UpdateRefusal::Downgrade { floor }, "downgrade"));
        }
        let fits = u64::from(manifest.kernel.bytes) <= self.media.kernel.size_bytes()
            && u64::from(manifest.root.bytes) <= self.media.root.size_bytes();
        if fits { Ok(manifest) } else { Err(refused(UpdateRefusal::TooLarge, "too-large")) }
    }

    /// Takes a part. One that does not follow on is ignored: the peer asks how far it came.
    pub fn part(&mut self, offset: u32, part: &[u8], machine: &mut impl Machine, now: Instant) {
        let Stage::Receiving(arriving) = &mut self.stage else { return };
        let whole = arriving.manifest.bytes();
        if u64::from(offset) != arriving.received || arriving.received + part.len() as u64 > whole {
            return;
        }
        arriving.expires = now + STAGING_IDLE;
        let kernel = u64::from(arriving.manifest.kernel.bytes);
        let mut rest = part;
        while !rest.is_empty() {
            // A slice ends with the kernel: what follows goes to another partition.
            let end = if arriving.received < kernel { kernel } else { whole };
            let left = usize::try_from(end - arriving.received).unwrap_or(usize::MAX);
            let room = SLICE_BYTES.saturating_sub(self.filled);
            let (taken, behind) = rest.split_at(rest.len().min(room).min(left));
            let Some(place) = self.slice.get_mut(self.filled..self.filled + taken.len()) else { return };
            place.copy_from_slice(taken);
            self.filled += taken.len();
            arriving.received += taken.len() as u64;
            rest = behind;
            if self.filled < SLICE_BYTES && arriving.received < end {
                continue;
            }
            let at = arriving.received - self.filled as u64;
            let written = self.slice.get(..self.filled).ok_or(PartitionError::OutOfRange);
            let written = written.and_then(|slice| self.media.write(kernel, at, slice, &mut self.unflushed));
            self.filled = 0;
            if let Err(error) = written {
                log::error!("the other slot cannot be written: {error:?}");
                self.fail(UpdateFailure::Medium, machine, now);
                return;
            }
        }
    }

    /// All parts are there: they are read back from now on, a slice each turn.
    ///
    /// # Errors
    /// When parts are missing, or the medium failed.
    pub fn finish(
        &mut self,
        confirm_secs: u32,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<UpdateStatus, Refusal> {
        match &self.stage {
            Stage::Verifying(_) | Stage::Ready(..) => return Ok(self.status(now)),
            Stage::Receiving(arriving) if arriving.received == arriving.manifest.bytes() => {}
            _ => return Err(Refusal::OutOfOrder),
        }
        if self.media.kernel.flush().and_then(|()| self.media.root.flush()).is_err() {
            self.fail(UpdateFailure::Medium, machine, now);
            return Err(Refusal::Update(UpdateRefusal::Medium));
        }
        let wait_secs =
            if confirm_secs == 0 { 0 } else { confirm_secs.clamp(*WAIT_SECS.start(), *WAIT_SECS.end()) };
        if let Stage::Receiving(arriving) = core::mem::replace(&mut self.stage, Stage::Idle) {
            let verifying = Verifying { arriving, checked: 0, wait_secs, hasher: Sha256::new() };
            self.stage = Stage::Verifying(Box::new(verifying));
        }
        Ok(self.status(now))
    }

    /// What runs stands.
    ///
    /// # Errors
    /// When it is not on trial or not healthy yet, or the medium failed.
    pub fn confirm(
        &mut self,
        release: u32,
        by: &Name,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<UpdateStatus, Refusal> {
        if !self.on_trial() || release != self.this.release {
            return Err(Refusal::Update(UpdateRefusal::NotOnTrial));
        }
        if !self.healthy {
            return Err(Refusal::Update(UpdateRefusal::NotHealthy));
        }
        let floor = self.floor();
        let confirmed = Choice { left: ATTEMPTS, trial: false, wait_secs: 0, floor, ..self.choice };
        self.store(confirmed).map_err(name_of)?;
        self.ends = None;
        self.tell(UpdateAct::Confirmed, release, by, machine, now);
        Ok(self.status(now))
    }

    /// The other system is started next; an update that waits for its first start is not tried.
    ///
    /// # Errors
    /// When there is no other, or the medium failed.
    pub fn roll_back(
        &mut self,
        release: u32,
        by: &Name,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<UpdateStatus, Refusal> {
        if release != self.this.release {
            return Err(Refusal::Update(UpdateRefusal::NotOnTrial));
        }
        if self.choice.slot != self.this.slot && self.choice.trial {
            self.keep_this(false).map_err(name_of)?;
            self.stage = Stage::Idle;
            self.tell(UpdateAct::RolledBack("cancelled"), release, by, machine, now);
            return Ok(self.status(now));
        }
        self.go_back("operator", by, machine, now)?;
        Ok(self.status(now))
    }

    fn go_back(
        &mut self,
        reason: &'static str,
        by: &Name,
        machine: &mut impl Machine,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Choice { other_good, trial, .. } = self.choice;
        if self.choice.slot == self.this.slot {
            if !other_good {
                return Err(Refusal::Update(UpdateRefusal::NoOther));
            }
            let (slot, floor) = (self.this.slot.other(), self.choice.floor);
            // What was on trial is not what the other falls back to.
            let other_good = !trial;
            self.store(Choice { slot, other_good, floor, ..Choice::FACTORY }).map_err(name_of)?;
        }
        self.tell(UpdateAct::RolledBack(reason), self.this.release, by, machine, now);
        Ok(())
    }

    /// One turn: reads a slice back, counts the health, ends trials. Returns whether the machine shall be
    /// started again.
    pub fn tick(&mut self, ailing: bool, machine: &mut impl Machine, now: Instant) -> bool {
        self.verify_slice(machine, now);
        if ailing {
            self.well_since = now;
        } else if !self.healthy && now >= self.well_since + SLOT_HEALTHY_AFTER {
            self.healthy = true;
            self.is_healthy(machine, now);
        }
        if self.ends.is_none_or(|ends| ends > now) {
            return false;
        }
        self.ends = None;
        let done = self.go_back("not-confirmed", &Name::new(), machine, now);
        done.inspect_err(|refusal| log::error!("the update cannot be taken back: {refusal}")).is_ok()
    }

    /// When [`Updates::tick`] must be called.
    pub fn poll_at(&self, now: Instant) -> Option<Instant> {
        let verifying = matches!(self.stage, Stage::Verifying(_)).then_some(now);
        let healthy = (!self.healthy).then(|| self.well_since + SLOT_HEALTHY_AFTER);
        [verifying, healthy, self.ends].into_iter().flatten().min()
    }

    /// The slot has proved that it works.
    fn is_healthy(&mut self, machine: &mut impl Machine, now: Instant) {
        let choice = self.choice;
        if choice.slot != self.this.slot {
            return;
        }
        let done = match (choice.trial, choice.wait_secs) {
            (true, 0) => self.confirm(self.this.release, &Name::new(), machine, now).map(drop),
            (true, _) => Ok(()),
            (false, _) if choice.left == ATTEMPTS && !choice.fell_back => Ok(()),
            (false, _) => self.store(Choice { left: ATTEMPTS, fell_back: false, ..choice }).map_err(name_of),
        };
        match done {
            Ok(()) => log::info!("slot {} is healthy", self.this.slot.letter()),
            Err(refusal) => log::error!("slot {} is healthy, but: {refusal}", self.this.slot.letter()),
        }
    }

    fn verify_slice(&mut self, machine: &mut impl Machine, now: Instant) {
        let Stage::Verifying(verifying) = &mut self.stage else { return };
        let Manifest { kernel, root, .. } = &verifying.arriving.manifest;
        let (from, part, at) = match verifying.checked.checked_sub(u64::from(kernel.bytes)) {
            None => (&mut self.media.kernel, kernel, verifying.checked),
            Some(at) => (&mut self.media.root, root, at),
        };
        let left = usize::try_from(u64::from(part.bytes).saturating_sub(at)).unwrap_or(usize::MAX);
        let length = left.min(SLICE_BYTES);
        let Some(slice) = self.slice.get_mut(..length) else { return };
        if from.read(at, slice).is_err() {
            return self.fail(UpdateFailure::Medium, machine, now);
        }
        verifying.hasher.update(&*slice);
        verifying.checked += length as u64;
        if length < left {
            return;
        }
        let digest: [u8; 32] = verifying.hasher.finalize_reset().into();
        if digest != part.digest {
            return self.fail(UpdateFailure::Digest, machine, now);
        }
        if verifying.checked == verifying.arriving.manifest.bytes() {
            self.ready(machine, now);
        }
    }

    /// Everything is what was signed.
    fn ready(&mut self, machine: &mut impl Machine, now: Instant) {
        let Stage::Verifying(verifying) = core::mem::replace(&mut self.stage, Stage::Idle) else { return };
        let Verifying { arriving, wait_secs, .. } = *verifying;
        let (slot, floor) = (self.this.slot.other(), self.choice.floor);
        let choice = Choice { slot, trial: true, wait_secs, floor, ..Choice::FACTORY };
        let release = arriving.manifest.release;
        if let Err(error) = self.store(choice) {
            log::error!("the update is whole, but cannot be chosen: {error:?}");
            self.stage = Stage::Failed(release, UpdateFailure::Medium);
            return self.tell(UpdateAct::Failed("medium"), release, &arriving.by, machine, now);
        }
        self.tell(UpdateAct::Ready, release, &arriving.by, machine, now);
        self.stage = Stage::Ready(arriving);
    }

    fn fail(&mut self, why: UpdateFailure, machine: &mut impl Machine, now: Instant) {
        let arriving = match core::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Receiving(arriving) => arriving,
            Stage::Verifying(verifying) => verifying.arriving,
            other => {
                self.stage = other;
                return;
            }
        };
        let release = arriving.manifest.release;
        let reason = match why {
            UpdateFailure::Digest => "digest",
            UpdateFailure::Medium => "medium",
        };
        self.stage = Stage::Failed(release, why);
        self.tell(UpdateAct::Failed(reason), release, &arriving.by, machine, now);
    }

    /// What runs is started next, and the other slot only if it is `other_good`.
    fn keep_this(&mut self, other_good: bool) -> Result<(), PartitionError> {
        let (slot, floor) = (self.this.slot, self.choice.floor);
        let left = if self.choice.slot == slot { self.choice.left } else { ATTEMPTS };
        self.store(Choice { slot, left, other_good, floor, ..Choice::FACTORY })
    }

    fn store(&mut self, choice: Choice) -> Result<(), PartitionError> {
        choice.store(&mut *self.media.environment)?;
        self.choice = choice;
        Ok(())
    }

    fn on_trial(&self) -> bool {
        self.choice.trial && self.choice.slot == self.this.slot
    }

    /// The oldest release that is taken.
    fn floor(&self) -> u32 {
        self.choice.floor.max(self.this.release)
    }

    fn tell(&self, act: UpdateAct, release: u32, by: &Name, machine: &mut impl Machine, now: Instant) {
        machine.notice(Event::Update { act, release, by: by.clone() }, now);
    }
}

impl Media {
    /// Writes a slice that stands at `at` of kernel and root file system, one behind the other.
    fn write(
        &mut self,
        kernel_bytes: u64,
        at: u64,
        slice: &[u8],
        unflushed: &mut u64,
    ) -> Result<(), PartitionError> {
        let (to, at) = match at.checked_sub(kernel_bytes) {
            None => (&mut self.kernel, at),
            Some(at) => (&mut self.root, at),
        };
        to.write(at, slice)?;
        *unflushed += slice.len() as u64;
        if *unflushed >= FLUSH_EVERY {
            *unflushed = 0;
            to.flush()?;
        }
        Ok(())
    }
}

fn octets(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
