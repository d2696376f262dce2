//! Compiles the plain loops with an instruction set's features, and lists a file's kernels in a table.

/// `stamp! { "features": kernels }`: functions of these names from `loops.rs`.
macro_rules! stamp {
    ($features:tt: $($name:ident)*) => { $( stamp!(@ $features $name); )* };
    (@ $f:tt finite_f32) => { stamp!(= $f finite_f32(bytes: &[u8]) -> bool); };
    (@ $f:tt finite_f16) => { stamp!(= $f finite_f16(bytes: &[u8]) -> bool); };
    (@ $f:tt finite_bf16) => { stamp!(= $f finite_bf16(bytes: &[u8]) -> bool); };
    (@ $f:tt digest) => {
        stamp!(= $f digest(kind: Floats, ids: &[i64], bytes: &[u8], row_bytes: usize) -> (u64, bool));
    };
    (@ $f:tt f32_to_f16) => { stamp!(= $f f32_to_f16(source: &[u8], target: &mut [u8])); };
    (@ $f:tt f32_to_bf16) => { stamp!(= $f f32_to_bf16(source: &[u8], target: &mut [u8])); };
    (@ $f:tt f16_to_f32) => { stamp!(= $f f16_to_f32(source: &[u8], target: &mut [u8])); };
    (@ $f:tt bf16_to_f32) => { stamp!(= $f bf16_to_f32(source: &[u8], target: &mut [u8])); };
    (@ $f:tt f64_to_f32) => { stamp!(= $f f64_to_f32(source: &[u8], target: &mut [u8]) -> bool); };
    (@ $f:tt swap2) => { stamp!(= $f swap2(bytes: &mut [u8])); };
    (@ $f:tt swap4) => { stamp!(= $f swap4(bytes: &mut [u8])); };
    (@ $f:tt swap8) => { stamp!(= $f swap8(bytes: &mut [u8])); };
    (@ $f:tt norm) => { stamp!(= $f norm(row: &[u8]) -> f64); };
    (@ $f:tt scale) => { stamp!(= $f scale(bytes: &mut [u8], factor: f64)); };
    (@ $f:tt sq8) => {
        stamp!(= $f sq8(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]));
    };
    (@ $f:tt sq6) => {
        stamp!(= $f sq6(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]));
    };
    (@ $f:tt sq4) => {
        stamp!(= $f sq4(codes: &[u8], minima: &[f32], widths: &[f32], target: &mut [f32]));
    };
    (@ $f:tt varints_len) => { stamp!(= $f varints_len(ids: &[i64]) -> usize); };
    (@ $f:tt varints) => { stamp!(= $f varints(ids: &[i64], target: &mut [u8]) -> usize); };
    (= $f:tt $name:ident($($arg:ident: $kind:ty),*) $(-> $answer:ty)?) => {
        #[target_feature(enable = $f)]
        pub fn $name($($arg: $kind),*) $(-> $answer)? {
            super::loops::$name($($arg),*)
        }
    };
}

/// The table of the kernels in this file.
macro_rules! table {
    ($name:literal) => {
        super::Kernels {
            name: $name,
            finite_f32,
            finite_f16,
            finite_bf16,
            digest,
            f32_to_f16,
            f32_to_bf16,
            f16_to_f32,
            bf16_to_f32,
            f64_to_f32,
            swap2,
            swap4,
            swap8,
            norm,
            scale,
            sq8,
            sq6,
            sq4,
            varints_len,
            varints,
        }
    };
}
