//! What do the HDF5 source and sink share? Names of datasets and attributes, filters outside the library, words
//! for its errors. Moves no rows.

pub mod attributes;
pub mod filter;
pub mod index;
mod lzf;
pub mod raw;
pub mod szip;
pub mod types;

use std::path::Path;

use crate::error::{Error, Kind};

/// The dataset of vectors.
pub const VECTORS: &str = "embeddings";
/// The dataset of ids.
pub const IDS: &str = "ids";
/// Attributes of the file.
pub mod attribute {
    /// The metric, by Milvus's name.
    pub const METRIC: &str = "metric_type";
    /// The metric by the names of ann-benchmarks, which this program reads but does not write.
    pub const DISTANCE: &str = "distance";
    /// MATLAB's attribute on each matrix: rows and columns are swapped in its files.
    pub const MATLAB: &str = "MATLAB_class";
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

/// The error for a failed call of the library on a file, with its innermost message, which names the cause.
pub fn failed(kind: Kind, path: &Path, doing: &str, error: &hdf5::Error) -> Error {
    Error::path(kind, path, format!("cannot {doing}: {}", cause(error)))
}

/// What went wrong in a failed call, innermost first.
pub fn cause(error: &hdf5::Error) -> String {
    deepest(error).unwrap_or_else(|told| told)
}

/// Why a file cannot be opened for reasons outside its content: no descriptor is left, or its disk failed.
pub fn out_of_reach(path: &Path, error: &hdf5::Error) -> Option<Error> {
    let system = deepest(error).ok()?;
    let error = Error::path(Kind::Io, path, format!("cannot be opened: {system}"));
    if system.starts_with("Too many open files") {
        let hint = "HDF5 files with chunks stay open: `ulimit -n` says how many may be";
        return Some(error.hint(hint));
    }
    if system == "Resource temporarily unavailable" {
        let what = "another process has it open for writing (it is locked)";
        return Some(Error::path(Kind::Io, path, what).hint(
            "wait until it has been closed; where file locks do not work (some network file systems), \
             HDF5_USE_FILE_LOCKING=FALSE ignores them",
        ));
    }
    (system == "Input/output error").then_some(error)
}

/// The innermost of the library's messages: `Ok` if it quotes the system.
fn deepest(error: &hdf5::Error) -> std::result::Result<String, String> {
    let hdf5::Error::HDF5(stack) = error else {
        return Err(error.to_string());
    };
    let stack = stack.clone().expand().map_err(|e| e.to_string())?;
    // Deepest last: "file write failed: …, errno = 28, error message = 'No space left on device', …".
    let deepest = stack.iter().last().map(|f| f.desc().to_owned());
    let deepest = deepest.unwrap_or_default();
    let system = deepest.split("error message = '").nth(1);
    let system = system.and_then(|s| s.split('\'').next().map(str::to_owned));
    system.ok_or(deepest)
}
