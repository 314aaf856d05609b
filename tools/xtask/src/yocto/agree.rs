//! The Yocto image beside the reference image, from what BitBake has installed: the rules before the daemon, the boot
//! script, the first choice of the slot, how the daemon is started, modes and owners of files.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::build::Built;
use super::{Yocto, boards};

/// Octets of a copy of the choice, and where the second lies: `image/src/environment.rs`.
const COPY_BYTES: usize = 4096;
const SECOND_OFFSET: usize = 512 * 1024;

pub(super) fn check(yocto: &Yocto) -> Result<String> {
    for family in ["v4", "v6"] {
        let ours = Built::open(yocto, "systemd").read("postern", &format!("etc/firewall/closed.{family}"))?;
        let image = yocto.read(&format!("image/files/root/etc/firewall/closed.{family}"))?;
        ensure!(ours == image, "the rules before the daemon are not the image's: closed.{family}");
    }
    let script = yocto.read("yocto-layer/meta-postern-bsp/recipes-bsp/postern-boot/files/boot.cmd")?;
    ensure!(
        script == yocto.read("image/files/boot.cmd")?,
        "the boot script is not the image's: copy image/files/boot.cmd to meta-postern-bsp/recipes-bsp/postern-boot/files"
    );
    environment(yocto)?;
    for init in ["systemd", "sysvinit"] {
        started(yocto, init)?;
        files(yocto, init)?;
    }
    capabilities(yocto)?;
    Ok("rules, boot script, slot choice, options, watchdog, priorities, capabilities, modes and owners are equal".to_owned())
}

/// The first choice of the slot, twice in its partition.
fn environment(yocto: &Yocto) -> Result<()> {
    let attempts = boards::describe("qemu-arm64")?["slot_attempts"].as_u64().context("no attempts")?;
    let deployed = Built::open(yocto, "systemd").deployed();
    let content =
        fs::read(deployed.join("postern-environment.bin")).context("no environment was deployed")?;
    for offset in [0, SECOND_OFFSET] {
        let copy = content.get(offset..offset + COPY_BYTES).context("the environment is too short")?;
        let (sum, rest) = copy.split_first_chunk::<4>().context("no sum")?;
        ensure!(crc32(rest) == u32::from_le_bytes(*sum), "the copy at {offset} has a wrong sum");
        let text = String::from_utf8_lossy(rest);
        let entries: Vec<&str> = text.split('\0').take_while(|entry| !entry.is_empty()).collect();
        let wanted = [format!("left={attempts}"), "slot=A".to_owned()];
        ensure!(entries == wanted, "the copy at {offset} says {entries:?}, not {wanted:?}");
    }
    Ok(())
}

/// What the image's daemon is told of its slots.
const UPDATES: [&str; 4] = ["--slots", "--slot", "--board", "--release"];

/// CRC-32 of IEEE 802.3, bit by bit.
fn crc32(octets: &[u8]) -> u32 {
    !octets.iter().fold(u32::MAX, |sum, octet| {
        (0..8).fold(
            sum ^ u32::from(*octet),
            |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 },
        )
    })
}

