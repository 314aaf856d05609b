//! The tool against a verifier, and against a service.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::Stdio;
use std::time::Duration;

use postern_core::knock::{InterfaceSet, ServicePort};
use postern_core::rule::{Door, DoorId, Terms};
use postern_core::spa::key::SpaKey;
use postern_core::spa::native::{Admitted, Arrival, PACKET_BYTES, Refused, Verdict, Verifier};
use postern_core::spa::policy::{DoorSet, Policy};
use postern_core::time::{Duration as EngineDuration, Instant};

use crate::bench::{Bench, DEVICE, FAR_AHEAD, SECRET};

/// A bench whose profile `spa` knocks at `socket`, without a claim.
fn bench(socket: &UdpSocket) -> Bench {
    let bench = Bench::new();
    let port = socket.local_addr().unwrap().port();
    let profiles = bench.read(".config/postern/clients.toml");
    let profiles = profiles.replace("claim = [\"203.0.113.7\"]", &format!("port = {port}\ncopies = 2"));
    bench.write(".config/postern/clients.toml", &profiles, 0o600);
    bench
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn packet(socket: &UdpSocket) -> [u8; PACKET_BYTES] {
    let mut packet = [0; PACKET_BYTES + 1];
    let length = socket.recv(&mut packet).unwrap();
    packet[..length].try_into().expect("128 octets")
}

/// A gateway of which only the verifier is there; a minute passes between two packets.
struct Gateway {
    verifier: Verifier,
    door: Door,
    minutes: u64,
}

impl Gateway {
    fn new() -> Self {
        let mut verifier = Verifier::new(DEVICE);
        let longest = Some(EngineDuration::from_secs(3600));
        let policy = Policy { doors: DoorSet::NONE.with(DoorId(0)), longest, ..Policy::default() };
        verifier.add(&SpaKey::new(SECRET), policy, 0).unwrap();
        let door = Door {
            name: "ssh".try_into().unwrap(),
            ports: heapless::Vec::from_slice(&[ServicePort::tcp(22)]).unwrap(),
            open_for: EngineDuration::from_secs(30),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms::PLAIN,
        };
        Self { verifier, door, minutes: 0 }
    }

    fn take(&mut self, packet: &[u8]) -> Result<Admitted, Refused> {
        self.minutes += 1;
        let at = Instant::from_millis(self.minutes * 60_000);
        let arrival = Arrival { seen_from: [198, 51, 100, 7].into(), at, wall: None };
        let doors = std::slice::from_ref(&self.door);
        match self.verifier.verify(packet, arrival, doors)? {
            Verdict::Admitted(admitted) => Ok(admitted),
            Verdict::Waiting(waiting) => {
                self.verifier.persisted(waiting.tag, waiting.ceiling);
                self.verifier.resume(&waiting, at, None, doors)
            }
        }
    }
}

#[test]
fn a_gateway_takes_the_packets_of_the_tool_each_once() {
    let socket = socket();
    let bench = bench(&socket);
    let mut gateway = Gateway::new();
    for visit in 1..=3_u64 {
        let (printed, said) = bench.expect(&["knock", "spa", "--json"], 0);
        assert!(said.is_empty(), "{said}");
        let counter = FAR_AHEAD + 5000 * visit;
        assert!(printed.contains(&format!("\"counter\": {counter},")), "{printed}");
        let (first, copy) = (packet(&socket), packet(&socket));
        assert_eq!(first, copy);
        let admitted = gateway.take(&first).unwrap();
        assert_eq!((admitted.counter, admitted.lease), (counter, EngineDuration::from_secs(600)));
        assert!(gateway.take(&copy).is_err());
    }
}

/// Killed anywhere, the client never makes two packets with one counter: what it sent was on the disk.
#[test]
fn a_client_that_is_killed_repeats_no_counter() {
    let socket = socket();
    let bench = bench(&socket);
    socket.set_nonblocking(true).unwrap();
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let (mut round, mut in_vain) = (0_u64, 0);
    // From before it starts to after its first copy, however fast the machine is.
    while packets.len() < 20 || in_vain < 5 {
        let mut client = bench.command(env!("CARGO_BIN_EXE_postern"), &["knock", "spa"]);
        let mut client = client.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(300 * round));
        let _ = client.kill();
        client.wait().unwrap();
        let before = packets.len();
        let mut octets = [0; PACKET_BYTES];
        while socket.recv(&mut octets).is_ok() {
            if packets.last().is_none_or(|last| *last != octets) {
                packets.push(octets.to_vec());
            }
        }
        in_vain += u32::from(packets.len() == before);
        round = if packets.len() > before { round / 2 } else { round + 1 };
    }
    let mut gateway = Gateway::new();
    let counters: Vec<u64> = packets.iter().map(|packet| gateway.take(packet).unwrap().counter).collect();
    // The tool still works, and goes on behind all of them.
    bench.expect(&["knock", "spa"], 0);
    socket.set_nonblocking(false).unwrap();
    let last = gateway.take(&packet(&socket)).unwrap().counter;
    assert!(counters.iter().all(|counter| *counter < last), "{counters:?} {last}");
}

#[test]
fn nothing_is_sent_where_the_counter_cannot_be_kept() {
    let socket = socket();
    let bench = bench(&socket);
    socket.set_nonblocking(true).unwrap();
    // A file in the place of the folder.
    std::fs::remove_dir_all(bench.path(".local/state/postern")).unwrap();
    bench.write(".local/state/postern", "", 0o600);
    let (_, said) = bench.expect(&["knock", "spa"], 1);
    assert!(said.contains("nothing was sent"), "{said}");
    for harmless in [&["knock", "spa", "--dry-run"][..], &["knock", "spa", "--check"]] {
        bench.run(harmless);
    }
    assert!(socket.recv(&mut [0; 200]).is_err(), "a packet was sent");
}

#[test]
fn the_relay_is_transparent_and_knocks_first() {
    let socket = socket();
    let bench = bench(&socket);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let service = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"greeting ").unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            heard.reverse();
            stream.write_all(&heard).unwrap();
        }
    });
    let relay = || {
        let arguments = ["knock", "spa", "--proxy", "127.0.0.1", &port];
        let mut relay = bench.command(env!("CARGO_BIN_EXE_postern"), &arguments);
        let relay = relay.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut relay = relay.spawn().unwrap();
        relay.stdin.take().unwrap().write_all(b"\x00\xff\n drawer").unwrap();
        let output = relay.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
        assert_eq!(output.stdout, b"greeting reward \n\xff\x00");
    };
    relay();
    packet(&socket);
    packet(&socket);
    // It knocked lately, and the port is open: no second visit.
    relay();
    service.join().unwrap();
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 200]).is_err(), "it knocked at an open door");
}

#[test]
fn times_and_numbers_have_bounds() {
    let bench = Bench::new();
    for wrong in [
        &["--timeout", "0"][..],
        &["--timeout", "18446744073709551615"],
        &["--delay", "18446744073709551615"],
        &["--retry", "21", "--probe", "tcp/1"],
        &["--probe", "tcp/0"],
        &["--probe", "udp/1"],
        &["--proxy", "host"],
    ] {
        bench.expect(&[&["knock", "127.0.0.1", "udp/9"], wrong].concat(), 2);
    }
    bench.expect(&["knock", "127.0.0.1", "udp/9", "--proxy", "127.0.0.1", "70000"], 2);
}
