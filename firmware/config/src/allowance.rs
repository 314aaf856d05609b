//! The findings of a check that a site can accept for one door, by the names people write.

/// Every name, in the order of its bit in [`crate::site::StoredDoor::allow`]. Names are added at the
/// end and never taken away: the bits are part of schema 1.
pub const ALLOWANCES: [&str; 15] = [
    "ephemeral-port",
    "long-open",
    "monotone-sequence",
    "no-way-in",
    "one-time-unsupported",
    "overlapping-doors",
    "overlapping-sequences",
    "protected-port",
    "repeated-knock",
    "scan-probability",
    "service-port",
    "short-sequence",
    "stock-ping",
    "wide-guards",
    "wide-prefix",
];

/// The bit of `name`.
pub fn bit(name: &str) -> Option<u32> {
    let position = ALLOWANCES.iter().position(|known| *known == name)?;
    Some(1 << position)
}

/// The names in a bit set; bits of a later version are left out.
pub fn names(bits: u32) -> impl Iterator<Item = &'static str> {
    ALLOWANCES.iter().enumerate().filter(move |(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| *name)
}

const _: () = assert!(ALLOWANCES.len() <= 32);
