//! The few traits a shell implements. Each has two implementations: the real one in
//! `postern-hal-linux` and the simulated one in `tests/sim`.

use heapless::Vec;

use crate::audit::Record;
use crate::grant::GrantId;
use crate::knock::{InterfaceIndex, ServicePort};
use crate::limits::PORTS_PER_DOOR_MAX;
use crate::network::Network;
use crate::rule::RuleSet;
use crate::spa::key::KeyTag;
use crate::time::Instant;

/// How the first octets of a frame are to be read. The numbers of libpcap's `DLT_*` are mapped to
/// this by the capture adapter (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkType {
    /// Ethernet, with up to two VLAN tags and PPPoE sessions (`DLT_EN10MB`).
    Ethernet,
    /// Bare IPv4 or IPv6, told apart by the version nibble (`DLT_RAW`, tun, wwan).
    RawIp,
    /// PPP, with or without address and control octets (`DLT_PPP`).
    Ppp,
    /// Linux cooked capture v1, 16 octets (`DLT_LINUX_SLL`).
    CookedV1,
    /// Linux cooked capture v2, 20 octets (`DLT_LINUX_SLL2`).
    CookedV2,
    /// BSD loopback, four octets of address family in either byte order (`DLT_NULL`, `DLT_LOOP`).
    Loopback,
}

impl LinkType {
    /// Every way a frame can begin.
    pub const ALL: [LinkType; 6] = [
        LinkType::Ethernet,
        LinkType::RawIp,
        LinkType::Ppp,
        LinkType::CookedV1,
        LinkType::CookedV2,
        LinkType::Loopback,
    ];
}

/// One captured frame. `bytes` may be cut short by the snap length: lengths inside the headers are
/// believed, the payload is not needed.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Interface it arrived on.
    pub interface: InterfaceIndex,
    /// How it begins.
    pub link: LinkType,
    /// The octets, at most [`crate::limits::FRAME_BYTES_MAX`] are looked at.
    pub bytes: &'a [u8],
}

/// Source of inbound frames. Must not block and must not allocate per frame.
pub trait Capture {
    /// The next frame that waits, or `None` when there is none now. An interface that vanished is
    /// the adapter's affair: it re-opens it, it does not fail.
    fn next_frame(&mut self) -> Option<Frame<'_>>;
}

/// Reads monotonic time. Called once a turn.
pub trait Clock {
    /// Milliseconds since boot; never goes back.
    fn now(&mut self) -> Instant;
}

/// Where audit records go. Must not block: a sink that cannot take a record says so and is asked
/// again next turn.
pub trait AuditSink {
    /// Writes one record.
    ///
    /// # Errors
    /// [`SinkBusy`] when it cannot be written now; the record stays in the ring.
    fn write(&mut self, record: &Record, now: Instant) -> Result<(), SinkBusy>;
}

/// The sink cannot take a record now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkBusy;

/// Up to which counter a key may be used: to be written before it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CeilingWrite {
    /// The key's name in the journal.
    pub tag: KeyTag,
    /// The ceiling.
    pub ceiling: u64,
}

/// Where ceilings are kept over a restart and a power cut.
pub trait Journal {
    /// Makes a ceiling durable; returns when it is on the medium.
    ///
    /// # Errors
    /// [`JournalFailed`]; the ceiling before is in force.
    fn write_ceiling(&mut self, write: CeilingWrite) -> Result<(), JournalFailed>;
}

/// The medium did not do as it was told, or has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalFailed;

/// For gateways without keys: writes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn write_ceiling(&mut self, _: CeilingWrite) -> Result<(), JournalFailed> {
        Err(JournalFailed)
    }
}

