//! A gateway in memory: partition, machine, daemon's desk, and peers who speak in frames.

use std::cell::Cell;
use std::rc::Rc;

use postern_config::Role;
use postern_config::partition::{PARTITION_BYTES_MIN, Store};
use postern_config::site::{StoredDoor, StoredPort, StoredSequence, StoredStep};
use postern_config::{PAYLOAD_BYTES_MAX, SCHEMA, Site, schema};
use postern_console::rpc::reply::{Challenge, LoggedIn, Reply, Status};
use postern_console::rpc::request::{NewAccount, Request, Source, Standing};
use postern_console::rpc::{Answer, Call, Deframer, FRAME_BYTES_MAX, Refusal, encode_frame};
use postern_console::scram::{self, Exchange};
use postern_core::audit::Event;
use postern_core::engine::{Engine, Input, Keys};
use postern_core::hash::HashKey;
use postern_core::limits::INTERFACES_MAX;
use postern_core::port::{Partition, PartitionError};
use postern_core::rule::{Name, RuleSet};
use postern_core::time::{Duration, Instant};
use posternd::configuration::Configuration;
use posternd::control::{After, Desk, Peer, Session};
use posternd::machine::Machine;
use sha2::{Digest, Sha256};

/// Faults of the medium, shared with the test.
#[derive(Clone, Default)]
pub(crate) struct Medium {
    pub(crate) writes: Rc<Cell<u32>>,
    pub(crate) broken: Rc<Cell<bool>>,
    /// From the first to before the second, nothing can be read.
    pub(crate) deaf: Rc<Cell<Option<(u64, u64)>>>,
}

/// A partition in memory.
pub(crate) struct Memory {
    octets: Vec<u8>,
    medium: Medium,
}

impl Memory {
    fn range(&mut self, offset: u64, length: usize) -> Result<&mut [u8], PartitionError> {
        let start = usize::try_from(offset).unwrap();
        self.octets.get_mut(start..start + length).ok_or(PartitionError::OutOfRange)
    }
}

impl Partition for Memory {
    fn size_bytes(&self) -> u64 {
        self.octets.len() as u64
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        if self.medium.deaf.get().is_some_and(|(from, to)| (from..to).contains(&offset)) {
            return Err(PartitionError::Read);
        }
        buffer.copy_from_slice(self.range(offset, buffer.len())?);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        if self.medium.broken.get() {
            return Err(PartitionError::Write);
        }
        self.medium.writes.set(self.medium.writes.get() + 1);
        self.range(offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        if self.medium.broken.get() { Err(PartitionError::Flush) } else { Ok(()) }
    }
}

/// A machine without a kernel.
pub(crate) struct FakeMachine {
    engine: Box<Engine>,
    /// What runs.
    pub(crate) applied: Box<Site>,
    /// Whether the next change fails.
    pub(crate) refuses: bool,
    random: u8,
}

impl FakeMachine {
    /// Audit records since the last call.
    pub(crate) fn audit(&mut self, now: Instant) -> Vec<String> {
        let mut records = Vec::new();
        while let Some(record) = self.engine.next_record(now) {
            let (id, name) = (record.id, record.event.id().to_owned());
            self.engine.record_written(id);
            records.push(name);
        }
        records
    }

    /// Events since the last call.
    pub(crate) fn events(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(record) = self.engine.next_record(now) {
            let id = record.id;
            events.push(record.event.clone());
            self.engine.record_written(id);
        }
        events
    }

