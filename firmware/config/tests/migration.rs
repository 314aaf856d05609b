//! What the next change of the schema will look like, with a pretended schema 2.
//!
//! Schema 2 adds to what is written about a gateway whom to call, and keeps the time after which the
//! console locks in minutes. Three things make it: the type, a `From` of the site before, and one arm in the decoder.
//! The store needs nothing: it carries payloads with a number. The tests show that a gateway which is
//! updated goes on with its configuration, and one that is put back finds the slot it had.

use heapless::String;
use postern_config::partition::{Header, Kind, Mark, PARTITION_BYTES_MIN, Store};
use postern_config::schema::{self, PAYLOAD_BYTES_MAX, PayloadError};
use postern_config::site::{Site, StoredDoor, StoredPort};
use postern_core::port::{Partition, PartitionError};
use serde::{Deserialize, Serialize};

/// Schema 2. A real one is a module of its own, like `site`; that stays where it is, frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Site2 {
    /// What has not changed.
    site: Site,
    /// New: whom to call.
    contact: String<64>,
    /// Changed: was seconds.
    idle_lock_minutes: u8,
}

impl From<Site> for Site2 {
    fn from(site: Site) -> Self {
        let minutes = site.console.idle_lock_secs.div_ceil(60);
        Self { idle_lock_minutes: u8::try_from(minutes).unwrap_or(u8::MAX), contact: String::new(), site }
    }
}

/// The decoder of the version that writes schema 2: one more arm.
fn decode(number: u16, payload: &[u8]) -> Result<Box<Site2>, PayloadError> {
    match number {
        1 => schema::decode_as::<Site>(payload).map(|site| Box::new(site.into())),
        2 => schema::decode_as::<Site2>(payload).map(Box::new),
        other => Err(PayloadError::OtherSchema(other)),
    }
}

#[derive(Clone)]
struct Memory(Vec<u8>);

impl Partition for Memory {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), PartitionError> {
        let start = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), PartitionError> {
        let start = usize::try_from(offset).unwrap();
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), PartitionError> {
        Ok(())
    }
}

fn encoded<T: Serialize>(site: &T) -> Vec<u8> {
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    postcard::to_slice(site, &mut buffer).unwrap().to_vec()
}

fn site(name: &str) -> Site {
    let mut site = Site { name: name.try_into().unwrap(), ..Site::default() };
    site.interfaces.push("eth0".try_into().unwrap()).unwrap();
    let mut door = StoredDoor::plain("ssh".try_into().unwrap(), 30);
    door.ports.push(StoredPort::Tcp(22)).unwrap();
    site.doors.push(door).unwrap();
    site
}

/// Goes through the slots that count, newest first, as the daemon does: the first one whose payload
/// the running version can read is in force.
fn newest_that_reads<T>(
    store: &mut Store<Memory>,
    decode: impl Fn(u16, &[u8]) -> Result<T, PayloadError>,
) -> Option<T> {
    let journal = *store.journal();
    let counts = |header: &Header| {
        let confirmed = journal.is_confirmed(header.generation, &header.digest);
        (!header.trial || confirmed) && header.floor >= journal.floor
    };
    let mut slots: Vec<(u64, u16, usize)> = (0..)
        .zip(store.slots())
        .filter_map(|(index, slot)| {
            slot.header().filter(|header| counts(header)).map(|header| (index, header))
        })
        .map(|(index, header)| (header.generation, header.schema, index))
        .collect();
    slots.sort_unstable();
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    slots.into_iter().rev().find_map(|(_, number, index)| {
        let payload = store.read(index, &mut buffer).ok()?;
        decode(number, payload).ok()
    })
}

/// A gateway of this version with a history.
fn in_the_field() -> Store<Memory> {
    let mut store = Store::open(Memory(vec![0; PARTITION_BYTES_MIN])).unwrap();
    for name in ["first", "second", "third"] {
        store.commit(&encoded(&site(name)), 1, 0, Kind::Permanent).unwrap();
    }
    store
}

/// A gateway after its update: the configuration was migrated and committed once more.
fn updated() -> Store<Memory> {
    let mut store = in_the_field();
    let mut migrated = newest_that_reads(&mut store, decode).unwrap();
    migrated.contact = "control room, 555 0100".try_into().unwrap();
    store.commit(&encoded(&*migrated), 2, 0, Kind::Permanent).unwrap();
    Store::open(store.into_partition()).unwrap()
}

