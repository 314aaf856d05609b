//! `update ...`: another release of the whole system, brought to the slot that does not run.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use postern_console::rpc::reply::{UpdateFailure, UpdateStage, UpdateStatus};
use postern_console::rpc::{Refusal, Reply, Request, UPDATE_PART_BYTES_MAX, UpdateRefusal};
use serde_json::{Value, json};

use super::Json;
use super::answer::Answer;
use super::client::{Client, reply_of};
use super::failure::{Failure, Outcome};
use crate::update_file::UpdateFile;

/// Parts on their way before it is asked how far they came, where nothing is slow.
const WINDOW_MAX: u32 = 64;

/// How often nothing may arrive in a row.
const STALLS_MAX: u32 = 8;

/// How often it is asked how the reading back goes.
const VERIFY_PAUSE: Duration = Duration::from_millis(500);

/// Updates.
#[derive(Debug, Subcommand)]
pub enum UpdateCommand {
    /// Say what runs, what is on trial, and how an update goes
    Status(Json),
    /// Bring a signed update to the other slot, prove it there, and restart into it, on trial
    Apply(ApplyArgs),
    /// What runs on trial stands
    Confirm(Json),
    /// Start the system of the other slot
    Rollback(RollbackArgs),
}

/// See [`UpdateCommand::Apply`].
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The update, signed by `owner sign-update`
    file: PathBuf,
    /// Go back to what runs now, unless `update confirm` comes in this time after the start
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = wait)]
    confirm: u32,
    /// Do not wait for `update confirm`: it stands once the gateway finds itself healthy
    #[arg(long, conflicts_with = "confirm")]
    auto_confirm: bool,
    /// Bring it also when this very release runs already
    #[arg(long)]
    again: bool,
    /// Leave the restart to somebody else
    #[arg(long)]
    no_restart: bool,
    /// Only have the gateway prove signature, board, release and sizes
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    json: Json,
}

/// See [`UpdateCommand::Rollback`].
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// Leave the restart to somebody else
    #[arg(long)]
    no_restart: bool,
    #[command(flatten)]
    json: Json,
}

/// A time in whole seconds, 1 min to 24 h.
fn wait(text: &str) -> Result<u32, String> {
    let expected = || "a start waits 1m to 24h to be confirmed, such as 1h".to_owned();
    let millis = crate::site::millis(text)?;
    let secs = u32::try_from(millis / 1000).map_err(|_| expected())?;
    if millis % 1000 == 0 && (60..=86_400).contains(&secs) { Ok(secs) } else { Err(expected()) }
}

impl UpdateCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            UpdateCommand::Status(_) => "update status",
            UpdateCommand::Apply(_) => "update apply",
            UpdateCommand::Confirm(_) => "update confirm",
            UpdateCommand::Rollback(_) => "update rollback",
        }
    }

    pub(super) const fn is_json(&self) -> bool {
        match self {
            UpdateCommand::Status(json) | UpdateCommand::Confirm(json) => json.json,
            UpdateCommand::Apply(args) => args.json.json,
            UpdateCommand::Rollback(args) => args.json.json,
        }
    }
}

/// Carries it out.
pub(super) fn run(client: &mut Client, command: &UpdateCommand, progress: bool) -> Outcome<Answer> {
    match command {
        UpdateCommand::Status(_) => {
            let status = ask(client, Request::Update)?;
            Ok(Answer::show(fields(&status), text(&status)))
        }
        UpdateCommand::Apply(args) => apply(client, args, progress),
        UpdateCommand::Confirm(_) => {
            let release = ask(client, Request::Update)?.release;
            match client.ask(Request::UpdateConfirm { release })? {
                Ok(_) => {}
                // The answer to the first try got lost: what does not wait for it any more stands.
                Err(Refusal::Update(UpdateRefusal::NotOnTrial)) if client.repeated() => {}
                Err(refusal) => return Err(refusal.into()),
            }
            let note = format!("release {release} stands");
            Ok(Answer::done(json!({ "changed": true, "release": release }), note))
        }
        UpdateCommand::Rollback(args) => {
            let release = ask(client, Request::Update)?.release;
            let status = ask(client, Request::UpdateRollback { release })?;
            let restarts = restart(client, args.no_restart)?;
            let note = format!("the other slot is started next{}", said(restarts));
            let fields = json!({ "changed": true, "restarts": restarts, "update": fields(&status) });
            Ok(Answer::done(fields, note))
        }
    }
}

fn ask(client: &mut Client, request: Request) -> Outcome<UpdateStatus> {
    reply_of!(client, request, Reply::Update(status) => status)
}

