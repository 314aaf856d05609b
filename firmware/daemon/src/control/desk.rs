//! Carries requests out.

use postern_config::Role;
use postern_config::signed::BreakGlass;
use postern_console::rpc::reply::{Challenge, LoggedIn, Reply, UpdateStatus, Welcome};
use postern_console::rpc::request::{NewAccount, Request};
use postern_console::rpc::{Call, FrameError, PROTOCOL, Refusal, UpdateRefusal};
use postern_console::scram::{self, Exchange, ITERATIONS, Verifier};
use postern_core::audit::{ConsoleAct, Event};
use postern_core::engine::Input;
use postern_core::port::Partition;
use postern_core::rule::Name;
use postern_core::time::{Duration, Instant};

use super::session::Pending;
use super::{Guesses, Lines, Session, Sightings, lists};
use crate::configuration::{Author, Configuration, InForce, whole};
use crate::machine::Machine;
use crate::update::Updates;

/// What the loop shall do once the answer was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Go on.
    GoOn,
    /// Restart the machine.
    Reboot,
}

/// Everything the control socket knows besides the configuration.
#[derive(Debug, Default)]
pub struct Desk {
    guesses: Guesses,
    /// The newest lines of the log.
    pub lines: Lines,
    /// What is seen of knocks while somebody watches.
    pub sightings: Sightings,
    /// What the owner can sign; good for one use.
    glass: Option<[u8; 16]>,
    /// Updates of the whole system; `None` on a machine without slots.
    pub updates: Option<Updates>,
}

/// What a request works on.
struct Work<'w, P, M> {
    session: &'w mut Session,
    configuration: &'w mut Configuration<P>,
    machine: &'w mut M,
    now: Instant,
}

impl Desk {
    /// A desk where nobody has been yet.
    pub fn new() -> Self {
        let (guesses, lines, sightings) = (Guesses::new(), Lines::new(), Sightings::new());
        Self { guesses, lines, sightings, glass: None, updates: None }
    }

    /// Answers what a peer sent.
    pub fn handle<P: Partition, M: Machine>(
        &mut self,
        session: &mut Session,
        call: Result<Call, FrameError>,
        configuration: &mut Configuration<P>,
        machine: &mut M,
        now: Instant,
    ) -> After {
        let Ok(Call { number, request }) = call else {
            session.answer(0, Err(Refusal::Malformed));
            return After::GoOn;
        };
        if let Request::UpdatePart { offset, part } = &request {
            // Not answered, also when it is refused.
            if let (Some(updates), Ok(())) = (&mut self.updates, needs(session, Role::Admin)) {
                updates.part(*offset, part, machine, now);
            }
            return After::GoOn;
        }
        let reboots = request == Request::Reboot;
        let mut work = Work { session, configuration, machine, now };
        let result = self.carry_out(&mut work, request);
        let after = if reboots && result.is_ok() { After::Reboot } else { After::GoOn };
        work.session.answer(number, result);
        after
    }

