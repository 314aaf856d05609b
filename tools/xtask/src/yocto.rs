//! `cargo xtask yocto-check`: the Yocto layers, read and built by real BitBake.
//!
//! Without options everything that cargo and a few packages of PyPI make possible: BitBake comes from its package there,
//! the base layer is a stand-in of our own (`yocto-layer/ci/stub-core`). `--oe` runs the same layers on a checkout of
//! OpenEmbedded-Core that somebody has put there.

mod agree;
mod bitbake;
mod boards;
mod broken;
mod build;
mod confined;
mod crates;
mod kickstart;
mod lint;
mod oe;
mod order;
mod parse;
mod source;
mod users;
mod venv;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::command::{bold, dim};
use crate::workspace::Workspace;

/// What to do.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Write the crates include of the recipe from Cargo.lock, and nothing else.
    #[arg(long)]
    write_crates: bool,
    /// Only this check; may be given several times. What it reads must have been built before.
    #[arg(long, value_name = "CHECK", value_parser = CHECKS.map(|check| check.0))]
    only: Vec<String>,
    /// Check on openembedded-core and bitbake, checked out as DIR/openembedded-core and DIR/bitbake.
    #[arg(long, value_name = "DIR")]
    oe: Option<PathBuf>,
    #[command(flatten)]
    on_oe: oe::OnOe,
}

/// Where everything is.
#[derive(Debug)]
struct Yocto<'a> {
    workspace: &'a Workspace,
    /// Folder of everything that is made.
    folder: PathBuf,
}

impl Yocto<'_> {
    /// The folder `yocto-layer`.
    fn layers(&self) -> PathBuf {
        self.workspace.root.join("yocto-layer")
    }

    /// The Python with BitBake.
    fn python(&self) -> PathBuf {
        self.folder.join("venv/bin/python")
    }

    /// A program of that Python's packages.
    fn program(&self, name: &str) -> PathBuf {
        self.folder.join("venv/bin").join(name)
    }

    /// Text of a file of the workspace.
    fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.workspace.root.join(path)).with_context(|| format!("cannot read {path}"))
    }
}

/// A check: its name, and what does it. It says in a line what it has seen.
type Check = (&'static str, fn(&Yocto) -> Result<String>);

/// In the order in which they need each other.
const CHECKS: [Check; 18] = [
    ("tools", venv::prepare),
    ("crates", crates::check),
    ("source", source::snapshot),
    ("parse", parse::check),
    ("oelint", lint::oelint),
    ("kas", lint::kas),
    ("setup", lint::setup),
    ("boards", boards::check),
    ("systemd", build::systemd),
    ("sysvinit", build::sysvinit),
    ("units", lint::units),
    ("scripts", lint::scripts),
    ("unit", confined::under_unit),
    ("init", confined::under_init),
    ("image", agree::check),
    ("order", order::check),
    ("users", users::check),
    ("broken", broken::check),
];

/// Checks the layers.
///
/// # Errors
/// The first check that fails, with what it found.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let yocto = Yocto { workspace, folder: workspace.target.join("yocto") };
    std::fs::create_dir_all(&yocto.folder)?;
    if options.write_crates {
        return crates::write(&yocto);
    }
    if let Some(folder) = &options.oe {
        return oe::run(&yocto, folder, &options.on_oe);
    }
    let started = Instant::now();
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    for (name, check) in CHECKS.into_iter().filter(|(name, _)| wanted(name)) {
        report(name, || check(&yocto))?;
    }
    println!("{}", bold(&format!("The layers are in order: {:.0} s.", started.elapsed().as_secs_f64())));
    Ok(())
}

/// What every test run checks.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    run(workspace, &Options::default())
}

/// Runs a check and prints what it has seen and how long it took.
fn report(name: &str, check: impl FnOnce() -> Result<String>) -> Result<()> {
    let begun = Instant::now();
    let seen = check().with_context(|| format!("yocto-layer, {name}"))?;
    println!("{name:<9} {seen} {}", dim(&format!("({:.1} s)", begun.elapsed().as_secs_f64())));
    Ok(())
}
