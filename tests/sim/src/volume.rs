//! What an attack writes into the log: bounded, whatever its rate, and no grant's record is lost.

use std::collections::BTreeMap;
use std::net::IpAddr;

use postern_core::Engine;
use postern_core::audit::Event;
use postern_core::engine::Input;
use postern_core::hash::HashKey;
use postern_core::knock::{InterfaceIndex, Step, TcpFlags};
use postern_core::port::{FirewallCommand, Frame, LinkType};
use postern_core::time::Instant;

use crate::flood::{STEPS, rules, stranger};
use crate::frame::FrameBytes;
use crate::random::Random;

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// So many sources, each touching guards and knocks over and over.
    Sources(u32),
    /// A new forged source for every packet.
    Forged,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// Seconds it lasted.
    pub secs: u64,
    /// Packets of the attack.
    pub packets: u64,
    /// Doors the firewall was told to open.
    pub opened: u64,
    /// Records written, by event id.
    pub records: BTreeMap<&'static str, u64>,
    /// Records the ring had no room for.
    pub lost: u64,
    /// Suspects told of that are not among the attackers.
    pub accused: u64,
}

impl Volume {
    /// All records but those about grants, a second.
    pub fn messages_per_sec(&self) -> f64 {
        let others = self.records.iter().filter(|(id, _)| !["GRANT", "EXPIRE"].contains(id));
        others.map(|(_, count)| *count as f64).sum::<f64>() / self.secs as f64
    }
}

/// Attacks with `rate_pps` for `secs` seconds, while an honest client gets in twice a second.
pub fn attack(attack: Attack, rate_pps: u64, secs: u64, seed: u64) -> Volume {
    let mut random = Random::new(seed);
    let mut scene =
        Scene { engine: Box::new(Engine::new(rules(), HashKey::new([7; 16]))), volume: Volume::default() };
    for millis in 0..secs * 1000 {
        let now = Instant::from_millis(5000 + millis);
        for packet in millis * rate_pps / 1000..(millis + 1) * rate_pps / 1000 {
            let source = match attack {
                Attack::Sources(count) => IpAddr::from((0xc633_6400 + packet as u32 % count).to_be_bytes()),
                Attack::Forged => stranger(&mut random),
            };
            let port = if packet / 7 % 3 == 0 { 7351 } else { 7352 + (packet % 49) as u16 };
            scene.send(source, Step::tcp(port), now);
        }
        // Every half second an honest client knocks, each from its own address.
        let place = millis % 500 / 100;
        if let Some(step) = STEPS.get(place as usize).filter(|_| millis % 100 == 0) {
            let client = IpAddr::from((0x0a00_0000 + (millis / 500) as u32).to_be_bytes());
            scene.send(client, *step, now);
        }
        scene.tick(now);
        scene.write(now);
    }
    scene.volume.secs = secs;
    scene.volume.packets = secs * rate_pps;
    scene.volume
}

struct Scene {
    engine: Box<Engine>,
    volume: Volume,
}

impl Scene {
    fn send(&mut self, source: IpAddr, step: Step, now: Instant) {
        let bytes = FrameBytes::new(source, step, TcpFlags::SYN);
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: bytes.as_slice() };
        self.handle(Input::Frame(frame), now);
    }

    fn tick(&mut self, now: Instant) {
        if self.engine.poll_at().is_some_and(|due| due <= now) {
            self.handle(Input::Tick, now);
        }
    }

    fn handle(&mut self, input: Input<'_>, now: Instant) {
        for command in self.engine.handle(input, now) {
            self.volume.opened += u64::from(matches!(command, FirewallCommand::Open { .. }));
            let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            let _ = self.engine.handle(done, now);
        }
    }

    fn write(&mut self, now: Instant) {
        while let Some(record) = self.engine.next_record(now) {
            let id = record.id;
            *self.volume.records.entry(record.event.id()).or_default() += 1;
            match &record.event {
                Event::Lost { records } => self.volume.lost += u64::from(*records),
                Event::Suspect { source: IpAddr::V4(source), .. } => {
                    self.volume.accused += u64::from(source.octets()[..3] != [198, 51, 100]);
                }
                _ => {}
            }
            self.engine.record_written(id);
        }
    }
}
