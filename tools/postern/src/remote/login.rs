//! Passwords and logins.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use postern_config::Role;
use postern_console::rpc::request::NewAccount;
use postern_console::rpc::{Refusal, Reply, Request};
use postern_console::scram::{
    self, Exchange, ITERATIONS, ITERATIONS_MAX, ITERATIONS_MIN, PASSWORD_CHARS_MIN,
};
use postern_core::rule::{Name, is_name};
use postern_hal_linux::random::random;
use zeroize::Zeroize;

use super::client::{Client, unexpected};
use super::failure::{Failure, Outcome};

/// A password, wiped when it is done with.
#[derive(PartialEq, Eq)]
pub struct Password(Vec<u8>);

impl Password {
    /// Room for the longest one, so that none is left behind where it grew.
    fn blank() -> Self {
        Self(Vec::with_capacity(PASSWORD_BYTES_MAX + 1))
    }

    /// Keeps the first line.
    fn cut(&mut self) {
        let end = self.0.iter().position(|octet| matches!(octet, b'\n' | b'\r'));
        self.0.truncate(end.unwrap_or(self.0.len()));
    }

    /// The octets, for whoever computes with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.resize(self.0.capacity(), 0);
        self.0.as_mut_slice().zeroize();
    }
}

/// Octets of a password at most.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Logins tried when answers are lost on the way.
const TRIES: u32 = 4;

/// The name of an account.
///
/// # Errors
/// [`Failure::Usage`].
pub fn account_name(text: &str) -> Outcome<Name> {
    let name = Name::try_from(text).ok().filter(|name| is_name(name));
    name.ok_or_else(|| Failure::Usage(format!("{text:?} is no name: 1 to 32 of A-Z a-z 0-9 - _ .")))
}

/// The password in a file that nobody else may read (`-` is standard input), or typed at the
/// terminal.
///
/// # Errors
/// [`Failure::NotAuthenticated`].
pub fn password(file: Option<&Path>, prompt: &str) -> Outcome<Password> {
    let Some(path) = file else { return typed(prompt, "password", "--password-file") };
    let failed = |error: std::io::Error| {
        Failure::NotAuthenticated(format!("cannot read the password in {}: {error}", path.display()))
    };
    let mut password = Password::blank();
    let longest = PASSWORD_BYTES_MAX as u64;
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(longest).read_to_end(&mut password.0).map_err(failed)?;
    } else {
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
            let shown = path.display();
            return Err(Failure::NotAuthenticated(format!(
                "others may read the password in {shown}: chmod 600 {shown}"
            )));
        }
        file.take(longest).read_to_end(&mut password.0).map_err(failed)?;
    }
    password.cut();
    if password.0.is_empty() {
        return Err(Failure::NotAuthenticated(format!("there is no password in {}", path.display())));
    }
    Ok(password)
}

/// A password for a new login: long enough, and typed twice at a terminal.
///
/// # Errors
/// [`Failure::NotAuthenticated`] and [`Failure::Usage`].
pub fn new_password(file: Option<&Path>, name: &str) -> Outcome<Password> {
    let first = password(file, &format!("New password for {name}: "))?;
    let characters = String::from_utf8_lossy(&first.0).chars().count();
    if characters < PASSWORD_CHARS_MIN {
        return Err(Failure::Usage(format!("a password has {PASSWORD_CHARS_MIN} characters at least")));
    }
    if file.is_none() && typed("Once more: ", "password", "--password-file")? != first {
        return Err(Failure::Usage("the two passwords differ".to_owned()));
    }
    Ok(first)
}

