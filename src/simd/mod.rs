//! How fast can this loop go? Kernels over slices, one table of them for each kind of CPU, chosen once.
//! Does not know what vectors mean. Bytes may have any alignment; numbers in them are little-endian.
//!
//! `scalar.rs` is the obviously correct version, which all others must match to the last bit; `loops.rs` has plain
//! loops the compiler vectorises, stamped with the features of each instruction set; `avx2.rs` and `avx512.rs` add
//! intrinsics where those beat the compiler by a margin that benches/README.md shows. `neon.rs` is only the plain
//! loops: its tests pass in emulation (`tests/neon`), and it was never measured on such a machine.
//!
//! Unsafe room 2: calls through a table, which is handed out only after its features were detected, and loads at
//! any alignment.

#![allow(unsafe_code)]

use std::sync::OnceLock;

#[macro_use]
mod stamp;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
// x86-64 has better versions of some.
#[cfg_attr(target_arch = "x86_64", allow(dead_code))]
mod loops;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;

/// The kind of a row's elements, for checks that they are finite.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Floats {
    /// Four bytes each.
    F32,
    /// Two bytes each, IEEE half precision.
    F16,
    /// Two bytes each, bfloat16.
    Bf16,
    /// No floats: always finite.
    None,
}

/// What, ids, rows, bytes of a row: returns the sum of the digests, and whether all is finite.
type Digest = unsafe fn(Floats, &[i64], &[u8], usize) -> (u64, bool);
/// Codes, minima, widths, and where the components go.
type Decode = unsafe fn(&[u8], &[f32], &[f32], &mut [f32]);

/// One function for each kernel, all for the same kind of CPU.
///
/// It only comes from [`kernels`] or [`available`], which detect what it needs: this is why its methods are safe.
pub struct Kernels {
    /// `scalar`, `avx2`, `avx512` or `neon`.
    pub name: &'static str,
    finite_f32: unsafe fn(&[u8]) -> bool,
    finite_f16: unsafe fn(&[u8]) -> bool,
    finite_bf16: unsafe fn(&[u8]) -> bool,
    digest: Digest,
    f32_to_f16: unsafe fn(&[u8], &mut [u8]),
    f32_to_bf16: unsafe fn(&[u8], &mut [u8]),
    f16_to_f32: unsafe fn(&[u8], &mut [u8]),
    bf16_to_f32: unsafe fn(&[u8], &mut [u8]),
    f64_to_f32: unsafe fn(&[u8], &mut [u8]) -> bool,
    swap2: unsafe fn(&mut [u8]),
    swap4: unsafe fn(&mut [u8]),
    swap8: unsafe fn(&mut [u8]),
    norm: unsafe fn(&[u8]) -> f64,
    scale: unsafe fn(&mut [u8], f64),
    sq8: Decode,
    sq6: Decode,
    sq4: Decode,
    varints_len: unsafe fn(&[i64]) -> usize,
    varints: unsafe fn(&[i64], &mut [u8]) -> usize,
}

/// The kernels for this CPU: the last of [`available`], or the one that the environment's `MILVUSDM_SIMD` names.
/// A name that is not available here is ignored, with a warning in the log: the answers are the same.
pub fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<&Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let wanted = std::env::var("MILVUSDM_SIMD").ok();
        let (chosen, found) = choose(wanted.as_deref());
        if !found {
            let wanted = wanted.unwrap_or_default();
            tracing::warn!(
                "MILVUSDM_SIMD={wanted} is not available here: {} is used",
                chosen.name
            );
        }
        chosen
    })
}

/// The table of that name, and whether it exists; if not, the best one.
fn choose(wanted: Option<&str>) -> (&'static Kernels, bool) {
    let all = available();
    let best = all.last().expect("scalar is always available");
    match wanted {
        None | Some("") => (best, true),
        Some(name) => match all.iter().find(|k| k.name == name) {
            Some(kernels) => (kernels, true),
            None => (best, false),
        },
    }
}

/// All tables this CPU can run, slowest first; the first is `scalar`.
pub fn available() -> Vec<&'static Kernels> {
    let mut all: Vec<&'static Kernels> = vec![&scalar::KERNELS];
    #[cfg(target_arch = "x86_64")]
    if avx2::detected() {
        all.push(&avx2::KERNELS);
        if avx512::detected() {
            all.push(&avx512::KERNELS);
        }
    }
    #[cfg(target_arch = "aarch64")]
    if neon::detected() {
        all.push(&neon::KERNELS);
    }
    all
}

