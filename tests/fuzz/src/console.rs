//! Any keys of anybody at the console, with a daemon that answers everything: what is shown can be
//! shown on any terminal, what is asked is a request, and nothing grows.
//!
//! The first octet says who sits there: somebody before the login, or somebody logged in. Then every
//! octet is a key, but for 0xfe, behind which time passes, and 0xff, behind which the daemon says noise.

use postern_config::site::{StoredDoor, StoredPort};
use postern_config::{PAYLOAD_BYTES_MAX, Role, SCHEMA, Site, schema};
use postern_console::rpc::reply::{Answer, Challenge, ConfigPart, LoggedIn, Reply, Welcome};
use postern_console::rpc::request::Request;
use postern_console::rpc::{Call, Deframer, FRAME_BYTES_MAX, PROTOCOL, Refusal, encode_frame};
use postern_console::scram::{self, Exchange};
use postern_console::session::Session;
use postern_core::rule::Name;
use postern_core::time::{Duration, Instant};

const PASSWORD: &str = "a pump and a gate";
const SALT: [u8; 16] = [8; 16];

/// Octets one key may bring to the screen: a page, and the prompt.
const SHOWN_MAX: usize = 8 * 1024;

/// Sits somebody down at a console.
///
/// # Panics
/// When the session breaks a promise.
pub fn run(bytes: &[u8]) {
    let Some((&who, keys)) = bytes.split_first() else { return };
    let mut desk = Desk::new();
    if who & 1 == 1 {
        desk.keys(b"\rmaria\r");
        desk.keys(PASSWORD.as_bytes());
        desk.keys(b"\r");
    }
    let mut keys = keys.iter();
    while let Some(&key) = keys.next() {
        match key {
            0xfe => desk.pass(u64::from(keys.next().copied().unwrap_or(1))),
            0xff => {
                let octet = keys.next().copied().unwrap_or(0);
                desk.session.daemon(octet, desk.now);
                desk.settle();
            }
            key => desk.keys(&[key]),
        }
        if desk.session.is_relay() {
            desk.session.line_lost();
        }
        if desk.session.take_renewal() {
            desk.session.daemon_found(desk.now);
            desk.settle();
        }
    }
}

struct Desk {
    session: Box<Session>,
    now: Instant,
    deframer: Deframer,
    payload: Vec<u8>,
    login: Option<(Name, [u8; 16], Challenge)>,
    asked: u8,
}

impl Desk {
    fn new() -> Self {
        let now = Instant::from_millis(10_000);
        let mut payload = vec![0; PAYLOAD_BYTES_MAX];
        let bytes = schema::encode(&site(), &mut payload).expect("a small site");
        payload.truncate(bytes);
        let session = Box::new(Session::new([5; 32], now));
        let mut desk = Self { session, now, deframer: Deframer::new(), payload, login: None, asked: 0 };
        desk.session.daemon_found(now);
        desk.settle();
        desk
    }

    fn keys(&mut self, keys: &[u8]) {
        for &key in keys {
            self.session.key(key, self.now);
            self.settle();
        }
    }

    fn pass(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
        self.session.tick(self.now);
        self.settle();
    }

    /// Until nothing moves, or the session waits for keys.
    fn settle(&mut self) {
        let mut shown = 0;
        // A listing of everything is bounded by what the daemon answers.
        for _ in 0..10_000 {
            let mut moved = false;
            while let Some(octet) = self.session.take_output() {
                let printable = matches!(octet, b' '..=b'~' | b'\r' | b'\n' | 0x07 | 0x08);
                assert!(printable, "octet {octet:#04x} is shown");
                shown += 1;
                moved = true;
            }
            assert!(shown <= SHOWN_MAX, "{shown} octets for one key");
            if self.session.wants_to_compute() {
                self.compute();
                moved = true;
            }
            let frame = self.session.frame().to_vec();
            if !frame.is_empty() {
                self.session.sent(frame.len());
                self.hear(&frame);
                moved = true;
            }
            if !moved {
                return;
            }
        }
        panic!("the session asks without end");
    }

