//! Peers that send anything.

use postern_console::rpc::request::Request;
use postern_console::rpc::{Call, FRAME_BYTES_MAX, encode_frame};

use crate::changes::commissioned;
use crate::world::{CONSOLE, ROOT};

/// xorshift64*: the same octets every time.
struct Octets(u64);

impl Octets {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

#[test]
fn noise_and_damaged_frames_change_nothing() {
    let (mut world, _root) = commissioned();
    let before = (world.configuration.generation(), world.medium.writes.get());
    let mut octets = Octets(20_261_123);
    let mut peer = world.connect(ROOT);
    let wipe = Call { number: 1, request: Request::Wipe { device: [0x5a; 16] } };
    let mut frame = [0; FRAME_BYTES_MAX];
    let frame = encode_frame(&wipe, &mut frame).unwrap().to_vec();
    for _ in 0..20_000 {
        let mut damaged = frame.clone();
        let at = usize::try_from(octets.next()).unwrap() % (damaged.len() - 2) + 1;
        damaged[at] ^= 1 << (octets.next() % 8);
        world.send(&mut peer, &damaged);
        let noise: Vec<u8> = (0..octets.next() % 64).map(|_| octets.next().to_le_bytes()[0]).collect();
        world.send(&mut peer, &noise);
    }
    assert_eq!((world.configuration.generation(), world.medium.writes.get()), before);
}

#[test]
fn random_messages_in_whole_frames_change_nothing_without_a_login() {
    let (mut world, _root) = commissioned();
    let before = (world.configuration.generation(), world.medium.writes.get());
    let mut octets = Octets(7);
    let mut peer = world.connect(CONSOLE);
    for _ in 0..50_000 {
        let message: heapless::Vec<u8, 200> =
            (0..octets.next() % 200).map(|_| octets.next().to_le_bytes()[0] & 0x1f).collect();
        // Raw octets of a message: what `Call` would be if a peer wrote anything into it.
        let frame = raw_frame(&message);
        world.send(&mut peer, &frame);
    }
    assert_eq!((world.configuration.generation(), world.medium.writes.get()), before);
}

/// Whatever is sent, by however many: what it takes is given back, and more of it takes no more at a time.
#[test]
fn hostile_peers_take_no_memory_for_good() {
    let (mut world, _root) = commissioned();
    let mut octets = Octets(99);
    let mut rounds = |rounds: u32| {
        let measured = allocation_counter::measure(|| {
            for round in 0..rounds {
                let mut peer = world.connect(CONSOLE + round % 300);
                for _ in 0..20 {
                    let message: heapless::Vec<u8, 200> =
                        (0..octets.next() % 200).map(|_| octets.next().to_le_bytes()[0] & 0x1f).collect();
                    world.send(&mut peer, &raw_frame(&message));
                    world.send(&mut peer, &message);
                    world.send(&mut peer, &[0]);
                }
                let login = Request::Login { name: "maria".try_into().unwrap(), client_nonce: [7; 16] };
                let _ = world.ask(&mut peer, login);
                let _ = world.ask(&mut peer, Request::Proof { proof: [1; 32] });
                let _ = world.ask(&mut peer, Request::Stage { schema: 1, bytes: 60_000, digest: [0; 32] });
                world.disconnect(peer);
                world.machine.audit(world.now);
                world.pass(61);
            }
        });
        (measured.bytes_current, measured.bytes_max)
    };
    rounds(50);
    let (few, many) = (rounds(50), rounds(1500));
    assert_eq!((few.0, many.0), (0, 0), "octets kept");
    // A turn of the test itself takes some, more or less by what is answered.
    assert!(many.1 <= few.1 + 1024, "{} octets at a time, then {}", few.1, many.1);
}

/// The frame of a message that is only octets.
fn raw_frame(message: &[u8]) -> Vec<u8> {
    const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let mut body = message.to_vec();
    body.extend(CRC.checksum(message).to_le_bytes());
    let mut frame = vec![0];
    let mut rest = &body[..];
    loop {
        let run = rest.iter().take(254).position(|&octet| octet == 0).unwrap_or(rest.len().min(254));
        frame.push(u8::try_from(run + 1).unwrap());
        frame.extend(&rest[..run]);
        if run == rest.len() {
            break;
        }
        rest = if run == 254 { &rest[run..] } else { &rest[run + 1..] };
    }
    frame.push(0);
    frame
}
