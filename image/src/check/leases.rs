//! Power cuts while counters are leased: no packet counts twice.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_e2e::keyring::send;
use postern_image::outside::{APPLIANCE, CLIENT};

use super::packets::{self, Key};
use super::power::Random;
use super::stage::{Device, Stage};

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
    let key = Key::of(stage, &device)?;
    let mut random = Random(u64::from(std::process::id()));
    let (mut sent, mut replays, mut lost) = (Vec::new(), 0_u32, 0_u32);
    for cut in 1..=stage.options.cuts {
        let counter = u64::from(cut) * STRIDE;
        let packet = key.asks("ssh", counter)?;
        device.may_be_cut()?;
        send(&device.outside.namespace, APPLIANCE.into(), &packet)?;
        let seen_open = cut % 2 == 0;
        if seen_open {
            packets::opens(&device, CLIENT, &packet)?;
        } else {
            thread::sleep(Duration::from_millis(random.below(LONGEST_MS)));
        }
        device.cut();
        let leased = ceiling(&device)? >= counter;
        ensure!(leased || !seen_open, "cut {cut}: the door opened before its counter was on the medium");
        device.switch_on()?;
        device.shows("interfaces up")?;
        // Lost with the power: it counts now, and only now. Else another: either shows that somebody listens.
        let fresh = if leased { key.asks("ssh", counter + STRIDE / 2)? } else { packet.clone() };
        lost += u32::from(!leased);
        packets::opens(&device, CLIENT, &fresh)
            .with_context(|| format!("cut {cut}: a packet that never counted"))?;
        device.closes()?;
        sent.push(packet);
        for packet in sent.iter().rev().take(REPLAYED) {
            replays += 1;
            ensure!(
                !packets::opens_now(&device, CLIENT, packet)?,
                "cut {cut}: a packet has opened the door twice"
            );
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

/// The highest counter that counts as used on the medium of a device that is off.
fn ceiling(device: &Device) -> Result<u64> {
    Ok(device.config()?.leases().iter().map(|lease| lease.ceiling).max().unwrap_or(0))
}
