//! How a board is run in QEMU.

/// A machine of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emulator {
    /// Program, say `qemu-system-aarch64`.
    pub program: &'static str,
    /// Machine type.
    pub machine: &'static str,
    /// Processor; `None` leaves the machine its own.
    pub processor: Option<&'static str>,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// What runs first.
    pub firmware: Firmware,
    /// Arguments that attach the image; the drive is called `flash`.
    pub disk: &'static [&'static str],
    /// Interface and bus of the drive, for `-drive if=`.
    pub drive_interface: &'static str,
    /// Model of the network card with its network called `outside`; `None` for one on the board.
    pub network_device: Option<&'static str>,
    /// Further devices, such as the watchdog, ahead of the network card.
    pub devices: &'static [&'static str],
}

/// What the emulator starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// This boot loader, from a Debian package; it reads the image itself.
    Loader(&'static str),
    /// The kernel of the active slot, read out of the image: the machine has no boot ROM that could
    /// start the loader of the real board.
    KernelOfSlot,
}
