//! What a packet that looks like a stock fwknop client's costs, beside the bare check of one MAC.

use std::hint::black_box;

use anyhow::{Result, anyhow};
use postern_core::Instant;
use postern_core::spa::fwknop::sealer::{self, Packet};
use postern_core::spa::fwknop::{FwknopKey, MacDigest, Refusal, Verdict, Verifier};
use postern_core::spa::key::DeviceId;
use postern_core::spa::native::Arrival;
use postern_core::spa::policy::Policy;

use super::Effort;
use super::spa::{ROUNDS, best};
use crate::meter;
use crate::report::Table;

/// Fewer than of our own packets: each costs as many MACs as there are keys.
const PACKETS: u32 = 10_000;

/// What the client says when it wants tcp/22 for the address it comes from.
const TEXT: &[u8] = b"0123456789012345:YWxpY2U:1795602600:3.0.0:1:MC4wLjAuMCx0Y3AvMjI";
const DOORS: [postern_core::rule::Door; 0] = [];

pub(super) fn measure(_: Effort) -> Result<Table> {
    meter::pin(0, meter::SUBJECT_CORE);
    let about = format!(
        "`fwknop::Verifier::verify`, in memory; {PACKETS} packets, best of {ROUNDS} rounds. All keys have HMAC-SHA-256. \
         The bare check is `verify` with one key and a wrong MAC: every key more costs one HMAC more. A packet that \
         was used has been decrypted and read."
    );
    let mut table = Table::new("fwknop", &about, &["keys", "packet", "ns a packet", "in bare checks"]);
    let bare = refused(&mut verifier(1)?, &wrong_mac(&sealed(1)?), Refusal::NotGenuine);
    for keys in [1_u8, 4, 16] {
        let mut verifier = verifier(keys)?;
        let genuine = sealed(keys)?;
        let mut noise = genuine.clone();
        noise[50] = b'\n';
        let mut row = |what: &str, ns: f64| {
            table.row(vec![keys.to_string(), what.into(), format!("{ns:.0}"), format!("{:.2}", ns / bare)]);
        };
        row("not base64", refused(&mut verifier, &noise, Refusal::NotBase64));
        row("wrong MAC, of the last key", refused(&mut verifier, &wrong_mac(&genuine), Refusal::NotGenuine));
        row("of no key", refused(&mut verifier, &sealed(99)?, Refusal::NotGenuine));
        if let Ok(Verdict::Waiting(waiting)) = verifier.verify(&genuine, arrival(), &DOORS) {
            verifier.persisted(waiting.tag, waiting.ceiling);
            let _ = verifier.resume(&waiting, Instant::BOOT, None, &DOORS);
        }
        row(
            "genuine, and used already",
            best(PACKETS, || {
                let refused = verifier.verify(black_box(&genuine), arrival(), &DOORS);
                assert!(matches!(refused.map_err(|refused| refused.reason), Err(Refusal::Time(_))));
            }),
        );
    }
    Ok(table)
}

fn key(number: u8) -> Result<FwknopKey> {
    FwknopKey::new(&[number; 32], &[number; 64], MacDigest::Sha256).map_err(|error| anyhow!("{error:?}"))
}

fn verifier(keys: u8) -> Result<Verifier> {
    let mut verifier = Verifier::new(DeviceId([3; 16]));
    for number in 1..=keys {
        verifier.add(&key(number)?, Policy::default(), 0).map_err(|error| anyhow!("{error:?}"))?;
    }
    Ok(verifier)
}

fn sealed(number: u8) -> Result<Packet> {
    sealer::seal(&key(number)?, TEXT, b"saltsalt").ok_or_else(|| anyhow!("too long"))
}

/// The same with another first character of the MAC.
fn wrong_mac(packet: &Packet) -> Packet {
    let mut packet = packet.clone();
    let first = packet.len() - 43;
    packet[first] = if packet[first] == b'A' { b'B' } else { b'A' };
    packet
}

fn arrival() -> Arrival {
    Arrival { seen_from: [198, 51, 100, 7].into(), at: Instant::BOOT, wall: None }
}

fn refused(verifier: &mut Verifier, packet: &[u8], reason: Refusal) -> f64 {
    best(PACKETS, || {
        let refused = verifier.verify(black_box(packet), arrival(), &DOORS);
        assert!(refused.is_err_and(|refused| refused.reason == reason));
    })
}
