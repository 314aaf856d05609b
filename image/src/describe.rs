//! What tools that do not link against the boards have to know of one.

use anyhow::Result;
use postern_board::{Board, Evidence};
use serde_json::json;

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
    });
    println!("{description:#}");
    Ok(())
}
