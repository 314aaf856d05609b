//! The command line of `posternd`.

use core::fmt;
use std::path::PathBuf;

use postern_config::slots::Slot;

use crate::update::This;

/// What `--help` prints.
pub const HELP: &str = "\
posternd - keeps the management ports of this gateway shut and opens them for who knows the knock

USAGE
    posternd --store PATH [OPTIONS]
    posternd --attach SOCKET

OPTIONS
    --store PATH        config partition, or an image of one made by `postern compile`
    --control SOCKET    where tools and the console reach the daemon, usually
                        /run/postern/control; without it nobody does
    --control-group G   members of this group may connect, too; they must log in
    --factory PATH      factory profile for a partition without a configuration, made by
                        `postern compile --profile`; without one, every door of the usual services is shut
    --user USER         run as this user, by name or number, instead of root without its powers; a store
                        that shall replace this one must be the user's
    --lock-memory       keep all memory in RAM
    --nice N            niceness, -20 to 19
    --realtime N        real-time priority, 1 to 99 (SCHED_RR)
    --no-confine        keep every privilege, to look for the cause of a failure
    --watchdog DEVICE   hardware watchdog, usually /dev/watchdog0; it is petted only while the daemon
                        proves that it does its work
    --watchdog-seconds N  time after which it resets a machine that does not, 2 to 3600; without it,
                        what the device says
    --allow-reboot      peers with the role admin may restart the machine
    --slots FOLDER      folder with the partitions environment, kernel-a, root-a, kernel-b and root-b:
                        updates are written to the slot that does not run; needs the three options below
    --slot A|B          the slot that runs
    --board NAME        name of the board; updates for others are refused
    --release N         release that runs; older updates are refused
    --attach SOCKET     connect standard input and output to a daemon's control socket, for
                        `postern --to ssh:HOST`
    --log DESTINATION   syslog (default) or stderr
    --log-level LEVEL   error, warn, info (default), or debug, which shows every step of a knock
    --check             read the store, say what it holds, change nothing, and exit
    --shut              shut the ports of the store's doors, or those of the factory profile when it cannot be
                        used, and exit: for a unit that runs before any interface is up
    --uninstall         take Postern's own rules out of the firewall of the store's back end, and exit
    --help, --version

SIGNALS
    SIGHUP              read the store again; a bad one is refused and the old one stays in force
    SIGTERM, SIGINT     exit; the gate stays shut and the kernel closes open doors in their time

ENVIRONMENT
    NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID
                        of a supervisor that wants to be told (sd_notify(3)): Type=notify, WatchdogSec=

EXIT STATUS
    0 ok, 1 failed, 2 usage, 3 the store holds no valid configuration
";

/// Where log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// The local syslog daemon, in RFC 5424.
    Syslog,
    /// Standard error, for people and for supervisors that collect it.
    Stderr,
}

/// How the daemon is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// As it was started.
    Inherited,
    /// With this niceness, -20 to 19.
    Nice(i8),
    /// In real time with this priority, 1 to 99.
    RealTime(u8),
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Guard the gateway until told to stop.
    Run,
    /// Only read the store.
    Check,
    /// Only shut the ports.
    Shut,
    /// Only take the rules away.
    Uninstall,
    /// Only connect standard input and output to a control socket.
    Attach,
    /// Only print the help.
    Help,
    /// Only print the version.
    Version,
}

/// The command line, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub action: Action,
    /// The config store; empty for help and version.
    pub store: PathBuf,
    /// The control socket, to listen at or to attach to; `None` is none.
    pub control: Option<PathBuf>,
    /// Group whose members may connect; `None` is the superuser alone.
    pub control_group: Option<String>,
    /// The factory profile; `None` is the built-in one.
    pub factory: Option<PathBuf>,
    /// The user to become; `None` stays root, without its powers.
    pub user: Option<String>,
    /// Whether all memory stays in RAM.
    pub lock_memory: bool,
    /// How the daemon is scheduled.
    pub priority: Priority,
    /// Whether privileges are given away at all.
    pub confine: bool,
    /// The hardware watchdog's device; `None` is none.
    pub watchdog: Option<PathBuf>,
    /// Its time-out in seconds; `None` leaves the device's own.
    pub watchdog_secs: Option<u16>,
    /// Whether peers may restart the machine.
    pub allow_reboot: bool,
    /// Folder with the partitions of both slots, and what runs; `None` is a machine without updates.
    pub slots: Option<(PathBuf, This)>,
    /// Where log lines go.
    pub log: LogDestination,
    /// The lowest level that is logged.
    pub level: log::LevelFilter,
}

