//! Another release of the whole system, brought over ssh by the host tool.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use postern::update_file::UpdateFile;
use postern_config::slots::{ATTEMPTS, Slot};
use postern_e2e::process::wait_for;
use serde_json::Value;

use super::commissioning::{NAME, PASSWORD};
use super::power::Random;
use super::stage::{Device, PATIENCE, Stage};
use super::tool;

/// Longest wait for the tool to do all of it: emulated, on a busy machine.
const APPLIED: Duration = Duration::from_secs(900);

/// Updates of all kinds, in a folder of the device.
struct Files {
    release: u64,
    good: String,
    unsigned: String,
    of_a_stranger: String,
    older: String,
    of_another_board: String,
}

impl Files {
    fn make(stage: &Stage<'_>, folder: &Path) -> Result<Self> {
        let made = stage.options.update.as_ref().context("this needs --update")?;
        let update = UpdateFile::read(made).map_err(|wrong| anyhow!(wrong))?;
        let kernel = usize::try_from(update.manifest.kernel.bytes)?;
        let (kernel, root) = update.payload.split_at(kernel);
        let like = |board: &str, release| {
            UpdateFile::unsigned(board, release, "0.0.0", kernel.to_vec(), root.to_vec())
                .map_err(|wrong| anyhow!(wrong))
        };
        let place = |name: &str| folder.join(name).to_str().map(str::to_owned).context("not UTF-8");
        let sign = |what: &str, key: &str, name: &str| -> Result<String> {
            let signed = place(name)?;
            tool::here(stage, &["owner", "sign-update", what, "--key", key, "-o", &signed])?;
            Ok(signed)
        };
        let written = |update: UpdateFile, name: &str| -> Result<String> {
            let path: PathBuf = place(name)?.into();
            fs::write(&path, update.bytes())?;
            place(name)
        };
        let (unsigned, owner) = (place("unsigned.bin")?, stage.options.owner.to_str().context("not UTF-8")?);
        fs::copy(made, &unsigned)?;
        let stranger = place("stranger.key")?;
        tool::here(stage, &["owner", "new", "-o", &stranger])?;
        let board = stage.options.board.name;
        Ok(Self {
            release: update.manifest.release.into(),
            good: sign(&unsigned, owner, "good.bin")?,
            of_a_stranger: sign(&unsigned, &stranger, "of-a-stranger.bin")?,
            older: sign(&written(like(board, 1)?, "old.bin")?, owner, "older.bin")?,
            of_another_board: sign(
                &written(like("toaster", u32::MAX)?, "alien.bin")?,
                owner,
                "of-another.bin",
            )?,
            unsigned,
        })
    }
}

/// A device with an account, up and shut.
fn with_an_account(stage: &Stage<'_>) -> Result<(Device, Files)> {
    let mut device = stage.commissioned()?;
    let files = Files::make(stage, device.directory())?;
    device.switch_on()?;
    device.shows("interfaces up")?;
    device.person()?.enrols(NAME, PASSWORD)?;
    tool::prepare(stage, &device)?;
    device.is_healthy(Slot::A)?;
    Ok((device, files))
}

fn status(stage: &Stage<'_>, device: &Device) -> Result<Value> {
    tool::ask(stage, device, &["update", "status"])
}

/// Waits until what runs has proved its health.
fn healthy(stage: &Stage<'_>, device: &Device) -> Result<Value> {
    wait_for("health", PATIENCE, || status(stage, device).ok().filter(|status| status["healthy"] == true))
}

fn expect(status: &Value, fields: &[(&str, Value)]) -> Result<()> {
    for (name, value) in fields {
        ensure!(&status[name] == value, "{name} should be {value}:\n{status:#}");
    }
    Ok(())
}

