//! The stock fwknop client, as Debian ships it: opens doors, and is refused by name.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use postern_core::spa::fwknop::{FwknopKey, MacDigest, sealer};
use postern_e2e::frame::{self, Link, Payload};
use postern_e2e::keyring::{Keyring, SPA_PORT, base64, send};
use postern_e2e::probe::{self, Session};
use postern_e2e::sender::{Flood, FrameSender};
use postern_e2e::{Backend, DoorText, Scene, Site, both_back_ends, process, tool};

both_back_ends!(
    passwords_and_base64_keys_open,
    a_client_may_ask_for_a_shorter_time,
    as_seen_opens_for_who_sent_it,
    a_claimed_address_stands_for_its_network,
    a_caught_packet_opens_nothing,
    what_is_not_allowed_is_refused_by_name,
    junk_like_its_own_does_no_harm,
);

/// Octets no password has.
const RAW: [u8; 32] = [0x9c; 32];
const RAW_MAC: [u8; 64] = [0xe1; 64];

/// `password` opens `ssh` with HMAC-SHA-256, `raw` opens both with HMAC-SHA-512. Both may name the
/// address to let in.
fn scene(backend: Backend, keyring: &Keyring) -> Scene {
    scene_with(backend, keyring, "")
}

/// The same with `more` lines of the door `ssh`.
fn scene_with(backend: Backend, keyring: &Keyring, more: &str) -> Scene {
    let key = |name: &str, encryption: &[u8], mac: &[u8], digest: &str| {
        let encryption = keyring.write(&format!("{name}.key"), &base64(encryption)).unwrap();
        let mac = keyring.write(&format!("{name}.mac"), &base64(mac)).unwrap();
        format!(
            "name = {name:?}\nkind = \"fwknop\"\nkey_base64_file = {encryption:?}\n\
             hmac_key_base64_file = {mac:?}\nhmac_digest = {digest:?}\nmay_claim = true\n"
        )
    };
    let password = key("password", PASSWORD_KEY, PASSWORD_MAC, "sha256");
    let raw = key("raw", &RAW, &RAW_MAC, "sha512");
    let ssh = DoorText::new("ssh", &["tcp/22"], &[]).with(&format!("spa = [\"password\", \"raw\"]\n{more}"));
    let web = DoorText::new("web", &["tcp/502"], &[]).with("spa = [\"raw\"]");
    Scene::set(&Site::new(backend).door(ssh).door(web).key(&password).key(&raw)).unwrap()
}

const PASSWORD: &str = "KEY a-word-of-the-laboratory\nHMAC_KEY another-word-of-the-laboratory\nUSE_HMAC Y\n";

const PASSWORD_KEY: &[u8] = b"a-word-of-the-laboratory";
const PASSWORD_MAC: &[u8] = b"another-word-of-the-laboratory";

fn raw_keys() -> String {
    let (key, mac) = (base64(&RAW), base64(&RAW_MAC));
    format!("KEY_BASE64 {key}\nHMAC_KEY_BASE64 {mac}\nUSE_HMAC Y\nHMAC_DIGEST_TYPE sha512\n")
}

/// Runs the client; `lines` are those of its stanza besides server and address.
fn knock(scene: &Scene, keyring: &Keyring, lines: &str, more: &[&str]) {
    let address =
        if lines.contains("ALLOW_IP") { String::new() } else { format!("ALLOW_IP {}\n", scene.client.v4) };
    let access = if lines.contains("ACCESS") { "" } else { "ACCESS tcp/22\n" };
    let text = format!("[gate]\nSPA_SERVER {}\n{address}{access}{lines}", scene.gateway.v4);
    let file = keyring.write("fwknoprc", &text).unwrap();
    run(scene, &file, more);
}

fn run(scene: &Scene, file: &Path, more: &[&str]) {
    tool::require(&["fwknop"]).unwrap();
    let mut command: Command = scene.client.namespace.command("fwknop").unwrap();
    command.arg("--rc-file").arg(file).args(["-n", "gate", "--no-save-args"]).args(more);
    process::success(&mut command).unwrap();
}

