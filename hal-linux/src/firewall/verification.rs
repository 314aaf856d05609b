//! What reading the gate back shows.

use std::fmt;

use super::Family;

/// How the gate differs from what was installed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drift {
    /// Nothing jumps from INPUT to the gate.
    JumpMissing(Family),
    /// Another rule of INPUT stands before the jump and may let packets past it.
    JumpNotFirst(Family),
    /// The jump stands more than once: harmless, but not ours alone.
    JumpRepeated(Family),
    /// This chain of the kernel does not begin with the jump for doors that lead behind the gateway.
    NotLed(Family, &'static str),
    /// The table is gone (nftables).
    TableMissing(String),
    /// A chain is gone.
    ChainMissing(Option<Family>, String),
    /// A chain has other rules, or another hook, priority or policy, than it should have.
    ChainChanged(Option<Family>, String),
    /// A set is gone.
    SetMissing(String),
    /// The set of protected ports has other members than the rules want.
    PortsDiffer {
        /// Ports that are not protected but should be.
        missing: usize,
        /// Ports that are protected but should not be.
        surplus: usize,
    },
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |family: &Option<Family>| family.map_or(String::new(), |family| format!("{family} "));
        match self {
            Drift::JumpMissing(family) => write!(f, "{family} INPUT does not jump to the gate"),
            Drift::JumpNotFirst(family) => write!(f, "{family} INPUT has another rule before the gate"),
            Drift::JumpRepeated(family) => write!(f, "{family} INPUT jumps to the gate more than once"),
            Drift::NotLed(family, chain) => {
                write!(f, "{family} {chain} does not begin with the jump for doors behind the gateway")
            }
            Drift::TableMissing(name) => write!(f, "table {name} is gone"),
            Drift::ChainMissing(family, name) => write!(f, "{}chain {name} is gone", of(family)),
            Drift::ChainChanged(family, name) => {
                write!(f, "{}chain {name} was changed", of(family))
            }
            Drift::SetMissing(name) => write!(f, "set {name} is gone"),
            Drift::PortsDiffer { missing, surplus } => {
                write!(f, "protected ports differ: {missing} missing, {surplus} surplus")
            }
        }
    }
}

/// Everything that differs; nothing does when the gate is as it was installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    drifts: Vec<Drift>,
}

impl Verification {
    /// Whether the gate is as it should be.
    pub fn is_intact(&self) -> bool {
        self.drifts.is_empty()
    }

    /// What differs.
    pub fn drifts(&self) -> &[Drift] {
        &self.drifts
    }

    pub(super) fn note(&mut self, drift: Drift) {
        self.drifts.push(drift);
    }

    pub(super) fn note_ports(&mut self, missing: usize, surplus: usize) {
        if missing + surplus > 0 {
            self.note(Drift::PortsDiffer { missing, surplus });
        }
    }
}

impl fmt::Display for Verification {
    /// The differences, or `as installed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_intact() {
            return f.write_str("as installed");
        }
        for (position, drift) in self.drifts.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{drift}")?;
        }
        Ok(())
    }
}
