//! Updates of the whole system: what is refused, what is taken back, and a power cut at every sector.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ed25519_dalek::{Signer, SigningKey};
use postern_config::slots::{ATTEMPTS, Choice, SECOND_OFFSET, Slot};
use postern_config::update::{MANIFEST_BYTES, Manifest, Payload};
use postern_console::rpc::reply::{Reply, UpdateFailure, UpdateStage, UpdateStatus};
use postern_console::rpc::request::{Request, Standing};
use postern_console::rpc::{Refusal, UpdateRefusal};
use postern_core::limits::SLOT_HEALTHY_AFTER;
use postern_core::port::{Partition, PartitionError, SECTOR_BYTES};
use postern_core::rule::Name;
use postern_core::time::{Duration, Instant};
use posternd::update::{Media, This, Updates};
use sha2::{Digest, Sha256};

use crate::changes::commissioned;
use crate::world::{CONSOLE, FakeMachine, World};

const KERNEL_BYTES: usize = 20 * 1024;
const ROOT_BYTES: usize = 8 * 1024;
const BOARD: &str = "toaster";
const NOW: Instant = Instant::from_millis(5000);

/// Sectors and flushes until the power goes.
type Power = Arc<AtomicU64>;

fn used_up(power: &Power) -> bool {
    power.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err()
}

/// A partition with a cache that a power cut empties in part.
#[derive(Clone)]
struct Platter(Arc<Mutex<State>>);

struct State {
    durable: Vec<u8>,
    /// Written, and not flushed.
    cached: Vec<(usize, [u8; SECTOR_BYTES])>,
    power: Power,
}

impl Platter {
    fn new(bytes: usize, power: &Power) -> Self {
        Self(Arc::new(Mutex::new(State {
            durable: vec![0; bytes],
            cached: Vec::new(),
            power: power.clone(),
        })))
    }

    /// What of the cache came through: any part of it, and some sectors by half.
    fn lose(&self, random: &mut impl FnMut() -> u64) {
        let mut state = self.0.lock().unwrap();
        for (at, sector) in std::mem::take(&mut state.cached) {
            let whole =
                [0, SECTOR_BYTES, SECTOR_BYTES, SECTOR_BYTES / 2][usize::try_from(random() % 4).unwrap()];
            state.durable[at..at + whole].copy_from_slice(&sector[..whole]);
        }
    }

    fn octets(&self) -> Vec<u8> {
        let state = self.0.lock().unwrap();
        let mut octets = state.durable.clone();
        for (at, sector) in &state.cached {
            octets[*at..at + SECTOR_BYTES].copy_from_slice(sector);
        }
        octets
    }

    fn put(&self, octets: &[u8]) {
        self.0.lock().unwrap().durable[..octets.len()].copy_from_slice(octets);
    }
}

impl Partition for Platter {
    fn size_bytes(&self) -> u64 {
        self.0.lock().unwrap().durable.len() as u64
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        let from = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.octets()[from..from + buffer.len()]);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        assert_eq!(bytes.len() % SECTOR_BYTES, 0);
        let mut state = self.0.lock().unwrap();
        assert!(usize::try_from(offset).unwrap() + bytes.len() <= state.durable.len());
        for (index, sector) in bytes.chunks_exact(SECTOR_BYTES).enumerate() {
            if used_up(&state.power) {
                return Err(PartitionError::Write);
            }
            let at = usize::try_from(offset).unwrap() + index * SECTOR_BYTES;
            state.cached.push((at, sector.try_into().unwrap()));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        let mut state = self.0.lock().unwrap();
        if used_up(&state.power) {
            return Err(PartitionError::Flush);
        }
        for (at, sector) in std::mem::take(&mut state.cached) {
            state.durable[at..at + SECTOR_BYTES].copy_from_slice(&sector);
        }
        Ok(())
    }
}

/// A machine with two slots; both hold release 1.
#[derive(Clone)]
struct Toaster {
    power: Power,
    environment: Platter,
    kernels: [Platter; 2],
    roots: [Platter; 2],
}

/// Octets that differ from release to release.
fn content(release: u32, what: u8, bytes: usize) -> Vec<u8> {
    let seed = Sha256::digest([what, release.to_le_bytes()[0]]);
    (0..bytes).map(|at| seed[at % 32] ^ at.to_le_bytes()[1]).collect()
}

