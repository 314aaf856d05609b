//! Site to text and back: equal for every site a file can say, and a text that was written once is
//! written the same again.

use postern::check::check;
use postern::compile::{Secrets, stored};
use postern::site::{Rendered, read, render};
use postern_config::secret::{Secret, StoredSecret};
use postern_config::site::{
    Backend, Role, StoredAccount, StoredDoor, StoredForward, StoredHmac, StoredKey, StoredKeyKind,
    StoredNetwork, StoredPort, StoredRotating, StoredSequence, StoredStep, StoredWindow,
};
use postern_config::{Site, guards};

/// A small generator with a seed, so that a failure can be had again (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    fn pick(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }

    fn value(&mut self, first: u32, last: u32) -> u32 {
        first + u32::try_from(self.below(u64::from(last - first) + 1)).unwrap()
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.value(1, 65_535)).unwrap()
    }

    fn small(&mut self, first: u8, last: u8) -> u8 {
        u8::try_from(self.value(first.into(), last.into())).unwrap()
    }

    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    fn octets<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.small(0, 255))
    }

    fn wide(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => u64::MAX,
            2 => u64::from_le_bytes(self.octets()),
            _ => self.below(4_000_000_000),
        }
    }

    fn name(&mut self, index: usize) -> heapless::String<32> {
        const LETTERS: &[u8] = b"abcXYZ019-_.";
        let length = self.below(20);
        let mut name: String = (0..length).map(|_| char::from(LETTERS[self.pick(12)])).collect();
        name.push_str(&index.to_string());
        name.as_str().try_into().unwrap()
    }

    fn address(&mut self) -> std::net::IpAddr {
        if self.chance(2) { self.octets::<4>().into() } else { self.octets::<16>().into() }
    }

    fn secret(&mut self, length: usize) -> StoredSecret {
        if self.chance(2) {
            return StoredSecret::Held(self.octets());
        }
        let octets: Vec<u8> = (0..length).map(|_| self.small(0, 255)).collect();
        StoredSecret::Known(Secret::new(&octets).unwrap())
    }
}

fn key(random: &mut Random, index: usize) -> StoredKey {
    let kind = if index >= postern_core::limits::FWKNOP_KEYS_MAX || random.chance(2) {
        StoredKeyKind::Native { secret: random.secret(32) }
    } else {
        let digest = [StoredHmac::Sha256, StoredHmac::Sha384, StoredHmac::Sha512][random.pick(3)];
        let length = usize::from(random.small(16, 32));
        StoredKeyKind::Fwknop { encryption: random.secret(length), hmac: random.secret(128), digest }
    };
    let sources = (0..random.below(5)).map(|_| {
        let address = random.address();
        StoredNetwork { address, prefix: random.small(0, if address.is_ipv4() { 32 } else { 128 }) }
    });
    let sources = sources.collect();
    let windows = (0..random.below(5)).map(|_| {
        let from_minute = random.value(0, 1439);
        let until_minute = random.value(from_minute + 1, 1440).try_into().unwrap();
        StoredWindow {
            days: random.small(1, 127),
            from_minute: from_minute.try_into().unwrap(),
            until_minute,
        }
    });
    let windows = windows.collect();
    StoredKey {
        name: random.name(index),
        person: if random.chance(2) { random.name(0) } else { heapless::String::new() },
        kind,
        longest_secs: if random.chance(2) { 0 } else { random.value(1, 86_400) },
        sources,
        may_claim: random.chance(2),
        counter_first: random.wide(),
        counter_last: random.wide(),
        valid_from_secs: random.wide(),
        valid_until_secs: random.wide(),
        windows,
        grants_per_door: if random.chance(2) { 1 } else { random.small(1, 255) },
        disabled: random.chance(4),
    }
}

fn step(random: &mut Random) -> StoredStep {
    match random.below(3) {
        0 => StoredStep::Tcp(random.port()),
        1 => StoredStep::Udp(random.port()),
        _ => StoredStep::Icmp(random.value(0, 1400).try_into().unwrap()),
    }
}

