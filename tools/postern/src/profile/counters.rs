//! Numbers that must never be used twice, in `~/.local/state/postern/counters`.
//!
//! One file a key and gateway, named by the key's tag in the gateway's journal, so that two profiles
//! with one key share it. A number is on the disk before a packet with it is sent: a lock is taken, the
//! new file is written beside the old, flushed and renamed over it, and the folder is flushed. A crash
//! in between skips a number and repeats none.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use postern_core::spa::key::KeyTag;
use postern_core::spa::replay::COUNT_BITS;
use postern_core::spa::replay::counter::{in_epoch, next};

use super::private;
use crate::remote::failure::{Failure, Outcome};
use crate::site::notation::{digits, hex};

/// How long another process may hold the lock; it needs it for one write.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// As long as most doors stay open at the most.
pub const LATELY: Duration = Duration::from_secs(15 * 60);

/// Where the numbers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    folder: PathBuf,
}

/// What is remembered of one key.
pub trait Record: Sized {
    /// The file's text.
    fn write(&self) -> String;
    /// Reads it; `None` is damaged.
    fn read(text: &str) -> Option<Self>;
}

/// The counter of the last packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCounter(pub u64);

impl Record for LastCounter {
    fn write(&self) -> String {
        format!("postern counter 1\nlast {}\n", self.0)
    }

    fn read(text: &str) -> Option<Self> {
        let [last] = fields(text, "postern counter 1", ["last"])?;
        Some(Self(last))
    }
}

/// Where a client is among rotating sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The lowest counter that is not known to be used.
    pub known: u64,
    /// The lowest counter behind all that were tried.
    pub fresh: u64,
    /// Steps of the search so far, when the gateway awaits none of the fresh ones.
    pub sweep: u64,
}

impl Record for Position {
    fn write(&self) -> String {
        let Self { known, fresh, sweep } = self;
        format!("postern rotation 1\nknown {known}\nfresh {fresh}\nsweep {sweep}\n")
    }

    fn read(text: &str) -> Option<Self> {
        let [known, fresh, sweep] = fields(text, "postern rotation 1", ["known", "fresh", "sweep"])?;
        Some(Self { known, fresh, sweep })
    }
}

/// `NAME NUMBER` in each line behind the head, and nothing else.
fn fields<const N: usize>(text: &str, head: &str, names: [&str; N]) -> Option<[u64; N]> {
    let mut lines = text.lines();
    if lines.next() != Some(head) {
        return None;
    }
    let mut numbers = [0; N];
    for (number, name) in numbers.iter_mut().zip(names) {
        *number = digits(lines.next()?.strip_prefix(name)?.strip_prefix(' ')?)?;
    }
    lines.next().is_none().then_some(numbers)
}

