//! A private root of apt: packages of other architectures, without a word to the machine's own
//! package manager.
//!
//! What comes down is told by its SHA-256 alone; the names of files do not matter.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::lock::{Lock, Locked};
use crate::command::{self, bold};

/// Suite that the lock file pins.
const SUITE: &str = "bookworm";

/// Debian's own server, when this machine has none configured.
const MIRROR: &str = "http://deb.debian.org/debian";

/// Keys of Debian's archive, from the package of that name, which every Debian has.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A private root of apt with a store of downloaded files.
#[derive(Debug)]
pub(crate) struct Apt {
    root: PathBuf,
    files: PathBuf,
}

impl Apt {
    /// Opens the root below `cache`, making it when it is not there.
    ///
    /// # Errors
    /// When files cannot be written.
    pub(crate) fn open(cache: &Path) -> Result<Self> {
        let root = cache.join("apt");
        for folder in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg",
        ] {
            fs::create_dir_all(root.join(folder))?;
        }
        fs::write(root.join("var/lib/dpkg/status"), "")?;
        let mirror = mirror();
        let sources = format!(
            "deb [arch=amd64,arm64,armhf signed-by={KEYS}] {mirror} {SUITE} main\n\
             deb-src [signed-by={KEYS}] {mirror} {SUITE} main\n"
        );
        fs::write(root.join("etc/apt/sources.list"), sources)?;
        let place = root.display();
        // Dates are not checked: what counts is the sum in the lock file.
        let options = format!(
            "Dir \"{place}/\";\nDir::State::status \"{place}/var/lib/dpkg/status\";\n\
             Dir::Etc::sourceparts \"-\";\nAcquire::Check-Valid-Until \"false\";\nAcquire::Check-Date \"false\";\n\
             Acquire::Languages \"none\";\nAPT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; \"arm64\"; \"armhf\"; }};\nAPT::Install-Recommends \"false\";\n\
             APT::Sandbox::User \"\";\n"
        );
        fs::write(root.join("apt.conf"), options)?;
        let files = cache.join("packages");
        fs::create_dir_all(&files)?;
        Ok(Self { root, files })
    }

    /// The files of `locked`, downloaded when they are not here, in the same order.
    ///
    /// # Errors
    /// When Debian no longer has a version, or a file is not what was locked.
    pub(crate) fn fetch(&self, locked: &[&Locked]) -> Result<Vec<PathBuf>> {
        let mut here = self.by_sum()?;
        let missing: Vec<&Locked> =
            locked.iter().copied().filter(|one| !here.contains_key(&one.sha256)).collect();
        if !missing.is_empty() {
            let octets: u64 = missing.iter().map(|one| one.octets).sum();
            let title = format!("{} Debian packages to download, {} MB", missing.len(), octets / 1_000_000);
            println!("{}", bold(&title));
            self.download(&missing)?;
            here = self.by_sum()?;
        }
        let found = locked.iter().map(|one| {
            here.get(&one.sha256).cloned().with_context(|| {
                format!(
                    "{} {} came with another SHA-256 than image/packages.lock says",
                    one.package, one.version
                )
            })
        });
        found.collect()
    }

    /// Writes versions and sums of what Debian offers today into `lock`.
    ///
    /// # Errors
    /// When Debian does not have a package at all.
    pub(crate) fn pin(&self, lock: &mut Lock) -> Result<()> {
        self.update()?;
        for locked in &mut lock.packages {
            let before = locked.version.clone();
            *locked = self.offered(locked)?;
            if locked.version != before {
                println!("{} {}: {before} -> {}", locked.package, locked.architecture, locked.version);
            }
        }
        lock.write()
    }

    fn download(&self, missing: &[&Locked]) -> Result<()> {
        if !self.has_lists() {
            self.update()?;
        }
        if self.take(missing).is_ok() {
            return Ok(());
        }
        println!("Once more, with fresh package lists.");
        self.update()?;
        self.take(missing).with_context(|| {
            "Debian may have replaced a version by a newer one: look at the message above, and if so, \
             `cargo xtask image --pin` takes today's; then test and commit image/packages.lock"
        })
    }

    fn take(&self, missing: &[&Locked]) -> Result<()> {
        let (sources, binaries): (Vec<&&Locked>, Vec<&&Locked>) =
            missing.iter().partition(|one| one.is_source());
        if !binaries.is_empty() {
            let names =
                binaries.iter().map(|one| format!("{}:{}={}", one.package, one.architecture, one.version));
            command::run(self.apt_get(&["download"]).args(names).current_dir(&self.files))?;
        }
        if !sources.is_empty() {
            let names = sources.iter().map(|one| format!("{}={}", one.package, one.version));
            let mut source = self.apt_get(&["source", "--download-only"]);
            command::run(source.args(names).current_dir(&self.files))?;
        }
        Ok(())
    }

    fn update(&self) -> Result<()> {
        command::run(&mut self.apt_get(&["update"]))
    }

    fn has_lists(&self) -> bool {
        let lists = fs::read_dir(self.root.join("var/lib/apt/lists"));
        lists.is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("_Packages"))
        })
    }

    /// What Debian offers of `locked` today.
    fn offered(&self, locked: &Locked) -> Result<Locked> {
        let mut ask = self.apt_get(&["--print-uris"]);
        if locked.is_source() {
            ask.args(["source", "--download-only", &locked.package]);
        } else {
            ask.args(["download", &format!("{}:{}", locked.package, locked.architecture)]);
        }
        let said = command::output(&mut ask)?;
        let file = said.lines().filter(|line| line.contains("SHA256:")).find(|line| {
            // Of a source package, only the untouched upstream archive.
            !locked.is_source() || line.contains(".orig.tar")
        });
        let words: Vec<&str> = file.into_iter().flat_map(str::split_whitespace).collect();
        let [_, name, octets, sum] = words[..] else {
            bail!("Debian {SUITE} has no {} for {}", locked.package, locked.architecture);
        };
        let mut parts = name.split('_');
        let version = parts.nth(1).context("a Debian file name has its version behind the first _")?;
        let version = if locked.is_source() {
            self.source_version(&locked.package)?
        } else {
            version.replace("%3a", ":")
        };
        let sha256 = sum.trim_start_matches("SHA256:").to_owned();
        Ok(Locked { version, octets: octets.parse()?, sha256, ..locked.clone() })
    }

    fn source_version(&self, package: &str) -> Result<String> {
        let mut ask = Command::new("apt-cache");
        ask.arg("-c").arg(self.root.join("apt.conf")).args(["showsrc", "--only-source", package]);
        let said = command::output(&mut ask)?;
        let version = said.lines().find_map(|line| line.strip_prefix("Version: "));
        Ok(version.with_context(|| format!("Debian {SUITE} has no source of {package}"))?.to_owned())
    }

    fn apt_get(&self, words: &[&str]) -> Command {
        let mut apt = Command::new("apt-get");
        apt.args(["-q", "-c"]).arg(self.root.join("apt.conf")).args(words);
        apt
    }

    /// Every downloaded file by its SHA-256.
    fn by_sum(&self) -> Result<BTreeMap<String, PathBuf>> {
        let entries = fs::read_dir(&self.files)?.collect::<std::io::Result<Vec<_>>>()?;
        let files: Vec<PathBuf> =
            entries.iter().map(fs::DirEntry::path).filter(|path| path.is_file()).collect();
        if files.is_empty() {
            return Ok(BTreeMap::new());
        }
        let said = command::output(Command::new("sha256sum").arg("--").args(&files))?;
        let sums: Vec<&str> = said.lines().filter_map(|line| line.split_whitespace().next()).collect();
        ensure!(sums.len() == files.len(), "sha256sum did not answer for every file");
        // A leading backslash marks an escaped file name (sha256sum(1)).
        Ok(sums.iter().map(|sum| sum.trim_start_matches('\\').to_owned()).zip(files).collect())
    }
}

/// The server this machine takes Debian from.
fn mirror() -> String {
    let mut ask = Command::new("apt-get");
    ask.args(["indextargets", "--format", "$(SITE) $(CODENAME) $(LABEL)", "Identifier: Packages"]);
    let said = command::output(&mut ask).unwrap_or_default();
    let wanted = format!(" {SUITE} Debian");
    said.lines()
        .find_map(|line| line.strip_suffix(&wanted))
        .unwrap_or(MIRROR)
        .trim_end_matches('/')
        .to_owned()
}
