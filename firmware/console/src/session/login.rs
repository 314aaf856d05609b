//! Banner, login, first start, break-glass.

use core::fmt::Write;

use postern_config::Role;
use postern_config::spelled::{self, Spelled};
use postern_core::rule::{Name, is_name};
use postern_core::time::Instant;
use zeroize::Zeroize;

use super::{AfterDownload, Next, Session, Task, Work};
use crate::rpc::reply::{Challenge, LoggedIn, Welcome};
use crate::rpc::request::{NewAccount, Request};
use crate::scram::{self, Exchange, ITERATIONS, ITERATIONS_MAX, PASSWORD_CHARS_MIN, Verifier};

/// Shown when the site has no banner of its own.
const NOTICE: &str = "Authorised use only. What is done here is recorded.";

/// Typed instead of a name by somebody who has lost the secret.
const BREAK_GLASS: &str = "break-glass";

impl Session {
    pub(super) fn welcomed(&mut self, welcome: Welcome) {
        self.welcome = Some(welcome);
        self.log_out();
        self.greet();
    }

    /// The banner, and the first question.
    pub(super) fn greet(&mut self) {
        let Some(welcome) = &self.welcome else { return };
        let notice = if welcome.banner.is_empty() { NOTICE } else { welcome.banner.as_str() };
        let _ = writeln!(self.screen, "\n{notice}\n\nPostern {} at {}", welcome.version, welcome.gateway);
        if welcome.enrolled {
            let _ = self.screen.write_str("login: ");
            self.task = Task::Name;
        } else {
            let _ = writeln!(
                self.screen,
                "\nThis gateway has no account yet. Make the first one: it may do everything.\n\
                 There is no default password, and a lost one cannot be read back."
            );
            self.ask_new_name();
        }
        self.editor.begin(false);
    }

    fn ask_new_name(&mut self) {
        let _ = self.screen.write_str("name of the new account: ");
        self.editor.begin(false);
        self.task = Task::NewName;
    }

    /// A line before anybody is logged in, or a password.
    pub(super) fn login_line(&mut self, now: Instant) {
        let task = core::mem::replace(&mut self.task, Task::Asleep);
        match task {
            Task::Name => self.name_typed(now),
            Task::Password { name } => self.password_typed(name, now),
            Task::NewName => self.new_name_typed(),
            Task::NewPassword { name, role } => self.new_password_typed(name, role),
            Task::Repeat { name, role } => self.repeated(name, role, now),
            Task::BreakGlass => self.token_typed(now),
            other => self.task = other,
        }
    }

    fn name_typed(&mut self, now: Instant) {
        match self.editor.text().trim() {
            "" => self.greet(),
            BREAK_GLASS => self.ask(Request::BreakGlassChallenge, Next::Glass, now),
            text => {
                // Also a name that cannot be is asked for its password.
                let name = Name::try_from(text).ok().filter(|name| is_name(name)).unwrap_or_default();
                let _ = self.screen.write_str("password: ");
                self.editor.begin(true);
                self.task = Task::Password { name };
            }
        }
    }

    fn password_typed(&mut self, name: Name, now: Instant) {
        self.take_password();
        self.client_nonce = self.nonce();
        self.login_name = name.clone();
        let _ = self.screen.write_str("\nchecking...");
        self.ask(Request::Login { name, client_nonce: self.client_nonce }, Next::Challenge, now);
    }

    fn take_password(&mut self) {
        self.password.as_mut_slice().zeroize();
        self.password.clear();
        let _ = self.password.extend_from_slice(self.editor.text().as_bytes());
        self.editor.begin(false);
    }

    pub(super) fn challenged(&mut self, challenge: Challenge) {
        if challenge.iterations > ITERATIONS_MAX {
            let _ = self.screen.write_str("\nThe gateway asks for too much work.\n");
            self.greet();
            return;
        }
        self.task = Task::Hello;
        self.work = Some(Work::Login(challenge));
    }

    /// Does what takes long: call it once everything was shown.
    pub fn compute(&mut self, now: Instant) {
        match self.work.take() {
            None => {}
            Some(Work::Login(challenge)) => {
                let exchange = Exchange {
                    name: &self.login_name,
                    client_nonce: self.client_nonce,
                    challenge: &challenge,
                };
                let last = scram::client_final(&self.password, exchange);
                self.password.as_mut_slice().zeroize();
                self.password.clear();
                self.expected_signature = Some(last.server_signature);
                self.ask(Request::Proof { proof: last.proof }, Next::LoggedIn, now);
            }
            Some(Work::NewAccount { name, role }) => {
                let salt = self.nonce();
                let Verifier { stored_key, server_key } = scram::verifier(&self.password, &salt, ITERATIONS);
                self.password.as_mut_slice().zeroize();
                self.password.clear();
                let account = NewAccount { name, role, salt, iterations: ITERATIONS, stored_key, server_key };
                if self.account.is_some() {
                    self.put_account(&account, now);
                } else {
                    self.login_name = account.name.clone();
                    self.expected_signature = None;
                    self.ask(Request::Enrol { account }, Next::LoggedIn, now);
                }
            }
        }
    }

