//! Updates of the whole system, for the audit trail.

/// What became of an update of the whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpdateAct {
    /// One with the owner's signature begins to arrive.
    Begun,
    /// One was refused, before anything was written; the reason in short lower-case words.
    Refused(&'static str),
    /// One was given up; the reason in short lower-case words.
    Failed(&'static str),
    /// One is whole, and tried with the next start.
    Ready,
    /// What runs is on trial.
    OnTrial,
    /// It stands: somebody said so, or it is healthy and nobody has to.
    Confirmed,
    /// The one before is started next; the reason in short lower-case words.
    RolledBack(&'static str),
    /// The boot loader took this system because the other one did not become healthy.
    FellBack,
}

impl UpdateAct {
    pub(super) const fn id(self) -> &'static str {
        match self {
            UpdateAct::Begun => "UPD-BEGIN",
            UpdateAct::Refused(_) => "UPD-REJECT",
            UpdateAct::Failed(_) => "UPD-FAIL",
            UpdateAct::Ready => "UPD-READY",
            UpdateAct::OnTrial => "UPD-TRIAL",
            UpdateAct::Confirmed => "UPD-CONFIRM",
            UpdateAct::RolledBack(_) => "UPD-ROLLBACK",
            UpdateAct::FellBack => "UPD-FALLBACK",
        }
    }

    /// Short lower-case words for an audit line; `None` when the id says it all.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            UpdateAct::Refused(reason) | UpdateAct::Failed(reason) | UpdateAct::RolledBack(reason) => {
                Some(reason)
            }
            _ => None,
        }
    }
}
