//! Inbound frames from up to eight interfaces, filtered in the kernel.
//!
//! libpcap (immediate mode, not promiscuous, non-blocking) does the capturing, a program made by
//! [`filter`] the filtering, in the kernel alone. An interface may be absent at start, vanish, be
//! created again or go down and up: [`LinuxCapture::maintain`], called in every turn of the loop and
//! whenever the time it returned has come, notices and opens it again within a second.
//!
//! No frame costs a heap allocation; opening an interface and replacing the filter do.

pub mod filter;

mod error;
mod handle;
mod interface;

use std::os::fd::BorrowedFd;

use heapless::{String, Vec};
use postern_core::knock::InterfaceIndex;
use postern_core::limits::{FRAME_BYTES_MAX, FRAMES_PER_TURN_MAX, INTERFACE_NAME_BYTES_MAX, INTERFACES_MAX};
use postern_core::port::{Capture, Frame};
use postern_core::rule::RuleSet;
use postern_core::time::Instant;

pub use error::CaptureOpenError;
use filter::{Interest, Program};
use interface::{Change, Interface};

/// Name of a network interface.
pub type InterfaceName = String<INTERFACE_NAME_BYTES_MAX>;

/// Frames taken from one interface before the next has its turn. Asking an interface that has
/// none costs a system call, so turns are not shorter; one turn of the daemon still reaches all.
const BURST_FRAMES: usize = FRAMES_PER_TURN_MAX / INTERFACES_MAX;

/// Octets of the ring that libpcap shares with the kernel, for each interface.
///
/// In immediate mode every frame takes a slot of its own (`TPACKET_V2`), twelve to a page at our
/// snap length: the default of 2 MiB holds 6,144 frames. That is what comes in 30 ms of 200,000
/// knocks a second, in which the daemon need not be scheduled. What the filter rejects takes no
/// slot. The memory is the kernel's and not swappable; it is not part of the daemon's heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBytes(pub usize);

impl Default for RingBytes {
    fn default() -> Self {
        RingBytes(2 * 1024 * 1024)
    }
}

/// Something the daemon puts into the audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureEvent {
    /// An interface is watched no more, or was not there at start.
    Lost(InterfaceIndex),
    /// An interface is watched again.
    Back(InterfaceIndex),
    /// The ring was full: frames that had passed the filter were lost.
    Dropped {
        /// Where.
        interface: InterfaceIndex,
        /// How many since the last such event.
        frames: u64,
    },
}

/// Capture on several interfaces.
pub struct LinuxCapture {
    interfaces: Vec<Interface, INTERFACES_MAX>,
    interest: Interest,
    ring: RingBytes,
    /// Whose turn it is, and how many frames it may still take.
    turn: usize,
    turn_frames: usize,
    buffer: [u8; FRAME_BYTES_MAX],
}

impl std::fmt::Debug for LinuxCapture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.interfaces.iter().map(|interface| (interface.name(), interface.is_open()));
        f.debug_map().entries(names).finish()
    }
}

