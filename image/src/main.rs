//! `postern-image`: makes the flashable image of a board. `cargo xtask image` runs it.

mod build;
mod check;
mod describe;
mod run;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use postern_board::{BOARDS, Board};

/// Makes the flashable image of a board. `cargo xtask image` builds what it needs and runs it.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints what a build has to know about a board, as JSON.
    Describe {
        /// Name of the board.
        #[arg(long, value_parser = board)]
        board: &'static Board,
    },
    /// Makes the image from programs and packages that are there.
    Build(build::Options),
    /// Runs the image in QEMU, unattended, from power-on to a door that has opened and closed.
    Check(check::Options),
    /// Runs the image in QEMU with its serial console in this terminal.
    Run(run::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Describe { board } => describe::run(board),
        Command::Build(options) => build::run(options),
        Command::Check(options) => check::run(&options),
        Command::Run(options) => run::run(&options),
    }
}

/// The board of that name, or an error that lists them.
fn board(name: &str) -> Result<&'static Board> {
    postern_board::find(name).with_context(|| {
        let names: Vec<&str> = BOARDS.iter().map(|board| board.name).collect();
        format!("there are: {}", names.join(", "))
    })
}
