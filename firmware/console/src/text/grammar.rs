//! Which words there are: for help, completion, abbreviations and did-you-mean.

use heapless::Vec;
use postern_config::{Site, allowance};

use super::edit::{self, DoorField, EditError, Field};
use super::words::{WORDS_MAX, Word};

/// A word and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The word.
    pub word: &'static str,
    /// What follows it, and what it does.
    pub help: &'static str,
}

const fn entry(word: &'static str, help: &'static str) -> Entry {
    Entry { word, help }
}

/// The commands.
pub const COMMANDS: &[Entry] = &[
    entry("show", "[running | candidate | door NAME]  as lines that make it"),
    entry("set", "PATH VALUE...  in the candidate; `commit` puts it in force"),
    entry("delete", "PATH  takes something out of the candidate"),
    entry("diff", "what the candidate changes"),
    entry("discard", "forgets the candidate"),
    entry("check", "asks the gateway whether the candidate could run"),
    entry("commit", "[confirm TIME]  puts it in force, for good or on trial"),
    entry("confirm", "the trial stands"),
    entry("cancel", "takes the trial back now"),
    entry("history", "older configurations"),
    entry("rollback", "GENERATION [confirm TIME]  puts an older one in force"),
    entry("status", "how the gateway is"),
    entry("doors", "doors and who is let in"),
    entry("grants", "who is let in, and for how long yet"),
    entry("revoke", "DOOR [ADDRESS]  takes grants back"),
    entry("keys", "keys, without their secrets"),
    entry("rebase", "KEY  begins a new epoch: what its client sent before is void"),
    entry("account", "add NAME [ROLE] | password NAME | delete NAME"),
    entry("log", "[LINES]  the newest audit records"),
    entry("test", "knock  shows knocks as they arrive, until a key is pressed"),
    entry("wipe", "erases the configuration; the gateway is as from the factory"),
    entry("reboot", "restarts the gateway"),
    entry("logout", "ends the session"),
    entry("help", "this; and `?` anywhere in a line"),
];

/// What can be set besides doors, in sections.
pub const SECTIONS: &[(Entry, &[(Entry, Field)])] = &[
    (
        entry("gateway", "name, interfaces, SPA port, guards"),
        &[
            (entry("name", "NAME  for log lines and this prompt"), Field::Name),
            (entry("interfaces", "NAME...  where knocks arrive"), Field::Interfaces),
            (entry("spa-port", "PORT  UDP, watched and never bound; 0 is none"), Field::SpaPort),
            (entry("guards", "TCP UDP ICMP  widths around each knock"), Field::Guards),
        ],
    ),
    (
        entry("firewall", "back end, exempt interfaces"),
        &[
            (entry("backend", "iptables | nftables"), Field::Backend),
            (entry("exempt", "NAME...  interfaces the gate does not stand on"), Field::Exempt),
        ],
    ),
    (
        entry("console", "banner, idle lock"),
        &[
            (entry("banner", "\"TEXT\"  shown before the login; \\n begins a line"), Field::Banner),
            (entry("idle-lock", "TIME  without a key, after which the session ends"), Field::IdleLock),
        ],
    ),
];

/// The owner's key, which has no section.
pub const OWNER: Entry = entry("owner", "KEY  Ed25519 public key, 64 hexadecimal digits");

/// Doors have a section of their own.
pub const DOOR: Entry = entry("door", "NAME FIELD VALUE...");

/// Fields of a door.
pub const DOOR_FIELDS: &[(Entry, DoorField)] = &[
    (entry("ports", "tcp/PORT | udp/PORT ...  what it protects"), DoorField::Ports),
    (entry("open-for", "TIME  how long a grant lasts"), DoorField::OpenFor),
    (entry("sequence", "tcp/PORT | udp/PORT | icmp/OCTETS ...  opens it"), DoorField::Sequence),
    (entry("close-sequence", "the same  what closes it before its time"), DoorField::CloseSequence),
    (entry("within", "TIME  from the first knock to the last"), DoorField::Within),
    (entry("reorder", "TIME  in which neighbours may overtake each other"), DoorField::Reorder),
    (entry("flags", "syn,!ack  TCP flags a knock must have"), DoorField::Flags),
    (entry("target", "ADDRESS  only knocks to it count"), DoorField::Target),
    (entry("interfaces", "NAME...  only knocks on them count"), DoorField::Interfaces),
    (entry("allow", "FINDING...  accepted findings of a check"), DoorField::Allow),
];

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// This one.
    Unique(usize),
    /// The beginning of several.
    Ambiguous,
    /// None; perhaps this one was meant.
    Unknown(Option<usize>),
}

