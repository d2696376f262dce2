//! Where does a job's text come from? A file, or standard input; never more of it than a job can be.

use std::io::Read;
use std::path::Path;

use super::Job;
use crate::error::{Error, Kind, Result};
use crate::limits;

/// The text of a job file, or of standard input for `-`.
pub fn read(path: &Path) -> Result<String> {
    match path.as_os_str() == Job::STDIN {
        true => bounded(path, std::io::stdin().lock()),
        false => file(path),
    }
}

fn file(path: &Path) -> Result<String> {
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if meta.len() > limits::JOB_BYTES_MAX {
        return Err(Error::path(
            Kind::Job,
            path,
            format!("{} bytes is too long for a job file", meta.len()),
        ));
    }
    bounded(
        path,
        std::fs::File::open(path).map_err(|e| unreadable(path, &e))?,
    )
}

/// All of a text, if it is no longer than a job can be.
fn bounded(path: &Path, from: impl Read) -> Result<String> {
    // What is no file says no length beforehand.
    let mut bytes = Vec::new();
    let most = limits::JOB_BYTES_MAX;
    let read = from.take(most + 1).read_to_end(&mut bytes);
    if read.map_err(|e| unreadable(path, &e))? as u64 > most {
        let what = format!("more than {most} bytes is too long for a job file");
        return Err(Error::path(Kind::Job, path, what));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let what = format!("is not text: byte {at} is not UTF-8");
        Error::path(Kind::Job, path, what)
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let what = match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such job file".to_owned(),
        _ => format!("cannot read the job file: {error}"),
    };
    Error::path(Kind::Job, path, what)
}
