//! The kernel filter: a classic BPF program made from the rule set.
//!
//! It passes only what may be a knock or touch a guard: TCP segments that meet a flag condition
//! and UDP datagrams, each to a port that is watched; echo requests with a payload length that is
//! watched. Fragments are dropped. The program walks headers exactly as `postern_core::wire` does
//! (VLAN tags, PPPoE, IPv4 options, IPv6 extension headers up to the same bounds), so packets with
//! odd headers are no cheaper way to reach user space than plain ones. Addresses and the lengths
//! of TCP and UDP are left to the parser.
//!
//! # Offsets
//!
//! All loads are at *positive* offsets from where the socket's data begin. Linux has loads relative
//! to the network header too (`SKF_NET_OFF`), which would make one program fit every link type,
//! but in kernels before 2025 they see only the linear part of a packet: with drivers that leave
//! it in page fragments (iwlwifi, `napi_gro_frags`) the filter would be blind without a word.
//!
//! Where the data begin depends on the socket: with the link header on the ones libpcap calls
//! `DLT_EN10MB`, with the network header on cooked ones (`SOCK_DGRAM`: "any", PPP, devices
//! libpcap does not know), whatever header libpcap then puts before the frame in user space.
//! There the EtherType is the one the kernel knows (`SKF_AD_PROTOCOL`). The outer VLAN tag is
//! taken out by the kernel before a packet socket sees the frame and put back by libpcap, so the
//! program sees one tag less than the parser.
//!
//! # Cost
//!
//! Whether a port is watched takes about log2(ranges) comparisons: 27 instructions for a segment of
//! an established connection, about 40 for a knock, with one range or with the most there can be.
//! [`CAPTURE_RANGES_MAX`] ranges make a program of 1,800 instructions. The kernel charges its own
//! translation, about 22 octets a range, to the socket: Linux before 6.8 allows 20 KiB
//! (`net.core.optmem_max`), enough for some 800 ranges, and 10 KiB on 32-bit machines, for some 330.

use core::fmt;

use nix::libc;
use postern_core::knock::{FlagCondition, Protocol};
use postern_core::limits::{CAPTURE_RANGES_MAX, EXTENSION_BYTES_MAX, EXTENSIONS_MAX, FLAG_CONDITIONS_MAX};
use postern_core::port::LinkType;
use postern_core::rule::RuleSet;

use crate::bpf::{
    Builder, Target, Test, a_to_x, add, add_x, load_ancillary, load_u8, load_u16, load_u16_at, load_word,
    load_x_word, mask, set_x, shift_left, store, store_x, subtract, subtract_x, x_to_a,
};
pub use crate::bpf::{INSTRUCTIONS_MAX, Program};

/// Memory word: offset of the network header.
const NETWORK: u32 = 0;
/// Memory word: octets of the IPv4 header, or the next header of IPv6.
const HEADER: u32 = 1;
/// Memory word: an offset kept aside.
const ASIDE: u32 = 2;

/// Ranges compared one after the other at the end of a binary search. More of them make the
/// program shorter (every leaf of the tree ends in a jump two ways, which is two instructions in
/// the kernel's own translation) and the search longer.
const RANGES_PER_LEAF: usize = 4;

/// VLAN tags looked through; the kernel has taken the outer one out already.
const TAGS_MAX: u32 = 2;

/// Inclusive range of ports, or of echo payload octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// First value.
    pub first: u16,
    /// Last value, not below `first`.
    pub last: u16,
}

/// What the kernel shall let through, without the rules behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    tcp: Vec<Range>,
    udp: Vec<Range>,
    icmp: Vec<Range>,
    flags: heapless::Vec<FlagCondition, FLAG_CONDITIONS_MAX>,
}

/// Why no kernel filter can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// The knocks and guards make more separate ranges than [`CAPTURE_RANGES_MAX`]. Filtering in
    /// user space instead would cost microseconds for every packet of the site, so it is refused.
    TooManyRanges {
        /// How many there are.
        ranges: usize,
    },
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FilterError::TooManyRanges { ranges } = self;
        write!(
            f,
            "knocks and guard ports make {ranges} separate ranges, the kernel filter takes {CAPTURE_RANGES_MAX}: \
             use fewer doors, shorter sequences, or ports that lie closer together"
        )
    }
}

impl std::error::Error for FilterError {}

