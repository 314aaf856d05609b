//! Images of config partitions.

use postern_config::partition::{Choice, Kind, PARTITION_BYTES_MIN, Store};
use postern_config::{DecodeError, PAYLOAD_BYTES_MAX, SCHEMA, Site, decode, schema};

use crate::memory::Memory;

/// An image of a config partition that holds the site: unsealed, so that it may be flashed to many
/// devices; each makes it its own at its first start.
pub fn image(site: &Site) -> Vec<u8> {
    let mut payload = vec![0; PAYLOAD_BYTES_MAX];
    let octets = schema::encode(site, &mut payload).unwrap_or_default();
    let partition = Memory::blank();
    // A partition in memory is large enough and does not fail.
    let Ok(mut store) = Store::open(partition) else { return Vec::new() };
    let committed = store.commit(&payload[..octets], SCHEMA, 0, Kind::Permanent);
    if committed.is_ok() { store.into_partition().0 } else { Vec::new() }
}

/// The site in force in an image of a config partition, or in a file of its own.
///
/// # Errors
/// Why there is none, in a sentence.
pub fn read_back(bytes: &[u8]) -> Result<Box<Site>, String> {
    let alone = match decode(bytes) {
        Ok(site) => return Ok(Box::new(site)),
        Err(error) => error,
    };
    if alone != DecodeError::NotAStore || bytes.len() < PARTITION_BYTES_MIN {
        return Err(alone.to_string());
    }
    let partition = Memory(bytes.to_vec());
    let mut store = Store::open(partition).map_err(|_| "it is too small".to_owned())?;
    let Choice::Slot(index) = store.choice() else {
        return Err("no slot of the partition counts".into());
    };
    let schema = store.in_force().map_or(SCHEMA, |header| header.schema);
    let mut payload = vec![0; PAYLOAD_BYTES_MAX];
    let payload = store.read(index, &mut payload).map_err(|error| format!("it cannot be read: {error:?}"))?;
    let site = schema::decode(schema, payload).map_err(|error| format!("it cannot be read: {error:?}"))?;
    Ok(Box::new(site))
}