fn passwords_and_base64_keys_open(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let scene = scene(backend, &keyring);
    scene.expect_client_out(scene.ssh()).unwrap();
    knock(&scene, &keyring, PASSWORD, &[]);
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
    let web = SocketAddr::new(scene.gateway.v4.into(), 502);
    scene.expect_client_out(web).unwrap();
    knock(&scene, &keyring, &format!("ACCESS tcp/22,tcp/502\n{}", raw_keys()), &[]);
    scene.expect_client_in(web).unwrap();
    assert_eq!(scene.gate.log_with("GRANT raw spa web").len(), 1);
}

fn a_client_may_ask_for_a_shorter_time(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = scene(backend, &keyring);
    knock(&scene, &keyring, &format!("FW_TIMEOUT 2\n{PASSWORD}"), &[]);
    let granted = scene.gate.wait_for_log("GRANT password", 0).unwrap();
    assert!(granted.contains("open_for=2s"), "{granted}");
    scene.gate.wait_for_log("EXPIRE ssh", 0).unwrap();
    scene.expect_client_out(scene.ssh()).unwrap();
    // Longer than the door allows is cut.
    knock(&scene, &keyring, &format!("FW_TIMEOUT 6000\n{}", raw_keys()), &[]);
    let granted = scene.gate.wait_for_log("GRANT raw", 0).unwrap();
    assert!(granted.contains("open_for=60s"), "{granted}");
}

fn as_seen_opens_for_who_sent_it(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let scene = scene(backend, &keyring);
    knock(&scene, &keyring, &format!("ALLOW_IP source\n{PASSWORD}"), &[]);
    scene.expect_client_in(scene.ssh()).unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
}

fn a_claimed_address_stands_for_its_network(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = scene_with(backend, &keyring, "prefix_v4 = 24");
    let [claimed, neighbour] = scene.stranger.more_addresses(2, &scene.gateway).unwrap()[..] else {
        panic!("two addresses were asked for");
    };
    knock(&scene, &keyring, &format!("ALLOW_IP {claimed}\n{PASSWORD}"), &[]);
    let granted = scene.gate.wait_for_log("GRANT password", 0).unwrap();
    assert!(granted.contains(&format!("src={claimed} for=198.18.3.0/24")), "{granted}");
    Session::get_in(&scene.stranger.namespace, Some(neighbour.into()), scene.ssh()).unwrap();
    // Neither who sent the packet, nor the stranger by an address elsewhere.
    scene.expect_client_out(scene.ssh()).unwrap();
    let elsewhere = Some(scene.stranger.v4.into());
    probe::expect_silence(&scene.stranger.namespace, elsewhere, scene.ssh()).unwrap();
}

fn a_caught_packet_opens_nothing(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = scene(backend, &keyring);
    let caught = keyring.write("packet", "").unwrap();
    knock(&scene, &keyring, &format!("ALLOW_IP source\n{PASSWORD}"), &["-B", &caught.to_string_lossy()]);
    scene.expect_client_in(scene.ssh()).unwrap();
    let packet = std::fs::read(&caught).unwrap();
    let packet = packet.trim_ascii();
    for restart in [false, true] {
        if restart {
            scene.gate.kill().unwrap();
            scene.gate.restart().unwrap();
        }
        send(&scene.stranger.namespace, scene.gateway.v4.into(), packet).unwrap();
        scene.gate.wait_for_log("DENY-REPLAY password", 0).unwrap();
        scene.expect_stranger_out(scene.ssh()).unwrap();
    }
    let mut changed = packet.to_vec();
    changed[100] = if changed[100] == b'A' { b'B' } else { b'A' };
    send(&scene.stranger.namespace, scene.gateway.v4.into(), &changed).unwrap();
    scene.gate.wait_for_log("DENY-MAC not-genuine", 0).unwrap();
    scene.expect_stranger_out(scene.ssh()).unwrap();
}

