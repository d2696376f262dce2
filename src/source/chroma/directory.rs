//! Collections in a directory: ids and metadata in SQLite; vectors in the files of an index, or in the log of
//! writes until the index takes them over.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, StringArray};
use arrow_buffer::Buffer;

use super::files::Index;
use super::tables::Tables;
use super::{Collection, Settings};
use crate::batch::{Cut, Keys, Limits, Manifest, Part, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::job::Globs;
use crate::limits;
use crate::source::cut::Cutter;
use crate::source::documents::{self, Layout};
use crate::source::files::{add_shards, identities};
use crate::source::named::chosen;
use crate::source::sqlite::Sqlite;
use crate::source::{Files, Reader, Source, Survey, content};

/// The operations of a write.
const ADD: i64 = 0;
const UPDATE: i64 = 1;
const UPSERT: i64 = 2;
const DELETE: i64 = 3;

/// A directory whose collections are known.
pub struct Directory {
    settings: Settings,
    sqlite: Sqlite,
    kept: Vec<Kept>,
    notes: Vec<String>,
}

/// A collection.
struct Kept {
    name: TargetName,
    dimension: u32,
    layout: Layout,
    /// The segment that its rows belong to.
    segment: String,
    index: Option<Index>,
    rows: Vec<(i64, At)>,
}

/// Where a row's vector is.
#[derive(Clone, Copy)]
enum At {
    /// An element of the index.
    Element(u32),
    /// A write.
    Written(i64),
}

impl Directory {
    /// Looks up the wanted collections of a directory.
    pub fn open(path: &Path, settings: &Settings, admitted: &Globs) -> Result<Directory> {
        let file = path.join("chroma.sqlite3");
        if !file.exists() {
            let what = "is not a directory of Chroma 0.4 or later: it has no chroma.sqlite3";
            return Err(Error::path(Kind::Job, path, what));
        }
        let sqlite = Sqlite::open(&file)?;
        sqlite.files().check_whole()?;
        let tables = Tables::open(&sqlite)?;
        let there = tables.collections(&settings.tenant, &settings.database)?;
        let names: Vec<String> = there.iter().map(|c| c.name.clone()).collect();
        let wanted = chosen("collection", &settings.collections, &names, &[])?;
        let (mut kept, mut notes) = (Vec::new(), Vec::new());
        for collection in there {
            if !wanted.contains(&collection.name) || !admitted.admit(&collection.name, "") {
                continue;
            }
            match collection.dimension {
                Some(dimension) => {
                    notes.extend(collection.rounded());
                    kept.push(Kept::open(path, &tables, &collection, dimension, settings)?);
                }
                None => notes.push(collection.never_filled()),
            }
        }
        Ok(Directory {
            settings: settings.clone(),
            sqlite,
            kept,
            notes,
        })
    }

    fn views(&self) -> impl Iterator<Item = &View> {
        let indexes = self.kept.iter().filter_map(|kept| kept.index.as_ref());
        (self.sqlite.files().views()).chain(indexes.flat_map(Index::views))
    }
}

impl Kept {
    fn open(
        path: &Path,
        tables: &Tables<'_>,
        collection: &Collection,
        dimension: u32,
        settings: &Settings,
    ) -> Result<Kept> {
        let name = &collection.name;
        let file = tables.sqlite.path();
        let layout = Layout::new(Collection::key(), vec![collection.embedding(dimension)])?;
        let segments = tables.segments(&collection.id)?;
        let (vector, kind) = segments.vector.unwrap_or_default();
        let is_unit = collection.space == "cosine";
        let index = match vector.is_empty() {
            true => None,
            false => Index::open(&path.join(&vector), dimension, is_unit, settings.access)?,
        };
        let known = index.as_ref().map(Index::known).transpose()?;
        let (mut elements, by_pickle) = match known {
            Some(known) => (known.elements, known.last_write),
            None => (HashMap::new(), None),
        };
        let taken = tables.last_write(&vector)?.or(by_pickle);
        if taken.is_some() && index.is_none() {
            let what =
                format!("{name}: its index, of type {kind}, is not in the directory {vector}");
            return Err(Error::path(Kind::Corrupt, path, what));
        }
        let seen = tables.last_write(&segments.metadata)?.unwrap_or(i64::MIN);
        let mut unseen = 0u64;
        let mut written: HashMap<String, Option<i64>> = HashMap::new();
        tables.writes(&collection.id, taken.unwrap_or(i64::MIN), |write| {
            unseen += u64::from(write.number > seen);
            let is_there = match written.get(&write.id) {
                Some(found) => found.is_some(),
                None => elements.contains_key(&write.id),
            };
            match write.operation {
                // An id that exists is not added again.
                ADD if !is_there => {
                    written.insert(write.id, Some(write.number));
                }
                UPDATE if is_there && write.has_vector => {
                    written.insert(write.id, Some(write.number));
                }
                UPSERT if write.has_vector => {
                    written.insert(write.id, Some(write.number));
                }
                DELETE => {
                    written.insert(write.id, None);
                }
                _ => {}
            }
        })?;
        if unseen > 0 {
            let what = format!("{name}: {unseen} writes are only in the log, not in any table yet");
            return Err(Error::path(Kind::Unsupported, file, what).hint(
                "start Chroma on this directory once, read a row of the collection, and stop it",
            ));
        }
        let (mut rows, mut lost) = (Vec::new(), None);
        tables.rows(&segments.metadata, |number, id| {
            let at = match written.get(id) {
                Some(write) => write.map(At::Written),
                None => elements.remove(id).map(At::Element),
            };
            match at {
                Some(at) => rows.push((number, at)),
                None => {
                    lost.get_or_insert_with(|| id.to_owned());
                }
            }
        })?;
        if let Some(id) = lost {
            let what = format!(
                "{name}: row {} has no vector in the index or in the log of writes",
                crate::json::quoted(&id)
            );
            return Err(Error::path(Kind::Corrupt, file, what));
        }
        Ok(Kept {
            name: TargetName {
                collection: name.clone(),
                partition: String::new(),
            },
            dimension,
            layout,
            segment: segments.metadata,
            index,
            rows,
        })
    }

    /// Reads some rows as columns.
    fn block(
        &self,
        settings: &Settings,
        tables: &Tables<'_>,
        rows: &[(i64, At)],
    ) -> Result<Vec<ArrayRef>> {
        let numbers: Vec<i64> = rows.iter().map(|(number, _)| *number).collect();
        let stored = tables.stored(&self.segment, &numbers)?;
        let width = self.dimension as usize * 4;
        let mut vectors = Vec::with_capacity(rows.len() * width);
        for (_, at) in rows {
            match (at, &self.index) {
                (At::Written(number), _) => {
                    tables.written(*number, self.dimension, &mut vectors)?;
                }
                (At::Element(element), Some(index)) => index.vector(*element, &mut vectors)?,
                (At::Element(_), None) => unreachable!("elements come from an index"),
            }
        }
        let mut rest = Vec::with_capacity(rows.len());
        for row in &stored {
            let joined = (settings.names).join(&row.metadata, &row.document, &row.uri);
            rest.push(joined.map_err(|what| {
                let what = format!("{}: row {} {what}", self.name, crate::json::quoted(&row.id));
                Error::path(Kind::Unsupported, tables.sqlite.path(), what)
                    .hint("`document:` and `uri:` of the source rename them")
            })?);
        }
        let width = i32::try_from(width).expect("Columns::new checked the width");
        Ok(vec![
            Arc::new(StringArray::from_iter_values(stored.iter().map(|r| &r.id))),
            Arc::new(FixedSizeBinaryArray::new(
                width,
                Buffer::from_vec(vectors),
                None,
            )),
            Arc::new(StringArray::from_iter_values(rest)),
        ])
    }
}

impl Source for Directory {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let (mut targets, mut shards) = (Vec::new(), Vec::new());
        for (number, kept) in self.kept.iter().enumerate() {
            let rows = kept.rows.len() as u64;
            add_shards(&mut shards, number, &kept.name.to_string(), rows);
            targets.push(Target {
                number: number as u32,
                name: kept.name.clone(),
                columns: kept.layout.columns().clone(),
                traits: Arc::default(),
                keys: Keys::Unique,
                auto_id: false,
                rows,
                rows_deleted: 0,
                source: self.sqlite.path().display().to_string(),
            });
        }
        Ok(Survey {
            identity: identities(self.views())?,
            warnings: self.notes.clone(),
            manifest: Manifest { targets, shards },
            indexes_differ: None,
        })
    }

    fn profile(&self, shard: &Shard) -> Result<Vec<String>> {
        documents::profile(self, shard)
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        content::of_all(self.views()).map(Some)
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let Some(kept) = self.kept.get(shard.part as usize) else {
            let what = format!("there is no collection for {}", shard.name);
            return Err(Error::new(Kind::Changed, what));
        };
        let end = shard.end.row().min(kept.rows.len() as u64);
        Ok(Box::new(Rows {
            settings: &self.settings,
            tables: Tables::open(&self.sqlite)?,
            kept,
            next: from.row().min(end) as usize,
            end: end as usize,
            cutter: Cutter::new(limits, end),
        }))
    }

    fn file(&self, _: u32) -> Option<&Path> {
        Some(self.sqlite.path())
    }

    fn unchanged(&self) -> Result<()> {
        self.sqlite.files().unchanged()?;
        self.views().try_for_each(View::unchanged)
    }
}

/// Reads a range of a collection.
struct Rows<'s> {
    settings: &'s Settings,
    tables: Tables<'s>,
    kept: &'s Kept,
    next: usize,
    end: usize,
    cutter: Cutter,
}

impl Reader for Rows<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let Rows {
            settings,
            tables,
            kept,
            next,
            end,
            cutter,
        } = self;
        cutter.next(|| {
            let first = *next;
            let each = limits::LITE_BLOCK_BYTES / (kept.dimension as usize * 4).max(1);
            *next = (first + each.clamp(1, limits::CHROMA_PAGE_ROWS as usize)).min(*end);
            if first == *next {
                return Ok(None);
            }
            let values = kept.block(settings, tables, &kept.rows[first..*next])?;
            let columns = kept.layout.columns();
            let part = Part::new(columns, values, tables.sqlite.path(), first as u64)?;
            Ok(Some(vec![part]))
        })
    }

    fn files(&self) -> Files {
        let index = self.kept.index.iter().flat_map(Index::views);
        Files::new(self.tables.sqlite.files().views().chain(index))
    }
}
