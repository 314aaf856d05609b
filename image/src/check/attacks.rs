//! Scans and floods from the wire: they open nothing, and keep nobody out.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_e2e::frame::{Link, Mac, Payload, frame};
use postern_e2e::probe::Answer;
use postern_e2e::process::wait_for;
use postern_e2e::sender::{Flood, FrameSender};
use postern_image::outside::{APPLIANCE, CLIENT, STRANGER};

use super::power::Random;
use super::stage::{Device, PATIENCE, Stage};

/// Frames a second of a scan: what the emulated card takes without losing many.
const SCAN_PER_SECOND: u32 = 4_000;

/// Frames a second of a flood.
const FLOOD_PER_SECOND: u32 = 2_000;

/// Frames of a flood at most: many minutes.
const FLOOD_FRAMES: u64 = 2_000_000;

/// Honest knocks under each flood.
const KNOCKS: u32 = 5;

/// Scans in every order, of both protocols; then floods of first knocks, from made-up addresses and in
/// the client's own name.
pub(super) fn scanned_and_flooded(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.commissioned()?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    let link = link(&device)?;
    let mut random = Random(u64::from(std::process::id()));
    let rising = || (1..=u16::MAX).map(Payload::syn);
    let mut mixed: Vec<Payload> = rising().collect();
    for last in (1..mixed.len()).rev() {
        mixed.swap(last, usize::try_from(random.below(last as u64 + 1))?);
    }
    let in_turn = |port| [Payload::syn(port), Payload::udp(port), Payload::echo(port % 1400)];
    let scans: [(&str, Vec<Payload>); 5] = [
        ("of TCP, rising", rising().collect()),
        ("of TCP, falling", rising().rev().collect()),
        ("of TCP, in a random order", mixed),
        ("of UDP, rising", (1..=u16::MAX).map(Payload::udp).collect()),
        ("of TCP, UDP and echo requests in turn", (1..=20_000).flat_map(in_turn).collect()),
    ];
    for (what, knocks) in scans {
        scan(&device, &link, knocks)?;
        device.outside.expect_silence(STRANGER)?;
        // What the client knocks comes behind the scan: it was heard, and opened nothing.
        device.open(&stage.sequence)?;
        device.outside.expect_silence(STRANGER)?;
        device.closes()?;
        stage.told(&format!("a scan {what}: nothing answers, and the client gets in"));
    }
    let first = first_knock(stage)?;
    flooded(stage, &device, "from made-up addresses", flood(&device, &link, None, first)?)?;
    flooded(stage, &device, "in the client's name", flood(&device, &link, Some(CLIENT), first)?)?;
    ensure!(device.machine()?.times_shown("postern: closed") == 1, "the machine has started again");
    Ok(())
}

/// From the tap device to the appliance.
pub(super) fn link(device: &Device) -> Result<Link> {
    let namespace = &device.outside.namespace;
    // Asks for its address on the wire.
    device.outside.expect_silence(CLIENT)?;
    let mac = |said: &str, word: &str| {
        let text = said.split_whitespace().skip_while(|found| *found != word).nth(1);
        let octets = text.map(|text| text.split(':').map(|octet| u8::from_str_radix(octet, 16)));
        let octets: Option<Vec<u8>> = octets.and_then(|octets| octets.collect::<Result<_, _>>().ok());
        octets
            .and_then(|octets| octets.try_into().ok())
            .map(Mac)
            .with_context(|| format!("no {word} in {said}"))
    };
    let source = mac(&namespace.ip("-o link show tap0")?, "link/ether")?;
    let target = mac(&namespace.ip(&format!("neigh show {APPLIANCE}"))?, "lladdr")?;
    Ok(Link { source, target, tags: Vec::new() })
}

fn scan(device: &Device, link: &Link, knocks: Vec<Payload>) -> Result<()> {
    let (count, link) = (knocks.len() as u64, link.clone());
    let mut knocks = knocks.into_iter();
    let sender = FrameSender::open(&device.outside.namespace, "tap0")?;
    let flood = Flood::start(sender, SCAN_PER_SECOND, count, move |_| {
        let knock = knocks.next().unwrap_or(Payload::syn(1));
        frame(&link, STRANGER.into(), APPLIANCE.into(), 40_000, knock)
    });
    flood.finish().map(drop)
}

/// First knocks of `source`, or of another address each.
fn flood(device: &Device, link: &Link, source: Option<Ipv4Addr>, first: Payload) -> Result<Flood> {
    let link = link.clone();
    let sender = FrameSender::open(&device.outside.namespace, "tap0")?;
    Ok(Flood::start(sender, FLOOD_PER_SECOND, FLOOD_FRAMES, move |number| {
        let made_up = u32::try_from(number & 0x00ff_ffff).unwrap_or(0) | 0x0a00_0000;
        let source: IpAddr = source.unwrap_or(Ipv4Addr::from(made_up)).into();
        frame(&link, source, APPLIANCE.into(), 40_001, first)
    }))
}

/// The client knocks again and again meanwhile.
fn flooded(stage: &mut Stage<'_>, device: &Device, what: &str, flood: Flood) -> Result<()> {
    wait_for("the flood to be under way", PATIENCE, || (flood.sent() > 4_000).then_some(()))?;
    let mut tries = 0;
    for _ in 0..KNOCKS {
        // An emulated card loses frames that a real one would not: whoever is not let in knocks again.
        wait_for("the client to get in", PATIENCE, || {
            tries += 1;
            device.outside.knock(&stage.sequence).ok()?;
            let answer = device.outside.try_ssh(CLIENT).ok()?;
            matches!(answer, Answer::Open(_)).then_some(())
        })?;
        device.outside.expect_silence(STRANGER)?;
        device.closes()?;
    }
    let sent = flood.stop()?;
    stage.told(&format!("{sent} first knocks {what}: the client gets in {KNOCKS} times with {tries} tries"));
    stage.figure(
        &format!("tries for {KNOCKS} openings, first knocks {what}"),
        f64::from(tries),
        "tries",
        None,
    )?;
    std::thread::sleep(Duration::from_secs(1));
    device.outside.expect_silence(STRANGER)
}

/// The first knock of the door.
fn first_knock(stage: &Stage<'_>) -> Result<Payload> {
    let knock = stage.sequence.first().context("no knock")?;
    match knock.split_once(':') {
        Some((port, "tcp")) => Ok(Payload::syn(port.parse()?)),
        Some((port, "udp")) => Ok(Payload::udp(port.parse()?)),
        _ => anyhow::bail!("what is {knock}?"),
    }
}
