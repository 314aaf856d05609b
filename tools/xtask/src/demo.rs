//! `cargo xtask demo`: builds what it needs and shows it.

use anyhow::Result;

use crate::command::{self, as_root, cargo_line};
use crate::setup;
use crate::workspace::Workspace;

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave everything running at the end, to try it by hand.
    #[arg(long)]
    keep: bool,
}

/// Installs, builds, shows.
///
/// # Errors
/// When a step fails; the demonstration itself checks all it tells.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    workspace.require_binary("postern-e2e", "demo")?;
    let programs = workspace.target.join("debug");
    let mut demo = as_root(programs.join("demo"))?;
    setup::install(setup::DEMO)?;
    command::run(&mut cargo_line("build --locked -p posternd -p postern -p postern-e2e --bins"))?;
    demo.env("POSTERN_BIN_DIR", &programs).arg("--no-install");
    if options.keep {
        demo.arg("--keep");
    }
    command::run(&mut demo)
}
