//! Loops that the compiler turns into vector code: each is compiled with the features of every instruction set.
//! Plain code without intrinsics; if the compiler does badly, the instruction set's own file has its version.

use super::Floats;
use super::scalar::{self, KEYS, LANES, STEP, STRIPE, SUMS};

/// Bytes of a block: the inner loop has no branch, and the whole stops early.
const BLOCK: usize = 4096;

#[inline(always)]
pub fn finite_f32(bytes: &[u8]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    bytes.chunks(BLOCK).all(|block| {
        let words = block.as_chunks::<4>().0.iter();
        let odd = words.map(|w| u32::from(u32::from_le_bytes(*w) & EXPONENT == EXPONENT));
        odd.fold(0, |a, b| a | b) == 0
    })
}

#[inline(always)]
pub fn finite_f16(bytes: &[u8]) -> bool {
    finite_16::<0x7c00>(bytes)
}

#[inline(always)]
pub fn finite_bf16(bytes: &[u8]) -> bool {
    finite_16::<0x7f80>(bytes)
}

#[inline(always)]
fn finite_16<const EXPONENT: u16>(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK).all(|block| {
        let words = block.as_chunks::<2>().0.iter();
        let odd = words.map(|w| u16::from(u16::from_le_bytes(*w) & EXPONENT == EXPONENT));
        odd.fold(0, |a, b| a | b) == 0
    })
}

#[inline(always)]
pub fn digest(kind: Floats, ids: &[i64], bytes: &[u8], row_bytes: usize) -> (u64, bool) {
    let (mut total, mut finite) = (0u64, true);
    for (row, id) in ids.iter().enumerate() {
        let row = &bytes[row * row_bytes..][..row_bytes];
        // The row is in the cache for the second pass.
        finite &= match kind {
            Floats::F32 => finite_f32(row),
            Floats::F16 => finite_f16(row),
            Floats::Bf16 => finite_bf16(row),
            Floats::None => true,
        };
        let (mut sums, mut keys) = ([0u64; LANES], KEYS);
        let (stripes, tail) = row.as_chunks::<STRIPE>();
        for stripe in stripes {
            mix(&mut sums, stripe, &mut keys);
        }
        if !tail.is_empty() {
            let mut last = [0u8; STRIPE];
            last[..tail.len()].copy_from_slice(tail);
            mix(&mut sums, &last, &mut keys);
        }
        total = total.wrapping_add(scalar::finish(&sums, *id, row_bytes));
    }
    (total, finite)
}

#[inline(always)]
fn mix(sums: &mut [u64; LANES], stripe: &[u8; STRIPE], keys: &mut [u64; LANES]) {
    let words = stripe.as_chunks::<8>().0;
    for lane in 0..LANES {
        let word = u64::from_le_bytes(words[lane]);
        let keyed = word ^ keys[lane];
        let product = (keyed & 0xffff_ffff) * (keyed >> 32);
        sums[lane] = sums[lane].wrapping_add(product).wrapping_add(word);
        keys[lane] = keys[lane].wrapping_add(STEP);
    }
}

#[inline(always)]
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

#[inline(always)]
pub fn f32_to_f16(source: &[u8], target: &mut [u8]) {
    convert(source, target, |x| {
        let x = u32::from_le_bytes(x);
        let (sign, x) = (x >> 16 & 0x8000, x & 0x7fff_ffff);
        // 2^-14 and up: another bias, rounded to nearest even explicitly; may carry into infinity, as it should.
        let normal = x.wrapping_sub(0x3800_0000 - 0xfff - (x >> 13 & 1)) >> 13;
        // Below: 0.5 has its last bit where a denormal's is, so that adding it rounds.
        let small = (f32::from_bits(x) + 0.5)
            .to_bits()
            .wrapping_sub(0x3f00_0000);
        let quiet = x >> 13 & 0x3ff | 0x7e00;
        let mut half = if x < 0x3880_0000 { small } else { normal };
        half = if x >= 0x4780_0000 { 0x7c00 } else { half };
        half = if x > 0x7f80_0000 { quiet } else { half };
        ((half | sign) as u16).to_le_bytes()
    });
}

