//! `postern --to TARGET ...`: asks a gateway, or an image of one, and changes it.
//!
//! | module | is |
//! | --- | --- |
//! | [`target`] | which gateway |
//! | [`link`] | the way there: socket, serial line, ssh, image |
//! | [`client`] | calls and answers, also where octets are lost |
//! | [`login`] | passwords and SCRAM |
//! | [`transfer`] | configurations on their way |
//! | [`change`] | putting one in force |
//! | [`delta`] | what a change means |
//! | [`edit`] | `config set` |
//! | [`bundle`] | `config export`, `backup` |
//! | [`look`] | commands that change nothing |
//! | `update` | another release of the whole system |
//! | [`answer`] | text for people, JSON for scripts |
//! | [`failure`] | why not, and the exit status |

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use postern_console::rpc::{Refusal, Reply, Request};
use serde_json::{Value, json};

mod account;
pub mod answer;
pub mod bundle;
pub mod change;
pub mod client;
mod config;
pub mod delta;
pub mod edit;
pub mod failure;
pub mod link;
pub mod login;
pub mod look;
pub mod target;
pub mod transfer;
mod update;

pub use account::{AccountCommand, EnrolArgs, RecoverArgs};
use answer::Answer;
use client::{Client, reply_of};
pub use config::{ConfigCommand, RestoreArgs};
pub(crate) use config::{How, change_to, site_of, text_of};
use failure::{Failure, Outcome};
use link::Link;
use target::Target;
pub use update::UpdateCommand;

/// How the gateway is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub struct Connection {
    /// Which gateway: `unix:PATH`, `serial:DEV[@BAUD]`, `ssh:[USER@]HOST[:SOCKET]` or `file:IMG`
    #[arg(long, global = true, value_name = "TARGET")]
    pub to: Option<Target>,
    /// Log in to the gateway with this account
    #[arg(long, global = true, value_name = "NAME")]
    pub account: Option<String>,
    /// File with the password, for nobody else to read; `-` is standard input; without it, you are asked
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Show progress also when standard error is no terminal
    #[arg(long, global = true)]
    pub progress: bool,
    /// Wait so many seconds for each answer
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: Option<u64>,
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct Json {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Commands for a gateway.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say how the gateway is
    Status(Json),
    /// List the doors
    Doors(Json),
    /// List the grants: what is open, for whom, for how long
    Grants(Json),
    /// Take grants of a door back
    Revoke(RevokeArgs),
    /// List the keys
    Keys(Json),
    /// List the configurations that can be rolled back to
    History(Json),
    /// Print the newest lines of the log
    Log(LogArgs),
    /// Show knocks as they arrive, and how far they brought whom
    Watch(Json),
    /// Read and change the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Who may configure the gateway
    #[command(subcommand)]
    Account(AccountCommand),
    /// Make the first account of a new gateway
    Enrol(EnrolArgs),
    /// Get in when every password is lost, with a token the owner signs
    Recover(RecoverArgs),
    /// Write the configuration, without secrets, into one file
    Backup(BackupArgs),
    /// Put a backup in force, read it back and compare
    Restore(RestoreArgs),
    /// Erase configuration, history and accounts
    Wipe(WipeArgs),
    /// Restart the gateway
    Reboot(Json),
    /// Bring another release of the whole system, confirm it, or go back
    #[command(subcommand)]
    Update(UpdateCommand),
}

/// See [`Command::Revoke`].
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The door
    door: String,
    /// From this address alone
    source: Option<IpAddr>,
    #[command(flatten)]
    json: Json,
}

/// See [`Command::Log`].
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Go on with new lines as they come
    #[arg(short, long)]
    follow: bool,
    /// Print a JSON object for each line
    #[arg(long)]
    json: bool,
}

/// See [`Command::Backup`].
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    json: Json,
}

/// See [`Command::Wipe`].
#[derive(Debug, Args)]
pub struct WipeArgs {
    /// Id of the device, from `status`: proves that the right one is meant
    #[arg(long, value_name = "ID", value_parser = device)]
    device: [u8; 16],
    #[command(flatten)]
    json: Json,
}

/// A device id: 32 hexadecimal digits.
pub(crate) fn device(text: &str) -> Result<[u8; 16], String> {
    let octets = crate::site::notation::unhex(text).and_then(|octets| octets.try_into().ok());
    octets.ok_or_else(|| "a device id has 32 hexadecimal digits".to_owned())
}

