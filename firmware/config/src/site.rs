//! Schema 1 of a site: frozen. A change of any field is schema 2 (see [`crate::schema`]).
//!
//! The core must not know serde, so every type it shares with the store has a mirror here. Postcard
//! is not self-describing: the order and the type of every field are the format. The golden octets
//! in `tests/golden.rs` prove that nothing moved.

use core::net::IpAddr;

use heapless::{String, Vec};
use postern_core::knock::{FlagCondition, InterfaceSet, Protocol, ServicePort, Step, TcpFlags, Transport};
use postern_core::limits::{
    ACCOUNTS_MAX, BANNER_BYTES_MAX, DOORS_MAX, GUARD_RANGES_MAX, INTERFACE_NAME_BYTES_MAX, INTERFACES_MAX,
    KEYS_MAX, NAME_BYTES_MAX, PORTS_PER_DOOR_MAX, SEQUENCES_MAX, STEPS_MAX,
};
use postern_core::rule::{
    Behind, Door, DoorId, GuardRange, Purpose, Reach, RuleError, RuleSet, RuleSetBuilder, Sequence, Terms,
};
use postern_core::spa::rotating::{Protocols, Shape, ShapeError};
use postern_core::time::Duration;
use serde::{Deserialize, Serialize};

pub use crate::account::{Role, StoredAccount};
pub use crate::key::{StoredHmac, StoredKey, StoredKeyKind, StoredNetwork, StoredWindow};

/// Name of a network interface.
pub type InterfaceName = String<INTERFACE_NAME_BYTES_MAX>;

/// Which packet filter is driven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// iptables and ip6tables with ipset's kernel sets.
    #[default]
    Iptables,
    /// nftables with its own sets.
    Nftables,
}

/// Everything a gateway is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Name of the gateway, for log lines and labels.
    pub name: String<NAME_BYTES_MAX>,
    /// Interfaces knocks are awaited on, at least one.
    pub interfaces: Vec<InterfaceName, INTERFACES_MAX>,
    /// UDP port Single Packet Authorization is awaited on: watched, never bound. 0 is none.
    pub spa_port: u16,
    /// How wide the guards are that [`crate::guards`] chooses.
    pub guard_widths: StoredGuardWidths,
    /// Which packet filter is driven.
    pub backend: Backend,
    /// Interfaces the gate does not stand on, besides the loopback.
    pub exempt_interfaces: Vec<InterfaceName, INTERFACES_MAX>,
    /// The console.
    pub console: StoredConsole,
    /// Ed25519 public key of the owner: signs fleet configurations and break-glass tokens.
    pub owner: Option<[u8; 32]>,
    /// Who may configure the gateway.
    pub accounts: Vec<StoredAccount, ACCOUNTS_MAX>,
    /// Keys of Single Packet Authorization, in the order of the bits in [`StoredDoor::keys`].
    pub keys: Vec<StoredKey, KEYS_MAX>,
    /// Doors, in the order of their ids.
    pub doors: Vec<StoredDoor, DOORS_MAX>,
    /// Sequences of all doors.
    pub sequences: Vec<StoredSequence, SEQUENCES_MAX>,
    /// Guard ranges, chosen when the site was compiled.
    pub guards: Vec<StoredGuard, GUARD_RANGES_MAX>,
}

/// A door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDoor {
    /// Name, unique in the site.
    pub name: String<NAME_BYTES_MAX>,
    /// Protected ports.
    pub ports: Vec<StoredPort, PORTS_PER_DOOR_MAX>,
    /// How long a grant lasts, in seconds.
    pub open_for_secs: u32,
    /// Only knocks addressed to this address count.
    pub target: Option<IpAddr>,
    /// Bit set of the positions in [`Site::interfaces`] on which knocks count.
    pub interfaces: u8,
    /// Bit set of the positions in [`Site::keys`] that open it.
    pub keys: u64,
    /// Knocks that change with every use.
    pub rotating: Option<StoredRotating>,
    /// A service behind the gateway: the door's first port leads there.
    pub forward: Option<StoredForward>,
    /// Whether a grant ends with the first connection that uses it.
    pub one_shot: bool,
    /// Whether established connections are cut when the grant ends.
    pub cut_at_end: bool,
    /// Prefix length a grant to an IPv4 source covers; 32 is that address alone.
    pub prefix_v4: u8,
    /// Prefix length a grant to an IPv6 source covers; 128 is that address alone.
    pub prefix_v6: u8,
    /// Bit set of the findings of a check that are accepted for this door, see
    /// [`crate::allowance`].
    pub allow: u32,
}

