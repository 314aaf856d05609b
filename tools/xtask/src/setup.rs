//! `cargo xtask setup`: the Debian packages that building and testing need.
//!
//! Only what is missing is installed, without recommended packages. Several of them bring daemons
//! (an SSH server, a stock knockd to compare with): they must not start on the developer's machine,
//! neither now nor at the next boot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::command::{self, as_root, bold, output};

/// What the demonstration needs: libpcap to link the daemon, the kernel's tools, stock clients.
pub(crate) const DEMO: &[&str] = &[
    "libpcap-dev",
    "iproute2",
    "iptables",
    "ipset",
    "nftables",
    "tcpdump",
    "nmap",
    "knockd",
    "openssh-client",
    "openssh-server",
];

/// What the tests need on top: packet tools, and g++ for the fuzzer's own runtime.
pub(crate) const TEST: &[&str] = &[
    "libpcap-dev",
    "iproute2",
    "iptables",
    "ipset",
    "nftables",
    "tcpdump",
    "nmap",
    "knockd",
    "openssh-client",
    "openssh-server",
    "fwknop-client",
    "hping3",
    "iputils-ping",
    "socat",
    "util-linux",
    "procps",
    "conntrack",
    "g++",
];

/// What the benchmarks need on top of the tests: the peer for Single Packet Authorization.
pub(crate) const BENCH: &[&str] = &["fwknop-server"];

/// What the image needs on top: cross compilers, the tools that assemble it, and QEMU to boot it.
pub(crate) const IMAGE: &[&str] = &[
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "gcc-arm-linux-gnueabihf",
    "libc6-dev-armhf-cross",
    // libpcap is built for the board from Debian's source: see `cross/libpcap.rs`.
    "make",
    "flex",
    "bison",
    "fdisk",
    "kmod",
    "squashfs-tools",
    "mtools",
    "e2fsprogs",
    "u-boot-tools",
    "device-tree-compiler",
    "u-boot-qemu",
    "qemu-system-arm",
    // What drives the running appliance from outside.
    "nmap",
    "fwknop-client",
    "iproute2",
    "iptables",
    "ipset",
    "nftables",
    "knockd",
    "openssh-client",
    "tcpdump",
    "libpcap-dev",
];

/// What the check of the Yocto layers needs on top: BitBake comes from PyPI and wants Python.
pub(crate) const YOCTO: &[&str] = &[
    "libpcap-dev",
    "git",
    "iptables",
    "python3",
    "python3-venv",
    "shellcheck",
    "systemd",
    "u-boot-tools",
    "util-linux",
    "device-tree-compiler",
];

/// Services that come with these packages or with what they depend on, and that Debian would start
/// at every boot.
const SERVICES: [&str; 4] = ["ssh", "knockd", "fwknop-server", "cron"];

/// What to install.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only say what is missing and how much it is.
    #[arg(long)]
    dry_run: bool,
    /// Only what the demonstration needs.
    #[arg(long)]
    demo: bool,
    /// What the image and its QEMU boards need, instead of what the tests need.
    #[arg(long, conflicts_with = "demo")]
    image: bool,
}

/// Installs, or says what it would install.
///
/// # Errors
/// When apt fails, or there is none.
pub(crate) fn run(options: &Options) -> Result<()> {
    let packages = match options {
        Options { demo: true, .. } => DEMO,
        Options { image: true, .. } => IMAGE,
        _ => TEST,
    };
    if !options.dry_run {
        return install(packages);
    }
    let missing = missing(packages)?;
    if missing.is_empty() {
        println!("Nothing is missing.");
    } else {
        println!("Missing: {}", missing.join(" "));
        println!("{}", extent(&missing)?);
    }
    Ok(())
}

