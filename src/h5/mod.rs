//! What do the HDF5 source and sink share? Names of datasets and attributes, filters outside the library, words
//! for its errors. Moves no rows.

pub mod filter;
pub mod index;
mod lzf;
pub mod raw;

use std::path::Path;

use crate::error::{Error, Kind};

/// The dataset of vectors.
pub const VECTORS: &str = "embeddings";
/// The dataset of ids.
pub const IDS: &str = "ids";
/// Attributes of the file.
pub mod attribute {
    /// How distances are measured, by Milvus's name.
    pub const METRIC: &str = "metric_type";
    /// Components of a vector; bits for binary vectors.
    pub const DIMENSION: &str = "dimension";
    /// The collection's exact name.
    pub const COLLECTION: &str = "collection";
    /// The partition's exact tag; empty: the default partition.
    pub const PARTITION: &str = "partition";
    /// Where the rows came from.
    pub const SOURCE: &str = "source";
    /// The version of the program that wrote the file.
    pub const VERSION: &str = "milvusdm_version";
}

/// A failed call of the library about a file: the innermost of its complaints, which names the cause.
pub fn failed(kind: Kind, path: &Path, doing: &str, error: &hdf5::Error) -> Error {
    Error::path(kind, path, format!("cannot {doing}: {}", cause(error)))
}

/// What a failed call says went wrong, innermost first.
pub fn cause(error: &hdf5::Error) -> String {
    let hdf5::Error::HDF5(stack) = error else {
        return error.to_string();
    };
    match stack.clone().expand() {
        Ok(stack) => {
            // Deepest last: "file write failed: …, errno = 28, error message = 'No space left on device', …".
            let frames: Vec<String> = stack.iter().map(|f| f.desc().to_owned()).collect();
            let deepest = frames.last().cloned().unwrap_or_default();
            let system = deepest.split("error message = '").nth(1);
            let system = system.and_then(|s| s.split('\'').next().map(str::to_owned));
            system.unwrap_or(deepest)
        }
        Err(error) => error.to_string(),
    }
}
