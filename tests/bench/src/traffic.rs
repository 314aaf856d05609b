//! Floods, scans and honest clients, all as raw frames.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};
use postern_e2e::sender::FrameSender;

use crate::arena::{Arena, SERVICE, client_address};
use crate::meter;

/// Frames are sent in bursts this far apart.
const BURST_EVERY: Duration = Duration::from_micros(100);
/// No flood is longer.
const FLOOD_FRAMES_MAX: u64 = 10_000_000;

/// SplitMix64 (Steele, Lea, Flood): the same numbers for the same seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A source that is nobody's: `10.0.0.0/8`, to which the gateway has no route.
    pub fn source(&mut self) -> [u8; 4] {
        let [_, b, c, d, ..] = self.number().to_be_bytes();
        [10, b, c, d]
    }

    /// Every TCP port in random order (Fisher and Yates).
    pub fn ports(&mut self) -> Vec<u16> {
        let mut ports: Vec<u16> = (1..=u16::MAX).collect();
        for last in (1..ports.len()).rev() {
            let other = usize::try_from(self.number() % (last as u64 + 1)).unwrap_or(0);
            ports.swap(last, other);
        }
        ports
    }
}

/// Replaces the source address of an Ethernet frame with TCP over IPv4; checksums follow.
pub fn forge(frame: &mut [u8], source: [u8; 4]) {
    let [a, b, c, d] = source;
    replace(frame, 26, u16::from_be_bytes([a, b]), &[24, 50]);
    replace(frame, 28, u16::from_be_bytes([c, d]), &[24, 50]);
}

/// Replaces its destination port.
pub fn aim(frame: &mut [u8], port: u16) {
    replace(frame, 36, port, &[50]);
}

/// Writes a word, and what it changes in the checksums at these places (RFC 1624).
pub(crate) fn replace(frame: &mut [u8], at: usize, new: u16, checksums: &[usize]) {
    for &checksum in checksums {
        let mut sum = u32::from(!word(frame, checksum)) + u32::from(!word(frame, at)) + u32::from(new);
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let sum = !u16::try_from(sum).unwrap_or(0);
        frame[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
    }
    frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

/// What was really sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Frames.
    pub frames: u64,
    /// From the first to the last.
    pub time: Duration,
    /// CPU time of the sending thread; the receiving side's softirq runs in it too.
    pub cpu: Duration,
}

impl Sent {
    /// Thousands of frames a second.
    pub fn kpps(&self) -> f64 {
        self.frames as f64 / self.time.as_secs_f64().max(1e-9) / 1e3
    }

    /// Nanoseconds of `cpu` for each frame.
    pub fn ns_each(&self, cpu: Duration) -> f64 {
        cpu.as_nanos() as f64 / (self.frames as f64).max(1.0)
    }
}

/// Sends `count` frames, `per_second`; `next` says what number n is. Stops early when told to.
///
/// # Errors
/// From the kernel.
pub fn pour(
    sender: &FrameSender,
    per_second: u32,
    count: u64,
    stop: &AtomicBool,
    mut next: impl FnMut(u64, &FrameSender) -> Result<()>,
) -> Result<Sent> {
    let (started, before) = (Instant::now(), meter::own_cpu()?);
    let mut sent = 0;
    while sent < count.min(FLOOD_FRAMES_MAX) && !stop.load(Ordering::Relaxed) {
        let due = started.elapsed().as_nanos() * u128::from(per_second) / 1_000_000_000 + 1;
        let due = u64::try_from(due).unwrap_or(count).min(count);
        while sent < due {
            next(sent, sender)?;
            sent += 1;
        }
        std::thread::sleep(BURST_EVERY);
    }
    Ok(Sent { frames: sent, time: started.elapsed(), cpu: meter::own_cpu()?.saturating_sub(before) })
}

/// Who a flood says it comes from.
#[derive(Clone, Debug)]
pub enum Sources {
    /// Random addresses.
    Spoofed,
    /// These in turn.
    These(Vec<Ipv4Addr>),
}

/// A flood on a thread of its own.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Sent>>>,
}

