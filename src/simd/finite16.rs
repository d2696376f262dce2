//! Whether two-byte floats are finite.

/// Whether no little-endian half-precision float in `bytes` is NaN or infinite.
pub fn finite_f16(bytes: &[u8]) -> bool {
    finite::<0x7c00>(bytes)
}

/// Whether no little-endian bfloat16 in `bytes` is NaN or infinite.
pub fn finite_bf16(bytes: &[u8]) -> bool {
    finite::<0x7f80>(bytes)
}

fn finite<const EXPONENT: u16>(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|block| {
        let words = block.chunks_exact(2);
        let odd = words.map(|w| {
            let word = u16::from_le_bytes(w.try_into().expect("chunks_exact(2)"));
            u16::from(word & EXPONENT == EXPONENT)
        });
        odd.fold(0, |a, b| a | b) == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_byte_float_is_judged_as_half_judges_it() {
        for bits in 0..=u16::MAX {
            let bytes = bits.to_le_bytes();
            assert_eq!(finite_f16(&bytes), half::f16::from_bits(bits).is_finite());
            assert_eq!(finite_bf16(&bytes), half::bf16::from_bits(bits).is_finite());
        }
    }
}
