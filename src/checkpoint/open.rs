//! Which log exists, and what becomes of it? Finds it, locks it, and continues it or puts it aside.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::differs::{another, differences, in_place_of, is_of, named};
use super::log::{self, Finished, Header, Log};
use super::{Beginning, Checkpoint, Earlier, State, now, shares};
use crate::error::{Error, Kind, Result};
use crate::plan::{Fingerprint, Plan, Share};

/// The version of the log's format. Version 1 spelt fingerprints as the job was written.
const VERSION: u32 = 2;
/// The version of logs whose batches are identified by the keys they hold: programs that know only the others cannot
/// continue them.
const VERSION_BY_KEY: u32 = 3;
/// The version of logs of a job in shares: programs that do not know it would carry the whole job.
pub(super) const VERSION_OF_SHARES: u32 = 4;

/// What was found at the checkpoint's path.
pub enum Found {
    /// A log to begin or to continue.
    Open(Box<Checkpoint>),
    /// The same job on the same data has finished; nothing was opened for writing.
    Finished(Finished),
}

impl Checkpoint {
    /// Where the log of this plan is: at its own path or, if there is none, where earlier versions of the program left
    /// it, if it belongs to this job.
    pub fn find(plan: &Plan) -> PathBuf {
        let (own, before) = (&plan.settings.checkpoint, &plan.settings.checkpoint_before);
        let Some(before) = before.as_ref().filter(|_| !own.exists()) else {
            return own.clone();
        };
        let known = log::text(before).is_ok_and(|text| {
            log::read(before, &text).is_ok_and(|(log, _)| is_of(&log, &plan.fingerprint))
        });
        if known { before.clone() } else { own.clone() }
    }

    /// Creates the log, or continues an existing one if it belongs to this plan. `again` puts any existing log aside.
    /// Nothing is written or put aside before there is something to record.
    pub fn create_or_resume(path: &Path, plan: &Plan, again: bool) -> Result<Found> {
        make_folder(path, plan)?;
        begin_or_resume(open_locked(path)?, path, plan, again, 0)
    }

    /// Whether the log at this path is of a job that has begun and not finished; false if it cannot be read.
    pub fn is_begun(path: &Path) -> bool {
        begun(path).is_some()
    }

    /// The batch size of the unfinished run whose log is at this path: it continues with the size it began with.
    pub fn batch_bytes(path: &Path) -> Option<u64> {
        let header = begun(path)?.header?;
        header
            .fingerprint
            .get(Fingerprint::BATCH_BYTES)?
            .parse()
            .ok()
    }

    /// What a run would do with the log at this path, in a sentence; `None` if there is none. Changes nothing.
    pub fn foresee(path: &Path, plan: &Plan) -> Result<Option<String>> {
        if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
            return Err(Error::path(Kind::Job, path, "is not a regular file"));
        }
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // A run creates the state directory, and no other folder.
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
                let there =
                    plan.settings.checkpoint_why.is_some() || folder.is_none_or(Path::is_dir);
                return match there {
                    true => Ok(None),
                    false => Err(Error::io(path, "open the checkpoint", &e)),
                };
            }
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
                    "records that this job has finished with {rows} rows: a run does nothing without --again"
                )
            }
            (Some(_), false) => format!(
                "belongs to a finished job that differs ({}), with {rows} rows: if they may still be in what the job adds \
                 to, a run refuses without --again",
                named(&differs)
            ),
            (None, true) if log.shares().is_some() => shares::told(path, &log),
            (None, true) if plan.sink.resumable() => {
                format!("records that {rows} rows were delivered: a run continues from there")
            }
            (None, true) => {
                let all = log.targets.len();
                let done = log.targets.values().filter(|t| t.done).count();
                format!("records that {done} of {all} files are finished: a run writes the others")
            }
            (None, false) if !log.may_have_sent() => {
                "belongs to a job that sent nothing: a run puts it aside".to_owned()
            }
            (None, false) => format!(
                "belongs to another, unfinished job ({}): a run refuses without --again",
                named(&differs)
            ),
        }))
    }
}

/// Creates the folder of a log if it is the state directory: any other folder is the operator's business.
pub(super) fn make_folder(path: &Path, plan: &Plan) -> Result<()> {
    if let (Some(folder), Some(_)) = (path.parent(), &plan.settings.checkpoint_why) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create the folder", &e))?;
    }
    Ok(())
}

/// Begins a log in a locked file, or continues the one in it; `shares`: the number of shares of the job.
pub(super) fn begin_or_resume(
    mut file: File,
    path: &Path,
    plan: &Plan,
    again: bool,
    shares: u32,
) -> Result<Found> {
    let log = read_log(&mut file, path)?;
    let (mut replaces, mut said) = (None, None);
    if log.header.is_some() {
        let differs = differences(&log, &plan.fingerprint);
        match (&log.finished, differs.is_empty()) {
            (Some(finished), true) if !again => return Ok(Found::Finished(finished.clone())),
            (None, true) if !again => {
                shares::check(path, &log, shares)?;
                return resume(path, file, log, plan);
            }
            // Nothing can have been sent, so nothing is lost.
            (None, false) if !again && log.may_have_sent() => {
                return Err(another(path, &differs));
            }
            (finished, _) => {
                said = in_place_of(path, &log, &differs, again);
                replaces = finished
                    .clone()
                    .filter(|_| !again)
                    .map(|finished| Earlier { finished, differs });
            }
        }
    }
    // Shares of the previous run would continue alongside the new one.
    shares::check_idle(path)?;
    let run = draw();
    let header = header(
        plan,
        run,
        Share {
            number: 0,
            of: shares,
        },
    );
    Ok(Found::Open(Box::new(begun_anew(
        file, path, plan, header, replaces, said,
    ))))
}

