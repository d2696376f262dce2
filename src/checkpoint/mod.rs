//! What has arrived? The append-only log of a run.
//! Remembers; decides nothing, and holds no credentials.
//!
//! One record a line, `CRC32 JSON`: a header with the run's number and the plan's fingerprint, then
//! `target | prepared | window | received | doubt | closed | done | finished`. A torn last line is cut; a bad line before it is
//! corruption. Of a shard we know which batches have a receipt, and how far a window was opened: in doubt
//! are just the batches of that window without a receipt; after an end in good order just those of them that were handed to
//! the sink.

mod differs;
mod log;
mod past;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::batch::{BatchId, LeftOut, Position, Shard};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::plan::{Fingerprint, Plan};
use crate::sink::{Action, Decision, Parcel, Receipt};

use differs::{another, differences, named, said_aside};
pub use log::{Again, Finished, Totals};
use log::{Header, Log, Record, encode};
pub use past::{Delivered, Past};

/// The log of one run, open and locked.
pub struct Checkpoint {
    path: PathBuf,
    run: u64,
    resumed: bool,
    /// Where the log went that was there before.
    aside: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    file: File,
    log: Log,
    /// A write or sync failed. What the file then holds is not known, so nothing may follow it: a record behind a
    /// torn one would make the log unreadable, and a second sync may succeed without the bytes of the first.
    failed: bool,
}

/// What the log says of a shard.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    /// Every batch was read and has a receipt.
    pub closed: bool,
    /// Where reading goes on.
    pub from: Position,
    /// The index of the batch that starts there.
    pub index: u32,
    received: BTreeSet<u32>,
    window: u32,
    doubt: BTreeSet<u32>,
}

impl Standing {
    /// Whether a batch has a receipt.
    pub fn received(&self, index: u32) -> bool {
        index < self.index || self.received.contains(&index)
    }

    /// All batches that may have been sent before the program ended, and have no receipt.
    pub fn doubts(&self) -> BTreeSet<u32> {
        let window = self.index..self.window;
        let all = window.chain(self.doubt.iter().copied());
        all.filter(|index| self.in_doubt(*index)).collect()
    }

    /// Whether a batch may have been sent before the program ended, and has no receipt.
    pub fn in_doubt(&self, index: u32) -> bool {
        (index < self.window || self.doubt.contains(&index)) && !self.received(index)
    }
}

/// What was found where the checkpoint should be.
pub enum Found {
    /// A log to begin or to go on with.
    Open(Box<Checkpoint>),
    /// The same job on the same data has finished; nothing was opened for writing.
    Finished(Finished),
}

impl Checkpoint {
    /// Creates the log, or goes on with the one that is there, if it is of this plan. `again` puts whatever log
    /// is there aside. A log that is put aside is said to be, with what it delivered.
    pub fn create_or_resume(path: &Path, plan: &Plan, again: bool) -> Result<Found> {
        let mut file = open_locked(path)?;
        let log = read_log(&mut file, path)?;
        let mut aside = None;
        if log.header.is_some() {
            let differs = differences(&log, &plan.fingerprint);
            match (&log.finished, differs.is_empty()) {
                (Some(finished), true) if !again => return Ok(Found::Finished(finished.clone())),
                (None, true) if !again => return resume(path, file, log),
                // Nothing can have been sent: there is nothing to lose.
                (None, false) if !again && !log.shards.is_empty() => {
                    return Err(another(path, &differs));
                }
                _ => {
                    said_aside(path, &log, &differs);
                    aside = Some(put_aside(path)?);
                    file = open_locked(path)?;
                }
            }
        }
        begin(path, file, &plan.fingerprint, aside)
    }

    /// Whether the log at this path is of a job that has begun and not finished. What cannot be read is not.
    pub fn is_begun(path: &Path) -> bool {
        let text = std::fs::read(path).unwrap_or_default();
        log::read(path, &text).is_ok_and(|(log, _)| log.header.is_some() && log.finished.is_none())
    }

