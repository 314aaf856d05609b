//! Grants to whole networks.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use postern_core::knock::ServicePort;
use postern_core::network::Network;
use postern_core::port::FirewallError;
use postern_core::rule::{Reach, RuleSet};
use postern_hal_linux::firewall::Drift;

use crate::every_back_end;
use crate::gate::{Backend, cutting, rules, wide};
use crate::lab::{Lab, Net, echoes, in_lab, nets, run, serve, wait_until};

const SSH: ServicePort = ServicePort::tcp(7001);
const REACH: Reach = Reach { v4: 24, v6: 64 };
const ALONE: Reach = Reach::SOURCE_ALONE;

every_back_end!(
    a_network_gets_in_until_the_kernel_closes,
    an_address_and_its_network_are_two_grants,
    one_family_may_be_wide_alone,
    another_width_withdraws_what_was_granted,
    a_start_finds_what_is_as_wide_as_it_should_be,
    what_is_taken_from_it_is_noticed_and_put_right,
    the_connections_of_a_whole_network_are_cut,
);

/// An address of the clients in the network next to that of the others.
fn outsider(lab: &Lab, net: Net) -> IpAddr {
    let (address, network) = match net.gate {
        IpAddr::V4(_) => ("198.18.1.2", "198.18.1.0/24"),
        IpAddr::V6(_) => ("2001:db8:0:1::2", "2001:db8:0:1::/64"),
    };
    let nodad = if net.gate.is_ipv6() { "nodad" } else { "" };
    lab.at_client(move || run(&format!("ip address add {address} dev client0 {nodad}")));
    run(&format!("ip route add {network} dev gate0"));
    address.parse().unwrap()
}

fn door() -> RuleSet {
    wide(&rules(&[&[SSH]]), REACH)
}

/// Whether what is said in a connection comes to nothing, while the client's kernel sends it again.
fn is_cut(mut connection: &TcpStream) -> bool {
    connection.write_all(b"ping").unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(450))).unwrap();
    connection.read(&mut [0; 4]).is_err()
}

fn a_network_gets_in_until_the_kernel_closes(backend: Backend) {
    in_lab(move |lab| {
        let outsiders = nets().map(|net| outsider(lab, net));
        for (net, outsider) in nets().into_iter().zip(outsiders) {
            serve(net.gate, SSH.port);
            drop(lab.reach(outsider, net.gate, SSH.port));
        }
        let mut gate = backend.gate();
        gate.install(&door());
        assert_eq!(gate.verify(&door()).to_string(), "as installed");
        let networks = nets().map(|net| REACH.network(net.friend));
        for network in networks {
            gate.open(network, &[SSH], 60).unwrap();
            gate.open(network, &[SSH], 3).unwrap();
        }
        let connections = [0, 1].map(|which| {
            let (net, outsider) = (nets()[which], outsiders[which]);
            // The neighbour never knocked, and is in the network of who did.
            let connections = [net.friend, net.stranger].map(|who| lab.reach(who, net.gate, SSH.port));
            assert!(!lab.answers(outsider, net.gate, SSH.port), "{outsider} lives elsewhere");
            connections
        });
        let held: Vec<Network> = gate.grants().iter().map(|member| member.source).collect();
        assert_eq!(held, networks);
        assert!(gate.grants().iter().all(|member| member.remaining_secs.is_some_and(|secs| secs <= 3)));
        // Nobody is left who could close anything.
        drop(gate);
        for (net, connections) in nets().into_iter().zip(&connections) {
            wait_until("the kernel to close", || !lab.answers(net.friend, net.gate, SSH.port));
            assert!(!lab.answers(net.stranger, net.gate, SSH.port), "{net:?}");
            assert!(connections.iter().all(echoes), "established connections go on: {net:?}");
        }
        assert_eq!(backend.gate().grants(), []);
    });
}

fn an_address_and_its_network_are_two_grants(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&door());
        for net in nets() {
            serve(net.gate, SSH.port);
            let network = REACH.network(net.friend);
            // The network's own lowest address alone is not the network.
            gate.open(network.address, &[SSH], 60).unwrap();
            gate.open(net.friend, &[SSH], 60).unwrap();
            assert!(lab.answers(net.friend, net.gate, SSH.port), "{net:?}");
            assert!(!lab.answers(net.stranger, net.gate, SSH.port), "{net:?}");
            gate.open(network, &[SSH], 60).unwrap();
            gate.close(net.friend, &[SSH]).unwrap();
            gate.close(network.address, &[SSH]).unwrap();
            assert!(lab.answers(net.stranger, net.gate, SSH.port), "{net:?}");
            gate.open(net.friend, &[SSH], 60).unwrap();
            gate.close(network, &[SSH]).unwrap();
            gate.close(network, &[SSH]).expect("closing what is gone is a success");
            assert!(lab.answers(net.friend, net.gate, SSH.port), "{net:?}");
            assert!(!lab.answers(net.stranger, net.gate, SSH.port), "{net:?}");
            gate.close(net.friend, &[SSH]).unwrap();
        }
        assert_eq!(gate.grants(), []);
    });
}

