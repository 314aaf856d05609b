//! One interface: waited for, captured, lost, waited for again.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::net::if_::{if_indextoname, if_nametoindex};
use pcap::{Active, Capture, Direction, Error as PcapError, Linktype};
use postern_core::limits::FRAME_BYTES_MAX;
use postern_core::port::LinkType;
use postern_core::time::{Duration, Instant};

use super::error::CaptureOpenError;
use super::filter::Interest;
use super::handle::{self, ActivateError, Settings};
use super::{InterfaceName, RingBytes};
use crate::bpf::Program;
use crate::default_route::{self, DEFAULT_ROUTE};

/// How often an interface is looked after: an absent one is tried, the drop counter of a present
/// one read, and its disappearance noticed even when nothing arrives.
pub(super) const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Longest pause between two tries when libpcap fails on an interface that is there.
const BACK_OFF_MAX: Duration = Duration::from_secs(32);

/// The pseudo-interface that is all of them (cooked capture).
const ANY: &str = "any";

/// One interface of the site's list.
pub(super) struct Interface {
    name: InterfaceName,
    open: Option<Open>,
    /// Not there, or down, when it was tried last.
    absent: bool,
    /// Lost, and not tried since: it may be there.
    untried: bool,
    tried_at: Instant,
    check_at: Instant,
    back_off: Duration,
    /// What the daemon has been told.
    reported_open: bool,
    /// Lost since it was told, even if it is back already.
    lost: bool,
    dropped: u64,
}

struct Open {
    capture: Capture<Active>,
    link: LinkType,
    /// Kernel index, 0 for "any".
    index: u32,
    /// What the wrapping drop counter stood at.
    dropped: u32,
}

/// A change the daemon is to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Lost,
    Back,
    Dropped(u64),
}

impl Interface {
    pub(super) fn new(name: InterfaceName) -> Self {
        Self {
            name,
            open: None,
            absent: true,
            untried: true,
            tried_at: Instant::BOOT,
            check_at: Instant::BOOT,
            back_off: CHECK_EVERY,
            reported_open: true,
            lost: false,
            dropped: 0,
        }
    }

    pub(super) fn name(&self) -> &InterfaceName {
        &self.name
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether it is there and yet not captured.
    pub(super) fn is_deaf(&self) -> bool {
        self.open.is_none() && !self.absent
    }

    pub(super) fn link(&self) -> Option<LinkType> {
        self.open.as_ref().map(|open| open.link)
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.open.as_ref().map(|open| open.capture.as_fd())
    }

    pub(super) fn check_at(&self) -> Instant {
        self.check_at
    }

    /// Whether it must be tried again although nobody tells of a change.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.open.is_none() && (self.untried || !self.absent)
    }

    /// Something changed about the machine's interfaces: look at once.
    pub(super) fn check_now(&mut self) {
        self.check_at = Instant::BOOT;
        self.back_off = CHECK_EVERY;
    }

    /// Opens the interface if it is not open.
    pub(super) fn try_open(
        &mut self,
        interest: &Interest,
        ring: RingBytes,
        now: Instant,
    ) -> Result<(), CaptureOpenError> {
        self.tried_at = now;
        self.untried = false;
        match open(&self.name, interest, ring) {
            Ok(open) => {
                self.open = Some(open);
                self.back_off = CHECK_EVERY;
                self.check_at = now + CHECK_EVERY;
                Ok(())
            }
            Err(error) => {
                self.absent = error.is_absence();
                let pause = if error.is_absence() { CHECK_EVERY } else { self.back_off };
                self.back_off = Duration::from_millis(2 * pause.millis()).min(BACK_OFF_MAX);
                self.check_at = now + pause;
                Err(error)
            }
        }
    }

