//! elasticsearch, opensearch: how is an index of a running server read? Each shard from a state that the server
//! keeps, in the order of its writes' sequence numbers.
//!
//! ```text
//! index ─┬─ shard 0: point in time ──► documents 1..=900 after _seq_no 0 ──► 901..=1800 ──► … highest
//!        └─ shard 1: point in time ──► …
//! ```
//!
//! A document's `_seq_no` is unique within its shard, and does not change until the document is written again: then it
//! gets a number higher than all others. So a position in that order outlives the state in which it was found, and
//! later writes come at the end.

mod cluster;
mod indices;
mod mapping;
mod page;
mod reader;
mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use super::documents::{self, Layout};
use super::pace::Pace;
use super::{Reader, Source, SourceKind, Spec as AnySpec, Stillness, Survey};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::job::Globs;
use crate::limits;
use crate::schema::CollectionTraits;

use cluster::{Cluster, View};
use indices::Index;
use settings::{Missing, SETTINGS, Settings};

/// The source `elasticsearch`.
pub const KIND: SourceKind = SourceKind {
    name: "elasticsearch",
    summary: "indices of a running Elasticsearch 7.12 or later, or OpenSearch",
    settings: SETTINGS,
    read: settings::read,
};

/// The same under the name of the other server: whichever of them answers is detected.
pub const OPENSEARCH: SourceKind = SourceKind {
    name: "opensearch",
    summary: "indices of a running OpenSearch 2.4 or later, or Elasticsearch",
    ..KIND
};

impl AnySpec for Settings {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        Ok(Box::new(Elastic {
            cluster: Cluster::open(self)?,
            settings: self.clone(),
            admitted: admitted.clone(),
            shards: OnceLock::new(),
            without_vector: AtomicU64::new(0),
            pace: Pace::new(self.rows_per_s),
        }))
    }
}

/// A cluster, and what is read from it.
struct Elastic {
    cluster: Cluster,
    settings: Settings,
    admitted: Globs,
    /// What is read, once it is known.
    shards: OnceLock<Vec<Piece>>,
    /// Documents that were skipped.
    without_vector: AtomicU64,
    pace: Pace,
}

/// An index that is migrated, and what its documents become.
struct Whole {
    index: Index,
    name: TargetName,
    layout: Layout,
    place: Arc<Path>,
}

/// A shard of an index, and its state.
struct Piece {
    whole: Arc<Whole>,
    /// Its number in the index.
    shard: u32,
    /// One request at a time: each may change the id of the state.
    view: Mutex<Option<View>>,
    /// Documents in its first state.
    rows: u64,
    /// Whether anything was read from a later state.
    renewed: AtomicBool,
    /// When its last state with its own order was opened.
    state: AtomicI64,
}

impl Piece {
    fn view(&self) -> MutexGuard<'_, Option<View>> {
        self.view.lock().expect("no one panics with it locked")
    }

    /// Records a state; each is later than the one before it.
    fn opened(&self, view: &mut View) {
        let Some(opened) = &mut view.opened else {
            return;
        };
        let before = self.state.fetch_max(*opened, Ordering::Relaxed);
        if before >= *opened {
            *opened = before + 1;
            self.state.store(*opened, Ordering::Relaxed);
        }
    }
}

impl Elastic {
    /// What is read, looked up once.
    fn pieces(&self) -> Result<&[Piece]> {
        if self.shards.get().is_none() {
            let found = self.look()?;
            let _ = self.shards.set(found);
        }
        Ok(self.shards.get().expect("it was just set"))
    }

    fn look(&self) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for index in indices::find(&self.cluster, &self.settings)? {
            let name = TargetName {
                collection: index.called.clone(),
                partition: String::new(),
            };
            if !self.admitted.admit(&name.collection, &name.partition) {
                continue;
            }
            let place = format!("{}/{}", self.cluster.address(), index.name);
            let layout = Layout::typed(
                indices::key(),
                index.vectors(self.settings.missing == Missing::Null),
                index.typed.clone(),
            )?;
            let whole = Arc::new(Whole {
                name,
                layout,
                place: Path::new(&place).into(),
                index,
            });
            for shard in 0..whole.index.shards {
                let mut view = self.cluster.view(&whole.index, shard)?;
                self.without_vector
                    .fetch_add(view.lacking, Ordering::Relaxed);
                let piece = Piece {
                    whole: whole.clone(),
                    shard,
                    rows: view.rows,
                    view: Mutex::new(None),
                    renewed: AtomicBool::new(false),
                    state: AtomicI64::new(0),
                };
                piece.opened(&mut view);
                *piece.view() = Some(view);
                pieces.push(piece);
            }
        }
        Ok(pieces)
    }

    fn piece(&self, shard: &Shard) -> Result<&Piece> {
        let piece = self.pieces()?.get(shard.part as usize);
        piece.ok_or_else(|| {
            let what = format!("{} no longer exists", shard.name);
            Error::new(Kind::Changed, what)
        })
    }
}

