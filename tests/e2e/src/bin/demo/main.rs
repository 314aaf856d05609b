//! The demonstration: a gateway nobody can see, a knock, an open door, and a kernel that closes it.
//!
//! Makes its own network namespaces, guards a real OpenSSH server, tells in plain words what it
//! does and checks every step; exits with 0 only if every one was as told.

mod narrator;
mod supervisor;
mod tour;

use std::process::ExitCode;

const HELP: &str = "\
demo - shows Postern at work on this machine, in network namespaces of its own

USAGE
    demo [--keep] [--no-install]

OPTIONS
    --keep         leave everything running at the end, to try it by hand
    --no-install   do not install missing programs with apt-get
    --help

Needs root. Nothing of the host's network or firewall is touched.
";

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    keep: bool,
    no_install: bool,
    supervised: bool,
}

fn main() -> ExitCode {
    let mut options = Options::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--keep" => options.keep = true,
            "--no-install" => options.no_install = true,
            supervisor::SUPERVISED => options.supervised = true,
            "--help" | "-h" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("demo: unknown option {other:?}; try --help");
                return ExitCode::from(2);
            }
        }
    }
    let done = if options.supervised {
        supervisor::unblock().and_then(|()| tour::run(options))
    } else {
        supervisor::supervise()
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
