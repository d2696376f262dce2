//! Other databases as sources, and what every source and sink promises.

mod chroma;
mod conformance;
mod pgvector;
mod pinecone;
mod qdrant;
mod search;
#[path = "../support/mod.rs"]
mod support;
