//! `config set PATH=VALUE`: changes a site through its text.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, TableLike, Value};

use super::failure::{Failure, Outcome};

/// Sections whose tables have names.
const LISTS: [&str; 3] = ["door", "key", "account"];

/// Keys whose values are lists of strings: `ports=tcp/22,tcp/80` will do.
const TEXT_LISTS: [&str; 9] = [
    "interfaces",
    "exempt_interfaces",
    "ports",
    "sequence",
    "close_sequence",
    "spa",
    "allow",
    "sources",
    "windows",
];

/// Carries out `assignments` on the text of a site file. `PATH=` takes away.
///
/// # Errors
/// [`Failure::Usage`].
pub fn edit(text: &str, assignments: &[String]) -> Outcome<String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error| Failure::failed("the configuration is no TOML", error))?;
    for assignment in assignments {
        let usage = |what: String| {
            Failure::Usage(format!(
                "{assignment:?}: {what}; write door.ssh.open_for=45s or gateway.name=pump-17"
            ))
        };
        let (path, value) =
            assignment.split_once('=').ok_or_else(|| usage("a path and a value are needed".into()))?;
        assign(&mut document, path.trim(), value.trim()).map_err(usage)?;
    }
    Ok(document.to_string())
}

fn assign(document: &mut DocumentMut, path: &str, text: &str) -> Result<(), String> {
    let segments: Vec<&str> = path.split('.').collect();
    match segments.as_slice() {
        [key] => put(document.as_table_mut(), key, text),
        [list, names @ .., last] if LISTS.contains(list) => {
            if text.is_empty() && remove_named(document, list, path.get(list.len() + 1..).unwrap_or_default())
            {
                return Ok(());
            }
            if names.is_empty() {
                return Err(format!("say which {list} and what of it"));
            }
            let tables = document.entry(list).or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
            let tables = tables.as_array_of_tables_mut().ok_or_else(|| format!("`{list}` is no list"))?;
            put(named(tables, &names.join(".")), last, text)
        }
        [section, key] => {
            let table = document.entry(section).or_insert(Item::Table(Table::new()));
            put(table.as_table_like_mut().ok_or_else(|| format!("`{section}` is no section"))?, key, text)
        }
        _ => Err("there is no such path".to_owned()),
    }
}

fn is_named(table: &Table, name: &str) -> bool {
    table.get("name").and_then(Item::as_str) == Some(name)
}

/// Takes the table with this name away; `false` when there is none.
fn remove_named(document: &mut DocumentMut, list: &str, name: &str) -> bool {
    let tables = document.get_mut(list).and_then(Item::as_array_of_tables_mut);
    let Some(tables) = tables else { return false };
    let position = tables.iter().position(|table| is_named(table, name));
    if let Some(position) = position {
        tables.remove(position);
    }
    position.is_some()
}

/// The table with this name; a new one when there is none.
fn named<'t>(tables: &'t mut ArrayOfTables, name: &str) -> &'t mut Table {
    let position = tables.iter().position(|table| is_named(table, name));
    let position = position.unwrap_or_else(|| {
        let mut table = Table::new();
        table.insert("name", toml_edit::value(name));
        tables.push(table);
        tables.len() - 1
    });
    tables.get_mut(position).expect("it was found or made")
}

fn put(table: &mut dyn TableLike, key: &str, text: &str) -> Result<(), String> {
    if key.is_empty() || !key.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_') {
        return Err(format!("{key:?} is no key"));
    }
    if text.is_empty() {
        return table.remove(key).map(drop).ok_or_else(|| format!("there is no `{key}` to take away"));
    }
    table.insert(key, Item::Value(value(key, text)));
    Ok(())
}

/// A TOML value where the text is one; otherwise a list or a string of the text.
fn value(key: &str, text: &str) -> Value {
    let list = TEXT_LISTS.contains(&key);
    match text.parse::<Value>() {
        Ok(value) if value.is_array() || !list => value,
        _ if list => {
            let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
            Value::Array(parts.collect::<Array>())
        }
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::read;

    const TEXT: &str = "schema = 1\n\n[gateway]\nname = \"g\"\ninterfaces = [\"eth0\"]\n\n[[door]]\nname = \"ssh.a\"\n\
                        ports = [\"tcp/22\"]\nopen_for = \"30s\"\nreorder = \"100ms\"\n";

    fn edited(assignments: &[&str]) -> Outcome<String> {
        edit(TEXT, &assignments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_set_made_and_taken_away() {
        let text = edited(&[
            "gateway.name=pump-17",
            "door.ssh.a.open_for=45s",
            "door.ssh.a.reorder=",
            "door.ssh.a.one_shot=true",
            "console.idle_lock=5m",
            "door.web.ports=tcp/80,tcp/443",
            "door.web.open_for=1m",
            "door.web.sequence=[\"tcp/7351\", \"udp/24011\", \"tcp/1490\"]",
            "door.web.tcp_flags=syn,!ack",
            "gateway.guard_tcp=100",
        ]);
        let file = read(&text.unwrap()).0.unwrap();
        assert_eq!(file.name.value, "pump-17");
        assert_eq!(file.guards.tcp, 100);
        assert_eq!(file.console.idle_lock_secs, 300);
        assert_eq!((file.doors[0].open_for_secs.value, file.doors[0].reorder_millis.value), (45, 0));
        assert!(file.doors[0].one_shot.value);
        assert_eq!((file.doors[1].ports.len(), file.doors[1].name.value.as_str()), (2, "web"));
        let gone = edited(&["door.ssh.a="]).unwrap();
        assert!(read(&gone).0.unwrap().doors.is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in ["gateway", "door.ssh=1", "a.b.c=1", "door.ssh.a.x y=1", "gateway.spa_port=", "=1"] {
            assert!(matches!(edited(&[wrong]), Err(Failure::Usage(_))), "{wrong}");
        }
    }
}
