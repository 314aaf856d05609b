//! Any config partition: opened, chosen from, read and used further, whatever lies on it.
//!
//! The input is a list of edits of a partition that was lived in: place, index, offset in pairs of octets,
//! length, octets. Check sums, digests and seals are put right where the place says so, because a fuzzer
//! cannot guess them; who has the device's key can write them, too.

use std::sync::OnceLock;

use postern_config::partition::journal::VOID;
use postern_config::partition::seal::{Sealed, seal};
use postern_config::partition::{
    COPIES, Choice, JOURNAL_RECORDS, Kind, LEASE_RECORDS, PAYLOAD_BYTES_MAX, SLOTS, SlotState, Store,
    identity_offset, lease_offset, record_offset, slot_offset,
};
use postern_core::port::SECTOR_BYTES;
use postern_power_cut::campaign::lived_in;
use postern_power_cut::medium::{Image, Sector};
use sha2::{Digest, Sha256};

use crate::store::crc32c;

/// The place is put right: digest of the payload, seal, check sum.
const FIX_DIGEST: u8 = 0x20;
const FIX_SEAL: u8 = 0x40;
const FIX_CRC: u8 = 0x80;

/// Edits of one input.
const EDITS_MAX: usize = 40;

/// Numbers above are not reached by counting; sealed, they are somebody's who has the key.
const REACHABLE: u64 = u64::MAX / 2;

/// Uses a partition with these edits.
///
/// # Panics
/// When the store breaks a promise.
pub fn run(bytes: &[u8]) {
    static LIVED_IN: OnceLock<Image> = OnceLock::new();
    let template = LIVED_IN.get_or_init(|| lived_in(2).settled());
    let mut image = template.clone();
    let mut rest = bytes;
    for _ in 0..EDITS_MAX {
        let Some((edit, behind)) = rest.split_at_checked(4) else { break };
        let length = usize::from(edit[3]).min(behind.len());
        let (octets, behind) = behind.split_at(length);
        apply(&mut image, edit, octets);
        rest = behind;
    }
    use_it(image.settled());
}

fn apply(image: &mut Image, edit: &[u8], octets: &[u8]) {
    let (index, at) = (usize::from(edit[1]), usize::from(edit[2]) * 2);
    let key = Store::open(image.clone()).ok().and_then(|store| store.identity().map(|identity| identity.key));
    let key = key.filter(|_| edit[0] & FIX_SEAL != 0);
    let sums = edit[0] & FIX_CRC != 0;
    let copy = index / 128 % COPIES;
    match edit[0] & 7 {
        0 => change(image, identity_offset(copy), at, octets, |sector| sum(sums, sector)),
        1 => change(image, record_offset(copy, index % JOURNAL_RECORDS), at, octets, |sector| {
            if let Some(key) = &key {
                let sealed = seal(key, Sealed::Marks, &[&sector[..476]]);
                sector[476..508].copy_from_slice(&sealed);
            }
            sum(sums, sector);
        }),
        2 => {
            let slot = index % SLOTS;
            let digest = (edit[0] & FIX_DIGEST != 0).then(|| digest_of(image, slot)).flatten();
            change(image, slot_offset(slot), at, octets, |sector| {
                if let Some(digest) = digest {
                    sector[32..64].copy_from_slice(&digest);
                }
                if let Some(key) = &key {
                    let place = u8::try_from(slot).expect("six");
                    let sealed = seal(key, Sealed::Slot(place), &[&sector[..96]]);
                    sector[96..128].copy_from_slice(&sealed);
                }
                sum(sums, sector);
            });
        }
        3 => {
            let sector = index / SLOTS % 4 + 1;
            change(image, slot_offset(index % SLOTS) + (sector * SECTOR_BYTES) as u64, at, octets, |_| ());
        }
        4 => lease(image, lease_offset(copy, index % LEASE_RECORDS), at, octets, key.as_ref(), sums),
        _ => change(image, ((index * 8) * SECTOR_BYTES) as u64, at, octets, |_| ()),
    }
}

fn change(image: &mut Image, offset: u64, at: usize, octets: &[u8], fix: impl FnOnce(&mut Sector)) {
    let index = usize::try_from(offset).expect("small") / SECTOR_BYTES;
    if index >= image.sectors() {
        return;
    }
    let mut sector = image.sector(index);
    for (place, octet) in sector.iter_mut().skip(at).zip(octets) {
        *place = *octet;
    }
    fix(&mut sector);
    image.set(index, sector);
}

