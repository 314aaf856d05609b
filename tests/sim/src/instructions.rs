//! Instructions a packet costs, counted one by one: exact, whatever else the machine does.
//!
//! The subject is a process of its own that stops, reads one packet, and stops again. In between it is
//! stepped with ptrace(2). No counter of the processor is needed, which virtual machines rarely have, and
//! no other program. A repeated string instruction counts once for each round.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, anyhow, bail};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use postern_core::Instant;
use postern_core::spa::fwknop::{self, FwknopKey, MacDigest, sealer};
use postern_core::spa::key::{DeviceId, SpaKey};
use postern_core::spa::native::aead::{self, NONCE_BYTES, TAG_BYTES};
use postern_core::spa::native::{Arrival, PACKET_BYTES, REQUEST_BYTES, Request, Sealer, Verifier};
use postern_core::spa::policy::Policy;

const DEVICE: DeviceId = DeviceId([3; 16]);

/// Where the key of the packet stands among those of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The gateway does not have it.
    Nowhere,
    /// It is the first.
    First,
    /// It is the last.
    Last,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// Nothing: what stopping itself costs.
    Nothing,
    /// The bare check of one tag, over as many octets as a packet has.
    BareTag,
    /// A packet with a wrong tag. The octets are the same wherever its key stands.
    Native(Place),
    /// A stock client's packet with a wrong MAC, likewise.
    Stock(Place),
}

impl Case {
    const ALL: [Case; 8] = [
        Case::Nothing,
        Case::BareTag,
        Case::Native(Place::Nowhere),
        Case::Native(Place::First),
        Case::Native(Place::Last),
        Case::Stock(Place::Nowhere),
        Case::Stock(Place::First),
        Case::Stock(Place::Last),
    ];
}

/// Runs of which the least counts: where memory lies is drawn by the kernel for each, and a copy that
/// crosses a page takes some instructions more.
const RUNS: u32 = 3;

/// Counts a case at a gateway with so many keys, in the program `counted` at this path.
///
/// # Errors
/// When the process cannot be traced.
pub fn count(counted: &Path, case: Case, keys: u8) -> Result<u64> {
    let least = |case| {
        (0..RUNS).try_fold(u64::MAX, |least, _| steps(counted, case, keys).map(|found| found.min(least)))
    };
    let bare = least(Case::Nothing)?;
    Ok(least(case)?.saturating_sub(bare))
}

fn steps(counted: &Path, case: Case, keys: u8) -> Result<u64> {
    let position = Case::ALL.iter().position(|one| *one == case).unwrap_or_default();
    let mut child = Command::new(counted).args([position.to_string(), keys.to_string()]).spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let counted = between_stops(pid);
    if counted.is_err() {
        let _ = child.kill();
        child.wait()?;
    }
    counted
}

fn between_stops(pid: Pid) -> Result<u64> {
    let wait = || waitpid(pid, None).map_err(|error| anyhow!("the counted process is lost: {error}"));
    match wait()? {
        WaitStatus::Stopped(_, Signal::SIGSTOP) => {}
        other => bail!("the counted process did not stop: {other:?}"),
    }
    let mut steps = 0;
    loop {
        ptrace::step(pid, None)?;
        match wait()? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => steps += 1,
            WaitStatus::Stopped(_, Signal::SIGSTOP) => break,
            other => bail!("the counted process ended: {other:?}"),
        }
    }
    ptrace::cont(pid, None)?;
    match wait()? {
        WaitStatus::Exited(_, 0) => Ok(steps),
        other => bail!("the counted process failed: {other:?}"),
    }
}

/// Is the counted process.
///
/// # Errors
/// When it may not be traced.
pub fn be_counted(arguments: &[String]) -> Result<()> {
    let [position, keys] = arguments else { bail!("counted CASE KEYS") };
    let case = Case::ALL.get(position.parse::<usize>()?).ok_or_else(|| anyhow!("no such case"))?;
    let mut read = reader(*case, keys.parse()?)?;
    // Once before: what is looked up or laid out at the first time is done.
    read();
    ptrace::traceme()?;
    raise(Signal::SIGSTOP)?;
    read();
    raise(Signal::SIGSTOP)?;
    Ok(())
}

