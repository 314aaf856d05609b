//! Power cuts at random times.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::commissioning::{NAME, PASSWORD};
use super::stage::Stage;

/// While configurations are committed: afterwards the old one is in force or the new one, and the
/// new one when it was acknowledged.
pub(super) fn cut_while_committing(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.commissioned()?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    device.person()?.enrols(NAME, PASSWORD)?;
    device.switch_on()?;
    let mut random = Random(u64::from(std::process::id()));
    let (mut before, mut old, mut new, mut acknowledged) = (10, 0, 0, 0);
    for cut in 1..=stage.options.cuts {
        device.shows("interfaces up")?;
        let mut person = device.person()?;
        person.logs_in(NAME, PASSWORD)?;
        let wanted = 10 + cut;
        person.asks(&format!("set door ssh open-for {wanted}s"), "> ")?;
        person.types("commit")?;
        let typed = Instant::now();
        let wait = Duration::from_millis(random.below(400));
        thread::sleep(wait);
        let was_acknowledged = device.machine()?.last_shown().contains("is in force");
        device.cut();
        let cut_after = typed.elapsed();
        device.switch_on()?;
        device.shows("interfaces up")?;
        let mut person = device.person()?;
        person.logs_in(NAME, PASSWORD)?;
        let running = person.asks("show running", "ssh sequence ")?;
        let seconds = running.split("ssh open-for ").nth(1).and_then(|rest| rest.split('s').next());
        let seconds: u32 = seconds.and_then(|number| number.parse().ok()).context("no door any more")?;
        ensure!(seconds == before || seconds == wanted, "{seconds} s is neither {before} s nor {wanted} s");
        ensure!(!was_acknowledged || seconds == wanted, "an acknowledged commit is lost");
        acknowledged += u32::from(was_acknowledged);
        if seconds == wanted {
            new += 1
        } else {
            old += 1
        }
        stage.told(&format!("cut {cut} after {} ms: {seconds} s", cut_after.as_millis()));
        before = seconds;
    }
    stage.told(&format!("{old} times the old one, {new} times the new one, {acknowledged} acknowledged"));
    stage.figure("power cuts while committing, none lost or mixed", f64::from(old + new), "cuts", None)
}

/// Numbers that spread well (xorshift64*); the seed is shown by the times of the cuts.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % end
    }
}
