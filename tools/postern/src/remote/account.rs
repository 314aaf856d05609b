//! `account ...` and `enrol`: who may configure the gateway.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use postern_config::Role;
use postern_config::secret::{Secret, StoredSecret};
use postern_config::signed::SIGNATURE_BYTES;
use postern_config::site::StoredAccount;
use postern_config::spelled::{self, CHALLENGE_BYTES, Spelled};
use postern_console::rpc::request::{NewAccount, Source, Standing};
use postern_console::rpc::{Refusal, Reply, Request};
use postern_core::limits::ACCOUNTS_MAX;
use serde_json::json;

use super::answer::Answer;
use super::change::{self, InForce};
use super::client::{Client, reply_of, unexpected};
use super::failure::{Failure, Outcome};
use super::login::{Password, account_name, log_in, new_account, new_password};
use super::{Json, transfer};
use crate::site::notation::{VerifierText, hex, verifier_text};

/// What is to be done with accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// List the accounts
    List(Json),
    /// Add an account
    Add(AddArgs),
    /// Take an account away
    Delete(DeleteArgs),
    /// Give an account another password
    Password(PasswordArgs),
    /// Make the `verifier` of a site file from a password; asks no gateway
    Verifier(VerifierArgs),
}

/// A password to be.
#[derive(Debug, Args)]
pub(super) struct NewPassword {
    /// File with the new password, for nobody else to read; `-` is standard input
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
}

/// See [`AccountCommand::Add`].
#[derive(Debug, Args)]
pub struct AddArgs {
    /// Its name
    name: String,
    /// viewer, operator or admin
    #[arg(long, value_parser = role)]
    role: Role,
    #[command(flatten)]
    password: NewPassword,
    #[command(flatten)]
    json: Json,
}

/// See [`AccountCommand::Delete`].
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    json: Json,
}

/// See [`AccountCommand::Password`].
#[derive(Debug, Args)]
pub struct PasswordArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    password: NewPassword,
    #[command(flatten)]
    json: Json,
}

/// See [`AccountCommand::Verifier`].
#[derive(Debug, Args)]
pub struct VerifierArgs {
    #[command(flatten)]
    password: NewPassword,
    #[command(flatten)]
    json: Json,
}

/// See [`super::Command::Enrol`].
#[derive(Debug, Args)]
pub struct EnrolArgs {
    /// Name of the first account, which is an admin
    name: String,
    #[command(flatten)]
    password: NewPassword,
    #[command(flatten)]
    pub(super) json: Json,
}

/// See [`super::Command::Recover`].
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Name of the account to make, or to give another password; it becomes an admin
    #[arg(requires = "token_file")]
    name: Option<String>,
    /// File with the token that `owner sign-break-glass` printed; without it, the challenge for the
    /// owner is shown
    #[arg(long, value_name = "FILE", requires = "name")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    password: NewPassword,
    #[command(flatten)]
    pub(super) json: Json,
}

fn role(name: &str) -> Result<Role, String> {
    Role::named(name).ok_or_else(|| "viewer, operator or admin".to_owned())
}

impl AccountCommand {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            AccountCommand::List(_) => "account list",
            AccountCommand::Add(_) => "account add",
            AccountCommand::Delete(_) => "account delete",
            AccountCommand::Password(_) => "account password",
            AccountCommand::Verifier(_) => "account verifier",
        }
    }

    pub(super) const fn is_json(&self) -> bool {
        match self {
            AccountCommand::List(json) => json.json,
            AccountCommand::Add(args) => args.json.json,
            AccountCommand::Delete(args) => args.json.json,
            AccountCommand::Password(args) => args.json.json,
            AccountCommand::Verifier(args) => args.json.json,
        }
    }
}

/// Carries it out.
pub(super) fn run(client: &mut Client, command: &AccountCommand) -> Outcome<Answer> {
    match command {
        AccountCommand::List(_) => list(client),
        AccountCommand::Add(args) => {
            let name = account_name(&args.name)?;
            let password = new_password(args.password.new_password_file.as_deref(), &name)?;
            let account = stored(&new_account(name.clone(), args.role, &password)?)?;
            change(client, |accounts| {
                if accounts.iter().any(|other| other.name == name) {
                    return Err(Failure::Usage(format!("there is an account {name} already")));
                }
                let full = |_| Failure::Usage(format!("a gateway has {ACCOUNTS_MAX} accounts at most"));
                accounts.push(account.clone()).map_err(full)
            })
        }
        AccountCommand::Delete(args) => change(client, |accounts| {
            let before = accounts.len();
            accounts.retain(|account| account.name != args.name.as_str());
            if accounts.len() == before { Err(Refusal::NotFound.into()) } else { Ok(()) }
        }),
        AccountCommand::Password(args) => {
            let name = account_name(&args.name)?;
            let password = new_password(args.password.new_password_file.as_deref(), &name)?;
            let fresh = stored(&new_account(name.clone(), Role::Viewer, &password)?)?;
            change(client, |accounts| {
                let account = accounts.iter_mut().find(|account| account.name == name);
                let account = account.ok_or(Refusal::NotFound)?;
                *account = StoredAccount { role: account.role, ..fresh.clone() };
                Ok(())
            })
        }
        AccountCommand::Verifier(args) => verifier(args),
    }
}

