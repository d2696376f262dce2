//! Parquet: what is in a file, and how do its rows become columns? The only room that uses the crate; streams of Arrow
//! record batches are read here too.
//! Memory is bounded by pages, never by files; what a file declares about itself is checked before it is trusted.

mod backup;
mod blocks;
mod codec;
mod convert;
mod framed;
mod guard;
mod header;
mod manifest;
mod pages;
mod rows;
mod seal;
mod stream;
mod text;
mod types;
mod values;
mod vectors;
mod write;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_schema::{DataType, Fields};

use ::parquet::arrow::{ProjectionMask, parquet_to_arrow_schema_by_columns};
use ::parquet::basic::LogicalType;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::error::{Error, Kind, Result};
use crate::input::{Access, View};
use crate::limits;

use guard::guarded;

pub use backup::{BACKUP, Backup, Directory};
pub use convert::{Wrong, can, convert};
pub use manifest::{Listed, MANIFEST, Manifest};
pub use rows::{Block, Rows};
pub use stream::Stream;
pub use types::{Found, Wish, columns, fit, wish};
pub use values::Values;
pub use write::{Group, PACKINGS, Writer};

/// What every file begins and ends with.
pub const MAGIC: &[u8; 4] = b"PAR1";

/// A file whose footer has been read.
#[derive(Clone)]
pub struct File {
    /// Its bytes.
    pub view: View,
    /// Its footer.
    pub metadata: Arc<ParquetMetaData>,
    /// Its top-level columns.
    pub columns: Arc<[Stored]>,
    /// Rows in all its row groups.
    pub rows: u64,
}

/// A column as it is in the file.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its type in Arrow; the Arrow schema in the file is ignored.
    pub arrow: DataType,
    /// JSON text, or UUIDs.
    pub logical: Option<Logical>,
    /// The numbers of its leaves.
    pub leaves: Range<usize>,
    /// Whether a row may have no value here.
    pub optional: bool,
    /// Its field id in the file, which identifies it whatever its name.
    pub number: Option<i32>,
}

/// What the bytes mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Logical {
    /// JSON text.
    Json,
    /// 16 bytes that are shown in groups of hex digits.
    Uuid,
    /// Something unsupported, by its name.
    Other(&'static str),
}

impl File {
    /// Opens a file and reads its footer.
    pub fn open(path: &Path, access: Access) -> Result<File> {
        File::of(View::open(path, access)?)
    }

    /// Reads the footer of a file.
    pub fn of(view: View) -> Result<File> {
        let footer = footer(&view)?;
        let wrong = |what: String| view.corrupt(footer.start(), what);
        let bytes = footer.bytes()?;
        let unread = |what: String| wrong(format!("the footer cannot be read: {what}"));
        let metadata = guarded(|| ParquetMetaDataReader::decode_metadata(&bytes));
        let metadata = metadata
            .map_err(unread)?
            .map_err(|e| unread(describe(&e)))?;
        let mut rows = 0u64;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let count = u64::try_from(group.num_rows()).ok();
            let sum = count.and_then(|count| rows.checked_add(count));
            // Every row takes some space: a file that claims more rows than it can hold is damaged.
            rows = sum
                .filter(|sum| *sum <= limits::PARQUET_ROWS_MAX)
                .ok_or_else(|| {
                    wrong(format!("row group {number} has {} rows", group.num_rows()))
                })?;
        }
        let columns = guarded(|| stored(&metadata)).map_err(unread)?;
        let columns = columns.map_err(|e| unread(describe(&e)))?;
        Ok(File {
            view,
            metadata: Arc::new(metadata),
            columns: columns.into(),
            rows,
        })
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Stored> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// Rows of a row group.
    pub fn group_rows(&self, group: usize) -> u64 {
        self.metadata.row_group(group).num_rows() as u64
    }

    /// Which of the columns these leaves belong to.
    fn mask(&self, columns: &[usize]) -> ProjectionMask {
        let leaves = columns
            .iter()
            .flat_map(|column| self.columns[*column].leaves.clone());
        ProjectionMask::leaves(self.metadata.file_metadata().schema_descr(), leaves)
    }

    /// Whether a column lacks a value in some row; `None` if the file does not declare it.
    fn has_nulls(&self, column: &Stored) -> Option<bool> {
        if !column.optional {
            return Some(false);
        }
        let mut all = Some(false);
        for group in self.metadata.row_groups() {
            for leaf in column.leaves.clone() {
                let statistics = group.column(leaf).statistics();
                match statistics.and_then(|s| s.null_count_opt()) {
                    Some(0) => {}
                    Some(_) => return Some(true),
                    None if group.num_rows() > 0 => all = None,
                    None => {}
                }
            }
        }
        all
    }

