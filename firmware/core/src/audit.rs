//! What happened, in a bounded ring with rising ids that confesses what it lost.
//!
//! Nothing is overwritten silently: when the ring is full, records are counted instead, and the
//! next one that finds room is preceded by a [`Event::Lost`] with the count. Grants have places of
//! their own, so that a storm of lesser events cannot push out the record of an opening.

use core::net::IpAddr;

use heapless::{Deque, Vec};

use crate::grant::GrantId;
use crate::knock::{InterfaceIndex, ServicePort};
use crate::limits::{AUDIT_RECORDS_MAX, AUDIT_RESERVED_FOR_GRANTS, PORTS_PER_DOOR_MAX};
use crate::port::FirewallError;
use crate::rule::Name;
use crate::spa::key::KeyTag;
use crate::time::{Duration, Instant};

mod change;
mod update;

pub use change::ConfigChange;
pub use update::UpdateAct;

/// How a client proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// A fixed sequence: a filter, not authentication.
    Sequence,
    /// A packet sealed with the key of this tag.
    Spa(KeyTag),
    /// The process before this one let them in; the kernel still did when this one began.
    Adopted,
    /// A rotating sequence derived from the key of this tag.
    Rotating(KeyTag),
    /// A line of a one-time list.
    OneTime,
}

impl Proof {
    /// The key it was made with.
    pub const fn key(self) -> Option<KeyTag> {
        match self {
            Proof::Spa(tag) | Proof::Rotating(tag) => Some(tag),
            Proof::Sequence | Proof::OneTime | Proof::Adopted => None,
        }
    }
}

/// Why a packet that wants to be one of Single Packet Authorization is refused, for filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyClass {
    /// No key of this gateway made it.
    Mac,
    /// It was used before, or its counter does not count.
    Replay,
    /// Genuine and new, or a complete sequence, and not allowed.
    Policy,
}

impl DenyClass {
    /// Every class.
    pub const ALL: [DenyClass; 3] = [DenyClass::Mac, DenyClass::Replay, DenyClass::Policy];

    const fn id(self) -> &'static str {
        match self {
            DenyClass::Mac => "DENY-MAC",
            DenyClass::Replay => "DENY-REPLAY",
            DenyClass::Policy => "DENY-POLICY",
        }
    }
}

/// Why a completed proof did not open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The source touched a guard port within the sequence's time.
    Tainted,
    /// Every place for grants is taken, or every place this door may take
    /// ([`crate::limits::GRANTS_MAX`], [`crate::limits::GRANTS_RESERVED`]).
    GrantsFull,
    /// The door leads to a host of the other address family.
    OtherFamily,
}

impl DenyReason {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            DenyReason::Tainted => "guard-port-touched",
            DenyReason::GrantsFull => "grants-full",
            DenyReason::OtherFamily => "other-address-family",
        }
    }
}

/// Why a grant ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RevokeReason {
    /// The client knocked the closing sequence.
    CloseSequence,
    /// A new configuration has no such door any more, or not with these ports.
    ConfigChanged,
    /// An operator asked for it.
    Operator,
    /// The client asked for it, with its key.
    SpaRequest,
    /// The key was used from another address, and may not have more grants at this door.
    Superseded,
}

impl RevokeReason {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            RevokeReason::CloseSequence => "close-sequence",
            RevokeReason::ConfigChanged => "config-changed",
            RevokeReason::Operator => "operator",
            RevokeReason::SpaRequest => "spa-request",
            RevokeReason::Superseded => "superseded",
        }
    }
}

/// What the firewall was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirewallTask {
    /// To open a door, or to keep it open for another time.
    Open,
    /// To close it.
    Close,
}

impl FirewallTask {
    /// A short lower-case word for an audit line.
    pub const fn name(self) -> &'static str {
        match self {
            FirewallTask::Open => "open",
            FirewallTask::Close => "close",
        }
    }
}

