//! A gateway that answers as the daemon does, small but faithful.

use postern_config::{PAYLOAD_BYTES_MAX, Role, SCHEMA, Site, schema};
use postern_console::rpc::reply::{
    Answer, Challenge, Checked, ConfigPart, DoorStatus, Generation, GrantStatus, InterfaceStatus, LogLine,
    LoggedIn, Origin, Progress, Reply, SeenKnock, Status, StoreHealth, Trial, Welcome,
};
use postern_console::rpc::request::{NewAccount, Request, Source, Standing};
use postern_console::rpc::{
    CHUNK_BYTES_MAX, Call, Deframer, FRAME_BYTES_MAX, PROTOCOL, Refusal, encode_frame,
};
use postern_console::scram::{self, Exchange, Verifier};
use postern_core::rule::Name;

/// A gateway.
pub(crate) struct Gateway {
    pub(crate) account: Option<(Name, Verifier, [u8; 16], u32)>,
    pub(crate) running: Box<Site>,
    pub(crate) before: Option<Box<Site>>,
    pub(crate) generation: u64,
    pub(crate) trial_secs: Option<u32>,
    pub(crate) refuse_next: Option<Refusal>,
    pub(crate) refuse_at_commit: Option<Refusal>,
    pub(crate) wiped: bool,
    /// Of whoever logs in.
    pub(crate) role: Role,
    pub(crate) glass_broken: bool,
    staged: Vec<u8>,
    pending: Option<(Name, [u8; 16], Challenge)>,
    deframer: Deframer,
}

impl Gateway {
    pub(crate) fn new(running: Box<Site>) -> Self {
        Self {
            account: None,
            running,
            before: None,
            generation: 3,
            trial_secs: None,
            refuse_next: None,
            refuse_at_commit: None,
            wiped: false,
            role: Role::Admin,
            glass_broken: false,
            staged: Vec::new(),
            pending: None,
            deframer: Deframer::new(),
        }
    }

    /// Octets of the console, and what is answered.
    pub(crate) fn hear(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for &octet in octets {
            let Some(Ok(Call { number, request })) = self.deframer.take::<Call>(octet) else { continue };
            let result = match self.refuse_next.take() {
                Some(refusal) => Err(refusal),
                None => self.answer(request),
            };
            let mut frame = [0; FRAME_BYTES_MAX];
            answers.extend(encode_frame(&Answer { number, result }, &mut frame).unwrap());
        }
        answers
    }

    fn answer(&mut self, request: Request) -> Result<Reply, Refusal> {
        Ok(match request {
            Request::Hello { .. } => Reply::Welcome(self.welcome()),
            Request::Login { name, client_nonce } => {
                let (salt, iterations) = self
                    .account
                    .as_ref()
                    .map_or(([8; 16], 4096), |(_, _, salt, iterations)| (*salt, *iterations));
                let challenge = Challenge { salt, iterations, server_nonce: [6; 16] };
                self.pending = Some((name, client_nonce, challenge.clone()));
                Reply::Challenge(challenge)
            }
            Request::Proof { proof } => self.proof(&proof)?,
            Request::Enrol { account } => self.enrol(account),
            Request::BreakGlassChallenge => Reply::BreakGlass { device: [0x11; 16], nonce: [0x22; 16] },
            Request::BreakGlass { signature_r, .. } if signature_r == [0x33; 32] => {
                self.glass_broken = true;
                Reply::Done
            }
            Request::BreakGlass { .. } => return Err(Refusal::BadSignature),
            Request::Config { source: Source::Running, offset } => self.part(offset),
            Request::Stage { .. } => {
                self.staged.clear();
                Reply::Done
            }
            Request::StagePart { part, .. } => {
                self.staged.extend(&part);
                Reply::Done
            }
            Request::Check => Reply::Checked(Checked { doors: 2, grants_lost: 1, unchanged: false }),
            Request::Commit { base, standing, .. } => self.commit(base, standing)?,
            Request::Rollback { to, .. } => {
                self.generation += 1;
                assert_eq!(to, 2);
                Reply::InForce { generation: self.generation, written: true }
            }
            Request::Confirm { .. } => {
                self.trial_secs = None;
                Reply::InForce { generation: self.generation, written: true }
            }
            Request::Cancel { .. } => {
                self.end_trial();
                Reply::InForce { generation: self.generation, written: false }
            }
            Request::Wipe { device } => {
                assert_eq!(device, [0xab; 16]);
                self.wiped = true;
                self.account = None;
                Reply::Done
            }
            other => return self.look(other),
        })
    }

