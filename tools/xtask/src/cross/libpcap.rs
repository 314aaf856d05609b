//! A static libpcap for the board, from Debian's source.
//!
//! Debian's own static library wants D-Bus, and with it systemd: Postern captures from packet
//! sockets only, so it is built without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::Apt;
use super::lock::Lock;
use crate::command::{self, bold};

/// Version, as the pcap crate asks for it: it cannot run a program of another processor to find out.
pub(crate) const VERSION: &str = "1.10.3";

/// The folder with `libpcap.a` for the compiler `gnu`-gcc.
///
/// # Errors
/// When the source cannot be downloaded or does not build.
pub(crate) fn prepare(gnu: &str, apt: &Apt, lock: &Lock, cache: &Path) -> Result<PathBuf> {
    let packages = lock.select(&["source"], &["source"]);
    let source = packages.iter().find(|package| package.package == "libpcap");
    let source = source.context("image/packages.lock has no source of libpcap")?;
    let folder = cache.join("libpcap").join(gnu);
    let (library, mark) = (folder.join("libpcap.a"), folder.join("built"));
    if library.exists() && fs::read_to_string(&mark).is_ok_and(|text| text == source.sha256) {
        return Ok(folder);
    }
    let archive = apt.fetch(&[source])?.pop().context("nothing was downloaded")?;
    println!("{}", bold(&format!("Building libpcap for {gnu}")));
    let build = folder.join("build");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&build)?;
    let unpack = ["--strip-components=1", "-xzf"];
    command::output(Command::new("tar").args(unpack).arg(&archive).arg("-C").arg(&build))?;
    configure(gnu, &build)?;
    command::output(Command::new("make").args(["-j2", "libpcap.a"]).current_dir(&build))?;
    // Only the archive may lie in the folder: so `-lpcap` links it statically.
    fs::copy(build.join("libpcap.a"), &library)?;
    fs::remove_dir_all(build)?;
    fs::write(mark, &source.sha256)?;
    Ok(folder)
}

fn configure(gnu: &str, build: &Path) -> Result<()> {
    let mut configure = Command::new(build.join("configure"));
    configure.current_dir(build).arg(format!("--host={gnu}")).args([
        "--disable-shared",
        "--disable-dbus",
        "--disable-usb",
        "--disable-bluetooth",
        "--disable-rdma",
        "--disable-netmap",
        "--without-libnl",
        "--with-pcap=linux",
    ]);
    configure.env("CC", format!("{gnu}-gcc")).env("CFLAGS", "-Os -ffunction-sections -fdata-sections -fPIC");
    command::output(&mut configure)?;
    Ok(())
}
