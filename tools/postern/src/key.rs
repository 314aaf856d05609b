//! `postern key ...`: keys of persons and machines, in a site file or at a gateway, and their way to the
//! client.
//!
//! | module | is |
//! | --- | --- |
//! | [`place`] | the site file or the gateway that is changed |
//! | [`edit`] | the changes, as changes of a site file's text |
//! | [`mod@line`] | a key with everything its holder needs, in one line |
//! | [`square`] | the same as a QR code in the terminal |
//! | [`transfer`] | `key export` and `key import` |

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use postern_console::rpc::reply::KeyStatus;
use postern_console::rpc::{Reply, Request};
use postern_core::spa::key::KEY_BYTES;
use postern_hal_linux::random::random;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::base64;
use crate::profile::{read, write};
use crate::remote::answer::Answer;
use crate::remote::client::reply_of;
use crate::remote::failure::{Failure, Outcome};
use crate::remote::login::account_name;
use crate::remote::{Connection, How, at_gateway};
use crate::site::{KeyFile, KindFile, SecretRef, SiteFile};
use crate::whole_file;

pub mod edit;
pub mod line;
pub mod place;
pub mod square;
pub mod transfer;

use place::{Place, SiteArg};
use transfer::{ExportArgs, ImportArgs};

/// What is to be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and let it open doors
    New(NewArgs),
    /// Make a key that takes another one's place; both are good until the old one is disabled
    Rotate(RotateArgs),
    /// List the keys and what they may do, without secrets
    Show(ShowArgs),
    /// Refuse a key from now on
    Disable(SwitchArgs),
    /// Take a key that was disabled again
    Enable(SwitchArgs),
    /// Void every counter a key has used: for a client whose counter is too high, or fell into other hands
    Rebase(RebaseArgs),
    /// Print a key for its holder: a line of text, or a QR code
    Export(ExportArgs),
    /// Make a client profile of an exported key
    Import(ImportArgs),
}

/// See [`KeyCommand::New`].
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Its name, in the site file and in the log
    name: String,
    /// Door it opens; may be given several times
    #[arg(long)]
    door: Vec<String>,
    /// Whose it is: keys of one person are told apart in the log and belong together in the list
    #[arg(long)]
    person: Option<String>,
    #[command(flatten)]
    fresh: Fresh,
}

/// See [`KeyCommand::Rotate`].
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The old key
    name: String,
    /// Name of the new key, instead of the old one with the next number behind it
    #[arg(long = "as", value_name = "NEW")]
    successor: Option<String>,
    #[command(flatten)]
    fresh: Fresh,
}

/// Where a new key goes.
#[derive(Debug, Args)]
struct Fresh {
    /// File for the secret; without it, keys/NAME.key beside the site file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    site: SiteArg,
    #[command(flatten)]
    how: How,
}

impl Fresh {
    const fn tries(&self) -> bool {
        self.how.confirm.is_some()
    }
}

/// See [`KeyCommand::Show`].
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// This one alone
    name: Option<String>,
    #[command(flatten)]
    site: SiteArg,
    #[command(flatten)]
    json: crate::remote::Json,
}

/// See [`KeyCommand::Disable`].
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// The key
    name: String,
    #[command(flatten)]
    site: SiteArg,
    #[command(flatten)]
    how: How,
}

/// See [`KeyCommand::Rebase`].
#[derive(Debug, Args)]
pub struct RebaseArgs {
    /// The key
    name: String,
    #[command(flatten)]
    json: crate::remote::Json,
}

impl KeyCommand {
    /// As it is typed.
    pub const fn name(&self) -> &'static str {
        match self {
            KeyCommand::New(_) => "key new",
            KeyCommand::Rotate(_) => "key rotate",
            KeyCommand::Show(_) => "key show",
            KeyCommand::Disable(_) => "key disable",
            KeyCommand::Enable(_) => "key enable",
            KeyCommand::Rebase(_) => "key rebase",
            KeyCommand::Export(_) => "key export",
            KeyCommand::Import(_) => "key import",
        }
    }

    /// Whether scripts read the answer.
    pub const fn is_json(&self) -> bool {
        match self {
            KeyCommand::New(args) => args.fresh.how.json.json,
            KeyCommand::Rotate(args) => args.fresh.how.json.json,
            KeyCommand::Show(args) => args.json.json,
            KeyCommand::Disable(args) | KeyCommand::Enable(args) => args.how.json.json,
            KeyCommand::Rebase(args) => args.json.json,
            KeyCommand::Export(args) => args.json.json,
            KeyCommand::Import(args) => args.json.json,
        }
    }
}