/// How far ahead of a row's digest memory is prefetched. Lighter loops do not need it, because the processor prefetches
/// by itself; for this one, prefetching from 2 KiB on raises the rate from memory from 6.8 to 11.8 GB/s, against a
/// plain sum's 13.7.
#[cfg(target_arch = "x86_64")]
const AHEAD_BYTES: usize = 3 << 10;

/// Bytes of rows that are digested together before anything else is done with them.
const STEP_BYTES: usize = 32 << 10;

fn step_rows(row_bytes: usize) -> usize {
    (STEP_BYTES / row_bytes.max(1)).max(1)
}

impl Kernels {
    /// Whether no f32 in `bytes` is NaN or infinite.
    pub fn finite_f32(&self, bytes: &[u8]) -> bool {
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.finite_f32)(bytes) }
    }

    /// Whether no half-precision float in `bytes` is NaN or infinite.
    pub fn finite_f16(&self, bytes: &[u8]) -> bool {
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.finite_f16)(bytes) }
    }

    /// Whether no bfloat16 in `bytes` is NaN or infinite.
    pub fn finite_bf16(&self, bytes: &[u8]) -> bool {
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.finite_bf16)(bytes) }
    }

    /// Whether no float in `bytes` is NaN or infinite.
    pub fn finite(&self, kind: Floats, bytes: &[u8]) -> bool {
        match kind {
            Floats::F32 => self.finite_f32(bytes),
            Floats::F16 => self.finite_f16(bytes),
            Floats::Bf16 => self.finite_bf16(bytes),
            Floats::None => true,
        }
    }

    /// A 64-bit digest of one row: its id, its bytes, each bound to its position, and their number. Sums of digests do
    /// not depend on the order of rows, so that what was read can be compared with what arrived. Not cryptographic.
    ///
    /// Each 64-byte stripe is multiplied, 32 × 32 → 64 bits, with keys that depend on the stripe's number.
    pub fn row_digest(&self, id: i64, row: &[u8]) -> u64 {
        self.digest_rows(&[id], row, row.len())
    }

    /// The wrapping sum over rows of [`Kernels::row_digest`]: row i is `bytes[i * row_bytes..][..row_bytes]`.
    pub fn digest_rows(&self, ids: &[i64], bytes: &[u8], row_bytes: usize) -> u64 {
        self.check_and_digest(Floats::None, ids, bytes, row_bytes).0
    }

    /// Checks and digests rows in one pass: the wrapping sum of the digests of the rows before the first one with a NaN
    /// or an infinity, and the number of that row. `None`: there is none, and the sum covers all rows.
    ///
    /// To leave such a row out, continue after it.
    pub fn check_and_digest(
        &self,
        kind: Floats,
        ids: &[i64],
        bytes: &[u8],
        row_bytes: usize,
    ) -> (u64, Option<usize>) {
        let whole = ids.len().checked_mul(row_bytes);
        assert_eq!(whole, Some(bytes.len()), "ids and rows differ in number");
        let step_rows = step_rows(row_bytes);
        let mut sum = 0u64;
        for (step, ids) in ids.chunks(step_rows).enumerate() {
            let first = step * step_rows;
            let bytes = &bytes[first * row_bytes..][..ids.len() * row_bytes];
            // SAFETY: `available` handed out this table only after detecting its features.
            let (mut part, finite) = unsafe { (self.digest)(kind, ids, bytes, row_bytes) };
            if !finite {
                let mut rows = bytes.chunks_exact(row_bytes);
                let odd = rows.position(|row| !self.finite(kind, row));
                let odd = odd.expect("a row of these has an odd float");
                let before = &bytes[..odd * row_bytes];
                // SAFETY: `available` handed out this table only after detecting its features.
                part = unsafe { (self.digest)(Floats::None, &ids[..odd], before, row_bytes) }.0;
                return (sum.wrapping_add(part), Some(first + odd));
            }
            sum = sum.wrapping_add(part);
        }
        (sum, None)
    }

    /// Like [`Kernels::check_and_digest`], and appends the rows before the first such row to `out`: each step is copied
    /// while it is in the cache, which costs hardly more than copying alone.
    pub fn check_and_gather(
        &self,
        kind: Floats,
        ids: &[i64],
        bytes: &[u8],
        row_bytes: usize,
        out: &mut Vec<u8>,
    ) -> (u64, Option<usize>) {
        let whole = ids.len().checked_mul(row_bytes);
        assert_eq!(whole, Some(bytes.len()), "ids and rows differ in number");
        out.reserve(bytes.len());
        let step_rows = step_rows(row_bytes);
        let mut sum = 0u64;
        for (step, ids) in ids.chunks(step_rows).enumerate() {
            let first = step * step_rows;
            let rows = &bytes[first * row_bytes..][..ids.len() * row_bytes];
            let (part, odd) = self.check_and_digest(kind, ids, rows, row_bytes);
            sum = sum.wrapping_add(part);
            out.extend_from_slice(&rows[..odd.unwrap_or(ids.len()) * row_bytes]);
            if let Some(odd) = odd {
                return (sum, Some(first + odd));
            }
        }
        (sum, None)
    }

    /// f32 → half precision, to nearest, ties to even; too large becomes infinite, NaN stays NaN.
    /// `target` has 2 bytes for each 4 of `source`.
    pub fn f32_to_f16(&self, source: &[u8], target: &mut [u8]) {
        assert_eq!(source.len() / 4, target.len() / 2);
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.f32_to_f16)(source, target) }
    }

    /// f32 → bfloat16, to nearest, ties to even; too large becomes infinite, NaN stays NaN.
    /// `target` has 2 bytes for each 4 of `source`.
    pub fn f32_to_bf16(&self, source: &[u8], target: &mut [u8]) {
        assert_eq!(source.len() / 4, target.len() / 2);
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.f32_to_bf16)(source, target) }
    }

    /// Half precision → f32, exactly: NaNs keep their bits, signalling ones too. `target` has 4 bytes for each 2 of
    /// `source`.
    pub fn f16_to_f32(&self, source: &[u8], target: &mut [u8]) {
        assert_eq!(source.len() / 2, target.len() / 4);
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.f16_to_f32)(source, target) }
    }

    /// bfloat16 → f32, exactly: NaNs keep their bits, signalling ones too. `target` has 4 bytes for each 2 of `source`.
    pub fn bf16_to_f32(&self, source: &[u8], target: &mut [u8]) {
        assert_eq!(source.len() / 2, target.len() / 4);
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.bf16_to_f32)(source, target) }
    }

    /// f64 → f32, to nearest, ties to even. `false`: a finite number was too large and became infinite.
    /// `target` has 4 bytes for each 8 of `source`.
    #[must_use]
    pub fn f64_to_f32(&self, source: &[u8], target: &mut [u8]) -> bool {
        assert_eq!(source.len() / 8, target.len() / 4);
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.f64_to_f32)(source, target) }
    }

    /// Reverses the bytes of each element: big-endian ↔ little-endian. Elements of 1 byte stay as they are.
    ///
    /// # Panics
    /// If `width` is not 1, 2, 4 or 8.
    pub fn swap_bytes(&self, width: usize, bytes: &mut [u8]) {
        let swap = match width {
            1 => return,
            2 => self.swap2,
            4 => self.swap4,
            8 => self.swap8,
            _ => panic!("elements of {width} bytes"),
        };
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { swap(bytes) }
    }

    /// The L2 norm of a row of f32, summed in f64, so that no finite row's norm is infinite.
    pub fn norm(&self, row: &[u8]) -> f64 {
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.norm)(row) }
    }

    /// Scales rows of f32 to L2 norm 1, in place. Returns the number of rows that are zero, which stay so. Rows must be
    /// finite.
    pub fn normalize(&self, bytes: &mut [u8], row_bytes: usize) -> u64 {
        let mut zero_rows = 0;
        for row in bytes.chunks_exact_mut(row_bytes.max(1)) {
            let norm = self.norm(row);
            if norm == 0.0 {
                zero_rows += 1;
            } else {
                // SAFETY: `available` handed out this table only after detecting its features.
                unsafe { (self.scale)(row, 1.0 / norm) }
            }
        }
        zero_rows
    }

    /// Rows of Faiss's 8-bit scalar quantizer: minimum + width × (code + 0.5) / 255, each component with its own
    /// minimum and width (the uniform kinds have the same for all). Multiplied and added, not fused.
    pub fn sq8(&self, codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
        self.unquantize(8, self.sq8, codes, minima, widths, target);
    }

    /// Like [`Kernels::sq8`], 6 bits to a component, the lowest bits first, rows of whole bytes.
    pub fn sq6(&self, codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
        self.unquantize(6, self.sq6, codes, minima, widths, target);
    }

    /// Like [`Kernels::sq8`], 4 bits to a component, the low half of a byte first, rows of whole bytes.
    pub fn sq4(&self, codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]) {
        self.unquantize(4, self.sq4, codes, minima, widths, target);
    }

    fn unquantize(
        &self,
        bits: usize,
        kernel: Decode,
        codes: &[u8],
        minima: &[f32],
        widths: &[f32],
        target: &mut [f32],
    ) {
        let dimension = minima.len();
        assert_eq!(dimension, widths.len());
        if dimension == 0 {
            return;
        }
        let code_bytes = (dimension * bits).div_ceil(8);
        assert_eq!(codes.len() / code_bytes, target.len() / dimension);
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { kernel(codes, minima, widths, target) }
    }

    /// How many bytes these ids take as varints.
    pub fn varints_len(&self, ids: &[i64]) -> usize {
        // SAFETY: `available` handed out this table only after detecting its features.
        unsafe { (self.varints_len)(ids) }
    }

    /// Appends ids as protobuf varints: 1 to 10 bytes, seven bits to a byte, the lowest first.
    pub fn varints(&self, ids: &[i64], out: &mut Vec<u8>) {
        // Kernels write whole words; what they write past the end is cut off.
        const SLACK: usize = 64;
        let start = out.len();
        let len = self.varints_len(ids);
        out.resize(start + len + SLACK, 0);
        // SAFETY: `available` handed out this table only after detecting its features.
        let written = unsafe { (self.varints)(ids, &mut out[start..]) };
        debug_assert_eq!(written, len);
        out.truncate(start + len);
    }
}