fn apply(client: &mut Client, args: &ApplyArgs, progress: bool) -> Outcome<Answer> {
    let file = UpdateFile::read(&args.file).map_err(Failure::Mismatch)?;
    let release = file.manifest.release;
    let before = ask(client, Request::Update)?;
    let confirm_secs = if args.auto_confirm { 0 } else { args.confirm };
    let answer = |changed: bool, restarts: bool| {
        json!({
            "changed": changed, "release": release, "version": file.manifest.version.as_str(),
            "release_before": before.release, "confirm_secs": confirm_secs, "restarts": restarts,
            "dry_run": args.dry_run,
        })
    };
    let manifest = heapless::Vec::from_slice(&file.octets).unwrap_or_default();
    let begin = |only_check| Request::UpdateBegin { manifest: manifest.clone(), only_check };
    if args.dry_run {
        ask(client, begin(true))?;
        let note =
            format!("release {} could be replaced by release {release}; nothing was changed", before.release);
        return Ok(Answer::done(answer(false, false), note));
    }
    if before.release == release && !args.again {
        return Ok(Answer::done(answer(false, false), format!("release {release} runs already")));
    }
    let status = ask(client, begin(false))?;
    let mut meter = Meter::new(client, progress);
    let brought = bring(client, &file, status, &mut meter)
        .and_then(|status| prove(client, status, confirm_secs, &mut meter));
    meter.finish();
    brought?;
    let restarts = restart(client, args.no_restart)?;
    let stands = if confirm_secs == 0 {
        "it stands once it is healthy".to_owned()
    } else {
        format!("it is taken back unless `update confirm` comes within {confirm_secs} s of its start")
    };
    let note =
        format!("release {release} is proved, and tried with the next start{}; {stands}", said(restarts));
    Ok(Answer::done(answer(true, restarts), note))
}

const fn said(restarts: bool) -> &'static str {
    if restarts { ": the gateway restarts" } else { "" }
}

