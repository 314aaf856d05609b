//! The grammar of knockd.conf, as stock knockd 0.8 reads it.
//!
//! A line is trimmed first. It is empty, a comment (first character `#`), a section (`[` first and
//! `]` last) or a directive `key = value`. There are no comments at the end of a line. Keys do not
//! care about case; the section name `options` does. knockd ends at the first line it does not
//! understand; here that line and its section are refused and the rest is read.

use super::report::{KNOCKD_ENDS, Place, Text, is_blank, refusal, shown};
use crate::finding::Finding;

/// Octets of a line that knockd reads at once (`PATH_MAX` less one); what is behind them it takes
/// for another line.
const LINE_BYTES_MAX: usize = 4094;

/// Sections read before the rest of the file is refused.
const SECTIONS_MAX: usize = 1024;

/// Lines refused before the rest of the file is.
const ERRORS_MAX: usize = 100;

/// What stands in the file.
#[derive(Debug, Default)]
pub(super) struct Conf<'a> {
    pub(super) options: Options<'a>,
    pub(super) sections: Vec<Section<'a>>,
}

/// What stands under `[options]`.
#[derive(Debug, Default)]
pub(super) struct Options<'a> {
    pub(super) syslog: Option<Place>,
    pub(super) log_file: Option<Text<'a>>,
    pub(super) pid_file: Option<Text<'a>>,
    /// The first one; knockd ignores any further.
    pub(super) interface: Option<Text<'a>>,
}

/// One door.
#[derive(Debug)]
pub(super) struct Section<'a> {
    pub(super) name: Text<'a>,
    pub(super) directives: Vec<Directive<'a>>,
    /// A line of it was refused.
    pub(super) broken: bool,
}

/// One line of a door.
#[derive(Debug)]
pub(super) struct Directive<'a> {
    pub(super) key: Key,
    pub(super) value: Text<'a>,
}

/// What a line of a door is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Sequence,
    OneTimeSequences,
    SeqTimeout,
    TcpFlags,
    Target,
    Start,
    Start6,
    CmdTimeout,
    Stop,
    Stop6,
}

impl Key {
    fn from_name(name: &str) -> Option<Key> {
        Some(match name.to_ascii_uppercase().as_str() {
            "SEQUENCE" => Key::Sequence,
            "ONE_TIME_SEQUENCES" => Key::OneTimeSequences,
            "SEQ_TIMEOUT" | "TIMEOUT" => Key::SeqTimeout,
            "TCPFLAGS" => Key::TcpFlags,
            "TARGET" => Key::Target,
            "START_COMMAND" | "COMMAND" => Key::Start,
            "START_COMMAND_6" | "COMMAND_6" => Key::Start6,
            "CMD_TIMEOUT" => Key::CmdTimeout,
            "STOP_COMMAND" => Key::Stop,
            "STOP_COMMAND_6" => Key::Stop6,
            _ => return None,
        })
    }
}

impl<'a> Section<'a> {
    /// The last directive with this key: knockd overwrites the earlier ones.
    pub(super) fn last(&self, key: Key) -> Option<Text<'a>> {
        self.all(key).last()
    }

    /// Every directive with this key, in order.
    pub(super) fn all(&self, key: Key) -> impl Iterator<Item = Text<'a>> {
        self.directives.iter().filter(move |directive| directive.key == key).map(|directive| directive.value)
    }
}

/// Which section the lines belong to.
#[derive(Clone, Copy)]
enum Within {
    Nothing,
    Options,
    Door,
}

/// Reads a whole file; the findings are refusals of lines.
pub(super) fn parse(text: &str) -> (Conf<'_>, Vec<Finding>) {
    let mut reader = Reader { conf: Conf::default(), errors: Vec::new(), within: Within::Nothing };
    for (index, line) in text.split('\n').enumerate() {
        let place = Place { line: u32::try_from(index + 1).unwrap_or(u32::MAX), column: 1 };
        let line = Text { text: line, place };
        if let Err(error) = reader.line(line) {
            reader.errors.push(error);
            reader.break_section();
        }
        if reader.errors.len() > ERRORS_MAX || reader.conf.sections.len() > SECTIONS_MAX {
            reader.errors.push(refusal(
                place,
                "too-much",
                "the rest of the file is not read: too many sections or too many errors before it",
                "Is this a knockd configuration?",
            ));
            break;
        }
    }
    (reader.conf, reader.errors)
}

