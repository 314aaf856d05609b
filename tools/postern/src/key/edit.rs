//! Changes of keys, as changes of a site file's text: comments and order stay.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use crate::remote::failure::{Failure, Outcome};
use crate::site::SiteFile;

/// Numbers tried behind the name of a key for its successor.
const SUCCESSORS_MAX: u32 = 1000;

/// Adds a key that opens `doors`; its secret is in `path`.
///
/// # Errors
/// When there is one with this name, or a door is not there.
pub fn add(
    document: &mut DocumentMut,
    name: &str,
    person: Option<&str>,
    doors: &[String],
    path: &str,
) -> Result<(), String> {
    let mut table = Table::new();
    table.insert("name", value(name));
    if let Some(person) = person {
        table.insert("person", value(person));
    }
    table.insert("secret_file", value(path));
    push(document, name, table)?;
    for door in doors {
        let table = tables(document, "door")?.iter_mut().find(|table| is_named(table, door));
        open_by(table.ok_or_else(|| format!("there is no door {door:?}"))?, name)?;
    }
    Ok(())
}

/// Adds `new` with everything `old` may do; its secret is in `path`. A door with rotating sequences has
/// one key, which is the new one from then on.
///
/// # Errors
/// When there is no `old`, or it is no native key.
pub fn succeed(document: &mut DocumentMut, old: &str, new: &str, path: &str) -> Result<(), String> {
    let table = tables(document, "key")?.iter().find(|table| is_named(table, old));
    let mut table = table.cloned().ok_or_else(|| format!("there is no key {old:?}"))?;
    if table.get("kind").and_then(Item::as_str).is_some_and(|kind| kind != "native") {
        return Err(format!("{old:?} is no native key: make a new one with fwknop --key-gen"));
    }
    for gone in ["secret", "secret_file", "disabled", "counter_first", "counter_last"] {
        table.remove(gone);
    }
    if !table.contains_key("person") {
        table.insert("person", value(old));
    }
    table.insert("name", value(new));
    table.insert("secret_file", value(path));
    table.set_position(usize::MAX);
    table.decor_mut().set_prefix("\n");
    push(document, new, table)?;
    let Ok(doors) = tables(document, "door") else { return Ok(()) };
    for door in doors.iter_mut() {
        let opens = door.get("spa").and_then(Item::as_array);
        if opens.is_some_and(|names| names.iter().any(|name| name.as_str() == Some(old))) {
            open_by(door, new)?;
        }
        let key =
            door.get_mut("rotating").and_then(Item::as_table_like_mut).and_then(|table| table.get_mut("key"));
        if let Some(key) = key.filter(|key| key.as_str() == Some(old)) {
            *key = value(new);
        }
    }
    Ok(())
}

/// Refuses a key, or takes it again.
///
/// # Errors
/// When there is none with this name.
pub fn set_disabled(document: &mut DocumentMut, name: &str, disabled: bool) -> Result<(), String> {
    let missing = || format!("there is no key {name:?}");
    let keys = tables(document, "key").map_err(|_| missing())?;
    let table = keys.iter_mut().find(|table| is_named(table, name)).ok_or_else(missing)?;
    if disabled {
        table.insert("disabled", value(true));
    } else {
        table.remove("disabled");
    }
    Ok(())
}

/// The name for the successor of a key: `maria-2` of `maria`, `maria-3` of that.
///
/// # Errors
/// [`Failure::Usage`] when no name is left.
pub fn successor(site: &SiteFile, old: &str) -> Outcome<String> {
    let (stem, number) = match old.rsplit_once('-') {
        Some((stem, number)) => match crate::site::notation::digits::<u32>(number) {
            Some(number) => (stem, number),
            None => (old, 1),
        },
        None => (old, 1),
    };
    let taken = |name: &str| site.keys.iter().any(|key| key.rest.name == name);
    let names = (1..SUCCESSORS_MAX).map(|more| format!("{stem}-{}", number.saturating_add(more)));
    let free = names.into_iter().find(|name| !taken(name) && postern_core::rule::is_name(name));
    free.ok_or_else(|| Failure::Usage(format!("no name is left behind {old:?}: choose one with --as")))
}

