//! The root file system: an explicit list of files, nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use postern_board::{Board, Scheduling};

use crate::kernel::KernelPackage;
use crate::program;
use crate::settings::Settings;
use crate::tree::Tree;

/// Commands of busybox that the scripts and a technician's session use.
const BUSYBOX: [&str; 37] = [
    "[", "awk", "cat", "cut", "date", "dd", "df", "dmesg", "echo", "find", "free", "grep", "head",
    "hostname", "ip", "kill", "ln", "logger", "logread", "ls", "mkdir", "mount", "pidof", "ps", "renice",
    "sed", "sh", "sleep", "sync", "tail", "tr", "true", "umount", "uname", "uptime", "vi", "wc",
];

/// The same, for root's folder.
const BUSYBOX_OF_ROOT: [&str; 8] =
    ["init", "modprobe", "poweroff", "reboot", "switch_root", "syslogd", "udhcpc", "watchdog"];

/// Extensions of iptables: matches and targets of the rules at boot and of the daemon's.
const MATCHES: [&str; 12] = [
    "libxt_standard.so",
    "libxt_set.so",
    "libxt_SET.so",
    "libxt_DNAT.so",
    "libxt_addrtype.so",
    "libxt_conntrack.so",
    "libxt_comment.so",
    "libxt_tcp.so",
    "libxt_udp.so",
    "libipt_icmp.so",
    "libip6t_icmp6.so",
    "libip6t_hl.so",
];

/// Modules the firewall needs. The first is a dependency that libcrc32c does not tell.
const FIREWALL: [&str; 19] = [
    "crc32c_generic",
    "ip_tables",
    "ip6_tables",
    "iptable_filter",
    "ip6table_filter",
    "iptable_nat",
    "ip6table_nat",
    "xt_addrtype",
    "xt_conntrack",
    "xt_nat",
    "xt_set",
    "xt_tcpudp",
    "xt_comment",
    "xt_hl",
    "nf_conntrack_netlink",
    "ip_set",
    "ip_set_hash_ipport",
    "ip_set_hash_netport",
    "ip_set_bitmap_port",
];

/// Puts the root file system together in `folder`. `unpacked` holds the Debian packages.
///
/// # Errors
/// When something is missing.
pub fn assemble(settings: &Settings, unpacked: &Path, kernel: &KernelPackage, folder: &Path) -> Result<Tree> {
    let board = settings.board;
    let triple = board.architecture.gnu_triple();
    let tree = Tree::create(folder)?;
    for mountpoint in ["data", "tmp", "root"] {
        tree.folder(mountpoint)?;
    }
    let files = settings.workspace.join("image/files/root");
    tree.overlay(&files, &["etc/init.d/", "usr/share/udhcpc/"])?;
    if settings.faults {
        tree.overlay(&settings.workspace.join("image/files/faults"), &["etc/init.d/"])?;
        let inittab = fs::read_to_string(files.join("etc/inittab"))? + "::once:/etc/init.d/fault\n";
        tree.file("etc/inittab", inittab.as_bytes(), 0o644)?;
    }
    tree.file("etc/shadow", &fs::read(files.join("etc/shadow"))?, 0o600)?;
    tree.file("etc/board", describe(board).as_bytes(), 0o644)?;
    tree.file("etc/version", format!("{}\n", settings.version).as_bytes(), 0o644)?;
    tree.file("etc/release", format!("{}\n", settings.release).as_bytes(), 0o644)?;
    add_busybox(&tree, unpacked)?;
    for program in ["usr/sbin/xtables-legacy-multi", "usr/sbin/dropbear", "usr/bin/dropbearkey"] {
        tree.copy(&unpacked.join(program), program, 0o755)?;
    }
    for name in ["iptables", "iptables-restore", "ip6tables", "ip6tables-restore"] {
        tree.link(&format!("usr/sbin/{name}"), "xtables-legacy-multi")?;
    }
    for extension in MATCHES {
        let path = format!("usr/lib/{triple}/xtables/{extension}");
        tree.copy(&unpacked.join(&path), &path, 0o644)?;
    }
    add_programs(&tree, settings)?;
    tree.add_libraries(unpacked, triple)?;
    let modules: Vec<&str> =
        FIREWALL.iter().chain(board.kernel.network_modules).chain(&["ext4"]).copied().collect();
    kernel.add_modules(&tree, &modules)?;
    Ok(tree)
}