    /// A new password costs 60,000 digests, which no fuzzer has time for: that account is not made.
    fn compute(&mut self) {
        if self.login.is_some() {
            self.session.compute(self.now);
        } else {
            self.session.line_lost();
        }
    }

    fn hear(&mut self, frame: &[u8]) {
        for &octet in frame {
            let Some(call) = self.deframer.take::<Call>(octet) else { continue };
            let Call { number, request } = call.expect("what the session asks is a request");
            let result = self.answer(request);
            let mut answer = [0; FRAME_BYTES_MAX];
            let answer = encode_frame(&Answer { number, result }, &mut answer).expect("a short answer");
            for &octet in answer.iter() {
                self.session.daemon(octet, self.now);
            }
        }
    }

    fn answer(&mut self, request: Request) -> Result<Reply, Refusal> {
        self.asked = self.asked.wrapping_add(1);
        Ok(match request {
            Request::Hello { .. } => Reply::Welcome(welcome()),
            Request::Login { name, client_nonce } => {
                let challenge = Challenge { salt: SALT, iterations: 1, server_nonce: [6; 16] };
                self.login = Some((name, client_nonce, challenge.clone()));
                Reply::Challenge(challenge)
            }
            Request::Proof { proof } => self.proof(&proof)?,
            Request::BreakGlassChallenge => Reply::BreakGlass { device: [1; 16], nonce: [2; 16] },
            Request::Config { offset, .. } => self.part(offset),
            Request::Doors { .. } => Reply::Doors(heapless::Vec::new()),
            Request::Grants { .. } => Reply::Grants(heapless::Vec::new()),
            Request::Keys { .. } => Reply::Keys(heapless::Vec::new()),
            Request::Log { .. } => Reply::Log(heapless::Vec::new()),
            Request::Watch { .. } => Reply::Knocks(heapless::Vec::new()),
            Request::Heard { .. } => Reply::Heard(heapless::Vec::new()),
            Request::History { .. } => Reply::History(None),
            Request::Commit { .. } | Request::Rollback { .. } | Request::Confirm { .. } => {
                Reply::InForce { generation: u64::from(self.asked), written: self.asked % 3 == 0 }
            }
            Request::Status => return Err(Refusal::Busy),
            Request::BreakGlass { .. } => return Err(Refusal::BadSignature),
            _ => Reply::Done,
        })
    }

    fn proof(&mut self, proof: &[u8; 32]) -> Result<Reply, Refusal> {
        let (name, client_nonce, challenge) = self.login.take().ok_or(Refusal::LoginFailed)?;
        let verifier = scram::verifier(PASSWORD.as_bytes(), &SALT, 1);
        let exchange = Exchange { name: &name, client_nonce, challenge: &challenge };
        let signed = scram::check_proof(&verifier, exchange, proof).filter(|_| name == "maria");
        let server_signature = signed.ok_or(Refusal::LoginFailed)?;
        Ok(Reply::LoggedIn(LoggedIn { role: Role::Admin, server_signature }))
    }

    fn part(&self, offset: u32) -> Reply {
        let rest = self.payload.get(offset as usize..).unwrap_or_default();
        let part = &rest[..rest.len().min(postern_console::rpc::CHUNK_BYTES_MAX)];
        Reply::Config(ConfigPart {
            generation: 1,
            schema: SCHEMA,
            bytes: u32::try_from(self.payload.len()).expect("a small site"),
            offset,
            part: heapless::Vec::from_slice(part).expect("a part fits"),
        })
    }
}

fn welcome() -> Welcome {
    Welcome {
        protocol: PROTOCOL,
        version: "1.2.3".try_into().expect("short"),
        gateway: "pump-17".try_into().expect("short"),
        enrolled: true,
        role: None,
        banner: heapless::String::new(),
        idle_lock_secs: 600,
        has_owner: true,
    }
}

fn site() -> Box<Site> {
    let mut site = Box::<Site>::default();
    site.name = "pump-17".try_into().expect("short");
    site.interfaces.push("wwan0".try_into().expect("short")).expect("room");
    let mut door = StoredDoor::plain("ssh".try_into().expect("short"), 30);
    door.ports.push(StoredPort::Tcp(22)).expect("room");
    site.doors.push(door).expect("room");
    site
}
