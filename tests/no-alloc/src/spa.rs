//! Entry points of Single Packet Authorization.

use core::hint::black_box;

use postern_core::rule::{Door, Name};
use postern_core::spa::key::{DeviceId, KeyUse, SpaKey};
use postern_core::spa::native::{Admitted, Arrival, Refused, Request, Sealer, Verdict, Verifier};
use postern_core::spa::policy::Policy;
use postern_core::spa::replay::counter;
use postern_core::spa::rotating::cursor::{Cursor, ListMark, attempt, list_tag, rotating_tag};
use postern_core::spa::rotating::{Knocks, Shape, ShapeError, knocks};

/// Reads a datagram, and goes on as if the ceiling it wanted had been written.
///
/// # Errors
/// The reason why it is refused.
#[inline(never)]
pub fn read_spa(
    verifier: &mut Verifier,
    datagram: &[u8],
    arrival: Arrival,
    doors: &[Door],
) -> Result<Admitted, Refused> {
    match verifier.verify(datagram, arrival, doors)? {
        Verdict::Admitted(admitted) => Ok(admitted),
        Verdict::Waiting(waiting) => {
            verifier.persisted(waiting.tag, waiting.ceiling);
            verifier.resume(&waiting, arrival.at, arrival.wall, doors)
        }
    }
}

/// Makes a verifier that takes over from another.
#[inline(never)]
pub fn start_spa(
    before: &Verifier,
    device: DeviceId,
    key: &SpaKey,
    policy: Policy,
    ceiling: u64,
) -> Verifier {
    let mut verifier = Verifier::new(device);
    let added = verifier.add(key, policy, ceiling).ok();
    if let Some(start) = added.and_then(|id| verifier.next_epoch(id)) {
        verifier.rebased(key.tag(device), start);
    }
    verifier.carry_over(before);
    verifier.status().for_each(|status| {
        black_box(status);
    });
    verifier
}

/// Seals a request as a client does.
#[inline(never)]
pub fn seal_spa(
    key: &SpaKey,
    device: DeviceId,
    request: &mut Request,
    clock_millis: Option<u64>,
) -> Option<[u8; 128]> {
    request.counter = counter::next(request.counter, clock_millis)?;
    Sealer::new(key, device).seal(request, &[7; 24]).ok()
}

/// Derives the knocks of a rotating sequence, and uses one up.
///
/// # Errors
/// The reason why there are none.
#[inline(never)]
pub fn rotate(
    key: &SpaKey,
    door: &Name,
    shape: &Shape,
    cursor: &mut Cursor,
    tries: u32,
) -> Result<Knocks, ShapeError> {
    let key = key.derive(KeyUse::Rotation, DeviceId([1; 16]));
    let counter = attempt(cursor.awaited().0, tries, 8);
    let knocks = knocks(&key, door, counter, shape, |step| step.value == 22)?;
    shape.watched().for_each(|range| {
        black_box(range);
    });
    let mark = ListMark::restored(counter).after(&knocks);
    black_box(mark.next(core::iter::once(knocks.as_slice())));
    black_box([rotating_tag(&key, door), list_tag(door)]);
    if let Ok(next) = cursor.check(counter) {
        cursor.persisted(next);
        let _ = black_box(cursor.consume(counter));
    }
    Ok(knocks)
}
