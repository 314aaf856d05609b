//! A gateway in this process: partition in memory, the daemon's own desk, a control socket.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern::compile::{Secrets, stored};
use postern::memory::Memory;
use postern::remote::transfer;
use postern::site::read;
use postern_config::Site;
use postern_config::partition::Store;
use postern_console::rpc::reply::InterfaceStatus;
use postern_console::rpc::request::Standing;
use postern_core::engine::{Engine, Input, Keys};
use postern_core::hash::HashKey;
use postern_core::knock::InterfaceIndex;
use postern_core::limits::INTERFACES_MAX;
use postern_core::port::{Frame, LinkType};
use postern_core::rule::{Name, RuleSet};
use postern_core::time::Instant;
use posternd::configuration::{Author, Configuration};
use posternd::control::{Desk, Peer, Session};
use posternd::machine::Machine;
use sha2::{Digest, Sha256};

/// A machine without a kernel, whose firewall does at once as it is told.
pub(crate) struct FakeMachine {
    engine: Box<Engine>,
    random: u8,
}

impl Machine for FakeMachine {
    fn apply(&mut self, _site: &Site, rules: RuleSet, keys: Keys, now: Instant) -> Result<(), String> {
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
    }

    fn interfaces(&self) -> (heapless::Vec<InterfaceStatus, INTERFACES_MAX>, u64) {
        let one = |name: &str, live| InterfaceStatus { name: name.try_into().unwrap(), live };
        ([one("wwan0", true), one("eth0", false)].into_iter().collect(), 3)
    }

    fn random(&mut self) -> Option<[u8; 16]> {
        self.random = self.random.wrapping_add(1);
        Some([self.random; 16])
    }

    fn may_reboot(&self) -> bool {
        false
    }
}

/// All of it.
pub(crate) struct State {
    pub(crate) configuration: Configuration<Memory>,
    pub(crate) machine: FakeMachine,
    pub(crate) desk: Desk,
    pub(crate) now: Instant,
    peers: u32,
}

impl State {
    /// A SYN of a client.
    pub(crate) fn knock(&mut self, source: Ipv4Addr, port: u16) {
        let mut packet = [0; 40];
        packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
        packet[12..16].copy_from_slice(&source.octets());
        packet[16..20].copy_from_slice(&[203, 0, 113, 1]);
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        packet[32] = 0x50;
        packet[33] = 0x02;
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: &packet };
        self.machine.handle(Input::Frame(frame), self.now);
        self.machine.handle(Input::Tick, self.now);
    }

    /// Octets of a peer, and what it is answered.
    pub(crate) fn take(&mut self, session: &mut Session, octets: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for &octet in octets {
            let Some(call) = session.take(octet) else { continue };
            self.desk.handle(session, call, &mut self.configuration, &mut self.machine, self.now);
            // One turn of the daemon.
            if let Some(updates) = &mut self.desk.updates {
                updates.tick(false, &mut self.machine, self.now);
            }
            answers.extend_from_slice(session.unsent());
            let sent = session.unsent().len();
            session.sent(sent);
        }
        answers
    }

    /// A new connection of a process that runs as `user`.
    pub(crate) fn connect(&mut self, user: u32) -> Session {
        self.peers += 1;
        Session::new(Peer { number: self.peers, user })
    }
}

/// The gateway; clones are the same one.
#[derive(Clone)]
pub(crate) struct Gateway(Arc<Mutex<State>>);

impl Gateway {
    /// Fresh from the factory.
    pub(crate) fn new() -> Self {
        let now = Instant::from_millis(93_784_000);
        let mut factory = Box::<Site>::default();
        factory.name = "unconfigured".try_into().unwrap();
        let mut configuration = Configuration::choose(Store::open(Memory::blank()).unwrap(), factory);
        let engine = Box::new(Engine::new(configuration.rules().unwrap(), HashKey::new([1; 16])));
        let mut machine = FakeMachine { engine, random: 0 };
        configuration.identify(|| Ok([0x5a; 48])).unwrap();
        configuration.count_start();
        configuration.started(&mut machine, now);
        let mut desk = Desk::new();
        desk.lines.keep(7, now, "BOOT doors=\"0\"");
        desk.lines.keep(8, now, "GRANT door=\"ssh\" \u{1b}[2J");
        Self(Arc::new(Mutex::new(State { configuration, machine, desk, now, peers: 0 })))
    }

    /// Puts a site file in force.
    pub(crate) fn configure(&self, text: &str) {
        let site = stored(&read(text).0.unwrap(), &Secrets::Unread).unwrap();
        let payload = transfer::payload(&site).unwrap();
        let state = &mut *self.state();
        let (now, account) = (state.now, Name::new());
        let digest = Sha256::digest(&payload).into();
        let bytes = u32::try_from(payload.len()).unwrap();
        state.configuration.stage(0, postern_config::SCHEMA, bytes, digest, now).unwrap();
        state.configuration.stage_part(0, 0, &payload, now).unwrap();
        let author = Author { peer: 0, account: &account };
        let base = state.configuration.generation();
        let State { configuration, machine, .. } = state;
        configuration.commit(author, base, Standing::Permanent, None, machine, now).unwrap();
    }

    /// Its state; nobody asks it meanwhile.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens at a socket; every peer is said to run as `user`. The threads end with the test.
    pub(crate) fn listen(&self, path: PathBuf, user: u32) {
        let listener = UnixListener::bind(path).unwrap();
        let gateway = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (gateway, stream) = (gateway.clone(), stream.unwrap());
                std::thread::spawn(move || gateway.serve(stream, user));
            }
        });
    }

    fn serve(&self, mut stream: UnixStream, user: u32) {
        let mut session = self.state().connect(user);
        let mut octets = [0; 512];
        while let Ok(count @ 1..) = stream.read(&mut octets) {
            let answers = self.state().take(&mut session, &octets[..count]);
            if stream.write_all(&answers).is_err() {
                break;
            }
        }
        self.state().configuration.peer_left(session.peer().number);
    }
}
