//! What travels: manifests, shards, batches, their names and limits.
//! Shapes only: this room reads no source, knows no sink and copies no payload.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, Int64Array, LargeBinaryArray, ListArray, RecordBatch,
    StringArray, make_array,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_data::transform::MutableArrayData;
use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::schema::{CollectionTraits, Columns, Index, Metric, VectorType};

/// The name of a batch: within a run, the same name always means the same rows, no matter which thread carries it or
/// how often the run dies and is resumed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BatchId {
    /// Drawn when the checkpoint was created.
    pub run: u64,
    /// The shard's number.
    pub shard: u32,
    /// Counted from 0 within the shard.
    pub index: u32,
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{:05}/{:06}", self.run, self.shard, self.index)
    }
}

/// Where reading continues in a shard. Recorded, compared, printed; never guessed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Position {
    /// Before the first row, whatever its key.
    Start,
    /// At this row of the shard's source, counted in stored order.
    Row(u64),
    /// After the row with this key, in a source that is read in the order of its keys: numbers by value, texts by their
    /// bytes.
    After(Key),
    /// After the last row, whatever its key.
    End,
}

impl Position {
    /// The number of the row, for sources that count them. A log that was tampered with may have something else: a key
    /// is
    /// after any row.
    pub fn row(&self) -> u64 {
        match self {
            Position::Start => 0,
            Position::Row(row) => *row,
            Position::After(_) | Position::End => u64::MAX,
        }
    }
}

/// How much may travel together. All sizes count vectors and ids, 8 bytes each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of vectors and ids in a batch.
    pub batch_bytes: u64,
    /// Rows in a batch.
    pub batch_rows: u64,
}

impl Limits {
    /// Rows of a batch of vectors of this type; at least 1.
    pub fn rows(&self, vector: VectorType) -> u64 {
        (self.batch_bytes / (vector.row_bytes() + 8)).clamp(1, self.batch_rows.max(1))
    }
}

/// The collection and partition that rows come from or go to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetName {
    /// The collection; empty if the source has no name for it.
    pub collection: String,
    /// The partition's exact tag; empty: the default partition.
    pub partition: String,
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.collection)?;
        if !self.partition.is_empty() {
            write!(f, "/{}", self.partition)?;
        }
        Ok(())
    }
}

/// What a row is known by.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Key {
    /// A number.
    Int(i64),
    /// A text.
    Text(Arc<str>),
}

impl Key {
    /// The number, if it is one.
    pub fn number(&self) -> Option<i64> {
        match self {
            Key::Int(number) => Some(*number),
            Key::Text(_) => None,
        }
    }
}

/// Numbers as they are, texts in quotes.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Int(id) => write!(f, "{id}"),
            Key::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// In reports and logs: a number or a string.
impl From<Key> for serde_json::Value {
    fn from(key: Key) -> serde_json::Value {
        match key {
            Key::Int(id) => id.into(),
            Key::Text(text) => (&*text).into(),
        }
    }
}

/// What is known about the primary keys of a target's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keys {
    /// Row numbers made by the source over all its files in order: unique by construction.
    RowNumbers,
    /// From the source: may repeat unless a check says otherwise.
    Stored,
    /// From the source, which gives each key once.
    Unique,
}

/// One place where rows end up: a collection and partition, or a file. A job may have many, of
/// different types and dimensions.
#[derive(Clone, Debug)]
pub struct Target {
    /// Counted from 0; shards refer to it.
    pub number: u32,
    /// Its name: from a source, the name there; in a plan, the name it will have.
    pub name: TargetName,
    /// The columns of its rows.
    pub columns: Arc<Columns>,
    /// What else the collection has, if the source knows.
    pub traits: Arc<CollectionTraits>,
    /// Where the ids come from.
    pub keys: Keys,
    /// Whether the source's ids were made by the server there.
    pub auto_id: bool,
    /// Live rows, all shards together.
    pub rows: u64,
    /// Rows of the source that are marked deleted and will not travel.
    pub rows_deleted: u64,
    /// Where it came from, for reports and file attributes: a path without credentials.
    pub source: String,
}

impl Target {
    /// The type of its vectors if rows are plain; `None`: they have other columns, too.
    pub fn plain(&self) -> Option<VectorType> {
        self.columns.as_plain()
    }

