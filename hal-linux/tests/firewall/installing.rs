//! Putting the gate up, changing it, taking it away.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use postern_core::knock::ServicePort;
use postern_core::port::FirewallError;
use postern_hal_linux::firewall::InstallError;

use crate::every_back_end;
use crate::gate::{Backend, Gate, rules};
use crate::lab::{in_lab, nets, run, serve, wait_until};

const A: ServicePort = ServicePort::tcp(7001);
const B: ServicePort = ServicePort::tcp(7002);
const DATAGRAMS: ServicePort = ServicePort::udp(7003);

every_back_end!(
    installing_again_changes_ports_and_keeps_grants,
    a_new_process_withdraws_grants,
    what_the_site_made_stays_as_it_was,
    the_largest_rule_set_fits,
    no_door_is_open_while_the_gate_is_replaced,
);

fn installing_again_changes_ports_and_keeps_grants(backend: Backend) {
    in_lab(move |lab| {
        let (one, two) = (rules(&[&[A]]), rules(&[&[A], &[B]]));
        let mut gate = backend.gate();
        gate.install(&one);
        for net in nets() {
            serve(net.gate, A.port);
            serve(net.gate, B.port);
            gate.open(net.friend, &[A], 600).unwrap();
            assert!(lab.answers(net.friend, net.gate, B.port), "not protected yet: {net:?}");
        }
        gate.install(&two);
        gate.install(&two);
        assert_eq!(gate.verify(&two).to_string(), "as installed");
        for net in nets() {
            assert!(lab.answers(net.friend, net.gate, A.port), "the grant stays: {net:?}");
            assert!(!lab.answers(net.friend, net.gate, B.port), "protected now: {net:?}");
        }
        gate.install(&one);
        assert_eq!(gate.verify(&one).to_string(), "as installed");
        for net in nets() {
            assert!(lab.answers(net.friend, net.gate, A.port), "{net:?}");
            assert!(lab.answers(net.friend, net.gate, B.port), "not protected any more: {net:?}");
        }
        gate.install(&rules(&[]));
        for net in nets() {
            assert!(lab.answers(net.stranger, net.gate, A.port), "a gate without doors: {net:?}");
        }
    });
}

fn a_new_process_withdraws_grants(backend: Backend) {
    in_lab(move |lab| {
        let rules = rules(&[&[A]]);
        let mut gate = backend.gate();
        gate.install(&rules);
        for net in nets() {
            serve(net.gate, A.port);
            gate.open(net.friend, &[A], 600).unwrap();
            assert!(lab.answers(net.friend, net.gate, A.port), "{net:?}");
        }
        let mut next = backend.gate();
        next.install(&rules);
        assert_eq!(next.grants(), []);
        for net in nets() {
            assert!(!lab.answers(net.friend, net.gate, A.port), "{net:?}");
        }
        assert!(next.verify(&rules).is_intact());
    });
}

/// Everything in the firewall, as its own programs show it, without what Postern made.
fn site(backend: Backend) -> String {
    let mut shown = String::new();
    for program in backend.programs() {
        match backend {
            Backend::Nftables => {
                let ruleset = run("nft list ruleset");
                let mut tables = ruleset.split_inclusive("\n}\n").map(str::trim_start);
                shown.extend(tables.by_ref().filter(|table| !table.starts_with("table inet postern ")));
            }
            _ => {
                let rules = run(&format!("{program} -S")) + &run(&format!("{program} -t nat -S"));
                let lines = rules.lines().filter(|line| !line.contains("POSTERN"));
                shown.extend(lines.map(|line| format!("{line}\n")));
            }
        }
    }
    if backend != Backend::Nftables {
        let sets = run("ipset save");
        shown.extend(sets.lines().filter(|line| !line.contains("POSTERN")).map(|line| format!("{line}\n")));
    }
    shown
}

fn everything(backend: Backend) -> String {
    let sets = if backend == Backend::Nftables { String::new() } else { run("ipset list -n") };
    let lists = match backend {
        Backend::Nftables => vec![run("nft list ruleset")],
        _ => backend.programs().iter().map(|program| run(&format!("{program} -S"))).collect(),
    };
    lists.concat() + &sets
}

fn what_the_site_made_stays_as_it_was(backend: Backend) {
    in_lab(move |_| {
        for program in backend.programs() {
            if backend == Backend::Nftables {
                run("nft add table inet site");
                run("nft add chain inet site input { type filter hook input priority 0 ; policy drop ; }");
                run("nft add rule inet site input tcp dport 80 counter accept");
                run("nft add set inet site granted4 { type ipv4_addr ; }");
            } else {
                run(&format!("{program} -N SITE"));
                run(&format!("{program} -A SITE -p tcp --dport 80 -j ACCEPT"));
                run(&format!("{program} -A INPUT -i lo -j ACCEPT"));
                run(&format!("{program} -A INPUT -j SITE"));
                run(&format!("{program} -P INPUT DROP"));
                run(&format!("{program} -t nat -A POSTROUTING -o gate0 -j MASQUERADE"));
            }
        }
        if backend != Backend::Nftables {
            run("ipset create site-set hash:ip hashsize 64");
            run("ipset add site-set 192.0.2.1");
        }
        let (before, all_before) = (site(backend), everything(backend));
        assert!(before.to_lowercase().contains("site"), "{before}");
        let mut gate = backend.gate();
        gate.install(&rules(&[&[A]]));
        assert_eq!(site(backend), before);
        let once = everything(backend);
        assert_ne!(once, all_before);
        gate.install(&rules(&[&[A]]));
        gate.install(&rules(&[&[A]]));
        assert_eq!(everything(backend), once, "nothing piles up");
        gate.remove();
        assert_eq!(everything(backend), all_before, "nothing is left behind");
        gate.remove();
        assert_eq!(everything(backend), all_before);
        assert!(!gate.verify(&rules(&[&[A]])).is_intact());
        let gone = gate.try_grants().unwrap_err();
        assert_eq!(gone.to_firewall_error(), FirewallError::Missing, "{gone}");
    });
}

