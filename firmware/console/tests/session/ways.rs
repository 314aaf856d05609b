//! The pump, between queues of the test: slow lines, cables pulled, BREAKs, programs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};
use postern_console::pump::{ENTER_AFTER, Pump, RELAY_SILENCE, TYPED_AHEAD_MAX};
use postern_console::rpc::request::Request;
use postern_console::rpc::{Answer, Call, Deframer, FRAME_BYTES_MAX, PROTOCOL, encode_frame};
use postern_console::session::Session;
use postern_core::time::{Duration, Instant};

use crate::gateway::Gateway;
use crate::person::{PASSWORD, site};

/// What a way brings: octets, a BREAK, the end.
#[derive(Clone, Copy, Debug)]
enum Item {
    Octet(u8),
    Break,
    End,
}

#[derive(Debug, Default)]
struct Queues {
    incoming: VecDeque<Item>,
    outgoing: Vec<u8>,
    /// Octets it takes yet.
    room: usize,
}

/// One end of a way; the test holds the other.
#[derive(Clone, Debug, Default)]
struct Tube(Rc<RefCell<Queues>>);

impl Tube {
    fn bring(&self, octets: &[u8]) {
        self.0.borrow_mut().incoming.extend(octets.iter().map(|&octet| Item::Octet(octet)));
    }

    fn bring_item(&self, item: Item) {
        self.0.borrow_mut().incoming.push_back(item);
    }

    fn make_room(&self, octets: usize) {
        self.0.borrow_mut().room = octets;
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().outgoing)
    }
}

impl ErrorType for Tube {
    type Error = ErrorKind;
}

impl Read for Tube {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut queues = self.0.borrow_mut();
        let mut read = 0;
        while read < buffer.len() {
            match queues.incoming.front() {
                Some(Item::Octet(octet)) => buffer[read] = *octet,
                Some(Item::Break) if read == 0 => {
                    queues.incoming.pop_front();
                    return Err(ErrorKind::Interrupted);
                }
                Some(Item::End) if read == 0 => return Ok(0),
                _ => break,
            }
            queues.incoming.pop_front();
            read += 1;
        }
        assert!(read > 0, "read without being ready");
        Ok(read)
    }
}

impl ReadReady for Tube {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(!self.0.borrow().incoming.is_empty())
    }
}

impl Write for Tube {
    fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
        let mut queues = self.0.borrow_mut();
        let written = octets.len().min(queues.room);
        assert!(written > 0, "written without being ready");
        queues.room -= written;
        queues.outgoing.extend(&octets[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl WriteReady for Tube {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.0.borrow().room > 0)
    }
}

/// A pump with both ways and a gateway behind it.
struct Bench<'s> {
    pump: Pump<'s, Tube, Tube>,
    gateway: Gateway,
    line: Tube,
    daemon: Tube,
    now: Instant,
    connections: u32,
}

impl<'s> Bench<'s> {
    fn new(session: &'s mut Session, now: Instant) -> Self {
        let mut pump = Pump::new(session);
        let line = Tube::default();
        pump.line_found(line.clone());
        let gateway = Gateway::new(site());
        let mut bench = Self { pump, gateway, line, daemon: Tube::default(), now, connections: 0 };
        bench.run(usize::MAX);
        bench
    }

    /// Turns until nothing moves; the line takes `room` octets in all.
    fn run(&mut self, room: usize) -> Vec<u8> {
        self.line.make_room(room);
        let mut shown = Vec::new();
        loop {
            if self.pump.daemon().is_none() {
                self.daemon = Tube::default();
                self.connections += 1;
                self.pump.daemon_found(self.daemon.clone(), self.now);
            }
            self.daemon.make_room(usize::MAX);
            self.pump.turn(self.now);
            let heard = self.daemon.take();
            let answers = self.gateway.hear(&heard);
            self.daemon.bring(&answers);
            let mut now_shown = self.line.take();
            let quiet = heard.is_empty() && now_shown.is_empty() && self.pump.daemon().is_some();
            shown.append(&mut now_shown);
            if quiet {
                return shown;
            }
        }
    }

