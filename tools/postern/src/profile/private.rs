//! Files that nobody else may read or change.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// Octets of the largest file that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Reads a file of which `what` says what it holds. It must be a regular file of this user or of
/// root, and nobody else may read or write it. What is read is wiped when dropped.
///
/// # Errors
/// What is wrong, and how to mend it.
pub fn read(path: &Path, what: &str) -> Result<Zeroizing<String>, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("cannot read the {what} in {shown}: {error}");
    // A pipe in the place of the file must not make us wait.
    let options = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = File::options().read(true).custom_flags(options).open(path).map_err(cannot)?;
    // Of the file that was opened, not of what has its name by now.
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(format!("{shown} is no regular file: a {what} is expected there"));
    }
    if metadata.mode() & 0o077 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(format!(
            "others may read or change the {what} in {shown} (mode {mode:04o}); fix: chmod 600 {shown}"
        ));
    }
    let user = nix::unistd::geteuid().as_raw();
    if metadata.uid() != user && metadata.uid() != 0 {
        let owner = metadata.uid();
        return Err(format!(
            "the {what} in {shown} belongs to user {owner}, who could change it; fix: chown {user} {shown}"
        ));
    }
    if metadata.len() > BYTES_MAX {
        return Err(format!("{shown} is too long to be a {what}: {} octets", metadata.len()));
    }
    whole(file, metadata.len()).map_err(cannot)
}

/// Everything in `file`, which has about `bytes` octets. Room is made once: a string that grows leaves
/// copies behind that nobody wipes.
fn whole(file: File, bytes: u64) -> std::io::Result<Zeroizing<String>> {
    let room = usize::try_from(bytes).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(room));
    file.take(room as u64).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_the_owner_may_read() {
        let path = std::env::temp_dir().join(format!("postern-private-{}", std::process::id()));
        std::fs::write(&path, "text\n").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for wrong in [0o644, 0o660, 0o601, 0o620] {
            mode(wrong);
            let said = read(&path, "key").unwrap_err();
            assert!(said.contains("chmod 600") && said.contains(&format!("{wrong:04o}")), "{said}");
        }
        for right in [0o600, 0o400] {
            mode(right);
            assert_eq!(read(&path, "key").unwrap().as_str(), "text\n");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path, "key").unwrap_err().contains("cannot read the key"));
        assert!(read(&std::env::temp_dir(), "key").unwrap_err().contains("no regular file"));
    }
}
