//! What can be asked of the gateway.

use core::net::IpAddr;

use heapless::Vec;
use postern_config::Role;
use postern_config::update::MANIFEST_BYTES;
use postern_core::rule::Name;
use serde::{Deserialize, Serialize};

use super::{CHUNK_BYTES_MAX, UPDATE_PART_BYTES_MAX};

/// A request with the number its answer carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the peer; an answer to another number is stale.
    pub number: u16,
    /// What is asked.
    pub request: Request,
}

/// Which configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The one that runs, a trial included.
    Running,
    /// One of the history, by generation.
    Generation(u64),
}

/// How a commit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// At once and for good.
    Permanent,
    /// Until confirmed: after this many seconds, or a restart, it is taken back.
    Trial {
        /// 30 s to 24 h.
        secs: u32,
    },
}

/// The verifiers of a password, see [`crate::scram`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAccount {
    /// Name of the account.
    pub name: Name,
    /// What it may do; the first account of a gateway is an admin whatever is asked.
    pub role: Role,
    /// Random octets.
    pub salt: [u8; 16],
    /// Iterations of PBKDF2, at least [`crate::scram::ITERATIONS_MIN`].
    pub iterations: u32,
    /// `StoredKey` of RFC 5802.
    pub stored_key: [u8; 32],
    /// `ServerKey` of RFC 5802.
    pub server_key: [u8; 32],
}

/// What an offline signature by the owner is over, see `postern_config::signed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerSignature {
    /// The only device it is meant for; `None` is every one of this owner.
    pub device: Option<[u8; 16]>,
    /// Security floor it raises the gateway to.
    pub floor: u32,
    /// First half of the Ed25519 signature.
    pub signature_r: [u8; 32],
    /// Second half.
    pub signature_s: [u8; 32],
}

/// A request. In brackets: the role it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "one exists at a time, and nothing may be allocated")]
pub enum Request {
    /// Who is there? Always the first. \[none\]
    Hello {
        /// [`super::PROTOCOL`] of the peer.
        protocol: u16,
    },
    /// Begins a login. Answered by a challenge whether the name exists or not. \[none\]
    Login {
        /// Name of the account.
        name: Name,
        /// Random octets of the client.
        client_nonce: [u8; 16],
    },
    /// Ends a login. \[none\]
    Proof {
        /// `ClientProof` of RFC 5802.
        proof: [u8; 32],
    },
    /// Ends the session; the connection stays. \[none\]
    Logout,
    /// Makes the first account of a gateway that has none, or after a break-glass. \[none\]
    Enrol {
        /// The account.
        account: NewAccount,
    },
    /// Asks for something the owner can sign to let a person in whose secret is lost. \[none\]
    BreakGlassChallenge,
    /// Brings the owner's signature. \[none\]
    BreakGlass {
        /// First half of the Ed25519 signature.
        signature_r: [u8; 32],
        /// Second half.
        signature_s: [u8; 32],
    },
    /// How is it? \[viewer\]
    Status,
    /// A part of a configuration, its secrets as labels. \[viewer\]
    Config {
        /// Which one.
        source: Source,
        /// First octet of the payload that is wanted.
        offset: u32,
    },
    /// One entry of the history. \[viewer\]
    History {
        /// 0 is the newest.
        index: u8,
    },
    /// Doors from this position on. \[viewer\]
    Doors {
        /// Position of the first one wanted.
        from: u16,
    },
    /// Grants with an id above this one. \[viewer\]
    Grants {
        /// 0 is from the first on.
        after: u64,
    },
    /// Keys from this position on, without their secrets. \[viewer\]
    Keys {
        /// Position of the first one wanted.
        from: u16,
    },
    /// Lines of the log with an id above this one. \[viewer\]
    Log {
        /// 0 is from the oldest kept on.
        after: u64,
    },
    /// Begins to keep what is seen of knocks, or reads on. \[operator\]
    Watch {
        /// Number of the last one read; 0 begins.
        after: u64,
    },
    /// Takes grants of a door back. \[operator\]
    Revoke {
        /// Which door.
        door: Name,
        /// From whom; `None` is everybody.
        source: Option<IpAddr>,
    },
    /// Begins to bring a configuration; what another peer was bringing is kept for
    /// a minute, then dropped. \[admin\]
    Stage {
        /// Its schema.
        schema: u16,
        /// Octets of its payload.
        bytes: u32,
        /// SHA-256 of its payload.
        digest: [u8; 32],
    },
    /// The next part. \[admin\]
    StagePart {
        /// Where it belongs; parts come in order.
        offset: u32,
        /// The octets.
        part: Vec<u8, CHUNK_BYTES_MAX>,
    },
    /// Proves that what was staged could be run, and changes nothing. \[admin\]
    Check,
    /// Puts what was staged in force. \[admin\]
    Commit {
        /// Generation it was made from; another one in force is a conflict.
        base: u64,
        /// How it stands.
        standing: Standing,
        /// The owner's signature over a fleet configuration.
        signature: Option<OwnerSignature>,
    },
    /// The trial stands. \[admin\]
    Confirm {
        /// The trial's generation.
        generation: u64,
    },
    /// Takes the trial back now. \[admin\]
    Cancel {
        /// The trial's generation.
        generation: u64,
    },
    /// Puts an older configuration in force, as a new generation. \[admin\]
    Rollback {
        /// Generation in force now; another one is a conflict.
        base: u64,
        /// Generation wanted.
        to: u64,
        /// How it stands.
        standing: Standing,
    },
    /// Erases configuration, history and accounts, and restarts with the factory profile. \[admin\]
    Wipe {
        /// The device's own id, as a proof that the right one is meant.
        device: [u8; 16],
    },
    /// Restarts the machine. \[admin\]
    Reboot,
    /// Begins a new epoch of a key: every counter used so far is void. \[admin\]
    Rebase {
        /// Which key.
        key: Name,
    },
    /// How do updates stand? \[viewer\]
    Update,
    /// Begins to bring an update, or goes on with the same one. The manifest is proved first: signature,
    /// board, release, sizes. \[admin\]
    UpdateBegin {
        /// The manifest with its signature.
        manifest: Vec<u8, MANIFEST_BYTES>,
        /// Only prove it: nothing is written.
        only_check: bool,
    },
    /// The next part of kernel and root file system, one behind the other. Never answered, so that many can
    /// be on their way; [`Request::Update`] says how far it came, and a part that does not follow on is
    /// ignored. \[admin\]
    UpdatePart {
        /// Where it belongs.
        offset: u32,
        /// The octets.
        part: Vec<u8, UPDATE_PART_BYTES_MAX>,
    },
    /// All parts are there: reads them back, and begins the trial with the next start when they are what was
    /// signed. \[admin\]
    UpdateFinish {
        /// Seconds each start on trial waits for [`Request::UpdateConfirm`]; 0 is confirmed when healthy.
        confirm_secs: u32,
    },
    /// The system that runs on trial stands. \[admin\]
    UpdateConfirm {
        /// Its release.
        release: u32,
    },
    /// The other system is started next, without a trial. \[admin\]
    UpdateRollback {
        /// The release that runs; another one is a conflict.
        release: u32,
    },
    /// How far did anybody come in the fixed sequences, from this one on? \[viewer\]
    Heard {
        /// Position of the first one wanted.
        from: u16,
    },
}
