//! Where do vectors go? The trait, and the list of kinds.
//! A sink knows no source and never retries; it says what a second arrival would do.

mod equal;
pub mod hdf5;
pub mod held;
pub mod milvus;
mod milvus1;
mod names;
mod parquet;

use std::fmt;

use bytes::Bytes;

use crate::batch::{Batch, BatchId, Keys, LeftOut, Limits, Target, TargetName};
use crate::buffers::Buffer;
use crate::error::{Error, Kind, Result};
use crate::job::{Form, RunSettings, Setting};
use crate::progress::Phase;

use held::Held;

/// A kind of sink: what a job may name, and how its settings become a sink.
pub struct SinkKind {
    /// The key in the job, such as `milvus`.
    pub name: &'static str,
    /// One line for `milvusdm formats`.
    pub summary: &'static str,
    /// The settings that a job may name.
    pub settings: &'static [Setting],
    /// Reads the settings, noting mistakes in the form; `None` when there are any.
    pub read: fn(&mut Form) -> Option<Box<dyn Spec>>,
}

/// A sink's settings, checked for shape; nothing has been opened yet.
pub trait Spec {
    /// Opens the sink: connects, asks a server for its version. Changes nothing.
    fn open(&self, run: &RunSettings) -> Result<Box<dyn Sink>>;
}

/// A place vectors go to.
pub trait Sink: Send + Sync {
    /// What it is, for plans and reports: such as `Milvus v2.3.5 at http://127.0.0.1:19530`. No credentials.
    fn describe(&self) -> String;

    /// The server and database, in one canonical spelling; `None` for files.
    fn address(&self) -> Option<String> {
        None
    }

    /// Distinguishes the target as it is now from one of the same name elsewhere, or one created later; `None` if it
    /// does not exist, or nothing can tell.
    fn incarnation(&self, _target: &Target) -> Result<Option<String>> {
        Ok(None)
    }

    /// The next step of what the job wants done after the last row, for a target that an earlier run filled, unless it
    /// is done already: an index, loading.
    fn complete(&self, _target: &Target) -> Result<Finishing> {
        Ok(Finishing::Done)
    }

    /// Receives the description of the data, as the source gives it, before any other call, so that the sink can choose
    /// how to write. `still`: the source does not change while it is read.
    fn choose(&self, _targets: &[Target], _still: bool) {}

    /// The limits on batches that it accepts: never more than `wanted`, except where batches become files, which have a
    /// size of their own.
    fn limits(&self, wanted: Limits) -> Limits;

    /// The name that a source's target gets here by this sink's settings (collection, partition), before `into:`.
    fn name(&self, source: &TargetName) -> TargetName;

    /// The replacement for a name from the source that is not allowed here, and a sentence for people. `None`: the name
    /// may stay. Names stated in the settings are not replaced.
    fn allowed_name(&self, _name: &TargetName) -> Option<(TargetName, String)> {
        None
    }

    /// Whether rows are identified by their key, so that repeats have to be looked for before they are sent.
    fn keyed(&self, keys: Keys) -> bool;

    /// Whether the batches of a target have to be packed and handed on in the order of their `first_row`. A sink that
    /// returns true still accepts all rows out of order, at the cost of memory.
    fn in_order(&self) -> bool {
        false
    }

    /// Whether it is a server, where only trial shows how many requests at a time it handles well.
    fn remote(&self) -> bool {
        false
    }

    /// How many parcels it takes at a time, if that is not to be found by trial.
    fn at_once(&self) -> Option<usize> {
        None
    }

    /// Whether it recognises batches, so that one sent twice counts once.
    fn recognises(&self) -> bool {
        false
    }

    /// The file that a target will be, for sinks whose targets are files.
    fn file(&self, _target: &Target) -> Option<std::path::PathBuf> {
        None
    }

    /// Looks at a target and decides what its mode means for it; refuses what could not work (types,
    /// dimensions, names, metrics, disk space). Changes nothing.
    fn decide(&self, target: &Target) -> Result<Decision>;

    /// What a plan shows about a target besides its rows. Changes nothing.
    fn foresee(&self, _target: &Target, _decision: &Decision) -> Result<Foreseen> {
        Ok(Foreseen::default())
    }

    /// Has the destination check what it would otherwise refuse only after all rows: an index. Leaves nothing behind.
    fn prove(&self, _target: &Target, _decision: &Decision) -> Result<()> {
        Ok(())
    }

    /// Receives the run's number, before anything is prepared: what the sink creates may be named after it.
    fn begin(&self, _run: u64) {}