fn what_is_not_allowed_is_refused_by_name(backend: Backend) {
    let keyring = Keyring::new().unwrap();
    let mut scene = scene(backend, &keyring);
    for (lines, more, said) in [
        (format!("ACCESS tcp/502\n{PASSWORD}"), &[][..], "DENY-POLICY password door-not-allowed"),
        (format!("ACCESS tcp/8080\n{PASSWORD}"), &[], "DENY-POLICY password no-such-door"),
        (PASSWORD.to_owned(), &["-N", "192.168.10.5:22"], "DENY-POLICY password nat-not-allowed"),
        (PASSWORD.to_owned(), &["-C", "id"], "DENY-POLICY password command-not-allowed"),
        (PASSWORD.to_owned(), &["-m", "md5"], "DENY-POLICY password fwknop-digest-weak"),
        ("KEY a-word-of-the-laboratory\n".to_owned(), &[], "DENY-MAC"),
        (format!("HMAC_DIGEST_TYPE md5\n{PASSWORD}"), &[], "DENY-MAC"),
        (PASSWORD.replace("another-word", "no-word"), &[], "DENY-MAC not-genuine"),
    ] {
        let mark = scene.gate.log_mark();
        knock(&scene, &keyring, &lines, more);
        scene.gate.wait_for_log(said, mark).unwrap();
    }
    scene.expect_client_out(scene.ssh()).unwrap();
    assert!(scene.gate.log_with("GRANT").is_empty());
}

/// A frame with these octets instead of its datagram's one. Captures do not look at checksums.
fn with_octets(mut frame: Vec<u8>, octets: &[u8]) -> Vec<u8> {
    const ETHERNET: usize = 14;
    const IP: usize = 20;
    const UDP: usize = 8;
    frame.truncate(ETHERNET + IP + UDP);
    frame.extend_from_slice(octets);
    let length = u16::try_from(UDP + octets.len()).unwrap();
    frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&(20 + length).to_be_bytes());
    frame[ETHERNET + IP + 4..ETHERNET + IP + 6].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Packets of a stock client with keys of its own, each another: every one costs the gateway its MACs.
fn junk_like_its_own_does_no_harm(backend: Backend) {
    const JUNK: u64 = 20_000;
    let keyring = Keyring::new().unwrap();
    let mut scene = scene(backend, &keyring);
    let sender = FrameSender::open(&scene.stranger.namespace, "eth0").unwrap();
    let link = Link { source: scene.stranger.mac, target: scene.gateway.mac, tags: Vec::new() };
    let gateway = IpAddr::from(scene.gateway.v4);
    let strange = FwknopKey::new(&[1; 32], &[2; 64], MacDigest::Sha256).unwrap();
    let text = b"0123456789012345:YWxpY2U:1795602600:3.0.0:1:MC4wLjAuMCx0Y3AvMjI";
    let junk = move |number: u64| {
        let source = IpAddr::from([198, 18, number.to_be_bytes()[6], number.to_be_bytes()[7]]);
        let packet = sealer::seal(&strange, text, &number.to_be_bytes()).unwrap();
        with_octets(frame::frame(&link, source, gateway, 4711, Payload::udp(SPA_PORT)), &packet)
    };
    let flood = Flood::start(sender, 3_000, JUNK, junk);
    for _ in 0..10 {
        let mark = scene.gate.log_mark();
        knock(&scene, &keyring, PASSWORD, &[]);
        scene.gate.wait_for_log("GRANT password", mark).unwrap();
    }
    scene.expect_client_in(scene.ssh()).unwrap();
    let sent = flood.stop().unwrap();
    assert!(sent > 100, "only {sent} packets of junk");
    assert!(scene.gate.log_with("DENY-MAC").len() < 200, "a record for each packet of a flood");
    scene.expect_stranger_out(scene.ssh()).unwrap();
}
