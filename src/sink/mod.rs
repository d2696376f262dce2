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

/// A kind of sink: what a job may name, and how its settings become one.
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

/// A sink's settings, checked for shape; nothing touched yet.
pub trait Spec {
    /// Opens the sink: connects, asks a server what it is. Changes nothing.
    fn open(&self, run: &RunSettings) -> Result<Box<dyn Sink>>;
}

/// A place vectors go to.
pub trait Sink: Send + Sync {
    /// What it is, for plans and reports: such as `Milvus v2.3.5 at http://127.0.0.1:19530`. No credentials.
    fn describe(&self) -> String;

    /// The server and database, in the one spelling that stands for all ways of writing them; `None` for files.
    fn address(&self) -> Option<String> {
        None
    }

    /// What tells a target as it is now from one of the same name elsewhere, or made later; `None` where it is not
    /// there, or nothing can tell.
    fn incarnation(&self, _target: &Target) -> Result<Option<String>> {
        Ok(None)
    }

    /// The next step of what the job wants done after the last row, to a target that an earlier run filled, as far as
    /// it is not done: an index, loading.
    fn complete(&self, _target: &Target) -> Result<Finishing> {
        Ok(Finishing::Done)
    }

    /// Tells it what is to travel, as the source calls it, before anything else is asked: so it chooses a way. `still`: the
    /// source does not change while it is read.
    fn choose(&self, _targets: &[Target], _still: bool) {}

    /// The limits on batches that it accepts: never more than `wanted`, but where batches become files, which have a size
    /// of their own.
    fn limits(&self, wanted: Limits) -> Limits;

    /// The name a source's target gets here by this sink's settings (collection, partition), before `into:`.
    fn name(&self, source: &TargetName) -> TargetName;

    /// The name under which a target is held here when the one it would get from the source is not allowed, and
    /// a sentence for people. `None`: the name may stay. Names the settings state are not replaced.
    fn allowed_name(&self, _name: &TargetName) -> Option<(TargetName, String)> {
        None
    }

    /// Whether rows are told apart by their key, so that repeats have to be looked for before they travel.
    fn keyed(&self, keys: Keys) -> bool;

    /// Whether the batches of a target have to be packed and handed on in the order of their `first_row`.
    /// A sink that says so still gets all rows right out of order, at the price of memory.
    fn in_order(&self) -> bool {
        false
    }

    /// Whether it is a server, of which only trial shows how many requests at a time it takes well.
    fn remote(&self) -> bool {
        false
    }

    /// How many parcels it takes at a time, where that is not to be found by trial.
    fn at_once(&self) -> Option<usize> {
        None
    }

    /// Whether it knows batches again, so that of one that is sent twice one only counts.
    fn recognises(&self) -> bool {
        false
    }

    /// The file a target will be, for sinks whose targets are files.
    fn file(&self, _target: &Target) -> Option<std::path::PathBuf> {
        None
    }

    /// Looks at a target and decides what its mode means for it; refuses what could not work (types,
    /// dimensions, names, metrics, disk space). Changes nothing.
    fn decide(&self, target: &Target) -> Result<Decision>;

    /// What a plan tells of a target beyond its rows. Changes nothing.
    fn foresee(&self, _target: &Target, _decision: &Decision) -> Result<Foreseen> {
        Ok(Foreseen::default())
    }

    /// Has the destination look at what it would otherwise refuse when all rows are in: an index. Leaves nothing behind.
    fn prove(&self, _target: &Target, _decision: &Decision) -> Result<()> {
        Ok(())
    }

    /// Tells it the run's number, before anything is prepared: what it makes may bear it.
    fn begin(&self, _run: u64) {}

    /// Tells it, before anything is prepared, that the source may change while it is read: that targets have about as many
    /// rows as they say.
    fn rows_may_change(&self) {}

    /// Tells it, before anything is prepared, what was decided about a target: perhaps by an earlier start of the job, so
    /// that what [`Sink::decide`] found this time is another thing.
    fn decided(&self, _target: &Target, _decision: &Decision) {}

    /// The destination's own number for where a target that is prepared goes: another one when that is dropped and made
    /// anew. 0: it does not say.
    fn place(&self, _target: &Target) -> Result<u64> {
        Ok(0)
    }

    /// Carries the decision out; for several targets at a time where the destination is a server. The decision has been synced to the checkpoint; on
    /// resume it is handed in again with `begun`, and must not be applied twice.
    fn prepare(&self, target: &Target, decision: &Decision, begun: bool) -> Result<()>;

    /// The decision as it stands once the target is prepared and before anything is sent. A sink that can count
    /// only after a flush says here what the target really held; the answer takes the decision's place in the
    /// checkpoint. Not called where rows may have been sent.
    fn settle(&self, _target: &Target, decision: Decision) -> Result<Decision> {
        Ok(decision)
    }

    /// Packs a batch, reading each payload byte once: this is where pages fault in,
    /// floats are checked, digests are taken. Long ranges stay where they are
    /// mapped; envelope, ids and short ranges go into the buffer.
    fn pack(&self, batch: Batch, buffer: Buffer) -> Result<Parcel>;

