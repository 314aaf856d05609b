//! Opens the partitions of updates, while everything may still be opened.

use std::path::Path;

use postern_core::port::Partition;
use postern_core::time::Instant;
use postern_hal_linux::partition::LinuxPartition;
use posternd::options::Options;
use posternd::update::{Media, Updates};

use crate::shell::Shell;

/// Updates of this machine, if it has slots. One whose partitions cannot be used goes on without them, and
/// says so: its doors matter more.
pub(crate) fn open(options: &Options, shell: &mut Shell, now: Instant) -> Option<Updates> {
    let (folder, this) = options.slots.as_ref()?;
    let other = this.slot.other();
    let opened = (|| {
        let environment = partition(folder, "environment")?;
        let (kernel, root) = (partition(folder, other.kernel())?, partition(folder, other.root())?);
        let media = Media { environment, kernel, root };
        Updates::begin_watch(this.clone(), media, shell, now)
            .map_err(|error| format!("the choice of the slot cannot be read: {error:?}"))
    })();
    opened.inspect_err(|error| log::error!("no updates: {error}")).ok()
}

fn partition(folder: &Path, name: &str) -> Result<Box<dyn Partition + Send>, String> {
    let path = folder.join(name);
    match LinuxPartition::open(&path) {
        Ok(partition) => Ok(Box::new(partition)),
        // The error speaks of config partitions.
        Err(_) => Err(format!("{} cannot be opened, or somebody else holds it", path.display())),
    }
}
