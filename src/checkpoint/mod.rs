//! What has arrived? The append-only log of a run.
//! Remembers; decides nothing, and holds no credentials.
//!
//! One record a line, `CRC32 JSON`: a header with the run's number and the plan's fingerprint, then
//! `target | prepared | window | received | doubt | closed | done | finished`. A torn last line is cut off; a bad line
//! before it is corruption. Of a shard we know which batches have a receipt, and how far a window was opened: in doubt
//! are only the batches of that window without a receipt; after a clean stop, only those of them that were handed to
//! the sink. Batches of a source that changes are recorded one by one, by the keys they hold: see `intervals`.

mod deliveries;
mod differs;
mod intervals;
mod log;
mod open;
mod past;
mod shares;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::batch::{BatchId, LeftOut, Position, Shard};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::sink::{Action, Decision, Parcel, Receipt};

pub use deliveries::{Deliveries, Delivery};
pub use intervals::Gap;
pub use log::{Again, Finished, Totals};
use log::{Header, Log, Record, ShardLog, encode};
pub use open::Found;
pub use past::{Delivered, Past};

/// The log of one run, open and locked.
pub struct Checkpoint {
    path: PathBuf,
    run: u64,
    resumed: bool,
    /// Whether batches are identified by the keys they hold.
    moves: bool,
    /// The finished run of a different job, which this one replaces.
    replaces: Option<Earlier>,
    state: Mutex<State>,
}

/// A difference between a log and a job: the key, its old value, its new value.
pub type Difference = (String, String, String);

/// A run whose log is put aside for another one.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// When it finished, and with how many rows.
    pub finished: Finished,
    /// What differs.
    pub differs: Vec<Difference>,
}

impl Earlier {
    /// The error, with a line for each difference.
    pub fn listed(&self, error: Error) -> Error {
        differs::listed(error, &self.differs)
    }
}

struct State {
    file: File,
    log: Log,
    /// How the log will begin: nothing is written or put aside before there is something to record.
    pending: Option<Beginning>,
    /// Where the previous log was moved to.
    aside: Option<PathBuf>,
    /// The warning when it is put aside.
    said: Option<String>,
    /// A write or sync failed. What the file then holds is unknown, so nothing may follow: a record behind a
    /// torn one would make the log unreadable, and a second sync may succeed without the bytes of the first.
    failed: bool,
}

/// The beginning of a log.
struct Beginning {
    header: Header,
    /// The shards, if the source would return others when asked again.
    shards: Vec<Shard>,
}

/// What the log says about a shard.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    /// Every batch was read and has a receipt.
    pub closed: bool,
    /// What is left to read.
    pub gaps: Vec<Gap>,
    /// The index of its first batch.
    pub index: u32,
    received: BTreeSet<u32>,
    window: u32,
    doubt: BTreeSet<u32>,
    /// Batches without a receipt that were cut from what is left.
    cut: BTreeSet<u32>,
}

impl Standing {
    /// Whether any of it was read before this program began.
    pub fn begun(&self) -> bool {
        self.index > 0
    }

    /// Whether a batch has a receipt.
    pub fn received(&self, index: u32) -> bool {
        index < self.index || self.received.contains(&index)
    }

    /// All batches that may have been sent before the program ended and have no receipt.
    pub fn doubts(&self) -> BTreeSet<u32> {
        let window = self.index..self.window;
        let all = window.chain(self.doubt.iter().copied());
        let all = all.filter(|index| self.in_doubt(*index));
        all.chain(self.cut.iter().copied()).collect()
    }

    /// Whether a batch may have been sent before the program ended, and has no receipt.
    pub fn in_doubt(&self, index: u32) -> bool {
        (index < self.window || self.doubt.contains(&index)) && !self.received(index)
    }
}

impl Checkpoint {
    /// The run's number, drawn when the log was created.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// The shards that the run began with, if the source would give others now.
    pub fn shards(&self) -> Option<Vec<Shard>> {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        let given = &state.log.given;
        (!given.is_empty()).then(|| given.clone())
    }