    fn carry_out<P: Partition, M: Machine>(
        &mut self,
        work: &mut Work<'_, P, M>,
        request: Request,
    ) -> Result<Reply, Refusal> {
        match request {
            Request::Hello { protocol } => hello(work, protocol),
            Request::Login { name, client_nonce } => self.login(work, name, client_nonce),
            Request::Proof { proof } => self.proof(work, &proof),
            Request::Logout => {
                work.session.log_out();
                Ok(Reply::Done)
            }
            Request::Enrol { account } => self.enrol(work, &account),
            Request::BreakGlassChallenge => self.break_glass_challenge(work),
            Request::BreakGlass { signature_r, signature_s } => {
                self.break_glass(work, signature_r, signature_s)
            }
            look @ (Request::Status
            | Request::Config { .. }
            | Request::History { .. }
            | Request::Doors { .. }
            | Request::Grants { .. }
            | Request::Keys { .. }
            | Request::Log { .. }
            | Request::Heard { .. }) => {
                needs(work.session, Role::Viewer)?;
                self.look(work, look)
            }
            Request::Update => {
                needs(work.session, Role::Viewer)?;
                let updates = self.updates.as_ref().ok_or(Refusal::Update(UpdateRefusal::NoSlots))?;
                Ok(Reply::Update(updates.status(work.now)))
            }
            update @ (Request::UpdateBegin { .. }
            | Request::UpdateFinish { .. }
            | Request::UpdateConfirm { .. }
            | Request::UpdateRollback { .. }) => {
                needs(work.session, Role::Admin)?;
                self.update(work, update).map(Reply::Update)
            }
            Request::Watch { after } => {
                needs(work.session, Role::Operator)?;
                Ok(Reply::Knocks(self.sightings.after(after, work.now)))
            }
            Request::Revoke { door, source } => {
                needs(work.session, Role::Operator)?;
                let door = work.machine.engine().rules().door_named(&door).ok_or(Refusal::NotFound)?;
                work.machine.handle(Input::Revoke { door, source }, work.now);
                Ok(Reply::Done)
            }
            change => {
                needs(work.session, Role::Admin)?;
                self.change(work, change)
            }
        }
    }

    fn look<P: Partition, M: Machine>(
        &mut self,
        work: &mut Work<'_, P, M>,
        request: Request,
    ) -> Result<Reply, Refusal> {
        let Work { configuration, machine, now, .. } = work;
        Ok(match request {
            Request::Config { source, offset } => Reply::Config(configuration.part(source, offset)?),
            Request::History { index } => Reply::History(configuration.history(index)),
            Request::Doors { from } => Reply::Doors(lists::doors(configuration.site(), *machine, from)),
            Request::Grants { after } => Reply::Grants(lists::grants(*machine, after, *now)),
            Request::Keys { from } => Reply::Keys(lists::keys(configuration.site(), *machine, from, *now)),
            Request::Log { after } => Reply::Log(self.lines.after(after)),
            Request::Heard { from } => Reply::Heard(lists::heard(*machine, from)),
            _ => Reply::Status(lists::status(configuration, *machine, self.lines.newest(), *now)),
        })
    }

    fn change<P: Partition, M: Machine>(
        &mut self,
        work: &mut Work<'_, P, M>,
        request: Request,
    ) -> Result<Reply, Refusal> {
        let Work { session, configuration, machine, now } = work;
        let peer = session.peer.number;
        let author = Author { peer, account: &session.account };
        let now = *now;
        let done = |()| Reply::Done;
        let in_force = |InForce { generation, written }| Reply::InForce { generation, written };
        match request {
            Request::Stage { schema, bytes, digest } => {
                configuration.stage(peer, schema, bytes, digest, now).map(done)
            }
            Request::StagePart { offset, part } => {
                configuration.stage_part(peer, offset, &part, now).map(done)
            }
            Request::Check => configuration.check(peer, *machine).map(Reply::Checked),
            Request::Commit { base, standing, signature } => {
                let signed = signature.as_ref();
                configuration.commit(author, base, standing, signed, *machine, now).map(in_force)
            }
            Request::Confirm { generation } => {
                configuration.confirm(author.account, generation, *machine, now).map(in_force)
            }
            Request::Cancel { generation } => {
                configuration.cancel(author.account, generation, *machine, now).map(in_force)
            }
            Request::Rollback { base, to, standing } => {
                configuration.rollback(author.account, (base, to), standing, *machine, now).map(in_force)
            }
            Request::Rebase { key } => {
                let epoch = configuration.rebase_key(author.account, &key, *machine, now)?;
                Ok(Reply::Rebased { epoch })
            }
            Request::Wipe { device } if device != configuration.device().id => Err(Refusal::OtherDevice),
            Request::Wipe { .. } => configuration.wipe(author.account, *machine, now).map(done),
            Request::Reboot if !machine.may_reboot() => Err(Refusal::NotPermitted),
            Request::Reboot => Ok(Reply::Done),
            // Every other request was carried out before.
            _ => Err(Refusal::Malformed),
        }
    }