fn verifier(args: &VerifierArgs) -> Outcome<Answer> {
    let password = new_password(args.password.new_password_file.as_deref(), "the account")?;
    let account = stored(&new_account(account_name("account")?, Role::Viewer, &password)?)?;
    let StoredAccount { salt, iterations, stored_key, server_key, .. } = account;
    let text = verifier_text(&VerifierText { salt, iterations, stored_key, server_key });
    Ok(Answer::show(json!({ "verifier": text }), format!("verifier = \"{text}\"\n")))
}

/// Without a gateway; `None` is a command that needs one.
pub(super) fn run_alone(command: &AccountCommand) -> Option<Outcome<Answer>> {
    if let AccountCommand::Verifier(args) = command { Some(verifier(args)) } else { None }
}

fn list(client: &mut Client) -> Outcome<Answer> {
    let running = transfer::fetch(client, Source::Running)?;
    let accounts = running.site.accounts.iter();
    let fields = accounts.clone().map(|account| json!({ "name": account.name, "role": account.role.name() }));
    let fields = json!({ "accounts": fields.collect::<Vec<_>>() });
    let text: String =
        accounts.map(|account| format!("{}  {}\n", account.name, account.role.name())).collect();
    Ok(Answer::show(fields, text))
}

type Accounts = heapless::Vec<StoredAccount, ACCOUNTS_MAX>;

fn change(client: &mut Client, edit: impl FnOnce(&mut Accounts) -> Outcome<()>) -> Outcome<Answer> {
    let mut running = transfer::fetch(client, Source::Running)?;
    edit(&mut running.site.accounts)?;
    let payload = transfer::payload(&running.site)?;
    transfer::stage(client, &payload)?;
    let InForce { generation, written } =
        change::commit(client, &payload, running.generation, Standing::Permanent, None)?;
    let fields = json!({ "generation": generation, "changed": written });
    Ok(Answer::done(fields, format!("generation {generation} is in force")))
}

fn stored(account: &NewAccount) -> Outcome<StoredAccount> {
    let secret = |octets: &[u8; 32]| {
        Secret::new(octets)
            .map(StoredSecret::Known)
            .map_err(|_| Failure::Failed("a key is too long".to_owned()))
    };
    Ok(StoredAccount {
        name: account.name.clone(),
        role: account.role,
        salt: account.salt,
        iterations: account.iterations,
        stored_key: secret(&account.stored_key)?,
        server_key: secret(&account.server_key)?,
    })
}

/// Makes the first account, and logs in with it.
pub(super) fn enrol(client: &mut Client, args: &EnrolArgs) -> Outcome<Answer> {
    let name = account_name(&args.name)?;
    let password = new_password(args.password.new_password_file.as_deref(), &name)?;
    let account = new_account(name, Role::Admin, &password)?;
    enrol_as(client, account, &password)
}

fn enrol_as(client: &mut Client, account: NewAccount, password: &Password) -> Outcome<Answer> {
    let name = account.name.clone();
    match client.ask(Request::Enrol { account })? {
        Ok(Reply::LoggedIn(_)) => {}
        // The first one was carried out and its answer lost, if the password is now known.
        Err(Refusal::AlreadyEnrolled) if client.repeated() => {
            log_in(client, &name, password)?;
        }
        Ok(other) => return Err(unexpected(&other)),
        Err(refusal) => return Err(refusal.into()),
    }
    let note = format!("{name} is an admin of this gateway");
    Ok(Answer::done(json!({ "account": name, "role": "admin", "changed": true }), note))
}

/// Shows what the owner must sign, or lets somebody in with what the owner signed.
pub(super) fn recover(client: &mut Client, args: &RecoverArgs) -> Outcome<Answer> {
    let (Some(name), Some(file)) = (&args.name, &args.token_file) else { return challenge(client) };
    let mut token = [0; SIGNATURE_BYTES];
    spelled::read(&super::text_of(file)?, &mut token)
        .map_err(|error| Failure::Usage(format!("the token in {} is misspelled: {error}", file.display())))?;
    let name = account_name(name)?;
    let password = new_password(args.password.new_password_file.as_deref(), &name)?;
    let account = new_account(name.clone(), Role::Admin, &password)?;
    let half = |from: usize| std::array::from_fn(|at| token[from + at]);
    let (signature_r, signature_s) = (half(0), half(SIGNATURE_BYTES / 2));
    match client.ask(Request::BreakGlass { signature_r, signature_s })? {
        Ok(Reply::Done) => {}
        // The first one was carried out and its answer lost, if enrolling is possible now.
        Err(Refusal::BadSignature) if client.repeated() => {}
        Ok(other) => return Err(unexpected(&other)),
        Err(refusal) => return Err(refusal.into()),
    }
    enrol_as(client, account, &password)
}

fn challenge(client: &mut Client) -> Outcome<Answer> {
    let (device, nonce) = reply_of!(
        client,
        Request::BreakGlassChallenge,
        Reply::BreakGlass { device, nonce } => (device, nonce)
    )?;
    let mut octets = [0; CHALLENGE_BYTES];
    for (place, octet) in octets.iter_mut().zip(device.into_iter().chain(nonce)) {
        *place = octet;
    }
    let text = Spelled(&octets).to_string();
    let fields = json!({ "device": hex(&device), "challenge": text.replace('\n', " ") });
    let answer = Answer::show(fields, format!("{text}\n"));
    let note = "the owner turns this into a token with `postern owner sign-break-glass`; it is good until it is \
                used or the daemon restarts";
    Ok(Answer { note: note.to_owned(), ..answer })
}
