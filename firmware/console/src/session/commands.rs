//! What a line at the prompt does.

use core::fmt::Write;

use heapless::Vec;
use postern_config::Role;
use postern_core::rule::{Name, is_name};
use postern_core::time::Instant;

use super::listing::Listing;
use super::{AfterStatus, Commit, Next, Session, Task};
use crate::rpc::request::Request;
use crate::text::edit::door_named;
use crate::text::grammar::{self, COMMANDS, NotUnderstood};
use crate::text::value;
use crate::text::words::{self, WORDS_MAX, Word, WordsError};

/// A line that was kept: the editor's buffer is needed for what follows.
type Line = heapless::String<{ crate::text::editor::LINE_BYTES_MAX }>;

/// Columns of a terminal.
const TERMINAL_COLUMNS: usize = 80;

/// Commands that are a whole line. `confirm 10m` is no way to say `commit confirm 10m`.
const ALONE: [&str; 14] = [
    "diff", "discard", "check", "confirm", "cancel", "wipe", "history", "status", "doors", "grants", "keys",
    "reboot", "help", "logout",
];

impl Session {
    pub(super) fn command(&mut self, now: Instant) {
        self.editor.remember();
        let line: Line = self.editor.text().try_into().unwrap_or_default();
        self.rows = 0;
        let words = match words::split(&line) {
            Ok(words) => words,
            Err(WordsError::OpenQuote(column)) => {
                return self.point_at(column, now, format_args!("this quotation mark has no partner"));
            }
            Err(WordsError::TooMany(column)) => {
                return self.point_at(column, now, format_args!("too many words"));
            }
        };
        let Some((first, rest)) = words.split_first() else { return self.prompt_at(now) };
        // What fingers type.
        if words.len() == 1 && ["exit", "quit"].contains(&first.text) {
            return self.end();
        }
        match grammar::find(first, COMMANDS) {
            Err(error) => self.not_understood(&error, now),
            Ok(index) => {
                let command = COMMANDS.get(index).map_or("", |entry| entry.word);
                self.run(command, &words, rest, line.len(), now);
            }
        }
    }

