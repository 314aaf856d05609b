//! Random octets from the kernel.

use std::io::{Error, ErrorKind};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

/// How long we wait for the kernel's generator to be seeded. A board with a hardware source never
/// waits, one without takes seconds. By then the gate is up, so nobody gains by it.
const SEEDED_WITHIN: Duration = Duration::from_secs(20);

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// `N` octets nobody can guess, up to 256. Waits 20 s at most, at early boot, and never later: a
/// generator that is seeded stays so (getrandom(2)).
///
/// # Errors
/// `TimedOut` when the generator is not seeded by then; it may be at the next try.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    const { assert!(N <= 256, "getrandom(2) may give less of more") };
    let deadline = Instant::now() + SEEDED_WITHIN;
    let mut octets = [0; N];
    loop {
        match fill(&mut octets) {
            Ok(()) => return Ok(octets),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            Err(Errno::EAGAIN) => {
                let text = "the kernel's random generator is not seeded; does this board have a source?";
                return Err(Error::new(ErrorKind::TimedOut, text));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Not `/dev/random`: no descriptor may be free, and old kernels block there over and over.
#[allow(unsafe_code)]
fn fill(octets: &mut [u8]) -> Result<(), Errno> {
    // SAFETY: the kernel writes at most as many octets as are told, into memory that is ours alone.
    let filled = unsafe { libc::getrandom(octets.as_mut_ptr().cast(), octets.len(), libc::GRND_NONBLOCK) };
    match usize::try_from(Errno::result(filled)?) {
        Ok(filled) if filled == octets.len() => Ok(()),
        _ => Err(Errno::EINTR),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_not_the_same_twice() {
        let (one, other): ([u8; 16], [u8; 16]) = (super::random().unwrap(), super::random().unwrap());
        assert_ne!(one, other);
    }
}
