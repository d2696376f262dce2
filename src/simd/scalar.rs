//! The obviously right version of each kernel, written so that the compiler can vectorise it.

/// Whether no little-endian f32 in `bytes` is NaN or infinite. `bytes.len()` is a multiple of 4; any alignment.
pub fn finite_f32(bytes: &[u8]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // Blocks, so that the inner loop has no branch and the whole stops early.
    bytes.chunks(4096).all(|block| {
        let words = block.chunks_exact(4);
        let odd = words.map(|w| {
            let word = u32::from_le_bytes(w.try_into().expect("chunks_exact(4)"));
            u32::from(word & EXPONENT == EXPONENT)
        });
        odd.fold(0, |a, b| a | b) == 0
    })
}

const LANES: usize = 4;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const KEYS: [u64; LANES] = [
    0xbe4b_a423_396c_feb8,
    0x1cad_2172_1e1d_a84d,
    0x9168_17b7_ab65_8f5b,
    0x3c06_7c2b_9b54_fc1d,
];

/// A 64-bit digest of one row: its id and its vector's bytes. Sums of digests do not depend on the order of
/// rows, so that what was read can be compared with what arrived. Not cryptographic.
///
/// Each 32-byte stripe is multiplied, 32 × 32 → 64 bits, with keys that depend on the stripe's number.
pub fn row_digest(id: i64, vector: &[u8]) -> u64 {
    let mut sums = [0u64; LANES];
    let mut shift = 0u64;
    let stripes = vector.chunks_exact(8 * LANES);
    let tail = stripes.remainder();
    for stripe in stripes {
        mix(&mut sums, stripe, shift);
        shift = shift.wrapping_add(GOLDEN);
    }
    if !tail.is_empty() {
        let mut last = [0u8; 8 * LANES];
        last[..tail.len()].copy_from_slice(tail);
        mix(&mut sums, &last, shift);
    }
    let mut digest = avalanche((id as u64).wrapping_mul(GOLDEN) ^ vector.len() as u64);
    for (sum, key) in sums.iter().zip(KEYS) {
        digest = avalanche(digest ^ sum.wrapping_add(key));
    }
    digest
}

#[inline(always)]
fn mix(sums: &mut [u64; LANES], stripe: &[u8], shift: u64) {
    for (lane, word) in stripe.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().expect("chunks_exact(8)"));
        let keyed = word ^ KEYS[lane].wrapping_add(shift);
        // The word itself is added too, so that a zero factor loses nothing.
        let product = (keyed & 0xffff_ffff).wrapping_mul(keyed >> 32);
        sums[lane] = sums[lane]
            .wrapping_add(product)
            .wrapping_add(word.rotate_left(17));
    }
}

#[inline]
fn avalanche(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_odd_float_anywhere_is_found() {
        for len in [1usize, 3, 16, 1024, 1025, 5000] {
            let values = vec![1.5f32; len];
            let mut bytes: Vec<u8> = vec![0];
            bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            assert!(finite_f32(&bytes[1..]));
            for at in [0, len / 2, len - 1] {
                for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut bytes = bytes.clone();
                    bytes[1 + at * 4..5 + at * 4].copy_from_slice(&odd.to_le_bytes());
                    assert!(!finite_f32(&bytes[1..]), "{odd} at {at} of {len}");
                }
            }
        }
        assert!(finite_f32(&f32::MAX.to_le_bytes()));
        assert!(finite_f32(&[]));
    }

    #[test]
    fn a_digest_tells_ids_bytes_places_and_lengths_apart() {
        let row: Vec<u8> = (0..100).collect();
        let digest = row_digest(7, &row);
        assert_eq!(digest, row_digest(7, &row.clone()));
        assert_ne!(digest, row_digest(8, &row));
        for at in 0..row.len() {
            let mut other = row.clone();
            other[at] ^= 1;
            assert_ne!(digest, row_digest(7, &other), "byte {at}");
        }
        let mut swapped = row.clone();
        swapped.rotate_left(32);
        assert_ne!(digest, row_digest(7, &swapped));
        assert_ne!(row_digest(7, &[0; 8]), row_digest(7, &[0; 9]));
    }
}
