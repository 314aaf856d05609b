//! Base64 as the stock client writes it: standard alphabet (RFC 4648, section 4), never padded.
//!
//! Octets have one text here: a lone character at the end and bits that no octet uses are refused, so
//! that nobody can write a packet another way (RFC 4648, section 3.5).

/// What a character stands for.
pub(super) const fn value(character: u8) -> Option<u8> {
    Some(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// Characters of `octets` octets.
pub(super) const fn characters(octets: usize) -> usize {
    (octets * 4).div_ceil(3)
}

/// Octets of a text of this length that ends in `last`; `None` when no octets have such a text.
pub(super) fn octets(characters: usize, last: u8) -> Option<usize> {
    let unused = match characters % 4 {
        0 => 0,
        2 => 0b1111,
        3 => 0b11,
        _ => return None,
    };
    let canonical = value(last)? & unused == 0;
    canonical.then_some(characters * 3 / 4)
}

/// Writes the octets of `text` to the front of `into` and tells how many there are. `None` when it is
/// no canonical text, or a longer one than fits.
pub(super) fn decode<'a>(text: impl IntoIterator<Item = &'a u8>, into: &mut [u8]) -> Option<usize> {
    let mut places = into.iter_mut();
    let (mut held, mut bits, mut count) = (0_u16, 0_u32, 0);
    for &character in text {
        held = held << 6 | u16::from(value(character)?);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let [_, octet] = (held >> bits).to_be_bytes();
            *places.next()? = octet;
            held &= (1 << bits) - 1;
            count += 1;
        }
    }
    (bits < 6 && held == 0).then_some(count)
}

/// The text of `octets`.
pub(super) fn encode(octets: &[u8]) -> impl Iterator<Item = u8> {
    octets.chunks(3).flat_map(|chunk| {
        let mut parts = chunk.iter().copied();
        let mut next = || u32::from(parts.next().unwrap_or(0));
        let group = next() << 16 | next() << 8 | next();
        [18, 12, 6, 0].into_iter().take(chunk.len() + 1).map(move |shift| character(group >> shift & 63))
    })
}

fn character(value: u32) -> u8 {
    let [value, ..] = value.to_le_bytes();
    match value {
        0..=25 => b'A' + value,
        26..=51 => b'a' + (value - 26),
        52..=61 => b'0' + (value - 52),
        62 => b'+',
        _ => b'/',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn there_and_back_at_every_length() {
        let all: Vec<u8> = (0..=255).chain(0..50).collect();
        for length in 0..all.len() {
            let octets = &all[all.len() - length..];
            let text: Vec<u8> = encode(octets).collect();
            assert_eq!(text.len(), characters(length));
            let mut back = [0; 310];
            assert_eq!(decode(&text, &mut back), Some(length));
            assert_eq!(&back[..length], octets);
            if let Some(&last) = text.last() {
                assert_eq!(super::octets(text.len(), last), Some(length));
            }
        }
    }

    /// RFC 4648, section 10, without the padding.
    #[test]
    fn vectors() {
        for (octets, text) in
            [("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(octets.as_bytes()).collect::<Vec<_>>(), text.as_bytes());
        }
    }

    #[test]
    fn octets_have_one_text() {
        let decoded = |text: &str| decode(text.as_bytes(), &mut [0; 8]);
        assert_eq!(decoded("Zg"), Some(1));
        for other in ["Zh", "Zg=", "Zg==", "Z", "Zm9vY", "Zm9", "Z g", "Zg\n", "Zm-v", "Zm_v"] {
            assert_eq!(decoded(other), None, "{other}");
        }
        assert_eq!(decode(b"Zm9v", &mut [0; 2]), None, "longer than fits");
        assert_eq!(octets(2, b'h'), None);
        assert_eq!(octets(5, b'A'), None);
    }
}