fn door(random: &mut Random, site: &Site, index: usize) -> StoredDoor {
    let keys = u8::try_from(site.keys.len()).unwrap();
    let interfaces = u32::try_from(site.interfaces.len()).unwrap();
    let ports = (0..random.small(1, 8)).map(|_| {
        let port = random.port();
        if random.chance(2) { StoredPort::Tcp(port) } else { StoredPort::Udp(port) }
    });
    let ports = ports.collect();
    let rotating = StoredRotating {
        key: if keys == 0 { 0 } else { random.small(0, keys - 1) },
        knocks: random.small(3, 8),
        look_ahead: random.small(1, 8),
        protocols: random.small(1, 7),
        first: random.value(1, 30_000).try_into().unwrap(),
        last: random.value(30_000, 65_535).try_into().unwrap(),
        within_millis: random.value(100, 120_000),
    };
    let forward = StoredForward { address: random.address(), port: random.port() };
    StoredDoor {
        ports,
        target: random.chance(2).then(|| random.address()),
        interfaces: if random.chance(2) || interfaces == 8 {
            u8::MAX
        } else {
            u8::try_from(random.value(1, (1 << interfaces) - 1)).unwrap()
        },
        keys: if keys == 0 { 0 } else { random.wide() & (u64::MAX >> (64 - u32::from(keys))) },
        rotating: (keys > 0 && random.chance(2)).then_some(rotating),
        forward: random.chance(3).then_some(forward),
        one_shot: random.chance(3),
        cut_at_end: random.chance(3),
        prefix_v4: if random.chance(2) { 32 } else { random.small(1, 32) },
        prefix_v6: if random.chance(2) { 128 } else { random.small(1, 128) },
        allow: if random.chance(2) { 0 } else { random.value(0, (1 << 14) - 1) },
        ..StoredDoor::plain(random.name(index), random.value(1, 86_400))
    }
}

fn sequences(random: &mut Random, site: &mut Site, door: u16) {
    let flags_mask = random.small(1, 63);
    let common = StoredSequence {
        door,
        closes: false,
        one_time: false,
        steps: heapless::Vec::new(),
        within_millis: if random.chance(2) { 10_000 } else { random.value(100, 120_000) },
        reorder_millis: if random.chance(2) { 0 } else { random.value(1, 2000) },
        flags_mask: if random.chance(2) { 0x12 } else { flags_mask },
        flags_value: 0x02,
    };
    let common = match common.flags_mask {
        0x12 => common,
        mask => StoredSequence { flags_value: random.small(0, 63) & mask, ..common },
    };
    let one_time = if random.chance(3) { random.below(4) } else { 0 };
    let kinds = [
        (false, false, u64::from(random.chance(2))),
        (true, false, u64::from(random.chance(3))),
        (false, true, one_time),
    ];
    for (closes, one_time, count) in kinds {
        for _ in 0..count {
            let steps = (0..random.small(1, 16)).map(|_| step(random)).collect();
            let _ = site.sequences.push(StoredSequence { closes, one_time, steps, ..common.clone() });
        }
    }
}

fn account(random: &mut Random, index: usize) -> StoredAccount {
    StoredAccount {
        name: random.name(index),
        role: [Role::Viewer, Role::Operator, Role::Admin][random.pick(3)],
        salt: random.octets(),
        iterations: random.value(4096, 10_000_000),
        stored_key: random.secret(32),
        server_key: random.secret(32),
    }
}

fn site(seed: u64) -> Box<Site> {
    let random = &mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut site = Box::<Site>::default();
    site.name = random.name(0);
    let interface = |index: u64| format!("if\"\\{index}'").as_str().try_into().unwrap();
    site.interfaces = (0..=random.below(8)).map(interface).collect();
    site.exempt_interfaces =
        (0..random.below(3)).map(|index| format!("br{index}").as_str().try_into().unwrap()).collect();
    site.backend = if random.chance(2) { Backend::Iptables } else { Backend::Nftables };
    if random.chance(2) {
        site.guard_widths.tcp = random.value(0, 8192).try_into().unwrap();
        site.guard_widths.icmp = random.value(0, 100).try_into().unwrap();
    }
    if random.chance(2) {
        site.console.banner = "Property of \"ACME\"\nno trespassing \\o/ ~".try_into().unwrap();
        site.console.idle_lock_secs = random.value(60, 3600).try_into().unwrap();
    }
    site.owner = random.chance(2).then(|| random.octets());
    for index in 0..random.pick(4) {
        let account = account(random, index);
        site.accounts.push(account).unwrap();
    }
    let keys = if random.chance(20) { 64 } else { random.pick(4) };
    for index in 0..keys {
        let key = key(random, index);
        site.keys.push(key).unwrap();
    }
    site.spa_port = match random.below(3) {
        0 => 0,
        1 => 62_201,
        _ => random.port(),
    };
    for index in 0..u16::from(random.small(0, 5)) {
        let door = door(random, &site, index.into());
        site.doors.push(door).unwrap();
        sequences(random, &mut site, index);
    }
    guards::renew(&mut site);
    site
}

