//! The baseline for other measurements: a plain sum.

/// The least one can do with all the bytes: their sum as floats, in 32 accumulators.
#[inline(always)]
fn sum_loop(bytes: &[u8]) -> f32 {
    let mut sums = [0f32; 32];
    for block in bytes.as_chunks::<128>().0 {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<4>().0) {
            *sum += f32::from_le_bytes(*word);
        }
    }
    sums.iter().sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(bytes: &[u8]) -> f32 {
    sum_loop(bytes)
}

/// Their sum.
pub fn sum(bytes: &[u8]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: avx2 was detected on the line above.
        return unsafe { sum_avx2(bytes) };
    }
    sum_loop(bytes)
}
