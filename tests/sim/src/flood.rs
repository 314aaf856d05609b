//! Honest success against flood rate and table size: the behaviour of the tables as a table.

use std::fmt::Write as _;
use std::net::IpAddr;

use postern_core::Engine;
use postern_core::engine::Input;
use postern_core::hash::HashKey;
use postern_core::knock::{
    FlagCondition, InterfaceIndex, InterfaceSet, Protocol, ServicePort, Step, TcpFlags,
};
use postern_core::matcher::Matcher;
use postern_core::port::{Frame, LinkType};
use postern_core::rule::{Door, GuardRange, Name, Purpose, RuleSet, RuleSetBuilder, Sequence, Terms};
use postern_core::time::{Duration, Instant};

use crate::frame::FrameBytes;
use crate::random::Random;

/// The sequence of the flooded door: within ten seconds, sent with 200 ms between knocks.
pub(crate) const STEPS: [Step; 4] = [Step::tcp(7351), Step::udp(24_011), Step::tcp(5222), Step::tcp(1490)];
/// The sequence of another door, which a crowd knows.
const KNOWN: [Step; 4] = [Step::tcp(9351), Step::udp(26_011), Step::tcp(6222), Step::tcp(2490)];
const PAUSE_MILLIS: u64 = 200;
/// How long the flood runs before the first honest client, and how long clients keep coming.
const LEAD_MILLIS: u64 = 2000;
const CLIENTS_MILLIS: u64 = 2000;
/// Honest clients, and as many strangers, in one flood.
const CLIENTS_AT_ONCE: u64 = 50;

/// What the flood is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The door's first knock: the flooder knows it.
    FirstKnocks,
    /// A guard port.
    GuardTouches,
    /// Another door's sequence but for its last knock: each forged address takes a place of those who
    /// are far on.
    KnownSequence,
}

/// One cell of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Honest clients.
    pub clients: u64,
    /// Those that got in.
    pub succeeded: u64,
    /// Strangers who sent every knock but the first.
    pub strangers: u64,
    /// Those that got in.
    pub skipped: u64,
}

/// Floods an engine with `rate_pps` packets a second from addresses chosen by chance, while honest
/// clients knock.
pub fn flood<const UNITS: usize>(kind: Kind, rate_pps: u64, clients: u64, seed: u64) -> Cell {
    let mut random = Random::new(seed);
    let mut key = [0; 16];
    key.fill_with(|| random.bits() as u8);
    let mut scene = Scene { engine: Box::new(Engine::<UNITS>::new(rules(), HashKey::new(key))), opened: 0 };
    let mut cell = Cell { clients, strangers: clients, ..Cell::default() };
    let mut sends = schedule(clients);
    let end = LEAD_MILLIS + CLIENTS_MILLIS + PAUSE_MILLIS * 5;
    sends.sort();
    let mut next = sends.into_iter().peekable();
    let mut crowd = IpAddr::from([0; 4]);
    for millis in 0..end {
        let from = millis * rate_pps / 1000;
        for packet in from..(millis + 1) * rate_pps / 1000 {
            match kind {
                Kind::FirstKnocks => scene.send(stranger(&mut random), STEPS[0], millis),
                Kind::GuardTouches => scene.send(stranger(&mut random), Step::tcp(7352), millis),
                Kind::KnownSequence => {
                    let place = (packet % 3) as usize;
                    crowd = if place == 0 { stranger(&mut random) } else { crowd };
                    scene.send(crowd, KNOWN[place], millis);
                }
            }
        }
        while let Some((_, source, step)) = next.next_if(|(at, _, _)| *at == millis) {
            let before = scene.opened;
            scene.send(source, step, millis);
            let opened = scene.opened - before;
            let is_client = matches!(source, IpAddr::V4(v4) if v4.octets()[0] == 10);
            if is_client { cell.succeeded += opened } else { cell.skipped += opened }
        }
    }
    cell
}

/// An address of the whole world but the clients' own networks.
pub(crate) fn stranger(random: &mut Random) -> IpAddr {
    IpAddr::from((((random.bits() as u32) | 0x8000_0000) & 0xdfff_ffff).to_be_bytes())
}

/// Who sends what when: clients from 10.0.0.0/8, strangers from 11.0.0.0/8.
fn schedule(clients: u64) -> Vec<(u64, IpAddr, Step)> {
    let mut sends = Vec::new();
    for client in 0..clients {
        let start = LEAD_MILLIS + client * CLIENTS_MILLIS / clients;
        for (network, skip) in [(0x0a00_0000_u32, 0), (0x0b00_0000, 1)] {
            let source = IpAddr::from((network + client as u32).to_be_bytes());
            let steps = (0..).zip(STEPS).skip(skip);
            sends.extend(steps.map(|(index, step)| (start + index * PAUSE_MILLIS, source, step)));
        }
    }
    sends
}