/// Which of `options` `word` is: the whole word, or a beginning only one has.
pub fn resolve<'o>(word: &str, options: impl Iterator<Item = &'o str> + Clone) -> Resolved {
    if let Some(index) = options.clone().position(|option| option == word) {
        return Resolved::Unique(index);
    }
    let mut beginning =
        options.clone().enumerate().filter(|(_, option)| !word.is_empty() && option.starts_with(word));
    match (beginning.next(), beginning.next()) {
        (Some((index, _)), None) => Resolved::Unique(index),
        (Some(_), Some(_)) => Resolved::Ambiguous,
        (None, _) => {
            let near = options.enumerate().map(|(index, option)| (distance(word, option), index));
            let nearest = near.min().filter(|(distance, _)| *distance <= 2);
            Resolved::Unknown(nearest.map(|(_, index)| index))
        }
    }
}

/// Letters to change, add or leave out (Levenshtein), for words of a command.
fn distance(one: &str, other: &str) -> usize {
    const WORD_MAX: usize = 24;
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() > WORD_MAX || other.len() > WORD_MAX {
        return usize::MAX;
    }
    let mut row: [usize; WORD_MAX + 1] = core::array::from_fn(|column| column);
    for (line, a) in one.iter().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], line + 1);
        for (column, b) in other.iter().enumerate() {
            let left = row.get(column).copied().unwrap_or(usize::MAX - 1);
            let Some(place) = row.get_mut(column + 1) else { break };
            let changed = diagonal + usize::from(a != b);
            diagonal = *place;
            *place = changed.min(left + 1).min(diagonal + 1);
        }
    }
    row.get(other.len()).copied().unwrap_or(usize::MAX)
}

/// A word that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood {
    /// Octet of the line it stands at.
    pub column: usize,
    /// Whether several words begin like it.
    pub ambiguous: bool,
    /// What was perhaps meant.
    pub meant: Option<&'static str>,
}

/// Finds `word` among the entries.
///
/// # Errors
/// [`NotUnderstood`].
pub fn find(word: &Word<'_>, entries: &[Entry]) -> Result<usize, NotUnderstood> {
    let column = word.column;
    match resolve(word.text, entries.iter().map(|entry| entry.word)) {
        Resolved::Unique(index) => Ok(index),
        Resolved::Ambiguous => Err(NotUnderstood { column, ambiguous: true, meant: None }),
        Resolved::Unknown(near) => {
            let meant = near.and_then(|index| entries.get(index)).map(|entry| entry.word);
            Err(NotUnderstood { column, ambiguous: false, meant })
        }
    }
}

/// Words that may stand in one place.
pub type Entries = Vec<Entry, 24>;

/// The words behind `set` and `delete`.
pub fn sections() -> Entries {
    SECTIONS.iter().map(|(entry, _)| *entry).chain([OWNER, DOOR]).collect()
}

fn fields(section: usize) -> Entries {
    SECTIONS
        .get(section)
        .map(|(_, fields)| fields.iter().map(|(entry, _)| *entry).collect())
        .unwrap_or_default()
}

fn door_fields() -> Entries {
    DOOR_FIELDS.iter().map(|(entry, _)| *entry).collect()
}