/// Asks at the terminal, without echo, for `what`; `otherwise` is what to use where there is none.
///
/// # Errors
/// [`Failure::NotAuthenticated`].
pub(crate) fn typed(prompt: &str, what: &str, otherwise: &str) -> Outcome<Password> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| {
        let why = format!("a {what} is needed: there is no terminal to ask at; use {otherwise}");
        Failure::NotAuthenticated(why)
    })?;
    let failed =
        |error: &dyn std::fmt::Display| Failure::NotAuthenticated(format!("the terminal failed: {error}"));
    let before = tcgetattr(&terminal).map_err(|error| failed(&error))?;
    let mut silent = before.clone();
    silent.local_flags.remove(LocalFlags::ECHO);
    silent.local_flags.insert(LocalFlags::ECHONL);
    let mut password = Password::blank();
    // Before the prompt: whoever types ahead must not be shown, nor lose what they typed behind it.
    tcsetattr(&terminal, SetArg::TCSAFLUSH, &silent).map_err(|error| failed(&error))?;
    let longest = PASSWORD_BYTES_MAX as u64;
    let read = (&terminal)
        .write_all(prompt.as_bytes())
        .and_then(|()| BufReader::new(&terminal).take(longest).read_until(b'\n', &mut password.0));
    let restored = tcsetattr(&terminal, SetArg::TCSAFLUSH, &before);
    read.map_err(|error| failed(&error))?;
    restored.map_err(|error| failed(&error))?;
    password.cut();
    if password.0.is_empty() {
        return Err(Failure::NotAuthenticated(format!("no {what} was typed")));
    }
    Ok(password)
}

/// What the gateway keeps of a new password.
///
/// # Errors
/// [`Failure::Failed`] without random numbers.
pub fn new_account(name: Name, role: Role, password: &Password) -> Outcome<NewAccount> {
    let salt = random().map_err(|error| Failure::failed("no random numbers", error))?;
    let verifier = scram::verifier(password.expose(), &salt, ITERATIONS);
    let (stored_key, server_key) = (verifier.stored_key, verifier.server_key);
    Ok(NewAccount { name, role, salt, iterations: ITERATIONS, stored_key, server_key })
}

/// Logs in, and makes the gateway prove that it knows the account.
///
/// # Errors
/// [`Failure::Refused`] and [`Failure::NotAuthenticated`].
pub fn log_in(client: &mut Client, name: &Name, password: &Password) -> Outcome<Role> {
    for _ in 0..TRIES {
        match attempt(client, name, password)? {
            Ok(role) => return Ok(role),
            // An answer was lost, and with it the login: from the beginning.
            Err(Refusal::NotLoggedIn | Refusal::LoginFailed) if client.repeated() => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(Failure::Unreachable("the line loses too much to log in".to_owned()))
}

fn attempt(client: &mut Client, name: &Name, password: &Password) -> Outcome<Result<Role, Refusal>> {
    let client_nonce = random().map_err(|error| Failure::failed("no random numbers", error))?;
    // Sent twice, it may be answered twice, and which challenge counts is not known: once more, then.
    let challenge = loop {
        match client.ask(Request::Login { name: name.clone(), client_nonce })? {
            Ok(Reply::Challenge(challenge)) if !client.repeated() => break challenge,
            Ok(Reply::Challenge(_)) => {}
            Ok(other) => return Err(unexpected(&other)),
            Err(refusal) => return Ok(Err(refusal)),
        }
    };
    if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&challenge.iterations) {
        let asked = challenge.iterations;
        return Err(Failure::NotAuthenticated(format!(
            "it asks for {asked} iterations: not a gateway to trust"
        )));
    }
    let exchange = Exchange { name, client_nonce, challenge: &challenge };
    let own = scram::client_final(password.expose(), exchange);
    match client.ask(Request::Proof { proof: own.proof })? {
        Ok(Reply::LoggedIn(logged_in)) if logged_in.server_signature == own.server_signature => {
            Ok(Ok(logged_in.role))
        }
        Ok(Reply::LoggedIn(_)) => Err(Failure::NotAuthenticated(
            "it took the password and does not know the account: not the gateway it pretends to be"
                .to_owned(),
        )),
        Ok(other) => Err(unexpected(&other)),
        Err(refusal) => Ok(Err(refusal)),
    }
}
