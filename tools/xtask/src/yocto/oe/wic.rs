//! wic itself makes a medium from our kickstart file, with contents that stand in; its partition table is read back and
//! compared with the layout table of the image. wic has left OpenEmbedded-Core with release 6.0.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Oe;
use crate::command;
use crate::yocto::{boards, kickstart};

/// The board whose table is made.
const BOARD: &str = "qemu-arm64";

/// Makes the medium and compares.
pub(super) fn check(oe: &Oe) -> Result<String> {
    let program = oe.core.join("scripts/wic");
    if !program.exists() {
        return Ok("wic is not in this openembedded-core; 5.0 has it".to_owned());
    }
    let folder = oe.work.join("wic");
    let _ = fs::remove_dir_all(&folder);
    for name in ["vars", "rootfs/etc", "boot", "out", "native/usr", "work"] {
        fs::create_dir_all(folder.join(name))?;
    }
    for name in ["bin", "sbin", "usr/bin", "usr/sbin"] {
        let target = Path::new("/usr").join(name.trim_start_matches("usr/"));
        std::os::unix::fs::symlink(target, folder.join("native").join(name))?;
    }
    for name in ["boot.scr", "postern-environment.bin", "postern-kernel.fit"] {
        fs::write(folder.join("boot").join(name), name)?;
    }
    fs::write(folder.join("rootfs/etc/version"), "0\n")?;
    let text = fs::read_to_string(oe.work.join("layers/meta-postern-bsp/files/wic/postern-ab.wks.in"))?;
    let variables =
        values(&oe.work.join("layers/meta-postern-bsp/conf/machine/include/postern-gateway.inc"))?;
    fs::write(folder.join("medium.wks"), kickstart::expand(&text, &variables))?;
    let place = folder.display();
    fs::write(
        folder.join("vars/i.env"),
        format!(
            "APPEND=\"ro\"\nIMAGE_ROOTFS=\"{place}/rootfs\"\nDEPLOY_DIR_IMAGE=\"{place}/boot\"\nIMAGE_NAME=\"i\"\n\
             IMAGE_LINK_NAME=\"i\"\nIMAGE_BOOT_FILES=\"boot.scr\"\nHOSTTOOLS_DIR=\"/usr/bin\"\n\
             RECIPE_SYSROOT_NATIVE=\"{place}/native\"\nSTAGING_DATADIR=\"{place}\"\n"
        ),
    )?;
    let mut make = Command::new("python3");
    make.arg(program).args([
        "create",
        "medium.wks",
        "--vars",
        "vars",
        "-e",
        "i",
        "-o",
        "out",
        "-n",
        "native",
    ]);
    make.args(["-r", "rootfs", "-b", "boot", "-k", "boot"])
        .current_dir(&folder)
        .env("BUILDDIR", folder.join("work"));
    make.env("PYTHONPATH", format!("{}/lib:{}/meta/lib", oe.bitbake.display(), oe.core.display()));
    make.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command::output(&mut make)?;
    let made = fs::read_dir(folder.join("out"))?.filter_map(Result::ok).map(|entry| entry.path());
    let medium = made.into_iter().find(|path| path.extension().is_some_and(|end| end == "direct"));
    let medium = medium.context("wic has made nothing")?;
    compare(&medium)?;
    Ok(format!("a medium of {} octets has the image's partition table", fs::metadata(&medium)?.len()))
}

/// The values that the kickstart file is filled in with for a 64-bit machine.
fn values(include: &Path) -> Result<Vec<(String, String)>> {
    let text = fs::read_to_string(include)?;
    let plain = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(" ??= ").or_else(|| line.split_once(" = "))?;
        Some((name.trim_end_matches(":aarch64").to_owned(), value.trim_matches('"').to_owned()))
    });
    let mut values: Vec<(String, String)> = plain.filter(|(name, _)| !name.contains(':')).collect();
    values.retain(|(name, _)| name != "POSTERN_WIC_BOOT");
    values.push(("POSTERN_WIC_BOOT".to_owned(), "bootimg-partition".to_owned()));
    Ok(values)
}

/// The table of the medium beside the image's.
fn compare(medium: &Path) -> Result<()> {
    let table = command::output(Command::new("/sbin/sfdisk").arg("-J").arg(medium))?;
    let table: Value = serde_json::from_str(&table).context("sfdisk says no JSON")?;
    let made = table["partitiontable"]["partitions"].as_array().context("there is no partition")?;
    let board = boards::describe(BOARD)?;
    let wanted = board["partitions"].as_array().context("the board has no partitions")?;
    ensure!(made.len() == wanted.len(), "wic has made {} partitions, not {}", made.len(), wanted.len());
    for (made, wanted) in made.iter().zip(wanted) {
        let octets = |key: &str| made[key].as_u64().unwrap_or_default() * 512;
        let kind = made["type"].as_str().unwrap_or_default().to_lowercase();
        let marked = made["attrs"].as_str().is_some_and(|text| text.contains("LegacyBIOSBootable"));
        let same = made["name"] == wanted["name"]
            && Some(octets("start")) == wanted["offset"].as_u64()
            && Some(octets("size")) == wanted["bytes"].as_u64()
            && wanted["kind"].as_str() == Some(kind.as_str())
            && wanted["bootable"].as_bool() == Some(marked);
        ensure!(same, "wic has made {made}, the image has {wanted}");
    }
    Ok(())
}
