//! Where does a job's text come from? A file, or standard input; never reads more than a job can have.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

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
    bounded(path, opened(path, &meta).map_err(|e| unreadable(path, &e))?)
}

/// A pipe opens once another program writes into it.
fn opened(path: &Path, meta: &std::fs::Metadata) -> std::io::Result<File> {
    if !meta.file_type().is_fifo() {
        return File::open(path);
    }
    let (found, opened) = mpsc::channel();
    let pipe = path.to_owned();
    // If nothing is ever written, the thread ends with the program.
    std::thread::spawn(move || found.send(File::open(pipe)));
    opened
        .recv_timeout(Duration::from_secs(limits::JOB_PIPE_WAIT_SECONDS))
        .unwrap_or_else(|_| {
            let what = format!(
                "it is a pipe, and nothing was written into it for {} s",
                limits::JOB_PIPE_WAIT_SECONDS
            );
            Err(std::io::Error::new(std::io::ErrorKind::TimedOut, what))
        })
}

/// The whole text, if it is not too long for a job.
fn bounded(path: &Path, from: impl Read) -> Result<String> {
    // Only files tell their length beforehand.
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