/// The options of the daemon and of the console.
fn started(yocto: &Yocto, init: &str) -> Result<()> {
    let image = image_options(yocto)?;
    let built = Built::open(yocto, init);
    let defaults = built.read("postern", "etc/default/posternd")?;
    let line = match init {
        "systemd" => {
            unit_values(&built.read("postern", "usr/lib/systemd/system/posternd.service")?, "ExecStart")
                .join(" ")
        }
        _ => init_line(&built.read("postern", "etc/init.d/posternd")?)?,
    };
    let values = ["STORE", "OPTIONS", "WATCHDOG"].map(|name| (name, shell_value(&defaults, name)));
    let line = values.iter().fold(line, |line, (name, value)| {
        line.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value)
    });
    let line = line.replace("$CONTROL", "/run/postern/control").replace("$FACTORY", "").replace('"', "");
    let mut ours = options(line.split_once("posternd").map_or("", |(_, rest)| rest));
    if init == "systemd" {
        // The manager feeds the hardware watchdog, with the same time; the daemon is watched by the manager.
        let manager = built.read("systemd-conf", "usr/lib/systemd/system.conf.d/10-postern-watchdog.conf")?;
        let unit = built.read("postern", "usr/lib/systemd/system/posternd.service")?;
        let seconds = unit_values(&manager, "RuntimeWatchdogSec").join("");
        ensure!(
            unit_values(&unit, "WatchdogSec") == [seconds.clone()],
            "the manager and the daemon differ in WatchdogSec"
        );
        ensure!(unit_values(&unit, "Type") == ["notify"], "the daemon tells the manager nothing");
        ours.insert("--watchdog /dev/watchdog0".to_owned());
        ours.insert(format!("--watchdog-seconds {seconds}"));
    }
    ensure!(
        ours == image,
        "with {init}, posternd is started with {ours:?}; the reference image has {image:?}"
    );
    priorities(init, &built, &defaults)
}

/// Niceness, and how late the daemon is killed.
fn priorities(init: &str, built: &Built, defaults: &str) -> Result<()> {
    let board = boards::describe("qemu-arm64")?;
    let unit = built.read("postern", "usr/lib/systemd/system/posternd.service").unwrap_or_default();
    for (key, setting, variable) in
        [("nice", "Nice", "NICE"), ("oom_score_adjust", "OOMScoreAdjust", "OOM_SCORE_ADJUST")]
    {
        let there = if init == "systemd" {
            unit_values(&unit, setting).join("")
        } else {
            shell_value(defaults, variable)
        };
        ensure!(
            there.parse::<i64>().ok() == board[key].as_i64() && !there.is_empty(),
            "with {init}, {setting} is {there:?}; the board has {}",
            board[key]
        );
    }
    Ok(())
}

/// How the reference image starts the daemon, on the board of the build.
fn image_options(yocto: &Yocto) -> Result<BTreeSet<String>> {
    let script = yocto.read("image/files/root/etc/init.d/posternd")?;
    let board = boards::describe("qemu-arm64")?;
    let text = |key: &str| board[key].as_str().map_or_else(|| board[key].to_string(), str::to_owned);
    let mut found = BTreeSet::new();
    for line in script.lines().filter_map(|line| line.split_once("set -- ")).map(|(_, rest)| rest) {
        let line = line.split(" ;;").next().unwrap_or_default().replace('"', "").replace("$@", "");
        let line = line
            .replace("$WATCHDOG_TIMEOUT", &text("watchdog_seconds"))
            .replace("$WATCHDOG", &text("watchdog"));
        found.extend(options(&line));
    }
    // Slots are written by RAUC or SWUpdate there, not by the daemon.
    let before = found.len();
    found.retain(|option| !UPDATES.iter().any(|name| option.split(' ').next() == Some(name)));
    ensure!(found.len() + UPDATES.len() == before, "the image is started without {UPDATES:?}: {found:?}");
    ensure!(found.len() >= 4, "image/files/root/etc/init.d/posternd is not read any more: {found:?}");
    Ok(found)
}

/// The options of a command line, each with its value.
fn options(line: &str) -> BTreeSet<String> {
    let mut options: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        match options.last_mut() {
            Some(option) if !word.starts_with('-') => *option = format!("{option} {word}"),
            _ => options.push(word.to_owned()),
        }
    }
    options.into_iter().collect()
}

/// The values of a setting in a unit; later lines with the same name count as well.
pub(super) fn unit_values(unit: &str, name: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    lines.map(|value| value.trim().to_owned()).collect()
}

/// The value of a variable in a file for the shell.
fn shell_value(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_default().trim_matches('"').to_owned()
}

/// The line of an init script that starts the daemon.
fn init_line(script: &str) -> Result<String> {
    let line = script.lines().find(|line| line.contains("/posternd --store"));
    Ok(line.context("the init script does not start posternd")?.trim().to_owned())
}