/// Whether it does.
fn restart(client: &mut Client, no_restart: bool) -> Outcome<bool> {
    if no_restart {
        return Ok(false);
    }
    match client.ask(Request::Reboot)? {
        Ok(_) => Ok(true),
        // Started without the right: whoever may, restarts it.
        Err(Refusal::NotPermitted) => Ok(false),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Brings what is missing. Parts that got lost are brought again, with all behind them.
fn bring(
    client: &mut Client,
    file: &UpdateFile,
    mut status: UpdateStatus,
    meter: &mut Meter,
) -> Outcome<UpdateStatus> {
    // About a second's worth of a slow line, so that a loss costs no more.
    let window = client.octets_per_sec().map_or(WINDOW_MAX, |rate| (rate / 1000).clamp(1, WINDOW_MAX));
    let (mut before, mut stalls) = (None, 0);
    loop {
        let received = match status.stage {
            UpdateStage::Receiving { received, bytes, .. } if received < bytes => received,
            UpdateStage::Failed { why, .. } => return Err(failed(why)),
            UpdateStage::Idle => return Err(Failure::Failed("the gateway gave the update up".to_owned())),
            _ => return Ok(status),
        };
        stalls = if before == Some(received) { stalls + 1 } else { 0 };
        before = Some(received);
        if stalls > STALLS_MAX {
            return Err(Failure::Unreachable("no part of the update arrives any more".to_owned()));
        }
        let mut offset = received;
        let rest = usize::try_from(received).ok().and_then(|at| file.payload.get(at..)).unwrap_or_default();
        for part in rest.chunks(UPDATE_PART_BYTES_MAX).take(usize::try_from(window).unwrap_or(1)) {
            let part = heapless::Vec::from_slice(part).unwrap_or_default();
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            client.tell(Request::UpdatePart { offset, part })?;
            offset += length;
        }
        status = ask(client, Request::Update)?;
        if let UpdateStage::Receiving { received, bytes, .. } = status.stage {
            meter.show("brought", received, bytes);
        }
    }
}

/// Has it read back.
fn prove(client: &mut Client, status: UpdateStatus, confirm_secs: u32, meter: &mut Meter) -> Outcome<()> {
    let mut status = match status.stage {
        UpdateStage::Receiving { .. } => ask(client, Request::UpdateFinish { confirm_secs })?,
        _ => status,
    };
    loop {
        match status.stage {
            UpdateStage::Ready { .. } => return Ok(()),
            UpdateStage::Failed { why, .. } => return Err(failed(why)),
            UpdateStage::Verifying { checked, bytes, .. } => meter.show("read back", checked, bytes),
            UpdateStage::Idle | UpdateStage::Receiving { .. } => {
                return Err(Failure::Failed("the gateway gave the update up".to_owned()));
            }
        }
        std::thread::sleep(VERIFY_PAUSE);
        status = ask(client, Request::Update)?;
    }
}

fn failed(why: UpdateFailure) -> Failure {
    match why {
        UpdateFailure::Digest => {
            Failure::Mismatch("what the gateway read back is not what was signed: bring it again".to_owned())
        }
        UpdateFailure::Medium => {
            Failure::Failed("the medium of the other slot failed: see the log".to_owned())
        }
    }
}

/// A line of progress.
struct Meter {
    shown: bool,
    begun: Instant,
    first: Option<u32>,
    told: Option<Instant>,
}

impl Meter {
    fn new(client: &mut Client, progress: bool) -> Self {
        // One line at a time.
        client.hush();
        let shown = progress || std::io::stderr().is_terminal();
        Self { shown, begun: Instant::now(), first: None, told: None }
    }

    fn show(&mut self, what: &str, done: u32, bytes: u32) {
        let first = *self.first.get_or_insert(done);
        let due = self.told.is_none_or(|told| told.elapsed() >= Duration::from_millis(500));
        if !self.shown || !(due || done == bytes) {
            return;
        }
        self.told = Some(Instant::now());
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = u64::from(done.saturating_sub(first)) * 1000 / millis;
        let tenths = |octets: u32| (octets / 1_000_000, octets / 100_000 % 10);
        let ((whole, part), (of, of_part)) = (tenths(done), tenths(bytes));
        let _ = write!(
            std::io::stderr(),
            "\r{what} {whole}.{part} of {of}.{of_part} MB, {} kB/s   ",
            rate / 1000
        );
        if done == bytes {
            (self.begun, self.first, self.told) = (Instant::now(), None, None);
            let _ = writeln!(std::io::stderr());
        }
    }

    fn finish(&mut self) {
        if self.told.take().is_some() {
            let _ = writeln!(std::io::stderr());
        }
    }
}

fn fields(status: &UpdateStatus) -> Value {
    let stage = match status.stage {
        UpdateStage::Idle => json!({ "name": "idle" }),
        UpdateStage::Receiving { release, received, bytes } => {
            json!({ "name": "receiving", "release": release, "received": received, "bytes": bytes })
        }
        UpdateStage::Verifying { release, checked, bytes } => {
            json!({ "name": "verifying", "release": release, "checked": checked, "bytes": bytes })
        }
        UpdateStage::Ready { release } => json!({ "name": "ready", "release": release }),
        UpdateStage::Failed { release, why } => {
            let why = match why {
                UpdateFailure::Digest => "digest",
                UpdateFailure::Medium => "medium",
            };
            json!({ "name": "failed", "release": release, "why": why })
        }
    };
    json!({
        "board": status.board.as_str(),
        "slot": if status.slot_b { "B" } else { "A" },
        "release": status.release,
        "oldest_taken": status.floor,
        "healthy": status.healthy,
        "trial": status.trial,
        "trial_secs_left": status.secs_left,
        "starts_left": status.left,
        "other_slot": if status.other_good { "good" } else { "bad" },
        "fell_back": status.fell_back,
        "stage": stage,
    })
}

fn text(status: &UpdateStatus) -> String {
    let UpdateStatus { board, release, floor, left, .. } = status;
    let slot = if status.slot_b { "B" } else { "A" };
    let healthy = if status.healthy { "healthy" } else { "not yet proved healthy" };
    let standing = match (status.trial, status.secs_left) {
        (false, _) => "stands".to_owned(),
        (true, Some(secs)) => format!("on trial: `update confirm` within {secs} s; {left} more starts"),
        (true, None) => format!("on trial until it is healthy; {left} more starts"),
    };
    let other = match (status.other_good, status.fell_back) {
        (true, false) => "holds a system to fall back to",
        (true, true) => "did not become healthy; this one was taken instead",
        (false, false) => "holds nothing to start",
        (false, true) => "did not become healthy, and is not started again",
    };
    let stage = match status.stage {
        UpdateStage::Idle => "none".to_owned(),
        UpdateStage::Receiving { release, received, bytes } => {
            format!("release {release}: {received} of {bytes} octets are there")
        }
        UpdateStage::Verifying { release, checked, bytes } => {
            format!("release {release}: {checked} of {bytes} octets read back")
        }
        UpdateStage::Ready { release } => format!("release {release} is tried with the next start"),
        UpdateStage::Failed { release, .. } => format!("release {release} was given up: see the log"),
    };
    format!(
        "board        {board}\nslot         {slot}, {healthy}\nrelease      {release}, {standing}\n\
         oldest taken {floor}\nother slot   {other}\nupdate       {stage}\n"
    )
}
