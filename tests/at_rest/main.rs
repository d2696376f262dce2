//! Milvus 2.x as a source: running, at rest, as a backup, and as a file of Milvus Lite.

mod backup;
mod lite;
mod living;
mod living_kills;
mod milvus2;
mod s3;
#[path = "../support/mod.rs"]
mod support;