/// A record of leases is three sectors.
fn lease(image: &mut Image, offset: u64, at: usize, octets: &[u8], key: Option<&[u8; 32]>, sums: bool) {
    change(image, offset, at, octets, |_| ());
    let first = usize::try_from(offset).expect("small") / SECTOR_BYTES;
    let mut record: Vec<u8> = (first..first + 3).flat_map(|index| image.sector(index)).collect();
    if let Some(key) = key {
        let sealed = seal(key, Sealed::Leases, &[&record[..1500]]);
        record[1500..1532].copy_from_slice(&sealed);
    }
    if sums {
        let crc = !crc32c(!0, &record[..1532]);
        record[1532..].copy_from_slice(&crc.to_le_bytes());
    }
    for (index, sector) in record.chunks_exact(SECTOR_BYTES).enumerate() {
        image.set(first + index, sector.try_into().expect("a sector"));
    }
}

fn sum(wanted: bool, sector: &mut Sector) {
    if wanted {
        let crc = !crc32c(!0, &sector[..508]);
        sector[508..].copy_from_slice(&crc.to_le_bytes());
    }
}

fn digest_of(image: &Image, slot: usize) -> Option<[u8; 32]> {
    let first = usize::try_from(slot_offset(slot)).ok()? / SECTOR_BYTES;
    let bytes = u32::from_le_bytes(image.sector(first)[28..32].try_into().ok()?);
    let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= 4096)?;
    let payload: Vec<u8> =
        (first + 1..=first + bytes.div_ceil(SECTOR_BYTES)).flat_map(|index| image.sector(index)).collect();
    Some(Sha256::digest(&payload[..bytes]).into())
}

fn use_it(image: Image) {
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    let mut store = Store::open(image).expect("it is large enough");
    let journal = *store.journal();
    if let Choice::Slot(index) = store.choice() {
        let header = *store.slots()[index].header().expect("what is chosen is valid");
        let confirmed = journal.is_confirmed(header.generation, &header.digest);
        assert!(!header.trial || confirmed, "a trial nobody confirmed is in force");
        assert!(header.floor >= journal.floor, "below the floor");
    }
    let valid: Vec<usize> = (0..SLOTS).filter(|slot| store.slots()[*slot].header().is_some()).collect();
    for slot in valid {
        store.read(slot, &mut buffer).expect("its digest was right a moment ago");
    }
    let generations = store.slots().iter().filter_map(|slot| match slot {
        SlotState::Valid(header) => Some(header.generation),
        SlotState::Replayed { generation } => Some(*generation),
        _ => None,
    });
    let committed = journal.committed.into_iter().filter(|committed| *committed != VOID);
    let confirmed = journal.confirmed.into_iter().map(|one| one.generation);
    let highest = generations.chain(committed).chain(confirmed).max();
    if highest.is_some_and(|highest| highest > REACHABLE) || journal.sequence > REACHABLE {
        return;
    }
    // Whatever lay there: the next commit counts.
    store.commit(b"afterwards", 1, journal.floor, Kind::Permanent).expect("the medium is sound");
    let mut again = Store::open(store.into_partition()).expect("it is large enough");
    let Choice::Slot(index) = again.choice() else { panic!("an acknowledged commit is gone") };
    assert_eq!(again.read(index, &mut buffer), Ok(&b"afterwards"[..]), "an acknowledged commit is gone");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The harness can write what the store takes for good: otherwise it would fuzz check sums only.
    #[test]
    fn a_sealed_slot_made_here_counts() {
        let mut image = lived_in(2).settled();
        let store = Store::open(image.clone()).unwrap();
        let Choice::Slot(slot) = store.choice() else { panic!("nothing is in force") };
        let place = u8::try_from(slot).unwrap();
        // One octet of its payload becomes another: damaged. Then digest, seal and sum follow.
        let mut octet = image.sector(usize::try_from(slot_offset(slot)).unwrap() / SECTOR_BYTES + 1)[0];
        octet ^= 1;
        apply(&mut image, &[3, place, 0, 1], &[octet]);
        assert_ne!(Store::open(image.clone()).unwrap().choice(), Choice::Slot(slot));
        apply(&mut image, &[2 | FIX_DIGEST | FIX_SEAL | FIX_CRC, place, 0, 0], &[]);
        assert_eq!(Store::open(image.clone()).unwrap().choice(), Choice::Slot(slot));
        let journal = Store::open(image.clone()).unwrap().journal().sequence;
        let record = u8::try_from(journal % JOURNAL_RECORDS as u64).unwrap();
        for copy in [0, 128] {
            apply(&mut image, &[1 | FIX_SEAL | FIX_CRC, copy + record, 12, 1], &[0xee]);
        }
        assert_eq!(Store::open(image.clone()).unwrap().journal().boots & 0xff, 0xee);
        let leases = Store::open(image.clone()).unwrap().leases().clone();
        let record = u8::try_from(leases.sequence % LEASE_RECORDS as u64).unwrap();
        for copy in [0, 128] {
            apply(&mut image, &[4 | FIX_SEAL | FIX_CRC, copy + record, 16, 1], &[0xee]);
        }
        assert_ne!(Store::open(image).unwrap().leases(), &leases);
    }
}