    /// Delivers, and returns once the destination has accepted responsibility.
    /// Never waits to try again: it says by the error's kind what happened.
    fn deliver(&self, parcel: &Parcel, attempt: Attempt) -> Result<Receipt>;

    /// What a second arrival of a batch of this target would do.
    fn redelivery(&self, target: &Target, decision: &Decision) -> Redelivery;

    /// Whether a half-filled target can be gone on with after the program died. Where not (files), the
    /// target is begun anew and its receipts are forgotten.
    fn resumable(&self) -> bool;

    /// Whether an `Again` replaces what earlier attempts brought, whenever that came: it may then be sent at any time.
    fn replaces(&self) -> bool {
        false
    }

    /// The next step of what follows when every shard of a target has been delivered: flush, build, load, rename. Called
    /// until all is done; after an error it goes on where it was.
    fn finish(&self, target: &Target) -> Result<Finishing>;

    /// Rows were sent to a target once more: what `finish` did has to be done again.
    fn unfinish(&self, _target: &Target) {}

    /// How many rows the destination says the target has, and how much that is worth. Never builds or loads.
    fn count(&self, target: &Target) -> Result<Count>;

    /// How many rows the server's statistics say the target has, where [`Sink::count`] may be a better figure: what
    /// it held before was perhaps counted so.
    fn statistics(&self, _target: &Target) -> Result<Option<u64>> {
        Ok(None)
    }

    /// What can be read back of a target. Needs no preparation, changes nothing, never builds or loads.
    fn held<'s>(&'s self, target: &Target) -> Result<Held<'s>>;

    /// Lets a target be read that cannot be as it is: makes an index where loading needs one, and loads. Each change is
    /// noted before it is made, for [`Sink::give_back`]. `check` fails when the operator wants to stop.
    fn lend(
        &self,
        _target: &Target,
        _loans: &mut Vec<Loan>,
        _check: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        Ok(())
    }

    /// Takes a change back that [`Sink::lend`] made.
    fn give_back(&self, _loan: &Loan) -> Result<()> {
        Ok(())
    }

    /// Gives up a target that will not be finished: removes what must not be left looking whole, and says
    /// what was left behind, if anything.
    fn abandon(&self, target: &Target, decision: &Decision) -> Option<String>;
}

/// What a plan tells of a target beyond its rows; empty where a destination has no such thing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Foreseen {
    /// How rows get there: by inserts, or by files that the server imports.
    pub way: String,
    /// How distances are measured in the target, and who says so.
    pub metric_in_target: Option<(String, String)>,
    /// The index there will be, or is.
    pub index: String,
    /// Whether, and when, it is loaded.
    pub load: &'static str,
    /// What the count at the end will rest on.
    pub rests_on: &'static str,
}

/// What will be done to a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The deed.
    pub action: Action,
    /// Rows the target had before; 0 where it is made or replaced.
    pub rows_before: u64,
    /// Whether this job made, emptied or found it empty, so that nobody else's rows can be in it.
    pub ours: bool,
    /// Why, for people: such as `collection products exists, mode is skip`.
    pub why: String,
    /// Rows that are removed with what is replaced, where that is known.
    pub removes: Option<Count>,
    /// The destination's own number for what is replaced: nothing else is removed, not even what bears its name by then.
    /// 0: it does not say.
    pub replaces: u64,
}

/// What `mode` means for a target as it was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Leave it alone.
    Skip,
    /// Make it.
    Create,
    /// Add to it.
    Append,
    /// Remove it, then make it.
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

/// How far the finishing of a target is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finishing {
    /// All is done.
    Done,
    /// A step is done, and the next can be taken.
    Next,
    /// Something is being done.
    Doing {
        /// What.
        phase: Phase,
        /// A figure that moves while it gets on.
        figure: u64,
        /// How far it is, in hundredths, where that is known.
        percent: Option<u64>,
    },
}

/// A change to a collection that is taken back once it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loan {
    /// An index on this field was made.
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
    /// It would double rows, or remove some: the run must stop. Says why and what the choices are.
    Doubles(String),
}

/// A packed batch: name, row count, bytes.
pub struct Parcel {
    /// The batch's name.
    pub id: BatchId,
    /// The batch it was packed from, rows that were left out removed: to pack it again in halves.
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
    /// Whether they went as an upsert, which may have replaced rows of an earlier attempt.
    pub upserted: bool,
}

/// A row count, and how much it is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// Rows.
    pub rows: u64,
    /// What the figure rests on.
    pub strength: Strength,
}

/// What a count rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strength {
    /// Every live row was counted, and no two can have the same key.
    Unique,
    /// Every live row was counted.
    Exact,
    /// The server's statistics: rows ever inserted, replaced and deleted ones too.
    Statistics,
}

impl Strength {
    /// The one of this word.
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

/// Refuses a target that has more than a sink of plain rows holds.
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
        .hint("`fields:` says which columns travel")),
    }
}

/// All kinds of sink. Adding one: its file, and its line here.
pub const SINKS: &[SinkKind] = &[milvus::KIND, hdf5::KIND, milvus1::KIND, parquet::KIND];
