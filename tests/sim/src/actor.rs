//! Who sends what: honest clients on bad links, scanners, forgers, floods.

use std::net::IpAddr;

use postern_core::knock::{InterfaceIndex, Protocol, Step, TcpFlags};

use crate::random::Random;
use crate::site::{DoorPlan, SitePlan};

/// A packet that will arrive.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When, in milliseconds.
    pub at_millis: u64,
    /// From where.
    pub source: IpAddr,
    /// What.
    pub step: Step,
    /// TCP flags.
    pub flags: TcpFlags,
    /// On which interface.
    pub interface: InterfaceIndex,
}

fn arrival(at_millis: u64, source: IpAddr, step: Step) -> Arrival {
    let flags = if step.protocol == Protocol::Tcp { TcpFlags::SYN } else { TcpFlags::NONE };
    Arrival { at_millis, source, step, flags, interface: InterfaceIndex(0) }
}

/// Gives knocks the flags and the interface their doors want, but for those that `spoilt` (per mille)
/// have others.
pub fn dress(random: &mut Random, site: &SitePlan, arrivals: &mut [Arrival], spoilt: u64) {
    for arrival in arrivals {
        let is_its =
            |door: &&DoorPlan| door.steps.contains(&arrival.step) || door.close_steps.contains(&arrival.step);
        let Some(door) = site.doors.iter().find(is_its) else { continue };
        arrival.interface = InterfaceIndex(door.interfaces.0.trailing_zeros() as u8);
        if arrival.step.protocol == Protocol::Tcp {
            arrival.flags = door.flags.value;
        }
        if random.per_mille(spoilt) {
            match random.below(3) {
                0 => arrival.interface = InterfaceIndex(arrival.interface.0 ^ 1),
                1 if arrival.step.protocol == Protocol::Tcp => {
                    arrival.flags = *random.pick(&[TcpFlags::SYN, TcpFlags::FIN, TcpFlags::ACK]);
                }
                _ => arrival.flags = arrival.flags.union(TcpFlags::ACK),
            }
        }
    }
}

/// How bad a link is.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Packets lost, per mille.
    pub loss: u64,
    /// Packets that arrive twice, per mille.
    pub duplication: u64,
    /// Longest extra delay of a packet, in milliseconds; later ones may overtake it.
    pub jitter_millis: u64,
}

/// A link that loses nothing.
pub const GOOD: Link = Link { loss: 0, duplication: 0, jitter_millis: 0 };

/// A client that knocks `steps`, perhaps again and again.
pub fn client(
    random: &mut Random,
    source: IpAddr,
    steps: &[Step],
    start_millis: u64,
    link: Link,
) -> Vec<Arrival> {
    let pause = random.range(20, 400);
    let mut arrivals = Vec::new();
    for (index, &step) in (0..).zip(steps) {
        let sent = start_millis + index * pause;
        if random.per_mille(link.loss) {
            // A SYN that was lost is sent again by the client's kernel after a second.
            if step.protocol == Protocol::Tcp && random.per_mille(500) {
                arrivals.push(arrival(sent + 1000, source, step));
            }
            continue;
        }
        let at = sent + random.below(link.jitter_millis + 1);
        arrivals.push(arrival(at, source, step));
        if random.per_mille(link.duplication) {
            arrivals.push(arrival(at + random.below(30), source, step));
        }
    }
    arrivals
}

/// In which order a scanner visits its ports.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// 1, 2, 3.
    Rising,
    /// Downwards.
    Falling,
    /// Any.
    Random,
    /// Every port twice in a row.
    Doubled,
}

/// A scanner of everything around the site's knocks (the rest of the ports means nothing to the
/// engine), over `duration_millis`.
pub fn scanner(
    random: &mut Random,
    site: &SitePlan,
    source: IpAddr,
    order: Order,
    start_millis: u64,
    duration_millis: u64,
) -> Vec<Arrival> {
    let mut steps: Vec<Step> = Vec::new();
    for knock in site.knocks() {
        let reach = if knock.protocol == Protocol::Icmp { 0 } else { 3 };
        let around = knock.value.saturating_sub(reach)..=knock.value.saturating_add(reach);
        steps.extend(around.map(|value| Step { value, ..knock }));
    }
    steps.sort();
    steps.dedup();
    match order {
        Order::Rising => {}
        Order::Falling => steps.reverse(),
        Order::Random => random.shuffle(&mut steps),
        Order::Doubled => steps = steps.iter().flat_map(|&step| [step, step]).collect(),
    }
    let count = steps.len() as u64;
    let at = |index: u64| start_millis + index * duration_millis / count.max(1);
    (0..).zip(steps).map(|(index, step)| arrival(at(index), source, step)).collect()
}

/// Somebody who knows the door's knocks but not their order, or leaves one out, or is too slow.
pub fn insider(random: &mut Random, door: &DoorPlan, source: IpAddr, start_millis: u64) -> Vec<Arrival> {
    let mut steps = door.steps.clone();
    let mut pause = random.range(1, 300);
    let mut last_at = None;
    match random.below(6) {
        0 => random.shuffle(&mut steps),
        1 => drop(steps.remove(random.below(steps.len() as u64) as usize)),
        2 => steps.reverse(),
        3 => pause = door.within_millis,
        // Just in time, or too late by a millisecond.
        _ => last_at = Some(start_millis + door.within_millis + random.below(2)),
    }
    let last = steps.len() as u64 - 1;
    let pause = if last_at.is_some() { pause.min(door.within_millis / (last + 1)) } else { pause };
    let at = |index: u64| last_at.filter(|_| index == last).unwrap_or(start_millis + index * pause);
    (0..).zip(steps).map(|(index, step)| arrival(at(index), source, step)).collect()
}

/// Packets in the name of `victim`: first knocks, wrong knocks, and, when `taints`, guard touches.
pub fn forger(
    random: &mut Random,
    door: &DoorPlan,
    victim: IpAddr,
    start_millis: u64,
    taints: bool,
) -> Vec<Arrival> {
    let count = random.range(1, 25);
    let forged = (0..count).map(|_| {
        let known = *random.pick(&door.steps);
        let step = match random.below(3) {
            0 => door.steps[0],
            1 => known,
            _ if taints => Step { value: known.value.wrapping_add(1).max(1), ..known },
            _ => door.steps[0],
        };
        arrival(start_millis + random.below(2000), victim, step)
    });
    forged.collect()
}

/// First knocks from addresses nobody has, over `duration_millis`, at least 1.
pub fn flood(
    random: &mut Random,
    door: &DoorPlan,
    start_millis: u64,
    duration_millis: u64,
    count: u64,
) -> Vec<Arrival> {
    let sources = (0..count).map(|_| IpAddr::from((0x0b00_0000 | (random.bits() as u32 >> 8)).to_be_bytes()));
    let sources: Vec<IpAddr> = sources.collect();
    sources
        .into_iter()
        .map(|source| arrival(start_millis + random.below(duration_millis), source, door.steps[0]))
        .collect()
}
