//! Is a backup complete? Checked without its source and without a server: the checksums of all files, the rows and
//! their digests against its manifests, and whether everything that belongs to it exists.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;

use super::read::FileReader;
use super::restored::directories_below;
use crate::batch::Limits;
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::input::{Access, Volume};
use crate::limits;
use crate::parquet::{BACKUP, Backup, File, Listed, Manifest};
use crate::source::Reader;
use crate::store::{self, Login};

/// The result of checking a backup.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// Where it is.
    pub path: String,
    /// Its partitions.
    pub targets: Vec<CheckedTarget>,
    /// What is wrong with the backup as a whole.
    pub problems: Vec<String>,
    /// What could not be checked.
    pub warnings: Vec<String>,
}

/// The result of checking a partition of a backup.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckedTarget {
    /// Its directory.
    pub path: String,
    /// Its collection.
    pub collection: String,
    /// Its partition; empty: the default one.
    pub partition: String,
    /// Rows that were read.
    pub rows: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<String>,
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty() && self.targets.iter().all(|target| target.problems.is_empty())
    }
}

/// Whether a backup could be at this path.
pub fn is_backup(path: &Path) -> bool {
    store::is_address(path) || path.is_dir()
}

/// Checks all files of a backup. `looked_at` is called with the rows and bytes that were read; `stop` ends the check.
pub fn check(
    path: &Path,
    looked_at: &(dyn Fn(u64, u64) + Sync),
    stop: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Checked> {
    let volume = store::volume(path, Access::Map, &Login::default())?;
    let found = directories_below(path, &volume)?;
    let mut checked = Checked {
        path: path.display().to_string(),
        ..Checked::default()
    };
    for dir in found.unfinished {
        let what = "is being written, or was left half-written: it has no manifest yet";
        checked.problems.push(format!("{}: {what}", dir.display()));
    }
    let backup = match Backup::read(path, &volume) {
        Ok(backup) => backup,
        Err(error) if error.kind() == Kind::Corrupt => {
            checked.problems.push(describe(&error));
            None
        }
        Err(error) => return Err(error),
    };
    if found.with_manifest.is_empty() && backup.is_none() && checked.problems.is_empty() {
        let what = "is not a backup: there is no manifest.json in it or in a directory below it";
        return Err(Error::path(Kind::Job, path, what));
    }
    let listed = backup.iter().flat_map(|backup| &backup.directories);
    let mut missing: BTreeSet<&str> = listed.map(|dir| &*dir.path).collect();
    for dir in &found.with_manifest {
        stop()?;
        let (target, manifest) = match Manifest::read(dir, &volume) {
            Ok(Some(manifest)) => (
                whole(dir, &volume, &manifest, looked_at, stop)?,
                Some(manifest),
            ),
            Ok(None) => continue,
            Err(error) if error.kind() == Kind::Corrupt => (wrong(dir, &error), None),
            Err(error) => return Err(error),
        };
        let below = dir.strip_prefix(path).unwrap_or(dir);
        let name = below.to_string_lossy().into_owned();
        missing.remove(&*name);
        checked.targets.push(target);
        let last = checked.targets.last_mut().expect("one was added");
        let entry = backup
            .iter()
            .flat_map(|b| &b.directories)
            .find(|d| d.path == name);
        match (&backup, entry, &manifest) {
            (Some(_), Some(entry), Some(manifest)) if manifest.sum != Some(entry.manifest) => {
                last.problems
                    .push(format!("its manifest is not the one that {BACKUP} lists"));
            }
            (Some(_), None, Some(manifest)) if manifest.is_listed => {
                last.problems.push(format!("{BACKUP} does not list it"));
            }
            // Part of a backup may be checked alone; at its root, the list must exist.
            (None, _, Some(manifest)) if manifest.is_listed && below.components().count() == 2 => {
                let what = format!("{BACKUP} is missing: it lists what belongs to the backup");
                if !checked.problems.contains(&what) {
                    checked.problems.push(what);
                }
            }
            (_, _, Some(manifest)) if manifest.sum.is_none() => {
                let what = "was written by an earlier version, whose manifests have no checksum of their own";
                checked.warnings.push(format!("{}: {what}", dir.display()));
            }
            _ => {}
        }
    }
    for dir in missing {
        let what = format!("is missing: {BACKUP} lists it");
        checked.problems.push(format!("{dir} {what}"));
    }
    Ok(checked)
}

fn describe(error: &Error) -> String {
    match error.place() {
        Some(place) => format!("{place}: {}", error.what()),
        None => error.what().to_owned(),
    }
}

fn wrong(dir: &Path, error: &Error) -> CheckedTarget {
    CheckedTarget {
        path: dir.display().to_string(),
        problems: vec![describe(error)],
        ..CheckedTarget::default()
    }
}

/// Checks the files of a partition, as many at a time as there are processors.
fn whole(
    dir: &Path,
    volume: &Volume,
    manifest: &Manifest,
    looked_at: &(dyn Fn(u64, u64) + Sync),
    stop: &(dyn Fn() -> Result<()> + Sync),
) -> Result<CheckedTarget> {
    let mut target = CheckedTarget {
        path: dir.display().to_string(),
        collection: manifest.collection.clone(),
        partition: manifest.partition.clone(),
        ..CheckedTarget::default()
    };
    let files = match manifest.open(dir, volume) {
        Ok(files) => files,
        Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::Unsupported) => {
            target.problems.push(describe(&error));
            return Ok(target);
        }
        Err(error) => return Err(error),
    };
    target.bytes = files.iter().map(|(listed, _)| listed.bytes).sum();
    let (next, rows, sum) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let ended: Mutex<(Vec<String>, Option<Error>)> = Mutex::default();
    let work = || {
        while let Some((listed, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let done = file_digest(listed, file, manifest, looked_at, stop);
            let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            match done {
                Ok((count, digest)) => {
                    rows.fetch_add(count, Ordering::Relaxed);
                    sum.fetch_add(digest, Ordering::Relaxed);
                }
                Err(error) if error.kind().exit_code() == Kind::Corrupt.exit_code() => {
                    ended.0.push(describe(&error));
                }
                Err(error) => {
                    ended.1.get_or_insert(error);
                    next.store(files.len(), Ordering::Relaxed);
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..cores.min(files.len()) {
            scope.spawn(work);
        }
        work();
    });
    let (problems, error) = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = error {
        return Err(error);
    }
    target.rows = rows.into_inner();
    target.problems.extend(problems);
    target.problems.sort();
    let found = sum.into_inner();
    if target.problems.is_empty() && found != manifest.digest {
        target.problems.push(format!(
            "its rows have the digest {found:016x}, the manifest declares {:016x}",
            manifest.digest
        ));
    }
    Ok(target)
}

/// The rows of a file and their digest, after its checksum was verified.
fn file_digest(
    listed: &Listed,
    file: &File,
    manifest: &Manifest,
    looked_at: &(dyn Fn(u64, u64) + Sync),
    stop: &(dyn Fn() -> Result<()> + Sync),
) -> Result<(u64, u64)> {
    listed.check(&file.view)?;
    let limits = Limits {
        batch_bytes: limits::BATCH_BYTES_DEFAULT,
        batch_rows: u64::from(u32::MAX),
    };
    let mut reader = FileReader::new(file, &manifest.columns, None, 0..file.rows, limits)?;
    let (mut rows, mut sum) = (0, 0u64);
    while let Some(cut) = reader.next()? {
        stop()?;
        for part in &cut.parts {
            rows += part.len() as u64;
            sum = sum.wrapping_add(digest::part(part));
            looked_at(part.len() as u64, part.bytes());
        }
    }
    file.view.unchanged()?;
    Ok((rows, sum))
}
