//! What the gateway answers.

use core::fmt;
use core::net::IpAddr;

use heapless::{String, Vec};
use postern_config::Role;
use postern_config::site::{InterfaceName, StoredPort, StoredStep};
use postern_core::limits::{INTERFACES_MAX, PORTS_PER_DOOR_MAX};
use postern_core::network::Network;
use postern_core::rule::Name;
use serde::{Deserialize, Serialize};

use super::{CHUNK_BYTES_MAX, LINE_BYTES_MAX, Refusal, VERSION_BYTES_MAX};

/// The answer to the call with this number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Number of the call; 0 when the call could not be read.
    pub number: u16,
    /// What is answered.
    pub result: Result<Reply, Refusal>,
}

/// Doors in one reply.
pub const DOORS_PER_REPLY_MAX: usize = 4;
/// Grants in one reply.
pub const GRANTS_PER_REPLY_MAX: usize = 8;
/// Keys in one reply.
pub const KEYS_PER_REPLY_MAX: usize = 4;
/// Lines of the log in one reply.
pub const LINES_PER_REPLY_MAX: usize = 3;
/// Knocks in one reply.
pub const KNOCKS_PER_REPLY_MAX: usize = 8;

/// Sequences in one reply about how far anybody came.
pub const HEARD_PER_REPLY_MAX: usize = 16;

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done.
    Done,
    /// To [`super::Request::Hello`].
    Welcome(Welcome),
    /// To [`super::Request::Login`].
    Challenge(Challenge),
    /// To [`super::Request::Proof`] and [`super::Request::Enrol`]: logged in.
    LoggedIn(LoggedIn),
    /// To [`super::Request::BreakGlassChallenge`].
    BreakGlass {
        /// Id of the device, signed with the nonce.
        device: [u8; 16],
        /// Good for one use, until the daemon restarts.
        nonce: [u8; 16],
    },
    /// To [`super::Request::Status`].
    Status(Status),
    /// To [`super::Request::Config`].
    Config(ConfigPart),
    /// To [`super::Request::History`]; `None` is past the oldest.
    History(Option<Generation>),
    /// To [`super::Request::Doors`]; none is past the last.
    Doors(Vec<DoorStatus, DOORS_PER_REPLY_MAX>),
    /// To [`super::Request::Grants`], in the order of their ids; none is past the last.
    Grants(Vec<GrantStatus, GRANTS_PER_REPLY_MAX>),
    /// To [`super::Request::Keys`]; none is past the last.
    Keys(Vec<KeyStatus, KEYS_PER_REPLY_MAX>),
    /// To [`super::Request::Log`]; none is past the newest.
    Log(Vec<LogLine, LINES_PER_REPLY_MAX>),
    /// To [`super::Request::Watch`]; none is past the newest.
    Knocks(Vec<SeenKnock, KNOCKS_PER_REPLY_MAX>),
    /// To [`super::Request::Check`].
    Checked(Checked),
    /// To [`super::Request::Commit`], [`super::Request::Rollback`] and [`super::Request::Confirm`]:
    /// in force now.
    InForce {
        /// The generation in force.
        generation: u64,
        /// Whether anything was written: an unchanged configuration writes nothing.
        written: bool,
    },
    /// To [`super::Request::Rebase`].
    Rebased {
        /// The epoch that has begun; it belongs in the profile of the key's client.
        epoch: u16,
    },
    /// To [`super::Request::Update`], [`super::Request::UpdateBegin`] and the rest that are answered.
    Update(UpdateStatus),
    /// To [`super::Request::Heard`]; none is past the last.
    Heard(Vec<SequenceHeard, HEARD_PER_REPLY_MAX>),
}

/// How an update goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateStage {
    /// None does.
    Idle,
    /// It arrives.
    Receiving {
        /// Its release.
        release: u32,
        /// Octets that are there; the next part begins here.
        received: u32,
        /// Octets of all.
        bytes: u32,
    },
    /// It is read back and compared with what was signed.
    Verifying {
        /// Its release.
        release: u32,
        /// Octets that were read.
        checked: u32,
        /// Octets of all.
        bytes: u32,
    },
    /// It is whole, and tried with the next start.
    Ready {
        /// Its release.
        release: u32,
    },
    /// It was given up; what runs is started next.
    Failed {
        /// Its release.
        release: u32,
        /// Why.
        why: UpdateFailure,
    },
}