impl StoredDoor {
    /// A door like most: knocks on every interface, nothing special.
    pub fn plain(name: String<NAME_BYTES_MAX>, open_for_secs: u32) -> Self {
        Self {
            name,
            ports: Vec::new(),
            open_for_secs,
            target: None,
            interfaces: u8::MAX,
            keys: 0,
            rotating: None,
            forward: None,
            one_shot: false,
            cut_at_end: false,
            prefix_v4: 32,
            prefix_v6: 128,
            allow: 0,
        }
    }
}

/// Knocks derived from a key and a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRotating {
    /// Position of the key in [`Site::keys`].
    pub key: u8,
    /// How many knocks.
    pub knocks: u8,
    /// How many of the next sequences are awaited at once.
    pub look_ahead: u8,
    /// Bit set of the protocols used: 1 TCP, 2 UDP, 4 ICMP.
    pub protocols: u8,
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
    /// Longest time from the first knock to the last, in milliseconds.
    pub within_millis: u32,
}

impl StoredRotating {
    /// What the knocks look like.
    ///
    /// # Errors
    /// [`ShapeError`].
    pub const fn shape(&self) -> Result<Shape, ShapeError> {
        let set = self.protocols;
        let protocols = Protocols { tcp: set & 1 != 0, udp: set & 2 != 0, icmp: set & 4 != 0 };
        Shape::new(self.knocks, protocols, self.first, self.last)
    }
}

/// Where a forwarded door leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredForward {
    /// Address behind the gateway.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// Half-widths of the guard ranges around each knock; 0 is no guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredGuardWidths {
    /// TCP ports to each side.
    pub tcp: u16,
    /// UDP ports to each side. Narrow: answers to the gateway's own questions come in on any port.
    pub udp: u16,
    /// Echo payload octets to each side.
    pub icmp: u16,
}

impl Default for StoredGuardWidths {
    fn default() -> Self {
        Self { tcp: 256, udp: 16, icmp: 16 }
    }
}

/// The console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredConsole {
    /// Shown before the login; printable ASCII and line feeds. Empty is a neutral notice.
    pub banner: String<BANNER_BYTES_MAX>,
    /// Seconds without a key after which the session ends, 60 to 3600.
    pub idle_lock_secs: u16,
}

impl Default for StoredConsole {
    fn default() -> Self {
        Self { banner: String::new(), idle_lock_secs: 600 }
    }
}

/// A port of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredPort {
    /// TCP.
    Tcp(u16),
    /// UDP.
    Udp(u16),
}

/// One knock, or the protocol of a guard with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StoredStep {
    /// TCP port.
    Tcp(u16),
    /// UDP port.
    Udp(u16),
    /// Payload octets of an echo request.
    Icmp(u16),
}

/// A sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSequence {
    /// Position of its door in [`Site::doors`].
    pub door: u16,
    /// Whether it closes the door instead of opening it.
    pub closes: bool,
    /// Whether it counts once, after those before it in the list.
    pub one_time: bool,
    /// The knocks, in order.
    pub steps: Vec<StoredStep, STEPS_MAX>,
    /// Longest time from the first knock to the last, in milliseconds.
    pub within_millis: u32,
    /// Reordering window in milliseconds; 0 is strictly in order.
    pub reorder_millis: u32,
    /// TCP flags that are looked at, as in octet 13 of the header.
    pub flags_mask: u8,
    /// What they must be.
    pub flags_value: u8,
}

