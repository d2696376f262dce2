//! Milvus 1.x as a source and as a destination.

mod migrate;
mod milvus1_golden;
mod milvus1_mysql;
mod milvus1_rescue;
mod milvus1_sink;
#[path = "../support/mod.rs"]
mod support;
mod verify_milvus1;
