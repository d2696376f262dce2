//! How fast can this loop go? Kernels over slices.
//! Has never heard of a vector's meaning.

mod finite16;
mod scalar;
mod varint;

pub use finite16::{finite_bf16, finite_f16};
pub use scalar::{finite_f32, row_digest};
pub use varint::{varints, varints_len};
