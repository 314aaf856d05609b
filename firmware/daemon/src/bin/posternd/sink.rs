//! The audit sink the command line asked for.

use postern_core::audit::Record;
use postern_core::port::{AuditSink, SinkBusy};
use postern_core::time::Instant;
use postern_hal_linux::syslog::{Identity, StderrSink, SyslogSink};
use posternd::options::LogDestination;

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
}

impl AuditSink for Sink {
    fn write(&mut self, record: &Record, now: Instant) -> Result<(), SinkBusy> {
        match self {
            Sink::Stderr(sink) => sink.write(record, now),
            Sink::Syslog(sink) => sink.write(record, now),
        }
    }
}
