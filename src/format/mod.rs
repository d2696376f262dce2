//! What do these bytes mean? Pure: bytes in, description out; no files, no clock.
//! Opens nothing, and allocates nothing sized by a number that was not checked against the bytes present.

pub mod faiss;
