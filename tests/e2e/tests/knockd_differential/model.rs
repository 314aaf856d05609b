//! What knockd does with a trace, in a form in which each documented difference can be switched
//! to Postern's way.
//!
//! With nothing switched the model must agree with the real knockd, with everything switched with
//! Postern's engine. So whatever the two programs do differently is put down to documented
//! differences, or the test fails.

use std::collections::HashMap;
use std::net::IpAddr;

use postern_e2e::frame::Payload;

/// A documented difference; the code is its heading in `KNOCKD_DIFFERENCES.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Difference {
    WrongPort,
    RepeatedKnock,
    SeveralAttempts,
    Strangers,
    GuardPorts,
    TimeCounting,
    AnyLocalAddress,
    OpeningSynOnly,
}

impl Difference {
    /// All of them, in the order in which an explanation is looked for.
    pub(crate) const ALL: [Difference; 8] = [
        Difference::WrongPort,
        Difference::RepeatedKnock,
        Difference::SeveralAttempts,
        Difference::Strangers,
        Difference::GuardPorts,
        Difference::TimeCounting,
        Difference::AnyLocalAddress,
        Difference::OpeningSynOnly,
    ];

    /// Code of the importer's finding.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Difference::WrongPort => "wrong-port",
            Difference::RepeatedKnock => "repeated-knock",
            Difference::SeveralAttempts => "several-attempts",
            Difference::Strangers => "strangers",
            Difference::GuardPorts => "guard-ports",
            Difference::TimeCounting => "time-counting",
            Difference::AnyLocalAddress => "any-local-address",
            Difference::OpeningSynOnly => "opening-syn-only",
        }
    }
}

/// A set of differences switched to Postern's way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switched(u8);

impl Switched {
    /// knockd itself.
    pub(crate) const NONE: Switched = Switched(0);
    /// Postern.
    pub(crate) const ALL: Switched = Switched(u8::MAX);

    /// Every set, smaller ones first.
    pub(crate) fn every() -> Vec<Switched> {
        let mut every: Vec<Switched> = (0..=u8::MAX).map(Switched).collect();
        every.sort_by_key(|switched| switched.0.count_ones());
        every
    }

    pub(crate) fn has(self, difference: Difference) -> bool {
        self.0 & (1 << difference as u8) != 0
    }

    pub(crate) fn members(self) -> impl Iterator<Item = Difference> {
        Difference::ALL.into_iter().filter(move |difference| self.has(*difference))
    }
}

/// A door of knockd.conf.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Payload>,
    pub(crate) timeout_s: u64,
    /// TCP flags looked at and their values; `None` without `TCPFlags`.
    pub(crate) flags: Option<(u8, u8)>,
    pub(crate) target: Option<IpAddr>,
}

impl Door {
    /// Whether a packet may be a knock here as far as its TCP flags go.
    fn flags_fit(&self, payload: Payload, switched: Switched) -> bool {
        const SYN_ACK: u8 = 0x12;
        const SYN: u8 = 0x02;
        let Payload::Tcp { flags, .. } = payload else { return true };
        let default = if switched.has(Difference::OpeningSynOnly) { (SYN_ACK, SYN) } else { (0, 0) };
        let (mask, value) = self.flags.unwrap_or(default);
        flags & mask == value
    }
}

/// Whether the packet is this step: protocol and port.
fn is_step(payload: Payload, step: Payload) -> bool {
    match (payload, step) {
        (Payload::Tcp { port, .. }, Payload::Tcp { port: wanted, .. }) => port == wanted,
        _ => payload == step,
    }
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Wall clock in milliseconds.
    pub(crate) at_ms: u64,
    pub(crate) source: IpAddr,
    pub(crate) target: IpAddr,
    pub(crate) payload: Payload,
}

/// A sequence completed by a source.
pub(crate) type Opened = (IpAddr, &'static str);

#[derive(Clone, Debug)]
struct Attempt {
    source: IpAddr,
    door: usize,
    /// Knocks shown; `None` is a failed attempt.
    stage: Option<usize>,
    start_ms: u64,
}

/// What the model is about.
pub(crate) struct World<'a> {
    pub(crate) doors: &'a [Door],
    /// Addresses of the gateway.
    pub(crate) local: &'a [IpAddr],
    /// Whether a packet touches a guard port of Postern.
    pub(crate) guarded: &'a dyn Fn(&Packet) -> bool,
}

struct Run<'a> {
    world: &'a World<'a>,
    switched: Switched,
    attempts: Vec<Attempt>,
    /// Start of the last completed attempt.
    used: HashMap<(IpAddr, usize), u64>,
    tainted: HashMap<IpAddr, u64>,
    opened: Vec<Opened>,
}

impl World<'_> {
    /// The sequences a trace completes, in order.
    pub(crate) fn play(&self, trace: &[Packet], switched: Switched) -> Vec<Opened> {
        let mut run = Run {
            world: self,
            switched,
            attempts: Vec::new(),
            used: HashMap::new(),
            tainted: HashMap::new(),
            opened: Vec::new(),
        };
        for packet in trace {
            run.packet(packet);
        }
        run.opened
    }

    /// The smallest set of differences that leads from knockd's outcome to `outcome`.
    pub(crate) fn explain(&self, trace: &[Packet], outcome: &[Opened]) -> Option<Switched> {
        Switched::every().into_iter().find(|&switched| same(&self.play(trace, switched), outcome))
    }
}

/// Whether two outcomes are the same; order within one trace does not matter.
pub(crate) fn same(one: &[Opened], other: &[Opened]) -> bool {
    let sorted = |opened: &[Opened]| {
        let mut opened = opened.to_vec();
        opened.sort_unstable();
        opened
    };
    sorted(one) == sorted(other)
}

