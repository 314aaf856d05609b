//! Why the gateway did not do as it was asked.

use core::fmt;

use postern_config::Role;
use serde::{Deserialize, Serialize};

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The frame or the request in it could not be read.
    Malformed,
    /// The peer speaks another version of the protocol.
    OtherProtocol {
        /// What the daemon speaks.
        protocol: u16,
    },
    /// Nobody is logged in.
    NotLoggedIn,
    /// The login failed: name or password, and not said which.
    LoginFailed,
    /// The role does not suffice.
    NotAllowed {
        /// The role that would.
        needs: Role,
    },
    /// Too many logins failed: the next one may be tried later.
    TooSoon {
        /// Seconds from now.
        secs: u32,
    },
    /// The gateway has accounts already.
    AlreadyEnrolled,
    /// The gateway has no account yet.
    NotEnrolled,
    /// No owner is known who could sign.
    NoOwner,
    /// The owner's signature does not fit.
    BadSignature,
    /// The signature is for a floor below the gateway's.
    BelowFloor {
        /// The gateway's floor.
        floor: u32,
    },
    /// Another peer is bringing a configuration.
    Busy,
    /// Parts do not come in order, or nothing is staged.
    OutOfOrder,
    /// What was staged cannot be run.
    Invalid(InvalidConfig),
    /// Another configuration is in force than the one that was changed.
    Conflict {
        /// The generation in force.
        generation: u64,
    },
    /// A trial runs: confirm or cancel it first.
    TrialPending {
        /// Its generation.
        generation: u64,
        /// Seconds until it is taken back.
        secs_left: u32,
    },
    /// No trial with this generation runs.
    NoTrial,
    /// No such generation, door or grant.
    NotFound,
    /// The configuration could not be put in force; the one before is in force.
    NotApplied,
    /// The config partition failed; after a restart the old configuration or the new one is in
    /// force.
    Medium,
    /// The device id does not fit.
    OtherDevice,
    /// The daemon was started without the right to do that.
    NotPermitted,
    /// An update was refused.
    Update(UpdateRefusal),
}

/// What is wrong with an update, or with the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateRefusal {
    /// The gateway has no second slot, or the daemon was not told of it.
    NoSlots,
    /// Not a manifest this version reads.
    Malformed,
    /// For another board.
    OtherBoard,
    /// Older than what runs, or than what was confirmed.
    Downgrade {
        /// The oldest release that is taken.
        floor: u32,
    },
    /// A payload is larger than its partition.
    TooLarge,
    /// What runs is on trial: the other slot is the one to go back to.
    OnTrial,
    /// Nothing is on trial, or another release than was named.
    NotOnTrial,
    /// What runs has not proved its health yet.
    NotHealthy,
    /// The other slot holds nothing that could be started.
    NoOther,
    /// The medium failed; what runs is started next.
    Medium,
}

/// What is wrong with a staged configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvalidConfig {
    /// Its digest is not the one it was announced with.
    Digest,
    /// Of a schema this version does not know.
    Schema {
        /// The schema.
        schema: u16,
    },
    /// Not a configuration.
    Malformed,
    /// Larger than any can be.
    TooLong,
    /// A label stands for a secret that the gateway does not hold: bring the secret itself.
    SecretNotHeld,
    /// The engine would refuse its rules; `postern check` says why.
    Rules,
    /// Nobody could configure the gateway any more: it has no admin.
    NoAdmin,
    /// Its interfaces are not watched, or none is named.
    Interfaces,
    /// It asks for something this version cannot do.
    Unsupported,
}

