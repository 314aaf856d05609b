//! What a daemon costs when nothing happens.

use std::time::Duration;

use anyhow::Result;
use postern_e2e::Backend;

use super::Effort;
use super::packets::STOCK;
use crate::arena::{Arena, KNOCKS, Subject};
use crate::meter;
use crate::report::Table;

/// Looks at its own health that Postern makes in a second when no watchdog asks for more of them: every
/// five seconds (`posternd::health`).
const LOOKS_PER_S: f64 = 0.2;

pub(super) fn measure(effort: Effort) -> Result<Table> {
    let about = format!(
        "No packet at all for {} s. Postern looks at its own health every five seconds, which is {LOOKS_PER_S} \
         wake-ups a second, and reads its gate back at every second look; what programs it starts for that \
         (iptables) use is in the CPU time. RSS has the ring of the capture in it (2 MiB, shared with the kernel), \
         and pages of the program file.",
        effort.rest_s
    );
    let columns = [
        "subject",
        "RSS kB",
        "PSS kB",
        "of it its own kB",
        "wake-ups a second",
        "beyond the looks",
        "CPU ms",
    ];
    let mut table = Table::new("idle", &about, &columns);
    let subjects = Subject::GUARDS.into_iter().chain([Subject::Fwknopd]);
    for subject in subjects {
        let mut arena = match subject {
            Subject::Fwknopd => Arena::with_key(subject, "", STOCK)?,
            _ => Arena::new(subject, &KNOCKS)?,
        };
        let pid = arena.pid();
        std::thread::sleep(Duration::from_secs(1));
        let before = (meter::wake_ups(pid)?, meter::cpu(pid)?, meter::childrens_cpu_ms(pid)?);
        std::thread::sleep(Duration::from_secs(effort.rest_s.into()));
        let wake_ups = meter::wake_ups(pid)?.saturating_sub(before.0);
        let cpu = meter::cpu(pid)?.saturating_sub(before.1);
        let children = meter::childrens_cpu_ms(pid)?.saturating_sub(before.2);
        let (rss_kb, pss_kb) = meter::memory_kb(pid)?;
        let per_s = wake_ups as f64 / f64::from(effort.rest_s);
        let looks = if matches!(subject, Subject::Postern(_)) { LOOKS_PER_S } else { 0.0 };
        table.row(vec![
            name(subject),
            rss_kb.to_string(),
            pss_kb.to_string(),
            meter::own_kb(pid)?.to_string(),
            format!("{per_s:.2}"),
            format!("{:.2}", per_s - looks),
            format!("{:.2}", cpu.as_secs_f64() * 1e3 + children as f64),
        ]);
    }
    Ok(table)
}

/// With a word on how it was built: `POSTERN_BUILD` says it, when it was built in another way.
fn name(subject: Subject) -> String {
    match (subject, std::env::var("POSTERN_BUILD")) {
        (Subject::Postern(Backend::Iptables | Backend::Nftables), Ok(build)) => format!("{subject}, {build}"),
        _ => subject.to_string(),
    }
}
