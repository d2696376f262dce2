//! Tables of numbers in files: how do arrays and vector files of every kind become shards and batches?
//! Knows where rows are and what type their numbers have; headers are parsed by the source that opens the file.

mod inflate;
mod read;
mod rows;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::files::{identity, shard_rows};
use super::values::Stored;
use super::{Reader, Source, Survey, content};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::input::View;
use crate::job::absolute;
use crate::limits;
use crate::schema::{Columns, Element, VectorType};

pub use inflate::Packed;
pub use rows::Rows;

/// A table of numbers, all of one type.
#[derive(Clone, Debug)]
pub struct Table {
    /// The file it is in.
    pub view: View,
    /// The file's path, and the table's name in it if it has one.
    pub name: String,
    pub rows: u64,
    /// Numbers in a row.
    pub columns: u64,
    pub stored: Stored,
    pub place: Place,
}

/// Where the rows of a table are.
#[derive(Clone, Debug)]
pub enum Place {
    /// One after another, from this byte of the file.
    Rows(u64),
    /// From the start of the file, each preceded by the number of its columns in four bytes.
    Counted,
    /// Column by column, from this byte of the file.
    Columns(u64),
    /// Compressed: must be decompressed from the first row on.
    Packed(Packed),
}

impl Place {
    /// Its name for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Place::Rows(_) => "row by row",
            Place::Counted => "row by row, each after its dimension",
            Place::Columns(_) => "column by column",
            Place::Packed(_) => "packed by deflate",
        }
    }

    /// The first byte of the file that belongs to the table.
    fn at(&self) -> u64 {
        match self {
            Place::Rows(at) | Place::Columns(at) => *at,
            Place::Counted => 0,
            Place::Packed(packed) => packed.at,
        }
    }
}

/// Bytes of the number before each row of [`Place::Counted`].
pub const COUNT_BYTES: u64 = 4;

impl Table {
    /// Bytes of a row as stored.
    pub fn row_bytes(&self) -> u64 {
        self.columns * self.stored.bytes() as u64
    }

    /// The type of its rows as vectors of this element, or why they cannot be vectors.
    pub fn vector(&self, element: Element) -> Result<VectorType> {
        if !self.stored.can_be(element) {
            let what = format!(
                "{} holds {}, which cannot be {}",
                self.name,
                self.stored.name(),
                element.name()
            );
            return Err(Error::path(Kind::Job, self.view.path(), what));
        }
        let (dimension, odd) = match (element, self.stored) {
            (Element::Bit, Stored::Bool) => (Some(self.columns), self.columns % 8),
            (Element::Bit, _) => (self.columns.checked_mul(8), 0),
            _ => (Some(self.columns), 0),
        };
        if odd > 0 {
            let what = format!(
                "{}: {} booleans do not fill whole bytes",
                self.name, self.columns
            );
            return Err(self.wrong(
                what,
                "pack them, as numpy.packbits does, or convert them with `as: float32`",
            ));
        }
        let fits = dimension.filter(|d| (1..=limits::DIMENSIONS_MAX).contains(d));
        match fits.and_then(|d| u32::try_from(d).ok()) {
            Some(dimension) => Ok(VectorType { element, dimension }),
            None => {
                let what = format!("vectors of {} columns cannot be migrated", self.columns);
                Err(self.wrong(
                    what,
                    format!("vectors have 1 to {} dimensions", limits::DIMENSIONS_MAX),
                ))
            }
        }
    }

    fn wrong(&self, what: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::path(Kind::Unsupported, self.view.path(), what).hint(hint)
    }
}

/// Vectors, and their ids if there are any.
pub struct Pair {
    pub vectors: Table,
    pub ids: Option<Table>,
}

/// Pairs of tables as a source with one target: rows continue from one pair to the next.
pub struct Tables {
    pairs: Vec<Pair>,
    vector: VectorType,
    columns: Arc<Columns>,
    /// The id of the first row if rows are numbered.
    first_id: u64,
    warnings: Vec<String>,
}

impl Tables {
    /// Combines tables; refuses those that do not fit together. There is at least one.
    pub fn new(
        pairs: Vec<Pair>,
        element: Element,
        first_id: u64,
        mut warnings: Vec<String>,
    ) -> Result<Tables> {
        let first = &pairs.first().expect("the job names a file").vectors;
        let vector = first.vector(element)?;
        let mut rows = 0u64;
        for (number, Pair { vectors, ids }) in pairs.iter().enumerate() {
            let refuse = |what: String| Err(Error::path(Kind::Job, vectors.view.path(), what));
            let other = vectors.vector(element)?;
            if other != vector {
                return refuse(format!("holds {other}, but {} holds {vector}", first.name));
            }
            let is_same = |pair: &Pair| {
                let (one, two) = (pair.vectors.view.stamp(), vectors.view.stamp());
                one.zip(two)
                    .is_some_and(|(one, two)| one.inode == two.inode)
                    && pair.vectors.place.at() == vectors.place.at()
            };
            if pairs[..number].iter().any(is_same) {
                return refuse(format!("{} is named twice", vectors.name));
            }
            if let Some(ids) = ids
                && ids.rows != vectors.rows
            {
                let what = format!(
                    "{} ids for {} vectors of {}",
                    ids.rows, vectors.rows, vectors.name
                );
                return Err(Error::path(Kind::Corrupt, ids.view.path(), what));
            }
            rows = rows.saturating_add(vectors.rows);
        }
        if i64::try_from(first_id.saturating_add(rows)).is_err() {
            let what =
                format!("first_id {first_id} and {rows} rows exceed the largest possible id");
            return Err(Error::new(Kind::Job, what));
        }
        if pairs.len() > 1 && pairs[0].ids.is_none() {
            warnings.push(numbered(&pairs, first_id));
        }
        Ok(Tables {
            pairs,
            vector,
            columns: Columns::plain("id", "embedding", vector)?,
            first_id,
            warnings,
        })
    }

