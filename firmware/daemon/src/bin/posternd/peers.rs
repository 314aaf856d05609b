//! The control socket: peers come, ask, and go.

use std::path::Path;

use heapless::Vec;
use postern_core::time::Instant;
use postern_hal_linux::control::{Connection, ControlListener, Moved};
use postern_hal_linux::partition::LinuxPartition;
use postern_hal_linux::wait::{CONTROLS_MAX, ControlInterest};
use posternd::configuration::Configuration;
use posternd::control::{After, Desk, Peer, Session};

use crate::shell::Shell;
use std::os::fd::AsFd;

/// Connections at a time, of which the last is kept for the superuser.
const CONNECTIONS_MAX: usize = CONTROLS_MAX - 1;

/// Octets taken from one peer in a turn.
const READ_BYTES: usize = 2048;

/// All peers.
pub(crate) struct Peers {
    listener: Option<ControlListener>,
    open: Vec<Box<(Connection, Session)>, CONNECTIONS_MAX>,
    next_number: u32,
}

impl Peers {
    /// Listens at `path`; without one, nobody comes.
    pub(crate) fn listen(path: Option<&Path>, group: Option<&str>) -> Result<Self, String> {
        let listener = path.map(|path| ControlListener::bind(path, group)).transpose();
        let listener = listener.map_err(|error| error.to_string())?;
        Ok(Self { listener, open: Vec::new(), next_number: 1 })
    }

    /// What to wait for.
    pub(crate) fn interests(&self) -> Vec<ControlInterest<'_>, CONTROLS_MAX> {
        let listener =
            self.listener.iter().map(|listener| ControlInterest { fd: listener.as_fd(), writing: false });
        let peers = self.open.iter().map(|peer| {
            let (connection, session) = &**peer;
            ControlInterest { fd: connection.as_fd(), writing: !session.is_ready() }
        });
        listener.chain(peers).take(CONTROLS_MAX).collect()
    }

    /// Serves every peer that has something to say, one request each.
    pub(crate) fn serve(
        &mut self,
        desk: &mut Desk,
        configuration: &mut Configuration<LinuxPartition>,
        shell: &mut Shell,
        now: Instant,
    ) -> After {
        self.welcome();
        let mut after = After::GoOn;
        let mut index = 0;
        while let Some(peer) = self.open.get_mut(index) {
            let (connection, session) = &mut **peer;
            match serve_one(connection, session, desk, configuration, shell, now) {
                Some(After::Reboot) => after = After::Reboot,
                Some(After::GoOn) => {}
                None => {
                    configuration.peer_left(session.peer().number);
                    self.open.swap_remove(index);
                    continue;
                }
            }
            index += 1;
        }
        after
    }

    fn welcome(&mut self) {
        while let Some(connection) = self.listener.as_ref().and_then(ControlListener::accept) {
            let user = connection.peer.user;
            let room = CONNECTIONS_MAX - usize::from(user != 0);
            if self.open.len() >= room {
                // Dropping it closes it: the peer reads the end of the stream and tries again.
                log::warn!("a peer of user {user} was turned away: too many connections");
                continue;
            }
            let number = self.next_number;
            self.next_number = self.next_number.wrapping_add(1);
            let session = Session::new(Peer { number, user });
            let _ = self.open.push(Box::new((connection, session)));
        }
    }
}

/// `None` when the peer is gone.
fn serve_one(
    connection: &mut Connection,
    session: &mut Session,
    desk: &mut Desk,
    configuration: &mut Configuration<LinuxPartition>,
    shell: &mut Shell,
    now: Instant,
) -> Option<After> {
    send(connection, session)?;
    if !session.is_ready() {
        return Some(After::GoOn);
    }
    let mut octets = [0; READ_BYTES];
    let read = match connection.read(&mut octets) {
        Moved::Octets(read) => read,
        Moved::NotNow => return Some(After::GoOn),
        Moved::Gone => return None,
    };
    let mut after = After::GoOn;
    for &octet in octets.get(..read).unwrap_or_default() {
        // A peer waits for its answer before it asks again; what it sends before is dropped.
        let Some(call) = session.take(octet) else { continue };
        if session.is_ready() && desk.handle(session, call, configuration, shell, now) == After::Reboot {
            after = After::Reboot;
        }
    }
    send(connection, session)?;
    Some(after)
}

fn send(connection: &mut Connection, session: &mut Session) -> Option<()> {
    while !session.is_ready() {
        match connection.write(session.unsent()) {
            Moved::Octets(sent) => session.sent(sent),
            Moved::NotNow => break,
            Moved::Gone => return None,
        }
    }
    Some(())
}
