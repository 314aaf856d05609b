//! One thing found, and what it explains.

use serde::Serialize;

use crate::finding::Severity;

/// What people come with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Symptom {
    /// The log shows nothing when somebody knocks.
    NoLog,
    /// Knocks are seen, and the door does not open.
    NotRecognised,
    /// The door opens, and the connection is refused at once.
    Refused,
    /// The door opens, and the connection times out.
    TimeOut,
    /// Strangers get in without knocking.
    Open,
}

impl Symptom {
    /// All of them, in the order of the table.
    pub const ALL: [Symptom; 5] =
        [Symptom::NoLog, Symptom::NotRecognised, Symptom::Refused, Symptom::TimeOut, Symptom::Open];

    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Symptom::NoLog => "no log activity when somebody knocks",
            Symptom::NotRecognised => "knocks are seen, but not recognised",
            Symptom::Refused => "connection refused after the knock",
            Symptom::TimeOut => "time-out after the knock",
            Symptom::Open => "a door is open without a knock",
        }
    }

    /// Where to look when nothing found here explains it.
    pub const fn elsewhere(self) -> &'static str {
        match self {
            Symptom::NoLog => {
                "nothing on this gateway stops knocks: look at the way to it (`tcpdump -ni INTERFACE` while \
                 knocking; a provider's filter, a router that does not forward the ports)"
            }
            Symptom::NotRecognised => {
                "compare the sequence step by step with `postern --to unix:... log --follow` or \
                 `posternd --log-level debug`; a guard port touched before taints the source for the \
                 sequence's time; the client may leave with another address than it connects from"
            }
            Symptom::Refused => {
                "the service listens here: it refuses by itself (its own allow lists, TCP wrappers)"
            }
            Symptom::TimeOut => {
                "nothing behind the gate drops the connection here: was there a GRANT for the very address the \
                 client connects from, and not yet an EXPIRE? Then look at the way back (routes)"
            }
            Symptom::Open => "the gate stands as it should: is the port a door's port at all?",
        }
    }
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name, for scripts.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter.
    pub message: String,
    /// What to do about it.
    pub fix: String,
    /// What it explains.
    pub explains: &'static [Symptom],
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        code: &'static str,
        explains: &'static [Symptom],
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { code, severity, message: message.into(), fix: fix.into(), explains }
    }
}

/// Whether one of them is an error.
pub(super) fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}