impl Flood {
    /// These frames in turn from random forged sources, `per_second`, at most `count`. They carry UDP
    /// without a checksum.
    ///
    /// # Errors
    /// From the kernel.
    pub fn of_datagrams(
        arena: &Arena,
        mut frames: Vec<Vec<u8>>,
        per_second: u32,
        count: u64,
    ) -> Result<Self> {
        let mut random = Random(7);
        Self::begin(arena, per_second, count, move |number, sender| {
            let place = usize::try_from(number).unwrap_or(0) % frames.len();
            let frame = &mut frames[place];
            let [a, b, c, d] = random.source();
            replace(frame, 26, u16::from_be_bytes([a, b]), &[24]);
            replace(frame, 28, u16::from_be_bytes([c, d]), &[24]);
            sender.send(frame)
        })
    }

    /// SYNs to `ports` in turn, `per_second`, at most `count`.
    ///
    /// # Errors
    /// From the kernel.
    pub fn start(
        arena: &Arena,
        sources: Sources,
        ports: &[u16],
        per_second: u32,
        count: u64,
    ) -> Result<Self> {
        let mut frames: Vec<Vec<u8>> =
            ports.iter().map(|&port| arena.syn(Ipv4Addr::new(10, 1, 1, 1), 40_001, port)).collect();
        let mut random = Random(7);
        Self::begin(arena, per_second, count, move |number, sender| {
            let turn = usize::try_from(number).unwrap_or(0);
            let place = turn % frames.len();
            let source = match &sources {
                Sources::Spoofed => random.source(),
                Sources::These(these) => these[turn % these.len()].octets(),
            };
            forge(&mut frames[place], source);
            sender.send(&frames[place])
        })
    }

