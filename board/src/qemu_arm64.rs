//! QEMU `virt` with a 64-bit processor: the reference board.
//!
//! Its PCI watchdog survives a dead kernel and tells after the reset that it was the cause.

use crate::product::*;
use crate::{Architecture, Emulator, Firmware, Kernel, Loader, Sizes, Storage};

/// The board.
pub(crate) const BOARD: Board = Board {
    name: "qemu-arm64",
    title: "QEMU virt, 64-bit ARM, PCI watchdog",
    evidence: Evidence::EmulatedInEveryRelease,
    architecture: Architecture::Aarch64,
    kernel: Kernel {
        package: "linux-image-6.1.0-50-arm64",
        release: "6.1.0-50-arm64",
        device_tree: None,
        load_address: 0x4800_0000,
        early_modules: &["virtio_pci", "virtio_blk"],
        network_modules: &["virtio_net"],
    },
    console: Console { tty: "ttyAMA0", baud: 115_200 },
    watchdog: Watchdog {
        module: "i6300esb",
        timeout_parameter: "heartbeat",
        device: "/dev/watchdog0",
        identity: "i6300ESB timer",
        timeout_s: 10,
        boot_timeout_s: 60,
        // Two stages of 2046 / 2 s each in the driver (i6300esb.c).
        hardware_max_s: 2046,
        tells_cause: true,
    },
    interfaces: &[Interface { name: "eth0", role: Role::Outside }],
    storage: Storage {
        device: "vda",
        loader: Loader::UBootScript { interface: "virtio", device: 0 },
        first_partition_bytes: 1024 * 1024,
        sizes: Sizes::REFERENCE,
    },
    budgets: Budgets {
        daemon_bytes: 1696 * 1024,
        firmware_bytes: 6 * 1024 * 1024,
        daemon_resident_kib: 5376,
        gate_up_s: 30,
    },
    capture_ring_bytes: 2 * 1024 * 1024,
    priorities: Priorities { scheduling: Scheduling::Nice(-10), oom_score_adjust: -1000 },
    led: None,
    emulator: Some(Emulator {
        program: "qemu-system-aarch64",
        machine: "virt",
        processor: Some("cortex-a53"),
        memory_mib: 512,
        firmware: Firmware::Loader("/usr/lib/u-boot/qemu_arm64/u-boot.bin"),
        disk: &["-device", "virtio-blk-pci,drive=flash"],
        drive_interface: "none",
        network_device: Some("virtio-net-pci,netdev=outside,romfile="),
        devices: &["-device", "i6300esb"],
    }),
};