fn reader(case: Case, keys: u8) -> Result<Box<dyn FnMut()>> {
    match case {
        Case::Nothing => Ok(Box::new(|| {})),
        Case::BareTag => Ok(Box::new(|| {
            let (key, nonce, tag) = ([7; 32], [9; NONCE_BYTES], [0; TAG_BYTES]);
            let mut body = [5; REQUEST_BYTES];
            let right: bool = aead::open(black_box(&key), &nonce, &[1; 8], &mut body, &tag).into();
            assert!(!black_box(right));
        })),
        Case::Native(place) => native(keys, place),
        Case::Stock(place) => stock(keys, place),
    }
}

fn arrival() -> Arrival {
    Arrival { seen_from: [198, 51, 100, 7].into(), at: Instant::BOOT, wall: None }
}

/// The number of the key the packet is made with.
const PACKETS: u8 = 99;

/// The numbers of the gateway's keys.
fn numbers(keys: u8, place: Place) -> Vec<u8> {
    let mut numbers: Vec<u8> = (1..=keys).collect();
    match place {
        Place::Nowhere => {}
        Place::First => numbers[0] = PACKETS,
        Place::Last => numbers[usize::from(keys) - 1] = PACKETS,
    }
    numbers
}

fn native(keys: u8, place: Place) -> Result<Box<dyn FnMut()>> {
    let mut verifier = Box::new(Verifier::new(DEVICE));
    for number in numbers(keys, place) {
        let added = verifier.add(&SpaKey::new([number; 32]), Policy::default(), 0);
        added.map_err(|error| anyhow!("{error:?}"))?;
    }
    let door = "ssh".try_into().map_err(|()| anyhow!("a short name"))?;
    let sealer = Sealer::new(&SpaKey::new([PACKETS; 32]), DEVICE);
    let sealed = sealer.seal(&Request::open(door, 1), &[7; 24]);
    let mut packet = sealed.map_err(|malformed| anyhow!("{malformed:?}"))?;
    packet[PACKET_BYTES - 1] ^= 1;
    Ok(Box::new(move || assert!(verifier.verify(black_box(&packet), arrival(), &[]).is_err())))
}

fn stock(keys: u8, place: Place) -> Result<Box<dyn FnMut()>> {
    const TEXT: &[u8] = b"0123456789012345:YWxpY2U:1795602600:3.0.0:1:MC4wLjAuMCx0Y3AvMjI";
    let key = |number: u8| {
        let key = FwknopKey::new(&[number; 32], &[number; 64], MacDigest::Sha256);
        key.map_err(|error| anyhow!("{error:?}"))
    };
    let mut verifier = Box::new(fwknop::Verifier::new(DEVICE));
    for number in numbers(keys, place) {
        verifier.add(&key(number)?, Policy::default(), 0).map_err(|error| anyhow!("{error:?}"))?;
    }
    let mut packet = sealer::seal(&key(PACKETS)?, TEXT, b"saltsalt").ok_or_else(|| anyhow!("too long"))?;
    let at = packet.len() - 43;
    packet[at] = if packet[at] == b'A' { b'B' } else { b'A' };
    Ok(Box::new(move || assert!(verifier.verify(black_box(&packet), arrival(), &[]).is_err())))
}

/// Figures for SPA.md, counted with this very program.
///
/// # Errors
/// When a process cannot be traced.
pub fn table() -> Result<String> {
    let program = std::env::current_exe()?;
    let bare = count(&program, Case::BareTag, 1)?;
    let mut text = format!("bare check of a tag: {bare} instructions\n");
    let cases =
        [(Case::Native as fn(Place) -> Case, "ours", [1, 8, 64]), (Case::Stock, "fwknop", [1, 4, 16])];
    for (case, whose, amounts) in cases {
        for keys in amounts {
            let places = [Place::Nowhere, Place::First, Place::Last];
            let counts = places.map(|place| count(&program, case(place), keys));
            let [nowhere, first, last] = counts;
            let (nowhere, first, last) = (nowhere?, first?, last?);
            let ratio = nowhere as f64 / bare as f64;
            writeln!(
                text,
                "{whose}, {keys} keys: unknown {nowhere}, first {first}, last {last}: {ratio:.2} bare checks"
            )?;
        }
    }
    Ok(text)
}
