//! The verifier as an attacker, an administrator and a client meet it.

use super::verifier::{KeyError, KeyId};
use super::*;
use crate::knock::{InterfaceSet, ServicePort};
use crate::limits::{CEILING_WRITE_EVERY, CEILING_WRITES_AT_ONCE, KEYS_MAX};
use crate::rule::{Door, DoorId, Purpose, Terms};
use crate::spa::policy::{ClaimRule, DoorSet, Policy, PolicyRefusal, WallTime};
use crate::spa::replay::{COUNT_BITS, CounterRefusal, LEASE_AHEAD};
use crate::time::{Duration, Instant};
use core::net::IpAddr;
use heapless::Vec;

const DEVICE: DeviceId = DeviceId(*b"pump station 17.");
const COUNTER: u64 = 1_795_602_600_000;
const CLIENT: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(198, 51, 100, 7));
const OTHER: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(203, 0, 113, 9));

fn key(number: u8) -> SpaKey {
    SpaKey::new([number; 32])
}

fn doors() -> [Door; 2] {
    ["ssh", "service"].map(|name| Door {
        name: name.try_into().unwrap(),
        ports: Vec::from_slice(&[ServicePort::tcp(22)]).unwrap(),
        open_for: Duration::from_secs(30),
        target: None,
        interfaces: InterfaceSet::ALL,
        terms: Terms::PLAIN,
    })
}

fn policy() -> Policy {
    let doors = DoorSet::NONE.with(DoorId(0));
    Policy {
        doors,
        claims: ClaimRule::Allowed,
        longest: Some(Duration::from_secs(3600)),
        ..Policy::default()
    }
}

fn verifier() -> Verifier {
    let mut verifier = Verifier::new(DEVICE);
    verifier.add(&key(1), policy(), 0).unwrap();
    verifier.add(&key(2), policy(), 0).unwrap();
    verifier
}

fn request(counter: u64) -> Request {
    Request::open("ssh".try_into().unwrap(), counter)
}

/// Sealed with the second key.
fn sealed(request: &Request) -> [u8; PACKET_BYTES] {
    Sealer::new(&key(2), DEVICE).seal(request, &[9; 24]).unwrap()
}

fn arrival(at: Instant) -> Arrival {
    Arrival { seen_from: CLIENT, at, wall: None }
}

/// Verifies, and writes a ceiling when one is wanted.
fn verify_at(verifier: &mut Verifier, packet: &[u8], at: Instant) -> Result<Admitted, Refused> {
    match verifier.verify(packet, arrival(at), &doors())? {
        Verdict::Admitted(admitted) => Ok(admitted),
        Verdict::Waiting(waiting) => {
            verifier.persisted(waiting.tag, waiting.ceiling);
            verifier.resume(&waiting, at, None, &doors())
        }
    }
}

fn verify(verifier: &mut Verifier, packet: &[u8]) -> Result<Admitted, Refused> {
    verify_at(verifier, packet, Instant::BOOT)
}

fn refused<T>(reason: Refusal) -> Result<T, Refused> {
    Err(Refused { key: Some(KeyId(1)), reason })
}

const NOT_GENUINE: Result<Admitted, Refused> = Err(Refused { key: None, reason: Refusal::NotGenuine });

#[test]
fn an_honest_packet_is_admitted_once() {
    let mut verifier = verifier();
    let packet = sealed(&Request { lease_secs: 900, one_shot: true, ..request(COUNTER) });
    let admitted = verify(&mut verifier, &packet).unwrap();
    let expected = Admitted {
        key: KeyId(1),
        door: DoorId(0),
        purpose: Purpose::Open,
        lease: Duration::from_secs(900),
        sources: Vec::from_slice(&[CLIENT]).unwrap(),
        one_shot: true,
        grants_per_door: 1,
        counter: COUNTER,
    };
    assert_eq!(admitted, expected);
    for _ in 0..3 {
        assert_eq!(verify(&mut verifier, &packet), refused(Refusal::Counter(CounterRefusal::Used)));
    }
    let status: std::vec::Vec<_> = verifier.status().collect();
    assert_eq!((status[1].highest, status[1].ceiling), (COUNTER, COUNTER + LEASE_AHEAD));
    assert_eq!((status[0].last_used, status[1].last_used), (None, Some(Instant::BOOT)));
}

