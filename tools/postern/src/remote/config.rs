//! `config ...`: the configuration of a gateway.

use std::path::Path;

use postern_config::Site;
use postern_console::rpc::Refusal;
use postern_console::rpc::reply::Checked;
use postern_console::rpc::request::{OwnerSignature, Source};
use serde_json::json;

use super::answer::Answer;
use super::bundle::{Bundle, generation_line, generation_of};
use super::change::{self, InForce};
use super::client::Client;
use super::delta::Delta;
use super::failure::{Failure, Outcome};
use super::transfer::{self, Fetched};
use super::{edit, look};
use crate::check::check_with;
use crate::compile::{Secrets, compile, stored};
use crate::finding::{Severity, render as finding_text};
use crate::owner::ConfigSignature;
use crate::site::{read, render};
use crate::whole_file;

mod arguments;

pub(crate) use arguments::How;
use arguments::{ApplyArgs, Base, DiffArgs, GetArgs, RollbackArgs, SetArgs};
pub use arguments::{ConfigCommand, RestoreArgs};

/// Exit status of a difference.
const DIFFERS: u8 = 9;

/// Carries it out.
pub(super) fn run(client: &mut Client, command: &ConfigCommand) -> Outcome<Answer> {
    match command {
        ConfigCommand::Get(args) => get(client, args),
        ConfigCommand::Set(args) => set(client, args),
        ConfigCommand::Diff(args) => diff(client, args),
        ConfigCommand::Apply(args) => apply(client, args),
        ConfigCommand::Confirm(args) => {
            let InForce { generation, .. } = change::confirm(client, args.generation)?;
            let note = format!("generation {generation} stands");
            Ok(Answer::done(json!({ "generation": generation, "changed": true }), note))
        }
        ConfigCommand::Cancel(args) => {
            let InForce { generation, .. } = change::cancel(client, args.generation)?;
            let note = format!("generation {generation} is in force again");
            Ok(Answer::done(json!({ "generation": generation, "changed": true }), note))
        }
        ConfigCommand::Rollback(args) => roll_back(client, args),
        ConfigCommand::History(_) => look::history(client),
        ConfigCommand::Export(args) => export(client, args.generation, args.output.as_deref()),
        ConfigCommand::Import(args) => {
            let bundle = Bundle::read(&text_of(&args.file)?)?;
            let site = site_of(&bundle.text, &args.file)?;
            change_to(client, &site, &args.how, None, None)
        }
    }
}

pub(crate) fn text_of(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::failed(&format!("cannot read {}", path.display()), error))
}

fn written(path: &Path, octets: &[u8]) -> Outcome<()> {
    whole_file::write(path, octets)
        .map_err(|error| Failure::failed(&format!("cannot write {}", path.display()), error))
}

/// Reads and checks a site file; what is wrong with it is printed.
pub(crate) fn site_of(text: &str, path: &Path) -> Outcome<Box<Site>> {
    let secrets = Secrets::Files(path.parent().unwrap_or(Path::new(".")));
    let checked = check_with(text, &secrets);
    let shown = path.display().to_string();
    for finding in checked.findings.iter().filter(|finding| finding.severity != Severity::Note) {
        eprint!("{}", finding_text(&shown, text, finding));
    }
    let invalid = || Failure::InvalidSite(format!("{shown} is not applied; mend the errors first"));
    let file = checked.site.as_ref().filter(|_| !checked.is_refused()).ok_or_else(invalid)?;
    compile(file, &secrets).map_err(|error| Failure::InvalidSite(format!("{shown}: {error}")))
}

/// Whether the text says everything the site is.
fn says_all(site: &Site, text: &str) -> bool {
    let again = read(text).0.and_then(|file| stored(&file, &Secrets::Unread).ok());
    // Guards follow from the rest, and another version may choose others.
    again.is_some_and(|mut again| {
        again.guards = site.guards.clone();
        *again == *site
    })
}

fn source(generation: Option<u64>) -> Source {
    generation.map_or(Source::Running, Source::Generation)
}