/// A time in whole seconds, 30 s to 24 h.
fn seconds(text: &str) -> Result<u32, String> {
    let expected = || "a trial lasts 30s to 24h, such as 10m".to_owned();
    let millis = crate::site::millis(text)?;
    let secs = u32::try_from(millis / 1000).map_err(|_| expected())?;
    if millis % 1000 == 0 && (30..=86_400).contains(&secs) { Ok(secs) } else { Err(expected()) }
}

impl Command {
    /// As it is typed.
    pub const fn name(&self) -> &'static str {
        match self {
            Command::Status(_) => "status",
            Command::Doors(_) => "doors",
            Command::Grants(_) => "grants",
            Command::Revoke(_) => "revoke",
            Command::Keys(_) => "keys",
            Command::History(_) => "history",
            Command::Log(_) => "log",
            Command::Watch(_) => "watch",
            Command::Config(command) => command.name(),
            Command::Account(command) => command.name(),
            Command::Enrol(_) => "enrol",
            Command::Recover(_) => "recover",
            Command::Backup(_) => "backup",
            Command::Restore(_) => "restore",
            Command::Wipe(_) => "wipe",
            Command::Reboot(_) => "reboot",
            Command::Update(command) => command.name(),
        }
    }

    const fn is_json(&self) -> bool {
        match self {
            Command::Status(json)
            | Command::Doors(json)
            | Command::Grants(json)
            | Command::Keys(json)
            | Command::History(json)
            | Command::Watch(json)
            | Command::Reboot(json) => json.json,
            Command::Revoke(args) => args.json.json,
            Command::Log(args) => args.json,
            Command::Config(command) => command.is_json(),
            Command::Account(command) => command.is_json(),
            Command::Enrol(args) => args.json.json,
            Command::Recover(args) => args.json.json,
            Command::Backup(args) => args.json.json,
            Command::Restore(args) => args.is_json(),
            Command::Wipe(args) => args.json.json,
            Command::Update(command) => command.is_json(),
        }
    }

    const fn tries(&self) -> bool {
        match self {
            Command::Config(command) => command.tries(),
            Command::Restore(args) => args.tries(),
            _ => false,
        }
    }
}

/// Carries a command out and prints what it came to. Returns the exit status.
pub fn run(connection: &Connection, command: &Command) -> u8 {
    let outcome = execute(connection, command);
    finish(command.name(), command.is_json(), outcome)
}

