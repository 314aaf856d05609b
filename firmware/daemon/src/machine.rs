//! What a change of the configuration needs of the machine.

use postern_config::Site;
use postern_console::rpc::reply::InterfaceStatus;
use postern_core::audit::Event;
use postern_core::engine::{Engine, Input, Keys};
use postern_core::limits::INTERFACES_MAX;
use postern_core::rule::RuleSet;
use postern_core::time::Instant;

/// The machine around the engine: gate, capture, audit. Two of them exist: the daemon's, and that
/// of the tests.
pub trait Machine {
    /// Puts `site` in force between two turns: at no moment is a port open that neither the old nor
    /// the new rules leave open. Grants of doors that stay go on.
    ///
    /// # Errors
    /// What went wrong, for the log; what was in force before is in force.
    fn apply(&mut self, site: &Site, rules: RuleSet, keys: Keys, now: Instant) -> Result<(), String>;

    /// The engine.
    fn engine(&mut self) -> &mut Engine;

    /// Gives the engine an input and carries out what follows.
    fn handle(&mut self, input: Input<'_>, now: Instant);

    /// The capture interfaces, and frames the kernel dropped.
    fn interfaces(&self) -> (heapless::Vec<InterfaceStatus, INTERFACES_MAX>, u64);

    /// Random octets nobody can guess; `None` when there are none, and nobody can log in.
    fn random(&mut self) -> Option<[u8; 16]>;

    /// Whether peers may restart the machine.
    fn may_reboot(&self) -> bool;

    /// Puts something into the audit trail.
    fn notice(&mut self, event: Event, now: Instant) {
        self.handle(Input::Notice(event), now);
    }
}
