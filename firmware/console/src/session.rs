//! One person at a line: from the banner to the logout.
//!
//! Sans I/O and without a clock: octets of the line, answers of the daemon and the time go in;
//! octets for the line and frames for the daemon come out. One request is outstanding at a time.
//!
//! ```text
//! Hello -> Name -> Password -> (compute) -> Prompt <-> a command's task
//!            |  \-> BreakGlass -> Enrol        ^
//!            \-> Enrol: first start -----------+
//! ```

use core::fmt::Write;

use postern_config::{PAYLOAD_BYTES_MAX, Role, Site};
use postern_core::rule::Name;
use postern_core::time::{Duration, Instant};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::rpc::reply::{Challenge, Reply, Trial, Welcome};
use crate::rpc::request::Request;
use crate::rpc::{Answer, Call, Deframer, FRAME_BYTES_MAX, InvalidConfig, PROTOCOL, Refusal, encode_frame};
use crate::text::editor::{Editor, Event};
use crate::text::rules::Unrunnable;
use crate::text::screen::Screen;

mod commands;
mod listing;
mod login;
mod shell;
mod transfer;

use listing::Listing;

/// How long the daemon may take for an answer before it counts as gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How often knocks are asked for while somebody watches.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// How long somebody may look at the login prompt.
const IDLE_BEFORE_LOGIN: Duration = Duration::from_secs(120);

/// A program's first frame is short: what comes later behind a zero that noise made is a person's.
const FRAME_WITHIN: Duration = Duration::from_secs(1);

/// Said when it ends, and to whoever presses Enter until it is back.
const NO_DAEMON: &str = "\nThe gateway's daemon does not answer; waiting for it.\n";

/// What the session waits for.
#[derive(Debug)]
enum Task {
    /// The daemon to answer at all.
    Hello,
    /// A key, before anything is shown: nobody may be there.
    Asleep,
    /// The name of an account.
    Name,
    /// Its password.
    Password { name: Name },
    /// The owner's signature.
    BreakGlass,
    /// The name of a new account.
    NewName,
    /// Its password, for the first time.
    NewPassword { name: Name, role: Role },
    /// And for the second.
    Repeat { name: Name, role: Role },
    /// A command.
    Prompt,
    /// The word that says one is sure.
    Sure { word: Name },
    /// The daemon, for what comes next.
    Waiting(Next),
    /// Lines are being shown.
    Listing(Listing),
    /// A page is full: a key.
    More(Listing),
    /// Knocks are being watched.
    Watching { after: u64, at: Instant },
    /// The daemon is gone; tried again at the deadline.
    Gone,
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Welcome,
    Challenge,
    LoggedIn,
    Glass,
    GlassBroken,
    Download(u32, AfterDownload),
    Stage(u32),
    Checked,
    Committed,
    Confirmed,
    TrialFor(AfterStatus),
    Status,
    Listed,
    Watched,
    Done(&'static str),
    Rebased,
    Wiped,
}

/// What a status was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterStatus {
    Prompt,
    Confirm,
    Cancel,
    Wipe,
    /// The time of the trial with this generation is over.
    TrialOver {
        generation: u64,
    },
}

/// What a download of the running configuration is followed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterDownload {
    /// The first one after the login.
    Shell,
    /// After a commit: the candidate is what runs.
    Renew,
    /// Something else runs by now, because a trial is over or somebody else has changed it.
    Overtaken { by_roll_back: bool },
}

/// What takes long and is done in [`Session::compute`], after what is to be shown was shown.
#[derive(Debug)]
enum Work {
    Login(Challenge),
    NewAccount { name: Name, role: Role },
}

/// What is committed and how, while it is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Commit {
    /// 0 is for good.
    confirm_secs: u32,
    /// Only asked whether it could run.
    only_check: bool,
}

