//! Chooses the guard ranges: values around each knock that no client touches and every scan does.

use postern_core::knock::{Protocol, ServicePort, Step};
use postern_core::limits::GUARD_RANGES_MAX;
use postern_core::rule::GuardRange;

use crate::services::{FIRST_UNPRIVILEGED_PORT, STOCK_PING_OCTETS, well_known_ports};
use crate::site::{Site, StoredGuard, StoredGuardWidths};

/// Largest echo payload a guard reaches to: longer requests are fragmented.
const ICMP_OCTETS_LAST: u16 = 1472;

const PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];

/// Chooses the guards of `site` anew from its sequences, ports and widths.
pub fn renew(site: &mut Site) {
    let mut guards = core::mem::take(&mut site.guards);
    guards.clear();
    let knocks = site.sequences.iter().flat_map(|sequence| &sequence.steps).map(|&step| Step::from(step));
    let ports = site.doors.iter().flat_map(|door| &door.ports).map(|&port| ServicePort::from(port));
    for_each(site.guard_widths, &knocks, &ports, |range| {
        let first = Step { protocol: range.protocol, value: range.first }.into();
        // `for_each` keeps to the limit.
        let _ = guards.push(StoredGuard { first, last: range.last });
    });
    site.guards = guards;
}

/// Calls `emit` with each guard range: sorted, disjoint, free of every knock, protected port and
/// port a service usually has, [`GUARD_RANGES_MAX`] at most. The same site gives the same ranges.
pub fn for_each<K, P>(widths: StoredGuardWidths, knocks: &K, ports: &P, mut emit: impl FnMut(GuardRange))
where
    K: Iterator<Item = Step> + Clone,
    P: Iterator<Item = ServicePort> + Clone,
{
    let Fitting { kept_above, mut room_at } = fitting(widths, knocks, ports);
    for protocol in PROTOCOLS {
        let map = ValueMap::around(protocol, widths, knocks, ports);
        map.runs(|first, last| {
            let width = Some(last - first);
            if width > kept_above || (width == kept_above && room_at > 0) {
                room_at -= usize::from(width == kept_above);
                emit(GuardRange { protocol, first, last });
            }
        });
    }
}

/// Of too many ranges the widest are kept: they are what a scan is least likely to miss.
struct Fitting {
    /// Every range with a larger difference of last and first is kept; `None` is all of them.
    kept_above: Option<u16>,
    /// How many with exactly that difference are.
    room_at: usize,
}

fn fitting<K, P>(widths: StoredGuardWidths, knocks: &K, ports: &P) -> Fitting
where
    K: Iterator<Item = Step> + Clone,
    P: Iterator<Item = ServicePort> + Clone,
{
    let count = |least: u16| {
        let mut count = 0_usize;
        for protocol in PROTOCOLS {
            let map = ValueMap::around(protocol, widths, knocks, ports);
            map.runs(|first, last| count += usize::from(last - first >= least));
        }
        count
    };
    if count(0) <= GUARD_RANGES_MAX {
        return Fitting { kept_above: None, room_at: 0 };
    }
    let (mut too_many, mut fits) = (0_u16, u16::MAX);
    while fits - too_many > 1 {
        let middle = too_many + (fits - too_many) / 2;
        if count(middle) > GUARD_RANGES_MAX {
            too_many = middle;
        } else {
            fits = middle;
        }
    }
    Fitting { kept_above: Some(too_many), room_at: GUARD_RANGES_MAX.saturating_sub(count(fits)) }
}

/// One bit for each value of a protocol.
struct ValueMap {
    words: [u64; 1024],
}

impl ValueMap {
    fn around<K, P>(protocol: Protocol, widths: StoredGuardWidths, knocks: &K, ports: &P) -> Self
    where
        K: Iterator<Item = Step> + Clone,
        P: Iterator<Item = ServicePort> + Clone,
    {
        let mut map = Self { words: [0; 1024] };
        let (width, first, last) = match protocol {
            Protocol::Tcp => (widths.tcp, FIRST_UNPRIVILEGED_PORT, u16::MAX),
            Protocol::Udp => (widths.udp, FIRST_UNPRIVILEGED_PORT, u16::MAX),
            Protocol::Icmp => (widths.icmp, 1, ICMP_OCTETS_LAST),
        };
        if width == 0 {
            return map;
        }
        let knocks = knocks.clone().filter(|knock| knock.protocol == protocol).map(|knock| knock.value);
        for knock in knocks.clone() {
            map.set(knock.saturating_sub(width).max(first), knock.saturating_add(width).min(last));
        }
        knocks.for_each(|knock| map.clear(knock));
        match protocol {
            Protocol::Icmp => STOCK_PING_OCTETS.iter().for_each(|&octets| map.clear(octets)),
            _ => {
                let own = ports.clone().filter(|port| port.transport.name() == protocol.name());
                own.for_each(|port| map.clear(port.port));
                well_known_ports().for_each(|port| map.clear(port));
            }
        }
        map
    }

    fn set(&mut self, first: u16, last: u16) {
        for value in first..=last {
            if let Some(word) = self.words.get_mut(usize::from(value / 64)) {
                *word |= 1 << (value % 64);
            }
        }
    }

    fn clear(&mut self, value: u16) {
        if let Some(word) = self.words.get_mut(usize::from(value / 64)) {
            *word &= !(1 << (value % 64));
        }
    }

    /// Calls `emit` with the first and the last value of each run of set bits.
    fn runs(&self, mut emit: impl FnMut(u16, u16)) {
        let mut begin = None;
        for value in 0..=u16::MAX {
            let word = self.words.get(usize::from(value / 64)).copied().unwrap_or(0);
            match (word >> (value % 64) & 1 == 1, begin) {
                (true, None) => begin = Some(value),
                (false, Some(first)) => {
                    emit(first, value - 1);
                    begin = None;
                }
                _ => {}
            }
        }
        if let Some(first) = begin {
            emit(first, u16::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn chosen(widths: StoredGuardWidths, knocks: &[Step]) -> Vec<GuardRange> {
        let ports = [ServicePort::tcp(7400)];
        let mut ranges = Vec::new();
        for_each(widths, &knocks.iter().copied(), &ports.into_iter(), |range| ranges.push(range));
        ranges
    }

    #[test]
    fn around_each_knock_and_never_on_what_people_use() {
        let knocks = [Step::tcp(7351), Step::udp(24_011), Step::icmp(60), Step::tcp(1100)];
        let ranges = chosen(StoredGuardWidths::default(), &knocks);
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
    fn ends_are_kept_and_no_width_is_no_guard() {
        let widths = StoredGuardWidths { tcp: 10, udp: 0, icmp: 0 };
        let edge = chosen(widths, &[Step::tcp(65_535), Step::udp(24_011), Step::icmp(83)]);
        assert_eq!(
            edge.iter().map(|range| (range.first, range.last)).collect::<Vec<_>>(),
            [(65_525, 65_534)]
        );
    }

    #[test]
    fn of_too_many_the_widest_are_kept() {
        // 3,000 knocks apart from each other by 20: one range between any two of them.
        let mut knocks: Vec<Step> = (0..3000).map(|number| Step::tcp(2000 + 20 * number)).collect();
        knocks.push(Step::tcp(64_000));
        let ranges = chosen(StoredGuardWidths { tcp: 5, udp: 0, icmp: 0 }, &knocks);
        assert_eq!(ranges.len(), GUARD_RANGES_MAX);
        assert!(ranges.iter().all(|range| range.last - range.first >= 4), "not the narrow ones");
    }
}