fn payload(release: u32) -> Vec<u8> {
    [content(release, b'k', KERNEL_BYTES), content(release, b'r', ROOT_BYTES)].concat()
}

const fn index(slot: Slot) -> usize {
    match slot {
        Slot::A => 0,
        Slot::B => 1,
    }
}

impl Toaster {
    fn new() -> Self {
        let power = Power::new(u64::MAX.into());
        let two = |bytes| [Platter::new(bytes, &power), Platter::new(bytes, &power)];
        let environment = Platter::new(1024 * 1024, &power);
        // Larger than what is in them, as in life.
        let (kernels, roots) = (two(KERNEL_BYTES + 4096), two(ROOT_BYTES));
        let toaster = Self { environment, kernels, roots, power };
        for slot in Slot::ALL {
            toaster.kernels[index(slot)].put(&content(1, b'k', KERNEL_BYTES));
            toaster.roots[index(slot)].put(&content(1, b'r', ROOT_BYTES));
        }
        Choice::FACTORY.store(&mut toaster.environment.clone()).unwrap();
        toaster
    }

    fn choice(&self) -> Choice {
        Choice::of_partition(&self.environment.octets())
    }

    /// What the boot script does; `None` when the power goes meanwhile. It never starts what is not whole.
    fn start(&self) -> Option<This> {
        let next = self.choice().next();
        next.store(&mut self.environment.clone()).ok()?;
        let holds = |release: u32| {
            self.kernels[index(next.slot)].octets().starts_with(&content(release, b'k', KERNEL_BYTES))
                && self.roots[index(next.slot)].octets() == content(release, b'r', ROOT_BYTES)
        };
        let release = (1..=2).find(|&release| holds(release));
        let release = release.unwrap_or_else(|| panic!("half a system would be started: {next:?}"));
        Some(This { board: BOARD.try_into().unwrap(), slot: next.slot, release })
    }

    /// The daemon of what was started.
    fn watch(&self, this: This, machine: &mut FakeMachine) -> Updates {
        let other = index(this.slot.other());
        let media = Media {
            environment: Box::new(self.environment.clone()),
            kernel: Box::new(self.kernels[other].clone()),
            root: Box::new(self.roots[other].clone()),
        };
        Updates::begin_watch(this, media, machine, NOW).unwrap()
    }

    /// The power comes back, and what of the caches was lost is lost.
    fn power_back(&self, seed: u64) {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> 11
        };
        for platter in [&self.environment].into_iter().chain(&self.kernels).chain(&self.roots) {
            platter.lose(&mut random);
        }
        self.power.store(u64::MAX, Ordering::Relaxed);
    }
}

fn owner() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn manifest(release: u32) -> Manifest {
    let part = |what, bytes: usize| Payload {
        bytes: u32::try_from(bytes).unwrap(),
        digest: Sha256::digest(content(release, what, bytes)).into(),
    };
    Manifest {
        board: BOARD.try_into().unwrap(),
        release,
        version: "0.2.0".try_into().unwrap(),
        kernel: part(b'k', KERNEL_BYTES),
        root: part(b'r', ROOT_BYTES),
    }
}

fn signed(manifest: &Manifest) -> [u8; MANIFEST_BYTES] {
    manifest.signed(&owner().sign(&manifest.message()).to_bytes())
}

/// Everything a test needs.
struct Bench {
    toaster: Toaster,
    world: World,
    updates: Updates,
}

impl Bench {
    fn new() -> Self {
        Self::on(Toaster::new())
    }

    fn on(toaster: Toaster) -> Self {
        let mut world = World::new();
        let updates = toaster.watch(toaster.start().unwrap(), &mut world.machine);
        world.machine.audit(NOW);
        Self { toaster, world, updates }
    }

    fn begin(&mut self, octets: &[u8]) -> Result<UpdateStatus, Refusal> {
        let public = Some(owner().verifying_key().to_bytes());
        self.updates.begin(octets, public, false, &by(), &mut self.world.machine, NOW)
    }

    /// In parts of an awkward size.
    fn bring(&mut self, octets: &[u8], from: usize) {
        for (index, part) in octets[from..].chunks(937).enumerate() {
            let offset = u32::try_from(from + index * 937).unwrap();
            self.updates.part(offset, part, &mut self.world.machine, NOW);
        }
    }

    fn stage(&self) -> UpdateStage {
        self.updates.status(NOW).stage
    }

    fn finish(&mut self, confirm_secs: u32) -> Result<UpdateStatus, Refusal> {
        self.updates.finish(confirm_secs, &mut self.world.machine, NOW)
    }

