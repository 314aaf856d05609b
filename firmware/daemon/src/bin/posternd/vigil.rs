//! The watchdogs that were asked for, and what they are told.

use std::env;

use postern_core::audit::{Event, WatchdogState};
use postern_core::time::{Duration, Instant};
use postern_hal_linux::supervisor::{Supervisor, watchdog_timeout};
use postern_hal_linux::watchdog::Watchdog as Hardware;
use posternd::health::{Health, Rehearsal, Vitals, Watchdog};
use posternd::machine::Machine;
use posternd::options::Options;

use crate::shell::Shell;

/// Looks after the daemon's own health.
pub(crate) struct Vigil {
    health: Health,
    rehearsal: Rehearsal,
    kennel: Kennel,
    last_turn: Duration,
}

/// Everything that wants to be petted.
struct Kennel {
    hardware: Option<Hardware>,
    supervisor: Option<Supervisor>,
    /// The supervisor knows that we are ready.
    ready: bool,
}

impl Watchdog for Kennel {
    fn pet(&mut self) {
        if let Some(Err(errno)) = self.hardware.as_mut().map(Hardware::pet) {
            log::error!("the watchdog does not take it that all is well: {errno}");
        }
        if let Some(supervisor) = &self.supervisor {
            if !self.ready {
                self.ready = supervisor.tell("READY=1");
            }
            supervisor.tell("WATCHDOG=1");
        }
    }
}

impl Vigil {
    /// Starts the watchdogs. One that is not there is told loudly, and the daemon goes on.
    pub(crate) fn begin(options: &Options, shell: &mut Shell, now: Instant) -> Result<Self, String> {
        let rehearsal = Rehearsal::new().map_err(|error| format!("no rehearsal: {error:?}"))?;
        let hardware = hardware(options, shell, now);
        let supervisor = env::var_os("NOTIFY_SOCKET").and_then(|address| {
            let refused = |error| log::error!("the supervisor at {address:?} cannot be told: {error}");
            Supervisor::at(&address).map_err(refused).ok()
        });
        let variable = |name| env::var(name).ok();
        let (usec, pid) = (variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"));
        let supervised = supervisor
            .as_ref()
            .and_then(|_| watchdog_timeout(usec.as_deref(), pid.as_deref(), std::process::id()));
        let timeout = hardware.as_ref().map(|dog| Duration::from_secs(dog.timeout_secs().into()));
        let timeout = [timeout, supervised].into_iter().flatten().min();
        let kennel = Kennel { hardware, supervisor, ready: false };
        Ok(Self { health: Health::new(timeout, now), rehearsal, kennel, last_turn: Duration::ZERO })
    }

    /// How long the daemon was busy before it waits again.
    pub(crate) fn turn_took(&mut self, took: Duration) {
        self.last_turn = took;
    }

    /// Whether something was wrong at the last look.
    pub(crate) fn is_ailing(&self) -> bool {
        self.health.ailment().is_some()
    }

    /// When it wants to look next.
    pub(crate) fn poll_at(&self) -> Instant {
        self.health.poll_at()
    }

    /// Looks, when it is due. The only place from which a watchdog is petted.
    pub(crate) fn look(&mut self, shell: &mut Shell, now: Instant) {
        let Self { health, rehearsal, kennel, last_turn } = self;
        let vitals = || Vitals {
            last_turn: *last_turn,
            deaf: shell.is_deaf(),
            gate: shell.gate_reading(now),
            knock_matched: rehearsal.passes(now),
        };
        if let Some(event) = health.look(vitals, kennel, now) {
            shell.notice(event, now);
        }
    }

    /// The daemon ends on purpose; the hardware goes on watching when the machine shall restart.
    pub(crate) fn end(self, machine_restarts: bool) {
        if let Some(supervisor) = &self.kennel.supervisor {
            supervisor.tell("STOPPING=1");
        }
        if let (Some(hardware), false) = (self.kennel.hardware, machine_restarts) {
            hardware.disarm();
        }
    }
}

fn hardware(options: &Options, shell: &mut Shell, now: Instant) -> Option<Hardware> {
    let Some(path) = &options.watchdog else {
        log::warn!("no --watchdog: nothing restarts this machine when it hangs");
        shell.notice(Event::Watchdog(WatchdogState::Missing), now);
        return None;
    };
    match Hardware::open(path, options.watchdog_secs) {
        Ok(hardware) => {
            if let Some(cause) = hardware.last_reset() {
                shell.notice(Event::Watchdog(WatchdogState::LastReset(cause)), now);
            }
            let timeout_secs = hardware.timeout_secs();
            shell.notice(Event::Watchdog(WatchdogState::Armed { timeout_secs }), now);
            Some(hardware)
        }
        Err(error) => {
            log::error!("{error}; nothing restarts this machine when it hangs");
            shell.notice(Event::Watchdog(WatchdogState::Unusable), now);
            None
        }
    }
}
