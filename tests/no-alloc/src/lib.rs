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
use postern_core::engine::{Engine, Input, Keys};
use postern_core::hash::HashKey;
use postern_core::knock::InterfaceIndex;
use postern_core::port::{Frame, LinkType};
use postern_core::rule::{Door, DoorId, GuardRange, RuleError, RuleSet, RuleSetBuilder, Sequence};
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
        for command in engine.handle(Input::Frame(frame), now) {
            let answer = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            let _ = black_box(engine.handle(answer, now));
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
    builder.sequence(sequence)?;
    builder.guard(guard)?;
    builder.build()
}

/// Begins an engine and gives it other rules.
#[inline(never)]
pub fn start_engine(rules: RuleSet, other: RuleSet, key: [u8; 16], now: Instant) -> Engine {
    let mut engine = Engine::new(rules, HashKey::new(key));
    engine.replace_rules(other, Keys::none(), now);
    engine
}

/// Reads a config store, and the rules in it.
///
/// # Errors
/// The first rule that is broken; a store that cannot be read counts as the factory profile.
#[inline(never)]
pub fn read_store(bytes: &[u8]) -> Result<RuleSet, RuleError> {
    match postern_config::decode(bytes) {
        Ok(site) => site.rules(),
        Err(_) => Ok(RuleSet::empty()),
    }
}
