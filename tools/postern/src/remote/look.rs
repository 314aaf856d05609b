//! Commands that look: status, doors, grants, keys, history, log, watch.

use std::fmt::Write as _;
use std::time::Duration;

use postern_console::rpc::reply::{
    DoorStatus, Generation, GrantStatus, KeyStatus, LogLine, Origin, Progress, SeenKnock, Status, StoreHealth,
};
use postern_console::rpc::{Reply, Request};
use postern_console::text::value::Count;
use postern_core::knock::{ServicePort, Step};
use serde_json::{Value, json};

use super::answer::Answer;
use super::change;
use super::client::{Client, reply_of, unexpected};
use super::failure::Outcome;
use crate::site::notation::hex;

/// Pause between two looks for something new.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// How the gateway is.
///
/// # Errors
/// [`super::failure::Failure`], as of all here.
pub fn status(client: &mut Client) -> Outcome<Answer> {
    let status = change::status(client)?;
    Ok(Answer::show(status_json(&status), status_text(&status)))
}

fn status_json(status: &Status) -> Value {
    let store = match status.store {
        StoreHealth::Good => json!({ "health": "good" }),
        StoreHealth::SlotsRefused { slots } => json!({ "health": "slots-refused", "slots": slots }),
        StoreHealth::Failed => json!({ "health": "failed" }),
    };
    let trial =
        status.trial.map(|trial| json!({ "generation": trial.generation, "secs_left": trial.secs_left }));
    let interfaces: Vec<Value> =
        status.interfaces.iter().map(|one| json!({ "name": one.name, "live": one.live })).collect();
    json!({
        "gateway": status.gateway,
        "device": hex(&status.device),
        "uptime_millis": status.uptime_millis,
        "generation": status.generation,
        "digest": hex(&status.digest),
        "origin": match status.origin {
            Origin::Slot => "slot",
            Origin::Factory => "factory",
            Origin::Safe => "safe",
        },
        "trial": trial,
        "floor": status.floor,
        "store": store,
        "boots": status.boots,
        "unclean_boots": status.unclean_boots,
        "doors": status.doors,
        "grants": status.grants,
        "accounts": status.accounts,
        "keys": status.keys,
        "interfaces": interfaces,
        "frames": status.frames,
        "knocks": status.knocks,
        "guard_touches": status.guard_touches,
        "opened": status.opened,
        "dropped": status.dropped,
        "log_newest": status.log_newest,
    })
}

fn status_text(status: &Status) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "gateway     {} ({})", status.gateway, hex(&status.device));
    let _ = writeln!(text, "up          {}", uptime(status.uptime_millis));
    let digest = hex(&status.digest);
    let _ = match status.origin {
        Origin::Slot => writeln!(text, "config      generation {}, {}", status.generation, &digest[..16]),
        Origin::Factory => writeln!(text, "config      none: the factory profile, which opens nothing"),
        Origin::Safe => writeln!(
            text,
            "config      SAFE MODE: generation {}, {}, did not last at {} starts; nothing opens until it is tried \
             again or another one is committed",
            status.generation,
            &digest[..16],
            status.unclean_boots
        ),
    };
    if let Some(trial) = status.trial {
        let left = trial.secs_left;
        let _ = writeln!(text, "trial       generation {}, taken back in {left} s", trial.generation);
    }
    let _ = match status.store {
        StoreHealth::Good => writeln!(text, "store       good, security floor {}", status.floor),
        StoreHealth::SlotsRefused { slots } => {
            writeln!(text, "store       {slots} slots refused: see the log")
        }
        StoreHealth::Failed => writeln!(text, "store       FAILED: nothing can be committed until a restart"),
    };
    let _ = writeln!(
        text,
        "starts      {}, {} in a row without a healthy period",
        status.boots, status.unclean_boots
    );
    let interfaces = status.interfaces.iter();
    let interfaces: Vec<String> =
        interfaces.map(|one| format!("{}{}", one.name, if one.live { "" } else { " (not there)" })).collect();
    let _ = writeln!(
        text,
        "interfaces  {}",
        if interfaces.is_empty() { "none".into() } else { interfaces.join(", ") }
    );
    let (doors, grants) = (Count(status.doors.into(), "door"), Count(status.grants.into(), "grant"));
    let (accounts, keys) = (Count(status.accounts.into(), "account"), Count(status.keys.into(), "key"));
    let _ = writeln!(text, "has         {doors}, {grants}, {accounts}, {keys}");
    let Status { frames, knocks, guard_touches, opened, dropped, .. } = status;
    let _ = writeln!(
        text,
        "saw         {frames} frames, {dropped} dropped, {knocks} knocks, {guard_touches} guard touches, {opened} openings"
    );
    text
}

