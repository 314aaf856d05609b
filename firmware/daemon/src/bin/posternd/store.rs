//! Opens the config partition and reads the factory profile.

use core::fmt;
use std::path::{Path, PathBuf};

use postern_config::partition::{OpenError, PARTITION_BYTES_MIN, Store};
use postern_config::site::{StoredDoor, StoredPort};
use postern_config::{DecodeError, STORE_BYTES_MAX, Site, decode};
use postern_core::rule::RuleError;
use postern_hal_linux::partition::{LinuxPartition, PartitionOpenError};

/// Ports the built-in factory profile keeps shut: what a gateway is managed by (IANA service names).
const FACTORY_PORTS: [StoredPort; 8] = [
    StoredPort::Tcp(21),
    StoredPort::Tcp(22),
    StoredPort::Tcp(23),
    StoredPort::Tcp(80),
    StoredPort::Tcp(443),
    StoredPort::Tcp(8080),
    StoredPort::Tcp(8443),
    StoredPort::Udp(161),
];

/// Why a store could not be used.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// It could not be opened.
    Partition(PartitionOpenError),
    /// It is smaller than a config partition.
    TooSmall(PathBuf),
    /// It holds no configuration.
    NoConfig(PathBuf),
    /// It holds one that no engine can run.
    BadRules(PathBuf, RuleError),
    /// The factory profile could not be read.
    Factory(PathBuf, String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Partition(error) => error.fmt(f),
            StoreError::TooSmall(path) => write!(
                f,
                "{} is no config partition: it has fewer than {PARTITION_BYTES_MIN} octets; make an image with \
                 `postern compile SITE.toml -o {0}`",
                path.display()
            ),
            StoreError::NoConfig(path) => write!(
                f,
                "{} holds no configuration that this version can run; make an image with \
                 `postern compile SITE.toml -o {0}`",
                path.display()
            ),
            StoreError::BadRules(path, error) => write!(
                f,
                "the configuration in {} cannot be run: {error:?}; compile it again with this version\'s `postern`",
                path.display()
            ),
            StoreError::Factory(path, error) => {
                write!(f, "the factory profile {} cannot be used: {error}", path.display())
            }
        }
    }
}

impl From<PartitionOpenError> for StoreError {
    fn from(error: PartitionOpenError) -> Self {
        StoreError::Partition(error)
    }
}

/// Opens the partition at `path`, which nobody else may write meanwhile.
pub(crate) fn open(path: &Path) -> Result<Store<LinuxPartition>, StoreError> {
    opened(LinuxPartition::open(path)?, path)
}

/// Opens it without writing.
pub(crate) fn open_to_read(path: &Path) -> Result<Store<LinuxPartition>, StoreError> {
    opened(LinuxPartition::open_to_read(path)?, path)
}

fn opened(partition: LinuxPartition, path: &Path) -> Result<Store<LinuxPartition>, StoreError> {
    let mut store = Store::open(partition).map_err(|error| match error {
        OpenError::TooSmall => StoreError::TooSmall(path.to_owned()),
    })?;
    for _ in 0..READ_TRIES {
        if store.is_read() {
            return Ok(store);
        }
        store.read_again();
    }
    if !store.is_read() {
        let keys = if store.are_leases_known() { "" } else { ", and no key opens anything" };
        log::error!(
            "{}: parts of it cannot be read: nothing can be committed{keys}. It is read again at the next start",
            path.display()
        );
    }
    Ok(store)
}

/// How often what could not be read is read again before the daemon starts without it. The driver has its own
/// patience with each.
const READ_TRIES: u32 = 5;

/// The factory profile: the file at `path`, or the built-in one.
pub(crate) fn factory(path: Option<&Path>) -> Result<Box<Site>, StoreError> {
    let Some(path) = path else { return Ok(built_in()) };
    let refused = |error: String| StoreError::Factory(path.to_owned(), error);
    let bytes = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    if bytes.len() > STORE_BYTES_MAX {
        return Err(refused(DecodeError::Malformed.to_string()));
    }
    let site = Box::new(decode(&bytes).map_err(|error| refused(error.to_string()))?);
    site.rules().map_err(|error| refused(format!("{error:?}")))?;
    Ok(site)
}

/// Opens nothing, keeps the usual services shut, and waits at the console to be told more.
pub(crate) fn built_in() -> Box<Site> {
    let mut site = Box::<Site>::default();
    site.name = "postern-unconfigured".try_into().unwrap_or_default();
    let mut door = StoredDoor::plain("factory".try_into().unwrap_or_default(), 30);
    door.ports = FACTORY_PORTS.into_iter().collect();
    let _ = site.doors.push(door);
    site
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profile_shuts_and_never_opens() {
        let site = built_in();
        let rules = site.rules().unwrap();
        assert_eq!(rules.protected_ports().len(), FACTORY_PORTS.len());
        assert!(rules.sequences().is_empty() && rules.guards().is_empty());
        assert!(site.interfaces.is_empty() && site.accounts.is_empty());
    }
}
