//! Simulated twins of the adapters: the production turn cannot tell them from the real ones.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use postern_core::audit::{Event, Record};
use postern_core::knock::{InterfaceIndex, ServicePort};
use postern_core::network::Network;
use postern_core::port::{
    AuditSink, Capture, Firewall, FirewallCommand, FirewallError, Frame, LinkType, SinkBusy,
};
use postern_core::rule::{Reach, RuleSet};
use postern_core::time::{Duration, Instant};

use crate::frame::FrameBytes;
use crate::neighbours::{lives_in, neighbourhood};
use crate::random::Random;

/// Frames that wait for the daemon.
#[derive(Debug, Default)]
pub struct SimCapture {
    waiting: VecDeque<(FrameBytes, InterfaceIndex)>,
    current: Option<(FrameBytes, InterfaceIndex)>,
}

impl SimCapture {
    /// A frame arrives.
    pub fn arrive(&mut self, frame: FrameBytes, interface: InterfaceIndex) {
        self.waiting.push_back((frame, interface));
    }

    /// Frames that nobody has taken yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl Capture for SimCapture {
    fn next_frame(&mut self) -> Option<Frame<'_>> {
        self.current = self.waiting.pop_front();
        let (frame, interface) = self.current.as_ref()?;
        Some(Frame { interface: *interface, link: LinkType::RawIp, bytes: frame.as_slice() })
    }
}

/// How a firewall behaves for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Does as it is told.
    Well,
    /// Refuses with this error and does nothing.
    Refuses(FirewallError),
    /// Does it, and says that there was no answer.
    LosesAnswers,
    /// Does nothing, and says that there was no answer.
    Hangs,
    /// One of the above, by chance, at each command.
    Erratic,
}

/// A command that was given, and what came of it.
#[derive(Clone, Debug)]
pub struct Done {
    /// The command.
    pub command: FirewallCommand,
    /// What the firewall said.
    pub result: Result<(), FirewallError>,
}

/// The packet filter with its kernel sets. The kernel keeps the timers; its unit is the second.
#[derive(Debug)]
pub struct SimFirewall {
    members: BTreeMap<(Network, ServicePort), Instant>,
    /// How wide grants of networks are.
    reach: Reach,
    /// How it behaves now.
    pub mood: Mood,
    /// What it thinks the time is.
    pub now: Instant,
    /// Open commands answered with success.
    pub opened: u64,
    /// Every command since somebody last looked.
    pub log: Vec<Done>,
    random: Random,
    /// A planted bug, for tests of the oracles: members never expire.
    pub never_expires: bool,
    /// A planted bug: closing does nothing and says it did.
    pub ignores_close: bool,
}

impl SimFirewall {
    /// An empty filter.
    pub fn new(seed: u64) -> Self {
        Self {
            members: BTreeMap::new(),
            reach: Reach::SOURCE_ALONE,
            mood: Mood::Well,
            now: Instant::BOOT,
            opened: 0,
            log: Vec::new(),
            random: Random::new(seed),
            never_expires: false,
            ignores_close: false,
        }
    }

    /// Lets the kernel close what is over.
    pub fn expire(&mut self) {
        if !self.never_expires {
            let now = self.now;
            self.members.retain(|_, until| *until > now);
        }
    }

    /// Who may reach what, and until when the kernel thinks so.
    pub fn members(&self) -> impl Iterator<Item = (Network, ServicePort, Instant)> + '_ {
        self.members.iter().map(|(&(source, port), &until)| (source, port, until))
    }

    /// Whether a packet from `source` to `port` is let pass.
    pub fn passes(&self, source: IpAddr, port: ServicePort) -> bool {
        self.members.keys().any(|&(network, held)| held == port && lives_in(source, network))
    }

    /// A third party takes a member away, if there is one.
    pub fn steal(&mut self, random: &mut Random) -> Option<(Network, ServicePort)> {
        let keys: Vec<_> = self.members.keys().copied().collect();
        if keys.is_empty() {
            return None;
        }
        let key = *random.pick(&keys);
        self.members.remove(&key);
        Some(key)
    }

    /// Whether it has a set for grants to `source`: of one address, or of its one width of networks.
    fn holds(&self, source: Network) -> bool {
        let widths = [Reach::SOURCE_ALONE, self.reach];
        widths.into_iter().any(|reach| neighbourhood(source.address, reach) == source)
    }

    fn carry_out(&mut self, command: &FirewallCommand) {
        match command {
            FirewallCommand::Open { source, ports, .. } => {
                for &(port, secs) in ports {
                    let until = self.now + Duration::from_secs(u64::from(secs));
                    self.members.insert((*source, port), until);
                }
            }
            FirewallCommand::Close { source, ports, .. } if !self.ignores_close => {
                for &port in ports {
                    self.members.remove(&(*source, port));
                }
            }
            FirewallCommand::Close { .. } => {}
        }
    }
}

impl Firewall for SimFirewall {
    fn install(&mut self, rules: &RuleSet) -> Result<(), FirewallError> {
        self.reach = rules.reach();
        // Grants of another width go with the rules that let them pass.
        let mut members = core::mem::take(&mut self.members);
        members.retain(|(network, _), _| self.holds(*network));
        self.members = members;
        Ok(())
    }

    fn execute(&mut self, command: &FirewallCommand) -> Result<(), FirewallError> {
        let mood = match self.mood {
            Mood::Erratic => match self.random.below(5) {
                0 => Mood::Refuses(FirewallError::Busy),
                1 => Mood::LosesAnswers,
                2 => Mood::Hangs,
                3 => Mood::Refuses(FirewallError::Full),
                _ => Mood::Well,
            },
            mood => mood,
        };
        let (done, answer) = match mood {
            Mood::Well | Mood::Erratic => (true, Ok(())),
            Mood::Refuses(error) => (false, Err(error)),
            Mood::LosesAnswers => (true, Err(FirewallError::NoAnswer)),
            Mood::Hangs => (false, Err(FirewallError::NoAnswer)),
        };
        let (FirewallCommand::Open { source, .. } | FirewallCommand::Close { source, .. }) = command;
        let opens = matches!(command, FirewallCommand::Open { .. });
        let (done, answer) = match (self.holds(*source), opens) {
            (true, _) => (done, answer),
            (false, true) => (false, Err(FirewallError::Missing)),
            (false, false) => (false, answer),
        };
        self.log.push(Done { command: command.clone(), result: answer });
        if done {
            self.carry_out(command);
        }
        if answer.is_ok() && opens {
            self.opened += 1;
        }
        answer
    }
}

/// Where audit records go.
#[derive(Debug, Default)]
pub struct SimSink {
    /// Whether it takes records now.
    pub busy: bool,
    /// Grants written.
    pub grants: u64,
    /// What was written since somebody last looked.
    pub written: Vec<Event>,
    /// Records confessed as lost.
    pub lost: u64,
    last_id: u64,
    /// Ids that did not follow and were not confessed.
    pub gaps: u64,
}

impl AuditSink for SimSink {
    fn write(&mut self, record: &Record, _now: Instant) -> Result<(), SinkBusy> {
        if self.busy {
            return Err(SinkBusy);
        }
        let mut expected = self.last_id + 1;
        match &record.event {
            Event::Grant { .. } => self.grants += 1,
            Event::Lost { records } => {
                self.lost += u64::from(*records);
                expected += u64::from(*records);
            }
            _ => {}
        }
        self.gaps += u64::from(record.id != expected);
        self.last_id = record.id;
        self.written.push(record.event.clone());
        Ok(())
    }
}
