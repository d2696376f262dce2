//! What are names and rows known by? Digests that never change: checkpoints, file names and partitions hold them.

use crate::simd;

/// The digest of a name. Frozen: partitions and files are called by it.
pub fn name(name: &[u8]) -> u64 {
    chained(0, name)
}

/// The digest of a name that follows others whose digest this is.
pub fn chained(before: u64, name: &[u8]) -> u64 {
    simd::row_digest(before as i64, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_digests() {
        assert_eq!(name(b""), 0x4f86_164b_d312_d4e3);
        assert_eq!(name(b"products/2026"), 0x5d5e_cab1_bad7_3cbe);
        assert_eq!(chained(7, b"segment 1"), 0xd8ae_149d_115a_cd88);
    }
}
