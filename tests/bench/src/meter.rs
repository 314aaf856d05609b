//! What a process costs, from `/proc` (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use postern_e2e::process::success;
use postern_e2e::tool;

/// Core of whatever is measured.
pub const SUBJECT_CORE: usize = 0;
/// Core of whatever sends.
pub const SENDER_CORE: usize = 1;

/// CPU time of all threads of a process.
///
/// # Errors
/// When it is gone.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        total += schedstat(&task?.path().join("schedstat").to_string_lossy())?;
    }
    Ok(Duration::from_nanos(total))
}

/// CPU time of the calling thread.
///
/// # Errors
/// When the kernel has no schedstat.
pub fn own_cpu() -> Result<Duration> {
    schedstat("/proc/thread-self/schedstat").map(Duration::from_nanos)
}

fn schedstat(path: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    Ok(text.split_whitespace().next().context("schedstat is empty")?.parse()?)
}

/// Resident and proportional memory, in kB.
///
/// # Errors
/// When it is gone.
pub fn memory_kb(pid: u32) -> Result<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok((field(&text, "Rss:")?, field(&text, "Pss:")?))
}

/// How often it slept and was woken: it went to sleep of its own will.
///
/// # Errors
/// When it is gone.
pub fn wake_ups(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    field(&text, "voluntary_ctxt_switches:")
}

/// CPU time in milliseconds of programs it has started and that ended.
///
/// # Errors
/// When it is gone.
pub fn childrens_cpu_ms(pid: u32) -> Result<u64> {
    // In ticks of 10 ms (`USER_HZ`), the 16th and 17th field; the name before them may have blanks.
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit(") ").next().context("no state")?;
    let ticks =
        |at: usize| fields.split_whitespace().nth(at).context("no value")?.parse::<u64>().map_err(Into::into);
    let (user, system): (Result<u64>, Result<u64>) = (ticks(13), ticks(14));
    Ok((user? + system?) * 10)
}

/// Memory that is nobody else's and holds data, in kB: no program file, no ring.
///
/// # Errors
/// When it is gone.
pub fn own_kb(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    field(&text, "RssAnon:")
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
    Ok(line.split_whitespace().next().context("no value")?.parse()?)
}

/// Moves a process (0: the calling thread) to a core. A machine with one core is left as it is.
pub fn pin(pid: i32, core: usize) {
    let mut set = CpuSet::new();
    if set.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(pid), &set);
    }
}

/// Lets a process go before others that happen to run; only a wish.
pub fn prefer(pid: u32) {
    if let Ok(renice) = tool::path("renice") {
        let mut command = std::process::Command::new(renice);
        let _ = success(command.args(["-n", "-10", "-p", &pid.to_string()]));
    }
}

/// Load averages over 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
