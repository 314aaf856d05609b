//! The machine around the firewall: rights, store, daemon, interfaces, clock, watchdog.

use std::net::IpAddr;

use postern_console::rpc::reply::{Origin, StoreHealth};
use postern_hal_linux::default_route::DEFAULT_ROUTE;

use crate::doctor::daemon::Daemon;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Symptom};
use crate::finding::Severity;

/// The oldest year that a clock which was ever set can show.
const YEAR_MIN: u64 = 2025;

/// Starts in a row without a healthy period that are worth a word.
const UNCLEAN_STARTS: u32 = 2;

pub(super) fn privileges(facts: &Facts, findings: &mut Vec<Finding>) {
    if !facts.is_root {
        let message = "not run as root: the firewall, and perhaps the store, cannot be read";
        findings.push(Finding::new(Severity::Error, "not-root", &[], message, "run it again as root"));
    }
}

pub(super) fn store(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.factory {
        let explains = &[Symptom::NoLog, Symptom::NotRecognised];
        let message = "the store holds no configuration that counts: the factory profile opens nothing";
        let fix = "commit one: `postern --to unix:/run/postern/control config apply SITE.toml`";
        findings.push(Finding::new(Severity::Error, "store-no-config", explains, message, fix));
    }
    for (slot, reason) in &facts.slots_refused {
        let message = format!("slot {slot} of the store does not count: {reason}");
        let fix = "the next commit writes it anew; if it comes back, the medium is failing";
        findings.push(Finding::new(Severity::Warning, "store-slot-refused", &[], message, fix));
    }
}

pub(super) fn daemon(facts: &Facts, findings: &mut Vec<Finding>) {
    let status = match &facts.daemon {
        Daemon::Answers(status) => status,
        Daemon::Refuses(why) => {
            let message = format!("the daemon answers, but does not tell its state: {why}");
            let fix = "run this as root, with the version of the daemon";
            findings.push(Finding::new(Severity::Warning, "daemon-refuses", &[], message, fix));
            return;
        }
        Daemon::Silent(why) => {
            let explains = &[Symptom::NoLog, Symptom::NotRecognised];
            let message = format!("{why}: nobody hears knocks; what was shut stays shut");
            let fix = "start it, and read its first lines: `posternd --store STORE --log stderr`; or name \
                       its socket with --control";
            findings.push(Finding::new(Severity::Error, "daemon-silent", explains, message, fix));
            return;
        }
    };
    if let Some(trial) = &status.trial {
        let message = format!("a configuration is on trial, and is taken back in {} s", trial.secs_left);
        let fix = "confirm it: `postern --to unix:/run/postern/control config confirm`";
        findings.push(Finding::new(Severity::Note, "trial-running", &[], message, fix));
    }
    if status.origin == Origin::Safe {
        let explains = &[Symptom::NoLog, Symptom::NotRecognised, Symptom::TimeOut];
        let starts = status.unclean_boots;
        let message =
            format!("safe mode: {starts} starts in a row did not last, so nothing opens for anybody");
        let fix = "read the log before each BOOT; commit a configuration that lasts, or roll back; it is tried \
                   again by itself after the time that SAFE-MODE tells";
        findings.push(Finding::new(Severity::Error, "safe-mode", explains, message, fix));
    } else if status.unclean_boots >= UNCLEAN_STARTS {
        let message = format!("{} starts in a row did not last a minute", status.unclean_boots);
        let fix = "read the log before each BOOT, and the reset cause of the machine";
        findings.push(Finding::new(Severity::Warning, "unclean-starts", &[], message, fix));
    }
    match status.store {
        StoreHealth::Good => {}
        StoreHealth::SlotsRefused { slots } => {
            let message = format!("the daemon refused {slots} slots of its store");
            let fix = "commit once more; if it comes back, the medium is failing";
            findings.push(Finding::new(Severity::Warning, "store-slots-refused", &[], message, fix));
        }
        StoreHealth::Failed => {
            let message = "the medium of the store failed: nothing can be committed until a restart";
            let fix = "take a backup, replace the medium, restore";
            findings.push(Finding::new(Severity::Error, "store-failed", &[], message, fix));
        }
    }
}

pub(super) fn interfaces(facts: &Facts, findings: &mut Vec<Finding>) {
    let explains = &[Symptom::NoLog];
    let watched = facts.watched();
    let follows = watched.contains(&DEFAULT_ROUTE);
    if follows && facts.default_routes.is_empty() {
        let message = "knocks are awaited where the default route leaves, and there is none";
        let fix = "`ip route add default via ...`, or wait for DHCP or the modem, or name an interface";
        findings.push(Finding::new(Severity::Error, "interface-missing", explains, message, fix));
    }
    for &name in watched.iter().filter(|&&name| name != "any" && name != DEFAULT_ROUTE) {
        match facts.interfaces.iter().find(|interface| interface.name == name) {
            None => {
                let there: Vec<&str> = facts.interfaces.iter().map(|found| found.name.as_str()).collect();
                let message = format!("there is no interface {name}; there are {}", there.join(", "));
                let fix = "plug it in, or name another one in `interfaces` of the site";
                findings.push(Finding::new(Severity::Error, "interface-missing", explains, message, fix));
            }
            Some(found) if !found.is_up => {
                let fix = format!("ip link set {name} up");
                let message = format!("{name} is down");
                findings.push(Finding::new(Severity::Error, "interface-down", explains, message, fix));
            }
            Some(found) => addresses(name, &found.addresses, findings),
        }
    }
    let unwatched = facts.default_routes.iter().filter(|name| !watched.contains(&name.as_str()));
    for name in unwatched.filter(|_| !watched.is_empty() && !watched.contains(&"any") && !follows) {
        let message = format!("the default route leaves by {name}, where nobody awaits knocks");
        let fix = format!("add \"{name}\" to `interfaces` of the site, if knocks come that way");
        findings.push(Finding::new(Severity::Warning, "default-route-unwatched", explains, message, fix));
    }
}

