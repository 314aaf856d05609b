//! The wall clock jumps while a door is open: nothing that Postern decides depends on it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postern_e2e::{Backend, DoorText, Site, knock};
use postern_image::outside::{APPLIANCE, CLIENT, STRANGER};

use super::knocks::{self, OPENS};
use super::packets::{self, Key};
use super::stage::{Device, Stage};

/// How long the door opens.
const OPEN_FOR: Duration = Duration::from_secs(20);

/// What the records of its opening and of its end may tell more or less than that.
const SLACK: Duration = Duration::from_secs(1);

/// The days that each jump goes ahead, as the script of a faulty image makes them.
const JUMPS: [i64; 3] = [365, -730, 365];

/// Twice around, so that a packet and a knock have opened at each time.
const ROUNDS: usize = 2 * JUMPS.len();

/// Each round opens the door, by a packet or by knocks in turn; the clock jumps while it is open. It ends in
/// its time, and packets that were used stay used.
pub(super) fn jumps_while_a_door_is_open(stage: &mut Stage<'_>) -> Result<()> {
    let keys = knocks::keyring()?;
    let ssh = DoorText::new("ssh", &["tcp/22"], &OPENS).with("spa = [\"native\"]");
    let site = Site::new(Backend::Iptables)
        .door(ssh.open_for(&format!("{}s", OPEN_FOR.as_secs())))
        .key(&knocks::native(&keys)?);
    let mut device = stage.guarding(stage.faulty("clock")?, &site)?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    let key = Key::of(stage, &device)?;
    let (mut used, mut before, mut worst) = (Vec::new(), None::<i64>, Duration::ZERO);
    for round in 1..=ROUNDS {
        if round % 2 == 1 {
            let packet = key.asks("ssh", 1_000 + round as u64)?;
            packets::opens(&device, CLIENT, &packet)?;
            used.push(packet);
        } else {
            device.open_with(|| knock::stock(&device.outside.namespace, APPLIANCE.into(), &OPENS))?;
        }
        let now = numbers(&mut device, "with a door open, it is now", round)?.remove(0);
        ensure!(device.outside.try_ssh(CLIENT)?.is_open(), "the jump of the clock has closed the door");
        let jumped = before.map(|before| (now - before + 43_200).div_euclid(86_400));
        let wanted = JUMPS[(round - 1) % JUMPS.len()];
        ensure!(jumped.is_none_or(|jumped| jumped == wanted), "{jumped:?} days, not {wanted}");
        before = Some(now);
        let times = numbers(&mut device, "a door was open from", round)?;
        let open = Duration::from_millis((times[1] - times[0]).try_into().context("it ended before")?);
        ensure!(open.abs_diff(OPEN_FOR) <= SLACK, "the door was open for {open:?}, not {OPEN_FOR:?}");
        worst = worst.max(open.abs_diff(OPEN_FOR));
        device.closes()?;
        for packet in &used {
            ensure!(!packets::opens_now(&device, CLIENT, packet)?, "a packet has opened the door twice");
        }
        stage.told(&format!(
            "round {round}: the clock went {wanted} days ahead, the door was open for {} ms",
            open.as_millis()
        ));
    }
    device.outside.expect_silence(STRANGER)?;
    let starts = device.machine()?.times_shown("postern: closed");
    ensure!(starts == 1, "the machine has started {starts} times");
    stage.told("each packet counted once, and the machine has not started again");
    let off = worst.as_secs_f64() * 1e3;
    stage.figure("clock jumps of one and two years, a grant's end off by at most", off, "ms", None)
}

/// The numbers in what the script said behind `text`, for the so many-th time.
fn numbers(device: &mut Device, text: &str, times: usize) -> Result<Vec<i64>> {
    let text = format!("fault: {text}");
    device.shows_times(&text, times)?;
    let shown = device.machine()?.shown();
    let line = shown.lines().filter(|line| line.contains(&text)).nth(times - 1).unwrap_or_default();
    let told = line.split(&text).nth(1).and_then(|rest| rest.split(" at ").next()).unwrap_or_default();
    let numbers: Vec<i64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    ensure!(!numbers.is_empty(), "`{line}` tells no number");
    Ok(numbers)
}