/// What somebody did at a console, or with a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConsoleAct {
    /// Logged in.
    LoggedIn,
    /// Failed to log in.
    Failed,
    /// Failed so often that the next try must wait.
    Delayed,
    /// Made the first account.
    Enrolled,
    /// Came in with a token the owner had signed.
    BrokeGlass,
}

impl ConsoleAct {
    const fn id(self) -> &'static str {
        match self {
            ConsoleAct::LoggedIn => "CONSOLE-LOGIN",
            ConsoleAct::Failed => "CONSOLE-FAIL",
            ConsoleAct::Delayed => "CONSOLE-LOCK",
            ConsoleAct::Enrolled => "CONSOLE-ENROL",
            ConsoleAct::BrokeGlass => "BREAK-GLASS",
        }
    }
}

/// What a source seems to be up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suspicion {
    /// It looks for ports: it touches guards.
    Scan,
    /// It tries knocks or proofs out.
    Brute,
}

impl Suspicion {
    const fn id(self) -> &'static str {
        match self {
            Suspicion::Scan => "SCAN",
            Suspicion::Brute => "BRUTE",
        }
    }
}

/// What a process has given away, as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The user it runs as.
    pub user: u32,
    /// Capabilities it has left, in the kernel's bits (capabilities(7)).
    pub capabilities: u64,
    /// Whether its system calls are filtered; not on a kernel without seccomp.
    pub seccomp: bool,
    /// Version of landlock that restricts its view of the file system; 0 on a kernel without it.
    pub landlock_abi: u8,
    /// Whether its memory stays in RAM.
    pub memory_locked: bool,
}

/// What is known of the hardware watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchdogState {
    /// It resets the machine when nobody has proved its health for so many seconds.
    Armed {
        /// Seconds.
        timeout_secs: u16,
    },
    /// None was named: a machine that hangs stays so.
    Missing,
    /// The one that was named cannot be used: a machine that hangs stays so.
    Unusable,
    /// It knows why the machine was reset last; the reason in short lower-case words.
    LastReset(&'static str),
}

