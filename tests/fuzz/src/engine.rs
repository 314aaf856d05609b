//! A story told in bytes: knocks, ticks, firewall answers and mishaps, with the rules of the engine
//! checked after every sentence.
//!
//! Each sentence is one octet for the verb and up to three for its objects; see `Story::tell`.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use postern_core::audit::Event;
use postern_core::engine::{Effects, Engine, Input, Keys};
use postern_core::hash::HashKey;
use postern_core::knock::{FlagCondition, InterfaceIndex, InterfaceSet, Protocol, ServicePort, Step};
use postern_core::limits::{AUDIT_RECORDS_MAX, EFFECTS_MAX, GRANTS_MAX, OPEN_FOR_MAX};
use postern_core::port::{FirewallCommand, FirewallError, Frame, LinkType};
use postern_core::rule::{
    Door, DoorId, GuardRange, Purpose, Reach, RuleSet, RuleSetBuilder, Sequence, Terms,
};
use postern_core::time::{Duration, Instant};
use postern_core::wire;

/// Sentences of the longest story.
const SENTENCES_MAX: usize = 600;

/// Clients, in IPv4 and IPv6. Few enough that no table overflows, so that the model is exact; a
/// fuzzer that forges more by raw frames has no room for enough of them.
const CLIENTS: u8 = 6;

/// Ticks that must be enough to have nothing due any more, as in a turn of the daemon.
const TICKS_MAX: usize = 2 * GRANTS_MAX.div_ceil(EFFECTS_MAX);

/// What can be knocked on: knocks, guards, and something that is neither.
const KNOCKS: [Step; 8] = [
    Step::tcp(700),
    Step::udp(600),
    Step::tcp(500),
    Step::icmp(83),
    Step::udp(900),
    Step::tcp(705),
    Step::icmp(80),
    Step::tcp(9999),
];

/// Tells the story.
///
/// # Panics
/// When the engine breaks a promise.
pub fn run(bytes: &[u8]) {
    let mut story = Story::new();
    let mut words = bytes.iter().copied();
    for _ in 0..SENTENCES_MAX {
        if story.tell(&mut words).is_none() {
            break;
        }
        story.check();
    }
    story.end();
}

struct Story {
    engine: Box<Engine<1>>,
    now: Instant,
    /// Commands without an answer yet.
    asked: VecDeque<FirewallCommand>,
    /// What each client sent that counts: time and knock.
    sent: BTreeMap<IpAddr, Vec<(Instant, Step)>>,
    last_record: u64,
    variant: bool,
}

impl Story {
    fn new() -> Self {
        let engine = Box::new(Engine::new(rules(false), HashKey::new(*b"no randomness...")));
        let now = Instant::from_millis(5_000);
        Self { engine, now, asked: VecDeque::new(), sent: BTreeMap::new(), last_record: 0, variant: false }
    }

    /// One sentence; `None` at the end of the bytes.
    fn tell(&mut self, words: &mut impl Iterator<Item = u8>) -> Option<()> {
        let verb = words.next()?;
        match verb % 12 {
            0..=3 => self.knock(words.next()?, words.next()?),
            4 => self.raw_frame(words),
            5 => self.now = self.now + Duration::from_millis(u64::from(words.next()?)),
            6 => self.now = self.now + Duration::from_millis(u64::from(words.next()?) * 250),
            7 => self.tick(),
            8 | 9 => self.answer(words.next()?),
            10 => self.mishap(words.next()?),
            _ => self.drain(usize::from(words.next()?)),
        }
        Some(())
    }

