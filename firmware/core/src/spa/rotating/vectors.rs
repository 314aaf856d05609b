//! The vectors of `tests/vectors/rotating_v1.txt`, made by another implementation.

use super::*;
use crate::spa::key::{DeviceId, KeyUse, SpaKey};
use std::collections::BTreeMap;
use std::string::ToString;
use std::vec::Vec;

const VECTORS: &str = include_str!("../../../tests/vectors/rotating_v1.txt");

fn hex<const N: usize>(text: &str) -> [u8; N] {
    core::array::from_fn(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap())
}

#[test]
fn every_vector_is_derived() {
    let without_head = VECTORS.split("\n\n").skip(1);
    let mut vectors = 0;
    for vector in without_head {
        let fields: BTreeMap<&str, &str> =
            vector.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect();
        let number = |what: &str| fields[what].parse::<u64>().unwrap();
        let uses = |protocol| fields["protocols"].split(' ').any(|name| name == protocol);
        let protocols = Protocols { tcp: uses("tcp"), udp: uses("udp"), icmp: uses("icmp") };
        let port = |what| u16::try_from(number(what)).unwrap();
        let count = u8::try_from(number("count")).unwrap();
        let shape = Shape::new(count, protocols, port("first"), port("last")).unwrap();
        let key = SpaKey::new(hex(fields["key"])).derive(KeyUse::Rotation, DeviceId(hex(fields["device"])));
        assert_eq!(*key.expose(), hex(fields["rotation-key"]));
        let excluded = |step: Step| fields["excluded"].split(' ').any(|knock| knock == step.to_string());
        let door = fields["door"].try_into().unwrap();
        let ours = knocks(&key, &door, number("counter"), &shape, excluded).unwrap();
        let ours: Vec<_> = ours.iter().map(Step::to_string).collect();
        assert_eq!(ours.join(" "), fields["knocks"], "{}", fields["name"]);
        vectors += 1;
    }
    assert_eq!(vectors, 4);
}