    fn update<P: Partition, M: Machine>(
        &mut self,
        work: &mut Work<'_, P, M>,
        request: Request,
    ) -> Result<UpdateStatus, Refusal> {
        let updates = self.updates.as_mut().ok_or(Refusal::Update(UpdateRefusal::NoSlots))?;
        let Work { session, configuration, machine, now } = work;
        let (by, now) = (&session.account, *now);
        match request {
            Request::UpdateBegin { manifest, only_check } => {
                updates.begin(&manifest, configuration.site().owner, only_check, by, *machine, now)
            }
            Request::UpdateFinish { confirm_secs } => updates.finish(confirm_secs, *machine, now),
            Request::UpdateConfirm { release } => updates.confirm(release, by, *machine, now),
            Request::UpdateRollback { release } => updates.roll_back(release, by, *machine, now),
            _ => Err(Refusal::Malformed),
        }
    }

    fn login<P: Partition, M: Machine>(
        &mut self,
        work: &mut Work<'_, P, M>,
        name: Name,
        client_nonce: [u8; 16],
    ) -> Result<Reply, Refusal> {
        self.refuse_too_soon(work.session.peer.user, work.now)?;
        work.session.log_out();
        let server_nonce = work.machine.random().ok_or(Refusal::Busy)?;
        let account = work.configuration.site().accounts.iter().find(|account| account.name == name);
        let keys = account.and_then(|account| {
            let stored_key = account.stored_key.known()?.expose().try_into().ok()?;
            let server_key = account.server_key.known()?.expose().try_into().ok()?;
            Some(Verifier { stored_key, server_key })
        });
        // What a name that does not exist is asked looks like any other, and is the same every time.
        let device = work.configuration.device();
        let pretended = (device.pretended(b"salt", &name), device.pretended(b"stored", &name));
        let salt = pretended.0.first_chunk::<16>().copied().unwrap_or_default();
        let unknown = Verifier { stored_key: pretended.1, server_key: pretended.1 };
        let (salt, iterations) =
            account.map_or((salt, ITERATIONS), |account| (account.salt, account.iterations));
        let challenge = Challenge { salt, iterations, server_nonce };
        let role = keys.is_some().then(|| account.map_or(Role::Viewer, |account| account.role));
        let verifier = keys.unwrap_or(unknown);
        work.session.pending =
            Some(Pending { name, client_nonce, challenge: challenge.clone(), verifier, role });
        Ok(Reply::Challenge(challenge))
    }

    fn proof<P, M: Machine>(
        &mut self,
        work: &mut Work<'_, P, M>,
        proof: &[u8; 32],
    ) -> Result<Reply, Refusal> {
        let Pending { name, client_nonce, challenge, verifier, role } =
            work.session.pending.take().ok_or(Refusal::NotLoggedIn)?;
        let exchange = Exchange { name: &name, client_nonce, challenge: &challenge };
        let server_signature = scram::check_proof(&verifier, exchange, proof);
        let user = work.session.peer.user;
        match (server_signature, role) {
            (Some(server_signature), Some(role)) => {
                self.guesses.succeeded(user);
                work.session.role = Some(role);
                work.session.account = name.clone();
                notice(work, ConsoleAct::LoggedIn, name);
                Ok(Reply::LoggedIn(LoggedIn { role, server_signature }))
            }
            _ => {
                let waits = self.guesses.failed(user, work.now) > Duration::ZERO;
                // A name nobody has may be a password in the wrong place: it is not logged.
                let account = if role.is_some() { name } else { Name::new() };
                notice(work, ConsoleAct::Failed, account.clone());
                if waits {
                    notice(work, ConsoleAct::Delayed, account);
                }
                Err(Refusal::LoginFailed)
            }
        }
    }

