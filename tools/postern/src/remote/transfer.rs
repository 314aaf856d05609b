//! A configuration on its way, in parts that fit a slow line.

use std::time::Duration;

use postern_config::{PAYLOAD_BYTES_MAX, PayloadError, SCHEMA, Site, schema};
use postern_console::rpc::reply::{Checked, ConfigPart};
use postern_console::rpc::request::Source;
use postern_console::rpc::{CHUNK_BYTES_MAX, Refusal, Reply, Request};
use sha2::{Digest, Sha256};

use super::client::{Client, reply_of};
use super::failure::{Failure, Outcome};

/// How often a transfer begins again when the configuration changes under it.
const TRIES: u32 = 3;

/// How often a configuration is brought to a gateway that is taking one from somebody else.
const BUSY_TRIES: u32 = 8;

/// Pause before it is brought again.
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// A configuration of the gateway; its secrets are labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its generation; 0 is the factory profile.
    pub generation: u64,
    /// The site.
    pub site: Box<Site>,
    /// As it came.
    pub payload: Vec<u8>,
}

/// The payload of a site.
///
/// # Errors
/// [`Failure::Failed`].
pub fn payload(site: &Site) -> Outcome<Vec<u8>> {
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    let bytes = schema::encode(site, &mut buffer)
        .map_err(|error| Failure::Failed(format!("the configuration cannot be written: {error:?}")))?;
    buffer.truncate(bytes);
    Ok(buffer)
}

/// Fetches a configuration.
///
/// # Errors
/// [`Failure::Refused`], [`Failure::Mismatch`] when it comes damaged.
pub fn fetch(client: &mut Client, source: Source) -> Outcome<Fetched> {
    for _ in 0..TRIES {
        if let Some(fetched) = attempt(client, source)? {
            return Ok(fetched);
        }
    }
    Err(Failure::Failed("the configuration changes while it is read: try again".to_owned()))
}

/// `None` when another configuration came in force meanwhile.
fn attempt(client: &mut Client, source: Source) -> Outcome<Option<Fetched>> {
    let mut payload = Vec::new();
    let mut first: Option<ConfigPart> = None;
    loop {
        let offset = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let part = reply_of!(client, Request::Config { source, offset }, Reply::Config(part) => part)?;
        let first = first.get_or_insert_with(|| part.clone());
        let same =
            (part.generation, part.schema, part.bytes) == (first.generation, first.schema, first.bytes);
        if !same || part.offset != offset {
            return Ok(None);
        }
        let whole = usize::try_from(first.bytes).unwrap_or(usize::MAX);
        if whole > PAYLOAD_BYTES_MAX || (part.part.is_empty() && payload.len() < whole) {
            return Err(Failure::Mismatch("the gateway sends a configuration that cannot be".to_owned()));
        }
        payload.extend_from_slice(&part.part);
        if payload.len() >= whole {
            let (generation, schema) = (first.generation, first.schema);
            let site = Box::new(schema::decode(schema, &payload).map_err(damaged)?);
            return Ok(Some(Fetched { generation, site, payload }));
        }
    }
}

fn damaged(error: PayloadError) -> Failure {
    match error {
        PayloadError::OtherSchema(schema) => Failure::Failed(format!(
            "the configuration has schema {schema}, and this version reads schema {SCHEMA}: use the tools of the \
             gateway's version"
        )),
        _ => Failure::Mismatch("the configuration came damaged".to_owned()),
    }
}

/// Brings a payload to the gateway, which proves that it could run it and changes nothing.
///
/// # Errors
/// [`Failure::Refused`].
pub fn stage(client: &mut Client, payload: &[u8]) -> Outcome<Checked> {
    let (mut busy, mut late) = (0, 0);
    loop {
        match attempt_stage(client, payload) {
            // A peer that has just gone is noticed in a moment.
            Err(Failure::Refused(Refusal::Busy)) if busy < BUSY_TRIES => {
                busy += 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            // Staged parts are dropped after a minute without one: a long stall on the line.
            Err(Failure::Refused(Refusal::OutOfOrder)) if late < TRIES => late += 1,
            other => return other,
        }
    }
}

fn attempt_stage(client: &mut Client, payload: &[u8]) -> Outcome<Checked> {
    let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let digest = Sha256::digest(payload).into();
    reply_of!(client, Request::Stage { schema: SCHEMA, bytes, digest }, Reply::Done => ())?;
    let mut offset = 0;
    for part in payload.chunks(CHUNK_BYTES_MAX) {
        let part = heapless::Vec::from_slice(part).unwrap_or_default();
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        reply_of!(client, Request::StagePart { offset, part }, Reply::Done => ())?;
        offset += length;
    }
    reply_of!(client, Request::Check, Reply::Checked(checked) => checked)
}
