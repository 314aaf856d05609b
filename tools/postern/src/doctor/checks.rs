//! What the facts mean.

mod firewall;
mod heard;
mod machine;
mod services;

use super::facts::Facts;
use super::finding::Finding;

/// One check.
pub(super) type Check = fn(&Facts, &mut Vec<Finding>);

/// All checks, in the order in which their findings are shown.
pub(super) const ALL: [Check; 15] = [
    machine::privileges,
    machine::store,
    machine::daemon,
    machine::interfaces,
    machine::capture,
    heard::sequences,
    firewall::programs,
    firewall::gate,
    firewall::shadows,
    firewall::managers,
    services::doors,
    services::behind,
    services::knocks,
    machine::clock_and_log,
    machine::watchdog,
];
