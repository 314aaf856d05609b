//! Reads the config store.

use core::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use postern_config::{DecodeError, STORE_BYTES_MAX, Site};
use postern_core::rule::{RuleError, RuleSet};

/// Why a store could not be used.
#[derive(Debug)]
pub enum StoreError {
    /// There is nothing at the path.
    Absent(PathBuf),
    /// It may not be read, or the medium fails.
    Unreadable(PathBuf, std::io::Error),
    /// It holds no configuration.
    NoConfig(PathBuf, DecodeError),
    /// It holds one that no engine can run.
    BadRules(PathBuf, RuleError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Absent(path) => {
                write!(
                    f,
                    "no config store at {}: make one with `postern compile SITE.toml -o {0}`",
                    path.display()
                )
            }
            StoreError::Unreadable(path, error) => {
                write!(
                    f,
                    "cannot read the config store {}: {error}; posternd must run as root",
                    path.display()
                )
            }
            StoreError::NoConfig(path, error) => write!(
                f,
                "{} holds no valid configuration: {error}; write it again with `postern compile SITE.toml -o {0}`",
                path.display()
            ),
            StoreError::BadRules(path, error) => write!(
                f,
                "the configuration in {} cannot be run: {error:?}; compile it again with this version's `postern`",
                path.display()
            ),
        }
    }
}

/// A configuration that can be run.
#[derive(Debug)]
pub struct Loaded {
    /// As stored.
    pub site: Box<Site>,
    /// As the engine wants it.
    pub rules: RuleSet,
}

/// Reads the store at `path`. At most [`STORE_BYTES_MAX`] octets are read, so a wrong device costs
/// neither time nor memory.
///
/// # Errors
/// [`StoreError`].
pub fn load(path: &Path) -> Result<Loaded, StoreError> {
    let bytes = read(path)?;
    let site =
        postern_config::decode(&bytes).map_err(|error| StoreError::NoConfig(path.to_owned(), error))?;
    let site = Box::new(site);
    let rules = site.rules().map_err(|error| StoreError::BadRules(path.to_owned(), error))?;
    Ok(Loaded { site, rules })
}

fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => StoreError::Absent(path.to_owned()),
        _ => StoreError::Unreadable(path.to_owned(), error),
    })?;
    let mut bytes = Vec::new();
    file.take(STORE_BYTES_MAX as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| StoreError::Unreadable(path.to_owned(), error))?;
    Ok(bytes)
}