fn tables<'d>(document: &'d mut DocumentMut, list: &str) -> Result<&'d mut ArrayOfTables, String> {
    document
        .get_mut(list)
        .and_then(Item::as_array_of_tables_mut)
        .ok_or_else(|| format!("there is no [[{list}]]"))
}

fn push(document: &mut DocumentMut, name: &str, table: Table) -> Result<(), String> {
    let keys = document.entry("key").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let keys = keys.as_array_of_tables_mut().ok_or("`key` must be a list of tables")?;
    if keys.iter().any(|other| is_named(other, name)) {
        return Err(format!("there is a key {name:?} already"));
    }
    keys.push(table);
    Ok(())
}

/// Adds a key to those that open a door.
fn open_by(door: &mut Table, name: &str) -> Result<(), String> {
    let names = door.entry("spa").or_insert(Item::Value(Value::Array(Array::new())));
    let names = names.as_array_mut().ok_or("`spa` of a door must be a list of keys")?;
    names.push(name);
    Ok(())
}

fn is_named(table: &Table, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::read;

    const TEXT: &str = "\
# pump station 17
schema = 1
[gateway]
name = \"g\"
interfaces = [\"eth0\"]

[[door]]
name = \"ssh\" # for service
ports = [\"tcp/22\"]
open_for = \"30s\"
spa = [\"maria\"]

[[door]]
name = \"web\"
ports = [\"tcp/80\"]
open_for = \"30s\"
rotating = { key = \"maria\", knocks = 4 }

# Maria's
[[key]]
name = \"maria\"
secret_file = \"keys/maria.key\"
longest = \"10m\"
disabled = true
";

    fn edited(edit: impl Fn(&mut DocumentMut) -> Result<(), String>) -> Result<String, String> {
        let mut document: DocumentMut = TEXT.parse().unwrap();
        edit(&mut document)?;
        let text = document.to_string();
        assert!(text.starts_with("# pump station 17\n") && text.contains("# for service"), "{text}");
        assert_eq!(read(&text).1, [], "{text}");
        Ok(text)
    }

    #[test]
    fn a_key_is_added_to_its_doors() {
        let doors = ["ssh".to_owned(), "web".to_owned()];
        let text = edited(|document| add(document, "otto", Some("otto.m"), &doors, "keys/otto.key")).unwrap();
        let site = read(&text).0.unwrap();
        assert_eq!(super::super::doors_of(&site, "otto"), ["ssh", "web"]);
        assert_eq!(site.keys[1].rest.person, "otto.m");
        for (name, doors) in [("maria", vec![]), ("otto", vec!["shh".to_owned()])] {
            assert!(edited(|document| add(document, name, None, &doors, "x")).is_err());
        }
    }

    #[test]
    fn a_successor_may_do_the_same_and_has_no_end() {
        let text = edited(|document| succeed(document, "maria", "maria-2", "keys/maria-2.key")).unwrap();
        let site = read(&text).0.unwrap();
        assert_eq!(super::super::doors_of(&site, "maria"), ["ssh"]);
        assert_eq!(super::super::doors_of(&site, "maria-2"), ["ssh", "web"]);
        let new = &site.keys[1].rest;
        assert_eq!((new.longest_secs, new.disabled, new.person.as_str()), (600, false, "maria"));
        assert!(edited(|document| succeed(document, "eva", "eva-2", "x")).is_err());
        assert_eq!(successor(&site, "maria").unwrap(), "maria-3");
        assert_eq!(successor(&site, "maria-2").unwrap(), "maria-3");
        assert_eq!(successor(&site, "van-pump").unwrap(), "van-pump-2");
    }

    #[test]
    fn keys_are_disabled_and_enabled() {
        let enabled = edited(|document| set_disabled(document, "maria", false)).unwrap();
        assert!(!read(&enabled).0.unwrap().keys[0].rest.disabled);
        let disabled = edited(|document| set_disabled(document, "maria", true)).unwrap();
        assert!(read(&disabled).0.unwrap().keys[0].rest.disabled);
        assert!(edited(|document| set_disabled(document, "mario", true)).is_err());
    }
}