impl Interest {
    /// What `rules` may ever watch, whatever is awaited at the moment, and the UDP ports in `datagram_ports` (single-packet authorisation).
    ///
    /// # Errors
    /// [`FilterError::TooManyRanges`].
    pub fn new(rules: &RuleSet, datagram_ports: &[u16]) -> Result<Self, FilterError> {
        let of = |protocol: Protocol| {
            let watched = rules.watched().filter(|range| range.protocol == protocol);
            watched.map(|range| Range { first: range.first, last: range.last }).collect::<Vec<_>>()
        };
        let mut udp = of(Protocol::Udp);
        udp.extend(datagram_ports.iter().copied().map(Range::single));
        let flags = rules.flag_conditions().iter().copied().collect();
        let interest = Self {
            tcp: merged(of(Protocol::Tcp)),
            udp: merged(udp),
            icmp: merged(of(Protocol::Icmp)),
            flags,
        };
        match interest.ranges() {
            0..=CAPTURE_RANGES_MAX => Ok(interest),
            ranges => Err(FilterError::TooManyRanges { ranges }),
        }
    }

    /// Separate ranges over all protocols.
    pub fn ranges(&self) -> usize {
        self.tcp.len() + self.udp.len() + self.icmp.len()
    }

    /// The program for sockets with this link type.
    ///
    /// # Errors
    /// [`FilterError::TooManyRanges`] when it is longer than the kernel takes.
    pub fn program(&self, link: LinkType) -> Result<Program, FilterError> {
        let mut builder = Builder::default();
        let entry = self.frame(&mut builder, link);
        let program = builder.finish(entry);
        if program.instructions().len() > INSTRUCTIONS_MAX {
            return Err(FilterError::TooManyRanges { ranges: self.ranges() });
        }
        Ok(program)
    }

    /// Everything: what the machine sends is dropped first.
    fn frame(&self, builder: &mut Builder, link: LinkType) -> Target {
        if self.ranges() == 0 {
            return Target::Reject;
        }
        const PACKET_OUTGOING: u32 = libc::PACKET_OUTGOING as u32;
        let ip = self.ip(builder);
        let inbound = link_layer(builder, link, ip);
        let direction = builder.branch(Test::Equal(PACKET_OUTGOING), Target::Reject, inbound);
        // The kernel's check that memory is written before it is read takes what follows a `ret` in
        // the program for what is executed after it, so every word is written first of all.
        let start = [store(NETWORK), store(HEADER), store(ASIDE), load_ancillary(libc::SKF_AD_PKTTYPE)];
        builder.run(&start, direction)
    }

    fn ip(&self, builder: &mut Builder) -> Ip {
        let icmp = member(builder, &self.icmp, false);
        let udp = member(builder, &self.udp, false);
        let udp = builder.run(&[load_u16(2)], udp);
        let tcp = self.tcp(builder);
        let v6 = ipv6(builder, tcp, udp, icmp);
        let v4 = ipv4(builder, tcp, udp, icmp);
        Ip { v4, v6 }
    }

    /// TCP header at X: one of the flag conditions, then the destination port. The flags come
    /// first because they drop the bulk, established connections, with one comparison.
    fn tcp(&self, builder: &mut Builder) -> Target {
        let ports = member(builder, &self.tcp, false);
        if ports == Target::Reject {
            return ports;
        }
        let port = builder.run(&[load_u16(2)], ports);
        let mut otherwise = Target::Reject;
        for condition in self.flags.iter().rev() {
            let holds = builder.branch(Test::Equal(condition.value.bits().into()), port, otherwise);
            otherwise = builder.run(&[load_u8(13), mask(condition.mask.bits().into())], holds);
        }
        otherwise
    }
}

impl Range {
    const fn single(value: u16) -> Self {
        Self { first: value, last: value }
    }
}

/// Sorted, disjoint, not even touching.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joins = u32::from(next.first) <= u32::from(kept.last) + 1;
        if joins {
            kept.last = kept.last.max(next.last);
        }
        joins
    });
    ranges
}

/// Accepts when the accumulator lies in one of `ranges`: a binary search. `at_least_first` says
/// that it is known not to lie below the first range.
fn member(builder: &mut Builder, ranges: &[Range], at_least_first: bool) -> Target {
    let (left, right) = ranges.split_at(ranges.len() / 2);
    match right.first() {
        Some(middle) if ranges.len() > RANGES_PER_LEAF => {
            let above = member(builder, right, true);
            let below = member(builder, left, at_least_first);
            builder.branch(Test::AtLeast(middle.first.into()), above, below)
        }
        _ => member_of_few(builder, ranges, at_least_first),
    }
}

