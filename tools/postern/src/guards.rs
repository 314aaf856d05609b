//! Chooses the guard ranges: values around each knock that no client touches and every scan does.

use postern_core::knock::{Protocol, Step};
use postern_core::limits::GUARD_RANGES_MAX;
use postern_core::rule::GuardRange;

use crate::services::{FIRST_UNPRIVILEGED_PORT, STOCK_PING_OCTETS, service_on};
use crate::site::SiteFile;

/// Largest echo payload a guard reaches to: longer requests are fragmented.
const ICMP_OCTETS_LAST: u16 = 1472;

/// The guard ranges of a site: sorted, disjoint, free of every knock, protected port and port a
/// service usually has. The same site gives the same ranges.
pub fn choose(site: &SiteFile) -> Vec<GuardRange> {
    let knocks = knocks(site);
    let mut chosen = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
        let wide = widened(site, &knocks, protocol);
        chosen.extend(wide.into_iter().flat_map(|range| without_exceptions(site, &knocks, range)));
    }
    // Of too many the widest are kept: they are what a scan is least likely to miss.
    if chosen.len() > GUARD_RANGES_MAX {
        chosen.sort_by_key(|range| std::cmp::Reverse(range.last - range.first));
        chosen.truncate(GUARD_RANGES_MAX);
        chosen.sort();
    }
    chosen
}

/// Guard values among `ranges` that a port scan over TCP and UDP touches, and ICMP ones besides.
pub fn count(ranges: &[GuardRange]) -> u32 {
    ranges.iter().map(|range| u32::from(range.last - range.first) + 1).sum()
}

fn knocks(site: &SiteFile) -> Vec<Step> {
    let sequences = site.doors.iter().flat_map(|door| [&door.sequence, &door.close_sequence]);
    let mut knocks: Vec<Step> = sequences.flatten().flat_map(|sequence| sequence.knocks()).collect();
    knocks.sort();
    knocks.dedup();
    knocks
}

/// The ranges around the knocks of one protocol, merged where they overlap.
fn widened(site: &SiteFile, knocks: &[Step], protocol: Protocol) -> Vec<GuardRange> {
    let (width, first, last) = match protocol {
        Protocol::Tcp => (site.guards.tcp, FIRST_UNPRIVILEGED_PORT, u16::MAX),
        Protocol::Udp => (site.guards.udp, FIRST_UNPRIVILEGED_PORT, u16::MAX),
        Protocol::Icmp => (site.guards.icmp, 1, ICMP_OCTETS_LAST),
    };
    let mut ranges: Vec<GuardRange> = Vec::new();
    if width == 0 {
        return ranges;
    }
    for knock in knocks.iter().filter(|knock| knock.protocol == protocol) {
        let from = knock.value.saturating_sub(width).max(first);
        let to = knock.value.saturating_add(width).min(last);
        match ranges.last_mut() {
            Some(before) if from <= before.last => before.last = before.last.max(to),
            _ if from <= to => ranges.push(GuardRange { protocol, first: from, last: to }),
            _ => {}
        }
    }
    ranges
}

/// What is left of a range without the values that honest people use.
fn without_exceptions(site: &SiteFile, knocks: &[Step], range: GuardRange) -> Vec<GuardRange> {
    let mut left = Vec::new();
    let mut begin = None;
    for value in range.first..=range.last {
        if is_exception(site, knocks, Step { protocol: range.protocol, value }) {
            if let Some(first) = begin.take() {
                left.push(GuardRange { first, last: value - 1, ..range });
            }
        } else if begin.is_none() {
            begin = Some(value);
        }
    }
    if let Some(first) = begin {
        left.push(GuardRange { first, ..range });
    }
    left
}

fn is_exception(site: &SiteFile, knocks: &[Step], value: Step) -> bool {
    if knocks.binary_search(&value).is_ok() {
        return true;
    }
    match value.protocol {
        Protocol::Icmp => STOCK_PING_OCTETS.contains(&value.value),
        _ => {
            let protected = site.doors.iter().flat_map(|door| &door.ports);
            let is_protected = protected
                .map(|port| port.value)
                .any(|port| port.port == value.value && port.transport.name() == value.protocol.name());
            is_protected || service_on(value.value).is_some()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::read;

    fn site(sequence: &str, more: &str) -> SiteFile {
        let text = format!(
            "schema = 1\n[gateway]\nname = \"g\"\ninterfaces = [\"eth0\"]\n{more}\n[[door]]\nname = \"d\"\n\
             ports = [\"tcp/7400\"]\nopen_for = \"30s\"\nsequence = {sequence}\n"
        );
        read(&text).0.expect("a good site")
    }

    #[test]
    fn around_each_knock_and_never_on_what_people_use() {
        let ranges = choose(&site("[\"tcp/7351\", \"udp/24011\", \"icmp/60\", \"tcp/1100\"]", ""));
        let has = |step: Step| {
            ranges.iter().any(|range| {
                range.protocol == step.protocol && range.first <= step.value && step.value <= range.last
            })
        };
        for guarded in [Step::tcp(7350), Step::tcp(7352), Step::tcp(7095), Step::udp(24_012), Step::icmp(61)]
        {
            assert!(has(guarded), "{guarded}");
        }
        for free in [
            Step::tcp(7351), // a knock
            Step::tcp(7400), // protected
            Step::tcp(1023), // a system port
            Step::tcp(1080), // socks
            Step::tcp(7094), // outside
            Step::udp(24_028),
            Step::icmp(56), // stock ping
            Step::icmp(60),
        ] {
            assert!(!has(free), "{free}");
        }
        assert!(ranges.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn widths_can_be_set_and_ends_are_kept() {
        let none = choose(&site("[\"tcp/7351\", \"tcp/65535\"]", "guard_tcp = 0"));
        assert!(none.is_empty());
        let edge = choose(&site("[\"tcp/65535\", \"tcp/7351\"]", "guard_tcp = 10"));
        assert_eq!(edge.last().map(|range| (range.first, range.last)), Some((65_525, 65_534)));
    }
}