    fn type_in(&mut self, keys: &str) -> String {
        self.line.bring(keys.as_bytes());
        String::from_utf8(self.run(usize::MAX)).unwrap()
    }

    fn enrol(&mut self) {
        let shown = self.type_in(&format!("maria\r{PASSWORD}\r{PASSWORD}\r"));
        assert!(shown.contains("Logged in as maria"), "{shown}");
    }
}

fn session() -> (Box<Session>, Instant) {
    let now = Instant::from_millis(1_000);
    (Box::new(Session::new([7; 32], now)), now)
}

#[test]
fn typing_ahead_waits_for_its_turn() {
    let (mut session, now) = session();
    let mut bench = Bench::new(&mut session, now);
    // All at once, while the password is being worked on.
    let all = format!("maria\r{PASSWORD}\r{PASSWORD}\rset door ssh open-for 45s\rcommit\r");
    let shown = bench.type_in(&all);
    assert!(shown.contains("Generation 4 is in force"), "{shown}");
    assert_eq!(bench.gateway.running.doors[0].open_for_secs, 45);
}

#[test]
fn nothing_is_lost_on_a_line_that_takes_an_octet_at_a_time() {
    let (mut fast_session, now) = session();
    let mut fast = Bench::new(&mut fast_session, now);
    fast.enrol();
    let expected = fast.type_in("show\r");
    let (mut slow_session, now) = session();
    let mut slow = Bench::new(&mut slow_session, now);
    slow.enrol();
    slow.line.bring(b"show\r");
    let mut shown = Vec::new();
    while shown.len() < expected.len() {
        let some = slow.run(1);
        assert_eq!(some.len(), 1, "nothing more after {:?}", String::from_utf8_lossy(&shown));
        shown.extend(some);
    }
    assert_eq!(String::from_utf8(shown).unwrap(), expected);
    assert!(slow.run(1).is_empty());
}

#[test]
fn a_line_that_takes_nothing_loses_no_frame_and_no_memory() {
    let (mut session, now) = session();
    let mut bench = Bench::new(&mut session, now);
    bench.enrol();
    bench.line.bring("x".repeat(4 * TYPED_AHEAD_MAX).as_bytes());
    for _ in 0..100 {
        bench.line.bring(b"help\r");
        bench.run(0);
    }
    bench.run(usize::MAX);
    bench.line.bring(&[3]);
    bench.run(usize::MAX);
    assert!(bench.type_in("status\r").contains("generation 3"));
}

#[test]
fn a_pulled_cable_and_a_break_end_the_session_and_its_connection() {
    for item in [Item::Break, Item::End] {
        let (mut session, now) = session();
        let mut bench = Bench::new(&mut session, now);
        bench.enrol();
        let before = bench.connections;
        bench.line.bring_item(item);
        bench.run(usize::MAX);
        assert_eq!(bench.connections, before + 1, "the daemon must not take the next one for maria");
        if bench.pump.line().is_none() {
            bench.line = Tube::default();
            bench.pump.line_found(bench.line.clone());
        }
        let shown = bench.type_in("\rstatus\r");
        assert!(shown.contains("login: ") && !shown.contains("generation"), "{item:?}: {shown}");
    }
}

#[test]
fn a_logout_closes_the_connection() {
    let (mut session, now) = session();
    let mut bench = Bench::new(&mut session, now);
    bench.enrol();
    let before = bench.connections;
    bench.type_in("logout\r");
    assert_eq!(bench.connections, before + 1);
    bench.type_in("\rmaria\rnot the password\r");
    assert_eq!(bench.connections, before + 1, "a login that failed gives nobody a right");
}