/// Something worth an audit line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The firewall confirmed that the door is open (or extended).
    Grant {
        /// Which grant.
        grant: GrantId,
        /// Which door.
        door: Name,
        /// For whom.
        source: IpAddr,
        /// Bits of the network of it that it is open for; as many as there are is it alone.
        prefix: u8,
        /// Which ports.
        ports: Vec<ServicePort, PORTS_PER_DOOR_MAX>,
        /// For how long from now.
        open_for: Duration,
        /// How the client proved itself.
        proof: Proof,
        /// The name of its key; empty when it has none.
        key: Name,
        /// Whether the door was open for this source already.
        extended: bool,
        /// Whether the first new connection uses it up.
        one_shot: bool,
    },
    /// A grant ended in its time.
    Expire {
        /// Which grant.
        grant: GrantId,
        /// Which door.
        door: Name,
        /// For whom it had been open.
        source: IpAddr,
        /// Bits of the network of it that it had been open for.
        prefix: u8,
    },
    /// A grant ended before its time.
    Revoke {
        /// Which grant.
        grant: GrantId,
        /// Which door.
        door: Name,
        /// For whom it had been open.
        source: IpAddr,
        /// Bits of the network of it that it had been open for.
        prefix: u8,
        /// Why.
        reason: RevokeReason,
    },
    /// A complete proof did not open the door.
    Deny {
        /// Which door.
        door: Name,
        /// Who knocked.
        source: IpAddr,
        /// Why not.
        reason: DenyReason,
    },
    /// A packet on the port of Single Packet Authorization opened nothing.
    SpaRefused {
        /// Why not, for filters.
        class: DenyClass,
        /// The name of its key, if it is genuine; else empty.
        key: Name,
        /// Where it says to come from.
        source: IpAddr,
        /// Why not, in short lower-case words.
        reason: &'static str,
    },
    /// More were refused than are recorded one by one.
    DenySuppressed {
        /// What.
        class: DenyClass,
        /// How many.
        records: u32,
    },
    /// A source began to be suspicious, or has been quiet for a while. Nothing follows from it but
    /// this record.
    Suspect {
        /// Of what.
        suspicion: Suspicion,
        /// Who, as far as an address can be believed.
        source: IpAddr,
        /// Whether it begins.
        begins: bool,
        /// How often it was seen: since it began, or until it began.
        count: u32,
    },
    /// More sources were suspicious than are told of one by one.
    SuspectsCounted {
        /// Of what.
        suspicion: Suspicion,
        /// How many.
        sources: u32,
    },
    /// More frames come than on any quiet day.
    FloodBegan {
        /// Frames so far in this second.
        per_sec: u32,
    },
    /// The flood is over.
    FloodEnded {
        /// Frames in all.
        frames: u64,
        /// Frames of the busiest second.
        peak_per_sec: u32,
        /// How long it lasted.
        lasted: Duration,
    },
    /// The firewall did not do as it was told, after all tries.
    FirewallFailed {
        /// Which grant.
        grant: GrantId,
        /// Which door.
        door: Name,
        /// For whom.
        source: IpAddr,
        /// Bits of the network of it that is meant.
        prefix: u8,
        /// What it was asked to do.
        task: FirewallTask,
        /// Why the grant was taken back before its time, if it was: no [`Event::Revoke`] follows,
        /// because the door was not closed.
        revoked: Option<RevokeReason>,
        /// How long the kernel may hold the door open yet, at most.
        held_for: Duration,
        /// What it said last.
        error: FirewallError,
    },
    /// The daemon is ready: gate up, capture open.
    Boot {
        /// Doors of the configuration in force.
        doors: u16,
    },
    /// What the daemon gave away before it read anything of the network; `None` when it was told to
    /// keep everything.
    Confinement(Option<Confinement>),
    /// The hardware watchdog.
    Watchdog(WatchdogState),
    /// The daemon found that it does not do its work, or does it again. While it does not, no
    /// watchdog is petted.
    SelfTest {
        /// What is wrong, in short lower-case words; `None` when nothing is any more.
        failure: Option<&'static str>,
    },
    /// Somebody changed the gate in the packet filter.
    FirewallDrift {
        /// How many things differed.
        differences: u16,
        /// Whether it is as it should be again.
        repaired: bool,
    },
    /// Other rules are in force.
    ConfigApplied {
        /// Doors of the configuration in force.
        doors: u16,
    },
    /// A new configuration was refused; the old one stays in force.
    ConfigRejected,
    /// The configuration was changed, or a change was taken back.
    ConfigChanged {
        /// How.
        change: ConfigChange,
        /// The generation it is about; 0 is the factory profile.
        generation: u64,
        /// The account that did it; empty when nobody did.
        by: Name,
    },
    /// An administrator began a new epoch of a key: every counter used so far is void.
    KeyRebased {
        /// Which key.
        key: Name,
        /// The epoch that has begun.
        epoch: u16,
        /// The account that did it.
        by: Name,
    },
    /// A slot of the config partition does not count.
    SlotRefused {
        /// Which.
        slot: u8,
        /// Why, in short lower-case words.
        reason: &'static str,
    },
    /// The config partition failed: what is in force stays, nothing can be committed.
    StoreFailed,
    /// There is no configuration that could be used: the factory profile is in force.
    FactoryProfile,
    /// Start after start did not last: the configuration's ports are kept shut, and nothing else of it
    /// is used.
    SafeMode {
        /// How many starts in a row.
        starts: u32,
        /// How long until the whole configuration is tried again.
        retry_after: Duration,
    },
    /// The whole configuration is in force again after safe mode.
    SafeModeLeft,
    /// Somebody did something at a console, or with a tool.
    Console {
        /// What.
        act: ConsoleAct,
        /// As whom; empty when that is not known.
        account: Name,
    },
    /// An interface is watched no more: it vanished or could not be opened.
    CaptureLost {
        /// Which interface.
        interface: InterfaceIndex,
    },
    /// An interface is watched again.
    CaptureBack {
        /// Which interface.
        interface: InterfaceIndex,
    },
    /// The kernel dropped captured frames because we were too slow.
    CaptureDropped {
        /// Frames since the last such record.
        frames: u64,
    },
    /// Something became of an update of the whole system.
    Update {
        /// What.
        act: UpdateAct,
        /// The release it is about; 0 when it is not known.
        release: u32,
        /// The account that did it; empty when nobody did.
        by: Name,
    },
    /// Records were lost because the ring was full.
    Lost {
        /// How many since the last record that was written.
        records: u32,
    },
}