/// Why an update was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateFailure {
    /// What was read back is not what was signed.
    Digest,
    /// The medium failed.
    Medium,
}

/// How updates stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Name of the board.
    pub board: String<{ postern_config::update::BOARD_BYTES_MAX }>,
    /// Whether slot B runs; else slot A.
    pub slot_b: bool,
    /// The release that runs.
    pub release: u32,
    /// The oldest release that is taken.
    pub floor: u32,
    /// Whether what runs is on trial.
    pub trial: bool,
    /// Seconds until it is taken back; `None` when it confirms itself.
    pub secs_left: Option<u32>,
    /// Starts that are left to it, should nobody confirm it.
    pub left: u8,
    /// Whether the other slot holds something that could be started.
    pub other_good: bool,
    /// Whether the boot loader has come back to what runs, because the other one did not become healthy.
    pub fell_back: bool,
    /// Whether it has proved its health since it started.
    pub healthy: bool,
    /// How the update on its way goes.
    pub stage: UpdateStage,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`super::PROTOCOL`] of the daemon.
    pub protocol: u16,
    /// Version of the daemon.
    pub version: String<VERSION_BYTES_MAX>,
    /// Name of the gateway.
    pub gateway: Name,
    /// Whether an account exists; if not, the first may be made.
    pub enrolled: bool,
    /// What this peer may do already, from who it is on its machine.
    pub role: Option<Role>,
    /// Shown before a login.
    pub banner: String<{ postern_core::limits::BANNER_BYTES_MAX }>,
    /// Seconds without a key after which a console ends its session.
    pub idle_lock_secs: u16,
    /// Whether an owner is known, without whom there is no break-glass.
    pub has_owner: bool,
}

/// What a client needs to prove that it knows the password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Salt of the account.
    pub salt: [u8; 16],
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// Random octets of the daemon.
    pub server_nonce: [u8; 16],
}

/// Logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// What the session may do.
    pub role: Role,
    /// `ServerSignature` of RFC 5802: who does not know the account cannot make it.
    pub server_signature: [u8; 32],
}

/// Where the running configuration came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// A slot of the config partition.
    Slot,
    /// The factory profile: there is none.
    Factory,
    /// A slot, of which only the shut ports and the accounts are in force: start after start did not
    /// last.
    Safe,
}

/// Health of the config partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoreHealth {
    /// As it should be.
    Good,
    /// Slots were refused: damaged, from elsewhere, or written back.
    SlotsRefused {
        /// How many.
        slots: u8,
    },
    /// The medium failed: nothing can be committed until a restart.
    Failed,
}

/// A trial that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its generation.
    pub generation: u64,
    /// Seconds until it is taken back.
    pub secs_left: u32,
}

/// One capture interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: InterfaceName,
    /// Whether it is watched now.
    pub live: bool,
}

/// How the gateway is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Name of the gateway.
    pub gateway: Name,
    /// Id of the device.
    pub device: [u8; 16],
    /// Milliseconds since the machine started.
    pub uptime_millis: u64,
    /// Generation in force; 0 is the factory profile.
    pub generation: u64,
    /// SHA-256 of its payload.
    pub digest: [u8; 32],
    /// Where it came from.
    pub origin: Origin,
    /// The trial that runs.
    pub trial: Option<Trial>,
    /// Security floor.
    pub floor: u32,
    /// Config partition.
    pub store: StoreHealth,
    /// Starts since the partition was formatted.
    pub boots: u32,
    /// Starts in a row without a healthy period.
    pub unclean_boots: u32,
    /// Doors of the configuration.
    pub doors: u16,
    /// Grants in force.
    pub grants: u16,
    /// Accounts.
    pub accounts: u8,
    /// Keys.
    pub keys: u8,
    /// Capture interfaces.
    pub interfaces: Vec<InterfaceStatus, INTERFACES_MAX>,
    /// Frames seen since the daemon started.
    pub frames: u64,
    /// Knocks seen.
    pub knocks: u64,
    /// Guards touched.
    pub guard_touches: u64,
    /// Doors opened.
    pub opened: u64,
    /// Frames the kernel dropped because the daemon was too slow.
    pub dropped: u64,
    /// Id of the newest line of the log.
    pub log_newest: u64,
}

