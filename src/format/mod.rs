//! What do these bytes mean? Pure: bytes in, description out; no files, no clock.
//! Opens nothing, and allocates nothing sized by a number that was not checked against the bytes present.

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

pub mod bbolt;
pub mod binlog;
pub mod faiss;
pub mod known;
pub mod npy;
pub mod pickle;
pub mod segment;
pub mod wal;
pub mod zip;
