//! `update ...` against the daemon's own desk: what is refused, what is brought, also on a line that loses
//! frames.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use postern::memory::Memory;
use postern::remote::link::{Link, Nature};
use postern::remote::{Command, Connection, execute_over};
use postern::update_file::UpdateFile;
use postern_config::slots::{Choice, Slot};
use postern_core::limits::SLOT_HEALTHY_AFTER;
use postern_core::port::Partition;
use posternd::control::Session;
use posternd::update::{Media, This, Updates};
use serde_json::Value;

use crate::gateway::Gateway;
use crate::tool::{Bench, golden, site_text};

const PART_BYTES: usize = 64 * 1024;

/// A gateway with two slots whose owner's key is in `owner.key`, and updates beside it.
fn bench() -> Bench {
    let bench = Bench::new(0);
    let (printed, _) = bench.expect(&["owner", "new", "-o", "owner.key"], 0);
    bench.gateway.configure(&site_text().replacen("schema = 1\n", &format!("schema = 1\n{printed}"), 1));
    start(&bench.gateway, Slot::A, 7, Choice::FACTORY);
    for (name, board, release) in [("new", "toaster", 9_u32), ("old", "toaster", 6), ("other", "kettle", 9)] {
        let parts = (vec![release.to_le_bytes()[0]; 40_000], vec![7; 20_000]);
        let update = UpdateFile::unsigned(board, release, "0.2.0", parts.0, parts.1).unwrap();
        std::fs::write(bench.path(&format!("{name}.bin")), update.bytes()).unwrap();
        let (from, to) = (format!("{name}.bin"), format!("{name}.signed"));
        bench.expect(&["owner", "sign-update", &from, "--key", "owner.key", "-o", &to], 0);
    }
    bench
}

/// The machine starts in this slot.
fn start(gateway: &Gateway, slot: Slot, release: u32, choice: Choice) {
    let mut state = gateway.state();
    let mut environment = Memory(vec![0; 1024 * 1024]);
    choice.store(&mut environment).unwrap();
    let part = || -> Box<dyn Partition + Send> { Box::new(Memory(vec![0; PART_BYTES])) };
    let media = Media { environment: Box::new(environment), kernel: part(), root: part() };
    let this = This { board: "toaster".try_into().unwrap(), slot, release };
    let now = state.now;
    state.desk.updates = Some(Updates::begin_watch(this, media, &mut state.machine, now).unwrap());
}

fn json(bench: &Bench, arguments: &[&str], status: i32) -> Value {
    let (printed, _) = bench.ask(&[arguments, &["--json"]].concat(), status);
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn from_a_refusal_to_a_confirmation() {
    let bench = bench();
    let mut differences = String::new();
    let mut tell = |name: &str, arguments: &[&str], status| {
        let (printed, _) = bench.ask(&[arguments, &["--json"]].concat(), status);
        golden(&format!("update-{name}.json"), &printed, &mut differences);
    };
    tell("status", &["update", "status"], 0);
    tell("unsigned", &["update", "apply", "new.bin"], 5);
    tell("downgrade", &["update", "apply", "old.signed"], 1);
    tell("other-board", &["update", "apply", "other.signed"], 1);
    tell("not-on-trial", &["update", "confirm"], 1);
    tell("dry-run", &["update", "apply", "new.signed", "--dry-run"], 0);
    tell("apply", &["update", "apply", "new.signed", "--confirm", "2h"], 0);
    tell("ready", &["update", "status"], 0);
    tell("cancel", &["update", "rollback"], 0);
    let trial = Choice { slot: Slot::B, left: 2, trial: true, wait_secs: 7200, ..Choice::FACTORY };
    start(&bench.gateway, Slot::B, 9, trial);
    tell("on-trial", &["update", "status"], 0);
    tell("on-trial-apply", &["update", "apply", "new.signed", "--again"], 7);
    tell("not-healthy", &["update", "confirm"], 1);
    let later = bench.gateway.state().now + SLOT_HEALTHY_AFTER;
    bench.gateway.state().now = later;
    json(&bench, &["update", "status"], 0);
    tell("confirm", &["update", "confirm"], 0);
    tell("apply-again", &["update", "apply", "new.signed"], 0);
    assert!(differences.is_empty(), "{differences}");
    let (text, _) = bench.ask(&["update", "status"], 0);
    assert!(text.contains("slot         B, healthy\nrelease      9, stands\n"), "{text}");
}

#[test]
fn what_is_damaged_does_not_leave_this_side() {
    let bench = bench();
    let mut octets = std::fs::read(bench.path("new.signed")).unwrap();
    let last = octets.len() - 1;
    octets[last] ^= 1;
    std::fs::write(bench.path("damaged.signed"), octets).unwrap();
    let (_, said) = bench.ask(&["update", "apply", "damaged.signed"], 8);
    assert!(said.contains("its root is not what its manifest says"), "{said}");
    let (_, said) =
        bench.expect(&["owner", "sign-update", "damaged.signed", "--key", "owner.key", "-o", "x"], 8);
    assert!(said.contains("damaged"), "{said}");
    assert_eq!(json(&bench, &["update", "status"], 0)["stage"]["name"], "idle");
}

#[test]
fn without_slots_or_an_owner() {
    let bench = Bench::configured(0);
    assert_eq!(json(&bench, &["update", "status"], 1)["error"]["code"], "no-slots");
    start(&bench.gateway, Slot::A, 7, Choice::FACTORY);
    let update = UpdateFile::unsigned("toaster", 9, "0.2.0", vec![1; 10], vec![2; 10]).unwrap();
    std::fs::write(bench.path("new.bin"), update.bytes()).unwrap();
    assert_eq!(json(&bench, &["update", "apply", "new.bin"], 1)["error"]["code"], "no-owner");
}

/// A line on which one frame in four is lost, the same ones in every run.
struct BadLine {
    gateway: Gateway,
    session: Session,
    arriving: VecDeque<u8>,
    sent: Rc<Cell<u32>>,
    random: u64,
}

impl Link for BadLine {
    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        self.sent.set(self.sent.get() + 1);
        // Xorshift (Marsaglia 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if self.random >> 32 & 3 != 0 {
            self.arriving.extend(self.gateway.state().take(&mut self.session, octets));
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _patience: Duration) -> io::Result<usize> {
        if self.arriving.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let count = buffer.len().min(self.arriving.len());
        buffer.iter_mut().zip(self.arriving.drain(..count)).for_each(|(place, octet)| *place = octet);
        Ok(count)
    }

    fn nature(&self) -> Nature {
        Nature { lossy: true, octets_per_sec: Some(11_520) }
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[test]
fn on_a_line_that_loses_one_frame_in_four() {
    let bench = bench();
    let session = bench.gateway.state().connect(0);
    let sent = Rc::new(Cell::new(0));
    let (gateway, arriving) = (bench.gateway.clone(), VecDeque::new());
    let link = BadLine { gateway, session, arriving, sent: sent.clone(), random: 0x9e37_79b9_7f4a_7c15 };
    let path = bench.path("new.signed");
    let path = path.to_str().unwrap();
    let line = Line::try_parse_from(["postern", "update", "apply", path, "--no-restart"]).unwrap();
    let answer = execute_over(Box::new(link), &line.connection, &line.command).unwrap();
    assert_eq!(answer.fields["changed"], true);
    assert_eq!(json(&bench, &["update", "status"], 0)["stage"]["name"], "ready");
    assert!(sent.get() > 66, "{} frames are fewer than there are parts", sent.get());
}