    /// Values of a column's first leaf, elements of lists counted one by one.
    fn values(&self, column: &Stored) -> u64 {
        let groups = self.metadata.row_groups().iter();
        let counts = groups.map(|g| u64::try_from(g.column(column.leaves.start).num_values()));
        counts.fold(0, |sum, count| {
            sum.saturating_add(count.unwrap_or(u64::MAX))
        })
    }

    fn refuse(&self, kind: Kind, what: impl Into<String>) -> Error {
        Error::path(kind, self.view.path(), what)
    }
}

/// The range between the last row group and the end of the file, which describes the file.
fn footer(view: &View) -> Result<View> {
    const TAIL: u64 = 8;
    let magic = MAGIC.len() as u64;
    if view.len() < magic + TAIL {
        return Err(view.corrupt(
            0,
            format!("is not a Parquet file: it has {} bytes", view.len()),
        ));
    }
    let (mut head, mut tail) = ([0; 4], [0; TAIL as usize]);
    view.read(0, &mut head)?;
    view.read(view.len() - TAIL, &mut tail)?;
    let (len, end) = tail.split_at(4);
    if end == b"PARE" || head == *b"PARE" {
        let what = "is encrypted";
        return Err(Error::path(Kind::Unsupported, view.path(), what));
    }
    if head != *MAGIC {
        return Err(view.corrupt(0, "is not a Parquet file: it does not begin with PAR1"));
    }
    if end != MAGIC {
        let what = "does not end with PAR1, as Parquet files do: it is cut short or damaged";
        return Err(view.corrupt(view.len() - magic, what));
    }
    let len = u64::from(u32::from_le_bytes(
        len.try_into().expect("four bytes were cut"),
    ));
    if len > limits::PARQUET_FOOTER_BYTES_MAX {
        let what = format!("a footer of {len} bytes is too large");
        return Err(view.corrupt(view.len() - TAIL, what));
    }
    let Some(start) = (view.len() - TAIL)
        .checked_sub(len)
        .filter(|start| *start >= magic)
    else {
        let what = format!("a footer of {len} bytes does not fit in the file");
        return Err(view.corrupt(view.len() - TAIL, what));
    };
    view.cut(start, len)
}

/// The top-level columns of a file.
fn stored(metadata: &ParquetMetaData) -> ::parquet::errors::Result<Vec<Stored>> {
    let schema = metadata.file_metadata().schema_descr();
    let leaves = schema.num_columns();
    // The crate reads all leaves of a row group together.
    for group in metadata.row_groups() {
        if group.num_columns() != leaves {
            let what = format!(
                "a row group has {} columns instead of {leaves}",
                group.num_columns()
            );
            return Err(ParquetError::General(what));
        }
    }
    let mut columns = Vec::new();
    for (root, field) in schema.root_schema().get_fields().iter().enumerate() {
        let within: Vec<usize> = (0..leaves)
            .filter(|leaf| schema.get_column_root_idx(*leaf) == root)
            .collect();
        let Some((first, last)) = within.first().zip(within.last()) else {
            continue;
        };
        let within = *first..*last + 1;
        let mask = ProjectionMask::leaves(schema, within.clone());
        let levels = parquet_to_arrow_schema_by_columns(schema, mask, None)?;
        let arrow = levels
            .fields
            .first()
            .map_or(DataType::Null, |f| f.data_type().clone());
        let info = field.get_basic_info();
        let leaf = schema.column(*first);
        columns.push(Stored {
            name: field.name().to_owned(),
            logical: leaf.logical_type_ref().and_then(logical),
            optional: leaf.max_def_level() > 0
                && info.repetition() != ::parquet::basic::Repetition::REQUIRED,
            arrow,
            leaves: within,
            number: info.has_id().then(|| info.id()),
        });
    }
    Ok(columns)
}

fn logical(logical: &LogicalType) -> Option<Logical> {
    Some(match logical {
        LogicalType::Json => Logical::Json,
        LogicalType::Uuid => Logical::Uuid,
        LogicalType::Bson => Logical::Other("BSON"),
        LogicalType::Geometry { .. } => Logical::Other("geometry"),
        LogicalType::Geography { .. } => Logical::Other("geography"),
        LogicalType::Variant { .. } => Logical::Other("variant"),
        _ => return None,
    })
}

/// The crate's message, without its name for the kind of error.
fn describe(error: &ParquetError) -> String {
    match error {
        ParquetError::General(what) | ParquetError::EOF(what) | ParquetError::NYI(what) => {
            what.clone()
        }
        other => other.to_string(),
    }
}

/// The Arrow schema in the file, if it can be read.
fn noted_for_arrow(metadata: &ParquetMetaData) -> Option<Fields> {
    let file = metadata.file_metadata();
    let (schema, noted) = (file.schema_descr(), file.key_value_metadata());
    let schema = guarded(|| ::parquet::arrow::parquet_to_arrow_schema(schema, noted));
    schema.ok()?.ok().map(|schema| schema.fields)
}