struct Reader<'a> {
    conf: Conf<'a>,
    errors: Vec<Finding>,
    within: Within,
}

impl<'a> Reader<'a> {
    fn break_section(&mut self) {
        if let (Within::Door, Some(section)) = (self.within, self.conf.sections.last_mut()) {
            section.broken = true;
        }
    }

    fn line(&mut self, line: Text<'a>) -> Result<(), Finding> {
        if line.text.len() > LINE_BYTES_MAX {
            let message = format!("the line is longer than {LINE_BYTES_MAX} octets: knockd reads it as two");
            return Err(refusal(line.place, "line-too-long", message, "Shorten the line."));
        }
        let line = line.trim();
        if line.text.is_empty() || line.text.starts_with('#') {
            return Ok(());
        }
        if line.text.contains('\0') {
            let message = "the line holds a zero octet, where knockd ends it";
            return Err(refusal(line.place, "zero-octet", message, "Remove the zero octet."));
        }
        if line.text.starts_with('[') && line.text.ends_with(']') {
            return self.section(line);
        }
        self.directive(line)
    }

    fn section(&mut self, line: Text<'a>) -> Result<(), Finding> {
        let name = line.slice(1, line.text.len().saturating_sub(2));
        if name.text.is_empty() {
            // What follows would belong to no section.
            self.within = Within::Nothing;
            return Err(knockd_ends(line.place, "a section needs a name", "Write `[name]`."));
        }
        if name.text == "options" {
            self.within = Within::Options;
            return Ok(());
        }
        if name.text.trim_matches(is_blank).eq_ignore_ascii_case("options") {
            self.within = Within::Options;
            let message =
                format!("`[{}]` is a door without a sequence to knockd, which ends", shown(name.text));
            return Err(knockd_ends(line.place, &message, "Write `[options]`; it is read as that here."));
        }
        self.within = Within::Door;
        self.conf.sections.push(Section { name, directives: Vec::new(), broken: false });
        Ok(())
    }

    fn directive(&mut self, line: Text<'a>) -> Result<(), Finding> {
        let equals = line.text.find('=');
        let key = line.slice(0, equals.unwrap_or(line.text.len())).trim();
        let value = equals.map(|equals| line.slice(equals + 1, line.text.len() - equals - 1).trim());
        match (self.within, value) {
            (Within::Nothing, _) => {
                let suggestion = "Put it below `[options]` or below the `[name]` of a door.";
                Err(knockd_ends(line.place, "a directive before the first section", suggestion))
            }
            (_, None) if key.text.eq_ignore_ascii_case("usesyslog") => {
                self.conf.options.syslog = Some(key.place);
                Ok(())
            }
            (_, None) => {
                let message = format!("neither a section nor `key = value`: `{}`", shown(line.text));
                Err(knockd_ends(line.place, &message, "Write `key = value`, or `#` as the first character."))
            }
            (Within::Options, Some(value)) => self.option(key, value),
            (Within::Door, Some(value)) => self.door(key, value),
        }
    }

    fn option(&mut self, key: Text<'a>, value: Text<'a>) -> Result<(), Finding> {
        let options = &mut self.conf.options;
        match key.text.to_ascii_uppercase().as_str() {
            "LOGFILE" => options.log_file = Some(value),
            "PIDFILE" => options.pid_file = Some(value),
            "INTERFACE" => {
                if options.interface.is_none_or(|interface| interface.text.is_empty()) {
                    options.interface = Some(value);
                }
            }
            "USESYSLOG" => {
                return Err(knockd_ends(key.place, "`UseSyslog` takes no value", "Drop the value."));
            }
            _ => {
                let message = format!("no option is called `{}`", shown(key.text));
                let suggestion = "Options are UseSyslog, LogFile, PidFile and Interface.";
                return Err(knockd_ends(key.place, &message, suggestion));
            }
        }
        Ok(())
    }

