//! Confinement against the real kernel. Whoever is confined stays so: each attempt is made by a
//! child, which is this program again with the attempt's name, and exits with what became of it.

mod attempts;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use attempts::{ATTEMPTS, Attempt, NOBODY, Outcome};
use nix::libc;

/// Names the attempt to a child.
const ATTEMPT: &str = "POSTERN_TEST_ATTEMPT";

/// Names the test's directory to a child.
const DIRECTORY: &str = "POSTERN_TEST_DIRECTORY";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(ATTEMPT) {
        let directory = PathBuf::from(std::env::var(DIRECTORY).expect("the directory's name"));
        let attempt = ATTEMPTS.iter().find(|attempt| attempt.name == name).expect("an attempt of the list");
        return ExitCode::from(attempts::child(attempt, &directory));
    }
    assert!(nix::unistd::geteuid().is_root(), "this test gives privileges away: it must be run as root");
    let abi = postern_hal_linux::confine::landlock_abi();
    assert!(
        abi > 0,
        "this kernel has no landlock (CONFIG_SECURITY_LANDLOCK, lsm=landlock): it cannot be tested"
    );
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let chosen = ATTEMPTS
        .iter()
        .filter(|attempt| filter.as_ref().is_none_or(|word| attempt.name.contains(word.as_str())));
    let directory = Workplace::new();
    let (mut passed, mut failed) = (0, Vec::new());
    for attempt in chosen {
        match judge(attempt, &directory.0) {
            Ok(()) => passed += 1,
            Err(reason) => failed.push(format!("{} as {:?}: {reason}", attempt.name, attempt.who)),
        }
    }
    println!("\ntest result: {passed} attempts ended as they must, {} did not", failed.len());
    failed.iter().for_each(|line| eprintln!("FAILED {line}"));
    if failed.is_empty() && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn judge(attempt: &Attempt, directory: &Path) -> Result<(), String> {
    let output = Command::new(std::env::current_exe().expect("our own path"))
        .env(ATTEMPT, attempt.name)
        .env(DIRECTORY, directory)
        // A backtrace needs more memory than a confined process has.
        .env("RUST_BACKTRACE", "0")
        .output()
        .map_err(|error| format!("no child: {error}"))?;
    let outcome = outcome(&output);
    if outcome == Some(attempt.outcome) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("wanted {:?}, got {outcome:?} ({}): {said}", attempt.outcome, output.status))
}

fn outcome(output: &Output) -> Option<Outcome> {
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => Some(Outcome::Done),
        (Some(code), _) if code == i32::from(attempts::REFUSED) => Some(Outcome::Refused),
        (_, Some(libc::SIGSYS)) => Some(Outcome::Killed),
        _ => None,
    }
}

/// A directory with a store, a control socket's place, and something that is none of the daemon's
/// business; removed at the end.
struct Workplace(PathBuf);

impl Workplace {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("postern-confine-{}", std::process::id()));
        for part in ["store", "run", "other"] {
            let part = directory.join(part);
            std::fs::create_dir_all(&part).expect("a directory");
            nix::unistd::chown(&part, Some(NOBODY.into()), None).expect("its owner");
        }
        for file in ["store/image", "store/next", "run/control", "other/secret"] {
            let file = directory.join(file);
            std::fs::write(&file, "x").expect("a file");
            nix::unistd::chown(&file, Some(NOBODY.into()), None).expect("its owner");
        }
        Self(directory)
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What `/proc/self/status` says of one thing, for the attempts that look.
fn status(what: &str) -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let prefix = format!("{what}:\t");
    let line = status.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap_or_else(|| panic!("no {what} in /proc/self/status")).to_owned()
}
