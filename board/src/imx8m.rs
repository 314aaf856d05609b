//! A gateway on NXP's i.MX8M Mini, wired like its evaluation kit. Untested.

use crate::product::*;
use crate::{Architecture, Kernel, Loader, Sizes, Storage};

/// The board.
pub(crate) const BOARD: Board = Board {
    name: "imx8m-gateway",
    title: "Industrial gateway with i.MX8M Mini, eMMC",
    evidence: Evidence::Untested,
    architecture: Architecture::Aarch64,
    kernel: Kernel {
        package: "linux-image-6.1.0-50-arm64",
        release: "6.1.0-50-arm64",
        device_tree: Some("freescale/imx8mm-evk.dtb"),
        load_address: 0x4048_0000,
        early_modules: &["sdhci-esdhc-imx", "mmc_block"],
        network_modules: &["at803x", "fec"],
    },
    console: Console { tty: "ttymxc1", baud: 115_200 },
    watchdog: Watchdog {
        module: "imx2_wdt",
        timeout_parameter: "timeout",
        device: "/dev/watchdog0",
        identity: "imx2+ watchdog",
        timeout_s: 10,
        boot_timeout_s: 60,
        // i.MX8M Mini reference manual, WDOG: 0.5 s to 128 s.
        hardware_max_s: 128,
        tells_cause: true,
    },
    interfaces: &[
        Interface { name: "wwan0", role: Role::Outside },
        Interface { name: "eth0", role: Role::Inside },
    ],
    storage: Storage {
        device: "mmcblk2",
        loader: Loader::UBootScript { interface: "mmc", device: 2 },
        // The boot ROM reads the loader at 33 KiB; it ends below 8 MiB.
        first_partition_bytes: 8 * 1024 * 1024,
        sizes: Sizes::REFERENCE,
    },
    budgets: Budgets {
        daemon_bytes: 1696 * 1024,
        firmware_bytes: 6 * 1024 * 1024,
        daemon_resident_kib: 5376,
        gate_up_s: 15,
    },
    capture_ring_bytes: 4 * 1024 * 1024,
    priorities: Priorities { scheduling: Scheduling::Nice(-10), oom_score_adjust: -1000 },
    led: Some(Led { name: "status" }),
    emulator: None,
};
