//! What becomes of grants that the kernel still holds when the daemon starts: the process before this
//! one was killed, or told to end.
//!
//! What the configuration in force accounts for goes on, with the time the kernel has for it; a client
//! who was let in is not shut out because a daemon died. Everything else is closed. A grant is accounted
//! for when all ports of exactly one door are held for a source, for no longer than that door opens, and
//! the source is as wide as that door opens for: one address, or the network around it.

use std::collections::BTreeMap;

use postern_core::Engine;
use postern_core::grant::GrantId;
use postern_core::knock::ServicePort;
use postern_core::limits::PORTS_PER_DOOR_MAX;
use postern_core::network::Network;
use postern_core::port::FirewallCommand;
use postern_core::rule::{Door, DoorId, RuleSet};
use postern_core::time::Instant;

/// One port that the kernel holds open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// For whom.
    pub source: Network,
    /// Which.
    pub port: ServicePort,
    /// Seconds until the kernel closes it; `None` when it never will.
    pub secs_left: Option<u32>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Grants that go on.
    pub adopted: usize,
    /// What closes the others.
    pub withdrawals: Vec<FirewallCommand>,
}

/// Makes grants of what `engine`'s rules account for, and says what is to be closed. For the start: it
/// allocates.
pub fn adopt(engine: &mut Engine, held: &[Held], now: Instant) -> Adoption {
    let mut sources: BTreeMap<Network, BTreeMap<ServicePort, Option<u32>>> = BTreeMap::new();
    for Held { source, port, secs_left } in held {
        sources.entry(*source).or_default().insert(*port, *secs_left);
    }
    let mut adoption = Adoption::default();
    for (source, mut ports) in sources {
        for (id, secs_left) in accounted_for(engine.rules(), source, &ports) {
            let accepted = engine.adopt(id, source, secs_left, now);
            if let Some(door) = engine.rules().door(id).filter(|_| accepted) {
                adoption.adopted += 1;
                ports.retain(|port, _| !door.ports.contains(port));
            }
        }
        let ports: Vec<ServicePort> = ports.into_keys().collect();
        adoption.withdrawals.extend(ports.chunks(PORTS_PER_DOOR_MAX).map(|ports| {
            FirewallCommand::Close {
                // Of no grant: nothing is told of the answer.
                grant: GrantId::from_raw(0),
                source,
                ports: ports.iter().copied().collect(),
                cut: false,
                once: false,
            }
        }));
    }
    adoption
}

