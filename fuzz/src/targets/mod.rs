//! Everything that reads bytes from outside, each as a function of bytes: it must neither panic nor hang nor allocate
//! much more than it was given, and where it succeeds its answer must agree with itself.

pub mod answers;
pub mod checkpoint;
pub mod documents;
pub mod faiss;
pub mod hdf5_filters;
pub mod hdf5_index;
pub mod hdf5_rows;
pub mod job;
pub mod langchain;
pub mod milvus1_directory;
pub mod milvus1_log;
pub mod milvus1_meta;
pub mod milvus1_segment;
pub mod milvus2_backup;
pub mod milvus2_log;
pub mod milvus2_meta;
pub mod milvus_lite;
pub mod numpy;
pub mod parquet;
pub mod qdrant;
pub mod support;
pub mod vecs;
