//! What an image is made from.

use std::path::PathBuf;

use postern_board::Board;

/// What an image is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For which board.
    pub board: &'static Board,
    /// Top folder of the workspace.
    pub workspace: PathBuf,
    /// Folder with the programs of Postern for the board.
    pub programs: PathBuf,
    /// Folder with the downloaded Debian packages.
    pub packages: PathBuf,
    /// Content of the config partition, made by `postern compile`; `None` leaves it empty.
    pub store: Option<PathBuf>,
    /// Folder with the first content of the data partition; `None` leaves it empty.
    pub data: Option<PathBuf>,
    /// Whether tests may break it: a script is added that does.
    pub faults: bool,
    /// Time of every file, in seconds since 1970.
    pub epoch: u64,
    /// Rises with every release: an update to an older one is refused.
    pub release: u32,
    /// Version, for people.
    pub version: String,
    /// Where results go.
    pub output: PathBuf,
}