    /// What a run would do with the log at this path, in a sentence; `None` when there is none. Changes nothing.
    pub fn foresee(path: &Path, plan: &Plan) -> Result<Option<String>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path, "read the checkpoint", &e)),
        };
        let (log, _) = read(&mut file, path)?;
        if log.header.is_none() {
            return Ok(None);
        }
        let (differs, rows) = (differences(&log, &plan.fingerprint), log.delivered());
        Ok(Some(match (&log.finished, differs.is_empty()) {
            (Some(_), true) => {
                format!(
                    "says that this job has finished with {rows} rows: a run does nothing without --again"
                )
            }
            (Some(_), false) => format!(
                "is of a finished job that differs ({}): a run puts it aside and delivers everything",
                named(&differs)
            ),
            (None, true) if plan.sink.resumable() => {
                format!("says that {rows} rows were delivered: a run goes on from there")
            }
            (None, true) => {
                let all = log.targets.len();
                let done = log.targets.values().filter(|t| t.done).count();
                format!("says that {done} of {all} files are finished: a run writes the others")
            }
            (None, false) if log.shards.is_empty() => {
                "is of a job that sent nothing: a run puts it aside".to_owned()
            }
            (None, false) => format!(
                "is of another, unfinished job ({}): a run refuses without --again",
                named(&differs)
            ),
        }))
    }

    /// The run's number, drawn when the log was created.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// Whether this is the log of an earlier, unfinished attempt.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The log's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The decision recorded for a target, and whether it has been carried out.
    pub fn decision(&self, target: u32) -> Option<(Decision, bool)> {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        let target = state.log.targets.get(&target)?;
        Some((target.decision.clone()?, target.prepared))
    }

    /// Records what will be done to a target. Synced: it must be known before anything is changed.
    pub fn decide(&self, target: u32, decision: &Decision) -> Result<()> {
        self.write_synced(Record::Target {
            number: target,
            action: decision.action.name().to_owned(),
            rows_before: decision.rows_before,
            ours: decision.ours,
            why: decision.why.clone(),
        })
    }

    /// Records that a target's decision has been carried out. Synced.
    pub fn prepared(&self, target: u32) -> Result<()> {
        self.write_synced(Record::Prepared(target))
    }

    /// Forgets the receipts of a target that is begun anew. Synced.
    pub fn reset(&self, target: u32) -> Result<()> {
        self.write_synced(Record::Reset(target))
    }

    /// Whether a target has been finished.
    pub fn done(&self, target: u32) -> bool {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        state.log.targets.get(&target).is_some_and(|t| t.done)
    }

    /// Records that a target has been finished. Synced.
    pub fn record_done(&self, target: u32) -> Result<()> {
        self.write_synced(Record::Done(target))
    }

    /// What the log says of a shard.
    pub fn standing(&self, shard: &Shard) -> Standing {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        let Some(log) = state.log.shards.get(&shard.number) else {
            return Standing {
                closed: false,
                from: shard.start,
                index: 0,
                received: BTreeSet::new(),
                window: 0,
                doubt: BTreeSet::new(),
            };
        };
        Standing {
            closed: log.closed.is_some_and(|n| log.below >= n),
            from: log.from.unwrap_or(shard.start),
            index: log.below,
            received: log.beyond.keys().copied().collect(),
            window: log.window,
            doubt: log.doubt.clone(),
        }
    }

    /// Batches below `upto` may be on their way from now on. Synced.
    pub fn open_window(&self, shard: &Shard, upto: u32) -> Result<()> {
        self.write_synced(Record::Window {
            shard: shard.number,
            target: shard.target,
            upto,
        })
    }

    /// Records, when a run ends in good order, which batches of the windows it opened may have been sent without a
    /// receipt: of the others it is known that they were not. Synced.
    pub fn doubt(&self, shard: u32, target: u32, batches: Vec<u32>) -> Result<()> {
        self.write_synced(Record::Doubt {
            shard,
            target,
            batches,
        })
    }

    /// Records a receipt; where its batch starts, if it was sent more than once; and by how much converted components
    /// were off. Written at once, synced with the next window: a lost receipt only widens the doubt.
    pub fn record(
        &self,
        parcel: &Parcel,
        receipt: &Receipt,
        again: Option<Position>,
        relative_error: Option<f32>,
    ) -> Result<()> {
        let listed = parcel.left_out.iter().take(limits::LISTED_MAX);
        let listed = listed.map(|row: &LeftOut| {
            (
                row.file.display().to_string(),
                row.row,
                row.key.clone().into(),
            )
        });
        self.write(Record::Received {
            shard: parcel.id.shard,
            target: parcel.batch.target,
            index: parcel.id.index,
            next: parcel.batch.next.0,
            rows: u64::from(receipt.rows),
            bytes: parcel.payload_bytes,
            digest: parcel.digest,
            relative_error,
            upserted: receipt.upserted,
            again: again.map(|from| from.0),
            left_out: parcel.left_out.len() as u64,
            rows_left_out: listed.collect(),
        })
    }

    /// Records that a shard was read to its end, in `batches` batches.
    pub fn close(&self, shard: &Shard, batches: u32) -> Result<()> {
        self.write(Record::Closed {
            shard: shard.number,
            target: shard.target,
            batches,
        })
    }

    /// Records that all is done. Synced.
    pub fn finish(&self) -> Result<()> {
        let rows = {
            let state = self
                .state
                .lock()
                .expect("no one panics with the log locked");
            let same = self.is_still_there(&state.file);
            if !same {
                let what = "was removed or replaced while the run went on; all rows were delivered, but nothing says so \
                            any more: run again, this job would deliver them a second time";
                return Err(Error::path(Kind::Io, &self.path, what));
            }
            state.log.targets.values().map(|t| t.totals.delivered).sum()
        };
        self.write_synced(Record::Finished(Finished { rows, at: now() }))
    }

    /// Whether the path still leads to the file that was written.
    fn is_still_there(&self, file: &File) -> bool {
        use std::os::unix::fs::MetadataExt;
        let (Ok(there), Ok(ours)) = (std::fs::metadata(&self.path), file.metadata()) else {
            return false;
        };
        (there.dev(), there.ino()) == (ours.dev(), ours.ino())
    }

    /// Removes the log if nothing can have been sent: the job may be mended and run as if for the first time. Where what
    /// was made outlives a run that failed (`lasting`), it stays when a target was made or may have been removed:
    /// that must not be done twice.
    pub fn discard_if_untouched(&self, lasting: bool) -> Result<()> {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        let touched = |target: &log::TargetLog| {
            let replaces = |d: &Decision| d.action == Action::Replace;
            target.prepared || target.decision.as_ref().is_some_and(replaces)
        };
        let touched = lasting && state.log.targets.values().any(touched);
        if state.log.shards.is_empty() && !touched {
            // The log that made way for this one is put back: what it knows is still true.
            let removed = match &self.aside {
                Some(aside) => std::fs::rename(aside, &self.path),
                None => std::fs::remove_file(&self.path),
            };
            removed.map_err(|e| Error::io(&self.path, "remove the unused checkpoint", &e))?;
        }
        Ok(())
    }

    /// What was delivered to a target so far.
    pub fn totals(&self, target: u32) -> Totals {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        state
            .log
            .targets
            .get(&target)
            .map(|t| t.totals)
            .unwrap_or_default()
    }

    /// What was delivered to a target so far, after this was decided about it.
    pub fn delivered(&self, target: u32, decision: &Decision) -> Delivered {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        Delivered::of(decision.clone(), state.log.targets.get(&target))
    }

    /// Rows left out so far, some of them: target, file, row, id.
    pub fn left_out(&self) -> Vec<(u32, String, u64, serde_json::Value)> {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        state.log.left_out.clone()
    }

    fn write_synced(&self, record: Record) -> Result<()> {
        let mut state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        self.append(&mut state, record)?;
        let synced = state.file.sync_data();
        state.failed = synced.is_err();
        synced.map_err(|e| Error::io(&self.path, "sync the checkpoint", &e))
    }

    fn write(&self, record: Record) -> Result<()> {
        let mut state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        self.append(&mut state, record)
    }

    fn append(&self, state: &mut State, record: Record) -> Result<()> {
        if state.failed {
            let what = "an earlier write to the checkpoint failed";
            return Err(Error::path(Kind::Io, &self.path, what));
        }
        let line = encode(&record);
        let written = state.file.write_all(line.as_bytes());
        state.failed = written.is_err();
        written.map_err(|e| Error::io(&self.path, "write the checkpoint", &e))?;
        state.log.apply(record);
        Ok(())
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

fn open_locked(path: &Path) -> Result<File> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = opened.map_err(|e| Error::io(path, "open the checkpoint", &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::path(
            Kind::Job,
            path,
            "another milvusdm is at work with this checkpoint",
        )
        .hint("wait for it, or give this job a `run: checkpoint:` of its own")),
        Err(std::fs::TryLockError::Error(e)) => Err(Error::io(path, "lock the checkpoint", &e)),
    }
}

