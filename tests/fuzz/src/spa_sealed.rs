//! SPA behind the crypto: any 80 octets, sealed with the right key, under any policy.
//!
//! A fuzzer cannot guess a tag, so it is given one. The first octets make the policy, the rest is
//! requests.

use std::net::IpAddr;

use postern_core::spa::native::{
    Admitted, Arrival, REQUEST_BYTES, Refusal, Request, Sealer, Verdict, Verifier,
};
use postern_core::spa::policy::{
    ClaimRule, DoorSet, Network, Policy, PolicyRefusal, WallTime, WeeklyWindow, WithoutClock,
};
use postern_core::time::{Duration, Instant};

use crate::spa::{DEVICE, doors, key, verifier};

/// Octets a policy is made of.
const POLICY_BYTES: usize = 40;

/// Reads the requests one after the other.
///
/// # Panics
/// When the verifier breaks a promise.
pub fn run(bytes: &[u8]) {
    let Some((recipe, rest)) = bytes.split_first_chunk::<POLICY_BYTES>() else { return };
    let policy = policy(recipe);
    let wall = (recipe[1] & 1 == 1).then(|| WallTime::from_secs(number(&recipe[2..10])));
    let seen_from = address(&recipe[10..14]);
    let arrival = Arrival { seen_from, at: Instant::from_millis(number(&recipe[2..6])), wall };
    let mut verifier = verifier(policy.clone(), number(&recipe[14..22]));
    let sealer = Sealer::new(&key(), DEVICE);
    let mut last = None;
    for (index, octets) in (0_u64..).zip(rest.chunks(REQUEST_BYTES)) {
        let mut request = [0; REQUEST_BYTES];
        request[..octets.len()].copy_from_slice(octets);
        let decoded = Request::decode(&request);
        if let Ok(decoded) = &decoded {
            assert_eq!(decoded.encode(), Ok(request), "one request has one encoding");
        }
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(&index.to_be_bytes());
        let verdict = deliver(&mut verifier, &sealer.seal_octets(&request, &nonce), arrival);
        match verdict {
            Ok(admitted) => {
                let decoded = decoded.expect("what is no request is not admitted");
                check(&admitted, &decoded, &policy, arrival);
                assert!(last != Some(admitted.counter), "admitted twice in a row");
                last = Some(admitted.counter);
                let again = deliver(&mut verifier, &sealer.seal_octets(&request, &nonce), arrival);
                assert!(matches!(again, Err(Refusal::Counter(_))), "{again:?}");
            }
            Err(Refusal::Size | Refusal::NotGenuine) => panic!("the seal is right"),
            Err(Refusal::Malformed(_)) => assert!(decoded.is_err()),
            Err(Refusal::Policy(PolicyRefusal::Disabled)) => assert!(policy.disabled),
            Err(_) => assert!(decoded.is_ok()),
        }
    }
}

fn deliver(verifier: &mut Verifier, packet: &[u8], arrival: Arrival) -> Result<Admitted, Refusal> {
    let verdict = verifier.verify(packet, arrival, &doors()).map_err(|refused| refused.reason)?;
    match verdict {
        Verdict::Admitted(admitted) => Ok(admitted),
        Verdict::Waiting(waiting) => {
            verifier.persisted(waiting.tag, waiting.ceiling);
            let resumed = verifier.resume(&waiting, arrival.at, arrival.wall, &doors());
            resumed.map_err(|refused| refused.reason)
        }
    }
}

/// What an admitted request must be, told without the code that decides it.
fn check(admitted: &Admitted, request: &Request, policy: &Policy, arrival: Arrival) {
    assert!(!policy.disabled);
    assert_eq!(request.door.as_str(), "ssh");
    assert!(policy.doors.contains(admitted.door));
    assert!((policy.counter_first..=policy.counter_last).contains(&admitted.counter));
    let cap = policy.longest.unwrap_or(Duration::from_secs(30));
    assert!(admitted.lease <= cap && admitted.lease > Duration::ZERO);
    assert!(!admitted.sources.is_empty());
    if policy.claims == ClaimRule::OnlyAsSeen || request.claimed.is_empty() {
        assert!(admitted.sources.iter().all(|&source| source == arrival.seen_from));
    }
    if let Some(now) = arrival.wall {
        assert!(policy.valid_from.is_none_or(|from| from <= now));
        assert!(policy.valid_until.is_none_or(|until| now < until));
    }
}

fn policy(recipe: &[u8; POLICY_BYTES]) -> Policy {
    let choices = recipe[0];
    let mut policy = Policy {
        disabled: choices & 0x81 == 0x81,
        claims: match choices >> 1 & 3 {
            0 => ClaimRule::OnlyAsSeen,
            1 => ClaimRule::Required,
            _ => ClaimRule::Allowed,
        },
        doors: if choices & 0x18 == 0x18 { DoorSet::NONE } else { DoorSet::ALL },
        longest: (choices & 0x20 > 0).then(|| Duration::from_secs(1 + number(&recipe[22..24]))),
        without_clock: if choices & 0x40 > 0 { WithoutClock::Refused } else { WithoutClock::Ignored },
        ..Policy::default()
    };
    let more = recipe[1];
    if more & 2 > 0 {
        policy.counter_first = number(&recipe[24..30]);
    }
    if more & 4 > 0 {
        policy.counter_last = number(&recipe[30..38]);
    }
    if more & 8 > 0 {
        policy.valid_from = Some(WallTime::from_secs(number(&recipe[24..30])));
        policy.valid_until = Some(WallTime::from_secs(number(&recipe[30..38])));
    }
    if more & 16 > 0 {
        let window = WeeklyWindow {
            days: recipe[38],
            from_minute: u16::from(recipe[39]),
            until_minute: u16::from(recipe[39]) * 5,
        };
        policy.windows.push(window).expect("room for one");
    }
    if more & 32 > 0 {
        let network = Network { address: address(&recipe[30..34]), prefix: recipe[38] };
        policy.sources.push(network).expect("room for one");
    }
    policy
}

fn address(octets: &[u8]) -> IpAddr {
    match octets {
        [0, ..] => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into(),
        [a, b, c, d] => [*a, *b, *c, *d].into(),
        _ => [198, 51, 100, 7].into(),
    }
}

fn number(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |number, &octet| number << 8 | u64::from(octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The recipe of zeros and a plain request: it must be possible to be admitted at all.
    #[test]
    fn a_plain_request_is_admitted() {
        let policy = policy(&[0; POLICY_BYTES]);
        let mut verifier = verifier(policy, 0);
        let request = Request::open("ssh".try_into().expect("a short name"), 7).encode().expect("a request");
        let packet = Sealer::new(&key(), DEVICE).seal_octets(&request, &[0; 24]);
        let arrival = Arrival { seen_from: [198, 51, 100, 7].into(), at: Instant::BOOT, wall: None };
        assert_eq!(deliver(&mut verifier, &packet, arrival).map(|admitted| admitted.counter), Ok(7));
    }
}
