//! `key export` and `key import`: a key's way to its holder.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;
use postern_config::site::StoredRotating;
use postern_core::knock::{Step, Transport};
use postern_core::spa::key::{DeviceId, KEY_BYTES};
use serde_json::json;
use toml_edit::{Array, InlineTable, Table, value};
use zeroize::Zeroizing;

use super::line::{LINE_BYTES_MAX, Line, is_host};
use super::place::{Place, SiteArg, folder_of};
use super::square::{Drawing, draw};
use super::{doors_of, no_such_key};
use crate::base64;
use crate::profile::counters::{CLOCK_LEAST_MILLIS, clock_millis};
use crate::profile::{self, private, read, write};
use crate::remote::answer::Answer;
use crate::remote::failure::{Failure, Outcome};
use crate::remote::{Connection, Json, login};
use crate::site::rotating::PROTOCOLS;
use crate::site::{DoorFile, KeyFile, KindFile, SPA_PORT_DEFAULT, SecretRef, SiteFile};
use crate::whole_file;

/// See `key export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The key
    name: String,
    /// Name or address under which its holder reaches the gateway
    #[arg(long, value_name = "HOST", value_parser = host)]
    gateway: String,
    /// Door its holder knocks at, when it opens several
    #[arg(long)]
    door: Option<String>,
    /// Name of the profile at its holder's, instead of the gateway's own
    #[arg(long = "as", value_name = "PROFILE")]
    profile: Option<String>,
    /// Id of the gateway, from `status`; asked for with --to
    #[arg(long, value_name = "ID", value_parser = crate::remote::device)]
    device: Option<[u8; 16]>,
    /// File with the secret, when the site file does not name it
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Draw a QR code
    #[arg(long, conflicts_with_all = ["json", "output"])]
    qr: bool,
    /// Draw it in ASCII, for paper or a terminal without colours
    #[arg(long, requires = "qr")]
    ascii: bool,
    /// File for the line; it must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    site: SiteArg,
    #[command(flatten)]
    pub(super) json: Json,
}

/// See `key import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// File with the line; `-` is standard input; without it, you are asked
    file: Option<PathBuf>,
    /// Another name for the profile
    #[arg(long, value_name = "PROFILE")]
    name: Option<String>,
    /// The profile file, instead of ~/.config/postern/clients.toml
    #[arg(long, value_name = "FILE", env = "POSTERN_PROFILES")]
    profiles: Option<PathBuf>,
    /// Replace a profile with this name, and its key
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    pub(super) json: Json,
}

fn host(text: &str) -> Result<String, String> {
    is_host(text).then(|| text.to_owned()).ok_or_else(|| {
        "a gateway is a name or an address, such as gw17.example.net or fe80::1%eth0".to_owned()
    })
}

pub(super) fn export(connection: &Connection, args: &ExportArgs) -> Outcome<Answer> {
    if args.json.json && args.output.is_none() {
        let what = "--json goes into logs, and a key must not: name a file for the line with --output";
        return Err(Failure::Usage(what.to_owned()));
    }
    let line = Place::within(connection, &args.site, false, |place| {
        let device = match args.device {
            Some(device) => Some(DeviceId(device)),
            None => place.device()?,
        };
        let device = device.ok_or_else(|| {
            let what = "say which gateway it is for: --device ID, from `postern --to TARGET status`";
            Failure::Usage(what.to_owned())
        })?;
        line_of(&place.site()?, device, place, args)
    })?;
    let text = line.write();
    let fields = json!({
        "key": args.name,
        "profile": line.name,
        "gateway": line.gateway,
        "door": line.door,
        "output": args.output,
    });
    if args.qr {
        let drawing = if args.ascii { Drawing::Ascii } else { Drawing::Colours };
        let drawn = draw(&text, drawing)
            .ok_or_else(|| Failure::Failed("the line is too long for a QR code: use --output".to_owned()))?;
        return shown(&Zeroizing::new(drawn), fields);
    }
    let ended = Zeroizing::new([text.as_str(), "\n"].concat());
    let Some(path) = &args.output else { return shown(&ended, fields) };
    whole_file::write_secret(path, ended.as_bytes())
        .map_err(|error| Failure::failed(&format!("cannot write {}", path.display()), error))?;
    let note = format!("the key is in {}: `postern key import` takes it; remove it then", path.display());
    Ok(Answer::done(fields, note))
}

