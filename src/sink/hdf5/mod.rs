//! HDF5: how are vectors written to files that every tool reads?
//! A file is complete or absent: written under a temporary name, synced, renamed. Never reads a source.
//!
//! Without filters every chunk has its place in the file before the first row arrives ([`direct`]): rows are written
//! there directly from the mapping, by any number of threads in any order. With filters chunks differ in
//! length, so they are compressed in parallel and appended in order ([`ordered`]).

mod covered;
mod create;
mod direct;
mod held;
mod ordered;
mod restore;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use crate::batch::{Batch, Keys, Limits, Target, TargetName};
use crate::buffers::Buffer;
use crate::error::{Error, Kind, Result};
use crate::h5;
use crate::h5::filter::Filter;
use crate::job::{Form, Mode, RunSettings, Setting};
use crate::limits;
use crate::schema::{Element, VectorType};

use super::held::Held;
use super::names;
use super::{
    Action, Attempt, Count, Decision, Finishing, Parcel, Receipt, Redelivery, Sink, SinkKind,
    Strength,
};

/// HDF5 files.
pub const KIND: SinkKind = SinkKind {
    name: "hdf5",
    summary: "HDF5 files: one, or one for each partition",
    settings: &[
        Setting::path("path", "the file to write").one_of(),
        Setting::path(
            "dir",
            "directory for <collection>/<partition>.h5; created if missing",
        )
        .one_of()
        .example("out"),
        Setting::choice(
            "mode",
            &["fail", "skip", "overwrite"],
            "what to do if a file exists",
        )
        .or("fail"),
        Setting::choice("compression", &COMPRESSIONS, "how chunks are compressed").or("none"),
        Setting::flag(
            "shuffle",
            "group bytes of equal significance before compression",
        ),
        Setting::number_or_auto("chunk_rows", (1, u32::MAX as u64), "rows per chunk"),
    ],
    read: |form| Some(Box::new(Spec::read(form)?)),
};

const COMPRESSIONS: [&str; 11] = [
    "none", "gzip1", "gzip2", "gzip3", "gzip4", "gzip5", "gzip6", "gzip7", "gzip8", "gzip9", "lzf",
];

/// The settings.
#[derive(Clone, Debug)]
struct Spec {
    place: Place,
    mode: Mode,
    layout: Layout,
}

/// Where files go.
#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Dir(PathBuf),
}

/// The layout of datasets.
#[derive(Clone, Debug)]
struct Layout {
    compression: Option<Filter>,
    shuffle: bool,
    chunk_rows: Option<u64>,
}

impl Layout {
    /// The filter pipeline of a dataset whose elements have this many bytes.
    fn filters(&self, element: usize) -> Vec<Filter> {
        let shuffle = self.shuffle.then_some(Filter::Shuffle(element));
        shuffle.into_iter().chain(self.compression).collect()
    }

    fn filtered(&self) -> bool {
        self.shuffle || self.compression.is_some()
    }
}

impl Spec {
    fn read(form: &mut Form) -> Option<Spec> {
        let (path, dir) = (form.text("path"), form.text("dir"));
        let place = match (path, dir) {
            (Some(path), None) => Some(Place::File(path.into())),
            (None, Some(dir)) => Some(Place::Dir(dir.into())),
            (None, None) if form.value("path").or(form.value("dir")).is_some() => None,
            _ => {
                form.needs_one(&["path", "dir"]);
                None
            }
        };
        let mode = form.choice("mode");
        let compression = form.choice("compression");
        let level = compression.and_then(|c| c.strip_prefix("gzip")?.parse().ok());
        let compression = match (level, compression) {
            (Some(level), _) => Some(Filter::Deflate(level)),
            (None, Some("lzf")) => Some(Filter::Lzf),
            _ => None,
        };
        let layout = Layout {
            compression,
            shuffle: form.flag("shuffle").unwrap_or(false),
            chunk_rows: form.number_or_auto("chunk_rows"),
        };
        Some(Spec {
            place: place?,
            mode: mode.and_then(Mode::of).unwrap_or(Mode::Fail),
            layout,
        })
    }
}

impl super::Spec for Spec {
    fn open(&self, _: &RunSettings) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Hdf5 {
            spec: self.clone(),
            targets: Mutex::default(),
            open: RwLock::default(),
        }))
    }
}

/// HDF5 files as a sink.
struct Hdf5 {
    spec: Spec,
    /// Targets seen so far, by number.
    targets: Mutex<BTreeMap<u32, Seen>>,
    /// Files being written, by the target's number.
    open: RwLock<BTreeMap<u32, Arc<Open>>>,
}