#[track_caller]
fn read_back(rendered: &Rendered) -> Box<Site> {
    let (file, findings) = read(&rendered.text);
    let file = file.unwrap_or_else(|| panic!("{findings:?}\n{}", rendered.text));
    stored(&file, &Secrets::Given(&rendered.secrets))
        .unwrap_or_else(|error| panic!("{error}\n{}", rendered.text))
}

#[test]
fn a_site_is_the_same_after_its_text() {
    for seed in 1..=200 {
        let site = site(seed);
        let rendered = render(&site);
        assert_eq!(read_back(&rendered), site, "seed {seed}\n{}", rendered.text);
        let again = render(&read_back(&rendered));
        assert_eq!(again, rendered, "seed {seed}: a text that was written is written the same");
    }
}

#[test]
fn no_secret_stands_in_the_text() {
    let mut secrets = 0;
    for seed in 1..=60 {
        let rendered = render(&site(seed));
        for file in &rendered.secrets {
            let text = postern::base64::encode(&file.octets);
            assert!(file.octets.len() < 8 || !rendered.text.contains(&text));
            secrets += 1;
        }
    }
    assert!(secrets > 50, "{secrets}");
}

/// Every text people wrote that can be read reaches its fixed point at once.
#[test]
fn texts_of_people_reach_a_fixed_point() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["examples", "tests/golden", "tests/import"].map(|name| folder.join(name));
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut texts = 0;
    for path in entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
    {
        let text = std::fs::read_to_string(&path).unwrap();
        let Some(file) = read(&text).0 else { continue };
        let Ok(site) = stored(&file, &Secrets::Unread) else { continue };
        let rendered = render(&site);
        assert_eq!(render(&read_back(&rendered)), rendered, "{}", path.display());
        assert_eq!(read_back(&rendered), site, "{}", path.display());
        texts += 1;
    }
    assert!(texts > 20, "{texts}");
}

const EVERYTHING: &str = r#"schema = 1
owner = "ed25519:BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="

[gateway]
name = "pump-station-17"
interfaces = ["wwan0", "eth0"]
spa_port = 4000
guard_tcp = 128
guard_udp = 8
guard_icmp = 4

[firewall]
backend = "nftables"
exempt_interfaces = ["br-lan"]

[console]
banner = "Water Works\nNo trespassing"
idle_lock = "5m"

[[account]]
name = "maria"
role = "admin"
verifier = "SCRAM-SHA-256$60000:AAAAAAAAAAAAAAAAAAAAAA==$held-0123456789abcdef:held-fedcba9876543210"

[[door]]
name = "ssh"
ports = ["tcp/22"]
open_for = "30s"
spa = ["maria", "vendor"]
sequence = ["tcp/7351", "udp/24011", "icmp/83", "tcp/1490"]
one_time_sequences = [
    ["tcp/7351", "tcp/1490", "udp/2000"],
    ["tcp/1490", "tcp/7351", "udp/2000"],
]
within = "5s"
tcp_flags = "syn"
close_sequence = ["tcp/1490", "udp/24011"]
reorder = "150ms"
rotating = { key = "vendor", knocks = 6, look_ahead = 2, protocols = ["tcp"], ports = "20000-29999", within = "8s" }
target = "203.0.113.7"
interfaces = ["wwan0"]
forward = "192.168.1.5:22"
one_shot = true
cut_at_end = true
prefix_v4 = 24
prefix_v6 = 64
allow = ["monotone-sequence", "stock-ping"]

[[key]]
name = "maria"
person = "maria.k"
secret = { held = "00112233445566ff" }
longest = "10m"
sources = ["192.0.2.0/24", "2001:db8::/32"]
may_claim = true
counter_first = 7
counter_last = "18446744073709551614"
valid_from = 2026-01-01T00:00:00Z
valid_until = 2027-06-30T12:00:00Z
windows = ["mon-fri 07:00-18:00"]
grants_per_door = 2
disabled = true

