//! The server's own import: how do batches become files, jobs, and rows that are there once?
//! A batch is a file: staged while it is packed, under a name that nothing else ever has; imported while it is delivered,
//! by a ledger that says what the server was asked. Never asks for the same file twice.

mod ledger;
mod settings;
mod stage;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tracing::info;

use crate::batch::{Batch, BatchId, Target};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::job::Existing;
use crate::limits;
use crate::milvus::{Collection, Flavour, ImportJob, ImportState, Server};
use crate::schema::{Column, Element, Role};
use crate::sink::{Parcel, Receipt};

use super::{Milvus, Ready, pack};
use ledger::{Entry, Ledger};
use stage::Staging;

pub use settings::{BULK, BulkSettings, Format};

/// How long to wait at least, and at most, before asking again how far a job is. Milvus 2.3.5 ends when a program dies
/// while it asks (a nil dereference in its proxy when the call is cancelled): it is not asked often.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The server's own import, as a job wants it.
pub struct Bulk {
    /// What the job says.
    pub settings: BulkSettings,
    run: AtomicU64,
    targets: RwLock<HashMap<u32, Arc<Staging>>>,
    /// So that no two names are the same.
    named: AtomicU64,
}

impl Bulk {
    /// By what the job says.
    pub fn new(settings: BulkSettings) -> Bulk {
        Bulk {
            settings,
            run: AtomicU64::new(0),
            targets: RwLock::default(),
            named: AtomicU64::new(0),
        }
    }

    /// Tells it the run's number, which its directory bears.
    pub fn begin(&self, run: u64) {
        self.run.store(run, Ordering::Relaxed);
    }

    fn directory(&self) -> PathBuf {
        self.settings.path.join(self.directory_name())
    }

    fn directory_name(&self) -> String {
        format!("milvusdm-{:016x}", self.run.load(Ordering::Relaxed))
    }

    /// What the files of a target are, and why.
    pub fn format(&self, target: &Target) -> (Format, &'static str) {
        let plain = target.plain().map(|kind| kind.element);
        match (self.settings.format, plain) {
            (Some(format), _) => (format, "the job says so"),
            (None, Some(Element::Float32 | Element::Bit)) => (
                Format::Npy,
                "rows are an id and a vector, and the server reads arrays fastest",
            ),
            (None, _) => (
                Format::Parquet,
                "rows have more than an id and a vector of floats or bits",
            ),
        }
    }

    /// Complains of what cannot be imported.
    pub fn check(&self, target: &Target, server: &Server, existing: Existing) -> Vec<Error> {
        let mut wrong = Vec::new();
        let release = server.release.unwrap_or((0, 0));
        if server.flavour != Flavour::Full || !((2, 1)..(2, 4)).contains(&release) {
            let what = format!("{server}: files are imported into Milvus 2.1 to 2.3");
            let hint = "without `sink.milvus.bulk` rows are inserted";
            wrong.push(Error::new(Kind::Unsupported, what).hint(hint));
        }
        if existing == Existing::Upsert {
            let what = "`run.existing: upsert` replaces rows, and an import only adds them";
            wrong.push(Error::new(Kind::Job, what));
        }
        let plain = target.plain().map(|kind| kind.element);
        let arrays = matches!(plain, Some(Element::Float32 | Element::Bit));
        if self.settings.format == Some(Format::Npy) && !arrays {
            let what = format!(
                "`sink.milvus.bulk.format: npy` takes an id and a vector of floats or bits; {} has {}",
                target.name, target.columns
            );
            wrong.push(Error::new(Kind::Job, what).hint("`format: auto` takes parquet there"));
        }
        wrong.extend(writable(&self.settings.path).err());
        wrong
    }

    /// Makes the way of a target's rows into a collection ready.
    pub fn prepare(&self, target: &Target, found: &Collection, auto_id: bool) -> Result<()> {
        let mut columns = Vec::new();
        for (number, column) in target.columns.all().iter().enumerate() {
            let mut column = column.clone();
            match column.role {
                Role::Key if auto_id => continue,
                // It has no name in the collection's description.
                Role::Dynamic => column.name = "$meta".into(),
                _ => {}
            }
            columns.push((number, column));
        }
        let has = |name: &str| {
            columns
                .iter()
                .any(|(_, column): &(usize, Column)| *column.name == *name)
        };
        let missing = found.fields.iter().filter(|field| {
            !(has(&field.name) || field.is_function_output || auto_id && field.is_primary_key)
        });
        let missing: Vec<String> = missing.map(|field| field.describe()).collect();
        if !missing.is_empty() {
            let what = format!(
                "collection {} has fields that the source has no values for, and an import needs all of them: {}",
                found.name,
                missing.join(", ")
            );
            return Err(Error::new(Kind::Refused, what));
        }
        let directory = self.directory();
        std::fs::create_dir_all(&directory)
            .map_err(|e| Error::io(&directory, "make the directory", &e))?;
        let staging = Staging {
            format: self.format(target).0,
            columns,
        };
        let mut targets = self.targets.write().expect("no one panics with it locked");
        targets.insert(target.number, Arc::new(staging));
        Ok(())
    }

