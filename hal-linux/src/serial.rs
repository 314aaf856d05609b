//! A serial line with a person or a program at its other end.
//!
//! Raw octets, 8N1, no flow control (a three-wire cable has none). A BREAK is told apart from data
//! by `PARMRK` of termios(3): the driver marks what arrived damaged, and we take the marks out again.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as StdKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use embedded_io::ErrorKind;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::termios::{
    BaudRate, ControlFlags, FlushArg, InputFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw,
    cfsetspeed, tcflush, tcgetattr, tcsetattr,
};

mod marks;

use crate::readiness;
use marks::{Heard, Marks};

/// Speeds a line can have.
pub const SPEEDS_BAUD: [u32; 10] =
    [1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400, 921_600];

/// Octets taken from the driver at once.
const CHUNK_BYTES: usize = 256;

/// Whether the line tells that somebody is at its other end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// It does not: three wires, `CLOCAL`.
    #[default]
    Unknown,
    /// It does: without a carrier (DCD) the line reads as ended.
    Followed,
}

/// Why there is no line.
#[derive(Debug)]
pub enum SerialError {
    /// Not one of [`SPEEDS_BAUD`].
    Speed(u32),
    /// open(2) failed.
    Open(PathBuf, std::io::Error),
    /// It is no terminal, or its driver cannot be set (tcsetattr(3)).
    Settings(PathBuf, Errno),
    /// Another program has it.
    InUse(PathBuf),
}

impl fmt::Display for SerialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SerialError::Speed(baud) => {
                write!(f, "{baud} baud is no speed of a line; there are")?;
                SPEEDS_BAUD.iter().try_for_each(|speed| write!(f, " {speed}"))
            }
            SerialError::Open(path, error) => {
                write!(f, "cannot open the serial line {}: {error}", path.display())
            }
            SerialError::Settings(path, error) => {
                write!(f, "cannot set the serial line {}: {error}; is it a serial line?", path.display())
            }
            SerialError::InUse(path) => {
                write!(f, "another program uses the serial line {}: is there a getty on it?", path.display())
            }
        }
    }
}

impl std::error::Error for SerialError {}

/// An open line. Its settings are put back when it is dropped.
#[derive(Debug)]
pub struct SerialLine {
    line: Flock<File>,
    before: Termios,
    marks: Marks,
    /// Heard and not asked for yet.
    waiting: heapless::Deque<Heard, CHUNK_BYTES>,
    ended: bool,
}

impl SerialLine {
    /// Opens `path` at `baud`.
    ///
    /// # Errors
    /// [`SerialError`].
    pub fn open(path: &Path, baud: u32, carrier: Carrier) -> Result<Self, SerialError> {
        let speed = speed(baud).ok_or(SerialError::Speed(baud))?;
        // Without O_NONBLOCK, open(2) would wait for a carrier. The line is nobody's controlling
        // terminal: a hang-up must not kill the console.
        let flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path);
        let file = file.map_err(|error| SerialError::Open(path.to_owned(), error))?;
        let settings_refused = |error| SerialError::Settings(path.to_owned(), error);
        let before = tcgetattr(&file).map_err(settings_refused)?;
        let line = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| SerialError::InUse(path.to_owned()))?;
        tcsetattr(&*line, SetArg::TCSANOW, &raw(before.clone(), speed, carrier)).map_err(settings_refused)?;
        let waiting = heapless::Deque::new();
        Ok(Self { line, before, marks: Marks::default(), waiting, ended: false })
    }

    /// Fetches what the driver has.
    fn fetch(&mut self) {
        let mut octets = [0; CHUNK_BYTES];
        // Marks make what is heard shorter, never longer: there is room for all of it.
        match self.line.read(&mut octets) {
            Ok(0) => self.ended = true,
            Ok(read) => {
                for &octet in octets.get(..read).unwrap_or_default() {
                    if let Some(heard) = self.marks.take(octet) {
                        let _ = self.waiting.push_back(heard);
                    }
                }
            }
            Err(error) if matches!(error.kind(), StdKind::WouldBlock | StdKind::Interrupted) => {}
            // EIO: the other end of a pseudo terminal is closed, or the adapter was pulled out.
            Err(_) => self.ended = true,
        }
    }
}

