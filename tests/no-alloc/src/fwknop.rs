//! Entry points of the stock fwknop client's packets.

use core::hint::black_box;

use postern_core::rule::Door;
use postern_core::spa::fwknop::key::KEY_BYTES_ADVISED;
use postern_core::spa::fwknop::sealer::{self, Packet};
use postern_core::spa::fwknop::{
    Admitted, FwknopKey, KeyLength, MacDigest, Refused, Request, Verdict, Verifier,
};
use postern_core::spa::key::DeviceId;
use postern_core::spa::native::Arrival;
use postern_core::spa::policy::Policy;

/// Reads a datagram, and goes on as if the ceiling it wanted had been written.
///
/// # Errors
/// The reason why it is refused.
#[inline(never)]
pub fn read_fwknop(
    verifier: &mut Verifier,
    datagram: &[u8],
    arrival: Arrival,
    doors: &[Door],
) -> Result<Admitted, Refused> {
    // Behind the MAC too: whatever somebody with the key writes.
    let _ = black_box(Request::read(datagram));
    match verifier.verify(datagram, arrival, doors)? {
        Verdict::Admitted(admitted) => Ok(admitted),
        Verdict::Waiting(waiting) => {
            verifier.persisted(waiting.tag, waiting.ceiling);
            verifier.resume(&waiting, arrival.at, arrival.wall, doors)
        }
    }
}

/// Makes a verifier that takes over from another.
///
/// # Errors
/// When a secret is none of a stock client's.
#[inline(never)]
pub fn start_fwknop(
    before: &Verifier,
    device: DeviceId,
    secret: &[u8],
    policy: Policy,
    ceiling: u64,
) -> Result<Verifier, KeyLength> {
    let digest = match secret.len() {
        0..KEY_BYTES_ADVISED => MacDigest::Sha256,
        KEY_BYTES_ADVISED => MacDigest::Sha384,
        _ => MacDigest::Sha512,
    };
    let mut verifier = Verifier::new(device);
    let _ = black_box(verifier.add(&FwknopKey::new(secret, secret, digest)?, policy, ceiling));
    verifier.carry_over(before);
    verifier.status().for_each(|status| {
        black_box(status);
    });
    Ok(verifier)
}

/// Seals a text as a client does.
#[inline(never)]
pub fn seal_fwknop(key: &FwknopKey, text: &[u8], salt: &[u8; 8]) -> Option<Packet> {
    sealer::seal(key, text, salt)
}