    fn staging(&self, target: u32) -> Arc<Staging> {
        let targets = self.targets.read().expect("no one panics with it locked");
        let staging = targets.get(&target).cloned();
        staging.expect("targets are prepared before their batches are packed")
    }

    /// Stages a batch.
    pub(super) fn pack(&self, ready: &Ready, rules: pack::Rules, batch: Batch) -> Result<Parcel> {
        let (mut batch, mut left_out) = pack::fitted(&ready.checks, rules.misfit, batch)?;
        left_out.extend(pack::leave_out(&mut batch, rules.non_finite)?);
        let digests = batch.parts.iter().map(digest::part);
        let digest = digests.fold(0, u64::wrapping_add);
        let rows = batch.rows();
        let mut body = Vec::new();
        if rows > 0 {
            let name = format!("{}-{}", name_of(batch.target, batch.id), self.nonce());
            self.staging(batch.target)
                .write(&self.directory().join(&name), &batch)?;
            body.push(Bytes::from(name));
        }
        Ok(Parcel {
            id: batch.id,
            rows: u32::try_from(rows).expect("batches have at most BULK_ROWS_MAX rows"),
            payload_bytes: batch.bytes(),
            digest,
            body,
            left_out,
            batch,
        })
    }

    /// What tells a name from those of other attempts and programs.
    fn nonce(&self) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since.map_or(0, |d| d.as_nanos());
        let count = self.named.fetch_add(1, Ordering::Relaxed);
        format!("{nanos:x}.{:x}.{count}", std::process::id())
    }

    /// Has the server import what was staged, unless the ledger, or the server, says that it has done so.
    pub(super) fn deliver(
        &self,
        milvus: &Milvus,
        ready: &Ready,
        parcel: &Parcel,
    ) -> Result<Receipt> {
        let staged = parcel.body.first().expect("a parcel with rows was staged");
        let mut staged = String::from_utf8_lossy(staged).into_owned();
        let directory = self.directory();
        let ledger = name_of(parcel.batch.target, parcel.id);
        let mut ledger = Ledger::open(&directory.join(format!("{ledger}.ledger")))?;
        let failures = ledger.failures();
        loop {
            match ledger.last().cloned() {
                Some(Entry::Done(rows)) => {
                    self.remove(&staged);
                    return receipt(parcel, rows);
                }
                Some(Entry::Accepted(files, job)) => match self.wait(milvus, job)? {
                    (ImportState::Failed(why), _) => {
                        info!("import job {job} failed: {why}");
                        ledger.add(Entry::Failed(files.clone(), why))?;
                    }
                    (_, rows) => {
                        ledger.add(Entry::Done(rows))?;
                        self.remove(&files);
                    }
                },
                Some(Entry::Submitted(files)) => {
                    // There was no answer. Once the files are gone a request that is late finds nothing to import; a job
                    // that has begun with them ends, one way or the other.
                    staged = self.withdraw(&files, staged)?;
                    let found = self.find(milvus, ready, &files)?;
                    ledger.add(match found {
                        Some(job) => Entry::Accepted(files, job.number),
                        None => Entry::Failed(files, "the server knows no such job".to_owned()),
                    })?;
                }
                Some(Entry::Failed(_, why))
                    if ledger.failures() - failures >= limits::BULK_ATTEMPTS =>
                {
                    let what = format!("the server could not import rows {}: {why}", at(parcel));
                    return Err(Error::new(Kind::Refused, what).hint(
                        "the server has to see the directory of `sink.milvus.bulk.staging.path`, under that path or the one \
                         in `server_path`",
                    ));
                }
                None | Some(Entry::Failed(..)) => {
                    if ledger.knows(&staged) {
                        staged = self.withdraw(&staged.clone(), staged)?;
                    }
                    let files = self.files(parcel.batch.target, &staged);
                    ledger.add(Entry::Submitted(staged.clone()))?;
                    let envelope = &ready.envelope;
                    let asked =
                        milvus
                            .client
                            .import(&envelope.collection, &envelope.partition, &files);
                    match asked {
                        Ok(job) => ledger.add(Entry::Accepted(staged.clone(), job))?,
                        Err(error) if error.kind() == Kind::Refused => {
                            ledger.add(Entry::Failed(staged.clone(), error.what().to_owned()))?;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// The files of a set, as the server calls them.
    fn files(&self, target: u32, name: &str) -> Vec<String> {
        let server = self.settings.server_path.trim_end_matches('/');
        let directory = format!("{server}/{}/{name}", self.directory_name());
        let files = self.staging(target).files().into_iter();
        files.map(|file| format!("{directory}/{file}")).collect()
    }

    /// The job that imports these files, if the server has one. Asked only where there was no answer.
    fn find(&self, milvus: &Milvus, ready: &Ready, files: &str) -> Result<Option<ImportJob>> {
        let jobs = milvus.client.import_jobs(&ready.envelope.collection)?;
        let named = format!("/{files}/");
        Ok(jobs.into_iter().find(|job| job.files.contains(&named)))
    }

    /// Takes files away from a request that may still come: what is staged now gets another name, others go. What is
    /// staged is then called so.
    fn withdraw(&self, files: &str, staged: String) -> Result<String> {
        if files != staged {
            self.remove(files);
            return Ok(staged);
        }
        let base = staged.split('~').next().unwrap_or_default();
        let other = format!("{base}~{}", self.nonce());
        let (from, to) = (
            self.directory().join(&staged),
            self.directory().join(&other),
        );
        std::fs::rename(&from, &to).map_err(|e| Error::io(&from, "rename the staged files", &e))?;
        Ok(other)
    }

    /// Waits until a job has ended; how, and with how many rows.
    fn wait(&self, milvus: &Milvus, number: i64) -> Result<(ImportState, u64)> {
        let began = Instant::now();
        let (mut moved, mut last) = (began, None);
        loop {
            let Some(job) = milvus.client.import_job(number)? else {
                let what = format!(
                    "the server does not know import job {number} any more, so that nothing tells whether its rows are there"
                );
                return Err(Error::new(Kind::Refused, what).hint(
                    "look whether they are; `mode: overwrite` with --again loads everything anew",
                ));
            };
            let ImportState::Going(state) = job.state else {
                return Ok((job.state, job.rows));
            };
            let figure = (state, job.percent);
            if last != Some(figure) {
                info!("import job {number}: state {state}, {} %", job.percent);
                (moved, last) = (Instant::now(), Some(figure));
            }
            if moved.elapsed() > milvus.run.patience {
                let seconds = moved.elapsed().as_secs();
                let what = format!("import job {number} has not got on for {seconds} s");
                return Err(Error::new(Kind::Busy, what));
            }
            std::thread::sleep((began.elapsed() / 16).clamp(ASK_EVERY.0, ASK_EVERY.1));
        }
    }

    /// Removes staged files that are of no use any more. What cannot be removed now goes at the end.
    fn remove(&self, name: &str) {
        if !self.settings.keep {
            let _ = std::fs::remove_dir_all(self.directory().join(name));
        }
    }

    /// Removes all that was staged for a target whose rows are all there.
    pub fn tidy(&self, target: &Target) -> Result<()> {
        let directory = self.directory();
        let listing = match std::fs::read_dir(&directory) {
            Ok(listing) if !self.settings.keep => listing,
            _ => return Ok(()),
        };
        let prefix = format!("t{}-", target.number);
        for entry in listing.flatten() {
            if !entry.file_name().to_string_lossy().starts_with(&prefix) {
                continue;
            }
            let path = entry.path();
            let removed = match path.is_dir() {
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            };
            removed.map_err(|e| Error::io(&path, "remove what was staged", &e))?;
        }
        // Other targets may have files in it.
        let _ = std::fs::remove_dir(&directory);
        Ok(())
    }
}

/// What all names of a batch begin with.
fn name_of(target: u32, id: BatchId) -> String {
    format!("t{target}-{}-{}", id.shard, id.index)
}

/// Where in the source a parcel's rows are, for people.
fn at(parcel: &Parcel) -> String {
    match parcel.batch.parts.first() {
        Some(first) => format!("from row {} of {} on", first.row, first.file.display()),
        None => "that are none".to_owned(),
    }
}

fn receipt(parcel: &Parcel, rows: u64) -> Result<Receipt> {
    if rows != u64::from(parcel.rows) {
        let what = format!("{} rows were staged, and {rows} were imported", parcel.rows);
        return Err(Error::new(Kind::Differs, what));
    }
    Ok(Receipt {
        rows: parcel.rows,
        upserted: false,
    })
}

/// Complains of a directory that cannot be written to, or made.
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
