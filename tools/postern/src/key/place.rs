//! Where keys are changed: a site file, or a gateway by its configuration.

use std::path::{Path, PathBuf};

use clap::Args;
use postern_console::rpc::reply::KeyStatus;
use postern_console::rpc::request::Source;
use postern_console::rpc::{Reply, Request};
use postern_core::spa::key::{DeviceId, KEY_BYTES};
use serde_json::json;
use toml_edit::DocumentMut;

use crate::compile::{Secrets, compile};
use crate::finding::render as finding_text;
use crate::remote::answer::Answer;
use crate::remote::client::Client;
use crate::remote::delta::Delta;
use crate::remote::failure::{Failure, Outcome};
use crate::remote::{Connection, How, at_gateway, change, change_to, text_of, transfer};
use crate::site::{SecretFile, SiteFile, read, render};
use crate::whole_file;

/// Which site file.
#[derive(Debug, Args)]
pub struct SiteArg {
    /// The site file; without it, the gateway of --to
    #[arg(long, value_name = "FILE")]
    pub(super) site: Option<PathBuf>,
}

/// Where keys are.
pub enum Place<'a> {
    /// In a site file.
    File(&'a Path),
    /// At a gateway, where we are logged in.
    Gateway(&'a mut Client),
}

impl Place<'_> {
    /// Has `work` done at the place that the command line names, in one session; `tries` when it puts
    /// something on trial.
    ///
    /// # Errors
    /// [`Failure::Usage`] when it names none, or both; and those of `work`.
    pub fn within<T>(
        connection: &Connection,
        arg: &SiteArg,
        tries: bool,
        work: impl FnOnce(&mut Place<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        match (&arg.site, &connection.to) {
            (Some(path), None) => work(&mut Place::File(path)),
            (None, Some(_)) => at_gateway(connection, tries, |client| work(&mut Place::Gateway(client))),
            (Some(_), Some(_)) => Err(Failure::Usage("--site and --to are two places: name one".to_owned())),
            (None, None) => {
                let what = "say where: --site SITE.toml, or the gateway, --to unix:PATH or ssh:HOST";
                Err(Failure::Usage(what.to_owned()))
            }
        }
    }

    /// The site as it is. Of the gateway's keys there are only labels.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn site(&mut self) -> Outcome<SiteFile> {
        match self {
            Place::File(path) => parsed(&text_of(path)?, path),
            Place::Gateway(client) => {
                let running = transfer::fetch(client, Source::Running)?;
                parsed(&render(&running.site).text, Path::new("(the gateway's configuration)"))
            }
        }
    }

    /// How far keys were used, in the order of the site; nothing where only the site file is known.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn used(&mut self) -> Outcome<Vec<KeyStatus>> {
        let mut used = Vec::new();
        let Place::Gateway(client) = self else { return Ok(used) };
        loop {
            let from = u16::try_from(used.len()).unwrap_or(u16::MAX);
            match client.ask(Request::Keys { from })? {
                Ok(Reply::Keys(keys)) if keys.is_empty() => return Ok(used),
                Ok(Reply::Keys(keys)) => used.extend(keys),
                // A gateway that tells less: the site says the rest.
                Ok(_) | Err(_) => return Ok(used),
            }
        }
    }

    /// Which gateway it is; `None` where only the site file is known.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn device(&mut self) -> Outcome<Option<DeviceId>> {
        match self {
            Place::File(_) => Ok(None),
            Place::Gateway(client) => Ok(Some(DeviceId(change::status(client)?.device))),
        }
    }

    /// Where the secret of a new key goes here, and what the site file calls it.
    pub(super) fn secret_file(&self, name: &str, wanted: Option<&Path>) -> Outcome<(PathBuf, String)> {
        let usual = format!("keys/{name}.key");
        let utf8 = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| Failure::Usage(format!("{} cannot be written in TOML", path.display())))
        };
        match (self, wanted) {
            (Place::File(site), None) => Ok((folder_of(site).join(&usual), usual)),
            (Place::File(site), Some(path)) => {
                // Paths in the file begin at its folder.
                let absolute = std::path::absolute(path)
                    .map_err(|error| Failure::failed(&format!("cannot use {}", path.display()), error))?;
                let folder = std::path::absolute(folder_of(site)).unwrap_or_default();
                let written = absolute.strip_prefix(&folder).unwrap_or(&absolute);
                Ok((path.to_owned(), utf8(written)?))
            }
            (Place::Gateway(_), Some(path)) => Ok((path.to_owned(), usual)),
            (Place::Gateway(_), None) => Err(Failure::Usage(
                "a gateway never gives a secret back: say where to keep it, --key-file FILE".to_owned(),
            )),
        }
    }

    /// Changes the site. A `secret` is what a new key's path in the text stands for.
    ///
    /// # Errors
    /// [`Failure`]; then nothing is changed, unless the gateway did not answer.
    pub(super) fn change(
        &mut self,
        how: &How,
        secret: Option<(&str, &[u8; KEY_BYTES])>,
        edit: impl Fn(&mut DocumentMut) -> Result<(), String>,
    ) -> Outcome<Answer> {
        let client = match self {
            Place::File(path) => return change_file(path, how, edit),
            Place::Gateway(client) => client,
        };
        let running = transfer::fetch(client, Source::Running)?;
        let text = edited(&render(&running.site).text, edit)?;
        let file = parsed(&text, Path::new("(the changed configuration)"))?;
        let secrets: Vec<SecretFile> = secret
            .map(|(path, octets)| SecretFile { path: path.to_owned(), octets: octets.to_vec() })
            .into_iter()
            .collect();
        let site = compile(&file, &Secrets::Given(&secrets)).map_err(invalid);
        wipe(secrets);
        change_to(client, &*site?, how, Some(running), None)
    }
}

