//! What do the PEM files that a job names contain?

use std::path::Path;

use crate::error::{Error, Kind, Result};

/// The bytes of the file that the setting `key` of `form` names. A file that is not PEM is a mistake in the job.
pub fn read_pem(form: &str, key: &str, path: &Path) -> Result<Vec<u8>> {
    let wrong = |what: String| Error::path(Kind::Job, path, format!("{form}.{key}: {what}"));
    let bytes = std::fs::read(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => wrong("there is no such file".to_owned()),
        _ => wrong(format!("cannot be read: {e}")),
    })?;
    let marker = b"-----BEGIN ";
    if !bytes.windows(marker.len()).any(|w| w == marker) {
        return Err(wrong("is not a PEM file".to_owned()));
    }
    Ok(bytes)
}
