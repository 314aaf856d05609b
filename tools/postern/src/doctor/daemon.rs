//! What the running daemon says of itself.

use std::path::Path;
use std::time::Duration;

use postern_console::rpc::reply::{SequenceHeard, Status};
use postern_console::rpc::{Reply, Request};
use postern_core::limits::SEQUENCES_MAX;

use crate::remote::client::Client;
use crate::remote::link;
use crate::remote::target::Target;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of asking.
pub(crate) enum Daemon {
    /// It answered.
    Answers(Box<Status>),
    /// It answered, but not to us.
    Refuses(String),
    /// Nobody did.
    Silent(String),
}

/// Asks the daemon at `control`: how it is, and how far anybody came in its sequences.
pub(crate) fn ask(control: &Path) -> (Daemon, Vec<SequenceHeard>) {
    let link = match link::open(&Target::Unix(control.to_owned())) {
        Ok(link) => link,
        Err(failure) => return (Daemon::Silent(failure.to_string()), Vec::new()),
    };
    let mut client = Client::new(link, Some(PATIENCE), false);
    match client.hello().and_then(|_| client.call(Request::Status)) {
        Ok(Reply::Status(status)) => (Daemon::Answers(Box::new(status)), heard(&mut client)),
        Ok(_) => (Daemon::Refuses("an answer of another version".to_owned()), Vec::new()),
        Err(failure) => (Daemon::Refuses(failure.to_string()), Vec::new()),
    }
}

/// As much of it as the daemon tells: one of an older version does not know the question.
fn heard(client: &mut Client) -> Vec<SequenceHeard> {
    let mut all: Vec<SequenceHeard> = Vec::new();
    loop {
        let from = all.last().map_or(0, |last| last.sequence.saturating_add(1));
        match client.call(Request::Heard { from }) {
            Ok(Reply::Heard(more)) if !more.is_empty() && all.len() < SEQUENCES_MAX => all.extend(more),
            _ => return all,
        }
    }
}
