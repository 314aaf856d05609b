//! Moves octets between a line, the session of whoever sits at it, and the daemon.
//!
//! The line and the connection are whatever implements the traits of `embedded-io`, and never
//! block: a UART of a microcontroller, a terminal of Linux, two queues of a test. Of their answers:
//!
//! * a read of nothing is the end: the cable was pulled, the daemon closed;
//! * an error of the kind [`ErrorKind::Interrupted`] on the line is a BREAK;
//! * any other error is the end, too.
//!
//! ```text
//! line -> typed ahead -> session -> frame -> daemon        a person
//! line ------> to the daemon -------------> daemon         a program, after its first zero
//! line <------ to the line <--------------- daemon
//! ```

use embedded_io::{Error, ErrorKind, Read, ReadReady, Write, WriteReady};
use heapless::{Deque, Vec};
use postern_core::time::{Duration, Instant};

use crate::session::Session;

/// Keys that are kept while the session is busy. More are answered with a bell and dropped.
pub const TYPED_AHEAD_MAX: usize = 256;

/// Octets moved at once.
const CHUNK_BYTES: usize = 256;

/// Silence of a program after which the line is a person's again. A program that asks does so more
/// often; one that has died says nothing.
pub const RELAY_SILENCE: Duration = Duration::from_secs(60);

/// Time without a zero after which Enter is a person's: a frame has one at each end, and the longest request
/// takes five seconds on the slowest line.
pub const ENTER_AFTER: Duration = Duration::from_secs(6);

/// Rounds of one [`Pump::turn`]: whoever sends without end does not keep the caller from its clock.
const ROUNDS_MAX: u32 = 64;

/// Something that octets are read from and written to, without waiting.
pub trait Way: Read + ReadReady + Write + WriteReady {}

impl<T: Read + ReadReady + Write + WriteReady> Way for T {}

/// Whose the line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Person,
    /// `heard`: the last zero.
    Program {
        heard: Instant,
    },
}

/// What is to be waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Until the line takes octets.
    pub line_write: bool,
    /// Until the line has octets.
    pub line_read: bool,
    /// Until the daemon takes octets.
    pub daemon_write: bool,
    /// Until the daemon has octets.
    pub daemon_read: bool,
    /// Until this time at most.
    pub deadline: Option<Instant>,
}

/// The session and its two ways. Either may be missing: a line without a carrier, a daemon that is
/// being started.
#[derive(Debug)]
pub struct Pump<'s, L, D> {
    session: &'s mut Session,
    line: Option<L>,
    daemon: Option<D>,
    mode: Mode,
    typed: Deque<u8, TYPED_AHEAD_MAX>,
    to_line: Vec<u8, CHUNK_BYTES>,
    to_daemon: Vec<u8, CHUNK_BYTES>,
}

impl<'s, L: Way, D: Way> Pump<'s, L, D> {
    /// A pump without ways.
    pub fn new(session: &'s mut Session) -> Self {
        Self {
            session,
            line: None,
            daemon: None,
            mode: Mode::Person,
            typed: Deque::new(),
            to_line: Vec::new(),
            to_daemon: Vec::new(),
        }
    }

    /// The line is there.
    pub fn line_found(&mut self, line: L) {
        self.line = Some(line);
    }

    /// The daemon is there.
    pub fn daemon_found(&mut self, daemon: D, now: Instant) {
        self.daemon = Some(daemon);
        self.to_daemon.clear();
        self.session.daemon_found(now);
    }

    /// The line, if there is one.
    pub fn line(&self) -> Option<&L> {
        self.line.as_ref()
    }

    /// The daemon, if there is one.
    pub fn daemon(&self) -> Option<&D> {
        self.daemon.as_ref()
    }