impl LinuxCapture {
    /// Watches what `rules` watch and the UDP ports of `datagram_ports` (Single Packet Authorization).
    /// Opens the interfaces that are there and waits for the others. The name "any" is every
    /// interface, captured cooked. There a frame with two VLAN tags cannot be read: recent kernels
    /// report the protocol behind the inner tag, but leave the tag before it. The VLAN interface
    /// above shows it once more, without tags. The name "default-route" is the interface that has it,
    /// whichever that is from time to time.
    ///
    /// # Errors
    /// [`CaptureOpenError`], except for an interface that is absent or down: that is reported by
    /// [`LinuxCapture::take_event`].
    pub fn open<'a>(
        names: impl IntoIterator<Item = &'a str>,
        rules: &RuleSet,
        datagram_ports: &[u16],
        ring: RingBytes,
        now: Instant,
    ) -> Result<Self, CaptureOpenError> {
        let mut interfaces = Vec::new();
        for name in names {
            let interface = Interface::new(interface_name(name)?);
            interfaces.push(interface).map_err(|_| CaptureOpenError::TooManyInterfaces)?;
        }
        if interfaces.is_empty() {
            return Err(CaptureOpenError::NoInterface);
        }
        let interest = Interest::new(rules, datagram_ports)?;
        for interface in &mut interfaces {
            match interface.try_open(&interest, ring, now) {
                Err(error) if error.is_absence() => log::warn!("{error}; waiting for it"),
                result => result?,
            }
        }
        let buffer = [0; FRAME_BYTES_MAX];
        Ok(Self { interfaces, interest, ring, turn: 0, turn_frames: BURST_FRAMES, buffer })
    }

    /// Looks after the interfaces that are due and says when the next one is. Costs next to nothing
    /// when none is due: call it in every turn.
    pub fn maintain(&mut self, now: Instant) -> Instant {
        self.check_due(now);
        let next = now + interface::CHECK_EVERY;
        self.interfaces.iter().map(Interface::check_at).fold(next, Instant::min)
    }

    /// The same for those who call [`LinuxCapture::links_changed`] whenever something changed: a
    /// time is named only when an interface that may be there could not be opened. Otherwise the
    /// next call may come when there is something else to do; only drops are counted later then.
    pub fn maintain_when_told(&mut self, now: Instant) -> Option<Instant> {
        self.check_due(now);
        self.interfaces.iter().filter(|interface| interface.is_in_doubt()).map(Interface::check_at).min()
    }

    fn check_due(&mut self, now: Instant) {
        for interface in self.interfaces.iter_mut().filter(|interface| interface.check_at() <= now) {
            interface.check(&self.interest, self.ring, now);
        }
    }

    /// The kernel told that an interface came, went or was renamed: the next
    /// [`LinuxCapture::maintain`] or [`LinuxCapture::maintain_when_told`] looks at all of them.
    pub fn links_changed(&mut self) {
        for interface in &mut self.interfaces {
            interface.check_now();
        }
    }

    /// The next event, `None` when all have been taken.
    pub fn take_event(&mut self) -> Option<CaptureEvent> {
        for (index, interface) in (0..).map(InterfaceIndex).zip(&mut self.interfaces) {
            match interface.take_change() {
                Some(Change::Lost) => return Some(CaptureEvent::Lost(index)),
                Some(Change::Back) => return Some(CaptureEvent::Back(index)),
                Some(Change::Dropped(frames)) => {
                    return Some(CaptureEvent::Dropped { interface: index, frames });
                }
                None => {}
            }
        }
        None
    }

    /// Lets through what `rules` watch from now on, and the UDP ports of `datagram_ports`. No packet that both the old and the new rules
    /// watch is missed.
    ///
    /// # Errors
    /// [`CaptureOpenError::Filter`] and [`CaptureOpenError::FilterRefused`]; the old filter is then
    /// in force on every interface.
    pub fn replace_filter(
        &mut self,
        rules: &RuleSet,
        datagram_ports: &[u16],
    ) -> Result<(), CaptureOpenError> {
        let interest = Interest::new(rules, datagram_ports)?;
        if let Err(error) = attach_all(&mut self.interfaces, &interest) {
            attach_all(&mut self.interfaces, &self.interest)?;
            return Err(error);
        }
        self.interest = interest;
        Ok(())
    }

    /// File descriptors that become readable when frames wait. They change whenever
    /// [`LinuxCapture::maintain`] or [`Capture::next_frame`] was called.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>, INTERFACES_MAX> {
        self.interfaces.iter().filter_map(Interface::fd).collect()
    }

    /// Whether the interface with this name is captured now.
    pub fn is_live(&self, name: &str) -> bool {
        self.interfaces.iter().any(|interface| interface.name() == name && interface.is_open())
    }

    /// Whether an interface that is there and up is not captured.
    pub fn is_deaf(&self) -> bool {
        self.interfaces.iter().any(Interface::is_deaf)
    }

    /// How many interfaces are captured now.
    pub fn open_count(&self) -> usize {
        self.interfaces.iter().filter(|interface| interface.is_open()).count()
    }

    fn next_turn(&mut self) {
        self.turn = (self.turn + 1) % self.interfaces.len().max(1);
        self.turn_frames = BURST_FRAMES;
    }
}

impl Capture for LinuxCapture {
    fn next_frame(&mut self) -> Option<Frame<'_>> {
        // One more than there are interfaces: the first may have had its turn.
        for _ in 0..=self.interfaces.len() {
            if self.turn_frames == 0 {
                self.next_turn();
            }
            let interface = self.interfaces.get_mut(self.turn)?;
            let Some((link, octets)) = interface.read(&mut self.buffer) else {
                self.next_turn();
                continue;
            };
            self.turn_frames -= 1;
            let index = InterfaceIndex(u8::try_from(self.turn).ok()?);
            return Some(Frame { interface: index, link, bytes: self.buffer.get(..octets)? });
        }
        None
    }
}

/// Checks a name as the kernel does (`dev_valid_name`).
fn interface_name(name: &str) -> Result<InterfaceName, CaptureOpenError> {
    let odd = |byte: u8| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace();
    if name.is_empty() || name == "." || name == ".." || name.bytes().any(odd) {
        return Err(CaptureOpenError::BadName);
    }
    InterfaceName::try_from(name).map_err(|()| CaptureOpenError::BadName)
}

fn attach_all(interfaces: &mut [Interface], interest: &Interest) -> Result<(), CaptureOpenError> {
    let programs: Result<Vec<Option<Program>, INTERFACES_MAX>, _> = interfaces
        .iter()
        .map(|interface| interface.link().map(|link| interest.program(link)).transpose())
        .collect();
    for (interface, program) in interfaces.iter_mut().zip(programs?) {
        if let Some(program) = program {
            interface.attach(&program)?;
        }
    }
    Ok(())
}