/// What the sink remembers about a target.
struct Seen {
    name: TargetName,
    path: PathBuf,
    /// Bytes that it needs on the disk.
    bytes: u64,
    writes: bool,
    finished: bool,
}

/// A file being written.
enum Open {
    Direct(direct::Direct),
    Ordered(ordered::Ordered),
}

impl Hdf5 {
    /// The file of a target.
    fn path(&self, name: &TargetName) -> PathBuf {
        match &self.spec.place {
            Place::File(path) => path.clone(),
            Place::Dir(dir) => self
                .collection_dir(dir, name)
                .join(names::file(&name.partition)),
        }
    }

    /// The directory of a collection; files of a source without names are directly in `dir`.
    fn collection_dir(&self, dir: &Path, name: &TargetName) -> PathBuf {
        match name.collection.as_str() {
            "" => dir.to_owned(),
            collection => dir.join(names::directory(collection)),
        }
    }

    fn find(&self, target: &Target) -> Result<Arc<Open>> {
        let open = self.open.read().expect("no one panics with it locked");
        open.get(&target.number).cloned().ok_or_else(|| {
            Error::path(
                Kind::Io,
                &self.path(&target.name),
                "was not prepared for writing",
            )
        })
    }

    /// Refuses a second target for the same file, and a target for which the disk has no room.
    fn admit(&self, target: &Target, path: &Path, writes: bool) -> Result<()> {
        let mut targets = self.targets.lock().expect("no one panics with it locked");
        let mut others = targets.iter().filter(|(n, _)| **n != target.number);
        if let Some((_, other)) = others.find(|(_, seen)| seen.path == path) {
            let what = format!("both {} and {} would be this file", other.name, target.name);
            let hint = match self.spec.place {
                Place::File(_) => "use `dir:` instead of `path:`, or merge them with `into:`",
                Place::Dir(_) => "rename or merge them with `into:`",
            };
            return Err(Error::path(Kind::Job, path, what).hint(hint));
        }
        let mut bytes = 0;
        if writes {
            bytes = create::bytes(target, &self.spec.layout);
            let promised: u64 = others_bytes(&targets, target.number);
            room_for(path, bytes, promised, self.spec.layout.filtered())?;
        }
        let seen = Seen {
            name: target.name.clone(),
            path: path.to_owned(),
            bytes,
            writes,
            finished: false,
        };
        targets.insert(target.number, seen);
        Ok(())
    }
}

fn others_bytes(targets: &BTreeMap<u32, Seen>, number: u32) -> u64 {
    let others = targets.iter().filter(|(n, s)| **n != number && !s.finished);
    others.map(|(_, seen)| seen.bytes).sum()
}

/// The closest existing directory above a file.
fn directory_of(path: &Path) -> &Path {
    let there = path.ancestors().skip(1).find(|p| p.is_dir());
    let here = Path::new(".");
    there.filter(|p| !p.as_os_str().is_empty()).unwrap_or(here)
}