/// Carries it out.
///
/// # Errors
/// [`Failure`].
pub fn run(connection: &Connection, command: &KeyCommand) -> Outcome<Answer> {
    match command {
        KeyCommand::New(args) => new(connection, args),
        KeyCommand::Rotate(args) => rotate(connection, args),
        KeyCommand::Show(args) => show(connection, args),
        KeyCommand::Disable(args) => switch(connection, args, true),
        KeyCommand::Enable(args) => switch(connection, args, false),
        KeyCommand::Rebase(args) => rebase(connection, args),
        KeyCommand::Export(args) => transfer::export(connection, args),
        KeyCommand::Import(args) => transfer::import(args),
    }
}

fn new(connection: &Connection, args: &NewArgs) -> Outcome<Answer> {
    let name = read::name(&args.name)?;
    if let Some(person) = &args.person {
        read::name(person)?;
    }
    Place::within(connection, &args.fresh.site, args.fresh.tries(), |place| {
        add(place, &args.fresh, (name, NEXT_NEW), |document, path| {
            edit::add(document, name, args.person.as_deref(), &args.door, path)
        })
    })
}

fn rotate(connection: &Connection, args: &RotateArgs) -> Outcome<Answer> {
    Place::within(connection, &args.fresh.site, args.fresh.tries(), |place| {
        let successor = match &args.successor {
            Some(name) => read::name(name)?.to_owned(),
            None => edit::successor(&place.site()?, &args.name)?,
        };
        add(place, &args.fresh, (&successor, NEXT_ROTATE), |document, path| {
            edit::succeed(document, &args.name, &successor, path)
        })
    })
}

/// Makes a secret, and a key with it by `edit`. A secret that came into nobody's hands is removed again.
fn add(
    place: &mut Place<'_>,
    fresh: &Fresh,
    (name, next): (&str, &str),
    edit: impl Fn(&mut toml_edit::DocumentMut, &str) -> Result<(), String>,
) -> Outcome<Answer> {
    let (path, written) = place.secret_file(name, fresh.key_file.as_deref())?;
    let secret: Zeroizing<[u8; KEY_BYTES]> =
        random().map(Zeroizing::new).map_err(|error| Failure::failed("no random numbers", error))?;
    if !fresh.how.dry_run {
        keep(&path, &secret)?;
    }
    let outcome = place.change(&fresh.how, Some((&written, &secret)), |document| edit(document, &written));
    match &outcome {
        // The gateway may have taken it.
        Err(Failure::Unreachable(_)) | Ok(_) => {}
        Err(_) if fresh.how.dry_run => {}
        Err(_) => drop(std::fs::remove_file(&path)),
    }
    let mut answer = outcome?;
    let shown = path.display();
    let notes = [answer.note.as_str(), &format!("the secret of {name} is in {shown}"), next];
    if !fresh.how.dry_run {
        answer.note = notes.into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("\n");
    }
    if let Value::Object(fields) = &mut answer.fields {
        fields.insert("name".to_owned(), json!(name));
        fields.insert("key_file".to_owned(), json!(path));
    }
    Ok(answer)
}

/// What to do with a new key.
const NEXT_NEW: &str = "`postern key export` brings it to its holder";

/// What to do with a key that takes another one's place.
const NEXT_ROTATE: &str =
    "`postern key export` brings it to its holder; `postern key disable` the old one when it is there";

/// Writes a secret that was not there.
fn keep(path: &Path, secret: &[u8; KEY_BYTES]) -> Outcome<()> {
    write::make_folder(path.parent().unwrap_or(Path::new("")))?;
    let mut text = Zeroizing::new(base64::encode(secret));
    text.reserve_exact(1);
    text.push('\n');
    let shown = path.display();
    whole_file::write_secret(path, text.as_bytes()).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::Usage(format!(
            "{shown} is there already: choose another name or --key-file, or remove it when no key is in it"
        )),
        _ => Failure::failed(&format!("cannot write {shown}"), error),
    })
}

fn switch(connection: &Connection, args: &SwitchArgs, disabled: bool) -> Outcome<Answer> {
    let mut answer = Place::within(connection, &args.site, args.how.confirm.is_some(), |place| {
        place.change(&args.how, None, |document| edit::set_disabled(document, &args.name, disabled))
    })?;
    if let Value::Object(fields) = &mut answer.fields {
        fields.insert("name".to_owned(), json!(args.name));
        fields.insert("disabled".to_owned(), json!(disabled));
    }
    Ok(answer)
}