fn the_largest_rule_set_fits(backend: Backend) {
    in_lab(move |lab| {
        let ports: Vec<[ServicePort; 2]> = (0..256)
            .map(|door| [ServicePort::tcp(7001 + 3 * door), ServicePort::udp(65_535 - door)])
            .collect();
        let doors: Vec<&[ServicePort]> = ports.iter().map(|ports| ports.as_slice()).collect();
        let rules = rules(&doors);
        assert_eq!((rules.doors().len(), rules.protected_ports().len()), (256, 512));
        let mut gate = backend.gate();
        gate.install(&rules);
        gate.install(&rules);
        assert_eq!(gate.verify(&rules).to_string(), "as installed");
        for net in nets() {
            for port in [ports[0][0], ports[255][0]] {
                serve(net.gate, port.port);
                assert!(!lab.answers(net.friend, net.gate, port.port), "{port}");
                gate.open(net.friend, &[port], 60).unwrap();
                assert!(lab.answers(net.friend, net.gate, port.port), "{port}");
            }
        }
    });
}

/// Datagrams are sent to a protected port as fast as one thread can, while the gate is replaced
/// again and again, ports come and go and grants are renewed: none arrives.
fn no_door_is_open_while_the_gate_is_replaced(backend: Backend) {
    in_lab(move |lab| {
        let net = nets()[0];
        let server = UdpSocket::bind(SocketAddr::new(net.gate, DATAGRAMS.port)).unwrap();
        server.set_nonblocking(true).unwrap();
        let (few, many) = (rules(&[&[DATAGRAMS]]), rules(&[&[A, B, ServicePort::udp(9)], &[DATAGRAMS]]));
        let mut gate = backend.gate();
        gate.install(&few);
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let sender = {
            let (stop, sent) = (stop.clone(), sent.clone());
            lab.at_client(move || {
                let socket = UdpSocket::bind(SocketAddr::new(net.stranger, 0)).unwrap();
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) && sent.load(Ordering::Relaxed) < 3_000_000 {
                        let _ = socket.send_to(b"?", SocketAddr::new(net.gate, DATAGRAMS.port));
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
        };
        wait_until("datagrams to be sent", || sent.load(Ordering::Relaxed) > 100);
        for round in 0..15 {
            replace(&mut gate, if round % 2 == 0 { &many } else { &few });
            let arrived = server.recv_from(&mut [0; 8]).is_ok();
            let sent = sent.load(Ordering::Relaxed);
            assert!(!arrived, "in round {round}, after {sent} datagrams");
        }
        // So does a new process beside the gate of the last.
        replace(&mut backend.gate(), &many);
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap();
        assert!(server.recv_from(&mut [0; 8]).is_err());
    });
}

fn replace(gate: &mut Gate, rules: &postern_core::RuleSet) {
    gate.install(rules);
    gate.open(nets()[0].friend, &[DATAGRAMS], 60).unwrap();
}

#[test]
fn a_family_that_cannot_be_guarded_leaves_the_gate_as_it_was() {
    in_lab(|lab| {
        use postern_hal_linux::firewall::FirewallOptions;
        let directory = std::env::temp_dir().join(format!("postern-firewall-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let link = |name: &str, to: &str| {
            let _ = std::fs::remove_file(directory.join(name));
            std::os::unix::fs::symlink(to, directory.join(name)).unwrap();
        };
        for name in ["iptables-nft", "iptables-nft-restore", "ip6tables-nft"] {
            link(name, &format!("/usr/sbin/{name}"));
        }
        link("ip6tables-nft-restore", "/usr/sbin/ip6tables-nft-restore");
        let options =
            FirewallOptions { program_directories: vec![directory.clone()], ..FirewallOptions::default() };
        let mut gate = Backend::IptablesNft.gate_with(options);
        let (one, two) = (rules(&[&[A]]), rules(&[&[B]]));
        gate.install(&one);
        gate.open(nets()[0].friend, &[A], 600).unwrap();

        link("ip6tables-nft-restore", "/bin/false");
        let failed = gate.try_install(&two);
        std::fs::remove_file(directory.join("ip6tables-nft-restore")).unwrap();
        let missing = gate.try_install(&two);
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(matches!(failed, Err(InstallError::ProgramFailed { .. })), "{failed:?}");
        let missing = missing.unwrap_err().to_string();
        assert!(missing.starts_with("ip6tables-nft-restore: not found in "), "{missing}");

        let mut other = Backend::IptablesNft.gate();
        assert_eq!(other.verify(&one).to_string(), "as installed");
        assert_eq!(other.grants().len(), 1);
        for net in nets() {
            serve(net.gate, A.port);
            assert!(!lab.answers(net.stranger, net.gate, A.port), "{net:?}");
        }
    });
}
