//! `postern-image run`: the image in QEMU, with its serial console in the terminal.

use std::path::PathBuf;

use anyhow::Result;
use postern_board::Board;
use postern_e2e::Lab;
use postern_image::machine::{self, Medium};
use postern_image::outside::{self, APPLIANCE, Outside};

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Name of the board.
    #[arg(long, value_parser = crate::board)]
    board: &'static Board,
    /// The image; a copy of it is used.
    #[arg(long)]
    image: PathBuf,
    /// The site whose store is in the image.
    #[arg(long)]
    site: PathBuf,
    /// Its store; without one the machine is as from the factory.
    #[arg(long)]
    store: Option<PathBuf>,
    /// Private key that may log in.
    #[arg(long)]
    key: PathBuf,
}

/// Runs it until it is switched off.
///
/// # Errors
/// When QEMU does not start.
pub(crate) fn run(options: &Options) -> Result<()> {
    let sequence = outside::sequence(&std::fs::read_to_string(&options.site)?)?.join(" ");
    let lab = Lab::new()?;
    let outside = Outside::new(&lab)?;
    let medium = Medium::copy(&options.image, lab.directory(), options.board)?;
    if let Some(store) = &options.store {
        medium.write("config", 0, &std::fs::read(store)?)?;
    }
    let (name, key) = (outside.namespace.name(), options.key.display());
    println!(
        "From another terminal, as root:\n\n    \
         ip netns exec {name} ssh -i {key} service@{APPLIANCE}     # hangs: the gateway looks dead\n    \
         ip netns exec {name} knock -d 50 {APPLIANCE} {sequence}\n    \
         ip netns exec {name} ssh -i {key} service@{APPLIANCE}     # within ten seconds\n\n\
         Ctrl-A X switches the machine off.\n"
    );
    machine::run_in_terminal(&medium, &lab, &outside.namespace)
}