    /// What to wait for before the next [`Pump::turn`].
    pub fn wants(&self) -> Wants {
        let person = self.mode == Mode::Person;
        let silence = match self.mode {
            Mode::Person => self.session.poll_at(),
            Mode::Program { heard } => Some(heard + RELAY_SILENCE),
        };
        Wants {
            line_write: !self.to_line.is_empty() || (person && self.session.has_output()),
            line_read: person || self.to_daemon.is_empty(),
            daemon_write: !self.to_daemon.is_empty() || (person && !self.session.frame().is_empty()),
            daemon_read: person || self.to_line.is_empty(),
            deadline: silence,
        }
    }

    /// Moves everything that can be moved now, a bounded number of octets.
    pub fn turn(&mut self, now: Instant) {
        for _ in 0..ROUNDS_MAX {
            self.renew();
            let moved = match self.mode {
                Mode::Person => self.serve_person(now),
                Mode::Program { heard } => self.relay(heard, now),
            };
            if !moved {
                break;
            }
        }
        if self.mode == Mode::Person {
            self.session.tick(now);
            self.renew();
        }
    }

    /// A connection somebody was logged in on is not for the next one.
    fn renew(&mut self) {
        if self.session.take_renewal() {
            self.daemon = None;
        }
    }

    fn serve_person(&mut self, now: Instant) -> bool {
        let mut moved = self.listen(now);
        if self.session.is_relay() {
            // What was typed before belongs to the program: its zero came with its first frame.
            self.mode = Mode::Program { heard: now };
            self.to_line.clear();
            self.to_daemon.clear();
            while let Some(octet) = self.typed.pop_front() {
                let _ = self.to_daemon.push(octet);
            }
            return true;
        }
        while self.session.takes_keys() {
            let Some(octet) = self.typed.pop_front() else { break };
            self.session.key(octet, now);
            moved = true;
            if self.session.is_relay() {
                return true;
            }
        }
        moved |= self.show();
        // What takes long waits until "working..." is on its way.
        if self.session.wants_to_compute() && !self.session.has_output() && self.to_line.is_empty() {
            self.session.compute(now);
            moved = true;
        }
        moved | self.ask() | self.hear(now)
    }

    /// Takes what the line brings, as long as there is room.
    fn listen(&mut self, now: Instant) -> bool {
        let mut octets = [0; CHUNK_BYTES];
        let Some(read) = self.read_line(&mut octets) else { return false };
        for &octet in octets.get(..read).unwrap_or_default() {
            // Behind a program's zero, every octet is one of a frame.
            if octet == CANCEL && !self.typed.iter().any(|&typed| typed == 0) {
                // Whoever wants out wants nothing of what they typed before.
                self.typed.clear();
                self.session.key(octet, now);
            } else if self.typed.push_back(octet).is_err() {
                let _ = self.to_line.push(BELL);
            }
        }
        read > 0
    }

    /// Reads from the line; what its end or a BREAK mean is done here.
    fn read_line(&mut self, octets: &mut [u8]) -> Option<usize> {
        let line = self.line.as_mut()?;
        let read = match line.read_ready() {
            Ok(false) => return Some(0),
            Ok(true) => line.read(octets).map_err(|error| error.kind()),
            Err(error) => Err(error.kind()),
        };
        match read {
            Ok(0) => self.line = None,
            Ok(read) => return Some(read),
            Err(ErrorKind::Interrupted) => {}
            Err(_) => self.line = None,
        }
        self.line_lost();
        None
    }

    fn line_lost(&mut self) {
        self.typed.clear();
        self.to_line.clear();
        self.end_relay();
        self.session.line_lost();
    }

    /// The daemon forgets what the program was in the middle of, and so do we.
    fn end_relay(&mut self) {
        if self.mode != Mode::Person {
            self.mode = Mode::Person;
            self.daemon = None;
            self.to_daemon.clear();
            self.to_line.clear();
            self.session.line_lost();
        }
    }

    fn show(&mut self) -> bool {
        while !self.to_line.is_full() {
            let Some(octet) = self.session.take_output() else { break };
            let _ = self.to_line.push(octet);
        }
        self.flush_line()
    }