/// Prints a secret itself: what an answer holds is not wiped.
fn shown(secret: &str, fields: serde_json::Value) -> Outcome<Answer> {
    // The buffer of the library's standard output is not wiped either.
    let mut out = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map(std::fs::File::from)
        .map_err(|error| Failure::failed("cannot write to standard output", error))?;
    out.write_all(secret.as_bytes())
        .map_err(|error| Failure::failed("cannot write to standard output", error))?;
    Ok(Answer::done(fields, WARNING))
}

const WARNING: &str = "whoever reads this can knock: clear the screen when it is at its holder's";

fn line_of(site: &SiteFile, device: DeviceId, place: &Place<'_>, args: &ExportArgs) -> Outcome<Line> {
    let key = site.keys.iter().find(|key| key.rest.name == args.name.as_str());
    let key = key.ok_or_else(|| no_such_key(site, &args.name))?;
    let door = door_of(site, args)?;
    let secret = secret_of(key, place, args)?;
    let name = args.profile.as_deref().unwrap_or(&site.name.value);
    let transport = |transport| move |port: &postern_core::ServicePort| port.transport == transport;
    let probe =
        door.ports.iter().map(|port| port.value).find(transport(Transport::Tcp)).map(|port| port.port);
    let rotating = door.rotating.as_ref().filter(|rotating| rotating.key.value == args.name);
    let first = match rotating {
        Some(_) => 0,
        // A clock that was never set says nothing.
        None => {
            let clock = clock_millis().filter(|clock| *clock >= CLOCK_LEAST_MILLIS);
            key.rest.counter_first.max(clock.unwrap_or(0))
        }
    };
    Ok(Line {
        name: read::name(name)?.to_owned(),
        gateway: args.gateway.clone(),
        port: site.spa_port.filter(|&port| port > 0).unwrap_or(SPA_PORT_DEFAULT),
        device,
        door: door.name.value.clone(),
        key: secret,
        first,
        probe,
        rotating: rotating.map(|rotating| rotating.rest),
        excluded: rotating.map(|rotating| excluded(site, &rotating.rest)).unwrap_or_default(),
    })
}

/// Protected ports that could be drawn: nobody knocks there.
fn excluded(site: &SiteFile, rotating: &StoredRotating) -> Vec<Step> {
    let ports = site.doors.iter().flat_map(|door| &door.ports).map(|port| port.value);
    let within = ports.filter(|port| (rotating.first..=rotating.last).contains(&port.port));
    within
        .map(|port| match port.transport {
            Transport::Tcp => Step::tcp(port.port),
            Transport::Udp => Step::udp(port.port),
        })
        .collect()
}

fn door_of<'s>(site: &'s SiteFile, args: &ExportArgs) -> Outcome<&'s DoorFile> {
    let opened = doors_of(site, &args.name);
    let name = match (&args.door, opened.as_slice()) {
        (Some(door), names) if names.contains(&door.as_str()) => door.as_str(),
        (Some(door), _) => {
            return Err(Failure::Usage(format!("{:?} does not open door {door:?}", args.name)));
        }
        (None, [only]) => only,
        (None, []) => return Err(Failure::Usage(format!("{:?} opens no door", args.name))),
        (None, several) => {
            let what = format!("{:?} opens {}: say which with --door", args.name, several.join(", "));
            return Err(Failure::Usage(what));
        }
    };
    site.doors
        .iter()
        .find(|door| door.name.value == name)
        .ok_or_else(|| Failure::Usage(format!("there is no door {name:?}")))
}

fn secret_of(key: &KeyFile, place: &Place<'_>, args: &ExportArgs) -> Outcome<Zeroizing<[u8; KEY_BYTES]>> {
    let KindFile::Native { secret } = &key.kind else {
        let what = format!(
            "{:?} is a key of the stock fwknop client, which has a file of its own for it",
            args.name
        );
        return Err(Failure::Usage(what));
    };
    let path = match (&args.key_file, secret, place) {
        (Some(path), ..) => path.clone(),
        (None, SecretRef::File(path), Place::File(site)) => folder_of(site).join(&path.value),
        (None, ..) => {
            let what =
                "a gateway never gives a secret back: name the file that `key new` wrote, --key-file FILE";
            return Err(Failure::Usage(what.to_owned()));
        }
    };
    profile::secret_of(&path)
}

