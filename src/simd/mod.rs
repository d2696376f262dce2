//! How fast can this loop go? Kernels over slices.
//! Has never heard of a vector's meaning.

mod scalar;

pub use scalar::{finite_f32, row_digest};