impl Counters {
    /// In this folder.
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Those of this user.
    ///
    /// # Errors
    /// [`Failure::Usage`] when there is no home directory.
    pub fn of_user() -> Outcome<Self> {
        let folder = super::folder("XDG_STATE_HOME", ".local/state").ok_or_else(|| {
            let what = "there is no home directory to remember counters in: set XDG_STATE_HOME, or write \
                        `remember = false` into the profile";
            Failure::Usage(what.to_owned())
        })?;
        Ok(Self::at(folder.join("counters")))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is remembered under `tag`; `None` is nothing.
    ///
    /// # Errors
    /// [`Failure::InvalidProfile`] when the file is damaged.
    pub fn look<R: Record>(&self, tag: KeyTag) -> Outcome<Option<R>> {
        let path = self.path(tag);
        match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::failed(&format!("cannot read {}", path.display()), error)),
            Ok(_) => {}
        }
        let text = private::read(&path, "last counter").map_err(Failure::InvalidProfile)?;
        R::read(&text).map(Some).ok_or_else(|| {
            let shown = path.display();
            Failure::InvalidProfile(format!(
                "{shown} is damaged; fix: remove it. If your clock is right nothing more is needed, else raise \
                 `epoch` in the profile by one"
            ))
        })
    }

    /// Whether something was remembered under `tag` in the last [`LATELY`]; when the clock went back,
    /// this is not known, and taken for true.
    pub fn used_lately(&self, tag: KeyTag) -> bool {
        let written = self.path(tag).metadata().and_then(|metadata| metadata.modified());
        written.is_ok_and(|written| written.elapsed().map_or(true, |passed| passed < LATELY))
    }

    /// Replaces what is remembered under `tag`; when this returns it is on the disk, whatever happens
    /// next. Nobody else changes it meanwhile.
    ///
    /// # Errors
    /// What `change` says, and [`Failure::Failed`] when it cannot be written: then nothing may be sent.
    pub fn change<R: Record>(&self, tag: KeyTag, change: impl FnOnce(Option<R>) -> Outcome<R>) -> Outcome<R> {
        let cannot = |error: std::io::Error| {
            let shown = self.folder.display();
            Failure::Failed(format!(
                "nothing was sent, because the counter cannot be written down in {shown}: {error}; fix: make the \
                 folder writable, or set XDG_STATE_HOME"
            ))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(cannot)?;
        let folder = self.lock().map_err(cannot)?;
        let record = change(self.look(tag)?)?;
        self.write(&folder, tag, &record.write()).map_err(cannot)?;
        Ok(record)
    }

    fn lock(&self) -> std::io::Result<Flock<File>> {
        let until = Instant::now() + LOCK_PATIENCE;
        let mut folder = File::open(&self.folder)?;
        loop {
            match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => return Ok(locked),
                Err((_, errno)) if errno != nix::errno::Errno::EWOULDBLOCK => return Err(errno.into()),
                Err(_) if Instant::now() >= until => {
                    return Err(std::io::Error::new(ErrorKind::TimedOut, "another process holds the lock"));
                }
                Err((back, _)) => folder = back,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn write(&self, folder: &File, tag: KeyTag, text: &str) -> std::io::Result<()> {
        let path = self.path(tag);
        let fresh = path.with_extension("new");
        // Under the lock this is what a crash left behind.
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)?;
        folder.sync_all()
    }

    fn path(&self, tag: KeyTag) -> PathBuf {
        self.folder.join(hex(&tag.0))
    }
}

/// A clock that shows less was never set: 2020-01-01, in milliseconds since 1970.
pub const CLOCK_LEAST_MILLIS: u64 = 1_577_836_800_000;

/// Milliseconds since 1970; `None` is a clock from before.
pub fn clock_millis() -> Option<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// What a counter is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// The counter of the last packet, when it is remembered.
    pub last: Option<u64>,
    /// The first counter of the profile.
    pub first: u64,
    /// The epoch of the profile.
    pub epoch: u16,
    /// Milliseconds since 1970.
    pub clock: Option<u64>,
    /// Whether the last packet was sent in vain just now: the gateway may have restarted since, and
    /// refuse what is less than [`STRIDE`](postern_core::spa::replay::counter::STRIDE) ahead.
    pub again: bool,
}

