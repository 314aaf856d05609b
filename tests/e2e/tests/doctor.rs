//! `postern doctor` finds what is planted, says what it explains, and changes nothing.

use std::net::TcpListener;
use std::path::Path;

use postern_e2e::process::{self, wait_until};
use postern_e2e::scene::MIXED;
use postern_e2e::{Backend, DoorText, Listener, Scene, Site, binaries, both_back_ends};
use serde_json::Value;

both_back_ends!(
    a_healthy_gateway_has_no_errors,
    faults_of_the_firewall,
    faults_of_interfaces_and_daemon,
    faults_of_services_and_store,
    knocks_that_never_arrive_are_told_from_those_that_lead_nowhere,
    a_door_behind_needs_a_gateway_that_forwards,
    a_selftest_does_everything_once_and_changes_nothing,
);

/// A second door, to a port where nothing listens.
const IDLE: &str = "tcp/8022";

fn scene(backend: Backend) -> Scene {
    let ssh = DoorText::new("ssh", &["tcp/22"], &MIXED);
    let scene = Scene::set(&Site::new(backend).door(ssh)).unwrap();
    // The socket is there a moment after the daemon's first words.
    wait_until("the control socket", || scene.gate.control().exists().then_some(())).unwrap();
    scene
}

fn a_door_behind_needs_a_gateway_that_forwards(backend: Backend) {
    let plc = DoorText::new("plc", &["tcp/10022"], &MIXED).with("forward = \"192.168.10.5:22\"");
    let scene = Scene::set(&Site::new(backend).door(plc)).unwrap();
    wait_until("the control socket", || scene.gate.control().exists().then_some(())).unwrap();
    expect(&scene, "forwarding-off", Some("time-out"));
    // Nobody listens here, and nobody has to.
    expect_none_of(&scene, &["nothing-listens"]);
    scene.gateway.namespace.set("ipv4/ip_forward", "1").unwrap();
    expect_none_of(&scene, &["forwarding-off", "nothing-listens", "shadowed"]);
}

/// What the doctor says, and how it ends.
fn examine(scene: &Scene, more: &[&str]) -> (Value, i32) {
    examine_store(scene, scene.gate.store(), more)
}

fn examine_store(scene: &Scene, store: &Path, more: &[&str]) -> (Value, i32) {
    let program = binaries::path("postern").unwrap();
    let mut command = scene.gateway.namespace.command(&program.to_string_lossy()).unwrap();
    command.args(["doctor", "--json", "--store"]).arg(store).arg("--control").arg(scene.gate.control());
    let output = process::output(command.args(more)).unwrap();
    let object: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}): {}{}", output.stdout, output.stderr));
    assert_eq!(object["version"], 1);
    (object, output.status.code().unwrap())
}