    /// The type of its vectors, for sinks that refused targets which are not plain.
    pub fn vector(&self) -> VectorType {
        self.plain().expect(PLAIN)
    }

    /// The metric of the first of its vectors, if the source knows it.
    pub fn metric(&self) -> Option<&Metric> {
        let (_, column) = self.columns.vectors().next()?;
        column.metric.as_ref()
    }

    /// The source's index on the first of its vectors, if known.
    pub fn index(&self) -> Option<&Index> {
        let (_, column) = self.columns.vectors().next()?;
        column.index.as_ref()
    }

    /// Bytes of its rows; texts and other values of no fixed length count none.
    pub fn bytes(&self) -> u64 {
        self.rows.saturating_mul(self.columns.row_bytes().0)
    }
}

/// A range of the source, read in order by one pool thread, all of it for one target.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Counted from 0 over the whole job.
    pub number: u32,
    /// Number of the target.
    pub target: u32,
    /// The source's own key for it: which of its files or segments; opaque to others.
    pub part: u32,
    /// What it is, for people: such as `lists 0..1024`.
    pub name: String,
    /// Live rows.
    pub rows: u64,
    /// How many rows of the target come before its first, in the one order that does not depend on threads.
    pub first_row: u64,
    /// The first row in stored order, deleted ones counted.
    pub start: Position,
    /// Past the last row in stored order.
    pub end: Position,
}

/// Everything that will travel: what a source declares and a sink prepares for.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Where rows end up; `targets[i].number == i`.
    pub targets: Vec<Target>,
    /// What is read; `shards[i].number == i`; shards of a target in the order of `first_row`.
    pub shards: Vec<Shard>,
}

/// Rows that are stored together in a source, and where they are: a range of columns that several parts may share.
#[derive(Clone, Debug)]
pub struct Part {
    rows: Arc<RecordBatch>,
    columns: Arc<Columns>,
    first: usize,
    len: usize,
    /// The file they are in.
    pub file: Arc<Path>,
    /// The stored row number of the first; the others follow.
    pub row: u64,
}

impl Part {
    /// Rows that have these columns.
    pub fn new(
        columns: &Arc<Columns>,
        rows: Vec<ArrayRef>,
        file: &Arc<Path>,
        row: u64,
    ) -> Result<Part> {
        let rows = RecordBatch::try_new(columns.arrow().clone(), rows)
            .map_err(|e| Error::path(Kind::Corrupt, file, format!("columns do not fit: {e}")))?;
        Ok(Part {
            columns: columns.clone(),
            first: 0,
            len: rows.num_rows(),
            rows: Arc::new(rows),
            file: file.clone(),
            row,
        })
    }

    /// Rows of plain columns: `ids` and `vectors`, which hold `ids.len()` rows of the columns' width.
    ///
    /// `vectors` may be a mapping: it is not copied, whatever its alignment.
    pub fn of_vectors(
        columns: &Arc<Columns>,
        ids: Vec<i64>,
        vectors: Bytes,
        file: &Arc<Path>,
        row: u64,
    ) -> Result<Part> {
        let width = columns.as_plain().expect(PLAIN).row_bytes();
        if vectors.len() as u64 != width * ids.len() as u64 {
            return Err(Error::path(
                Kind::Corrupt,
                file,
                format!(
                    "{} ids do not fit {} bytes of vectors of {width} bytes each",
                    ids.len(),
                    vectors.len()
                ),
            ));
        }
        let ids = Int64Array::new(ScalarBuffer::from(ids), None);
        let rows: Vec<ArrayRef> = vec![Arc::new(ids), vector_column(width, vectors)];
        Part::new(columns, rows, file, row)
    }