    fn rows_before(&self, pair: usize) -> u64 {
        self.pairs[..pair].iter().map(|p| p.vectors.rows).sum()
    }

    fn views(&self) -> impl Iterator<Item = &View> {
        let tables = self
            .pairs
            .iter()
            .flat_map(|p| [Some(&p.vectors), p.ids.as_ref()]);
        tables.flatten().map(|table| &table.view)
    }
}

/// Which ids the rows of each file get: the order of the files may not be the intended one.
fn numbered(pairs: &[Pair], first_id: u64) -> String {
    let mut next = first_id;
    let mut listed = Vec::new();
    for Pair { vectors, .. } in pairs.iter().take(limits::FILES_LISTED) {
        listed.push(format!("{} from {next}", vectors.name));
        next += vectors.rows;
    }
    if pairs.len() > listed.len() {
        listed.push(format!("and {} more files", pairs.len() - listed.len()));
    }
    format!(
        "ids are row numbers over all files in this order: {}",
        listed.join(", ")
    )
}

impl Source for Tables {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let most = (limits::SHARDS_PER_TARGET / self.pairs.len() as u64).max(1);
        let batch = limits.rows(self.vector);
        let (mut shards, mut first_row) = (Vec::new(), 0u64);
        for (part, Pair { vectors, .. }) in self.pairs.iter().enumerate() {
            // Compressed data is read from the start by one thread: several would each decompress the same data.
            let most = if matches!(vectors.place, Place::Packed(_)) {
                1
            } else {
                most
            };
            let each = shard_rows(vectors.rows, batch, 1, most);
            let mut start = 0;
            while start < vectors.rows {
                let end = start.saturating_add(each).min(vectors.rows);
                let file = vectors.view.path().file_name().unwrap_or_default();
                shards.push(Shard {
                    number: shards.len() as u32,
                    target: 0,
                    part: part as u32,
                    name: format!("{} rows {start}..{end}", file.display()),
                    rows: end - start,
                    first_row,
                    start: Position::Row(start),
                    end: Position::Row(end),
                });
                first_row += end - start;
                start = end;
            }
        }
        let first = &self.pairs[0];
        let target = Target {
            number: 0,
            name: TargetName {
                collection: String::new(),
                partition: String::new(),
            },
            columns: self.columns.clone(),
            traits: Default::default(),
            keys: match first.ids {
                Some(_) => Keys::Stored,
                None => Keys::RowNumbers,
            },
            auto_id: false,
            rows: first_row,
            rows_deleted: 0,
            source: first.vectors.name.clone(),
        };
        let identity = self
            .views()
            .map(|view| Ok((view.path().display().to_string(), identity(view)?)));
        Ok(Survey {
            identity: identity.collect::<Result<BTreeMap<String, String>>>()?,
            warnings: self.warnings.clone(),
            manifest: Manifest {
                targets: vec![target],
                shards,
            },
            indexes_differ: None,
        })
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        let mut pieces = BTreeMap::new();
        for (number, pair) in (1..).zip(&self.pairs) {
            for table in std::iter::once(&pair.vectors).chain(&pair.ids) {
                // Row numbers continue from file to file, so the order of files is part of their identity.
                let path = absolute(table.view.path());
                let name = format!("file {number}: {}", path.display());
                pieces.insert(name, content::of(&table.view)?);
            }
        }
        Ok(Some(pieces))
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let part = shard.part as usize;
        let Some(pair) = self.pairs.get(part) else {
            let what = format!("there is no file for {}", shard.name);
            return Err(Error::new(Kind::Changed, what));
        };
        let first_id = self.first_id + self.rows_before(part);
        let range = from.row()..shard.end.row();
        Ok(Box::new(read::PairReader::new(
            pair,
            &self.columns,
            self.vector,
            range,
            first_id,
            limits,
        )))
    }

    fn file(&self, part: u32) -> Option<&Path> {
        let pair = self.pairs.get(part as usize)?;
        Some(pair.vectors.view.path())
    }

    fn unchanged(&self) -> Result<()> {
        self.views().try_for_each(View::unchanged)
    }
}