#[test]
fn a_program_speaks_frames_until_it_is_silent() {
    let (mut session, now) = session();
    let mut bench = Bench::new(&mut session, now);
    bench.enrol();
    bench.type_in("logout\r");
    let mut frame = [0; FRAME_BYTES_MAX];
    let call = Call { number: 7, request: Request::Hello { protocol: PROTOCOL } };
    let frame = encode_frame(&call, &mut frame).unwrap();
    bench.line.bring(&[0]);
    bench.run(usize::MAX);
    bench.line.bring(frame);
    let answered = bench.run(usize::MAX);
    let mut deframer = Deframer::new();
    let answer = answered.iter().find_map(|&octet| deframer.take::<Answer>(octet)).unwrap().unwrap();
    assert!(answer.number == 7 && answer.result.is_ok());
    // People's keys are not people's now.
    assert_eq!(bench.type_in("\r\rmaria\r"), "");
    let before = bench.connections;
    bench.now = bench.now + RELAY_SILENCE;
    assert_eq!(bench.pump.wants().deadline, Some(bench.now));
    bench.run(usize::MAX);
    assert_eq!(bench.connections, before + 1);
    bench.now = bench.now + Duration::from_secs(1);
    assert!(bench.type_in("\r").contains("login: "));
}

#[test]
fn enter_after_a_pause_gives_the_line_back_to_a_person() {
    let (mut session, now) = session();
    let mut bench = Bench::new(&mut session, now);
    bench.enrol();
    bench.type_in("logout\r");
    bench.line.bring(&[0]);
    bench.run(usize::MAX);
    assert_eq!(bench.type_in("\r"), "", "it may be of a frame");
    bench.now = bench.now + ENTER_AFTER;
    let mut frame = [0; FRAME_BYTES_MAX];
    let call = Call { number: 7, request: Request::Hello { protocol: PROTOCOL } };
    bench.line.bring(encode_frame(&call, &mut frame).unwrap());
    assert_eq!(bench.run(usize::MAX).first(), Some(&0), "a frame begins with a zero, and is answered");
    let before = bench.connections;
    for _ in 0..5 {
        bench.now = bench.now + Duration::from_secs(1);
        assert_eq!(bench.type_in("\r"), "");
    }
    bench.now = bench.now + Duration::from_secs(1);
    assert!(bench.type_in("\r").ends_with("login: "), "whoever goes on pressing Enter");
    assert_eq!(bench.connections, before + 1, "nobody inherits the program's login");
}

#[test]
fn a_program_takes_the_line_of_who_forgot_to_log_out() {
    let (mut session, now) = session();
    let mut bench = Bench::new(&mut session, now);
    bench.enrol();
    bench.type_in("set gateway name pump-9");
    let mut frame = [0; FRAME_BYTES_MAX];
    let call = Call { number: 7, request: Request::Hello { protocol: PROTOCOL } };
    let frame = encode_frame(&call, &mut frame).unwrap().to_vec();
    // Noise, and a damaged frame: nothing of it is typed, and nothing is lost.
    let mut damaged = frame.clone();
    damaged[2] ^= 0x40;
    bench.line.bring(&damaged);
    assert_eq!(bench.run(usize::MAX), b"");
    bench.line.bring(b"\0wipe\r");
    assert_eq!(bench.run(usize::MAX), b"");
    bench.now = bench.now + Duration::from_secs(1);
    let shown = bench.type_in("9\r");
    assert!(shown.contains("pump-17*> ") && !shown.contains("wipe"), "{shown}");
    let before = bench.connections;
    bench.line.bring(&frame);
    assert_eq!(bench.run(usize::MAX), b"");
    assert_eq!(bench.connections, before + 1, "whoever was logged in is not any more");
    // The program asks again.
    bench.line.bring(&frame);
    let answered = bench.run(usize::MAX);
    let mut deframer = Deframer::new();
    let answer = answered.iter().find_map(|&octet| deframer.take::<Answer>(octet)).unwrap().unwrap();
    assert!(answer.number == 7 && answer.result.is_ok());
    bench.now = bench.now + RELAY_SILENCE;
    let shown = String::from_utf8(bench.run(usize::MAX)).unwrap();
    assert!(shown.ends_with("login: "), "{shown}");
}

#[test]
fn a_program_is_hung_up_by_a_break() {
    let (mut session, now) = session();
    let mut bench = Bench::new(&mut session, now);
    bench.enrol();
    bench.type_in("logout\r");
    bench.line.bring(&[0, 1, 2, 3]);
    bench.run(usize::MAX);
    let before = bench.connections;
    bench.line.bring_item(Item::Break);
    bench.run(usize::MAX);
    assert_eq!(bench.connections, before + 1);
    assert!(bench.type_in("\r").contains("login: "));
}
