//! A folder that becomes a file system: what is put in, and a check that programs find their
//! libraries.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::read::elf::{Dyn, ElfFile, FileHeader};

/// A folder that becomes a file system.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// An empty one in `root`, with the usual links from `/bin` to `/usr/bin` and so on.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(root: &Path) -> Result<Self> {
        let _ = fs::remove_dir_all(root);
        let tree = Self { root: root.to_owned() };
        for folder in ["usr/bin", "usr/sbin", "usr/lib", "dev", "proc", "sys", "run"] {
            tree.folder(folder)?;
        }
        for name in ["bin", "sbin", "lib"] {
            tree.link(name, &format!("usr/{name}"))?;
        }
        Ok(tree)
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, path: &str) -> Result<()> {
        let path = self.root.join(path);
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))
    }

    /// Makes a link.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn link(&self, path: &str, target: &str) -> Result<()> {
        let path = self.place(path)?;
        symlink(target, &path).with_context(|| format!("cannot link {}", path.display()))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let path = self.place(path)?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
    }

    /// Copies the file that `from` is or leads to.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(to, &content, mode)
    }

    /// Copies a whole folder of files; what lies in `executable` is made so.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub fn overlay(&self, from: &Path, executable: &[&str]) -> Result<()> {
        self.overlay_below(from, "", executable)
    }

    fn overlay_below(&self, from: &Path, prefix: &str, executable: &[&str]) -> Result<()> {
        let folder = from.join(prefix);
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a file name that is not UTF-8")?;
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if entry.file_type()?.is_dir() {
                self.folder(&path)?;
                self.overlay_below(from, &path, executable)?;
            } else {
                let mode = if executable.iter().any(|one| path.starts_with(one)) { 0o755 } else { 0o644 };
                self.copy(&entry.path(), &path, mode)?;
            }
        }
        Ok(())
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(path)
    }

    /// Copies from `from`, where packages were unpacked, the libraries that the programs in the tree
    /// need, and those they need, into `/lib/TRIPLE`; and the loader.
    ///
    /// # Errors
    /// Names a library that no package brings.
    pub fn add_libraries(&self, from: &Path, triple: &str) -> Result<()> {
        let mut known = BTreeSet::new();
        let mut wanted: Vec<String> = Vec::new();
        let mut files = Vec::new();
        find_files(&self.root, &mut files)?;
        for file in files {
            wanted.extend(needed(&fs::read(file)?));
        }
        while let Some(name) = wanted.pop() {
            if !known.insert(name.clone()) {
                continue;
            }
            let folders = [format!("lib/{triple}"), format!("usr/lib/{triple}"), "lib".to_owned()];
            let found = folders.iter().map(|folder| from.join(folder).join(&name)).find(|path| path.exists());
            let Some(found) = found else { bail!("no package of the image brings {name}") };
            wanted.extend(needed(&fs::read(&found)?));
            self.copy(&found, &format!("usr/lib/{triple}/{name}"), 0o755)?;
            if name.starts_with("ld-linux") {
                self.link(&format!("usr/lib/{name}"), &format!("{triple}/{name}"))?;
            }
        }
        Ok(())
    }
}

fn find_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            find_files(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Names of the libraries a program or library wants; none for anything else.
fn needed(content: &[u8]) -> Vec<String> {
    let names = match object::FileKind::parse(content) {
        Ok(object::FileKind::Elf64) => names_in::<object::elf::FileHeader64<object::Endianness>>(content),
        Ok(object::FileKind::Elf32) => names_in::<object::elf::FileHeader32<object::Endianness>>(content),
        _ => None,
    };
    names.unwrap_or_default()
}

fn names_in<Elf: FileHeader<Endian = object::Endianness>>(content: &[u8]) -> Option<Vec<String>> {
    let file = ElfFile::<Elf>::parse(content).ok()?;
    let endian = file.endian();
    let table = file.elf_section_table();
    let (entries, strings) = table.dynamic(endian, content).ok()??;
    let strings = table.strings(endian, content, strings).ok()?;
    let wanted = entries.iter().filter(|entry| entry.tag32(endian) == Some(object::elf::DT_NEEDED));
    let names = wanted.filter_map(|entry| entry.string(endian, strings).ok());
    Some(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_needs_is_read_from_it() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(needed(&own).iter().any(|name| name == "libc.so.6"), "{:?}", needed(&own));
        assert!(needed(b"#!/bin/sh\n").is_empty());
    }
}