impl Refusal {
    /// The exit status of a tool that was refused.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Refusal::Invalid(_) => 3,
            Refusal::NotLoggedIn | Refusal::LoginFailed | Refusal::TooSoon { .. } => 5,
            Refusal::NotAllowed { .. } | Refusal::BadSignature | Refusal::NotPermitted => 5,
            Refusal::Conflict { .. } | Refusal::Busy => 6,
            Refusal::TrialPending { .. } => 7,
            Refusal::OtherDevice => 8,
            Refusal::Update(UpdateRefusal::OnTrial) => 7,
            _ => 1,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Malformed => f.write_str("the request could not be read"),
            Refusal::OtherProtocol { protocol } => {
                write!(f, "the gateway speaks protocol {protocol}: use the tools of its version")
            }
            Refusal::NotLoggedIn => f.write_str("log in first"),
            Refusal::LoginFailed => f.write_str("login failed"),
            Refusal::NotAllowed { needs } => write!(f, "that needs the role {}", needs.name()),
            Refusal::TooSoon { secs } => write!(f, "too many failed logins: try again in {secs} s"),
            Refusal::AlreadyEnrolled => f.write_str("the gateway has accounts already: log in"),
            Refusal::NotEnrolled => f.write_str("the gateway has no account yet: enrol the first one"),
            Refusal::NoOwner => f.write_str("no owner key is configured, so nobody can sign"),
            Refusal::BadSignature => f.write_str("the owner's signature does not fit"),
            Refusal::BelowFloor { floor } => {
                write!(f, "it is older than the gateway's security floor {floor}")
            }
            Refusal::Busy => {
                f.write_str("somebody else is changing the configuration: try again in a minute")
            }
            Refusal::OutOfOrder => f.write_str("nothing is staged, or its parts came out of order"),
            Refusal::Invalid(invalid) => invalid.fmt(f),
            Refusal::Conflict { generation } => {
                write!(f, "the configuration was changed meanwhile: generation {generation} is in force")
            }
            Refusal::TrialPending { generation, secs_left } => {
                write!(f, "trial {generation} runs for {secs_left} s more: confirm or cancel it first")
            }
            Refusal::NoTrial => f.write_str("no such trial runs"),
            Refusal::NotFound => f.write_str("there is no such thing"),
            Refusal::NotApplied => {
                f.write_str("it could not be put in force, and the one before stays: the log says why")
            }
            Refusal::Medium => f.write_str("the config partition failed: see the log, then restart"),
            Refusal::OtherDevice => f.write_str("this is another device"),
            Refusal::NotPermitted => f.write_str("the daemon was started without the right to do that"),
            Refusal::Update(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for UpdateRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateRefusal::NoSlots => f.write_str("the gateway has no second slot for updates"),
            UpdateRefusal::Malformed => f.write_str("it is no update that the gateway's version can read"),
            UpdateRefusal::OtherBoard => f.write_str("the update is for another board"),
            UpdateRefusal::Downgrade { floor } => {
                write!(f, "the update is older than release {floor}, and the gateway does not go back")
            }
            UpdateRefusal::TooLarge => f.write_str("the update is larger than a slot"),
            UpdateRefusal::OnTrial => f.write_str(
                "what runs is on trial, and the other slot is the one to go back to: confirm it first",
            ),
            UpdateRefusal::NotOnTrial => f.write_str("no such release runs, or it is not on trial"),
            UpdateRefusal::NotHealthy => {
                f.write_str("what runs has not proved its health yet: ask again in 10 s")
            }
            UpdateRefusal::NoOther => f.write_str("the other slot holds nothing that could be started"),
            UpdateRefusal::Medium => f.write_str("the medium failed: what runs now is started next"),
        }
    }
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidConfig::Digest => f.write_str("the configuration was damaged on its way: send it again"),
            InvalidConfig::Schema { schema } => {
                write!(f, "schema {schema} is not known to the gateway: use the tools of its version")
            }
            InvalidConfig::Malformed => f.write_str("it is not a configuration"),
            InvalidConfig::TooLong => f.write_str("it is larger than a configuration can be"),
            InvalidConfig::SecretNotHeld => {
                f.write_str("the gateway does not hold a secret it refers to: give the secret itself")
            }
            InvalidConfig::Rules => f.write_str("its rules cannot be run: `postern check` says why"),
            InvalidConfig::NoAdmin => f.write_str("it has no admin: nobody could configure the gateway"),
            InvalidConfig::Interfaces => f.write_str("it names no interface to await knocks on"),
            InvalidConfig::Unsupported => f.write_str("it asks for something this version cannot do"),
        }
    }
}
