//! What every kind of source and sink promises, checked for each of them. A new kind is one entry in `sources::KINDS` or
//! `sinks::KINDS`.

#![allow(clippy::unwrap_used)]

#[cfg(feature = "chroma")]
use crate::support::chroma;
mod inputs;
#[cfg(feature = "elasticsearch")]
use crate::support::opensearch;
mod servers;
mod sinks;
mod sources;
#[cfg(feature = "pinecone")]
use crate::support::pinecone as stand_in_pinecone;
#[cfg(feature = "qdrant")]
use crate::support::qdrant as stand_in_qdrant;
#[cfg(feature = "network")]
mod stores;

use crate::support::{milvus1 as stand_in, milvus2x as unpacked};