impl Basis {
    /// The next counter, by the rules of `SPA.md`; `None` at the end of the last epoch.
    pub const fn next(&self) -> Option<u64> {
        let last = match self.last {
            Some(last) if last > self.first => last,
            _ => self.first,
        };
        if last >> COUNT_BITS < self.epoch as u64 {
            let clock = match self.clock {
                Some(clock) => clock,
                None => 0,
            };
            return Some(in_epoch(self.epoch, clock));
        }
        match (next(last, self.clock), next(last, None)) {
            // The clock has not moved far enough since.
            (Some(by_clock), Some(by_stride)) if self.again && by_clock < by_stride => Some(by_stride),
            (by_clock, _) => by_clock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_core::spa::replay::counter::STRIDE;

    const NOW: u64 = 1_795_000_000_000;
    const TAG: KeyTag = KeyTag([1, 2, 3, 4, 5, 6, 7, 0xab]);

    fn counters(name: &str) -> Counters {
        let folder = std::env::temp_dir().join(format!("postern-counters-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        Counters::at(folder.join("deeper"))
    }

    fn gone(counters: &Counters) {
        std::fs::remove_dir_all(counters.folder().parent().unwrap()).unwrap();
    }

    #[test]
    fn what_is_written_is_read_and_for_nobody_else() {
        use std::os::unix::fs::PermissionsExt;
        let counters = counters("kept");
        assert_eq!(counters.look::<LastCounter>(TAG).unwrap(), None);
        assert!(!counters.used_lately(TAG));
        counters.change(TAG, |last| Ok(LastCounter(last.map_or(7, |LastCounter(last)| last + 1)))).unwrap();
        let kept = counters
            .change(TAG, |last| Ok(LastCounter(last.map_or(0, |LastCounter(last)| last + 1))))
            .unwrap();
        assert_eq!(kept, LastCounter(8));
        assert_eq!(counters.look(TAG).unwrap(), Some(LastCounter(8)));
        assert!(counters.used_lately(TAG));
        let path = counters.folder().join("01020304050607ab");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::options().write(true).open(&path).unwrap().set_modified(hour_ago).unwrap();
        assert!(!counters.used_lately(TAG));
        assert_eq!(counters.folder().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        gone(&counters);
    }

    #[test]
    fn a_refused_change_changes_nothing_and_a_crash_in_between_is_no_harm() {
        let counters = counters("crash");
        counters.change(TAG, |_| Ok(LastCounter(5))).unwrap();
        let refused = counters.change::<LastCounter>(TAG, |_| Err(Failure::Failed("no".into())));
        assert!(refused.is_err());
        assert_eq!(counters.look(TAG).unwrap(), Some(LastCounter(5)));
        std::fs::write(counters.folder().join("01020304050607ab.new"), "half").unwrap();
        counters.change(TAG, |_| Ok(LastCounter(6))).unwrap();
        assert_eq!(counters.look(TAG).unwrap(), Some(LastCounter(6)));
        gone(&counters);
    }

    #[test]
    fn damage_is_found_and_nothing_is_sent() {
        let counters = counters("damage");
        counters.change(TAG, |_| Ok(LastCounter(5))).unwrap();
        let path = counters.folder().join("01020304050607ab");
        for wrong in
            ["", "postern counter 1\n", "postern counter 1\nlast 5x\n", "postern counter 1\nlast 5\nlast 6\n"]
        {
            std::fs::write(&path, wrong).unwrap();
            let refused = counters.change(TAG, |_: Option<LastCounter>| Ok(LastCounter(1)));
            assert!(matches!(refused, Err(Failure::InvalidProfile(_))), "{wrong:?}");
        }
        gone(&counters);
    }

    #[test]
    fn where_nothing_can_be_written_nothing_is_used() {
        let counters = Counters::at("/proc/none/postern".into());
        let refused = counters.change(TAG, |_| Ok(LastCounter(1))).unwrap_err();
        assert!(refused.to_string().contains("nothing was sent"), "{refused}");
    }

    #[test]
    fn processes_at_the_same_time_never_get_the_same_number() {
        let counters = counters("many");
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let one = || {
                let next = |last: Option<LastCounter>| Ok(LastCounter(last.map_or(0, |last| last.0) + 1));
                (0..25).map(|_| counters.change(TAG, next).unwrap().0).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        assert_eq!(all, (1..=100).collect::<Vec<u64>>());
        gone(&counters);
    }

    #[test]
    fn counters_rise_by_the_clock_and_by_more_when_tried_again() {
        let basis = Basis { last: None, first: NOW - 10, epoch: 0, clock: Some(NOW), again: false };
        assert_eq!(basis.next(), Some(NOW));
        let last = Basis { last: Some(NOW), clock: Some(NOW + 1), ..basis };
        assert_eq!(last.next(), Some(NOW + 1));
        assert_eq!(Basis { again: true, ..last }.next(), Some(NOW + STRIDE));
        let later = Basis { clock: Some(NOW + 60_000), again: true, ..last };
        assert_eq!(later.next(), Some(NOW + 60_000));
        // A profile that was imported anew begins where it says, not behind that.
        assert_eq!(Basis { first: NOW + 100, clock: None, ..last }.next(), Some(NOW + 100 + STRIDE));
        let raised = Basis { epoch: 2, ..last };
        assert_eq!(raised.next(), Some(2 << COUNT_BITS | (NOW + 1)));
        let used = Basis { last: raised.next(), ..raised };
        assert!(used.next() > raised.next(), "the epoch is entered once");
        assert_eq!(Basis { last: Some(u64::MAX), ..last }.next(), None);
    }

    #[test]
    fn positions_are_kept_too() {
        let position = Position { known: 3, fresh: u64::MAX, sweep: 1 };
        assert_eq!(Position::read(&position.write()), Some(position));
        assert_eq!(LastCounter::read(&position.write()), None);
    }
}