#[test]
fn every_change_of_every_octet_is_refused() {
    let mut verifier = verifier();
    let packet = sealed(&request(COUNTER));
    for at in 0..PACKET_BYTES {
        for change in 1..=u8::MAX {
            let mut other = packet;
            other[at] ^= change;
            assert_eq!(verify(&mut verifier, &other), NOT_GENUINE, "octet {at} by {change}");
        }
    }
    assert!(verify(&mut verifier, &packet).is_ok(), "and nothing of that changed any state");
}

#[test]
fn every_other_size_is_refused() {
    let mut verifier = verifier();
    let mut packet = sealed(&request(COUNTER)).to_vec();
    packet.extend([0; 2000]);
    for length in (0..packet.len()).filter(|length| *length != PACKET_BYTES) {
        let verdict = verify(&mut verifier, &packet[..length]);
        assert_eq!(verdict, Err(Refused { key: None, reason: Refusal::Size }), "{length}");
    }
}

#[test]
fn another_device_or_key_is_not_genuine() {
    let mut verifier = verifier();
    let other_device = DeviceId(*b"pump station 18.");
    let packet = Sealer::new(&key(2), other_device).seal(&request(COUNTER), &[9; 24]).unwrap();
    assert_eq!(verify(&mut verifier, &packet), NOT_GENUINE);
    let packet = Sealer::new(&key(3), DEVICE).seal(&request(COUNTER), &[9; 24]).unwrap();
    assert_eq!(verify(&mut verifier, &packet), NOT_GENUINE);
    // Sealed with the key that stands in for an unknown hint, under a hint of nobody.
    let mut body = request(COUNTER).encode().unwrap();
    let (hint, nonce) = ([1; HINT_BYTES], [2; NONCE_BYTES]);
    let tag = aead::seal(key(1).derive(KeyUse::Seal, DEVICE).expose(), &nonce, &hint, &mut body);
    assert_eq!(verify(&mut verifier, &Parts { hint, nonce, body, tag }.join()), NOT_GENUINE);
    assert_eq!(verify(&mut Verifier::new(DEVICE), &packet), NOT_GENUINE, "no key at all");
}

/// Parts of two genuine packets put together: what one says about door, source, lease or counter does
/// not move into the other.
#[test]
fn parts_of_packets_do_not_mix() {
    let mut verifier = verifier();
    let sealer = Sealer::new(&key(2), DEVICE);
    let first = sealer.seal(&request(COUNTER), &[1; 24]).unwrap();
    let claim = Vec::from_slice(&[OTHER]).unwrap();
    let second = sealer.seal(&Request { claimed: claim, ..request(COUNTER + 1) }, &[2; 24]).unwrap();
    for from in 0..PACKET_BYTES {
        for to in from + 1..=PACKET_BYTES {
            let mut mixed = first;
            mixed[from..to].copy_from_slice(&second[from..to]);
            if mixed != first && mixed != second {
                assert_eq!(verify(&mut verifier, &mixed), NOT_GENUINE, "{from}..{to}");
            }
        }
    }
}

#[test]
fn hints_and_nonces_do_not_repeat_and_look_random() {
    let sealer = Sealer::new(&key(2), DEVICE);
    let mut seen = std::collections::BTreeSet::new();
    let mut ones = 0;
    for counter in 1..=2000 {
        // A broken generator.
        let packet = sealer.seal(&request(counter), &[0; 24]).unwrap();
        assert!(seen.insert(packet[..8].to_vec()), "a hint came twice");
        assert!(seen.insert(packet[8..32].to_vec()), "a nonce came twice");
        ones += packet.iter().map(|octet| octet.count_ones()).sum::<u32>();
    }
    let bits = 2000 * 1024;
    // Six standard deviations of a fair coin.
    assert!(ones.abs_diff(bits / 2) < 6 * 716, "{ones} of {bits}");
}

