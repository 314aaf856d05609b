//! Putting a configuration in force, with the answer lost on the way or not.

use postern_console::rpc::reply::{Checked, Status};
use postern_console::rpc::request::{OwnerSignature, Source, Standing};
use postern_console::rpc::{Refusal, Reply, Request};

use super::client::{Client, reply_of, unexpected};
use super::failure::{Failure, Outcome};
use super::transfer;

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The generation in force.
    pub generation: u64,
    /// Whether anything was written.
    pub written: bool,
}

/// How the gateway is.
///
/// # Errors
/// [`Failure::Refused`].
pub fn status(client: &mut Client) -> Outcome<Status> {
    reply_of!(client, Request::Status, Reply::Status(status) => status)
}

/// Puts `payload`, which was staged, in force.
///
/// # Errors
/// [`Failure::Refused`].
pub fn commit(
    client: &mut Client,
    payload: &[u8],
    base: u64,
    standing: Standing,
    signature: Option<OwnerSignature>,
) -> Outcome<InForce> {
    let request = Request::Commit { base, standing, signature };
    match client.ask(request)? {
        Ok(reply) => in_force(&reply),
        // The first one may have been carried out and its answer lost: then what was brought is
        // what runs.
        Err(Refusal::Conflict { .. } | Refusal::TrialPending { .. } | Refusal::OutOfOrder)
            if client.repeated() =>
        {
            let Checked { unchanged, .. } = transfer::stage(client, payload)?;
            let generation = status(client)?.generation;
            if unchanged {
                Ok(InForce { generation, written: true })
            } else {
                Err(Refusal::Conflict { generation }.into())
            }
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Puts an older generation in force.
///
/// # Errors
/// [`Failure::Refused`].
pub fn roll_back(client: &mut Client, to: u64, standing: Standing) -> Outcome<InForce> {
    let base = status(client)?.generation;
    match client.ask(Request::Rollback { base, to, standing })? {
        Ok(reply) => in_force(&reply),
        Err(Refusal::Conflict { .. } | Refusal::TrialPending { .. }) if client.repeated() => {
            let source = Source::Generation(to);
            let wanted = transfer::fetch(client, source)?.payload;
            let running = transfer::fetch(client, Source::Running)?;
            let generation = running.generation;
            if running.payload == wanted {
                Ok(InForce { generation, written: true })
            } else {
                Err(Refusal::Conflict { generation }.into())
            }
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Makes the trial stand.
///
/// # Errors
/// [`Failure::Refused`].
pub fn confirm(client: &mut Client, generation: Option<u64>) -> Outcome<InForce> {
    let generation = trial(client, generation)?;
    match client.ask(Request::Confirm { generation })? {
        Ok(reply) => in_force(&reply),
        Err(Refusal::NoTrial) if client.repeated() => {
            let status = status(client)?;
            let stands = status.trial.is_none() && status.generation == generation;
            stands.then_some(InForce { generation, written: true }).ok_or(Refusal::NoTrial.into())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Takes the trial back.
///
/// # Errors
/// [`Failure::Refused`].
pub fn cancel(client: &mut Client, generation: Option<u64>) -> Outcome<InForce> {
    let generation = trial(client, generation)?;
    match client.ask(Request::Cancel { generation })? {
        Ok(reply) => in_force(&reply),
        Err(Refusal::NoTrial) if client.repeated() => {
            let status = status(client)?;
            let gone = status.trial.is_none() && status.generation != generation;
            let now = InForce { generation: status.generation, written: false };
            gone.then_some(now).ok_or(Refusal::NoTrial.into())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// The trial that is meant: the one named, or the one that runs.
fn trial(client: &mut Client, generation: Option<u64>) -> Outcome<u64> {
    match generation {
        Some(generation) => Ok(generation),
        None => match status(client)?.trial {
            Some(trial) => Ok(trial.generation),
            None => Err(Refusal::NoTrial.into()),
        },
    }
}

fn in_force(reply: &Reply) -> Outcome<InForce> {
    match *reply {
        Reply::InForce { generation, written } => Ok(InForce { generation, written }),
        ref other => Err::<_, Failure>(unexpected(other)),
    }
}