    fn enrol<P: Partition, M: Machine>(
        &mut self,
        work: &mut Work<'_, P, M>,
        account: &NewAccount,
    ) -> Result<Reply, Refusal> {
        if !work.configuration.site().accounts.is_empty() && !work.session.glass_broken {
            return Err(Refusal::AlreadyEnrolled);
        }
        work.configuration.enrol(account, work.machine, work.now)?;
        work.session.glass_broken = false;
        work.session.role = Some(Role::Admin);
        work.session.account = account.name.clone();
        notice(work, ConsoleAct::Enrolled, account.name.clone());
        Ok(Reply::LoggedIn(LoggedIn { role: Role::Admin, server_signature: [0; 32] }))
    }

    fn break_glass_challenge<P: Partition, M: Machine>(
        &mut self,
        work: &mut Work<'_, P, M>,
    ) -> Result<Reply, Refusal> {
        if work.configuration.site().owner.is_none() {
            return Err(Refusal::NoOwner);
        }
        // The same challenge until it is used: the owner may be hours away by telephone.
        let nonce = match self.glass {
            Some(nonce) => nonce,
            None => work.machine.random().ok_or(Refusal::Busy)?,
        };
        self.glass = Some(nonce);
        Ok(Reply::BreakGlass { device: work.configuration.device().id, nonce })
    }

    fn break_glass<P: Partition, M: Machine>(
        &mut self,
        work: &mut Work<'_, P, M>,
        signature_r: [u8; 32],
        signature_s: [u8; 32],
    ) -> Result<Reply, Refusal> {
        let user = work.session.peer.user;
        self.refuse_too_soon(user, work.now)?;
        let owner = work.configuration.site().owner.ok_or(Refusal::NoOwner)?;
        let nonce = self.glass.ok_or(Refusal::BadSignature)?;
        let token = BreakGlass { device: work.configuration.device().id, nonce };
        if token.verify(&owner, &whole(signature_r, signature_s)).is_err() {
            self.guesses.failed(user, work.now);
            notice(work, ConsoleAct::Failed, Name::new());
            return Err(Refusal::BadSignature);
        }
        self.glass = None;
        work.session.glass_broken = true;
        notice(work, ConsoleAct::BrokeGlass, Name::new());
        Ok(Reply::Done)
    }

    fn refuse_too_soon(&self, user: u32, now: Instant) -> Result<(), Refusal> {
        match self.guesses.wait(user, now) {
            Some(wait) => Err(Refusal::TooSoon { secs: u32::try_from(wait.secs_ceil()).unwrap_or(u32::MAX) }),
            None => Ok(()),
        }
    }
}

fn hello<P: Partition, M>(work: &Work<'_, P, M>, protocol: u16) -> Result<Reply, Refusal> {
    if protocol != PROTOCOL {
        return Err(Refusal::OtherProtocol { protocol: PROTOCOL });
    }
    let site = work.configuration.site();
    Ok(Reply::Welcome(Welcome {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").try_into().unwrap_or_default(),
        gateway: site.name.clone(),
        enrolled: !site.accounts.is_empty(),
        role: work.session.role,
        banner: site.console.banner.clone(),
        idle_lock_secs: site.console.idle_lock_secs,
        has_owner: site.owner.is_some(),
    }))
}

fn needs(session: &Session, needs: Role) -> Result<(), Refusal> {
    match session.role {
        None => Err(Refusal::NotLoggedIn),
        Some(role) if role < needs => Err(Refusal::NotAllowed { needs }),
        Some(_) => Ok(()),
    }
}

fn notice<P, M: Machine>(work: &mut Work<'_, P, M>, act: ConsoleAct, account: Name) {
    work.machine.notice(Event::Console { act, account }, work.now);
}