    fn door(&mut self, key: Text<'a>, value: Text<'a>) -> Result<(), Finding> {
        let (Some(known), Some(section)) = (Key::from_name(key.text), self.conf.sections.last_mut()) else {
            let message = format!("no directive of a door is called `{}`", shown(key.text));
            let suggestion = "Directives are Sequence, One_Time_Sequences, Seq_Timeout, TCPFlags, Target, \
                              Start_Command, Start_Command_6, Cmd_Timeout, Stop_Command and Stop_Command_6.";
            return Err(knockd_ends(key.place, &message, suggestion));
        };
        section.directives.push(Directive { key: known, value });
        Ok(())
    }
}

/// A line at which knockd itself ends.
fn knockd_ends(place: Place, message: &str, suggestion: &str) -> Finding {
    refusal(place, "knockd-syntax", format!("{message}{KNOCKD_ENDS}"), suggestion)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Vec<(Key, &str)> {
        let (conf, errors) = parse(text);
        assert!(errors.is_empty(), "{errors:?}");
        conf.sections
            .iter()
            .flat_map(|section| &section.directives)
            .map(|line| (line.key, line.value.text))
            .collect()
    }

    #[test]
    fn keys_do_not_care_about_case_or_blanks() {
        let text = "[a]\n  SeQuEnCe=1,2\r\n\ttimeout  =  3  \nCommand_6=\nTCPFLAGS = a=b";
        assert_eq!(
            keys(text),
            [(Key::Sequence, "1,2"), (Key::SeqTimeout, "3"), (Key::Start6, ""), (Key::TcpFlags, "a=b")]
        );
    }

    #[test]
    fn comments_begin_a_line_only() {
        let (conf, errors) = parse("# c\n   # d\n[a]\nsequence = 1 # e\n[b] # f\n");
        assert_eq!(conf.sections[0].directives[0].value.text, "1 # e");
        assert_eq!(errors.len(), 1);
        assert_eq!((errors[0].line, errors[0].column, errors[0].code), (5, 1, "knockd-syntax"));
        assert!(conf.sections[0].broken);
    }

    #[test]
    fn options_are_read() {
        let text = "[options]\nusesyslog\nLogFile = /l\npidfile=/p\ninterface = eth1\nInterface = eth2\n";
        let (conf, errors) = parse(text);
        assert!(errors.is_empty());
        assert_eq!(conf.options.interface.map(|text| text.text), Some("eth1"), "the first one holds");
        assert_eq!(conf.options.log_file.map(|text| text.text), Some("/l"));
        assert_eq!(conf.options.pid_file.map(|text| text.text), Some("/p"));
        assert_eq!(conf.options.syslog, Some(Place { line: 2, column: 1 }));
    }

    #[test]
    fn what_ends_knockd_is_refused_by_line() {
        for (text, line) in [
            ("a = b", 1),
            ("[]\n", 1),
            ("[options]\nfoo = 1", 2),
            ("[options]\nlogfile", 2),
            ("[options]\nusesyslog = 1", 2),
            ("[Options]\n", 1),
            ("[a]\nsequence", 2),
            ("[a]\nlogfile = x", 2),
            ("[a]\nse\0quence = 1", 2),
        ] {
            let (_, errors) = parse(text);
            assert_eq!(errors.first().map(|error| error.line), Some(line), "{text:?}");
        }
    }

    #[test]
    fn garbage_is_bounded() {
        let (_, errors) = parse(&"x\n".repeat(100_000));
        assert!(errors.len() <= ERRORS_MAX + 2);
        assert_eq!(errors.last().map(|error| error.code), Some("too-much"));
        let sections = "[a]\n".repeat(100_000);
        let (conf, _) = parse(&sections);
        assert!(conf.sections.len() <= SECTIONS_MAX + 1);
    }
}
