//! The audit sink the command line asked for.

use postern_core::audit::Record;
use postern_core::limits::INTERFACES_MAX;
use postern_core::port::{AuditSink, SinkBusy};
use postern_core::time::Instant;
use postern_hal_linux::capture::InterfaceName;
use postern_hal_linux::syslog::{Identity, Line, StderrSink, SyslogSink, human_line};
use posternd::control::Lines;
use posternd::options::LogDestination;

/// Names of the capture interfaces in the order of the site's list.
pub(crate) type InterfaceNames = heapless::Vec<InterfaceName, INTERFACES_MAX>;

/// Where audit records go.
pub(crate) enum Sink {
    Stderr(StderrSink),
    Syslog(SyslogSink),
}

impl Sink {
    pub(crate) fn new(destination: LogDestination, identity: Identity) -> Self {
        match destination {
            LogDestination::Stderr => Sink::Stderr(StderrSink::new(identity)),
            LogDestination::Syslog => Sink::Syslog(SyslogSink::new(identity, None)),
        }
    }

    fn identity(&mut self) -> &Identity {
        match self {
            Sink::Stderr(sink) => sink.identity_mut(),
            Sink::Syslog(sink) => sink.identity_mut(),
        }
    }

    /// Other interfaces are watched: their names stand in the records.
    pub(crate) fn set_interfaces(&mut self, names: InterfaceNames) {
        match self {
            Sink::Stderr(sink) => sink.identity_mut().interfaces = names,
            Sink::Syslog(sink) => sink.identity_mut().interfaces = names,
        }
    }
}

/// A sink that keeps what was written for those who ask.
pub(crate) struct RecordingSink<'a> {
    pub(crate) sink: &'a mut Sink,
    pub(crate) lines: &'a mut Lines,
}

impl AuditSink for RecordingSink<'_> {
    fn write(&mut self, record: &Record, now: Instant) -> Result<(), SinkBusy> {
        self.sink.write(record, now)?;
        let mut line = Line::new();
        // What does not fit is cut.
        let _ = human_line(record, self.sink.identity(), &mut line);
        self.lines.keep(record.id, record.at, &line);
        Ok(())
    }
}

impl AuditSink for Sink {
    fn write(&mut self, record: &Record, now: Instant) -> Result<(), SinkBusy> {
        match self {
            Sink::Stderr(sink) => sink.write(record, now),
            Sink::Syslog(sink) => sink.write(record, now),
        }
    }
}
