//! Limits, memory that stays, and priority.

// What nix has no function for.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::error::{ConfineError, while_trying};

/// What a process may use at most; the programs it executes inherit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Open descriptors (`RLIMIT_NOFILE`).
    pub(super) descriptors: u32,
    /// Octets of address space (`RLIMIT_AS`).
    pub(super) address_space_bytes: u32,
    /// Processes of the user (`RLIMIT_NPROC`); the superuser has no such limit.
    pub(super) processes: u32,
}

impl Limits {
    /// Processes are for one program at a time, and for those that killed daemons before this one have
    /// left behind; more would be nobody's of ours.
    ///
    /// 8 captures with two descriptors at times, 6 control connections, sockets, and the three pipes
    /// of a program: below 40. The memory is for `nft` with a site's ten thousand rules, and for
    /// eight capture rings.
    pub(super) const DAEMON: Self =
        Self { descriptors: 64, address_space_bytes: 256 * 1024 * 1024, processes: 64 };

    /// A terminal, a socket, a signal descriptor. It starts nothing.
    pub(super) const CONSOLE: Self =
        Self { descriptors: 16, address_space_bytes: 64 * 1024 * 1024, processes: 1 };
}

/// How a process is scheduled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduling {
    /// As it was started.
    #[default]
    Inherited,
    /// With this niceness, -20 to 19 (sched(7)).
    Nice(i8),
    /// In real time, round robin, with this priority, 1 to 99 (`SCHED_RR`, sched(7)). Programs it
    /// executes are not.
    RoundRobin(u8),
}

/// Sets the limits. A hard limit that is lower already stays.
pub(super) fn apply(limits: &Limits, has_own_user: bool) -> Result<(), ConfineError> {
    limit(Resource::RLIMIT_NOFILE, limits.descriptors)?;
    limit(Resource::RLIMIT_CORE, 0)?;
    // What is locked is no more than what there may be: no allocation fails for it.
    let space = libc::rlim_t::from(limits.address_space_bytes);
    match setrlimit(Resource::RLIMIT_MEMLOCK, space, space) {
        // Without the power to raise it, what there is must do.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(REFUSED(errno)),
    }
    limit(Resource::RLIMIT_AS, limits.address_space_bytes)?;
    if has_own_user {
        limit(Resource::RLIMIT_NPROC, limits.processes)?;
    }
    Ok(())
}

const REFUSED: fn(Errno) -> ConfineError =
    |errno| ConfineError::Refused { doing: "limit what the process may use", errno };

fn limit(resource: Resource, most: u32) -> Result<(), ConfineError> {
    let (_, hard) = getrlimit(resource).map_err(REFUSED)?;
    let most = libc::rlim_t::from(most).min(hard);
    setrlimit(resource, most, most).map_err(REFUSED)
}

/// Keeps all memory in RAM, also what is mapped later, and says whether it could. It cannot where
/// the limit is lower than what may be mapped and cannot be raised: the stack could not grow then,
/// which ends the process, and allocations would fail.
pub(super) fn lock_memory(limits: &Limits) -> Result<bool, ConfineError> {
    let (_, most) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(REFUSED)?;
    if most < libc::rlim_t::from(limits.address_space_bytes) {
        log::warn!("the memory is not locked: no more than {most} octets could be (RLIMIT_MEMLOCK)");
        return Ok(false);
    }
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
        .map_err(while_trying("lock the memory (mlockall); leave --lock-memory out"))?;
    Ok(true)
}

/// Sets niceness or real-time priority, for this process alone: `SCHED_RESET_ON_FORK` gives the
/// programs it executes neither.
pub(super) fn schedule(scheduling: Scheduling) -> Result<(), ConfineError> {
    let (policy, priority) = match scheduling {
        Scheduling::Inherited => return Ok(()),
        Scheduling::Nice(nice) => {
            // SAFETY: setpriority(2) takes three numbers and touches no memory.
            let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice.into()) };
            Errno::result(result).map_err(while_trying("set the niceness"))?;
            (libc::SCHED_OTHER, 0)
        }
        Scheduling::RoundRobin(priority) => (libc::SCHED_RR, priority),
    };
    // SAFETY: `sched_param` is plain numbers, and all zero is valid; some targets have more fields.
    let mut parameters: libc::sched_param = unsafe { core::mem::zeroed() };
    parameters.sched_priority = priority.into();
    // SAFETY: the pointer is to a valid `sched_param` that outlives the call, which only reads it.
    let result =
        unsafe { libc::sched_setscheduler(0, policy | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    Errno::result(result).map(drop).map_err(while_trying("set the scheduling priority"))
}