fn codes(object: &Value) -> Vec<String> {
    let findings = object["findings"].as_array().unwrap().iter();
    findings.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

/// The finding is there, with a fix, and explains the symptom.
#[track_caller]
fn expect(scene: &Scene, code: &str, symptom: Option<&str>) {
    let (object, status) = examine(scene, &[]);
    let findings = object["findings"].as_array().unwrap();
    let Some(finding) = findings.iter().find(|finding| finding["code"] == code) else {
        panic!("{code} was not found: {object:#}");
    };
    assert!(!finding["fix"].as_str().unwrap().is_empty());
    if finding["severity"] == "error" {
        assert_eq!((status, &object["ok"]), (1, &Value::Bool(false)));
    }
    let Some(symptom) = symptom else { return };
    let table = object["symptoms"].as_array().unwrap();
    let row = table.iter().find(|row| row["symptom"] == symptom).unwrap();
    assert!(row["explained_by"].as_array().unwrap().contains(&code.into()), "{row:#}");
    // Asked about that symptom alone, it says the same and nothing that does not explain it.
    let (asked, _) = examine(scene, &["--symptom", symptom]);
    assert!(codes(&asked).contains(&code.to_owned()));
    assert_eq!(asked["symptoms"].as_array().unwrap().len(), 1);
}

#[track_caller]
fn expect_none_of(scene: &Scene, absent: &[&str]) {
    let found = codes(&examine(scene, &[]).0);
    let wrong: Vec<&&str> = absent.iter().filter(|&&code| found.iter().any(|found| found == code)).collect();
    assert!(wrong.is_empty(), "{wrong:?} should not be among {found:?}");
}

fn run(scene: &Scene, words: &str) {
    let words: Vec<&str> = words.split_whitespace().collect();
    scene.gateway.namespace.run(words[0], &words[1..]).unwrap();
}

fn a_healthy_gateway_has_no_errors(backend: Backend) {
    let scene = scene(backend);
    let before = scene.gate.firewall();
    let (object, status) = examine(&scene, &[]);
    let errors: Vec<&Value> =
        object["findings"].as_array().unwrap().iter().filter(|found| found["severity"] == "error").collect();
    assert!(errors.is_empty() && status == 0, "{errors:#?}");
    assert_eq!(scene.gate.firewall(), before, "the doctor changes nothing");
    // For people: a table of symptoms, each with an answer.
    let program = binaries::path("postern").unwrap();
    let mut command = scene.gateway.namespace.command(&program.to_string_lossy()).unwrap();
    let said = process::success(
        command
            .args(["doctor", "--store"])
            .arg(scene.gate.store())
            .arg("--control")
            .arg(scene.gate.control()),
    )
    .unwrap();
    for line in
        ["no log activity", "not recognised", "connection refused", "time-out", "open without a knock"]
    {
        assert!(said.contains(line), "{line:?} is missing in:\n{said}");
    }
}

fn faults_of_the_firewall(backend: Backend) {
    let mut scene = scene(backend);
    // Others that drop who was let in, before or behind the gate.
    run(&scene, "nft add table inet site");
    run(&scene, "nft add chain inet site in { type filter hook input priority 10 ; policy drop ; }");
    expect(&scene, "shadowed", Some("time-out"));
    run(&scene, "nft add rule inet site in tcp dport 22 accept");
    expect_none_of(&scene, &["shadowed"]);
    run(&scene, "nft delete table inet site");
    run(&scene, "iptables -P INPUT DROP");
    match backend {
        // What the gate accepts, no later rule of the same table is asked about.
        Backend::Iptables => {
            scene.knock(&MIXED).unwrap();
            scene.expect_client_in(scene.ssh()).unwrap();
        }
        Backend::Nftables => {
            expect(&scene, "shadowed", Some("time-out"));
            run(&scene, "iptables -A INPUT -p tcp --dport 22 -j ACCEPT");
        }
    }
    expect_none_of(&scene, &["shadowed"]);
    run(&scene, "iptables -P INPUT ACCEPT");
    // Managers that may put their rules anywhere.
    expect_none_of(&scene, &["other-manager"]);
    run(&scene, "iptables -N ufw-before-input");
    run(&scene, "iptables -A INPUT -j ufw-before-input");
    expect(&scene, "other-manager", None);
    // The gate itself. A daemon that lives would put it right before anybody has looked.
    scene.gate.kill().unwrap();
    match backend {
        Backend::Iptables => {
            run(&scene, "iptables -I INPUT -p tcp --dport 22 -j ACCEPT");
            expect(&scene, "gate-not-first", Some("open"));
            run(&scene, "iptables -D INPUT -p tcp --dport 22 -j ACCEPT");
            expect_none_of(&scene, &["gate-not-first", "gate-missing"]);
            run(&scene, "iptables -F INPUT");
        }
        Backend::Nftables => run(&scene, "nft delete table inet postern"),
    }
    expect(&scene, "gate-missing", Some("open"));
}

fn faults_of_interfaces_and_daemon(backend: Backend) {
    let mut scene = scene(backend);
    expect_none_of(
        &scene,
        &["interface-down", "interface-missing", "default-route-unwatched", "daemon-silent"],
    );
    let [_, there] = scene.lab.second_link(&scene.gateway, &scene.stranger, "eth5").unwrap();
    run(&scene, &format!("ip route add default via {there} dev eth5"));
    expect(&scene, "default-route-unwatched", Some("no-log"));
    run(&scene, "ip link set eth0 down");
    expect(&scene, "interface-down", Some("no-log"));
    run(&scene, "ip link del eth0");
    expect(&scene, "interface-missing", Some("no-log"));
    wait_until("the daemon to notice", || {
        codes(&examine(&scene, &[]).0).contains(&"interface-deaf".to_owned()).then_some(())
    })
    .unwrap();
    scene.gate.kill().unwrap();
    expect(&scene, "daemon-silent", Some("no-log"));
}

fn faults_of_services_and_store(backend: Backend) {
    let mut scene = scene(backend);
    expect_none_of(&scene, &["nothing-listens", "knock-port-in-use", "store-slot-refused"]);
    let taken = Listener::start(&scene.gateway.namespace, &[7351]).unwrap();
    expect(&scene, "knock-port-in-use", Some("not-recognised"));
    drop(taken);
    let ssh = DoorText::new("ssh", &["tcp/22"], &MIXED);
    let idle = DoorText::new("idle", &[IDLE], &postern_e2e::scene::TCP);
    scene.gate.reload(&Site::new(backend).door(ssh).door(idle)).unwrap();
    expect(&scene, "nothing-listens", Some("refused"));
    let inner = scene.gateway.namespace.enter(|| TcpListener::bind("127.0.0.1:8022").unwrap());
    expect(&scene, "listens-on-loopback", Some("refused"));
    drop(inner);
    // A store that is not there, and one with nothing in it that counts.
    let (object, status) = examine_store(&scene, &scene.lab.directory().join("none"), &[]);
    assert!(codes(&object).contains(&"store-unreadable".to_owned()) && status == 1, "{object:#}");
    let copy = scene.lab.directory().join("damaged");
    let mut image = std::fs::read(scene.gate.store()).unwrap();
    // Every sector but the identity's loses an octet: no slot has the digest it should.
    image.iter_mut().skip(64 * 1024).step_by(512).for_each(|octet| *octet ^= 0x55);
    std::fs::write(&copy, &image).unwrap();
    let (object, _) = examine_store(&scene, &copy, &[]);
    let found = codes(&object);
    assert!(found.iter().any(|code| code == "store-slot-refused" || code == "store-no-config"), "{found:?}");
}

fn knocks_that_never_arrive_are_told_from_those_that_lead_nowhere(backend: Backend) {
    let scene = scene(backend);
    let ours = ["knock-never-heard", "knocks-out-of-turn"];
    expect_none_of(&scene, &ours);
    // What a router on the way does that lets no UDP through.
    let [first, second, third, fourth] = MIXED;
    scene.knock(&[first, third, fourth]).unwrap();
    wait_until("the knocks to be heard", || {
        codes(&examine(&scene, &[]).0).contains(&ours[0].to_owned()).then_some(())
    })
    .unwrap();
    expect(&scene, "knock-never-heard", Some("not-recognised"));
    let (object, _) = examine(&scene, &[]);
    let finding = object["findings"].as_array().unwrap().iter().find(|finding| finding["code"] == ours[0]);
    let message = finding.unwrap()["message"].as_str().unwrap();
    assert!(message.contains("door ssh: udp/24011 (knock 2 of 4)") && !message.contains("tcp"), "{message}");
    scene.knock(&[fourth, third, second, first]).unwrap();
    wait_until("the knocks to be heard", || {
        codes(&examine(&scene, &[]).0).contains(&ours[1].to_owned()).then_some(())
    })
    .unwrap();
    expect(&scene, "knocks-out-of-turn", Some("not-recognised"));
    scene.knock(&MIXED).unwrap();
    let _session = scene.expect_client_in(scene.ssh()).unwrap();
    expect_none_of(&scene, &ours);
}

/// Every step, by name, with whether it passed.
fn selftest(scene: &Scene, store: &Path) -> (Vec<(String, bool)>, i32) {
    let program = binaries::path("postern").unwrap();
    let mut command = scene.gateway.namespace.command(&program.to_string_lossy()).unwrap();
    command.args(["selftest", "--json", "--store"]).arg(store).arg("--control").arg(scene.gate.control());
    let output = process::output(&mut command).unwrap();
    let object: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("no JSON ({error}): {}{}", output.stdout, output.stderr));
    assert_eq!(object["version"], 1);
    println!("{object:#}");
    let steps = object["steps"].as_array().unwrap().iter().map(|step| {
        assert!(!step["said"].as_str().unwrap().is_empty());
        (step["step"].as_str().unwrap().to_owned(), step["passed"].as_bool().unwrap())
    });
    (steps.collect(), output.status.code().unwrap())
}

fn a_selftest_does_everything_once_and_changes_nothing(backend: Backend) {
    let mut scene = scene(backend);
    let before = scene.gate.firewall();
    let (steps, status) = selftest(&scene, scene.gate.store());
    let all = ["store", "rehearsal", "sequences", "gate", "capture", "daemon"];
    assert_eq!(steps, all.map(|step| (step.to_owned(), true)));
    assert_eq!((status, scene.gate.firewall()), (0, before));
    // Without the daemon, and without a store.
    scene.gate.kill().unwrap();
    let (steps, status) = selftest(&scene, scene.gate.store());
    assert_eq!(steps, all.map(|step| (step.to_owned(), step != "daemon")));
    assert_eq!(status, 1);
    let (steps, status) = selftest(&scene, &scene.lab.directory().join("none"));
    assert_eq!(
        steps,
        [("store", false), ("rehearsal", true), ("daemon", false)]
            .map(|(step, passed)| (step.to_owned(), passed))
    );
    assert_eq!(status, 1);
}
