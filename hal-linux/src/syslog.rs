//! Audit records and diagnostics as log lines: to syslog in RFC 5424, or to stderr.
//!
//! | type | is |
//! | --- | --- |
//! | [`SyslogSink`] | an [`postern_core::port::AuditSink`] that writes to the local syslog daemon |
//! | [`StderrSink`] | the same to stderr, a line a record |
//! | [`Diagnostics`] | a [`log::Log`] for what is not an audit record, either way |
//!
//! A line is made in a fixed buffer without any heap and is handed over without waiting: when the
//! daemon behind the socket is slow the record stays in the audit ring and is tried again; when the
//! socket is gone it is looked for again, less and less often. Only connecting allocates.
//!
//! # The audit line
//!
//! ```text
//! <85>1 2026-11-23T06:57:02.123Z pump-17 postern 412 GRANT [timeQuality tzKnown="1" isSynced="1"]
//!   [postern@32473 seq="7" uptime_ms="93512" grant="3" door="ssh" src="192.0.2.1" ports="tcp/22"
//!   open_for_s="30" proof="sequence" extended="false"] GRANT door=ssh src=192.0.2.1 …
//! ```
//!
//! (one line). The MSGID is the event id and never changes its meaning. `seq` rises by one with
//! every record, lost ones included. The time stamp is that of the event; it is the nil value `-`
//! when the clock cannot be right, `uptime_ms` is always there. `32473` is the enterprise number
//! that RFC 5612 reserves for examples: integrators put their own in [`Identity::enterprise`].
//!
//! # Receivers
//!
//! The local socket carries RFC 3164 by habit. rsyslog reads RFC 5424 from it with
//! `module(load="imuxsock" SysSock.UseSpecialParser="off" SysSock.ParseHostname="on")`, syslog-ng
//! with `unix-dgram("/dev/log" flags(syslog-protocol))`. journald and BusyBox keep the line whole,
//! as text.

mod diagnostics;
mod event;
mod line;
mod sink;
mod transport;

pub use diagnostics::Diagnostics;
pub use line::{Identity, LINE_BYTES_MAX, Line, audit_line, human_line};
pub use sink::{StderrSink, SyslogSink};
pub use syslog::Facility;
