//! Whole chunks by the library's own calls, which the `hdf5` crate does not wrap. Unsafe room 3.
//! One call per function, each under the library's lock; never keeps a pointer.

#![allow(unsafe_code)]

use hdf5::Dataset;
use hdf5_sys::h5d::H5Dwrite_chunk;
use hdf5_sys::h5p::H5P_DEFAULT;

/// Hands a finished chunk to the library: `offset` is its first element in each dimension, `mask` the filters
/// that were left out.
pub fn write_chunk(dataset: &Dataset, offset: &[u64], mask: u32, bytes: &[u8]) -> hdf5::Result<()> {
    assert_eq!(offset.len(), dataset.ndim(), "the library reads that many");
    hdf5::sync::sync(|| {
        // SAFETY: the dataset is open as long as it is borrowed; `offset` has as many elements as it has
        // dimensions (asserted above); the library reads `bytes.len()` bytes and keeps neither pointer.
        let status = unsafe {
            H5Dwrite_chunk(
                dataset.id(),
                H5P_DEFAULT,
                mask,
                offset.as_ptr(),
                bytes.len(),
                bytes.as_ptr().cast(),
            )
        };
        hdf5::h5check(status).map(|_| ())
    })
}
