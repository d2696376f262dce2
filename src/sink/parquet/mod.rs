//! Parquet: how are rows of any columns written to files that every tool reads, with a manifest that restores them?
//! Rows arrive in order, and a batch becomes a row group; the work of a killed run is continued. Never reads a source.

mod again;
mod away;
mod held;
mod journal;
mod listed;
mod piece;
mod target;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crate::batch::{Batch, Keys, Limits, Target, TargetName};
use crate::buffers::Buffer;
use crate::error::{Error, Kind, Result};
use crate::input::Volume;
use crate::job::{Form, Mode, RunSettings, Setting};
use crate::parquet::{MANIFEST, Manifest, PACKINGS};
use crate::store::{self, Address, Bucket, Login};

use super::held::Held;
use super::names;
use super::{
    Action, Attempt, Count, Decision, Finishing, Parcel, Receipt, Redelivery, Sink, SinkKind,
    Strength,
};
use away::Away;
use target::{Filling, Shape};

/// Directories of Parquet files.
pub const KIND: SinkKind = SinkKind {
    name: "parquet",
    summary: "Parquet files with a manifest: a directory for each partition",
    settings: &[
        Setting::path(
            "dir",
            "directory of the files, or of <collection>/<partition>; created if missing; also s3://bucket/prefix",
        )
        .required()
        .example("out"),
        Setting::choice(
            "mode",
            &["fail", "skip", "overwrite"],
            "what to do if a manifest exists",
        )
        .or("fail"),
        Setting::number("rows_per_file", (1, i64::MAX as u64), "rows per file").or("1000000"),
        Setting::choice(
            "compression",
            &PACKINGS,
            "how pages are compressed; left out: zstd, but float32 vectors uncompressed",
        ),
        store::S3,
    ],
    read: |form| Some(Box::new(Spec::read(form)?)),
};

/// The settings.
#[derive(Clone, Debug)]
struct Spec {
    dir: PathBuf,
    mode: Mode,
    shape: Shape,
    login: Login,
}

impl Spec {
    fn read(form: &mut Form) -> Option<Spec> {
        let dir = form.required("dir", "the directory to write to");
        let mode = form.choice("mode");
        let rows_per_file = form.number("rows_per_file");
        let packing = form.choice("compression");
        let login = Login::read(form);
        login.check(
            form,
            dir.as_ref()
                .is_none_or(|dir| store::is_address(dir.as_ref())),
        );
        Some(Spec {
            dir: dir?.into(),
            mode: mode.and_then(Mode::of).unwrap_or(Mode::Fail),
            shape: Shape {
                rows_per_file: rows_per_file.unwrap_or(1_000_000),
                packing,
            },
            login,
        })
    }
}

impl super::Spec for Spec {
    fn open(&self, run: &RunSettings) -> Result<Box<dyn Sink>> {
        let bucket = match Address::of(&self.dir)? {
            Some(address) => {
                let bucket = store::open(&address, &self.login)?;
                Some((address, bucket))
            }
            None => None,
        };
        let mut staging = run.checkpoint.clone().into_os_string();
        staging.push(".staging");
        Ok(Box::new(Parquet {
            spec: self.clone(),
            bucket,
            staging: staging.into(),
            run: AtomicU64::new(0),
            moving: AtomicBool::new(false),
            dirs: Mutex::default(),
            open: RwLock::default(),
        }))
    }
}

/// Parquet files as a sink.
struct Parquet {
    spec: Spec,
    /// Where complete files are moved, if not to `spec.dir`; until then they wait in `staging`, next to the checkpoint.
    bucket: Option<(Address, Arc<dyn Bucket>)>,
    staging: PathBuf,
    run: AtomicU64,
    /// Whether the source may change while it is read.
    moving: AtomicBool,
    /// The directory of each target seen so far, by number of the target.
    dirs: Mutex<BTreeMap<u32, (TargetName, PathBuf)>>,
    /// Targets that are being written; `None` if they are complete.
    open: RwLock<BTreeMap<u32, Option<Arc<Filling>>>>,
}

impl Parquet {
    /// The directory of a target; files of a source without names are directly in `dir`.
    fn dir(&self, name: &TargetName) -> PathBuf {
        below(&self.spec.dir, name)
    }

    /// The directory where its files are written.
    fn written_in(&self, name: &TargetName) -> PathBuf {
        match self.bucket {
            Some(_) => below(&self.staging, name),
            None => self.dir(name),
        }
    }

    fn volume(&self) -> Volume {
        away::volume(self.bucket.as_ref())
    }

    fn away(&self, name: &TargetName) -> Result<Option<Away>> {
        let bucket = self.bucket.as_ref().map(|(_, bucket)| bucket.clone());
        let away = bucket.map(|bucket| Away::new(bucket, &self.dir(name)));
        away.transpose()
    }