fn rebase(connection: &Connection, args: &RebaseArgs) -> Outcome<Answer> {
    let key = account_name(&args.name)?;
    let epoch = at_gateway(connection, false, |client| {
        let request = Request::Rebase { key };
        Ok(reply_of!(client, request, Reply::Rebased { epoch } => epoch)?)
    })?;
    let note = format!(
        "epoch {epoch} of key {0} has begun: what was sent before counts no more. Put `epoch = {epoch}` into each \
         profile with this key",
        args.name
    );
    Ok(Answer::done(json!({ "name": args.name, "epoch": epoch }), note))
}

fn show(connection: &Connection, args: &ShowArgs) -> Outcome<Answer> {
    let (site, used) =
        Place::within(connection, &args.site, false, |place| Ok((place.site()?, place.used()?)))?;
    let wanted = |key: &&KeyFile| args.name.as_ref().is_none_or(|name| key.rest.name == name.as_str());
    let keys: Vec<&KeyFile> = site.keys.iter().filter(wanted).collect();
    if let (Some(name), true) = (&args.name, keys.is_empty()) {
        return Err(no_such_key(&site, name));
    }
    let used = |key: &KeyFile| used.iter().find(|used| used.name == key.rest.name);
    let fields: Vec<Value> = keys.iter().map(|key| json_of(&site, key, used(key))).collect();
    let text: String = keys.iter().map(|key| text_of(&site, key, used(key))).collect();
    Ok(Answer::show(json!({ "keys": fields }), text))
}

/// Says which keys there are.
pub(crate) fn no_such_key(site: &SiteFile, name: &str) -> Failure {
    let names: Vec<&str> = site.keys.iter().map(|key| key.rest.name.as_str()).collect();
    let advice = match crate::site::did_you_mean(name, &names) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if names.is_empty() => "there is none yet".to_owned(),
        None => format!("there are {}", names.join(", ")),
    };
    Failure::Usage(format!("there is no key {name:?}; {advice}"))
}

/// Names of the doors a key opens.
pub(crate) fn doors_of<'s>(site: &'s SiteFile, key: &str) -> Vec<&'s str> {
    let opens = |door: &&crate::site::DoorFile| {
        door.spa.iter().any(|name| name.value == key)
            || door.rotating.as_ref().is_some_and(|rotating| rotating.key.value == key)
    };
    site.doors.iter().filter(opens).map(|door| door.name.value.as_str()).collect()
}

fn secret_words(secret: &SecretRef) -> String {
    match secret {
        SecretRef::Held(label) => format!("held by the gateway, {}", crate::site::notation::hex(label)),
        SecretRef::File(path) => path.value.clone(),
    }
}

fn json_of(site: &SiteFile, key: &KeyFile, used: Option<&KeyStatus>) -> Value {
    let rest = &key.rest;
    let (kind, secret) = match &key.kind {
        KindFile::Native { secret } => ("native", secret),
        KindFile::Fwknop { encryption, .. } => ("fwknop", encryption),
    };
    let mut fields = json!({
        "name": rest.name,
        "person": if rest.person.is_empty() { Value::Null } else { json!(rest.person) },
        "kind": kind,
        "secret": secret_words(secret),
        "doors": doors_of(site, &rest.name),
        "disabled": rest.disabled,
        "longest_secs": rest.longest_secs,
        "may_claim": rest.may_claim,
        "counter_first": rest.counter_first,
        "counter_last": rest.counter_last,
    });
    if let Some(used) = used {
        fields["counter"] = json!(used.counter);
        fields["used_secs_ago"] = json!(used.used_secs_ago);
    }
    fields
}

fn text_of(site: &SiteFile, key: &KeyFile, used: Option<&KeyStatus>) -> String {
    let rest = &key.rest;
    let (kind, secret) = match &key.kind {
        KindFile::Native { secret } => ("native", secret),
        KindFile::Fwknop { encryption, .. } => ("fwknop", encryption),
    };
    let doors = doors_of(site, &rest.name);
    let doors = if doors.is_empty() { "none".to_owned() } else { doors.join(", ") };
    let mut text = format!("{}{}\n", rest.name, if rest.disabled { "  DISABLED" } else { "" });
    if !rest.person.is_empty() {
        text.push_str(&format!("  person  {}\n", rest.person));
    }
    text.push_str(&format!("  kind    {kind}\n  doors   {doors}\n  secret  {}\n", secret_words(secret)));
    if rest.longest_secs > 0 {
        text.push_str(&format!("  longest {} s\n", rest.longest_secs));
    }
    if let Some(used) = used {
        let last = used
            .used_secs_ago
            .map_or("not since the gateway's last start".to_owned(), |secs| format!("{secs} s ago"));
        text.push_str(&format!("  counter {}\n  used    {last}\n", used.counter));
    }
    text
}
