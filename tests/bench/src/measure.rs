//! The benchmarks, by name.

mod cost;
mod crowd;
mod fwknop;
mod idle;
mod micro;
mod packets;
mod scan;
mod spa;

use anyhow::Result;

use crate::report::Table;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Scans in random order, by each subject.
    pub scans: usize,
    /// Clients of the latency benchmark.
    pub samples: usize,
    /// Frames of one cost measurement.
    pub frames: u32,
    /// Seconds of rest that are watched.
    pub rest_s: u32,
    /// Some floods are left out.
    pub brief: bool,
}

impl Effort {
    /// What is written down.
    pub const FULL: Effort = Effort { scans: 50, samples: 120, frames: 200_000, rest_s: 60, brief: false };
    /// In under ten minutes.
    pub const BRIEF: Effort = Effort { scans: 12, samples: 60, frames: 100_000, rest_s: 60, brief: true };
    /// To see that it works.
    pub const QUICK: Effort = Effort { scans: 5, samples: 20, frames: 40_000, rest_s: 5, brief: true };
}

/// A benchmark.
pub type Benchmark = fn(Effort) -> Result<Table>;

/// All of them, in the order they are run.
pub const ALL: [(&str, Benchmark); 13] = [
    ("latency", crowd::latency),
    ("scan", scan::measure),
    ("flood", crowd::flood),
    ("cost", cost::packets),
    ("overlap", crowd::overlap),
    ("headcut", crowd::headcut),
    ("forged", crowd::forged),
    ("idle", idle::measure),
    ("doors", cost::doors),
    ("micro", micro::measure),
    ("spa", spa::measure),
    ("fwknop", fwknop::measure),
    ("packets", packets::flood),
];