struct Scene<const UNITS: usize> {
    engine: Box<Engine<UNITS>>,
    opened: u64,
}

impl<const UNITS: usize> Scene<UNITS> {
    fn send(&mut self, source: IpAddr, step: Step, millis: u64) {
        let bytes = FrameBytes::new(source, step, TcpFlags::SYN);
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: bytes.as_slice() };
        let now = Instant::from_millis(1000 + millis);
        for command in self.engine.handle(Input::Frame(frame), now) {
            self.opened += u64::from(matches!(command, postern_core::port::FirewallCommand::Open { .. }));
            let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            let _ = self.engine.handle(done, now);
        }
    }
}

pub(crate) fn rules() -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    for (name, port, steps) in [("ssh", 22, STEPS), ("known", 443, KNOWN)] {
        let door = Door {
            name: Name::try_from(name).expect("short"),
            ports: heapless::Vec::from_slice(&[ServicePort::tcp(port)]).expect("one"),
            open_for: Duration::from_secs(1),
            target: None,
            interfaces: InterfaceSet::ALL,
            terms: Terms::PLAIN,
        };
        let sequence = Sequence {
            door: builder.door(door).expect("good"),
            purpose: Purpose::Open,
            steps: heapless::Vec::from_slice(&steps).expect("four"),
            within: Duration::from_secs(10),
            reorder: Duration::ZERO,
            flags: FlagCondition::OPENING_SYN,
        };
        builder.sequence(sequence).expect("good");
    }
    builder.guard(GuardRange { protocol: Protocol::Tcp, first: 7352, last: 7400 }).expect("good");
    builder.build().expect("good")
}

/// Octets of the tables of so many units.
pub fn table_bytes(units: usize) -> usize {
    match units {
        1 => size_of::<Matcher<1>>(),
        2 => size_of::<Matcher<2>>(),
        4 => size_of::<Matcher<4>>(),
        8 => size_of::<Matcher<8>>(),
        _ => size_of::<Matcher<16>>(),
    }
}

/// As many floods as it takes for `clients`, `CLIENTS_AT_ONCE` in each.
pub fn floods<const UNITS: usize>(kind: Kind, rate_pps: u64, clients: u64) -> Cell {
    let mut sum = Cell::default();
    for seed in 0..clients.div_ceil(CLIENTS_AT_ONCE) {
        let cell = flood::<UNITS>(kind, rate_pps, CLIENTS_AT_ONCE, seed);
        sum.clients += cell.clients;
        sum.succeeded += cell.succeeded;
        sum.strangers += cell.strangers;
        sum.skipped += cell.skipped;
    }
    sum
}

fn cell(units: usize, kind: Kind, rate_pps: u64, clients: u64) -> Cell {
    match units {
        1 => floods::<1>(kind, rate_pps, clients),
        2 => floods::<2>(kind, rate_pps, clients),
        4 => floods::<4>(kind, rate_pps, clients),
        8 => floods::<8>(kind, rate_pps, clients),
        _ => floods::<16>(kind, rate_pps, clients),
    }
}

/// The table as markdown, for `rates` and table `units`.
pub fn table(rates: &[u64], units: &[usize], clients: u64) -> String {
    let mut out = String::new();
    for (kind, title) in [
        (Kind::FirstKnocks, "Spoofed first knocks: honest success (strangers who may skip the first knock)"),
        (Kind::GuardTouches, "Spoofed guard touches: honest success"),
        (Kind::KnownSequence, "Another door's sequence, known, sent but for its last knock: honest success"),
    ] {
        let _ = write!(out, "## {title}\n\n| tables |");
        for rate in rates {
            let _ = write!(out, " {} kpps |", *rate as f64 / 1000.0);
        }
        let _ = writeln!(out, "\n| --- |{}", " --- |".repeat(rates.len()));
        for &count in units {
            let _ = write!(out, "| {} KiB |", table_bytes(count).div_ceil(1024));
            for &rate in rates {
                let cell = cell(count, kind, rate, clients);
                let _ = write!(out, " {}", percent(cell.succeeded, cell.clients));
                if kind == Kind::FirstKnocks {
                    let _ = write!(out, " ({})", percent(cell.skipped, cell.strangers));
                }
                out.push_str(" |");
            }
            out.push('\n');
        }
        out.push('\n');
    }
    out
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole as f64)
}