    fn knock(&mut self, client: u8, knock: u8) {
        let source = client_address(client);
        let step = KNOCKS[usize::from(knock) % KNOCKS.len()];
        let packet = packet(source, step);
        self.frame(&Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: &packet });
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        let knock = wire::parse(frame).ok();
        let knock = knock.filter(|knock| {
            knock.step.protocol != Protocol::Tcp || FlagCondition::OPENING_SYN.holds(knock.flags)
        });
        if let Some(knock) = knock {
            self.sent.entry(knock.source).or_default().push((self.now, knock.step));
        }
        let completions = self.engine.counters().completions;
        self.handle(Input::Frame(*frame));
        if self.engine.counters().completions > completions {
            let proved = knock.is_some_and(|knock| self.has_proof(knock.source, knock.step));
            assert!(proved, "{knock:?} completed a sequence without a proof");
        }
    }

    /// Whether all knocks of some sequence that ends with `last` came in time, in order where order
    /// counts, and no guard was touched. The naive reading of the rule.
    fn has_proof(&self, source: IpAddr, last: Step) -> bool {
        let sent = self.sent.get(&source).map(Vec::as_slice).unwrap_or_default();
        self.engine.rules().sequences().iter().any(|sequence| {
            let since =
                self.now.before(Duration::from_millis(sequence.within.millis() + sequence.reorder.millis()));
            let recent = || sent.iter().filter(|(at, _)| *at >= since);
            let tainted =
                sent.iter().any(|(at, step)| is_guard(*step) && *at >= self.now.before(sequence.within));
            let strict = sequence.reorder == Duration::ZERO;
            // Each packet may be the next knock that is still wanted.
            let shown = recent().fold(0, |shown, (_, step)| {
                shown + usize::from(sequence.steps.get(shown).is_some_and(|wanted| wanted == step))
            });
            let in_order = shown == sequence.steps.len() && sequence.steps.last() == Some(&last);
            let all = sequence.steps.iter().all(|wanted| recent().any(|(_, step)| step == wanted));
            !tainted && if strict { in_order } else { all && sequence.steps.contains(&last) }
        })
    }

    fn raw_frame(&mut self, words: &mut impl Iterator<Item = u8>) {
        let (Some(link), Some(length)) = (words.next(), words.next()) else { return };
        let bytes: Vec<u8> = words.take(usize::from(length)).collect();
        let link = LinkType::ALL[usize::from(link) % LinkType::ALL.len()];
        self.frame(&Frame { interface: InterfaceIndex(1), link, bytes: &bytes });
    }

    /// Ticks as a turn does, then nothing may be due.
    fn tick(&mut self) {
        for _ in 0..TICKS_MAX {
            if self.engine.poll_at().is_none_or(|due| due > self.now) {
                return;
            }
            self.handle(Input::Tick);
        }
        panic!(
            "{TICKS_MAX} ticks and still something is due at {:?}, now {:?}",
            self.engine.poll_at(),
            self.now
        );
    }

    fn handle(&mut self, input: Input<'_>) {
        let effects = self.engine.handle(input, self.now);
        self.take(effects);
    }

    fn take(&mut self, effects: Effects) {
        assert!(effects.as_slice().len() <= EFFECTS_MAX);
        for command in effects {
            if let FirewallCommand::Open { source, ports, .. } = &command {
                assert!(
                    self.sent.keys().any(|sent| source.contains(*sent)),
                    "nobody of {source} ever knocked"
                );
                let longest = OPEN_FOR_MAX.secs_ceil();
                assert!(
                    ports.iter().all(|(_, seconds)| (1..=longest).contains(&u64::from(*seconds))),
                    "{ports:?}"
                );
                assert!(!ports.is_empty());
            }
            self.asked.push_back(command);
        }
    }

    fn answer(&mut self, word: u8) {
        let result = match word >> 4 {
            0..=9 => Ok(()),
            10 => Err(FirewallError::Busy),
            11 => Err(FirewallError::Full),
            12 => Err(FirewallError::Missing),
            13 => Err(FirewallError::Denied),
            14 => Err(FirewallError::NoAnswer),
            _ => Err(FirewallError::Other(5)),
        };
        let index = usize::from(word & 0x0f) % self.asked.len().max(1);
        // Sometimes out of order; sometimes twice, which must be harmless.
        let Some(command) = self.asked.get(index) else { return };
        let grant = command.grant();
        if word & 0x0f != 0x0f {
            self.asked.remove(index);
        }
        let effects = self.engine.handle(Input::FirewallDone { grant, result }, self.now);
        assert!(effects.is_empty(), "what follows from an answer follows with the next tick");
    }

    fn mishap(&mut self, word: u8) {
        match word % 5 {
            0 => drop(self.asked.pop_front()),
            1 => self.handle(Input::Revoke { door: DoorId(u16::from(word >> 4)), source: None }),
            2 => {
                let source = Some(client_address(word >> 4));
                self.handle(Input::Revoke { door: DoorId(0), source });
            }
            3 => self.handle(Input::Notice(Event::CaptureDropped { frames: u64::from(word) })),
            _ => {
                self.variant = !self.variant;
                self.engine.replace_rules(rules(self.variant), Keys::none(), self.now);
            }
        }
    }

    fn drain(&mut self, limit: usize) {
        for _ in 0..limit.min(AUDIT_RECORDS_MAX + 1) {
            let Some(record) = self.engine.next_record(self.now) else { return };
            let id = record.id;
            assert!(id > self.last_record || self.last_record == 0, "{id} behind {}", self.last_record);
            assert!(record.at <= self.now);
            self.last_record = id;
            self.engine.record_written(id);
        }
    }

    /// What holds at any time.
    fn check(&self) {
        let longest = self.engine.rules().doors().iter().map(|door| door.open_for).max();
        let latest = self.now + longest.unwrap_or(Duration::ZERO).max(Duration::from_secs(60));
        let mut open = Vec::new();
        for grant in self.engine.grants() {
            assert!(grant.until <= latest, "{grant:?} outlives its door");
            if grant.is_open() && grant.door.is_some() {
                assert!(!open.contains(&(grant.door, grant.network)), "two grants for {grant:?}");
                open.push((grant.door, grant.network));
            }
        }
    }

    /// The firewall answers again and time goes on: every grant ends, every record is written.
    fn end(&mut self) {
        for _ in 0..200 {
            self.tick();
            while let Some(command) = self.asked.pop_front() {
                let _ = self
                    .engine
                    .handle(Input::FirewallDone { grant: command.grant(), result: Ok(()) }, self.now);
            }
            self.now = self.now + Duration::from_secs(1);
        }
        let left: Vec<_> = self.engine.grants().collect();
        assert!(left.is_empty(), "they never end: {left:?}");
        self.drain(AUDIT_RECORDS_MAX + 1);
        assert!(!self.engine.has_records(), "more records than the ring holds");
    }
}