    pub(super) fn logged_in(&mut self, logged_in: &LoggedIn, now: Instant) {
        if self.expected_signature.take().is_some_and(|expected| expected != logged_in.server_signature) {
            let _ = self.screen.write_str("\nThis gateway does not know the account: do not trust it.\n");
            self.end();
            return;
        }
        self.account = Some((self.login_name.clone(), logged_in.role));
        if let Some(welcome) = &mut self.welcome {
            welcome.enrolled = true;
        }
        let _ = writeln!(
            self.screen,
            "\nLogged in as {} ({}). `?` shows what can be done, `logout` ends it.",
            self.login_name,
            logged_in.role.name()
        );
        self.download(AfterDownload::Shell, now);
    }

    fn new_name_typed(&mut self) {
        let text = self.editor.text().trim();
        match Name::try_from(text).ok().filter(|name| is_name(name)) {
            Some(name) => self.ask_new_password(name, Role::Admin),
            None => {
                let _ = self.screen.write_str("A name has 1 to 32 of the characters A-Z a-z 0-9 - _ .\n");
                self.ask_new_name();
            }
        }
    }

    pub(super) fn ask_new_password(&mut self, name: Name, role: Role) {
        let _ = write!(self.screen, "password, {PASSWORD_CHARS_MIN} characters at least: ");
        self.editor.begin(true);
        self.task = Task::NewPassword { name, role };
    }

    fn new_password_typed(&mut self, name: Name, role: Role) {
        let _ = self.screen.write_str("\n");
        if self.editor.text().len() < PASSWORD_CHARS_MIN {
            let _ = self.screen.write_str("Too short. A few words that nobody would say are easily kept.\n");
            self.ask_new_password(name, role);
            return;
        }
        self.take_password();
        let _ = self.screen.write_str("once more: ");
        self.editor.begin(true);
        self.task = Task::Repeat { name, role };
    }

    fn repeated(&mut self, name: Name, role: Role, now: Instant) {
        if self.editor.text().as_bytes() != self.password.as_slice() {
            let _ = self.screen.write_str("\nThe two are not the same.\n");
            self.ask_new_password(name, role);
            return;
        }
        let _ = self.screen.write_str("\nworking...");
        self.editor.begin(false);
        self.work = Some(Work::NewAccount { name, role });
        self.task = Task::Hello;
        self.deadline = None;
        self.last_key = now;
    }

    pub(super) fn glass_challenge(&mut self, device: &[u8; 16], nonce: &[u8; 16]) {
        for (place, octet) in self.glass.iter_mut().zip(device.iter().chain(nonce)) {
            *place = *octet;
        }
        let _ = writeln!(
            self.screen,
            "\nBREAK GLASS. This is recorded as an alert. Read this to the owner of the gateway:\n\n{}\n\n\
             who runs `postern owner sign-break-glass` and reads a token back. Type it in, over as many\n\
             lines as you like; an empty line ends it.",
            Spelled(&self.glass)
        );
        self.payload_bytes = 0;
        self.ask_token();
    }

    fn ask_token(&mut self) {
        let _ = self.screen.write_str("token: ");
        self.editor.begin(false);
        self.task = Task::BreakGlass;
    }

    /// A line of the token; kept in the payload until it is whole.
    fn token_typed(&mut self, now: Instant) {
        let line = self.editor.text().as_bytes();
        let end = self.payload_bytes.saturating_add(line.len());
        match self.payload.get_mut(self.payload_bytes..end) {
            Some(place) if !line.is_empty() && end <= 1024 => {
                place.copy_from_slice(line);
                self.payload_bytes = end;
            }
            _ => {
                self.greet();
                return;
            }
        }
        let typed = self.payload.get(..self.payload_bytes).unwrap_or_default();
        let mut signature = [0; 64];
        match spelled::read(core::str::from_utf8(typed).unwrap_or_default(), &mut signature) {
            Err(spelled::SpelledError::TooShort) => self.ask_token(),
            Err(error) => {
                let _ = writeln!(self.screen, "{error}: type the whole token again.");
                self.payload_bytes = 0;
                self.ask_token();
            }
            Ok(()) => {
                let mut halves = ([0; 32], [0; 32]);
                let (r, s) = signature.split_at(32);
                halves.0.copy_from_slice(r);
                halves.1.copy_from_slice(s);
                let request = Request::BreakGlass { signature_r: halves.0, signature_s: halves.1 };
                self.ask(request, Next::GlassBroken, now);
            }
        }
    }

    pub(super) fn glass_broken(&mut self) {
        let _ =
            self.screen.write_str("\nThe owner lets you in. Make an account; the others stay as they are.\n");
        self.ask_new_name();
    }
}
