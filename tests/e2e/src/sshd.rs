//! A real OpenSSH server with a throw-away host key.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::namespace::Namespace;
use crate::process::{self, Background};
use crate::tool;

/// Starts `sshd` on port 22 of `namespace`; key and configuration are made in `directory`. Nobody
/// can log in: it is there to greet.
///
/// # Errors
/// When OpenSSH is missing or does not start.
pub fn start(namespace: &Namespace, directory: &Path) -> Result<Background> {
    let key = directory.join("ssh_host_ed25519_key");
    let mut keygen = Command::new(tool::path("ssh-keygen")?);
    process::success(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
    let config = directory.join("sshd_config");
    let text = format!(
        "Port 22\nHostKey {}\nPidFile none\nUsePAM no\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nAuthorizedKeysFile none\nLogLevel INFO\n",
        key.display()
    );
    std::fs::write(&config, text)?;
    // Debian's sshd wants this directory; its service file would make it.
    std::fs::create_dir_all("/run/sshd").context("cannot make /run/sshd")?;
    let mut sshd = namespace.start("sshd", &["-D", "-e", "-f", &config.to_string_lossy()])?;
    sshd.wait_for_line("Server listening on :: port 22", 0)?;
    Ok(sshd)
}