    /// Notices a lost interface, counts drops, tries to open what is not open.
    pub(super) fn check(&mut self, interest: &Interest, ring: RingBytes, now: Instant) {
        if self.open.as_ref().is_some_and(|open| !is_still(&self.name, open.index)) {
            self.close();
        }
        match &mut self.open {
            Some(open) => {
                if let Ok(statistics) = open.capture.stats() {
                    let more = statistics.dropped.wrapping_sub(open.dropped);
                    open.dropped = statistics.dropped;
                    self.dropped = self.dropped.saturating_add(more.into());
                }
                self.check_at = now + CHECK_EVERY;
            }
            None => {
                // An absence was reported as lost; anything else a person must see once each try.
                match self.try_open(interest, ring, now) {
                    Err(error) if !error.is_absence() => log::warn!("{error}"),
                    _ => {}
                }
            }
        }
    }

    /// Copies the next frame into `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8; FRAME_BYTES_MAX]) -> Option<(LinkType, usize)> {
        let open = self.open.as_mut()?;
        match open.capture.next_packet() {
            Ok(packet) => {
                let octets = packet.data.len().min(FRAME_BYTES_MAX);
                let (kept, data) = (buffer.get_mut(..octets)?, packet.data.get(..octets)?);
                kept.copy_from_slice(data);
                Some((open.link, octets))
            }
            Err(PcapError::TimeoutExpired) => None,
            Err(error) => {
                log::debug!("{}: {error}", self.name);
                self.close();
                // It may have been created again already; but never try more often than that.
                self.check_at = self.tried_at + CHECK_EVERY;
                None
            }
        }
    }

    /// Puts another filter in place, without a moment in which a packet it would pass is missed.
    pub(super) fn attach(&mut self, program: &Program) -> Result<(), CaptureOpenError> {
        let Some(open) = &self.open else { return Ok(()) };
        let refused = |errno| CaptureOpenError::FilterRefused(self.name.clone(), errno);
        match handle::attach(&open.capture, program) {
            // The kernel charges both programs to the socket while it swaps them. Between the two
            // everything passes, which costs a little work and misses nothing.
            Err(Errno::ENOMEM) => {
                handle::attach(&open.capture, &Program::accept_all()).map_err(refused)?;
                handle::attach(&open.capture, program).map_err(refused)
            }
            result => result.map_err(refused),
        }
    }

    /// What has changed since the last call, one thing at a time.
    pub(super) fn take_change(&mut self) -> Option<Change> {
        if self.reported_open && (self.lost || self.open.is_none()) {
            self.reported_open = false;
            self.lost = false;
            return Some(Change::Lost);
        }
        if !self.reported_open && self.open.is_some() {
            self.reported_open = true;
            self.lost = false;
            return Some(Change::Back);
        }
        match std::mem::take(&mut self.dropped) {
            0 => None,
            frames => Some(Change::Dropped(frames)),
        }
    }

    fn close(&mut self) {
        self.open = None;
        // Nothing is known until it is tried again.
        self.absent = true;
        self.untried = true;
        self.lost = true;
    }
}

/// Whether the interface of this name is the one with this index. When the kernel cannot tell (no
/// descriptor is free), it is.
fn is_still(name: &str, index: u32) -> bool {
    if name == DEFAULT_ROUTE {
        return default_route::index().map_or(true, |current| current == Some(index));
    }
    match if_nametoindex(name) {
        Ok(current) => current == index,
        Err(Errno::ENODEV | Errno::ENXIO) => name == ANY,
        Err(_) => true,
    }
}

