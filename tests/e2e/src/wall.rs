//! A wall clock that jumps, for one process alone: the machine's own is not touched.
//!
//! There is no namespace for `CLOCK_REALTIME` (time_namespaces(7)). But whoever watches a process may change what a
//! system call told it. Usually clocks are read without one, from a page the kernel shares (vdso(7)); so that page of
//! the process gets an entry that makes the call.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use nix::libc;
use object::{Object, ObjectSymbol};

use crate::process::wait_until;
use crate::tracer::{Call, Next, Tracer};

/// `mov eax, SYS_clock_gettime; syscall; ret`. The arguments are where the call wants them.
const BY_SYSTEM_CALL: [u8; 8] = [0xb8, 0xe4, 0, 0, 0, 0x0f, 0x05, 0xc3];
const _: () = assert!(libc::SYS_clock_gettime == 0xe4);

/// What a process takes for the time of day, and for the kernel's word that somebody keeps it right.
#[derive(Debug)]
pub struct WallClock {
    tracer: Tracer,
    ahead_secs: Arc<AtomicI64>,
    lies: Arc<AtomicU64>,
}

impl WallClock {
    /// Of the process with this number, which is watched from now on; it goes right as yet.
    ///
    /// # Errors
    /// When the process cannot be watched, or its shared page is another than ours.
    pub fn of(pid: u32) -> Result<Self> {
        let (ahead_secs, lies) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicU64::new(0)));
        let (ahead, told) = (ahead_secs.clone(), lies.clone());
        let judge = move |_, call: Call| {
            if !call.done {
                return Next::Go;
            }
            match call.number {
                libc::SYS_clock_gettime if call.first == libc::CLOCK_REALTIME as u64 => {
                    told.fetch_add(1, Ordering::Relaxed);
                    Next::Later(ahead.load(Ordering::Relaxed))
                }
                libc::SYS_adjtimex => Next::Answer(libc::TIME_OK.into()),
                _ => Next::Go,
            }
        };
        let tracer = Tracer::hold(pid, judge)?;
        divert(pid)?;
        Ok(Self { tracer, ahead_secs, lies })
    }

    /// From now on it is so many seconds ahead, or behind. Returns once the process has seen it.
    ///
    /// # Errors
    /// When it does not look at the clock in time, or has ended.
    pub fn jump(&self, ahead_secs: i64) -> Result<()> {
        self.ahead_secs.store(ahead_secs, Ordering::Relaxed);
        let before = self.lies.load(Ordering::Relaxed);
        wait_until("the process to read the clock", || {
            (self.tracer.is_over() || self.lies.load(Ordering::Relaxed) > before).then_some(())
        })?;
        ensure!(!self.tracer.is_over(), "the process died of a clock that jumped");
        Ok(())
    }
}

/// Puts [`BY_SYSTEM_CALL`] where the process reads its clocks.
fn divert(pid: u32) -> Result<()> {
    let ours = shared_page("self")?;
    let mut page = vec![0; usize::try_from(ours.end - ours.start)?];
    File::open("/proc/self/mem")?.read_exact_at(&mut page, ours.start)?;
    let image = object::read::elf::ElfFile64::<object::Endianness>::parse(page.as_slice())?;
    let entry = image
        .dynamic_symbols()
        .find(|symbol| symbol.name() == Ok("__vdso_clock_gettime"))
        .context("the shared page has no clock_gettime")?;
    // The page is linked at 0.
    let at = shared_page(&pid.to_string())?.start + entry.address();
    let memory = OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"))?;
    memory.write_all_at(&BY_SYSTEM_CALL, at).context("cannot write into its shared page")
}

/// Where a process has the page it shares with the kernel (proc(5)).
fn shared_page(process: &str) -> Result<std::ops::Range<u64>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).context("it has no shared page")?;
    let range = line.split_whitespace().next().unwrap_or_default();
    let (start, end) = range.split_once('-').context("not a range")?;
    Ok(u64::from_str_radix(start, 16)?..u64::from_str_radix(end, 16)?)
}
