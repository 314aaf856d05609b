//! Kernel and modules from Debian's package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use postern_board::Kernel;

use crate::program;
use crate::tree::Tree;

/// An unpacked kernel package.
#[derive(Debug)]
pub struct KernelPackage {
    root: PathBuf,
    kernel: Kernel,
    /// Module to its file and the files it needs, in the order of `modules.dep`.
    modules: BTreeMap<String, Vec<String>>,
}

impl KernelPackage {
    /// Reads what was unpacked into `root`.
    ///
    /// # Errors
    /// When it is not the kernel the board describes.
    pub fn open(root: &Path, kernel: Kernel) -> Result<Self> {
        // The package comes without an index; it is made when a package is installed.
        program::run(program::command("depmod").arg("-b").arg(root).arg(kernel.release))?;
        let index = root.join("lib/modules").join(kernel.release).join("modules.dep");
        let text =
            fs::read_to_string(&index).with_context(|| format!("no modules for {}", kernel.release))?;
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let modules = lines.map(|(file, needs)| {
            let files = std::iter::once(file).chain(needs.split_whitespace());
            (name_of(file), files.map(str::to_owned).collect())
        });
        Ok(Self { root: root.to_owned(), kernel, modules: modules.collect() })
    }

    /// The kernel itself.
    pub fn kernel(&self) -> PathBuf {
        self.root.join("boot").join(format!("vmlinuz-{}", self.kernel.release))
    }

    /// The device tree, when the board has one in the package.
    pub fn device_tree(&self) -> Option<PathBuf> {
        let folder = self.root.join(format!("usr/lib/linux-image-{}", self.kernel.release));
        Some(folder.join(self.kernel.device_tree?))
    }

    /// Copies `modules` and what they need into `tree`, with an index for `modprobe`. Those that are
    /// part of the kernel need no file.
    ///
    /// # Errors
    /// Names a module the kernel does not have.
    pub fn add_modules(&self, tree: &Tree, modules: &[&str]) -> Result<()> {
        let folder = format!("lib/modules/{}", self.kernel.release);
        let mut files = BTreeSet::new();
        let built_in = fs::read_to_string(self.root.join(&folder).join("modules.builtin"))?;
        let built_in: BTreeSet<String> = built_in.lines().map(name_of).collect();
        for module in modules.iter().map(|module| module.replace('-', "_")) {
            if built_in.contains(&module) {
                continue;
            }
            let found = self.modules.get(&module);
            files.extend(found.with_context(|| format!("{} has no module {module}", self.kernel.release))?);
        }
        for file in files {
            let path = format!("{folder}/{file}");
            tree.copy(&self.root.join(&path), &format!("usr/{path}"), 0o644)?;
        }
        for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            tree.copy(&self.root.join(&folder).join(list), &format!("usr/{folder}/{list}"), 0o644)?;
        }
        program::run(program::command("depmod").arg("-b").arg(tree.root()).arg(self.kernel.release))?;
        Ok(())
    }
}

/// `kernel/net/ipv4/netfilter/ip_tables.ko` is the module `ip_tables`; hyphens and underscores are
/// the same (modprobe(8)).
fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_have_one_name() {
        assert_eq!(name_of("kernel/drivers/md/dm-verity.ko"), "dm_verity");
        assert_eq!(name_of("kernel/net/xt_set.ko.xz"), "xt_set");
    }
}
