//! What every kind of source and sink promises, checked for each of them. A new kind is one entry in `sources::KINDS` or
//! `sinks::KINDS`.

#![allow(clippy::unwrap_used)]

#[cfg(feature = "chroma")]
#[path = "support/chroma.rs"]
mod chroma;
#[path = "conformance/inputs.rs"]
mod inputs;
#[cfg(feature = "elasticsearch")]
#[path = "support/opensearch.rs"]
mod opensearch;
#[path = "conformance/servers.rs"]
mod servers;
#[path = "conformance/sinks.rs"]
mod sinks;
#[path = "conformance/sources.rs"]
mod sources;
#[path = "support/milvus1/mod.rs"]
mod stand_in;
#[cfg(feature = "pinecone")]
#[path = "support/pinecone.rs"]
mod stand_in_pinecone;
#[cfg(feature = "qdrant")]
#[path = "support/qdrant.rs"]
mod stand_in_qdrant;
#[cfg(feature = "network")]
#[path = "conformance/stores.rs"]
mod stores;
mod support;
#[path = "support/milvus2x.rs"]
mod unpacked;
