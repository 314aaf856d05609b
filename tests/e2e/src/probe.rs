//! Trying a port: does it let us in, refuse, or say nothing?

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect as nix_connect, getsockopt, socket,
    sockopt,
};

use crate::namespace::Namespace;
use crate::process::{DEADLINE, LOOK_EVERY};

/// Patience with a port that is expected to say nothing. On these links an answer takes well under
/// a millisecond.
pub const SILENCE: Duration = Duration::from_millis(300);

/// What a port did with an attempt.
#[derive(Debug)]
pub enum Answer<T> {
    /// It let us in.
    Open(T),
    /// It said no: a reset, or ICMP "port unreachable".
    Refused,
    /// The network said no.
    Unreachable,
    /// It said nothing.
    Silent,
}

impl<T> Answer<T> {
    /// Whether it let us in.
    pub fn is_open(&self) -> bool {
        matches!(self, Answer::Open(_))
    }

    /// Whether it said nothing.
    pub fn is_silent(&self) -> bool {
        matches!(self, Answer::Silent)
    }

    fn from_error(error: &io::Error) -> Result<Self> {
        Ok(match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Answer::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Answer::Unreachable,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Answer::Silent,
            _ => bail!("cannot try the port: {error}"),
        })
    }
}

/// Tries to connect from `source` (any address when `None`).
///
/// # Errors
/// When the attempt itself is impossible, say because the source is not ours.
pub fn connect(
    namespace: &Namespace,
    source: Option<IpAddr>,
    target: SocketAddr,
    patience: Duration,
) -> Result<Answer<TcpStream>> {
    namespace.enter(|| connect_here(source, target, patience))
}

fn connect_here(source: Option<IpAddr>, target: SocketAddr, patience: Duration) -> Result<Answer<TcpStream>> {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    if let Some(source) = source {
        bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))
            .with_context(|| format!("{source} is no address of this client"))?;
    }
    match nix_connect(socket.as_raw_fd(), &SockaddrStorage::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Answer::from_error(&error.into()),
    }
    let timeout = PollTimeout::try_from(patience.as_millis()).unwrap_or(PollTimeout::MAX);
    if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], timeout)? == 0 {
        return Ok(Answer::Silent);
    }
    let error = getsockopt(&socket, sockopt::SocketError)?;
    if error != 0 {
        return Answer::from_error(&io::Error::from_raw_os_error(error));
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    Ok(Answer::Open(stream))
}

/// Sends a datagram and waits for its echo.
///
/// # Errors
/// When the attempt itself is impossible.
pub fn echo(
    namespace: &Namespace,
    source: Option<IpAddr>,
    target: SocketAddr,
    patience: Duration,
) -> Result<Answer<()>> {
    namespace.enter(|| {
        let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind((source.unwrap_or(any), 0))?;
        socket.connect(target)?;
        socket.set_read_timeout(Some(patience))?;
        let answer = socket.send(b"anybody there?").and_then(|_| socket.recv(&mut [0; 64]));
        match answer {
            Ok(_) => Ok(Answer::Open(())),
            Err(error) => Answer::from_error(&error),
        }
    })
}

/// Shows that `target` says nothing to an attempt to connect.
///
/// # Errors
/// When it says anything.
pub fn expect_silence(namespace: &Namespace, source: Option<IpAddr>, target: SocketAddr) -> Result<()> {
    let answer = connect(namespace, source, target, SILENCE)?;
    ensure!(answer.is_silent(), "tcp {target} should say nothing to {}, but: {answer:?}", namespace.name());
    Ok(())
}

/// Shows that `target` says nothing to a datagram.
///
/// # Errors
/// When it says anything.
pub fn expect_udp_silence(namespace: &Namespace, source: Option<IpAddr>, target: SocketAddr) -> Result<()> {
    let answer = echo(namespace, source, target, SILENCE)?;
    ensure!(answer.is_silent(), "udp {target} should say nothing to {}, but: {answer:?}", namespace.name());
    Ok(())
}

/// A connection that was let in and greeted.
#[derive(Debug)]
pub struct Session {
    stream: BufReader<TcpStream>,
    greeting: String,
}

impl Session {
    /// Connects, trying again until the [`DEADLINE`].
    ///
    /// # Errors
    /// When it is never let in, or not greeted.
    pub fn get_in(namespace: &Namespace, source: Option<IpAddr>, target: SocketAddr) -> Result<Self> {
        let stream = namespace.enter(|| {
            let started = Instant::now();
            loop {
                let answer = connect_here(source, target, Duration::from_millis(200))?;
                match answer {
                    Answer::Open(stream) => return Ok(stream),
                    _ if started.elapsed() < DEADLINE => std::thread::sleep(LOOK_EVERY),
                    other => bail!(
                        "tcp {target} should let {} in, but after {} s: {other:?}",
                        source.map_or(namespace.name().to_owned(), |source| source.to_string()),
                        DEADLINE.as_secs()
                    ),
                }
            }
        })?;
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).context("let in, but not greeted")?;
        Ok(Self { stream, greeting: greeting.trim_end().to_owned() })
    }

    /// The first line the service sent.
    pub fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Shows that the connection still carries data both ways (to a [`crate::Listener`]).
    ///
    /// # Errors
    /// When nothing comes back.
    pub fn expect_alive(&mut self) -> Result<()> {
        let said = b"still there?\n";
        self.stream.get_mut().write_all(said).context("the session is dead")?;
        let mut heard = vec![0; said.len()];
        self.stream.read_exact(&mut heard).context("the session carries nothing back")?;
        ensure!(heard == said, "the session carried back something else: {heard:?}");
        Ok(())
    }

    /// Shows that what is said in it is not answered any more.
    ///
    /// # Errors
    /// When something comes back, or the connection was ended loudly.
    pub fn expect_cut(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(b"anybody there?\n").context("ended loudly")?;
        // Longer than the first retransmission of TCP, which Linux makes after 200 ms.
        self.stream.get_mut().set_read_timeout(Some(2 * SILENCE))?;
        let heard = self.stream.get_mut().read(&mut [0; 64]);
        let silent = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        ensure!(heard.as_ref().is_err_and(silent), "a connection that should be cut: {heard:?}");
        Ok(())
    }

    /// Shows that a connection to an SSH server still carries data both ways: it answers our
    /// identification with its key exchange (RFC 4253, sections 4.2 and 7.1).
    ///
    /// # Errors
    /// When nothing comes back.
    pub fn expect_ssh_alive(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(b"SSH-2.0-postern\r\n").context("the session is dead")?;
        let mut start = [0; 6];
        self.stream.read_exact(&mut start).context("the session carries nothing back")?;
        // Packet length, padding length, and SSH_MSG_KEXINIT.
        ensure!(start[5] == 20, "the server said something else: {start:?}");
        Ok(())
    }
}

/// Waits until `target` lets nobody from here in any more: silence to a *new* connection.
///
/// # Errors
/// When it is still open after `patience`, or answers with a refusal.
pub fn wait_until_closed(
    namespace: &Namespace,
    source: Option<IpAddr>,
    target: SocketAddr,
    patience: Duration,
) -> Result<Duration> {
    let started = Instant::now();
    loop {
        let answer = connect(namespace, source, target, SILENCE)?;
        match answer {
            Answer::Silent => return Ok(started.elapsed()),
            Answer::Open(_) if started.elapsed() < patience => std::thread::sleep(LOOK_EVERY),
            other => bail!("tcp {target} should be closed by now ({patience:?}), but: {other:?}"),
        }
    }
}
