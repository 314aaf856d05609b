//! What the boot loader reads: the kernel of a slot as a FIT image, and the boot script.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use postern_board::{Board, Loader};

use crate::kernel::KernelPackage;
use crate::program;
use crate::settings::Settings;

/// Kernel command line, without the slot. A kernel that stumbles starts again after five seconds;
/// it does not go on.
pub fn arguments(board: &Board) -> String {
    let console = &board.console;
    format!("console={},{} quiet panic=5 oops=panic", console.tty, console.baud)
}

/// Kernel, initramfs and device tree with a hash for each, in a file of `settings.output`.
///
/// # Errors
/// When it cannot be made.
pub fn fit(settings: &Settings, kernel: &KernelPackage, initramfs: &[u8]) -> Result<PathBuf> {
    let folder = settings.output.join("fit");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("initramfs"), initramfs)?;
    compress(&folder.join("initramfs"), &folder.join("initramfs.gz"))?;
    let raw = fs::read(kernel.kernel())?;
    // The 64-bit kernel is a plain image; the 32-bit one unpacks itself.
    let unpacks_itself = raw.get(56..60) != Some(b"ARM\x64");
    fs::write(folder.join("kernel.raw"), &raw)?;
    if unpacks_itself {
        fs::rename(folder.join("kernel.raw"), folder.join("kernel"))?;
    } else {
        compress(&folder.join("kernel.raw"), &folder.join("kernel"))?;
    }
    if let Some(tree) = kernel.device_tree() {
        fs::copy(tree, folder.join("devicetree"))?;
    }
    let compression = if unpacks_itself { "none" } else { "gzip" };
    fs::write(folder.join("image.its"), description(settings.board, compression))?;
    let mut make = program::command("mkimage");
    make.current_dir(&folder).args(["-f", "image.its", "image.fit"]);
    program::run(make.env("SOURCE_DATE_EPOCH", settings.epoch.to_string()))?;
    Ok(folder.join("image.fit"))
}

fn compress(from: &Path, to: &Path) -> Result<()> {
    // No name and no time in the header.
    let content = program::run(program::command("gzip").args(["-9", "-n", "-c"]).arg(from))?;
    Ok(fs::write(to, content)?)
}

/// The source of the FIT image (U-Boot, `doc/uImage.FIT`).
fn description(board: &Board, compression: &str) -> String {
    let architecture = board.architecture.fit();
    let load = format!("<{:#x}>", board.kernel.load_address);
    let part = |name: &str, file: &str, kind: &str, more: &str| {
        format!(
            "  {name} {{ data = /incbin/(\"{file}\"); type = \"{kind}\"; arch = \"{architecture}\"; {more}\n    \
             hash-1 {{ algo = \"sha256\"; }}; }};\n"
        )
    };
    let starts = format!("os = \"linux\"; compression = \"{compression}\"; load = {load}; entry = {load};");
    let mut parts = part("kernel", "kernel", "kernel", &starts);
    parts += &part("ramdisk", "initramfs.gz", "ramdisk", "os = \"linux\"; compression = \"none\";");
    let mut uses = "kernel = \"kernel\"; ramdisk = \"ramdisk\";".to_owned();
    if board.kernel.device_tree.is_some() {
        parts += &part("fdt", "devicetree", "flat_dt", "compression = \"none\";");
        uses += " fdt = \"fdt\";";
    }
    format!(
        "/dts-v1/;\n/ {{ description = \"Postern for {}\"; #address-cells = <1>;\n images {{\n{parts} }};\n \
         configurations {{ default = \"board\"; board {{ {uses} }}; }};\n}};\n",
        board.name
    )
}

/// The boot partition: a FAT file system with the script, if the board's loader wants one.
///
/// # Errors
/// When it cannot be made.
pub fn partition(settings: &Settings) -> Result<PathBuf> {
    let board = settings.board;
    let path = settings.output.join("boot.fat");
    let _ = fs::remove_file(&path);
    let epoch = settings.epoch.to_string();
    fs::File::create(&path)?.set_len(u64::from(board.storage.sizes.boot))?;
    let mut format = program::command("mformat");
    // The serial number would be the time.
    format.args(["-v", "BOOT", "-N", "50535452", "-i"]).arg(&path).arg("::");
    program::run(format.env("SOURCE_DATE_EPOCH", &epoch))?;
    if let Some(text) = script(settings)? {
        let (source, script) = (settings.output.join("boot.cmd"), settings.output.join("boot.scr"));
        fs::write(&source, text)?;
        let mut make = program::command("mkimage");
        make.args(["-A", board.architecture.fit(), "-T", "script", "-C", "none", "-n", "Postern", "-d"]);
        program::run(make.arg(&source).arg(&script).env("SOURCE_DATE_EPOCH", &epoch))?;
        let mut copy = program::command("mcopy");
        copy.arg("-i").arg(&path).arg(&script).arg("::boot.scr");
        program::run(copy.env("SOURCE_DATE_EPOCH", &epoch))?;
        fs::remove_file(source)?;
        fs::remove_file(script)?;
    }
    Ok(path)
}

/// The boot script of the board.
fn script(settings: &Settings) -> Result<Option<String>> {
    let board = settings.board;
    let Loader::UBootScript { interface, device } = board.storage.loader else { return Ok(None) };
    let text = fs::read_to_string(settings.workspace.join("image/files/boot.cmd"))?;
    // Clear of the unpacked kernel, which has some 30 MiB, and of each other.
    let environment = board.kernel.load_address + 0x0800_0000;
    let fit = board.kernel.load_address + 0x0a00_0000;
    let what = match board.kernel.device_tree {
        Some(_) => "${faddr}",
        // The loader's own description of the machine.
        None => "${faddr}:kernel ${faddr}:ramdisk ${fdtcontroladdr}",
    };
    let values = [
        ("@ENVIRONMENT_ADDRESS@", format!("{environment:#x}")),
        ("@FIT_ADDRESS@", format!("{fit:#x}")),
        ("@INTERFACE@", interface.to_owned()),
        ("@DEVICE@", device.to_string()),
        ("@ARGUMENTS@", arguments(board)),
        ("@BOOT@", what.to_owned()),
    ];
    Ok(Some(values.iter().fold(text, |text, (name, value)| text.replace(name, value))))
}