    /// Names of the files in the bucket that an earlier attempt with this checkpoint uploaded for this target.
    fn left(&self, name: &TargetName) -> Result<Vec<String>> {
        let noted = journal::noted(&self.written_in(name).join(target::JOURNAL));
        match self.bucket.is_some() && !noted.is_empty() {
            true => again::left(&self.dir(name), self.away(name)?.as_ref(), &noted),
            false => Ok(Vec::new()),
        }
    }

    fn find(&self, target: u32) -> Result<Option<Arc<Filling>>> {
        let open = self.open.read().expect("no one panics with it locked");
        let missing = || Error::path(Kind::Io, &self.spec.dir, "was not prepared for writing");
        open.get(&target).cloned().ok_or_else(missing)
    }
}

fn below(dir: &Path, name: &TargetName) -> PathBuf {
    match name.collection.as_str() {
        "" => dir.to_owned(),
        collection => dir
            .join(names::directory(collection))
            .join(names::partition(&name.partition)),
    }
}

/// Returns an error if a directory cannot be created or written to.
fn check_writable(dir: &Path) -> Result<()> {
    let there = dir
        .ancestors()
        .find(|dir| dir.exists() || dir.as_os_str().is_empty());
    let there = there
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(Error::path(Kind::Job, there, "is not a directory"));
    }
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    let writable = rustix::fs::access(there, access);
    writable
        .map_err(|e| Error::io(there, "write in this directory", &e.into()).with_kind(Kind::Job))
}

/// A Parquet file in a directory without a manifest that this job did not write.
fn stray(dir: &Path, volume: &Volume, ours: &[String]) -> Result<Option<PathBuf>> {
    let ours: Vec<PathBuf> = ours.iter().map(|name| dir.join(name)).collect();
    let is_stray =
        |path: &PathBuf| path.extension().is_some_and(|e| e == "parquet") && !ours.contains(path);
    if volume.is_remote() {
        let entries = volume.list(dir)?.into_iter();
        return Ok(entries.map(|entry| dir.join(entry.name)).find(is_stray));
    }
    let listing = match std::fs::read_dir(dir) {
        Ok(listing) => listing,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(Error::io(dir, "list", &e).with_kind(Kind::Job)),
    };
    let mut files: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
    files.retain(is_stray);
    files.sort();
    Ok(files.into_iter().next())
}

impl Sink for Parquet {
    fn describe(&self) -> String {
        format!("Parquet files under {}", self.spec.dir.display())
    }

    fn limits(&self, wanted: Limits) -> Limits {
        wanted
    }

    fn name(&self, source: &TargetName) -> TargetName {
        source.clone()
    }

    fn keyed(&self, _: Keys) -> bool {
        false
    }

    fn in_order(&self) -> bool {
        true
    }

    fn file(&self, target: &Target) -> Option<PathBuf> {
        Some(self.dir(&target.name))
    }

    fn decide(&self, target: &Target) -> Result<Decision> {
        let dir = self.dir(&target.name);
        let mut dirs = self.dirs.lock().expect("no one panics with it locked");
        let other = dirs
            .iter()
            .find(|(number, (_, other))| **number != target.number && *other == dir);
        if let Some((_, (other, _))) = other {
            let what = format!(
                "both {other} and {} would be in this directory",
                target.name
            );
            return Err(
                Error::path(Kind::Job, &dir, what).hint("rename or merge them with `into:`")
            );
        }
        dirs.insert(target.number, (target.name.clone(), dir.clone()));
        drop(dirs);
        check_writable(&self.written_in(&target.name))?;
        let volume = self.volume();
        let found = match Manifest::read(&dir, &volume) {
            Ok(found) => found.map(|manifest| manifest.rows()),
            // What is replaced need not be a valid manifest.
            Err(_) if self.spec.mode == Mode::Overwrite => Some(0),
            Err(error) if error.kind() == Kind::Corrupt => return Err(error.with_kind(Kind::Job)),
            Err(error) => return Err(error),
        };
        if found.is_none()
            && let Some(path) = stray(&dir, &volume, &self.left(&target.name)?)?
        {
            let what = "already exists, but no manifest lists it";
            let hint = "name another directory with `dir:`; files that an abandoned job left can be removed";
            return Err(Error::path(Kind::Job, &path, what).hint(hint));
        }
        let (action, why) = match (found, self.spec.mode) {
            (None, _) => (Action::Create, "there is no manifest".to_owned()),
            (Some(_), Mode::Skip) => (Action::Skip, "a manifest exists, mode is skip".to_owned()),
            (Some(rows), Mode::Overwrite) => {
                let why =
                    format!("a manifest exists, mode is overwrite; its {rows} rows are replaced");
                (Action::Replace, why)
            }
            (Some(_), _) => {
                let error = Error::path(Kind::Job, &dir.join(MANIFEST), "exists");
                return Err(error.hint(
                    "`mode: skip` leaves the files as they are, `mode: overwrite` replaces them when the new ones are complete",
                ));
            }
        };
        Ok(Decision {
            action,
            replaces: 0,
            rows_before: match action {
                Action::Skip => found.unwrap_or(0),
                _ => 0,
            },
            ours: action != Action::Skip,
            why: format!("{}: {why}", dir.display()),
            removes: found
                .filter(|_| action == Action::Replace)
                .map(|rows| Count {
                    rows,
                    strength: Strength::Exact,
                }),
        })
    }