/// The leaf of the search: from the highest range down.
fn member_of_few(builder: &mut Builder, ranges: &[Range], at_least_first: bool) -> Target {
    let mut otherwise = Target::Reject;
    for (position, range) in ranges.iter().enumerate() {
        let (first, last) = (u32::from(range.first), u32::from(range.last));
        if first == last {
            otherwise = builder.branch(Test::Equal(first), Target::Accept, otherwise);
            continue;
        }
        if position > 0 || !at_least_first {
            otherwise = builder.branch(Test::AtLeast(first), Target::Accept, otherwise);
        } else {
            otherwise = Target::Accept;
        }
        otherwise = builder.branch(Test::Above(last), Target::Reject, otherwise);
    }
    otherwise
}

/// Where the network header at X is looked at.
#[derive(Clone, Copy)]
struct Ip {
    v4: Target,
    v6: Target,
}

/// IPv4 header at X (RFC 791, section 3.1).
fn ipv4(builder: &mut Builder, tcp: Target, udp: Target, icmp: Target) -> Target {
    const ECHO_REQUEST: u32 = 0x0800;
    const FRAGMENT: u32 = 0x3fff;
    // Length of the echo payload: total length less both headers. What wraps is in no range.
    let length = [load_x_word(NETWORK), load_u16(2), load_x_word(HEADER), subtract_x(), subtract(8)];
    let length = if icmp == Target::Reject { icmp } else { builder.run(&length, icmp) };
    let echo = builder.branch(Test::Equal(ECHO_REQUEST), length, Target::Reject);
    let behind_header = [load_word(HEADER), add_x(), a_to_x()];
    let icmp = builder.run(&[load_word(HEADER), add_x(), a_to_x(), load_u16(0)], echo);
    let udp = builder.run(&behind_header, udp);
    let tcp = builder.run(&behind_header, tcp);
    let protocol = dispatch(builder, &[(6, tcp), (17, udp), (1, icmp)], Target::Reject);
    let protocol = builder.run(&[load_u8(9)], protocol);
    let whole = builder.branch(Test::AnyBit(FRAGMENT), Target::Reject, protocol);
    let header = builder.run(&[mask(0x0f), shift_left(2), store(HEADER), load_u16(6)], whole);
    // Version 4 and a header of at least five words, in two comparisons.
    let header = builder.branch(Test::AtLeast(0x45), header, Target::Reject);
    let header = builder.branch(Test::Above(0x4f), Target::Reject, header);
    builder.run(&[store_x(NETWORK), load_u8(0)], header)
}

/// IPv6 header at X (RFC 8200, section 3) and a bounded walk over its extension headers.
fn ipv6(builder: &mut Builder, tcp: Target, udp: Target, icmp: Target) -> Target {
    const ECHO_REQUEST: u32 = 0x8000;
    const HEADER_OCTETS: u32 = 40;
    // Length of the echo payload: the payload length, less the extension headers (which end at
    // ASIDE), less the ICMPv6 header.
    let length = [
        store_x(ASIDE),
        load_x_word(NETWORK),
        load_u16(4),
        add_x(),
        load_x_word(ASIDE),
        subtract_x(),
        add(HEADER_OCTETS - 8),
    ];
    let length = if icmp == Target::Reject { icmp } else { builder.run(&length, icmp) };
    let echo = builder.branch(Test::Equal(ECHO_REQUEST), length, Target::Reject);
    let icmp = builder.run(&[load_u16(0)], echo);
    let mut next = Target::Reject;
    for round in 0..=EXTENSIONS_MAX {
        let walk = if round == 0 { Target::Reject } else { extension(builder, HEADER_OCTETS, next) };
        // Hop-by-hop options, routing, destination options. A fragment header (44) is none of them.
        let known = [(6, tcp), (17, udp), (58, icmp), (0, walk), (43, walk), (60, walk)];
        next = dispatch(builder, &known, Target::Reject);
    }
    let payload = [load_u8(6), store(HEADER), x_to_a(), add(HEADER_OCTETS), a_to_x(), load_word(HEADER)];
    let payload = builder.run(&payload, next);
    let version = builder.branch(Test::Equal(0x60), payload, Target::Reject);
    builder.run(&[store_x(NETWORK), load_u8(0), mask(0xf0)], version)
}