/// A guard range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredGuard {
    /// Protocol and first value.
    pub first: StoredStep,
    /// Last value, of the same protocol.
    pub last: u16,
}

impl Site {
    /// The rule set of this site.
    ///
    /// # Errors
    /// The first rule of [`RuleError`] that is broken.
    pub fn rules(&self) -> Result<RuleSet, RuleError> {
        let mut builder = RuleSetBuilder::new();
        for door in &self.doors {
            builder.door(door.into())?;
        }
        for sequence in &self.sequences {
            if sequence.one_time {
                builder.one_time(sequence.into())?;
            } else {
                builder.sequence(sequence.into())?;
            }
        }
        for (id, door) in (0_u16..).map(DoorId).zip(&self.doors) {
            let Some(rotating) = &door.rotating else { continue };
            let shape = rotating.shape().map_err(|_| RuleError::BadRotating(id))?;
            let within = Duration::from_millis(u64::from(rotating.within_millis));
            builder.rotating(id, shape, rotating.look_ahead, within)?;
        }
        for guard in &self.guards {
            let Step { protocol, value } = guard.first.into();
            builder.guard(GuardRange { protocol, first: value, last: guard.last })?;
        }
        builder.build()
    }
}

impl From<&StoredDoor> for Door {
    fn from(door: &StoredDoor) -> Self {
        Door {
            name: door.name.clone(),
            ports: converted(&door.ports),
            open_for: Duration::from_secs(u64::from(door.open_for_secs)),
            target: door.target,
            interfaces: InterfaceSet(door.interfaces),
            terms: Terms {
                behind: door.forward.map(Behind::from),
                cut_at_end: door.cut_at_end,
                one_shot: door.one_shot,
                reach: Reach { v4: door.prefix_v4, v6: door.prefix_v6 },
            },
        }
    }
}

impl From<&StoredSequence> for Sequence {
    fn from(sequence: &StoredSequence) -> Self {
        let mask = TcpFlags::from_bits(sequence.flags_mask);
        let value = TcpFlags::from_bits(sequence.flags_value);
        Sequence {
            door: DoorId(sequence.door),
            purpose: if sequence.closes { Purpose::Close } else { Purpose::Open },
            steps: converted(&sequence.steps),
            within: Duration::from_millis(u64::from(sequence.within_millis)),
            reorder: Duration::from_millis(u64::from(sequence.reorder_millis)),
            flags: FlagCondition { mask, value },
        }
    }
}

/// Not `collect`, which panics on what does not fit, and here everything fits.
fn converted<A: Copy + Into<B>, B, const N: usize>(stored: &Vec<A, N>) -> Vec<B, N> {
    let mut parts = Vec::new();
    for &part in stored {
        let _ = parts.push(part.into());
    }
    parts
}

impl From<StoredForward> for Behind {
    fn from(forward: StoredForward) -> Self {
        Behind { host: forward.address, port: forward.port }
    }
}

impl From<StoredPort> for ServicePort {
    fn from(port: StoredPort) -> Self {
        match port {
            StoredPort::Tcp(port) => ServicePort::tcp(port),
            StoredPort::Udp(port) => ServicePort::udp(port),
        }
    }
}

impl From<ServicePort> for StoredPort {
    fn from(port: ServicePort) -> Self {
        match port.transport {
            Transport::Tcp => StoredPort::Tcp(port.port),
            Transport::Udp => StoredPort::Udp(port.port),
        }
    }
}

impl From<StoredStep> for Step {
    fn from(step: StoredStep) -> Self {
        match step {
            StoredStep::Tcp(port) => Step::tcp(port),
            StoredStep::Udp(port) => Step::udp(port),
            StoredStep::Icmp(octets) => Step::icmp(octets),
        }
    }
}

impl From<Step> for StoredStep {
    fn from(step: Step) -> Self {
        match step.protocol {
            Protocol::Tcp => StoredStep::Tcp(step.value),
            Protocol::Udp => StoredStep::Udp(step.value),
            Protocol::Icmp => StoredStep::Icmp(step.value),
        }
    }
}
