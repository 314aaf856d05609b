//! Values of a table, each with its place and a message when it is not what it should be.

use postern_core::limits::{INTERFACE_NAME_BYTES_MAX, INTERFACES_MAX, NAME_BYTES_MAX};
use postern_core::rule::is_name;
use toml_edit::TableLike;

use super::{Reader, start};
use crate::site::At;
use crate::site::notation;
use crate::site::words::{self, did_you_mean};

impl Reader<'_> {
    pub(crate) fn check_name(&mut self, name: &At<String>) -> bool {
        let fits = is_name(&name.value);
        if !fits {
            let what = format!("a name has 1 to {NAME_BYTES_MAX} of the characters A-Z a-z 0-9 - _ .");
            self.error(name.offset, "name", what, "choose a name that needs no quoting in logs and scripts");
        }
        fits
    }

    pub(crate) fn interface_names(&mut self, table: &dyn TableLike, key: &str) -> Option<Vec<At<String>>> {
        let names = self.texts(table, key)?;
        for name in &names {
            let odd = |byte: u8| !byte.is_ascii_graphic() || byte == b'/' || byte == b':';
            if matches!(name.value.as_str(), "" | "." | "..")
                || name.value.len() > INTERFACE_NAME_BYTES_MAX
                || name.value.bytes().any(odd)
            {
                let what = format!("{:?} is no name of an interface", name.value);
                self.error(name.offset, "interface", what, "`ip -br link` lists them");
            }
        }
        if let Some(extra) = names.get(INTERFACES_MAX) {
            self.error(extra.offset, "limit", format!("at most {INTERFACES_MAX} interfaces"), "watch fewer");
        }
        Some(names)
    }

    pub(crate) fn millis(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        default: u32,
        least: u64,
        most: u64,
    ) -> At<u32> {
        let Some(millis) = self.parsed(table, key, words::millis) else { return At::new(default, 0) };
        match u32::try_from(millis.value).ok().filter(|_| (least..=most).contains(&millis.value)) {
            Some(value) => At::new(value, millis.offset),
            None => {
                let what = format!("`{key}` must be {least} ms to {most} ms, and is {} ms", millis.value);
                self.error(millis.offset, "limit", what, "choose a time in that range");
                At::new(default, millis.offset)
            }
        }
    }

    pub(crate) fn parsed<T>(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let text = self.optional_text(table, key)?;
        self.each(vec![text], parse).pop()
    }

    /// Parses each text; those that are wrong are reported and left out.
    pub(crate) fn each<T>(
        &mut self,
        texts: Vec<At<String>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<At<T>> {
        let mut parsed = Vec::with_capacity(texts.len());
        for At { value, offset } in texts {
            match parse(&value) {
                Ok(value) => parsed.push(At::new(value, offset)),
                Err(expected) => {
                    self.error(offset, "value", format!("{value:?} is not understood"), expected)
                }
            }
        }
        parsed
    }

    pub(crate) fn table<'d>(&mut self, root: &'d dyn TableLike, key: &str) -> Option<&'d dyn TableLike> {
        let item = root.get(key)?;
        let table = item.as_table_like();
        if table.is_none() {
            self.error(
                start(item),
                "type",
                format!("`{key}` must be a table"),
                format!("write it as `[{key}]`"),
            );
        }
        table
    }

    pub(crate) fn texts(&mut self, table: &dyn TableLike, key: &str) -> Option<Vec<At<String>>> {
        let item = table.get(key)?;
        self.texts_of(key, item.as_array(), start(item))
    }

    /// The strings of a list that stands at `offset`.
    pub(crate) fn texts_of(
        &mut self,
        key: &str,
        list: Option<&toml_edit::Array>,
        offset: usize,
    ) -> Option<Vec<At<String>>> {
        let Some(array) = list else {
            self.error(
                offset,
                "type",
                format!("`{key}` must be a list of strings"),
                format!("write `{key} = [\"...\"]`"),
            );
            return None;
        };
        let mut texts = Vec::new();
        for value in array {
            let offset = value.span().map_or(0, |span| span.start);
            match value.as_str() {
                Some(text) => texts.push(At::new(text.to_owned(), offset)),
                None => self.error(
                    offset,
                    "type",
                    format!("`{key}` must be a list of strings"),
                    "put it in quotes",
                ),
            }
        }
        Some(texts)
    }

    pub(crate) fn required_text(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        place: &str,
        at: usize,
    ) -> Option<At<String>> {
        if table.get(key).is_none() {
            self.error(
                at,
                "missing",
                format!("`{key}` is missing in {place}"),
                format!("add `{key} = \"...\"`"),
            );
        }
        self.optional_text(table, key)
    }

    pub(crate) fn optional_text(&mut self, table: &dyn TableLike, key: &str) -> Option<At<String>> {
        let item = table.get(key)?;
        match item.as_str() {
            Some(text) => Some(At::new(text.to_owned(), start(item))),
            None => {
                self.error(
                    start(item),
                    "type",
                    format!("`{key}` must be a string"),
                    format!("write `{key} = \"...\"`"),
                );
                None
            }
        }
    }

    pub(crate) fn known_keys(&mut self, table: &dyn TableLike, place: &str, known: &[&str]) {
        let unknown: Vec<(String, usize)> = table
            .iter()
            .filter(|(key, _)| !known.contains(key))
            .map(|(key, item)| {
                let at = table.key(key).and_then(toml_edit::Key::span).map_or(start(item), |span| span.start);
                (key.to_owned(), at)
            })
            .collect();
        for (key, at) in unknown {
            let suggestion = match did_you_mean(&key, known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known there: {}", known.join(", ")),
            };
            self.error(at, "unknown-key", format!("unknown key `{key}` in {place}"), suggestion);
        }
    }

    /// An integer of a range; `expected` is the code, the message and an example.
    pub(crate) fn number<T>(
        &mut self,
        table: &dyn TableLike,
        key: &str,
        range: std::ops::RangeInclusive<T>,
        expected: (&'static str, &str, &str),
    ) -> Option<At<T>>
    where
        T: TryFrom<i64> + PartialOrd,
    {
        let item = table.get(key)?;
        let value = item.as_integer().and_then(|value| T::try_from(value).ok());
        if let Some(value) = value.filter(|value| range.contains(value)) {
            return Some(At::new(value, start(item)));
        }
        let (code, message, example) = expected;
        self.error(start(item), code, message, format!("write `{key} = {example}`"));
        None
    }

    /// An integer of 64 bits: TOML's are signed, so the upper half is written in quotes.
    pub(crate) fn wide_number(&mut self, table: &dyn TableLike, key: &str, default: u64) -> u64 {
        let Some(item) = table.get(key) else { return default };
        let value = match item.as_str() {
            Some(text) => notation::digits(text),
            None => item.as_integer().and_then(|value| u64::try_from(value).ok()),
        };
        value.unwrap_or_else(|| {
            let what = format!("`{key}` must be a number of 0 to {}", u64::MAX);
            self.error(start(item), "limit", what, "put numbers above 9223372036854775807 in quotes");
            default
        })
    }

    pub(crate) fn switch(&mut self, table: &dyn TableLike, key: &str) -> At<bool> {
        let Some(item) = table.get(key) else { return At::new(false, 0) };
        match item.as_bool() {
            Some(value) => At::new(value, start(item)),
            None => {
                self.error(
                    start(item),
                    "type",
                    format!("`{key}` must be true or false"),
                    format!("write `{key} = true`"),
                );
                At::new(false, start(item))
            }
        }
    }
}
