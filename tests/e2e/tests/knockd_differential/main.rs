//! Stock knockd and Postern, the same configuration (imported), the same packets.
//!
//! Every trace goes through the real knockd in a namespace and through Postern's engine. A model
//! of knockd (`model`) in which each documented difference can be switched to Postern's way must
//! agree with knockd when nothing is switched and with Postern when everything is. What the two
//! do differently is then put down to the smallest set of differences that explains it; all of
//! them are headings of `tools/postern/KNOCKD_DIFFERENCES.md`.
//!
//! `SEED=N` chooses other traces; a failure names the seed and the trace.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use postern_e2e::Host;
use postern_e2e::frame::Payload;

mod grammar;
mod model;
mod stage;
mod trace;

use grammar::Readers;
use model::{Difference, Door, Opened, Packet, Switched, World, same};
use stage::{Stage, wall_ms};
use trace::{Ground, Planned, Random};

const TRACES: usize = 600;

const AIMED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 88, 88));
const FOREIGN: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 18, 77, 77)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0x77)),
];

const SYN: Option<(u8, u8)> = Some((0x02, 0x02));
const FIN_NOT_ACK: Option<(u8, u8)> = Some((0x11, 0x01));

/// Runs a test on a stack that an engine of half a megabyte fits on several times, as debug builds
/// move it.
fn with_room(test: impl FnOnce() + Send + 'static) {
    const STACK_BYTES: usize = 64 << 20;
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(test).unwrap();
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn seed() -> u64 {
    std::env::var("SEED").map_or(20_261_123, |seed| seed.parse().expect("SEED is a number"))
}

fn door(name: &'static str, steps: &[Payload], flags: Option<(u8, u8)>) -> Door {
    Door { name, steps: steps.to_vec(), timeout_s: 5, flags, target: None }
}

/// Doors that share knocks, repeat knocks, close, want flags, or want another address.
fn doors(_: &Host) -> Vec<Door> {
    let (tcp, udp) = (Payload::syn, Payload::udp);
    let mut aimed = door("aimed", &[tcp(40_100), udp(41_800), tcp(40_950)], SYN);
    aimed.target = Some(AIMED);
    vec![
        door("fixed", &[tcp(7351), udp(24_011), tcp(1490)], SYN),
        door("sibling", &[tcp(7351), tcp(15_502), tcp(5501)], SYN),
        door("close-fixed", &[tcp(1490), udp(24_011), tcp(7351)], SYN),
        door("plain", &[tcp(20_101), udp(22_902), tcp(21_703)], None),
        door("fin", &[tcp(30_100), tcp(31_900), tcp(30_907)], FIN_NOT_ACK),
        door("again", &[tcp(50_100), udp(51_900), tcp(50_100)], SYN),
        door("long", &[udp(55_011), udp(57_022), udp(56_033), udp(55_044), udp(57_055), udp(56_066)], None),
        aimed,
    ]
}

/// How the traces of a run came out.
#[derive(Default)]
struct Tally {
    alike: usize,
    opened_in_both: usize,
    explained: BTreeMap<Difference, usize>,
}

impl Tally {
    /// Holds one trace to the documented differences.
    fn judge(
        &mut self,
        world: &World<'_>,
        what: &str,
        trace: &[Packet],
        knockd: &[Opened],
        postern: &[Opened],
    ) {
        let report = || {
            let packets: Vec<String> = trace.iter().map(|packet| format!("{packet:?}")).collect();
            format!("{what}:\n{}\nknockd  {knockd:?}\nPostern {postern:?}\n", packets.join("\n"))
        };
        let expected = world.play(trace, Switched::NONE);
        assert!(
            same(&expected, knockd),
            "knockd did something else than we know of it ({expected:?}); {}",
            report()
        );
        let expected = world.play(trace, Switched::ALL);
        assert!(same(&expected, postern), "Postern is not as documented ({expected:?}); {}", report());
        if same(knockd, postern) {
            self.alike += 1;
            self.opened_in_both += knockd.len();
            return;
        }
        let explanation = world.explain(trace, postern).expect("everything switched explains everything");
        assert_ne!(explanation, Switched::NONE, "{}", report());
        for difference in explanation.members() {
            *self.explained.entry(difference).or_default() += 1;
        }
    }

    fn print(&self, traces: usize) {
        println!("{traces} traces, {} alike with {} openings", self.alike, self.opened_in_both);
        for (difference, count) in &self.explained {
            println!("{count:5} {}", difference.code());
        }
    }
}

#[test]
fn the_same_traces_differ_only_as_documented() {
    with_room(same_traces);
}

fn same_traces() {
    let (mut stage, doors) = Stage::start(doors).unwrap();
    let local: [IpAddr; 2] = stage.gateway.addresses();
    let ground = Ground { doors: &doors, local, foreign: FOREIGN };
    let mut traces: Vec<Vec<Packet>> = Vec::new();
    for number in 0..TRACES {
        let mut random = Random::new(seed() ^ (number as u64).wrapping_mul(0x9e37_79b9));
        let planned = trace::plan(&ground, number, &mut random);
        let v6 = planned.first().is_some_and(|packet| packet.source.is_ipv6());
        traces.push(planned.iter().map(|packet| stage.send(packet).unwrap()).collect());
        for source in trace::sources(number, v6) {
            stage.poison(source, &[local[0], local[1], AIMED]).unwrap();
        }
    }
    let knockd = stage.knockd_opened(&doors).unwrap();

    let mut engine = stage.engine();
    let guarded = |packet: &Packet| stage.is_guarded(packet);
    let world = World { doors: &doors, local: &local, guarded: &guarded };
    let mut tally = Tally::default();
    for (number, trace) in traces.iter().enumerate() {
        let postern = stage.postern_opened(&mut engine, &doors, trace);
        let sources = [false, true].map(|v6| trace::sources(number, v6)).concat();
        let opened: Vec<Opened> =
            sources.iter().filter_map(|source| knockd.get(source)).flatten().copied().collect();
        tally.judge(&world, &format!("SEED={} trace {number}", seed()), trace, &opened, &postern);
    }
    tally.print(TRACES);
    assert!(tally.opened_in_both > TRACES / 5, "the traces prove little");
    let missing: Vec<_> = Difference::ALL
        .into_iter()
        .filter(|difference| {
            *difference != Difference::TimeCounting && !tally.explained.contains_key(difference)
        })
        .collect();
    assert!(missing.is_empty() || std::env::var_os("SEED").is_some(), "no trace shows {missing:?}");
}

/// When a trace begins, as milliseconds after a full second, and how long it takes.
const TIMES_MS: [(u64, u64); 7] =
    [(200, 500), (200, 1500), (850, 1300), (700, 1700), (300, 2300), (850, 1050), (150, 1650)];

#[test]
fn times_differ_only_as_documented() {
    with_room(times);
}

fn times() {
    let (tcp, udp) = (Payload::syn, Payload::udp);
    let steps = [tcp(7351), udp(24_011), tcp(1490)];
    let slow = Door { timeout_s: 2, ..door("slow", &steps, SYN) };
    let (mut stage, doors) = Stage::start(|_| vec![slow]).unwrap();
    let local: [IpAddr; 2] = stage.gateway.addresses();
    let mut traces: Vec<Vec<Packet>> = Vec::new();
    for (number, (phase_ms, length_ms)) in TIMES_MS.into_iter().enumerate() {
        let source = trace::sources(number, false)[0];
        let now_ms = wall_ms().unwrap();
        std::thread::sleep(Duration::from_millis((1000 + phase_ms - now_ms % 1000) % 1000));
        let mut sent = Vec::new();
        let mut clear = true;
        for (position, payload) in steps.into_iter().enumerate() {
            if position > 0 {
                std::thread::sleep(Duration::from_millis(length_ms / 2));
            }
            sent.push(stage.send(&Planned { source, target: local[0], payload }).unwrap());
            // When a full second passed while it was sent, its second in knockd's capture is not known.
            clear &= sent.last().is_some_and(|packet| packet.at_ms / 1000 == wall_ms().unwrap() / 1000);
        }
        if !clear {
            sent.clear();
        }
        traces.push(sent);
        stage.poison(source, &local).unwrap();
    }
    let knockd = stage.knockd_opened(&doors).unwrap();

    let mut engine = stage.engine();
    let guarded = |packet: &Packet| stage.is_guarded(packet);
    let world = World { doors: &doors, local: &local, guarded: &guarded };
    let mut tally = Tally::default();
    for (number, trace) in traces.iter().enumerate() {
        if trace.is_empty() {
            println!("trace {number} was sent over a full second on this busy machine");
            continue;
        }
        let postern = stage.postern_opened(&mut engine, &doors, trace);
        let opened = knockd.get(&trace[0].source).cloned().unwrap_or_default();
        tally.judge(&world, &format!("times {:?}", TIMES_MS[number]), trace, &opened, &postern);
    }
    tally.print(traces.len());
    assert!(tally.explained.contains_key(&Difference::TimeCounting), "no trace shows how knockd counts");
}

#[test]
fn every_difference_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/postern/KNOCKD_DIFFERENCES.md");
    let text = std::fs::read_to_string(path).unwrap();
    for difference in Difference::ALL {
        let heading = format!("## {}\n", difference.code());
        assert!(text.contains(&heading), "KNOCKD_DIFFERENCES.md has no heading {}", difference.code());
    }
}

const FILES: usize = 400;

#[test]
fn both_read_the_same_grammar() {
    let readers = Readers::new().unwrap();
    let (mut taken, mut refused) = (0, 0);
    for number in 0..FILES {
        let mut random = Random::new(seed() ^ (number as u64).wrapping_mul(0x9e37_79b9));
        let text = readers.file(&mut random);
        let verdicts = readers.judge(&text).unwrap();
        let what = || format!("SEED={} file {number}, {verdicts:?}:\n{text}", seed());
        match verdicts.knockd_takes {
            Some(true) => {
                assert!(!verdicts.said_to_end, "knockd does start: {}", what());
                taken += 1;
            }
            Some(false) => {
                assert!(verdicts.may_end, "imported what knockd ends at: {}", what());
                refused += 1;
            }
            None => println!("knockd crashed: {}", what()),
        }
    }
    println!("{FILES} files, {taken} taken by knockd, {refused} not");
    assert!(
        taken > FILES / 5 && refused > FILES / 5,
        "the files prove little: {taken} taken, {refused} refused"
    );
}
