//! What of schema 1 this version of the engine honours. Everything can be read and written; what is
//! not honoured is refused by the check, because silently ignored it would be believed.

/// Parts of schema 1 the engine honours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported {
    /// `rotating` of doors.
    pub rotating: bool,
    /// `forward` of doors.
    pub forward: bool,
    /// `one_shot` of doors.
    pub one_shot: bool,
    /// `cut_at_end` of doors.
    pub cut_at_end: bool,
    /// `prefix_v4` and `prefix_v6` of doors.
    pub prefix: bool,
}

/// This version.
pub const SUPPORTED: Supported =
    Supported { rotating: true, forward: true, one_shot: true, cut_at_end: true, prefix: false };
