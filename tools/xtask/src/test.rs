//! `cargo xtask test`: every check there is, in order, on a desk as on the CI server.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::command::{self, bold, cargo_line, dim, is_root, sudo};
use crate::workspace::Workspace;
use crate::{appliance, freestanding, fuzz, setup, sim, tidy, yocto};

/// Packages whose tests make network namespaces.
const NEED_ROOT: [&str; 2] = ["postern-hal-linux", "postern-e2e"];

/// Packages whose tests need an optimised build; step `sim` runs them.
const OPTIMISED_ONLY: [&str; 2] = ["postern-sim", "postern-power-cut"];

/// Which steps.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only this step; may be given several times.
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    only: Vec<String>,
    /// Leave this step out; may be given several times.
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    skip: Vec<String>,
    /// Name the steps and run none.
    #[arg(long)]
    list: bool,
}

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

const STEPS: [Step; 14] = [
    Step { name: "setup", what: "Debian packages that are missing", run: setup },
    Step { name: "fmt", what: "formatting", run: |_| cargo("fmt --all --check") },
    Step { name: "tidy", what: "house rules", run: tidy::run },
    Step {
        name: "clippy",
        what: "lints, warnings are errors",
        run: |_| cargo("clippy --quiet --locked --workspace --all-targets -- -D warnings"),
    },
    Step { name: "unit", what: "tests that need no privilege", run: unit },
    Step { name: "doc", what: "documentation, warnings are errors", run: doc },
    Step { name: "no-alloc", what: "the core links without an allocator", run: freestanding::check_no_alloc },
    Step { name: "panics", what: "no panic can be reached in the core", run: freestanding::check_panics },
    Step { name: "sim", what: "simulator, fixed seeds and a fresh one", run: sim::smoke },
    Step { name: "fuzz", what: "fuzzing, a short run of every target", run: fuzz::smoke },
    Step { name: "hal", what: "adapters against the real kernel, as root", run: hal },
    Step { name: "e2e", what: "whole product in network namespaces, as root", run: e2e },
    Step { name: "yocto", what: "Yocto layers, read and built by real BitBake, as root", run: yocto::check },
    Step {
        name: "appliance",
        what: "flashable image, booted and attacked in QEMU, as root",
        run: appliance::check,
    },
];

/// Steps that need root.
const AS_ROOT: [&str; 4] = ["hal", "e2e", "yocto", "appliance"];

fn step_names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

/// Runs the steps.
///
/// # Errors
/// The first step that fails, with the command that repeats it.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let chosen: Vec<&Step> = STEPS.iter().filter(|step| options.wants(step.name)).collect();
    ensure!(!chosen.is_empty(), "no step is left to run");
    if options.list {
        chosen.iter().for_each(|step| println!("{:<10} {}", step.name, step.what));
        return Ok(());
    }
    if chosen.iter().any(|step| AS_ROOT.contains(&step.name)) {
        // Better now than after ten minutes.
        command::as_root("true")?;
    }
    let started = Instant::now();
    let mut times = Vec::new();
    for (index, step) in chosen.iter().enumerate() {
        let number = format!("[{}/{}]", index + 1, chosen.len());
        println!("\n{} {}", bold(&format!("{number} {}", step.name)), dim(step.what));
        let begun = Instant::now();
        let done = (step.run)(workspace);
        times.push((step.name, begun.elapsed()));
        match done {
            Ok(()) => println!("{}", dim(&format!("{number} {} took {}", step.name, spell(begun.elapsed())))),
            Err(error) => {
                summarise(&times, started.elapsed());
                eprintln!("\nerror: {error:#}");
                bail!("step {} failed; again, only this one: cargo xtask test --only {0}", step.name);
            }
        }
    }
    summarise(&times, started.elapsed());
    println!("{}", bold(&format!("All {} steps passed.", chosen.len())));
    Ok(())
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        let listed = |names: &[String]| names.iter().any(|listed| listed == name);
        (self.only.is_empty() || listed(&self.only)) && !listed(&self.skip)
    }
}

fn summarise(times: &[(&str, Duration)], total: Duration) {
    println!();
    for (name, time) in times {
        println!("{name:<10}{:>9}", spell(*time));
    }
    println!("{:<10}{:>9}", "total", spell(total));
}

fn spell(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

fn cargo(words: &str) -> Result<()> {
    command::run(&mut cargo_line(words))
}

fn setup(_: &Workspace) -> Result<()> {
    setup::install(setup::TEST)?;
    setup::install(setup::IMAGE)?;
    setup::install(setup::YOCTO)
}

fn unit(_: &Workspace) -> Result<()> {
    let mut test = cargo_line("test --quiet --locked --workspace");
    for package in NEED_ROOT.iter().chain(&OPTIMISED_ONLY) {
        test.args(["--exclude", package]);
    }
    command::run_tests(&mut test)
}

fn doc(_: &Workspace) -> Result<()> {
    let mut doc = cargo_line("doc --quiet --locked --workspace --no-deps");
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn hal(_: &Workspace) -> Result<()> {
    command::run_tests(with_root(&mut cargo_line("test --quiet --locked -p postern-hal-linux"))?)
}

/// One after the other: the scenarios measure time and would disturb each other.
fn e2e(workspace: &Workspace) -> Result<()> {
    cargo("build --quiet --locked -p posternd -p postern --bins")?;
    let mut test = cargo_line("test --locked -p postern-e2e -- --test-threads=1");
    test.env("POSTERN_BIN_DIR", workspace.target.join("debug"));
    command::run(with_root(&mut test)?)
}

/// Makes cargo run the test programs, and only these, as root.
fn with_root(test: &mut std::process::Command) -> Result<&mut std::process::Command> {
    if is_root() {
        return Ok(test);
    }
    let Some(sudo) = sudo() else {
        bail!("this step makes network namespaces: run it as root, or install sudo")
    };
    // Cargo takes a runner by the name of the machine; `cfg(all())` is every machine.
    let runner = format!("target.'cfg(all())'.runner = [\"{sudo}\", \"--preserve-env\"]");
    Ok(test.arg("--config").arg(runner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(only: &[&str], skip: &[&str]) -> Options {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Options { only: owned(only), skip: owned(skip), list: false }
    }

    #[test]
    fn steps_are_chosen_by_name() {
        assert!(options(&[], &[]).wants("sim"));
        assert!(options(&["sim"], &[]).wants("sim") && !options(&["sim"], &[]).wants("fmt"));
        assert!(!options(&[], &["sim"]).wants("sim"));
    }

    #[test]
    fn names_are_unique() {
        let mut names = step_names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
        assert!(AS_ROOT.iter().all(|name| names.contains(name)));
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(spell(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(spell(Duration::from_secs(125)), "2 min 05 s");
    }
}
