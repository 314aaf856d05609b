//! The compiler: one of rustup that has the target installed, else the one Debian 12 itself has.
//!
//! Debian's `rustc-web` is the compiler its browsers are built with. It comes with the standard
//! library for every Debian architecture and is unpacked into a folder; nothing is installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::apt::Apt;
use super::lock::Lock;
use crate::command::{self, bold};

/// A compiler that can build for a target.
#[derive(Debug)]
pub(crate) struct Rust {
    /// Value of `RUSTC`; `None` leaves cargo its own.
    pub(crate) rustc: Option<PathBuf>,
    /// What it calls itself.
    pub(crate) version: String,
}

impl Rust {
    /// Finds or unpacks a compiler for `target`, Debian's `architecture`.
    ///
    /// # Errors
    /// When packages cannot be downloaded or unpacked.
    pub(crate) fn prepare(
        target: &str,
        architecture: &str,
        apt: &Apt,
        lock: &Lock,
        cache: &Path,
    ) -> Result<Self> {
        if has_target(target) {
            let version = command::output(Command::new("rustc").arg("--version"))?.trim().to_owned();
            return Ok(Self { rustc: None, version });
        }
        let machine = std::env::consts::ARCH;
        ensure!(
            machine == "x86_64",
            "on {machine}, install the target with `rustup target add {target}`: image/packages.lock has \
             Debian's compiler for x86-64 only"
        );
        let rustc = unpack(architecture, apt, lock, cache)?;
        let version = command::output(Command::new(&rustc).arg("--version"))?.trim().to_owned();
        Ok(Self { rustc: Some(rustc), version })
    }
}

/// Whether the usual compiler has a standard library for `target`.
fn has_target(target: &str) -> bool {
    let sysroot = command::output(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib").join(target).join("lib");
    fs::read_dir(libraries).is_ok_and(|mut entries| entries.next().is_some())
}

/// Unpacks Debian's compiler for this machine and `architecture`, and returns its path.
///
/// # Errors
/// When packages cannot be downloaded or unpacked.
pub(crate) fn unpack(architecture: &str, apt: &Apt, lock: &Lock, cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("rust");
    let rustc = folder.join("rustc");
    fs::create_dir_all(&folder)?;
    for part in ["amd64", architecture] {
        let packages = lock.select(&["toolchain"], &[part]);
        let key: String = packages.iter().map(|package| format!("{}\n", package.sha256)).collect();
        let mark = folder.join(format!("{part}.unpacked"));
        if fs::read_to_string(&mark).is_ok_and(|text| text == key) {
            continue;
        }
        let files = apt.fetch(&packages)?;
        println!("{}", bold(&format!("Unpacking Debian's Rust for {part}")));
        for file in files {
            command::output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&folder))?;
        }
        fs::write(mark, key)?;
    }
    let script = wrapper(&folder.join("usr"), "rustc")?;
    if fs::read_to_string(&rustc).is_ok_and(|text| text == script) {
        return Ok(rustc);
    }
    fs::write(&rustc, script)?;
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755))?;
    Ok(rustc)
}

/// What runs `program` of the packages unpacked into `usr`: its libraries are there as well, and cargo takes one program
/// as RUSTC.
///
/// # Errors
/// When the path is not UTF-8.
pub(crate) fn wrapper(usr: &Path, program: &str) -> Result<String> {
    let usr = usr.to_str().context("the path of the compiler is not UTF-8")?;
    Ok(format!("#!/bin/sh\nLD_LIBRARY_PATH='{usr}/lib/x86_64-linux-gnu' exec '{usr}/bin/{program}' \"$@\"\n"))
}
