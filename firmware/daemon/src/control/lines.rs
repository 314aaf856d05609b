//! The newest lines of the log, for those who ask. Everything here went to the audit sink before.

use heapless::{Deque, String};
use postern_console::rpc::LINE_BYTES_MAX;
use postern_console::rpc::reply::{LINES_PER_REPLY_MAX, LogLine};
use postern_core::limits::LOG_LINES_MAX;
use postern_core::time::Instant;

/// The newest lines.
#[derive(Debug, Default)]
pub struct Lines {
    lines: Deque<LogLine, LOG_LINES_MAX>,
}

impl Lines {
    /// None yet.
    pub const fn new() -> Self {
        Self { lines: Deque::new() }
    }

    /// Keeps a line; the oldest makes room. What is longer than a line is cut.
    pub fn keep(&mut self, id: u64, at: Instant, text: &str) {
        if self.lines.is_full() {
            let _ = self.lines.pop_front();
        }
        let mut kept = String::new();
        for letter in text.chars() {
            if kept.len() >= LINE_BYTES_MAX || kept.push(letter).is_err() {
                break;
            }
        }
        let _ = self.lines.push_back(LogLine { id, at_millis: at.millis(), text: kept });
    }

    /// Id of the newest line; 0 is none.
    pub fn newest(&self) -> u64 {
        self.lines.back().map_or(0, |line| line.id)
    }

    /// The oldest lines with an id above `after`.
    pub fn after(&self, after: u64) -> heapless::Vec<LogLine, LINES_PER_REPLY_MAX> {
        self.lines.iter().filter(|line| line.id > after).take(LINES_PER_REPLY_MAX).cloned().collect()
    }
}