/// A part of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigPart {
    /// Its generation; 0 is the factory profile.
    pub generation: u64,
    /// Its schema.
    pub schema: u16,
    /// Octets of the payload with labels in the place of secrets.
    pub bytes: u32,
    /// Where this part belongs.
    pub offset: u32,
    /// The octets; none is past the end.
    pub part: Vec<u8, CHUNK_BYTES_MAX>,
}

/// One configuration of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number.
    pub generation: u64,
    /// SHA-256 of its payload.
    pub digest: [u8; 32],
    /// Octets of its payload.
    pub bytes: u32,
    /// Security floor it was committed with.
    pub floor: u32,
    /// Whether it was a trial that nobody confirmed.
    pub unconfirmed: bool,
    /// Whether it is in force.
    pub in_force: bool,
}

/// One door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoorStatus {
    /// Its name.
    pub name: Name,
    /// What it protects.
    pub ports: Vec<StoredPort, PORTS_PER_DOOR_MAX>,
    /// How long a grant lasts.
    pub open_for_secs: u32,
    /// Knocks of its opening sequence; 0 is none.
    pub knocks: u8,
    /// Keys that open it.
    pub keys: u8,
    /// Grants in force.
    pub grants: u16,
}

/// How far anybody came in one fixed sequence since its configuration was put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceHeard {
    /// Its position in the configuration.
    pub sequence: u16,
    /// Knocks that came from anybody, in turn or not: bit 0 is the first.
    pub heard: u16,
    /// Most knocks that one source has shown in turn.
    pub furthest: u8,
}

/// One grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantStatus {
    /// Its id.
    pub id: u64,
    /// The door.
    pub door: Name,
    /// Who asked for it.
    pub source: IpAddr,
    /// Bits of the network of it that it is for; as many as there are is it alone.
    pub prefix: u8,
    /// Seconds left.
    pub secs_left: u32,
}

impl GrantStatus {
    /// Whom it lets in.
    pub fn network(&self) -> Network {
        Network::around(self.source, self.prefix)
    }

    /// Who asked for it, and whom it lets in if that is more: `192.0.2.7 for 192.0.2.0/24`.
    pub fn whom(&self) -> impl fmt::Display + '_ {
        Whom(self)
    }
}

struct Whom<'g>(&'g GrantStatus);

impl fmt::Display for Whom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = self.0.network();
        write!(f, "{}", self.0.source)?;
        if network.is_host() { Ok(()) } else { write!(f, " for {network}") }
    }
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStatus {
    /// Its name.
    pub name: Name,
    /// Whether it is of the stock fwknop client.
    pub fwknop: bool,
    /// Doors it opens.
    pub doors: u16,
    /// Whether it is refused for now.
    pub disabled: bool,
    /// Counter up to which its packets may have been used; a time stamp in seconds since 1970 with the stock
    /// fwknop client.
    pub counter: u64,
    /// Seconds since it last opened a door, or wanted to; `None` when that was before the last start.
    pub used_secs_ago: Option<u32>,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Number of its record.
    pub id: u64,
    /// Milliseconds since the machine started.
    pub at_millis: u64,
    /// Event and fields, printable ASCII.
    pub text: String<LINE_BYTES_MAX>,
}

/// How far a knock brought its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// So many knocks of the sequence are there.
    Reached {
        /// How many.
        knocks: u8,
    },
    /// The sequence is complete.
    Completed,
    /// Complete, and refused: the source touched a guard.
    Tainted,
    /// It is a knock of the sequence, but not the next one, or too late.
    OutOfOrder,
    /// No room in the table of attempts.
    NoRoom,
}

/// A knock that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenKnock {
    /// Rises with each.
    pub number: u64,
    /// Milliseconds since the machine started.
    pub at_millis: u64,
    /// Who knocked.
    pub source: IpAddr,
    /// The knock.
    pub step: StoredStep,
    /// Door whose sequence it belongs to; `None` is a guard.
    pub door: Option<Name>,
    /// Knocks of that sequence.
    pub of: u8,
    /// What it meant.
    pub progress: Progress,
}

