//! The words of `config ...` and `restore`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use postern_console::rpc::request::Standing;

use crate::remote::Json;

/// What is to be done with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the configuration in force, or an older one, as a site file
    Get(GetArgs),
    /// Change single values: door.ssh.open_for=45s; an empty value takes away
    Set(SetArgs),
    /// Say how the configuration in force differs from a site file; exits with 9 when it does
    Diff(DiffArgs),
    /// Put a site file in force; does nothing when it is in force already
    Apply(ApplyArgs),
    /// Keep the configuration that is on trial
    Confirm(TrialArgs),
    /// Take the configuration that is on trial back now
    Cancel(TrialArgs),
    /// Put an older configuration in force, as a new generation
    Rollback(RollbackArgs),
    /// List the configurations that can be rolled back to
    History(Json),
    /// Write the configuration into one file, with where it came from and a digest
    Export(ExportArgs),
    /// Put an exported configuration in force
    Import(ImportArgs),
}

/// See [`ConfigCommand::Get`].
#[derive(Debug, Args)]
pub struct GetArgs {
    /// An older generation, see `history`
    #[arg(long, value_name = "GENERATION")]
    pub(super) generation: Option<u64>,
    /// Write it into this file
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) json: Json,
}

/// How a change is made.
#[derive(Debug, Args)]
pub(crate) struct How {
    /// Take it back after this time unless `config confirm` comes: 30s to 24h, such as 10m
    #[arg(long, value_name = "TIME", value_parser = crate::remote::seconds)]
    pub(crate) confirm: Option<u32>,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

impl How {
    pub(super) fn standing(&self) -> Standing {
        self.confirm.map_or(Standing::Permanent, |secs| Standing::Trial { secs })
    }
}

/// See [`ConfigCommand::Set`].
#[derive(Debug, Args)]
pub struct SetArgs {
    /// PATH=VALUE, such as gateway.name=pump-17 or door.ssh.ports=tcp/22
    #[arg(required = true, value_name = "PATH=VALUE")]
    pub(super) assignments: Vec<String>,
    #[command(flatten)]
    pub(super) how: How,
}

/// See [`ConfigCommand::Diff`].
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The site file
    pub(super) site: PathBuf,
    #[command(flatten)]
    pub(super) json: Json,
}

/// See [`ConfigCommand::Apply`].
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The site file
    pub(super) site: PathBuf,
    /// Generation it was made from, or `current`; as a rule its first line says so
    #[arg(long, value_name = "GENERATION", value_parser = base)]
    pub(super) base: Option<Base>,
    /// The owner's signature over it, from `postern owner sign-config`
    #[arg(long, value_name = "FILE")]
    pub(super) signature: Option<PathBuf>,
    /// The security floor the signature must raise the gateway to
    #[arg(long, requires = "signature")]
    pub(super) floor: Option<u32>,
    #[command(flatten)]
    pub(super) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::remote) enum Base {
    Current,
    Generation(u64),
}

fn base(text: &str) -> Result<Base, String> {
    match text {
        "current" => Ok(Base::Current),
        number => number.parse().map(Base::Generation).map_err(|_| "a generation, or `current`".to_owned()),
    }
}

/// See [`ConfigCommand::Confirm`].
#[derive(Debug, Args)]
pub struct TrialArgs {
    /// The trial's generation; without it, the one that runs
    pub(super) generation: Option<u64>,
    #[command(flatten)]
    pub(super) json: Json,
}

/// See [`ConfigCommand::Rollback`].
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The generation wanted, see `history`
    pub(super) generation: u64,
    #[command(flatten)]
    pub(super) how: How,
}

/// See [`ConfigCommand::Export`].
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// An older generation, see `history`
    #[arg(long, value_name = "GENERATION")]
    pub(super) generation: Option<u64>,
    /// Write it into this file
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    #[command(flatten)]
    pub(super) json: Json,
}

/// See [`ConfigCommand::Import`].
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What `config export` wrote
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) how: How,
}

/// See [`crate::remote::Command::Restore`].
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// What `backup` wrote
    pub(super) file: PathBuf,
    /// Also onto another device than the one it was made of
    #[arg(long)]
    pub(super) other_device: bool,
    #[command(flatten)]
    pub(super) how: How,
}

impl ConfigCommand {
    pub(in crate::remote) const fn name(&self) -> &'static str {
        match self {
            ConfigCommand::Get(_) => "config get",
            ConfigCommand::Set(_) => "config set",
            ConfigCommand::Diff(_) => "config diff",
            ConfigCommand::Apply(_) => "config apply",
            ConfigCommand::Confirm(_) => "config confirm",
            ConfigCommand::Cancel(_) => "config cancel",
            ConfigCommand::Rollback(_) => "config rollback",
            ConfigCommand::History(_) => "config history",
            ConfigCommand::Export(_) => "config export",
            ConfigCommand::Import(_) => "config import",
        }
    }

    pub(in crate::remote) const fn is_json(&self) -> bool {
        match self {
            ConfigCommand::Get(args) => args.json.json,
            ConfigCommand::Set(args) => args.how.json.json,
            ConfigCommand::Diff(args) => args.json.json,
            ConfigCommand::Apply(args) => args.how.json.json,
            ConfigCommand::Confirm(args) | ConfigCommand::Cancel(args) => args.json.json,
            ConfigCommand::Rollback(args) => args.how.json.json,
            ConfigCommand::History(json) => json.json,
            ConfigCommand::Export(args) => args.json.json,
            ConfigCommand::Import(args) => args.how.json.json,
        }
    }

    /// Whether it begins a trial, which needs a gateway that runs.
    pub(in crate::remote) const fn tries(&self) -> bool {
        match self {
            ConfigCommand::Set(args) => args.how.confirm.is_some(),
            ConfigCommand::Apply(args) => args.how.confirm.is_some(),
            ConfigCommand::Rollback(args) => args.how.confirm.is_some(),
            ConfigCommand::Import(args) => args.how.confirm.is_some(),
            _ => false,
        }
    }
}

impl RestoreArgs {
    pub(in crate::remote) const fn is_json(&self) -> bool {
        self.how.json.json
    }

    pub(in crate::remote) const fn tries(&self) -> bool {
        self.how.confirm.is_some()
    }
}
