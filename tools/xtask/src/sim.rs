//! `cargo xtask sim`: the seeded world around the production engine.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::command::{self, cargo_line};
use crate::workspace::Workspace;

/// Seeds every test run simulates, so that what once held holds again.
const FIXED_SEEDS: [u64; 4] = [1, 2, 3, 4];

/// Which run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seed of the run, as a failure prints it; a fresh one when it is left out.
    seed: Option<u64>,
    /// Go on with further seeds until stopped or until one fails.
    #[arg(long)]
    soak: bool,
}

/// Runs one seed, or seed after seed.
///
/// # Errors
/// When an oracle objects; it prints the seed.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(fresh_seed);
    simulate(workspace, &[seed], options.soak)
}

/// The fixed seeds and a fresh one.
///
/// # Errors
/// When an oracle objects; it prints the seed.
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    let mut seeds = FIXED_SEEDS.to_vec();
    seeds.push(fresh_seed());
    simulate(workspace, &seeds, false)
}

fn simulate(workspace: &Workspace, seeds: &[u64], soak: bool) -> Result<()> {
    workspace.require_binary("postern-sim", "sim")?;
    for seed in seeds {
        let mut sim = cargo_line("run --quiet --locked --profile sim -p postern-sim --bin sim --");
        sim.arg(seed.to_string());
        if soak {
            sim.arg("--soak");
        }
        command::run(&mut sim)?;
    }
    Ok(())
}

/// A seed nobody has tried today. It is printed with the command, so the run can be repeated.
fn fresh_seed() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since_epoch.subsec_nanos()) ^ (since_epoch.as_secs() << 20)
}
