//! Which directories did a job fill? Once all are complete, they are added to the list of the backup.

use std::fs::File;
use std::io::Write;

use super::Parquet;
use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::parquet::{BACKUP, Backup, Directory, Manifest};

impl Parquet {
    /// Writes the list, unless a target of this job is still incomplete: that target will then write it.
    pub fn list(&self, target: &Target) -> Result<()> {
        if target.name.collection.is_empty() {
            // The list would be in the same directory as its manifest.
            return Ok(());
        }
        // Two targets that end at the same time would write the list twice.
        let dirs = self.dirs.lock().expect("no one panics with it locked");
        let volume = self.volume();
        let mut filled = Vec::with_capacity(dirs.len());
        // From the last one backwards, because targets end in order.
        for (_, dir) in dirs.values().rev() {
            let Ok(Some(manifest)) = Manifest::read(dir, &volume) else {
                return Ok(());
            };
            let path = dir.strip_prefix(&self.spec.dir).unwrap_or(dir);
            filled.push(Directory {
                path: path.to_string_lossy().into_owned(),
                // A manifest of an earlier version has no checksum and is not listed.
                manifest: manifest.sum.unwrap_or(0),
            });
        }
        filled.retain(|directory| directory.manifest != 0);
        let before = match Backup::read(&self.spec.dir, &volume) {
            // An unreadable list is replaced.
            Err(error) if error.kind() == Kind::Corrupt => None,
            before => before?,
        };
        let mut others = before.map_or(Vec::new(), |before| before.directories);
        others.retain(|old| filled.iter().all(|new| new.path != old.path));
        filled.append(&mut others);
        filled.sort_by(|one, two| one.path.cmp(&two.path));
        let text = Backup {
            directories: filled,
        }
        .to_text();
        if let Some((address, bucket)) = &self.bucket {
            return bucket.put(&address.below(BACKUP), text.into());
        }
        let (path, temporary) = (
            self.spec.dir.join(BACKUP),
            self.spec.dir.join(".milvusdm-backup.tmp"),
        );
        let mut file =
            File::create(&temporary).map_err(|e| Error::io(&temporary, "create the list", &e))?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all());
        written.map_err(|e| Error::io(&temporary, "write the list", &e))?;
        std::fs::rename(&temporary, &path).map_err(|e| Error::io(&path, "rename the list", &e))
    }
}
