//! Where do files wait for the server, and what are they called there? A run has a directory, a set of files one in it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::batch::Batch;
use crate::error::{Error, Kind, Result};

use super::settings::BulkSettings;
use super::stage::Staging;

/// Where a run's sets of files are.
pub struct Place {
    directory: PathBuf,
    server: String,
}

impl Place {
    /// The place of this run.
    pub fn of(settings: &BulkSettings, run: u64) -> Place {
        let name = format!("milvusdm-{run:016x}");
        let server = settings.server_path.trim_end_matches('/');
        Place {
            server: format!("{server}/{name}"),
            directory: settings.path.join(name),
        }
    }

    /// Makes it.
    pub fn make(&self) -> Result<()> {
        std::fs::create_dir_all(&self.directory)
            .map_err(|e| Error::io(&self.directory, "make the directory", &e))
    }

    fn set(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Stages a batch as a new set.
    pub fn stage(&self, set: &str, staging: &Staging, batch: &Batch) -> Result<()> {
        staging.write(&self.set(set), batch)
    }

    /// The ledger of a batch.
    pub fn ledger(&self, batch: &str) -> PathBuf {
        self.directory.join(format!("{batch}.ledger"))
    }

    /// A file of a set, as the server calls it.
    pub fn on_server(&self, set: &str, file: &str) -> String {
        format!("{}/{set}/{file}", self.server)
    }

    /// Whether a set is there.
    pub fn has(&self, set: &str) -> bool {
        self.set(set).is_dir()
    }

    /// Removes a set, if it is there.
    pub fn remove(&self, set: &str) -> Result<()> {
        let set = self.set(set);
        match std::fs::remove_dir_all(&set) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::io(&set, "remove what was staged", &e))
            }
            _ => Ok(()),
        }
    }

    /// Removes all whose name begins so, and the place itself once nothing is in it.
    pub fn tidy(&self, prefix: &str) -> Result<()> {
        let Ok(listing) = std::fs::read_dir(&self.directory) else {
            return Ok(());
        };
        for entry in listing.flatten() {
            if !entry.file_name().to_string_lossy().starts_with(prefix) {
                continue;
            }
            let path = entry.path();
            let removed = match path.is_dir() {
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            };
            removed.map_err(|e| Error::io(&path, "remove what was staged", &e))?;
        }
        // Other targets may have files in it.
        let _ = std::fs::remove_dir(&self.directory);
        Ok(())
    }
}

/// Complains of a directory that cannot be written to, or made.
pub fn writable(path: &Path) -> Result<()> {
    let there = path
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(Error::path(Kind::Job, there, "is not a directory"));
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    let allowed = rustix::fs::access(there, access);
    allowed.map_err(|e| Error::io(there, "write in this directory", &e.into()).with_kind(Kind::Job))
}
