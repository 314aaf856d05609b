//! What a daemon costs when nothing happens.

use std::time::Duration;

use anyhow::Result;

use super::Effort;
use crate::arena::{Arena, KNOCKS, Subject};
use crate::meter;
use crate::report::Table;

pub(super) fn measure(effort: Effort) -> Result<Table> {
    let about = format!("No packet at all for {} s.", effort.rest_s);
    let columns = ["subject", "RSS kB", "PSS kB", "switches a second", "CPU ms"];
    let mut table = Table::new("idle", &about, &columns);
    for subject in Subject::GUARDS {
        let mut arena = Arena::new(subject, &KNOCKS)?;
        let pid = arena.pid();
        std::thread::sleep(Duration::from_secs(1));
        let before = (meter::switches(pid)?, meter::cpu(pid)?);
        std::thread::sleep(Duration::from_secs(effort.rest_s.into()));
        let switches = meter::switches(pid)?.saturating_sub(before.0);
        let cpu = meter::cpu(pid)?.saturating_sub(before.1);
        let (rss_kb, pss_kb) = meter::memory_kb(pid)?;
        table.row(vec![
            subject.to_string(),
            rss_kb.to_string(),
            pss_kb.to_string(),
            format!("{:.2}", switches as f64 / f64::from(effort.rest_s)),
            format!("{:.2}", cpu.as_secs_f64() * 1e3),
        ]);
    }
    Ok(table)
}
