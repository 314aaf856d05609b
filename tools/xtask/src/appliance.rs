//! `cargo xtask appliance`: the image of a board, built and run in QEMU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{self, as_root, bold, cargo_line};
use crate::cross;
use crate::image::{self, Content, Description};
use crate::setup;
use crate::workspace::Workspace;

/// The site the appliance guards.
const SITE: &str = "image/files/site.toml";

/// How to run it.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which board; only those with an emulator.
    #[arg(long, default_value = "qemu-arm64")]
    board: String,
    /// Check it unattended: ends with 0 when a door has opened and closed.
    #[arg(long)]
    check: bool,
    /// With --check: damage a slot and see the machine come up on the other, instead.
    #[arg(long, requires = "check")]
    fall_back: bool,
    /// With --check: hang the processor and see the watchdog reset the machine, instead.
    #[arg(long, requires = "check")]
    hang: bool,
}

/// Builds and runs it.
///
/// # Errors
/// When a step fails or a promise does not hold.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    println!(
        "A fresh machine downloads about 400 MB (compilers, QEMU, kernel) and builds for about 8 minutes on two \
         cores; the next time it takes about one.\n"
    );
    let mut runner = as_root(workspace.target.join("debug/postern-image"))?;
    setup::install(setup::IMAGE)?;
    let board = Description::ask(&options.board)?;
    let programs = image::firmware(workspace, &board, cross::OF_IMAGE)?;
    let folder = workspace.target.join("image").join(&options.board).join("site");
    let (content, key) = commission(&folder)?;
    let image = image::make(workspace, &board, &programs, &content)?;
    command::run(&mut cargo_line("build --quiet --locked -p postern-image"))?;
    let what = if options.check { "check" } else { "run" };
    runner
        .args([what, "--board", &options.board, "--site", SITE, "--image"])
        .arg(image)
        .arg("--key")
        .arg(key);
    if options.fall_back {
        runner.arg("--fall-back");
    }
    if options.hang {
        runner.arg("--hang");
    }
    println!("\n{}", bold("Running the appliance"));
    command::run(&mut runner)
}

/// Makes what an installer would bring: the compiled site, the address, and a key that may log in.
fn commission(folder: &Path) -> Result<(Content, PathBuf)> {
    let data = folder.join("data");
    let ssh = data.join("service/.ssh");
    fs::create_dir_all(&ssh).with_context(|| format!("cannot make {}", ssh.display()))?;
    let key = folder.join("key");
    if !key.exists() {
        let mut keygen = Command::new("ssh-keygen");
        command::output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "appliance", "-f"]).arg(&key))?;
    }
    fs::copy(key.with_extension("pub"), ssh.join("authorized_keys"))?;
    // As outside::NETWORK of the image tool.
    fs::write(data.join("network"), "eth0 198.18.0.2/24\n")?;
    let store = folder.join("site.store");
    let mut compile = cargo_line("run --quiet --locked -p postern -- compile");
    command::run(compile.args([SITE, "-o"]).arg(&store))?;
    Ok((Content { store: Some(store), data: Some(data), again: false }, key))
}