    fn look(&self, request: Request) -> Result<Reply, Refusal> {
        Ok(match request {
            Request::Status => Reply::Status(self.status()),
            Request::History { index } => Reply::History((index < 3).then(|| Generation {
                generation: self.generation - u64::from(index),
                digest: [index; 32],
                bytes: 400,
                floor: 0,
                unconfirmed: index == 1,
                in_force: index == 0,
            })),
            Request::Doors { from } => Reply::Doors(
                (from..40)
                    .take(4)
                    .map(|number| DoorStatus {
                        name: format!("door-{number}").as_str().try_into().unwrap(),
                        ports: heapless::Vec::from_slice(&[postern_config::site::StoredPort::Tcp(22)])
                            .unwrap(),
                        open_for_secs: 30,
                        knocks: 4,
                        keys: 0,
                        grants: 0,
                    })
                    .collect(),
            ),
            Request::Grants { after: 0 } => Reply::Grants(
                [(7, 32), (8, 24)]
                    .into_iter()
                    .map(|(id, prefix)| GrantStatus {
                        id,
                        door: "ssh".try_into().unwrap(),
                        source: [192, 0, 2, 1].into(),
                        prefix,
                        secs_left: 29,
                    })
                    .collect(),
            ),
            Request::Grants { .. } => Reply::Grants(heapless::Vec::new()),
            Request::Keys { .. } => Reply::Keys(heapless::Vec::new()),
            Request::Log { after } => Reply::Log(
                (after + 1..=42)
                    .take(3)
                    .map(|id| LogLine { id, at_millis: id * 1000, text: "BOOT doors=1".try_into().unwrap() })
                    .collect(),
            ),
            Request::Watch { after } => Reply::Knocks(
                (after..1)
                    .map(|_| SeenKnock {
                        number: 1,
                        at_millis: 5,
                        source: [192, 0, 2, 1].into(),
                        step: postern_config::site::StoredStep::Tcp(7351),
                        door: Some("ssh".try_into().unwrap()),
                        of: 4,
                        progress: Progress::Reached { knocks: 1 },
                    })
                    .collect(),
            ),
            Request::Revoke { .. } => Reply::Done,
            Request::Rebase { key } if key == "alice" => Reply::Rebased { epoch: 3 },
            Request::Rebase { .. } => return Err(Refusal::NotFound),
            Request::Reboot => return Err(Refusal::NotPermitted),
            other => panic!("not asked of this gateway: {other:?}"),
        })
    }

    /// The trial's time is over, or it was taken back.
    pub(crate) fn end_trial(&mut self) {
        self.trial_secs = None;
        if let Some(before) = self.before.take() {
            self.running = before;
            self.generation -= 1;
        }
    }

    fn welcome(&self) -> Welcome {
        Welcome {
            protocol: PROTOCOL,
            version: "1.2.3".try_into().unwrap(),
            gateway: self.running.name.clone(),
            enrolled: self.account.is_some(),
            role: None,
            banner: self.running.console.banner.clone(),
            idle_lock_secs: self.running.console.idle_lock_secs,
            has_owner: false,
        }
    }

    fn proof(&mut self, proof: &[u8; 32]) -> Result<Reply, Refusal> {
        let (name, client_nonce, challenge) = self.pending.take().unwrap();
        let Some((known, verifier, ..)) = &self.account else { return Err(Refusal::LoginFailed) };
        let exchange = Exchange { name: &name, client_nonce, challenge: &challenge };
        match scram::check_proof(verifier, exchange, proof) {
            Some(server_signature) if name == *known => {
                Ok(Reply::LoggedIn(LoggedIn { role: self.role, server_signature }))
            }
            _ => Err(Refusal::LoginFailed),
        }
    }

    fn enrol(&mut self, account: NewAccount) -> Reply {
        let verifier = Verifier { stored_key: account.stored_key, server_key: account.server_key };
        self.account = Some((account.name, verifier, account.salt, account.iterations));
        Reply::LoggedIn(LoggedIn { role: Role::Admin, server_signature: [0; 32] })
    }

    fn part(&self, offset: u32) -> Reply {
        let mut payload = vec![0; PAYLOAD_BYTES_MAX];
        let bytes = schema::encode(&self.running, &mut payload).unwrap();
        let rest = payload.get(usize::try_from(offset).unwrap()..bytes).unwrap_or_default();
        let part = heapless::Vec::from_slice(&rest[..rest.len().min(CHUNK_BYTES_MAX)]).unwrap();
        let bytes = u32::try_from(bytes).unwrap();
        Reply::Config(ConfigPart { generation: self.generation, schema: SCHEMA, bytes, offset, part })
    }

    fn commit(&mut self, base: u64, standing: Standing) -> Result<Reply, Refusal> {
        if let Some(refusal) = self.refuse_at_commit.take() {
            return Err(refusal);
        }
        if base != self.generation {
            return Err(Refusal::Conflict { generation: self.generation });
        }
        let next = Box::new(schema::decode(SCHEMA, &self.staged).unwrap());
        self.before = Some(core::mem::replace(&mut self.running, next));
        self.generation += 1;
        self.trial_secs = match standing {
            Standing::Permanent => None,
            Standing::Trial { secs } => Some(secs),
        };
        Ok(Reply::InForce { generation: self.generation, written: true })
    }

    fn status(&self) -> Status {
        Status {
            gateway: self.running.name.clone(),
            device: [0xab; 16],
            uptime_millis: 3_723_000,
            generation: self.generation,
            digest: [0xcd; 32],
            origin: Origin::Slot,
            trial: self.trial_secs.map(|secs_left| Trial { generation: self.generation, secs_left }),
            floor: 0,
            store: StoreHealth::Good,
            boots: 12,
            unclean_boots: 0,
            doors: u16::try_from(self.running.doors.len()).unwrap(),
            grants: 1,
            accounts: 1,
            keys: 0,
            interfaces: [InterfaceStatus { name: "wwan0".try_into().unwrap(), live: true }]
                .into_iter()
                .collect(),
            frames: 1000,
            knocks: 12,
            guard_touches: 3,
            opened: 2,
            dropped: 0,
            log_newest: 42,
        }
    }
}
