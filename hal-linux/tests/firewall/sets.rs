//! Members of the grant sets.

use std::net::{IpAddr, Ipv4Addr};

use postern_core::knock::ServicePort;
use postern_core::port::FirewallError;
use postern_hal_linux::firewall::FirewallOptions;

use crate::every_back_end;
use crate::gate::{Backend, Gate, rules};
use crate::lab::{in_lab, nets};

const PORTS: [ServicePort; 8] = [
    ServicePort::tcp(22),
    ServicePort::udp(22),
    ServicePort::tcp(1),
    ServicePort::tcp(65_535),
    ServicePort::udp(161),
    ServicePort::tcp(502),
    ServicePort::tcp(4840),
    ServicePort::udp(65_535),
];

every_back_end!(
    a_command_opens_all_its_ports_and_closing_is_idempotent,
    each_port_has_its_own_time,
    a_full_set_says_so,
);

fn held(gate: &mut Gate, source: IpAddr) -> Vec<ServicePort> {
    let members = gate.grants().into_iter().filter(|member| member.source == source.into());
    let mut ports: Vec<_> = members.map(|member| member.port).collect();
    ports.sort();
    ports
}

fn sorted(ports: &[ServicePort]) -> Vec<ServicePort> {
    let mut ports = ports.to_vec();
    ports.sort();
    ports
}

fn a_command_opens_all_its_ports_and_closing_is_idempotent(backend: Backend) {
    in_lab(move |_| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&PORTS]));
        for net in nets() {
            gate.open(net.friend, &PORTS, 600).unwrap();
            gate.open(net.stranger, &PORTS[..2], 600).unwrap();
            assert_eq!(held(&mut gate, net.friend), sorted(&PORTS));
            gate.close(net.friend, &PORTS[2..4]).unwrap();
            assert_eq!(held(&mut gate, net.friend).len(), 6);
            gate.close(net.friend, &PORTS).unwrap();
            assert_eq!(held(&mut gate, net.friend), [], "also those beside one that was gone");
            gate.close(net.friend, &PORTS).unwrap();
            gate.close(net.friend, &[]).unwrap();
            gate.open(net.friend, &[], 600).unwrap();
            assert_eq!(held(&mut gate, net.stranger), sorted(&PORTS[..2]), "another's are untouched");
        }
    });
}

fn each_port_has_its_own_time(backend: Backend) {
    in_lab(move |_| {
        let mut gate = backend.gate();
        gate.install(&rules(&[&PORTS]));
        for net in nets() {
            let mut command = crate::gate::open(net.friend, &PORTS, 100);
            if let postern_core::port::FirewallCommand::Open { ports, .. } = &mut command {
                ports[3].1 = 86_400;
                ports[5].1 = 0;
            }
            gate.execute(&command).unwrap();
            for member in gate.grants().iter().filter(|member| member.source == net.friend.into()) {
                let remaining = member.remaining_secs.expect("nothing is open for ever");
                let wanted = if member.port == PORTS[3] { 86_370..=86_400 } else { 70..=100 };
                let is_brief = member.port == PORTS[5] && remaining <= 1;
                assert!(wanted.contains(&remaining) || is_brief, "{member:?}");
            }
        }
    });
}

fn a_full_set_says_so(backend: Backend) {
    in_lab(move |_| {
        let options = FirewallOptions { members_max: 4, ..FirewallOptions::default() };
        let mut gate = backend.gate_with(options);
        gate.install(&rules(&[&PORTS]));
        for net in nets() {
            gate.open(net.friend, &PORTS[..4], 600).unwrap();
            assert_eq!(gate.open(net.stranger, &PORTS[..1], 600), Err(FirewallError::Full));
            assert_eq!(held(&mut gate, net.stranger), []);
            gate.open(net.friend, &PORTS[..4], 900).expect("extending needs no room");
            let members = gate.grants();
            let extended = members.iter().filter(|member| member.remaining_secs > Some(600)).count();
            assert_eq!(extended, 4);
            gate.close(net.stranger, &PORTS[..1]).expect("closing needs no room");
            assert_eq!(held(&mut gate, net.friend).len(), 4);
            gate.close(net.friend, &PORTS[..1]).unwrap();
            gate.open(net.stranger, &PORTS[..1], 600).expect("there is room again");
            gate.close(net.friend, &PORTS).unwrap();
            gate.close(net.stranger, &PORTS).unwrap();
        }
        let mapped = IpAddr::V6(Ipv4Addr::new(198, 18, 0, 2).to_ipv6_mapped());
        assert!(matches!(gate.open(mapped, &PORTS[..1], 600), Err(FirewallError::Other(_))));
        assert_eq!(gate.grants(), []);
    });
}
