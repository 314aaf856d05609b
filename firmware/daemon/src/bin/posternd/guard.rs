//! The loop: one clock read, one turn, the peers, one wait.

use std::path::PathBuf;

use postern_console::rpc::reply::Origin;
use postern_core::audit::Event;
use postern_core::port::Clock;
use postern_core::time::{Duration, Instant};
use postern_hal_linux::clock::BootClock;
use postern_hal_linux::partition::LinuxPartition;
use postern_hal_linux::syslog::Identity;
use postern_hal_linux::wait::{Waiter, Wake};
use posternd::configuration::Configuration;
use posternd::control::{After, Desk};
use posternd::machine::Machine;
use posternd::options::Options;

use crate::Failure;
use crate::confinement;
use crate::peers::Peers;
use crate::shell::Shell;
use crate::sink::Sink;
use crate::slots;
use crate::store::{self, StoreError};
use crate::vigil::Vigil;

/// How soon a record is tried again that the sink could not take.
const SINK_RETRY: Duration = Duration::from_millis(200);

/// Everything the daemon holds.
pub(crate) struct Guard {
    store: PathBuf,
    configuration: Configuration<LinuxPartition>,
    shell: Shell,
    desk: Desk,
    peers: Peers,
    vigil: Vigil,
    waiter: Waiter,
    clock: BootClock,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Stopped,
    /// Somebody asked for a restart of the machine.
    Reboot,
}

impl Guard {
    /// Chooses the configuration, counts the start, and only then uses any of it.
    /// Not inlined: what only it needs of the stack is given back when it has ended.
    #[inline(never)]
    pub(crate) fn start(options: &Options, identity: Identity) -> Result<Box<Self>, Failure> {
        let waiter =
            Waiter::new().map_err(|error| Failure::Other(format!("cannot take signals: {error}")))?;
        let mut clock = BootClock::new();
        let now = clock.now();
        let store = store::open(&options.store)?;
        let factory = store::factory(options.factory.as_deref())?;
        let mut configuration = Configuration::choose(store, factory);
        let rules =
            configuration.rules().map_err(|error| StoreError::BadRules(options.store.clone(), error))?;
        let sink = Sink::new(options.log, identity);
        // Who we are comes before what is counted, which is sealed with it. A failure comes after the gate.
        let identified = identify(&mut configuration);
        configuration.count_start();
        // In safe mode nothing is open.
        let adopts = configuration.origin() == Origin::Slot;
        let used = configuration.used();
        let mut shell = Shell::start(&used, rules, sink, adopts, now).map_err(Failure::Other)?;
        shell.allow_reboot = options.allow_reboot;
        identified.map_err(Failure::Other)?;
        let keys = configuration.keys().map_err(Failure::Other)?;
        shell.engine().replace_keys(keys);
        configuration.started(&mut shell, now);
        let group = options.control_group.as_deref();
        let peers = Peers::listen(options.control.as_deref(), group).map_err(Failure::Other)?;
        let mut desk = Desk::new();
        desk.updates = slots::open(options, &mut shell, now);
        // Nothing that could fail for want of the machine follows: a daemon that cannot start does not
        // begin to be watched, and is not what resets the machine again and again.
        let vigil = Vigil::begin(options, &mut shell, now).map_err(Failure::Other)?;
        let store = options.store.clone();
        Ok(Box::new(Self { store, configuration, shell, desk, peers, vigil, waiter, clock }))
    }

