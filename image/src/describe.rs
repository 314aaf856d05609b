//! What tools that do not link against the boards have to know of one.

use anyhow::Result;
use postern_board::{Board, Evidence, Loader, Scheduling};
use postern_config::slots::ATTEMPTS;
use postern_image::layout::{Layout, Partition};
use serde_json::{Value, json};

/// Prints `board` as JSON.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn run(board: &Board) -> Result<()> {
    let description = json!({
        "name": board.name,
        "title": board.title,
        "tested": board.evidence == Evidence::EmulatedInEveryRelease,
        "rust_target": board.architecture.rust_target(),
        "gnu_triple": board.architecture.gnu_triple(),
        "debian": board.architecture.debian(),
        "kernel_package": board.kernel.package,
        "daemon_bytes_max": board.budgets.daemon_bytes,
        "firmware_bytes_max": board.budgets.firmware_bytes,
        "load_address": board.kernel.load_address,
        "device_tree": board.kernel.device_tree,
        "disk": board.storage.device,
        "loader": loader(board),
        "console": board.console.tty,
        "console_baud": board.console.baud,
        "watchdog": board.watchdog.device,
        "watchdog_seconds": board.watchdog.timeout_s,
        "nice": match board.priorities.scheduling {
            Scheduling::Nice(nice) => Some(nice),
            Scheduling::RoundRobin(_) => None,
        },
        "oom_score_adjust": board.priorities.oom_score_adjust,
        "slot_attempts": ATTEMPTS,
        "partitions": Layout::of(board).partitions.iter().map(partition).collect::<Vec<Value>>(),
    });
    println!("{description:#}");
    Ok(())
}

/// How the boot script calls the medium, where there is a boot script.
fn loader(board: &Board) -> Value {
    match board.storage.loader {
        Loader::UBootScript { interface, device } => json!({ "interface": interface, "device": device }),
        Loader::Outside => Value::Null,
    }
}

/// An entry of the partition table; sizes and places in octets.
fn partition(partition: &Partition) -> Value {
    let Partition { name, kind, offset, bytes, bootable } = partition;
    json!({ "name": name, "kind": kind, "offset": offset, "bytes": bytes, "bootable": bootable })
}
