//! A gateway whose configuration ends it at every start: safe mode after three resets at most, for
//! every one of a hundred thousand; `POSTERN_BAD_CONFIGURATIONS` names another number.
//!
//! The decisions and the journal are the product's; a crash is the loss of everything that is not on
//! the medium, at a random moment of the start or of the minute after it.

#![allow(clippy::cast_possible_truncation, reason = "numbers drawn below a bound that fits")]

use postern_config::partition::{Identity, Kind, PARTITION_BYTES_MIN, Store};
use postern_config::site::{StoredDoor, StoredGuard, StoredPort, StoredSequence, StoredStep};
use postern_config::{PAYLOAD_BYTES_MAX, SCHEMA, Site, schema};
use postern_console::rpc::reply::{InterfaceStatus, Origin};
use postern_core::engine::{Engine, Input, Keys};
use postern_core::hash::HashKey;
use postern_core::limits::{HEALTHY_AFTER, INTERFACES_MAX, SAFE_AFTER, TABLE_UNITS};
use postern_core::port::{Partition, PartitionError};
use postern_core::rule::RuleSet;
use postern_core::time::{Duration, Instant};
use postern_sim::random::Random;
use posternd::configuration::Configuration;
use posternd::machine::Machine;

/// Configurations of every test run.
const CONFIGURATIONS: u64 = 100_000;

/// They are followed by so many threads.
const THREADS: u64 = 2;

/// Tries of the whole configuration that are followed for each.
const RETRIES: u32 = 2;

/// A medium in memory; what was written outlives every crash.
struct Medium {
    octets: Vec<u8>,
    /// Octets below this may have been written.
    used: usize,
    /// The power goes at the next write, which is lost.
    cut: bool,
}

impl Medium {
    /// As from the factory, without paying for a whole new one.
    fn blank(mut self) -> Self {
        self.octets[..self.used].fill(0);
        Self { used: 0, cut: false, ..self }
    }
}

impl Partition for Medium {
    fn size_bytes(&self) -> u64 {
        self.octets.len() as u64
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        let start = usize::try_from(offset).unwrap();
        let octets = self.octets.get(start..start + buffer.len()).ok_or(PartitionError::OutOfRange)?;
        buffer.copy_from_slice(octets);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        if self.cut {
            return Err(PartitionError::Write);
        }
        let start = usize::try_from(offset).unwrap();
        let end = start + bytes.len();
        self.octets.get_mut(start..end).ok_or(PartitionError::OutOfRange)?.copy_from_slice(bytes);
        self.used = self.used.max(end);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        if self.cut { Err(PartitionError::Flush) } else { Ok(()) }
    }
}

/// What a site must hold to end the daemon, and how long that takes.
#[derive(Clone, Copy, Debug)]
struct Bug {
    needs: fn(&Site) -> bool,
    after: Duration,
}

/// A machine on which the bug may strike.
struct Victim {
    engine: Box<Engine<TABLE_UNITS>>,
    applied: Box<Site>,
    bug: Option<Bug>,
    strikes_at: Option<Instant>,
}

impl Victim {
    fn run(&mut self, site: &Site, now: Instant) {
        *self.applied = site.clone();
        self.strikes_at = self.bug.filter(|bug| (bug.needs)(site)).map(|bug| now + bug.after);
    }

    fn is_dead(&self, now: Instant) -> bool {
        self.strikes_at.is_some_and(|at| at <= now)
    }

    /// Nobody can be let in.
    fn is_shut(&self) -> bool {
        let site = &self.applied;
        let no_way_in = site.interfaces.is_empty() && site.sequences.is_empty() && site.keys.is_empty();
        no_way_in && site.doors.iter().all(|door| door.keys == 0 && door.rotating.is_none())
    }
}

impl Machine for Victim {
    fn apply(&mut self, site: &Site, _: RuleSet, _: Keys, now: Instant) -> Result<(), String> {
        self.run(site, now);
        Ok(())
    }

    fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    fn handle(&mut self, _: Input<'_>, _: Instant) {}

    fn interfaces(&self) -> (heapless::Vec<InterfaceStatus, INTERFACES_MAX>, u64) {
        (heapless::Vec::new(), 0)
    }

    fn random(&mut self) -> Option<[u8; 16]> {
        None
    }

    fn may_reboot(&self) -> bool {
        false
    }
}

fn random_site(random: &mut Random) -> Box<Site> {
    let mut site = Box::<Site>::default();
    site.name = "bad".try_into().unwrap();
    site.interfaces.push("eth0".try_into().unwrap()).unwrap();
    for number in 0..random.range(1, 5) {
        let name = format!("door{number}");
        let mut door = StoredDoor::plain(name.as_str().try_into().unwrap(), random.range(1, 3600) as u32);
        door.ports.push(StoredPort::Tcp(number as u16 + 20)).unwrap();
        site.doors.push(door).unwrap();
        let base = 10_000 + 10_000 * number as u16;
        let mut steps = heapless::Vec::new();
        for step in 0..random.range(2, 5) as u16 {
            let place = base + 100 * step + random.below(50) as u16;
            let step = if random.per_mille(500) { StoredStep::Tcp(place) } else { StoredStep::Udp(place) };
            steps.push(step).unwrap();
        }
        let sequence = StoredSequence {
            door: number as u16,
            closes: false,
            one_time: false,
            steps,
            within_millis: 10_000,
            reorder_millis: 0,
            flags_mask: 0x12,
            flags_value: 0x02,
        };
        site.sequences.push(sequence).unwrap();
    }
    if random.per_mille(500) {
        site.guards.push(StoredGuard { first: StoredStep::Tcp(60_000), last: 60_500 }).unwrap();
    }
    site
}

fn random_bug(site: &Site, random: &mut Random) -> Bug {
    let all: [fn(&Site) -> bool; 4] = [
        |site| !site.interfaces.is_empty(),
        |site| !site.sequences.is_empty(),
        |site| !site.guards.is_empty(),
        |site| site.sequences.iter().any(|sequence| sequence.steps.len() > 3),
    ];
    // One that this site has.
    let needs = loop {
        let needs = *random.pick(&all);
        if needs(site) {
            break needs;
        }
    };
    // A third at once, in the start; the others in the turns of the minute after it.
    let after = if random.per_mille(333) { 0 } else { random.below(HEALTHY_AFTER.millis()) };
    Bug { needs, after: Duration::from_millis(after) }
}

/// How one start of the gateway ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It crashed before the count was written.
    Uncounted,
    /// It crashed with its whole configuration.
    Crashed,
    /// It was in safe mode for this long, then tried the whole, and crashed.
    CrashedAfterSafeMode(Duration),
    /// It lasted, after this long in safe mode.
    Lasted(Option<Duration>),
}

/// One start after the other, as the daemon does it.
fn start(mut medium: Medium, victim: &mut Victim, random: &mut Random) -> (Medium, End) {
    medium.cut = random.per_mille(30);
    let lost = medium.cut;
    let mut configuration = Configuration::choose(Store::open(medium).unwrap(), Box::<Site>::default());
    assert_ne!(configuration.generation(), 0, "what is in force is kept");
    let whole = configuration.site().clone();
    configuration.identify(|| Err("it has an identity".into())).unwrap();
    configuration.count_start();
    let give_back = |configuration: Configuration<Medium>| {
        let mut medium = configuration.into_store().into_partition();
        medium.cut = false;
        medium
    };
    if lost {
        return (give_back(configuration), End::Uncounted);
    }
    let mut now = Instant::from_millis(random.below(100_000));
    let started = now;
    victim.run(&configuration.used(), now);
    if victim.is_dead(now) {
        return (give_back(configuration), End::Crashed);
    }
    configuration.started(victim, now);
    let mut safe_for = None;
    let is_safe = configuration.origin() == Origin::Safe;
    if is_safe {
        assert!(victim.is_shut(), "nothing opens in safe mode");
        let ports = |site: &Site| site.doors.iter().map(|door| door.ports.clone()).collect::<Vec<_>>();
        assert_eq!(ports(&victim.applied), ports(&whole), "what was shut stays shut");
    }
    // Until nothing more is due: it has lasted.
    while let Some(due) = configuration.poll_at() {
        now = victim.strikes_at.map_or(due, |strikes| strikes.min(due));
        if victim.is_dead(now) {
            let end = safe_for.map_or(End::Crashed, End::CrashedAfterSafeMode);
            return (give_back(configuration), end);
        }
        configuration.tick(victim, now);
        if is_safe && safe_for.is_none() && configuration.origin() == Origin::Slot {
            safe_for = Some(now.since(started));
            assert_eq!(*victim.applied, whole, "it heals to what was in force");
        }
    }
    assert_eq!(configuration.store().journal().unclean_boots, 0, "what lasted is forgotten");
    (give_back(configuration), End::Lasted(safe_for))
}

