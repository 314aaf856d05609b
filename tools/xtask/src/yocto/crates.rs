//! The crates include of the recipe: a plain function of Cargo.lock, so that it needs no BitBake to be written.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::Yocto;

/// The include, below `yocto-layer`.
pub(super) const INCLUDE: &str = "meta-postern/recipes-postern/postern/postern-crates.inc";

/// A crate of the registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    checksum: String,
}

/// The crates of a lock file that come from the registry, sorted.
pub(super) fn of_lock(lock: &str) -> Result<Vec<Crate>> {
    let mut crates = Vec::new();
    for block in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
            Some(line.trim_matches('"').to_owned())
        };
        let Some(source) = value("source") else { continue };
        ensure!(
            source.starts_with("registry+"),
            "{source} is no registry; the recipe cannot fetch from there"
        );
        let all = (value("name"), value("version"), value("checksum"));
        let (Some(name), Some(version), Some(checksum)) = all else {
            anyhow::bail!("a package of Cargo.lock has no name, version or checksum:{block}");
        };
        crates.push(Crate { name, version, checksum });
    }
    crates.sort();
    Ok(crates)
}

/// The include for `lock`.
fn include(lock: &str) -> Result<String> {
    let crates = of_lock(lock)?;
    let mut text = String::from(
        "# Made from Cargo.lock by `cargo xtask yocto-check --write-crates`; do not edit.\n\nSRC_URI += \" \\\n",
    );
    for Crate { name, version, .. } in &crates {
        writeln!(text, "    crate://crates.io/{name}/{version} \\")?;
    }
    text += "\"\n\n";
    for Crate { name, version, checksum } in &crates {
        writeln!(text, "SRC_URI[{name}-{version}.sha256sum] = \"{checksum}\"")?;
    }
    Ok(text)
}

/// Fails when the include is not that of Cargo.lock.
pub(super) fn check(yocto: &Yocto) -> Result<String> {
    let lock = yocto.read("Cargo.lock")?;
    let there = yocto.read(&format!("yocto-layer/{INCLUDE}"))?;
    ensure!(
        include(&lock)? == there,
        "{INCLUDE} is not what Cargo.lock says: run `cargo xtask yocto-check --write-crates`"
    );
    Ok(format!("{} crates, as in Cargo.lock", of_lock(&lock)?.len()))
}

/// Writes the include.
pub(super) fn write(yocto: &Yocto) -> Result<()> {
    let path = yocto.layers().join(INCLUDE);
    fs::write(&path, include(&yocto.read("Cargo.lock")?)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"b\"\nversion = \"1.0.1\"\nsource = \
        \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"0b\"\n\n[[package]]\nname = \
        \"ours\"\nversion = \"0.1.0\"\ndependencies = [\n \"b\",\n]\n\n[[package]]\nname = \"a\"\nversion = \
        \"2.0.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"0a\"\n";

    #[test]
    fn crates_of_the_registry_are_listed_and_ours_are_not() {
        let text = include(LOCK).unwrap();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "SRC_URI += \" \\",
                "    crate://crates.io/a/2.0.0 \\",
                "    crate://crates.io/b/1.0.1 \\",
                "\"",
                "",
                "SRC_URI[a-2.0.0.sha256sum] = \"0a\"",
                "SRC_URI[b-1.0.1.sha256sum] = \"0b\"",
            ]
        );
    }

    #[test]
    fn another_source_is_refused() {
        let git = LOCK.replace("registry+https", "git+https");
        assert!(include(&git).unwrap_err().to_string().contains("git+https"));
    }
}
