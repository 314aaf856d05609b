//! The two audit sinks.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use postern_core::audit::Record;
use postern_core::port::{AuditSink, SinkBusy};
use postern_core::time::Instant;

use super::line::{Identity, Line, audit_line, human_line};
use super::transport::{Transport, write_line};
use crate::clock::WallTime;

/// Writes audit records to the local syslog daemon, RFC 5424.
pub struct SyslogSink {
    identity: Identity,
    transport: Transport,
}

impl fmt::Debug for SyslogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyslogSink").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl SyslogSink {
    /// Connects to the socket at `path`, or where syslog daemons usually listen (`/dev/log`). When
    /// nobody listens, records wait in the audit ring until somebody does.
    pub fn new(identity: Identity, path: Option<&Path>) -> Self {
        Self { identity, transport: Transport::new(path) }
    }

    /// Who is speaking; the interfaces change with the configuration.
    pub fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl AuditSink for SyslogSink {
    fn write(&mut self, record: &Record, now: Instant) -> Result<(), SinkBusy> {
        let wall = WallTime::now().map(|wall| wall.before(now.since(record.at)));
        let mut line = Line::new();
        // A line that did not fit is cut at the end, behind the structured data.
        let _ = audit_line(record, wall, &self.identity, &mut line);
        self.transport.send(line.as_bytes(), now)
    }
}

/// Writes audit records to stderr, or any descriptor, a line each.
#[derive(Debug)]
pub struct StderrSink<Out = std::io::Stderr> {
    identity: Identity,
    out: Out,
}

impl StderrSink {
    /// To stderr.
    pub fn new(identity: Identity) -> Self {
        Self { identity, out: std::io::stderr() }
    }
}

impl StderrSink<OwnedFd> {
    /// To another descriptor.
    pub fn to(identity: Identity, out: OwnedFd) -> Self {
        Self { identity, out }
    }
}

impl<Out> StderrSink<Out> {
    /// Who is speaking; the interfaces change with the configuration.
    pub fn identity_mut(&mut self) -> &mut Identity {
        &mut self.identity
    }
}

impl<Out: AsFd> AuditSink for StderrSink<Out> {
    fn write(&mut self, record: &Record, _now: Instant) -> Result<(), SinkBusy> {
        let mut line = Line::new();
        let _ = human_line(record, &self.identity, &mut line);
        // A line that filled the buffer loses its last character to the line end.
        if line.push('\n').is_err() {
            let _ = line.pop();
            let _ = line.push('\n');
        }
        write_line(&self.out, line.as_bytes())
    }
}
