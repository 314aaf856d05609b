//! Programs and privileges the laboratory needs, and what to say when they are missing.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Where programs are looked for: root's directories may be missing from a user's `PATH`.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Program and the Debian package that brings it.
const PACKAGES: [(&str, &str); 16] = [
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("ip6tables", "iptables"),
    ("ipset", "ipset"),
    ("nft", "nftables"),
    ("tcpdump", "tcpdump"),
    ("knock", "knockd"),
    ("knockd", "knockd"),
    ("nmap", "nmap"),
    ("nping", "nmap"),
    ("hping3", "hping3"),
    ("ping", "iputils-ping"),
    ("socat", "socat"),
    ("setpriv", "util-linux"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
];

/// Path of `program`.
///
/// # Errors
/// Says which Debian package to install.
pub fn path(program: &str) -> Result<PathBuf> {
    let found =
        DIRECTORIES.iter().map(|directory| Path::new(directory).join(program)).find(|path| path.is_file());
    let Some(path) = found else {
        let package =
            PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package);
        bail!("`{program}` is not installed: apt-get install {package}");
    };
    Ok(path)
}

/// Checks that every one of `programs` is there.
///
/// # Errors
/// Names all that are missing in one `apt-get` line.
pub fn require(programs: &[&str]) -> Result<()> {
    let mut packages: Vec<&str> = programs
        .iter()
        .filter(|program| path(program).is_err())
        .map(|program| {
            PACKAGES.iter().find(|(name, _)| name == program).map_or(*program, |(_, package)| package)
        })
        .collect();
    packages.sort_unstable();
    packages.dedup();
    if !packages.is_empty() {
        bail!("programs are missing: apt-get install {}", packages.join(" "));
    }
    Ok(())
}

/// Checks that we may make network namespaces.
///
/// # Errors
/// Says how to become root.
pub fn require_root() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("network namespaces need root: run this as root (sudo -E cargo ...)");
    }
    Ok(())
}
