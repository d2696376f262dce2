//! Milvus 2.x as a destination: requests, columns, imports.

mod bulk;
mod bulk_rest;
mod columns;
mod milvus;
mod milvus_fake;
mod milvus_servers;
#[path = "../support/mod.rs"]
mod support;