impl Source for Elastic {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let (mut targets, mut shards): (Vec<Target>, Vec<Shard>) = (Vec::new(), Vec::new());
        let mut identity = BTreeMap::new();
        let mut warnings = vec![format!(
            "{} at {} is read as it is now (pinned), as long as it keeps that state; if it loses it, the rest is read \
             as it is then. Documents not yet refreshed are not seen",
            self.cluster.server(),
            self.cluster.address()
        )];
        for (part, piece) in self.pieces()?.iter().enumerate() {
            let whole = &piece.whole;
            if piece.shard == 0 {
                targets.push(Target {
                    number: targets.len() as u32,
                    name: whole.name.clone(),
                    columns: whole.layout.columns().clone(),
                    traits: Arc::new(CollectionTraits::default()),
                    keys: match whole.index.is_routed {
                        true => Keys::Stored,
                        false => Keys::Unique,
                    },
                    auto_id: false,
                    rows: 0,
                    rows_deleted: 0,
                    source: whole.place.display().to_string(),
                });
                identity.insert(
                    format!("index {}", whole.index.name),
                    format!("{}, {}", whole.index.uuid, whole.layout.columns()),
                );
                warnings.extend(whole.index.notes.iter().cloned());
            }
            let target = targets.last_mut().expect("a first shard comes first");
            shards.push(Shard {
                number: part as u32,
                target: target.number,
                part: part as u32,
                name: format!("{} shard {}", whole.index.name, piece.shard),
                rows: piece.rows,
                first_row: target.rows,
                start: Position::Start,
                end: Position::End,
            });
            target.rows += piece.rows;
        }
        if let Some(query) = &self.settings.query {
            warnings.push(format!(
                "only documents that match the query {query} are migrated"
            ));
            identity.insert("query".to_owned(), query.to_string());
        }
        Ok(Survey {
            manifest: Manifest { targets, shards },
            identity,
            warnings,
            indexes_differ: None,
        })
    }

    fn stillness(&self) -> Stillness {
        Stillness::Pinned
    }

    fn reads_at_once(&self) -> Option<usize> {
        Some(self.settings.connections)
    }

    fn profile(&self, shard: &Shard) -> Result<Vec<String>> {
        let piece = self.piece(shard)?;
        let mut reader = reader::Pages::new(
            self,
            piece,
            Position::Start,
            Position::End,
            documents::SAMPLE,
        );
        let mut lines = documents::sample(&mut reader)?.lines();
        let others = &piece.whole.index.others;
        if !others.is_empty() {
            let shown = others.len().min(limits::FILES_LISTED);
            let dots = if shown < others.len() { ", …" } else { "" };
            let names = others[..shown].join(", ");
            // A comment after a block that can be pasted into a job.
            lines.push(format!(
                "# or by the mapping, in the source: columns: [{names}{dots}]; \"name[]\" where documents have lists"
            ));
        }
        Ok(lines)
    }

    fn repeats(&self, shard: &Shard, earlier: bool) -> bool {
        let piece = self
            .shards
            .get()
            .and_then(|all| all.get(shard.part as usize));
        piece.is_some_and(|piece| {
            // No state outlives the program that opened it, and reading resumes in another one only by sequence
            // numbers.
            let goes_on = earlier && piece.whole.index.is_numbered;
            goes_on || piece.renewed.load(Ordering::Relaxed)
        })
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let piece = self.piece(shard)?;
        let end = shard.end.clone();
        Ok(Box::new(reader::Pages::new(self, piece, from, end, limits)))
    }

    fn unchanged(&self) -> Result<()> {
        let mut last = "";
        for piece in self.shards.get().into_iter().flatten() {
            let index = &piece.whole.index;
            if index.name == last {
                continue;
            }
            last = &index.name;
            match indices::uuid(&self.cluster, &index.name) {
                Ok(Some(uuid)) if uuid == index.uuid => {}
                Ok(_) => {
                    let what = format!(
                        "the index {} was deleted or recreated since the job looked it up",
                        index.name
                    );
                    return Err(Error::new(Kind::Changed, what));
                }
                // A server that does not answer has not changed.
                Err(error) if error.kind().is_silence() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn remarks(&self) -> Vec<String> {
        let count = self.without_vector.load(Ordering::Relaxed);
        let said = (count > 0).then(|| {
            format!("{count} documents without their vector were left out (`missing_vector: skip`)")
        });
        said.into_iter().collect()
    }
}

impl Drop for Elastic {
    fn drop(&mut self) {
        for piece in self.shards.get().into_iter().flatten() {
            // If this call does not get through, the server drops the state itself after a few minutes.
            if let Some(view) = piece.view().take() {
                self.cluster.close(&view);
            }
        }
    }
}