    /// Its columns.
    pub fn columns(&self) -> &Arc<Columns> {
        &self.columns
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The int64 keys. There are none if keys are text, so callers check that first.
    pub fn ids(&self) -> &[i64] {
        self.ints_of(self.columns.key_number())
    }

    /// The values of a column of int64s.
    pub fn ints_of(&self, column: usize) -> &[i64] {
        let column = self.rows.column(column).as_any();
        let ints = column
            .downcast_ref::<Int64Array>()
            .expect("the column is of int64s");
        &ints.values()[self.first..][..self.len]
    }

    /// The keys, if they are text.
    pub fn text_keys(&self) -> Option<StringArray> {
        let column = self.rows.column(self.columns.key_number()).as_any();
        let keys = column.downcast_ref::<StringArray>()?;
        Some(keys.slice(self.first, self.len))
    }

    /// The key of a row.
    pub fn key(&self, row: usize) -> Key {
        assert!(row < self.len);
        let column = self.rows.column(self.columns.key_number()).as_any();
        match column.downcast_ref::<StringArray>() {
            Some(texts) => Key::Text(texts.value(self.first + row).into()),
            None => Key::Int(self.ids()[row]),
        }
    }

    /// The keys of the rows.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        (0..self.len).map(|row| self.key(row))
    }

    /// The values of a column.
    pub fn column(&self, column: usize) -> ArrayRef {
        self.rows.column(column).slice(self.first, self.len)
    }

    /// The bytes of the one vector of plain rows, row after row.
    pub fn vectors(&self) -> &[u8] {
        assert!(self.columns.as_plain().is_some(), "{PLAIN}");
        self.vectors_of(1)
    }

    /// The bytes of the one vector of plain rows with their owner, not copied.
    pub fn vector_bytes(&self) -> Bytes {
        assert!(self.columns.as_plain().is_some(), "{PLAIN}");
        self.vector_bytes_of(1)
    }

    /// The bytes of a column of dense vectors, row after row.
    pub fn vectors_of(&self, column: usize) -> &[u8] {
        let array = self.vector_array(column);
        let width = array.value_length() as usize;
        &array.value_data()[self.first * width..][..self.len * width]
    }

    /// The bytes of a column of dense vectors with their owner, not copied.
    pub fn vector_bytes_of(&self, column: usize) -> Bytes {
        let array = self.vector_array(column);
        let width = array.value_length() as usize;
        let first = array.offset() + self.first;
        let buffer = array
            .values()
            .slice_with_length(first * width, self.len * width);
        Bytes::from_owner(buffer)
    }

    /// A range of the rows, not copied.
    pub fn slice(&self, first: usize, count: usize) -> Part {
        assert!(first + count <= self.len);
        Part {
            first: self.first + first,
            len: count,
            row: self.row + first as u64,
            ..self.clone()
        }
    }

    /// The ranges between these rows, which are in order.
    pub fn without(&self, rows: &[usize], kept: &mut Vec<Part>) {
        let mut from = 0;
        for row in rows.iter().copied().chain([self.len()]) {
            if row > from {
                kept.push(self.slice(from, row - from));
            }
            from = row + 1;
        }
    }

    /// The same rows with other values in a column.
    pub fn with_column(&self, column: usize, values: ArrayRef) -> Part {
        let all = 0..self.rows.num_columns();
        let rows = all.map(|number| match number == column {
            true => values.clone(),
            false => self.column(number),
        });
        Part::new(&self.columns, rows.collect(), &self.file, self.row)
            .expect("the values are of the column's type")
    }

    /// Bytes of the rows' values, those of a list's elements included.
    pub fn bytes(&self) -> u64 {
        let (fixed, has_others) = self.columns.row_bytes();
        let mut bytes = fixed * self.len as u64;
        if has_others {
            for (number, column) in self.columns.all().iter().enumerate() {
                if column.kind.value_bytes().is_none() {
                    bytes += value_bytes(&self.column(number));
                }
            }
        }
        bytes
    }

    /// One row, copied, because its origin may be large.
    pub fn copied(&self, row: usize) -> Part {
        assert!(row < self.len);
        let columns = self.rows.columns().iter().map(|column| {
            let data = column.to_data();
            let mut copy = MutableArrayData::new(vec![&data], false, 1);
            let row = self.first + row;
            copy.try_extend(0, row, row + 1)
                .expect("a row is no longer than what it is of");
            make_array(copy.freeze())
        });
        let row = self.row + row as u64;
        Part::new(&self.columns, columns.collect(), &self.file, row)
            .expect("columns keep their types")
    }