    /// Turns until it is read back.
    fn read_back(&mut self) {
        while self.updates.poll_at(NOW) == Some(NOW) && matches!(self.stage(), UpdateStage::Verifying { .. })
        {
            assert!(!self.tick(NOW));
        }
    }

    fn tick(&mut self, now: Instant) -> bool {
        self.updates.tick(false, &mut self.world.machine, now)
    }

    /// All of it, to the start before the first.
    fn apply(&mut self, release: u32, confirm_secs: u32) {
        self.begin(&signed(&manifest(release))).unwrap();
        self.bring(&payload(release), 0);
        self.finish(confirm_secs).unwrap();
        self.read_back();
        assert_eq!(self.stage(), UpdateStage::Ready { release });
    }

    fn restart(self) -> Self {
        Self::on(self.toaster)
    }

    fn audit(&mut self) -> Vec<String> {
        self.world.machine.audit(NOW)
    }
}

fn by() -> Name {
    "maria".try_into().unwrap()
}

fn refused(refusal: UpdateRefusal) -> Result<UpdateStatus, Refusal> {
    Err(Refusal::Update(refusal))
}

#[test]
fn refused_before_anything_is_written() {
    let mut bench = Bench::new();
    let before = bench.toaster.choice();
    let good = manifest(2);
    let forged = good.signed(&SigningKey::from_bytes(&[2; 32]).sign(&good.message()).to_bytes());
    assert_eq!(bench.begin(&forged), Err(Refusal::BadSignature));
    assert_eq!(bench.begin(&good.signed(&[0; 64])), Err(Refusal::BadSignature));
    assert_eq!(bench.begin(&forged[..50]), refused(UpdateRefusal::Malformed));
    let alien = Manifest { board: "kettle".try_into().unwrap(), ..manifest(2) };
    assert_eq!(bench.begin(&signed(&alien)), refused(UpdateRefusal::OtherBoard));
    assert_eq!(bench.begin(&signed(&manifest(0))), refused(UpdateRefusal::Downgrade { floor: 1 }));
    let large = Manifest { root: Payload { bytes: 12 * 1024, digest: [0; 32] }, ..manifest(2) };
    assert_eq!(bench.begin(&signed(&large)), refused(UpdateRefusal::TooLarge));
    let machine = &mut bench.world.machine;
    let nobody = bench.updates.begin(&signed(&good), None, false, &by(), machine, NOW);
    assert_eq!(nobody, Err(Refusal::NoOwner));
    assert_eq!(bench.audit(), ["UPD-REJECT"; 7]);
    assert_eq!(bench.toaster.choice(), before);
    bench.bring(&payload(2), 0);
    assert_eq!(bench.finish(0), Err(Refusal::OutOfOrder));
    assert_eq!(bench.toaster.kernels[1].octets(), Toaster::new().kernels[1].octets());
}

#[test]
fn brought_tried_confirmed_and_back() {
    let mut bench = Bench::new();
    bench.apply(2, 3600);
    assert_eq!(bench.audit(), ["UPD-BEGIN", "UPD-READY"]);
    let mut bench = bench.restart();
    let status = bench.updates.status(NOW);
    assert_eq!((status.slot_b, status.release, status.trial, status.left), (true, 2, true, 2));
    assert_eq!(status.secs_left, Some(3600));
    // The other slot is the one to go back to.
    assert_eq!(bench.begin(&signed(&manifest(2))), refused(UpdateRefusal::OnTrial));
    let machine = &mut bench.world.machine;
    assert_eq!(bench.updates.confirm(2, &by(), machine, NOW), refused(UpdateRefusal::NotHealthy));
    let later = NOW + SLOT_HEALTHY_AFTER;
    assert!(!bench.tick(later));
    let machine = &mut bench.world.machine;
    assert_eq!(bench.updates.confirm(1, &by(), machine, later), refused(UpdateRefusal::NotOnTrial));
    bench.updates.confirm(2, &by(), machine, later).unwrap();
    let stands = Choice { slot: Slot::B, floor: 2, ..Choice::FACTORY };
    assert_eq!(bench.toaster.choice(), stands);
    assert_eq!(bench.audit(), ["UPD-CONFIRM"]);
    // It does not go back to what it was brought from, but by hand.
    assert_eq!(bench.begin(&signed(&manifest(1))), refused(UpdateRefusal::Downgrade { floor: 2 }));
    let machine = &mut bench.world.machine;
    bench.updates.roll_back(2, &by(), machine, later).unwrap();
    let mut bench = bench.restart();
    assert_eq!(bench.updates.status(NOW).release, 1);
    assert_eq!(bench.begin(&signed(&manifest(1))), refused(UpdateRefusal::Downgrade { floor: 2 }));
}

