//! Every entry point of the firmware that bytes from outside can reach, called once.
//!
//! `no_std` and without `alloc`, so that the binary beside it (`freestanding.rs`) can be linked with
//! no allocator at all: linking is the proof. `cargo xtask test --only no-alloc` builds it, and
//! `--only panics` reads in the linked file which panics could be reached from here.
#![no_std]

pub mod fwknop;
pub mod spa;

use core::hint::black_box;

use postern_core::audit::Event;
use postern_core::engine::{Engine, Input, KeySecret, Keys};
use postern_core::hash::HashKey;
use postern_core::knock::InterfaceIndex;
use postern_core::port::{Frame, LinkType};
use postern_core::rule::{Door, DoorId, GuardRange, Name, RuleError, RuleSet, RuleSetBuilder, Sequence};
use postern_core::spa::key::{DeviceId, KeyTag, SpaKey};
use postern_core::spa::policy::Policy;
use postern_core::spa::rotating::{Protocols, Shape};
use postern_core::time::Instant;
use postern_core::wire;

/// Reads one frame in every way.
#[inline(never)]
pub fn read_frame(bytes: &[u8]) {
    for link in LinkType::ALL {
        let frame = Frame { interface: InterfaceIndex(0), link, bytes };
        let _ = black_box(wire::parse(&frame));
    }
}

/// Takes the engine through a frame, a tick, the firewall's answer and the audit trail.
#[inline(never)]
pub fn run_engine(engine: &mut Engine, bytes: &[u8], now: Instant) {
    for link in LinkType::ALL {
        let frame = Frame { interface: InterfaceIndex(0), link, bytes };
        let effects = engine.handle(Input::Frame(frame), now);
        let ceiling = effects.ceiling();
        for command in effects {
            let answer = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            let _ = black_box(engine.handle(answer, now));
        }
        if let Some(write) = ceiling {
            let _ = black_box(engine.handle(Input::CeilingWritten { write, result: Ok(()) }, now));
        }
    }
    let _ = black_box(engine.handle(Input::Tick, now));
    let _ = black_box(engine.handle(Input::Revoke { door: DoorId(0), source: None }, now));
    let _ = black_box(engine.handle(Input::Notice(Event::ConfigRejected), now));
    let _ = black_box(engine.take_trace());
    let _ = black_box(engine.poll_at());
    let _ = black_box(engine.counters());
    if let Some(id) = engine.next_record(now).map(|record| record.id) {
        engine.record_written(id);
    }
}

/// Builds a rule set from parts nobody has looked at.
///
/// # Errors
/// The first rule that is broken.
#[inline(never)]
pub fn build_rules(door: Door, sequence: Sequence, guard: GuardRange) -> Result<RuleSet, RuleError> {
    let mut builder = RuleSetBuilder::new();
    builder.door(door)?;
    builder.sequence(sequence.clone())?;
    let (door, within) = (sequence.door, sequence.within);
    builder.one_time(sequence)?;
    if let Ok(shape) = Shape::new(4, Protocols { tcp: true, udp: true, icmp: true }, guard.first, guard.last)
    {
        builder.rotating(door, shape, 4, within)?;
    }
    builder.guard(guard)?;
    builder.build().inspect(|rules| {
        rules.watched().for_each(|range| {
            black_box(range);
        });
    })
}

/// Begins an engine and gives it other rules.
#[inline(never)]
pub fn start_engine(rules: RuleSet, other: RuleSet, key: [u8; 16], now: Instant) -> Engine {
    let mut engine = Engine::new(rules, HashKey::new(key));
    let (mut keys, name) = (Keys::new(62_201, DeviceId(key)), Name::new());
    let (door, secret) = ((DoorId(0), &name), SpaKey::new([7; 32]));
    let _ = keys.add(Name::new(), KeySecret::Native(&secret), Policy::default(), KeyTag::fingerprint);
    let _ = keys.add_rotating(door, &secret, 4, KeyTag::fingerprint);
    let lines = other.sequences().iter().map(|line| line.steps.as_slice());
    let _ = keys.add_list(door, lines, KeyTag::fingerprint);
    engine.replace_keys(keys.clone());
    engine.replace_rules(other, keys, now);
    engine
}

/// Reads a config store, and the rules in it.
///
/// # Errors
/// The first rule that is broken; a store that cannot be read counts as the factory profile.
#[inline(never)]
pub fn read_store(bytes: &[u8]) -> Result<RuleSet, RuleError> {
    match postern_config::decode(bytes) {
        Ok(site) => {
            let _ = black_box(site.spa_keys(DeviceId([1; 16]), KeyTag::fingerprint));
            site.rules()
        }
        Err(_) => Ok(RuleSet::empty()),
    }
}
