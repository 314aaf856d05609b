//! Marks that a terminal driver puts into its octets (`PARMRK`, termios(3)).
//!
//! | octets | mean |
//! | --- | --- |
//! | `FF FF` | the octet FF |
//! | `FF 00 00` | a BREAK |
//! | `FF 00 X` | X, which arrived with a framing or parity error |

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// An octet that arrived sound.
    Octet(u8),
    /// The line was held low for longer than an octet takes.
    Break,
}

/// Where in a mark the octets are; they may be cut anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Marks {
    #[default]
    Outside,
    AfterMark,
    AfterZero,
}

impl Marks {
    /// Takes an octet of the driver. Damaged octets are dropped: a wrong key is worse than none, and
    /// frames have a checksum.
    pub(super) fn take(&mut self, octet: u8) -> Option<Heard> {
        match (*self, octet) {
            (Marks::Outside, 0xff) => {
                *self = Marks::AfterMark;
                None
            }
            (Marks::Outside, octet) => Some(Heard::Octet(octet)),
            (Marks::AfterMark, 0) => {
                *self = Marks::AfterZero;
                None
            }
            // FF FF is an FF; anything else is a driver that does not mark.
            (Marks::AfterMark, octet) => {
                *self = Marks::Outside;
                Some(Heard::Octet(octet))
            }
            (Marks::AfterZero, 0) => {
                *self = Marks::Outside;
                Some(Heard::Break)
            }
            (Marks::AfterZero, _) => {
                *self = Marks::Outside;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(octets: &[u8]) -> Vec<Heard> {
        let mut marks = Marks::default();
        octets.iter().filter_map(|&octet| marks.take(octet)).collect()
    }

    #[test]
    fn data_breaks_and_damage_are_told_apart() {
        let (a, ff) = (Heard::Octet(b'a'), Heard::Octet(0xff));
        assert_eq!(heard(b"a\xff\xffa"), [a, ff, a]);
        assert_eq!(heard(b"a\xff\0\0a"), [a, Heard::Break, a]);
        assert_eq!(heard(b"a\xff\0xa"), [a, a]);
        assert_eq!(heard(b"\0a"), [Heard::Octet(0), a], "a zero that arrived sound");
        assert_eq!(heard(b"\xff\xff\xff\0\0\xff\xff"), [ff, Heard::Break, ff]);
    }
}
