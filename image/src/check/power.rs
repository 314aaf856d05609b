//! Power cuts at random times.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use postern_config::partition::PARTITION_BYTES_MIN;
use postern_e2e::process::wait_for;
use postern_image::person::Person;

use super::commissioning::{NAME, PASSWORD};
use super::stage::{Device, PATIENCE, Stage};

/// What the console says of a commit that counts.
const ACKNOWLEDGED: &str = "is in force";

/// When power is cut.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// At a random one of the time that a commit takes.
    Random,
    /// As soon as the first octets of it are on the medium.
    Begun,
    /// As soon as it is acknowledged.
    Acknowledged,
}

/// What was found after the cuts.
#[derive(Default)]
struct Found {
    /// Cuts that came before the first octet was on the medium.
    unwritten: u32,
    /// Cuts that came later, and found the old configuration.
    old: u32,
    /// Cuts that found the new one.
    new: u32,
    acknowledged: u32,
}

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
    let longest = u64::try_from(typed.elapsed().as_millis())?;
    stage.told(&format!("a commit takes {longest} ms"));
    let mut random = Random(u64::from(std::process::id()));
    let (mut before, mut found) = ("10m".to_owned(), Found::default());
    for (cut, moment) in (1..=stage.options.cuts).zip(MOMENTS.into_iter().cycle()) {
        let wanted = format!("{}s", 10 + cut);
        person.asks(&format!("set door ssh open-for {wanted}"), "> ")?;
        device.may_be_cut()?;
        let Cut { written, acknowledged } = cut_at(&mut device, &mut person, moment, random.below(longest))?;
        device.switch_on()?;
        device.shows("interfaces up")?;
        person = device.person()?;
        let now = in_force(&mut person)?;
        ensure!(now == before || now == wanted, "{now} is neither {before} nor {wanted}");
        ensure!(!acknowledged || now == wanted, "an acknowledged commit is lost");
        let count = match (written, now == wanted) {
            (_, true) => &mut found.new,
            (true, false) => &mut found.old,
            (false, false) => &mut found.unwritten,
        };
        *count += 1;
        found.acknowledged += u32::from(acknowledged);
        stage.told(&format!(
            "cut {cut} ({moment:?}): {}",
            if now == wanted { "the new one" } else { "the old one" }
        ));
        before = now;
    }
    let Found { unwritten, old, new, acknowledged } = found;
    stage.told(&format!(
        "{unwritten} cuts before the first octet was written; later ones found {old} times the old one and {new} \
         times the new one, {acknowledged} of these acknowledged"
    ));
    let waited_for = stage.options.cuts >= 4;
    ensure!(new > 0 || !waited_for, "the cuts came all too early");
    let cuts =
        [(unwritten, "before it was written"), (old, "later, the old one"), (new, "later, the new one")];
    for (count, when) in cuts {
        stage.figure(&format!("power cuts about a commit, {when}"), count.into(), "cuts", None)?;
    }
    Ok(())
}

const MOMENTS: [Moment; 4] = [Moment::Random, Moment::Begun, Moment::Random, Moment::Acknowledged];

/// How far the commit had come.
struct Cut {
    written: bool,
    acknowledged: bool,
}

/// Types `commit` and cuts the power.
fn cut_at(device: &mut Device, person: &mut Person, moment: Moment, random_ms: u64) -> Result<Cut> {
    let config = |device: &Device| device.medium.read("config", 0, PARTITION_BYTES_MIN);
    let (octets, told) = (config(device)?, device.machine()?.times_shown(ACKNOWLEDGED));
    person.types("commit")?;
    match moment {
        Moment::Random => thread::sleep(Duration::from_millis(random_ms)),
        Moment::Begun => wait_for("the commit to begin", PATIENCE, || {
            config(device).ok().filter(|now| *now != octets).map(drop)
        })?,
        Moment::Acknowledged => device.shows_times(ACKNOWLEDGED, told + 1)?,
    }
    let acknowledged = device.machine()?.times_shown(ACKNOWLEDGED) > told;
    device.cut();
    Ok(Cut { written: config(device)? != octets, acknowledged })
}

/// How long the door opens by the configuration in force.
fn in_force(person: &mut Person) -> Result<String> {
    person.logs_in(NAME, PASSWORD)?;
    let running = person.asks("show running", "ssh sequence ")?;
    person.reads("> ")?;
    let found = running.split("ssh open-for ").nth(1).and_then(|rest| rest.split_whitespace().next());
    Ok(found.context("no door any more")?.to_owned())
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