    fn begin(
        arena: &Arena,
        per_second: u32,
        count: u64,
        next: impl FnMut(u64, &FrameSender) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let sender = arena.sender()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            meter::pin(0, meter::SENDER_CORE);
            pour(&sender, per_second, count, &stopped, next)
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When sending failed.
    pub fn stop(self) -> Result<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When sending failed.
    pub fn finish(mut self) -> Result<Sent> {
        let Some(thread) = self.thread.take() else { return Ok(Sent::default()) };
        thread.join().map_err(|_| anyhow!("the flood's thread panicked"))?
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How clients come.
#[derive(Clone, Copy, Debug)]
pub struct Visit {
    /// Number of the first client (see [`client_address`]).
    pub first: usize,
    /// How many, with addresses of their own.
    pub clients: usize,
    /// One starts this long after the one before.
    pub every: Duration,
    /// Between two knocks of one client.
    pub pause: Duration,
    /// How long a client waits for the door behind its last knock.
    pub patience: Duration,
}

#[derive(Clone, Debug, Default)]
struct Client {
    knocked: usize,
    last_knock: Option<Instant>,
    next_probe: Option<Instant>,
    probes: u16,
    let_in: Option<Duration>,
}

/// Lets clients knock and tries the door with SYNs. Says for each how long after its last knock
/// the first answer came, `None` for never.
///
/// # Errors
/// From the kernel.
pub fn visit(arena: &Arena, knocks: &[u16], visit: Visit) -> Result<Vec<Option<Duration>>> {
    let frame = |client: usize, knock: usize| {
        let source = client_address(visit.first + client);
        knocks.get(knock).map(|&port| arena.syn(source, 40_000, port))
    };
    visit_with(arena, knocks.len(), &frame, visit)
}

/// The same with any frames: `frame` says what the client with this number sends as its knock with this
/// number, of `knocks`.
///
/// # Errors
/// From the kernel.
pub fn visit_with(
    arena: &Arena,
    knocks: usize,
    frame: &dyn Fn(usize, usize) -> Option<Vec<u8>>,
    visit: Visit,
) -> Result<Vec<Option<Duration>>> {
    meter::pin(0, meter::SENDER_CORE);
    let sender = arena.sender()?;
    let answers = answers(arena)?;
    let mut clients = vec![Client::default(); visit.clients];
    let started = Instant::now();
    loop {
        let mut over = true;
        for (number, client) in clients.iter_mut().enumerate() {
            if client.knocked < knocks {
                over = false;
                let due = started + times(visit.every, number) + times(visit.pause, client.knocked);
                if Instant::now() >= due {
                    let octets = frame(number, client.knocked);
                    client.knocked += 1;
                    if client.knocked == knocks {
                        client.last_knock = Some(Instant::now());
                        client.next_probe = client.last_knock;
                    }
                    octets.map_or(Ok(()), |octets| sender.send(&octets))?;
                }
            } else {
                over &= probe(arena, &sender, visit, number, client)?;
            }
        }
        read_answers(&answers, visit.first, &mut clients);
        if over {
            return Ok(clients.into_iter().map(|client| client.let_in).collect());
        }
        std::thread::sleep(Duration::from_micros(20));
    }
}

fn times(each: Duration, count: usize) -> Duration {
    each * u32::try_from(count).unwrap_or(0)
}

/// What one client that has knocked does now; whether it is done.
fn probe(
    arena: &Arena,
    sender: &FrameSender,
    visit: Visit,
    number: usize,
    client: &mut Client,
) -> Result<bool> {
    let source = client_address(visit.first + number);
    let (Some(last), Some(next)) = (client.last_knock, client.next_probe) else { return Ok(true) };
    let age = last.elapsed();
    if client.let_in.is_some() || age > visit.patience {
        return Ok(true);
    }
    if Instant::now() >= next {
        client.probes = client.probes.wrapping_add(1);
        sender.send(&arena.syn(source, 20_000 + client.probes % 20_000, SERVICE))?;
        let pause_us = match age.as_millis() {
            0..5 => 50,
            5..200 => 500,
            _ => 20_000,
        };
        client.next_probe = Some(Instant::now() + Duration::from_micros(pause_us));
    }
    Ok(false)
}

/// A raw socket (raw(7)) that gets all TCP the clients get.
fn answers(arena: &Arena) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(arena.outside.enter(|| socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Tcp))?)
}

fn read_answers(answers: &OwnedFd, first: usize, clients: &mut [Client]) {
    let mut packet = [0; 256];
    while let Ok(length) = recv(answers.as_raw_fd(), &mut packet, MsgFlags::empty()) {
        let is_answer = length >= 40 && packet[20..22] == SERVICE.to_be_bytes() && packet[33] & 0x3f == 0x12;
        let client =
            usize::from(packet[19]).checked_sub(1 + first).and_then(|number| clients.get_mut(number));
        if let Some(client) = client.filter(|client| is_answer && client.let_in.is_none()) {
            client.let_in = client.last_knock.map(|last| last.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_e2e::frame::{Link, Mac, Payload, frame};

    use super::*;

    #[test]
    fn a_forged_frame_is_the_frame_made_with_that_source() {
        let link = Link { source: Mac([2; 6]), target: Mac([4; 6]), tags: Vec::new() };
        let made = |source: [u8; 4], port| {
            frame(&link, source.into(), [198, 18, 0, 1].into(), 40_001, Payload::syn(port))
        };
        let mut random = Random(1);
        let mut forged = made([10, 1, 1, 1], 1);
        for port in 1..1000 {
            let source = random.source();
            forge(&mut forged, source);
            aim(&mut forged, port);
            assert_eq!(forged, made(source, port));
        }
    }

    #[test]
    fn a_random_scan_has_every_port_once() {
        let mut ports = Random(3).ports();
        assert_ne!(ports[..4], [1, 2, 3, 4]);
        ports.sort_unstable();
        assert!(ports.into_iter().eq(1..=u16::MAX));
    }
}