/// Prints what a command came to; returns the exit status.
pub(crate) fn finish(name: &str, as_json: bool, outcome: Outcome<Answer>) -> u8 {
    match outcome {
        // Everything was printed as it came.
        Ok(answer) if as_json && answer.fields.is_null() => answer.exit_status,
        Ok(answer) if as_json => {
            print(&format!("{:#}\n", answer::object(name, &answer.fields))).map_or(1, |()| answer.exit_status)
        }
        Ok(answer) => {
            if !answer.note.is_empty() {
                say(&answer.note);
            }
            print(&answer.text).map_or(1, |()| answer.exit_status)
        }
        Err(failure) => {
            if as_json {
                let _ = print(&format!("{:#}\n", answer::error_object(name, &failure)));
            }
            say(&format!("postern: {failure}"));
            if let Some(hint) = failure.hint() {
                say(&format!("  fix: {hint}"));
            }
            failure.exit_status()
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A reader that closed its end is no reason for a panic.
fn print(text: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::failed("cannot write to standard output", error))
}

fn execute(connection: &Connection, command: &Command) -> Outcome<Answer> {
    if let Command::Account(command) = command {
        if let Some(outcome) = account::run_alone(command) {
            return outcome;
        }
    }
    let target = target_of(connection)?;
    if matches!(target, Target::File(_)) && command.tries() {
        return Err(Failure::Usage(NO_TRIAL.to_owned()));
    }
    let link = link::open(target)?;
    execute_over(link, connection, command)
}

/// Why an image is not changed for a while.
const NO_TRIAL: &str = "a trial needs a gateway that runs: in an image, leave --confirm out";

fn target_of(connection: &Connection) -> Outcome<&Target> {
    connection.to.as_ref().ok_or_else(|| {
        Failure::Usage("say which gateway: --to unix:PATH, serial:DEV, ssh:HOST or file:IMG".to_owned())
    })
}

/// Carries a command out over a link that is open.
///
/// # Errors
/// [`Failure`].
pub fn execute_over(link: Box<dyn Link>, connection: &Connection, command: &Command) -> Outcome<Answer> {
    let enrols = matches!(command, Command::Enrol(_) | Command::Recover(_));
    session(link, connection, enrols, |client| match command {
        Command::Update(command) => update::run(client, command, connection.progress),
        command => carry_out(client, command),
    })
}

/// Has `work` done at the gateway of `connection`, `tries` when it puts something on trial.
pub(crate) fn at_gateway<T>(
    connection: &Connection,
    tries: bool,
    work: impl FnOnce(&mut Client) -> Outcome<T>,
) -> Outcome<T> {
    let target = target_of(connection)?;
    if matches!(target, Target::File(_)) && tries {
        return Err(Failure::Usage(NO_TRIAL.to_owned()));
    }
    session(link::open(target)?, connection, false, work)
}

/// Logs in where that is needed, has `work` done, and logs out again.
fn session<T>(
    link: Box<dyn Link>,
    connection: &Connection,
    enrols: bool,
    work: impl FnOnce(&mut Client) -> Outcome<T>,
) -> Outcome<T> {
    let patience = connection.timeout.map(Duration::from_secs);
    let mut client = Client::new(link, patience, connection.progress);
    let welcome = client.hello()?;
    if (welcome.role.is_none() || connection.account.is_some()) && !enrols {
        if !welcome.enrolled {
            return Err(Refusal::NotEnrolled.into());
        }
        let name = connection.account.as_deref().ok_or(Refusal::NotLoggedIn)?;
        let name = login::account_name(name)?;
        let file = connection.password_file.as_deref();
        let password = login::password(file, &format!("Password of {name} at {}: ", welcome.gateway))?;
        login::log_in(&mut client, &name, &password)?;
    }
    let outcome = work(&mut client);
    // A gateway that restarts answers nothing any more.
    if welcome.role.is_none() && !client.restarts() {
        // The next one at the line must not find it open.
        let _ = client.ask(Request::Logout).ok().filter(|_| outcome.is_ok());
    }
    outcome
}

fn carry_out(client: &mut Client, command: &Command) -> Outcome<Answer> {
    match command {
        Command::Status(_) => look::status(client),
        Command::Doors(_) => look::doors(client),
        Command::Grants(_) => look::grants(client),
        Command::Keys(_) => look::keys(client),
        Command::History(_) => look::history(client),
        Command::Revoke(args) => revoke(client, args),
        Command::Log(args) => {
            look::log(client, args.follow, &mut lines("log", args.json))?;
            Ok(Answer::show(Value::Null, ""))
        }
        Command::Watch(args) => {
            look::watch(client, &mut lines("watch", args.json))?;
            Ok(Answer::show(Value::Null, ""))
        }
        Command::Config(command) => config::run(client, command),
        Command::Update(command) => update::run(client, command, false),
        Command::Account(command) => account::run(client, command),
        Command::Enrol(args) => account::enrol(client, args),
        Command::Recover(args) => account::recover(client, args),
        Command::Backup(args) => config::export(client, None, Some(&args.output)),
        Command::Restore(args) => config::restore(client, args),
        Command::Wipe(args) => {
            let device = args.device;
            reply_of!(client, Request::Wipe { device }, Reply::Done => ())?;
            Ok(Answer::done(json!({ "changed": true }), "configuration, history and accounts are erased"))
        }
        Command::Reboot(_) => {
            reply_of!(client, Request::Reboot, Reply::Done => ())?;
            Ok(Answer::done(json!({ "changed": true }), "the gateway restarts"))
        }
    }
}

/// Prints items as they come, as text or as one JSON object a line.
fn lines(name: &'static str, as_json: bool) -> impl FnMut(&Value, &str) -> Outcome<()> {
    move |fields, text| {
        if as_json { print(&format!("{}\n", answer::object(name, fields))) } else { print(text) }
    }
}

fn revoke(client: &mut Client, args: &RevokeArgs) -> Outcome<Answer> {
    let door = login::account_name(&args.door)?;
    let request = Request::Revoke { door, source: args.source };
    reply_of!(client, request, Reply::Done => ())?;
    let source = args.source.map(|source| source.to_string());
    let of = source.as_deref().unwrap_or("everybody");
    let note = format!("grants of door {} are taken back from {of}", args.door);
    Ok(Answer::done(json!({ "door": args.door, "source": source }), note))
}
