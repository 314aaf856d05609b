//! NXP's i.MX6 UltraLite evaluation kit as QEMU emulates it: a real system on chip with its own
//! watchdog, Ethernet, SD card and serial port.

use crate::product::*;
use crate::{Architecture, Emulator, Firmware, Kernel, Loader, Sizes, Storage};

/// The board.
pub(crate) const BOARD: Board = Board {
    name: "qemu-armv7",
    title: "i.MX6 UltraLite evaluation kit in QEMU, 32-bit ARM, watchdog of the chip",
    evidence: Evidence::EmulatedInEveryRelease,
    architecture: Architecture::Armv7HardFloat,
    kernel: Kernel {
        package: "linux-image-6.1.0-50-armmp",
        release: "6.1.0-50-armmp",
        device_tree: Some("imx6ul-14x14-evk.dtb"),
        load_address: 0x8200_0000,
        // Without the first two, SD card and Ethernet wait for ever for their supplies.
        early_modules: &["gpio-mxc", "anatop-regulator", "nvmem-imx-ocotp", "mmc_block", "sdhci-esdhc-imx"],
        network_modules: &["micrel", "smsc", "fec"],
    },
    console: Console { tty: "ttymxc0", baud: 115_200 },
    watchdog: Watchdog {
        module: "imx2_wdt",
        timeout_parameter: "timeout",
        device: "/dev/watchdog0",
        identity: "imx2+ watchdog",
        timeout_s: 10,
        boot_timeout_s: 100,
        // i.MX6 UltraLite reference manual: 0.5 s to 128 s.
        hardware_max_s: 128,
        // The chip can; QEMU does not emulate the status register.
        tells_cause: false,
    },
    interfaces: &[
        Interface { name: "eth0", role: Role::Outside },
        Interface { name: "eth1", role: Role::Inside },
    ],
    storage: Storage {
        device: "mmcblk0",
        // QEMU has no boot ROM for it, and Debian no U-Boot.
        loader: Loader::Outside,
        first_partition_bytes: 1024 * 1024,
        sizes: Sizes::REFERENCE,
    },
    budgets: Budgets {
        daemon_bytes: 1696 * 1024,
        firmware_bytes: 6 * 1024 * 1024,
        daemon_resident_kib: 5376,
        gate_up_s: 60,
    },
    capture_ring_bytes: 1024 * 1024,
    priorities: Priorities { scheduling: Scheduling::Nice(-10), oom_score_adjust: -1000 },
    led: None,
    emulator: Some(Emulator {
        program: "qemu-system-arm",
        machine: "mcimx6ul-evk",
        processor: None,
        memory_mib: 512,
        firmware: Firmware::KernelOfSlot,
        disk: &[],
        drive_interface: "sd",
        network_device: None,
        // The first port of the chip has its PHY on the second one's bus, where QEMU does not look for
        // it: it gets a hub without anything, and the tap becomes the second port, Linux' eth0.
        devices: &["-nic", "hubport,hubid=1"],
    }),
};
