//! The medium that is flashed: device, boot loader, sizes of its partitions.

/// A MiB in octets.
pub(crate) const MIB: u32 = 1024 * 1024;

/// Where the image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Whole device, below `/dev`.
    pub device: &'static str,
    /// Boot loader.
    pub loader: Loader,
    /// Octets before the first partition. Where a boot ROM reads its loader from a fixed place, it
    /// must fit in here; 1 MiB is what partition tools leave free.
    pub first_partition_bytes: u32,
    /// Sizes of the partitions.
    pub sizes: Sizes,
}

/// What starts the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// U-Boot reads the boot script from the boot partition; it chooses the slot and counts.
    UBootScript {
        /// Kind of the device in U-Boot's words.
        interface: &'static str,
        /// Its number there.
        device: u8,
    },
    /// Somebody else loads the kernel of the slot: an emulator without a boot ROM, or a loader
    /// that is not described yet.
    Outside,
}

/// Sizes of the partitions in octets, whole MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Boot script and what a boot ROM wants to find in a FAT file system.
    pub boot: u32,
    /// Slot choice and boot count, twice.
    pub environment: u32,
    /// Kernel, initramfs and device tree of a slot.
    pub kernel: u32,
    /// Root file system of a slot with its hash tree.
    pub root: u32,
    /// Config partition: slots and journal.
    pub config: u32,
    /// What the device makes itself: identity, keys of the protected service.
    pub data: u32,
}

impl Sizes {
    /// What all reference boards use.
    pub const REFERENCE: Sizes = Sizes {
        boot: 8 * MIB,
        environment: MIB,
        kernel: 32 * MIB,
        root: 32 * MIB,
        config: MIB,
        // All together 256 MiB: emulated SD cards have powers of two.
        data: 116 * MIB,
    };
}
