//! The working tree as a Git repository of its own, so that the recipe fetches what is here, committed or not, and
//! whether or not there is a repository.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};

use super::{Yocto, crates};
use crate::command::{self, cargo_line};

/// The repository.
pub(super) fn repository(yocto: &Yocto) -> PathBuf {
    yocto.folder.join("source.git")
}

/// Where BitBake finds files that are downloaded already.
pub(super) fn downloads(yocto: &Yocto) -> PathBuf {
    yocto.folder.join("downloads")
}

/// Makes the repository and gathers the crates that cargo has downloaded.
pub(super) fn snapshot(yocto: &Yocto) -> Result<String> {
    let repository = repository(yocto);
    let _ = fs::remove_dir_all(&repository);
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(&repository).arg("--work-tree").arg(&yocto.workspace.root);
        git.args(["-c", "user.name=Postern", "-c", "user.email=postern@localhost", "-c", "gc.auto=0"])
            .args(words);
        // The same tree is the same commit.
        for variable in ["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"] {
            git.env(variable, "2000-01-01T00:00:00Z");
        }
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            git.env_remove(variable);
        }
        command::output(&mut git)
    };
    command::output(Command::new("git").args(["init", "--quiet", "--bare"]).arg(&repository))?;
    git(&["add", "--all", "."])?;
    git(&["commit", "--quiet", "--no-verify", "--message", "what is here"])?;
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let gathered = gather(yocto)?;
    Ok(format!("commit {} of the working tree, {gathered} crates", commit.trim()))
}

/// Copies the crates of Cargo.lock from cargo's folder: their files are what BitBake would download.
pub(super) fn gather(yocto: &Yocto) -> Result<usize> {
    command::output(&mut cargo_line("fetch --quiet --locked"))?;
    let home = env::var("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|_| env::var("HOME").map(|home| PathBuf::from(home).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/cache")).context("cargo has downloaded nothing")?;
    let registries = registries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let downloads = downloads(yocto);
    fs::create_dir_all(&downloads)?;
    let wanted = crates::of_lock(&yocto.read("Cargo.lock")?)?;
    for one in &wanted {
        let name = format!("{}-{}.crate", one.name, one.version);
        let there = registries.iter().map(|registry| registry.join(&name)).find(|path| path.exists());
        let there = there.with_context(|| format!("cargo has not downloaded {name}"))?;
        // A copy: BitBake renames what has a wrong sum.
        fs::copy(&there, downloads.join(&name)).with_context(|| format!("cannot copy {name}"))?;
    }
    ensure!(!wanted.is_empty(), "Cargo.lock has no crate of the registry");
    Ok(wanted.len())
}