impl Event {
    /// The event id: stable, for filters in a SIEM.
    pub const fn id(&self) -> &'static str {
        match self {
            Event::Grant { .. } => "GRANT",
            Event::Expire { .. } => "EXPIRE",
            Event::Revoke { .. } => "REVOKE",
            Event::Deny { .. } => DenyClass::Policy.id(),
            Event::SpaRefused { class, .. } | Event::DenySuppressed { class, .. } => class.id(),
            Event::Suspect { suspicion, .. } | Event::SuspectsCounted { suspicion, .. } => suspicion.id(),
            Event::FloodBegan { .. } => "FLOOD-ON",
            Event::FloodEnded { .. } => "FLOOD-OFF",
            Event::FirewallFailed { .. } => "FW-FAIL",
            Event::Boot { .. } => "BOOT",
            Event::Confinement(_) => "CONFINE",
            Event::Watchdog(_) => "WDT",
            Event::SelfTest { .. } => "SELFTEST",
            Event::FirewallDrift { .. } => "FW-DRIFT",
            Event::ConfigApplied { .. } => "CFG-APPLY",
            Event::ConfigChanged { change, .. } => change.id(),
            Event::KeyRebased { .. } => "KEY-REBASE",
            Event::ConfigRejected | Event::SlotRefused { .. } => "CFG-REJECT",
            Event::StoreFailed => "STORE-FAIL",
            Event::FactoryProfile | Event::SafeMode { .. } | Event::SafeModeLeft => "SAFE-MODE",
            Event::Console { act, .. } => act.id(),
            Event::CaptureLost { .. } => "CAP-LOST",
            Event::CaptureBack { .. } => "CAP-BACK",
            Event::CaptureDropped { .. } => "CAP-DROP",
            Event::Update { act, .. } => act.id(),
            Event::Lost { .. } => "LOG-DROP",
        }
    }

    /// Whether it may use the places reserved for grants.
    const fn is_about_a_grant(&self) -> bool {
        let not_closed = matches!(self, Event::FirewallFailed { task: FirewallTask::Close, .. });
        not_closed || matches!(self, Event::Grant { .. } | Event::Expire { .. } | Event::Revoke { .. })
    }
}

/// One entry of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Rises by one with every record and every *lost* record: a gap in the ids is a loss.
    pub id: u64,
    /// When it happened.
    pub at: Instant,
    /// What happened.
    pub event: Event,
}

/// The ring.
#[derive(Debug)]
pub struct AuditRing {
    records: Deque<Record, AUDIT_RECORDS_MAX>,
    next_id: u64,
    lost: u32,
}

impl Default for AuditRing {
    fn default() -> Self {
        Self::new()
    }
}

impl AuditRing {
    /// An empty ring; the first id is 1.
    pub const fn new() -> Self {
        Self { records: Deque::new(), next_id: 1, lost: 0 }
    }

    /// Adds a record, or counts it as lost.
    pub fn push(&mut self, event: Event, at: Instant) {
        let reserve = if event.is_about_a_grant() { 0 } else { AUDIT_RESERVED_FOR_GRANTS };
        let owed = usize::from(self.lost > 0);
        if self.records.len() + reserve + owed >= AUDIT_RECORDS_MAX {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        self.confess(at);
        self.append(event, at);
    }

    /// The oldest record. It stays until [`AuditRing::written`] is called with its id, so that a
    /// busy sink loses nothing.
    pub fn next(&mut self, now: Instant) -> Option<&Record> {
        if self.records.is_empty() {
            self.confess(now);
        }
        self.records.front()
    }

    /// The shell wrote the record with this id. Any other id is ignored.
    pub fn written(&mut self, id: u64) {
        if self.records.front().is_some_and(|record| record.id == id) {
            let _ = self.records.pop_front();
        }
    }

    /// Records waiting to be written.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether nothing waits and nothing was lost.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.lost == 0
    }

