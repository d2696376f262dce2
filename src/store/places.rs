//! Objects as the files of a source. Each prefix is listed once, so that opening a listed object needs no request.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Address, Bucket, Found};
use crate::error::{Error, Kind, Result};
use crate::input::{Entry, Remote, Seen};
use crate::limits;

/// The objects of a bucket by their addresses.
pub struct Places {
    name: String,
    bucket: Arc<dyn Bucket>,
    known: Mutex<Known>,
}

/// What was listed.
#[derive(Default)]
struct Known {
    /// By key.
    objects: HashMap<String, Found>,
    /// Prefixes whose objects are all known.
    whole: Vec<String>,
}

impl Places {
    /// The objects of this bucket.
    pub fn new(name: String, bucket: Arc<dyn Bucket>) -> Places {
        Places {
            name,
            bucket,
            known: Mutex::default(),
        }
    }

    fn key(&self, path: &Path) -> Result<String> {
        match Address::of(path)? {
            Some(address) if address.bucket == self.name => Ok(address.key),
            _ => Err(Error::path(Kind::Job, path, "is in another bucket")),
        }
    }
}

fn seen(found: &Found) -> Seen {
    Seen {
        bytes: found.bytes,
        modified_ns: found.modified_ns,
        tag: found.tag.as_str().into(),
    }
}

impl Remote for Places {
    fn look(&self, path: &Path) -> Result<Option<Seen>> {
        let key = self.key(path)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.objects.get(&key) {
            return Ok(Some(seen(found)));
        }
        let is_listed = known.whole.iter().any(|prefix| key.starts_with(prefix));
        drop(known);
        if key.is_empty() || is_listed {
            return Ok(None);
        }
        Ok(self.bucket.look(&key)?.as_ref().map(seen))
    }

    fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        let key = self.key(dir)?;
        let prefix = match key.is_empty() {
            true => key,
            false => key + "/",
        };
        let listing = self.bucket.list(&prefix)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let folders = listing.folders.into_iter();
        let folders = folders.map(|name| Entry { name, is_dir: true });
        let mut entries: Vec<Entry> = folders.collect();
        for found in listing.objects {
            // Some tools mark a folder by an object whose key is the prefix itself.
            if let Some(name) = found.key.strip_prefix(&prefix).filter(|n| !n.is_empty()) {
                entries.push(Entry {
                    name: name.to_owned(),
                    is_dir: false,
                });
            }
            if known.objects.len() < limits::STORE_KNOWN_MAX {
                known.objects.insert(found.key.clone(), found);
            }
        }
        Ok(entries)
    }

    fn know(&self, dir: &Path) -> Result<()> {
        let prefix = self.key(dir)? + "/";
        let mut all = HashMap::new();
        let mut is_whole = true;
        self.bucket.walk(&prefix, &mut |page| {
            all.extend(page.into_iter().map(|found| (found.key.clone(), found)));
            is_whole = all.len() <= limits::STORE_KNOWN_MAX;
            is_whole
        })?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Objects beyond the bound are requested one by one.
        if is_whole && known.objects.len() + all.len() <= limits::STORE_KNOWN_MAX {
            known.objects.extend(all);
            known.whole.push(prefix);
        }
        Ok(())
    }

    fn read(&self, path: &Path, seen: &Seen, at: u64, len: u64) -> Result<Bytes> {
        let found = Found {
            key: self.key(path)?,
            bytes: seen.bytes,
            tag: seen.tag.to_string(),
            modified_ns: seen.modified_ns,
        };
        self.bucket.read(&found, at..at.saturating_add(len))
    }
}
