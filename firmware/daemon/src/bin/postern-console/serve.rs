//! Waiting: for the line, for the daemon, for either to have something.

use std::os::fd::AsFd;
use std::path::PathBuf;

use heapless::Vec;
use postern_console::pump::{Pump, Wants};
use postern_console::session::Session;
use postern_core::port::Clock;
use postern_core::time::{Duration, Instant};
use postern_hal_linux::clock::BootClock;
use postern_hal_linux::control::Connection;
use postern_hal_linux::serial::{Carrier, SerialError, SerialLine};
use postern_hal_linux::wait::{CONTROLS_MAX, ControlInterest, Waiter};

use crate::options::Options;

/// How long to wait before the line or the daemon are tried again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// When something that is missing is tried again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Retry {
    const NOW: Self = Self { at: Instant::BOOT, pause: RETRY_FIRST };

    /// Tried just now; what comes and goes at once is tried less and less often.
    fn tried(&mut self, now: Instant) {
        if self.at + RETRY_MAX + RETRY_MAX <= now {
            self.pause = RETRY_FIRST;
        }
        self.at = now + self.pause;
        self.pause = Duration::from_millis(self.pause.millis().saturating_mul(2)).min(RETRY_MAX);
    }
}

/// Everything the process holds but the session.
pub(crate) struct Console {
    path: PathBuf,
    baud: u32,
    carrier: Carrier,
    control: PathBuf,
    waiter: Waiter,
    clock: BootClock,
    line: Option<SerialLine>,
    line_retry: Retry,
    daemon_retry: Retry,
}

impl Console {
    /// Opens the line, as long as the process may. One that is not there yet may come later (a USB
    /// gadget), one that never can be is an error.
    pub(crate) fn prepare(options: &Options) -> Result<Self, String> {
        let waiter = Waiter::new().map_err(|error| format!("cannot wait for signals: {error}"))?;
        let line = match SerialLine::open(&options.line, options.baud, options.carrier) {
            Ok(line) => Some(line),
            Err(error @ SerialError::Open(..)) => {
                log::warn!("{error}; trying again");
                None
            }
            Err(error) => return Err(error.to_string()),
        };
        Ok(Self {
            path: options.line.clone(),
            baud: options.baud,
            carrier: options.carrier,
            control: options.control.clone(),
            waiter,
            clock: BootClock::new(),
            line,
            line_retry: Retry::NOW,
            daemon_retry: Retry::NOW,
        })
    }

    /// Serves until a signal says to end.
    pub(crate) fn serve(&mut self, session: &mut Session) -> Result<(), String> {
        let mut pump = Pump::new(session);
        if let Some(line) = self.line.take() {
            pump.line_found(line);
        }
        loop {
            let now = self.clock.now();
            self.find_line(&mut pump, now);
            self.find_daemon(&mut pump, now);
            pump.turn(now);
            if self.wait(&pump)? {
                return Ok(());
            }
        }
    }

    fn find_line(&mut self, pump: &mut Pump<'_, SerialLine, Connection>, now: Instant) {
        if pump.line().is_none() && self.line_retry.at <= now {
            match SerialLine::open(&self.path, self.baud, self.carrier) {
                Ok(line) => {
                    log::debug!("the line is open");
                    pump.line_found(line);
                }
                Err(error) => log::debug!("{error}"),
            }
            self.line_retry.tried(now);
        }
    }

    fn find_daemon(&mut self, pump: &mut Pump<'_, SerialLine, Connection>, now: Instant) {
        if pump.daemon().is_none() && self.daemon_retry.at <= now {
            match Connection::to(&self.control) {
                Ok(daemon) => pump.daemon_found(daemon, now),
                Err(error) => log::debug!("no daemon answers at {}: {error}", self.control.display()),
            }
            self.daemon_retry.tried(now);
        }
    }

    /// Whether to end.
    fn wait(&mut self, pump: &Pump<'_, SerialLine, Connection>) -> Result<bool, String> {
        let wants = pump.wants();
        let line_retry = pump.line().is_none().then_some(self.line_retry.at);
        let daemon_retry = pump.daemon().is_none().then_some(self.daemon_retry.at);
        let deadline = [wants.deadline, line_retry, daemon_retry].into_iter().flatten().min();
        let interests = interests(pump, wants);
        let now = self.clock.now();
        let wake = self.waiter.wait(&[], &interests, deadline, now);
        wake.map(|wake| wake.stop).map_err(|error| format!("cannot wait: {error}"))
    }
}

fn interests<'p>(
    pump: &'p Pump<'_, SerialLine, Connection>,
    wants: Wants,
) -> Vec<ControlInterest<'p>, CONTROLS_MAX> {
    let mut interests = Vec::new();
    // Four at most, and there is room for more.
    if let Some(line) = pump.line() {
        let fd = line.as_fd();
        for writing in [(wants.line_read, false), (wants.line_write, true)].iter().filter(|w| w.0) {
            let _ = interests.push(ControlInterest { fd, writing: writing.1 });
        }
    }
    if let Some(daemon) = pump.daemon() {
        let fd = daemon.as_fd();
        for writing in [(wants.daemon_read, false), (wants.daemon_write, true)].iter().filter(|w| w.0) {
            let _ = interests.push(ControlInterest { fd, writing: writing.1 });
        }
    }
    interests
}
