//! The obviously correct version of each kernel: the reference for the others, and the fallback for CPUs without them.
//! Never clever: all others must give the same answer, to the last bit.

use half::{bf16, f16};

use super::{Floats, Kernels};

/// The table of these.
pub const KERNELS: Kernels = table!("scalar");

fn floats<const N: usize, T>(bytes: &[u8], from: fn([u8; N]) -> T) -> impl Iterator<Item = T> {
    bytes.as_chunks::<N>().0.iter().map(move |word| from(*word))
}

pub fn finite_f32(bytes: &[u8]) -> bool {
    floats(bytes, f32::from_le_bytes).all(f32::is_finite)
}

pub fn finite_f16(bytes: &[u8]) -> bool {
    floats(bytes, f16::from_le_bytes).all(f16::is_finite)
}

pub fn finite_bf16(bytes: &[u8]) -> bool {
    floats(bytes, bf16::from_le_bytes).all(bf16::is_finite)
}

/// Words of a stripe.
pub const LANES: usize = 8;
/// Bytes of a stripe.
pub const STRIPE: usize = 8 * LANES;
/// The difference between a stripe's keys and those of the previous stripe.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Keys of the first stripe.
pub const KEYS: [u64; LANES] = [
    0xbe4b_a423_396c_feb8,
    0x1cad_2172_1e1d_a84d,
    0x9168_17b7_ab65_8f5b,
    0x3c06_7c2b_9b54_fc1d,
    0xdb97_9083_e96d_d4de,
    0x1f67_b3b7_a4a4_4072,
    0x78e5_c0cc_4ee6_79cb,
    0x2172_ffcc_7dd0_5a82,
];

pub fn digest(kind: Floats, ids: &[i64], bytes: &[u8], row_bytes: usize) -> (u64, bool) {
    let finite = match kind {
        Floats::F32 => finite_f32(bytes),
        Floats::F16 => finite_f16(bytes),
        Floats::Bf16 => finite_bf16(bytes),
        Floats::None => true,
    };
    let rows = ids.iter().enumerate();
    let digests = rows.map(|(row, id)| row_digest(*id, &bytes[row * row_bytes..][..row_bytes]));
    (digests.fold(0, u64::wrapping_add), finite)
}

fn row_digest(id: i64, row: &[u8]) -> u64 {
    let mut sums = [0u64; LANES];
    for (number, stripe) in row.chunks(STRIPE).enumerate() {
        let mut bytes = [0u8; STRIPE];
        bytes[..stripe.len()].copy_from_slice(stripe);
        let words = bytes.as_chunks::<8>().0;
        for lane in 0..LANES {
            let key = KEYS[lane].wrapping_add(STEP.wrapping_mul(number as u64));
            let word = u64::from_le_bytes(words[lane]);
            let keyed = word ^ key;
            let product = (keyed & 0xffff_ffff) * (keyed >> 32);
            // The word itself is added too, so that a zero factor loses nothing.
            sums[lane] = sums[lane].wrapping_add(product).wrapping_add(word);
        }
    }
    finish(&sums, id, row.len())
}