#[inline(always)]
pub fn f16_to_f32(source: &[u8], target: &mut [u8]) {
    convert(source, target, |x| {
        let x = u32::from(u16::from_le_bytes(x));
        let (sign, x) = ((x & 0x8000) << 16, (x & 0x7fff) << 13);
        let normal = x + 0x3800_0000;
        // A denormal as the fraction of 2^-14, and 2^-14 taken off: exact.
        let least = f32::from_bits(0x3880_0000);
        let small = (f32::from_bits(x + 0x3880_0000) - least).to_bits();
        let odd = x | 0x7f80_0000;
        let mut float = if x < 0x0080_0000 { small } else { normal };
        float = if x >= 0x0f80_0000 { odd } else { float };
        (float | sign).to_le_bytes()
    });
}

#[inline(always)]
pub fn f32_to_bf16(source: &[u8], target: &mut [u8]) {
    convert(source, target, |x| {
        let x = u32::from_le_bytes(x);
        let rounded = x.wrapping_add(0x7fff + (x >> 16 & 1)) >> 16;
        let quiet = x >> 16 | 0x40;
        let is_nan = x & 0x7fff_ffff > 0x7f80_0000;
        (if is_nan { quiet } else { rounded } as u16).to_le_bytes()
    });
}

#[inline(always)]
pub fn bf16_to_f32(source: &[u8], target: &mut [u8]) {
    convert(source, target, |x| {
        let x = u32::from(u16::from_le_bytes(x)) << 16;
        x.to_le_bytes()
    });
}

#[inline(always)]
pub fn f64_to_f32(source: &[u8], target: &mut [u8]) -> bool {
    let source = source.as_chunks::<8>().0;
    let mut overflow = false;
    for (from, to) in source.iter().zip(target.as_chunks_mut::<4>().0) {
        let x = f64::from_le_bytes(*from);
        let y = x as f32;
        overflow |= (y.abs() == f32::INFINITY) & (x.abs() != f64::INFINITY);
        *to = y.to_le_bytes();
    }
    !overflow
}

#[inline(always)]
pub fn swap2(bytes: &mut [u8]) {
    for word in bytes.as_chunks_mut::<2>().0 {
        *word = u16::from_le_bytes(*word).to_be_bytes();
    }
}

#[inline(always)]
pub fn swap4(bytes: &mut [u8]) {
    for word in bytes.as_chunks_mut::<4>().0 {
        *word = u32::from_le_bytes(*word).to_be_bytes();
    }
}

#[inline(always)]
pub fn swap8(bytes: &mut [u8]) {
    for word in bytes.as_chunks_mut::<8>().0 {
        *word = u64::from_le_bytes(*word).to_be_bytes();
    }
}

#[inline(always)]
pub fn norm(row: &[u8]) -> f64 {
    let mut sums = [0f64; SUMS];
    let (blocks, tail) = row.as_chunks::<{ 4 * SUMS }>();
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks::<4>().0) {
            let x = f64::from(f32::from_le_bytes(*word));
            *sum += x * x;
        }
    }
    for (sum, word) in sums.iter_mut().zip(tail.as_chunks::<4>().0) {
        let x = f64::from(f32::from_le_bytes(*word));
        *sum += x * x;
    }
    scalar::length(sums)
}

#[inline(always)]
pub fn scale(bytes: &mut [u8], factor: f64) {
    for word in bytes.as_chunks_mut::<4>().0 {
        let x = f64::from(f32::from_le_bytes(*word));
        *word = ((x * factor) as f32).to_le_bytes();
    }
}

#[inline(always)]
pub fn sq8(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
    let rows = codes.chunks_exact(minima.len());
    for (code, row) in rows.zip(target.chunks_exact_mut(minima.len())) {
        units(code, minima, widths, row, |c| (c + 0.5) / 255.0);
    }
}

#[inline(always)]
pub fn sq6(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
    fields::<6>(codes, minima, widths, target, spread6, |c| (c + 0.5) / 63.0);
}

#[inline(always)]
pub fn sq4(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
    fields::<4>(codes, minima, widths, target, spread4, |c| (c + 0.5) / 15.0);
}

/// Components from codes of a byte each.
#[inline(always)]
pub fn units(
    codes: &[u8],
    minima: &[f32],
    widths: &[f32],
    target: &mut [f32],
    unit: impl Fn(f32) -> f32,
) {
    let ranges = minima.iter().zip(widths);
    for ((x, code), (minimum, width)) in target.iter_mut().zip(codes).zip(ranges) {
        *x = minimum + unit(f32::from(*code)) * width;
    }
}

