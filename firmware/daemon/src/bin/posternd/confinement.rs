//! What the daemon gives away when everything is open.

use postern_core::audit::Confinement;
use postern_hal_linux::confine::{self, Scheduling};
use posternd::options::{Options, Priority};

/// Confines this process as the command line says; `None` when it says not to. The reason of a
/// failure says what to do; the daemon must not go on then.
pub(crate) fn enter(options: &Options) -> Result<Option<Confinement>, String> {
    if !options.confine {
        return Ok(None);
    }
    let wishes = confine::Daemon {
        store: &options.store,
        control: options.control.as_deref(),
        user: options.user.as_deref(),
        may_reboot: options.allow_reboot,
        lock_memory: options.lock_memory,
        scheduling: match options.priority {
            Priority::Inherited => Scheduling::Inherited,
            Priority::Nice(nice) => Scheduling::Nice(nice),
            Priority::RealTime(priority) => Scheduling::RoundRobin(priority),
        },
    };
    let in_force = confine::daemon(&wishes).map_err(|error| error.to_string())?;
    Ok(Some(Confinement {
        user: in_force.user,
        capabilities: in_force.capabilities.0,
        seccomp: in_force.seccomp,
        landlock_abi: in_force.landlock_abi,
        memory_locked: in_force.memory_locked,
    }))
}