impl Options {
    /// When nothing is said.
    fn unsaid() -> Self {
        Self {
            action: Action::Run,
            store: PathBuf::new(),
            control: None,
            control_group: None,
            factory: None,
            user: None,
            lock_memory: false,
            priority: Priority::Inherited,
            confine: true,
            watchdog: None,
            watchdog_secs: None,
            allow_reboot: false,
            slots: None,
            log: LogDestination::Syslog,
            level: log::LevelFilter::Info,
        }
    }
}

/// Why the command line was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsageError {
    /// An option that does not exist.
    Unknown(String),
    /// An option without its value.
    MissingValue(&'static str),
    /// A value that an option does not take.
    BadValue(&'static str, String),
    /// No `--store`.
    NoStore,
    /// `--slots` without all that belongs to it.
    SlotsInPart,
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UsageError::Unknown(option) => write!(f, "unknown option {option:?}")?,
            UsageError::MissingValue(option) => write!(f, "{option} needs a value")?,
            UsageError::BadValue(option, value) => write!(f, "{option} does not take {value:?}")?,
            UsageError::NoStore => f.write_str("no config store given: --store PATH")?,
            UsageError::SlotsInPart => {
                f.write_str("--slots, --slot, --board and --release belong together: give all or none")?;
            }
        }
        f.write_str("; try `posternd --help`")
    }
}

/// Reads the arguments behind the program's name.
///
/// # Errors
/// The first argument that is wrong.
pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, UsageError> {
    let mut store = None;
    let mut slots = Slots::default();
    let mut options = Options::unsaid();
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
            "--store" => store = Some(PathBuf::from(value("--store")?)),
            "--control" => {
                options.control = Some(PathBuf::from(value("--control")?));
            }
            "--control-group" => options.control_group = Some(value("--control-group")?),
            "--factory" => options.factory = Some(PathBuf::from(value("--factory")?)),
            "--user" => options.user = Some(value("--user")?),
            "--lock-memory" => options.lock_memory = true,
            "--nice" => options.priority = Priority::Nice(number("--nice", -20..=19, value("--nice")?)?),
            "--realtime" => {
                options.priority = Priority::RealTime(number("--realtime", 1..=99, value("--realtime")?)?);
            }
            "--no-confine" => options.confine = false,
            "--watchdog" => options.watchdog = Some(PathBuf::from(value("--watchdog")?)),
            "--watchdog-seconds" => {
                let seconds = value("--watchdog-seconds")?;
                options.watchdog_secs = Some(number("--watchdog-seconds", 2..=3600, seconds)?);
            }
            "--allow-reboot" => options.allow_reboot = true,
            "--slots" => slots.folder = Some(PathBuf::from(value("--slots")?)),
            "--slot" => slots.slot = Some(value("--slot")?),
            "--board" => slots.board = Some(value("--board")?),
            "--release" => slots.release = Some(value("--release")?),
            "--attach" => {
                let control = Some(PathBuf::from(value("--attach")?));
                return Ok(Options { action: Action::Attach, control, ..options });
            }
            "--log" => options.log = log_destination(value("--log")?)?,
            "--log-level" => options.level = log_level(value("--log-level")?)?,
            "--check" => options.action = Action::Check,
            "--shut" => options.action = Action::Shut,
            "--uninstall" => options.action = Action::Uninstall,
            "--help" | "-h" => return Ok(Options { action: Action::Help, ..options }),
            "--version" | "-V" => return Ok(Options { action: Action::Version, ..options }),
            _ => return Err(UsageError::Unknown(option)),
        }
        if let Some(extra) = inline {
            return Err(UsageError::BadValue("a switch", extra));
        }
    }
    options.store = store.ok_or(UsageError::NoStore)?;
    options.slots = slots.read()?;
    Ok(options)
}

/// What was said of the slots so far.
#[derive(Default)]
struct Slots {
    folder: Option<PathBuf>,
    slot: Option<String>,
    board: Option<String>,
    release: Option<String>,
}

