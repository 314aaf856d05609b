//! What a daemon costs when nothing happens.

use std::time::{Duration, Instant};

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

/// Wake-ups nearer to each other than this are one: a look in which a program is waited for sleeps and
/// wakes several times.
const MOMENT: Duration = Duration::from_millis(250);

pub(super) fn measure(effort: Effort) -> Result<Table> {
    let about = format!(
        "No packet at all for {} s. Postern looks at its own health every five seconds, which is {LOOKS_PER_S} \
         moments a second, and reads its gate back at every second look; what the programs use that it starts for \
         that (iptables) is in the CPU time. Wake-ups within {} ms of each other are one moment. RSS has the ring of \
         the capture in it (2 MiB, shared with the kernel), and pages of the program file.",
        effort.rest_s,
        MOMENT.as_millis()
    );
    let columns = [
        "subject",
        "RSS kB",
        "PSS kB",
        "of it its own kB",
        "wake-ups a second",
        "moments a second",
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
        let ends = Instant::now() + Duration::from_secs(effort.rest_s.into());
        let (mut moments, mut seen) = (0_u32, before.0);
        while Instant::now() < ends {
            std::thread::sleep(MOMENT);
            let now = meter::wake_ups(pid)?;
            moments += u32::from(now != seen);
            seen = now;
        }
        let wake_ups = seen.saturating_sub(before.0);
        let cpu = meter::cpu(pid)?.saturating_sub(before.1);
        let children = meter::childrens_cpu_ms(pid)?.saturating_sub(before.2);
        let (rss_kb, pss_kb) = meter::memory_kb(pid)?;
        let per_s = |count: f64| count / f64::from(effort.rest_s);
        let looks = if matches!(subject, Subject::Postern(_)) { LOOKS_PER_S } else { 0.0 };
        table.row(vec![
            name(subject),
            rss_kb.to_string(),
            pss_kb.to_string(),
            meter::own_kb(pid)?.to_string(),
            format!("{:.2}", per_s(wake_ups as f64)),
            format!("{:.2}", per_s(moments.into())),
            format!("{:.2}", (per_s(moments.into()) - looks).max(0.0)),
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
