//! What did other jobs deliver, and where? Notes in the state directory, one for each checkpoint, so that the same rows
//! are recognised under another job file, or after a checkpoint was lost.
//! Best effort: a note that cannot be written causes a warning, and stops nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::log;
use super::{Finished, now};
use crate::error::Result;
use crate::job::state_directory;
use crate::limits;
use crate::plan::Plan;
use crate::sink::{Action, Decision};

/// The notes of this user on this machine.
pub struct Deliveries {
    directory: PathBuf,
}

/// What was delivered under one checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// The checkpoint's file, which has the name of its job.
    pub checkpoint: PathBuf,
    /// When the last of its runs began, in seconds since the epoch.
    pub begun: u64,
    /// When it finished, and with how many rows, if it did.
    pub finished: Option<Finished>,
    /// For each destination, the pieces of data that went there.
    places: BTreeMap<String, BTreeSet<String>>,
}

impl Delivery {
    /// Whether rows may have been sent, as the log of an unfinished run records.
    fn may_have_sent(&self) -> bool {
        let text = std::fs::read(&self.checkpoint).unwrap_or_default();
        let log = log::read(&self.checkpoint, &text).map(|(log, _)| log);
        let idle = log.is_ok_and(|log| {
            log.header.is_some() && log.finished.is_none() && !log.may_have_sent()
        });
        self.finished.is_some() || !idle
    }
}

impl Deliveries {
    /// `None` if there is no home directory to keep them in.
    pub fn open() -> Option<Deliveries> {
        let directory = state_directory()?.join("deliveries");
        Some(Deliveries { directory })
    }

    /// Notes what a run delivers, once its targets are there, and again when it has finished.
    pub fn note(
        plan: &Plan,
        checkpoint: &Path,
        decisions: &[Decision],
        finished: Option<Finished>,
    ) -> Result<()> {
        let mut places = BTreeMap::new();
        for (target, decision) in plan.manifest.targets.iter().zip(decisions) {
            if decision.action == Action::Skip || target.rows == 0 {
                continue;
            }
            let pieces = plan.fingerprint.pieces.get(target.number as usize);
            if let Some(place) = plan.sink.incarnation(target)? {
                places.insert(place, pieces.cloned().unwrap_or_default());
            }
        }
        if places.is_empty() {
            return Ok(());
        }
        let written = match Deliveries::open() {
            Some(notes) => notes.write(checkpoint, places, finished),
            None => Err(std::io::Error::other("HOME is not set")),
        };
        if let Err(error) = written {
            tracing::warn!(
                "cannot note in the state directory what this job delivers ({error}): the same rows under another job \
                 file will not be recognised"
            );
        }
        Ok(())
    }

    fn write(
        &self,
        checkpoint: &Path,
        places: BTreeMap<String, BTreeSet<String>>,
        finished: Option<Finished>,
    ) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let path = self.path(checkpoint);
        let mut delivery = read(&path).unwrap_or(Delivery {
            checkpoint: checkpoint.to_owned(),
            begun: 0,
            finished: None,
            places: BTreeMap::new(),
        });
        (delivery.begun, delivery.finished) = (now(), finished);
        if delivery.places.len() + places.len() > limits::DELIVERY_PLACES_MAX {
            delivery.places.clear();
        }
        for (place, pieces) in places {
            delivery.places.entry(place).or_default().extend(pieces);
        }
        let new = path.with_extension(format!("{}.tmp", std::process::id()));
        std::fs::write(&new, serde_json::to_vec(&delivery)?)?;
        std::fs::rename(&new, &path)
    }

    /// Finds a delivery of some of the same rows to a destination that the plan adds to, with the target's name.
    pub fn find(plan: &Plan, decisions: &[Decision]) -> Result<Option<(String, Delivery)>> {
        let Some(notes) = Deliveries::open() else {
            return Ok(None);
        };
        let all = notes.all();
        for (target, decision) in plan.manifest.targets.iter().zip(decisions) {
            // A target that was counted and found empty is empty.
            if decision.action != Action::Append || decision.ours || all.is_empty() {
                continue;
            }
            let (Some(place), Some(pieces)) = (
                plan.sink.incarnation(target)?,
                plan.fingerprint.pieces.get(target.number as usize),
            ) else {
                continue;
            };
            let same = |d: &&Delivery| {
                let there = d.places.get(&place);
                there.is_some_and(|there| !there.is_disjoint(pieces))
            };
            if let Some(delivery) = all.iter().find(|d| same(d) && d.may_have_sent()) {
                return Ok(Some((target.name.to_string(), delivery.clone())));
            }
        }
        Ok(None)
    }

    fn all(&self) -> Vec<Delivery> {
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten();
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let notes = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
        notes.filter_map(|path| read(&path)).collect()
    }

    fn path(&self, checkpoint: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let path = checkpoint.as_os_str().as_bytes();
        let name = format!("{:08x}-{}.json", crc32fast::hash(path), path.len());
        self.directory.join(name)
    }
}

fn read(path: &Path) -> Option<Delivery> {
    let short = std::fs::metadata(path).is_ok_and(|meta| meta.len() <= limits::DELIVERY_BYTES_MAX);
    let text = std::fs::read(path).ok().filter(|_| short)?;
    serde_json::from_slice(&text).ok()
}
