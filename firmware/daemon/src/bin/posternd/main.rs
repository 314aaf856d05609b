//! `posternd`: real adapters around the turn of the library.

mod gate;
mod guard;
mod sink;

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use postern_hal_linux::syslog::{Diagnostics, Identity};
use posternd::options::{self, Action, HELP, LogDestination, Options};
use posternd::store::{self, StoreError};

use crate::gate::Gate;
use crate::guard::Guard;

/// Exit statuses of the design.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INVALID_CONFIG: u8 = 3;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => return fail(USAGE, &error.to_string()),
    };
    let result = match options.action {
        Action::Help => return say(HELP),
        Action::Version => return say(concat!("posternd ", env!("CARGO_PKG_VERSION"), "\n")),
        Action::Check => check(&options),
        Action::Uninstall => uninstall(&options),
        Action::Run => run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Store(error)) => fail(INVALID_CONFIG, &error.to_string()),
        Err(Failure::Other(message)) => fail(FAILED, &message),
    }
}

/// Why the daemon ended.
enum Failure {
    Store(StoreError),
    /// One line: what, and what to do.
    Other(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

/// A closed standard output is no reason to die with a panic.
fn say(text: &str) -> ExitCode {
    let written = stdout().write_all(text.as_bytes());
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

fn fail(status: u8, message: &str) -> ExitCode {
    let _ = writeln!(stderr(), "posternd: {message}");
    ExitCode::from(status)
}

fn check(options: &Options) -> Result<(), Failure> {
    let loaded = store::load(&options.store)?;
    let rules = &loaded.rules;
    let text = format!(
        "{}: {} doors, {} sequences, {} protected ports, {} guard ranges\n",
        options.store.display(),
        rules.doors().len(),
        rules.sequences().len(),
        rules.protected_ports().len(),
        rules.guards().len(),
    );
    say(&text);
    Ok(())
}

fn uninstall(options: &Options) -> Result<(), Failure> {
    let loaded = store::load(&options.store)?;
    Gate::new(&loaded.site).and_then(|mut gate| gate.remove()).map_err(Failure::Other)
}

fn run(options: &Options) -> Result<(), Failure> {
    let identity = Identity::of_this_process();
    let diagnostics = match options.log {
        LogDestination::Stderr => Diagnostics::to_stderr(options.level),
        LogDestination::Syslog => Diagnostics::to_syslog(options.level, identity.clone(), None),
    };
    diagnostics.install().map_err(|error| Failure::Other(error.to_string()))?;
    let loaded = store::load(&options.store)?;
    let result = Guard::start(options, loaded, identity).and_then(Guard::watch);
    // Who reads only the log must find the reason there, too.
    if let (Err(message), LogDestination::Syslog) = (&result, options.log) {
        log::error!("{message}");
    }
    result.map_err(Failure::Other)
}
