//! Debian packages: found by their sums, unpacked into a folder, and taken from there file by file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::program;
use crate::verity::hex;

/// A package as `image/packages.lock` pins it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What it is for.
    pub group: String,
    /// Debian's architecture.
    pub architecture: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
}

/// Reads the lock file.
///
/// # Errors
/// When it cannot be read.
pub fn locked(workspace: &Path) -> Result<Vec<Package>> {
    let path = workspace.join("image/packages.lock");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let packages = lines.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [group, architecture, name, version, _, sha256] = words[..] else {
            anyhow::bail!("{}: cannot read `{line}`", path.display());
        };
        let [group, architecture, name, version, sha256] =
            [group, architecture, name, version, sha256].map(str::to_owned);
        Ok(Package { group, architecture, name, version, sha256 })
    });
    packages.collect()
}

/// Unpacks `packages`, whose files lie in `folder` under any name, into `into`, which is made anew.
///
/// # Errors
/// When a file is missing or cannot be unpacked.
pub fn unpack(packages: &[&Package], folder: &Path, into: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(into);
    fs::create_dir_all(into)?;
    let files = by_sum(folder)?;
    for package in packages {
        let file = files.get(&package.sha256).with_context(|| {
            format!("{} {} is not in {}", package.name, package.version, folder.display())
        })?;
        program::run(program::command("dpkg-deb").arg("-x").arg(file).arg(into))?;
    }
    Ok(())
}

fn by_sum(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_file() {
            files.insert(hex(&Sha256::digest(fs::read(&path)?)), path);
        }
    }
    ensure!(!files.is_empty(), "{} has no packages", folder.display());
    Ok(files)
}