fn uptime(millis: u64) -> String {
    let minutes = millis / 60_000;
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    if days > 0 { format!("{days} d {hours} h {minutes} min") } else { format!("{hours} h {minutes} min") }
}

/// Calls until a reply is empty; `next` makes the request after what came so far.
fn all<T: Clone>(
    client: &mut Client,
    next: impl Fn(&[T]) -> Request,
    list: impl Fn(Reply) -> Outcome<Vec<T>>,
) -> Outcome<Vec<T>> {
    let mut items: Vec<T> = Vec::new();
    loop {
        let more = list(client.call(next(&items))?)?;
        if more.is_empty() {
            return Ok(items);
        }
        items.extend(more);
    }
}

fn position<T>(items: &[T]) -> u16 {
    u16::try_from(items.len()).unwrap_or(u16::MAX)
}

/// Every door.
///
/// # Errors
/// See [`status`].
pub fn doors(client: &mut Client) -> Outcome<Answer> {
    let doors: Vec<DoorStatus> = all(
        client,
        |so_far| Request::Doors { from: position(so_far) },
        |reply| match reply {
            Reply::Doors(doors) => Ok(doors.into_iter().collect()),
            other => Err(unexpected(&other)),
        },
    )?;
    let ports = |door: &DoorStatus| -> Vec<String> {
        door.ports.iter().map(|&port| ServicePort::from(port).to_string()).collect()
    };
    let fields = doors.iter().map(|door| {
        json!({
            "name": door.name,
            "ports": ports(door),
            "open_for_secs": door.open_for_secs,
            "knocks": door.knocks,
            "keys": door.keys,
            "grants": door.grants,
        })
    });
    let fields = json!({ "doors": fields.collect::<Vec<_>>() });
    let rows = doors.iter().map(|door| {
        [
            door.name.as_str().to_owned(),
            ports(door).join(" "),
            format!("{} s", door.open_for_secs),
            door.knocks.to_string(),
            door.keys.to_string(),
            door.grants.to_string(),
        ]
    });
    Ok(Answer::show(fields, table(["DOOR", "PORTS", "OPEN FOR", "KNOCKS", "KEYS", "GRANTS"], rows)))
}

/// Every grant in force.
///
/// # Errors
/// See [`status`].
pub fn grants(client: &mut Client) -> Outcome<Answer> {
    let after = |so_far: &[GrantStatus]| Request::Grants { after: so_far.last().map_or(0, |last| last.id) };
    let grants = all(client, after, |reply| match reply {
        Reply::Grants(grants) => Ok(grants.into_iter().collect()),
        other => Err(unexpected(&other)),
    })?;
    let fields = grants.iter().map(|grant| {
        let (source, covered) = (grant.source.to_string(), grant.network().to_string());
        let (id, door, secs_left) = (grant.id, &grant.door, grant.secs_left);
        json!({ "id": id, "door": door, "source": source, "for": covered, "secs_left": secs_left })
    });
    let fields = json!({ "grants": fields.collect::<Vec<_>>() });
    let rows = grants.iter().map(|grant| {
        [
            grant.id.to_string(),
            grant.door.as_str().to_owned(),
            grant.whom().to_string(),
            format!("{} s", grant.secs_left),
        ]
    });
    Ok(Answer::show(fields, table(["ID", "DOOR", "SOURCE", "LEFT"], rows)))
}

/// Every key, without its secrets.
///
/// # Errors
/// See [`status`].
pub fn keys(client: &mut Client) -> Outcome<Answer> {
    let keys: Vec<KeyStatus> = all(
        client,
        |so_far| Request::Keys { from: position(so_far) },
        |reply| match reply {
            Reply::Keys(keys) => Ok(keys.into_iter().collect()),
            other => Err(unexpected(&other)),
        },
    )?;
    let kind = |key: &KeyStatus| if key.fwknop { "fwknop" } else { "native" };
    let fields = keys.iter().map(|key| {
        json!({
            "name": key.name,
            "kind": kind(key),
            "doors": key.doors,
            "disabled": key.disabled,
            "counter": key.counter,
        })
    });
    let fields = json!({ "keys": fields.collect::<Vec<_>>() });
    let rows = keys.iter().map(|key| {
        let state = if key.disabled { "disabled" } else { "" };
        [
            key.name.as_str().to_owned(),
            kind(key).to_owned(),
            key.doors.to_string(),
            key.counter.to_string(),
            state.to_owned(),
        ]
    });
    Ok(Answer::show(fields, table(["KEY", "KIND", "DOORS", "COUNTER", ""], rows)))
}

