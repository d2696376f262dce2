//! Says what a file or directory holds.

use std::path::Path;

use super::Common;
use crate::error::{Error, Kind, Result};

/// `milvusdm inspect PATH`.
pub fn inspect(path: &Path, _common: &Common) -> Result<()> {
    Err(Error::path(
        Kind::Unsupported,
        path,
        "no format is known yet",
    ))
}
