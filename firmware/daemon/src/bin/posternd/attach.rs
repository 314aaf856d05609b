//! `posternd --attach`: standard input and output, connected to a daemon's control socket.

use std::io::{Read, Write, stdin, stdout};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use posternd::options::Options;

/// Octets moved at once.
const BUFFER_BYTES: usize = 4096;

/// Moves octets both ways until one side ends.
pub(crate) fn attach(options: &Options) -> Result<(), String> {
    let path = options.control.as_deref().ok_or("--attach needs the path of a control socket")?;
    let refused = |error: std::io::Error| format!("no daemon answers at {}: {error}", path.display());
    let mut socket = UnixStream::connect(path).map_err(refused)?;
    let mut outward = socket.try_clone().map_err(refused)?;
    // The thread ends with the process when standard input stays open.
    std::thread::spawn(move || {
        let _ = pump(&mut stdin().lock(), &mut outward);
        let _ = outward.shutdown(Shutdown::Write);
    });
    pump(&mut socket, &mut stdout().lock()).map_err(|error| format!("the connection broke: {error}"))
}

fn pump(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(buffer.get(..read).unwrap_or_default())?;
        to.flush()?;
    }
}
