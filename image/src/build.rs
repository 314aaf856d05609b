//! `postern-image build`: makes the image and says how large its parts are.

use std::path::PathBuf;

use anyhow::{Context, Result};
use postern_board::Board;
use postern_image::assemble::assemble;
use postern_image::settings::Settings;

/// What to make it from.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Name of the board.
    #[arg(long, value_parser = crate::board)]
    board: &'static Board,
    /// Top folder of the workspace.
    #[arg(long, default_value = ".")]
    workspace: PathBuf,
    /// Folder with the programs of Postern, built for the board.
    #[arg(long)]
    programs: PathBuf,
    /// Folder with the Debian packages of image/packages.lock.
    #[arg(long)]
    packages: PathBuf,
    /// Content of the config partition, made by `postern compile`; without it the device begins
    /// without a configuration.
    #[arg(long)]
    store: Option<PathBuf>,
    /// Folder whose files the data partition begins with.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Adds a script that breaks the running system on demand. For tests only.
    #[arg(long)]
    faults: bool,
    /// Time of all files in seconds since 1970, as SOURCE_DATE_EPOCH has it.
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 1_763_856_000)]
    epoch: u64,
    /// Number of the release, which rises with each; without it, the time of all files.
    #[arg(long)]
    release: Option<u32>,
    /// Where the image and its bill of materials go.
    #[arg(long)]
    output: PathBuf,
}

/// Makes it.
///
/// # Errors
/// When a part cannot be made.
pub(crate) fn run(options: Options) -> Result<()> {
    let absolute = |path: PathBuf| std::path::absolute(path).context("a path that leads nowhere");
    let settings = Settings {
        board: options.board,
        workspace: absolute(options.workspace)?,
        programs: absolute(options.programs)?,
        packages: absolute(options.packages)?,
        store: options.store.map(absolute).transpose()?,
        data: options.data.map(absolute).transpose()?,
        faults: options.faults,
        epoch: options.epoch,
        release: options.release.unwrap_or(u32::try_from(options.epoch).context("the time is too late")?),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        output: absolute(options.output)?,
    };
    let made = assemble(&settings)?;
    for (name, octets) in &made.sizes {
        println!("{name:<22}{octets:>12}");
    }
    println!("{}", made.image.display());
    Ok(())
}
