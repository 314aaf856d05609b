//! A machine that does not work any more starts again by itself, shut, and says why.

use std::time::Instant;

use anyhow::{Result, ensure};
use postern_config::slots::Slot;
use postern_image::outside::CLIENT;

use super::stage::{Device, Stage};

/// Only the hardware watchdog can end this.
pub(super) fn resets_a_hanging_processor(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = healthy(stage)?;
    stage.told("up; now its processor hangs");
    let broken = Instant::now();
    device.machine()?.hang()?;
    device.shows_times("postern: closed", 2)?;
    let watchdog = stage.options.board.watchdog;
    let away = broken.elapsed().as_secs_f64();
    stage.told(&format!("reset, and closed again {away:.1} s later (time-out {} s)", watchdog.timeout_s));
    stage.figure("hanging processor to shut again", away, "s", None)?;
    if watchdog.tells_cause {
        stage.told(&device.shows("the watchdog has reset this machine")?);
    }
    comes_back(stage, &mut device)
}

/// Nothing restarts a stopped process; the watchdog is no longer petted.
pub(super) fn resets_when_the_daemon_is_stopped(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.with_site(stage.faulty("stop")?)?;
    device.switch_on()?;
    stage.told(&device.shows("fault: posternd is stopped")?);
    let broken = Instant::now();
    device.shows_times("postern: closed", 2)?;
    let away = broken.elapsed().as_secs_f64();
    stage.told(&format!("reset, and closed again {away:.1} s later"));
    stage.figure("stopped daemon to shut again", away, "s", None)?;
    if stage.options.board.watchdog.tells_cause {
        stage.told(&device.shows("the watchdog has reset this machine")?);
    }
    comes_back(stage, &mut device)
}

/// The kernel restarts the machine itself.
pub(super) fn restarts_after_a_panic(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = healthy(stage)?;
    stage.told("up; now its kernel stumbles");
    let broken = Instant::now();
    device.machine()?.panic()?;
    stage.told(&device.shows("Kernel panic")?);
    device.shows_times("postern: closed", 2)?;
    let away = broken.elapsed().as_secs_f64();
    stage.told(&format!("closed again {away:.1} s later"));
    stage.figure("kernel panic to shut again", away, "s", None)?;
    comes_back(stage, &mut device)
}

fn healthy(stage: &Stage<'_>) -> Result<Device> {
    let mut device = stage.commissioned()?;
    device.switch_on()?;
    device.is_healthy(Slot::A)?;
    Ok(device)
}

/// With the same configuration: the door still opens to the same knock.
fn comes_back(stage: &Stage<'_>, device: &mut Device) -> Result<()> {
    device.shows_times("interfaces up", 2)?;
    device.outside.expect_silence(CLIENT)?;
    let greeting = device.open(&stage.sequence)?;
    ensure!(greeting.starts_with("SSH-"), "SSH greets with `{greeting}`");
    // No key was made this time, which would have waited for the kernel to gather some.
    let without = device.machine()?.times_shown("no random numbers");
    ensure!(without == 0, "the daemon had no random numbers, {without} times");
    stage.told("silent, and the same knock opens it");
    Ok(())
}