    fn confess(&mut self, at: Instant) {
        if self.lost > 0 {
            let records = core::mem::take(&mut self.lost);
            // The lost records' ids are skipped: the gap equals the confessed count.
            self.next_id = self.next_id.saturating_add(u64::from(records));
            self.append(Event::Lost { records }, at);
        }
    }

    fn append(&mut self, event: Event, at: Instant) {
        let id = self.next_id;
        self.next_id = self.next_id.saturating_add(1);
        if self.records.push_back(Record { id, at, event }).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot() -> Event {
        Event::Boot { doors: 1 }
    }

    fn expire() -> Event {
        let source = IpAddr::from([192, 0, 2, 1]);
        Event::Expire { grant: GrantId::from_raw(1), door: Name::new(), source, prefix: 32 }
    }

    fn drain(ring: &mut AuditRing) -> std::vec::Vec<(u64, Event)> {
        let mut all = std::vec::Vec::new();
        while let Some(record) = ring.next(Instant::BOOT) {
            let (id, event) = (record.id, record.event.clone());
            ring.written(id);
            all.push((id, event));
        }
        all
    }

    #[test]
    fn ids_rise_and_a_record_stays_until_written() {
        let mut ring = AuditRing::new();
        ring.push(boot(), Instant::BOOT);
        ring.push(expire(), Instant::BOOT);
        assert_eq!(ring.next(Instant::BOOT).map(|record| record.id), Some(1));
        ring.written(2);
        assert_eq!(ring.next(Instant::BOOT).map(|record| record.id), Some(1));
        assert_eq!(drain(&mut ring), [(1, boot()), (2, expire())]);
        assert!(ring.is_empty());
    }

    #[test]
    fn loss_is_confessed_with_its_count() {
        let mut ring = AuditRing::new();
        for _ in 0..AUDIT_RECORDS_MAX {
            ring.push(boot(), Instant::BOOT);
        }
        let room = AUDIT_RECORDS_MAX - AUDIT_RESERVED_FOR_GRANTS;
        let all = drain(&mut ring);
        assert_eq!(all.len(), room + 1);
        let lost = u32::try_from(AUDIT_RESERVED_FOR_GRANTS).unwrap();
        assert_eq!(all[room].1, Event::Lost { records: lost });
        assert_eq!(all[room].0, u64::try_from(AUDIT_RECORDS_MAX).unwrap() + 1, "the gap equals the loss");
    }

    #[test]
    fn a_storm_leaves_room_for_grants() {
        let mut ring = AuditRing::new();
        for _ in 0..10 * AUDIT_RECORDS_MAX {
            ring.push(boot(), Instant::BOOT);
        }
        for _ in 0..AUDIT_RESERVED_FOR_GRANTS - 1 {
            ring.push(expire(), Instant::BOOT);
        }
        let grants = drain(&mut ring).into_iter().filter(|(_, event)| *event == expire()).count();
        assert_eq!(grants, AUDIT_RESERVED_FOR_GRANTS - 1);
    }

    #[test]
    fn every_record_is_read_or_confessed() {
        let mut ring = AuditRing::new();
        let mut seen = 0;
        for round in 0..5000_u32 {
            ring.push(if round % 3 == 0 { expire() } else { boot() }, Instant::BOOT);
            if round % 1000 == 999 {
                for (_, event) in drain(&mut ring) {
                    seen += if let Event::Lost { records } = event { records } else { 1 };
                }
            }
        }
        assert_eq!(seen, 5000);
    }
}
