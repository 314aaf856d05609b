//! Two systems: when one is broken, the other comes up by itself and says why.

use std::time::Instant;

use anyhow::Result;
use postern_config::slots::{ATTEMPTS, Slot};
use postern_image::outside::CLIENT;

use super::stage::Stage;

/// Octets that are damaged.
const DAMAGE_BYTES: usize = 4096;

/// The kernel of slot A: the boot loader finds out.
pub(super) fn broken_kernel(stage: &mut Stage<'_>) -> Result<()> {
    broken(stage, Slot::A.kernel(), 4_000_000)
}

/// The root file system of slot A: the kernel finds out.
pub(super) fn broken_root(stage: &mut Stage<'_>) -> Result<()> {
    broken(stage, Slot::A.root(), 7 * DAMAGE_BYTES as u64)
}

fn broken(stage: &mut Stage<'_>, partition: &str, offset: u64) -> Result<()> {
    let mut device = stage.commissioned()?;
    let content = device.medium.read(partition, offset, DAMAGE_BYTES)?;
    let damaged: Vec<u8> = content.iter().map(|octet| !octet).collect();
    device.medium.write(partition, offset, &damaged)?;
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
