//! How does a target get to a directory in a bucket? Each file is uploaded as soon as it is complete, then removed from
//! the disk; the manifest is uploaded last. Existing files stay until then.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::target::file_name;
use crate::error::{Error, Kind, Result};
use crate::input::Volume;
use crate::limits;
use crate::parquet::{Listed, MANIFEST, Manifest};
use crate::store::{self, Address, Bucket};

/// Suffixes of file names, used alternately.
const SUFFIXES: [&str; 2] = ["", "-b"];

/// A directory in a bucket.
pub struct Away {
    bucket: Arc<dyn Bucket>,
    dir: PathBuf,
    address: Address,
    /// The manifest that existed at the start: none of its files is overwritten.
    before: Option<Manifest>,
}

impl Away {
    /// A directory, which may hold a manifest that will be replaced.
    pub fn new(bucket: Arc<dyn Bucket>, dir: &Path) -> Result<Away> {
        let address = Address::of(dir)?.ok_or_else(|| {
            let what = "is not the address of a bucket";
            Error::path(Kind::Job, dir, what)
        })?;
        let volume = store::volume_of(&address.bucket, bucket.clone());
        let before = match Manifest::read(dir, &volume) {
            // An unreadable manifest lists no files that could be kept.
            Err(error) if error.kind() == Kind::Corrupt => None,
            before => before?,
        };
        Ok(Away {
            before,
            dir: dir.to_owned(),
            bucket,
            address,
        })
    }

    /// Picks a suffix so that no new file takes the name of an existing one, which stays until the end.
    pub fn suffix(&self) -> &'static str {
        let files = self.before.iter().flat_map(|manifest| &manifest.files);
        let is_plain = |file: &Listed| !file.name.ends_with("-b.parquet");
        match files.into_iter().any(is_plain) {
            true => SUFFIXES[1],
            false => SUFFIXES[0],
        }
    }

    /// Which of these files, given by number and length, exist and are listed in no manifest.
    pub fn left(&self, whole: impl Iterator<Item = (u64, u64)>) -> Result<Vec<String>> {
        let is_listed = |name: &str| {
            let mut files = self.before.iter().flat_map(|manifest| &manifest.files);
            files.any(|file| file.name == name)
        };
        let mut left = Vec::new();
        for (number, bytes) in whole {
            for suffix in SUFFIXES {
                let name = file_name(number, suffix);
                if !is_listed(&name) && self.has(&name, bytes)? {
                    left.push(name);
                }
            }
        }
        Ok(left)
    }

    /// Whether there is a file of this length.
    pub fn has(&self, name: &str, bytes: u64) -> Result<bool> {
        let found = self.bucket.look(&self.address.below(name))?;
        Ok(found.is_some_and(|found| found.bytes == bytes))
    }

    /// Uploads a complete file, and removes it from the disk.
    pub fn bring(&self, file: &Path, name: &str) -> Result<()> {
        self.bucket.upload(&self.address.below(name), file)?;
        std::fs::remove_file(file).map_err(|e| Error::io(file, "remove the uploaded file", &e))
    }

    /// Downloads a file to the disk, so that it can be continued.
    pub fn fetch(&self, name: &str, file: &Path) -> Result<()> {
        let key = self.address.below(name);
        let Some(found) = self.bucket.look(&key)? else {
            let what = "no longer exists, but an earlier attempt uploaded it";
            return Err(Error::path(Kind::Changed, &self.dir.join(name), what));
        };
        let mut partial = file.to_owned().into_os_string();
        partial.push(".tmp");
        let partial = PathBuf::from(partial);
        let io = |e: std::io::Error| Error::io(&partial, "download the file again", &e);
        let mut out = File::create(&partial).map_err(io)?;
        let mut at = 0;
        while at < found.bytes {
            let end = found.bytes.min(at + limits::REMOTE_BLOCK_BYTES);
            out.write_all(&self.bucket.read(&found, at..end)?)
                .map_err(io)?;
            at = end;
        }
        std::fs::rename(&partial, file).map_err(io)
    }

    /// Removes a file that is no longer needed.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.bucket.delete(&self.address.below(name))
    }

    /// Writes the manifest, which makes the files valid, and removes those that it replaces.
    pub fn publish(&self, manifest: &Manifest, replace: bool) -> Result<()> {
        let key = self.address.below(MANIFEST);
        let text = Bytes::from(manifest.to_text());
        // An attempt of this same run that failed after this step may have written it.
        if !replace
            && let Some(found) = self.bucket.look(&key)?
            && (found.bytes != text.len() as u64
                || self.bucket.read(&found, 0..found.bytes)? != text)
        {
            let path = self.dir.join(MANIFEST);
            let what = "appeared while rows were written, and is left as it is";
            return Err(Error::path(Kind::Job, &path, what));
        }
        self.bucket.put(&key, text)?;
        let before = self.before.iter().flat_map(|manifest| &manifest.files);
        let is_gone = |old: &&Listed| manifest.files.iter().all(|new| new.name != old.name);
        before
            .filter(is_gone)
            .try_for_each(|old| self.bucket.delete(&self.address.below(&old.name)))
    }
}

/// The current state of the store that holds such directories.
pub fn volume(bucket: Option<&(Address, Arc<dyn Bucket>)>) -> Volume {
    match bucket {
        None => Volume::default(),
        Some((address, bucket)) => store::volume_of(&address.bucket, bucket.clone()),
    }
}
