//! What lies where: the folders of the design, crates that are registered, modules that are used.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use super::source::Source;
use crate::workspace::Workspace;

/// Folders at the top.
const FOLDERS: [&str; 7] = ["board", "firmware", "hal-linux", "image", "tests", "tools", "yocto-layer"];

/// Files at the top, besides texts.
const FILES: [&str; 4] = ["Cargo.lock", "Cargo.toml", "LICENSE", "rustfmt.toml"];

/// What cargo and the tools make.
const MADE: [&str; 2] = ["target", "dist"];

/// Folders whose every folder is a crate of the workspace.
const OF_CRATES: [&str; 3] = ["firmware", "tests", "tools"];

/// Folders of those that hold no Rust.
const NOT_CRATES: [&str; 3] = ["tools/ansible", "tools/siem", "tests/golden"];

/// Every file of the repository, from its root, sorted; made things and dot folders left out.
pub(super) fn files(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort();
    Ok(files)
}

fn walk(directory: &Path, prefix: &str, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && !MADE.contains(&path.as_str()) {
                walk(&entry.path(), &format!("{path}/"), files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Checks folders and crates.
///
/// # Errors
/// When a folder cannot be read.
pub(super) fn check(workspace: &Workspace, files: &[String]) -> Result<Vec<Finding>> {
    let mut findings = check_top(files);
    for folder in OF_CRATES {
        let path = workspace.root.join(folder);
        let Ok(entries) = fs::read_dir(&path) else { continue };
        for entry in entries {
            let entry = entry?;
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if !entry.file_type()?.is_dir() || NOT_CRATES.contains(&name.as_str()) {
                continue;
            }
            let manifest = workspace.root.join(&name).join("Cargo.toml");
            let is_member =
                workspace.packages().any(|package| package["manifest_path"].as_str() == manifest.to_str());
            if !is_member {
                let instead =
                    "add it to `members` in the top Cargo.toml, or delete it: nobody builds or runs it";
                findings.push(Finding::new(&name, 0, "not a crate of the workspace", instead));
            }
        }
    }
    Ok(findings)
}

fn check_top(files: &[String]) -> Vec<Finding> {
    let mut findings = BTreeSet::new();
    for path in files {
        let (top, is_folder) = match path.split_once('/') {
            Some((top, _)) => (top, true),
            None => (path.as_str(), false),
        };
        let is_text = top.ends_with(".md") || top.starts_with("LICENSE");
        let known = match is_folder {
            true => FOLDERS.contains(&top),
            false => FILES.contains(&top) || is_text || top.starts_with('.') || top.ends_with(".store"),
        };
        if !known {
            let instead = "the folders at the top are fixed by the design; put it into one of them";
            findings.insert(Finding::new(top, 0, "unknown at the top", instead));
        }
    }
    findings.into_iter().collect()
}

/// Checks that every module file is declared by some file of its crate. `roots` are the files cargo
/// begins with.
pub(super) fn check_modules(sources: &[Source], roots: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !roots.contains(&source.path)) {
        let Some(module) = source.module() else { continue };
        let declares = |other: &&Source| {
            other.crate_folder() == source.crate_folder()
                && !other.lines_with(&["mod", module, ";"], true).is_empty()
        };
        if !sources.iter().any(|other| declares(&other)) {
            let instead =
                format!("declare it with `mod {module};` or delete it: the compiler does not see it");
            findings.push(Finding::new(&source.path, 0, "no file declares this module", instead));
        }
    }
    findings
}

/// The files cargo begins with: of libraries, programs, tests and build scripts.
pub(super) fn roots(workspace: &Workspace) -> Vec<String> {
    let targets =
        workspace.packages().flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let paths = targets.filter_map(|target| target["src_path"].as_str());
    paths
        .filter_map(|path| Path::new(path).strip_prefix(&workspace.root).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::read(path, text).unwrap()
    }

    #[test]
    fn unknown_things_at_the_top_are_named() {
        let files =
            ["Cargo.toml", "README.md", "LICENSE-MIT", "firmware/core/x.rs", "scripts/x", "notes.txt"];
        let found = check_top(&files.map(str::to_owned));
        let tops: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(tops, ["notes.txt", "scripts"]);
    }

    #[test]
    fn dead_modules_are_named() {
        let sources = [
            source("tests/sim/src/lib.rs", "mod world;"),
            source("tests/sim/src/world.rs", "mod clock;"),
            source("tests/sim/src/world/clock.rs", ""),
            source("tests/sim/src/world/dead.rs", ""),
            source("tests/sim/tests/netsim.rs", ""),
        ];
        let found = check_modules(
            &sources,
            &["tests/sim/src/lib.rs", "tests/sim/tests/netsim.rs"].map(str::to_owned),
        );
        let paths: Vec<&str> = found.iter().map(|finding| finding.path.as_str()).collect();
        assert_eq!(paths, ["tests/sim/src/world/dead.rs"]);
    }

    #[test]
    fn a_declaration_in_another_crate_does_not_count() {
        let sources = [source("a/src/lib.rs", "mod x;"), source("b/src/x.rs", "")];
        assert_eq!(check_modules(&sources, &["a/src/lib.rs".to_owned()]).len(), 1);
    }
}
