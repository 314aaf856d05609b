//! What the running daemon says of itself.

use std::path::Path;
use std::time::Duration;

use postern_console::rpc::reply::Status;
use postern_console::rpc::{Reply, Request};

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

/// Asks the daemon at `control`.
pub(crate) fn ask(control: &Path) -> Daemon {
    let link = match link::open(&Target::Unix(control.to_owned())) {
        Ok(link) => link,
        Err(failure) => return Daemon::Silent(failure.to_string()),
    };
    let mut client = Client::new(link, Some(PATIENCE), false);
    match client.hello().and_then(|_| client.call(Request::Status)) {
        Ok(Reply::Status(status)) => Daemon::Answers(Box::new(status)),
        Ok(_) => Daemon::Refuses("an answer of another version".to_owned()),
        Err(failure) => Daemon::Refuses(failure.to_string()),
    }
}
