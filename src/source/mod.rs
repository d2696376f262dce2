//! Where do vectors come from? The trait, and the list of kinds.
//! A source knows no sink, changes nothing, and is shared by all threads.

mod choose;
#[cfg(feature = "chroma")]
mod chroma;
pub mod content;
mod cut;
#[cfg(feature = "network")]
pub mod documents;
#[cfg(feature = "elasticsearch")]
pub mod elasticsearch;
pub mod faiss;
mod files;
pub mod hdf5;
mod inspect;
pub mod langchain;
mod milvus;
pub mod milvus1;
pub mod milvus2;
pub mod milvus_lite;
#[cfg(any(feature = "chroma", feature = "pinecone", feature = "qdrant"))]
mod named;
pub mod numpy;
mod pace;
pub mod parquet;
#[cfg(feature = "pgvector")]
pub mod pgvector;
#[cfg(feature = "pinecone")]
mod pinecone;
#[cfg(feature = "qdrant")]
pub mod qdrant;
mod sqlite;
#[cfg(feature = "network")]
pub mod stores;
mod tables;
mod values;
pub mod vecs;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::batch::{Cut, Limits, Manifest, Position, Shard};
use crate::error::Result;
use crate::input::View;
use crate::job::{Form, Globs, Setting};

pub use inspect::inspect;

/// A kind of source: its name in a job, and how its settings become a source.
pub struct SourceKind {
    /// The key in the job, such as `faiss`.
    pub name: &'static str,
    /// One line for `milvusdm formats`.
    pub summary: &'static str,
    /// The settings that a job may name.
    pub settings: &'static [Setting],
    /// Reads the settings, noting mistakes in the form; `None` when there are any.
    pub read: fn(&mut Form) -> Option<Box<dyn Spec>>,
}

/// A source's settings, checked for shape; nothing touched yet.
pub trait Spec {
    /// Opens the source.
    fn open(&self) -> Result<Box<dyn Source>>;

    /// Opens the source, and looks only at what these globs admit, if it can: what is left out must not cause errors.
    /// The caller drops the rest in any case.
    fn open_for(&self, _admitted: &Globs) -> Result<Box<dyn Source>> {
        self.open()
    }
}

/// A place vectors come from.
///
/// Blocking, and shared by all threads. A source over the network waits inside its own client; it never asks its caller
/// to be async.
pub trait Source: Send + Sync {
    /// Looks without moving data: a manifest, with shards along natural seams
    /// (row ranges, inverted lists, segments), and an identity that changes when the data does.
    fn survey(&self, limits: Limits) -> Result<Survey>;

    /// Whether it stays unchanged while it is read.
    fn stillness(&self) -> Stillness {
        Stillness::Frozen
    }

    /// How many readers at a time it serves well, if they wait for a network; `None` for as many as there are cores.
    fn reads_at_once(&self) -> Option<usize> {
        None
    }

    /// Makes data readable, such as by loading it, if the job asks for that; undone when the source is dropped.
    fn ready(&self) -> Result<()> {
        Ok(())
    }

    /// Notes for the operator after everything was read.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Lines of YAML for a job: the columns that the payload of a shard's rows could have, from a sample. None if the
    /// rows have no payload outside columns.
    fn profile(&self, _shard: &Shard) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Whether rows of a shard that were read before may come again in their current state: because the state from
    /// which they were read is gone, and the source moves rows that are written again to another place in its order.
    /// `earlier`: a program that has ended read some of the shard. Such rows come at the shard's end.
    fn repeats(&self, _shard: &Shard, _earlier: bool) -> bool {
        false
    }

    /// Opens a shard, which may be a part of one that the survey found, at a position. For a frozen source, the batches
    /// that follow are a pure function of (source, shard, position, limits): this is what makes resuming possible. For
    /// others, it is only certain that they hold the rows after the position, up to the shard's end, in key order.
    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>>;

    /// Opens a shard for a plan, which shows its first row: slow checks are skipped.
    fn peek<'s>(&'s self, shard: &Shard, limits: Limits) -> Result<Box<dyn Reader + 's>> {
        self.open(shard, shard.start.clone(), limits)
    }

    /// Identifies the data wherever it is and whenever it was written, piece by piece: a file, a table. `None` if only
    /// [`Survey::identity`] can.
    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        Ok(None)
    }

    /// The file that a shard's part is, as the job names it, if the source is files.
    fn file(&self, _part: u32) -> Option<&Path> {
        None
    }

    /// Fails with `Kind::Changed` if the source is no longer what was surveyed. Called when a target is finished, and
    /// when a mapping may have failed under the sender.
    fn unchanged(&self) -> Result<()>;
}