/// The header of a log; share 0: the common log.
pub(super) fn header(plan: &Plan, run: u64, share: Share) -> Header {
    Header {
        version: match (share.of, plan.moves()) {
            (0, false) => VERSION,
            (0, true) => VERSION_BY_KEY,
            _ => VERSION_OF_SHARES,
        },
        run: format!("{run:016x}"),
        created: now(),
        fingerprint: plan.fingerprint.meaning.clone(),
        stamps: plan.fingerprint.stamps.clone(),
        shares: share.of,
        share: share.number,
    }
}

/// A log that is written once there is something to record.
pub(super) fn begun_anew(
    file: File,
    path: &Path,
    plan: &Plan,
    header: Header,
    replaces: Option<Earlier>,
    said: Option<String>,
) -> Checkpoint {
    let moves = plan.moves();
    Checkpoint {
        path: path.to_owned(),
        run: u64::from_str_radix(&header.run, 16).expect("it was written so"),
        resumed: false,
        moves,
        replaces,
        state: Mutex::new(State {
            file,
            log: Log::default(),
            pending: Some(Beginning {
                header,
                shards: match moves {
                    true => plan.manifest.shards.clone(),
                    false => Vec::new(),
                },
            }),
            aside: None,
            said,
            failed: false,
        }),
    }
}

/// The log of an unfinished run, if there is one at this path that can be read.
fn begun(path: &Path) -> Option<Log> {
    let (log, _) = log::read(path, &log::text(path).ok()?).ok()?;
    (log.header.is_some() && log.finished.is_none()).then_some(log)
}

/// Opens a log, or an empty file that becomes one, and locks it.
pub fn open_locked(path: &Path) -> Result<File> {
    let held = "another milvusdm is using this checkpoint";
    let hint = "wait for it, or give this job its own `run: checkpoint:`";
    try_locked(path)?.ok_or_else(|| Error::path(Kind::Job, path, held).hint(hint))
}

/// The same; `None` if another program holds the lock.
pub(super) fn try_locked(path: &Path) -> Result<Option<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = opened.map_err(|e| Error::io(path, "open the checkpoint", &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(e)) => Err(Error::io(path, "lock the checkpoint", &e)),
    }
}

/// All whole records of a log, and how many bytes they are.
fn read(file: &mut File, path: &Path) -> Result<(Log, u64)> {
    let failed = |e: std::io::Error| Error::io(path, "read the checkpoint", &e);
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Error::path(Kind::Job, path, "is not a regular file"));
    }
    // Its beginning first: any file may be named by mistake, of any length.
    let mut text = Vec::new();
    Read::take(&mut *file, 64)
        .read_to_end(&mut text)
        .map_err(failed)?;
    log::check_beginning(path, &text)?;
    file.read_to_end(&mut text).map_err(failed)?;
    log::read(path, &text)
}

/// Reads all whole records, and cuts off a torn last line.
pub(super) fn read_log(file: &mut File, path: &Path) -> Result<Log> {
    let (log, whole) = read(file, path)?;
    file.set_len(whole)
        .map_err(|e| Error::io(path, "cut the checkpoint's torn end", &e))?;
    file.seek(SeekFrom::End(0))
        .map_err(|e| Error::io(path, "seek the checkpoint", &e))?;
    Ok(log)
}

pub(super) fn resume(path: &Path, file: File, log: Log, plan: &Plan) -> Result<Found> {
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
    let known = match plan.moves() {
        _ if header.shares > 0 => header.version == VERSION_OF_SHARES,
        true => header.version == VERSION_BY_KEY,
        false => (1..=VERSION).contains(&header.version),
    };
    if !known {
        let what = format!("was written by another version (format {})", header.version);
        return Err(Error::path(Kind::Job, path, what));
    }
    Ok(Found::Open(Box::new(Checkpoint {
        path: path.to_owned(),
        run,
        resumed: true,
        moves: plan.moves(),
        replaces: None,
        state: Mutex::new(State {
            file,
            log,
            pending: None,
            aside: None,
            said: None,
            failed: false,
        }),
    })))
}

/// A number that no other run has, drawn from the hasher's random seed.
fn draw() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(now());
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// Puts a log aside.
pub fn put_aside(path: &Path) -> Result<PathBuf> {
    let mut old = path.as_os_str().to_owned();
    old.push(".old");
    let old = PathBuf::from(old);
    std::fs::rename(path, &old).map_err(|e| Error::io(path, "put the old checkpoint aside", &e))?;
    Ok(old)
}

/// Makes the new name of a file durable.
pub fn sync_directory(path: &Path) -> Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let synced = File::open(directory).and_then(|d| d.sync_all());
    synced.map_err(|e| Error::io(directory, "sync the checkpoint's directory", &e))
}
