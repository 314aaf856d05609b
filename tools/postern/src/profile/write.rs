//! Adds and replaces profiles in the profile file, and keeps everything else in it as it is.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use super::{private, read};
use crate::finding::render;
use crate::remote::failure::{Failure, Outcome};

/// What an empty file begins with.
const HEAD: &str =
    "# Client profiles of Postern, see CLIENTS.md. Nobody else may read this file.\nschema = 1\n";

/// Whether [`add`] would find a name that is taken.
///
/// # Errors
/// [`Failure::Usage`], and [`Failure::InvalidProfile`] when the file is no good.
pub fn may_add(path: &Path, name: &str, replace: bool) -> Outcome<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let taken = read::file(path)?.iter().any(|profile| profile.name == name);
    if taken && !replace { Err(name_taken(path, name)) } else { Ok(()) }
}

fn name_taken(path: &Path, name: &str) -> Failure {
    let shown = path.display();
    Failure::Usage(format!(
        "there is a profile {name:?} in {shown} already: use another --name, or --replace"
    ))
}

/// Puts `profile` into the file at `path`, which is made when it is not there. One with its name is
/// replaced when `replace`, and refused otherwise.
///
/// # Errors
/// [`Failure`]; the file is as it was.
pub fn add(path: &Path, profile: Table, replace: bool) -> Outcome<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder)?;
    let there = path.symlink_metadata().is_ok();
    let text = match there {
        true => private::read(path, "profile file").map_err(Failure::InvalidProfile)?.to_string(),
        false => HEAD.to_owned(),
    };
    let shown = path.display();
    let mut document: DocumentMut =
        text.parse().map_err(|error| Failure::InvalidProfile(format!("{shown} is no TOML: {error}")))?;
    let tables = document.entry("profile").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let tables = tables
        .as_array_of_tables_mut()
        .ok_or_else(|| Failure::InvalidProfile(format!("`profile` in {shown} must be a list of tables")))?;
    let name = name_of(&profile).to_owned();
    let position = tables.iter().position(|table| name_of(table) == name);
    match position.and_then(|position| tables.get_mut(position)) {
        Some(_) if !replace => return Err(name_taken(path, &name)),
        Some(table) => {
            let place = table.position();
            *table = profile;
            table.set_position(place.unwrap_or(0));
        }
        None => tables.push(profile),
    }
    let text = document.to_string();
    let (profiles, findings) = read::text_of(&text, folder);
    if profiles.is_none() {
        let all: String = findings.iter().map(|finding| render("profile file", &text, finding)).collect();
        return Err(Failure::InvalidProfile(format!("{shown} would be no good\n{}", all.trim_end())));
    }
    replace_private(path, text.as_bytes())
        .map_err(|error| Failure::failed(&format!("cannot write {shown}"), error))
}

/// Makes a folder that nobody else may enter.
///
/// # Errors
/// [`Failure::Failed`].
pub fn make_folder(folder: &Path) -> Outcome<()> {
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Failure::failed(&format!("cannot make {}", folder.display()), error))
}

/// Replaces a file by one that nobody else may read, whole or not at all.
///
/// # Errors
/// From the system.
pub fn replace_private(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = (|| {
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(octets)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })();
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&fresh);
    })
}

fn name_of(table: &Table) -> &str {
    table.get("name").and_then(Item::as_str).unwrap_or_default()
}
