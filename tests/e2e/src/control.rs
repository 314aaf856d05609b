//! A peer of a daemon's control socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use postern_config::{PAYLOAD_BYTES_MAX, SCHEMA, Site, schema};
use postern_console::rpc::reply::{Reply, Status};
use postern_console::rpc::request::{Request, Source, Standing};
use postern_console::rpc::{
    Answer, CHUNK_BYTES_MAX, Call, Deframer, FRAME_BYTES_MAX, PROTOCOL, Refusal, encode_frame,
};
use sha2::{Digest, Sha256};

use crate::process;

/// How long an answer may take before the daemon counts as dead.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    number: u16,
}

impl Control {
    /// Connects, when the daemon listens.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = process::wait_until("the control socket", || UnixStream::connect(path).ok())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut control = Self { stream, number: 0 };
        control.ask(Request::Hello { protocol: PROTOCOL })?.map_err(refused)?;
        Ok(control)
    }

    /// One request and its answer; the outer error is a daemon that is gone.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn ask(&mut self, request: Request) -> Result<Result<Reply, Refusal>> {
        self.number = self.number.wrapping_add(1);
        let call = Call { number: self.number, request };
        let mut frame = [0; FRAME_BYTES_MAX];
        let Ok(frame) = encode_frame(&call, &mut frame) else { bail!("the request is too long") };
        self.stream.write_all(frame)?;
        let mut deframer = Deframer::new();
        let mut octet = [0];
        loop {
            self.stream.read_exact(&mut octet).context("the daemon is gone")?;
            match deframer.take::<Answer>(octet[0]) {
                Some(Ok(answer)) if answer.number == self.number => return Ok(answer.result),
                Some(other) => bail!("not an answer: {other:?}"),
                None => {}
            }
        }
    }

    /// How the gateway is.
    ///
    /// # Errors
    /// When the connection breaks or it is refused.
    pub fn status(&mut self) -> Result<Status> {
        match self.ask(Request::Status)?.map_err(refused)? {
            Reply::Status(status) => Ok(status),
            other => bail!("not a status: {other:?}"),
        }
    }

    /// The configuration in force, its secrets as labels.
    ///
    /// # Errors
    /// When the connection breaks or it is refused.
    pub fn site(&mut self) -> Result<Box<Site>> {
        let mut payload = Vec::new();
        loop {
            let offset = u32::try_from(payload.len())?;
            let request = Request::Config { source: Source::Running, offset };
            let Reply::Config(part) = self.ask(request)?.map_err(refused)? else { bail!("not a part") };
            if part.part.is_empty() {
                let site = schema::decode(part.schema, &payload);
                return site.map(Box::new).map_err(|error| anyhow::anyhow!("{error:?}"));
            }
            payload.extend(&part.part);
        }
    }

    /// Commits `site` on what is in force; returns the generation.
    ///
    /// # Errors
    /// The outer one when the connection breaks.
    pub fn commit(&mut self, site: &Site, standing: Standing) -> Result<Result<u64, Refusal>> {
        let base = self.status()?.generation;
        match self.stage(site)? {
            Ok(()) => self.commit_staged(base, standing),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Brings `site`.
    ///
    /// # Errors
    /// The outer one when the connection breaks.
    pub fn stage(&mut self, site: &Site) -> Result<Result<(), Refusal>> {
        let mut payload = vec![0; PAYLOAD_BYTES_MAX];
        let bytes = schema::encode(site, &mut payload).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        payload.truncate(bytes);
        let digest = Sha256::digest(&payload).into();
        let stage = Request::Stage { schema: SCHEMA, bytes: u32::try_from(bytes)?, digest };
        if let Err(refusal) = self.ask(stage)? {
            return Ok(Err(refusal));
        }
        for (index, part) in payload.chunks(CHUNK_BYTES_MAX).enumerate() {
            let offset = u32::try_from(index * CHUNK_BYTES_MAX)?;
            let part = heapless::Vec::from_slice(part).unwrap_or_default();
            if let Err(refusal) = self.ask(Request::StagePart { offset, part })? {
                return Ok(Err(refusal));
            }
        }
        Ok(Ok(()))
    }

    /// Commits what was brought.
    ///
    /// # Errors
    /// The outer one when the connection breaks.
    pub fn commit_staged(&mut self, base: u64, standing: Standing) -> Result<Result<u64, Refusal>> {
        let committed = self.ask(Request::Commit { base, standing, signature: None })?;
        Ok(committed.map(|reply| match reply {
            Reply::InForce { generation, .. } => generation,
            _ => 0,
        }))
    }
}

fn refused(refusal: Refusal) -> anyhow::Error {
    anyhow::anyhow!("refused: {refusal}")
}
