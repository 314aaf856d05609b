//! The hash tree of dm-verity (kernel documentation, `admin-guide/device-mapper/verity.rst`),
//! format 1, without superblock: what the kernel needs is in its table.

use sha2::{Digest, Sha256};

/// Octets of a block, of data as of hashes.
pub const BLOCK_BYTES: usize = 4096;

/// Hashes in a block.
const HASHES: usize = BLOCK_BYTES / 32;

/// A file system with its tree behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// Data, filled up to whole blocks, then the tree.
    pub content: Vec<u8>,
    /// Blocks of data.
    pub blocks: usize,
    /// What everything hangs on, in hexadecimal.
    pub root_hash: String,
    /// Salt, in hexadecimal.
    pub salt: String,
}

/// Adds a tree to `data`. The salt keeps trees of different products apart; it is no secret.
pub fn verified(mut data: Vec<u8>, salt: &[u8; 32]) -> Verified {
    let blocks = data.len().div_ceil(BLOCK_BYTES);
    data.resize(blocks * BLOCK_BYTES, 0);
    // The tree is computed from its leaves up and stored from its root down.
    let mut levels = vec![level(&data, salt)];
    while levels.last().is_some_and(|last| last.len() > BLOCK_BYTES) {
        let above = level(levels.last().map_or(&[], Vec::as_slice), salt);
        levels.push(above);
    }
    let root = hash(levels.last().map_or(&[], Vec::as_slice), salt);
    for level in levels.iter().rev() {
        data.extend(level);
    }
    Verified { content: data, blocks, root_hash: hex(&root), salt: hex(salt) }
}

/// The hashes of the blocks of `below`, filled up to whole blocks.
fn level(below: &[u8], salt: &[u8; 32]) -> Vec<u8> {
    let mut hashes: Vec<u8> = below.chunks(BLOCK_BYTES).flat_map(|block| hash(block, salt)).collect();
    let blocks = hashes.len().div_ceil(HASHES * 32);
    hashes.resize(blocks * BLOCK_BYTES, 0);
    hashes
}

fn hash(block: &[u8], salt: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(block).finalize().into()
}

/// `octets` in hexadecimal.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_hangs_on_one_hash() {
        let verified = verified(vec![7; 100], &[1; 32]);
        assert_eq!((verified.blocks, verified.content.len()), (1, 2 * BLOCK_BYTES));
        let mut block = vec![7; 100];
        block.resize(BLOCK_BYTES, 0);
        assert_eq!(verified.content[BLOCK_BYTES..BLOCK_BYTES + 32], hash(&block, &[1; 32]));
        assert_eq!(verified.root_hash, hex(&hash(&verified.content[BLOCK_BYTES..], &[1; 32])));
    }

    #[test]
    fn levels_are_stored_from_the_root_down() {
        // 129 blocks: two blocks of hashes, and one above them.
        let verified = verified(vec![3; 129 * BLOCK_BYTES], &[0; 32]);
        assert_eq!(verified.content.len(), (129 + 1 + 2) * BLOCK_BYTES);
        let top = &verified.content[129 * BLOCK_BYTES..130 * BLOCK_BYTES];
        let leaves = &verified.content[130 * BLOCK_BYTES..];
        assert_eq!(top[..32], hash(&leaves[..BLOCK_BYTES], &[0; 32]));
        assert_eq!(verified.root_hash, hex(&hash(top, &[0; 32])));
    }

    #[test]
    fn every_octet_counts() {
        let root = |data: Vec<u8>| verified(data, &[0; 32]).root_hash;
        let mut changed = vec![0; 10 * BLOCK_BYTES];
        changed[9 * BLOCK_BYTES + 5] = 1;
        assert_ne!(root(vec![0; 10 * BLOCK_BYTES]), root(changed));
    }
}
