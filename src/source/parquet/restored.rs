//! Which targets does a directory hold whose files have a manifest? Columns, key, metric and index are as they were.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Part, Rows};
use crate::batch::TargetName;
use crate::error::{Error, Kind, Result};
use crate::input::Access;
use crate::job::Globs;
use crate::parquet::{MANIFEST, Manifest};
use crate::source::files::natural;

/// What a sink leaves in a directory that is not whole.
const JOURNAL: &str = ".milvusdm-journal";

/// Directories that the sink writes targets to.
#[derive(Default)]
pub struct Found {
    /// Those that are whole.
    pub with_manifest: Vec<PathBuf>,
    /// Those that are being written, or were left half-written.
    pub unfinished: Vec<PathBuf>,
}

/// A directory and those two steps below it, as far as targets are there.
pub fn directories_below(dir: &Path) -> Found {
    let mut found = Found::default();
    let mut level = vec![dir.to_owned()];
    for depth in 0..3 {
        let mut next = Vec::new();
        for dir in level {
            if dir.join(MANIFEST).is_file() {
                found.with_manifest.push(dir.clone());
            } else if dir.join(JOURNAL).is_file() {
                found.unfinished.push(dir.clone());
            }
            if depth < 2 {
                next.extend(directories(&dir));
            }
        }
        level = next;
    }
    found
}

/// The targets of a directory and of those two steps below it; `None` where there is no manifest.
pub fn targets(dir: &Path, access: Access, admitted: &Globs) -> Result<Option<Vec<Rows>>> {
    let found = directories_below(dir);
    if let Some(dir) = found.unfinished.first() {
        let what = "is being written, or was left half-written: it has no manifest yet";
        return Err(
            Error::path(Kind::Job, dir, what).hint("let the job that writes it go on to its end")
        );
    }
    if found.with_manifest.is_empty() {
        return Ok(None);
    }
    let mut targets = Vec::new();
    for dir in found.with_manifest {
        let Some(manifest) = Manifest::read(&dir)? else {
            continue;
        };
        if admitted.admit(&manifest.collection, &manifest.partition) {
            targets.push(target(&dir, manifest, access)?);
        }
    }
    Ok(Some(targets))
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = listing
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    all.sort_by(|one, two| natural(one, two));
    all
}

fn target(dir: &Path, manifest: Manifest, access: Access) -> Result<Rows> {
    let files = manifest.open(dir, access)?;
    Ok(Rows {
        name: TargetName {
            collection: manifest.collection,
            partition: manifest.partition,
        },
        source: dir.display().to_string(),
        files: files
            .into_iter()
            .map(|(listed, file)| Part {
                file,
                listed: Some((listed, OnceLock::new())),
            })
            .collect(),
        columns: manifest.columns,
        made: 0,
        row_numbers: manifest.numbered,
        auto_id: manifest.auto_id,
        traits: manifest.traits,
    })
}
