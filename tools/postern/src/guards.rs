//! The guard ranges of a site file.

use postern_config::guards;
use postern_core::knock::{ServicePort, Step};
use postern_core::rule::GuardRange;

use crate::site::SiteFile;

/// The guard ranges of a site, as the gateway would choose them.
pub fn choose(site: &SiteFile) -> Vec<GuardRange> {
    let sequences = site.doors.iter().flat_map(crate::compile::sequences);
    let knocks: Vec<Step> = sequences.flat_map(|sequence| sequence.knocks()).collect();
    let ports: Vec<ServicePort> =
        site.doors.iter().flat_map(|door| &door.ports).map(|port| port.value).collect();
    let mut ranges = Vec::new();
    guards::for_each(site.guards, &knocks.iter().copied(), &ports.iter().copied(), |range| {
        ranges.push(range)
    });
    ranges
}

/// Guard values among `ranges` that a port scan over TCP and UDP touches, and ICMP ones besides.
pub fn count(ranges: &[GuardRange]) -> u32 {
    ranges.iter().map(|range| u32::from(range.last - range.first) + 1).sum()
}
