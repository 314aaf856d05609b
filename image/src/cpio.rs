//! An initramfs archive in the kernel's "newc" format (kernel documentation,
//! `driver-api/early-userspace/buffer-format.rst`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// The folder `root` as an archive: sorted, everything owned by root, without times.
///
/// # Errors
/// When something cannot be read, or is neither file, folder nor link.
pub fn archive(root: &Path) -> Result<Vec<u8>> {
    let mut paths = Vec::new();
    collect(root, "", &mut paths)?;
    paths.sort();
    let mut archive = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let full = root.join(path);
        let status = fs::symlink_metadata(&full)?;
        let kind = status.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&full)?.to_str().context("a link that is not UTF-8")?.as_bytes().to_vec()
        } else if kind.is_file() {
            fs::read(&full)?
        } else {
            Vec::new()
        };
        let mode = if kind.is_symlink() { 0o120_777 } else { status.permissions().mode() };
        member(&mut archive, index + 1, mode, path, &content);
    }
    member(&mut archive, 0, 0, "TRAILER!!!", &[]);
    Ok(archive)
}

fn collect(root: &Path, prefix: &str, paths: &mut Vec<String>) -> Result<()> {
    let folder = root.join(prefix);
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file name that is not UTF-8")?;
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            collect(root, &path, paths)?;
        }
        paths.push(path);
    }
    Ok(())
}

fn member(archive: &mut Vec<u8>, inode: usize, mode: u32, path: &str, content: &[u8]) {
    archive.extend(b"070701");
    let folder = mode & 0o170_000 == 0o040_000;
    let fields = [
        inode as u64,
        u64::from(mode),
        0,
        0,
        if folder { 2 } else { 1 },
        0,
        content.len() as u64,
        0,
        0,
        0,
        0,
        path.len() as u64 + 1,
        0,
    ];
    for field in fields {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(path.bytes());
    archive.push(0);
    pad(archive);
    archive.extend(content);
    pad(archive);
}

/// Members and their contents begin at multiples of four.
fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_archive_has_folders_before_what_lies_in_them() {
        let root = std::env::temp_dir().join(format!("postern-cpio-{}", std::process::id()));
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(root.join("bin/a"), "hello").unwrap();
        symlink("a", root.join("bin/b")).unwrap();
        let archive = archive(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        let text = String::from_utf8_lossy(&archive);
        let place = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name:?}"));
        assert!(place("bin\0") < place("bin/a\0"));
        assert!(place("bin/a\0") < place("bin/b\0") && place("bin/b\0") < place("TRAILER!!!\0"));
        assert_eq!(archive.len() % 4, 0);
        assert!(text.starts_with("070701"));
    }
}
