//! How many times what befell the medium during which action: the claim of a campaign, to be read.

use std::collections::BTreeMap;
use std::fmt;

/// What befell the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    /// The power went; of the sectors not flushed, some had arrived.
    Cut,
    /// One of them was torn besides.
    Torn,
    /// And the sector beside it was damaged.
    Neighbour,
    /// What was cut was started anew, and cut once more.
    SecondCut,
    /// It said that it had flushed, and had not.
    Lie,
    /// A write, a flush or a read was an error.
    Error,
    /// A sector landed elsewhere.
    Misdirected,
    /// A bit turned over.
    Bit,
    /// Any of these, in turn, over a whole life.
    Life,
}

/// What every action goes through.
pub const OF_ACTIONS: [Damage; 7] = [
    Damage::Cut,
    Damage::Torn,
    Damage::Neighbour,
    Damage::SecondCut,
    Damage::Lie,
    Damage::Error,
    Damage::Misdirected,
];

/// States by action and damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<&'static str, BTreeMap<Damage, u64>>,
}

impl Tally {
    /// One more.
    pub fn count(&mut self, action: &'static str, damage: Damage) {
        *self.counts.entry(action).or_default().entry(damage).or_default() += 1;
    }

    /// Adds another.
    pub fn add(&mut self, other: &Tally) {
        for (action, damages) in &other.counts {
            let own = self.counts.entry(action).or_default();
            for (damage, count) in damages {
                *own.entry(*damage).or_default() += count;
            }
        }
    }

    /// So many were seen.
    pub fn of(&self, action: &str, damage: Damage) -> u64 {
        self.counts.get(action).and_then(|damages| damages.get(&damage)).copied().unwrap_or(0)
    }

    /// What none of `actions` went through, in words; empty is as it should be.
    pub fn missing(&self, actions: &[&str]) -> Vec<String> {
        let pairs = actions.iter().flat_map(|action| OF_ACTIONS.map(|damage| (*action, damage)));
        let never = pairs.filter(|(action, damage)| self.of(action, *damage) == 0);
        never.map(|(action, damage)| format!("{action} with {damage:?}")).collect()
    }
}

/// A table: a line for each action, a column for each damage.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["cut", "torn", "neighbour", "second cut", "lie", "error", "misdirected"];
        write!(f, "{:<12}", "")?;
        head.iter().try_for_each(|damage| write!(f, "{damage:>12}"))?;
        writeln!(f)?;
        for (action, damages) in &self.counts {
            let others = |damage: &Damage| OF_ACTIONS.contains(damage);
            if !damages.keys().any(others) {
                let all: u64 = damages.values().sum();
                writeln!(f, "{action:<12}{all:>12}")?;
                continue;
            }
            write!(f, "{action:<12}")?;
            OF_ACTIONS.iter().try_for_each(|damage| write!(f, "{:>12}", self.of(action, *damage)))?;
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_tried_is_named() {
        let mut tally = Tally::default();
        for damage in OF_ACTIONS {
            tally.count("commit", damage);
        }
        let mut other = Tally::default();
        other.count("commit", Damage::Cut);
        other.count("trial", Damage::Cut);
        tally.add(&other);
        assert_eq!(tally.of("commit", Damage::Cut), 2);
        assert_eq!(tally.missing(&["commit"]), [""; 0]);
        assert_eq!(tally.missing(&["trial"]).len(), OF_ACTIONS.len() - 1);
        assert!(tally.missing(&["trial"]).contains(&"trial with Torn".to_owned()));
        assert!(tally.to_string().contains("commit"));
    }
}
