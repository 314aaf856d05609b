//! `cargo xtask fuzz`: coverage-guided fuzzing on the stable tool chain.
//!
//! libFuzzer comes with the crate `libfuzzer-sys`, which compiles it with g++; the coverage
//! counters come from LLVM passes that rustc offers by `-C passes`. Everything is built in a folder
//! of its own, with `--target`, so that build scripts and macros stay without counters.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{self, bold, cargo, output};
use crate::workspace::Workspace;

/// Every fuzz target: a binary of `tests/fuzz` and a folder of its corpus.
pub(crate) const TARGETS: [&str; 12] = [
    "frame",
    "engine",
    "store",
    "console",
    "rpc",
    "partition",
    "desk",
    "spa",
    "spa-sealed",
    "fwknop",
    "fwknop-sealed",
    "update",
];

/// Seconds each target gets in `cargo xtask test`.
const SMOKE_SECONDS: u64 = 20;

/// The compiler flags cargo-fuzz uses too: edge counters inline, a table of their places, and the
/// operands of comparisons.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// What to fuzz, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Target; all of them, one after the other, when it is left out.
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Add what reaches new code to the corpus of the repository.
    #[arg(long)]
    merge: bool,
}

/// Fuzzes.
///
/// # Errors
/// When a target fails; the input is in the folder that is printed.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let chosen =
        TARGETS.iter().filter(|target| options.target.as_deref().is_none_or(|name| name == **target));
    let built = Built::build(workspace)?;
    for target in chosen {
        built.fuzz(target, options.seconds)?;
        if options.merge {
            built.merge(target)?;
        }
    }
    Ok(())
}

/// A short run of every target.
///
/// # Errors
/// As [`run`].
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    let built = Built::build(workspace)?;
    TARGETS.iter().try_for_each(|target| built.fuzz(target, SMOKE_SECONDS))
}

/// Instrumented binaries.
struct Built {
    programs: PathBuf,
    corpus: PathBuf,
    /// What is found while fuzzing, and what fails.
    findings: PathBuf,
}

impl Built {
    fn build(workspace: &Workspace) -> Result<Self> {
        let target = host()?;
        let directory = workspace.target.join("fuzz");
        let mut build = cargo();
        build.args([
            "build",
            "--quiet",
            "--locked",
            "-p",
            "postern-fuzz",
            "--features",
            "libfuzzer",
            "--bins",
        ]);
        build.args(["--profile", "sim", "--target", &target]).arg("--target-dir").arg(&directory);
        build.env("RUSTFLAGS", COVERAGE);
        command::run(&mut build).context("fuzzing needs g++: `cargo xtask setup` installs it")?;
        Ok(Self {
            programs: directory.join(target).join("sim"),
            corpus: workspace.root.join("tests/fuzz/corpus"),
            findings: directory.join("findings"),
        })
    }

    fn fuzz(&self, target: &str, seconds: u64) -> Result<()> {
        let fresh = self.findings.join(target);
        std::fs::create_dir_all(&fresh)?;
        let mut fuzzer = self.program(target);
        fuzzer
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/FAILED-", fresh.display()));
        fuzzer.args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        fuzzer.arg("-use_value_profile=1").arg(&fresh).arg(self.corpus.join(target));
        let started = Instant::now();
        let ended = fuzzer.output().with_context(|| format!("cannot start the target {target}"))?;
        let said = String::from_utf8_lossy(&ended.stderr);
        if !ended.status.success() {
            let tail: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            bail!(
                "the target {target} failed; the input is in {}, and `{} FILE` repeats it",
                fresh.display(),
                self.programs.join(target).display()
            );
        }
        let Progress { executions, edges } =
            Progress::read(&said).context("libFuzzer said nothing of use")?;
        ensure!(executions > 0 && edges > 0, "the target {target} ran without counters");
        let seconds = started.elapsed().as_secs_f64();
        let rate = executions as f64 / seconds;
        println!(
            "{}",
            bold(&format!("{target:<8}{executions:>12} executions {rate:>10.0}/s {edges:>6} edges"))
        );
        Ok(())
    }

    /// Adds to the corpus those findings that reach what nothing in it reaches.
    fn merge(&self, target: &str) -> Result<()> {
        let corpus = self.corpus.join(target);
        let before = count(&corpus)?;
        let mut merge = self.program(target);
        // By edges alone, not by how often each was taken: a corpus that people can look through.
        merge
            .args(["-set_cover_merge=1", "-use_counters=0", "-max_len=512"])
            .arg(&corpus)
            .arg(self.findings.join(target));
        output(&mut merge)?;
        println!("{target}: {before} inputs in the corpus, now {}", count(&corpus)?);
        Ok(())
    }

    fn program(&self, target: &str) -> Command {
        Command::new(self.programs.join(target))
    }
}

fn count(directory: &Path) -> Result<usize> {
    Ok(std::fs::read_dir(directory)?.count())
}

/// The machine rustc builds for when it is not told.
fn host() -> Result<String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(host.to_owned())
}

/// What libFuzzer tells at its end.
#[derive(Debug, PartialEq, Eq)]
struct Progress {
    executions: u64,
    edges: u64,
}

impl Progress {
    fn read(said: &str) -> Option<Self> {
        let number = |text: &str| text.split_whitespace().next()?.parse().ok();
        let executions =
            said.lines().find_map(|line| number(line.strip_prefix("stat::number_of_executed_units:")?))?;
        let edges = said.lines().rev().find_map(|line| number(line.split_once(" cov: ")?.1))?;
        Some(Self { executions, edges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let said = "INFO: Seed: 1\n#2\tINITED cov: 90 ft: 91 corp: 1/1b\n#812 DONE   cov: 301 ft: 700 corp: 9\n\
                    Done 812 runs in 2 second(s)\nstat::number_of_executed_units: 812\nstat::new_units_added: 7\n";
        assert_eq!(Progress::read(said), Some(Progress { executions: 812, edges: 301 }));
        assert_eq!(Progress::read("ERROR: no counters"), None);
    }
}