#[test]
fn nobody_confirms() {
    let mut bench = Bench::new();
    bench.apply(2, 60);
    let mut bench = bench.restart();
    assert!(!bench.tick(NOW + Duration::from_secs(59)));
    assert_eq!(bench.updates.poll_at(NOW), Some(NOW + Duration::from_secs(60)));
    assert!(bench.tick(NOW + Duration::from_secs(60)), "the machine is started again");
    assert_eq!(bench.audit(), ["UPD-ROLLBACK"]);
    let bench = bench.restart();
    let status = bench.updates.status(NOW);
    assert_eq!((status.release, status.trial, status.other_good), (1, false, false));
}

#[test]
fn it_confirms_itself_when_it_was_told_to_and_is_healthy() {
    let mut bench = Bench::new();
    bench.apply(2, 0);
    let mut bench = bench.restart();
    let later = NOW + SLOT_HEALTHY_AFTER;
    // Something is wrong all the time.
    let machine = &mut bench.world.machine;
    assert!(!bench.updates.tick(true, machine, later));
    assert!(!bench.updates.tick(false, machine, later + Duration::from_secs(1)));
    assert!(bench.toaster.choice().trial);
    bench.tick(later + SLOT_HEALTHY_AFTER);
    assert_eq!(bench.toaster.choice(), Choice { slot: Slot::B, floor: 2, ..Choice::FACTORY });
}

#[test]
fn never_healthy_means_the_release_before() {
    let mut bench = Bench::new();
    bench.apply(2, 0);
    for left in (0..ATTEMPTS).rev() {
        bench = bench.restart();
        let status = bench.updates.status(NOW);
        assert_eq!((status.release, status.left), (2, left));
    }
    let mut world = World::new();
    let toaster = bench.toaster;
    world.machine.audit(NOW);
    let updates = toaster.watch(toaster.start().unwrap(), &mut world.machine);
    assert_eq!(world.machine.audit(NOW), ["UPD-FALLBACK"]);
    let status = updates.status(NOW);
    assert_eq!((status.release, status.other_good, status.fell_back), (1, false, true));
    let mut bench = Bench { toaster, world, updates };
    bench.tick(NOW + SLOT_HEALTHY_AFTER);
    let settled = Choice { other_good: false, ..Choice::FACTORY };
    assert_eq!(bench.toaster.choice(), settled, "told once");
    bench.apply(2, 0);
}

/// The kernel of the chosen slot is damaged, and the boot script has started the other, although that counts
/// as nothing to start.
#[test]
fn the_last_resort_is_told_and_is_what_starts_next() {
    let toaster = Toaster::new();
    let choice = Choice { other_good: false, ..Choice::FACTORY };
    choice.next().store(&mut toaster.environment.clone()).unwrap();
    let this = This { board: BOARD.try_into().unwrap(), slot: Slot::B, release: 1 };
    let mut world = World::new();
    world.machine.audit(NOW);
    let updates = toaster.watch(this, &mut world.machine);
    assert_eq!(world.machine.audit(NOW), ["UPD-FALLBACK"]);
    let status = updates.status(NOW);
    assert_eq!((status.slot_b, status.other_good, status.fell_back), (true, false, true));
    let mut bench = Bench { toaster, world, updates };
    bench.tick(NOW + SLOT_HEALTHY_AFTER);
    let settled = Choice { slot: Slot::B, other_good: false, ..Choice::FACTORY };
    assert_eq!(bench.toaster.choice(), settled, "told once, and started next");
}

/// Another slot may be chosen while this one runs: a daemon that starts again then is no last resort.
#[test]
fn what_waits_for_its_first_start_is_not_given_up() {
    let mut bench = Bench::new();
    let this = bench.toaster.choice();
    bench.apply(2, 0);
    let chosen = bench.toaster.choice();
    assert_ne!(chosen.slot, this.slot);
    let this = This { board: BOARD.try_into().unwrap(), slot: this.slot, release: 1 };
    bench.audit();
    bench.updates = bench.toaster.watch(this, &mut bench.world.machine);
    bench.tick(NOW + SLOT_HEALTHY_AFTER);
    assert_eq!(bench.audit(), [] as [String; 0]);
    assert_eq!(bench.toaster.choice(), chosen);
}