impl Run<'_> {
    fn packet(&mut self, packet: &Packet) {
        if self.switched.has(Difference::GuardPorts) && (self.world.guarded)(packet) {
            self.tainted.insert(packet.source, packet.at_ms);
            return;
        }
        // What the kernel filter holds back changes nothing, not even time.
        if !self.world.doors.iter().any(|door| self.is_seen(door, packet)) {
            return;
        }
        self.clean_up(packet.at_ms);
        let known = self.advance(packet);
        if !known || self.switched.has(Difference::SeveralAttempts) {
            self.begin(packet);
        }
        if self.switched.has(Difference::SeveralAttempts) {
            self.keep_latest();
        }
    }

    fn is_seen(&self, door: &Door, packet: &Packet) -> bool {
        let port = door.steps.iter().any(|&step| is_step(packet.payload, step));
        port && self.target_fits(door, packet) && door.flags_fit(packet.payload, self.switched)
    }

    fn target_fits(&self, door: &Door, packet: &Packet) -> bool {
        match door.target {
            Some(target) => target == packet.target,
            None => {
                self.switched.has(Difference::AnyLocalAddress) || self.world.local.contains(&packet.target)
            }
        }
    }

    fn is_timed_out(&self, attempt: &Attempt, at_ms: u64) -> bool {
        let timeout_s = self.world.doors[attempt.door].timeout_s;
        if self.switched.has(Difference::TimeCounting) {
            at_ms - attempt.start_ms > timeout_s * 1000
        } else {
            at_ms / 1000 - attempt.start_ms / 1000 >= timeout_s
        }
    }

    /// Completed, failed and old attempts leave the list; when the first of the list is one of
    /// them, knockd loses all others too.
    fn clean_up(&mut self, at_ms: u64) {
        let leaves = |attempt: &Attempt| {
            let steps = self.world.doors[attempt.door].steps.len();
            attempt.stage.is_none_or(|stage| stage >= steps) || self.is_timed_out(attempt, at_ms)
        };
        let head_leaves = self.attempts.first().is_some_and(leaves);
        let leaving: Vec<bool> = self.attempts.iter().map(leaves).collect();
        if head_leaves && !self.switched.has(Difference::Strangers) {
            self.attempts.clear();
        } else {
            let mut leaving = leaving.into_iter();
            self.attempts.retain(|_| !leaving.next().unwrap_or(false));
        }
    }

    /// Moves the attempts of this source on; whether it has any.
    fn advance(&mut self, packet: &Packet) -> bool {
        let mut known = false;
        for index in 0..self.attempts.len() {
            let attempt = self.attempts[index].clone();
            let door = &self.world.doors[attempt.door];
            if attempt.source != packet.source || !self.target_fits(door, packet) {
                continue;
            }
            known = true;
            let Some(stage) = attempt.stage else { continue };
            if !door.flags_fit(packet.payload, self.switched) || stage >= door.steps.len() {
                continue;
            }
            if is_step(packet.payload, door.steps[stage]) {
                self.step(index, stage + 1, packet.at_ms);
                continue;
            }
            let repeated = door.steps[..stage].iter().any(|&step| is_step(packet.payload, step));
            let forgiven = if repeated { Difference::RepeatedKnock } else { Difference::WrongPort };
            if !self.switched.has(forgiven) {
                self.attempts[index].stage = None;
            }
        }
        known
    }

    /// A first knock begins an attempt at every door it fits.
    fn begin(&mut self, packet: &Packet) {
        for (number, door) in self.world.doors.iter().enumerate() {
            if is_step(packet.payload, door.steps[0])
                && door.flags_fit(packet.payload, self.switched)
                && self.target_fits(door, packet)
            {
                self.attempts.push(Attempt {
                    source: packet.source,
                    door: number,
                    stage: Some(0),
                    start_ms: packet.at_ms,
                });
                self.step(self.attempts.len() - 1, 1, packet.at_ms);
            }
        }
    }

    fn step(&mut self, index: usize, stage: usize, at_ms: u64) {
        let Attempt { source, door, start_ms, .. } = self.attempts[index];
        let all = stage >= self.world.doors[door].steps.len();
        if all && self.switched.has(Difference::GuardPorts) {
            let window_ms = self.world.doors[door].timeout_s * 1000;
            if self.tainted.get(&source).is_some_and(|touched_ms| at_ms - touched_ms <= window_ms) {
                return;
            }
        }
        self.attempts[index].stage = Some(stage);
        if !all {
            return;
        }
        // A repeated last knock opens nothing twice.
        let repeated = self.switched.has(Difference::SeveralAttempts)
            && self.used.get(&(source, door)).is_some_and(|used_ms| start_ms <= *used_ms);
        if !repeated {
            self.used.insert((source, door), start_ms);
            self.opened.push((source, self.world.doors[door].name));
        }
    }

    /// Of several attempts equally far on only the latest matters.
    fn keep_latest(&mut self) {
        let mut best: HashMap<(IpAddr, usize, Option<usize>), u64> = HashMap::new();
        for attempt in &self.attempts {
            let key = (attempt.source, attempt.door, attempt.stage);
            let latest = best.entry(key).or_insert(attempt.start_ms);
            *latest = (*latest).max(attempt.start_ms);
        }
        // Of equals one stays: the entry is taken out with it.
        self.attempts.retain(|attempt| {
            let key = (attempt.source, attempt.door, attempt.stage);
            best.get(&key) == Some(&attempt.start_ms) && best.remove(&key).is_some()
        });
    }
}
