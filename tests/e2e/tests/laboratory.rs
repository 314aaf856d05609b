//! The laboratory itself: what it promises, it does.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use postern_e2e::frame::Payload;
use postern_e2e::knock::Knocker;
use postern_e2e::lab;
use postern_e2e::probe::{self, Answer, Session};
use postern_e2e::watch::Witness;
use postern_e2e::{Lab, Listener};

#[test]
fn hosts_reach_a_listener_over_both_families() {
    let lab = Lab::new().unwrap();
    let gateway = lab.host("gateway").unwrap();
    let client = lab.host("client").unwrap();
    let listener = Listener::start(&gateway.namespace, &[2222]).unwrap();
    for address in gateway.addresses() {
        let target = SocketAddr::new(address, 2222);
        let mut session = Session::get_in(&client.namespace, None, target).unwrap();
        assert_eq!(session.greeting(), "hello from tcp/2222");
        session.expect_alive().unwrap();
        assert!(probe::echo(&client.namespace, None, target, probe::SILENCE).unwrap().is_open());
    }
    drop(listener);
    let target = SocketAddr::new(gateway.v4.into(), 2222);
    let answer = probe::connect(&client.namespace, None, target, probe::SILENCE).unwrap();
    assert!(matches!(answer, Answer::Refused), "{answer:?}");
    let answer = probe::echo(&client.namespace, None, target, probe::SILENCE).unwrap();
    assert!(matches!(answer, Answer::Refused), "{answer:?}");
}

#[test]
fn the_witness_sees_answers_and_their_absence() {
    let lab = Lab::new().unwrap();
    let gateway = lab.host("gateway").unwrap();
    let client = lab.host("client").unwrap();
    let target = SocketAddr::new(gateway.v4.into(), 2222);

    let witness = Witness::start(&client, &gateway).unwrap();
    let _ = probe::connect(&client.namespace, None, target, probe::SILENCE).unwrap();
    let seen = witness.finish().unwrap();
    assert_eq!(seen.len(), 1, "one reset: {seen:?}");

    gateway
        .namespace
        .run("iptables", &["-A", "INPUT", "-p", "tcp", "--dport", "2222", "-j", "DROP"])
        .unwrap();
    let witness = Witness::start(&client, &gateway).unwrap();
    probe::expect_silence(&client.namespace, None, target).unwrap();
    witness.expect_silence().unwrap();
}

#[test]
fn hand_made_frames_are_what_the_kernel_would_make() {
    let lab = Lab::new().unwrap();
    let gateway = lab.host("gateway").unwrap();
    let client = lab.host("client").unwrap();
    let knocker = Knocker::new(&client, &gateway).unwrap();
    // Each is answered by the gateway's kernel, so every checksum in it was right.
    for [source, target] in
        [[client.v4, gateway.v4].map(IpAddr::from), [client.v6, gateway.v6].map(IpAddr::from)]
    {
        for knock in [Payload::syn(7351), Payload::udp(24011), Payload::echo(83)] {
            let witness = Witness::start(&client, &gateway).unwrap();
            knocker.knock(source, target, knock).unwrap();
            let seen = witness.finish().unwrap();
            assert_eq!(seen.len(), 1, "{knock} from {source}: {seen:?}");
        }
    }
}

#[test]
fn everything_is_removed_also_after_a_panic() {
    let held = std::thread::spawn(|| {
        let lab = Lab::new().unwrap();
        let host = lab.host("host").unwrap();
        let sleep = host.namespace.start("sleep", &["1000"]).unwrap();
        let pid = sleep.pid();
        let found = (host.namespace.handle(), lab.directory().to_owned(), pid);
        assert!(found.0.exists() && found.1.exists());
        std::panic::panic_any(found);
    });
    let found = held.join().unwrap_err();
    let (handle, directory, pid) =
        found.downcast_ref::<(std::path::PathBuf, std::path::PathBuf, u32)>().unwrap();
    assert!(!handle.exists() && !directory.exists());
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
}

#[test]
fn what_a_killed_run_left_behind_is_swept() {
    let lab = Lab::new().unwrap();
    // A process id that was ours and is no more.
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let name = format!("pst-{}-0-left", child.id());
    let ip = postern_e2e::tool::path("ip").unwrap();
    let made = std::process::Command::new(ip).args(["netns", "add", &name]).status().unwrap();
    assert!(made.success());
    lab::sweep();
    assert!(!Path::new("/run/netns").join(&name).exists());
    assert!(lab.namespace("kept").unwrap().handle().exists());
}

#[test]
fn a_raw_ip_link_carries_both_ways() {
    let lab = Lab::new().unwrap();
    let gateway = lab.host("gateway").unwrap();
    let client = lab.host("client").unwrap();
    let _listener = Listener::start(&gateway.namespace, &[2222]).unwrap();
    let ([address, _], _link) = lab.raw_ip_link(&gateway, &client, "wwan0").unwrap();
    let target = SocketAddr::new(address.into(), 2222);
    Session::get_in(&client.namespace, None, target).unwrap().expect_alive().unwrap();
    let shown = client.namespace.ip("-d link show wwan0").unwrap();
    assert!(shown.contains("link/none"), "a link layer where none should be: {shown}");
}
