//! Why a command did not do what it was asked, with the exit status of the documentation.

use std::fmt;

use postern_console::rpc::{InvalidConfig, Refusal, UpdateRefusal};

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The gateway refused.
    Refused(Refusal),
    /// The command line makes no sense.
    Usage(String),
    /// A site file is wrong; the findings were printed.
    InvalidSite(String),
    /// The client's profile file, or a key it names, cannot be used.
    InvalidProfile(String),
    /// Nobody answers.
    Unreachable(String),
    /// The password is missing or wrong, or the gateway could not prove that it is the right one.
    NotAuthenticated(String),
    /// What was read back is not what was meant.
    Mismatch(String),
    /// Anything else.
    Failed(String),
}

/// What a command comes to.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// Any error, with what was being done.
    pub fn failed(what: &str, error: impl fmt::Display) -> Self {
        Failure::Failed(format!("{what}: {error}"))
    }

    /// Exit status.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Failure::Refused(refusal) => refusal.exit_status(),
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::InvalidSite(_) | Failure::InvalidProfile(_) => 3,
            Failure::Unreachable(_) => 4,
            Failure::NotAuthenticated(_) => 5,
            Failure::Mismatch(_) => 8,
        }
    }

    /// Stable name for scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Failure::Refused(refusal) => refusal_code(refusal),
            Failure::Failed(_) => "failed",
            Failure::Usage(_) => "usage",
            Failure::InvalidSite(_) => "invalid-site",
            Failure::InvalidProfile(_) => "invalid-profile",
            Failure::Unreachable(_) => "unreachable",
            Failure::NotAuthenticated(_) => "not-authenticated",
            Failure::Mismatch(_) => "mismatch",
        }
    }

    /// What to do about it, when the message does not say.
    pub const fn hint(&self) -> Option<&'static str> {
        let Failure::Refused(refusal) = self else { return None };
        Some(match refusal {
            Refusal::Conflict { .. } => {
                "fetch it again with `config get`, make the change there, and apply that; or look at it with \
                 `config diff` and say `--base current`"
            }
            Refusal::TrialPending { .. } => "`config confirm` keeps it, `config cancel` takes it back",
            Refusal::NotLoggedIn | Refusal::LoginFailed => {
                "name the account with --account and its password with --password-file or at the prompt"
            }
            Refusal::NotEnrolled => "`postern --to TARGET enrol NAME` makes the first account",
            Refusal::Medium => {
                "restart posternd; if it stays, the medium is worn out: replace it and restore a backup"
            }
            Refusal::Invalid(InvalidConfig::SecretNotHeld) => {
                "give the secret itself: `secret_file` of a key, or `account password` for an account"
            }
            Refusal::Invalid(InvalidConfig::NoAdmin) => "keep an `[[account]]` with `role = \"admin\"`",
            Refusal::NotPermitted => "start posternd with --allow-reboot",
            Refusal::NoTrial => "`status` says what is in force",
            Refusal::NoOwner => {
                "name the key that signs in `owner` of the site file: `postern owner new` makes one"
            }
            Refusal::Update(UpdateRefusal::OnTrial) => {
                "`update confirm` keeps it, `update rollback` takes it back"
            }
            Refusal::Update(UpdateRefusal::NoSlots) => {
                "posternd needs --slots, --slot, --board and --release"
            }
            _ => return None,
        })
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(refusal) => refusal.fmt(f),
            Failure::Failed(what)
            | Failure::Usage(what)
            | Failure::InvalidSite(what)
            | Failure::InvalidProfile(what)
            | Failure::Unreachable(what)
            | Failure::NotAuthenticated(what)
            | Failure::Mismatch(what) => f.write_str(what),
        }
    }
}

const fn update_code(refusal: &UpdateRefusal) -> &'static str {
    match refusal {
        UpdateRefusal::NoSlots => "no-slots",
        UpdateRefusal::Malformed => "update-malformed",
        UpdateRefusal::OtherBoard => "other-board",
        UpdateRefusal::Downgrade { .. } => "downgrade",
        UpdateRefusal::TooLarge => "update-too-large",
        UpdateRefusal::OnTrial => "update-on-trial",
        UpdateRefusal::NotOnTrial => "update-not-on-trial",
        UpdateRefusal::NotHealthy => "not-healthy",
        UpdateRefusal::NoOther => "no-other-slot",
        UpdateRefusal::Medium => "medium",
    }
}

const fn refusal_code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Malformed => "malformed",
        Refusal::OtherProtocol { .. } => "other-protocol",
        Refusal::NotLoggedIn => "not-logged-in",
        Refusal::LoginFailed => "login-failed",
        Refusal::NotAllowed { .. } => "not-allowed",
        Refusal::TooSoon { .. } => "too-soon",
        Refusal::AlreadyEnrolled => "already-enrolled",
        Refusal::NotEnrolled => "not-enrolled",
        Refusal::NoOwner => "no-owner",
        Refusal::BadSignature => "bad-signature",
        Refusal::BelowFloor { .. } => "below-floor",
        Refusal::Busy => "busy",
        Refusal::OutOfOrder => "out-of-order",
        Refusal::Invalid(_) => "invalid-config",
        Refusal::Conflict { .. } => "conflict",
        Refusal::TrialPending { .. } => "trial-pending",
        Refusal::NoTrial => "no-trial",
        Refusal::NotFound => "not-found",
        Refusal::NotApplied => "not-applied",
        Refusal::Medium => "medium",
        Refusal::OtherDevice => "other-device",
        Refusal::NotPermitted => "not-permitted",
        Refusal::Update(refusal) => update_code(refusal),
    }
}