/// Appends the rows of `runs`, each from its first row up to, not including, its last, one after another.
///
/// A run is copied at once: no loop of ours beats the library's memcpy (benches/README.md).
pub fn gather(
    bytes: &[u8],
    row_bytes: usize,
    runs: impl IntoIterator<Item = std::ops::Range<usize>>,
    out: &mut Vec<u8>,
) {
    for run in runs {
        out.extend_from_slice(&bytes[run.start * row_bytes..run.end * row_bytes]);
    }
}

macro_rules! chosen {
    ($($name:ident($($arg:ident: $kind:ty),*) $(-> $answer:ty)?;)*) => { $(
        #[doc = concat!("[`Kernels::", stringify!($name), "`] of the chosen [`kernels`].")]
        #[inline]
        pub fn $name($($arg: $kind),*) $(-> $answer)? {
            kernels().$name($($arg),*)
        }
    )* };
}

chosen! {
    finite_f32(bytes: &[u8]) -> bool;
    finite_f16(bytes: &[u8]) -> bool;
    finite_bf16(bytes: &[u8]) -> bool;
    finite(kind: Floats, bytes: &[u8]) -> bool;
    row_digest(id: i64, row: &[u8]) -> u64;
    digest_rows(ids: &[i64], bytes: &[u8], row_bytes: usize) -> u64;
    check_and_digest(kind: Floats, ids: &[i64], bytes: &[u8], row_bytes: usize) -> (u64, Option<usize>);
    check_and_gather(
        kind: Floats, ids: &[i64], bytes: &[u8], row_bytes: usize, out: &mut Vec<u8>
    ) -> (u64, Option<usize>);
    f32_to_f16(source: &[u8], target: &mut [u8]);
    f32_to_bf16(source: &[u8], target: &mut [u8]);
    f16_to_f32(source: &[u8], target: &mut [u8]);
    bf16_to_f32(source: &[u8], target: &mut [u8]);
    f64_to_f32(source: &[u8], target: &mut [u8]) -> bool;
    swap_bytes(width: usize, bytes: &mut [u8]);
    norm(row: &[u8]) -> f64;
    normalize(bytes: &mut [u8], row_bytes: usize) -> u64;
    sq8(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]);
    sq6(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]);
    sq4(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]);
    varints_len(ids: &[i64]) -> usize;
    varints(ids: &[i64], out: &mut Vec<u8>);
}