impl Drop for SerialLine {
    fn drop(&mut self) {
        // What cannot be sent any more must not make close(2) wait for it.
        let _ = tcflush(&*self.line, FlushArg::TCOFLUSH);
        let _ = tcsetattr(&*self.line, SetArg::TCSANOW, &self.before);
    }
}

impl AsFd for SerialLine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}

impl embedded_io::ErrorType for SerialLine {
    type Error = ErrorKind;
}

impl embedded_io::Read for SerialLine {
    /// Octets that arrived sound; [`ErrorKind::Interrupted`] is a BREAK, nothing is the end.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        if self.waiting.is_empty() && !self.ended {
            self.fetch();
        }
        let mut read = 0;
        for place in buffer.iter_mut() {
            match self.waiting.front() {
                Some(Heard::Octet(octet)) => *place = *octet,
                Some(Heard::Break) if read == 0 => {
                    self.waiting.pop_front();
                    return Err(ErrorKind::Interrupted);
                }
                Some(Heard::Break) | None => break,
            }
            self.waiting.pop_front();
            read += 1;
        }
        if read == 0 && !self.ended && !buffer.is_empty() {
            return Err(ErrorKind::TimedOut);
        }
        Ok(read)
    }
}

impl embedded_io::ReadReady for SerialLine {
    /// Whether [`embedded_io::Read::read`] has something to say.
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        if self.waiting.is_empty() && !self.ended && readiness::is_readable(self.line.as_fd())? {
            self.fetch();
        }
        Ok(self.ended || !self.waiting.is_empty())
    }
}

impl embedded_io::Write for SerialLine {
    fn write(&mut self, octets: &[u8]) -> Result<usize, ErrorKind> {
        loop {
            match self.line.write(octets) {
                Ok(written) => return Ok(written),
                Err(error) if error.kind() == StdKind::Interrupted => {}
                Err(error) if error.kind() == StdKind::WouldBlock => return Err(ErrorKind::TimedOut),
                Err(_) => return Err(ErrorKind::BrokenPipe),
            }
        }
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl embedded_io::WriteReady for SerialLine {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        readiness::is_writable(self.line.as_fd())
    }
}

fn raw(mut settings: Termios, speed: BaudRate, carrier: Carrier) -> Termios {
    cfmakeraw(&mut settings);
    settings.input_flags.remove(InputFlags::IXOFF | InputFlags::IXANY | InputFlags::IGNPAR);
    settings.input_flags.remove(InputFlags::IGNBRK | InputFlags::BRKINT);
    settings.input_flags.insert(InputFlags::PARMRK | InputFlags::INPCK);
    settings.control_flags.remove(ControlFlags::CSTOPB | ControlFlags::CRTSCTS | ControlFlags::PARENB);
    settings.control_flags.insert(ControlFlags::CREAD | ControlFlags::CS8 | ControlFlags::HUPCL);
    settings.control_flags.set(ControlFlags::CLOCAL, carrier == Carrier::Unknown);
    for (index, value) in [(SpecialCharacterIndices::VMIN, 1), (SpecialCharacterIndices::VTIME, 0)] {
        if let Some(place) = settings.control_chars.get_mut(index as usize) {
            *place = value;
        }
    }
    // Every speed of the table is one the system knows; a driver that cannot do it keeps its own.
    let _ = cfsetspeed(&mut settings, speed);
    settings
}

fn speed(baud: u32) -> Option<BaudRate> {
    Some(match baud {
        1200 => BaudRate::B1200,
        2400 => BaudRate::B2400,
        4800 => BaudRate::B4800,
        9600 => BaudRate::B9600,
        19_200 => BaudRate::B19200,
        38_400 => BaudRate::B38400,
        57_600 => BaudRate::B57600,
        115_200 => BaudRate::B115200,
        230_400 => BaudRate::B230400,
        921_600 => BaudRate::B921600,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
