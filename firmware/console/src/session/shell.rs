//! The prompt, help and completion.

use core::fmt::Write;

use heapless::String;
use postern_core::time::{Duration, Instant};

use super::{AfterDownload, AfterStatus, Next, Session, Task};
use crate::rpc::reply::{Status, Trial};
use crate::rpc::request::Request;
use crate::text::editor::LINE_BYTES_MAX;
use crate::text::grammar::{self, Expected};
use crate::text::words;

/// The prompt: name, unsaved changes, trial.
type Prompt = String<64>;

impl Session {
    /// Asks whether a trial runs, then shows the prompt.
    pub(super) fn refresh_trial(&mut self, now: Instant) {
        self.ask(Request::Status, Next::TrialFor(AfterStatus::Prompt), now);
    }

    pub(super) fn status_for(&mut self, after: AfterStatus, status: &Status, now: Instant) {
        self.remember_trial(status.trial, now);
        let generation = status.trial.map(|trial| trial.generation);
        match (after, generation) {
            (AfterStatus::Prompt, _) => self.prompt_at(now),
            (AfterStatus::TrialOver { .. }, Some(_)) => self.prompt_at(now),
            (AfterStatus::TrialOver { generation }, None) if status.generation == generation => {
                let _ = writeln!(self.screen, "Generation {generation} was confirmed elsewhere: it stands.");
                self.prompt_at(now);
            }
            (AfterStatus::TrialOver { .. }, None) => {
                self.download(AfterDownload::Overtaken { by_roll_back: true }, now);
            }
            (AfterStatus::Wipe, _) => {
                let mut word: String<32> = String::new();
                let _ = status.device.iter().take(2).try_for_each(|octet| write!(word, "{octet:02x}"));
                let _ = write!(
                    self.screen,
                    "This erases doors, keys and accounts of {}. Type {word}, the first four digits of the\n\
                     device's id, if you are sure: ",
                    status.gateway
                );
                self.glass.fill(0);
                for (place, octet) in self.glass.iter_mut().zip(status.device) {
                    *place = octet;
                }
                self.editor.begin(false);
                self.task = Task::Sure { word };
            }
            (_, None) => {
                let _ = self.screen.write_str("No trial runs.\n");
                self.prompt_at(now);
            }
            (AfterStatus::Confirm, Some(generation)) => {
                self.ask(Request::Confirm { generation }, Next::Confirmed, now);
            }
            (AfterStatus::Cancel, Some(generation)) => {
                self.ask(Request::Cancel { generation }, Next::Confirmed, now);
            }
        }
    }

    fn remember_trial(&mut self, trial: Option<Trial>, now: Instant) {
        // The daemon may need a moment for one that is over.
        let left = |trial: &Trial| Duration::from_secs(u64::from(trial.secs_left.max(1)));
        self.trial = trial.map(|trial| (trial, now + left(&trial)));
    }

    pub(super) fn is_trial_over(&self, now: Instant) -> bool {
        self.trial.as_ref().is_some_and(|(_, ends)| *ends <= now)
    }

    /// The countdown is at its end: asks what came of it.
    pub(super) fn trial_over(&mut self, now: Instant) {
        let generation = self.trial.take().map_or(0, |(trial, _)| trial.generation);
        self.ask(Request::Status, Next::TrialFor(AfterStatus::TrialOver { generation }), now);
    }

    /// The answer to "are you sure?".
    pub(super) fn sure(&mut self, now: Instant) {
        let Task::Sure { word } = &self.task else { return };
        if self.editor.text().trim() == word.as_str() {
            let device = self.glass.first_chunk::<16>().copied().unwrap_or_default();
            self.ask(Request::Wipe { device }, Next::Wiped, now);
        } else {
            let _ = self.screen.write_str("Nothing was erased.\n");
            self.prompt_at(now);
        }
    }

    /// A new line, without knowing the time: the countdown is shown with the next one.
    pub(super) fn prompt(&mut self) {
        let now = self.last_key;
        self.prompt_at(now);
    }

    /// A new line, or the one that was interrupted.
    pub(super) fn prompt_at(&mut self, now: Instant) {
        self.rows = 0;
        if self.is_trial_over(now) {
            return self.trial_over(now);
        }
        self.task = Task::Prompt;
        if core::mem::take(&mut self.interrupted) {
            self.show_prompt(now);
            self.editor.redraw(&mut self.screen);
        } else {
            self.editor.begin(false);
            self.show_prompt(now);
        }
    }

    pub(super) fn show_prompt(&mut self, now: Instant) {
        let prompt = self.prompt_text(now);
        self.prompt_columns = prompt.len();
        let _ = self.screen.write_str(&prompt);
    }

    fn prompt_text(&self, now: Instant) -> Prompt {
        let mut prompt = Prompt::new();
        let _ = prompt.push_str(self.running.name.as_str());
        if self.is_changed() {
            let _ = prompt.push('*');
        }
        if let Some((_, ends)) = &self.trial {
            let left = ends.since(now).secs_ceil();
            let _ = write!(prompt, " (trial {}:{:02})", left / 60, left % 60);
        }
        let _ = prompt.push_str("> ");
        prompt
    }

    /// `?`: what may stand at the cursor.
    pub(super) fn help_here(&mut self, now: Instant) {
        let (before, beginning) = parted(self.editor.before_cursor());
        let _ = self.screen.write_str("?\n");
        let expected = words::split(before).map(|words| grammar::expected(&words));
        match expected {
            Ok(Expected::Value(help)) => {
                let _ = writeln!(self.screen, "  {help}");
            }
            Ok(expected) => {
                let screen = &mut self.screen;
                let mut any = false;
                grammar::each_word(&expected, &self.candidate, beginning, &mut |word, help| {
                    any = true;
                    let _ = writeln!(screen, "  {word:<15} {help}");
                });
                if !any {
                    let _ = self.screen.write_str("  nothing there begins like that\n");
                }
            }
            Err(_) => {
                let _ = self.screen.write_str("  the line is not whole\n");
            }
        }
        self.show_prompt(now);
        self.editor.redraw(&mut self.screen);
    }

    /// Tab: as much as is certain of the word before the cursor; with nothing more to add, what it
    /// could be.
    pub(super) fn complete(&mut self, now: Instant) {
        let line: String<LINE_BYTES_MAX> = String::try_from(self.editor.before_cursor()).unwrap_or_default();
        let (before, beginning) = parted(&line);
        let Ok(words) = words::split(before) else { return };
        let expected = grammar::expected(&words);
        let mut common: Option<String<64>> = None;
        let mut count = 0_u32;
        grammar::each_word(&expected, &self.candidate, beginning, &mut |word, _| {
            count += 1;
            match &mut common {
                None => common = String::try_from(word).ok(),
                Some(common) => {
                    let same = common.bytes().zip(word.bytes()).take_while(|(a, b)| a == b).count();
                    common.truncate(same);
                }
            }
        });
        let Some(common) = common else { return };
        let mut more: String<64> = String::new();
        let _ = more.push_str(common.get(beginning.len()..).unwrap_or_default());
        if count == 1 {
            let _ = more.push(' ');
        }
        if more.is_empty() {
            self.help_here(now);
        } else {
            self.editor.insert(&more, &mut self.screen);
        }
    }
}

/// The whole words of a line, and the beginning of the next.
fn parted(line: &str) -> (&str, &str) {
    line.split_at(line.rfind([' ', '\t']).map_or(0, |blank| blank + 1))
}
