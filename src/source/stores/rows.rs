//! Rows of a store as a source: ranges of its list as shards.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, StringArray};
use arrow_buffer::Buffer;

use super::{Found, Row};
use crate::batch::{Cut, Keys, Limits, Manifest, Part, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::json::quoted;
use crate::limits;
use crate::schema::{Column, ColumnType, Columns, Element, Role, VectorType};
use crate::source::cut::Cutter;
use crate::source::documents::{self, Scan, vector};
use crate::source::files::{add_shards, identities};
use crate::source::{Files, Reader, Source, Survey, content};

/// An opened store.
pub struct Store {
    /// The file that vectors are in.
    view: View,
    others: Vec<View>,
    rows: Vec<Row>,
    kind: VectorType,
    columns: Arc<Columns>,
    notes: Vec<String>,
}

impl Store {
    pub(super) fn new(view: View, others: Vec<View>, found: Found) -> Result<Store> {
        let wrong = |what: String| Error::path(Kind::Corrupt, view.path(), what);
        if let Some(id) = twice(&found.rows) {
            return Err(wrong(format!("has row {} twice", quoted(id))));
        }
        let Some(first) = found.rows.first() else {
            let what = "has no row with a vector, so their dimension is unknown";
            return Err(Error::path(Kind::Unsupported, view.path(), what));
        };
        let range = first.vector.clone();
        let bytes = view.cut(range.start as u64, range.len() as u64)?.bytes()?;
        let mut dimension = 0;
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let counted = Scan::new(text).elements(|scan| {
            dimension += 1;
            scan.value().map(|_| ())
        });
        counted.map_err(|what| wrong(format!("row {} {what}", quoted(&first.id))))?;
        let kind = VectorType {
            element: Element::Float32,
            dimension,
        };
        if dimension == 0 {
            return Err(wrong(format!(
                "row {} has an empty vector",
                quoted(&first.id)
            )));
        }
        let any = ColumnType::VarChar { max_bytes: None };
        let columns = Columns::new(vec![
            Column::key("id", any),
            Column {
                metric: found.metric,
                ..Column::new("embedding", ColumnType::Vector(kind))
            },
            Column {
                nullable: found.rows.iter().any(|row| row.text.is_none()),
                ..Column::new("text", any)
            },
            Column {
                role: Role::Dynamic,
                ..Column::new("metadata", ColumnType::Json)
            },
        ])?;
        Ok(Store {
            rows: found.rows,
            notes: found.notes,
            view,
            others,
            kind,
            columns,
        })
    }

    fn views(&self) -> impl Iterator<Item = &View> {
        [&self.view].into_iter().chain(&self.others)
    }

    /// Rows as columns.
    fn block(&self, rows: &[Row]) -> Result<Vec<ArrayRef>> {
        let mut vectors = Vec::with_capacity(rows.len() * self.kind.row_bytes() as usize);
        for row in rows {
            let (start, len) = (row.vector.start as u64, row.vector.len() as u64);
            let bytes = self.view.cut(start, len)?.bytes()?;
            let wrong = |what: String| {
                let what = format!("row {} {what}", quoted(&row.id));
                self.view.corrupt(start, what)
            };
            let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not UTF-8".to_owned()))?;
            match vector(&mut Scan::new(text), self.kind, &mut vectors) {
                Ok(documents::Found::Vector) => {}
                Ok(documents::Found::Nothing) => {
                    return Err(wrong("has an empty vector".to_owned()));
                }
                Err(what) => return Err(wrong(format!("has a vector that {what}"))),
            }
        }
        let width = i32::try_from(self.kind.row_bytes()).expect("Columns::new checked the width");
        let texts: StringArray = rows.iter().map(|row| row.text.as_deref()).collect();
        Ok(vec![
            Arc::new(StringArray::from_iter_values(
                rows.iter().map(|row| &row.id),
            )),
            Arc::new(FixedSizeBinaryArray::new(
                width,
                Buffer::from_vec(vectors),
                None,
            )),
            Arc::new(texts),
            Arc::new(StringArray::from_iter_values(
                rows.iter().map(|row| &row.metadata),
            )),
        ])
    }
}

/// A duplicate id.
fn twice(rows: &[Row]) -> Option<&str> {
    let mut ids = HashSet::with_capacity(rows.len());
    let mut all = rows.iter().map(|row| &*row.id);
    all.find(|id| !ids.insert(*id))
}

impl Source for Store {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let rows = self.rows.len() as u64;
        let mut shards = Vec::new();
        add_shards(&mut shards, 0, "", rows);
        let target = Target {
            number: 0,
            name: TargetName {
                collection: String::new(),
                partition: String::new(),
            },
            columns: self.columns.clone(),
            traits: Arc::default(),
            keys: Keys::Unique,
            auto_id: false,
            rows,
            rows_deleted: 0,
            source: self.view.path().display().to_string(),
        };
        Ok(Survey {
            identity: identities(self.views())?,
            warnings: self.notes.clone(),
            manifest: Manifest {
                targets: vec![target],
                shards,
            },
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
        let end = shard.end.row().min(self.rows.len() as u64);
        Ok(Box::new(Rows {
            store: self,
            next: from.row().min(end) as usize,
            end: end as usize,
            cutter: Cutter::new(limits, end),
        }))
    }

    fn file(&self, _: u32) -> Option<&Path> {
        Some(self.view.path())
    }

    fn unchanged(&self) -> Result<()> {
        self.views().try_for_each(View::unchanged)
    }
}

/// Reads a range of the rows.
struct Rows<'s> {
    store: &'s Store,
    next: usize,
    end: usize,
    cutter: Cutter,
}

impl Reader for Rows<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let Rows {
            store,
            next,
            end,
            cutter,
        } = self;
        cutter.next(|| {
            let first = *next;
            let each = limits::LITE_BLOCK_BYTES as u64 / store.kind.row_bytes().max(1);
            *next = (first + each.clamp(1, limits::LITE_SHARD_ROWS) as usize).min(*end);
            if first == *next {
                return Ok(None);
            }
            let values = store.block(&store.rows[first..*next])?;
            let part = Part::new(&store.columns, values, store.view.path(), first as u64)?;
            Ok(Some(vec![part]))
        })
    }

    fn files(&self) -> Files {
        Files::new(self.store.views())
    }
}
