//! Power cuts at random times.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::commissioning::{NAME, PASSWORD};
use super::stage::Stage;

/// What the console says of a commit that counts.
const ACKNOWLEDGED: &str = "is in force";

/// While configurations are committed: afterwards the old one is in force or the new one, and the
/// new one when it was acknowledged.
pub(super) fn cut_while_committing(stage: &mut Stage<'_>) -> Result<()> {
    let mut device = stage.commissioned()?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    let mut person = device.person()?;
    person.enrols(NAME, PASSWORD)?;
    person.asks("set door ssh open-for 10m", "> ")?;
    let typed = Instant::now();
    person.asks("commit", ACKNOWLEDGED)?;
    person.reads("> ")?;
    // Half of the cuts come while it is written, the rest about the time it is acknowledged.
    let longest = u64::try_from(typed.elapsed().as_millis())? * 3 / 2;
    stage.told(&format!("a commit takes {} ms", typed.elapsed().as_millis()));
    let mut random = Random(u64::from(std::process::id()));
    let (mut before, mut old, mut new, mut acknowledged) = ("10m".to_owned(), 0, 0, 0);
    for cut in 1..=stage.options.cuts {
        let wanted = format!("{}s", 10 + cut);
        person.asks(&format!("set door ssh open-for {wanted}"), "> ")?;
        let told = device.machine()?.times_shown(ACKNOWLEDGED);
        person.types("commit")?;
        let typed = Instant::now();
        let wait = Duration::from_millis(random.below(longest));
        thread::sleep(wait);
        let was_acknowledged = device.machine()?.times_shown(ACKNOWLEDGED) > told;
        device.cut();
        let cut_after = typed.elapsed();
        device.switch_on()?;
        device.shows("interfaces up")?;
        person = device.person()?;
        person.logs_in(NAME, PASSWORD)?;
        let running = person.asks("show running", "ssh sequence ")?;
        person.reads("> ")?;
        let found = running.split("ssh open-for ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let found = found.context("no door any more")?.to_owned();
        ensure!(found == before || found == wanted, "{found} is neither {before} nor {wanted}");
        ensure!(!was_acknowledged || found == wanted, "an acknowledged commit is lost");
        acknowledged += u32::from(was_acknowledged);
        if found == wanted {
            new += 1
        } else {
            old += 1
        }
        stage.told(&format!("cut {cut} after {} ms: {found}", cut_after.as_millis()));
        before = found;
    }
    stage.told(&format!("{old} times the old one, {new} times the new one, {acknowledged} acknowledged"));
    stage.figure("power cuts while committing, none lost or mixed", f64::from(old + new), "cuts", None)
}

/// Numbers that spread well (xorshift64*); the seed is shown by the times of the cuts.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % end
    }
}
