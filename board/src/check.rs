//! What must hold of every board. Runs in the compiler.

use crate::storage::MIB;
use crate::{Board, Emulator, Evidence, Firmware, Interface, Loader, Scheduling, Sizes, Watchdog};

/// Octets a config partition has at least (`postern-config`, `partition::PARTITION_BYTES_MIN`
/// rounded up; a test of the image tool holds the two together).
const CONFIG_BYTES_MIN: u32 = MIB;

/// Fails the build when `board` contradicts itself.
pub(crate) const fn check(board: &Board) {
    assert!(is_name(board.name), "a board's name is lower case letters, digits and hyphens");
    assert!(!board.title.is_empty(), "say what the board is");
    assert!(board.console.baud >= 9_600 && board.console.baud <= 4_000_000, "no such console speed");
    assert!(is_in_dev(board.watchdog.device), "the watchdog is a file below /dev");
    check_watchdog(&board.watchdog);
    check_interfaces(board.interfaces);
    check_sizes(&board.storage.sizes);
    assert!(board.storage.first_partition_bytes >= MIB, "the partition table and a loader need 1 MiB");
    assert!(board.storage.first_partition_bytes % MIB == 0, "partitions begin at whole MiB");
    assert!(board.budgets.daemon_bytes <= board.budgets.firmware_bytes, "the daemon is part of the firmware");
    assert!(board.budgets.gate_up_s < board.watchdog.boot_timeout_s, "the watchdog would bite during start");
    assert!(board.capture_ring_bytes >= 256 * 1024, "a ring for less than 1,000 frames loses knocks");
    assert!(board.capture_ring_bytes <= 16 * MIB, "more memory than a gateway can spare");
    check_priorities(board);
    match &board.emulator {
        Some(emulator) => check_emulator(board, emulator),
        None => assert!(
            matches!(board.evidence, Evidence::Untested),
            "what has no emulator is not tested in every release"
        ),
    }
}

const fn check_watchdog(watchdog: &Watchdog) {
    assert!(watchdog.timeout_s >= 4, "the daemon proves its health every second or two");
    assert!(watchdog.timeout_s <= watchdog.hardware_max_s, "the hardware cannot count so far");
    assert!(watchdog.boot_timeout_s >= watchdog.timeout_s, "starting takes longer than a turn");
}

const fn check_interfaces(interfaces: &[Interface]) {
    assert!(!interfaces.is_empty(), "a gateway has an interface");
    assert!(interfaces.len() <= 8, "limits::INTERFACES_MAX of the core");
    let mut index = 0;
    while index < interfaces.len() {
        let length = interfaces[index].name.len();
        assert!(length > 0 && length <= 15, "a name of an interface has 1 to 15 octets (IFNAMSIZ)");
        index += 1;
    }
}

const fn check_sizes(sizes: &Sizes) {
    let all = [sizes.boot, sizes.environment, sizes.kernel, sizes.root, sizes.config, sizes.data];
    let mut index = 0;
    while index < all.len() {
        assert!(all[index] > 0 && all[index] % MIB == 0, "partitions have whole MiB");
        index += 1;
    }
    assert!(sizes.config >= CONFIG_BYTES_MIN, "the config partition holds six slots and a journal");
}

const fn check_priorities(board: &Board) {
    let adjust = board.priorities.oom_score_adjust;
    assert!(adjust >= -1000 && adjust <= 1000, "oom_score_adj goes from -1000 to 1000");
    match board.priorities.scheduling {
        Scheduling::Nice(nice) => assert!(nice >= -20 && nice <= 19, "nice goes from -20 to 19"),
        Scheduling::RoundRobin(priority) => {
            assert!(priority >= 1 && priority <= 99, "priorities go from 1 to 99");
        }
    }
}

const fn check_emulator(board: &Board, emulator: &Emulator) {
    assert!(emulator.memory_mib >= 128 && emulator.memory_mib <= 4096, "unlikely memory");
    let loaded_from_image = matches!(emulator.firmware, Firmware::Loader(_));
    let has_script = matches!(board.storage.loader, Loader::UBootScript { .. });
    assert!(loaded_from_image == has_script, "a loader needs its script, and the script its loader");
}

const fn is_name(name: &str) -> bool {
    let octets = name.as_bytes();
    let mut index = 0;
    while index < octets.len() {
        if !matches!(octets[index], b'a'..=b'z' | b'0'..=b'9' | b'-') {
            return false;
        }
        index += 1;
    }
    !octets.is_empty()
}

const fn is_in_dev(path: &str) -> bool {
    let (octets, prefix) = (path.as_bytes(), b"/dev/");
    let mut index = 0;
    while index < prefix.len() {
        if index >= octets.len() || octets[index] != prefix[index] {
            return false;
        }
        index += 1;
    }
    octets.len() > prefix.len()
}
