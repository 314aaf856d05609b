//! Compilers for the recipe where OpenEmbedded-Core's own cannot be built: Debian's, as for the reference image, laid out
//! where the user who runs BitBake may read them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::cross::apt::Apt;
use crate::cross::lock::Lock;
use crate::cross::{self, libpcap, rust};
use crate::workspace::Workspace;

/// Folder with `bin/cargo`, `bin/rustc` and `bin/rustdoc` for this machine and for ARMv7, below `work`.
///
/// # Errors
/// When packages cannot be downloaded or unpacked.
pub(super) fn compilers(workspace: &Workspace, work: &Path) -> Result<PathBuf> {
    let machine = std::env::consts::ARCH;
    ensure!(
        machine == "x86_64",
        "Debian's compiler is taken on x86_64 only: on {machine}, name one with --toolchain"
    );
    let cache = cross::cache(workspace);
    fs::create_dir_all(&cache)?;
    let unpacked = rust::unpack("armhf", &Apt::open(&cache)?, &Lock::read(&workspace.root)?, &cache)?;
    let unpacked = unpacked.parent().context("a compiler without a folder")?;
    let folder = work.join("toolchain");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("bin"))?;
    command::output(Command::new("cp").arg("-r").arg(unpacked.join("usr")).arg(&folder))?;
    for program in ["rustc", "rustdoc"] {
        let path = folder.join("bin").join(program);
        fs::write(&path, rust::wrapper(&folder.join("usr"), program)?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    // The one that runs us, not rustup's stand-in, which wants a home.
    let cargo = std::env::var("CARGO").context("run it as `cargo xtask`: CARGO is not set")?;
    fs::copy(&cargo, folder.join("bin/cargo")).with_context(|| format!("cannot copy {cargo}"))?;
    Ok(folder)
}

/// Folder with a `libpcap.a` for ARMv7, below `work`.
///
/// # Errors
/// When its source cannot be downloaded or does not build.
pub(super) fn libpcap(workspace: &Workspace, work: &Path) -> Result<PathBuf> {
    let cache = cross::cache(workspace);
    fs::create_dir_all(&cache)?;
    let built =
        libpcap::prepare("arm-linux-gnueabihf", &Apt::open(&cache)?, &Lock::read(&workspace.root)?, &cache)?;
    let folder = work.join("libpcap");
    fs::create_dir_all(&folder)?;
    fs::copy(built.join("libpcap.a"), folder.join("libpcap.a"))?;
    Ok(folder)
}
