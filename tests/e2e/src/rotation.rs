//! Rotating sequences, as a client that has the key makes them and somebody on the way sees them.

use anyhow::{Result, anyhow};
use postern_core::knock::{Protocol, Step};
use postern_core::spa::key::{DeviceId, KeyUse, SpaKey};
use postern_core::spa::rotating::{Protocols, Shape, knocks};

use crate::frame::Payload;

/// Knocks of a sequence.
const KNOCKS: u8 = 4;

/// The range their ports are from.
const PORTS: [u16; 2] = [20_000, 29_999];

/// The line of a door whose sequences follow the native key of this name. Its knocks must come within two
/// seconds, so that what was spoiled is soon over.
pub fn line(key: &str) -> String {
    let [first, last] = PORTS;
    format!(
        "rotating = {{ key = \"{key}\", knocks = {KNOCKS}, ports = \"{first}-{last}\", within = \"2s\" }}"
    )
}

/// The knocks with this counter at `door` of `device`, by the key of 32 octets of `octet`.
///
/// # Errors
/// When the door has no name that can be one.
pub fn sequence(octet: u8, device: [u8; 16], door: &str, counter: u64) -> Result<Vec<Payload>> {
    let key = SpaKey::new([octet; 32]).derive(KeyUse::Rotation, DeviceId(device));
    let protocols = Protocols { tcp: true, udp: true, icmp: false };
    let wrong = |error| anyhow!("no such sequence: {error:?}");
    let shape = Shape::new(KNOCKS, protocols, PORTS[0], PORTS[1]).map_err(wrong)?;
    let door = door.try_into().map_err(|()| anyhow!("{door} is no name of a door"))?;
    let steps = knocks(&key, &door, counter, &shape, |_| false).map_err(wrong)?;
    Ok(steps.iter().map(payload).collect())
}

fn payload(step: &Step) -> Payload {
    match step.protocol {
        Protocol::Tcp => Payload::syn(step.value),
        Protocol::Udp => Payload::udp(step.value),
        Protocol::Icmp => Payload::echo(step.value),
    }
}