fn get(client: &mut Client, args: &GetArgs) -> Outcome<Answer> {
    let Fetched { generation, site, .. } = transfer::fetch(client, source(args.generation))?;
    let text = render(&site).text;
    let complete = generation == 0 || says_all(&site, &text);
    let file = generation_line(&site.name, generation) + &text;
    let fields = json!({
        "gateway": site.name,
        "generation": generation,
        "complete": complete,
        "toml": file,
    });
    let mut answer = match &args.output {
        None => Answer::show(fields, file),
        Some(path) => {
            written(path, file.as_bytes())?;
            Answer::done(fields, format!("generation {generation} is in {}", path.display()))
        }
    };
    if !complete {
        answer.note.push_str("warning: this configuration holds something a site file cannot say");
    }
    Ok(answer)
}

fn set(client: &mut Client, args: &SetArgs) -> Outcome<Answer> {
    let running = transfer::fetch(client, Source::Running)?;
    let text = edit::edit(&render(&running.site).text, &args.assignments)?;
    let site = site_of(&text, Path::new("(the changed configuration)"))?;
    change_to(client, &site, &args.how, Some(running), None)
}

fn diff(client: &mut Client, args: &DiffArgs) -> Outcome<Answer> {
    let text = text_of(&args.site)?;
    let site = site_of(&text, &args.site)?;
    let running = transfer::fetch(client, Source::Running)?;
    let mut delta = Delta::between(&running.site, &site);
    // A secret in a file may be the very one the gateway holds: only the gateway can tell.
    if !delta.is_empty() && postern_config::held::is_complete(&site) {
        match transfer::stage(client, &transfer::payload(&site)?) {
            Ok(Checked { unchanged: true, .. }) => delta = Delta::default(),
            Ok(_)
            | Err(Failure::Refused(Refusal::NotAllowed { .. } | Refusal::Invalid(_) | Refusal::Busy)) => {}
            Err(other) => return Err(other),
        }
    }
    let fields =
        json!({ "generation": running.generation, "different": !delta.is_empty(), "delta": delta.json() });
    let status = if delta.is_empty() { 0 } else { DIFFERS };
    Ok(Answer::show(fields, delta.text()).with_status(status))
}

fn apply(client: &mut Client, args: &ApplyArgs) -> Outcome<Answer> {
    let text = text_of(&args.site)?;
    let site = site_of(&text, &args.site)?;
    let base = match args.base {
        Some(Base::Current) => None,
        Some(Base::Generation(generation)) => Some(generation),
        None => generation_of(&text),
    };
    let signature = match &args.signature {
        None => None,
        Some(path) => Some(signature(path, &site, args.floor)?),
    };
    let mut running = transfer::fetch(client, Source::Running)?;
    // The generation it was made from, not the one that is in force by now.
    running.generation = base.unwrap_or(running.generation);
    change_to(client, &site, &args.how, Some(running), signature)
}

fn signature(path: &Path, site: &Site, floor: Option<u32>) -> Outcome<OwnerSignature> {
    let signature = ConfigSignature::read(&text_of(path)?).map_err(Failure::Usage)?;
    let digest = ConfigSignature::digest(&transfer::payload(site)?);
    if signature.config.digest != digest {
        let what = format!("the signature in {} is for another configuration: sign this one", path.display());
        return Err(Failure::Usage(what));
    }
    if floor.is_some_and(|floor| floor != signature.config.floor) {
        return Err(Failure::Usage(format!("the signature is for floor {}", signature.config.floor)));
    }
    Ok(signature.for_gateway())
}

/// Puts a site in force, unless it is already. `running` is what it was made from.
pub(crate) fn change_to(
    client: &mut Client,
    site: &Site,
    how: &How,
    running: Option<Fetched>,
    signature: Option<OwnerSignature>,
) -> Outcome<Answer> {
    let running = match running {
        Some(running) => running,
        None => transfer::fetch(client, Source::Running)?,
    };
    let payload = transfer::payload(site)?;
    let delta = Delta::between(&running.site, site);
    if payload == running.payload && signature.is_none() {
        return unchanged(client, how);
    }
    let checked = transfer::stage(client, &payload)?;
    if checked.unchanged && signature.is_none() {
        return unchanged(client, how);
    }
    let fields = |generation: u64, changed: bool| {
        json!({
            "changed": changed,
            "dry_run": how.dry_run,
            "generation": generation,
            "trial_secs": how.confirm,
            "grants_lost": checked.grants_lost,
            "delta": delta.json(),
        })
    };
    if how.dry_run {
        let text = format!("{}grants taken back: {}\n", delta.text(), checked.grants_lost);
        return Ok(Answer::show(fields(change::status(client)?.generation, true), text));
    }
    let done = change::commit(client, &payload, running.generation, how.standing(), signature)?;
    let InForce { generation, written } = done;
    let note = match (how.confirm, written) {
        (_, false) => format!("generation {generation} is in force already"),
        (None, true) => format!("generation {generation} is in force"),
        (Some(secs), true) => {
            format!("generation {generation} is in force for {secs} s: `config confirm` keeps it")
        }
    };
    Ok(Answer::done(fields(generation, written), note))
}

