//! Where the programs under test are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

use crate::process;

/// Directory that holds ready-built `posternd` and `postern`; without it they are built once.
pub const DIRECTORY_VARIABLE: &str = "POSTERN_BIN_DIR";

/// Path of `posternd` or `postern`. The first call builds both, with the profile we were built
/// with ourselves, unless [`DIRECTORY_VARIABLE`] says where they are.
///
/// # Errors
/// When they cannot be built or are not where they should be.
pub fn path(program: &str) -> Result<PathBuf> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| directory().map_err(|error| format!("{error:#}")));
    let path = directory.as_ref().map_err(|error| anyhow!("{error}"))?.join(program);
    ensure!(path.is_file(), "{} is missing: cargo build -p posternd -p postern", path.display());
    Ok(path)
}

fn directory() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os(DIRECTORY_VARIABLE) {
        return std::path::absolute(directory).context(DIRECTORY_VARIABLE);
    }
    // A test is target/PROFILE/deps/NAME, a program target/PROFILE/NAME.
    let own = std::env::current_exe()?;
    let parent = own.parent().context("an executable has a directory")?;
    let directory = if parent.ends_with("deps") { parent.parent().unwrap_or(parent) } else { parent };
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let target = directory.parent().context("target directory")?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "-p", "posternd", "-p", "postern", "--profile", profile]);
    cargo.arg("--target-dir").arg(target).current_dir(manifest);
    process::success(&mut cargo).context("cannot build posternd and postern")?;
    Ok(directory.to_owned())
}
