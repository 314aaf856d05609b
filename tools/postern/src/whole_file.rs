//! Files that are replaced whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file by way of another beside it, with the permissions of the file that was there; a
/// partition or device is written in place.
///
/// # Errors
/// From the system; a file that was there is as it was.
pub fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let in_place = path.metadata().is_ok_and(|metadata| !metadata.is_file());
    if in_place {
        let mut device = File::options().write(true).open(path)?;
        device.write_all(octets)?;
        return match device.sync_all() {
            // A terminal or a pipe cannot be flushed (fsync(2), EINVAL).
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        };
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = write_new(&fresh, octets, path).and_then(|()| std::fs::rename(&fresh, path));
    // A full disk must not keep half a file.
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&fresh);
    })
}

fn write_new(path: &Path, octets: &[u8], like: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    // Before anything is in it: whoever may not read the old one must not read this one either.
    if let Ok(metadata) = like.metadata() {
        file.set_permissions(metadata.permissions())?;
    }
    file.write_all(octets)?;
    file.sync_all()
}

/// Writes a secret into a file that was not there and that nobody else may read.
///
/// # Errors
/// From the system; a file that was there is never replaced.
pub fn write_secret(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}
