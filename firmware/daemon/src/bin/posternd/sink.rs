//! The audit sink the command line asked for.

use postern_core::audit::Record;
use postern_core::limits::INTERFACES_MAX;
use postern_core::port::{AuditSink, SinkBusy};
use postern_core::time::Instant;
use postern_hal_linux::capture::InterfaceName;
use postern_hal_linux::syslog::{Identity, StderrSink, SyslogSink};
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

    /// Other interfaces are watched: their names stand in the records.
    pub(crate) fn set_interfaces(&mut self, names: InterfaceNames) {
        match self {
            Sink::Stderr(sink) => sink.identity_mut().interfaces = names,
            Sink::Syslog(sink) => sink.identity_mut().interfaces = names,
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