    /// Called before anything is prepared if the source may change while it is read: the row counts of targets are then
    /// approximate.
    fn rows_may_change(&self) {}

    /// Receives, before anything is prepared, the decision about a target. An earlier start of the job may have made
    /// it, so that it differs from what [`Sink::decide`] found this time.
    fn decided(&self, _target: &Target, _decision: &Decision) {}

    /// The destination's own number of a prepared target: it changes when the target is dropped and created anew. 0:
    /// the destination has no such number.
    fn place(&self, _target: &Target) -> Result<u64> {
        Ok(0)
    }

    /// Carries out the decision; for several targets at a time if the destination is a server. The decision has been
    /// synced to the checkpoint; on resume it is passed again with `begun`, and must not be applied twice.
    fn prepare(&self, target: &Target, decision: &Decision, begun: bool) -> Result<()>;

    /// The decision as it stands once the target is prepared and before anything is sent. A sink that can count only
    /// after a flush returns here what the target really held; the answer replaces the decision in the checkpoint. Not
    /// called if rows may have been sent.
    fn settle(&self, _target: &Target, decision: Decision) -> Result<Decision> {
        Ok(decision)
    }

    /// Packs a batch, reading each payload byte once: here pages fault in, floats are checked, digests are taken. Long
    /// ranges stay where they are mapped; envelope, ids and short ranges go into the buffer.
    fn pack(&self, batch: Batch, buffer: Buffer) -> Result<Parcel>;

    /// Delivers, and returns once the destination has accepted responsibility. Never waits to try again: the error's
    /// kind says what happened.
    fn deliver(&self, parcel: &Parcel, attempt: Attempt) -> Result<Receipt>;

    /// What a second arrival of a batch of this target would do.
    fn redelivery(&self, target: &Target, decision: &Decision) -> Redelivery;

    /// Whether a half-filled target can be continued after the program died. If not (files), the target is started anew
    /// and its receipts are discarded.
    fn resumable(&self) -> bool;

    /// Whether an `Again` replaces what earlier attempts delivered, whenever that arrives: it may then be sent at any
    /// time.
    fn replaces(&self) -> bool {
        false
    }

    /// The next step after every shard of a target has been delivered: flush, build, load, rename. Called until all is
    /// done; after an error it continues where it was.
    fn finish(&self, target: &Target) -> Result<Finishing>;

    /// Rows were sent to a target once more: the work of `finish` has to be repeated.
    fn unfinish(&self, _target: &Target) {}

    /// How many rows the destination reports for the target, and how reliable that is. Never builds or loads.
    fn count(&self, target: &Target) -> Result<Count>;

    /// How many rows the server's statistics report for the target. [`Sink::count`] may be more accurate, but the rows
    /// that the target held before may have been counted this way.
    fn statistics(&self, _target: &Target) -> Result<Option<u64>> {
        Ok(None)
    }

    /// What can be read back of a target. Needs no preparation, changes nothing, never builds or loads.
    fn held<'s>(&'s self, target: &Target) -> Result<Held<'s>>;

    /// Makes an unreadable target readable: creates an index if loading needs one, and loads. Each change is passed on
    /// before it is made, for [`Sink::give_back`]. `check` fails when the operator wants to stop.
    fn lend(
        &self,
        _target: &Target,
        _loans: &mut Vec<Loan>,
        _check: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        Ok(())
    }

    /// Reverts a change that [`Sink::lend`] made.
    fn give_back(&self, _loan: &Loan) -> Result<()> {
        Ok(())
    }

    /// Gives up a target that will not be finished: removes what must not look complete, and returns what was left
    /// behind, if anything.
    fn abandon(&self, target: &Target, decision: &Decision) -> Option<String>;
}

/// What a plan shows about a target besides its rows; empty if a destination has no such thing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Foreseen {
    /// How rows are written: by inserts, or by files that the server imports.
    pub way: String,
    /// The metric of the target, and where it comes from.
    pub metric_in_target: Option<(String, String)>,
    /// The index that will be built, or exists.
    pub index: String,
    /// Whether it is loaded, and when.
    pub load: &'static str,
    /// What the final count will be based on.
    pub rests_on: &'static str,
}

/// What will be done to a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The action.
    pub action: Action,
    /// Rows the target had before; 0 if it is created or replaced.
    pub rows_before: u64,
    /// Whether this job created it, emptied it or found it empty, so that it holds no other rows.
    pub ours: bool,
    /// The reason, for people: such as `collection products exists, mode is skip`.
    pub why: String,
    /// Rows removed with what is replaced, if known.
    pub removes: Option<Count>,
    /// The destination's own number of what is replaced: nothing else is removed, even if it has the same name by then.
    /// 0: the destination has no such number.
    pub replaces: u64,
}