[[key]]
name = "vendor"
kind = "fwknop"
key_base64_file = "keys/vendor.key"
hmac_key_base64_file = "keys/vendor.hmac"
hmac_digest = "sha512"
"#;

#[test]
fn everything_of_schema_1_in_one_text() {
    let files = ["keys/vendor.key", "keys/vendor.hmac"].map(|path| postern::site::SecretFile {
        path: path.to_owned(),
        octets: format!("a secret in {path}").into_bytes(),
    });
    let (file, findings) = read(EVERYTHING);
    let file = file.unwrap_or_else(|| panic!("{findings:?}"));
    let site = stored(&file, &Secrets::Given(&files)).unwrap();
    assert_eq!(render(&site).text, EVERYTHING);
    assert_eq!(site.keys[0].counter_last, u64::MAX - 1);
    assert_eq!(site.doors[0].keys, 0b11);
    assert_eq!(site.sequences.iter().filter(|one| one.one_time).count(), 2);
    // Not everything goes together.
    let codes = |text: &str| -> Vec<&str> {
        let checked = check(text);
        assert!(checked.is_refused());
        checked.findings.iter().map(|finding| finding.code).collect()
    };
    let found = codes(EVERYTHING);
    assert!(found.contains(&"rotating-key"), "{found:?}");
    let found = codes(&EVERYTHING.replace("{ key = \"vendor\"", "{ key = \"maria\""));
    assert!(found.contains(&"prefix"), "{found:?}");
}

#[test]
fn mistakes_in_keys_and_accounts_are_named() {
    for (from, to, code) in [
        ("secret = { held = \"00112233445566ff\" }", "secret = { held = \"0011\" }", "value"),
        ("secret = { held = \"00112233445566ff\" }", "", "missing"),
        ("secret = {", "secret_file = \"x\"\nsecret = {", "value"),
        ("kind = \"fwknop\"", "", "unknown-key"),
        ("kind = \"fwknop\"", "kind = \"gpg\"", "value"),
        ("\"10m\"\nsources", "\"48h\"\nsources", "limit"),
        ("192.0.2.0/24", "192.0.2.0/33", "value"),
        ("07:00-18:00", "18:00-07:00", "value"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+02:00", "value"),
        ("2026-01-01T00:00:00Z", "-1", "limit"),
        ("role = \"admin\"", "role = \"root\"", "value"),
        ("role = \"admin\"\n", "", "missing"),
        ("SCRAM-SHA-256$60000", "SCRAM-SHA-256$60", "value"),
        ("ed25519:Bwc", "ed25519:", "value"),
        ("idle_lock = \"5m\"", "idle_lock = \"5s\"", "limit"),
        ("Water Works", "Wasserwerk S\u{fc}d", "banner"),
        ("forward = \"192.168.1.5:22\"", "forward = \"plc\"", "value"),
        ("one_shot = true", "one_shot = \"yes\"", "type"),
        ("prefix_v4 = 24", "prefix_v4 = 33", "limit"),
        ("protocols = [\"tcp\"]", "protocols = []", "limit"),
        ("ports = \"20000-29999\"", "ports = \"9-8\"", "value"),
        ("[\"tcp/1490\", \"tcp/7351\", \"udp/2000\"],", "7,", "type"),
    ] {
        assert!(EVERYTHING.contains(from), "{from}");
        let (file, findings) = read(&EVERYTHING.replace(from, to));
        assert!(file.is_none(), "{to}");
        assert!(findings.iter().any(|finding| finding.code == code), "{to}: {findings:?}");
    }
    for (from, to, code) in [
        ("spa = [\"maria\", \"vendor\"]", "spa = [\"mario\"]", "no-such-key"),
        ("key = \"vendor\", knocks", "key = \"mario\", knocks", "no-such-key"),
        ("name = \"vendor\"", "name = \"maria\"", "name"),
    ] {
        assert!(EVERYTHING.contains(from), "{from}");
        let file = read(&EVERYTHING.replace(from, to)).0.unwrap();
        assert_eq!(stored(&file, &Secrets::Unread).unwrap_err().code(), code, "{to}");
    }
}
