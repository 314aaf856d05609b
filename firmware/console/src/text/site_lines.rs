//! A site as the `set` lines that would make it: what `show` prints can be pasted into another
//! gateway.

use core::fmt::{Display, Write};

use heapless::String;
use postern_config::site::{Backend, StoredDoor, StoredGuardWidths, StoredSequence};
use postern_config::{Site, allowance};

use super::value::{Flags, Hex, Knock, Millis, Port};

/// Octets of the longest line: eight interfaces, or sixteen knocks.
pub const SITE_LINE_BYTES_MAX: usize = 400;

/// One line.
pub type SiteLine = String<SITE_LINE_BYTES_MAX>;

/// The TCP flags a knock has when not said otherwise: `syn,!ack`.
pub const FLAGS_DEFAULT: Flags = Flags { mask: 0x12, value: 0x02 };

/// How long a sequence may take when not said otherwise.
pub const WITHIN_DEFAULT_MILLIS: u32 = 10_000;

/// Calls `take` with each line, until it returns `false`.
pub fn for_each(site: &Site, take: &mut dyn FnMut(&str) -> bool) {
    let mut lines = Lines { take, line: SiteLine::new(), go_on: true };
    lines.gateway(site);
    for (index, door) in site.doors.iter().enumerate() {
        if !lines.go_on {
            return;
        }
        lines.door(site, index, door);
    }
}

/// Calls `take` with each line of one door.
pub fn for_each_of_door(site: &Site, index: usize, take: &mut dyn FnMut(&str) -> bool) {
    if let Some(door) = site.doors.get(index) {
        Lines { take, line: SiteLine::new(), go_on: true }.door(site, index, door);
    }
}

struct Lines<'t> {
    take: &'t mut dyn FnMut(&str) -> bool,
    line: SiteLine,
    go_on: bool,
}

impl Lines<'_> {
    fn line(&mut self, path: core::fmt::Arguments<'_>, values: impl IntoIterator<Item = impl Display>) {
        if !self.go_on {
            return;
        }
        self.line.clear();
        // What does not fit is cut: nothing of a valid site is that long.
        let _ = self.line.write_fmt(path);
        for value in values {
            let _ = write!(self.line, " {value}");
        }
        self.go_on = (self.take)(&self.line);
    }

    fn gateway(&mut self, site: &Site) {
        self.line(format_args!("set gateway name"), [&site.name]);
        self.line(format_args!("set gateway interfaces"), &site.interfaces);
        if site.spa_port != 0 {
            self.line(format_args!("set gateway spa-port"), [site.spa_port]);
        }
        if site.guard_widths != StoredGuardWidths::default() {
            let StoredGuardWidths { tcp, udp, icmp } = site.guard_widths;
            self.line(format_args!("set gateway guards"), [tcp, udp, icmp]);
        }
        self.line(format_args!("set firewall backend"), [backend_name(site.backend)]);
        if !site.exempt_interfaces.is_empty() {
            self.line(format_args!("set firewall exempt"), &site.exempt_interfaces);
        }
        if !site.console.banner.is_empty() {
            self.line(format_args!("set console banner \"{}\"", Escaped(&site.console.banner)), NONE);
        }
        let idle = u64::from(site.console.idle_lock_secs) * 1000;
        self.line(format_args!("set console idle-lock"), [Millis(idle)]);
        if let Some(owner) = &site.owner {
            self.line(format_args!("set owner"), [Hex(owner)]);
        }
        for account in &site.accounts {
            self.line(format_args!("# account {} {}", account.name, account.role.name()), NONE);
        }
        for key in &site.keys {
            self.line(format_args!("# key {}", key.name), NONE);
        }
    }

    fn door(&mut self, site: &Site, index: usize, door: &StoredDoor) {
        let name = &door.name;
        self.line(format_args!("set door {name} ports"), door.ports.iter().map(|&port| Port(port)));
        let open_for = Millis(u64::from(door.open_for_secs) * 1000);
        self.line(format_args!("set door {name} open-for"), [open_for]);
        let own = |sequence: &&StoredSequence| usize::from(sequence.door) == index;
        for sequence in site.sequences.iter().filter(own) {
            let kind = if sequence.closes { "close-sequence" } else { "sequence" };
            let steps = sequence.steps.iter().map(|&step| Knock(step));
            self.line(format_args!("set door {name} {kind}"), steps);
        }
        if let Some(sequence) = site.sequences.iter().find(own) {
            if sequence.within_millis != WITHIN_DEFAULT_MILLIS {
                let within = Millis(u64::from(sequence.within_millis));
                self.line(format_args!("set door {name} within"), [within]);
            }
            if sequence.reorder_millis != 0 {
                let reorder = Millis(u64::from(sequence.reorder_millis));
                self.line(format_args!("set door {name} reorder"), [reorder]);
            }
            let flags = Flags { mask: sequence.flags_mask, value: sequence.flags_value };
            if flags != FLAGS_DEFAULT {
                self.line(format_args!("set door {name} flags"), [flags]);
            }
        }
        if let Some(target) = &door.target {
            self.line(format_args!("set door {name} target"), [target]);
        }
        if door.interfaces != u8::MAX {
            let numbered = site.interfaces.iter().enumerate();
            let own = numbered.filter(|(bit, _)| door.interfaces & (1 << bit) != 0).map(|(_, name)| name);
            self.line(format_args!("set door {name} interfaces"), own);
        }
        if door.allow != 0 {
            self.line(format_args!("set door {name} allow"), allowance::names(door.allow));
        }
    }
}

const NONE: [&str; 0] = [];

/// As the site file writes it.
pub const fn backend_name(backend: Backend) -> &'static str {
    match backend {
        Backend::Iptables => "iptables",
        Backend::Nftables => "nftables",
    }
}

/// Line feeds as `\n`, so that a banner is one line.
struct Escaped<'t>(&'t str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (index, line) in self.0.split('\n').enumerate() {
            if index > 0 {
                f.write_str("\\n")?;
            }
            f.write_str(line)?;
        }
        Ok(())
    }
}
