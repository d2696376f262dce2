//! x86-64 CPUs with AVX2 and what came with it (Haswell, Zen, and later).
//! Intrinsics where the compiler's loops are slower: benches/README.md has the ratios.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::*;

use super::loops;
use super::scalar::{self, KEYS, LANES, STEP, STRIPE};
use super::{AHEAD_BYTES, Floats, Kernels};

/// Whether this CPU can run these.
pub fn detected() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// The table of these.
pub const KERNELS: Kernels = table!("avx2");

stamp! {
    "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt":
        finite_f32 finite_f16 finite_bf16 f32_to_bf16 bf16_to_f32 f64_to_f32 swap2
        swap4 swap8 norm scale sq6 sq4 varints_len
}

/// 32 bytes at any alignment.
#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is to 32 readable bytes, and the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_words(words: &[u64; LANES], half: usize) -> __m256i {
    load(
        bytemuck::cast_ref::<_, [[u8; 32]; 2]>(words)[half..]
            .first()
            .expect("two halves"),
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(bytes: &mut [u8; 32], words: __m256i) {
    // SAFETY: the reference is to 32 writable bytes, and the store asks for no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), words) }
}

#[target_feature(enable = "avx2")]
fn digest(kind: Floats, ids: &[i64], bytes: &[u8], row_bytes: usize) -> (u64, bool) {
    match kind {
        Floats::F32 => digest_by::<32>(0xff00_0000, ids, bytes, row_bytes),
        Floats::F16 => digest_by::<16>(0xf800_f800, ids, bytes, row_bytes),
        Floats::Bf16 => digest_by::<16>(0xff00_ff00, ids, bytes, row_bytes),
        Floats::None => digest_by::<0>(0, ids, bytes, row_bytes),
    }
}

/// If an element is not finite, it is at least `least` when doubled without its sign: the maximum is kept.
#[inline]
#[target_feature(enable = "avx2")]
fn digest_by<const WIDTH: u32>(
    least: u32,
    ids: &[i64],
    bytes: &[u8],
    row_bytes: usize,
) -> (u64, bool) {
    let mut total = 0u64;
    let mut largest = _mm256_setzero_si256();
    let step = _mm256_set1_epi64x(STEP as i64);
    for (row, id) in ids.iter().enumerate() {
        let row = &bytes[row * row_bytes..][..row_bytes];
        let (stripes, tail) = row.as_chunks::<STRIPE>();
        let mut last = [0u8; STRIPE];
        last[..tail.len()].copy_from_slice(tail);
        let last: &[[u8; STRIPE]] = if tail.is_empty() { &[] } else { &[last] };
        let mut sums = [_mm256_setzero_si256(); 2];
        let mut keys = [load_words(&KEYS, 0), load_words(&KEYS, 1)];
        for stripe in stripes.iter().chain(last) {
            let ahead = stripe.as_ptr().wrapping_add(AHEAD_BYTES);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            for (half, bytes) in stripe.as_chunks::<32>().0.iter().enumerate() {
                let words = load(bytes);
                let keyed = _mm256_xor_si256(words, keys[half]);
                let product = _mm256_mul_epu32(keyed, _mm256_srli_epi64::<32>(keyed));
                sums[half] = _mm256_add_epi64(sums[half], _mm256_add_epi64(product, words));
                keys[half] = _mm256_add_epi64(keys[half], step);
                if WIDTH == 32 {
                    largest = _mm256_max_epu32(largest, _mm256_add_epi32(words, words));
                } else if WIDTH == 16 {
                    largest = _mm256_max_epu16(largest, _mm256_add_epi16(words, words));
                }
            }
        }
        let mut lanes = [0u64; LANES];
        for (half, to) in bytemuck::cast_mut::<_, [[u8; 32]; 2]>(&mut lanes)
            .iter_mut()
            .enumerate()
        {
            store(to, sums[half]);
        }
        total = total.wrapping_add(scalar::finish(&lanes, *id, row_bytes));
    }
    let least = _mm256_set1_epi32(least as i32);
    let odd = match WIDTH {
        32 => _mm256_cmpeq_epi32(_mm256_max_epu32(largest, least), largest),
        16 => _mm256_cmpeq_epi16(_mm256_max_epu16(largest, least), largest),
        _ => _mm256_setzero_si256(),
    };
    (total, _mm256_testz_si256(odd, odd) == 1)
}

#[target_feature(enable = "avx2,f16c")]
pub fn f32_to_f16(source: &[u8], target: &mut [u8]) {
    let (from, from_tail) = source.as_chunks::<32>();
    let (to, to_tail) = target.as_chunks_mut::<16>();
    for (from, to) in from.iter().zip(to) {
        let floats = _mm256_castsi256_ps(load(from));
        let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(floats);
        // SAFETY: the reference is to 16 writable bytes, and the store asks for no alignment.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), halves) }
    }
    loops::f32_to_f16(from_tail, to_tail);
}

#[target_feature(enable = "avx2,f16c")]
pub fn f16_to_f32(source: &[u8], target: &mut [u8]) {
    let (from, from_tail) = source.as_chunks::<16>();
    let (to, to_tail) = target.as_chunks_mut::<32>();
    for (from, to) in from.iter().zip(to) {
        // SAFETY: the reference is to 16 readable bytes, and the load asks for no alignment.
        let halves = unsafe { _mm_loadu_si128(from.as_ptr().cast()) };
        let floats = _mm256_cvtph_ps(halves);
        let nans = _mm256_cmp_ps::<_CMP_UNORD_Q>(floats, floats);
        if _mm256_movemask_ps(nans) != 0 {
            // The instruction sets the quiet bit of signalling NaNs.
            loops::f16_to_f32(from, to);
            continue;
        }
        store(to, _mm256_castps_si256(floats));
    }
    loops::f16_to_f32(from_tail, to_tail);
}

/// `(code + 0.5) / LARGEST` without a division: a product, with a correction. Exact for every code, as the
/// tests show.
#[inline(always)]
pub fn unit<const LARGEST: u8>(code: f32) -> f32 {
    let (x, largest) = (code + 0.5, f32::from(LARGEST));
    let inverse = 1.0 / largest;
    let near = x * inverse;
    (-near).mul_add(largest, x).mul_add(inverse, near)
}

#[target_feature(enable = "avx2,fma")]
fn sq8(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
    let rows = codes.chunks_exact(minima.len());
    for (code, row) in rows.zip(target.chunks_exact_mut(minima.len())) {
        loops::units(code, minima, widths, row, unit::<255>);
    }
}

#[target_feature(enable = "bmi1,bmi2,lzcnt")]
fn varints(ids: &[i64], target: &mut [u8]) -> usize {
    loops::varints_by(ids, target, |x| _pdep_u64(x, 0x7f7f_7f7f_7f7f_7f7f))
}
