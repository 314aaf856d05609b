//! Configurations on their way from and to the daemon.

use core::fmt::Write;

use postern_config::secret::{Secret, StoredSecret};
use postern_config::site::StoredAccount;
use postern_config::{PAYLOAD_BYTES_MAX, Role, SCHEMA, schema};
use postern_core::time::Instant;
use sha2::{Digest, Sha256};

use super::listing::Listing;
use super::{AfterDownload, Commit, Next, Session};
use crate::rpc::CHUNK_BYTES_MAX;
use crate::rpc::reply::{Checked, ConfigPart};
use crate::rpc::request::{NewAccount, Request, Source, Standing};
use crate::text::value::Count;

impl Session {
    /// Fetches what runs.
    pub(super) fn download(&mut self, after: AfterDownload, now: Instant) {
        self.payload_bytes = 0;
        self.ask(Request::Config { source: Source::Running, offset: 0 }, Next::Download(0, after), now);
    }

    pub(super) fn downloaded(&mut self, offset: u32, after: AfterDownload, part: &ConfigPart, now: Instant) {
        let total = usize::try_from(part.bytes).unwrap_or(usize::MAX);
        let end = self.payload_bytes.saturating_add(part.part.len());
        let fits = part.offset == offset && end <= total.min(PAYLOAD_BYTES_MAX);
        let place = self.payload.get_mut(self.payload_bytes..end).filter(|_| fits);
        let Some(place) = place else { return self.no_download(now) };
        place.copy_from_slice(&part.part);
        self.payload_bytes = end;
        self.base = part.generation;
        if end < total && !part.part.is_empty() {
            let offset = u32::try_from(end).unwrap_or(u32::MAX);
            let request = Request::Config { source: Source::Running, offset };
            return self.ask(request, Next::Download(offset, after), now);
        }
        match schema::decode(part.schema, self.payload.get(..end).unwrap_or_default()) {
            Ok(site) => {
                let keeps = match after {
                    AfterDownload::Shell | AfterDownload::Renew => false,
                    AfterDownload::Overtaken { by_roll_back } => by_roll_back || self.is_changed(),
                };
                self.running = site;
                if !keeps {
                    self.candidate = self.running.clone();
                }
                self.tell_overtaken(after, part.generation);
                self.refresh_trial(now);
            }
            Err(_) => self.no_download(now),
        }
    }

    fn tell_overtaken(&mut self, after: AfterDownload, generation: u64) {
        let AfterDownload::Overtaken { by_roll_back } = after else { return };
        if by_roll_back {
            let _ = writeln!(
                self.screen,
                "The trial is over, nobody confirmed it: generation {generation} is in force again."
            );
        }
        if self.is_changed() {
            let _ = self.screen.write_str(
                "Your candidate is kept: `diff` compares it with what runs, `discard` drops it.\n",
            );
        }
    }

    fn no_download(&mut self, now: Instant) {
        let _ =
            self.screen.write_str("The configuration could not be fetched: try again, or use newer tools.\n");
        self.prompt_at(now);
    }

    /// Brings the candidate to the daemon, to be checked or committed.
    pub(super) fn upload(&mut self, commit: Commit, now: Instant) {
        self.commit = commit;
        let Ok(bytes) = schema::encode(&self.candidate, &mut self.payload) else {
            let _ = self.screen.write_str("The candidate is larger than a configuration can be.\n");
            return self.prompt_at(now);
        };
        self.payload_bytes = bytes;
        let digest = Sha256::digest(self.payload.get(..bytes).unwrap_or_default()).into();
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.ask(Request::Stage { schema: SCHEMA, bytes, digest }, Next::Stage(0), now);
    }

    /// Everything before `offset` has arrived.
    pub(super) fn staged(&mut self, offset: u32, now: Instant) {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.payload.get(from..self.payload_bytes).unwrap_or_default();
        if rest.is_empty() {
            let request = if self.commit.only_check { Request::Check } else { self.commit_request() };
            let next = if self.commit.only_check { Next::Checked } else { Next::Committed };
            return self.ask(request, next, now);
        }
        let part = rest.get(..CHUNK_BYTES_MAX).unwrap_or(rest);
        let arrived = u32::try_from(from + part.len()).unwrap_or(u32::MAX);
        let part = heapless::Vec::from_slice(part).unwrap_or_default();
        self.ask(Request::StagePart { offset, part }, Next::Stage(arrived), now);
    }

    fn commit_request(&self) -> Request {
        Request::Commit { base: self.base, standing: self.standing(), signature: None }
    }

    pub(super) fn standing(&self) -> Standing {
        match self.commit.confirm_secs {
            0 => Standing::Permanent,
            secs => Standing::Trial { secs },
        }
    }

    pub(super) fn checked(&mut self, checked: &Checked, now: Instant) {
        let doors = Count(checked.doors.into(), "door");
        let _ = match (checked.unchanged, checked.grants_lost) {
            (true, _) => writeln!(self.screen, "It could run, and it is what runs already."),
            (_, 0) => writeln!(self.screen, "It could run: {doors}, every grant goes on."),
            (_, lost) => writeln!(
                self.screen,
                "It could run: {doors}; {} would be taken back.",
                Count(lost.into(), "grant")
            ),
        };
        if self.is_weak() { self.start(Listing::Weaknesses { line: 0 }, now) } else { self.prompt_at(now) }
    }

    pub(super) fn in_force(&mut self, next: Next, generation: u64, written: bool, now: Instant) {
        let _ = match (next, written, self.commit.confirm_secs) {
            (Next::Confirmed, true, _) => writeln!(self.screen, "Generation {generation} stands."),
            (Next::Confirmed, false, _) => {
                writeln!(self.screen, "Taken back: generation {generation} is in force again.")
            }
            (_, false, _) => writeln!(self.screen, "Nothing changed: generation {generation} is in force."),
            (_, true, 0) => writeln!(self.screen, "Generation {generation} is in force."),
            (_, true, secs) => writeln!(
                self.screen,
                "Generation {generation} is in force on trial. `confirm` within {secs} s, or it is taken back."
            ),
        };
        self.download(AfterDownload::Renew, now);
    }

    /// Puts an account into the candidate, in the place of the one with its name.
    pub(super) fn put_account(&mut self, account: &NewAccount, now: Instant) {
        let secret = |octets: &[u8; 32]| Secret::new(octets).map(StoredSecret::Known).ok();
        let keys = secret(&account.stored_key).zip(secret(&account.server_key));
        if let Some((stored_key, server_key)) = keys {
            let stored = StoredAccount {
                name: account.name.clone(),
                role: account.role,
                salt: account.salt,
                iterations: account.iterations,
                stored_key,
                server_key,
            };
            let place = self.candidate.accounts.iter_mut().find(|other| other.name == account.name);
            let kept = match place {
                Some(place) => {
                    *place = stored;
                    true
                }
                None => self.candidate.accounts.push(stored).is_ok(),
            };
            let _ = if kept {
                writeln!(self.screen, "\n{} is in the candidate: `commit` puts it in force.", account.name)
            } else {
                writeln!(self.screen, "\nThere is no room for another account.")
            };
        }
        self.prompt_at(now);
    }

    /// Whether the candidate differs from what runs.
    pub(super) fn is_changed(&self) -> bool {
        self.candidate != self.running
    }

    /// What the account that is logged in may do.
    pub(super) fn role(&self) -> Role {
        self.account.as_ref().map_or(Role::Viewer, |(_, role)| *role)
    }
}
