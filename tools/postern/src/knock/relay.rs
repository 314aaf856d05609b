//! Standard input and output over a connection, for `ProxyCommand` of ssh.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

/// Octets that are on their way at once, in each direction.
const BUFFER_BYTES: usize = 32 * 1024;

/// Relays until the other side has ended its part. What ends here ends there too (half-close), so that
/// nothing that is still on its way gets lost.
///
/// # Errors
/// When the connection breaks, or nobody reads what it brings any more.
pub fn standard_streams(stream: TcpStream) -> io::Result<()> {
    // Not the buffered ones of the library: a keystroke must not wait for a line's end.
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    relay(stream, input, output)
}

/// The same with any streams. `input` may still be read when this returns.
///
/// # Errors
/// As above.
pub fn relay(
    stream: TcpStream,
    mut input: impl Read + Send + 'static,
    mut output: impl Write,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut there = stream.try_clone()?;
    let mut here = stream;
    // Ends with the process when its input never does.
    std::thread::spawn(move || {
        let _ = pump(&mut input, &mut there);
        let _ = there.shutdown(Shutdown::Write);
    });
    pump(&mut here, &mut output)
}

fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..length])?;
        to.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Both ways at once, much more than any buffer holds, and ends are passed on.
    #[test]
    fn everything_arrives_and_ends_are_passed_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = Vec::new();
            let mut buffer = [0; 7001];
            loop {
                let length = stream.read(&mut buffer).unwrap();
                if length == 0 {
                    break;
                }
                heard.extend_from_slice(&buffer[..length]);
                stream.write_all(&buffer[..length]).unwrap();
            }
            // Only after the end: it must not cut what follows.
            stream.write_all(b"the end").unwrap();
            heard.len()
        });
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[2]).collect();
        let mut received = Vec::new();
        relay(TcpStream::connect(address).unwrap(), io::Cursor::new(sent.clone()), &mut received).unwrap();
        assert_eq!(echo.join().unwrap(), sent.len());
        assert_eq!(received.split_off(sent.len()), b"the end");
        assert!(received == sent);
    }

    #[test]
    fn the_other_sides_end_is_the_end_though_nobody_typed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap().0.write_all(b"bye").unwrap();
        let (never, _held) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut received = Vec::new();
        relay(stream, never, &mut received).unwrap();
        assert_eq!(received, b"bye");
    }
}