/// Busybox and its names.
///
/// # Errors
/// When it is missing, or built without one of them.
fn add_busybox(tree: &Tree, unpacked: &Path) -> Result<()> {
    let busybox = unpacked.join("bin/busybox");
    require_commands(
        &fs::read(&busybox).context("no package brings busybox")?,
        &[&BUSYBOX, &BUSYBOX_OF_ROOT],
    )?;
    tree.copy(&busybox, "usr/bin/busybox", 0o755)?;
    for name in BUSYBOX {
        tree.link(&format!("usr/bin/{name}"), "busybox")?;
    }
    for name in BUSYBOX_OF_ROOT {
        tree.link(&format!("usr/sbin/{name}"), "../bin/busybox")?;
    }
    Ok(())
}

/// Checks that `busybox` has every one of `names`: its table of commands is a list of texts that end
/// with a zero.
///
/// # Errors
/// Names those that are missing.
pub(crate) fn require_commands(busybox: &[u8], names: &[&[&str]]) -> Result<()> {
    let has = |name: &str| {
        let entry = format!("\0{name}\0");
        busybox.windows(entry.len()).any(|window| window == entry.as_bytes())
    };
    let missing: Vec<&str> = names.iter().copied().flatten().copied().filter(|name| !has(name)).collect();
    anyhow::ensure!(missing.is_empty(), "Debian's busybox has no {}", missing.join(", "));
    Ok(())
}

/// Postern's own programs.
fn add_programs(tree: &Tree, settings: &Settings) -> Result<()> {
    for program in ["posternd", "postern-console"] {
        tree.copy(&settings.programs.join(program), &format!("usr/sbin/{program}"), 0o755)?;
    }
    // Where a session of ssh finds it, for `postern --to ssh:`.
    tree.link("usr/bin/posternd", "../sbin/posternd")
}

/// The board, for the scripts.
pub fn describe(board: &Board) -> String {
    let watchdog = &board.watchdog;
    let nice = match board.priorities.scheduling {
        Scheduling::Nice(nice) => nice,
        // The daemon asks for real time itself.
        Scheduling::RoundRobin(_) => 0,
    };
    let interfaces: Vec<&str> = board.interfaces.iter().map(|interface| interface.name).collect();
    let lines = [
        ("BOARD", board.name.to_owned()),
        ("DISK", board.storage.device.to_owned()),
        ("CONSOLE", board.console.tty.to_owned()),
        ("CONSOLE_BAUD", board.console.baud.to_string()),
        ("WATCHDOG", watchdog.device.to_owned()),
        ("WATCHDOG_MODULE", watchdog.module.to_owned()),
        ("WATCHDOG_PARAMETER", watchdog.timeout_parameter.to_owned()),
        ("WATCHDOG_BOOT_TIMEOUT", watchdog.boot_timeout_s.to_string()),
        ("WATCHDOG_TIMEOUT", watchdog.timeout_s.to_string()),
        ("EARLY_MODULES", board.kernel.early_modules.join(" ")),
        ("FIREWALL_MODULES", FIREWALL.join(" ")),
        ("NETWORK_MODULES", board.kernel.network_modules.join(" ")),
        ("INTERFACES", interfaces.join(" ")),
        ("NICE", nice.to_string()),
        ("OOM_SCORE_ADJUST", board.priorities.oom_score_adjust.to_string()),
    ];
    lines.map(|(name, value)| format!("{name}='{value}'\n")).concat()
}

/// The tree as a squashfs; the same octets for the same tree.
///
/// # Errors
/// When it cannot be made.
pub fn squashfs(tree: &Tree, settings: &Settings) -> Result<Vec<u8>> {
    let path: PathBuf = settings.output.join("root.squashfs");
    let epoch = settings.epoch.to_string();
    let _ = fs::remove_file(&path);
    let mut make = program::command("mksquashfs");
    make.arg(tree.root()).arg(&path).args(["-noappend", "-all-root", "-no-xattrs", "-no-progress", "-quiet"]);
    make.args(["-comp", "zstd", "-Xcompression-level", "19", "-processors", "1"]);
    make.args(["-mkfs-time", &epoch, "-all-time", &epoch]).env_remove("SOURCE_DATE_EPOCH");
    program::run(&mut make)?;
    let content = fs::read(&path).context("mksquashfs made nothing")?;
    fs::remove_file(path)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_read_every_board() {
        for board in postern_board::BOARDS {
            for line in describe(board).lines() {
                let (name, value) = line.split_once('=').unwrap();
                assert!(name.bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'_'), "{line}");
                let inner = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap();
                assert!(!inner.contains('\''), "{line}");
            }
        }
    }
}