/// All whole records of a log, and how many bytes they are.
fn read(file: &mut File, path: &Path) -> Result<(Log, u64)> {
    let failed = |e: std::io::Error| Error::io(path, "read the checkpoint", &e);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Error::path(Kind::Job, path, "is not a regular file"));
    }
    // Its beginning first: any file may be named by mistake, however long it is.
    let mut text = Vec::new();
    Read::take(&mut *file, 64)
        .read_to_end(&mut text)
        .map_err(failed)?;
    log::check_beginning(path, &text)?;
    file.read_to_end(&mut text).map_err(failed)?;
    log::read(path, &text)
}

/// Reads all whole records, and cuts a torn last line off.
fn read_log(file: &mut File, path: &Path) -> Result<Log> {
    let (log, whole) = read(file, path)?;
    file.set_len(whole)
        .map_err(|e| Error::io(path, "cut the checkpoint's torn end", &e))?;
    file.seek(SeekFrom::End(0))
        .map_err(|e| Error::io(path, "seek the checkpoint", &e))?;
    Ok(log)
}

fn begin(
    path: &Path,
    file: File,
    fingerprint: &Fingerprint,
    aside: Option<PathBuf>,
) -> Result<Found> {
    let run = draw();
    let checkpoint = Checkpoint {
        path: path.to_owned(),
        run,
        resumed: false,
        aside,
        state: Mutex::new(State {
            file,
            log: Log::default(),
            failed: false,
        }),
    };
    checkpoint.write_synced(Record::Header(Header {
        version: 1,
        run: format!("{run:016x}"),
        created: now(),
        fingerprint: fingerprint.0.clone(),
    }))?;
    sync_directory(path)?;
    Ok(Found::Open(Box::new(checkpoint)))
}