pub(super) fn import(args: &ImportArgs) -> Outcome<Answer> {
    let path = profile::location(args.profiles.as_deref())?;
    let text = line_text(args.file.as_deref())?;
    let line = Line::read(&text).map_err(|why| Failure::Usage(format!("this cannot be imported: {why}")))?;
    let name = read::name(args.name.as_deref().unwrap_or(&line.name))?.to_owned();
    let folder = path.parent().unwrap_or(Path::new(""));
    let key_file = format!("keys/{name}.key");
    let table = table_of(&line, &name, &key_file);
    write::may_add(&path, &name, args.replace)?;
    let key_path = folder.join(&key_file);
    keep(&key_path, &line, args.replace)?;
    if let Err(failure) = write::add(&path, table, args.replace) {
        let _ = std::fs::remove_file(&key_path);
        return Err(failure);
    }
    let fields = json!({
        "profile": name,
        "gateway": line.gateway,
        "door": line.door,
        "profiles": path,
        "key_file": key_path,
    });
    let note = format!("profile {name} is in {}: try `postern knock {name} --check`", path.display());
    Ok(Answer::done(fields, note))
}

fn keep(path: &Path, line: &Line, replace: bool) -> Outcome<()> {
    let cannot = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::Usage(format!(
            "{} is there already, though no profile has its name: remove it, or --replace it",
            path.display()
        )),
        _ => Failure::failed(&format!("cannot write {}", path.display()), error),
    };
    write::make_folder(path.parent().unwrap_or(Path::new("")))?;
    let base64 = Zeroizing::new(base64::encode(&*line.key));
    let text = Zeroizing::new([base64.as_str(), "\n"].concat());
    match replace {
        true => write::replace_private(path, text.as_bytes()),
        false => whole_file::write_secret(path, text.as_bytes()),
    }
    .map_err(cannot)
}

/// The line in a file, on standard input, or typed at the terminal.
fn line_text(file: Option<&Path>) -> Outcome<Zeroizing<String>> {
    match file {
        Some(path) if path.as_os_str() == "-" => {
            let mut text = Zeroizing::new(String::with_capacity(LINE_BYTES_MAX + 2));
            let read = std::io::stdin().lock().take(LINE_BYTES_MAX as u64 + 1).read_to_string(&mut text);
            read.map_err(|error| Failure::failed("cannot read the key from standard input", error))?;
            Ok(text)
        }
        Some(path) => private::read(path, "exported key").map_err(Failure::InvalidProfile),
        None if std::io::stdin().is_terminal() => {
            let typed = login::typed("The line that `postern key export` printed: ", "key", "a file or `-`")?;
            let text = std::str::from_utf8(typed.expose());
            let text = text.map_err(|_| Failure::Usage("the line is no text".to_owned()))?;
            Ok(Zeroizing::new(text.to_owned()))
        }
        None => Err(Failure::Usage("name the file with the line, or `-` for standard input".to_owned())),
    }
}

/// The profile of a line.
fn table_of(line: &Line, name: &str, key_file: &str) -> Table {
    let mut table = Table::new();
    table.insert("name", value(name));
    table.insert("gateway", value(line.gateway.as_str()));
    table.insert("door", value(line.door.as_str()));
    if line.rotating.is_none() && line.port != SPA_PORT_DEFAULT {
        table.insert("port", value(i64::from(line.port)));
    }
    table.insert("device", value(crate::site::notation::hex(&line.device.0)));
    table.insert("key_file", value(key_file));
    match i64::try_from(line.first) {
        Ok(first) => table.insert("first_counter", value(first)),
        Err(_) => table.insert("first_counter", value(line.first.to_string())),
    };
    if let Some(port) = line.probe {
        table.insert("probe", value(format!("tcp/{port}")));
    }
    if let Some(rotating) = &line.rotating {
        table.insert("rotating", value(rotating_of(rotating, &line.excluded)));
    }
    table.decor_mut().set_prefix("\n");
    table
}

fn rotating_of(rotating: &StoredRotating, excluded: &[Step]) -> InlineTable {
    let StoredRotating { knocks, look_ahead, protocols, first, last, within_millis, .. } = rotating;
    let mut table = InlineTable::new();
    table.insert("knocks", i64::from(*knocks).into());
    table.insert("look_ahead", i64::from(*look_ahead).into());
    let names = PROTOCOLS.iter().enumerate().filter(|(bit, _)| protocols & (1 << bit) != 0);
    table.insert("protocols", names.map(|(_, name)| *name).collect::<Array>().into());
    table.insert("ports", format!("{first}-{last}").into());
    table.insert("within", crate::site::notation::duration((*within_millis).into()).into());
    if !excluded.is_empty() {
        table.insert("exclude", excluded.iter().map(ToString::to_string).collect::<Array>().into());
    }
    table
}
