//! One connection: its frames, and who is logged in on it.

use postern_config::Role;
use postern_console::rpc::reply::{Answer, Challenge, Reply};
use postern_console::rpc::{Call, Deframer, FRAME_BYTES_MAX, FrameError, Refusal, encode_frame};
use postern_console::scram::Verifier;
use postern_core::rule::Name;

/// Who the kernel says is at the other end (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Tells connections apart; never used again.
    pub number: u32,
    /// User id it runs as.
    pub user: u32,
}

impl Peer {
    /// What it may do without logging in: the superuser may do everything anyway.
    pub const fn role(&self) -> Option<Role> {
        if self.user == 0 { Some(Role::Admin) } else { None }
    }
}

/// A login that was begun.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) name: Name,
    pub(super) client_nonce: [u8; 16],
    pub(super) challenge: Challenge,
    pub(super) verifier: Verifier,
    /// `None` when there is no such account: the proof is checked all the same.
    pub(super) role: Option<Role>,
}

/// One connection. About 4 KiB.
#[derive(Debug)]
pub struct Session {
    pub(super) peer: Peer,
    pub(super) account: Name,
    pub(super) role: Option<Role>,
    pub(super) pending: Option<Pending>,
    /// The owner signed that this peer may enrol.
    pub(super) glass_broken: bool,
    deframer: Deframer,
    frame: [u8; FRAME_BYTES_MAX],
    /// What of the frame is still to be sent.
    unsent: core::ops::Range<usize>,
}

impl Session {
    /// A new connection.
    pub fn new(peer: Peer) -> Self {
        let account = if peer.role().is_some() { "root" } else { "" };
        Self {
            peer,
            account: account.try_into().unwrap_or_default(),
            role: peer.role(),
            pending: None,
            glass_broken: false,
            deframer: Deframer::new(),
            frame: [0; FRAME_BYTES_MAX],
            unsent: 0..0,
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Takes one octet; returns a call when it completes one, or what to answer when it completes
    /// something else.
    pub fn take(&mut self, octet: u8) -> Option<Result<Call, FrameError>> {
        self.deframer.take(octet)
    }

    /// Whether the answer before was sent: the next call is taken only then.
    pub fn is_ready(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Puts an answer into the frame.
    pub fn answer(&mut self, number: u16, result: Result<Reply, Refusal>) {
        let answer = Answer { number, result };
        let length = match encode_frame(&answer, &mut self.frame) {
            Ok(frame) => frame.len(),
            // Every reply fits; a test of the largest ones proves it.
            Err(_) => 0,
        };
        self.unsent = 0..length;
    }

    /// What is still to be sent.
    pub fn unsent(&self) -> &[u8] {
        self.frame.get(self.unsent.clone()).unwrap_or_default()
    }

    /// So many octets were sent.
    pub fn sent(&mut self, octets: usize) {
        self.unsent.start = self.unsent.start.saturating_add(octets).min(self.unsent.end);
    }

    pub(super) fn log_out(&mut self) {
        *self = Self { deframer: core::mem::take(&mut self.deframer), ..Self::new(self.peer) };
    }
}
