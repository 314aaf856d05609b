//! Raspberry Pi compute modules 4 and 5 on an industrial carrier. Untested.

use crate::product::*;
use crate::{Architecture, Kernel, Loader, Sizes, Storage};

/// Budgets of both.
const BUDGETS: Budgets = Budgets {
    daemon_bytes: 1696 * 1024,
    firmware_bytes: 6 * 1024 * 1024,
    daemon_resident_kib: 5376,
    gate_up_s: 12,
};

/// The watchdog of the power management block: 20 bits of 1/65536 s.
const WATCHDOG: Watchdog = Watchdog {
    module: "bcm2835_wdt",
    timeout_parameter: "heartbeat",
    device: "/dev/watchdog0",
    identity: "Broadcom BCM2835 Watchdog timer",
    timeout_s: 10,
    boot_timeout_s: 15,
    hardware_max_s: 15,
    tells_cause: false,
};

/// Compute module 4 (BCM2711), eMMC.
pub(crate) const CM4: Board = Board {
    name: "raspberry-pi-cm4",
    title: "Raspberry Pi Compute Module 4, eMMC",
    evidence: Evidence::Untested,
    architecture: Architecture::Aarch64,
    kernel: Kernel {
        package: "linux-image-6.1.0-50-arm64",
        release: "6.1.0-50-arm64",
        device_tree: Some("broadcom/bcm2711-rpi-cm4-io.dtb"),
        load_address: 0x0020_0000,
        early_modules: &["sdhci-iproc", "mmc_block"],
        network_modules: &["genet", "broadcom"],
    },
    // UART 1; the loader must be told to leave it alone (`enable_uart=1`).
    console: Console { tty: "ttyS1", baud: 115_200 },
    watchdog: WATCHDOG,
    interfaces: &[
        Interface { name: "wwan0", role: Role::Outside },
        Interface { name: "eth0", role: Role::Inside },
    ],
    storage: Storage {
        device: "mmcblk0",
        loader: Loader::UBootScript { interface: "mmc", device: 0 },
        first_partition_bytes: 1024 * 1024,
        sizes: Sizes { boot: 64 * 1024 * 1024, ..Sizes::REFERENCE },
    },
    budgets: BUDGETS,
    capture_ring_bytes: 4 * 1024 * 1024,
    priorities: Priorities { scheduling: Scheduling::Nice(-10), oom_score_adjust: -1000 },
    led: Some(Led { name: "ACT" }),
    emulator: None,
};

/// Compute module 5 (BCM2712), eMMC. Linux 6.1 does not know it: it needs a kernel from 6.12 on.
pub(crate) const CM5: Board = Board {
    name: "raspberry-pi-cm5",
    title: "Raspberry Pi Compute Module 5, eMMC",
    kernel: Kernel {
        device_tree: Some("broadcom/bcm2712-rpi-cm5-cm5io.dtb"),
        early_modules: &["sdhci-brcmstb", "mmc_block"],
        network_modules: &["macb", "broadcom"],
        ..CM4.kernel
    },
    console: Console { tty: "ttyAMA10", baud: 115_200 },
    ..CM4
};
