//! What becomes of configurations.

/// What became of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConfigChange {
    /// Committed for good.
    Committed,
    /// On trial until confirmed.
    Tried,
    /// A trial was confirmed.
    Confirmed,
    /// A trial was taken back: nobody confirmed it in time.
    TrialTimedOut,
    /// A trial was taken back: somebody said so.
    TrialCancelled,
    /// A trial was taken back: the daemon or the machine was started anew.
    TrialLost,
    /// Everything was erased.
    Wiped,
}

impl ConfigChange {
    pub(super) const fn id(self) -> &'static str {
        match self {
            ConfigChange::Committed => "CFG-COMMIT",
            ConfigChange::Tried => "CFG-STAGE",
            ConfigChange::Confirmed => "CFG-CONFIRM",
            ConfigChange::TrialTimedOut | ConfigChange::TrialCancelled | ConfigChange::TrialLost => {
                "CFG-ROLLBACK"
            }
            ConfigChange::Wiped => "CFG-WIPE",
        }
    }

    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            ConfigChange::Committed => "commit",
            ConfigChange::Tried => "trial",
            ConfigChange::Confirmed => "confirm",
            ConfigChange::TrialTimedOut => "not-confirmed",
            ConfigChange::TrialCancelled => "cancelled",
            ConfigChange::TrialLost => "restart",
            ConfigChange::Wiped => "wipe",
        }
    }
}
