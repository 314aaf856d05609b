//! A serial line with a console at its other end, which turns to frames when it sees a zero.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, Flock, FlockArg, OFlag, fcntl};
use nix::sys::termios::{
    self, BaudRate, ControlFlags, FlushArg, InputFlags, SetArg, SpecialCharacterIndices, cfmakeraw, tcflush,
    tcgetattr, tcsetattr,
};

use super::{Link, Nature, Pipe};
use crate::remote::failure::{Failure, Outcome};

/// Silence after which what was left on the line has gone by.
const QUIET: Duration = Duration::from_millis(300);

/// Reads of leftovers at most: a line that never falls silent is somebody else's.
const LEFTOVERS_MAX: u32 = 200;

const SPEEDS: [(u32, BaudRate); 12] = [
    (1200, BaudRate::B1200),
    (2400, BaudRate::B2400),
    (4800, BaudRate::B4800),
    (9600, BaudRate::B9600),
    (19_200, BaudRate::B19200),
    (38_400, BaudRate::B38400),
    (57_600, BaudRate::B57600),
    (115_200, BaudRate::B115200),
    (230_400, BaudRate::B230400),
    (460_800, BaudRate::B460800),
    (921_600, BaudRate::B921600),
    (1_000_000, BaudRate::B1000000),
];

/// Opens the line raw, 8N1, without flow control, and asks the console for frames.
///
/// # Errors
/// [`Failure::Unreachable`], and [`Failure::Usage`] for a speed no line has.
pub(super) fn open(device: &Path, baud: u32) -> Outcome<Pipe> {
    let speed = SPEEDS.iter().find(|(known, _)| *known == baud).map(|(_, speed)| *speed);
    let speed = speed.ok_or_else(|| {
        let known: Vec<String> = SPEEDS.iter().map(|(known, _)| known.to_string()).collect();
        Failure::Usage(format!("{baud} baud is no speed of a line: {}", known.join(", ")))
    })?;
    let unreachable = |error: std::io::Error| {
        Failure::Unreachable(format!("cannot use the serial line {}: {error}", device.display()))
    };
    let line = raw(device, speed).map_err(unreachable)?;
    // A second program on the line would take every other octet.
    let copy = line.try_clone().map_err(unreachable)?;
    let lock = Flock::lock(copy, FlockArg::LockExclusiveNonblock).map_err(|_| {
        Failure::Unreachable(format!("another program uses the serial line {}", device.display()))
    })?;
    let mut pipe = Pipe::of_terminal(line, lock, Nature::serial(baud)).map_err(unreachable)?;
    pipe.send(&[0]).map_err(unreachable)?;
    let mut leftovers = [0; 256];
    for _ in 0..LEFTOVERS_MAX {
        if pipe.receive(&mut leftovers, QUIET).map_err(unreachable)? == 0 {
            break;
        }
    }
    Ok(pipe)
}

fn raw(device: &Path, speed: BaudRate) -> std::io::Result<File> {
    // Without O_NONBLOCK, open(2) would wait for a carrier that a three-wire cable never has.
    let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut line = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(device)?;
    let mut settings = tcgetattr(&line)?;
    cfmakeraw(&mut settings);
    settings.input_flags.remove(InputFlags::IXOFF | InputFlags::IXANY);
    settings.control_flags.remove(ControlFlags::CSTOPB | ControlFlags::CRTSCTS | ControlFlags::PARENB);
    settings.control_flags.insert(ControlFlags::CLOCAL | ControlFlags::CREAD | ControlFlags::CS8);
    settings.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
    settings.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    termios::cfsetspeed(&mut settings, speed)?;
    tcsetattr(&line, SetArg::TCSANOW, &settings)?;
    tcflush(&line, FlushArg::TCIFLUSH)?;
    fcntl(&line, FcntlArg::F_SETFL(OFlag::empty()))?;
    line.flush()?;
    Ok(line)
}