    /// Whether this is the log of an earlier, unfinished attempt.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The finished run of a different job, whose log this one replaces once something is recorded.
    pub fn replaces(&self) -> Option<&Earlier> {
        self.replaces.as_ref()
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
        self.decide_all(&[(target, decision)])
    }

    /// The same for several, synced once.
    pub fn decide_all(&self, decisions: &[(u32, &Decision)]) -> Result<()> {
        let mut state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        for (target, decision) in decisions {
            let record = Record::Target {
                number: *target,
                action: decision.action.name().to_owned(),
                rows_before: decision.rows_before,
                ours: decision.ours,
                why: decision.why.clone(),
                removes: (decision.removes).map(|count| (count.rows, count.strength.to_string())),
                replaces: decision.replaces,
            };
            self.append(&mut state, record)?;
        }
        self.sync(&mut state)
    }

    /// Records that the decisions about targets have been carried out, each with the destination's own id of where it
    /// goes.
    /// Synced.
    pub fn prepared(&self, targets: &[(u32, u64)]) -> Result<()> {
        let mut state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        for (target, number) in targets {
            if *number > 0 {
                let (target, number) = (*target, *number);
                self.append(&mut state, Record::Place { target, number })?;
            }
            self.append(&mut state, Record::Prepared(*target))?;
        }
        self.sync(&mut state)
    }

    /// The destination's own id of where a target went when it was prepared; 0: unknown.
    pub fn place(&self, target: u32) -> u64 {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        state.log.targets.get(&target).map_or(0, |t| t.place)
    }

    /// Discards the receipts of a target that is restarted. Synced.
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

    /// Records that a target has been finished. Written at once, durable after [`Checkpoint::keep`]: if the record is
    /// lost, the last steps are taken again.
    pub fn record_done(&self, target: u32) -> Result<()> {
        self.write(Record::Done(target))
    }

    /// Makes what was written so far durable.
    pub fn keep(&self) -> Result<()> {
        let mut state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        self.sync(&mut state)
    }

    /// What the log says about a shard.
    pub fn standing(&self, shard: &Shard) -> Standing {
        let state = self
            .state
            .lock()
            .expect("no one panics with the log locked");
        let nothing = ShardLog::default();
        let log = state.log.shards.get(&shard.number).unwrap_or(&nothing);
        let (start, end) = (&shard.start, &shard.end);
        if self.moves {
            let gaps = log.intervals.gaps(start, end);
            return Standing {
                closed: gaps.is_empty(),
                gaps,
                index: log.intervals.unused(),
                received: BTreeSet::new(),
                window: 0,
                doubt: BTreeSet::new(),
                cut: log.intervals.doubts(),
            };
        }
        Standing {
            closed: log.closed.is_some_and(|n| log.below >= n),
            gaps: vec![Gap {
                from: log.from.as_ref().unwrap_or(start).clone(),
                to: end.clone(),
                doubt: false,
            }],
            index: log.below,
            received: log.beyond.keys().copied().collect(),
            window: log.window,
            doubt: log.doubt.clone(),
            cut: BTreeSet::new(),
        }
    }

    /// Records that batches below `upto` may be on their way from now on. Synced.
    pub fn open_window(&self, shard: &Shard, upto: u32) -> Result<()> {
        self.write_synced(Record::Window {
            shard: shard.number,
            target: shard.target,
            upto,
        })
    }

    /// Records that a batch of a changing source may be on its way from now on: after `from`, up to `next` inclusive.
    /// Synced.
    pub fn cut(&self, shard: &Shard, index: u32, from: &Position, next: &Position) -> Result<()> {
        self.write_synced(Record::Cut {
            shard: shard.number,
            target: shard.target,
            index,
            from: from.into(),
            next: next.into(),
        })
    }