/// Doors that open for as many as `source`, all of whose ports are held, and nobody else's; with the
/// shortest time of them.
fn accounted_for(
    rules: &RuleSet,
    source: Network,
    held: &BTreeMap<ServicePort, Option<u32>>,
) -> Vec<(DoorId, u32)> {
    // A grant to one address is none of a door that opens for networks, and the other way round.
    let may_be = move |(_, door): &(DoorId, &Door)| door.terms.reach.network(source.address) == source;
    let doors = || (0..).map(DoorId).zip(rules.doors()).filter(may_be);
    let is_own = |id: DoorId, port: &ServicePort| {
        doors().all(|(other, door)| other == id || !door.ports.contains(port))
    };
    let secs_left = |door: &Door| {
        let times = door.ports.iter().map(|port| held.get(port).copied().flatten());
        times.collect::<Option<Vec<u32>>>()?.into_iter().min()
    };
    let accounted = doors().filter_map(|(id, door)| {
        let secs = secs_left(door)?;
        door.ports.iter().all(|port| is_own(id, port)).then_some((id, secs))
    });
    accounted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_core::audit::{Event, Proof};
    use postern_core::hash::HashKey;
    use postern_core::rule::{Reach, RuleSetBuilder, Terms};
    use postern_core::time::Duration;
    use std::net::IpAddr;

    const OPEN_FOR_SECS: u32 = 60;

    fn engine() -> Box<Engine> {
        let door = |name: &str, ports: &[ServicePort], terms: Terms| Door {
            name: name.try_into().unwrap(),
            ports: ports.iter().copied().collect(),
            open_for: Duration::from_secs(OPEN_FOR_SECS.into()),
            target: None,
            interfaces: postern_core::knock::InterfaceSet::ALL,
            terms,
        };
        let mut builder = RuleSetBuilder::new();
        let (tcp, udp) = (ServicePort::tcp, ServicePort::udp);
        builder.door(door("ssh", &[tcp(22)], Terms::PLAIN)).unwrap();
        builder.door(door("both", &[tcp(502), udp(161)], Terms::PLAIN)).unwrap();
        builder.door(door("shared", &[tcp(80)], Terms::PLAIN)).unwrap();
        builder.door(door("sharer", &[tcp(80), tcp(81)], Terms::PLAIN)).unwrap();
        builder.door(door("cut", &[tcp(90)], Terms { cut_at_end: true, ..Terms::PLAIN })).unwrap();
        let reach = Reach { v4: 24, v6: 64 };
        builder.door(door("wide", &[tcp(92)], Terms { reach, ..Terms::PLAIN })).unwrap();
        // Shares its port with one that opens for one address.
        builder.door(door("beside", &[tcp(22)], Terms { reach, ..Terms::PLAIN })).unwrap();
        builder.door(door("once", &[tcp(91)], Terms { one_shot: true, ..Terms::PLAIN })).unwrap();
        Box::new(Engine::new(builder.build().unwrap(), HashKey::new([7; 16])))
    }

    fn held(port: ServicePort, secs_left: Option<u32>) -> Held {
        let source: IpAddr = "198.51.100.7".parse().unwrap();
        Held { source: source.into(), port, secs_left }
    }

    /// Doors adopted, and ports closed.
    fn outcome(ports: &[Held]) -> (Vec<String>, Vec<ServicePort>) {
        let mut engine = engine();
        let now = Instant::from_millis(5000);
        let adoption = adopt(&mut engine, ports, now);
        let mut doors = Vec::new();
        while let Some(record) = engine.next_record(now) {
            let id = record.id;
            let Event::Grant { door, proof, .. } = &record.event else { panic!("{record:?}") };
            assert_eq!(*proof, Proof::Adopted);
            doors.push(door.as_str().to_owned());
            engine.record_written(id);
        }
        assert_eq!(adoption.adopted, doors.len());
        let closed = adoption.withdrawals.iter().flat_map(|command| match command {
            FirewallCommand::Close { ports, .. } => ports.to_vec(),
            FirewallCommand::Open { .. } => panic!("nothing is opened"),
        });
        (doors, closed.collect())
    }

    #[test]
    fn what_a_door_accounts_for_goes_on() {
        let (tcp, udp) = (ServicePort::tcp, ServicePort::udp);
        assert_eq!(outcome(&[held(tcp(22), Some(60))]), (vec!["ssh".into()], vec![]));
        assert_eq!(
            outcome(&[held(tcp(502), Some(9)), held(udp(161), Some(7))]),
            (vec!["both".into()], vec![])
        );
        assert_eq!(outcome(&[]), (vec![], vec![]));
    }

    #[test]
    fn what_is_held_for_a_network_is_of_a_door_that_opens_for_it() {
        let held = |source: &str, prefix, port| {
            let source = Network { address: source.parse().unwrap(), prefix };
            Held { source, ..held(ServicePort::tcp(port), Some(9)) }
        };
        for (held, door) in [
            (held("198.51.100.0", 24, 92), "wide"),
            (held("2001:db8:1:2::", 64, 92), "wide"),
            (held("198.51.100.0", 24, 22), "beside"),
            (held("198.51.100.0", 32, 22), "ssh"),
            // Nobody is given a neighbour of a link.
            (held("fe80::7", 128, 92), "wide"),
        ] {
            assert_eq!(outcome(&[held]), (vec![door.to_owned()], vec![]), "{held:?}");
        }
        for strange in [
            held("198.51.100.7", 32, 92),
            held("198.51.100.0", 25, 92),
            held("198.51.0.0", 16, 92),
            held("2001:db8:1:2::7", 128, 92),
            held("fe80::", 64, 92),
            held("198.51.100.0", 24, 502),
        ] {
            assert_eq!(outcome(&[strange]), (vec![], vec![strange.port]), "{strange:?}");
        }
    }

    #[test]
    fn everything_else_is_closed() {
        let (tcp, udp) = (ServicePort::tcp, ServicePort::udp);
        for strange in [
            held(tcp(22), Some(61)),
            held(tcp(22), None),
            held(tcp(502), Some(9)),
            held(udp(22), Some(9)),
            held(tcp(80), Some(9)),
            held(tcp(90), Some(9)),
            held(tcp(91), Some(9)),
        ] {
            assert_eq!(outcome(&[strange]), (vec![], vec![strange.port]), "{strange:?}");
        }
        let two_doors = [held(tcp(80), Some(9)), held(tcp(81), Some(9))];
        assert_eq!(outcome(&two_doors), (vec![], vec![tcp(80), tcp(81)]), "whose it is, is not known");
    }

    #[test]
    fn an_adopted_grant_ends_and_is_extended_like_any_other() {
        let mut engine = engine();
        let start = Instant::from_millis(5000);
        assert_eq!(adopt(&mut engine, &[held(ServicePort::tcp(22), Some(9))], start).adopted, 1);
        let again = adopt(&mut engine, &[held(ServicePort::tcp(22), Some(9))], start);
        assert_eq!((again.adopted, again.withdrawals.len()), (0, 1), "once");
        let end = start + Duration::from_secs(9);
        assert_eq!(engine.poll_at(), Some(end));
        let effects = engine.handle(postern_core::engine::Input::Tick, end);
        assert!(matches!(effects.as_slice(), [FirewallCommand::Close { ports, .. }] if ports.len() == 1));
    }

    #[test]
    fn no_more_than_there_is_room_for() {
        let mut engine = engine();
        let many: Vec<Held> = (0..2000_u32)
            .map(|number| Held {
                source: IpAddr::from(std::net::Ipv4Addr::from(0xc633_0000 + number)).into(),
                ..held(ServicePort::tcp(22), Some(9))
            })
            .collect();
        let adoption = adopt(&mut engine, &many, Instant::BOOT);
        assert_eq!(adoption.adopted + adoption.withdrawals.len(), 2000);
        assert_eq!(engine.grants().count(), adoption.adopted);
        assert!(adoption.adopted >= 768, "{}", adoption.adopted);
    }
}
