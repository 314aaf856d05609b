//! The daemon's desk and a peer who says anything: every call is answered, nobody does anything without a
//! login, and what is in force lies on the partition.
//!
//! The first octet says who the peer is: somebody who has not logged in, or the superuser. Then come verbs: up
//! to [`SPEAK`] the length of a message, which is put into a frame of its own; [`RAW`], octets as they
//! are; [`BRING`], a payload that is staged with the right digest; [`WAIT`], time that passes; and
//! [`LEAVE`], a connection that ends and another one.

use std::sync::OnceLock;

use postern_config::partition::{Choice, Identity, Kind, Store};
use postern_config::secret::{Secret, StoredSecret};
use postern_config::site::{StoredAccount, StoredDoor, StoredPort, StoredSequence, StoredStep};
use postern_config::{PAYLOAD_BYTES_MAX, Role, SCHEMA, Site, guards, schema};
use postern_console::rpc::reply::{Answer, InterfaceStatus};
use postern_console::rpc::request::Request;
use postern_console::rpc::{CHUNK_BYTES_MAX, Call, Deframer, FRAME_BYTES_MAX, encode_frame};
use postern_core::engine::{Engine, Input, Keys};
use postern_core::hash::HashKey;
use postern_core::limits::INTERFACES_MAX;
use postern_core::rule::RuleSet;
use postern_core::time::{Duration, Instant};
use postern_power_cut::medium::Image;
use posternd::configuration::Configuration;
use posternd::control::{After, Desk, Peer, Session};
use posternd::machine::Machine;
use sha2::{Digest, Sha256};

/// Lengths of messages.
pub const SPEAK: u8 = 0xf0;
/// Raw octets; their number follows.
pub const RAW: u8 = 0xf1;
/// A payload; its length in steps of four octets follows.
pub const BRING: u8 = 0xf2;
/// Seconds follow.
pub const WAIT: u8 = 0xf3;
/// A new connection.
pub const LEAVE: u8 = 0xf4;

/// Somebody who is not the superuser.
const NOBODY: u32 = 901;

/// Sits a peer down.
///
/// # Panics
/// When the desk breaks a promise.
pub fn run(bytes: &[u8]) {
    let Some((&who, mut rest)) = bytes.split_first() else { return };
    let user = if who & 1 == 0 { NOBODY } else { 0 };
    let mut gateway = Gateway::new(user);
    let before = gateway.configuration.generation();
    while let Some((&verb, behind)) = rest.split_first() {
        rest = gateway.obey(verb, behind);
    }
    let generation = gateway.configuration.generation();
    if user == NOBODY {
        assert_eq!(generation, before, "changed by somebody who has not logged in");
    }
    gateway.pass(86_400);
    let generation = gateway.configuration.generation();
    let store = Store::open(gateway.configuration.into_store().into_partition()).expect("large enough");
    let on_medium = store.in_force().map_or(0, |header| header.generation);
    assert_eq!(on_medium, generation, "what runs is what a restart would find");
}

struct Gateway {
    configuration: Configuration<Image>,
    machine: Bench,
    desk: Desk,
    session: Session,
    now: Instant,
}

impl Gateway {
    fn new(user: u32) -> Self {
        let store = Store::open(image().clone()).expect("large enough");
        let mut configuration = Configuration::choose(store, Box::default());
        let rules = configuration.rules().expect("what is in force can be run");
        let mut machine = Bench { engine: Box::new(Engine::new(rules, HashKey::new([1; 16]))), random: 0 };
        let now = Instant::from_millis(5000);
        configuration.identify(|| Ok([3; 48])).expect("it has an identity");
        configuration.started(&mut machine, now);
        let session = Session::new(Peer { number: 1, user });
        Self { configuration, machine, desk: Desk::new(), session, now }
    }

