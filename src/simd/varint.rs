//! Packed varint ids: 8 bytes become 1 to 10, seven bits to a byte, the lowest first.
//!
//! Seven-bit groups are spread over a word by three shifts, and a whole word is written at a time: the next id
//! overwrites what the last one wrote too much.

/// How many bytes these ids take as varints.
pub fn varints_len(ids: &[i64]) -> usize {
    ids.iter().map(|id| len(*id as u64)).sum()
}

/// Appends ids as varints.
pub fn varints(ids: &[i64], out: &mut Vec<u8>) {
    const SLACK: usize = 10;
    let mut at = out.len();
    let end = at + varints_len(ids);
    out.resize(end + SLACK, 0);
    for id in ids {
        let value = *id as u64;
        let len = len(value);
        let more = 0x8080_8080_8080_8080u64;
        if len <= 8 {
            // Continuation bits on all bytes but the last.
            let word = spread(value) | more & !(u64::MAX << (8 * (len - 1)));
            out[at..at + 8].copy_from_slice(&word.to_le_bytes());
        } else {
            let word = spread(value & ((1 << 56) - 1)) | more;
            let high = (value >> 56) as u8;
            let tail = if len == 9 {
                [high, 0]
            } else {
                [high | 0x80, high >> 7]
            };
            out[at..at + 8].copy_from_slice(&word.to_le_bytes());
            out[at + 8..at + 10].copy_from_slice(&tail);
        }
        at += len;
    }
    out.truncate(end);
}

#[inline]
fn len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// 56 bits, seven to a byte.
#[inline]
fn spread(value: u64) -> u64 {
    let x = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
    let x = x & 0x0000_3fff_0000_3fff | (x & 0x0fff_c000_0fff_c000) << 2;
    x & 0x007f_007f_007f_007f | (x & 0x3f80_3f80_3f80_3f80) << 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The obviously right version.
    fn oracle(ids: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        for id in ids {
            let mut value = *id as u64;
            while value >= 0x80 {
                out.push(value as u8 | 0x80);
                value >>= 7;
            }
            out.push(value as u8);
        }
        out
    }

    fn check(ids: &[i64]) {
        let mut out = vec![9];
        varints(ids, &mut out);
        let expected = oracle(ids);
        assert_eq!(out[1..], expected, "{ids:?}");
        assert_eq!(out[0], 9);
        assert_eq!(varints_len(ids), expected.len());
    }

    #[test]
    fn every_length_and_its_edges() {
        check(&[]);
        check(&[-1, i64::MIN, i64::MAX, 0]);
        for bits in 0..64 {
            let edge = 1u64 << bits;
            check(&[edge as i64, (edge - 1) as i64, (edge | 1) as i64]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_fast_version_writes_what_the_plain_one_does(
            ids in proptest::collection::vec((any::<i64>(), 0u32..64).prop_map(|(v, s)| v >> s), 0..200),
        ) {
            check(&ids);
        }
    }
}
