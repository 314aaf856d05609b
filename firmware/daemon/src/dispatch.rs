//! Carries out what the engine asks for. The only place where effects meet an adapter.

use postern_core::engine::{Effects, Engine, Input};
use postern_core::limits::WAITING_PACKETS_MAX;
use postern_core::port::{Firewall, Journal};
use postern_core::time::Instant;

/// Carries out every command, reports each result back, then writes the ceiling, if one is asked for,
/// and carries out what follows: a packet waited for it. The engine answers a report with no further
/// command, and no more packets wait than [`WAITING_PACKETS_MAX`], so this ends.
pub fn dispatch<const UNITS: usize>(
    engine: &mut Engine<UNITS>,
    firewall: &mut impl Firewall,
    journal: &mut impl Journal,
    effects: Effects,
    now: Instant,
) {
    let mut effects = effects;
    for _ in 0..=WAITING_PACKETS_MAX {
        let ceiling = effects.ceiling();
        for command in effects {
            let result = firewall.execute(&command);
            let follow_up = engine.handle(Input::FirewallDone { grant: command.grant(), result }, now);
            debug_assert!(follow_up.is_empty(), "an answer never causes a command at once");
        }
        let Some(write) = ceiling else { return };
        let result = journal.write_ceiling(write);
        effects = engine.handle(Input::CeilingWritten { write, result }, now);
    }
    debug_assert!(effects.is_empty(), "a ceiling for every packet that waited");
}