/// What `mode` means for a target as it was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Leave it alone.
    Skip,
    /// Create it.
    Create,
    /// Add to it.
    Append,
    /// Remove it, then create it.
    Replace,
}

impl Action {
    /// The word in plans, reports and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Action::Skip => "skip",
            Action::Create => "create",
            Action::Append => "append",
            Action::Replace => "replace",
        }
    }
}

/// How far the finishing of a target has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finishing {
    /// All is done.
    Done,
    /// A step is done; the next one can follow.
    Next,
    /// Something is in progress.
    Doing {
        /// What.
        phase: Phase,
        /// A figure that changes as it progresses.
        figure: u64,
        /// Its progress in percent, if known.
        percent: Option<u64>,
    },
}

/// A change to a collection that is reverted after reading.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loan {
    /// An index on this field was created.
    Index {
        /// The collection.
        collection: String,
        /// The field.
        field: String,
    },
    /// It was loaded: the whole collection, or a partition.
    Loaded {
        /// The collection.
        collection: String,
        /// The partition; empty: the default one; `None`: all.
        partition: Option<String>,
    },
}

/// Whether a batch may have been sent before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// The batch has never been sent.
    First,
    /// The batch was sent before and may have arrived.
    Again,
}

/// What a second arrival of the same batch would do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redelivery {
    /// Nothing: the destination recognises it, or it replaces itself.
    Harmless,
    /// It would duplicate or remove rows: the run must stop. Says why and what the choices are.
    Doubles(String),
}

/// A packed batch: name, row count, bytes.
pub struct Parcel {
    /// The batch's name.
    pub id: BatchId,
    /// The batch it was packed from, without the rows that were left out: to pack it again in halves.
    pub batch: Batch,
    /// Rows in it.
    pub rows: u32,
    /// Bytes of vectors and ids.
    pub payload_bytes: u64,
    /// Digest of its rows: the wrapping sum over rows of [`crate::simd::row_digest`].
    pub digest: u64,
    /// What is sent, in order; ranges of mappings among them.
    pub body: Vec<Bytes>,
    /// Rows of the batch that were left out.
    pub left_out: Vec<LeftOut>,
}

impl Parcel {
    /// Bytes that are sent.
    pub fn body_bytes(&self) -> u64 {
        self.body.iter().map(|b| b.len() as u64).sum()
    }

    /// Reads a byte of each page that is sent. If the disk under a mapping fails, the connection just drops; reading
    /// the pages and then asking the file finds the reason.
    pub fn touch(&self) {
        const PAGE: usize = 4096;
        for piece in &self.body {
            for byte in piece.iter().step_by(PAGE).chain(piece.last()) {
                std::hint::black_box(*byte);
            }
        }
    }
}

/// The destination's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Rows it took.
    pub rows: u32,
    /// Whether they were sent as an upsert, which may have replaced rows of an earlier attempt.
    pub upserted: bool,
}

/// A row count, and how reliable it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Rows.
    pub rows: u64,
    /// What the figure is based on.
    pub strength: Strength,
}

/// What a count is based on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strength {
    /// Every live row was counted, and no two can have the same key.
    Unique,
    /// Every live row was counted.
    Exact,
    /// The server's statistics: rows ever inserted, including replaced and deleted ones.
    Statistics,
}

impl Strength {
    /// Finds the one with this name.
    pub fn named(word: &str) -> Strength {
        match word == Strength::Exact.to_string() {
            true => Strength::Exact,
            false => Strength::Statistics,
        }
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Strength::Unique | Strength::Exact => "exact count",
            Strength::Statistics => "statistics",
        })
    }
}

/// Refuses a target that needs more than a sink of plain rows can hold.
fn plain_only(target: &Target, what: &str) -> Result<()> {
    match target.plain() {
        Some(_) => Ok(()),
        None => Err(Error::new(
            Kind::Unsupported,
            format!(
                "{what} holds an int64 id and one vector; {} has {}",
                target.name, target.columns
            ),
        )
        .hint("`fields:` selects the columns to migrate")),
    }
}

/// All kinds of sink. To add one: its file, and a line here.
pub const SINKS: &[SinkKind] = &[milvus::KIND, hdf5::KIND, milvus1::KIND, parquet::KIND];
