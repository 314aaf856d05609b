//! An image of a config partition in the place of a gateway: the daemon's own desk answers, on a
//! machine that has neither capture nor firewall.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use postern_config::Site;
use postern_config::partition::Store;
use postern_console::rpc::reply::InterfaceStatus;
use postern_core::engine::{Engine, Input, Keys};
use postern_core::hash::HashKey;
use postern_core::limits::INTERFACES_MAX;
use postern_core::port::Partition;
use postern_core::rule::{RuleSet, RuleSetBuilder};
use postern_core::time::Instant;
use postern_hal_linux::partition::{LinuxPartition, PartitionOpenError};
use postern_hal_linux::random::random;
use posternd::configuration::Configuration;
use posternd::control::{Desk, Peer, Session};
use posternd::machine::Machine;

use super::{Link, Nature};
use crate::remote::failure::{Failure, Outcome};

/// A machine that runs nothing.
struct Shelf {
    engine: Box<Engine>,
}

impl Machine for Shelf {
    fn apply(&mut self, _site: &Site, rules: RuleSet, _keys: Keys, _now: Instant) -> Result<(), String> {
        self.engine = engine(rules);
        Ok(())
    }

    fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    fn handle(&mut self, _input: Input<'_>, _now: Instant) {}

    fn interfaces(&self) -> (heapless::Vec<InterfaceStatus, INTERFACES_MAX>, u64) {
        (heapless::Vec::new(), 0)
    }

    fn random(&mut self) -> Option<[u8; 16]> {
        random().ok()
    }

    fn may_reboot(&self) -> bool {
        false
    }
}

/// Knocks are never matched here, so nobody can aim at its tables.
fn engine(rules: RuleSet) -> Box<Engine> {
    Box::new(Engine::new(rules, HashKey::new([0; 16])))
}

/// An image, and who answers for it.
pub struct Offline<P> {
    configuration: Configuration<P>,
    desk: Desk,
    session: Session,
    shelf: Shelf,
    started: std::time::Instant,
    answers: VecDeque<u8>,
}

/// Opens an image, or a partition, that no daemon uses.
///
/// # Errors
/// [`Failure::Unreachable`].
pub fn open(path: &Path) -> Outcome<Offline<LinuxPartition>> {
    let partition = LinuxPartition::open(path).map_err(|error| match error {
        // While a daemon runs, it is the daemon who must be asked.
        PartitionOpenError::InUse(_) => {
            Failure::Unreachable(format!("{error}; ask the daemon instead: --to unix:/run/postern/control"))
        }
        other => Failure::Unreachable(other.to_string()),
    })?;
    let store = Store::open(partition).map_err(|_| {
        let what = format!("{} is too small for a config partition", path.display());
        Failure::Unreachable(format!(
            "{what}; make one with `postern compile SITE.toml -o {}`",
            path.display()
        ))
    })?;
    Offline::of(store)
}

impl<P: Partition> Offline<P> {
    /// Answers for this store.
    ///
    /// # Errors
    /// [`Failure::Failed`].
    pub fn of(store: Store<P>) -> Outcome<Self> {
        let mut configuration = Configuration::choose(store, Box::default());
        // An identity is made by the device, at its first start. Until then labels are nobody's: they
        // hide nothing here, as whoever has the image has the secrets.
        configuration.stand_in();
        let rules = configuration.rules().or_else(|_| RuleSetBuilder::new().build());
        let rules = rules.map_err(|error| Failure::Failed(format!("its rules cannot be run: {error:?}")))?;
        Ok(Self {
            configuration,
            desk: Desk::new(),
            // Who may write the image may do everything.
            session: Session::new(Peer { number: 1, user: 0 }),
            shelf: Shelf { engine: engine(rules) },
            started: std::time::Instant::now(),
            answers: VecDeque::new(),
        })
    }

    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

impl<P: Partition> Link for Offline<P> {
    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let now = self.now();
        for &octet in octets {
            let Some(call) = self.session.take(octet) else { continue };
            self.desk.handle(&mut self.session, call, &mut self.configuration, &mut self.shelf, now);
            self.answers.extend(self.session.unsent());
            let sent = self.session.unsent().len();
            self.session.sent(sent);
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _patience: Duration) -> io::Result<usize> {
        if self.answers.is_empty() {
            // Everything was answered when it was sent: waiting brings nothing.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = buffer.len().min(self.answers.len());
        for (place, octet) in buffer.iter_mut().zip(self.answers.drain(..count)) {
            *place = octet;
        }
        Ok(count)
    }

    fn nature(&self) -> Nature {
        Nature::SOUND
    }
}
