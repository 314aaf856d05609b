//! One turn of the loop: frames, time, effects, audit. Bounded in every part.

use postern_core::engine::{Engine, Input};
use postern_core::limits::{AUDIT_RECORDS_MAX, EFFECTS_MAX, FRAMES_PER_TURN_MAX, GRANTS_MAX};
use postern_core::port::{AuditSink, Capture, Firewall, Journal};
use postern_core::time::Instant;

use crate::control::Sightings;
use crate::dispatch::dispatch;

/// Ticks in one turn: enough to begin the end of every grant there can be.
const TICKS_PER_TURN_MAX: usize = 2 * GRANTS_MAX.div_ceil(EFFECTS_MAX);

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnReport {
    /// Frames handled.
    pub frames: usize,
    /// Whether more may wait: the next turn should follow without sleeping.
    pub more: bool,
    /// Whether the audit sink could not take a record.
    pub sink_busy: bool,
}

/// Runs one turn. `now` is the only time anything in it sees.
pub fn turn<const UNITS: usize>(
    engine: &mut Engine<UNITS>,
    capture: &mut impl Capture,
    (firewall, journal): (&mut impl Firewall, &mut impl Journal),
    sink: &mut impl AuditSink,
    now: Instant,
) -> TurnReport {
    turn_watched(engine, capture, (firewall, journal), sink, None, now)
}

/// Runs one turn while somebody may watch the knocks.
pub fn turn_watched<const UNITS: usize>(
    engine: &mut Engine<UNITS>,
    capture: &mut impl Capture,
    (firewall, journal): (&mut impl Firewall, &mut impl Journal),
    sink: &mut impl AuditSink,
    sightings: Option<&mut Sightings>,
    now: Instant,
) -> TurnReport {
    let frames = take_frames(engine, capture, (firewall, journal), sightings, now);
    let ticks = tick_while_due(engine, (firewall, journal), now);
    let sink_busy = write_audit(engine, sink, now);
    TurnReport { frames, more: frames == FRAMES_PER_TURN_MAX || ticks == TICKS_PER_TURN_MAX, sink_busy }
}

fn take_frames<const UNITS: usize>(
    engine: &mut Engine<UNITS>,
    capture: &mut impl Capture,
    (firewall, journal): (&mut impl Firewall, &mut impl Journal),
    mut sightings: Option<&mut Sightings>,
    now: Instant,
) -> usize {
    for count in 0..FRAMES_PER_TURN_MAX {
        let Some(frame) = capture.next_frame() else { return count };
        let effects = engine.handle(Input::Frame(frame), now);
        if sightings.is_some() || log::log_enabled!(log::Level::Debug) {
            tell(engine, sightings.as_deref_mut(), now);
        }
        // A door opens at once, not after the frames behind the knock.
        dispatch(engine, firewall, journal, effects, now);
    }
    FRAMES_PER_TURN_MAX
}

fn tick_while_due<const UNITS: usize>(
    engine: &mut Engine<UNITS>,
    (firewall, journal): (&mut impl Firewall, &mut impl Journal),
    now: Instant,
) -> usize {
    for count in 0..TICKS_PER_TURN_MAX {
        if engine.poll_at().is_none_or(|due| due > now) {
            return count;
        }
        let effects = engine.handle(Input::Tick, now);
        dispatch(engine, firewall, journal, effects, now);
    }
    TICKS_PER_TURN_MAX
}

/// Writes audit records until none is left or the sink is busy; then they wait in the ring.
fn write_audit<const UNITS: usize>(
    engine: &mut Engine<UNITS>,
    sink: &mut impl AuditSink,
    now: Instant,
) -> bool {
    // One more than the ring holds: the confession of a loss comes after it.
    for _ in 0..=AUDIT_RECORDS_MAX {
        let Some(record) = engine.next_record(now) else { return false };
        if sink.write(record, now).is_err() {
            return true;
        }
        let id = record.id;
        engine.record_written(id);
    }
    false
}

/// Shows an installer where a knock gets stuck.
fn tell<const UNITS: usize>(engine: &mut Engine<UNITS>, sightings: Option<&mut Sightings>, now: Instant) {
    let Some(trace) = engine.take_trace() else { return };
    if let Some(sightings) = sightings {
        sightings.keep(&trace, engine.rules(), now);
    }
    let knock = trace.knock;
    if trace.guard_touched {
        log::debug!("{} {}: guard touched", knock.source, knock.step);
    }
    for (id, progress) in &trace.progress {
        let sequence = engine.rules().sequence(*id);
        let door = sequence.and_then(|sequence| engine.rules().door(sequence.door));
        let steps = sequence.map_or(0, |sequence| sequence.steps.len());
        let name = door.map_or("?", |door| door.name.as_str());
        log::debug!("{} {}: door={name} knocks={steps} {progress:?}", knock.source, knock.step);
    }
}