fn client_address(word: u8) -> IpAddr {
    let client = word % CLIENTS;
    if client % 3 == 2 {
        [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(client) + 1].into()
    } else {
        [198, 51, 100, client + 1].into()
    }
}

fn is_guard(step: Step) -> bool {
    (step.protocol == Protocol::Tcp && (701..=709).contains(&step.value)) || step == Step::icmp(80)
}

/// A packet of `source` that knocks on `step`, without link layer.
fn packet(source: IpAddr, step: Step) -> Vec<u8> {
    let [high, low] = step.value.to_be_bytes();
    let (protocol, inner) = match step.protocol {
        Protocol::Tcp => {
            (6, vec![0xc0, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0])
        }
        Protocol::Udp => (17, vec![0xc0, 0, high, low, 0, 8, 0, 0]),
        Protocol::Icmp if source.is_ipv4() => {
            (1, [vec![8, 0, 0, 0, 0, 1, 0, 1], vec![0; step.value.into()]].concat())
        }
        Protocol::Icmp => (58, [vec![128, 0, 0, 0, 0, 1, 0, 1], vec![0; step.value.into()]].concat()),
    };
    let length = u16::try_from(inner.len()).expect("a knock is short");
    let header = match source {
        IpAddr::V4(source) => {
            let [high, low] = (20 + length).to_be_bytes();
            let fixed = vec![0x45, 0, high, low, 0, 1, 0, 0, 64, protocol, 0, 0];
            [fixed, source.octets().to_vec(), vec![203, 0, 113, 1]].concat()
        }
        IpAddr::V6(source) => {
            let [high, low] = length.to_be_bytes();
            let target = [0x2001_u16, 0xdb8, 0, 0, 0, 0, 0, 0xff].map(u16::to_be_bytes).concat();
            [vec![0x60, 0, 0, 0, high, low, protocol, 64], source.octets().to_vec(), target].concat()
        }
    };
    [header, inner].concat()
}

