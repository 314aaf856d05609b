//! The turn allocates nothing, whatever arrives: frames that mean nothing, knocks, guard touches,
//! grants opened, extended and ended, audit records written or held up. That the real adapters
//! allocate nothing either is shown by the tests of `postern-hal-linux`.

use std::net::IpAddr;

use postern_core::audit::Record;
use postern_core::engine::Engine;
use postern_core::hash::HashKey;
use postern_core::knock::{FlagCondition, InterfaceIndex, InterfaceSet, Protocol, ServicePort, Step};
use postern_core::port::{
    AuditSink, Capture, Firewall, FirewallCommand, FirewallError, Frame, LinkType, NoJournal, SinkBusy,
};
use postern_core::rule::{Door, GuardRange, Name, Purpose, RuleSet, RuleSetBuilder, Sequence, Terms};
use postern_core::time::{Duration, Instant};
use posternd::turn::turn;

fn rules() -> RuleSet {
    let mut builder = RuleSetBuilder::new();
    let door = Door {
        name: Name::try_from("ssh").unwrap(),
        ports: heapless::Vec::from_slice(&[ServicePort::tcp(22)]).unwrap(),
        open_for: Duration::from_secs(2),
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms::PLAIN,
    };
    let door = builder.door(door).unwrap();
    let sequence = Sequence {
        door,
        purpose: Purpose::Open,
        steps: heapless::Vec::from_slice(&[Step::tcp(7351), Step::tcp(5222), Step::tcp(1490)]).unwrap(),
        within: Duration::from_secs(10),
        reorder: Duration::ZERO,
        flags: FlagCondition::OPENING_SYN,
    };
    builder.sequence(sequence).unwrap();
    builder.guard(GuardRange { protocol: Protocol::Tcp, first: 7352, last: 7400 }).unwrap();
    builder.build().unwrap()
}

/// SYNs from many sources to ports that mean something and ports that do not.
struct Traffic {
    packet: [u8; 40],
    sent: u32,
    in_turn: u32,
}

impl Capture for Traffic {
    fn next_frame(&mut self) -> Option<Frame<'_>> {
        const PORTS: [u16; 6] = [7351, 5222, 1490, 7360, 9, 7351];
        if self.in_turn == 0 {
            return None;
        }
        self.in_turn -= 1;
        let source = IpAddr::from((0x0a00_0000 + self.sent / 3 % 5000).to_be_bytes());
        let IpAddr::V4(source) = source else { return None };
        let port = if self.sent % 30 < 3 {
            PORTS[(self.sent % 3) as usize]
        } else {
            PORTS[(self.sent % 6) as usize]
        };
        self.packet[12..16].copy_from_slice(&source.octets());
        self.packet[22..24].copy_from_slice(&port.to_be_bytes());
        self.sent += 1;
        Some(Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: &self.packet })
    }
}

#[derive(Default)]
struct Filter {
    opened: u32,
    closed: u32,
}

impl Firewall for Filter {
    fn install(&mut self, _: &RuleSet) -> Result<(), FirewallError> {
        Ok(())
    }

    fn execute(&mut self, command: &FirewallCommand) -> Result<(), FirewallError> {
        match command {
            FirewallCommand::Open { .. } => self.opened += 1,
            FirewallCommand::Close { .. } => self.closed += 1,
        }
        if self.opened % 7 == 3 { Err(FirewallError::Busy) } else { Ok(()) }
    }
}

#[derive(Default)]
struct Sink {
    written: u32,
    asked: u32,
}

impl AuditSink for Sink {
    fn write(&mut self, _: &Record, _: Instant) -> Result<(), SinkBusy> {
        self.asked += 1;
        if self.asked % 50 < 10 {
            return Err(SinkBusy);
        }
        self.written += 1;
        Ok(())
    }
}

#[test]
fn a_turn_allocates_nothing() {
    let mut engine = Box::new(Engine::<1>::new(rules(), HashKey::new([5; 16])));
    let mut packet = [0; 40];
    packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
    packet[16..20].copy_from_slice(&[203, 0, 113, 1]);
    packet[32] = 0x50;
    packet[33] = 0x02;
    let mut traffic = Traffic { packet, sent: 0, in_turn: 0 };
    let (mut filter, mut sink) = (Filter::default(), Sink::default());
    let used = allocation_counter::measure(|| {
        for millis in 0..20_000_u64 {
            traffic.in_turn = if millis % 7000 < 3000 { 5 } else { 0 };
            turn(
                &mut engine,
                &mut traffic,
                (&mut filter, &mut NoJournal),
                &mut sink,
                Instant::from_millis(1000 + millis),
            );
        }
    });
    assert!(filter.opened > 100 && filter.closed > 100 && sink.written > 100, "all of it must have happened");
    assert!(traffic.sent > 10_000);
    assert_eq!(used.count_total, 0, "{used:?}");
    // The counter itself works.
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}