/// Refuses if the disk of `path` has no room for `bytes` in addition to what other targets need.
///
/// How well data compresses is not known in advance; a tenth of its bytes is assumed.
fn room_for(path: &Path, bytes: u64, promised: u64, compressed: bool) -> Result<()> {
    let Ok(stat) = rustix::fs::statvfs(directory_of(path)) else {
        return Ok(());
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let asked = bytes.saturating_add(promised) / if compressed { 10 } else { 1 };
    if asked <= free {
        return Ok(());
    }
    let what = match promised {
        0 => format!("{asked} bytes are needed here, but only {free} are free"),
        _ => format!(
            "{asked} bytes are needed here with this job's other files, but only {free} are free"
        ),
    };
    Err(Error::path(Kind::Io, path, what))
}

impl Sink for Hdf5 {
    fn describe(&self) -> String {
        match &self.spec.place {
            Place::File(path) => format!("HDF5 file {}", path.display()),
            Place::Dir(dir) => format!("HDF5 files under {}", dir.display()),
        }
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
        self.spec.layout.filtered()
    }

    fn file(&self, target: &Target) -> Option<PathBuf> {
        Some(self.path(&target.name))
    }

    fn decide(&self, target: &Target) -> Result<Decision> {
        super::plain_only(target, "an HDF5 file")?;
        let path = self.path(&target.name);
        create::check(target, &self.spec.layout, &path)?;
        if let Place::File(path) = &self.spec.place {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            if let Some(parent) = parent.filter(|p| !p.is_dir()) {
                let what = "the directory to write the file in does not exist";
                return Err(Error::path(Kind::Job, parent, what));
            }
        }
        let exists = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                let what = "is a directory, not a file";
                return Err(Error::path(Kind::Job, &path, what).hint("use `dir:` for directories"));
            }
            Ok(meta) if !meta.is_file() && !meta.is_symlink() => {
                return Err(Error::path(Kind::Job, &path, "is not a regular file"));
            }
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(Error::io(&path, "check", &error).with_kind(Kind::Job)),
        };
        let (action, why) = match (exists, self.spec.mode) {
            (false, _) => (Action::Create, "the file does not exist"),
            (true, Mode::Skip) => (Action::Skip, "the file exists, mode is skip"),
            (true, Mode::Overwrite) => (Action::Replace, "the file exists, mode is overwrite"),
            (true, _) => {
                return Err(Error::path(Kind::Job, &path, "exists").hint(
                    "`mode: skip` leaves it as it is, `mode: overwrite` replaces it when the new one is complete",
                ));
            }
        };
        if action != Action::Skip {
            let there = directory_of(&path);
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            if let Err(error) = rustix::fs::access(there, access) {
                return Err(
                    Error::io(there, "write in this directory", &error.into()).with_kind(Kind::Job)
                );
            }
        }
        self.admit(target, &path, action != Action::Skip)?;
        let removes = match action {
            // What is replaced need not be a valid HDF5 file.
            Action::Replace => rows(&path).ok(),
            _ => None,
        };
        let removes = removes.map(|rows| Count {
            rows,
            strength: Strength::Exact,
        });
        let why = match removes {
            Some(count) => format!("{why}; its {} rows are replaced", count.rows),
            None => why.to_owned(),
        };
        Ok(Decision {
            removes,
            replaces: 0,
            action,
            rows_before: match action {
                Action::Skip => rows(&path).unwrap_or(0),
                _ => 0,
            },
            ours: action != Action::Skip,
            why: format!("{}: {why}", path.display()),
        })
    }

    fn prepare(&self, target: &Target, decision: &Decision, begun: bool) -> Result<()> {
        let path = self.path(&target.name);
        let writes = decision.action != Action::Skip;
        let seen = |t: &BTreeMap<u32, Seen>| t.contains_key(&target.number);
        let known = seen(&self.targets.lock().expect("no one panics with it locked"));
        if !known {
            self.admit(target, &path, writes)?;
        }
        if !writes {
            return Ok(());
        }
        if let Place::Dir(dir) = &self.spec.place {
            let dir = self.collection_dir(dir, &target.name);
            std::fs::create_dir_all(&dir)
                .map_err(|e| Error::io(&dir, "create the directory", &e))?;
        }
        // A file that did not exist when this job began must not exist at its end, unless an earlier attempt of this
        // job renamed its own file and died before it could record that.
        let replace = decision.action == Action::Replace || begun;
        let claim = create::Claim {
            whole: path,
            replace,
        };
        let layout = &self.spec.layout;
        let open = match layout.filtered() {
            false => Open::Direct(direct::Direct::new(target, layout, claim)),
            true => Open::Ordered(ordered::Ordered::new(target, layout, claim)),
        };
        let mut files = self.open.write().expect("no one panics with it locked");
        files.insert(target.number, Arc::new(open));
        Ok(())
    }

    fn pack(&self, batch: Batch, room: Buffer) -> Result<Parcel> {
        let vector = match batch.parts.first() {
            Some(part) => part
                .columns()
                .as_plain()
                .expect("only plain columns were decided on"),
            None => VectorType {
                element: Element::Float32,
                dimension: 1,
            },
        };
        let filters = self.spec.layout.filters(create::element_bytes(vector));
        let mut digest = 0u64;
        for part in &batch.parts {
            let width = vector.row_bytes() as usize;
            let sum = crate::simd::digest_rows(part.ids(), part.vectors(), width);
            digest = digest.wrapping_add(sum);
        }
        let body = if filters.is_empty() {
            direct::pack(&batch, room)
        } else {
            let open = self.open.read().expect("no one panics with it locked");
            let open = open.get(&batch.target).cloned();
            match open.as_deref() {
                Some(Open::Ordered(file)) => file.pack(&batch, vector, room),
                _ => {
                    let path = Path::new("an HDF5 file");
                    return Err(Error::path(Kind::Io, path, "was not prepared for writing"));
                }
            }
        };
        let rows = batch.rows();
        Ok(Parcel {
            id: batch.id,
            rows: rows as u32,
            payload_bytes: rows * (vector.row_bytes() + 8),
            digest,
            body,
            left_out: Vec::new(),
            batch,
        })
    }

    fn deliver(&self, parcel: &Parcel, _: Attempt) -> Result<Receipt> {
        let open = self.open.read().expect("no one panics with it locked");
        let open = open.get(&parcel.batch.target).cloned();
        match open.as_deref() {
            Some(Open::Direct(file)) => file.deliver(parcel)?,
            Some(Open::Ordered(file)) => file.deliver(parcel)?,
            None => {
                return Err(Error::new(
                    Kind::Io,
                    "the file is no longer open for writing",
                ));
            }
        }
        Ok(Receipt {
            rows: parcel.rows,
            upserted: false,
        })
    }

    fn redelivery(&self, _: &Target, _: &Decision) -> Redelivery {
        Redelivery::Harmless
    }

    fn resumable(&self) -> bool {
        false
    }

    fn finish(&self, target: &Target) -> Result<Finishing> {
        let path = self.path(&target.name);
        {
            let targets = self.targets.lock().expect("no one panics with it locked");
            let seen = targets.get(&target.number);
            if seen.is_some_and(|s| s.finished || !s.writes) {
                return Ok(Finishing::Done);
            }
        }
        let file = self.find(target)?;
        match &*file {
            Open::Direct(file) => file.finish()?,
            Open::Ordered(file) => file.finish()?,
        }
        let mut open = self.open.write().expect("no one panics with it locked");
        open.remove(&target.number);
        drop(open);
        let mut targets = self.targets.lock().expect("no one panics with it locked");
        if let Some(seen) = targets.get_mut(&target.number) {
            seen.finished = true;
        }
        let mut same = targets.values();
        let unfinished =
            same.any(|s| s.writes && !s.finished && s.name.collection == target.name.collection);
        drop(targets);
        if let Place::Dir(dir) = &self.spec.place
            && !unfinished
        {
            let dir = self.collection_dir(dir, &target.name);
            restore::write(&dir, target, self.spec.mode)?;
        }
        tracing::info!(path = %path.display(), rows = target.rows, "file written");
        Ok(Finishing::Done)
    }

    fn count(&self, target: &Target) -> Result<Count> {
        let path = self.path(&target.name);
        // Removed since: it no longer has rows.
        let there = path.try_exists().unwrap_or(true);
        Ok(Count {
            rows: if there { rows(&path)? } else { 0 },
            strength: Strength::Exact,
        })
    }

    fn held<'s>(&'s self, target: &Target) -> Result<Held<'s>> {
        held::open(&self.path(&target.name), target, &self.spec.layout)
    }

    fn abandon(&self, target: &Target, _: &Decision) -> Option<String> {
        let mut open = self.open.write().expect("no one panics with it locked");
        // Its temporary file is removed when the last reference to it is dropped.
        open.remove(&target.number);
        None
    }
}

