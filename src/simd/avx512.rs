//! x86-64 CPUs with AVX-512 as of Ice Lake and Zen 4; those with less of it run AVX2.
//! Intrinsics where the compiler's loops are slower: benches/README.md has the ratios.

use std::arch::is_x86_feature_detected;
use std::arch::x86_64::*;

// At least as fast here as with 512 bits.
use super::avx2::{bf16_to_f32, f16_to_f32, f32_to_f16, unit};
use super::scalar::{self, KEYS, LANES, STEP, STRIPE};
use super::{AHEAD_BYTES, Floats, Kernels, loops};

/// Whether this CPU can run these; checked only if it has AVX2.
pub fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512vbmi")
        && is_x86_feature_detected!("avx512vbmi2")
}

/// The table of these.
pub const KERNELS: Kernels = table!("avx512");

stamp! {
    "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx512vbmi,avx512vbmi2,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt":
        finite_f32 finite_f16 finite_bf16 f32_to_bf16 f64_to_f32 swap2
        swap4 swap8 norm scale sq6 sq4 varints_len
}

/// 64 bytes at any alignment.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes, and the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Fewer than 64 bytes, padded with zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_some(bytes: &[u8]) -> __m512i {
    let some = (1u64 << bytes.len()) - 1;
    // SAFETY: only the bytes in the mask are read, and the slice has those.
    unsafe { _mm512_maskz_loadu_epi8(some, bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(bytes: &mut [u8; 64], words: __m512i) {
    // SAFETY: the reference is to 64 writable bytes, and the store asks for no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), words) }
}

#[target_feature(enable = "avx512f,avx512bw")]
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
#[target_feature(enable = "avx512f,avx512bw")]
fn digest_by<const WIDTH: u32>(
    least: u32,
    ids: &[i64],
    bytes: &[u8],
    row_bytes: usize,
) -> (u64, bool) {
    let mut total = 0u64;
    let mut largest = _mm512_setzero_si512();
    let step = _mm512_set1_epi64(STEP as i64);
    let first_keys = load(bytemuck::cast_ref(&KEYS));
    for (row, id) in ids.iter().enumerate() {
        let row = &bytes[row * row_bytes..][..row_bytes];
        let (stripes, tail) = row.as_chunks::<STRIPE>();
        let mut sums = _mm512_setzero_si512();
        let mut keys = first_keys;
        for stripe in stripes {
            let ahead = stripe.as_ptr().wrapping_add(AHEAD_BYTES);
            _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
            let words = load(stripe);
            sums = mix(sums, words, keys);
            keys = _mm512_add_epi64(keys, step);
            largest = larger::<WIDTH>(largest, words);
        }
        if !tail.is_empty() {
            let words = load_some(tail);
            sums = mix(sums, words, keys);
            largest = larger::<WIDTH>(largest, words);
        }
        let mut lanes = [0u64; LANES];
        store(bytemuck::cast_mut(&mut lanes), sums);
        total = total.wrapping_add(scalar::finish(&lanes, *id, row_bytes));
    }
    let least = _mm512_set1_epi32(least as i32);
    let odd = match WIDTH {
        32 => u32::from(_mm512_cmpge_epu32_mask(largest, least)),
        16 => _mm512_cmpge_epu16_mask(largest, least),
        _ => 0,
    };
    (total, odd == 0)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn mix(sums: __m512i, words: __m512i, keys: __m512i) -> __m512i {
    let keyed = _mm512_xor_si512(words, keys);
    let product = _mm512_mul_epu32(keyed, _mm512_srli_epi64::<32>(keyed));
    _mm512_add_epi64(sums, _mm512_add_epi64(product, words))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn larger<const WIDTH: u32>(largest: __m512i, words: __m512i) -> __m512i {
    match WIDTH {
        32 => _mm512_max_epu32(largest, _mm512_add_epi32(words, words)),
        16 => _mm512_max_epu16(largest, _mm512_add_epi16(words, words)),
        _ => largest,
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,fma")]
fn sq8(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
    let rows = codes.chunks_exact(minima.len());
    for (code, row) in rows.zip(target.chunks_exact_mut(minima.len())) {
        loops::units(code, minima, widths, row, unit::<255>);
    }
}

/// Eight ids at a time: spread to bytes, marked, and compressed to the bytes that are needed.
#[target_feature(
    enable = "avx512f,avx512bw,avx512dq,avx512cd,avx512vbmi,avx512vbmi2,bmi1,bmi2,lzcnt,popcnt"
)]
fn varints(ids: &[i64], target: &mut [u8]) -> usize {
    const MORE: i64 = 0x8080_8080_8080_8080u64 as i64;
    let spread = |x| _pdep_u64(x, 0x7f7f_7f7f_7f7f_7f7f);
    let (eights, tail) = ids.as_chunks::<8>();
    let shifts = _mm512_set1_epi64(i64::from_le_bytes([0, 7, 14, 21, 28, 35, 42, 49]));
    let mut at = 0;
    for eight in eights {
        let values = load(bytemuck::cast_ref(eight));
        if _mm512_test_epi64_mask(values, _mm512_set1_epi64(i64::MAX << 56)) != 0 {
            at += loops::varints_by(eight, &mut target[at..], spread);
            continue;
        }
        let groups = _mm512_and_si512(
            _mm512_multishift_epi64_epi8(shifts, values),
            _mm512_set1_epi64(!MORE),
        );
        // All bytes up to the last that is not zero; the lowest always.
        let zeros = _mm512_lzcnt_epi64(_mm512_or_si512(groups, _mm512_set1_epi64(1)));
        let whole = _mm512_andnot_si512(_mm512_set1_epi64(7), zeros);
        let kept = _mm512_srlv_epi64(_mm512_set1_epi64(-1), whole);
        let more = _mm512_and_si512(_mm512_srli_epi64::<8>(kept), _mm512_set1_epi64(MORE));
        let mask = _mm512_movepi8_mask(kept);
        let packed = _mm512_maskz_compress_epi8(mask, _mm512_or_si512(groups, more));
        store(
            target[at..].first_chunk_mut().expect("64 bytes of slack"),
            packed,
        );
        at += mask.count_ones() as usize;
    }
    at + loops::varints_by(tail, &mut target[at..], spread)
}