#[test]
fn a_packet_waits_for_its_ceiling() {
    let mut verifier = verifier();
    let packet = sealed(&request(COUNTER));
    let waiting = match verifier.verify(&packet, arrival(Instant::BOOT), &doors()) {
        Ok(Verdict::Waiting(waiting)) => waiting,
        other => panic!("{other:?}"),
    };
    assert_eq!(waiting.ceiling, COUNTER + LEASE_AHEAD);
    let too_early = verifier.resume(&waiting, Instant::BOOT, None, &doors());
    assert_eq!(too_early, refused(Refusal::Counter(CounterRefusal::NotPersisted)));
    // A copy waits for the same ceiling, and comes too late.
    let copy = verifier.verify(&packet, arrival(Instant::BOOT), &doors());
    assert_eq!(copy, Ok(Verdict::Waiting(waiting.clone())));
    verifier.persisted(waiting.tag, waiting.ceiling);
    assert!(verifier.resume(&waiting, Instant::BOOT, None, &doors()).is_ok());
    let again = verifier.resume(&waiting, Instant::BOOT, None, &doors());
    assert_eq!(again, refused(Refusal::Counter(CounterRefusal::Used)));
    let mut others = Verifier::new(DEVICE);
    others.add(&key(1), policy(), 0).unwrap();
    let gone = others.resume(&waiting, Instant::BOOT, None, &doors());
    assert_eq!(gone, Err(Refused { key: None, reason: Refusal::KeyRemoved }));
    // What follows within the lease does not wait.
    let next = verifier.verify(&sealed(&request(COUNTER + 1)), arrival(Instant::BOOT), &doors());
    assert!(matches!(next, Ok(Verdict::Admitted(_))));
}

#[test]
fn after_a_restart_nothing_old_counts() {
    let mut before = verifier();
    let packets: std::vec::Vec<_> = (0..50).map(|n| sealed(&request(COUNTER + n * 100))).collect();
    for packet in &packets {
        assert!(verify(&mut before, packet).is_ok());
    }
    let mut after = Verifier::new(DEVICE);
    let ceilings: std::vec::Vec<_> = before.status().map(|status| (status.tag, status.ceiling)).collect();
    // In another order, and one more: the journal goes by tags.
    for number in [3, 2, 1] {
        let tag = key(number).tag(DEVICE);
        let ceiling = ceilings.iter().find(|one| one.0 == tag).map_or(0, |one| one.1);
        after.add(&key(number), policy(), ceiling).unwrap();
    }
    for packet in &packets {
        assert!(verify(&mut after, packet).is_err());
    }
    assert!(verify(&mut after, &sealed(&request(COUNTER + 5000 + LEASE_AHEAD))).is_ok());
}

#[test]
fn a_new_configuration_forgets_no_counter() {
    let mut before = verifier();
    let packet = sealed(&request(COUNTER));
    assert!(verify(&mut before, &packet).is_ok());
    let mut after = Verifier::new(DEVICE);
    after.add(&key(2), Policy { doors: DoorSet::ALL, ..policy() }, 0).unwrap();
    after.carry_over(&before);
    let again = Refused { key: Some(KeyId(0)), reason: Refusal::Counter(CounterRefusal::Used) };
    assert_eq!(verify(&mut after, &packet), Err(again));
    assert!(verify(&mut after, &sealed(&request(COUNTER + 1))).is_ok(), "and the lease goes on");
}

/// A new configuration between the packet and the medium's answer is the one that counts.
#[test]
fn a_packet_that_waits_meets_the_new_policy() {
    let mut before = verifier();
    let packet = sealed(&request(COUNTER));
    let Ok(Verdict::Waiting(waiting)) = before.verify(&packet, arrival(Instant::BOOT), &doors()) else {
        panic!("it waits");
    };
    let mut after = Verifier::new(DEVICE);
    after.add(&key(2), Policy { counter_last: COUNTER - 1, ..policy() }, 0).unwrap();
    after.carry_over(&before);
    // The ceiling that was asked for is known, so that a copy does not ask anew.
    let mut same = verifier();
    same.carry_over(&before);
    let copy = same.verify(&sealed(&request(COUNTER + 9)), arrival(Instant::BOOT), &doors());
    assert!(matches!(copy, Ok(Verdict::Waiting(copy)) if copy.ceiling == waiting.ceiling));
    after.persisted(waiting.tag, waiting.ceiling);
    let resumed = after.resume(&waiting, Instant::BOOT, None, &doors());
    let reason = Refusal::Policy(PolicyRefusal::CounterTooLate);
    assert_eq!(resumed, Err(Refused { key: Some(KeyId(0)), reason }));
}