fn addresses(name: &str, addresses: &[IpAddr], findings: &mut Vec<Finding>) {
    let global: Vec<&IpAddr> = addresses.iter().filter(|address| !is_link_local(address)).collect();
    let explains = &[Symptom::NoLog];
    if global.is_empty() {
        let fix = "give it one, or wait for DHCP or the modem";
        let message = format!("{name} has no address");
        findings.push(Finding::new(Severity::Warning, "interface-without-address", explains, message, fix));
    } else if global.iter().all(|address| is_private(address)) {
        let message = format!("{name} has private addresses only: from outside, a router stands before it");
        let fix = "have the router forward every knock, or the SPA port, and the door's ports to this gateway, \
                   with the client's own address";
        findings.push(Finding::new(Severity::Note, "behind-a-router", explains, message, fix));
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// RFC 1918, RFC 6598 (carrier NAT) and RFC 4193.
fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private() || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(address) => address.segments()[0] & 0xfe00 == 0xfc00,
    }
}

pub(super) fn capture(facts: &Facts, findings: &mut Vec<Finding>) {
    let Daemon::Answers(status) = &facts.daemon else { return };
    for interface in status.interfaces.iter().filter(|interface| !interface.live) {
        let message = format!("the daemon hears nothing on {}", interface.name);
        let fix = "it tries again by itself once the interface is there and up; its log tells why not";
        findings.push(Finding::new(Severity::Error, "interface-deaf", &[Symptom::NoLog], message, fix));
    }
    if status.dropped > 0 {
        let message =
            format!("the kernel dropped {} captured frames: knocks may have been among them", status.dropped);
        let fix = "a flood, or a machine that is too busy: a higher priority (--nice, --realtime); SPA survives \
                   the loss of packets better than sequences";
        let explains = &[Symptom::NotRecognised];
        findings.push(Finding::new(Severity::Warning, "capture-drops", explains, message, fix));
    }
    if status.frames == 0 {
        let message = "the daemon has not seen a single packet for it since it started";
        let fix = "knock once; if that changes nothing, packets are lost on the way to this machine";
        findings.push(Finding::new(Severity::Note, "nothing-heard", &[Symptom::NoLog], message, fix));
    } else if status.knocks > 0 && status.opened == 0 {
        let message = format!("{} knocks were seen, and no door was opened", status.knocks);
        let fix = "watch where they get stuck: `postern --to unix:/run/postern/control log`";
        let explains = &[Symptom::NotRecognised];
        findings.push(Finding::new(Severity::Note, "knocks-without-success", explains, message, fix));
    }
}

pub(super) fn clock_and_log(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.year < YEAR_MIN {
        let message = format!("the clock shows {}: it was never set", facts.year);
        let fix = "set it, or run a time service; doors and native SPA need none, weekly windows and dates of \
                   keys and the fwknop client's time stamps do";
        let explains = &[Symptom::NotRecognised];
        findings.push(Finding::new(Severity::Warning, "clock-not-set", explains, message, fix));
    }
    if facts.year >= YEAR_MIN && !facts.is_synchronised {
        let message = "no time service keeps the clock right: what it shows is not trusted";
        let fix = "run one (chrony, systemd-timesyncd), if keys have weekly windows or dates; nothing else needs it";
        let explains = &[Symptom::NotRecognised];
        findings.push(Finding::new(Severity::Note, "clock-not-kept", explains, message, fix));
    }
    if !facts.has_syslog {
        let message = "nobody listens at /dev/log: the audit trail waits in memory, and is lost in the end";
        let fix = "start a syslog daemon, or posternd with --log stderr under a supervisor that keeps it";
        findings.push(Finding::new(Severity::Warning, "no-syslog", &[Symptom::NoLog], message, fix));
    }
}

pub(super) fn watchdog(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.watchdogs.is_empty() {
        let message = "this machine has no watchdog: if it hangs, somebody must go there";
        let fix = "load the driver of the board's watchdog, or softdog where there is none";
        findings.push(Finding::new(Severity::Warning, "no-watchdog", &[], message, fix));
    }
    for watchdog in facts.watchdogs.iter().filter(|watchdog| !watchdog.is_running) {
        let message = format!("{} is there, but nobody has started it", watchdog.name);
        let fix = format!(
            "let it be petted: start posternd with --watchdog /dev/{}, where it has that",
            watchdog.name
        );
        findings.push(Finding::new(Severity::Warning, "watchdog-idle", &[], message, fix));
    }
}