/// Carries out a line that begins with `set` or `delete`. Remarks do nothing.
///
/// # Errors
/// The outer one when a word is not known, the inner one when a value is not good.
pub fn edit(site: &mut Site, words: &[Word<'_>], end: usize) -> Result<Result<(), EditError>, NotUnderstood> {
    let missing = |what| Ok(Err(EditError { column: end, what }));
    let Some((verb, rest)) = words.split_first() else { return Ok(Ok(())) };
    let deletes = "delete".starts_with(verb.text);
    let Some((section, rest)) = rest.split_first() else {
        return missing("what? `?` shows what there is");
    };
    let all = sections();
    let section_index = find(section, &all)?;
    if section_index < SECTIONS.len() {
        let Some((field, values)) = rest.split_first() else {
            return missing("which one? `?` shows what there is");
        };
        let index = find(field, &fields(section_index))?;
        let chosen = SECTIONS.get(section_index).and_then(|(_, fields)| fields.get(index));
        let Some((_, chosen)) = chosen else { return missing("which one?") };
        return Ok(if deletes {
            edit::delete(site, *chosen, field.column)
        } else {
            edit::set(site, *chosen, values, end)
        });
    }
    if all.get(section_index).is_some_and(|entry| entry.word == OWNER.word) {
        return Ok(if deletes {
            edit::delete(site, Field::Owner, section.column)
        } else {
            edit::set(site, Field::Owner, rest, end)
        });
    }
    let Some((door, rest)) = rest.split_first() else { return missing("which door?") };
    let field = match rest.split_first() {
        None if deletes => return Ok(edit::delete_door(site, door, None)),
        None => return missing("which field of it? `?` shows them"),
        Some((field, _)) => find(field, &door_fields())?,
    };
    let Some((_, field)) = DOOR_FIELDS.get(field) else { return missing("which field of it?") };
    let values = rest.get(1..).unwrap_or_default();
    Ok(if deletes {
        edit::delete_door(site, door, Some(*field))
    } else {
        edit::set_door(site, door, *field, values, end)
    })
}

/// What may stand behind `before`, the whole words of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one exists at a time, and nothing may be allocated")]
pub enum Expected {
    /// One of these words.
    Words(Entries),
    /// The name of a door.
    Door,
    /// The name of an account.
    Account,
    /// A finding that can be accepted.
    Finding,
    /// An interface of the gateway.
    Interface,
    /// Something else, as this says.
    Value(&'static str),
}

/// What may stand behind these words.
pub fn expected(before: &[Word<'_>]) -> Expected {
    let Some((command, rest)) = before.split_first() else {
        return Expected::Words(COMMANDS.iter().copied().collect());
    };
    let Ok(index) = find(command, COMMANDS) else { return Expected::Value("not a command") };
    let command = COMMANDS.get(index).map_or("", |entry| entry.word);
    match (command, rest.len()) {
        ("set" | "delete", _) => expected_of_edit(rest),
        ("show", 0) => Expected::Words(
            [
                entry("running", "what is in force"),
                entry("candidate", "what would be"),
                entry("door", "NAME  one door of the candidate"),
            ]
            .into_iter()
            .collect(),
        ),
        ("show", 1) if rest.first().is_some_and(|word| "door".starts_with(word.text)) => Expected::Door,
        ("revoke", 0) => Expected::Door,
        ("commit", 0) | ("rollback", 1) => Expected::Words(
            [entry("confirm", "TIME  30s to 24h, then it is taken back")].into_iter().collect(),
        ),
        ("account", 0) => Expected::Words(
            [
                entry("add", "NAME [viewer | operator | admin]"),
                entry("password", "NAME  asks for a new one"),
                entry("delete", "NAME"),
            ]
            .into_iter()
            .collect(),
        ),
        ("account", 1) => Expected::Account,
        ("account", 2) => Expected::Words(
            [
                entry("viewer", "looks at everything but secrets"),
                entry("operator", "takes grants back, watches knocks"),
                entry("admin", "changes the configuration"),
            ]
            .into_iter()
            .collect(),
        ),
        ("test", 0) => Expected::Words([entry("knock", "until a key is pressed")].into_iter().collect()),
        _ => Expected::Value(COMMANDS.get(index).map_or("", |entry| entry.help)),
    }
}

fn expected_of_edit(rest: &[Word<'_>]) -> Expected {
    let Some((section, rest)) = rest.split_first() else { return Expected::Words(sections()) };
    let Ok(index) = find(section, &sections()) else { return Expected::Value("not known") };
    if let Some((_, fields_of)) = SECTIONS.get(index) {
        let Some((field, _)) = rest.split_first() else { return Expected::Words(fields(index)) };
        return match find(field, &fields(index)).ok().and_then(|field| fields_of.get(field)) {
            Some((entry, _)) => Expected::Value(entry.help),
            None => Expected::Value("not known"),
        };
    }
    if sections().get(index).is_some_and(|entry| entry.word == OWNER.word) {
        return Expected::Value(OWNER.help);
    }
    match rest {
        [] => Expected::Door,
        [_] => Expected::Words(door_fields()),
        [_, field, ..] => match find(field, &door_fields()).ok().and_then(|field| DOOR_FIELDS.get(field)) {
            Some((_, DoorField::Allow)) => Expected::Finding,
            Some((_, DoorField::Interfaces)) => Expected::Interface,
            Some((entry, _)) => Expected::Value(entry.help),
            None => Expected::Value("not known"),
        },
    }
}

/// Calls `take` with every word that may stand in a place and begins with `beginning`.
pub fn each_word(expected: &Expected, site: &Site, beginning: &str, take: &mut dyn FnMut(&str, &str)) {
    let mut offer = |word: &str, help: &str| {
        if word.starts_with(beginning) {
            take(word, help);
        }
    };
    match expected {
        Expected::Words(entries) => entries.iter().for_each(|entry| offer(entry.word, entry.help)),
        Expected::Door => site.doors.iter().for_each(|door| offer(&door.name, "")),
        Expected::Account => {
            site.accounts.iter().for_each(|account| offer(&account.name, account.role.name()))
        }
        Expected::Finding => allowance::ALLOWANCES.iter().for_each(|finding| offer(finding, "")),
        Expected::Interface => site.interfaces.iter().for_each(|name| offer(name, "")),
        Expected::Value(_) => {}
    }
}

/// What `?` shows of an entry fits beside its word on a terminal of 80 columns.
pub const HELP_CHARS_MAX: usize = 61;

const _: () = {
    let mut rest = COMMANDS;
    while let [first, after @ ..] = rest {
        assert!(first.help.len() <= HELP_CHARS_MAX && first.word.len() <= 15);
        rest = after;
    }
};

const _: () = assert!(COMMANDS.len() <= 24 && DOOR_FIELDS.len() <= 24 && WORDS_MAX >= 20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::words::split;

    fn command(word: &str) -> Result<&'static str, NotUnderstood> {
        find(&Word { text: word, column: 0 }, COMMANDS).map(|index| COMMANDS[index].word)
    }

    #[test]
    fn beginnings_that_only_one_word_has() {
        assert_eq!(command("sh"), Ok("show"));
        assert_eq!(command("comm"), Ok("commit"));
        assert_eq!(command("confirm"), Ok("confirm"));
        assert_eq!(command("co"), Err(NotUnderstood { column: 0, ambiguous: true, meant: None }));
        assert_eq!(command("d"), Err(NotUnderstood { column: 0, ambiguous: true, meant: None }));
        for entry in COMMANDS {
            assert_eq!(command(entry.word), Ok(entry.word));
        }
    }

    #[test]
    fn what_was_perhaps_meant() {
        let meant = |word| command(word).unwrap_err().meant;
        assert_eq!(meant("stauts"), Some("status"));
        assert_eq!(meant("comit"), Some("commit"));
        assert_eq!(meant("grnats"), Some("grants"));
        assert_eq!(meant("xyzzy"), None);
        assert_eq!(meant(&"x".repeat(300)), None);
    }

    #[test]
    fn every_place_of_a_line_expects_something() {
        let places = [
            ("", "Words"),
            ("set", "Words"),
            ("set gateway", "Words"),
            ("set gateway name", "Value"),
            ("set door", "Door"),
            ("set door ssh", "Words"),
            ("set door ssh allow", "Finding"),
            ("se d ssh int", "Interface"),
            ("delete door", "Door"),
            ("show door", "Door"),
            ("revoke", "Door"),
            ("commit", "Words"),
            ("account password", "Account"),
            ("nonsense", "Value"),
            ("set nonsense", "Value"),
        ];
        for (line, kind) in places {
            let expected = std::format!("{:?}", expected(&split(line).unwrap()));
            assert!(expected.starts_with(kind), "{line}: {expected}");
        }
    }
}