/// Takes the octets of secrets away.
fn wipe(mut secrets: Vec<SecretFile>) {
    for secret in &mut secrets {
        zeroize::Zeroize::zeroize(&mut secret.octets);
    }
}

fn change_file(
    path: &Path,
    how: &How,
    edit: impl Fn(&mut DocumentMut) -> Result<(), String>,
) -> Outcome<Answer> {
    if how.confirm.is_some() {
        return Err(Failure::Usage("--confirm is for gateways: a file is changed for good".to_owned()));
    }
    let before = text_of(path)?;
    let text = edited(&before, edit)?;
    let (old, new) = (parsed(&before, path)?, parsed(&text, path)?);
    // In a dry run the secret of a new key is not there yet.
    let secrets = if how.dry_run { Secrets::Unread } else { Secrets::Files(folder_of(path)) };
    compile(&new, &secrets).map_err(invalid)?;
    let unread = |file: &SiteFile| compile(file, &Secrets::Unread).map_err(invalid);
    let delta = Delta::between(&*unread(&old)?, &*unread(&new)?);
    let changed = text != before;
    let fields = json!({ "site": path, "changed": changed, "dry_run": how.dry_run, "delta": delta.json() });
    if how.dry_run {
        return Ok(Answer::show(fields, delta.text()));
    }
    if changed {
        whole_file::write(path, text.as_bytes())
            .map_err(|error| Failure::failed(&format!("cannot write {}", path.display()), error))?;
    }
    let note = if changed { "is changed: check, compile and apply it" } else { "says so already" };
    Ok(Answer::done(fields, format!("{} {note}", path.display())))
}

fn invalid(error: crate::compile::CompileError) -> Failure {
    Failure::InvalidSite(format!("the site would be no good: {error}; fix: {}", error.suggestion()))
}

fn edited(text: &str, edit: impl Fn(&mut DocumentMut) -> Result<(), String>) -> Outcome<String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error| Failure::InvalidSite(format!("the site is no TOML: {error}")))?;
    edit(&mut document).map_err(Failure::Usage)?;
    Ok(document.to_string())
}

fn parsed(text: &str, path: &Path) -> Outcome<SiteFile> {
    let (site, findings) = read(text);
    let shown = path.display().to_string();
    site.ok_or_else(|| {
        let all: String = findings.iter().map(|finding| finding_text(&shown, text, finding)).collect();
        Failure::InvalidSite(format!("{shown} is no good\n{}", all.trim_end()))
    })
}

/// Where the paths in a site file begin.
pub(super) fn folder_of(site: &Path) -> &Path {
    site.parent().unwrap_or(Path::new(""))
}
