//! Sites for worlds: doors as a gateway has them, chosen by the seed.

use std::net::IpAddr;

use postern_core::knock::{FlagCondition, InterfaceSet, Protocol, ServicePort, Step, TcpFlags};
use postern_core::rule::{
    Door, DoorId, GuardRange, Name, Purpose, Reach, RuleSet, RuleSetBuilder, Sequence, Terms,
};
use postern_core::time::Duration;

use crate::frame::GATEWAY_V4;
use crate::random::Random;

/// Half-width of the guards around each knock.
const GUARD_WIDTH: u16 = 40;

/// A port that several doors open.
const SHARED_PORT: ServicePort = ServicePort::tcp(10);

/// One door of a world.
#[derive(Clone, Debug)]
pub struct DoorPlan {
    /// Its name.
    pub name: String,
    /// The services behind it, sorted; no other door has the same.
    pub ports: Vec<ServicePort>,
    /// Which TCP segments are its knocks.
    pub flags: FlagCondition,
    /// Where knocks must be addressed to.
    pub target: Option<IpAddr>,
    /// On which interfaces knocks must arrive.
    pub interfaces: InterfaceSet,
    /// How long it stays open, in seconds.
    pub open_for_secs: u64,
    /// The knocks that open it.
    pub steps: Vec<Step>,
    /// The knocks that close it.
    pub close_steps: Vec<Step>,
    /// Longest time of a sequence, in milliseconds.
    pub within_millis: u64,
    /// Reordering window, in milliseconds.
    pub reorder_millis: u64,
    /// Whether it opens for as many as the site's reach says.
    pub is_wide: bool,
}

impl DoorPlan {
    /// Protects another port.
    pub fn add_port(&mut self, port: ServicePort) {
        self.ports.push(port);
        self.ports.sort();
        self.ports.dedup();
    }
}

/// A site.
#[derive(Clone, Debug)]
pub struct SitePlan {
    /// Its doors.
    pub doors: Vec<DoorPlan>,
    /// For how many those open that open for more than who knocked.
    pub reach: Reach,
}

impl SitePlan {
    /// A site with `count` doors whose knocks lie far apart.
    pub fn random(random: &mut Random, count: usize) -> Self {
        let mut taken: Vec<Step> = Vec::new();
        let mut doors = Vec::new();
        for index in 0..count {
            let length = random.range(3, 5) as usize;
            let within_millis = *random.pick(&[1500, 5000, 10_000]);
            let port = 20 + index as u16;
            let (tcp, udp) = (ServicePort::tcp(port), ServicePort::udp(port));
            doors.push(DoorPlan {
                name: format!("door-{index}"),
                ports: vec![*random.pick(&[tcp, udp])],
                flags: FlagCondition::OPENING_SYN,
                target: None,
                interfaces: InterfaceSet::ALL,
                open_for_secs: *random.pick(&[1, 3, 30]),
                steps: (0..length).map(|_| fresh(random, &mut taken)).collect(),
                close_steps: if index % 2 == 0 {
                    Vec::new()
                } else {
                    (0..3).map(|_| fresh(random, &mut taken)).collect()
                },
                within_millis,
                reorder_millis: *random.pick(&[0, 0, 150]),
                is_wide: false,
            });
        }
        Self { doors, reach: Reach::SOURCE_ALONE }
    }

    /// A site whose doors have all that a door can have: ports in common, flags, targets, interfaces.
    pub fn varied(random: &mut Random, count: usize) -> Self {
        let mut site = Self::random(random, count);
        site.reach = reach(random);
        let fin = FlagCondition { mask: TcpFlags::FIN.union(TcpFlags::ACK), value: TcpFlags::FIN };
        for door in &mut site.doors {
            if random.per_mille(500) {
                door.add_port(SHARED_PORT);
            }
            if random.per_mille(200) {
                door.flags = fin;
            }
            if random.per_mille(150) {
                door.target = Some(IpAddr::from(GATEWAY_V4));
            }
            if random.per_mille(200) {
                door.interfaces = InterfaceSet(0b10);
            }
            door.is_wide = random.per_mille(400);
        }
        site
    }

    /// The rule set, with guards around every knock.
    pub fn rules(&self) -> RuleSet {
        let mut builder = RuleSetBuilder::new();
        for (index, door) in (0..).zip(&self.doors) {
            let made = Door {
                name: Name::try_from(door.name.as_str()).expect("a short name"),
                ports: heapless::Vec::from_slice(&door.ports).expect("a few ports"),
                open_for: Duration::from_secs(door.open_for_secs),
                target: door.target,
                interfaces: door.interfaces,
                terms: Terms {
                    reach: if door.is_wide { self.reach } else { Reach::SOURCE_ALONE },
                    ..Terms::PLAIN
                },
            };
            builder.door(made).expect("a good door");
            for (steps, purpose) in [(&door.steps, Purpose::Open), (&door.close_steps, Purpose::Close)] {
                if !steps.is_empty() {
                    builder.sequence(sequence(DoorId(index), door, steps, purpose)).expect("a good sequence");
                }
            }
        }
        for guard in self.guards() {
            builder.guard(guard).expect("a good guard");
        }
        builder.build().expect("guards beside the knocks")
    }

    /// Every knock of every sequence.
    pub fn knocks(&self) -> Vec<Step> {
        self.doors.iter().flat_map(|door| door.steps.iter().chain(&door.close_steps)).copied().collect()
    }

    fn guards(&self) -> Vec<GuardRange> {
        let knocks = self.knocks();
        let mut guards = Vec::new();
        for knock in knocks.iter().filter(|knock| knock.protocol != Protocol::Icmp) {
            let protocol = knock.protocol;
            let around =
                knock.value.saturating_sub(GUARD_WIDTH).max(1)..=knock.value.saturating_add(GUARD_WIDTH);
            let free = around.filter(|&value| !knocks.contains(&Step { protocol, value }));
            guards.extend(free.map(|value| GuardRange { protocol, first: value, last: value }));
        }
        // Merged by the builder; sorted first so that it has little to do.
        guards.sort();
        guards.dedup();
        merge(&guards)
    }
}

/// For how many a door may open.
pub fn reach(random: &mut Random) -> Reach {
    Reach { v4: *random.pick(&[24, 24, 29, 32, 16]), v6: *random.pick(&[64, 64, 56, 127, 128]) }
}

fn merge(single: &[GuardRange]) -> Vec<GuardRange> {
    let mut merged: Vec<GuardRange> = Vec::new();
    for guard in single {
        match merged.last_mut() {
            Some(last) if last.protocol == guard.protocol && last.last + 1 == guard.first => {
                last.last = guard.last
            }
            _ => merged.push(*guard),
        }
    }
    merged
}

fn sequence(door: DoorId, plan: &DoorPlan, steps: &[Step], purpose: Purpose) -> Sequence {
    Sequence {
        door,
        purpose,
        steps: heapless::Vec::from_slice(steps).expect("a short sequence"),
        within: Duration::from_millis(plan.within_millis),
        reorder: Duration::from_millis(plan.reorder_millis),
        flags: plan.flags,
    }
}

fn fresh(random: &mut Random, taken: &mut Vec<Step>) -> Step {
    loop {
        let step = match random.below(5) {
            0 => Step::icmp(random.range(200, 1200) as u16),
            1 | 2 => Step::udp(random.range(2000, 32_000) as u16),
            _ => Step::tcp(random.range(2000, 60_000) as u16),
        };
        if !taken.contains(&step) {
            taken.push(step);
            return step;
        }
    }
}