/// Refusals, a cut in the middle, trial, confirmation, and back.
pub(super) fn brought_and_confirmed(stage: &mut Stage<'_>) -> Result<()> {
    let (mut device, files) = with_an_account(stage)?;
    let before = status(stage, &device)?;
    expect(&before, &[("slot", "A".into()), ("trial", false.into())])?;
    stage.told("up on slot A, asked over ssh through the door");
    refused(stage, &device, &files)?;

    let mut bringing = tool::start_at(stage, &device, &["update", "apply", &files.good])?;
    let begun = || device.medium.choice().ok().filter(|choice| !choice.other_good).map(drop);
    wait_for("the other slot to be marked", PATIENCE, begun)
        .map_err(|error| anyhow!("{error}: {:?}", bringing.stderr().all()))?;
    thread::sleep(Duration::from_secs(2));
    ensure!(
        bringing.ended()?.is_none(),
        "the update was brought too fast to be cut: {:?}",
        bringing.stderr().all()
    );
    device.switch_on()?;
    drop(bringing);
    stage.told("power was cut while it was brought");
    device.is_healthy(Slot::A)?;
    ensure!(!device.medium.choice()?.other_good, "half an update may be started");
    expect(&status(stage, &device)?, &[("slot", "A".into()), ("release", before["release"].clone())])?;
    stage.told("back on slot A, and slot B is nothing to start");

    let begun = Instant::now();
    let said = tool::ask(stage, &device, &["update", "apply", &files.good, "--confirm", "1h"])?;
    expect(&said, &[("changed", true.into()), ("restarts", true.into())])?;
    stage.figure("update over ssh, brought and read back", begun.elapsed().as_secs_f64(), "s", None)?;
    stage.told(&device.shows("starting slot B")?);
    device.shows_times("interfaces up", 2)?;
    stage.figure(
        "update, from the first octet to interfaces up",
        begun.elapsed().as_secs_f64(),
        "s",
        None,
    )?;
    device.outside.expect_silence(postern_image::outside::CLIENT)?;
    let on_trial = healthy(stage, &device)?;
    expect(&on_trial, &[("slot", "B".into()), ("trial", true.into()), ("release", files.release.into())])?;
    tool::is_refused(stage, &device, &["update", "apply", &files.good, "--again"], "update-on-trial")?;
    tool::ask(stage, &device, &["update", "confirm"])?;
    let choice = device.medium.choice()?;
    ensure!(
        (choice.slot, choice.left, choice.trial) == (Slot::B, ATTEMPTS, false),
        "confirmed, but the boot loader would read {choice:?}"
    );
    ensure!(u64::from(choice.floor) == files.release, "an older release would be taken: {choice:?}");
    stage.told("slot B was tried and confirmed");
    back(stage, &mut device, &before)
}

/// And the way back, while it is there.
fn back(stage: &Stage<'_>, device: &mut Device, before: &Value) -> Result<()> {
    tool::ask(stage, device, &["update", "rollback"])?;
    device.shows_times("starting slot A", 1)?;
    device.shows_times("interfaces up", 3)?;
    expect(&status(stage, device)?, &[("slot", "A".into()), ("release", before["release"].clone())])?;
    stage.told("and rolled back to slot A");
    Ok(())
}

/// Before the first octet is written.
fn refused(stage: &Stage<'_>, device: &Device, files: &Files) -> Result<()> {
    let before = device.medium.choice()?;
    for (file, code) in [
        (&files.unsigned, "bad-signature"),
        (&files.of_a_stranger, "bad-signature"),
        (&files.older, "downgrade"),
        (&files.of_another_board, "other-board"),
    ] {
        tool::is_refused(stage, device, &["update", "apply", file], code)?;
    }
    let dry = tool::ask(stage, device, &["update", "apply", &files.good, "--dry-run"])?;
    expect(&dry, &[("changed", false.into())])?;
    ensure!(device.medium.choice()? == before, "a refused update has changed what is started");
    stage.told("refused: without a signature, with a stranger's, older, for another board");
    Ok(())
}

