//! Everything a developer or evaluator runs: `cargo xtask --help`.
//!
//! No tool but cargo is needed to begin with; what else is needed, `setup` installs.

mod appliance;
mod bench;
mod command;
mod cross;
mod demo;
mod freestanding;
mod fuzz;
mod image;
mod setup;
mod sim;
mod sizes;
mod test;
mod tidy;
mod workspace;
mod yocto;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use workspace::Workspace;

/// Everything a developer or evaluator runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds the image of a board and runs it in QEMU (needs root).
    Appliance(appliance::Options),
    /// Shows Postern at work on this machine, in network namespaces of its own (needs root).
    Demo(demo::Options),
    /// Runs every check there is, in order, and stops at the first that fails.
    #[command(visible_alias = "ci")]
    Test(test::Options),
    /// Runs the simulator with a seed: the same seed, the same run.
    Sim(sim::Options),
    /// Measures Postern against stock peers in the same run (needs root).
    Bench(bench::Options),
    /// Fuzzes with coverage guidance; the corpus is in tests/fuzz/corpus.
    Fuzz(fuzz::Options),
    /// Builds the programs and the flashable image of a board.
    Image(image::Options),
    /// Prints the sizes of the release programs and of the tables in memory.
    Sizes,
    /// Checks the house rules: dependency edges, banned calls, sizes of functions, links.
    Tidy,
    /// Installs the Debian packages that are missing, and nothing else.
    Setup(setup::Options),
    /// Reads and builds the Yocto layers with real BitBake; --oe takes OpenEmbedded-Core.
    YoctoCheck(yocto::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let workspace = Workspace::find()?;
    match cli.command {
        Command::Appliance(options) => appliance::run(&workspace, &options),
        Command::Demo(options) => demo::run(&workspace, &options),
        Command::Test(options) => test::run(&workspace, &options),
        Command::Sim(options) => sim::run(&workspace, &options),
        Command::Bench(options) => bench::run(&workspace, &options),
        Command::Fuzz(options) => fuzz::run(&workspace, &options),
        Command::Image(options) => image::run(&workspace, &options),
        Command::Sizes => sizes::run(&workspace),
        Command::Tidy => tidy::run(&workspace),
        Command::Setup(options) => setup::run(&options),
        Command::YoctoCheck(options) => yocto::run(&workspace, &options),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