/// Every generation that can be rolled back to.
///
/// # Errors
/// See [`status`].
pub fn history(client: &mut Client) -> Outcome<Answer> {
    let index =
        |so_far: &[Generation]| Request::History { index: u8::try_from(so_far.len()).unwrap_or(u8::MAX) };
    let history = all(client, index, |reply| match reply {
        Reply::History(generation) => Ok(generation.into_iter().collect()),
        other => Err(unexpected(&other)),
    })?;
    let fields = history.iter().map(|one| {
        json!({
            "generation": one.generation,
            "digest": hex(&one.digest),
            "bytes": one.bytes,
            "floor": one.floor,
            "unconfirmed": one.unconfirmed,
            "in_force": one.in_force,
        })
    });
    let fields = json!({ "history": fields.collect::<Vec<_>>() });
    let rows = history.iter().map(|one| {
        let state = match (one.in_force, one.unconfirmed) {
            (true, true) => "on trial",
            (true, false) => "in force",
            (false, true) => "never confirmed",
            (false, false) => "",
        };
        let digest = hex(&one.digest)[..16].to_owned();
        [one.generation.to_string(), digest, one.bytes.to_string(), one.floor.to_string(), state.to_owned()]
    });
    Ok(Answer::show(fields, table(["GENERATION", "DIGEST", "OCTETS", "FLOOR", ""], rows)))
}

/// The newest lines of the log that the gateway keeps; `follow` goes on for ever. Each line is given
/// to `emit` as it comes.
///
/// # Errors
/// See [`status`].
pub fn log(
    client: &mut Client,
    follow: bool,
    emit: &mut dyn FnMut(&Value, &str) -> Outcome<()>,
) -> Outcome<()> {
    let mut after = 0;
    loop {
        let request = Request::Log { after };
        let lines = reply_of!(client, request, Reply::Log(lines) => lines)?;
        if lines.is_empty() {
            if !follow {
                return Ok(());
            }
            std::thread::sleep(FOLLOW_EVERY);
        }
        for line in &lines {
            let LogLine { id, at_millis, text } = line;
            let shown: String = text.chars().map(printable).collect();
            emit(
                &json!({ "id": id, "at_millis": at_millis, "text": text }),
                &format!("{:>10}.{:03} {shown}\n", at_millis / 1000, at_millis % 1000),
            )?;
            after = *id;
        }
    }
}

/// Nothing from the gateway moves the cursor.
fn printable(letter: char) -> char {
    if letter.is_control() { '?' } else { letter }
}

/// Knocks as they are seen, for ever.
///
/// # Errors
/// See [`status`].
pub fn watch(client: &mut Client, emit: &mut dyn FnMut(&Value, &str) -> Outcome<()>) -> Outcome<()> {
    let mut after = 0;
    loop {
        let request = Request::Watch { after };
        let knocks = reply_of!(client, request, Reply::Knocks(knocks) => knocks)?;
        if knocks.is_empty() {
            std::thread::sleep(FOLLOW_EVERY);
        }
        for knock in &knocks {
            emit(&knock_json(knock), &knock_text(knock))?;
            after = knock.number;
        }
    }
}

fn progress(knock: &SeenKnock) -> (&'static str, String) {
    match knock.progress {
        Progress::Reached { knocks } => ("reached", format!("knock {knocks} of {}", knock.of)),
        Progress::Completed => ("completed", "complete: the door opens".to_owned()),
        Progress::Tainted => {
            ("tainted", "a guard was touched: nothing counts for the time of the sequence".to_owned())
        }
        Progress::OutOfOrder => ("out-of-order", "not the next knock, or too late".to_owned()),
        Progress::NoRoom => ("no-room", "no room in the table of attempts".to_owned()),
    }
}

fn knock_json(knock: &SeenKnock) -> Value {
    let reached = if let Progress::Reached { knocks } = knock.progress { Some(knocks) } else { None };
    json!({
        "number": knock.number,
        "at_millis": knock.at_millis,
        "source": knock.source.to_string(),
        "step": Step::from(knock.step).to_string(),
        "door": knock.door,
        "of": knock.of,
        "progress": progress(knock).0,
        "reached": reached,
    })
}

fn knock_text(knock: &SeenKnock) -> String {
    let door = knock.door.as_ref().map_or("-", |door| door.as_str());
    let (at, step) = (knock.at_millis, Step::from(knock.step).to_string());
    format!("{:>10}.{:03} {} {step} {door} {}\n", at / 1000, at % 1000, knock.source, progress(knock).1)
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
