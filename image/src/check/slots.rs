//! Two systems: when one is broken, the other comes up by itself and says why.

use std::time::Instant;

use anyhow::{Result, ensure};
use postern_config::slots::{ATTEMPTS, Choice, SECOND_OFFSET, Slot};
use postern_image::outside::CLIENT;

use super::stage::{Device, Stage};

/// Octets that are damaged.
const DAMAGE_BYTES: usize = 4096;

/// Where the kernel is damaged.
const IN_KERNEL: u64 = 4_000_000;

/// The kernel of slot A: the boot loader finds out.
pub(super) fn broken_kernel(stage: &mut Stage<'_>) -> Result<()> {
    broken(stage, Slot::A.kernel(), IN_KERNEL)
}

/// The root file system of slot A: the kernel finds out.
pub(super) fn broken_root(stage: &mut Stage<'_>) -> Result<()> {
    broken(stage, Slot::A.root(), 7 * DAMAGE_BYTES as u64)
}

/// Inverts octets of a partition.
fn damage(device: &Device, partition: &str, offset: u64) -> Result<()> {
    let content = device.medium.read(partition, offset, DAMAGE_BYTES)?;
    let damaged: Vec<u8> = content.iter().map(|octet| !octet).collect();
    device.medium.write(partition, offset, &damaged)
}

fn broken(stage: &mut Stage<'_>, partition: &str, offset: u64) -> Result<()> {
    let mut device = stage.commissioned()?;
    damage(&device, partition, offset)?;
    device.switch_on()?;
    stage.told(&format!("{partition} damaged, switched on"));
    let started = Instant::now();
    stage.told(&device.shows("did not become healthy, taking the other")?);
    device.shows("posternd: gate up")?;
    stage.figure(&format!("{partition} damaged, to gate up"), started.elapsed().as_secs_f64(), "s", None)?;
    device.is_healthy(Slot::B)?;
    stage.told("slot B is up and healthy");
    device.outside.expect_silence(CLIENT)
}

/// Slot A hangs before it is healthy, each time it is tried.
pub(super) fn never_healthy(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.commissioned()?;
    device.switch_on()?;
    for attempt in 1..=usize::from(ATTEMPTS) {
        device.shows_times("posternd: gate up", attempt)?;
        device.machine()?.hang()?;
        stage.told(&format!("slot A hangs, {attempt} of {ATTEMPTS}"));
    }
    stage.told(&device.shows("did not become healthy, taking the other")?);
    device.is_healthy(Slot::B)?;
    stage.told("slot B is up and healthy");
    device.outside.expect_silence(CLIENT)
}

/// Neither kernel is whole: the boot loader tries both, over and over, and starts neither. As soon as one is
/// whole it is started, also when it counts as nothing to start.
pub(super) fn none_left(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.commissioned()?;
    for slot in Slot::ALL {
        damage(&device, slot.kernel(), IN_KERNEL)?;
    }
    device.switch_on()?;
    let attempts = usize::from(ATTEMPTS);
    device.shows_times("the kernel of slot A is not what was made", attempts)?;
    device.shows_times("the kernel of slot B is not what was made", attempts)?;
    // And A again, after both have had their attempts.
    device.shows_times("the kernel of slot A is not what was made", attempts + 1)?;
    nothing_runs(&mut device)?;
    stage.told("neither kernel is whole: both were tried, again and again, and nothing runs");

    device.cut();
    let choice = Choice { other_good: false, ..Choice::FACTORY };
    for offset in [0, SECOND_OFFSET] {
        device.medium.write("environment", offset, &choice.copy())?;
    }
    device.switch_on()?;
    device.shows_times("the last resort: starting slot B", 2)?;
    nothing_runs(&mut device)?;
    stage.told("the last resort was tried, and is not whole either");

    device.cut();
    // Inverted once more: whole again.
    damage(&device, Slot::B.kernel(), IN_KERNEL)?;
    device.switch_on()?;
    stage.told(&device.shows("the last resort: starting slot B")?);
    device.is_healthy(Slot::B)?;
    ensure!(!device.medium.choice()?.other_good, "the kernel of slot A is still damaged");
    device.outside.expect_silence(CLIENT)?;
    device.open(&stage.sequence)?;
    stage.told("what is whole again was started, is healthy, and is what starts from now on");
    device.closes()?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    ensure!(device.machine()?.times_shown("starting slot A") == 0, "what is damaged was tried again");
    Ok(())
}

/// Only the boot loader has said anything.
fn nothing_runs(device: &mut Device) -> Result<()> {
    let shown = device.machine()?.shown();
    ensure!(!shown.contains("postern: closed"), "something has started:\n{shown}");
    device.outside.expect_silence(CLIENT)
}