    /// Slots that were audited as refused since the last call, and why.
    pub(crate) fn refused_slots(&mut self, now: Instant) -> Vec<(u8, &'static str)> {
        let mut refused = Vec::new();
        while let Some(record) = self.engine.next_record(now) {
            let id = record.id;
            if let Event::SlotRefused { slot, reason } = record.event {
                refused.push((slot, reason));
            }
            self.engine.record_written(id);
        }
        refused
    }
}

impl Machine for FakeMachine {
    fn apply(&mut self, site: &Site, rules: RuleSet, keys: Keys, now: Instant) -> Result<(), String> {
        if self.refuses {
            return Err("it refuses".into());
        }
        self.engine.replace_rules(rules, keys, now);
        *self.applied = site.clone();
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

    fn interfaces(
        &self,
    ) -> (heapless::Vec<postern_console::rpc::reply::InterfaceStatus, INTERFACES_MAX>, u64) {
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

/// The gateway.
pub(crate) struct World {
    pub(crate) configuration: Configuration<Memory>,
    pub(crate) machine: FakeMachine,
    pub(crate) desk: Desk,
    pub(crate) now: Instant,
    pub(crate) medium: Medium,
    peers: u32,
    number: u16,
}

/// A peer's end of a connection.
pub(crate) struct Client {
    session: Session,
}

pub(crate) const ROOT: u32 = 0;
pub(crate) const CONSOLE: u32 = 901;
pub(crate) const PASSWORD: &[u8] = b"correct horse battery";

impl World {
    /// A gateway fresh from the factory.
    pub(crate) fn new() -> Self {
        Self::of_device(0x5a)
    }

    /// One of another device: its identity is made of this octet.
    pub(crate) fn of_device(random: u8) -> Self {
        let medium = Medium::default();
        let memory = Memory { octets: vec![0; PARTITION_BYTES_MIN], medium: medium.clone() };
        Self::started(memory, medium, Instant::from_millis(5000), random)
    }

    fn started(memory: Memory, medium: Medium, now: Instant, random: u8) -> Self {
        let mut configuration = Configuration::choose(Store::open(memory).unwrap(), factory());
        let rules = configuration.rules().unwrap();
        let engine = Box::new(Engine::new(rules, HashKey::new([1; 16])));
        let applied = configuration.used();
        let mut machine = FakeMachine { engine, applied, refuses: false, random: 0 };
        configuration.identify(|| Ok([random; 48])).unwrap();
        configuration.count_start();
        configuration.started(&mut machine, now);
        Self { configuration, machine, desk: Desk::new(), now, medium, peers: 0, number: 0 }
    }

    /// The machine starts anew from what is on the medium.
    pub(crate) fn restart(self) -> Self {
        self.restart_with(|_| ())
    }

    /// The machine starts anew after somebody has changed what is on the medium.
    pub(crate) fn restart_with(self, change: impl FnOnce(&mut [u8])) -> Self {
        let mut memory = self.configuration.into_store().into_partition();
        change(&mut memory.octets);
        Self::started(memory, self.medium, Instant::from_millis(1000), 0x5a)
    }

    /// Everything on the medium.
    pub(crate) fn image(self) -> (Self, Vec<u8>) {
        let mut image = Vec::new();
        let world = self.restart_with(|octets| image = octets.to_vec());
        (world, image)
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
        self.configuration.tick(&mut self.machine, self.now);
    }

    /// A connection of a process that runs as `user`.
    pub(crate) fn connect(&mut self, user: u32) -> Client {
        self.peers += 1;
        let mut client = Client { session: Session::new(Peer { number: self.peers, user }) };
        let protocol = postern_console::rpc::PROTOCOL;
        assert!(matches!(self.ask(&mut client, Request::Hello { protocol }), Ok(Reply::Welcome(_))));
        client
    }

    /// The peer goes away.
    pub(crate) fn disconnect(&mut self, client: Client) {
        self.configuration.peer_left(client.session.peer().number);
    }

    /// One request and its answer, both as octets on a wire.
    pub(crate) fn ask(&mut self, client: &mut Client, request: Request) -> Result<Reply, Refusal> {
        self.number += 1;
        let call = Call { number: self.number, request };
        let mut frame = [0; FRAME_BYTES_MAX];
        let frame = encode_frame(&call, &mut frame).unwrap().to_vec();
        let mut answers: Vec<Answer> = self.send(client, &frame);
        assert_eq!(answers.len(), 1);
        let answer = answers.remove(0);
        assert_eq!(answer.number, self.number);
        answer.result
    }

    /// Octets to the daemon, and what it answers.
    pub(crate) fn send(&mut self, client: &mut Client, octets: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        let mut deframer = Deframer::new();
        for &octet in octets {
            let Some(call) = client.session.take(octet) else { continue };
            let quiet = matches!(&call, Ok(Call { request: Request::UpdatePart { .. }, .. }));
            let (configuration, machine) = (&mut self.configuration, &mut self.machine);
            let after = self.desk.handle(&mut client.session, call, configuration, machine, self.now);
            assert_eq!(after, After::GoOn);
            let unsent = client.session.unsent().to_vec();
            assert_eq!(unsent.is_empty(), quiet, "every call but parts of updates is answered");
            answers.extend(unsent.iter().filter_map(|&octet| deframer.take(octet)).map(Result::unwrap));
            client.session.sent(unsent.len());
        }
        answers
    }

    /// One request that is never answered.
    pub(crate) fn tell(&mut self, client: &mut Client, request: Request) {
        let mut frame = [0; FRAME_BYTES_MAX];
        let frame = encode_frame(&Call { number: 0, request }, &mut frame).unwrap().to_vec();
        for octet in frame {
            let Some(call) = client.session.take(octet) else { continue };
            let (configuration, machine) = (&mut self.configuration, &mut self.machine);
            self.desk.handle(&mut client.session, call, configuration, machine, self.now);
            assert!(client.session.unsent().is_empty());
        }
    }

    /// Makes the first account from `client`.
    pub(crate) fn enrol(&mut self, client: &mut Client, name: &str) -> Result<Reply, Refusal> {
        self.ask(client, Request::Enrol { account: account(name, PASSWORD) })
    }

    /// Logs in; shows that the gateway knows the account, too.
    pub(crate) fn log_in(
        &mut self,
        client: &mut Client,
        name: &str,
        password: &[u8],
    ) -> Result<Role, Refusal> {
        let name = Name::try_from(name).unwrap();
        let challenge = self.challenge(client, &name)?;
        let exchange = Exchange { name: &name, client_nonce: [7; 16], challenge: &challenge };
        let client_final = scram::client_final(password, exchange);
        match self.ask(client, Request::Proof { proof: client_final.proof })? {
            Reply::LoggedIn(LoggedIn { role, server_signature }) => {
                assert_eq!(server_signature, client_final.server_signature);
                Ok(role)
            }
            other => panic!("{other:?}"),
        }
    }

    /// What a login as `name` is challenged with.
    pub(crate) fn challenge(&mut self, client: &mut Client, name: &Name) -> Result<Challenge, Refusal> {
        match self.ask(client, Request::Login { name: name.clone(), client_nonce: [7; 16] })? {
            Reply::Challenge(challenge) => Ok(challenge),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn status(&mut self, client: &mut Client) -> Status {
        match self.ask(client, Request::Status) {
            Ok(Reply::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Brings a whole site.
    pub(crate) fn stage(&mut self, client: &mut Client, site: &Site) -> Result<(), Refusal> {
        let mut payload = vec![0; PAYLOAD_BYTES_MAX];
        let bytes = schema::encode(site, &mut payload).unwrap();
        payload.truncate(bytes);
        let digest = Sha256::digest(&payload).into();
        let bytes = u32::try_from(bytes).unwrap();
        self.ask(client, Request::Stage { schema: SCHEMA, bytes, digest })?;
        for (index, part) in payload.chunks(500).enumerate() {
            let offset = u32::try_from(index * 500).unwrap();
            let part = heapless::Vec::from_slice(part).unwrap();
            self.ask(client, Request::StagePart { offset, part })?;
        }
        Ok(())
    }

    /// Brings a site and commits it on what runs now.
    pub(crate) fn commit(
        &mut self,
        client: &mut Client,
        site: &Site,
        standing: Standing,
    ) -> Result<u64, Refusal> {
        self.stage(client, site)?;
        let base = self.configuration.generation();
        match self.ask(client, Request::Commit { base, standing, signature: None })? {
            Reply::InForce { generation, .. } => Ok(generation),
            other => panic!("{other:?}"),
        }
    }

    /// The configuration as a tool fetches it.
    pub(crate) fn fetch(&mut self, client: &mut Client, source: Source) -> Result<Box<Site>, Refusal> {
        let mut payload = Vec::new();
        loop {
            let offset = u32::try_from(payload.len()).unwrap();
            let Reply::Config(part) = self.ask(client, Request::Config { source, offset })? else { panic!() };
            payload.extend(&part.part);
            if part.part.is_empty() {
                assert_eq!(payload.len(), usize::try_from(part.bytes).unwrap());
                return Ok(Box::new(schema::decode(part.schema, &payload).unwrap()));
            }
        }
    }
}

/// The factory profile of these tests.
pub(crate) fn factory() -> Box<Site> {
    let mut site = Box::<Site>::default();
    site.name = "unconfigured".try_into().unwrap();
    let mut door = StoredDoor::plain("factory".try_into().unwrap(), 30);
    door.ports.push(StoredPort::Tcp(22)).unwrap();
    site.doors.push(door).unwrap();
    site
}

/// A site with one door, and the accounts of `holder`.
pub(crate) fn site(name: &str, port: u16, holder: &Site) -> Box<Site> {
    let mut site = factory();
    site.name = name.try_into().unwrap();
    site.accounts = holder.accounts.clone();
    site.interfaces.push("eth0".try_into().unwrap()).unwrap();
    site.doors[0].ports[0] = StoredPort::Tcp(port);
    let sequence = StoredSequence {
        door: 0,
        closes: false,
        one_time: false,
        steps: heapless::Vec::from_slice(&[StoredStep::Tcp(7001), StoredStep::Udp(9001)]).unwrap(),
        within_millis: 10_000,
        reorder_millis: 0,
        flags_mask: 0x12,
        flags_value: 0x02,
    };
    site.sequences.push(sequence).unwrap();
    site
}

/// The verifiers of a password.
pub(crate) fn account(name: &str, password: &[u8]) -> NewAccount {
    let (salt, iterations) = ([9; 16], scram::ITERATIONS_MIN);
    let scram::Verifier { stored_key, server_key } = scram::verifier(password, &salt, iterations);
    let name = name.try_into().unwrap();
    NewAccount { name, role: Role::Admin, salt, iterations, stored_key, server_key }
}
