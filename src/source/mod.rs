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

/// A kind of source: what a job may name, and how its settings become one.
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

    /// Opens the source, and looks only at what these globs admit, where it can: what is left out must not stand
    /// in the way. The caller drops the rest in any case.
    fn open_for(&self, _admitted: &Globs) -> Result<Box<dyn Source>> {
        self.open()
    }
}

/// A place vectors come from.
///
/// Blocking, and shared by all threads. A source over the network waits inside
/// its own client; it never asks its caller to be async.
pub trait Source: Send + Sync {
    /// Looks without moving data: a manifest, with shards along natural seams
    /// (row ranges, inverted lists, segments), and an identity that changes when the data does.
    fn survey(&self, limits: Limits) -> Result<Survey>;

    /// Whether it stays as it is while it is read.
    fn stillness(&self) -> Stillness {
        Stillness::Frozen
    }

    /// How many readers at a time it serves well, where they wait for a network; `None`: as many as there are cores.
    fn reads_at_once(&self) -> Option<usize> {
        None
    }

    /// Makes readable what is not, as far as the job wants that; taken back when the source is dropped.
    fn ready(&self) -> Result<()> {
        Ok(())
    }

    /// What the operator should know once all was read.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Lines of YAML for a job: the columns that the payload of a shard's rows could have, by a sample. None where rows
    /// have no payload without columns.
    fn profile(&self, _shard: &Shard) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Whether rows of a shard that were read before may come once more, as they are now: since the state of one moment
    /// that they were read from is gone, and the source gives rows that were written again another place in its order.
    /// `earlier`: some of the shard was read by a program that has ended. Such rows come at the shard's end.
    fn repeats(&self, _shard: &Shard, _earlier: bool) -> bool {
        false
    }

    /// Opens a shard, which may be a stretch of one that the survey found, at a position. Of a frozen source the batches
    /// that follow are a pure function of (source, shard, position, limits): this is what makes resuming possible. Of
    /// others all that is certain is that they hold the rows behind the position, up to the shard's end, in the order
    /// of their keys.
    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>>;

    /// Opens a shard for a plan, which shows its first row: what takes long to check is not checked.
    fn peek<'s>(&'s self, shard: &Shard, limits: Limits) -> Result<Box<dyn Reader + 's>> {
        self.open(shard, shard.start.clone(), limits)
    }

    /// What tells the data from other data wherever it lies and whenever it was written, piece by piece: a file, a
    /// table. `None`: only [`Survey::identity`] can.
    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        Ok(None)
    }

    /// The file that a shard's part is, as the job calls it, where the source is files.
    fn file(&self, _part: u32) -> Option<&Path> {
        None
    }

    /// Complains, with `Kind::Changed`, when the source is no longer what was surveyed. Called when a target is
    /// finished, and when a mapping may have broken under the sender.
    fn unchanged(&self) -> Result<()>;
}

/// Whether a source stays as it is while it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stillness {
    /// Files: they do not change, or that is noticed.
    Frozen,
    /// A server keeps the state of one moment for us, as long as it can.
    Pinned,
    /// Rows come and go meanwhile.
    Live,
}

impl Stillness {
    /// The word in plans and reports.
    pub fn name(self) -> &'static str {
        match self {
            Stillness::Frozen => "frozen",
            Stillness::Pinned => "pinned",
            Stillness::Live => "live",
        }
    }
}

/// Reads a shard, and goes on after an error where it was: asking for the next rows once more gets them, once the
/// source gives them again.
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
        // What seems broken while it is read may have been whole when it was surveyed.
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

/// What a look at a source found.
#[derive(Clone, Debug)]
pub struct Survey {
    /// What would travel, targets named as they are in the source.
    pub manifest: Manifest,
    /// What identifies the data: file, and its size, time, inode and header digest. Printed when it differs.
    pub identity: BTreeMap<String, String>,
    /// What the operator should know: rows of a table that metadata counts otherwise, lossy decoding.
    pub warnings: Vec<String>,
    /// Where the files of a target are indexed otherwise, which has what: there is no one index to make anew.
    pub indexes_differ: Option<String>,
}

/// Reads one shard, forward.
pub trait Reader: Send {
    /// The next rows of the shard, or `None` at its end. A cut is never empty, and never larger than the limits.
    fn next(&mut self) -> Result<Option<Cut>>;

    /// The files it reads from.
    fn files(&self) -> Files;
}

/// Files, as they were opened. Kept with what was read until that has arrived: pages of a mapping are taken from the
/// file once more when they are sent.
#[derive(Clone)]
pub struct Files(Arc<[View]>);

impl Files {
    /// The files that these lie in.
    pub fn new<'v>(views: impl IntoIterator<Item = &'v View>) -> Files {
        Files(views.into_iter().cloned().collect())
    }

    /// Complains, with `Kind::Changed`, when one no longer looks as it did when it was opened, and with `Kind::Io` when a
    /// part could not be read. Cheap: called after each batch is packed, and after it was delivered.
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