    fn obey<'b>(&mut self, verb: u8, rest: &'b [u8]) -> &'b [u8] {
        let (&number, behind) = rest.split_first().unwrap_or((&0, &[]));
        let counted = |length: usize| behind.split_at(length.min(behind.len()));
        match verb {
            RAW => {
                let (octets, behind) = counted(usize::from(number));
                self.hear(octets, None);
                behind
            }
            BRING => {
                let (payload, behind) = counted(usize::from(number) * 4);
                self.bring(payload);
                behind
            }
            WAIT => {
                self.pass(u64::from(number));
                behind
            }
            LEAVE => {
                let Peer { number, user } = self.session.peer();
                self.configuration.peer_left(number);
                self.session = Session::new(Peer { number: number + 1, user });
                rest
            }
            length => {
                let (message, behind) = rest.split_at(usize::from(length).min(rest.len()));
                // What a frame can hold is read; the rest is what a peer with broken tools would send.
                if let Ok((call, _)) = postcard::take_from_bytes::<Call>(message) {
                    self.say(&call);
                }
                behind
            }
        }
    }

    fn say(&mut self, call: &Call) {
        let mut frame = [0; FRAME_BYTES_MAX];
        if let Ok(frame) = encode_frame(call, &mut frame) {
            let frame = frame.to_vec();
            self.hear(&frame, Some(call.number));
        }
    }

    fn bring(&mut self, payload: &[u8]) {
        let digest = Sha256::digest(payload).into();
        let bytes = u32::try_from(payload.len()).expect("short");
        self.say(&Call { number: 1, request: Request::Stage { schema: SCHEMA, bytes, digest } });
        for (index, part) in payload.chunks(CHUNK_BYTES_MAX).enumerate() {
            let offset = u32::try_from(index * CHUNK_BYTES_MAX).expect("short");
            let part = heapless::Vec::from_slice(part).expect("a chunk");
            self.say(&Call { number: 2, request: Request::StagePart { offset, part } });
        }
    }

    /// Octets of the peer; `number` is that of the call they are, which must be answered.
    fn hear(&mut self, octets: &[u8], number: Option<u16>) {
        let mut answered = None;
        for &octet in octets {
            let Some(call) = self.session.take(octet) else { continue };
            // Many parts of an update are on their way at once: whoever brings them asks how far they came.
            let quiet = match &call {
                Ok(Call { number, request: Request::UpdatePart { .. } }) => Some(*number),
                _ => None,
            };
            let after = self.desk.handle(
                &mut self.session,
                call,
                &mut self.configuration,
                &mut self.machine,
                self.now,
            );
            assert_eq!(after, After::GoOn, "nobody may restart this machine");
            let answer = self.session.unsent().to_vec();
            if quiet.is_some() && answer.is_empty() {
                answered = quiet;
                continue;
            }
            let mut deframer = Deframer::new();
            let answer = answer.iter().find_map(|&octet| deframer.take::<Answer>(octet));
            let answer = answer.expect("every call is answered").expect("in a whole frame");
            self.session.sent(FRAME_BYTES_MAX);
            assert!(self.session.is_ready());
            answered = Some(answer.number);
        }
        if number.is_some() {
            assert_eq!(answered, number, "a call is answered under its number");
        }
    }

    fn pass(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
        self.configuration.tick(&mut self.machine, self.now);
    }
}

/// A machine without a kernel.
struct Bench {
    engine: Box<Engine>,
    random: u8,
}

impl Machine for Bench {
    fn apply(&mut self, _: &Site, rules: RuleSet, keys: Keys, now: Instant) -> Result<(), String> {
        self.engine.replace_rules(rules, keys, now);
        Ok(())
    }

    fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    fn handle(&mut self, input: Input<'_>, now: Instant) {
        for command in self.engine.handle(input, now) {
            let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            let _ = self.engine.handle(done, now);
        }
        // The shell writes the trail down.
        while let Some(record) = self.engine.next_record(now) {
            let id = record.id;
            self.engine.record_written(id);
        }
    }

    fn interfaces(&self) -> (heapless::Vec<InterfaceStatus, INTERFACES_MAX>, u64) {
        (heapless::Vec::new(), 0)
    }

    fn random(&mut self) -> Option<[u8; 16]> {
        self.random = self.random.wrapping_add(1);
        Some([self.random; 16])
    }

    fn may_reboot(&self) -> bool {
        false
    }
}

/// A gateway with an account, a door and a history.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let mut store = Store::open(Image::blank()).expect("large enough");
        store.adopt(Identity::from_random(&[3; 48])).expect("a sound medium");
        let mut payload = vec![0; PAYLOAD_BYTES_MAX];
        for name in ["first", "pump-17"] {
            let bytes = schema::encode(&site(name), &mut payload).expect("a small site");
            store.commit(&payload[..bytes], SCHEMA, 0, Kind::Permanent).expect("a sound medium");
        }
        assert!(matches!(store.choice(), Choice::Slot(_)));
        store.into_partition().settled()
    })
}