/// What the daemon keeps must be within what its unit leaves it, and no more than it needs to get there.
fn capabilities(yocto: &Yocto) -> Result<()> {
    // hal-linux keeps these, the last with --allow-reboot; the others are for the way there.
    let kept = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_SYS_BOOT"];
    let way = ["CAP_CHOWN", "CAP_SETGID", "CAP_SETPCAP"];
    let source = yocto.read("hal-linux/src/confine.rs")?;
    ensure!(
        source.contains("Capabilities::NONE.with(Capability::NetAdmin).with(Capability::NetRaw)")
            && source.contains("kept.with(Capability::SysBoot)"),
        "the daemon keeps other capabilities now: change posternd.service and this list"
    );
    let built = Built::open(yocto, "systemd");
    let bound = |unit: &str| -> Result<BTreeSet<String>> {
        let text = built.read("postern", &format!("usr/lib/systemd/system/{unit}"))?;
        let lists = unit_values(&text, "CapabilityBoundingSet");
        Ok(lists.iter().flat_map(|list| list.split_whitespace()).map(str::to_owned).collect())
    };
    let wanted =
        |lists: &[&[&str]]| lists.concat().iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    for (unit, wanted) in [
        ("posternd.service", wanted(&[&kept, &way])),
        ("postern-console@.service", wanted(&[&["CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"]])),
        ("postern-closed.service", wanted(&[&["CAP_NET_ADMIN", "CAP_NET_RAW"]])),
    ] {
        let there = bound(unit)?;
        ensure!(there == wanted, "{unit} leaves {there:?}, wanted {wanted:?}");
    }
    Ok(())
}

/// Modes of what both images have, and that everything belongs to root: the image's file system is made with
/// `-all-root`, and BitBake's files are root's unless a recipe says otherwise.
fn files(yocto: &Yocto, init: &str) -> Result<()> {
    let image = yocto.read("image/src/root.rs")?;
    ensure!(image.contains("\"-all-root\""), "the reference image has owners now: compare them here");
    let built = Built::open(yocto, init);
    let mut recipes = vec!["postern", "postern-boot", "postern-storage"];
    if init == "systemd" {
        recipes.push("postern-factory-config");
    }
    for recipe in recipes {
        for (package, files) in built.packages(recipe)? {
            for (path, mode) in files {
                let executable = ["/usr/bin/", "/usr/sbin/", "/usr/libexec/", "/etc/init.d/"]
                    .iter()
                    .any(|start| path.starts_with(start));
                let wanted = if executable || path == "/data" { "0755" } else { "0644" };
                ensure!(mode == wanted, "{package}: {path} has mode {mode}, not {wanted}");
            }
        }
    }
    for layer in super::bitbake::LAYERS {
        for path in super::lint::recipes(yocto, layer)? {
            let text = fs::read_to_string(&path)?;
            let owned = ["chown", "chgrp", "install -o", "install -g", " -o root", "FILES_PERMS"];
            let found = owned.iter().find(|word| text.contains(**word));
            ensure!(found.is_none(), "{}: {} gives a file to somebody", path.display(), found.unwrap_or(&""));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn options_keep_their_values() {
        let found = options(" --store /run/part/config --allow-reboot --watchdog-seconds 10");
        let wanted = ["--allow-reboot", "--store /run/part/config", "--watchdog-seconds 10"];
        assert_eq!(found, wanted.iter().map(|one| (*one).to_owned()).collect());
    }

    #[test]
    fn settings_are_read_by_their_whole_name() {
        let unit = "[Service]\nRuntimeWatchdogSec=7\nWatchdogSec=10\n";
        assert_eq!(unit_values(unit, "WatchdogSec"), ["10"]);
        assert_eq!(shell_value("OPTIONS=\"a b\"\nX=1\n", "OPTIONS"), "a b");
    }
}