/// Turns the sums over a row's stripes into its digest.
#[inline(always)]
pub fn finish(sums: &[u64; LANES], id: i64, row_bytes: usize) -> u64 {
    let start = (id as u64).wrapping_mul(STEP);
    let mut x = start.wrapping_add((row_bytes as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f));
    for pair in 0..LANES / 2 {
        let left = sums[2 * pair] ^ KEYS[2 * pair + 1];
        let right = sums[2 * pair + 1] ^ KEYS[2 * pair].rotate_left(11);
        let product = u128::from(left) * u128::from(right);
        x = x.wrapping_add(product as u64 ^ (product >> 64) as u64);
    }
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

fn convert<const N: usize, const M: usize>(
    source: &[u8],
    target: &mut [u8],
    one: impl Fn([u8; N]) -> [u8; M],
) {
    let source = source.as_chunks::<N>().0;
    for (from, to) in source.iter().zip(target.as_chunks_mut::<M>().0) {
        *to = one(*from);
    }
}

pub fn f32_to_f16(source: &[u8], target: &mut [u8]) {
    convert(source, target, |x| {
        f16::from_f32(f32::from_le_bytes(x)).to_le_bytes()
    });
}

pub fn f32_to_bf16(source: &[u8], target: &mut [u8]) {
    convert(source, target, |x| {
        bf16::from_f32(f32::from_le_bytes(x)).to_le_bytes()
    });
}

/// Processors and the `half` crate set the quiet bit of a signalling NaN; here a NaN keeps its bits.
pub fn f16_to_f32(source: &[u8], target: &mut [u8]) {
    convert(source, target, |x| {
        let half = f16::from_le_bytes(x);
        let float = if half.is_nan() {
            let bits = u32::from(half.to_bits());
            (bits & 0x8000) << 16 | 0x7f80_0000 | (bits & 0x03ff) << 13
        } else {
            half.to_f32().to_bits()
        };
        float.to_le_bytes()
    });
}

pub fn bf16_to_f32(source: &[u8], target: &mut [u8]) {
    convert(source, target, |[low, high]| [0, 0, low, high]);
}

pub fn f64_to_f32(source: &[u8], target: &mut [u8]) -> bool {
    convert(source, target, |x| {
        (f64::from_le_bytes(x) as f32).to_le_bytes()
    });
    let before = floats(source, f64::from_le_bytes);
    let after = floats(target, f32::from_le_bytes);
    before
        .zip(after)
        .all(|(x, y)| !x.is_finite() || y.is_finite())
}

fn swap<const N: usize>(bytes: &mut [u8]) {
    for word in bytes.as_chunks_mut::<N>().0 {
        word.reverse();
    }
}

pub fn swap2(bytes: &mut [u8]) {
    swap::<2>(bytes);
}

pub fn swap4(bytes: &mut [u8]) {
    swap::<4>(bytes);
}

pub fn swap8(bytes: &mut [u8]) {
    swap::<8>(bytes);
}

/// Separate sums of squares, so that every CPU adds in the same order.
pub const SUMS: usize = 16;

pub fn norm(row: &[u8]) -> f64 {
    let mut sums = [0f64; SUMS];
    for (i, x) in floats(row, f32::from_le_bytes).enumerate() {
        sums[i % SUMS] += f64::from(x) * f64::from(x);
    }
    length(sums)
}

/// Turns sums of squares into a length.
#[inline(always)]
pub fn length(mut sums: [f64; SUMS]) -> f64 {
    let mut half = SUMS / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0].sqrt()
}

pub fn scale(bytes: &mut [u8], factor: f64) {
    for word in bytes.as_chunks_mut::<4>().0 {
        let x = f64::from(f32::from_le_bytes(*word));
        *word = ((x * factor) as f32).to_le_bytes();
    }
}

pub fn sq8(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
    unquantize(8, codes, minima, widths, target);
}

pub fn sq6(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
    unquantize(6, codes, minima, widths, target);
}

pub fn sq4(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
    unquantize(4, codes, minima, widths, target);
}

/// Faiss's Codec8bit, Codec6bit and Codec4bit (impl/scalar_quantizer/codecs.h): the fields of a row follow each other,
/// starting with the lowest bit of its first byte.
fn unquantize(bits: usize, codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
    let dimension = minima.len();
    let largest = ((1 << bits) - 1) as f32;
    let rows = codes.chunks_exact((dimension * bits).div_ceil(8));
    for (code, row) in rows.zip(target.chunks_exact_mut(dimension)) {
        for (i, x) in row.iter_mut().enumerate() {
            let field = (0..bits).map(|bit| {
                let at = i * bits + bit;
                u32::from(code[at / 8] >> (at % 8) & 1) << bit
            });
            let unit = (field.sum::<u32>() as f32 + 0.5) / largest;
            *x = minima[i] + unit * widths[i];
        }
    }
}

pub fn varints_len(ids: &[i64]) -> usize {
    let bits = ids.iter().map(|id| 64 - (*id as u64 | 1).leading_zeros());
    bits.map(|bits| bits.div_ceil(7) as usize).sum()
}

pub fn varints(ids: &[i64], target: &mut [u8]) -> usize {
    let mut at = 0;
    for id in ids {
        let mut value = *id as u64;
        while value >= 0x80 {
            target[at] = value as u8 | 0x80;
            value >>= 7;
            at += 1;
        }
        target[at] = value as u8;
        at += 1;
    }
    at
}