/// What a staged configuration would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Doors.
    pub doors: u16,
    /// Grants that would be taken back.
    pub grants_lost: u16,
    /// Whether it is what runs already.
    pub unchanged: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::{FRAME_BYTES_MAX, encode_frame};
    use heapless::String;

    fn text<const N: usize>() -> String<N> {
        (0..N).map(|_| 'w').collect()
    }

    fn full<T: Clone, const N: usize>(one: &T) -> Vec<T, N> {
        (0..N).map(|_| one.clone()).collect()
    }

    const SOURCE: IpAddr = IpAddr::V6(core::net::Ipv6Addr::new(1, 2, 3, 4, 5, 6, 7, 8));

    fn status() -> Status {
        Status {
            gateway: text(),
            device: [0xff; 16],
            uptime_millis: u64::MAX,
            generation: u64::MAX,
            digest: [0xff; 32],
            origin: Origin::Factory,
            trial: Some(Trial { generation: u64::MAX, secs_left: u32::MAX }),
            floor: u32::MAX,
            store: StoreHealth::SlotsRefused { slots: u8::MAX },
            boots: u32::MAX,
            unclean_boots: u32::MAX,
            doors: u16::MAX,
            grants: u16::MAX,
            accounts: u8::MAX,
            keys: u8::MAX,
            interfaces: full(&InterfaceStatus { name: text(), live: true }),
            frames: u64::MAX,
            knocks: u64::MAX,
            guard_touches: u64::MAX,
            opened: u64::MAX,
            dropped: u64::MAX,
            log_newest: u64::MAX,
        }
    }

    fn welcome() -> Welcome {
        Welcome {
            protocol: u16::MAX,
            version: text(),
            gateway: text(),
            enrolled: true,
            role: Some(Role::Admin),
            banner: text(),
            idle_lock_secs: u16::MAX,
            has_owner: true,
        }
    }

    fn update() -> UpdateStatus {
        UpdateStatus {
            board: text(),
            slot_b: true,
            release: u32::MAX,
            floor: u32::MAX,
            trial: true,
            secs_left: Some(u32::MAX),
            left: u8::MAX,
            other_good: true,
            fell_back: true,
            healthy: true,
            stage: UpdateStage::Verifying { release: u32::MAX, checked: u32::MAX, bytes: u32::MAX },
        }
    }

    #[test]
    fn the_largest_replies_fit_into_a_frame() {
        let door = DoorStatus {
            name: text(),
            ports: full(&StoredPort::Udp(u16::MAX)),
            open_for_secs: u32::MAX,
            knocks: u8::MAX,
            keys: u8::MAX,
            grants: u16::MAX,
        };
        let grant =
            GrantStatus { id: u64::MAX, door: text(), source: SOURCE, prefix: 128, secs_left: u32::MAX };
        let key = KeyStatus {
            name: text(),
            fwknop: true,
            doors: u16::MAX,
            disabled: true,
            counter: u64::MAX,
            used_secs_ago: Some(u32::MAX),
        };
        let line = LogLine { id: u64::MAX, at_millis: u64::MAX, text: text() };
        let knock = SeenKnock {
            number: u64::MAX,
            at_millis: u64::MAX,
            source: SOURCE,
            step: StoredStep::Icmp(u16::MAX),
            door: Some(text()),
            of: u8::MAX,
            progress: Progress::Reached { knocks: u8::MAX },
        };
        let part = ConfigPart {
            generation: u64::MAX,
            schema: u16::MAX,
            bytes: u32::MAX,
            offset: u32::MAX,
            part: full(&0),
        };
        let replies = [
            Reply::Welcome(welcome()),
            Reply::Status(status()),
            Reply::Config(part),
            Reply::Doors(full(&door)),
            Reply::Grants(full(&grant)),
            Reply::Keys(full(&key)),
            Reply::Log(full(&line)),
            Reply::Knocks(full(&knock)),
            Reply::Update(update()),
            Reply::Heard(full(&SequenceHeard { sequence: u16::MAX, heard: u16::MAX, furthest: u8::MAX })),
        ];
        for reply in replies {
            let answer = Answer { number: u16::MAX, result: Ok(reply) };
            let mut frame = [0; FRAME_BYTES_MAX];
            assert!(encode_frame(&answer, &mut frame).is_ok(), "{answer:?}");
        }
    }
}
