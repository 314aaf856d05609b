//! The vectors of `tests/vectors/fwknop_v3.txt`, made by the stock client: each is taken, or refused
//! for the reason its name says, and no octet of any can be changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::string::String;
use std::vec::Vec;

use super::mark::TimeRefusal;
use super::sealer;
use super::*;
use crate::spa::key::DeviceId;
use crate::spa::native::Arrival;
use crate::spa::policy::Policy;
use crate::time::Instant;

const VECTORS: &str = include_str!("../../../tests/vectors/fwknop_v3.txt");

struct Vector {
    name: String,
    fields: BTreeMap<String, String>,
}

impl Vector {
    fn octets(&self, what: &str) -> Vec<u8> {
        let digits = self.fields.get(what).map_or("", String::as_str).as_bytes();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    fn text(&self) -> &[u8] {
        self.fields["text"].as_bytes()
    }

    fn packet(&self) -> &[u8] {
        self.fields["packet"].as_bytes()
    }

    /// The key, when one can be made for it.
    fn key(&self) -> Option<FwknopKey> {
        let digest = match self.fields["mac"].as_str() {
            "sha256" => MacDigest::Sha256,
            "sha384" => MacDigest::Sha384,
            "sha512" => MacDigest::Sha512,
            _ => return None,
        };
        Some(FwknopKey::new(&self.octets("key"), &self.octets("mac-key"), digest).unwrap())
    }

    fn seconds(&self) -> u64 {
        self.fields["text"].split(':').nth(2).unwrap().parse().unwrap()
    }
}

fn vectors() -> Vec<Vector> {
    let mut vectors = Vec::<Vector>::new();
    for line in VECTORS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (what, value) = line.split_once(' ').unwrap();
        if what == "name" {
            vectors.push(Vector { name: value.into(), fields: BTreeMap::new() });
        } else {
            vectors.last_mut().unwrap().fields.insert(what.into(), value.into());
        }
    }
    vectors
}

/// A verifier with nothing but `key`, whose policy opens nothing.
fn verifier(key: &FwknopKey) -> Verifier {
    let mut verifier = Verifier::new(DeviceId([1; 16]));
    verifier.add(key, Policy::default(), 0).unwrap();
    verifier
}

/// What becomes of a packet when a ceiling is written as soon as it is wanted.
fn deliver(verifier: &mut Verifier, packet: &[u8]) -> Refusal {
    let seen_from = IpAddr::from([203, 0, 113, 77]);
    let arrival = Arrival { seen_from, at: Instant::BOOT, wall: None };
    let doors = [];
    let outcome = match verifier.verify(packet, arrival, &doors) {
        Ok(Verdict::Waiting(waiting)) => {
            verifier.persisted(waiting.tag, waiting.ceiling);
            verifier.resume(&waiting, Instant::BOOT, None, &doors).map(Verdict::Admitted)
        }
        other => other,
    };
    outcome.unwrap_err().reason
}

/// Why a vector is refused before its policy is asked; `None` when it is not.
fn expected(vector: &Vector) -> Option<Malformed> {
    match vector.name.as_str() {
        "digest SHA1" | "digest MD5" => Some(Malformed::DigestWeak),
        "digest SHA3-256" => Some(Malformed::Digest),
        "nine ports" => Some(Malformed::TooManyPorts),
        _ if vector.fields["mode"] != "cbc" => Some(Malformed::NotDecrypted),
        _ => None,
    }
}

#[test]
fn every_vector_is_taken_or_refused_by_name() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 32);
    let mut taken = 0;
    for vector in &vectors {
        let name = &vector.name;
        let Some(key) = vector.key() else {
            // Weak, or none. Whatever the gateway has, it is not genuine.
            let mut mac_key = vector.octets("mac-key");
            if mac_key.is_empty() {
                mac_key = vector.octets("key");
            }
            for digest in MacDigest::ALL {
                let key = FwknopKey::new(&vector.octets("key"), &mac_key, digest).unwrap();
                let refusal = deliver(&mut verifier(&key), vector.packet());
                assert!(
                    matches!(refusal, Refusal::NotGenuine | Refusal::NotCanonical),
                    "{name}: {refusal:?}"
                );
            }
            continue;
        };
        let mut verifier = verifier(&key);
        let first = deliver(&mut verifier, vector.packet());
        if let Some(malformed) = expected(vector) {
            assert_eq!(first, Refusal::Malformed(malformed), "{name}");
            continue;
        }
        let request = Request::read(vector.text()).unwrap();
        assert_eq!(request.sent_at, vector.seconds(), "{name}");
        let wanted = match (&request.wish, vector.fields["text"].split(':').nth(4).unwrap()) {
            (request::Wish::Command, "0") => Refusal::Command,
            (request::Wish::Access(access), kind) => match (access.claimed, kind) {
                (Some(_), _) => Refusal::Policy(crate::spa::policy::PolicyRefusal::ClaimNotAllowed),
                (None, _) => Refusal::Policy(crate::spa::policy::PolicyRefusal::UnknownDoor),
            },
            (wish, kind) => panic!("{name}: {wish:?} of type {kind}"),
        };
        assert_eq!(first, wanted, "{name}");
        // It counted, and never counts again.
        assert_eq!(deliver(&mut verifier, vector.packet()), Refusal::Time(TimeRefusal::Used), "{name}");
        taken += 1;
    }
    assert_eq!(taken, 19);
}

#[test]
fn our_sealer_makes_what_the_client_makes() {
    for vector in vectors().iter().filter(|vector| vector.fields["mode"] == "cbc") {
        let Some(key) = vector.key() else { continue };
        let mut blob = [0; BLOB_BYTES_MAX];
        let body = &vector.packet()[..vector.packet().len() - base64::characters(key.digest().bytes())];
        base64::decode(PREFIX.iter().chain(body), &mut blob).unwrap();
        let salt = blob[8..16].try_into().unwrap();
        let again = sealer::seal_text(&key, vector.text(), &salt).unwrap();
        assert_eq!(again.as_slice(), vector.packet(), "{}", vector.name);
    }
}

#[test]
fn no_octet_of_any_vector_can_be_changed() {
    for vector in &vectors() {
        let Some(key) = vector.key() else { continue };
        let mut verifier = verifier(&key);
        let packet = vector.packet();
        for at in 0..packet.len() {
            for octet in (0..=u8::MAX).filter(|octet| *octet != packet[at]) {
                let mut other = packet.to_vec();
                other[at] = octet;
                let refusal = deliver(&mut verifier, &other);
                let outside = matches!(
                    refusal,
                    Refusal::NotBase64 | Refusal::Prefix | Refusal::NotCanonical | Refusal::NotGenuine
                );
                assert!(outside, "{}: octet {at} to {octet}: {refusal:?}", vector.name);
            }
        }
        // And none can be added or left out.
        let shorter = (0..packet.len()).map(|length| packet[..length].to_vec());
        let longer = (0..=u8::MAX).map(|octet| [packet, &[octet]].concat());
        for other in shorter.chain(longer).chain([[PREFIX.as_slice(), packet].concat()]) {
            let refusal = deliver(&mut verifier, &other);
            assert!(
                !matches!(refusal, Refusal::Malformed(_) | Refusal::Time(_)),
                "{}: {refusal:?}",
                vector.name
            );
        }
        // It is still worth what it was.
        let first = deliver(&mut verifier, packet);
        assert!(!matches!(first, Refusal::NotGenuine | Refusal::Time(_)), "{}", vector.name);
    }
}