#[test]
fn what_policy_refuses_is_used_up() {
    let mut verifier = Verifier::new(DEVICE);
    verifier.add(&key(1), policy(), 0).unwrap();
    verifier.add(&key(2), Policy { disabled: true, ..policy() }, 0).unwrap();
    let packet = sealed(&request(COUNTER));
    assert_eq!(verify(&mut verifier, &packet), refused(Refusal::Policy(PolicyRefusal::Disabled)));
    let mut enabled = self::verifier();
    enabled.carry_over(&verifier);
    assert_eq!(verify(&mut enabled, &packet), refused(Refusal::Counter(CounterRefusal::Used)));
}

#[test]
fn counters_outside_the_range_of_the_key_change_nothing() {
    let mut verifier = Verifier::new(DEVICE);
    let limited = Policy { counter_first: COUNTER, counter_last: COUNTER + 10, ..policy() };
    verifier.add(&key(1), policy(), 0).unwrap();
    verifier.add(&key(2), limited, 0).unwrap();
    let early = verify(&mut verifier, &sealed(&request(COUNTER - 1)));
    assert_eq!(early, refused(Refusal::Policy(PolicyRefusal::CounterTooEarly)));
    let late = verify(&mut verifier, &sealed(&request(COUNTER + 11)));
    assert_eq!(late, refused(Refusal::Policy(PolicyRefusal::CounterTooLate)));
    assert!(verify(&mut verifier, &sealed(&request(COUNTER))).is_ok());
}

#[test]
fn refusals_behind_the_seal_name_the_key() {
    let mut verifier = verifier();
    let sealer = Sealer::new(&key(2), DEVICE);
    let strange = sealer.seal_octets(&[0xff; REQUEST_BYTES], &[3; 24]);
    assert_eq!(verify(&mut verifier, &strange), refused(Refusal::Malformed(Malformed::Flags)));
    let nowhere = Request { door: "cellar".try_into().unwrap(), ..request(COUNTER) };
    assert_eq!(
        verify(&mut verifier, &sealed(&nowhere)),
        refused(Refusal::Policy(PolicyRefusal::UnknownDoor))
    );
    let service = Request { door: "service".try_into().unwrap(), ..request(COUNTER + 1) };
    let verdict = verify(&mut verifier, &sealed(&service));
    assert_eq!(verdict, refused(Refusal::Policy(PolicyRefusal::DoorNotAllowed)));
    let jump = verify(&mut verifier, &sealed(&request(4_102_444_800_000)));
    assert_eq!(jump, refused(Refusal::Counter(CounterRefusal::Jump)), "a clock in 2100");
    let epoch = verify(&mut verifier, &sealed(&request(99 << COUNT_BITS)));
    assert_eq!(epoch, refused(Refusal::Counter(CounterRefusal::EpochJump)));
}

#[test]
fn claims_take_the_place_of_the_source() {
    let mut verifier = verifier();
    let claimed = [OTHER, IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7])];
    let request = Request { claimed: Vec::from_slice(&claimed).unwrap(), ..request(COUNTER) };
    let admitted = verify(&mut verifier, &sealed(&request)).unwrap();
    assert_eq!(admitted.sources, claimed);
}

#[test]
fn doors_may_change_their_order() {
    let mut verifier = Verifier::new(DEVICE);
    verifier.add(&key(2), Policy { doors: DoorSet::ALL, ..policy() }, COUNTER - 1).unwrap();
    verifier.persisted(key(2).tag(DEVICE), COUNTER + 10);
    let [ssh, service] = doors();
    let verdict = verifier.verify(&sealed(&request(COUNTER)), arrival(Instant::BOOT), &[service, ssh]);
    assert!(matches!(verdict, Ok(Verdict::Admitted(Admitted { door: DoorId(1), .. }))), "{verdict:?}");
}