fn one_family_may_be_wide_alone(backend: Backend) {
    in_lab(move |lab| {
        for net in nets() {
            serve(net.gate, SSH.port);
        }
        for reach in [Reach { v4: 24, ..ALONE }, Reach { v6: 64, ..ALONE }] {
            let doors = wide(&rules(&[&[SSH]]), reach);
            let mut gate = backend.gate();
            gate.install(&doors);
            for net in nets() {
                gate.open(reach.network(net.friend), &[SSH], 60).unwrap();
                assert!(lab.answers(net.friend, net.gate, SSH.port), "{net:?}");
                let is_wide = !reach.network(net.friend).is_host();
                assert_eq!(lab.answers(net.stranger, net.gate, SSH.port), is_wide, "{net:?} {reach:?}");
            }
            assert_eq!(gate.grants().len(), 2);
            assert_eq!(gate.verify(&doors).to_string(), "as installed");
        }
    });
}

fn another_width_withdraws_what_was_granted(backend: Backend) {
    in_lab(move |lab| {
        let (narrower, none) = (Reach { v4: 28, v6: 120 }, rules(&[&[SSH]]));
        let mut gate = backend.gate();
        for next in [wide(&none, narrower), none.clone(), wide(&none, Reach { v4: 16, v6: 48 })] {
            gate.install(&door());
            for net in nets() {
                gate.open(REACH.network(net.friend), &[SSH], 60).unwrap();
                gate.open(net.friend, &[SSH], 60).unwrap();
            }
            assert_eq!(gate.grants().len(), 4);
            gate.install(&door());
            assert_eq!(gate.grants().len(), 4, "the same width takes nothing");
            gate.install(&next);
            assert_eq!(gate.verify(&next).to_string(), "as installed");
            let held = gate.grants();
            assert!(held.len() == 2 && held.iter().all(|member| member.source.is_host()), "{held:?}");
            for net in nets() {
                let network = REACH.network(net.friend);
                gate.close(network, &[SSH]).expect("what was withdrawn is closed");
                assert_eq!(gate.open(network, &[SSH], 60), Err(FirewallError::Missing), "{next:?}");
                gate.close(net.friend, &[SSH]).unwrap();
            }
            assert_eq!(gate.grants(), []);
        }
        let net = nets()[0];
        serve(net.gate, SSH.port);
        assert!(!lab.answers(net.friend, net.gate, SSH.port));
        gate.remove();
        let left = match backend {
            Backend::Nftables => run("nft list tables"),
            Backend::IptablesNft | Backend::IptablesLegacy => run("ipset list -n"),
        };
        assert_eq!(left, "");
    });
}

fn a_start_finds_what_is_as_wide_as_it_should_be(backend: Backend) {
    in_lab(move |_| {
        let mut gate = backend.gate();
        let other = wide(&rules(&[&[SSH]]), Reach { v4: 25, v6: 65 });
        for (next, kept) in [(door(), 2), (other.clone(), 0), (rules(&[&[SSH]]), 0)] {
            gate.install(&door());
            let networks = nets().map(|net| REACH.network(net.friend));
            for network in networks {
                gate.open(network, &[SSH], 60).unwrap();
            }
            let mut restarted = backend.gate();
            restarted.adopt_grants();
            restarted.install(&next);
            let held: Vec<Network> = restarted.grants().iter().map(|member| member.source).collect();
            assert_eq!(held, networks[..kept]);
            // Whoever adopts nothing withdraws everything.
            gate = backend.gate();
            gate.install(&next);
            assert_eq!(gate.grants(), []);
        }
    });
}

fn what_is_taken_from_it_is_noticed_and_put_right(backend: Backend) {
    in_lab(move |lab| {
        let mut gate = backend.gate();
        gate.install(&door());
        for net in nets() {
            serve(net.gate, SSH.port);
            gate.open(REACH.network(net.friend), &[SSH], 60).unwrap();
        }
        let rule = "POSTERN-GATE -m set --match-set POSTERN-WIDE4 src,dst -j ACCEPT";
        match backend {
            Backend::Nftables => run("nft flush chain inet postern gate"),
            Backend::IptablesNft | Backend::IptablesLegacy => {
                run(&format!("{} -D {rule}", backend.programs()[0]))
            }
        };
        let found = gate.verify(&door());
        assert!(matches!(found.drifts(), [Drift::ChainChanged(..)]), "{found}");
        gate.install(&door());
        assert_eq!(gate.verify(&door()).to_string(), "as installed");
        for net in nets() {
            assert!(lab.answers(net.stranger, net.gate, SSH.port), "what was granted is still: {net:?}");
        }
        // A rule that lets other networks in is noticed, too.
        let other = wide(&rules(&[&[SSH]]), Reach { v4: 16, v6: 48 });
        if backend == Backend::Nftables {
            assert!(!gate.verify(&other).is_intact());
        }
        assert!(!gate.verify(&rules(&[&[SSH]])).is_intact());
    });
}

fn the_connections_of_a_whole_network_are_cut(backend: Backend) {
    in_lab(move |lab| {
        let outsiders = nets().map(|net| outsider(lab, net));
        let mut gate = backend.gate();
        gate.install(&cutting(&door()));
        for (net, outsider) in nets().into_iter().zip(outsiders) {
            serve(net.gate, SSH.port);
            let network = REACH.network(net.friend);
            gate.open(network, &[SSH], 60).unwrap();
            gate.open(outsider, &[SSH], 60).unwrap();
            let cut = [net.friend, net.stranger].map(|who| lab.reach(who, net.gate, SSH.port));
            let other = lab.reach(outsider, net.gate, SSH.port);
            gate.cut(network, &[SSH]).unwrap();
            assert!(cut.iter().all(is_cut), "{net:?}");
            assert!(echoes(&other), "somebody else's goes on: {net:?}");
        }
    });
}
