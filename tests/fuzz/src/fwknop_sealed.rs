//! Packets of the stock fwknop client behind the MAC: any text, sealed with the right key.
//!
//! A fuzzer cannot guess a MAC nor what AES makes of a text, so both are done for it. The first octet says
//! how much is done: text with its digest, text, or bare blocks. Stock fwknopd before 2.0.3 fell to
//! exactly this.

use std::net::{IpAddr, Ipv4Addr};

use postern_core::spa::fwknop::request::{Request, Route, Wish};
use postern_core::spa::fwknop::{Admitted, MacDigest, Refusal, Verdict, Verifier, sealer};
use postern_core::spa::native::Arrival;
use postern_core::spa::policy::{ClaimRule, DoorSet, Policy};
use postern_core::time::Instant;

use crate::fwknop::{key, verifier};
use crate::spa::doors;

const SEEN_FROM: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// Reads one text.
///
/// # Panics
/// When the verifier breaks a promise.
pub fn run(bytes: &[u8]) {
    let Some((&recipe, text)) = bytes.split_first() else { return };
    let read = Request::read(text);
    if let Ok(request) = &read {
        check(request);
    }
    let key = key(MacDigest::ALL[usize::from(recipe) % 3]);
    let sealed = match recipe / 3 % 3 {
        0 => sealer::seal(&key, text, b"saltsalt"),
        1 => sealer::seal_text(&key, text, b"saltsalt"),
        _ => sealer::seal_blocks(&key, text, b"saltsalt"),
    };
    let Some(packet) = sealed else { return };
    let claims = if recipe & 0x80 > 0 { ClaimRule::OnlyAsSeen } else { ClaimRule::Allowed };
    let policy = Policy { doors: DoorSet::ALL, claims, ..Policy::default() };
    let mut verifier = verifier(&key, policy, 0);
    match deliver(&mut verifier, &packet) {
        Ok(admitted) => {
            assert!(claims == ClaimRule::Allowed || admitted.source == SEEN_FROM);
            let again = deliver(&mut verifier, &packet);
            assert!(matches!(again, Err(Refusal::Time(_))), "{again:?}");
        }
        Err(Refusal::Size) => assert!(text.len() < 140, "it was made as long as packets are"),
        Err(Refusal::NotBase64 | Refusal::Prefix | Refusal::NotCanonical | Refusal::NotGenuine) => {
            panic!("the MAC is right")
        }
        Err(Refusal::Malformed(_)) if recipe / 3 % 3 == 1 => assert!(read.is_err()),
        Err(_) if recipe / 3 % 3 == 1 => assert!(read.is_ok()),
        Err(_) => {}
    }
}

/// What a request that was read must be, told without the code that reads it.
fn check(request: &Request) {
    assert!(!request.user.is_empty() && request.user.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
    assert!(!request.user.contains([':', ',', '"', '\\', '/', '|']));
    let Wish::Access(access) = &request.wish else { return };
    assert!(!access.ports.is_empty() && access.ports.iter().all(|port| port.port != 0));
    let impossible =
        |claimed: Ipv4Addr| claimed.is_unspecified() || claimed.is_multicast() || claimed.is_loopback();
    assert!(!access.claimed.is_some_and(impossible));
    assert!(access.lease_secs <= 65_536);
    assert!(!matches!(access.route, Route::Behind { port: 0, .. }));
}

fn deliver(verifier: &mut Verifier, packet: &[u8]) -> Result<Admitted, Refusal> {
    let arrival = Arrival { seen_from: SEEN_FROM, at: Instant::BOOT, wall: None };
    let doors = doors();
    match verifier.verify(packet, arrival, &doors).map_err(|refused| refused.reason)? {
        Verdict::Admitted(admitted) => Ok(admitted),
        Verdict::Waiting(waiting) => {
            verifier.persisted(waiting.tag, waiting.ceiling);
            let resumed = verifier.resume(&waiting, arrival.at, arrival.wall, &doors);
            resumed.map_err(|refused| refused.reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_core::spa::fwknop::Malformed;

    use super::*;

    /// What a stock client would say, sealed in every way.
    #[test]
    fn a_plain_text_is_admitted() {
        let text = crate::fwknop::text(7, 1_795_000_000);
        for digest in MacDigest::ALL {
            let packet = sealer::seal(&key(digest), text.as_bytes(), b"saltsalt").expect("it is short");
            let policy = Policy { doors: DoorSet::ALL, ..Policy::default() };
            let admitted = deliver(&mut verifier(&key(digest), policy, 0), &packet).expect("a plain text");
            assert_eq!((admitted.source, admitted.sent_at), (SEEN_FROM, 1_795_000_000));
        }
        let alone = sealer::seal_text(&key(MacDigest::Sha256), text.as_bytes(), b"saltsalt").expect("short");
        let policy = Policy { doors: DoorSet::ALL, ..Policy::default() };
        let refused = deliver(&mut verifier(&key(MacDigest::Sha256), policy, 0), &alone);
        assert!(matches!(refused, Err(Refusal::Size | Refusal::Malformed(Malformed::Digest))), "{refused:?}");
    }
}