fn flashed(medium: Medium, site: &Site, seed: u64) -> Medium {
    let mut store = Store::open(medium.blank()).unwrap();
    store.adopt(Identity::from_random(&[seed as u8; 48])).unwrap();
    let mut payload = vec![0; PAYLOAD_BYTES_MAX];
    let bytes = schema::encode(site, &mut payload).unwrap();
    store.commit(&payload[..bytes], SCHEMA, 0, Kind::Permanent).unwrap();
    store.into_partition()
}

/// Follows one configuration; returns the resets before safe mode that were counted.
fn follow(mut medium: Medium, victim: &mut Victim, seed: u64) -> (Medium, u32) {
    let mut random = Random::new(seed);
    let site = random_site(&mut random);
    medium = flashed(medium, &site, seed);
    victim.bug = Some(random_bug(&site, &mut random));
    let (mut crashes, mut safe_modes, mut last) = (0, 0, Duration::ZERO);
    while safe_modes < RETRIES {
        let (after, end) = start(medium, victim, &mut random);
        medium = after;
        match end {
            End::Uncounted => {}
            End::Crashed => {
                crashes += 1;
                assert_eq!(safe_modes, 0, "seed {seed}: a crash without safe mode before it");
                assert!(crashes <= SAFE_AFTER, "seed {seed}: {crashes} resets and no safe mode");
            }
            End::CrashedAfterSafeMode(safe_for) => {
                safe_modes += 1;
                assert!(safe_for.millis() >= 2 * last.millis(), "seed {seed}: {safe_for:?} after {last:?}");
                last = safe_for;
            }
            End::Lasted(_) => panic!("seed {seed}: the bug did not strike"),
        }
    }
    // Somebody mended what was wrong: the next try lasts.
    victim.bug = None;
    loop {
        let (after, end) = start(medium, victim, &mut random);
        medium = after;
        match end {
            End::Uncounted => {}
            End::Lasted(safe_for) => {
                assert!(safe_for.is_some_and(|safe_for| safe_for >= last), "seed {seed}");
                return (medium, crashes);
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
}

#[test]
fn whatever_always_crashes_ends_in_safe_mode_after_three_resets() {
    let wanted = std::env::var("POSTERN_BAD_CONFIGURATIONS");
    let configurations = wanted.map_or(CONFIGURATIONS, |number| number.parse().unwrap());
    let seeds = |thread: u64| (1..=configurations).skip(thread as usize).step_by(THREADS as usize);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || follow_all(seeds(thread)));
        }
    });
}

fn follow_all(seeds: impl Iterator<Item = u64>) {
    let mut medium = Medium { octets: vec![0; PARTITION_BYTES_MIN], used: 0, cut: false };
    let site = random_site(&mut Random::new(0));
    let engine = Box::new(Engine::new(site.rules().unwrap(), HashKey::new([1; 16])));
    let mut victim = Victim { engine, applied: site, bug: None, strikes_at: None };
    for seed in seeds {
        let (after, crashes) = follow(medium, &mut victim, seed);
        medium = after;
        assert_eq!(crashes, SAFE_AFTER, "seed {seed}");
    }
}
