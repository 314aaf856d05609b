//! Postern's programs for the processor of a board.
//!
//! Everything comes from Debian 12 and is kept in the folder `cross` of cargo's target folder.
//! Nothing of the machine's package manager is touched, and no other source is ever asked.

pub(crate) mod apt;
pub(crate) mod libpcap;
pub(crate) mod lock;
pub(crate) mod rust;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{self, bold, cargo_line};
use crate::workspace::Workspace;
use apt::Apt;
use lock::Lock;
use rust::Rust;

/// The programs that go into the image, with the package each is in. Those the workspace does not
/// have yet are left out.
pub(crate) const OF_IMAGE: &[(&str, &str)] = &[("posternd", "posternd"), ("posternd", "postern-console")];

/// The same with the host tool, for a gateway that is its own host.
pub(crate) const ALL: &[(&str, &str)] =
    &[("posternd", "posternd"), ("posternd", "postern-console"), ("postern", "postern")];

/// For what to build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// Target triple of rustc.
    pub(crate) rust: &'a str,
    /// GNU triple.
    pub(crate) gnu: &'a str,
    /// Debian's architecture.
    pub(crate) debian: &'a str,
}

impl Target<'_> {
    /// The first glibc for the processor: old symbols carry its version.
    fn first_glibc(&self) -> &'static str {
        if self.rust.starts_with("aarch64") { "2.17" } else { "2.4" }
    }
}

/// Where downloads and tool chains are kept.
pub(crate) fn cache(workspace: &Workspace) -> PathBuf {
    workspace.target.join("cross")
}

/// Builds `programs`, statically linked and stripped, and returns their paths.
///
/// # Errors
/// When the tool chain cannot be had or something does not build.
pub(crate) fn build(
    workspace: &Workspace,
    target: &Target,
    programs: &[(&str, &str)],
) -> Result<Vec<PathBuf>> {
    let cache = cache(workspace);
    fs::create_dir_all(&cache)?;
    let lock = Lock::read(&workspace.root)?;
    let apt = Apt::open(&cache)?;
    let rust = Rust::prepare(target.rust, target.debian, &apt, &lock, &cache)?;
    let pcap = libpcap::prepare(target.gnu, &apt, &lock, &cache)?;
    println!("{}", bold(&format!("Building for {} with {}", target.rust, rust.version)));
    let programs: Vec<&(&str, &str)> = programs
        .iter()
        .filter(|(package, program)| workspace.require_binary(package, program).is_ok())
        .collect();
    let mut cargo = cargo_line("build --locked --release");
    for (package, program) in &programs {
        cargo.args(["-p", package, "--bin", program]);
    }
    let build = cache.join("build");
    cargo.args(["--target", target.rust, "--target-dir"]).arg(&build);
    settle(&mut cargo, workspace, target, &rust, &pcap)?;
    command::run(&mut cargo)?;
    let release = build.join(target.rust).join("release");
    Ok(programs.iter().map(|(_, program)| release.join(program)).collect())
}

/// The environment of a cross build.
fn settle(
    cargo: &mut Command,
    workspace: &Workspace,
    target: &Target,
    rust: &Rust,
    pcap: &Path,
) -> Result<()> {
    if let Some(rustc) = &rust.rustc {
        cargo.env("RUSTC", rustc);
    }
    let variable = target.rust.to_ascii_uppercase().replace('-', "_");
    cargo.env(format!("CARGO_TARGET_{variable}_LINKER"), format!("{}-gcc", target.gnu));
    // No path of this machine in the programs: the same source gives the same octets elsewhere.
    let root = workspace.root.to_str().context("the path of the workspace is not UTF-8")?;
    let mut flags = format!(
        "-Ctarget-feature=+crt-static --remap-path-prefix={root}=/postern --remap-path-prefix={}=/cargo",
        cargo_home()
    );
    for name in ["cfgetispeed", "cfgetospeed", "cfsetispeed", "cfsetospeed", "cfsetspeed"] {
        flags += &static_speed(name, target.first_glibc());
    }
    // Linkers align for kernels with pages of 64 KiB, which no board has: that is 48 KiB of nothing.
    flags += " -Clink-arg=-Wl,-z,max-page-size=16384";
    cargo.env(format!("CARGO_TARGET_{variable}_RUSTFLAGS"), flags);
    for unwanted in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(unwanted);
    }
    cargo.env("LIBPCAP_LIBDIR", pcap).env("LIBPCAP_VER", libpcap::VERSION);
    Ok(())
}

/// The libc crate asks for serial speeds by the name a shared glibc of `version` gives them; a static
/// one has only the plain name, which this makes the same.
fn static_speed(name: &str, version: &str) -> String {
    format!(" -Clink-arg=-Wl,-u,{name} -Clink-arg=-Wl,--defsym=\"{name}@GLIBC_{version}\"={name}")
}

/// Where cargo keeps the sources of crates.
fn cargo_home() -> String {
    let home = std::env::var("CARGO_HOME");
    home.unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()))
}