/// Whether a source stays unchanged while it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stillness {
    /// Files: they do not change, or a change is noticed.
    Frozen,
    /// A server keeps a snapshot for us, as long as it can.
    Pinned,
    /// Rows come and go during reading.
    Live,
}

impl Stillness {
    /// Its name in plans and reports.
    pub fn name(self) -> &'static str {
        match self {
            Stillness::Frozen => "frozen",
            Stillness::Pinned => "pinned",
            Stillness::Live => "live",
        }
    }
}

/// Reads a shard, and continues after an error where it was: once the source works again, asking for the next rows
/// returns them.
pub struct Steady<'s> {
    source: &'s dyn Source,
    shard: Shard,
    at: Position,
    limits: Limits,
    reader: Option<Box<dyn Reader + 's>>,
}

impl<'s> Steady<'s> {
    /// The rows of a shard from a position on.
    pub fn new(source: &'s dyn Source, shard: Shard, from: Position, limits: Limits) -> Self {
        Steady {
            source,
            shard,
            at: from,
            limits,
            reader: None,
        }
    }

    /// Where the next rows start.
    pub fn at(&self) -> &Position {
        &self.at
    }

    fn opened(&mut self) -> Result<&mut Box<dyn Reader + 's>> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let opened = (self.source).open(&self.shard, self.at.clone(), self.limits);
                opened.map_err(|e| self.source.unchanged().err().unwrap_or(e))?
            }
        };
        Ok(self.reader.insert(reader))
    }

    /// The files it reads from.
    pub fn files(&mut self) -> Result<Files> {
        Ok(self.opened()?.files())
    }

    /// The next rows, or `None` at the end.
    pub fn rows(&mut self) -> Result<Option<Cut>> {
        let reader = self.opened()?;
        // Data that seem damaged during reading may have been intact when they were surveyed.
        let cut = reader.next();
        let cut = cut.map_err(|e| reader.files().unchanged().err().unwrap_or(e));
        match &cut {
            Ok(Some(cut)) => self.at = cut.next.clone(),
            Ok(None) => {}
            Err(_) => self.reader = None,
        }
        cut
    }
}

/// The result of surveying a source.
#[derive(Clone, Debug)]
pub struct Survey {
    /// What would be migrated, with targets named as in the source.
    pub manifest: Manifest,
    /// What identifies the data: a file's path, size, time, inode and header digest. Printed if it differs.
    pub identity: BTreeMap<String, String>,
    /// Notes for the operator: metadata with different row counts, lossy decoding.
    pub warnings: Vec<String>,
    /// If the files of a target have different indexes, which file has which: there is no single index to rebuild.
    pub indexes_differ: Option<String>,
}

/// Reads one shard, forward.
pub trait Reader: Send {
    /// The next rows of the shard, or `None` at its end. A cut is never empty, and never larger than the limits.
    fn next(&mut self) -> Result<Option<Cut>>;

    /// The files it reads from.
    fn files(&self) -> Files;
}

/// Open files. Kept with the rows read from them until those have arrived: pages of a mapping are read from the file
/// again when they are sent.
#[derive(Clone)]
pub struct Files(Arc<[View]>);

impl Files {
    /// The files of these views.
    pub fn new<'v>(views: impl IntoIterator<Item = &'v View>) -> Files {
        Files(views.into_iter().cloned().collect())
    }

    /// Fails with `Kind::Changed` if a file has changed since it was opened, and with `Kind::Io` if a part could not be
    /// read. Cheap: called after each batch is packed, and after it was delivered.
    pub fn unchanged(&self) -> Result<()> {
        self.0.iter().try_for_each(View::unchanged)
    }
}

/// All kinds of source. Adding one: its file, and its line here.
pub const SOURCES: &[SourceKind] = &[
    #[cfg(feature = "chroma")]
    chroma::KIND,
    #[cfg(feature = "elasticsearch")]
    elasticsearch::KIND,
    faiss::KIND,
    #[cfg(feature = "network")]
    stores::HAYSTACK,
    hdf5::KIND,
    langchain::KIND,
    #[cfg(feature = "network")]
    stores::LLAMAINDEX,
    milvus::KIND,
    milvus1::KIND,
    milvus2::BACKUP,
    milvus2::FILES,
    milvus_lite::KIND,
    numpy::KIND,
    #[cfg(feature = "elasticsearch")]
    elasticsearch::OPENSEARCH,
    parquet::KIND,
    #[cfg(feature = "pgvector")]
    pgvector::KIND,
    #[cfg(feature = "pinecone")]
    pinecone::KIND,
    #[cfg(feature = "qdrant")]
    qdrant::KIND,
    vecs::KIND,
];