/// What the firewall shall do for one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirewallCommand {
    /// Lets `source` reach `ports`. A member that is there already gets the new time-out.
    Open {
        /// Comes back in the answer.
        grant: GrantId,
        /// For whom: one address, or a network as wide as [`RuleSet::reach`] says, named by its lowest
        /// address.
        source: Network,
        /// Each port with the seconds the *kernel* shall keep it open, at least 1.
        ports: Vec<(ServicePort, u32), PORTS_PER_DOOR_MAX>,
        /// Whether the first new connection to each port takes it away again.
        once: bool,
    },
    /// Takes `ports` back from `source`. A member that is gone already is a success.
    Close {
        /// Comes back in the answer.
        grant: GrantId,
        /// From whom. Networks of another width than the rules in force have none any more.
        source: Network,
        /// Which ports.
        ports: Vec<ServicePort, PORTS_PER_DOOR_MAX>,
        /// Whether established connections of everybody in `source` to them are cut, too.
        cut: bool,
        /// Whether they were opened with `once`: the kernel holds those apart.
        once: bool,
    },
}

impl FirewallCommand {
    /// The grant it is about.
    pub const fn grant(&self) -> GrantId {
        match self {
            FirewallCommand::Open { grant, .. } | FirewallCommand::Close { grant, .. } => *grant,
        }
    }
}

/// Why the firewall did not do as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FirewallError {
    /// Busy or out of buffers for a moment; worth another try.
    Busy,
    /// The kernel set has no room.
    Full,
    /// Our chain, table or set is gone: somebody removed it.
    Missing,
    /// The kernel refused for want of privilege.
    Denied,
    /// The kernel lacks a match, set type or family that is needed.
    Unsupported,
    /// No answer in time; whether it was done is not known.
    NoAnswer,
    /// Anything else, with the kernel's `errno`.
    Other(i32),
}

impl FirewallError {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            FirewallError::Busy => "busy",
            FirewallError::Full => "set-full",
            FirewallError::Missing => "set-missing",
            FirewallError::Denied => "denied",
            FirewallError::Unsupported => "unsupported",
            FirewallError::NoAnswer => "no-answer",
            FirewallError::Other(_) => "error",
        }
    }
}

/// The packet filter of the machine.
pub trait Firewall {
    /// Puts the gate up, or replaces it, atomically: at no moment is a protected port reachable
    /// without a grant. Members of grants in force stay. Nothing that Postern did not make is
    /// changed.
    ///
    /// # Errors
    /// [`FirewallError`]; the gate is then as it was before.
    fn install(&mut self, rules: &RuleSet) -> Result<(), FirewallError>;

    /// Carries out one command, without waiting longer than
    /// [`crate::limits::FIREWALL_ANSWER`] and without allocating.
    ///
    /// # Errors
    /// [`FirewallError`]; an `Open` that fails in part is undone by the kernel's time-out.
    fn execute(&mut self, command: &FirewallCommand) -> Result<(), FirewallError>;
}

/// The config partition: a raw partition, a loop device or a file, all the same.
///
/// Offsets and lengths are whole sectors of [`SECTOR_BYTES`].
pub trait Partition {
    /// Octets it holds.
    fn size_bytes(&self) -> u64;

    /// Reads `buffer.len()` octets at `offset` from the medium, not from a cache.
    ///
    /// # Errors
    /// [`PartitionError::Read`] and [`PartitionError::OutOfRange`].
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError>;

    /// Writes `bytes` at `offset`. They are safe only after [`Partition::flush`].
    ///
    /// # Errors
    /// [`PartitionError::Write`] and [`PartitionError::OutOfRange`]; what stands there then is not
    /// known.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError>;

    /// Returns only when everything written is on the medium.
    ///
    /// # Errors
    /// [`PartitionError::Flush`]: it is not known what of the writes since the last flush is on
    /// the medium. Trying again proves nothing (the kernel may have dropped the pages).
    fn flush(&mut self) -> Result<(), PartitionError>;
}

/// Octets of a sector, the unit a medium writes whole or tears.
pub const SECTOR_BYTES: usize = 512;

/// Why a partition did not do as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartitionError {
    /// The medium cannot be read there.
    Read,
    /// The medium cannot be written there.
    Write,
    /// The medium did not confirm what was written.
    Flush,
    /// Outside the partition, or not whole sectors.
    OutOfRange,
}