impl Slots {
    fn read(self) -> Result<Option<(PathBuf, This)>, UsageError> {
        let Self { folder, slot, board, release } = self;
        match (folder, slot, board, release) {
            (None, None, None, None) => Ok(None),
            (Some(folder), Some(slot), Some(board), Some(release)) => {
                let slot = Slot::of_letter(&slot).ok_or(UsageError::BadValue("--slot", slot))?;
                let short = heapless::String::try_from(board.as_str());
                let board = short.map_err(|_| UsageError::BadValue("--board", board))?;
                let release = number("--release", 0..=u32::MAX, release)?;
                Ok(Some((folder, This { board, slot, release })))
            }
            _ => Err(UsageError::SlotsInPart),
        }
    }
}

fn number<T: core::str::FromStr + PartialOrd>(
    option: &'static str,
    range: core::ops::RangeInclusive<T>,
    value: String,
) -> Result<T, UsageError> {
    let read = value.parse().ok().filter(|number| range.contains(number));
    read.ok_or(UsageError::BadValue(option, value))
}

fn log_destination(value: String) -> Result<LogDestination, UsageError> {
    match value.as_str() {
        "syslog" => Ok(LogDestination::Syslog),
        "stderr" => Ok(LogDestination::Stderr),
        _ => Err(UsageError::BadValue("--log", value)),
    }
}

fn log_level(value: String) -> Result<log::LevelFilter, UsageError> {
    value.parse().map_err(|_| UsageError::BadValue("--log-level", value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, UsageError> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn both_spellings_of_a_value() {
        let options = read("--store /dev/mmcblk0p5 --log=stderr --log-level debug").unwrap();
        assert_eq!(options.store, PathBuf::from("/dev/mmcblk0p5"));
        assert_eq!((options.log, options.level), (LogDestination::Stderr, log::LevelFilter::Debug));
        assert_eq!(read("--store=x").unwrap().action, Action::Run);
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(read(""), Err(UsageError::NoStore));
        assert_eq!(read("--store"), Err(UsageError::MissingValue("--store")));
        assert_eq!(read("--stroe x"), Err(UsageError::Unknown("--stroe".into())));
        assert_eq!(read("--store x --log file"), Err(UsageError::BadValue("--log", "file".into())));
        assert_eq!(read("--store x --check=yes"), Err(UsageError::BadValue("a switch", "yes".into())));
        assert!(read("--log file").unwrap_err().to_string().contains("--help"));
    }

    #[test]
    fn priorities_have_their_ranges() {
        assert_eq!(read("--store x --nice -10").unwrap().priority, Priority::Nice(-10));
        assert_eq!(read("--store x --realtime=99").unwrap().priority, Priority::RealTime(99));
        assert_eq!(read("--store x --nice 20"), Err(UsageError::BadValue("--nice", "20".into())));
        assert_eq!(read("--store x --realtime 0"), Err(UsageError::BadValue("--realtime", "0".into())));
        let dog = read("--store x --watchdog /dev/watchdog0 --watchdog-seconds 10").unwrap();
        assert_eq!((dog.watchdog, dog.watchdog_secs), (Some(PathBuf::from("/dev/watchdog0")), Some(10)));
        assert!(read("--store x --watchdog-seconds 1").is_err());
        assert!(read("--store x").unwrap().confine && !read("--store x --no-confine").unwrap().confine);
    }

    /// What the unit of this folder is started with is understood.
    #[test]
    fn the_unit_says_what_we_read() {
        let unit = include_str!("../systemd/postern-shut.service");
        let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/sbin/posternd "));
        let options = read(start.expect("a unit starts something")).unwrap();
        let store = PathBuf::from("/dev/disk/by-partlabel/config");
        assert_eq!((options.action, options.store), (Action::Shut, store));
        assert_eq!(read("--store x --shut").unwrap().action, Action::Shut);
    }

    #[test]
    fn what_is_said_of_slots_is_said_together() {
        let line = "--store x --slots /run/part --slot B --board qemu-arm64 --release 7";
        let this = This { board: "qemu-arm64".try_into().unwrap(), slot: Slot::B, release: 7 };
        assert_eq!(read(line).unwrap().slots, Some((PathBuf::from("/run/part"), this)));
        assert_eq!(read("--store x --slot A"), Err(UsageError::SlotsInPart));
        assert_eq!(read(&line.replace(" B ", " C ")), Err(UsageError::BadValue("--slot", "C".into())));
        assert!(read(&line.replace("qemu", &"q".repeat(40))).is_err());
    }

    #[test]
    fn help_needs_no_store() {
        assert_eq!(read("--help").unwrap().action, Action::Help);
    }
}
