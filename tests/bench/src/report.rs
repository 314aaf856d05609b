//! Tables for people, machines and RESULTS.md.

use std::fmt::Write as _;
use std::process::Command;

use postern_e2e::{process, tool};

use crate::meter;

/// One table of results.
#[derive(Clone, Debug)]
pub struct Table {
    /// Benchmark's name.
    pub name: &'static str,
    /// One sentence: what was done.
    pub about: String,
    /// Column titles, with units.
    pub columns: Vec<&'static str>,
    /// Cells, as text.
    pub rows: Vec<Vec<String>>,
    /// Load averages when it began and ended.
    pub load: (String, String),
}

impl Table {
    /// An empty table.
    pub fn new(name: &'static str, about: &str, columns: &[&'static str]) -> Self {
        let load = meter::load();
        Self {
            name,
            about: about.to_owned(),
            columns: columns.to_vec(),
            rows: Vec::new(),
            load: (load.clone(), load),
        }
    }

    /// One more row, shown at once on standard error.
    pub fn row(&mut self, cells: Vec<String>) {
        eprintln!("  {}: {}", self.name, cells.join(" | "));
        self.rows.push(cells);
        self.load.1 = meter::load();
    }

    /// As markdown.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("## {}\n\n{}\n\n", self.name, self.about);
        let _ = writeln!(text, "| {} |", self.columns.join(" | "));
        let _ = writeln!(text, "|{}", " --- |".repeat(self.columns.len()));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        let _ = writeln!(text, "\nLoad average before and after: {}; {}.", self.load.0, self.load.1);
        text
    }

    /// As JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name, "about": self.about, "columns": self.columns, "rows": self.rows,
            "load_before": self.load.0, "load_after": self.load.1,
        })
    }
}

/// The machine, the date and the versions.
pub fn circumstances() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let path = tool::path(program).ok()?;
        let output = process::output(Command::new(path).args(arguments)).ok()?;
        let text = format!("{}{}", output.stdout, output.stderr);
        text.lines().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
    };
    let unknown = || "unknown".to_owned();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // Not what this thread may use: it is pinned.
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let cpu = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let package =
        |name: &str| said("dpkg-query", &["-W", "-f", "${Package} ${Version}", name]).unwrap_or_else(unknown);
    let packages = ["knockd", "libpcap0.8", "iptables", "nftables", "ipset"].map(package);
    format!(
        "- {}\n- {cores} cores, {}\n- kernel {}\n- {}\n",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_else(unknown),
        cpu.map_or("unknown CPU", |(_, model)| model),
        said("uname", &["-r"]).unwrap_or_else(unknown),
        packages.join(", "),
    )
}

/// A duration in milliseconds, or a dash.
pub fn ms(value: Option<std::time::Duration>) -> String {
    value.map_or("-".to_owned(), |value| format!("{:.2}", value.as_secs_f64() * 1e3))
}

/// A quantile of sorted values, by nearest rank.
pub fn quantile<T: Copy>(sorted: &[T], q: f64) -> Option<T> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank within the slice")]
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_ranks() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(quantile(&values, 0.5), Some(50));
        assert_eq!(quantile(&values, 0.99), Some(99));
        assert_eq!(quantile(&values[..1], 0.5), Some(1));
        assert_eq!(quantile::<u32>(&[], 0.5), None);
    }
}
