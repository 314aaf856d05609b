//! Power cuts while counters are leased: no packet counts twice.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use postern_core::spa::native::Request;
use postern_e2e::keyring::{sealed, send};
use postern_e2e::probe::Answer;
use postern_e2e::process::wait_for;
use postern_image::outside::{APPLIANCE, CLIENT};

use super::power::Random;
use super::stage::{Device, PATIENCE, Stage};
use super::tool;

/// The secret of the key `native` of the site for show: this octet, 32 times.
const NATIVE: u8 = 0x53;

/// Counters between two packets: more than is leased ahead, so that each packet has a ceiling written.
const STRIDE: u64 = 1_000_000;

/// Longest time from a packet to the cut, when it is not waited for.
const LONGEST_MS: u64 = 300;

/// Packets that are sent again after each cut, the newest first.
const REPLAYED: usize = 3;

/// Each round sends a packet of a counter of its own and cuts the power: at a random moment about the
/// time the ceiling is written, or once the door is seen open. A packet whose ceiling was on the medium by
/// then may have opened the door: it must not any more. One whose ceiling was not may now, once.
pub(super) fn cut_while_leasing(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.commissioned()?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    let id = octets_of(&tool::device_id(stage, &device)?)?;
    let mut random = Random(u64::from(std::process::id()));
    let (mut packets, mut replays, mut lost) = (Vec::new(), 0_u32, 0_u32);
    for cut in 1..=stage.options.cuts {
        let counter = u64::from(cut) * STRIDE;
        let packet = packet(id, counter)?;
        device.lasts()?;
        send(&device.outside.namespace, APPLIANCE.into(), &packet)?;
        let seen_open = cut % 2 == 0;
        if seen_open {
            opens(&device, &packet)?;
        } else {
            thread::sleep(Duration::from_millis(random.below(LONGEST_MS)));
        }
        device.cut();
        let leased = ceiling(&device)? >= counter;
        ensure!(leased || !seen_open, "cut {cut}: the door opened before its counter was on the medium");
        device.switch_on()?;
        device.shows("interfaces up")?;
        // Lost with the power: it counts now, and only now. Else another: either shows that somebody listens.
        let fresh = if leased { self::packet(id, counter + STRIDE / 2)? } else { packet.clone() };
        lost += u32::from(!leased);
        opens(&device, &fresh).with_context(|| format!("cut {cut}: a packet that never counted"))?;
        device.closes()?;
        packets.push(packet);
        for packet in packets.iter().rev().take(REPLAYED) {
            replays += 1;
            ensure!(!opens_now(&device, packet)?, "cut {cut}: a packet has opened the door twice");
        }
        stage.told(&format!("cut {cut}: {}", if leased { "its counter was leased" } else { "it was lost" }));
    }
    stage.told(&format!(
        "{replays} replays refused; {lost} packets were lost with the power, and counted later"
    ));
    stage.figure(
        "power cuts about counter leases, no replay accepted",
        f64::from(stage.options.cuts),
        "cuts",
        None,
    )
}

/// Sends it and looks for a while whether the door opens.
fn opens_now(device: &Device, octets: &[u8]) -> Result<bool> {
    let until = Instant::now() + Duration::from_secs(3);
    loop {
        // Again and again: the first may come before anybody listens. However often, it counts once.
        send(&device.outside.namespace, APPLIANCE.into(), octets)?;
        if let Answer::Open(_) = device.outside.try_ssh(CLIENT)? {
            return Ok(true);
        }
        if Instant::now() > until {
            return Ok(false);
        }
    }
}

fn opens(device: &Device, packet: &[u8]) -> Result<()> {
    let open = || opens_now(device, packet).ok().filter(|open| *open).map(drop);
    wait_for("a packet to open the door", PATIENCE, open)
}

/// A packet that asks for the door.
fn packet(id: [u8; 16], counter: u64) -> Result<Vec<u8>> {
    let door = "ssh".try_into().map_err(|()| anyhow!("a name"))?;
    Ok(sealed(NATIVE, id, &Request::open(door, counter)).to_vec())
}

/// The highest counter that counts as used on the medium of a device that is off.
fn ceiling(device: &Device) -> Result<u64> {
    Ok(device.config()?.leases().iter().map(|lease| lease.ceiling).max().unwrap_or(0))
}

fn octets_of(id: &str) -> Result<[u8; 16]> {
    let octet = |at: usize| id.get(2 * at..2 * at + 2).and_then(|text| u8::from_str_radix(text, 16).ok());
    let octets: Option<Vec<u8>> = (0..16).map(octet).collect();
    octets.and_then(|octets| octets.try_into().ok()).with_context(|| format!("{id} is no id of a device"))
}
