//! Where the workspace is and what cargo knows about it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command;

/// The workspace this xtask was built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder with the top `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// `cargo metadata`, without the crates outside the workspace.
    pub(crate) metadata: Value,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo does not answer, or not as expected.
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.ancestors().nth(2).context("xtask is two folders below the root")?.to_owned();
        let mut cargo = command::cargo_line("metadata --format-version 1 --no-deps");
        let text = command::output(cargo.current_dir(&root))?;
        let metadata: Value = serde_json::from_str(&text).context("cargo metadata is not JSON")?;
        let target = metadata["target_directory"].as_str().context("no target_directory")?.into();
        std::env::set_current_dir(&root).context("cannot enter the workspace")?;
        Ok(Self { root, target, metadata })
    }

    /// The packages of the workspace.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &Value> {
        self.metadata["packages"].as_array().into_iter().flatten()
    }

    /// Fails when `package` has no binary `name`, with a message that says so.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn require_binary(&self, package: &str, name: &str) -> Result<()> {
        let is_it = |target: &Value| target["name"] == name && target["kind"][0] == "bin";
        let found = self
            .packages()
            .filter(|candidate| candidate["name"] == package)
            .flat_map(|candidate| candidate["targets"].as_array().into_iter().flatten())
            .any(is_it);
        if !found {
            bail!("package {package} has no binary `{name}`");
        }
        Ok(())
    }
}