    /// Guards until told to stop. The rules stay when it ends.
    #[inline(never)]
    pub(crate) fn watch(mut self: Box<Self>, options: &Options) -> Result<End, String> {
        // Before memory is locked: what only the start needed does not stay.
        postern_hal_linux::heap::release_unused();
        postern_hal_linux::stack::release_unused();
        // Last: everything is open, and nothing of the network was read yet.
        let confinement = confinement::enter(options)?;
        let now = self.clock.now();
        self.shell.notice(Event::Confinement(confinement), now);
        let mut awake_since = self.clock.now();
        loop {
            let wake = self.once(awake_since)?;
            awake_since = self.clock.now();
            if self.look_after_update() {
                self.configuration.ended();
                self.vigil.end(true);
                return Ok(End::Reboot);
            }
            if wake.reload {
                self.reload();
            }
            if wake.control && self.serve() == After::Reboot {
                log::warn!("told to restart the machine");
                self.configuration.ended();
                self.vigil.end(true);
                return Ok(End::Reboot);
            }
            if wake.stop {
                log::info!("told to stop: the gate stays shut, open doors close in their time");
                self.configuration.ended();
                self.vigil.end(false);
                return Ok(End::Stopped);
            }
        }
    }

    /// One turn, one look at our own health, and one wait; `awake_since` the last wait ended.
    #[inline(never)]
    fn once(&mut self, awake_since: Instant) -> Result<Wake, String> {
        let now = self.clock.now();
        let look_after = self.shell.look_after_capture(now);
        self.configuration.tick(&mut self.shell, now);
        self.shell.read_wall_clock(now);
        let report = self.shell.turn(&mut self.desk, &mut self.configuration, now);
        let gate_check = self.shell.look_after_gate(now);
        self.vigil.look(&mut self.shell, now);
        let deadline = if report.more {
            Some(now)
        } else {
            let retry = report.sink_busy.then(|| now + SINK_RETRY);
            let own = [gate_check, Some(self.vigil.poll_at())];
            let update = self.desk.updates.as_ref().and_then(|updates| updates.poll_at(now));
            let others = [self.shell.poll_at(), retry, look_after, self.configuration.poll_at(), update];
            others.into_iter().chain(own).flatten().min()
        };
        // The turn took time: sleep until the deadline, not that much longer.
        let now = self.clock.now();
        self.vigil.turn_took(now.since(awake_since));
        self.waiter
            .wait(&self.shell.capture_fds(), &self.peers.interests(), deadline, now)
            .map_err(|error| format!("cannot wait for packets: {error}"))
    }

    /// Returns whether the machine is to be started again, and may be.
    #[inline(never)]
    fn look_after_update(&mut self) -> bool {
        let Some(updates) = &mut self.desk.updates else { return false };
        let now = self.clock.now();
        let wanted = updates.tick(self.vigil.is_ailing(), &mut self.shell, now);
        if wanted && !self.shell.allow_reboot {
            log::error!("nobody confirmed the update: restart the machine, the other slot is started then");
        }
        wanted && self.shell.allow_reboot
    }

    #[inline(never)]
    fn serve(&mut self) -> After {
        let now = self.clock.now();
        self.peers.serve(&mut self.desk, &mut self.configuration, &mut self.shell, now)
    }

    /// Reads the store again, when another one lies at its path. Whatever is wrong with it, the old
    /// configuration stays in force.
    #[inline(never)]
    fn reload(&mut self) {
        let now = self.clock.now();
        if let Err(reason) = self.try_reload(now) {
            log::error!("reload refused, the old configuration stays in force: {reason}");
            self.shell.notice(Event::ConfigRejected, now);
        }
    }

    fn try_reload(&mut self, now: Instant) -> Result<(), String> {
        if self.configuration.store().partition().is_at(&self.store) {
            return if self.configuration.is_still_there() {
                log::info!("nothing to reload: only this daemon writes its config partition");
                Ok(())
            } else {
                Err("the config partition cannot be read, or somebody else wrote it; commit the configuration again".into())
            };
        }
        let store = store::open(&self.store).map_err(|error| error.to_string())?;
        self.configuration.replace_store(store, &mut self.shell, now)?;
        identify(&mut self.configuration)?;
        let keys = self.configuration.keys()?;
        self.shell.engine().replace_keys(keys);
        Ok(())
    }
}

/// Who this device is; a partition that does not say is told so now.
fn identify(configuration: &mut Configuration<LinuxPartition>) -> Result<(), String> {
    configuration.identify(|| postern_hal_linux::random::random().map_err(|error| error.to_string()))
}
