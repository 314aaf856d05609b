//! The vocabulary of one knock: who sent it, where it landed, what it was.

use core::fmt;
use core::net::IpAddr;

/// Protocol of one knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A TCP segment; the value of the step is the destination port.
    Tcp,
    /// A UDP datagram; the value of the step is the destination port.
    Udp,
    /// An ICMP or ICMPv6 echo request; the value of the step is the number of payload octets
    /// behind the eight header octets (what `ping -s N` calls `N`).
    Icmp,
}

impl Protocol {
    /// Lower-case name as written in a site file.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        }
    }
}

/// One step of a sequence: `tcp/7351`, `udp/24011`, `icmp/83`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// Protocol of the knock.
    pub protocol: Protocol,
    /// Destination port (TCP, UDP) or payload octets (ICMP echo request).
    pub value: u16,
}

impl Step {
    /// A TCP knock on `port`.
    pub const fn tcp(port: u16) -> Self {
        Self { protocol: Protocol::Tcp, value: port }
    }

    /// A UDP knock on `port`.
    pub const fn udp(port: u16) -> Self {
        Self { protocol: Protocol::Udp, value: port }
    }

    /// An echo request with `octets` octets of payload.
    pub const fn icmp(octets: u16) -> Self {
        Self { protocol: Protocol::Icmp, value: octets }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol.name(), self.value)
    }
}

/// Transport of a protected service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP, IP protocol 6.
    Tcp,
    /// UDP, IP protocol 17.
    Udp,
}

impl Transport {
    /// Lower-case name as written in a site file.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }

    /// The IANA protocol number, as it stands in an IP header.
    pub const fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        }
    }
}

/// A port that a door protects and opens: `tcp/22`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// Transport of the service.
    pub transport: Transport,
    /// Port number, 1 to 65535.
    pub port: u16,
}

impl ServicePort {
    /// A TCP service on `port`.
    pub const fn tcp(port: u16) -> Self {
        Self { transport: Transport::Tcp, port }
    }

    /// A UDP service on `port`.
    pub const fn udp(port: u16) -> Self {
        Self { transport: Transport::Udp, port }
    }
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transport.name(), self.port)
    }
}

/// The flag octet of a TCP header (RFC 9293, section 3.1), without ECE and CWR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(u8);

impl TcpFlags {
    /// No flag at all.
    pub const NONE: TcpFlags = TcpFlags(0);
    /// FIN.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// SYN.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// RST.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// PSH.
    pub const PSH: TcpFlags = TcpFlags(0x08);
    /// ACK.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// URG.
    pub const URG: TcpFlags = TcpFlags(0x20);

    /// Flags from the octet at offset 13 of a TCP header; ECE and CWR are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        TcpFlags(bits & 0x3f)
    }

    /// The octet, ECE and CWR zero.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Both sets together.
    pub const fn union(self, other: TcpFlags) -> Self {
        TcpFlags(self.0 | other.0)
    }
}

/// Which TCP segments count as a knock: the flags named in `mask` must equal those in `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlagCondition {
    /// Flags that are looked at.
    pub mask: TcpFlags,
    /// What they must be.
    pub value: TcpFlags,
}

impl FlagCondition {
    /// SYN set, ACK clear: the opening segment of a connection, which is what a stock `knock`
    /// client and a port scanner send.
    pub const OPENING_SYN: FlagCondition =
        FlagCondition { mask: TcpFlags::SYN.union(TcpFlags::ACK), value: TcpFlags::SYN };

    /// Whether a segment with `flags` counts.
    pub const fn holds(self, flags: TcpFlags) -> bool {
        flags.0 & self.mask.0 == self.value.0
    }
}

impl Default for FlagCondition {
    fn default() -> Self {
        Self::OPENING_SYN
    }
}

/// Index of a capture interface in the site's list, 0 to `INTERFACES_MAX - 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceIndex(pub u8);

/// A set of capture interfaces, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceSet(pub u8);

impl InterfaceSet {
    /// Every interface of the site.
    pub const ALL: InterfaceSet = InterfaceSet(u8::MAX);

    /// Whether no interface is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `interface` is in the set.
    pub const fn contains(self, interface: InterfaceIndex) -> bool {
        interface.0 < 8 && self.0 & (1 << interface.0) != 0
    }
}

/// One packet that may be a knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knock {
    /// Where it claims to come from.
    pub source: IpAddr,
    /// Where it was addressed to.
    pub target: IpAddr,
    /// What it knocked on.
    pub step: Step,
    /// TCP flags; [`TcpFlags::NONE`] for UDP and ICMP.
    pub flags: TcpFlags,
    /// Interface it arrived on.
    pub interface: InterfaceIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_syn_is_syn_without_ack() {
        let condition = FlagCondition::OPENING_SYN;
        assert!(condition.holds(TcpFlags::SYN));
        assert!(condition.holds(TcpFlags::SYN.union(TcpFlags::URG)));
        assert!(!condition.holds(TcpFlags::SYN.union(TcpFlags::ACK)));
        assert!(!condition.holds(TcpFlags::RST));
        // ECE and CWR of an ECN-capable SYN (RFC 3168) must not matter.
        assert!(condition.holds(TcpFlags::from_bits(0xc2)));
    }

    #[test]
    fn interface_set_ignores_impossible_indices() {
        assert!(InterfaceSet::ALL.contains(InterfaceIndex(7)));
        assert!(!InterfaceSet::ALL.contains(InterfaceIndex(8)));
        assert!(!InterfaceSet(0b10).contains(InterfaceIndex(0)));
    }
}