#[test]
fn an_update_reads_what_was_there_and_writes_nothing() {
    let mut store = in_the_field();
    let before = store.partition().0.clone();
    let migrated = newest_that_reads(&mut store, decode).unwrap();
    assert_eq!(migrated.site, site("third"));
    assert_eq!((migrated.idle_lock_minutes, migrated.contact.as_str()), (10, ""));
    assert_eq!(store.into_partition().0, before, "the slot stays in its schema until the next commit");
}

#[test]
fn the_first_commit_of_the_new_version_is_in_the_new_schema() {
    let mut store = updated();
    assert_eq!(store.in_force().unwrap().schema, 2);
    let found = newest_that_reads(&mut store, decode).unwrap();
    assert_eq!(found.contact, "control room, 555 0100");
}

#[test]
fn a_gateway_put_back_to_the_old_version_finds_the_slot_it_had() {
    let mut store = updated();
    let found = newest_that_reads(&mut store, schema::decode).unwrap();
    assert_eq!(found, site("third"));
    // It works on, and its next commit counts for both versions.
    store.commit(&encoded(&site("fourth")), 1, 0, Kind::Permanent).unwrap();
    let mut store = Store::open(store.into_partition()).unwrap();
    assert_eq!(newest_that_reads(&mut store, schema::decode), Some(site("fourth")));
    assert_eq!(newest_that_reads(&mut store, decode).unwrap().site, site("fourth"));
}

/// However many changes later.
#[test]
fn the_newest_slot_of_the_old_version_is_spent_last() {
    let mut store = updated();
    for round in 0..20 {
        let changed =
            Site2 { contact: format!("room {round}").as_str().try_into().unwrap(), ..site("x").into() };
        let kind = if round % 3 == 0 { Kind::Trial } else { Kind::Permanent };
        let header = store.commit(&encoded(&changed), 2, 0, kind).unwrap();
        if round % 6 == 0 {
            store.confirm(header.generation).unwrap();
        }
        store = Store::open(store.into_partition()).unwrap();
        assert_eq!(newest_that_reads(&mut store, schema::decode), Some(site("third")), "round {round}");
    }
    let history = store.slots().iter().filter_map(|slot| slot.header()).count();
    assert_eq!(history, 6, "the one in force, that one, and four others");
    // Put back and changed there, it is one of many.
    for name in ["fourth", "fifth", "sixth", "seventh", "eighth", "ninth"] {
        store.commit(&encoded(&site(name)), 1, 0, Kind::Permanent).unwrap();
    }
    assert_eq!(newest_that_reads(&mut store, schema::decode), Some(site("ninth")));
}

#[test]
fn the_old_slot_outlives_trials_of_the_new_version() {
    let mut store = in_the_field();
    for contact in ["one", "two", "three", "four", "five", "six", "seven", "eight"] {
        let tried = Site2 { contact: contact.try_into().unwrap(), ..site("third").into() };
        store.commit(&encoded(&tried), 2, 0, Kind::Trial).unwrap();
        let mut restarted = Store::open(store.partition().clone()).unwrap();
        assert_eq!(restarted.in_force().unwrap().schema, 1, "nobody confirmed");
        assert_eq!(newest_that_reads(&mut restarted, schema::decode), Some(site("third")));
    }
}

#[test]
fn a_raised_floor_is_how_the_way_back_is_closed_on_purpose() {
    let mut store = updated();
    let payload = encoded(&Site2::from(site("hardened")));
    store.commit(&payload, 2, 1, Kind::Permanent).unwrap();
    store.mark(Mark::Floor(1)).unwrap();
    let mut store = Store::open(store.into_partition()).unwrap();
    assert_eq!(newest_that_reads(&mut store, decode).unwrap().site, site("hardened"));
    assert_eq!(
        newest_that_reads(&mut store, schema::decode),
        None,
        "the factory profile, which opens nothing"
    );
}

#[test]
fn no_schema_is_taken_for_another() {
    let (old, new) = (encoded(&site("third")), encoded(&Site2::from(site("third"))));
    assert_eq!(schema::decode(2, &new), Err(PayloadError::OtherSchema(2)));
    assert_eq!(schema::decode(1, &new), Err(PayloadError::Malformed));
    assert_eq!(decode(2, &old).map(|_| ()), Err(PayloadError::Malformed));
    assert_eq!(decode(3, &new).map(|_| ()), Err(PayloadError::OtherSchema(3)));
}
