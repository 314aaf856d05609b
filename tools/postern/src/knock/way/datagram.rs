//! Single Packet Authorization: one sealed datagram (see `SPA.md`).

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use heapless::Vec;
use postern_core::rule::Purpose;
use postern_core::spa::key::{KeyTag, SpaKey};
use postern_core::spa::native::request::CLAIMS_MAX;
use postern_core::spa::native::{PACKET_BYTES, Request, Sealer};
use postern_core::spa::replay::COUNT_BITS;
use postern_core::spa::replay::counter::in_epoch;
use postern_hal_linux::random::random;

use super::{Way, shown, socket_for};
use crate::profile::counters::{Basis, CLOCK_LEAST_MILLIS, Counters, LastCounter, clock_millis};
use crate::profile::{Claim, Spa};
use crate::remote::failure::{Failure, Outcome};

/// Pause between two copies of one packet: one outage must not take both.
const BETWEEN_COPIES: Duration = Duration::from_millis(150);

/// Longest pause before another packet.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// One profile's packets.
#[derive(Debug)]
pub struct DatagramWay {
    spa: Spa,
    purpose: Purpose,
    sealer: Sealer,
    tag: KeyTag,
    counters: Option<Counters>,
    last: Option<u64>,
}

impl DatagramWay {
    /// Derives what is needed of `key`. `counters` is where the last one is remembered; without, the
    /// clock alone makes them.
    pub fn new(spa: Spa, purpose: Purpose, key: &SpaKey, counters: Option<Counters>) -> Self {
        let device = spa.key.device;
        let (sealer, tag) = (Sealer::new(key, device), key.tag(device));
        let counters = counters.filter(|_| spa.remember);
        Self { spa, purpose, sealer, tag, counters, last: None }
    }

    /// What the next counter is made from.
    fn basis(&self, remembered: Option<u64>, again: bool) -> Basis {
        let Spa { first_counter: first, epoch, .. } = self.spa;
        Basis { last: remembered, first, epoch, clock: clock_millis(), again }
    }

    /// The counter the next packet would have; nothing is written down.
    ///
    /// # Errors
    /// As [`Way::send`].
    pub fn look_ahead(&self) -> Outcome<u64> {
        match &self.counters {
            Some(counters) => {
                let last: Option<LastCounter> = counters.look(self.tag)?;
                self.following(last.map(|LastCounter(last)| last), false)
            }
            None => self.by_clock(false),
        }
    }

    fn following(&self, last: Option<u64>, again: bool) -> Outcome<u64> {
        self.basis(last, again).next().ok_or_else(|| {
            Failure::InvalidProfile("the counters of this key are used up: get another key".to_owned())
        })
    }

    /// Without memory: the epoch and the clock alone, and above what this process has sent.
    fn by_clock(&self, again: bool) -> Outcome<u64> {
        let clock = clock_millis().filter(|clock| *clock >= CLOCK_LEAST_MILLIS).ok_or_else(|| {
            let what = "the clock was never set, and the profile says `remember = false`: set the clock";
            Failure::Failed(what.to_owned())
        })?;
        match self.last {
            Some(last) => self.following(Some(last), again),
            None => Ok(in_epoch(self.epoch(), clock)),
        }
    }

    /// The epoch of the profile, or that of its first counter when that is later.
    fn epoch(&self) -> u16 {
        let of_first = u16::try_from(self.spa.first_counter >> COUNT_BITS).unwrap_or(u16::MAX);
        self.spa.epoch.max(of_first)
    }

    /// The next counter, which is remembered when this returns.
    fn take(&mut self, again: bool) -> Outcome<u64> {
        let counter = match &self.counters {
            Some(counters) => {
                let next = |last: Option<LastCounter>| {
                    self.following(last.map(|LastCounter(last)| last), again).map(LastCounter)
                };
                counters.change(self.tag, next)?.0
            }
            None => self.by_clock(again)?,
        };
        self.last = Some(counter);
        Ok(counter)
    }

    /// The packet with this counter, as it is sent from `own`.
    ///
    /// # Errors
    /// [`Failure::InvalidProfile`] when the profile asks for what no packet can say.
    pub fn packet(&self, counter: u64, own: std::net::IpAddr) -> Outcome<[u8; PACKET_BYTES]> {
        let mut claimed = Vec::<_, CLAIMS_MAX>::new();
        match &self.spa.claim {
            Claim::Seen => {}
            Claim::Own => drop(claimed.push(own)),
            Claim::These(addresses) => claimed.extend(addresses.iter().copied().take(CLAIMS_MAX)),
        }
        let opens = self.purpose == Purpose::Open;
        let request = Request {
            purpose: self.purpose,
            door: self.spa.door.clone(),
            counter,
            lease_secs: if opens { self.spa.lease_secs } else { 0 },
            claimed,
            one_shot: opens && self.spa.one_shot,
        };
        let random = random().map_err(|error| Failure::failed("no random numbers", error))?;
        self.sealer.seal(&request, &random).map_err(|malformed| {
            let reason = malformed.reason();
            Failure::InvalidProfile(format!("the profile asks for what no packet can say: {reason}"))
        })
    }
}

impl Way for DatagramWay {
    fn send(&mut self, mut address: SocketAddr, again: bool, say: &mut dyn FnMut(&str)) -> Outcome<()> {
        address.set_port(self.spa.port);
        let cannot = |error: std::io::Error| {
            let port = address.port();
            Failure::Unreachable(format!("cannot send udp/{port} to {}: {error}", shown(address)))
        };
        // Connected, so that the kernel says which address it will send from, and whether there is a way.
        let socket = socket_for(address).map_err(cannot)?;
        socket.connect(address).map_err(cannot)?;
        let own = socket.local_addr().map_err(cannot)?.ip();
        let counter = self.take(again)?;
        let packet = self.packet(counter, own)?;
        let (epoch, count) = (counter >> COUNT_BITS, counter & ((1 << COUNT_BITS) - 1));
        say(&format!(
            "one packet to {} udp/{}, counter {count} of epoch {epoch}",
            shown(address),
            self.spa.port
        ));
        for copy in 0..self.spa.copies.max(1) {
            if copy > 0 {
                sleep(BETWEEN_COPIES);
            }
            match socket.send(&packet) {
                // Something on the way answered a copy before: that is no business of ours.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                other => drop(other.map_err(cannot)?),
            }
        }
        Ok(())
    }

    fn pause(&self, attempt: u32) -> Duration {
        Duration::from_millis(500).saturating_mul(attempt).min(PAUSE_MAX)
    }

    fn knocked_lately(&self) -> bool {
        self.counters.as_ref().is_some_and(|counters| counters.used_lately(self.tag))
    }

    fn counter(&self) -> Option<u64> {
        self.last
    }
}

#[cfg(test)]
mod tests;