/// Does with the existing files that these settings name what a job will do through the library before it writes or
/// compares, and reports each file first. Continues after every error: a file that is not HDF5 may be replaced.
pub fn rehearse(form: &mut Form, next: &mut dyn FnMut(&Path)) {
    let Some(spec) = Spec::read(form) else { return };
    let mut files = Vec::new();
    match spec.place {
        Place::File(path) => files.push(path),
        // Collections are directories, partitions files in them.
        Place::Dir(dir) => {
            let within = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
            for entry in within(&dir).take(limits::FILES_MAX) {
                match entry.path().is_dir() {
                    true => files.extend(within(&entry.path()).map(|inner| inner.path())),
                    false => files.push(entry.path()),
                }
            }
            files.retain(|path| path.extension().is_some_and(|ending| ending == "h5"));
        }
    }
    for path in files.iter().filter(|path| path.is_file()) {
        next(path);
        // The job reports any other fault of the file.
        let _ = rows(path);
    }
}

/// Rows of a finished file.
fn rows(path: &Path) -> Result<u64> {
    std::fs::File::open(path).map_err(|e| Error::io(path, "count rows", &e))?;
    // The file was complete when it got its name: whatever the library cannot read was damaged since.
    let wrong = |error| h5::failed(Kind::Differs, path, "count rows", &error);
    let file = hdf5::File::open(path).map_err(wrong)?;
    let shape = file.dataset(h5::VECTORS).and_then(|d| d.get_shape());
    let shape = shape.map_err(wrong)?;
    Ok(shape.first().copied().unwrap_or(0) as u64)
}