    /// The same plain rows with other vectors, as many of these columns. Ids are not copied.
    pub fn with_vectors(&self, columns: &Arc<Columns>, vectors: Bytes) -> Part {
        let ids = self.rows.column(0).slice(self.first, self.len);
        let width = columns.as_plain().expect(PLAIN).row_bytes();
        assert_eq!(vectors.len() as u64, width * self.len() as u64);
        let rows = vec![ids, vector_column(width, vectors)];
        Part::new(columns, rows, &self.file, self.row).expect("columns were made to be these")
    }

    fn vector_array(&self, column: usize) -> &FixedSizeBinaryArray {
        let column = self.rows.column(column).as_any();
        column
            .downcast_ref::<FixedSizeBinaryArray>()
            .expect("the column is of dense vectors")
    }
}

/// Bytes of the values of an array of texts, byte strings, or lists.
fn value_bytes(array: &ArrayRef) -> u64 {
    let any = array.as_any();
    let span = |offsets: (Option<&i32>, Option<&i32>)| match offsets {
        (Some(first), Some(last)) => (last - first) as u64,
        _ => 0,
    };
    if let Some(texts) = any.downcast_ref::<StringArray>() {
        let offsets = texts.value_offsets();
        return span((offsets.first(), offsets.last()));
    }
    if let Some(bytes) = any.downcast_ref::<LargeBinaryArray>() {
        let offsets = bytes.value_offsets();
        return match (offsets.first(), offsets.last()) {
            (Some(first), Some(last)) => (last - first) as u64,
            _ => 0,
        };
    }
    if let Some(lists) = any.downcast_ref::<ListArray>() {
        let offsets = lists.value_offsets();
        let count = span((offsets.first(), offsets.last()));
        let first = offsets.first().map_or(0, |first| *first as usize);
        let values = lists.values().slice(first, count as usize);
        return match values.data_type().primitive_width() {
            Some(width) => count * width as u64,
            None if values.as_any().is::<StringArray>() => value_bytes(&values),
            None => count,
        };
    }
    0
}

const PLAIN: &str = "only plain columns get here: sinks that take no others have refused them";

fn vector_column(width: u64, vectors: Bytes) -> ArrayRef {
    let width = i32::try_from(width).expect("Columns::new checked the width");
    Arc::new(FixedSizeBinaryArray::new(
        width,
        Buffer::from(vectors),
        None,
    ))
}

/// A row that was left out because it could not be converted, or the destination could not take it
/// (`non_finite: skip`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOut {
    /// Its key.
    pub key: Key,
    /// Its stored row number.
    pub row: u64,
    /// The file it is in.
    pub file: Arc<Path>,
}

impl LeftOut {
    /// The row of this number in a part.
    pub fn of(part: &Part, row: usize) -> LeftOut {
        LeftOut {
            key: part.key(row),
            row: part.row + row as u64,
            file: part.file.clone(),
        }
    }
}

/// What a reader returns: rows, and where the next ones start.
///
/// There are several parts if the rows are not stored together in the file (inverted lists, gaps left by deletions): a
/// gap costs a cut, not a copy.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Rows, in order; none empty.
    pub parts: Vec<Part>,
    /// Where the next ones start.
    pub next: Position,
}

/// Rows that travel together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Its name.
    pub id: BatchId,
    /// The target's number.
    pub target: u32,
    /// How many rows of the target come before its first.
    pub first_row: u64,
    /// Rows, in order; none empty.
    pub parts: Vec<Part>,
    /// Where reading continues after it.
    pub next: Position,
}

impl Batch {
    /// How many rows.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|p| p.len() as u64).sum()
    }

    /// Bytes of its rows' values.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(Part::bytes).sum()
    }

    /// Two batches of half the rows each, under the same name; `None` if there is only one row.
    pub fn halves(&self) -> Option<(Batch, Batch)> {
        let rows = self.rows();
        if rows < 2 {
            return None;
        }
        let mut wanted = (rows / 2) as usize;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for part in &self.parts {
            let take = wanted.min(part.len());
            wanted -= take;
            if take > 0 {
                left.push(part.slice(0, take));
            }
            if take < part.len() {
                right.push(part.slice(take, part.len() - take));
            }
        }
        let first = Batch {
            parts: left,
            ..self.clone()
        };
        let second = Batch {
            parts: right,
            first_row: self.first_row + rows / 2,
            ..self.clone()
        };
        Some((first, second))
    }
}

#[cfg(test)]
mod tests;