/// Two doors that share a first knock and a port, one of them for neighbours, too; a closing sequence,
/// guards. The variant lacks a door and has another port.
fn rules(variant: bool) -> RuleSet {
    build(variant).expect("the rules of the story are valid")
}

fn build(variant: bool) -> Result<RuleSet, postern_core::rule::RuleError> {
    let door = |name: &str, ports: &[ServicePort], seconds| Door {
        name: name.try_into().expect("a short name"),
        ports: heapless::Vec::from_slice(ports).expect("few ports"),
        open_for: Duration::from_secs(seconds),
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms::PLAIN,
    };
    let sequence = |door, purpose, steps: &[Step], reorder| Sequence {
        door,
        purpose,
        steps: heapless::Vec::from_slice(steps).expect("few steps"),
        within: Duration::from_secs(10),
        reorder: Duration::from_millis(reorder),
        flags: FlagCondition::OPENING_SYN,
    };
    let mut builder = RuleSetBuilder::new();
    let port = if variant { 2222 } else { 22 };
    let ssh = builder.door(door("ssh", &[ServicePort::tcp(port)], 30))?;
    let open = [Step::tcp(700), Step::udp(600), Step::tcp(500)];
    builder.sequence(sequence(ssh, Purpose::Open, &open, 0))?;
    builder.sequence(sequence(ssh, Purpose::Close, &[Step::tcp(500), Step::udp(600)], 0))?;
    if !variant {
        let ports = [ServicePort::tcp(22), ServicePort::udp(161)];
        let terms = Terms { reach: Reach { v4: 30, v6: 127 }, ..Terms::PLAIN };
        let service = builder.door(Door { terms, ..door("service", &ports, 5) })?;
        let steps = [Step::tcp(700), Step::icmp(83), Step::udp(900)];
        builder.sequence(sequence(service, Purpose::Open, &steps, 150))?;
    }
    builder.guard(GuardRange { protocol: Protocol::Tcp, first: 701, last: 709 })?;
    builder.guard(GuardRange { protocol: Protocol::Icmp, first: 80, last: 80 })?;
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verbs as a story writes them.
    const KNOCK: u8 = 0;
    const TICK: u8 = 7;
    const ANSWER: u8 = 8;

    fn told(words: &[u8]) -> Story {
        let mut story = Story::new();
        let mut words = words.iter().copied();
        while story.tell(&mut words).is_some() {
            story.check();
        }
        story
    }

    #[test]
    fn a_story_can_open_a_door() {
        let story = told(&[KNOCK, 0, 0, KNOCK, 0, 1, KNOCK, 0, 2, TICK, ANSWER, 0]);
        assert_eq!(story.engine.counters().opened, 1);
        assert!(story.engine.grants().all(|grant| grant.source == client_address(0)));
    }

    #[test]
    fn the_model_refuses_what_is_no_proof() {
        let story = told(&[KNOCK, 0, 0, KNOCK, 0, 2]);
        assert!(!story.has_proof(client_address(0), Step::tcp(500)));
        let tainted = told(&[KNOCK, 0, 0, KNOCK, 0, 1, KNOCK, 0, 5, KNOCK, 0, 2]);
        assert!(!tainted.has_proof(client_address(0), Step::tcp(500)));
        assert_eq!(tainted.engine.counters().tainted, 1);
        let complete = told(&[KNOCK, 2, 0, KNOCK, 2, 1, KNOCK, 2, 2]);
        assert!(complete.has_proof(client_address(2), Step::tcp(500)));
    }

    #[test]
    fn no_table_overflows_so_the_model_is_exact() {
        let knocks = (0..CLIENTS).flat_map(|client| (0..8).flat_map(move |step| [KNOCK, client, step]));
        let counters = told(&knocks.collect::<Vec<_>>()).engine.counters().matcher;
        assert_eq!(
            (counters.first_overflows, counters.taint_overflows, counters.attempts_evicted),
            (0, 0, 0)
        );
    }
}
