//! Detectors that speak and do nothing else: who scans, who tries knocks out, and whether there is a
//! flood.
//!
//! Edges are told, not packets: that it begins, and with how much it ended. The memory is fixed, and
//! so is the number of records: beyond it, sources are counted and the count is told. Whoever forges
//! addresses can make the detectors say so, and cannot make them keep anybody out: nothing they find
//! goes back into the engine.
//!
//! | detector | tells | what counts |
//! | --- | --- | --- |
//! | scan | the source | guard ports touched |
//! | brute | the source | knocks that complete nothing, refused proofs with a weight |
//! | flood | the rate | everything the kernel filter let through |

mod gauge;
mod suspects;

use core::net::IpAddr;

use crate::audit::{Event, Suspicion};
use crate::limits::{BRUTE_KNOCKS, BRUTE_REFUSAL_WEIGHT, SCAN_TOUCHES};
use crate::time::Instant;
use gauge::{Edge, Gauge};
use suspects::{Change, Suspects};

/// All detectors.
#[derive(Debug)]
pub struct Detectors {
    scans: Suspects,
    brutes: Suspects,
    gauge: Gauge,
}

impl Default for Detectors {
    fn default() -> Self {
        Self::new()
    }
}

impl Detectors {
    /// Nothing seen yet.
    pub const fn new() -> Self {
        Self { scans: Suspects::new(SCAN_TOUCHES), brutes: Suspects::new(BRUTE_KNOCKS), gauge: Gauge::new() }
    }

    /// A frame came, whatever it is.
    pub fn frame(&mut self, now: Instant) -> Option<Event> {
        self.gauge.frame(now).map(flood_event)
    }

    /// A source touched a guard port.
    pub fn guard_touched(&mut self, source: IpAddr, now: Instant) -> Option<Event> {
        self.scans.note(source, 1, now).map(|change| event(Suspicion::Scan, change))
    }

    /// A source knocked, and completed nothing with it.
    pub fn knocked(&mut self, source: IpAddr, now: Instant) -> Option<Event> {
        self.brutes.note(source, 1, now).map(|change| event(Suspicion::Brute, change))
    }

    /// A proof of a source was refused.
    pub fn refused(&mut self, source: IpAddr, now: Instant) -> Option<Event> {
        self.brutes.note(source, BRUTE_REFUSAL_WEIGHT, now).map(|change| event(Suspicion::Brute, change))
    }

    /// A source completed a sequence: its knocks were no trying out.
    pub fn completed(&mut self, source: IpAddr) {
        self.brutes.forgive(source);
    }

    /// The next thing to tell because time has passed; call it until there is none.
    pub fn next(&mut self, now: Instant) -> Option<Event> {
        let scan = self.scans.next(now).map(|change| event(Suspicion::Scan, change));
        let found = scan.or_else(|| self.brutes.next(now).map(|change| event(Suspicion::Brute, change)));
        found.or_else(|| self.gauge.next(now).map(flood_event))
    }

    /// When [`Detectors::next`] may have something to tell.
    pub fn due(&self) -> Option<Instant> {
        [self.scans.due(), self.brutes.due(), self.gauge.due()].into_iter().flatten().min()
    }
}

fn event(suspicion: Suspicion, change: Change) -> Event {
    match change {
        Change::Began { source, count } => Event::Suspect { suspicion, source, begins: true, count },
        Change::Ended { source, count } => Event::Suspect { suspicion, source, begins: false, count },
        Change::Counted { sources } => Event::SuspectsCounted { suspicion, sources },
    }
}

fn flood_event(edge: Edge) -> Event {
    match edge {
        Edge::Began { per_sec } => Event::FloodBegan { per_sec },
        Edge::Ended { frames, peak_per_sec, lasted } => Event::FloodEnded { frames, peak_per_sec, lasted },
    }
}

#[cfg(test)]
mod tests;
