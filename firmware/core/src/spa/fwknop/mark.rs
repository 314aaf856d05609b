//! Which packets of a key were used, by their time stamps and MACs.
//!
//! The stock client counts nothing. What rises is its clock, and only by the second, so that two
//! packets may have one time stamp, and the packets of two clients that share a key overtake each
//! other by as much as their clocks differ. Remembering every packet for ever takes endless memory;
//! the stock server does that, in a file, and forgets when the file is lost.
//!
//! Here a key has a *mark*: no packet with a time stamp up to it counts. Above it the packets that
//! counted are remembered one by one, by their MACs. Two things move the mark up: the time stamp of
//! the newest packet that counted, less [`WINDOW_SECS`]; and the oldest remembered packet, when there
//! is no room for it any more. So nothing is ever forgotten that would count again, memory is
//! fixed, and the gateway's own clock has no part in it: no packet counts twice in 1970 either.
//!
//! # Ceilings
//!
//! As with the counters of our own packets ([`crate::spa::replay`]) no time stamp above the *ceiling*
//! counts, a ceiling counts only when it is on the medium, and after a start the mark is the ceiling.
//! So a power cut at any point makes packets worthless and never makes a used one worth something. The
//! price: after a start, a client whose clock is behind that of the last one waits for the difference.
//!
//! # A clock to trust
//!
//! With one, a packet must also be younger than [`AGE_MAX_SECS`], and not more than that from the
//! future: one that was held back is worthless after two minutes, and no client with a wrong clock can
//! push the mark where others do not follow. Without one, a packet that was held back counts until the
//! same key has been used [`WINDOW_SECS`] after it, and a client whose clock is years ahead takes
//! the mark with it, by [`JUMP_MAX_SECS`] at most. The way out is then a new key: a mark never goes
//! back, because what lies below it may have been used.

use heapless::Vec;

use crate::limits::FWKNOP_REMEMBERED_MAX;
use crate::spa::policy::WallTime;

/// How far the time stamp of a packet may be from a clock to trust: what the stock server allows when it
/// is not told otherwise.
pub const AGE_MAX_SECS: u64 = 120;

/// How far below the newest time stamp one may still come: clients whose clocks differ as much as
/// [`AGE_MAX_SECS`] lets them, in both directions, do not shut each other out.
pub const WINDOW_SECS: u64 = 2 * AGE_MAX_SECS;

/// The largest step of a mark that has no clock to trust: 17 years. Longer than a key rests, shorter
/// than the way to where broken clocks go.
pub const JUMP_MAX_SECS: u64 = 1 << 29;

/// How far above a time stamp its ceiling is written, as with counters of our own: less than a gateway
/// takes to start.
pub const LEASE_AHEAD_SECS: u64 = 4;

/// Name of a packet: the front of its MAC. Two packets share it by chance only, and then an honest one
/// is refused; a repeated one always has the name it had.
pub type PacketName = [u8; 8];

/// Why a time stamp does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeRefusal {
    /// The packet counted already.
    Used,
    /// Its time stamp is not above the mark: it may have counted.
    Old,
    /// It is too far behind the gateway's clock.
    Late,
    /// It is too far ahead of the gateway's clock.
    Early,
    /// It is too far above the mark, and no clock says that this is right.
    Jump,
    /// It is above the ceiling on the medium.
    NotPersisted,
}

impl TimeRefusal {
    /// Short lower-case words for an audit line.
    pub const fn reason(self) -> &'static str {
        match self {
            TimeRefusal::Used => "packet-used",
            TimeRefusal::Old => "time-stamp-old",
            TimeRefusal::Late => "time-stamp-behind-clock",
            TimeRefusal::Early => "time-stamp-ahead-of-clock",
            TimeRefusal::Jump => "time-stamp-jump",
            TimeRefusal::NotPersisted => "time-stamp-not-persisted",
        }
    }
}

/// What to do with a packet that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Accept it.
    Now,
    /// Write this ceiling, say [`Mark::persisted`], then accept it.
    AfterPersisting {
        /// The ceiling, in seconds since 1970.
        ceiling: u64,
    },
}

/// A packet that counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Remembered {
    sent_at: u64,
    name: PacketName,
}

/// Mark, remembered packets and ceiling of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    floor: u64,
    newest: u64,
    ceiling: u64,
    /// All above the floor.
    remembered: Vec<Remembered, FWKNOP_REMEMBERED_MAX>,
}

impl Mark {
    /// The state at start. `ceiling` is what the medium holds for the key, 0 for a new one; `first` is
    /// the lowest time stamp that shall count, or 0.
    pub const fn restored(ceiling: u64, first: u64) -> Self {
        let below_first = first.saturating_sub(1);
        let floor = if ceiling > below_first { ceiling } else { below_first };
        Self { floor, newest: floor, ceiling, remembered: Vec::new() }
    }

    /// No time stamp up to this counts.
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// The highest time stamp that counted, or that may have before the last start.
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// What the medium holds.
    pub const fn ceiling(&self) -> u64 {
        self.ceiling
    }

    /// Whether a packet would count, and what must be written before.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        sent_at: u64,
        name: &PacketName,
        now: Option<WallTime>,
    ) -> Result<Admission, TimeRefusal> {
        if self.remembered.iter().any(|other| other.name == *name) {
            return Err(TimeRefusal::Used);
        }
        if sent_at <= self.floor {
            return Err(TimeRefusal::Old);
        }
        match now.map(WallTime::secs) {
            Some(now) if sent_at.saturating_add(AGE_MAX_SECS) < now => return Err(TimeRefusal::Late),
            Some(now) if sent_at > now.saturating_add(AGE_MAX_SECS) => return Err(TimeRefusal::Early),
            Some(_) => {}
            // The first packet of a key may be of any time.
            None if self.newest > 0 && sent_at.saturating_sub(self.newest) > JUMP_MAX_SECS => {
                return Err(TimeRefusal::Jump);
            }
            None => {}
        }
        if sent_at <= self.ceiling {
            return Ok(Admission::Now);
        }
        Ok(Admission::AfterPersisting { ceiling: sent_at.saturating_add(LEASE_AHEAD_SECS) })
    }

    /// `ceiling` is on the medium. A lower one than before changes nothing.
    pub const fn persisted(&mut self, ceiling: u64) {
        if ceiling > self.ceiling {
            self.ceiling = ceiling;
        }
    }

    /// Uses a packet up.
    ///
    /// # Errors
    /// As [`Mark::check`], or [`TimeRefusal::NotPersisted`]; nothing changes then.
    pub fn accept(
        &mut self,
        sent_at: u64,
        name: &PacketName,
        now: Option<WallTime>,
    ) -> Result<(), TimeRefusal> {
        match self.check(sent_at, name, now)? {
            Admission::Now => self.remember(Remembered { sent_at, name: *name }),
            Admission::AfterPersisting { .. } => return Err(TimeRefusal::NotPersisted),
        }
        Ok(())
    }

    fn remember(&mut self, packet: Remembered) {
        self.newest = self.newest.max(packet.sent_at);
        self.raise(self.newest.saturating_sub(WINDOW_SECS));
        while packet.sent_at > self.floor {
            if self.remembered.push(packet).is_ok() {
                return;
            }
            // No room: what is oldest, together with all of its second, goes below the mark.
            let oldest = self.remembered.iter().map(|other| other.sent_at).min();
            self.raise(oldest.unwrap_or(u64::MAX).min(packet.sent_at));
        }
    }

    fn raise(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        let floor = self.floor;
        self.remembered.retain(|other| other.sent_at > floor);
    }
}
