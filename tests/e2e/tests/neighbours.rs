//! Beside ufw, firewalld and Docker: who was granted passes, who was not is dropped, and what the
//! others drop behind the gate is found by the doctor.
//!
//! Their rules are written here in the shape in which those programs make them: chains, hooks,
//! priorities, policies and order.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use postern_e2e::process::{self, wait_until};
use postern_e2e::scene::{MIXED, SSH, TCP};
use postern_e2e::{Backend, DoorText, Gate, Lab, Listener, Scene, Site, binaries, both_back_ends};

both_back_ends!(beside_ufw, beside_firewalld, beside_docker);

/// A door the neighbour lets through, and one it does not.
const SHUT_BY_THEM: u16 = 502;

/// ufw with `default deny incoming` and `allow 22/tcp`.
const UFW: &str = "*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-user-input - [0:0]
:ufw-after-input - [0:0]
:ufw-reject-input - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-reject-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -j ufw-user-input
-A ufw-user-input -p tcp --dport 22 -j ACCEPT
-A ufw-after-input -p udp --dport 137 -j RETURN
COMMIT
";

/// The same for IPv6, where neighbours must be found.
const UFW6: &str = "*filter
:INPUT DROP [0:0]
:ufw6-before-input - [0:0]
:ufw6-user-input - [0:0]
-A INPUT -j ufw6-before-input
-A ufw6-before-input -i lo -j ACCEPT
-A ufw6-before-input -p ipv6-icmp -j ACCEPT
-A ufw6-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw6-before-input -j ufw6-user-input
-A ufw6-user-input -p tcp --dport 22 -j ACCEPT
COMMIT
";

/// firewalld with the zone public and the service ssh.
const FIREWALLD: &str = "table inet firewalld
delete table inet firewalld
table inet firewalld {
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    iifname \"lo\" accept
    ct state invalid drop
    jump filter_INPUT_ZONES
    reject with icmpx admin-prohibited
  }
  chain filter_INPUT_ZONES {
    goto filter_IN_public
  }
  chain filter_IN_public {
    jump filter_IN_public_allow
    meta l4proto { icmp, ipv6-icmp } accept
  }
  chain filter_IN_public_allow {
    tcp dport 22 accept
  }
}
";

/// Docker with a published port 8080 of a container.
const DOCKER: &str = "*nat
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp --dport 80 -j ACCEPT
-A DOCKER-USER -j RETURN
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
COMMIT
";