    fn flush_line(&mut self) -> bool {
        match &mut self.line {
            // Nobody is there to read it.
            None => {
                let moved = !self.to_line.is_empty();
                self.to_line.clear();
                moved
            }
            Some(line) => match flush(line, &mut self.to_line) {
                Flushed::Some(moved) => moved,
                Flushed::Gone => {
                    self.line = None;
                    self.line_lost();
                    true
                }
            },
        }
    }

    fn ask(&mut self) -> bool {
        let Some(daemon) = &mut self.daemon else { return false };
        let frame = self.session.frame();
        if frame.is_empty() {
            return false;
        }
        let written = match daemon.write_ready() {
            Ok(false) => return false,
            Ok(true) => daemon.write(frame).ok(),
            Err(_) => None,
        };
        match written {
            Some(written) if written > 0 => self.session.sent(written),
            _ => self.daemon_lost(),
        }
        true
    }

    fn hear(&mut self, now: Instant) -> bool {
        let mut octets = [0; CHUNK_BYTES];
        let read = self.read_daemon(&mut octets);
        for &octet in octets.get(..read).unwrap_or_default() {
            self.session.daemon(octet, now);
        }
        read > 0
    }

    fn read_daemon(&mut self, octets: &mut [u8]) -> usize {
        let Some(daemon) = &mut self.daemon else { return 0 };
        match daemon.read_ready() {
            Ok(false) => 0,
            Ok(true) => match daemon.read(octets) {
                Ok(read) if read > 0 => read,
                _ => {
                    self.daemon_lost();
                    0
                }
            },
            Err(_) => {
                self.daemon_lost();
                0
            }
        }
    }

    fn daemon_lost(&mut self) {
        self.daemon = None;
        match self.mode {
            Mode::Person => self.session.daemon_lost(),
            // The program at the line hears nothing, and asks again or gives up.
            Mode::Program { .. } => self.end_relay(),
        }
    }

    fn relay(&mut self, heard: Instant, now: Instant) -> bool {
        if heard + RELAY_SILENCE <= now {
            self.end_relay();
            return true;
        }
        let mut moved = false;
        if self.to_daemon.is_empty() {
            let mut octets = [0; CHUNK_BYTES];
            let Some(read) = self.read_line(&mut octets) else { return true };
            let octets = octets.get(..read).unwrap_or_default();
            if matches!(octets.first(), Some(b'\r' | b'\n')) && heard + ENTER_AFTER <= now {
                self.end_relay();
                return true;
            }
            let _ = self.to_daemon.extend_from_slice(octets);
            if octets.contains(&0) {
                self.mode = Mode::Program { heard: now };
            }
            moved = read > 0;
        }
        if let Some(daemon) = &mut self.daemon {
            match flush(daemon, &mut self.to_daemon) {
                Flushed::Some(flushed) => moved |= flushed,
                Flushed::Gone => {
                    self.daemon_lost();
                    return true;
                }
            }
        }
        if self.to_line.is_empty() {
            let mut octets = [0; CHUNK_BYTES];
            let read = self.read_daemon(&mut octets);
            let _ = self.to_line.extend_from_slice(octets.get(..read).unwrap_or_default());
            moved |= read > 0;
        }
        moved | self.flush_line()
    }
}

const CANCEL: u8 = 0x03;
const BELL: u8 = 0x07;

enum Flushed {
    /// Whether any octet went.
    Some(bool),
    /// The way has ended.
    Gone,
}

fn flush<W: Write + WriteReady>(way: &mut W, octets: &mut Vec<u8, CHUNK_BYTES>) -> Flushed {
    let mut moved = false;
    while !octets.is_empty() {
        match way.write_ready() {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return Flushed::Gone,
        }
        let written = match way.write(octets) {
            Ok(written) if written > 0 => written.min(octets.len()),
            _ => return Flushed::Gone,
        };
        octets.rotate_left(written);
        octets.truncate(octets.len().saturating_sub(written));
        moved = true;
    }
    Flushed::Some(moved)
}
