//! What is shown line by line, a page at a time.

use core::fmt::Write;

use postern_core::time::Instant;

use super::{Next, Session, Task, WATCH_EVERY};
use crate::rpc::reply::{Generation, KeyStatus, Origin, Progress, Reply, SeenKnock, Status, StoreHealth};
use crate::rpc::request::Request;
use crate::text::grammar::COMMANDS;
use crate::text::site_lines::{self, SiteLine};
use crate::text::value::{Count, Hex, Knock, Millis, Port};
use crate::text::weak_lines;

/// Rows after which a page is full: a terminal has 24, an answer of the daemon may bring a few more,
/// and one is for the question.
const PAGE_ROWS: u16 = 20;

/// Rows of advice beside another answer: three weaknesses, and how they are accepted.
const WARNING_ROWS: u32 = 7;

/// Octets a line may take: no line is begun with less room.
const LINE_ROOM: usize = 600;

/// What is being shown, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    Help {
        line: usize,
    },
    Site {
        candidate: bool,
        line: usize,
    },
    Door {
        door: usize,
        line: usize,
    },
    Diff {
        line: usize,
    },
    /// What the candidate's sequences are weak in.
    Weaknesses {
        line: usize,
    },
    History {
        index: u8,
    },
    Doors {
        from: u16,
    },
    Grants {
        after: u64,
    },
    Keys {
        from: u16,
    },
    /// The newest lines, of which the number is to be found out first.
    LogFrom {
        lines: u64,
    },
    Log {
        after: u64,
    },
}

impl Session {
    /// Shows lines while there is room on the page and in the screen's buffer.
    pub(super) fn list(&mut self) {
        while let Task::Listing(listing) = self.task {
            if self.screen.room() < LINE_ROOM {
                return;
            }
            if self.rows >= PAGE_ROWS {
                let _ = self.screen.write_str("-- more: space, q --");
                self.task = Task::More(listing);
                return;
            }
            if !self.list_one(listing) {
                return;
            }
        }
    }

    /// One step; `false` when it waits for the daemon or is over.
    fn list_one(&mut self, listing: Listing) -> bool {
        let now = self.last_key;
        let request = match listing {
            Listing::Help { line } => {
                return self.own_line(help_line(line), Listing::Help { line: line + 1 });
            }
            Listing::Site { candidate, line } => {
                let site = if candidate { &self.candidate } else { &self.running };
                let text = nth(line, &mut |take| site_lines::for_each(site, take));
                return self.own_line(text, Listing::Site { candidate, line: line + 1 });
            }
            Listing::Door { door, line } => {
                let site = &self.candidate;
                let text = nth(line, &mut |take| site_lines::for_each_of_door(site, door, take));
                return self.own_line(text, Listing::Door { door, line: line + 1 });
            }
            Listing::Diff { line } => {
                let text = self.diff_line(line);
                return self.own_line(text, Listing::Diff { line: line + 1 });
            }
            Listing::Weaknesses { line } => {
                let site = &self.candidate;
                let text = nth(line, &mut |take| weak_lines::for_each(site, None, take));
                return self.own_line(text, Listing::Weaknesses { line: line + 1 });
            }
            Listing::History { index } => Request::History { index },
            Listing::Doors { from } => Request::Doors { from },
            Listing::Grants { after } => Request::Grants { after },
            Listing::Keys { from } => Request::Keys { from },
            Listing::LogFrom { .. } => Request::Status,
            Listing::Log { after } => Request::Log { after },
        };
        self.ask(request, Next::Listed, now);
        self.listing = listing;
        false
    }

    /// Shows a line of this console's own; `None` is past the last.
    fn own_line(&mut self, line: Option<SiteLine>, next: Listing) -> bool {
        match line {
            Some(line) => {
                self.row(format_args!("{line}"));
                self.task = Task::Listing(next);
                true
            }
            None => {
                self.over();
                false
            }
        }
    }

    fn row(&mut self, line: core::fmt::Arguments<'_>) {
        self.rows = self.rows.saturating_add(1);
        let _ = writeln!(self.screen, "{line}");
    }

    fn over(&mut self) {
        if self.rows == 0 {
            let _ = self.screen.write_str("There is none.\n");
        }
        self.prompt();
    }

    /// Whether the candidate has a sequence that is weak.
    pub(super) fn is_weak(&self) -> bool {
        nth(0, &mut |take| weak_lines::for_each(&self.candidate, None, take)).is_some()
    }