/// Installs those of `packages` that are missing.
///
/// # Errors
/// When apt fails, or there is none.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing = missing(packages)?;
    if missing.is_empty() {
        return Ok(());
    }
    println!("{} {}", bold("Missing Debian packages:"), missing.join(" "));
    if extent(&missing).is_err() {
        // No package lists yet, or stale ones.
        command::run(&mut apt(&["update", "-q"])?)?;
    }
    println!("{}", extent(&missing)?);
    let here_before = services();
    let quiet = NoDaemons::begin()?;
    let mut words = vec!["install", "-q", "-y", "--no-install-recommends"];
    words.extend(&missing);
    let mut installed = command::run(&mut apt(&words)?);
    if installed.is_err() {
        println!("Once more, with fresh package lists.");
        installed = command::run(&mut apt(&["update", "-q"])?).and_then(|()| command::run(&mut apt(&words)?));
    }
    quiet.end()?;
    installed.with_context(|| by_hand(&missing))?;
    for service in services().into_iter().filter(|service| !here_before.contains(service)) {
        // Where there are no boot scripts, as in a container, nothing is started either.
        let _ = output(as_root("/usr/sbin/update-rc.d")?.args([service, "disable"]));
        println!("{service}: not started, and not at the next boot either");
    }
    Ok(())
}

/// Those of [`SERVICES`] that are installed.
fn services() -> Vec<&'static str> {
    let is_installed = |service: &&str| Path::new("/etc/init.d").join(service).exists();
    SERVICES.into_iter().filter(is_installed).collect()
}

/// Those of `packages` that are not installed.
fn missing<'a>(packages: &[&'a str]) -> Result<Vec<&'a str>> {
    let installed = Path::new("/usr/bin/dpkg-query");
    if !installed.exists() || !Path::new("/usr/bin/apt-get").exists() {
        bail!("this is no Debian: {}, then go on with `cargo xtask test --skip setup`", by_hand(packages));
    }
    let is_installed = |package: &str| {
        let status =
            Command::new(installed).args(["-W", "-f=${Status}", package]).stderr(Stdio::null()).output();
        status.is_ok_and(|status| status.stdout == b"install ok installed")
    };
    Ok(packages.iter().copied().filter(|package| !is_installed(package)).collect())
}

fn by_hand(packages: &[&str]) -> String {
    format!("install by hand: {}", packages.join(" "))
}

/// What apt says it will take: packages, download, disk.
fn extent(packages: &[&str]) -> Result<String> {
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--no-install-recommends", "--assume-no"]).args(packages).env("LC_ALL", "C");
    // It answers "no" to itself and ends with 1; what it found stands in its output.
    let said = String::from_utf8_lossy(&apt.stderr(Stdio::null()).output()?.stdout).into_owned();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("newly installed") || line.contains("archives") || line.contains("disk"))
        .collect();
    ensure!(lines.iter().any(|line| line.contains("newly installed")), "apt-get knows no such packages");
    Ok(lines.join("\n"))
}

fn apt(words: &[&str]) -> Result<Command> {
    let mut apt = as_root("apt-get").context("packages must be installed")?;
    apt.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    Ok(apt)
}

/// Keeps package scripts from starting daemons: Debian asks /usr/sbin/policy-rc.d, and 101 means no
/// (Debian policy of invoke-rc.d).
struct NoDaemons {
    /// Whether the file is ours.
    ours: bool,
}

impl NoDaemons {
    const PATH: &str = "/usr/sbin/policy-rc.d";
    const TEXT: &str =
        "#!/bin/sh\n# Made by `cargo xtask setup` of Postern, which removes it again.\nexit 101\n";

    fn begin() -> Result<Self> {
        // One that a killed run left behind is ours again; anybody else's stays as it is.
        if Path::new(Self::PATH).exists()
            && fs::read_to_string(Self::PATH).is_ok_and(|text| text != Self::TEXT)
        {
            println!("{} exists already and stays in force.", Self::PATH);
            return Ok(Self { ours: false });
        }
        let draft = std::env::temp_dir().join(format!("policy-rc.d.{}", std::process::id()));
        fs::write(&draft, Self::TEXT).with_context(|| format!("cannot write {}", draft.display()))?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
        let placed = output(as_root("install")?.args(["-m", "755"]).arg(&draft).arg(Self::PATH));
        fs::remove_file(&draft)?;
        placed.map(|_| Self { ours: true })
    }

    /// Takes the file away, if it is ours.
    fn end(self) -> Result<()> {
        if self.ours {
            output(as_root("rm")?.args(["-f", Self::PATH]))?;
        }
        Ok(())
    }
}