/// One person at a line. About 400 KiB: two sites and a payload.
pub struct Session {
    screen: Screen,
    editor: Editor,
    task: Task,
    work: Option<Work>,
    welcome: Option<Welcome>,
    /// The account that is logged in.
    account: Option<(Name, Role)>,
    login_name: Name,
    password: heapless::Vec<u8, { crate::text::editor::LINE_BYTES_MAX }>,
    expected_signature: Option<[u8; 32]>,
    /// The running site as it was fetched, and what shall become of it.
    running: Site,
    candidate: Site,
    base: u64,
    commit: Commit,
    trial: Option<(Trial, Instant)>,
    /// Columns the prompt takes, for the caret below a mistake.
    prompt_columns: usize,
    /// A line was being typed when something was told: it goes on behind the next prompt.
    interrupted: bool,
    payload: [u8; PAYLOAD_BYTES_MAX],
    payload_bytes: usize,
    glass: [u8; 32],
    client_nonce: [u8; 16],
    seed: [u8; 32],
    nonces: u64,
    frame: [u8; FRAME_BYTES_MAX],
    unsent: core::ops::Range<usize>,
    number: u16,
    deframer: Deframer,
    deadline: Option<Instant>,
    last_key: Instant,
    rows: u16,
    /// What an answer with lines is for.
    listing: Listing,
    watched_after: u64,
    machine_mode: bool,
    /// A frame of a program that comes while somebody is at the line, and when its zero came.
    program: Deframer,
    program_since: Option<Instant>,
    /// Whether the daemon may take this connection for somebody's.
    privileged: bool,
    renewal: bool,
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session").field("task", &self.task).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that begins. `seed` is random: it makes nonces and salts.
    pub fn new(seed: [u8; 32], now: Instant) -> Self {
        Self {
            screen: Screen::new(),
            editor: Editor::new(),
            task: Task::Gone,
            work: None,
            welcome: None,
            account: None,
            login_name: Name::new(),
            password: heapless::Vec::new(),
            expected_signature: None,
            running: Site::default(),
            candidate: Site::default(),
            base: 0,
            commit: Commit::default(),
            trial: None,
            prompt_columns: 0,
            interrupted: false,
            payload: [0; PAYLOAD_BYTES_MAX],
            payload_bytes: 0,
            glass: [0; 32],
            client_nonce: [0; 16],
            seed,
            nonces: 0,
            frame: [0; FRAME_BYTES_MAX],
            unsent: 0..0,
            number: 0,
            deframer: Deframer::new(),
            deadline: None,
            last_key: now,
            rows: 0,
            listing: Listing::Help { line: 0 },
            watched_after: 0,
            machine_mode: false,
            program: Deframer::new(),
            program_since: None,
            privileged: false,
            renewal: false,
        }
    }

    /// The next octet for the line.
    pub fn take_output(&mut self) -> Option<u8> {
        let octet = self.screen.take();
        if self.screen.is_empty() {
            self.list();
        }
        octet
    }

    /// Whether nothing waits for the line.
    pub fn has_output(&self) -> bool {
        !self.screen.is_empty()
    }

    /// What is to be sent to the daemon; [`Session::sent`] takes it away.
    pub fn frame(&self) -> &[u8] {
        self.frame.get(self.unsent.clone()).unwrap_or_default()
    }

    /// So many octets of the frame were sent.
    pub fn sent(&mut self, octets: usize) {
        self.unsent.start = self.unsent.start.saturating_add(octets).min(self.unsent.end);
    }

    /// When [`Session::tick`] must be called.
    pub fn poll_at(&self) -> Option<Instant> {
        let idle = self.idle_after().map(|idle| self.last_key + idle);
        let next = match self.task {
            Task::Watching { at, .. } => Some(at),
            Task::Prompt => self.trial.as_ref().map(|(_, ends)| *ends),
            _ => None,
        };
        [self.deadline, idle, next].into_iter().flatten().min()
    }

    /// Whether a program speaks at the line: its octets go to the daemon as they are, and the
    /// daemon's to it.
    pub fn is_relay(&self) -> bool {
        self.machine_mode
    }

    /// Whether the connection to the daemon is to be closed and another one made: somebody was logged
    /// in on it, and is not any more. True once.
    pub fn take_renewal(&mut self) -> bool {
        core::mem::take(&mut self.renewal)
    }

    /// The daemon answers on a new connection.
    pub fn daemon_found(&mut self, now: Instant) {
        self.privileged = false;
        self.renewal = false;
        self.unsent = 0..0;
        self.deframer = Deframer::new();
        self.ask(Request::Hello { protocol: PROTOCOL }, Next::Welcome, now);
    }

    /// The connection to the daemon broke: it may have been started anew.
    pub fn daemon_lost(&mut self) {
        if self.account.is_some() || !matches!(self.task, Task::Gone | Task::Asleep | Task::Hello) {
            let _ = self.screen.write_str(NO_DAEMON);
        }
        self.log_out();
        self.task = Task::Gone;
        self.deadline = None;
    }