    /// Records that such a source has no rows after `from`, up to `next` inclusive.
    pub fn empty(&self, shard: &Shard, from: &Position, next: &Position) -> Result<()> {
        self.write(Record::Empty {
            shard: shard.number,
            target: shard.target,
            from: from.into(),
            next: next.into(),
        })
    }

    /// Records, when a run stops cleanly, which batches of the windows it opened may have been sent without a receipt:
    /// the others are known not to have been sent. Synced.
    pub fn doubt(&self, shard: u32, target: u32, batches: Vec<u32>) -> Result<()> {
        self.write_synced(Record::Doubt {
            shard,
            target,
            batches,
        })
    }

    /// Records a receipt of a batch that starts there; whether it was sent more than once; and by how much converted
    /// components were off. Written at once, synced with the next window: a lost receipt only widens the doubt.
    pub fn record(
        &self,
        parcel: &Parcel,
        receipt: &Receipt,
        from: &Position,
        again: bool,
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
            next: (&parcel.batch.next).into(),
            rows: u64::from(receipt.rows),
            bytes: parcel.payload_bytes,
            digest: parcel.digest,
            relative_error,
            upserted: receipt.upserted,
            again: again.then(|| from.into()),
            from: self.moves.then(|| from.into()),
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
    pub fn finish(&self) -> Result<Finished> {
        let rows = {
            let state = self
                .state
                .lock()
                .expect("no one panics with the log locked");
            let same = shares::is_at(&state.file, &self.path);
            if !same {
                let what = "was removed or replaced during the run; all rows were delivered, but nothing records that \
                            any more: run again, this job would deliver them a second time";
                return Err(Error::path(Kind::Io, &self.path, what));
            }
            state.log.targets.values().map(|t| t.totals.delivered).sum()
        };
        let finished = Finished { rows, at: now() };
        self.write_synced(Record::Finished(finished.clone()))?;
        Ok(finished)
    }

    /// Removes the log if nothing can have been sent: the job may be corrected and run as if for the first time. If a
    /// failed run leaves behind what it created (`lasting`), the log stays once a target was created or may have been
    /// removed: that must not be done twice.
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
        if state.log.may_have_sent() || touched {
            return Ok(());
        }
        let length = state.file.metadata().map_or(0, |meta| meta.len());
        let removed = match (&state.aside, &state.pending) {
            // The log that was put aside for this one is put back: its records are still true.
            (Some(aside), _) => std::fs::rename(aside, &self.path),
            // It is still there.
            (None, Some(_)) if length > 0 => return Ok(()),
            (None, _) => std::fs::remove_file(&self.path),
        };
        removed.map_err(|e| Error::io(&self.path, "remove the unused checkpoint", &e))
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

    /// What was delivered to a target so far, given the decision about it.
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
        self.sync(&mut state)
    }

    fn sync(&self, state: &mut State) -> Result<()> {
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
        if let Some(beginning) = state.pending.take() {
            let begun = self.begin(state, beginning);
            state.failed |= begun.is_err();
            begun?;
        }
        self.put(state, record)
    }

    /// Begins the log. Puts an existing one aside.
    fn begin(&self, state: &mut State, beginning: Beginning) -> Result<()> {
        let there = state.file.metadata().map_or(0, |meta| meta.len());
        if there > 0 {
            state.aside = Some(open::put_aside(&self.path)?);
            state.file = open::open_locked(&self.path)?;
            if let Some(said) = &state.said {
                tracing::warn!("{said}");
            }
        }
        self.put(state, Record::Header(beginning.header))?;
        for shard in beginning.shards {
            self.put(state, (&shard).into())?;
        }
        (state.file.sync_data()).map_err(|e| Error::io(&self.path, "sync the checkpoint", &e))?;
        open::sync_directory(&self.path)
    }

    fn put(&self, state: &mut State, record: Record) -> Result<()> {
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

/// The name of a batch of this run.
pub fn batch_id(checkpoint: &Checkpoint, shard: &Shard, index: u32) -> BatchId {
    BatchId {
        run: checkpoint.run,
        shard: shard.number,
        index,
    }
}
