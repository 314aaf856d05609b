//! Carries out what the engine asks for. The only place where effects meet an adapter.

use postern_core::engine::{Effects, Engine, Input};
use postern_core::port::Firewall;
use postern_core::time::Instant;

/// Carries out every command and reports each result back. The engine answers a report with no
/// further command, so this ends after [`postern_core::limits::EFFECTS_MAX`] commands at most.
pub fn dispatch<const UNITS: usize>(
    engine: &mut Engine<UNITS>,
    firewall: &mut impl Firewall,
    effects: Effects,
    now: Instant,
) {
    for command in effects {
        let result = firewall.execute(&command);
        let follow_up = engine.handle(Input::FirewallDone { grant: command.grant(), result }, now);
        debug_assert!(follow_up.is_empty(), "an answer never causes a command at once");
    }
}
