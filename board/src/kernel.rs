//! Which processor, and which kernel runs on it.

/// A processor family, as compilers and Debian name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM from version 7 on, with hardware floating point.
    Armv7HardFloat,
}

impl Architecture {
    /// Target triple of rustc.
    pub const fn rust_target(self) -> &'static str {
        match self {
            Architecture::Aarch64 => "aarch64-unknown-linux-gnu",
            Architecture::Armv7HardFloat => "armv7-unknown-linux-gnueabihf",
        }
    }

    /// GNU triple: prefix of the cross compiler, folder of the libraries.
    pub const fn gnu_triple(self) -> &'static str {
        match self {
            Architecture::Aarch64 => "aarch64-linux-gnu",
            Architecture::Armv7HardFloat => "arm-linux-gnueabihf",
        }
    }

    /// Debian's name.
    pub const fn debian(self) -> &'static str {
        match self {
            Architecture::Aarch64 => "arm64",
            Architecture::Armv7HardFloat => "armhf",
        }
    }

    /// Name in a FIT image (U-Boot, `boot/image.c`).
    pub const fn fit(self) -> &'static str {
        match self {
            Architecture::Aarch64 => "arm64",
            Architecture::Armv7HardFloat => "arm",
        }
    }
}

/// A kernel of Debian and what of it the board needs. Module names are those of `modprobe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Debian package.
    pub package: &'static str,
    /// What `uname -r` says: the folder of its modules.
    pub release: &'static str,
    /// Device tree in the package, below `usr/lib/linux-image-RELEASE/`; `None` when the boot loader
    /// hands one over.
    pub device_tree: Option<&'static str>,
    /// Address the kernel is unpacked to and entered at; inside memory, clear of the loader.
    pub load_address: u32,
    /// Modules for the medium, loaded by the initramfs in this order.
    pub early_modules: &'static [&'static str],
    /// Modules for the interfaces, loaded when the firewall is shut.
    pub network_modules: &'static [&'static str],
}
