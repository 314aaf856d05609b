//! What a new device finds in its config and data partitions.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::gpt::identity_text;
use crate::program;
use crate::settings::Settings;

/// The config partition: what `postern compile` made, at its beginning; empty for a device that
/// is commissioned on its console.
///
/// # Errors
/// When it cannot be read.
pub fn config(settings: &Settings) -> Result<Vec<u8>> {
    let Some(store) = &settings.store else { return Ok(Vec::new()) };
    fs::read(store).with_context(|| format!("cannot read {}", store.display()))
}

/// The data partition: an ext4 file system, empty or with the files of `settings.data`. The device
/// makes its own keys there when it first starts.
///
/// # Errors
/// When it cannot be made.
pub fn data(settings: &Settings) -> Result<PathBuf> {
    let board = settings.board;
    let path = settings.output.join("data.ext4");
    let _ = fs::remove_file(&path);
    fs::File::create(&path)?.set_len(u64::from(board.storage.sizes.data))?;
    let identity = identity_text(&format!("{}/data-file-system", board.name));
    let mut make = program::command("mke2fs");
    make.args(["-q", "-t", "ext4", "-L", "data", "-U", &identity, "-E"]);
    make.arg(format!("hash_seed={identity},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"));
    if let Some(folder) = &settings.data {
        make.arg("-d").arg(folder);
    }
    make.arg(&path).env("E2FSPROGS_FAKE_TIME", settings.epoch.to_string());
    program::run(&mut make)?;
    Ok(path)
}