    /// The line broke, or sent a BREAK: whoever was there is not there any more.
    pub fn line_lost(&mut self) {
        self.screen.clear();
        self.log_out();
        self.machine_mode = false;
        self.task = if self.welcome.is_some() { Task::Asleep } else { Task::Gone };
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.deadline = None;
            self.daemon_lost();
            return;
        }
        if self.idle_after().is_some_and(|idle| self.last_key + idle <= now) {
            let _ = self.screen.write_str("\nSession ended: nobody pressed a key.\n");
            self.log_out();
            self.task = Task::Asleep;
            self.last_key = now;
        }
        match self.task {
            Task::Watching { after, at } if at <= now => {
                self.ask(Request::Watch { after }, Next::Watched, now);
            }
            Task::Prompt if self.is_trial_over(now) => {
                let _ = self.screen.write_str("\n");
                self.interrupted = true;
                self.trial_over(now);
            }
            _ => {}
        }
    }

    /// Whether [`Session::compute`] has something to do.
    pub fn wants_to_compute(&self) -> bool {
        self.work.is_some()
    }

    /// Takes an octet of the line.
    pub fn key(&mut self, octet: u8, now: Instant) {
        self.last_key = now;
        // People do not send zeros: a program does, before its first frame.
        if octet == 0 && matches!(self.task, Task::Asleep | Task::Name | Task::NewName) {
            self.machine_mode = true;
            self.editor.forget();
            return;
        }
        if self.is_of_a_program(octet, now) {
            return;
        }
        match &self.task {
            Task::Asleep => self.greet(),
            Task::More(_) => self.more(octet),
            Task::Listing(_) if octet == 0x03 => self.prompt(),
            Task::Watching { .. } => {
                let _ = self.screen.write_str("\n");
                self.prompt();
            }
            Task::Gone if octet == b'\r' || octet == b'\n' => {
                let _ = self.screen.write_str(NO_DAEMON);
            }
            Task::Hello | Task::Gone | Task::Waiting(_) | Task::Listing(_) => {}
            _ => {
                if let Some(event) = self.editor.take(octet, &mut self.screen) {
                    self.event(event, now);
                }
            }
        }
    }

    /// Whether an octet belongs to a frame while somebody is at the line: nothing of that is typed. A
    /// whole frame is a program, and whoever forgot to log out is logged out.
    fn is_of_a_program(&mut self, octet: u8, now: Instant) -> bool {
        let in_time = self.program_since.is_some_and(|since| now < since + FRAME_WITHIN);
        if !in_time {
            self.program = Deframer::new();
            self.program_since = None;
        }
        let heard = if in_time || octet == 0 { self.program.take::<Call>(octet) } else { None };
        match heard {
            Some(Ok(_)) => {
                self.program_since = None;
                self.line_lost();
                self.machine_mode = true;
            }
            Some(Err(_)) => self.program_since = None,
            None if octet == 0 => self.program_since = Some(now),
            None => {}
        }
        in_time || octet == 0
    }

    /// Whether keys are taken now; if not, they wait in the line.
    pub fn takes_keys(&self) -> bool {
        self.work.is_none() && !matches!(self.task, Task::Waiting(_) | Task::Listing(_))
    }

    /// Takes an octet of the daemon.
    pub fn daemon(&mut self, octet: u8, now: Instant) {
        let Some(Ok(Answer { number, result })) = self.deframer.take::<Answer>(octet) else { return };
        if number != self.number {
            return;
        }
        self.deadline = None;
        if let Task::Waiting(next) = self.task {
            match result {
                Ok(reply) => self.answered(next, reply, now),
                Err(refusal) => self.refused(next, &refusal, now),
            }
        }
    }

    fn ask(&mut self, request: Request, next: Next, now: Instant) {
        // From here on: the answer may get lost, the login may not.
        self.privileged |=
            matches!(request, Request::Proof { .. } | Request::Enrol { .. } | Request::BreakGlass { .. });
        self.number = self.number.wrapping_add(1);
        let call = Call { number: self.number, request };
        // Every request fits into a frame.
        let length = encode_frame(&call, &mut self.frame).map_or(0, <[u8]>::len);
        self.unsent = 0..length;
        self.task = Task::Waiting(next);
        self.deadline = Some(now + ANSWER_WITHIN);
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Enter => self.enter(now),
            Event::Cancel => {
                let _ = self.screen.write_str("^C\n");
                self.cancel_line();
            }
            Event::End => {
                let _ = self.screen.write_str("\n");
                self.end();
            }
            Event::Help | Event::Complete if !matches!(self.task, Task::Prompt) => {}
            Event::Help => self.help_here(now),
            Event::Complete => self.complete(now),
            Event::Redraw => {
                let _ = self.screen.write_str("\n");
                self.show_prompt(now);
                self.editor.redraw(&mut self.screen);
            }
        }
    }

    fn enter(&mut self, now: Instant) {
        match &self.task {
            Task::Prompt => self.command(now),
            Task::Sure { .. } => self.sure(now),
            _ => self.login_line(now),
        }
    }

    /// `^C`: back to where one was before.
    fn cancel_line(&mut self) {
        if self.account.is_some() { self.prompt() } else { self.greet() }
    }

    /// The session is over; the line stays.
    fn end(&mut self) {
        if self.account.is_some() {
            let _ = self.screen.write_str("Logged out.\n");
        }
        self.log_out();
        self.task = Task::Asleep;
    }

    fn log_out(&mut self) {
        self.renewal |= core::mem::take(&mut self.privileged);
        self.editor.forget();
        self.password.as_mut_slice().zeroize();
        self.password.clear();
        self.account = None;
        self.work = None;
        self.trial = None;
        self.interrupted = false;
        self.candidate = self.running.clone();
        if let Some(welcome) = &self.welcome {
            self.candidate.name = welcome.gateway.clone();
        }
        self.expected_signature = None;
    }

    fn idle_after(&self) -> Option<Duration> {
        match (&self.account, &self.welcome, &self.task) {
            (Some(_), Some(welcome), _) => Some(Duration::from_secs(u64::from(welcome.idle_lock_secs))),
            (None, _, Task::Asleep | Task::Gone | Task::Hello | Task::Waiting(_)) => None,
            _ => Some(IDLE_BEFORE_LOGIN),
        }
    }

    /// Octets nobody can guess: of the seed, and never the same twice.
    fn nonce(&mut self) -> [u8; 16] {
        self.nonces = self.nonces.wrapping_add(1);
        let digest: [u8; 32] =
            Sha256::new().chain_update(self.seed).chain_update(self.nonces.to_le_bytes()).finalize().into();
        digest.first_chunk::<16>().copied().unwrap_or_default()
    }

    fn refused(&mut self, next: Next, refusal: &Refusal, now: Instant) {
        match next {
            Next::Welcome => {
                let _ = writeln!(self.screen, "\nThe gateway does not answer this console: {refusal}");
                self.task = Task::Asleep;
            }
            Next::Challenge | Next::LoggedIn | Next::Glass | Next::GlassBroken => {
                let _ = writeln!(self.screen, "\n{refusal}.");
                self.task = Task::Asleep;
                self.privileged = false;
                self.log_out();
                self.greet();
            }
            Next::TrialFor(AfterStatus::Prompt | AfterStatus::TrialOver { .. }) => self.prompt_at(now),
            _ => {
                self.tell_refusal(refusal);
                if matches!(refusal, Refusal::Conflict { .. }) {
                    return self.download(AfterDownload::Overtaken { by_roll_back: false }, now);
                }
                self.prompt_at(now);
            }
        }
    }

    /// What only another tool could say is said here.
    fn tell_refusal(&mut self, refusal: &Refusal) {
        let unrunnable = match refusal {
            Refusal::Invalid(InvalidConfig::Rules) => self.candidate.rules().err(),
            _ => None,
        };
        let _ = match unrunnable {
            Some(error) => {
                let site = &self.candidate;
                writeln!(self.screen, "Refused: {}.", Unrunnable { site, error })
            }
            None => writeln!(self.screen, "Refused: {refusal}."),
        };
    }

    fn answered(&mut self, next: Next, reply: Reply, now: Instant) {
        match (next, reply) {
            (Next::Welcome, Reply::Welcome(welcome)) => self.welcomed(welcome),
            (Next::Challenge, Reply::Challenge(challenge)) => self.challenged(challenge),
            (Next::LoggedIn, Reply::LoggedIn(logged_in)) => self.logged_in(&logged_in, now),
            (Next::Glass, Reply::BreakGlass { device, nonce }) => self.glass_challenge(&device, &nonce),
            (Next::GlassBroken, Reply::Done) => self.glass_broken(),
            (Next::Download(offset, after), Reply::Config(part)) => {
                self.downloaded(offset, after, &part, now);
            }
            (Next::Stage(offset), Reply::Done) => self.staged(offset, now),
            (Next::Checked, Reply::Checked(checked)) => self.checked(&checked, now),
            (Next::Committed | Next::Confirmed, Reply::InForce { generation, written }) => {
                self.in_force(next, generation, written, now);
            }
            (Next::TrialFor(after), Reply::Status(status)) => self.status_for(after, &status, now),
            (Next::Status, Reply::Status(status)) => {
                self.show_status(&status, now);
                self.prompt_at(now);
            }
            (Next::Listed, reply) => self.listed(reply),
            (Next::Watched, Reply::Knocks(knocks)) => self.watched(&knocks, now),
            (Next::Done(said), Reply::Done) => {
                let _ = writeln!(self.screen, "{said}");
                self.prompt_at(now);
            }
            (Next::Rebased, Reply::Rebased { epoch }) => {
                let _ = writeln!(
                    self.screen,
                    "Epoch {epoch} has begun: what the key sent before counts no more."
                );
                let _ = writeln!(self.screen, "Its client needs `epoch = {epoch}` in its profile.");
                self.prompt_at(now);
            }
            (Next::Wiped, Reply::Done) => {
                let _ = self.screen.write_str("Erased. The gateway is as it came from the factory.\n");
                self.daemon_found(now);
            }
            (_, other) => {
                let _ = writeln!(self.screen, "The gateway answered something else: {other:?}");
                self.cancel_line();
            }
        }
    }
}