    /// Says in a few lines what the candidate's sequences are weak in, or those of one door. It is advice: nothing is
    /// held up by it.
    pub(super) fn warn(&mut self, door: Option<usize>) {
        let mut rows = 0;
        weak_lines::for_each(&self.candidate, door, &mut |_| {
            rows += 1;
            true
        });
        let mut left = if rows > WARNING_ROWS { WARNING_ROWS - 1 } else { rows };
        weak_lines::for_each(&self.candidate, door, &mut |line| {
            if left > 0 {
                let _ = writeln!(self.screen, "{line}");
                left -= 1;
            }
            left > 0
        });
        if rows > WARNING_ROWS {
            let _ = writeln!(self.screen, "There is more: `check` shows it.");
        }
    }

    /// A key at the end of a page.
    pub(super) fn more(&mut self, octet: u8) {
        let Task::More(listing) = self.task else { return };
        // The question is wiped away as any terminal can.
        let _ = self.screen.write_str("\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}");
        let _ = self.screen.write_str("                    ");
        let _ = self.screen.write_str("\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}");
        match octet {
            b'q' | b'Q' | 0x03 => self.prompt(),
            b'\r' | b'\n' => {
                self.rows = PAGE_ROWS - 1;
                self.task = Task::Listing(listing);
                self.list();
            }
            _ => {
                self.rows = 0;
                self.task = Task::Listing(listing);
                self.list();
            }
        }
    }

    /// An answer of the daemon with lines in it.
    pub(super) fn listed(&mut self, reply: Reply) {
        let next = match (self.listing, reply) {
            (Listing::History { index }, Reply::History(Some(entry))) => {
                self.generation_row(&entry);
                Some(Listing::History { index: index.saturating_add(1) })
            }
            (Listing::Doors { from }, Reply::Doors(doors)) if !doors.is_empty() => {
                for door in &doors {
                    let way = if door.knocks == 0 && door.keys == 0 { "no way in" } else { "" };
                    let mut ports = SiteLine::new();
                    let _ = door.ports.iter().try_for_each(|&port| write!(ports, " {}", Port(port)));
                    let open_for = Millis(u64::from(door.open_for_secs) * 1000);
                    self.row(format_args!(
                        "{:<16} {:>3} inside  for {open_for} {ports} {way}",
                        door.name, door.grants
                    ));
                }
                let count = u16::try_from(doors.len()).unwrap_or(u16::MAX);
                Some(Listing::Doors { from: from.saturating_add(count) })
            }
            (Listing::Grants { .. }, Reply::Grants(grants)) => {
                for grant in &grants {
                    self.row(format_args!("{:<16} {}  {} s left", grant.door, grant.whom(), grant.secs_left));
                }
                grants.last().map(|grant| Listing::Grants { after: grant.id })
            }
            (Listing::Keys { from }, Reply::Keys(keys)) if !keys.is_empty() => {
                keys.iter().for_each(|key| self.key_row(key));
                let count = u16::try_from(keys.len()).unwrap_or(u16::MAX);
                Some(Listing::Keys { from: from.saturating_add(count) })
            }
            (Listing::LogFrom { lines }, Reply::Status(status)) => {
                Some(Listing::Log { after: status.log_newest.saturating_sub(lines) })
            }
            (Listing::Log { .. }, Reply::Log(lines)) => {
                for line in &lines {
                    let secs = line.at_millis / 1000;
                    self.row(format_args!("{:>7}.{:03} {}", secs, line.at_millis % 1000, line.text));
                }
                lines.last().map(|line| Listing::Log { after: line.id })
            }
            _ => None,
        };
        match next {
            Some(next) => {
                self.task = Task::Listing(next);
                self.list();
            }
            None => self.over(),
        }
    }

    fn generation_row(&mut self, entry: &Generation) {
        let mark = match (entry.in_force, entry.unconfirmed) {
            (true, _) => "  in force",
            (_, true) => "  a trial nobody confirmed",
            _ => "",
        };
        let digest = entry.digest.first_chunk::<4>().copied().unwrap_or_default();
        self.row(format_args!(
            "generation {:<6} {:>6} octets  {}{mark}",
            entry.generation,
            entry.bytes,
            Hex(&digest)
        ));
    }

    fn key_row(&mut self, key: &KeyStatus) {
        let kind = if key.fwknop { "fwknop" } else { "native" };
        let disabled = if key.disabled { "  disabled" } else { "" };
        let (name, doors) = (&key.name, Count(key.doors.into(), "door"));
        match key.used_secs_ago {
            Some(secs) => {
                self.row(format_args!("{name:<16} {kind}  {doors}  used {secs} s ago{disabled}"));
            }
            None => self.row(format_args!("{name:<16} {kind}  {doors}{disabled}")),
        }
    }