/// Cuts at random times of the whole way, from the first octet to the first start.
pub(super) fn cut_while_it_goes_on(stage: &mut Stage<'_>) -> Result<()> {
    let (mut device, files) = with_an_account(stage)?;
    let words = ["update", "apply", &files.good];
    let begun = Instant::now();
    tool::ask(stage, &device, &words)?;
    device.shows_times("interfaces up", 2)?;
    let longest = u64::try_from(begun.elapsed().as_millis())?;
    stage.told(&format!("the whole way takes {longest} ms"));
    return_to_a(stage, &mut device, 3)?;
    let mut random = Random(u64::from(std::process::id()));
    let (mut old, mut new, cuts) = (0, 0, u64::from(stage.options.cuts.max(1)));
    for cut in 1..=stage.options.cuts {
        device.may_be_cut()?;
        let begun = Instant::now();
        let bringing = tool::start_at(stage, &device, &words)?;
        // One in each part of the way, at a random moment of it.
        let part = longest / cuts;
        let wait = Duration::from_millis(u64::from(cut - 1) * part + random.below(part.max(1)));
        let wait = wait.saturating_sub(begun.elapsed());
        thread::sleep(wait);
        let after = begun.elapsed().as_millis();
        device.switch_on()?;
        drop(bringing);
        device.shows("interfaces up")?;
        let found = healthy(stage, &device)?;
        stage.told(&format!("cut {cut} after {after} ms: slot {}", found["slot"]));
        if found["slot"] == "B" {
            expect(&found, &[("release", files.release.into()), ("trial", true.into())])?;
            new += 1;
            return_to_a(stage, &mut device, 2)?;
        } else {
            expect(&found, &[("trial", false.into())])?;
            old += 1;
        }
    }
    stage.told(&format!("{old} times the release before, {new} times the new one on trial"));
    stage.figure("power cuts during an update, none unbootable", f64::from(old + new), "cuts", None)
}

/// From slot B on trial; the interfaces come up for the so many-th time since power-on.
fn return_to_a(stage: &Stage<'_>, device: &mut Device, times: usize) -> Result<()> {
    tool::ask(stage, device, &["update", "rollback"])?;
    device.shows_times("interfaces up", times)?;
    device.is_healthy(Slot::A)
}

/// An update that hangs before it is healthy, and one that nobody confirms.
pub(super) fn taken_back(stage: &mut Stage<'_>) -> Result<()> {
    let (mut device, files) = with_an_account(stage)?;
    let before = status(stage, &device)?;
    tool::ask(stage, &device, &["update", "apply", &files.good, "--auto-confirm"])?;
    for attempt in 1..=usize::from(ATTEMPTS) {
        device.shows_times("starting slot B", attempt)?;
        device.shows_times("posternd: gate up", 1 + attempt)?;
        device.machine()?.hang()?;
        stage.told(&format!("the update hangs, {attempt} of {ATTEMPTS}"));
    }
    stage.told(&device.shows("did not become healthy, taking the other")?);
    device.shows_times("interfaces up", 2)?;
    let found = healthy(stage, &device)?;
    let slot_a = [("slot", "A".into()), ("release", before["release"].clone()), ("other_slot", "bad".into())];
    expect(&found, &slot_a)?;
    expect(&found, &[("fell_back", true.into())])?;
    let log = tool::try_at(stage, &device, &["log"])?;
    ensure!(log.stdout.contains("UPD-FALLBACK"), "the fall-back is not audited:\n{}", log.stdout);
    stage.told("slot A is up, and has audited why");

    tool::ask(stage, &device, &["update", "apply", &files.good, "--confirm", "1m"])?;
    device.shows_times("starting slot B", usize::from(ATTEMPTS) + 1)?;
    let on_trial = Instant::now();
    wait_for("the update to be taken back", APPLIED, || {
        device.medium.choice().ok().filter(|choice| choice.slot == Slot::A).map(drop)
    })?;
    device.is_healthy(Slot::A)?;
    stage.told(&format!("nobody confirmed: slot A again after {:.0} s", on_trial.elapsed().as_secs_f64()));
    expect(&healthy(stage, &device)?, &slot_a)
}
