//! Everything together: packages, trees, slots, the medium, its bill and its sums.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use postern::update_file::UpdateFile;
use sha2::{Digest, Sha256};

use crate::disk::Disk;
use crate::kernel::KernelPackage;
use crate::layout::Layout;
use crate::packages::{self, Package};
use crate::settings::Settings;
use crate::verity::{Verified, hex, verified};
use crate::{boot, factory, initramfs, root, sbom};
use postern_config::slots::{Choice, SECOND_OFFSET, Slot};

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The image.
    pub image: PathBuf,
    /// Octets of the parts, by name.
    pub sizes: Vec<(&'static str, u64)>,
}

/// Makes the image of `settings.board` in `settings.output`.
///
/// # Errors
/// When a part cannot be made or does not fit.
pub fn assemble(settings: &Settings) -> Result<Made> {
    let (board, output) = (settings.board, &settings.output);
    fs::create_dir_all(output).with_context(|| format!("cannot make {}", output.display()))?;
    let locked = packages::locked(&settings.workspace)?;
    let of = |group: &str| -> Vec<&Package> {
        let architecture = board.architecture.debian();
        let wanted = |package: &&Package| package.group == group && package.architecture == architecture;
        locked.iter().filter(wanted).collect()
    };
    let used = [of("root"), of("initramfs")].concat();
    let kernels: Vec<&Package> =
        of("kernel").into_iter().filter(|package| package.name == board.kernel.package).collect();
    let (unpacked, unpacked_kernel) = (output.join("packages"), output.join("kernel"));
    packages::unpack(&used, &settings.packages, &unpacked)?;
    packages::unpack(&kernels, &settings.packages, &unpacked_kernel)?;
    let kernel = KernelPackage::open(&unpacked_kernel, board.kernel)?;

    let tree = root::assemble(settings, &unpacked, &kernel, &output.join("root"))?;
    let salt = Sha256::digest(format!("postern/{}/verity", board.name)).into();
    let verified = verified(root::squashfs(&tree, settings)?, &salt);
    let archive = initramfs::assemble(settings, &unpacked, &kernel, &verified, &output.join("initramfs"))?;
    let fit = boot::fit(settings, &kernel, &archive)?;
    let made = write(settings, &verified, &fit)?;
    write_update(settings, &verified, &fit)?;
    let bill = sbom::bill(board, &settings.version, &[used, kernels].concat(), &settings.workspace)?;
    fs::write(output.join("bill.cdx.json"), bill)?;
    write_sums(output, &["postern.img", "update.bin", "bill.cdx.json"])?;
    for made in ["packages", "kernel", "fit"] {
        fs::remove_dir_all(output.join(made))?;
    }
    Ok(made)
}

/// Writes the image itself: both slots hold the same system.
fn write(settings: &Settings, verified: &Verified, fit: &Path) -> Result<Made> {
    let image = settings.output.join("postern.img");
    let mut disk = Disk::create(&image, Layout::of(settings.board), settings.board.name)?;
    let (boot, data) = (boot::partition(settings)?, factory::data(settings)?);
    disk.put_file("boot", &boot)?;
    let choice = Choice::FACTORY.copy();
    disk.put("environment", &choice)?;
    disk.put_at("environment", SECOND_OFFSET, &choice)?;
    for slot in Slot::ALL {
        disk.put_file(slot.kernel(), fit)?;
        disk.put(slot.root(), &verified.content)?;
    }
    disk.put("config", &factory::config(settings)?)?;
    disk.put_file("data", &data)?;
    let sizes = vec![
        ("kernel and initramfs", fs::metadata(fit)?.len()),
        ("root file system", (verified.blocks * crate::verity::BLOCK_BYTES) as u64),
        (
            "its hash tree",
            verified.content.len() as u64 - (verified.blocks * crate::verity::BLOCK_BYTES) as u64,
        ),
        ("medium", fs::metadata(&image)?.len()),
    ];
    fs::remove_file(boot)?;
    fs::remove_file(data)?;
    Ok(Made { image, sizes })
}

/// The same system as an update, for the owner to sign.
fn write_update(settings: &Settings, verified: &Verified, fit: &Path) -> Result<()> {
    let (board, kernel, root) = (settings.board.name, fs::read(fit)?, verified.content.clone());
    let update = UpdateFile::unsigned(board, settings.release, &settings.version, kernel, root);
    let update = update.map_err(|wrong| anyhow::anyhow!("no update can be made of it: {wrong}"))?;
    Ok(fs::write(settings.output.join("update.bin"), update.bytes())?)
}

/// `SHA256SUMS`, as `sha256sum -c` takes it.
fn write_sums(folder: &Path, names: &[&str]) -> Result<()> {
    let mut sums = String::new();
    for name in names {
        let sum = hex(&Sha256::digest(fs::read(folder.join(name))?));
        sums += &format!("{sum}  {name}\n");
    }
    Ok(fs::write(folder.join("SHA256SUMS"), sums)?)
}
