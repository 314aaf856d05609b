//! The vectors of `tests/vectors/spa_v1.txt`, made by another implementation, in both directions.

use super::*;
use std::collections::BTreeMap;
use std::string::String;
use std::vec::Vec;

const VECTORS: &str = include_str!("../../../tests/vectors/spa_v1.txt");

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

struct Vector {
    name: String,
    octets: BTreeMap<String, Vec<u8>>,
}

impl Vector {
    fn get<const N: usize>(&self, what: &str) -> [u8; N] {
        self.octets[what].as_slice().try_into().unwrap()
    }
}

fn vectors() -> Vec<Vector> {
    let mut vectors = Vec::<Vector>::new();
    for line in VECTORS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (what, value) = line.split_once(' ').unwrap();
        if what == "name" {
            vectors.push(Vector { name: value.into(), octets: BTreeMap::new() });
        } else {
            vectors.last_mut().unwrap().octets.insert(what.into(), hex(value));
        }
    }
    vectors
}

#[test]
fn every_vector_is_sealed_and_opened() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let name = &vector.name;
        let (key, device) = (SpaKey::new(vector.get("key")), DeviceId(vector.get("device")));
        assert_eq!(key.tag(device).0, vector.get("tag"), "{name}");
        assert_eq!(key.derive(KeyUse::Hint, device).expose()[..16], vector.get::<16>("hint-key"), "{name}");
        assert_eq!(*key.derive(KeyUse::Seal, device).expose(), vector.get("seal-key"), "{name}");
        assert_eq!(*key.derive(KeyUse::Nonce, device).expose(), vector.get("nonce-key"), "{name}");

        let request = Request::decode(&vector.get("request")).unwrap();
        assert_eq!(request.encode(), Ok(vector.get("request")), "{name}");
        let packet = Sealer::new(&key, device).seal(&request, &vector.get("random")).unwrap();
        assert_eq!(packet, vector.get("packet"), "{name}");

        let mut parts = Parts::split(&packet).unwrap();
        assert!(bool::from(parts.open(key.derive(KeyUse::Seal, device).expose())), "{name}");
        assert_eq!(parts.body, vector.get("request"), "{name}");
    }
}
