//! Which targets does a directory with manifests hold? Their columns, key, metric and index are restored as they were.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Part, Rows};
use crate::batch::TargetName;
use crate::error::{Error, Kind, Result};
use crate::input::Volume;
use crate::job::Globs;
use crate::parquet::{BACKUP, Backup, MANIFEST, Manifest};
use crate::source::files::natural;

/// What a sink leaves in an incomplete directory.
const JOURNAL: &str = ".milvusdm-journal";

/// Directories to which the sink wrote targets.
#[derive(Default)]
pub struct Found {
    /// The complete ones.
    pub with_manifest: Vec<PathBuf>,
    /// The ones that are being written, or were left incomplete.
    pub unfinished: Vec<PathBuf>,
}

/// The targets of a directory and of those up to two levels below it; `None` if there is no manifest.
pub fn targets(dir: &Path, volume: &Volume, admitted: &Globs) -> Result<Option<Vec<Rows>>> {
    let found = directories_below(dir, volume)?;
    if let Some(dir) = found.unfinished.first() {
        let what = "is being written, or was left half-written: it has no manifest yet";
        return Err(Error::path(Kind::Job, dir, what).hint("run the job that writes it to its end"));
    }
    let backup = Backup::read(dir, volume)?;
    if found.with_manifest.is_empty() && backup.is_none() {
        return Ok(None);
    }
    let mut chosen = Vec::new();
    for dir in found.with_manifest {
        let Some(manifest) = Manifest::read(&dir, volume)? else {
            continue;
        };
        if admitted.admit(&manifest.collection, &manifest.partition) {
            chosen.push((dir, manifest));
        }
    }
    if let Some(backup) = backup {
        check_listed(dir, &backup, &chosen, admitted)?;
    }
    let targets = chosen.into_iter();
    let targets = targets.map(|(dir, manifest)| target(&dir, manifest, volume));
    targets.collect::<Result<_>>().map(Some)
}

/// Returns an error if the list of a backup does not match the directories that exist.
fn check_listed(
    dir: &Path,
    backup: &Backup,
    chosen: &[(PathBuf, Manifest)],
    admitted: &Globs,
) -> Result<()> {
    let wrong = |path: &Path, what: String| {
        let hint = "`milvusdm verify` of the backup lists all that is wrong with it; `collections:` chooses what is restored";
        Err(Error::path(Kind::Corrupt, path, what).hint(hint))
    };
    for listed in &backup.directories {
        let path = dir.join(&listed.path);
        // If a name was changed to be a valid path, the original is unknown: such directories are not chosen by name.
        let is_chosen = match listed.path.split_once('/') {
            Some((collection, partition)) => admitted.admit(collection, partition),
            None => true,
        };
        match chosen.iter().find(|(dir, _)| *dir == path) {
            None if is_chosen => return wrong(&path, format!("is missing: {BACKUP} lists it")),
            Some((_, manifest)) if manifest.sum != Some(listed.manifest) => {
                let what = format!("has a different manifest from the one that {BACKUP} lists");
                return wrong(&path, what);
            }
            _ => {}
        }
    }
    let is_listed = |path: &Path| backup.directories.iter().any(|d| dir.join(&d.path) == path);
    let mut others = chosen.iter().filter(|(_, manifest)| manifest.is_listed);
    match others.find(|(path, _)| !is_listed(path)) {
        Some((path, _)) => wrong(
            path,
            format!("is not in {BACKUP}, which lists what belongs to the backup"),
        ),
        None => Ok(()),
    }
}

/// A directory and those up to two levels below it, as far as they hold targets.
pub fn directories_below(dir: &Path, volume: &Volume) -> Result<Found> {
    let mut found = Found::default();
    let mut level = vec![dir.to_owned()];
    for depth in 0..3 {
        let mut next = Vec::new();
        for dir in level {
            let entries = match volume {
                // A directory that cannot be listed is left to those who look for files.
                Volume::Disk(_) => volume.list(&dir).unwrap_or_default(),
                Volume::Remote(_) => volume.list(&dir)?,
            };
            let has = |name: &str| entries.iter().any(|e| !e.is_dir && e.name == name);
            if has(MANIFEST) {
                found.with_manifest.push(dir.clone());
            } else if has(JOURNAL) {
                found.unfinished.push(dir.clone());
            }
            if depth < 2 {
                let below = entries.iter().filter(|entry| entry.is_dir);
                let mut below: Vec<PathBuf> = below.map(|e| dir.join(&e.name)).collect();
                below.sort_by(|one, two| natural(one, two));
                next.append(&mut below);
            }
        }
        level = next;
    }
    Ok(found)
}

fn target(dir: &Path, manifest: Manifest, volume: &Volume) -> Result<Rows> {
    let files = manifest.open(dir, volume)?;
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