#[test]
fn wall_time_decides_when_there_is_one() {
    let mut verifier = Verifier::new(DEVICE);
    let until = Policy { valid_until: Some(WallTime::from_secs(1000)), ..policy() };
    verifier.add(&key(2), until, 0).unwrap();
    verifier.persisted(key(2).tag(DEVICE), COUNTER + 10);
    let at = |wall| Arrival { wall, ..arrival(Instant::BOOT) };
    let expired = verifier.verify(&sealed(&request(COUNTER)), at(Some(WallTime::from_secs(1000))), &doors());
    let reason = Refusal::Policy(PolicyRefusal::Expired);
    assert_eq!(expired, Err(Refused { key: Some(KeyId(0)), reason }));
    assert!(verifier.verify(&sealed(&request(COUNTER + 1)), at(None), &doors()).is_ok());
}

#[test]
fn nobody_wears_out_the_medium() {
    let mut verifier = verifier();
    let mut counter = COUNTER;
    let mut knock = |verifier: &mut Verifier, at| {
        counter += 2 * LEASE_AHEAD;
        verify_at(verifier, &sealed(&request(counter)), at)
    };
    for _ in 0..CEILING_WRITES_AT_ONCE {
        assert!(knock(&mut verifier, Instant::BOOT).is_ok());
    }
    assert_eq!(knock(&mut verifier, Instant::BOOT), refused(Refusal::TooManyWrites));
    let mut reloaded = self::verifier();
    reloaded.carry_over(&verifier);
    assert_eq!(knock(&mut reloaded, Instant::BOOT), refused(Refusal::TooManyWrites));
    let later = Instant::BOOT + CEILING_WRITE_EVERY;
    assert!(knock(&mut verifier, later).is_ok());
}

#[test]
fn keys_are_counted_and_distinct() {
    let mut verifier = Verifier::new(DEVICE);
    for number in 0..u8::try_from(KEYS_MAX).unwrap() {
        assert_eq!(verifier.add(&key(number), policy(), 0), Ok(KeyId(number)));
        assert_eq!(verifier.add(&key(number), policy(), 0), Err(KeyError::Duplicate));
    }
    assert_eq!(verifier.add(&key(200), policy(), 0), Err(KeyError::TooMany));
    for number in 0..u8::try_from(KEYS_MAX).unwrap() {
        let packet = Sealer::new(&key(number), DEVICE).seal(&request(COUNTER), &[9; 24]).unwrap();
        assert_eq!(verify(&mut verifier, &packet).map(|admitted| admitted.key), Ok(KeyId(number)));
    }
}

#[test]
fn an_administrator_begins_a_new_epoch() {
    let mut verifier = verifier();
    let poisoned = (1 << COUNT_BITS) - 1;
    assert!(verify(&mut verifier, &sealed(&request(poisoned))).is_ok());
    assert!(verify(&mut verifier, &sealed(&request(COUNTER))).is_err());
    let (tag, start) = (key(2).tag(DEVICE), verifier.next_epoch(KeyId(1)).unwrap());
    verifier.rebased(tag, start);
    assert!(verify(&mut verifier, &sealed(&request(poisoned))).is_err());
    assert!(verify(&mut verifier, &sealed(&request(start | COUNTER))).is_ok());
}

#[test]
fn nothing_secret_is_printed() {
    let verifier = verifier();
    let sealer = Sealer::new(&key(2), DEVICE);
    let printed =
        std::format!("{:?} {verifier:?} {sealer:?} {:?}", key(2), key(2).derive(KeyUse::Seal, DEVICE));
    let secrets = [key(2).derive(KeyUse::Seal, DEVICE), key(2).derive(KeyUse::Hint, DEVICE)];
    for secret in secrets {
        let octets = std::format!("{:?}", secret.expose());
        assert!(!printed.contains(&octets[1..octets.len() - 1]));
    }
    assert!(!printed.contains("2, 2, 2, 2"));
    assert!(
        printed.contains("SpaKey(..)") && printed.contains("SubKey(..)") && printed.contains("HintKey(..)")
    );
}
