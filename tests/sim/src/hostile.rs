//! Millions of hostile sessions against one gateway, none of which may open anything.
//!
//! Every session has an address of its own and knows something: nothing at all, the neighbourhood
//! of the knocks, the knocks without their order, all but one of them, or another door's whole
//! sequence. Only packets that mean something to the engine are sent; the rest of a full scan is
//! dropped by the kernel's filter and would only make the session slower.

use std::net::IpAddr;

use postern_core::hash::HashKey;
use postern_core::knock::{InterfaceIndex, Step, TcpFlags};
use postern_core::port::{Frame, LinkType};
use postern_core::rule::RuleSet;
use postern_core::time::Instant;
use postern_core::{Engine, engine::Input};

use crate::frame::FrameBytes;
use crate::random::Random;
use crate::site::SitePlan;

/// What a campaign found out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Campaign {
    /// Sessions played.
    pub sessions: u64,
    /// Packets sent.
    pub frames: u64,
    /// Doors opened: must be none.
    pub opened: u64,
    /// Whether the engine would have opened for somebody honest: the campaign's own proof.
    pub honest_opened: u64,
}

/// Plays `sessions` hostile sessions, and an honest one now and then to prove that the gate works.
pub fn campaign(seed: u64, sessions: u64) -> Campaign {
    let mut random = Random::new(seed);
    let site = SitePlan::random(&mut random, 4);
    let rules = site.rules();
    let mut key = [0; 16];
    key.fill_with(|| random.bits() as u8);
    let mut attack = Attack {
        relevant: relevant(&rules),
        engine: Box::new(Engine::<8>::new(rules, HashKey::new(key))),
        site,
        random,
        millis: 1000,
        campaign: Campaign::default(),
    };
    for session in 0..sessions {
        attack.session(session);
        if session % 10_000 == 9_999 {
            attack.honest(session);
        }
    }
    attack.campaign
}

struct Attack {
    engine: Box<Engine<8>>,
    site: SitePlan,
    /// Every knock and every guard value.
    relevant: Vec<Step>,
    random: Random,
    millis: u64,
    campaign: Campaign,
}

impl Attack {
    fn session(&mut self, session: u64) {
        self.campaign.sessions += 1;
        // Hosts of a /8 that no honest client has; they come round again after 16 million.
        let source = IpAddr::from((0x2900_0000 | (session as u32 & 0x00ff_ffff)).to_be_bytes());
        let mut story = self.story();
        if story.len() > 64 {
            story.truncate(64 + self.random.below(400) as usize);
        }
        let pause = self.random.below(3);
        for step in story {
            self.send(source, step, false);
            self.millis += u64::from(pause > 0 && self.random.below(8) == 0);
        }
        self.millis += 1;
    }

    fn story(&mut self) -> Vec<Step> {
        let index = self.random.below(self.site.doors.len() as u64) as usize;
        let mut steps = self.site.doors[index].steps.clone();
        match self.random.below(16) {
            // A scan of everything that means something, in some order.
            0 => {
                let mut all = self.relevant.clone();
                match self.random.below(3) {
                    0 => self.random.shuffle(&mut all),
                    1 => all.reverse(),
                    _ => {}
                }
                all
            }
            // Guessing among what is known to mean something.
            1..=5 => (0..self.random.range(3, 24)).map(|_| *self.random.pick(&self.relevant)).collect(),
            // Guessing blindly.
            6..=8 => (0..self.random.range(3, 16)).map(|_| Step::tcp(self.random.port())).collect(),
            // The knocks, all of them, in a wrong order; a door with a reordering window allows that.
            9 | 10 if self.site.doors[index].reorder_millis == 0 => {
                let right = steps.clone();
                while steps == right {
                    self.random.shuffle(&mut steps);
                }
                steps
            }
            // All but one.
            9..=12 => {
                steps.remove(self.random.below(steps.len() as u64) as usize);
                steps
            }
            // All of them, with a guard touched on the way, before or after.
            13 | 14 => {
                let place = self.random.below(steps.len() as u64) as usize;
                let guard = Step { value: steps[0].value.wrapping_add(1).max(1), ..steps[0] };
                let guard =
                    if steps.contains(&guard) || !self.is_guard(guard) { return Vec::new() } else { guard };
                steps.insert(place, guard);
                steps
            }
            // The first halves of two doors.
            _ => {
                let other = self.random.pick(&self.site.doors).steps.clone();
                steps.truncate(2);
                if other[..2] == steps[..] {
                    steps
                } else {
                    [steps, other[other.len() - 1..].to_vec()].concat()
                }
            }
        }
    }

    fn is_guard(&self, step: Step) -> bool {
        self.engine.rules().guards().iter().any(|guard| {
            guard.protocol == step.protocol && guard.first <= step.value && step.value <= guard.last
        })
    }

    fn honest(&mut self, session: u64) {
        let source = IpAddr::from((0x0a00_0000 | (session as u32 & 0xffff)).to_be_bytes());
        let index = self.random.below(self.site.doors.len() as u64) as usize;
        for step in self.site.doors[index].steps.clone() {
            self.send(source, step, true);
            self.millis += 1;
        }
        // Let its grant end, so that nothing is left of it.
        self.millis += 31_000;
        while self.engine.poll_at().is_some_and(|due| due.millis() <= self.millis) {
            let now = Instant::from_millis(self.millis);
            for command in self.engine.handle(Input::Tick, now) {
                let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
                let _ = self.engine.handle(done, now);
            }
            self.millis += 1;
        }
        while let Some(id) =
            self.engine.next_record(Instant::from_millis(self.millis)).map(|record| record.id)
        {
            self.engine.record_written(id);
        }
    }

    fn send(&mut self, source: IpAddr, step: Step, honest: bool) {
        let bytes = FrameBytes::new(source, step, TcpFlags::SYN);
        let frame = Frame { interface: InterfaceIndex(0), link: LinkType::RawIp, bytes: bytes.as_slice() };
        let now = Instant::from_millis(self.millis);
        self.campaign.frames += 1;
        for command in self.engine.handle(Input::Frame(frame), now) {
            if honest {
                self.campaign.honest_opened += 1;
            } else {
                self.campaign.opened += 1;
            }
            let done = Input::FirewallDone { grant: command.grant(), result: Ok(()) };
            let _ = self.engine.handle(done, now);
        }
    }
}

fn relevant(rules: &RuleSet) -> Vec<Step> {
    let guards = rules
        .guards()
        .iter()
        .flat_map(|guard| (guard.first..=guard.last).map(|value| Step { protocol: guard.protocol, value }));
    let mut steps: Vec<Step> = rules.places().iter().map(|place| place.knock).chain(guards).collect();
    steps.sort();
    steps.dedup();
    steps
}
