//! ARM: the plain loops, with NEON, which every 64-bit ARM has. No intrinsics; tested in emulation only.

use std::arch::is_aarch64_feature_detected;

use super::{Floats, Kernels};

/// Whether this CPU can run these.
pub fn detected() -> bool {
    is_aarch64_feature_detected!("neon")
}

/// The table of these.
pub const KERNELS: Kernels = table!("neon");

stamp! {
    "neon":
        finite_f32 finite_f16 finite_bf16 digest f32_to_f16 f32_to_bf16 f16_to_f32 bf16_to_f32 f64_to_f32 swap2
        swap4 swap8 norm scale sq8 sq6 sq4 varints_len varints
}
