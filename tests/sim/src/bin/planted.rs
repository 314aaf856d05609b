//! `planted [WORD...]`: plants bugs whose names contain a word, or all, one at a time in a copy of the
//! sources, and says who noticed: a thousand worlds, or the unit tests of the core.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use postern_sim::planted::{Bug, bugs};

/// A bug that makes a loop endless counts as noticed after so long.
const PATIENCE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let place = match copy() {
        Ok(place) => place,
        Err(error) => {
            eprintln!("the sources cannot be copied: {error}");
            return ExitCode::from(2);
        }
    };
    let mut missed = 0;
    for bug in bugs().filter(|bug| words.is_empty() || words.iter().any(|word| bug.name.contains(word))) {
        let verdict = plant(&place, bug).unwrap_or_else(|error| format!("NOT PLANTED: {error}"));
        let is_missed = verdict.starts_with(|first: char| first.is_uppercase());
        missed += u32::from(is_missed && !bug.equivalent);
        let note = if bug.equivalent { " (equivalent)" } else { "" };
        println!("{}{note}: {verdict}", bug.name);
    }
    println!("{missed} missed");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Copies what git knows into the build folder, so that nothing else is touched.
fn copy() -> std::io::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let place = target.join("planted");
    let listed = Command::new("git").arg("-C").arg(&root).args(["ls-files", "-z"]).output()?;
    for name in String::from_utf8_lossy(&listed.stdout).split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), place.join("tree").join(name));
        let Ok(content) = std::fs::read(from) else { continue };
        // What has not changed is not written, so that it need not be built again.
        if std::fs::read(&to).is_ok_and(|old| old == content) {
            continue;
        }
        std::fs::create_dir_all(to.parent().unwrap_or(&place))?;
        std::fs::write(to, content)?;
    }
    Ok(place)
}

fn plant(place: &Path, bug: Bug) -> Result<String, String> {
    let file = place.join("tree").join(bug.file);
    let sound = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", bug.file))?;
    if sound.matches(bug.text).count() != 1 {
        return Err(format!("{} does not have {:?} once", bug.file, bug.text));
    }
    let write = |text: &str| std::fs::write(&file, text).map_err(|error| error.to_string());
    write(&sound.replace(bug.text, bug.instead))?;
    let verdict = notice(place);
    write(&sound)?;
    verdict
}

fn notice(place: &Path) -> Result<String, String> {
    let package = |words: &[&str], name| {
        let mut cargo = Command::new("cargo");
        cargo.args(words).args(["--quiet", "--locked", "--profile", "sim", "-p", name]);
        cargo.current_dir(place.join("tree")).env("CARGO_TARGET_DIR", place.join("target"));
        cargo.env("RUSTFLAGS", "--cap-lints=allow");
        // Building takes far longer than a thousand worlds.
        cargo.env("CARGO_PROFILE_SIM_INCREMENTAL", "true").env("CARGO_PROFILE_SIM_OPT_LEVEL", "1");
        cargo
    };
    let (built, said) = run(&mut package(&["build"], "postern-sim"))?;
    if !built {
        return Err(format!("it does not build: {said}"));
    }
    let (fine, said) = run(Command::new(place.join("target/sim/sim")).args(["--runs", "1000"]))?;
    if !fine {
        let line = said.lines().rev().find(|line| line.starts_with("world") || line.contains("panicked"));
        return Ok(format!("noticed by {}", line.unwrap_or("the clock")));
    }
    let (fine, said) = run(package(&["test"], "postern-core").arg("--lib"))?;
    if !fine {
        let test = said.lines().find(|line| line.contains("FAILED")).unwrap_or("the clock");
        return Ok(format!("noticed by the unit test {test}"));
    }
    Ok("MISSED".to_owned())
}

/// Whether the program ended well in time, and what it said.
fn run(command: &mut Command) -> Result<(bool, String), String> {
    let log = std::env::temp_dir().join(format!("postern-planted-{}", std::process::id()));
    let file = std::fs::File::create(&log).map_err(|error| error.to_string())?;
    let again = file.try_clone().map_err(|error| error.to_string())?;
    command.stdin(Stdio::null()).stdout(file).stderr(again);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let started = Instant::now();
    let fine = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status.success(),
            None if started.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let said = std::fs::read(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    Ok((fine, String::from_utf8_lossy(&said).into_owned()))
}