fn open(name: &InterfaceName, interest: &Interest, ring: RingBytes) -> Result<Open, CaptureOpenError> {
    let device = device(name)?;
    let device = &device;
    let index = match if_nametoindex(device.as_str()) {
        Ok(index) => index,
        Err(_) if name == ANY => 0,
        Err(Errno::ENODEV | Errno::ENXIO) => return Err(CaptureOpenError::NoSuchInterface(name.clone())),
        // No descriptor is free, say: it may be there.
        Err(errno) => return Err(CaptureOpenError::Other(name.clone(), errno.to_string())),
    };
    let other = |error: PcapError| CaptureOpenError::Other(name.clone(), error.to_string());
    let settings = Settings {
        frame_octets: i32::try_from(FRAME_BYTES_MAX).unwrap_or(i32::MAX),
        ring_octets: i32::try_from(ring.0).unwrap_or(i32::MAX),
    };
    let capture = handle::open(device, settings).map_err(|error| match error {
        ActivateError::NoSuchInterface => CaptureOpenError::NoSuchInterface(name.clone()),
        ActivateError::InterfaceDown => CaptureOpenError::InterfaceDown(name.clone()),
        ActivateError::NoPrivilege => CaptureOpenError::NoPrivilege(name.clone()),
        ActivateError::Other(text) => CaptureOpenError::Other(name.clone(), text),
    })?;
    let mut capture = capture.setnonblock().map_err(other)?;
    let dlt = capture.get_datalink();
    let link = link_type(dlt).ok_or_else(|| CaptureOpenError::UnsupportedLink(name.clone(), dlt.0))?;
    // The filter drops what the machine sends, too; libpcap would after a copy to user space.
    capture.direction(Direction::In).map_err(other)?;
    let refused = |errno| CaptureOpenError::FilterRefused(name.clone(), errno);
    // From activation until now everything was captured. As libpcap does with filters of its own:
    // let nothing more in, throw away what is there, and only then begin.
    let program = interest.program(link)?;
    handle::attach(&capture, &Program::reject_all()).map_err(refused)?;
    drain(&mut capture, ring);
    handle::attach(&capture, &program).map_err(refused)?;
    Ok(Open { capture, link, index, dropped: 0 })
}

/// The interface a name of the site stands for now.
fn device(name: &InterfaceName) -> Result<InterfaceName, CaptureOpenError> {
    if name.as_str() != DEFAULT_ROUTE {
        return Ok(name.clone());
    }
    let other = |reason: String| CaptureOpenError::Other(name.clone(), reason);
    let index = default_route::index().map_err(|error| other(format!("cannot ask for it: {error:?}")))?;
    let index = index.ok_or_else(|| CaptureOpenError::NoSuchInterface(name.clone()))?;
    match if_indextoname(index) {
        Ok(device) => device
            .to_str()
            .ok()
            .and_then(|device| InterfaceName::try_from(device).ok())
            .ok_or_else(|| other("its interface has a name that is no text".to_owned())),
        // It went away in between.
        Err(Errno::ENXIO | Errno::ENODEV) => Err(CaptureOpenError::NoSuchInterface(name.clone())),
        Err(errno) => Err(other(errno.to_string())),
    }
}

/// Throws away what the ring holds: no more than fits.
fn drain(capture: &mut Capture<Active>, ring: RingBytes) {
    let frames_max = ring.0 / FRAME_BYTES_MAX;
    let _ = (0..frames_max).try_for_each(|_| match capture.next_packet() {
        Ok(_) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
}

/// The link types that `postern_core::wire` reads (<https://www.tcpdump.org/linktypes.html>). On
/// Linux libpcap opens Ethernet, 802.1Q and the loopback as Ethernet, tun and raw IP modems as raw
/// IP, and PPP, "any" and all it has no name for as cooked.
const fn link_type(dlt: Linktype) -> Option<LinkType> {
    const DLT_RAW: i32 = 12;
    match dlt.0 {
        1 => Some(LinkType::Ethernet),
        DLT_RAW | 101 | 228 | 229 => Some(LinkType::RawIp),
        9 | 50 => Some(LinkType::Ppp),
        113 => Some(LinkType::CookedV1),
        276 => Some(LinkType::CookedV2),
        0 | 108 => Some(LinkType::Loopback),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_types_have_libpcaps_numbers() {
        for (dlt, link) in [
            (Linktype::ETHERNET, LinkType::Ethernet),
            (Linktype::RAW, LinkType::RawIp),
            (Linktype::IPV4, LinkType::RawIp),
            (Linktype::IPV6, LinkType::RawIp),
            (Linktype::PPP, LinkType::Ppp),
            (Linktype::PPP_HDLC, LinkType::Ppp),
            (Linktype::LINUX_SLL, LinkType::CookedV1),
            (Linktype::LINUX_SLL2, LinkType::CookedV2),
            (Linktype::NULL, LinkType::Loopback),
            (Linktype::LOOP, LinkType::Loopback),
        ] {
            assert_eq!(link_type(dlt), Some(link), "DLT {}", dlt.0);
        }
        assert_eq!(link_type(Linktype::USB_LINUX), None);
    }
}
