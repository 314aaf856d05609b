//! BeagleBone Black with its eMMC. Untested.

use crate::product::*;
use crate::{Architecture, Kernel, Loader, Sizes, Storage};

/// The board.
pub(crate) const BOARD: Board = Board {
    name: "beaglebone",
    title: "BeagleBone Black (AM335x), eMMC",
    evidence: Evidence::Untested,
    architecture: Architecture::Armv7HardFloat,
    kernel: Kernel {
        package: "linux-image-6.1.0-50-armmp",
        release: "6.1.0-50-armmp",
        device_tree: Some("am335x-boneblack.dtb"),
        load_address: 0x8200_0000,
        early_modules: &["sdhci-omap", "omap_hsmmc", "mmc_block"],
        network_modules: &["smsc", "davinci_mdio", "ti_cpsw"],
    },
    console: Console { tty: "ttyS0", baud: 115_200 },
    watchdog: Watchdog {
        module: "omap_wdt",
        timeout_parameter: "timer_margin",
        device: "/dev/watchdog0",
        identity: "OMAP Watchdog",
        timeout_s: 10,
        boot_timeout_s: 60,
        // omap_wdt.h: TIMER_MARGIN_MAX, a day; more than 16 bits of seconds.
        hardware_max_s: u16::MAX,
        tells_cause: true,
    },
    interfaces: &[Interface { name: "eth0", role: Role::Outside }],
    storage: Storage {
        device: "mmcblk1",
        loader: Loader::UBootScript { interface: "mmc", device: 1 },
        // The boot ROM reads the first loader at 128 KiB, that one the second at 384 KiB.
        first_partition_bytes: 4 * 1024 * 1024,
        sizes: Sizes::REFERENCE,
    },
    budgets: Budgets {
        daemon_bytes: 1696 * 1024,
        firmware_bytes: 6 * 1024 * 1024,
        daemon_resident_kib: 5376,
        gate_up_s: 30,
    },
    capture_ring_bytes: 1024 * 1024,
    priorities: Priorities { scheduling: Scheduling::Nice(-10), oom_score_adjust: -1000 },
    led: Some(Led { name: "beaglebone:green:usr0" }),
    emulator: None,
};
