//! Lines in a fixed buffer: RFC 5424 and one for people.

use std::fmt::{self, Write};

use heapless::{String, Vec};
use postern_core::audit::Record;
use postern_core::limits::INTERFACES_MAX;
use syslog::{Facility, Severity};

use super::event::{Field, event_fields, record_fields, severity};
use crate::capture::InterfaceName;
use crate::clock::WallTime;

/// Octets of one line. RFC 5424 receivers take 480 at least and should take 2,048; the longest
/// audit line is below this, and its structured data come first.
pub const LINE_BYTES_MAX: usize = 1024;

/// Octets of a host name kept; RFC 5424 allows 255, Linux names have 64.
const HOSTNAME_BYTES_MAX: usize = 64;

/// Name of the program in every line.
const APP_NAME: &str = "postern";

/// The enterprise number for examples (RFC 5612).
const EXAMPLE_ENTERPRISE: u32 = 32473;

/// One line.
pub type Line = String<LINE_BYTES_MAX>;

/// Who is speaking: what all lines have in common.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Facility of the audit records; security by default (`authpriv`).
    pub facility: Facility,
    /// Host name as it stands in the lines; empty is the nil value.
    pub hostname: String<HOSTNAME_BYTES_MAX>,
    /// Process id.
    pub process: u32,
    /// Private enterprise number behind the `@` of the structured data's id. Integrators put their
    /// own here; the default is the one for examples.
    pub enterprise: u32,
    /// Names of the capture interfaces in the order of the site's list.
    pub interfaces: Vec<InterfaceName, INTERFACES_MAX>,
}

impl Identity {
    /// This process on this host.
    pub fn of_this_process() -> Self {
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            facility: Facility::LOG_AUTHPRIV,
            hostname: hostname.chars().filter(char::is_ascii_graphic).take(HOSTNAME_BYTES_MAX).collect(),
            process: std::process::id(),
            enterprise: EXAMPLE_ENTERPRISE,
            interfaces: Vec::new(),
        }
    }
}

/// The audit record as an RFC 5424 line, without a line end. `wall` is the time of the event.
///
/// # Errors
/// Never for a record of the engine; the line is cut at the end if it were too long.
pub fn audit_line(
    record: &Record,
    wall: Option<WallTime>,
    identity: &Identity,
    line: &mut Line,
) -> fmt::Result {
    let event = &record.event;
    header(identity, identity.facility, severity(event), wall, event.id(), line)?;
    write!(line, "[postern@{}", identity.enterprise)?;
    record_fields(record, &mut |field| parameter(line, field))?;
    event_fields(event, identity, &mut |field| parameter(line, field))?;
    line.write_str("] ")?;
    human_line(record, identity, line)
}

/// The audit record for people: `GRANT door=ssh src=192.0.2.1 ports=tcp/22 open_for=30s …`,
/// without a line end.
///
/// # Errors
/// Never for a record of the engine; the line is cut at the end if it were too long.
pub fn human_line(record: &Record, identity: &Identity, line: &mut Line) -> fmt::Result {
    line.write_str(record.event.id())?;
    let mut word = |Field { name, value, unit }: Field<'_>| write!(line, " {name}={}{unit}", Word(value));
    event_fields(&record.event, identity, &mut word)?;
    record_fields(record, &mut word)
}

/// A diagnostic message as an RFC 5424 line of facility `daemon`.
pub(super) fn diagnostic_line(
    message: &fmt::Arguments<'_>,
    severity: Severity,
    wall: Option<WallTime>,
    identity: &Identity,
    line: &mut Line,
) -> fmt::Result {
    header(identity, Facility::LOG_DAEMON, severity, wall, "-", line)?;
    line.write_char(' ')?;
    plain_text(message, line)
}

/// `message` with everything replaced that could forge a line of its own. What does not fit is cut.
pub(super) fn plain_text(message: &fmt::Arguments<'_>, line: &mut Line) -> fmt::Result {
    let mut printable = Printable { out: line, escape: false, keep_space: true };
    printable.write_fmt(*message)
}

/// The header and the first structured data element (RFC 5424, sections 6.2 and 7.1).
fn header(
    identity: &Identity,
    facility: Facility,
    severity: Severity,
    wall: Option<WallTime>,
    message_id: &str,
    line: &mut Line,
) -> fmt::Result {
    write!(line, "<{}>1 ", facility as u8 | severity as u8)?;
    match wall {
        Some(wall) => write!(line, "{wall}")?,
        None => line.write_char('-')?,
    }
    let hostname = if identity.hostname.is_empty() { "-" } else { identity.hostname.as_str() };
    write!(line, " {hostname} {APP_NAME} {} {message_id} ", identity.process)?;
    let synchronised = u8::from(wall.is_some_and(|wall| wall.synchronised));
    // UTC is a time zone that is known; a clock that is not believed tells no time at all.
    let zone_known = u8::from(wall.is_some());
    write!(line, "[timeQuality tzKnown=\"{zone_known}\" isSynced=\"{synchronised}\"]")
}

/// ` name_unit="value"`, escaped as RFC 5424, section 6.3.3 says.
fn parameter(line: &mut Line, Field { name, value, unit }: Field<'_>) -> fmt::Result {
    let joint = if unit.is_empty() { "" } else { "_" };
    write!(line, " {name}{joint}{unit}=\"")?;
    write!(Printable { out: line, escape: true, keep_space: true }, "{value}")?;
    line.write_char('"')
}

/// A value for people: one word, whatever is in it.
struct Word<'a>(&'a dyn fmt::Display);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Printable { out: f, escape: false, keep_space: false }, "{}", self.0)
    }
}

/// Passes printable ASCII on and replaces the rest by `?`, so that no value can begin a new line,
/// drive a terminal or make a receiver guess an encoding.
struct Printable<'a, W> {
    out: &'a mut W,
    /// Puts a backslash before `"`, `\` and `]`.
    escape: bool,
    keep_space: bool,
}

impl<W: Write> Write for Printable<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| {
            if self.escape && matches!(character, '"' | '\\' | ']') {
                self.out.write_char('\\')?;
            }
            let kept = character.is_ascii_graphic() || (self.keep_space && character == ' ');
            self.out.write_char(if kept { character } else { '?' })
        })
    }
}
