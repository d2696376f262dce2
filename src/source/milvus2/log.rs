//! How are the values of a field read? From the Parquet files in its binlogs, converted to the column's type.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, LargeBinaryArray, StringArray, new_null_array,
};
use arrow_schema::DataType;
use prost::Message;

use crate::error::{Error, Kind, Result};
use crate::format::binlog::{self, Binlog, Event};
use crate::input::{View, Volume};
use crate::limits;
use crate::milvus::proto::{ArrayArray, FieldData, ScalarField};
use crate::milvus::values;
use crate::parquet::{self, File, Values, Wrong};
use crate::schema::{Column, ColumnType, DefaultValue, Scalar};

/// Opens a file that the metadata names: if it is missing, the data is at fault.
pub fn open(path: &Path, volume: &Volume) -> Result<View> {
    let is_there = match volume {
        Volume::Disk(_) => path.try_exists().unwrap_or(true),
        Volume::Remote(_) => volume.is_file(path)?,
    };
    match is_there {
        false => Err(missing(path)),
        true => Ok(volume.open(path)?.forward()),
    }
}

/// The error for a file that the metadata names but that does not exist.
pub fn missing(path: &Path) -> Error {
    let what = "is missing, but the metadata names it";
    Error::path(Kind::Corrupt, path, what).hint(
        "was the whole storage copied, and the metadata at the same time? A running Milvus removes files after \
         merging them",
    )
}

/// Refuses a column whose values cannot become this type.
pub fn check(file: &File, column: usize, kind: ColumnType) -> Result<()> {
    let stored = file.columns.get(column);
    let fits = stored.is_some_and(|stored| match kind {
        ColumnType::Array { .. } | ColumnType::Sparse => stored.arrow == DataType::Binary,
        ColumnType::Vector(vector) => match stored.arrow {
            DataType::FixedSizeBinary(width) => i64::from(width) == vector.row_bytes() as i64,
            // The type of nullable vectors.
            DataType::Binary => stored.optional,
            _ => false,
        },
        kind => parquet::can(&stored.arrow, stored.logical, kind),
    });
    match fits {
        true => Ok(()),
        false => {
            let is = stored.map_or("nothing".to_owned(), |s| s.arrow.to_string());
            let what = format!("holds {is}, but the field is {kind}");
            Err(file.view.corrupt(0, what))
        }
    }
}

/// What a binlog belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    /// Its collection.
    pub collection: i64,
    /// Its segment.
    pub segment: i64,
    /// Its field.
    pub field: i64,
}

impl Owner {
    /// Refuses a log that belongs elsewhere.
    pub fn check(self, log: &Binlog, view: &View) -> Result<()> {
        let found = (log.collection, log.segment, log.field);
        if found == (self.collection, self.segment, self.field) {
            return Ok(());
        }
        let what = format!(
            "belongs to field {} of segment {} of collection {}, but is in the place of field {} of segment {} of \
             collection {}",
            found.2, found.1, found.0, self.field, self.segment, self.collection
        );
        Err(view.corrupt(binlog::DESCRIPTOR, what))
    }
}

/// A Parquet file, and one of its columns.
#[derive(Clone)]
pub struct Stored {
    /// The file.
    pub file: File,
    /// The column's place in it.
    pub column: usize,
}

/// Opens a log of a field: the files in it, one column each.
pub fn files(view: &View, owner: Owner) -> Result<Vec<Stored>> {
    let log = binlog::read(view, Event::Insert)?;
    owner.check(&log, view)?;
    let files = log.payloads.into_iter().map(|payload| {
        let file = File::of(payload)?;
        if file.columns.len() != 1 {
            let what = format!("has {} columns, but a field has one", file.columns.len());
            return Err(file.view.corrupt(0, what));
        }
        Ok(Stored { file, column: 0 })
    });
    files.collect()
}

/// The number of rows in some files.
pub fn rows(files: &[Stored]) -> u64 {
    files.iter().map(|stored| stored.file.rows).sum()
}

/// The values of one field for a range of rows, read forward.
pub struct Field {
    kind: ColumnType,
    nullable: bool,
    name: String,
    /// Files not started yet, and where to start in the first.
    files: std::vec::IntoIter<Stored>,
    skip: u64,
    reading: Option<(Stored, Values)>,
    /// The value of all rows, if the field has no log of them.
    fill: Option<Option<DefaultValue>>,
    held: Option<ArrayRef>,
    /// The next row of the segment.
    row: u64,
}

impl Field {
    /// Values of a column in these files, except the first `skip`; `first` is the number of the first in the segment.
    pub fn new(column: &Column, files: Vec<Stored>, first: u64, skip: u64) -> Result<Field> {
        for stored in &files {
            check(&stored.file, stored.column, column.kind)?;
        }
        Ok(Field {
            files: files.into_iter(),
            skip,
            fill: None,
            ..Field::filled(column, None, first + skip)
        })
    }

    /// The same value in all rows.
    pub fn filled(column: &Column, value: Option<DefaultValue>, row: u64) -> Field {
        Field {
            kind: column.kind,
            nullable: column.nullable,
            name: column.name.clone(),
            files: Vec::new().into_iter(),
            skip: 0,
            reading: None,
            fill: Some(value),
            held: None,
            row,
        }
    }

