//! Golden octets of schema 1 and of every record of the config partition: what is on a medium in the
//! field is read by every later version.
//!
//! Each file in `tests/golden` is a dump of one thing: offset, octets, and the characters among them.
//! `POSTERN_REFRESH=1 cargo test -p postern-config --test golden` writes those of [`Frozen::No`] anew; the
//! difference in them is the change of the format, and belongs into the commit message. With the
//! first release everything here is [`Frozen::Yes`], and then no refresh touches it.

use std::fmt::Write as _;
use std::path::Path;

use postern_config::partition::header::Header;
use postern_config::partition::journal::Confirmation;
use postern_config::partition::{Identity, JournalState, Lease, Leases, Mark};
use postern_config::secret::{Secret, StoredSecret};
use postern_config::signed::{BreakGlass, FleetConfig};
use postern_config::site::{
    Role, StoredAccount, StoredConsole, StoredDoor, StoredForward, StoredGuard, StoredGuardWidths,
    StoredHmac, StoredKey, StoredKeyKind, StoredNetwork, StoredPort, StoredRotating, StoredSequence,
    StoredStep, StoredWindow,
};
use postern_config::{Backend, SCHEMA, STORE_BYTES_MAX, Site, decode, encode, schema};

/// Whether a format may still change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frozen {
    /// Nothing of it is in the field yet.
    No,
    /// It is out there: a change is a new schema or a new layout.
    #[allow(dead_code, reason = "from the first release on")]
    Yes,
}

/// Schema 1 and layout 1 of the partition: not released yet.
const VERSION_1: Frozen = Frozen::No;

const KEY: [u8; 32] = [0x4b; 32];

fn assert_golden(name: &str, octets: &[u8]) {
    let found = dump(octets);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).with_extension("txt");
    if std::env::var_os("POSTERN_REFRESH").is_some() {
        assert!(VERSION_1 == Frozen::No, "{name} is frozen: make a new schema instead");
        std::fs::write(&path, &found).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if found == golden {
        return;
    }
    let differs = found.lines().zip(golden.lines()).find(|(found, golden)| found != golden);
    panic!(
        "the format of {name} has changed ({} octets); the first line that differs, found and golden: {differs:#?}\n\
         What is in the field could not be read any more. When that is meant and nothing is in the field \
         yet: POSTERN_REFRESH=1, and say so in the commit.",
        octets.len()
    );
}

/// Sixteen octets a line; lines of zeros are left out but the last.
fn dump(octets: &[u8]) -> String {
    let mut text = String::new();
    for (index, line) in octets.chunks(16).enumerate() {
        let at = index * 16;
        if line.iter().all(|&octet| octet == 0) && at + 16 < octets.len() {
            continue;
        }
        let _ = write!(text, "{at:05x} ");
        for octet in line {
            let _ = write!(text, " {octet:02x}");
        }
        let shown = |octet: &u8| if octet.is_ascii_graphic() { char::from(*octet) } else { '.' };
        let _ = writeln!(
            text,
            "{:1$}  {2}",
            "",
            (16 - line.len()) * 3,
            line.iter().map(shown).collect::<String>()
        );
    }
    text
}

fn text<const N: usize>(text: &str) -> heapless::String<N> {
    text.try_into().unwrap()
}

fn list<T: Clone, const N: usize>(items: &[T]) -> heapless::Vec<T, N> {
    heapless::Vec::from_slice(items).unwrap()
}

fn secret(octets: &[u8]) -> StoredSecret {
    StoredSecret::Known(Secret::new(octets).unwrap())
}

