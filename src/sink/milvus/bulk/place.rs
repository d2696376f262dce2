//! Where do files wait for the server, and what are their names there? A run has a directory, and each set of files a
//! directory in it. For a bucket, sets are first written next to the checkpoint, where ledgers stay, and uploaded
//! before the server is asked.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::batch::Batch;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::store::{self, Address, Bucket};

use super::settings::BulkSettings;
use super::stage::Staging;

/// Where a job's files are staged.
pub struct Places {
    /// Where they are written.
    directory: PathBuf,
    /// The same directory by its name on the server.
    server: String,
    /// Where they are uploaded, if the server does not see that directory.
    bucket: Option<(Address, Arc<dyn Bucket>)>,
    looked: AtomicBool,
    proven: AtomicBool,
}

impl Places {
    /// Built from the job's settings; `checkpoint` is the log of what arrived. Nothing is requested or created yet.
    pub fn open(settings: &BulkSettings, checkpoint: &Path) -> Result<Places> {
        let (looked, proven) = (AtomicBool::new(false), AtomicBool::new(false));
        let Some(address) = Address::of(&settings.path)? else {
            let same = || settings.path.display().to_string();
            return Ok(Places {
                directory: settings.path.clone(),
                server: settings.server_path.clone().unwrap_or_else(same),
                bucket: None,
                looked,
                proven,
            });
        };
        let mut beside = checkpoint.to_owned().into_os_string();
        beside.push(".staging");
        let bucket = store::open(&address, &settings.login)?;
        Ok(Places {
            directory: beside.into(),
            server: String::new(),
            bucket: Some((address, bucket)),
            looked,
            proven,
        })
    }

    /// The place of a run.
    pub fn of_run(&self, run: u64) -> Place {
        let name = format!("milvusdm-{run:016x}");
        Place {
            server: match &self.bucket {
                Some((address, _)) => address.below(&name),
                None => format!("{}/{name}", self.server.trim_end_matches('/')),
            },
            directory: self.directory.join(name),
            bucket: self.bucket.as_ref().map(|(_, bucket)| bucket.clone()),
        }
    }

    /// Returns an error if a directory cannot be created or written to, or, checked once, if a bucket cannot be listed.
    pub fn check(&self) -> Result<()> {
        writable(&self.directory)?;
        match &self.bucket {
            Some((address, bucket)) if !self.looked.swap(true, Ordering::Relaxed) => {
                bucket.walk(&address.below("milvusdm-"), &mut |_| false)
            }
            _ => Ok(()),
        }
    }

    /// Checks once that the bucket accepts an object, and removes it again.
    pub fn prove(&self) -> Result<()> {
        match &self.bucket {
            Some((address, bucket)) if !self.proven.swap(true, Ordering::Relaxed) => {
                let key = address.below(&format!("milvusdm-try-{:x}", std::process::id()));
                bucket.put(&key, Bytes::from_static(b"milvusdm"))?;
                bucket.delete(&key)
            }
            _ => Ok(()),
        }
    }
}

/// The directories of a run's sets of files.
pub struct Place {
    directory: PathBuf,
    server: String,
    bucket: Option<Arc<dyn Bucket>>,
}

impl Place {
    /// Creates it.
    pub fn make(&self) -> Result<()> {
        std::fs::create_dir_all(&self.directory)
            .map_err(|e| Error::io(&self.directory, "create the directory", &e))
    }

    fn set(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Stages a batch as a new set.
    pub fn stage(&self, set: &str, staging: &Staging, batch: &Batch) -> Result<()> {
        staging.write(&self.set(set), batch)
    }

    /// Uploads the files of a set to where the server sees them. May be repeated.
    pub fn bring(&self, set: &str, files: &[String]) -> Result<()> {
        let (Some(bucket), directory) = (&self.bucket, self.set(set)) else {
            return Ok(());
        };
        if !directory.is_dir() {
            return Ok(());
        }
        for file in files {
            bucket.upload(&self.on_server(set, file), &directory.join(file))?;
        }
        std::fs::remove_dir_all(&directory)
            .map_err(|e| Error::io(&directory, "remove the uploaded files", &e))
    }

    /// The ledger of a batch.
    pub fn ledger(&self, batch: &str) -> PathBuf {
        self.directory.join(format!("{batch}.ledger"))
    }

    /// The name of a file of a set on the server: in a bucket, its key.
    pub fn on_server(&self, set: &str, file: &str) -> String {
        format!("{}/{set}/{file}", self.server)
    }

    /// Whether a set exists.
    pub fn has(&self, set: &str) -> Result<bool> {
        let is_here = self.set(set).is_dir();
        let Some(bucket) = self.bucket.as_ref().filter(|_| !is_here) else {
            return Ok(is_here);
        };
        let mut is_up = false;
        bucket.walk(&self.on_server(set, ""), &mut |page| {
            is_up |= !page.is_empty();
            false
        })?;
        Ok(is_up)
    }

    /// Removes a set, if it exists.
    pub fn remove(&self, set: &str) -> Result<()> {
        let directory = self.set(set);
        match std::fs::remove_dir_all(&directory) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(Error::io(&directory, "remove the staged files", &e))
            }
            _ => self.clear(&self.on_server(set, "")),
        }
    }

    /// Removes the objects whose keys have this prefix.
    fn clear(&self, prefix: &str) -> Result<()> {
        let Some(bucket) = &self.bucket else {
            return Ok(());
        };
        let mut keys = Vec::new();
        bucket.walk(prefix, &mut |page| {
            keys.extend(page.into_iter().map(|found| found.key));
            keys.len() < limits::STORE_KNOWN_MAX
        })?;
        keys.iter().try_for_each(|key| bucket.delete(key))
    }

    /// Removes everything with this prefix, and the place itself once it is empty.
    pub fn tidy(&self, prefix: &str) -> Result<()> {
        self.clear(&format!("{}/{prefix}", self.server))?;
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
            removed.map_err(|e| Error::io(&path, "remove the staged files", &e))?;
        }
        // Other targets may have files in it.
        let is_gone = std::fs::remove_dir(&self.directory).is_ok();
        if let (true, Some(_), Some(beside)) = (is_gone, &self.bucket, self.directory.parent()) {
            let _ = std::fs::remove_dir(beside);
        }
        Ok(())
    }

    /// What to check if the server does not find a file.
    pub fn hint(&self) -> &'static str {
        match self.bucket {
            Some(_) => {
                "the bucket of `sink.milvus.bulk.staging.path` must be the one in which the server keeps its own storage \
                 (`minio.bucketName`)"
            }
            None => {
                "the server must see the directory of `sink.milvus.bulk.staging.path`, at that path or at the one in \
                 `server_path`"
            }
        }
    }
}

/// Returns an error if a directory cannot be created or written to.
fn writable(path: &Path) -> Result<()> {
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
