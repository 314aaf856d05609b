//! The schema of a site, number 0: not frozen yet, stores are made anew with every release.
//!
//! The core must not know serde, so every type it shares with the store has a mirror here. Postcard
//! is not self-describing: any change of a field is a change of the schema.

use core::net::IpAddr;

use heapless::{String, Vec};
use postern_core::knock::{FlagCondition, InterfaceSet, Protocol, ServicePort, Step, TcpFlags, Transport};
use postern_core::limits::{
    DOORS_MAX, GUARD_RANGES_MAX, INTERFACE_NAME_BYTES_MAX, INTERFACES_MAX, NAME_BYTES_MAX,
    PORTS_PER_DOOR_MAX, SEQUENCES_MAX, STEPS_MAX,
};
use postern_core::rule::{Door, DoorId, GuardRange, Purpose, RuleError, RuleSet, RuleSetBuilder, Sequence};
use postern_core::time::Duration;
use serde::{Deserialize, Serialize};

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
    /// Which packet filter is driven.
    pub backend: Backend,
    /// Interfaces the gate does not stand on, besides the loopback.
    pub exempt_interfaces: Vec<InterfaceName, INTERFACES_MAX>,
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
            builder.sequence(sequence.into())?;
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