fn native_key() -> StoredKey {
    StoredKey {
        name: text("maria"),
        person: text(""),
        kind: StoredKeyKind::Native { secret: secret(&[0x11; 32]) },
        longest_secs: 900,
        sources: list(&[
            StoredNetwork { address: [198, 51, 100, 0].into(), prefix: 24 },
            StoredNetwork { address: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0].into(), prefix: 48 },
        ]),
        may_claim: true,
        counter_first: 1,
        counter_last: u64::MAX,
        valid_from_secs: 1_700_000_000,
        valid_until_secs: 1_900_000_000,
        windows: list(&[StoredWindow { days: 31, from_minute: 360, until_minute: 1080 }]),
        grants_per_door: 2,
        disabled: false,
    }
}

fn fwknop_key() -> StoredKey {
    StoredKey {
        name: text("vendor-acme"),
        person: text("acme"),
        kind: StoredKeyKind::Fwknop {
            encryption: secret(b"correct horse"),
            hmac: StoredSecret::Held([9, 8, 7, 6, 5, 4, 3, 2]),
            digest: StoredHmac::Sha512,
        },
        longest_secs: 0,
        sources: list(&[]),
        may_claim: false,
        counter_first: 0,
        counter_last: 300,
        valid_from_secs: 0,
        valid_until_secs: u64::MAX,
        windows: list(&[]),
        grants_per_door: 1,
        disabled: true,
    }
}

fn doors() -> [StoredDoor; 2] {
    let ssh = StoredDoor {
        ports: list(&[StoredPort::Tcp(22), StoredPort::Udp(161)]),
        target: Some([203, 0, 113, 7].into()),
        interfaces: 0b01,
        keys: 0b01,
        ..StoredDoor::plain(text("ssh"), 30)
    };
    let service = StoredDoor {
        ports: list(&[StoredPort::Tcp(10_022)]),
        target: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into()),
        interfaces: 0b11,
        keys: 0b11,
        rotating: Some(StoredRotating {
            key: 0,
            knocks: 4,
            look_ahead: 3,
            protocols: 7,
            first: 20_000,
            last: 29_999,
            within_millis: 10_000,
        }),
        forward: Some(StoredForward { address: [192, 168, 10, 5].into(), port: 22 }),
        one_shot: true,
        cut_at_end: true,
        prefix_v4: 24,
        prefix_v6: 64,
        allow: 0x0102_0304,
        ..StoredDoor::plain(text("service"), 900)
    };
    [ssh, service]
}

fn sequences() -> [StoredSequence; 2] {
    let opens = StoredSequence {
        door: 0,
        closes: false,
        one_time: true,
        steps: list(&[StoredStep::Tcp(7351), StoredStep::Udp(24_011), StoredStep::Icmp(83)]),
        within_millis: 10_000,
        reorder_millis: 150,
        flags_mask: 0x12,
        flags_value: 0x02,
    };
    let closes = StoredSequence {
        door: 1,
        closes: true,
        one_time: false,
        steps: list(&[StoredStep::Udp(1490)]),
        reorder_millis: 0,
        ..opens.clone()
    };
    [opens, closes]
}

/// A site with something in every field.
fn full() -> Box<Site> {
    Box::new(Site {
        name: text("pump-station-17"),
        interfaces: list(&[text("wwan0"), text("eth0")]),
        spa_port: 62_201,
        guard_widths: StoredGuardWidths { tcp: 256, udp: 17, icmp: 18 },
        backend: Backend::Nftables,
        exempt_interfaces: list(&[text("br-lan")]),
        console: StoredConsole { banner: text("Authorised\nuse only."), idle_lock_secs: 300 },
        owner: Some([0x0e; 32]),
        accounts: list(&[
            StoredAccount {
                name: text("operator"),
                role: Role::Operator,
                salt: [0x5a; 16],
                iterations: 4096,
                stored_key: secret(&[0xa1; 32]),
                server_key: secret(&[0xa2; 32]),
            },
            StoredAccount {
                name: text("admin"),
                role: Role::Admin,
                salt: [0x5b; 16],
                iterations: 600_000,
                stored_key: secret(&[0xb1; 32]),
                server_key: secret(&[0xb2; 32]),
            },
        ]),
        keys: list(&[native_key(), fwknop_key()]),
        doors: list(&doors()),
        sequences: list(&sequences()),
        guards: list(&[
            StoredGuard { first: StoredStep::Tcp(7352), last: 7400 },
            StoredGuard { first: StoredStep::Icmp(84), last: 100 },
        ]),
    })
}

