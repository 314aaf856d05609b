//! The machines of the layers beside the boards of `board/`: console, watchdog, boot loader, device tree; and the partition
//! table that their kickstart file makes beside that of `image/`.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::bitbake::{Answer, DISTRO, Job};
use super::{Yocto, kickstart};
use crate::command::{self, cargo_line};

/// A machine and the board it stands for. QEMU's 32-bit machines are two different ones: of that board only the partition
/// table and what does not depend on the chip is the same.
const MACHINES: [(&str, &str); 6] = [
    ("postern-qemuarm64", "qemu-arm64"),
    ("postern-qemuarm", "qemu-armv7"),
    ("board-raspberry-pi-cm4", "raspberry-pi-cm4"),
    ("board-raspberry-pi-cm5", "raspberry-pi-cm5"),
    ("board-imx8m-gateway", "imx8m-gateway"),
    ("board-beaglebone", "beaglebone"),
];

/// What is asked of a machine's configuration.
const VARIABLES: [&str; 20] = [
    "POSTERN_DISK",
    "POSTERN_UBOOT_INTERFACE",
    "POSTERN_UBOOT_DEVICE",
    "POSTERN_LOAD_ADDRESS",
    "POSTERN_DEVICE_TREE",
    "POSTERN_CONSOLE",
    "POSTERN_CONSOLE_BAUD",
    "POSTERN_WATCHDOG",
    "POSTERN_WATCHDOG_SECONDS",
    "POSTERN_ATTEMPTS",
    "POSTERN_ARGUMENTS",
    "POSTERN_WIC_BOOT",
    "POSTERN_ROOT_TYPE",
    "POSTERN_FIRST_PARTITION_KIB",
    "POSTERN_BOOT_MIB",
    "POSTERN_ENVIRONMENT_MIB",
    "POSTERN_KERNEL_MIB",
    "POSTERN_ROOT_MIB",
    "POSTERN_CONFIG_MIB",
    "POSTERN_DATA_MIB",
];

/// The configuration of a machine.
fn configuration(yocto: &Yocto, machine: &str) -> Result<Answer> {
    let mut job = Job::new(yocto, &format!("machine-{machine}"), machine, DISTRO, "systemd");
    job.variables = vec![("", VARIABLES.to_vec())];
    job.run(yocto)
}

/// What the image says of a board.
pub(super) fn describe(board: &str) -> Result<Value> {
    static SAID: Mutex<BTreeMap<String, Value>> = Mutex::new(BTreeMap::new());
    let mut said = SAID.lock().map_err(|_| anyhow::anyhow!("another thread has failed"))?;
    if let Some(description) = said.get(board) {
        return Ok(description.clone());
    }
    let mut ask = cargo_line("run --quiet --locked -p postern-image -- describe --board");
    let text = command::output(ask.arg(board))?;
    let description: Value = serde_json::from_str(&text).context("the description is not JSON")?;
    said.insert(board.to_owned(), description.clone());
    Ok(description)
}

pub(super) fn check(yocto: &Yocto) -> Result<String> {
    let (mut compared, mut partitions) = (0, 0);
    for (machine, name) in MACHINES {
        let (answer, board) = (configuration(yocto, machine)?, describe(name)?);
        for (variable, wanted) in wanted(machine, &board)? {
            let there = answer.variable("", variable);
            ensure!(
                there == wanted,
                "{machine}: {variable} is {there:?}, board/src says {wanted:?} for {name}"
            );
            compared += 1;
        }
        let arguments = answer.variable("", "POSTERN_ARGUMENTS");
        ensure!(
            arguments.ends_with("quiet panic=5 oops=panic"),
            "{machine}: the kernel goes on after it has stumbled: {arguments}"
        );
        let values: Vec<(&str, String)> =
            VARIABLES.iter().map(|name| (*name, answer.variable("", name).to_owned())).collect();
        partitions += kickstart::compare_all(yocto, &values, &board)
            .with_context(|| format!("{machine} beside the image of {name}"))?;
    }
    Ok(format!(
        "{compared} values and {partitions} partitions of {} machines are those of board/src and image/src/layout.rs",
        MACHINES.len()
    ))
}

/// Variables with the values that `board` wants.
fn wanted(machine: &str, board: &Value) -> Result<Vec<(&'static str, String)>> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let mut wanted = vec![
        ("POSTERN_CONSOLE_BAUD", text(&board["console_baud"])),
        ("POSTERN_WATCHDOG", text(&board["watchdog"])),
        ("POSTERN_WATCHDOG_SECONDS", text(&board["watchdog_seconds"])),
        ("POSTERN_ATTEMPTS", text(&board["slot_attempts"])),
    ];
    if machine == "postern-qemuarm" {
        return Ok(wanted);
    }
    let address = board["load_address"].as_u64().context("the board has no load address")?;
    let device_tree = text(&board["device_tree"]);
    wanted.extend([
        ("POSTERN_DISK", text(&board["disk"])),
        ("POSTERN_UBOOT_INTERFACE", text(&board["loader"]["interface"])),
        ("POSTERN_UBOOT_DEVICE", text(&board["loader"]["device"])),
        ("POSTERN_LOAD_ADDRESS", format!("{address:#010x}")),
        // BitBake deploys device trees without the folder of their vendor.
        ("POSTERN_DEVICE_TREE", device_tree.rsplit('/').next().unwrap_or_default().to_owned()),
        ("POSTERN_CONSOLE", text(&board["console"])),
    ]);
    Ok(wanted)
}
