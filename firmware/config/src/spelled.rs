//! Octets that people read aloud and type: break-glass challenges and tokens.
//!
//! Five characters are a group: twenty bits in Crockford's base 32 (no I, L, O, U; capital or small),
//! and a check character. It is a CRC-5 (USB's, x^5 + x^2 + 1) over the number of the group and its bits: any wrong
//! character, and nearly any swapped ones or groups, is found, and the group that is wrong can be
//! named.
//!
//! ```text
//! challenge  device id 16 | nonce 16      13 groups
//! token      Ed25519 signature 64         26 groups
//! ```
//!
//! Bits that are left over in the last group are zero. When read, dashes and blanks mean nothing.

use core::fmt;

const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Bits in a group.
const GROUP_BITS: usize = 20;

/// Characters that carry them.
const GROUP_DIGITS: usize = 4;

/// Groups in a line of an 80-column terminal.
const LINE_GROUPS: usize = 8;

/// Octets of a challenge.
pub const CHALLENGE_BYTES: usize = 32;

/// Why a text is not what was spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpelledError {
    /// This group, counted from 1, has a wrong character or stands in the wrong place.
    Group(usize),
    /// Too few characters.
    TooShort,
    /// Something stands behind the last group.
    TooLong,
}

impl fmt::Display for SpelledError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpelledError::Group(group) => write!(f, "group {group} is wrong"),
            SpelledError::TooShort => f.write_str("something is missing at the end"),
            SpelledError::TooLong => f.write_str("something stands behind the last group"),
        }
    }
}

/// Groups that `octets` octets take.
pub const fn groups(octets: usize) -> usize {
    (octets * 8).div_ceil(GROUP_BITS)
}

/// Writes octets in groups, eight to a line.
#[derive(Clone, Copy, Debug)]
pub struct Spelled<'o>(pub &'o [u8]);

impl fmt::Display for Spelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for group in 0..groups(self.0.len()) {
            if group > 0 {
                f.write_char(if group % LINE_GROUPS == 0 { '\n' } else { ' ' })?;
            }
            let bits = (0..GROUP_BITS).fold(0, |bits, at| bits << 1 | bit(self.0, group * GROUP_BITS + at));
            for place in (0..GROUP_DIGITS).rev() {
                f.write_char(digit(bits >> (5 * place)))?;
            }
            f.write_char(digit(check(group, bits)))?;
        }
        Ok(())
    }
}

/// Reads as many octets as `octets` has room for.
///
/// # Errors
/// [`SpelledError`]; what is in `octets` then means nothing.
pub fn read(text: &str, octets: &mut [u8]) -> Result<(), SpelledError> {
    octets.fill(0);
    let mut letters = text.bytes().filter(|letter| !matches!(letter, b'-' | b' ' | b'\t' | b'\r' | b'\n'));
    let bits_all = octets.len() * 8;
    for group in 0..groups(octets.len()) {
        let wrong = SpelledError::Group(group + 1);
        let mut bits = 0;
        for _ in 0..GROUP_DIGITS {
            let letter = letters.next().ok_or(SpelledError::TooShort)?;
            bits = bits << 5 | value(letter).ok_or(wrong)?;
        }
        let given = value(letters.next().ok_or(SpelledError::TooShort)?).ok_or(wrong)?;
        if given != check(group, bits) {
            return Err(wrong);
        }
        for at in 0..GROUP_BITS {
            let set = bits >> (GROUP_BITS - 1 - at) & 1 != 0;
            let position = group * GROUP_BITS + at;
            if set && position >= bits_all {
                return Err(wrong);
            }
            if let Some(octet) = octets.get_mut(position / 8).filter(|_| set) {
                *octet |= 0x80 >> (position % 8);
            }
        }
    }
    if letters.next().is_some() { Err(SpelledError::TooLong) } else { Ok(()) }
}

fn bit(octets: &[u8], position: usize) -> u32 {
    octets.get(position / 8).map_or(0, |octet| u32::from(octet >> (7 - position % 8) & 1))
}

fn digit(bits: u32) -> char {
    usize::try_from(bits & 31)
        .ok()
        .and_then(|index| DIGITS.get(index))
        .map_or('?', |&digit| char::from(digit))
}

fn value(letter: u8) -> Option<u32> {
    let letter = match letter.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    let position = DIGITS.iter().position(|&digit| digit == letter)?;
    u32::try_from(position).ok()
}

/// CRC-5 over eight bits of the group's number and its twenty bits.
fn check(group: usize, bits: u32) -> u32 {
    let number = u32::try_from(group & 0xff).unwrap_or(0);
    let message = number << GROUP_BITS | bits;
    let mut crc = 0b1_1111;
    for at in (0..GROUP_BITS + 8).rev() {
        let feedback = (crc >> 4 ^ message >> at) & 1;
        crc = (crc << 1) & 0b1_1111;
        if feedback != 0 {
            crc ^= 0b0_0101;
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};
    use std::vec::Vec;

    fn sample<const N: usize>() -> [u8; N] {
        core::array::from_fn(|at| (at * 37 + 11).to_le_bytes()[0])
    }

    #[test]
    fn golden_and_back() {
        let text = Spelled(&[0; 5]).to_string();
        assert_eq!(groups(5), 2);
        let mut octets = [9; 5];
        assert_eq!(read(&text, &mut octets), Ok(()));
        assert_eq!(octets, [0; 5]);
        for text in
            [Spelled(&sample::<32>()).to_string(), Spelled(&sample::<32>()).to_string().to_lowercase()]
        {
            let mut octets = [0; 32];
            assert_eq!(read(&text.replace(' ', "-"), &mut octets), Ok(()));
            assert_eq!(octets, sample::<32>());
        }
        let token = Spelled(&sample::<64>()).to_string();
        assert_eq!(token.split_whitespace().count(), 26);
        assert!(token.lines().all(|line| line.len() < 60));
        let mut octets = [0; 64];
        assert_eq!(read(&token, &mut octets), Ok(()));
        assert_eq!(octets, sample::<64>());
    }

    #[test]
    fn every_wrong_character_names_its_group() {
        let text: Vec<u8> =
            Spelled(&sample::<64>()).to_string().bytes().filter(|&letter| letter > b' ').collect();
        for at in 0..text.len() {
            for &digit in DIGITS.iter().filter(|&&digit| digit != text[at]) {
                let mut wrong = text.clone();
                wrong[at] = digit;
                let wrong = String::from_utf8(wrong).unwrap();
                assert_eq!(read(&wrong, &mut [0; 64]), Err(SpelledError::Group(at / 5 + 1)), "{at}");
            }
        }
    }

    #[test]
    fn swapped_groups_and_wrong_lengths_are_found() {
        let text = Spelled(&sample::<32>()).to_string();
        let mut groups: Vec<&str> = text.split_whitespace().collect();
        groups.swap(3, 7);
        assert_eq!(read(&groups.join(" "), &mut [0; 32]), Err(SpelledError::Group(4)));
        assert_eq!(read(&text[..text.len() - 1], &mut [0; 32]), Err(SpelledError::TooShort));
        assert_eq!(read(&(text.clone() + "0"), &mut [0; 32]), Err(SpelledError::TooLong));
        assert_eq!(read(&text.replacen(&text[..1], "U", 1), &mut [0; 32]), Err(SpelledError::Group(1)));
    }
}