fn payload(site: &Site) -> Vec<u8> {
    let mut buffer = vec![0; schema::PAYLOAD_BYTES_MAX];
    let octets = schema::encode(site, &mut buffer).unwrap();
    buffer.truncate(octets);
    buffer
}

#[test]
fn a_site_of_schema_1() {
    assert_eq!(SCHEMA, 1);
    for (name, site) in [("site-empty", Box::default()), ("site-full", full())] {
        let octets = payload(&site);
        assert_golden(name, &octets);
        assert_eq!(schema::decode(1, &octets).as_ref(), Ok(&*site), "{name}");
    }
}

#[test]
fn a_site_in_a_file() {
    let mut buffer = vec![0; STORE_BYTES_MAX];
    let octets = encode(&full(), &mut buffer).unwrap();
    assert_golden("file", octets);
    assert_eq!(decode(octets).as_ref(), Ok(&*full()));
}

#[test]
fn the_header_of_a_slot() {
    let header = Header {
        generation: 0x0102_0304_0506_0708,
        trial: true,
        schema: 1,
        floor: 7,
        payload_bytes: 1000,
        digest: [0xab; 32],
        seal: None,
    };
    assert_golden("slot-header", &header.encode());
    let sealed = header.sealed(&KEY, 3);
    assert_golden("slot-header-sealed", &sealed.encode());
    assert_eq!(Header::decode(&sealed.encode()), Ok(sealed));
}

#[test]
fn the_identity() {
    let random: Vec<u8> = (0..48).collect();
    let identity = Identity { adopted: [0xad; 32], ..Identity::from_random(&random.try_into().unwrap()) };
    assert_golden("identity", &identity.encode());
    assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
}

#[test]
fn a_record_of_marks() {
    let marks =
        JournalState { sequence: 0x1112_1314, boots: 21, unclean_boots: 2, ..JournalState::default() };
    let confirmation = Confirmation { generation: 9, digest: [0xc9; 32] };
    let marks = marks.with(Mark::Confirmed(confirmation, 3)).unwrap();
    let marks = marks.with(Mark::Committed { slot: 5, generation: 0x0a0b, floor: 4 }).unwrap();
    for (name, key) in [("marks", None), ("marks-sealed", Some(&KEY))] {
        let octets = marks.encode(key);
        assert_golden(name, &octets);
        assert_eq!(JournalState::decode(&octets), Ok(marks), "{name}");
        assert!(JournalState::is_sealed_by(&octets, key), "{name}");
    }
}

#[test]
fn a_record_of_leases() {
    let mut leases = Leases::default();
    for (fingerprint, ceiling) in [(0x0102_0304_0506_0708, 4096), (7, u64::MAX)] {
        leases = leases.with(Lease { fingerprint, ceiling }, &[]).unwrap().unwrap();
    }
    leases.sequence = 0x2122_2324;
    for (name, key) in [("leases", None), ("leases-sealed", Some(&KEY))] {
        let octets = leases.encode(key);
        assert_golden(name, &octets);
        assert_eq!(Leases::decode(&octets, key).as_ref(), Ok(&leases), "{name}");
    }
}

#[test]
fn what_the_owner_signs() {
    let one = FleetConfig { device: Some([0xd1; 16]), floor: 5, digest: [0xd2; 32] };
    assert_golden("fleet-config", &one.message());
    assert_golden("fleet-config-any", &FleetConfig { device: None, ..one }.message());
    assert_golden("break-glass", &BreakGlass { device: [0xd1; 16], nonce: [0xd3; 16] }.message());
}
