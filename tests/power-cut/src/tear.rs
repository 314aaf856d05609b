//! What a medium leaves of a sector that was being written when the power went.

use postern_core::port::SECTOR_BYTES;

use postern_sim::random::Random;

use crate::medium::Sector;

/// How the part that was not written in time looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// As before.
    Old,
    /// Zeros.
    Zeros,
    /// Erased flash.
    Ones,
    /// Whatever.
    Noise,
}

/// Every way to fill.
pub const FILLS: [Fill; 4] = [Fill::Old, Fill::Zeros, Fill::Ones, Fill::Noise];

/// The first `kept` octets of `new`, the rest filled; or the other way round.
pub fn tear(
    old: &Sector,
    new: &Sector,
    kept: usize,
    suffix_first: bool,
    fill: Fill,
    random: &mut Random,
) -> Sector {
    let mut torn = match fill {
        Fill::Old => *old,
        Fill::Zeros => [0; SECTOR_BYTES],
        Fill::Ones => [0xff; SECTOR_BYTES],
        Fill::Noise => {
            let mut noise = [0; SECTOR_BYTES];
            noise.fill_with(|| random.bits() as u8);
            noise
        }
    };
    let kept = kept.min(SECTOR_BYTES);
    let range = if suffix_first { SECTOR_BYTES - kept..SECTOR_BYTES } else { 0..kept };
    torn[range.clone()].copy_from_slice(&new[range]);
    torn
}
