//! Running the programs that make file systems.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command`, which must succeed; what it says is shown only when it does not.
///
/// # Errors
/// When it cannot be started or fails. Names the Debian packages to install.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).env("LC_ALL", "C").env("TZ", "UTC").output().with_context(|| {
            format!("cannot start {name}: `cargo xtask setup --image` installs what is missing")
        })?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{command:?} ended with {}\n{}", output.status, String::from_utf8_lossy(&said).trim_end());
    }
    Ok(output.stdout)
}

/// A command that is also found in root's folders, which may be missing from a user's `PATH`.
pub fn command(name: &str) -> Command {
    let folders = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
    let found = folders
        .iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| std::path::Path::new(path).exists());
    Command::new(found.unwrap_or_else(|| name.to_owned()))
}
