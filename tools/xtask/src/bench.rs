//! `cargo xtask bench`: Postern and stock peers, measured in the same run.

use anyhow::Result;

use crate::command::{self, as_root, cargo_line};
use crate::setup;
use crate::workspace::Workspace;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Benchmark to run; all of them when it is left out.
    name: Option<String>,
    /// Further arguments for the benchmark.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Installs, builds, measures.
///
/// # Errors
/// When a step fails.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    workspace.require_binary("postern-bench", "bench")?;
    let programs = workspace.target.join("release");
    let mut bench = as_root(programs.join("bench"))?;
    setup::install(setup::TEST)?;
    setup::install(setup::BENCH)?;
    command::run(&mut cargo_line("build --locked --release -p posternd -p postern -p postern-bench --bins"))?;
    bench.env("POSTERN_BIN_DIR", &programs).args(&options.name).args(&options.rest);
    command::run(&mut bench)
}
