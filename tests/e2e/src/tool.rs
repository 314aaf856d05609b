//! Programs and privileges the laboratory needs, and what to say when they are missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, anyhow, bail, ensure};

/// Where programs are looked for: root's directories may be missing from a user's `PATH`.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Program and the Debian package that brings it.
const PACKAGES: [(&str, &str); 18] = [
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("ip6tables", "iptables"),
    ("ipset", "ipset"),
    ("nft", "nftables"),
    ("tcpdump", "tcpdump"),
    ("fwknop", "fwknop-client"),
    ("knock", "knockd"),
    ("knockd", "knockd"),
    ("nmap", "nmap"),
    ("nping", "nmap"),
    ("hping3", "hping3"),
    ("ping", "iputils-ping"),
    ("socat", "socat"),
    ("setpriv", "util-linux"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
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
        bail!("`{program}` is not installed: apt-get install {}", package(program));
    };
    Ok(path)
}

/// The Debian package that brings `program`.
fn package(program: &str) -> &str {
    PACKAGES.iter().find(|(name, _)| *name == program).map_or(program, |(_, package)| package)
}

/// Debian packages that bring those of `programs` that are missing.
pub fn packages_missing<'a>(programs: &[&'a str]) -> Vec<&'a str> {
    let missing = programs.iter().filter(|program| path(program).is_err());
    let mut packages: Vec<&str> = missing.map(|program| package(program)).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Checks that every one of `programs` is there.
///
/// # Errors
/// Names all that are missing in one `apt-get` line.
pub fn require(programs: &[&str]) -> Result<()> {
    let packages = packages_missing(programs);
    if !packages.is_empty() {
        bail!("programs are missing: apt-get install {}", packages.join(" "));
    }
    Ok(())
}

/// Installs what is missing of `programs` with apt-get, which shows what it does.
///
/// # Errors
/// When apt-get fails or is missing, say on another distribution.
pub fn install(programs: &[&str]) -> Result<()> {
    let packages = packages_missing(programs);
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install by hand: {}", packages.join(" "));
    let apt = path("apt-get").map_err(|_| anyhow!("no apt-get here; {by_hand}"))?;
    for arguments in [vec!["update", "-q"], vec!["install", "-q", "-y", "--no-install-recommends"]] {
        let install = arguments[0] == "install";
        let mut command = Command::new(&apt);
        command.args(arguments).args(packages.iter().filter(|_| install));
        let status = command.env("DEBIAN_FRONTEND", "noninteractive").status()?;
        ensure!(status.success(), "apt-get failed; {by_hand}");
    }
    require(programs)
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
