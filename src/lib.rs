//! milvusdm moves vectors into, out of and between Milvus installations.
//!
//! (The living map: written with the last rooms.)

pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod error;
pub mod input;
pub mod job;
pub mod limits;
pub mod plan;
pub mod progress;
pub mod retry;
pub mod run;
pub mod schema;
pub mod simd;
pub mod sink;
pub mod source;
pub mod verify;
