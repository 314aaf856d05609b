//! Random octets from the kernel.

use std::fs::File;
use std::io::Read;

/// `N` octets nobody can guess. The kernel's generator is seeded before user space runs on any board
/// with a hardware source; where it is not, `/dev/random` waits until it is (random(4), kernels from
/// 5.6 on), as it must.
///
/// # Errors
/// When the device is not there or cannot be read.
pub fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut octets = [0; N];
    File::open("/dev/random")?.read_exact(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    #[test]
    fn is_not_the_same_twice() {
        let (one, other): ([u8; 16], [u8; 16]) = (super::random().unwrap(), super::random().unwrap());
        assert_ne!(one, other);
    }
}