/// Steps over the IPv6 extension header at X; then the accumulator holds what follows.
fn extension(builder: &mut Builder, header_octets: u32, next: Target) -> Target {
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    const OCTETS_MAX: u32 = EXTENSION_BYTES_MAX as u32;
    let following = builder.run(&[load_x_word(ASIDE), load_word(HEADER)], next);
    let bounded = builder.branch(Test::Above(header_octets + OCTETS_MAX), Target::Reject, following);
    let step = [
        load_u8(0),
        store(HEADER),
        load_u8(1),
        add(1),
        shift_left(3),
        add_x(),
        store(ASIDE),
        load_x_word(NETWORK),
        subtract_x(),
    ];
    builder.run(&step, bounded)
}

/// Finds the network header and lets X point to it.
fn link_layer(builder: &mut Builder, link: LinkType, ip: Ip) -> Target {
    match link {
        LinkType::Ethernet => {
            let type_at = 12;
            ether_type(builder, load_u16_at(type_at), type_at + 2, ip)
        }
        LinkType::CookedV1 | LinkType::CookedV2 => {
            ether_type(builder, load_ancillary(libc::SKF_AD_PROTOCOL), 0, ip)
        }
        LinkType::RawIp => by_version(builder, 0, ip),
        LinkType::Loopback => by_version(builder, 4, ip),
        LinkType::Ppp => {
            let protocol = ppp_protocol(builder, ip);
            let bare = builder.run(&[set_x(0)], protocol);
            let framed = builder.run(&[set_x(2)], protocol);
            let framing = builder.branch(Test::Equal(0xff03), framed, bare);
            builder.run(&[load_u16_at(0)], framing)
        }
    }
}

/// What stands behind an EtherType, through VLAN tags (IEEE 802.1Q and two names of QinQ).
fn ether_type(builder: &mut Builder, load: libc::sock_filter, payload_at: u32, ip: Ip) -> Target {
    let pppoe = pppoe(builder, ip);
    let mut tagged = Target::Reject;
    for tags in (0..=TAGS_MAX).rev() {
        let payload_at = payload_at + 4 * tags;
        let known = [
            (0x0800, ip.v4),
            (0x86dd, ip.v6),
            (0x8864, pppoe),
            (0x8100, tagged),
            (0x88a8, tagged),
            (0x9100, tagged),
        ];
        let dispatched = dispatch(builder, &known, Target::Reject);
        let load = if tags == 0 { load } else { load_u16_at(payload_at - 2) };
        tagged = builder.run(&[set_x(payload_at), load], dispatched);
    }
    tagged
}

/// PPPoE session header at X: version and type 1, code 0 (RFC 2516, section 4).
fn pppoe(builder: &mut Builder, ip: Ip) -> Target {
    let protocol = ppp_protocol(builder, ip);
    let inner = builder.run(&[x_to_a(), add(6), a_to_x()], protocol);
    let session = builder.branch(Test::Equal(0x1100), inner, Target::Reject);
    builder.run(&[load_u16(0)], session)
}

/// PPP protocol number at X, in two octets or compressed to one (RFC 1661, section 6.5).
fn ppp_protocol(builder: &mut Builder, ip: Ip) -> Target {
    let mut behind = |octets: u32, target: Target| builder.run(&[x_to_a(), add(octets), a_to_x()], target);
    let (long_v4, long_v6) = (behind(2, ip.v4), behind(2, ip.v6));
    let (short_v4, short_v6) = (behind(1, ip.v4), behind(1, ip.v6));
    let long = dispatch(builder, &[(0x0021, long_v4), (0x0057, long_v6)], Target::Reject);
    let long = builder.run(&[load_u16(0)], long);
    let short = dispatch(builder, &[(0x21, short_v4), (0x57, short_v6)], long);
    builder.run(&[load_u8(0)], short)
}

/// Bare IP at `offset`, told apart by its version.
fn by_version(builder: &mut Builder, offset: u32, ip: Ip) -> Target {
    let version = dispatch(builder, &[(0x40, ip.v4), (0x60, ip.v6)], Target::Reject);
    builder.run(&[set_x(offset), load_u8(0), mask(0xf0)], version)
}

/// Compares the accumulator with each value in turn.
fn dispatch(builder: &mut Builder, known: &[(u32, Target)], otherwise: Target) -> Target {
    let mut next = otherwise;
    for &(value, target) in known.iter().rev() {
        next = builder.branch(Test::Equal(value), target, next);
    }
    next
}
