//! What is open, for whom, until when.

/// Names one grant for as long as the daemon runs; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantId(u32);

impl GrantId {
    /// The id with this number.
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// Its number, for a log line.
    pub const fn raw(self) -> u32 {
        self.0
    }
}