fn resume(path: &Path, file: File, log: Log) -> Result<Found> {
    let header = log
        .header
        .as_ref()
        .expect("a log that is resumed has a header");
    let run = u64::from_str_radix(&header.run, 16).map_err(|_| {
        Error::path(
            Kind::Job,
            path,
            "the checkpoint's run number is not hexadecimal",
        )
    })?;
    if header.version != 1 {
        let what = format!("was written by another version (format {})", header.version);
        return Err(Error::path(Kind::Job, path, what));
    }
    Ok(Found::Open(Box::new(Checkpoint {
        path: path.to_owned(),
        run,
        resumed: true,
        aside: None,
        state: Mutex::new(State {
            file,
            log,
            failed: false,
        }),
    })))
}

/// A number no other run has, without asking for more randomness than the hasher's seed.
fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(now());
    hasher.write_u32(std::process::id());
    hasher.finish()
}

fn put_aside(path: &Path) -> Result<PathBuf> {
    let mut old = path.as_os_str().to_owned();
    old.push(".old");
    let old = PathBuf::from(old);
    std::fs::rename(path, &old).map_err(|e| Error::io(path, "put the old checkpoint aside", &e))?;
    Ok(old)
}

fn sync_directory(path: &Path) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let synced = File::open(directory).and_then(|d| d.sync_all());
    synced.map_err(|e| Error::io(directory, "sync the checkpoint's directory", &e))
}

/// The name of a batch of this run.
pub fn batch_id(checkpoint: &Checkpoint, shard: &Shard, index: u32) -> BatchId {
    BatchId {
        run: checkpoint.run,
        shard: shard.number,
        index,
    }
}
