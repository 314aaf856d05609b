//! Telling what happens: plain words, ticks in colour only on a terminal.

use std::io::IsTerminal;

use anyhow::Result;

/// Says what is done and checked.
#[derive(Debug)]
pub(crate) struct Narrator {
    colour: bool,
    chapter: u32,
}

impl Narrator {
    /// Looks whether colours are welcome (<https://no-color.org>).
    pub(crate) fn new() -> Self {
        let colour =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self { colour, chapter: 0 }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Begins a chapter.
    pub(crate) fn chapter(&mut self, title: &str) {
        self.chapter += 1;
        println!("\n{}", self.paint("1", &format!("{}. {title}", self.chapter)));
    }

    /// A sentence.
    pub(crate) fn say(&self, text: &str) {
        println!("   {text}");
    }

    /// A command as one would type it.
    pub(crate) fn command(&self, who: &str, line: &str) {
        println!("   {}", self.paint("36", &format!("{who}$ {line}")));
    }

    /// What a program said.
    pub(crate) fn quote(&self, text: &str) {
        for line in text.lines() {
            println!("   {}", self.paint("2", &format!("| {line}")));
        }
    }

    /// Does `work`, and says whether `claim` held.
    pub(crate) fn check<T>(&self, claim: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = work();
        match &result {
            Ok(_) => println!("   {} {claim}", self.paint("32", "✓")),
            Err(_) => println!("   {} {claim}", self.paint("31", "✗")),
        }
        result
    }
}
