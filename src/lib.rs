//! milvusdm moves vectors into, out of and between Milvus installations.
//!
//! (The living map: written with the last rooms.)

pub mod batch;
pub mod error;
pub mod format;
pub mod input;
pub mod job;
pub mod limits;
pub mod schema;
pub mod simd;
pub mod sink;
pub mod source;