/// A site with a door, an account, and an owner.
pub fn site(name: &str) -> Box<Site> {
    let mut site = Box::<Site>::default();
    site.name = name.try_into().expect("short");
    site.interfaces.push("wwan0".try_into().expect("short")).expect("room");
    let mut door = StoredDoor::plain("ssh".try_into().expect("short"), 30);
    door.ports.push(StoredPort::Tcp(22)).expect("room");
    site.doors.push(door).expect("room");
    let steps = [StoredStep::Tcp(7001), StoredStep::Udp(9001), StoredStep::Icmp(83)];
    let sequence = StoredSequence {
        door: 0,
        closes: false,
        one_time: false,
        steps: heapless::Vec::from_slice(&steps).expect("room"),
        within_millis: 10_000,
        reorder_millis: 0,
        flags_mask: 0x12,
        flags_value: 0x02,
    };
    site.sequences.push(sequence).expect("room");
    let secret = |octet| StoredSecret::Known(Secret::new(&[octet; 32]).expect("32 octets"));
    let account = StoredAccount {
        name: "maria".try_into().expect("short"),
        role: Role::Admin,
        salt: [8; 16],
        iterations: 60_000,
        stored_key: secret(1),
        server_key: secret(2),
    };
    site.accounts.push(account).expect("room");
    site.owner = Some([7; 32]);
    guards::renew(&mut site);
    site
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_console::rpc::PROTOCOL;
    use postern_console::rpc::request::{NewAccount, Source, Standing};
    use std::path::Path;

    fn spoken(request: Request) -> Vec<u8> {
        let mut message = [0; FRAME_BYTES_MAX];
        let message = postcard::to_slice(&Call { number: 7, request }, &mut message).unwrap();
        let mut verb = vec![u8::try_from(message.len()).unwrap()];
        verb.extend_from_slice(message);
        verb
    }

    fn requests() -> Vec<Request> {
        let (name, nonce) = ("maria".try_into().unwrap(), [7; 16]);
        let salt = [9; 16];
        let account = NewAccount {
            name: "eve".try_into().unwrap(),
            role: Role::Admin,
            salt,
            iterations: 60_000,
            stored_key: [1; 32],
            server_key: [2; 32],
        };
        vec![
            Request::Hello { protocol: PROTOCOL },
            Request::Login { name, client_nonce: nonce },
            Request::Proof { proof: [5; 32] },
            Request::Enrol { account },
            Request::BreakGlassChallenge,
            Request::BreakGlass { signature_r: [1; 32], signature_s: [2; 32] },
            Request::Status,
            Request::Config { source: Source::Running, offset: 0 },
            Request::Config { source: Source::Generation(1), offset: 3 },
            Request::History { index: 1 },
            Request::Doors { from: 0 },
            Request::Grants { after: 0 },
            Request::Keys { from: 0 },
            Request::Log { after: 0 },
            Request::Heard { from: 0 },
            Request::Watch { after: 0 },
            Request::Revoke { door: "ssh".try_into().unwrap(), source: Some([192, 0, 2, 1].into()) },
            Request::Check,
            Request::Commit { base: 2, standing: Standing::Trial { secs: 60 }, signature: None },
            Request::Confirm { generation: 3 },
            Request::Cancel { generation: 3 },
            Request::Rollback { base: 3, to: 1, standing: Standing::Permanent },
            Request::Rebase { key: "alice".try_into().unwrap() },
            Request::Reboot,
            Request::Wipe { device: Identity::from_random(&[3; 48]).id },
            Request::Logout,
        ]
    }

    /// What the corpus begins with: every request, by nobody and by the superuser; and a change.
    #[test]
    fn the_corpus_says_everything() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/desk");
        let everything: Vec<u8> = requests().into_iter().flat_map(spoken).collect();
        let mut payload = vec![0; PAYLOAD_BYTES_MAX];
        let mut site = site("pump-18");
        site.guards.clear();
        site.guard_widths = postern_config::site::StoredGuardWidths { tcp: 0, udp: 0, icmp: 0 };
        // The length is given in steps of four octets.
        let bytes = (1..=4).find_map(|more| {
            site.name = format!("pump-18{}", "x".repeat(more)).as_str().try_into().unwrap();
            Some(schema::encode(&site, &mut payload).unwrap()).filter(|bytes| bytes % 4 == 0)
        });
        let bytes = bytes.unwrap();
        let mut change = vec![1, BRING, u8::try_from(bytes.div_ceil(4)).unwrap()];
        change.extend_from_slice(&payload[..bytes]);
        for standing in [Standing::Trial { secs: 60 }, Standing::Permanent] {
            change.extend(spoken(Request::Commit { base: 2, standing, signature: None }));
            change.extend([WAIT, 61]);
        }
        let seeds = [
            ("nobody", [vec![0], everything.clone()].concat()),
            ("root", [vec![1], everything].concat()),
            ("change", change),
        ];
        for (name, seed) in seeds {
            if std::env::var_os("POSTERN_REFRESH").is_some() {
                std::fs::create_dir_all(&corpus).unwrap();
                std::fs::write(corpus.join(name), &seed).unwrap();
            }
            assert_eq!(
                std::fs::read(corpus.join(name)).unwrap_or_default(),
                seed,
                "{name}: POSTERN_REFRESH=1"
            );
        }
    }
}
