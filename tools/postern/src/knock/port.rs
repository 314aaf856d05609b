//! Whether a port lets us in.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The first tries are short: the door needs a moment, and the kernel sends a lost SYN again only
/// after a second.
const FIRST_TRY: Duration = Duration::from_millis(200);

/// Pause between two tries.
const BETWEEN: Duration = Duration::from_millis(30);

/// What a port did with an attempt.
#[derive(Debug)]
pub enum Port {
    /// It let us in.
    Open(TcpStream),
    /// It said no.
    Refused,
    /// It said nothing, or the network could not get there.
    Silent,
}

/// How long to wait for a port.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest try. All together take twice as long.
    pub one_try: Duration,
    /// Whether a try that is given up may have used the grant up: then there is one long one.
    pub one_shot: bool,
}

/// Tries once.
pub fn try_once(address: SocketAddr, timeout: Duration) -> Port {
    // connect_timeout refuses a time-out of zero.
    match TcpStream::connect_timeout(&address, timeout.max(Duration::from_millis(1))) {
        Ok(stream) => Port::Open(stream),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Port::Refused,
        Err(_) => Port::Silent,
    }
}

/// Tries until the port says something, or the patience is over.
pub fn wait_for(address: SocketAddr, patience: Patience) -> Port {
    let whole = patience.one_try.saturating_mul(2);
    if patience.one_shot {
        sleep(FIRST_TRY.min(patience.one_try));
        return try_once(address, whole);
    }
    let begun = Instant::now();
    let mut one_try = FIRST_TRY.min(patience.one_try);
    loop {
        let found = try_once(address, one_try);
        let over = begun.elapsed() >= whole;
        match found {
            Port::Silent if !over => {}
            said => return said,
        }
        sleep(BETWEEN);
        one_try = one_try.saturating_mul(2).min(patience.one_try);
    }
}
