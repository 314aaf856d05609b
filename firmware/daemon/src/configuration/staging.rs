//! A configuration on its way in.

use postern_config::{PAYLOAD_BYTES_MAX, PayloadError, Site, schema};
use postern_console::rpc::{InvalidConfig, Refusal};
use postern_core::limits::STAGING_IDLE;
use postern_core::time::Instant;
use sha2::{Digest, Sha256};

/// One peer brings one configuration at a time; it is kept while the peer goes on.
#[derive(Debug)]
pub(super) struct Staging {
    arriving: Option<Arriving>,
}

#[derive(Debug)]
struct Arriving {
    peer: u32,
    schema: u16,
    /// As long as it was announced; made for it and freed with it.
    payload: Box<[u8]>,
    arrived: usize,
    digest: [u8; 32],
    expires: Instant,
}

impl Staging {
    pub(super) fn new() -> Self {
        Self { arriving: None }
    }

    pub(super) fn begin(
        &mut self,
        peer: u32,
        schema: u16,
        bytes: u32,
        digest: [u8; 32],
        now: Instant,
    ) -> Result<(), Refusal> {
        self.expire(now);
        if self.arriving.as_ref().is_some_and(|arriving| arriving.peer != peer) {
            return Err(Refusal::Busy);
        }
        let bytes = usize::try_from(bytes).ok().filter(|&bytes| bytes <= PAYLOAD_BYTES_MAX);
        let bytes = bytes.ok_or(Refusal::Invalid(InvalidConfig::TooLong))?;
        let expires = now + STAGING_IDLE;
        let payload = vec![0; bytes].into_boxed_slice();
        self.arriving = Some(Arriving { peer, schema, payload, arrived: 0, digest, expires });
        Ok(())
    }

    pub(super) fn take(&mut self, peer: u32, offset: u32, part: &[u8], now: Instant) -> Result<(), Refusal> {
        let arriving = self.arriving.as_mut().filter(|arriving| arriving.peer == peer);
        let arriving = arriving.ok_or(Refusal::OutOfOrder)?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = offset.saturating_add(part.len());
        // The same part once more, because its answer was lost, does no harm.
        if offset > arriving.arrived || end > arriving.payload.len() {
            return Err(Refusal::OutOfOrder);
        }
        arriving.payload.get_mut(offset..end).ok_or(Refusal::OutOfOrder)?.copy_from_slice(part);
        arriving.arrived = arriving.arrived.max(end);
        arriving.expires = now + STAGING_IDLE;
        Ok(())
    }

    /// The site that `peer` brought.
    pub(super) fn site(&self, peer: u32) -> Result<Box<Site>, Refusal> {
        let whole =
            |arriving: &&Arriving| arriving.peer == peer && arriving.arrived == arriving.payload.len();
        let arriving = self.arriving.as_ref().filter(whole).ok_or(Refusal::OutOfOrder)?;
        let payload = &arriving.payload;
        if <[u8; 32]>::from(Sha256::digest(payload)) != arriving.digest {
            return Err(Refusal::Invalid(InvalidConfig::Digest));
        }
        schema::decode(arriving.schema, payload).map(Box::new).map_err(|error| {
            Refusal::Invalid(match error {
                PayloadError::OtherSchema(schema) => InvalidConfig::Schema { schema },
                PayloadError::Malformed | PayloadError::NoRoom => InvalidConfig::Malformed,
            })
        })
    }

    /// Octets and digest of what is arriving.
    pub(super) fn announced(&self) -> Option<(usize, [u8; 32])> {
        self.arriving.as_ref().map(|arriving| (arriving.payload.len(), arriving.digest))
    }

    pub(super) fn peer_left(&mut self, peer: u32) {
        self.arriving.take_if(|arriving| arriving.peer == peer);
    }

    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.arriving.as_ref().map(|arriving| arriving.expires)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.arriving.take_if(|arriving| arriving.expires <= now);
    }
}