    fn run(
        &mut self,
        command: &'static str,
        words: &Vec<Word<'_>, WORDS_MAX>,
        rest: &[Word<'_>],
        end: usize,
        now: Instant,
    ) {
        if let Some(extra) = rest.first().filter(|_| ALONE.contains(&command)) {
            return self.point_at(extra.column, now, format_args!("nothing stands behind `{command}`"));
        }
        match command {
            "set" | "delete" => self.edit(words, end, now),
            "show" => self.show(rest, now),
            "diff" => self.start(Listing::Diff { line: 0 }, now),
            "discard" => {
                self.candidate = self.running.clone();
                self.say("The candidate is what runs.\n", now);
            }
            "check" => self.upload(Commit { only_check: true, confirm_secs: 0 }, now),
            "commit" => self.commit(rest, end, now),
            "rollback" => self.rollback(rest, end, now),
            "confirm" => self.ask(Request::Status, Next::TrialFor(AfterStatus::Confirm), now),
            "cancel" => self.ask(Request::Status, Next::TrialFor(AfterStatus::Cancel), now),
            "wipe" if self.role() < Role::Admin => self.say("That needs the role admin.\n", now),
            "wipe" => self.ask(Request::Status, Next::TrialFor(AfterStatus::Wipe), now),
            "history" => self.start(Listing::History { index: 0 }, now),
            "status" => self.ask(Request::Status, Next::Status, now),
            "doors" => self.start(Listing::Doors { from: 0 }, now),
            "grants" => self.start(Listing::Grants { after: 0 }, now),
            "keys" => self.start(Listing::Keys { from: 0 }, now),
            "log" => self.log(rest, now),
            "revoke" => self.revoke(rest, end, now),
            "rebase" => self.rebase(rest, end, now),
            "account" => self.account_command(rest, end, now),
            "test" => self.test(rest, now),
            "reboot" => self.ask(Request::Reboot, Next::Done("The gateway restarts."), now),
            "help" => self.start(Listing::Help { line: 0 }, now),
            _ => self.end(),
        }
    }

    fn say(&mut self, text: &str, now: Instant) {
        let _ = self.screen.write_str(text);
        self.prompt_at(now);
    }

    /// Shows where in the line the mistake stands.
    pub(super) fn point_at(&mut self, column: usize, now: Instant, what: core::fmt::Arguments<'_>) {
        // Under the line as it was typed, behind the prompt; a longer one went on in the next row.
        for _ in 0..(self.prompt_columns + column) % TERMINAL_COLUMNS {
            self.screen.put(b' ');
        }
        let _ = writeln!(self.screen, "^\n{what}");
        self.prompt_at(now);
    }

    fn not_understood(&mut self, error: &NotUnderstood, now: Instant) {
        match (error.ambiguous, error.meant) {
            (true, _) => self.point_at(
                error.column,
                now,
                format_args!("several words begin like that; Tab shows them"),
            ),
            (_, Some(meant)) => {
                self.point_at(error.column, now, format_args!("not understood; did you mean `{meant}`?"));
            }
            (_, None) => {
                self.point_at(error.column, now, format_args!("not understood; `?` shows what there is"));
            }
        }
    }

    fn edit(&mut self, words: &[Word<'_>], end: usize, now: Instant) {
        if self.role() < Role::Admin {
            return self.say("That needs the role admin.\n", now);
        }
        match grammar::edit(&mut self.candidate, words, end) {
            Err(error) => self.not_understood(&error, now),
            Ok(Err(error)) => self.point_at(error.column, now, format_args!("{error}")),
            Ok(Ok(())) => {
                if let Some(door) = self.door_with_other_knocks(words) {
                    self.warn(Some(door));
                }
                self.prompt_at(now);
            }
        }
    }

    /// The door of which a line that was good has changed what it awaits or protects.
    fn door_with_other_knocks(&self, words: &[Word<'_>]) -> Option<usize> {
        let [_, section, name, field, ..] = words else { return None };
        let of_knocks =
            ["sequence", "close-sequence", "ports"].iter().any(|known| known.starts_with(field.text));
        let found = door_named(&self.candidate, name.text);
        found.filter(|_| of_knocks && "door".starts_with(section.text))
    }

    fn show(&mut self, rest: &[Word<'_>], now: Instant) {
        let listing = match rest {
            [] => Listing::Site { candidate: true, line: 0 },
            [what, ..] if !what.text.is_empty() && "running".starts_with(what.text) => {
                Listing::Site { candidate: false, line: 0 }
            }
            [what] if "candidate".starts_with(what.text) => Listing::Site { candidate: true, line: 0 },
            [what, door] if "door".starts_with(what.text) => match door_named(&self.candidate, door.text) {
                Some(door) => Listing::Door { door, line: 0 },
                None => return self.point_at(door.column, now, format_args!("there is no such door")),
            },
            [what, ..] => {
                return self.point_at(what.column, now, format_args!("running, candidate, or door NAME"));
            }
        };
        self.start(listing, now);
    }

    /// `confirm TIME`, or nothing.
    fn standing_of(&mut self, words: &[Word<'_>], end: usize, now: Instant) -> Option<u32> {
        let (column, time) = match words {
            [] => return Some(0),
            [confirm, time] if "confirm".starts_with(confirm.text) => (time.column, time.text),
            [confirm] if "confirm".starts_with(confirm.text) => (end, "10m"),
            [word, ..] => {
                self.point_at(word.column, now, format_args!("`confirm TIME`, e.g. confirm 10m, or nothing"));
                return None;
            }
        };
        let secs =
            value::millis(time).map(|millis| millis / 1000).filter(|secs| (30..=86_400).contains(secs));
        match secs.and_then(|secs| u32::try_from(secs).ok()) {
            Some(secs) => Some(secs),
            None => {
                self.point_at(column, now, format_args!("a time is wanted, 30s to 24h"));
                None
            }
        }
    }

    fn commit(&mut self, rest: &[Word<'_>], end: usize, now: Instant) {
        let Some(confirm_secs) = self.standing_of(rest, end, now) else { return };
        if self.is_changed() {
            self.warn(None);
            self.upload(Commit { only_check: false, confirm_secs }, now);
        } else {
            self.say("Nothing to commit: the candidate is what runs.\n", now);
        }
    }

    fn rollback(&mut self, rest: &[Word<'_>], end: usize, now: Instant) {
        let generation = rest.first().and_then(|word| word.text.parse::<u64>().ok());
        let Some(to) = generation else {
            let column = rest.first().map_or(end, |word| word.column);
            return self.point_at(column, now, format_args!("which generation? `history` shows them"));
        };
        let words = rest.get(1..).unwrap_or_default();
        let Some(confirm_secs) = self.standing_of(words, end, now) else { return };
        self.commit = Commit { only_check: false, confirm_secs };
        let standing = self.standing();
        self.ask(Request::Rollback { base: self.base, to, standing }, Next::Committed, now);
    }

    fn log(&mut self, rest: &[Word<'_>], now: Instant) {
        let wanted = rest.first().map_or(Some(20), |word| word.text.parse::<u64>().ok());
        match (wanted, rest.first()) {
            (Some(lines), _) => self.start(Listing::LogFrom { lines }, now),
            (None, Some(word)) => self.point_at(word.column, now, format_args!("how many lines?")),
            (None, None) => self.prompt_at(now),
        }
    }

    fn test(&mut self, rest: &[Word<'_>], now: Instant) {
        match rest {
            [] => {}
            [what] if "knock".starts_with(what.text) => {}
            [_, what, ..] | [what] => return self.point_at(what.column, now, format_args!("`test knock`")),
        }
        let _ = self.screen.write_str("Knocks as they arrive; any key ends it.\n");
        self.ask(Request::Watch { after: 0 }, Next::Watched, now);
    }

    fn revoke(&mut self, rest: &[Word<'_>], end: usize, now: Instant) {
        let Some(door) = rest.first() else {
            return self.point_at(end, now, format_args!("of which door?"));
        };
        let name = Name::try_from(door.text).ok();
        let Some(name) = name.filter(|_| door_named(&self.running, door.text).is_some()) else {
            return self.point_at(door.column, now, format_args!("there is no such door"));
        };
        let source = match rest.get(1) {
            None => None,
            Some(word) => match word.text.parse() {
                Ok(address) => Some(address),
                Err(_) => {
                    return self.point_at(word.column, now, format_args!("an address is wanted, or nothing"));
                }
            },
        };
        self.ask(Request::Revoke { door: name, source }, Next::Done("Taken back."), now);
    }

    fn rebase(&mut self, rest: &[Word<'_>], end: usize, now: Instant) {
        let Some(word) = rest.first() else {
            return self.point_at(end, now, format_args!("of which key? `keys` lists them"));
        };
        match Name::try_from(word.text) {
            Ok(key) => self.ask(Request::Rebase { key }, Next::Rebased, now),
            Err(_) => self.point_at(word.column, now, format_args!("there is no such key")),
        }
    }

    fn account_command(&mut self, rest: &[Word<'_>], end: usize, now: Instant) {
        if self.role() < Role::Admin {
            return self.say("That needs the role admin.\n", now);
        }
        let [verb, name, more @ ..] = rest else {
            return self.point_at(end, now, format_args!("add NAME [ROLE], password NAME or delete NAME"));
        };
        let Some(known) = Name::try_from(name.text).ok().filter(|text| is_name(text)) else {
            return self.point_at(name.column, now, format_args!("a name has 1 to 32 of A-Z a-z 0-9 - _ ."));
        };
        let position = self.candidate.accounts.iter().position(|account| account.name == known);
        match (verb.text, position) {
            (word, None) if !word.is_empty() && "add".starts_with(word) => {
                let role = more.first().map_or(Some(Role::Operator), |word| Role::named(word.text));
                match role {
                    Some(role) => self.ask_new_password(known, role),
                    None => {
                        let column = more.first().map_or(end, |word| word.column);
                        self.point_at(column, now, format_args!("viewer, operator or admin"));
                    }
                }
            }
            (word, Some(index)) if !word.is_empty() && "password".starts_with(word) => {
                let role = self.candidate.accounts.get(index).map_or(Role::Viewer, |account| account.role);
                self.ask_new_password(known, role);
            }
            (word, Some(index)) if !word.is_empty() && "delete".starts_with(word) => {
                self.candidate.accounts.remove(index);
                self.say("Taken out of the candidate.\n", now);
            }
            (word, Some(_)) if !word.is_empty() && "add".starts_with(word) => {
                self.point_at(name.column, now, format_args!("there is such an account already"));
            }
            (_, None) => self.point_at(name.column, now, format_args!("there is no such account")),
            _ => self.point_at(verb.column, now, format_args!("add, password or delete")),
        }
    }

    /// Begins to show lines.
    pub(super) fn start(&mut self, listing: Listing, now: Instant) {
        self.last_key = now;
        self.rows = 0;
        self.task = Task::Listing(listing);
        self.list();
    }
}
