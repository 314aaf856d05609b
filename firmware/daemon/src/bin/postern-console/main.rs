//! `postern-console`: the process on the serial port.
//!
//! It holds no right and no state worth having: it asks the daemon, over the control socket, like
//! every other tool.

mod options;
mod serve;

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use postern_console::session::Session;
use postern_core::port::Clock;
use postern_hal_linux::clock::BootClock;
use postern_hal_linux::confine;
use postern_hal_linux::random::random;
use postern_hal_linux::syslog::{Diagnostics, Identity};
use postern_hal_linux::user::{become_user, is_superuser};

use crate::options::{Action, HELP, LogDestination, Options};
use crate::serve::Console;

/// Exit statuses of the design.
const FAILED: u8 = 1;
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    match options.action {
        Action::Help => return say(HELP),
        Action::Version => return say(concat!("postern-console ", env!("CARGO_PKG_VERSION"), "\n")),
        Action::Serve => {}
    }
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            if options.log == LogDestination::Syslog {
                log::error!("{message}");
            }
            fail(FAILED, &message)
        }
    }
}

/// A closed standard output is no reason to die with a panic.
fn say(text: &str) -> ExitCode {
    let written = stdout().write_all(text.as_bytes());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn fail(status: u8, message: &str) -> ExitCode {
    let _ = writeln!(stderr(), "postern-console: {message}");
    ExitCode::from(status)
}

/// Leaves nothing but the line and the way to the daemon.
fn confine(options: &Options) -> Result<(), String> {
    let user = options.user.as_deref();
    if !options.confine {
        log::warn!("not confined: --no-confine");
        return user.map_or(Ok(()), |user| become_user(user).map_err(|error| error.to_string()));
    }
    let in_force = confine::console(&confine::Console { user, line: &options.line });
    let in_force = in_force.map_err(|error| error.to_string())?;
    if !in_force.seccomp {
        log::warn!("the kernel cannot filter system calls (CONFIG_SECCOMP_FILTER)");
    }
    Ok(())
}

fn serve(options: &Options) -> Result<(), String> {
    let identity = Identity::of_this_process();
    let diagnostics = match options.log {
        LogDestination::Stderr => Diagnostics::to_stderr(options.level),
        LogDestination::Syslog => Diagnostics::to_syslog(options.level, identity, None),
    };
    diagnostics.install().map_err(|error| error.to_string())?;
    let mut console = Console::prepare(options)?;
    let seed = random().map_err(|error| format!("no random octets: {error}"))?;
    confine(options)?;
    // The daemon asks the superuser for no password: whoever sits at the line would not be asked, either.
    if is_superuser() {
        return Err("this would run as the superuser, whom the daemon lets in without a login: name \
                    a user that may connect (posternd --control-group) with --user NAME"
            .to_owned());
    }
    // 400 KiB: two sites and a payload, once, for as long as the process lives.
    let mut session = Box::new(Session::new(seed, BootClock::new().now()));
    console.serve(&mut session)
}