#[test]
fn a_wrong_octet_is_found_when_it_is_read_back() {
    for wrong in [0, KERNEL_BYTES - 1, KERNEL_BYTES, KERNEL_BYTES + ROOT_BYTES - 1] {
        let mut bench = Bench::new();
        bench.begin(&signed(&manifest(2))).unwrap();
        let mut octets = payload(2);
        octets[wrong] ^= 1;
        bench.bring(&octets, 0);
        bench.finish(0).unwrap();
        bench.read_back();
        assert_eq!(bench.stage(), UpdateStage::Failed { release: 2, why: UpdateFailure::Digest });
        assert_eq!(bench.audit(), ["UPD-BEGIN", "UPD-FAIL"]);
        let choice = bench.toaster.choice();
        assert_eq!((choice.slot, choice.other_good), (Slot::A, false));
        let mut bench = bench.restart();
        bench.apply(2, 0);
    }
}

#[test]
fn lost_parts_are_brought_again_and_others_go_on() {
    let mut bench = Bench::new();
    let octets = payload(2);
    bench.begin(&signed(&manifest(2))).unwrap();
    bench.bring(&octets[..9370], 0);
    // The one behind it is lost: what follows does not count.
    bench.updates.part(9370 + 937, &octets[9370 + 937..9370 + 2 * 937], &mut bench.world.machine, NOW);
    // One that would go beyond the end does not, either.
    bench.updates.part(9370, &vec![0; octets.len()], &mut bench.world.machine, NOW);
    let bytes = u32::try_from(octets.len()).unwrap();
    assert_eq!(bench.stage(), UpdateStage::Receiving { release: 2, received: 9370, bytes });
    assert_eq!(bench.finish(0), Err(Refusal::OutOfOrder));
    // Another one is not taken meanwhile; the same goes on where it was.
    assert_eq!(bench.begin(&signed(&manifest(3))), Err(Refusal::Busy));
    bench.begin(&signed(&manifest(2))).unwrap();
    bench.bring(&octets, 9370);
    bench.finish(0).unwrap();
    bench.read_back();
    assert_eq!(bench.stage(), UpdateStage::Ready { release: 2 });
    assert_eq!(bench.begin(&signed(&manifest(2))).unwrap().stage, UpdateStage::Ready { release: 2 });
    // Cancelled before its first start.
    bench.updates.roll_back(1, &by(), &mut bench.world.machine, NOW).unwrap();
    assert_eq!(bench.restart().updates.status(NOW).release, 1);
}

#[test]
fn a_medium_that_fails_is_no_harm() {
    let whole = {
        let mut bench = Bench::new();
        bench.toaster.power.store(1_000_000, Ordering::Relaxed);
        bench.apply(2, 0);
        1_000_000 - bench.toaster.power.load(Ordering::Relaxed)
    };
    for sectors in 0..whole {
        let mut bench = Bench::new();
        bench.toaster.power.store(sectors, Ordering::Relaxed);
        let begun = bench.begin(&signed(&manifest(2)));
        if begun.is_ok() {
            bench.bring(&payload(2), 0);
            let _ = bench.finish(0);
            bench.read_back();
        } else {
            assert_eq!(begun, refused(UpdateRefusal::Medium));
        }
        assert!(!matches!(bench.stage(), UpdateStage::Ready { .. }), "{sectors}");
        bench.toaster.power.store(u64::MAX, Ordering::Relaxed);
        bench.toaster.start().unwrap();
    }
}

/// The whole story with the power cut after so many sectors; `false` when it came to its end.
fn story_is_cut(toaster: &Toaster, sectors: u64) -> bool {
    toaster.power.store(sectors, Ordering::Relaxed);
    let mut world = World::new();
    let machine = &mut world.machine;
    let public = Some(owner().verifying_key().to_bytes());
    let Some(mut this) = toaster.start() else { return true };
    if this.release == 1 {
        let mut updates = toaster.watch(this, machine);
        if updates.begin(&signed(&manifest(2)), public, false, &by(), machine, NOW).is_err() {
            return true;
        }
        updates.part(0, &payload(2), machine, NOW);
        if updates.finish(3600, machine, NOW).is_err() {
            return true;
        }
        while matches!(updates.status(NOW).stage, UpdateStage::Verifying { .. }) {
            updates.tick(false, machine, NOW);
        }
        if updates.status(NOW).stage != (UpdateStage::Ready { release: 2 }) {
            return true;
        }
        let Some(next) = toaster.start() else { return true };
        this = next;
    }
    assert_eq!(this.release, 2);
    let mut updates = toaster.watch(this, machine);
    updates.tick(false, machine, NOW + SLOT_HEALTHY_AFTER);
    // The cut before came when it was confirmed already.
    let stands = !updates.status(NOW).trial;
    !stands && updates.confirm(2, &by(), machine, NOW + SLOT_HEALTHY_AFTER).is_err()
}

