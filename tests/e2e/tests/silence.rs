//! Before the knock nothing answers: no reset, no ICMP, nothing.

use std::net::{IpAddr, SocketAddr};

use postern_e2e::frame::Payload;
use postern_e2e::knock::Knocker;
use postern_e2e::probe;
use postern_e2e::scene::{MIXED, SSH};
use postern_e2e::watch::Witness;
use postern_e2e::{Backend, DoorText, Scene, Site, both_back_ends};

both_back_ends!(
    protected_ports_are_silent_to_clients,
    protected_ports_are_silent_to_odd_segments,
    protected_ports_look_filtered_to_nmap,
    unguarded_ports_are_left_alone,
);

fn scene(backend: Backend) -> Scene {
    let door = DoorText::new("ssh", &["tcp/22", "udp/161"], &MIXED);
    Scene::set(&Site::new(backend).door(door)).unwrap()
}

fn protected_ports_are_silent_to_clients(backend: Backend) {
    let scene = scene(backend);
    let witness = Witness::start(&scene.client, &scene.gateway).unwrap();
    for address in scene.gateway.addresses() {
        scene.expect_client_out(SocketAddr::new(address, SSH)).unwrap();
        probe::expect_udp_silence(&scene.client.namespace, None, SocketAddr::new(address, 161)).unwrap();
    }
    witness.expect_silence().unwrap();
}

fn protected_ports_are_silent_to_odd_segments(backend: Backend) {
    let scene = scene(backend);
    let knocker = Knocker::new(&scene.client, &scene.gateway).unwrap();
    let witness = Witness::start(&scene.client, &scene.gateway).unwrap();
    let pairs: [[IpAddr; 2]; 2] = [
        [scene.client.v4.into(), scene.gateway.v4.into()],
        [scene.client.v6.into(), scene.gateway.v6.into()],
    ];
    for [source, target] in pairs {
        // Every combination of FIN, SYN, RST, PSH, ACK and URG, as a scanner would try.
        for flags in 0..64 {
            knocker.knock(source, target, Payload::Tcp { port: SSH, flags }).unwrap();
        }
        knocker.knock(source, target, Payload::udp(161)).unwrap();
    }
    witness.expect_silence().unwrap();
}

fn protected_ports_look_filtered_to_nmap(backend: Backend) {
    let scene = scene(backend);
    let options = ["-n", "-Pn", "-sS", "-sU", "--max-retries", "1", "-p", "T:22,U:161", "--reason"];
    for (family, address) in [("-4", scene.gateway.addresses()[0]), ("-6", scene.gateway.addresses()[1])] {
        let address = address.to_string();
        let arguments: Vec<&str> =
            options.into_iter().chain([family, &*address].into_iter().filter(|word| *word != "-4")).collect();
        let seen = scene.stranger.namespace.run("nmap", &arguments).unwrap();
        let line = |port: &str| seen.lines().find(|line| line.starts_with(port)).unwrap_or("").to_owned();
        assert!(line("22/tcp").contains("filtered") && line("22/tcp").contains("no-response"), "{seen}");
        assert!(
            line("161/udp").contains("open|filtered") && line("161/udp").contains("no-response"),
            "{seen}"
        );
    }
}

fn unguarded_ports_are_left_alone(backend: Backend) {
    let scene = scene(backend);
    for address in scene.gateway.addresses() {
        scene.expect_client_in(SocketAddr::new(address, 502)).unwrap();
        // The other transport of a guarded number is not guarded.
        let target = SocketAddr::new(address, SSH);
        assert!(probe::echo(&scene.client.namespace, None, target, probe::SILENCE).unwrap().is_open());
    }
}
