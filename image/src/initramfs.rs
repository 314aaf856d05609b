//! The initramfs of a slot: arms the watchdog and opens the verified root file system.

use std::path::Path;

use anyhow::Result;

use crate::kernel::KernelPackage;
use crate::settings::Settings;
use crate::tree::Tree;
use crate::verity::Verified;
use crate::{cpio, root};

/// Commands of busybox that its script uses.
const BUSYBOX: [&str; 13] = [
    "[",
    "cat",
    "echo",
    "grep",
    "modprobe",
    "mount",
    "reboot",
    "sed",
    "sh",
    "sleep",
    "switch_root",
    "true",
    "umount",
];

/// Puts it together in `folder` and returns the archive, not compressed.
///
/// # Errors
/// When something is missing.
pub fn assemble(
    settings: &Settings,
    unpacked: &Path,
    kernel: &KernelPackage,
    verified: &Verified,
    folder: &Path,
) -> Result<Vec<u8>> {
    let board = settings.board;
    let tree = Tree::create(folder)?;
    tree.folder("root")?;
    tree.copy(&settings.workspace.join("image/files/initramfs/init"), "init", 0o755)?;
    tree.file("etc/board", root::describe(board).as_bytes(), 0o644)?;
    tree.file("etc/verity", table(verified).as_bytes(), 0o644)?;
    tree.copy(&unpacked.join("bin/busybox"), "usr/bin/busybox", 0o755)?;
    for name in BUSYBOX {
        tree.link(&format!("usr/bin/{name}"), "busybox")?;
    }
    // The kernel calls it by this path.
    tree.link("usr/sbin/modprobe", "../bin/busybox")?;
    tree.copy(&unpacked.join("sbin/dmsetup"), "usr/sbin/dmsetup", 0o755)?;
    tree.add_libraries(unpacked, board.architecture.gnu_triple())?;
    let own = [board.watchdog.module, "dm-verity", "squashfs"];
    let modules: Vec<&str> = own.iter().chain(board.kernel.early_modules).copied().collect();
    kernel.add_modules(&tree, &modules)?;
    cpio::archive(tree.root())
}

/// What the script needs to open the device.
fn table(verified: &Verified) -> String {
    let Verified { blocks, root_hash, salt, .. } = verified;
    format!("SECTORS={}\nBLOCKS={blocks}\nROOT_HASH={root_hash}\nSALT={salt}\n", blocks * 8)
}
