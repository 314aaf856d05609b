//! Keyed hashing of sources, so that nobody who reads the source can choose addresses that collide.
//!
//! SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; the 1-3 variant
//! is the one the Rust and Ruby standard libraries use for hash tables). `core` offers no stable
//! keyed hasher, and the input here is always three words, which needs no buffering.

use core::net::IpAddr;

/// Sixteen octets of boot randomness. Every table is keyed with it.
#[derive(Clone)]
pub struct HashKey {
    k0: u64,
    k1: u64,
}

impl core::fmt::Debug for HashKey {
    /// Does not print the key.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("HashKey")
    }
}

impl HashKey {
    /// A key from 16 random octets.
    pub const fn new(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self {
            k0: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            k1: u64::from_le_bytes([i, j, k, l, m, n, o, p]),
        }
    }

    /// Hash of a source together with a `label` that keeps the uses apart.
    pub fn source(&self, source: IpAddr, label: u64) -> u64 {
        let [high, low] = words(source);
        self.hash([high, low, label])
    }

    /// SipHash-1-3 of the 24 octets of three little-endian words.
    pub fn hash(&self, message: [u64; 3]) -> u64 {
        siphash::<1, 3>(self.k0, self.k1, message)
    }
}

/// SipHash-C-D of the 24 octets of three little-endian words. 1-3 keys tables; 2-4, the authors' own
/// choice, is for what must stay a pseudo-random function in the hands of an attacker.
pub(crate) fn siphash<const C: usize, const D: usize>(k0: u64, k1: u64, message: [u64; 3]) -> u64 {
    let mut state = State {
        v0: k0 ^ 0x736f_6d65_7073_6575,
        v1: k1 ^ 0x646f_7261_6e64_6f6d,
        v2: k0 ^ 0x6c79_6765_6e65_7261,
        v3: k1 ^ 0x7465_6462_7974_6573,
    };
    let [first, second, third] = message;
    state.absorb::<C>(first);
    state.absorb::<C>(second);
    state.absorb::<C>(third);
    // The last word carries the message length in its top octet.
    state.absorb::<C>(24 << 56);
    state.v2 ^= 0xff;
    state.rounds::<D>();
    state.v0 ^ state.v1 ^ state.v2 ^ state.v3
}

/// The address as two words; IPv4 takes the IPv4-mapped form (RFC 4291, section 2.5.5.2), which
/// no packet on the wire may carry, so that the families cannot meet.
fn words(source: IpAddr) -> [u64; 2] {
    let bits = match source {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    let low = bits as u64;
    let high = (bits >> 64) as u64;
    [high, low]
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline(always)]
    fn absorb<const C: usize>(&mut self, word: u64) {
        self.v3 ^= word;
        self.rounds::<C>();
        self.v0 ^= word;
    }

    /// `N` rounds, at most four. Not a loop: a size-optimised build keeps it, at a quarter more
    /// instructions a hash.
    #[inline(always)]
    fn rounds<const N: usize>(&mut self) {
        const { assert!(N >= 1 && N <= 4) };
        self.round();
        if N > 1 {
            self.round();
        }
        if N > 2 {
            self.round();
        }
        if N > 3 {
            self.round();
        }
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::Hasher;

    /// `DefaultHasher::new()` is documented to be SipHash-1-3 with an all-zero key in practice;
    /// it is an implementation by other hands.
    #[test]
    fn agrees_with_the_standard_library() {
        let ours = HashKey::new([0; 16]);
        for seed in 0..100_u64 {
            let message = [seed, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), !seed];
            let mut theirs = std::collections::hash_map::DefaultHasher::new();
            for word in message {
                theirs.write(&word.to_le_bytes());
            }
            assert_eq!(ours.hash(message), theirs.finish());
        }
    }

    #[test]
    fn key_label_and_family_matter() {
        let source = IpAddr::from([192, 0, 2, 1]);
        let key = HashKey::new([7; 16]);
        assert_ne!(key.source(source, 0), key.source(source, 1));
        assert_ne!(key.source(source, 0), HashKey::new([8; 16]).source(source, 0));
        let v6 = IpAddr::from([0, 0, 0, 0, 0, 0, 0xc000, 0x0201]);
        assert_ne!(key.source(source, 0), key.source(v6, 0));
    }
}
