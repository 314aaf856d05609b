//! What the program has to say that is no audit record, through the `log` crate.

use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};
use postern_core::port::{Clock, SinkBusy};
use syslog::Severity;

use super::line::{Identity, Line, diagnostic_line, plain_text};
use super::transport::{Transport, write_line};
use crate::clock::{BootClock, WallTime};

/// A logger that never waits and never allocates: what cannot be written at once is counted, and
/// the next message that can is preceded by the count.
pub struct Diagnostics {
    way: Way,
    level: LevelFilter,
    lost: AtomicU32,
}

enum Way {
    Stderr,
    Syslog(Box<(Identity, Mutex<Socket>)>),
}

struct Socket {
    transport: Transport,
    clock: BootClock,
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Diagnostics").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Diagnostics {
    /// Messages up to `level` to stderr, a line each.
    pub const fn to_stderr(level: LevelFilter) -> Self {
        Self { way: Way::Stderr, level, lost: AtomicU32::new(0) }
    }

    /// Messages up to `level` to the local syslog daemon, facility `daemon`.
    pub fn to_syslog(level: LevelFilter, identity: Identity, path: Option<&Path>) -> Self {
        let socket = Mutex::new(Socket { transport: Transport::new(path), clock: BootClock::new() });
        Self { way: Way::Syslog(Box::new((identity, socket))), level, lost: AtomicU32::new(0) }
    }

    /// Makes it the logger of this process, for good.
    ///
    /// # Errors
    /// When there is one already.
    pub fn install(self) -> Result<(), SetLoggerError> {
        log::set_max_level(self.level);
        log::set_logger(Box::leak(Box::new(self)))
    }

    fn write(&self, level: Level, message: &fmt::Arguments<'_>) -> Result<(), SinkBusy> {
        let mut line = Line::new();
        match &self.way {
            Way::Stderr => {
                // What does not fit is cut, but for the line end.
                let _ = plain_text(&format_args!("{}: {message}", word(level)), &mut line);
                if line.push('\n').is_err() {
                    let _ = line.pop();
                    let _ = line.push('\n');
                }
                write_line(&std::io::stderr(), line.as_bytes())
            }
            Way::Syslog(syslog) => {
                let (identity, socket) = &**syslog;
                let _ = diagnostic_line(message, severity(level), WallTime::now(), identity, &mut line);
                // Taken means that another thread, or this one further up, is writing: do not wait.
                let mut socket = socket.try_lock().map_err(|_| SinkBusy)?;
                let now = socket.clock.now();
                socket.transport.send(line.as_bytes(), now)
            }
        }
    }

    /// Says first how many messages were lost before.
    fn confess(&self) -> Result<(), SinkBusy> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return Ok(());
        }
        let confessed = self.write(Level::Warn, &format_args!("{lost} messages lost: the log was too slow"));
        if confessed.is_err() {
            self.lost.fetch_add(lost, Ordering::Relaxed);
        }
        confessed
    }
}

impl Log for Diagnostics {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let written = self.confess().and_then(|()| self.write(record.level(), record.args()));
        if written.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

const fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warn => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_INFO,
        Level::Debug | Level::Trace => Severity::LOG_DEBUG,
    }
}
