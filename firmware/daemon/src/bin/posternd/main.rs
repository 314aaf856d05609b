//! `posternd`: real adapters around the turn of the library.

mod attach;
mod confinement;
mod gate;
mod guard;
mod peers;
mod shell;
mod sink;
mod slots;
mod store;
mod vigil;

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use postern_config::{Backend, Site};
use postern_core::rule::RuleSet;
use postern_hal_linux::partition::{LinuxPartition, PartitionOpenError};
use postern_hal_linux::reboot::reboot;
use postern_hal_linux::syslog::{Diagnostics, Identity};
use posternd::configuration::Configuration;
use posternd::options::{self, Action, HELP, LogDestination, Options};

use crate::store::StoreError;

use crate::gate::Gate;
use crate::guard::{End, Guard};

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
        Action::Shut => shut(&options),
        Action::Uninstall => uninstall(&options),
        Action::Attach => attach::attach(&options).map_err(Failure::Other),
        Action::Run => run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure @ Failure::Store(StoreError::Partition(PartitionOpenError::Refused(..)))) => {
            fail(FAILED, &failure.to_string())
        }
        Err(failure @ Failure::Store(_)) => fail(INVALID_CONFIG, &failure.to_string()),
        Err(failure @ Failure::Other(_)) => fail(FAILED, &failure.to_string()),
    }
}

/// Why the daemon ended.
pub(crate) enum Failure {
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

/// What would be in force, without touching anything.
fn read(options: &Options) -> Result<(Configuration<LinuxPartition>, RuleSet), Failure> {
    let configuration = Configuration::choose(store::open_to_read(&options.store)?, store::built_in());
    let rules = configuration.rules().map_err(|error| StoreError::BadRules(options.store.clone(), error))?;
    if configuration.generation() == 0 {
        return Err(StoreError::NoConfig(options.store.clone()).into());
    }
    Ok((configuration, rules))
}

#[inline(never)]
fn check(options: &Options) -> Result<(), Failure> {
    let (configuration, rules) = read(options)?;
    let text = format!(
        "{}: generation {}, {} doors, {} sequences, {} protected ports, {} guard ranges\n",
        options.store.display(),
        configuration.generation(),
        rules.doors().len(),
        rules.sequences().len(),
        rules.protected_ports().len(),
        rules.guards().len(),
    );
    say(&text);
    Ok(())
}

/// Puts the gate up and leaves it. Grants there are stay: a daemon that starts later accounts for them.
/// When the store cannot be used, the ports of the factory profile are shut, by whichever packet filter
/// there is, and that is a failure all the same.
#[inline(never)]
fn shut(options: &Options) -> Result<(), Failure> {
    let put_up = |site: &Site, rules: &RuleSet| {
        let mut gate = Gate::new(site)?;
        gate.adopt_grants();
        gate.install(rules)?;
        Gate::remove_the_others(site);
        Ok(())
    };
    let failure = match read(options) {
        Ok((configuration, rules)) => match put_up(configuration.site(), &rules) {
            Ok(()) => return Ok(()),
            Err(reason) => Failure::Other(reason),
        },
        Err(failure) => failure,
    };
    let mut factory = store::factory(options.factory.as_deref()).unwrap_or_else(|_| store::built_in());
    for backend in [Backend::Iptables, Backend::Nftables] {
        factory.backend = backend;
        let Ok(rules) = factory.rules() else { continue };
        if put_up(&factory, &rules).is_ok() {
            let ports = rules.protected_ports().len();
            let _ = writeln!(stderr(), "posternd: {ports} ports of the factory profile were shut instead");
            break;
        }
    }
    Err(failure)
}

#[inline(never)]
fn uninstall(options: &Options) -> Result<(), Failure> {
    let (configuration, _) = read(options)?;
    Gate::new(configuration.site()).and_then(|mut gate| gate.remove()).map_err(Failure::Other)
}

#[inline(never)]
fn run(options: &Options) -> Result<(), Failure> {
    let identity = Identity::of_this_process();
    let diagnostics = match options.log {
        LogDestination::Stderr => Diagnostics::to_stderr(options.level),
        LogDestination::Syslog => Diagnostics::to_syslog(options.level, identity.clone(), None),
    };
    diagnostics.install().map_err(|error| Failure::Other(error.to_string()))?;
    let result =
        Guard::start(options, identity).and_then(|guard| guard.watch(options).map_err(Failure::Other));
    // Who reads only the log must find the reason there, too.
    if let (Err(failure), LogDestination::Syslog) = (&result, options.log) {
        log::error!("{failure}");
    }
    match result? {
        End::Stopped => Ok(()),
        End::Reboot => match reboot() {
            Ok(never) => match never {},
            Err(error) => Err(Failure::Other(format!("cannot restart the machine: {error}"))),
        },
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Store(error) => error.fmt(f),
            Failure::Other(message) => f.write_str(message),
        }
    }
}