    fn begin(&self, run: u64) {
        self.run.store(run, Ordering::Relaxed);
    }

    fn rows_may_change(&self) {
        self.moving.store(true, Ordering::Relaxed);
    }

    /// An earlier start of the job may already have decided.
    fn decided(&self, target: &Target, _: &Decision) {
        let mut dirs = self.dirs.lock().expect("no one panics with it locked");
        dirs.insert(target.number, (target.name.clone(), self.dir(&target.name)));
    }

    fn prepare(&self, target: &Target, decision: &Decision, begun: bool) -> Result<()> {
        if decision.action == Action::Skip {
            return Ok(());
        }
        let dir = self.written_in(&target.name);
        std::fs::create_dir_all(&dir).map_err(|e| Error::io(&dir, "create the directory", &e))?;
        // What did not exist when this job began must not exist at its end, unless an earlier attempt of this job
        // renamed its own file and died before it could record that.
        let replace = decision.action == Action::Replace || begun;
        let run = self.run.load(Ordering::Relaxed);
        let moving = self.moving.load(Ordering::Relaxed);
        let away = self.away(&target.name)?;
        let filling = Filling::open(&dir, target, &self.spec.shape, run, (replace, moving), away)?;
        let mut open = self.open.write().expect("no one panics with it locked");
        open.insert(target.number, Some(Arc::new(filling)));
        Ok(())
    }

    fn pack(&self, batch: Batch, _: Buffer) -> Result<Parcel> {
        let Some(filling) = self.find(batch.target)? else {
            return Err(Error::path(Kind::Io, &self.spec.dir, "is already complete"));
        };
        let (digests, digest) = filling.pack(&batch);
        Ok(Parcel {
            id: batch.id,
            rows: batch.rows() as u32,
            payload_bytes: batch.bytes(),
            digest,
            body: vec![digests],
            left_out: Vec::new(),
            batch,
        })
    }

    fn deliver(&self, parcel: &Parcel, _: Attempt) -> Result<Receipt> {
        if let Some(filling) = self.find(parcel.batch.target)? {
            filling.deliver(&parcel.batch, &parcel.body)?;
        }
        Ok(Receipt {
            rows: parcel.rows,
            upserted: false,
        })
    }

    fn redelivery(&self, _: &Target, _: &Decision) -> Redelivery {
        Redelivery::Harmless
    }

    /// Rows are read again from the first; those that are already in the files are compared by their digests and not
    /// written again.
    fn resumable(&self) -> bool {
        false
    }

    fn finish(&self, target: &Target) -> Result<Finishing> {
        let filling = match self
            .open
            .read()
            .expect("no one panics with it locked")
            .get(&target.number)
        {
            Some(Some(filling)) => filling.clone(),
            _ => return Ok(Finishing::Done),
        };
        let rows = filling.finish()?;
        self.list(target)?;
        if self.bucket.is_some() {
            // A directory in which other targets still wait is kept.
            let mut empty = self.written_in(&target.name);
            while empty.starts_with(&self.staging) && std::fs::remove_dir(&empty).is_ok() {
                empty.pop();
            }
        }
        let mut open = self.open.write().expect("no one panics with it locked");
        open.insert(target.number, None);
        tracing::info!(dir = %self.dir(&target.name).display(), rows, "files written");
        Ok(Finishing::Done)
    }

    fn count(&self, target: &Target) -> Result<Count> {
        let dir = self.dir(&target.name);
        let manifest = Manifest::read(&dir, &self.volume()).map_err(|e| match e.kind() {
            Kind::Corrupt => e.with_kind(Kind::Differs),
            _ => e,
        })?;
        Ok(Count {
            // Removed since: it no longer has rows.
            rows: manifest.map_or(0, |manifest| manifest.rows()),
            strength: Strength::Exact,
        })
    }

    fn held<'s>(&'s self, target: &Target) -> Result<Held<'s>> {
        held::open(&self.dir(&target.name), &self.volume(), target)
    }

    fn abandon(&self, target: &Target, _: &Decision) -> Option<String> {
        let mut open = self.open.write().expect("no one panics with it locked");
        let was_open = open.remove(&target.number).flatten().is_some();
        let dir = self.written_in(&target.name);
        was_open.then(|| {
            format!(
                "{} has rows in temporary files, with which the same command continues",
                dir.display()
            )
        })
    }
}
