//! Faiss: what do the bytes of an index file mean?
//! Pure: opens no file, and allocates nothing by a number that is larger than the file justifies.
//!
//! A file is one object: a four-character code, the fields of the parent class, the fields of the child, other
//! indexes inlined where they belong. There is no magic number, version, checksum or padding, so each field is
//! checked as it passes, and the file must end where the index does. Layouts are those of
//! `faiss/impl/index_read.cpp` (facebookresearch/faiss at 02dbb4e), checked against files of faiss-cpu 1.15.1.
//!
//! [`parse`] makes the tree of [`Node`]s; [`Rows`] says which of their bytes are the rows, and how to
//! recover the vectors that were added; [`inspect`] describes it for people.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::unwrap_used
    )
)]

mod additive;
mod binary;
mod coded;
mod decode;
mod describe;
mod fast_scan;
mod fetch;
mod footer;
mod graph;
mod header;
mod index;
mod ivf;
mod lists;
mod quantizer;
mod remedy;
mod rows;
mod stranger;
mod transform;
mod undo;

pub use decode::Decoder;
pub use describe::{Described, Description, EMPTY, Ids, inspect};
pub use header::{FourCc, Measure};
pub use index::{Body, Hnsw, Node, Stored, parse};
pub use lists::{Layout, Lists, Place, Run};
pub use quantizer::Codec;
pub use rows::{Faithful, Recovery, Rows, metric, vector};
pub use stranger::begins;
pub use transform::Transform;