/// At every sector and every flush, from the first start to the confirmation. Then everything again, with
/// another cut, and at last without one.
#[test]
fn a_power_cut_at_any_point_leaves_a_system_that_starts() {
    let mut sectors = 0;
    loop {
        let toaster = Toaster::new();
        let cut = story_is_cut(&toaster, sectors);
        toaster.power_back(sectors);
        if !cut {
            assert_eq!(toaster.choice().floor, 2);
            break;
        }
        if story_is_cut(&toaster, (sectors * 7) % 97) {
            toaster.power_back(sectors + 1);
            assert!(!story_is_cut(&toaster, u64::MAX), "cut after {sectors}");
        }
        let Choice { slot, trial, floor, .. } = toaster.choice();
        assert_eq!((slot, trial, floor), (Slot::B, false, 2), "cut after {sectors}");
        sectors += 1;
    }
    assert!(sectors > 100, "{sectors} points");
}

#[test]
fn neither_copy_of_the_choice_is_whole() {
    let toaster = Toaster::new();
    toaster.environment.put(&vec![0xff; usize::try_from(SECOND_OFFSET).unwrap() + 4096]);
    let mut bench = Bench::on(toaster);
    bench.apply(2, 0);
    assert_eq!(bench.restart().updates.status(NOW).release, 2);
}

#[test]
fn over_the_desk_with_roles_and_parts_that_nobody_answers() {
    let (mut world, mut root) = commissioned();
    assert_eq!(world.ask(&mut root, Request::Update), Err(Refusal::Update(UpdateRefusal::NoSlots)));
    let toaster = Toaster::new();
    world.desk.updates = Some(toaster.watch(toaster.start().unwrap(), &mut world.machine));
    let manifest_2 = heapless::Vec::from_slice(&signed(&manifest(2))).unwrap();
    let begin = Request::UpdateBegin { manifest: manifest_2, only_check: false };
    assert_eq!(world.ask(&mut root, begin.clone()), Err(Refusal::NoOwner));
    let mut owned = world.configuration.site().clone();
    owned.owner = Some(owner().verifying_key().to_bytes());
    world.commit(&mut root, &owned, Standing::Permanent).unwrap();
    assert!(matches!(world.ask(&mut root, begin.clone()), Ok(Reply::Update(_))));

    let mut stranger = world.connect(CONSOLE);
    assert_eq!(world.ask(&mut stranger, begin), Err(Refusal::NotLoggedIn));
    assert_eq!(world.ask(&mut stranger, Request::Update), Err(Refusal::NotLoggedIn));
    for request in [
        Request::UpdateFinish { confirm_secs: 0 },
        Request::UpdateConfirm { release: 1 },
        Request::UpdateRollback { release: 1 },
    ] {
        assert_eq!(world.ask(&mut stranger, request), Err(Refusal::NotLoggedIn));
    }
    let octets = payload(2);
    let part = |at: usize| Request::UpdatePart {
        offset: u32::try_from(at).unwrap(),
        part: heapless::Vec::from_slice(&octets[at..octets.len().min(at + 960)]).unwrap(),
    };
    world.tell(&mut stranger, part(0));
    let received = |world: &World| match world.desk.updates.as_ref().unwrap().status(NOW).stage {
        UpdateStage::Receiving { received, .. } => received,
        other => panic!("{other:?}"),
    };
    assert_eq!(received(&world), 0, "a stranger's part does not count");
    for at in (0..octets.len()).step_by(960) {
        world.tell(&mut root, part(at));
    }
    assert_eq!(usize::try_from(received(&world)).unwrap(), octets.len());
    assert!(world.ask(&mut root, Request::UpdateFinish { confirm_secs: 60 }).is_ok());
}