    /// How many rows can be taken at once: at least one if there are any.
    pub fn ready(&mut self) -> Result<usize> {
        if self.fill.is_some() {
            return Ok(limits::PARQUET_BLOCK_ROWS_MAX as usize);
        }
        while self.held.as_ref().is_none_or(|held| held.is_empty()) {
            let Some((stored, values)) = &mut self.reading else {
                let Some(stored) = self.files.next() else {
                    return Ok(0);
                };
                match self.skip.checked_sub(stored.file.rows) {
                    Some(rest) => self.skip = rest,
                    None => {
                        let skip = std::mem::take(&mut self.skip);
                        let values = Values::new(&stored.file, stored.column, skip);
                        self.reading = Some((stored, values));
                    }
                }
                continue;
            };
            match values.next_block()? {
                None => self.reading = None,
                Some(block) => {
                    let logical = stored.file.columns[stored.column].logical;
                    let values = match self.kind {
                        ColumnType::Array { of, .. } => {
                            arrays(&block, of, self.kind, self.nullable)
                        }
                        ColumnType::Sparse => sparse(&block, self.nullable),
                        kind => parquet::convert(&block, logical, kind, self.nullable),
                    };
                    let values = values.map_err(|(at, what)| {
                        let row = self.row + at as u64;
                        let what = format!("field `{}` row {row}: {what}", self.name);
                        stored.file.view.corrupt(0, what)
                    })?;
                    self.held = Some(values);
                }
            }
        }
        Ok(self.held.as_ref().map_or(0, |held| held.len()))
    }

    /// The next `count` values, at most as many as are ready.
    pub fn take(&mut self, count: usize) -> ArrayRef {
        self.row += count as u64;
        if let Some(value) = &self.fill {
            return same(self.kind, value.as_ref(), count);
        }
        let held = self.held.take().expect("that many are ready");
        let left = held.len() - count;
        if left > 0 {
            self.held = Some(held.slice(count, left));
        }
        held.slice(0, count)
    }
}

fn none(row: usize) -> Wrong {
    (row, "the value is missing".to_owned())
}

/// Arrays, each of which is a message.
fn arrays(
    block: &ArrayRef,
    of: Scalar,
    kind: ColumnType,
    nullable: bool,
) -> std::result::Result<ArrayRef, Wrong> {
    let bytes = block.as_binary::<i32>();
    let mut lists = Vec::with_capacity(bytes.len());
    for row in 0..bytes.len() {
        if bytes.is_null(row) && !nullable {
            return Err(none(row));
        }
        let list = ScalarField::decode(bytes.value(row));
        let list = list.map_err(|e| (row, format!("is not an array of {}: {e}", of.name())))?;
        lists.push(list);
    }
    let valid = match bytes.null_count() {
        0 => Vec::new(),
        _ => (0..bytes.len()).map(|row| bytes.is_valid(row)).collect(),
    };
    let data = FieldData {
        scalars: Some(ScalarField {
            array_data: Some(ArrayArray {
                data: lists,
                element_type: values::scalar_type(of),
            }),
            ..ScalarField::default()
        }),
        valid_data: valid,
        ..FieldData::default()
    };
    values::read(kind, data, bytes.len()).map_err(|what| (0, what))
}

/// Sparse vectors: pairs of an index and a value, indexes ascending.
fn sparse(block: &ArrayRef, nullable: bool) -> std::result::Result<ArrayRef, Wrong> {
    let bytes = block.as_binary::<i32>();
    for row in 0..bytes.len() {
        if bytes.is_null(row) {
            match nullable {
                true => continue,
                false => return Err(none(row)),
            }
        }
        let (pairs, rest) = bytes.value(row).as_chunks::<8>();
        let index = |pair: &[u8; 8]| u32::from_le_bytes([pair[0], pair[1], pair[2], pair[3]]);
        if !rest.is_empty() || pairs.windows(2).any(|two| index(&two[0]) >= index(&two[1])) {
            let what =
                "is not a sparse vector: pairs of an index and a value, with ascending indexes";
            return Err((row, what.to_owned()));
        }
    }
    let values = (0..bytes.len()).map(|row| bytes.is_valid(row).then(|| bytes.value(row)));
    Ok(Arc::new(values.collect::<LargeBinaryArray>()))
}

/// `count` rows with the same value.
fn same(kind: ColumnType, value: Option<&DefaultValue>, count: usize) -> ArrayRef {
    match (value, kind) {
        (Some(DefaultValue::Bool(value)), _) => Arc::new(BooleanArray::from(vec![*value; count])),
        (Some(DefaultValue::Int(value)), ColumnType::Scalar(scalar)) => match scalar {
            Scalar::Int8 => Arc::new(Int8Array::from(vec![*value as i8; count])),
            Scalar::Int16 => Arc::new(Int16Array::from(vec![*value as i16; count])),
            Scalar::Int32 => Arc::new(Int32Array::from(vec![*value as i32; count])),
            _ => Arc::new(Int64Array::from(vec![*value; count])),
        },
        (Some(DefaultValue::Float(value)), _) => Arc::new(Float32Array::from(vec![*value; count])),
        (Some(DefaultValue::Double(value)), _) => Arc::new(Float64Array::from(vec![*value; count])),
        (Some(DefaultValue::Text(value)), _) => {
            Arc::new(StringArray::from(vec![value.as_str(); count]))
        }
        _ => new_null_array(&kind.arrow(), count),
    }
}
