//! What a packet of nobody costs, beside the bare check of one tag.

use std::hint::black_box;
use std::time::Instant as Wall;

use anyhow::{Context, Result};
use postern_core::Instant;
use postern_core::spa::key::{DeviceId, SpaKey};
use postern_core::spa::native::aead::{self, NONCE_BYTES, TAG_BYTES};
use postern_core::spa::native::{Arrival, PACKET_BYTES, REQUEST_BYTES, Request, Sealer, Verifier};
use postern_core::spa::policy::Policy;

use super::Effort;
use crate::meter;
use crate::report::Table;

const PACKETS: u32 = 200_000;
pub(super) const ROUNDS: usize = 7;
const DEVICE: DeviceId = DeviceId([3; 16]);

pub(super) fn measure(_: Effort) -> Result<Table> {
    meter::pin(0, meter::SUBJECT_CORE);
    let about = format!(
        "`Verifier::verify` with packets that are not genuine, in memory; {PACKETS} packets, best of {ROUNDS} rounds. \
         The bare check is XChaCha20-Poly1305 with a wrong tag over as many octets."
    );
    let mut table = Table::new("spa", &about, &["keys", "packet", "ns a packet", "in bare checks"]);
    let bare = bare_check();
    table.row(vec!["-".into(), "bare check of a tag".into(), format!("{bare:.0}"), "1.00".into()]);
    for keys in [1_u8, 8, 64] {
        let mut verifier = Verifier::new(DEVICE);
        for number in 1..=keys {
            let added = verifier.add(&SpaKey::new([number; 32]), Policy::default(), 0);
            added.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        }
        let genuine = genuine(keys)?;
        let (mut unknown, mut wrong) = (genuine, genuine);
        unknown[0] ^= 1;
        wrong[PACKET_BYTES - 1] ^= 1;
        for (what, packet) in
            [("unknown hint", &unknown[..]), ("wrong tag", &wrong), ("wrong size", &genuine[1..])]
        {
            let ns = refused(&mut verifier, packet);
            let cells = [keys.to_string(), what.into(), format!("{ns:.0}"), format!("{:.2}", ns / bare)];
            table.row(cells.to_vec());
        }
    }
    Ok(table)
}

/// A packet of the last key.
fn genuine(number: u8) -> Result<[u8; PACKET_BYTES]> {
    let door = "ssh".try_into().ok().context("a short name")?;
    let sealed = Sealer::new(&SpaKey::new([number; 32]), DEVICE).seal(&Request::open(door, 1), &[7; 24]);
    sealed.map_err(|malformed| anyhow::anyhow!("{malformed:?}"))
}

fn bare_check() -> f64 {
    let (key, nonce, tag) = ([7; 32], [9; NONCE_BYTES], [0; TAG_BYTES]);
    best(PACKETS, || {
        let mut body = [5; REQUEST_BYTES];
        let right: bool = aead::open(black_box(&key), &nonce, &[1; 8], &mut body, &tag).into();
        assert!(!right);
    })
}

fn refused(verifier: &mut Verifier, packet: &[u8]) -> f64 {
    let arrival = Arrival { seen_from: [198, 51, 100, 7].into(), at: Instant::BOOT, wall: None };
    best(PACKETS, || assert!(verifier.verify(black_box(packet), arrival, &[]).is_err()))
}

/// Nanoseconds of one of `packets`, in the best round.
pub(super) fn best(packets: u32, mut one: impl FnMut()) -> f64 {
    let round = |one: &mut dyn FnMut()| {
        let started = Wall::now();
        (0..packets).for_each(|_| one());
        started.elapsed().as_nanos() as f64 / f64::from(packets)
    };
    (0..ROUNDS).map(|_| round(&mut one)).fold(f64::INFINITY, f64::min)
}