    /// Knocks that were seen since the last time.
    pub(super) fn watched(&mut self, knocks: &[SeenKnock], now: Instant) {
        let mut after = self.watched_after;
        for knock in knocks {
            after = knock.number;
            let _ = write!(self.screen, "{} {}: ", knock.source, Knock(knock.step));
            let door = knock.door.as_deref().unwrap_or("?");
            let _ = match (&knock.door, knock.progress) {
                (None, _) => writeln!(self.screen, "a guard: nothing opens for this address for a while"),
                (_, Progress::Reached { knocks }) => {
                    writeln!(self.screen, "door {door}, knock {knocks} of {}", knock.of)
                }
                (_, Progress::Completed) => writeln!(self.screen, "door {door}, complete: it opens"),
                (_, Progress::Tainted) => {
                    writeln!(self.screen, "door {door}, complete, but a guard was touched: refused")
                }
                (_, Progress::OutOfOrder) => {
                    writeln!(self.screen, "door {door}, not the next one, too late, or a repetition")
                }
                (_, Progress::NoRoom) => writeln!(self.screen, "door {door}, no room: under attack"),
            };
        }
        self.watched_after = after;
        self.task = Task::Watching { after, at: now + WATCH_EVERY };
    }

    /// Lines only the candidate has, then lines only what runs has.
    fn diff_line(&self, line: usize) -> Option<SiteLine> {
        let mut left = line;
        let mut found = None;
        for (sign, of, other) in
            [("+", &self.candidate, &self.running), ("-", &self.running, &self.candidate)]
        {
            site_lines::for_each(of, &mut |text| {
                let mut there = false;
                site_lines::for_each(other, &mut |theirs| {
                    there = theirs == text;
                    !there
                });
                if !there && left == 0 {
                    let mut marked = SiteLine::new();
                    let _ = write!(marked, "{sign} {text}");
                    found = Some(marked);
                }
                left = left.saturating_sub(usize::from(!there));
                found.is_none()
            });
            if found.is_some() {
                break;
            }
        }
        found
    }

    pub(super) fn show_status(&mut self, status: &Status, now: Instant) {
        let uptime = status.uptime_millis / 1000;
        let digest = status.digest.first_chunk::<4>().copied().unwrap_or_default();
        let screen = &mut self.screen;
        let _ = writeln!(screen, "gateway     {}, device {}", status.gateway, Hex(&status.device));
        let _ = match status.origin {
            Origin::Slot => {
                writeln!(screen, "in force    generation {} ({})", status.generation, Hex(&digest))
            }
            Origin::Factory => writeln!(screen, "in force    the factory profile: nothing opens"),
            Origin::Safe => writeln!(
                screen,
                "in force    SAFE MODE: generation {} ({}) did not last, nothing opens; see `log`",
                status.generation,
                Hex(&digest)
            ),
        };
        if let Some(trial) = &status.trial {
            let _ =
                writeln!(screen, "trial       {} s left: `confirm`, or it is taken back", trial.secs_left);
        }
        let _ = writeln!(
            screen,
            "doors       {}, {} let in; {}, {}",
            status.doors,
            status.grants,
            Count(status.accounts.into(), "account"),
            Count(status.keys.into(), "key")
        );
        for interface in &status.interfaces {
            let state = if interface.live { "watched" } else { "NOT THERE: waiting for it" };
            let _ = writeln!(screen, "interface   {} {state}", interface.name);
        }
        let _ = writeln!(
            screen,
            "seen        {} frames, {} knocks, {} guards touched, {} opened, {} lost",
            status.frames, status.knocks, status.guard_touches, status.opened, status.dropped
        );
        let _ = match status.store {
            StoreHealth::Good => writeln!(screen, "partition   good"),
            StoreHealth::SlotsRefused { slots } => {
                writeln!(screen, "partition   {slots} slots refused: the log says why")
            }
            StoreHealth::Failed => {
                writeln!(screen, "partition   FAILED: nothing can be committed until a restart")
            }
        };
        let _ = writeln!(
            screen,
            "up          {}h {:02}m, start {} of this partition",
            uptime / 3600,
            uptime / 60 % 60,
            status.boots
        );
        self.trial = status
            .trial
            .map(|trial| (trial, now + postern_core::time::Duration::from_secs(u64::from(trial.secs_left))));
    }
}

fn help_line(line: usize) -> Option<SiteLine> {
    let entry = COMMANDS.get(line)?;
    let mut text = SiteLine::new();
    let _ = write!(text, "{:<10} {}", entry.word, entry.help);
    Some(text)
}

/// Takes a line; `false` ends the enumeration.
type TakeLine<'t> = dyn FnMut(&str) -> bool + 't;

/// The line with this number, of an enumeration that can be stopped.
fn nth(number: usize, each: &mut dyn FnMut(&mut TakeLine<'_>)) -> Option<SiteLine> {
    let (mut left, mut found) = (number, None);
    each(&mut |line| {
        if left == 0 {
            found = SiteLine::try_from(line).ok();
            return false;
        }
        left -= 1;
        true
    });
    found
}