/// Puts rules in with the neighbour's own program, as it does itself: everything of its own anew.
fn apply(scene_namespace: &postern_e2e::Namespace, program: &str, arguments: &[&str], rules: &str) {
    let mut command = scene_namespace.command(program).unwrap();
    let mut child = command.args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The neighbour was there first; then comes the gate; then the neighbour makes its rules anew.
fn beside(backend: Backend, make: impl Fn(&postern_e2e::Namespace)) -> Scene {
    let lab = Lab::new().unwrap();
    let hosts = ["gateway", "client", "stranger"].map(|role| lab.host(role).unwrap());
    let [gateway, client, stranger] = hosts;
    make(&gateway.namespace);
    let listener = Listener::start(&gateway.namespace, &[SSH, SHUT_BY_THEM]).unwrap();
    let site = Site::new(backend).door(DoorText::new("ssh", &["tcp/22"], &MIXED)).door(DoorText::new(
        "service",
        &["tcp/502"],
        &TCP,
    ));
    let gate = Gate::start(&lab, &gateway.namespace, &site).unwrap();
    let mut scene = Scene { gate, listener, gateway, client, stranger, lab };
    for anew in [false, true] {
        if anew {
            make(&scene.gateway.namespace);
            // What it took away is put right; until then the neighbour's rules are in force.
            wait_until("the gate to be right", || scene.expect_stranger_out(scene.ssh()).ok()).unwrap();
        }
        for target in scene.ssh_both() {
            scene.expect_stranger_out(target).unwrap();
        }
        let mark = scene.gate.log_mark();
        scene.knock(&MIXED).unwrap();
        scene.gate.wait_for_log("GRANT door=ssh", mark).unwrap();
        scene.expect_client_in(scene.ssh()).unwrap();
        scene.expect_stranger_out(scene.ssh()).unwrap();
        scene.expect_stranger_out(SocketAddr::new(scene.ssh().ip(), SHUT_BY_THEM)).unwrap();
    }
    scene
}

/// Codes and messages of the doctor.
fn doctor(scene: &Scene) -> Vec<(String, String)> {
    let program = binaries::path("postern").unwrap();
    let mut command = scene.gateway.namespace.command(&program.to_string_lossy()).unwrap();
    command
        .args(["doctor", "--json", "--store"])
        .arg(scene.gate.store())
        .arg("--control")
        .arg(scene.gate.control());
    let output = process::output(&mut command).unwrap();
    let object: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let text = |finding: &serde_json::Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let findings = object["findings"].as_array().unwrap().iter();
    findings.map(|finding| (text(finding, "code"), text(finding, "message"))).collect()
}

/// The door that the neighbour shuts, too: the grant is of no use, and the doctor says why.
fn expect_shadow_found(scene: &mut Scene) {
    let mark = scene.gate.log_mark();
    scene.knock(&TCP).unwrap();
    scene.gate.wait_for_log("GRANT door=service", mark).unwrap();
    let service = SocketAddr::new(scene.ssh().ip(), SHUT_BY_THEM);
    let answer =
        postern_e2e::probe::connect(&scene.client.namespace, None, service, postern_e2e::probe::SILENCE);
    assert!(!answer.unwrap().is_open(), "the neighbour lets everybody reach {service}");
    let found = doctor(scene);
    let shadowed =
        |port: &str| found.iter().any(|(code, message)| code == "shadowed" && message.contains(port));
    assert!(shadowed("tcp/502") && !shadowed("tcp/22"), "{found:#?}");
}

fn expect_manager_named(scene: &Scene, name: &str) {
    let found = doctor(scene);
    let named = |(code, message): &(String, String)| code == "other-manager" && message.contains(name);
    assert!(found.iter().any(named), "{found:#?}");
    let broken: Vec<_> = found.iter().filter(|(code, _)| code.starts_with("gate-")).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

fn beside_ufw(backend: Backend) {
    let mut scene = beside(backend, |namespace| {
        // As `ufw reload`: everything in the table is replaced.
        apply(namespace, "iptables-restore", &[], UFW);
        apply(namespace, "ip6tables-restore", &[], UFW6);
    });
    expect_manager_named(&scene, "ufw");
    match backend {
        Backend::Nftables => expect_shadow_found(&mut scene),
        // In one table with ufw, first: whoever was granted passes, whatever ufw says after it.
        Backend::Iptables => {
            let mark = scene.gate.log_mark();
            scene.knock(&TCP).unwrap();
            scene.gate.wait_for_log("GRANT door=service", mark).unwrap();
            scene.expect_client_in(SocketAddr::new(scene.ssh().ip(), SHUT_BY_THEM)).unwrap();
            let found = doctor(&scene);
            assert!(found.iter().all(|(code, _)| code != "shadowed"), "{found:#?}");
        }
    }
}

fn beside_firewalld(backend: Backend) {
    let mut scene = beside(backend, |namespace| apply(namespace, "nft", &["-f", "-"], FIREWALLD));
    expect_manager_named(&scene, "firewalld");
    expect_shadow_found(&mut scene);
}

fn beside_docker(backend: Backend) {
    let scene = beside(backend, |namespace| {
        // A daemon that was started again adds what is missing, and flushes its own chains.
        apply(namespace, "iptables-restore", &["--noflush"], DOCKER);
    });
    expect_manager_named(&scene, "docker");
    // Not ours to change.
    let forward = scene.gateway.namespace.run("iptables", &["-S", "FORWARD"]).unwrap();
    assert!(forward.contains("-P FORWARD DROP") && forward.contains("-j DOCKER-USER"), "{forward}");
}
