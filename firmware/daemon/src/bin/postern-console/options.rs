//! The command line of `postern-console`.

use core::fmt;
use std::path::PathBuf;

use postern_hal_linux::serial::Carrier;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
postern-console - the console of this gateway on a serial line, for people and for `postern --to serial:DEV`

USAGE
    postern-console --line DEVICE --control SOCKET [OPTIONS]

OPTIONS
    --line DEVICE       the serial line, e.g. /dev/ttyS0; no getty may be on it
    --baud N            its speed: 1200 to 921600, 115200 by default
    --carrier           the line has a carrier (DCD): when it drops, the session ends at once
    --control SOCKET    where the daemon listens (posternd --control)
    --user NAME         become this user once the line is open; needed when started as the superuser,
                        and NAME must be a member of the daemon's --control-group
    --no-confine        give nothing else away, to look for the cause of a failure
    --log DESTINATION   syslog (default) or stderr
    --log-level LEVEL   error, warn, info (default) or debug
    --help, --version

It waits for the line and for the daemon, and never gives up; SIGTERM ends it.

EXIT STATUS
    0 ended by a signal, 1 failed, 2 usage
";

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogDestination {
    /// The local syslog daemon.
    Syslog,
    /// Standard error.
    Stderr,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Serve the line.
    Serve,
    /// Only print the help.
    Help,
    /// Only print the version.
    Version,
}

/// The command line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// What to do.
    pub(crate) action: Action,
    /// The serial line; empty for help and version.
    pub(crate) line: PathBuf,
    /// Its speed.
    pub(crate) baud: u32,
    /// Whether it has a carrier.
    pub(crate) carrier: Carrier,
    /// The daemon's control socket; empty for help and version.
    pub(crate) control: PathBuf,
    /// Who to become.
    pub(crate) user: Option<String>,
    /// Whether privileges beyond the user's are given away.
    pub(crate) confine: bool,
    /// Where log lines go.
    pub(crate) log: LogDestination,
    /// The lowest level that is logged.
    pub(crate) level: log::LevelFilter,
}

/// Why the command line was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UsageError {
    /// An option that does not exist.
    Unknown(String),
    /// An option without its value.
    MissingValue(&'static str),
    /// A value that an option does not take.
    BadValue(&'static str, String),
    /// An option that must be given.
    Missing(&'static str),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::Unknown(option) => write!(f, "unknown option {option:?}")?,
            UsageError::MissingValue(option) => write!(f, "{option} needs a value")?,
            UsageError::BadValue(option, value) => write!(f, "{option} does not take {value:?}")?,
            UsageError::Missing(option) => write!(f, "{option} is missing")?,
        }
        f.write_str("; try `postern-console --help`")
    }
}

/// Reads the arguments behind the program's name.
///
/// # Errors
/// The first argument that is wrong.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, UsageError> {
    let (mut line, mut control) = (None, None);
    let mut options = Options {
        action: Action::Serve,
        line: PathBuf::new(),
        baud: 115_200,
        carrier: Carrier::Unknown,
        control: PathBuf::new(),
        user: None,
        confine: true,
        log: LogDestination::Syslog,
        level: log::LevelFilter::Info,
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        // Both `--option value` and `--option=value`.
        let (option, mut inline) = match argument.split_once('=') {
            Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        let mut value =
            |option| inline.take().or_else(|| arguments.next()).ok_or(UsageError::MissingValue(option));
        match option.as_str() {
            "--line" => line = Some(PathBuf::from(value("--line")?)),
            "--baud" => {
                let text = value("--baud")?;
                options.baud = text.parse().map_err(|_| UsageError::BadValue("--baud", text))?;
            }
            "--carrier" => options.carrier = Carrier::Followed,
            "--control" => control = Some(PathBuf::from(value("--control")?)),
            "--user" => options.user = Some(value("--user")?),
            "--no-confine" => options.confine = false,
            "--log" => {
                options.log = match value("--log")? {
                    text if text == "syslog" => LogDestination::Syslog,
                    text if text == "stderr" => LogDestination::Stderr,
                    text => return Err(UsageError::BadValue("--log", text)),
                }
            }
            "--log-level" => {
                let text = value("--log-level")?;
                options.level = text.parse().map_err(|_| UsageError::BadValue("--log-level", text))?;
            }
            "--help" | "-h" => return Ok(Options { action: Action::Help, ..options }),
            "--version" | "-V" => return Ok(Options { action: Action::Version, ..options }),
            _ => return Err(UsageError::Unknown(option)),
        }
        if let Some(extra) = inline {
            return Err(UsageError::BadValue("a switch", extra));
        }
    }
    options.line = line.ok_or(UsageError::Missing("--line"))?;
    options.control = control.ok_or(UsageError::Missing("--control"))?;
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, UsageError> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_line_and_a_socket_are_needed() {
        let options = read("--line /dev/ttyS0 --baud=9600 --control /run/postern/control").unwrap();
        assert_eq!((options.baud, options.carrier), (9600, Carrier::Unknown));
        assert_eq!(read("--line /dev/ttyS0"), Err(UsageError::Missing("--control")));
        assert_eq!(read("--control x"), Err(UsageError::Missing("--line")));
        assert_eq!(read("--help").unwrap().action, Action::Help);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            read("--line x --control y --baud fast"),
            Err(UsageError::BadValue("--baud", "fast".into()))
        );
        assert_eq!(read("--user"), Err(UsageError::MissingValue("--user")));
        assert_eq!(read("--carrier=yes"), Err(UsageError::BadValue("a switch", "yes".into())));
        assert!(read("--baudrate 3").unwrap_err().to_string().contains("--help"));
    }
}
