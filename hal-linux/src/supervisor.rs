//! Telling a supervisor how we are: the protocol of sd_notify(3), a datagram of lines.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use postern_core::time::Duration;

/// A supervisor that wants to be told.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
}

impl Supervisor {
    /// The supervisor at the address of `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// When nobody listens there, or the address is of a kind there is no socket for.
    pub fn at(address: &OsStr) -> std::io::Result<Self> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(Error::new(ErrorKind::InvalidInput, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Tells it `state`, such as `READY=1`; whether that was taken.
    pub fn tell(&self, state: &str) -> bool {
        self.socket.send(state.as_bytes()).is_ok()
    }
}

/// How long the supervisor waits for a `WATCHDOG=1`: `WATCHDOG_USEC`, when `WATCHDOG_PID` is this
/// process or nobody (sd_watchdog_enabled(3)).
pub fn watchdog_timeout(usec: Option<&str>, pid: Option<&str>, this: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(this)) {
        return None;
    }
    let usec: u64 = usec?.parse().ok()?;
    (usec >= 1000).then(|| Duration::from_millis(usec / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let read = listener.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_told() {
        let name = format!("postern-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let listener = UnixDatagram::bind_addr(&address).unwrap();
        assert!(Supervisor::at(OsStr::new(&format!("@{name}"))).unwrap().tell("READY=1"));
        assert_eq!(heard(&listener), "READY=1");

        let path = std::env::temp_dir().join(&name);
        let listener = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor::at(path.as_os_str()).unwrap();
        assert!(supervisor.tell("WATCHDOG=1"));
        assert_eq!(heard(&listener), "WATCHDOG=1");
        drop(listener);
        assert!(!supervisor.tell("WATCHDOG=1"), "nobody listens any more");
        std::fs::remove_file(path).unwrap();
        assert!(Supervisor::at(OsStr::new("vsock:2:1234")).is_err());
    }

    #[test]
    fn a_supervisor_that_reads_nothing_blocks_nobody() {
        let name = format!("postern-deaf-{}", std::process::id());
        let _listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let supervisor = Supervisor::at(OsStr::new(&format!("@{name}"))).unwrap();
        assert!((0..100_000).any(|_| !supervisor.tell("WATCHDOG=1")), "its queue has an end");
    }

    #[test]
    fn the_time_of_another_process_is_not_ours() {
        let two = Some(Duration::from_secs(2));
        assert_eq!(watchdog_timeout(Some("2000000"), None, 7), two);
        assert_eq!(watchdog_timeout(Some("2000000"), Some("7"), 7), two);
        assert_eq!(watchdog_timeout(Some("2000000"), Some("8"), 7), None);
        assert_eq!(watchdog_timeout(Some("0"), None, 7), None);
        assert_eq!(watchdog_timeout(Some("soon"), None, 7), None);
        assert_eq!(watchdog_timeout(None, None, 7), None);
    }
}