fn unchanged(client: &mut Client, how: &How) -> Outcome<Answer> {
    let generation = change::status(client)?.generation;
    let fields = json!({
        "changed": false,
        "dry_run": how.dry_run,
        "generation": generation,
        "trial_secs": null,
        "grants_lost": 0,
        "delta": Delta::default().json(),
    });
    Ok(Answer::done(fields, format!("generation {generation} is in force already: nothing to do")))
}

fn roll_back(client: &mut Client, args: &RollbackArgs) -> Outcome<Answer> {
    if args.how.dry_run {
        let running = transfer::fetch(client, Source::Running)?;
        let wanted = transfer::fetch(client, Source::Generation(args.generation))?;
        let delta = Delta::between(&running.site, &wanted.site);
        let fields = json!({
            "changed": !delta.is_empty(),
            "dry_run": true,
            "generation": running.generation,
            "trial_secs": args.how.confirm,
            "delta": delta.json(),
        });
        return Ok(Answer::show(fields, delta.text()));
    }
    let InForce { generation, written } = change::roll_back(client, args.generation, args.how.standing())?;
    let fields = json!({
        "changed": written,
        "dry_run": false,
        "generation": generation,
        "trial_secs": args.how.confirm,
    });
    let note = match args.how.confirm {
        Some(secs) if written => {
            format!(
                "what generation {} was is in force for {secs} s, as generation {generation}",
                args.generation
            )
        }
        _ => format!("what generation {} was is in force, as generation {generation}", args.generation),
    };
    Ok(Answer::done(fields, note))
}

/// `config export` and `backup`: a bundle, which is read again before it is called written.
pub(super) fn export(client: &mut Client, generation: Option<u64>, output: Option<&Path>) -> Outcome<Answer> {
    let Fetched { generation, site, .. } = transfer::fetch(client, source(generation))?;
    let status = change::status(client)?;
    let text = render(&site).text;
    if generation != 0 && !says_all(&site, &text) {
        return Err(Failure::Mismatch(
            "this configuration holds something a site file cannot say".to_owned(),
        ));
    }
    let bundle = Bundle::of(&status, generation, text);
    let file = bundle.write();
    let fields = json!({
        "gateway": bundle.gateway,
        "device": crate::site::notation::hex(&bundle.device),
        "generation": generation,
        "digest": crate::site::notation::hex(&bundle.digest()),
        "bundle": file,
    });
    let Some(path) = output else { return Ok(Answer::show(fields, file)) };
    written(path, file.as_bytes())?;
    if Bundle::read(&text_of(path)?)? != bundle {
        return Err(Failure::Mismatch(format!("{} does not hold what was written", path.display())));
    }
    let note =
        format!("generation {generation} of {} is in {}, without secrets", bundle.gateway, path.display());
    Ok(Answer::done(fields, note))
}

/// `restore`: puts a backup in force and reads it back.
pub(super) fn restore(client: &mut Client, args: &RestoreArgs) -> Outcome<Answer> {
    let bundle = Bundle::read(&text_of(&args.file)?)?;
    if change::status(client)?.device != bundle.device && !args.other_device {
        return Err(Refusal::OtherDevice.into());
    }
    let site = site_of(&bundle.text, &args.file)?;
    let answer = change_to(client, &site, &args.how, None, None)?;
    if args.how.dry_run {
        return Ok(answer);
    }
    let running = transfer::fetch(client, Source::Running)?;
    let same = *running.site == *site || render(&running.site).text == bundle.text;
    if !same {
        return Err(Failure::Mismatch("the gateway runs another configuration than the backup".to_owned()));
    }
    Ok(Answer { note: format!("{}; read back and compared", answer.note), ..answer })
}
