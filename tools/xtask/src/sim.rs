//! `cargo xtask sim`: the seeded world around the production engine.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::command::{self, cargo_line};
use crate::workspace::Workspace;

/// Worlds every test run simulates, from seed 1, so that what once held holds again.
const FIXED_WORLDS: u64 = 3000;

/// Worlds of seeds nobody has tried.
const FRESH_WORLDS: u64 = 1000;

/// Hostile sessions of every test run, none of which may open anything.
const HOSTILE_SESSIONS: u64 = 10_000_000;

/// States of a config partition after power cuts and faults in every test run.
const POWER_CUTS: u64 = 10_000_000;

/// And in a soak.
const POWER_CUTS_OF_A_SOAK: u64 = 1_000_000_000;

/// Which run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seed of the run, as a failure prints it; a fresh one when it is left out.
    seed: Option<u64>,
    /// A billion states of a config partition after power cuts and faults, then worlds of further seeds
    /// until stopped or until one fails.
    #[arg(long)]
    soak: bool,
}

/// Runs one seed, or seed after seed.
///
/// # Errors
/// When an oracle objects; it prints the seed.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(fresh_seed);
    workspace.require_binary("postern-sim", "sim")?;
    if options.soak {
        power_cuts(seed, POWER_CUTS_OF_A_SOAK)?;
        return simulate(&["--soak", "--from", &seed.to_string()]);
    }
    simulate(&[&seed.to_string()])
}

/// The fixed worlds and fresh ones, hostile sessions, power cuts, and the tests of the oracles.
///
/// # Errors
/// When an oracle objects; it prints the seed.
pub(crate) fn smoke(workspace: &Workspace) -> Result<()> {
    workspace.require_binary("postern-sim", "sim")?;
    let tests = "test --quiet --locked --profile sim -p postern-sim -p postern-power-cut";
    command::run_tests(&mut cargo_line(tests))?;
    let seed = fresh_seed();
    let fresh = seed.to_string();
    simulate(&["--runs", &FIXED_WORLDS.to_string()])?;
    simulate(&["--runs", &FRESH_WORLDS.to_string(), "--from", &fresh])?;
    simulate(&["--sessions", &HOSTILE_SESSIONS.to_string(), "--from", &fresh])?;
    simulate(&["--rotation", &HOSTILE_SESSIONS.to_string(), "--from", &fresh])?;
    power_cuts(seed, POWER_CUTS)
}

fn power_cuts(seed: u64, states: u64) -> Result<()> {
    let mut cuts = cargo_line("run --quiet --locked --profile sim -p postern-power-cut --");
    command::run(cuts.args([&seed.to_string(), &states.to_string()]))
}

fn simulate(arguments: &[&str]) -> Result<()> {
    let mut sim = cargo_line("run --quiet --locked --profile sim -p postern-sim --bin sim --");
    command::run(sim.args(arguments))
}

/// A seed nobody has tried today. It is printed with the command, so the run can be repeated.
fn fresh_seed() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(since_epoch.subsec_nanos()) ^ (since_epoch.as_secs() << 20)
}