/// Components from fields of fewer bits: eight at a time are spread to bytes, and those are decoded.
#[inline(always)]
pub fn fields<const BITS: usize>(
    codes: &[u8],
    minima: &[f32],
    widths: &[f32],
    target: &mut [f32],
    spread: impl Fn(u64) -> u64,
    unit: impl Fn(f32) -> f32,
) {
    const TOGETHER: usize = 256;
    let dimension = minima.len();
    let mut room = [0u8; TOGETHER];
    let rows = codes.chunks_exact((dimension * BITS).div_ceil(8));
    for (code, row) in rows.zip(target.chunks_exact_mut(dimension)) {
        let ranges = minima.chunks(TOGETHER).zip(widths.chunks(TOGETHER));
        let blocks = code
            .chunks(TOGETHER * BITS / 8)
            .zip(row.chunks_mut(TOGETHER));
        for ((code, row), (minima, widths)) in blocks.zip(ranges) {
            let (whole, some) = code.as_chunks::<BITS>();
            let to = room.as_chunks_mut::<8>().0;
            for (fields, to) in whole.iter().zip(&mut *to) {
                let mut word = [0u8; 8];
                word[..BITS].copy_from_slice(fields);
                *to = spread(u64::from_le_bytes(word)).to_le_bytes();
            }
            if !some.is_empty() {
                let mut word = [0u8; 8];
                word[..some.len()].copy_from_slice(some);
                to[whole.len()] = spread(u64::from_le_bytes(word)).to_le_bytes();
            }
            units(&room[..row.len()], minima, widths, row, &unit);
        }
    }
}

#[inline(always)]
fn spread4(x: u64) -> u64 {
    let x = x & 0xffff | (x & 0xffff_0000) << 16;
    let x = x & 0x0000_00ff_0000_00ff | (x & 0x0000_ff00_0000_ff00) << 8;
    x & 0x000f_000f_000f_000f | (x & 0x00f0_00f0_00f0_00f0) << 4
}

#[inline(always)]
fn spread6(x: u64) -> u64 {
    let x = x & 0xff_ffff | (x & 0xffff_ff00_0000) << 8;
    let x = x & 0x0000_0fff_0000_0fff | (x & 0x00ff_f000_00ff_f000) << 4;
    x & 0x003f_003f_003f_003f | (x & 0x0fc0_0fc0_0fc0_0fc0) << 2
}

#[inline(always)]
pub fn varints_len(ids: &[i64]) -> usize {
    ids.iter().map(|id| varint_len(*id as u64)).sum()
}

#[inline(always)]
fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    // bits.div_ceil(7), for bits up to 64.
    ((bits * 9 + 64) >> 6) as usize
}

#[inline(always)]
pub fn varints(ids: &[i64], target: &mut [u8]) -> usize {
    varints_by(ids, target, spread7)
}

/// A whole word is written at a time: the next id overwrites the excess of the previous one.
#[inline(always)]
pub fn varints_by(ids: &[i64], target: &mut [u8], spread: impl Fn(u64) -> u64) -> usize {
    const MORE: u64 = 0x8080_8080_8080_8080;
    let mut at = 0;
    for id in ids {
        let value = *id as u64;
        let len = varint_len(value);
        let room: &mut [u8; 10] = target[at..].first_chunk_mut().expect("ten bytes of slack");
        let (low, high) = room.split_at_mut(8);
        if value >> 56 == 0 {
            // Continuation bits on all bytes but the last.
            let word = spread(value) | MORE & !(u64::MAX << (8 * (len - 1)));
            low.copy_from_slice(&word.to_le_bytes());
        } else {
            low.copy_from_slice(&(spread(value & (u64::MAX >> 8)) | MORE).to_le_bytes());
            high[0] = (value >> 56) as u8 | u8::from(len > 9) << 7;
            high[1] = (value >> 63) as u8;
        }
        at += len;
    }
    at
}

/// 56 bits, seven to a byte.
#[inline(always)]
fn spread7(x: u64) -> u64 {
    let x = x & 0x0fff_ffff | (x & 0x00ff_ffff_f000_0000) << 4;
    let x = x & 0x0000_3fff_0000_3fff | (x & 0x0fff_c000_0fff_c000) << 2;
    x & 0x007f_007f_007f_007f | (x & 0x3f80_3f80_3f80_3f80) << 1
}
