//! `image/packages.lock`: which Debian packages are used, with their versions and sums.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// One package in one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Locked {
    /// What it is for: `toolchain`, `source`, `root`, `initramfs` or `kernel`.
    pub(crate) group: String,
    /// Debian's architecture; `source` for a source package.
    pub(crate) architecture: String,
    /// Name.
    pub(crate) package: String,
    /// Version, with its epoch.
    pub(crate) version: String,
    /// Size of the file in octets.
    pub(crate) octets: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) sha256: String,
}

/// The whole file.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    /// Its comment.
    head: String,
    /// Its lines.
    pub(crate) packages: Vec<Locked>,
}

impl Lock {
    /// Reads the file of the workspace at `root`.
    ///
    /// # Errors
    /// When it cannot be read; names the line.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = root.join("image/packages.lock");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (comments, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('#'));
        let packages = lines.iter().map(|line| {
            Locked::parse(line).with_context(|| format!("{}: cannot read `{line}`", path.display()))
        });
        let packages = packages.collect::<Result<Vec<_>>>()?;
        let head = comments.iter().map(|line| format!("{line}\n")).collect();
        Ok(Self { path, head, packages })
    }

    /// Those of `groups` for one of `architectures`.
    pub(crate) fn select(&self, groups: &[&str], architectures: &[&str]) -> Vec<&Locked> {
        let wanted = |locked: &&Locked| {
            groups.contains(&locked.group.as_str()) && architectures.contains(&locked.architecture.as_str())
        };
        self.packages.iter().filter(wanted).collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self) -> Result<()> {
        let lines: String = self.packages.iter().map(|locked| format!("{locked}\n")).collect();
        fs::write(&self.path, format!("{}{lines}", self.head))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

impl Locked {
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [group, architecture, package, version, octets, sha256] = words[..] else {
            anyhow::bail!("a line has six words");
        };
        ensure!(
            sha256.len() == 64 && sha256.bytes().all(|octet| octet.is_ascii_hexdigit()),
            "the last word is a SHA-256"
        );
        Ok(Self {
            group: group.to_owned(),
            architecture: architecture.to_owned(),
            package: package.to_owned(),
            version: version.to_owned(),
            octets: octets.parse().context("the fifth word is a number of octets")?,
            sha256: sha256.to_owned(),
        })
    }

    /// Whether it is a source package.
    pub(crate) fn is_source(&self) -> bool {
        self.architecture == "source"
    }
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, architecture, package, version, octets, sha256 } = self;
        write!(f, "{group} {architecture} {package} {version} {octets} {sha256}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace_lock() -> Lock {
        Lock::read(Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()).unwrap()
    }

    #[test]
    fn a_line_is_what_it_was_read_from() {
        let line = format!("root arm64 zlib1g 1:1.2.13.dfsg-1 82744 {}", "a".repeat(64));
        assert_eq!(Locked::parse(&line).unwrap().to_string(), line);
        assert!(Locked::parse("root arm64 zlib1g 1 82744 abc").is_err());
        assert!(Locked::parse("root arm64 zlib1g").is_err());
    }

    #[test]
    fn both_architectures_have_the_same_packages() {
        let lock = workspace_lock();
        for group in ["root", "initramfs", "toolchain"] {
            let names = |architecture| -> Vec<String> {
                lock.select(&[group], &[architecture]).iter().map(|one| one.package.clone()).collect()
            };
            assert!(!names("arm64").is_empty(), "{group}");
            assert_eq!(names("arm64"), names("armhf"), "{group}");
        }
    }

    #[test]
    fn no_package_stands_twice() {
        let lock = workspace_lock();
        for (index, one) in lock.packages.iter().enumerate() {
            let same =
                |other: &Locked| one.package == other.package && one.architecture == other.architecture;
            assert!(!lock.packages.iter().skip(index + 1).any(same), "{one}");
        }
    }
}
