//! The loop: one clock read, one turn, one wait.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use postern_config::Site;
use postern_core::audit::Event;
use postern_core::engine::{Engine, Input};
use postern_core::hash::HashKey;
use postern_core::port::Clock;
use postern_core::time::{Duration, Instant};
use postern_hal_linux::capture::{CaptureEvent, LinuxCapture, RingBytes};
use postern_hal_linux::clock::BootClock;
use postern_hal_linux::syslog::Identity;
use postern_hal_linux::wait::{Waiter, Wake};
use posternd::options::Options;
use posternd::store::{self, Loaded};
use posternd::turn::turn;

use crate::gate::Gate;
use crate::sink::{InterfaceNames, Sink};

/// How soon a record is tried again that the sink could not take.
const SINK_RETRY: Duration = Duration::from_millis(200);

/// Everything the daemon holds.
pub(crate) struct Guard {
    store: PathBuf,
    site: Box<Site>,
    engine: Box<Engine>,
    gate: Gate,
    capture: LinuxCapture,
    sink: Sink,
    waiter: Waiter,
    clock: BootClock,
}

impl Guard {
    /// Puts the gate up, then opens the capture: at no moment is a protected port open to
    /// everybody.
    pub(crate) fn start(options: &Options, loaded: Loaded, mut identity: Identity) -> Result<Self, String> {
        let Loaded { site, rules } = loaded;
        let waiter = Waiter::new().map_err(|error| format!("cannot take signals: {error}"))?;
        let mut clock = BootClock::new();
        let now = clock.now();
        let mut gate = Gate::new(&site)?;
        gate.install(&rules)?;
        let capture = open_capture(&site, &rules, now)?;
        identity.interfaces = interface_names(&site);
        let sink = Sink::new(options.log, identity);
        let mut engine = Box::new(Engine::new(rules, boot_key()?));
        let doors = engine.door_count();
        let effects = engine.handle(Input::Notice(Event::Boot { doors }), now);
        debug_assert!(effects.is_empty(), "nothing is granted yet");
        let store = options.store.clone();
        Ok(Self { store, site, engine, gate, capture, sink, waiter, clock })
    }

    /// Guards until told to stop. The rules stay when it ends.
    pub(crate) fn watch(mut self) -> Result<(), String> {
        loop {
            let wake = self.once()?;
            if wake.reload {
                self.reload();
            }
            if wake.stop {
                log::info!("told to stop: the gate stays shut, open doors close in their time");
                return Ok(());
            }
        }
    }

    /// One turn and one wait.
    fn once(&mut self) -> Result<Wake, String> {
        let now = self.clock.now();
        let look_after = self.capture.maintain(now);
        while let Some(event) = self.capture.take_event() {
            let notice = Input::Notice(audit_event(event));
            let effects = self.engine.handle(notice, now);
            posternd::dispatch::dispatch(&mut self.engine, &mut self.gate, effects, now);
        }
        let report = turn(&mut self.engine, &mut self.capture, &mut self.gate, &mut self.sink, now);
        let deadline = if report.more {
            now
        } else {
            let retry = report.sink_busy.then(|| now + SINK_RETRY);
            [self.engine.poll_at(), retry].into_iter().flatten().fold(look_after, Instant::min)
        };
        // The turn took time: sleep until the deadline, not that much longer.
        let now = self.clock.now();
        self.waiter
            .wait(&self.capture.fds(), None, Some(deadline), now)
            .map_err(|error| format!("cannot wait for packets: {error}"))
    }

    /// Reads the store again. Whatever is wrong with it, the old configuration stays in force.
    fn reload(&mut self) {
        let now = self.clock.now();
        if let Err(reason) = self.try_reload(now) {
            log::error!("reload refused, the old configuration stays in force: {reason}");
            let effects = self.engine.handle(Input::Notice(Event::ConfigRejected), now);
            posternd::dispatch::dispatch(&mut self.engine, &mut self.gate, effects, now);
        }
    }

    fn try_reload(&mut self, now: Instant) -> Result<(), String> {
        let Loaded { site, rules } = store::load(&self.store).map_err(|error| error.to_string())?;
        if !self.gate.suits(&site) {
            return Err(
                "the firewall back end or its exempt interfaces changed: restart posternd for that".into()
            );
        }
        // New ports are shut before anything else; ports that are protected no more open only
        // once everything else is known to work.
        self.gate.install(&rules)?;
        let same_interfaces = interface_names(&site) == interface_names(&self.site);
        let capture = if same_interfaces {
            self.capture.replace_filter(&rules).map_err(|error| error.to_string())
        } else {
            open_capture(&site, &rules, now).map(|capture| self.capture = capture)
        };
        if let Err(reason) = capture {
            let old = self.engine.rules().clone();
            self.gate
                .install(&old)
                .map_err(|error| format!("{reason}; and the old gate is not back: {error}"))?;
            return Err(reason);
        }
        self.engine.replace_rules(rules, now);
        self.sink.set_interfaces(interface_names(&site));
        self.site = site;
        Ok(())
    }
}

fn open_capture(site: &Site, rules: &postern_core::RuleSet, now: Instant) -> Result<LinuxCapture, String> {
    let names = site.interfaces.iter().map(|name| name.as_str());
    LinuxCapture::open(names, rules, RingBytes::default(), now).map_err(|error| error.to_string())
}

fn interface_names(site: &Site) -> InterfaceNames {
    site.interfaces.iter().cloned().collect()
}

fn audit_event(event: CaptureEvent) -> Event {
    match event {
        CaptureEvent::Lost(interface) => Event::CaptureLost { interface },
        CaptureEvent::Back(interface) => Event::CaptureBack { interface },
        CaptureEvent::Dropped { frames, .. } => Event::CaptureDropped { frames },
    }
}

/// Boot randomness for the tables. The kernel's generator is seeded before user space runs on any
/// board with a hardware source; where it is not, this waits, as it must.
fn boot_key() -> Result<HashKey, String> {
    let mut key = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut key))
        .map_err(|error| format!("no random numbers from /dev/urandom: {error}"))?;
    Ok(HashKey::new(key))
}
