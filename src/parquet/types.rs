//! What does each column of a file become? Its own type decides, or the job, or, if neither does, the first rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::DataType;

use super::{File, Logical, Stored, convert, noted_for_arrow, rows};
use crate::error::{Kind, Result};
use crate::limits;
use crate::schema::{Bounds, Column, ColumnType, Columns, Element, Scalar, VectorType};

/// What a column is to become, by its name in Milvus; the file determines the dimension of vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// A column of exactly this type.
    Type(ColumnType),
    /// Vectors with this element type.
    Vector(Element),
}

/// The type of this name: `float_vector`, `array<int32>`, `json`.
pub fn wish(word: &str) -> Option<Wish> {
    // The file determines the dimension.
    let dim = (word.ends_with("_vector") && !word.starts_with("sparse")).then_some(8);
    let bounds = Bounds {
        dim,
        ..Bounds::default()
    };
    Some(match ColumnType::of_word(word, bounds).ok()? {
        ColumnType::Vector(vector) => Wish::Vector(vector.element),
        kind => Wish::Type(kind),
    })
}

/// The columns of rows, and what the operator should know about them.
pub struct Found {
    /// The columns, the key first.
    pub columns: Arc<Columns>,
    /// Whether the files have no key: rows are numbered.
    pub numbered: bool,
    /// What is lost or assumed.
    pub notes: Vec<String>,
}

/// What the columns of these files become. The key is the column `id`; rows are numbered if that is `None`. If the job
/// names columns, only those are used.
pub fn columns(
    files: &[File],
    id: Option<&str>,
    only: Option<&[String]>,
    wishes: &BTreeMap<String, Wish>,
) -> Result<Found> {
    let first = files.first().expect("the job names a file");
    let wrong = |what: String| first.refuse(Kind::Job, what).hint(list(first));
    let named = only.into_iter().flatten().chain(wishes.keys());
    if let Some(name) = named
        .map(String::as_str)
        .chain(id)
        .find(|n| first.column(n).is_none())
    {
        return Err(wrong(format!("has no column `{name}`")));
    }
    let is_wanted =
        |c: &&Stored| only.is_none_or(|only| only.contains(&c.name)) && Some(&*c.name) != id;
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    match id {
        Some(name) => {
            let column = first.column(name).expect("it was looked for");
            all.push(key(first, column)?);
        }
        None => {
            let is_taken = first
                .columns
                .iter()
                .filter(is_wanted)
                .any(|c| c.name == "id");
            let name = if is_taken { "row_number" } else { "id" };
            all.push(Column::key(name, ColumnType::Scalar(Scalar::Int64)));
        }
    }
    for column in first.columns.iter().filter(is_wanted) {
        let wish = wishes.get(&column.name).copied();
        let (kind, note) = become_of(files, column, wish)?;
        notes.extend(note);
        all.push(Column {
            nullable: is_nullable(files, &column.name, kind),
            ..Column::new(&column.name, kind)
        });
    }
    let columns = Columns::new(all).map_err(|e| first.refuse(Kind::Unsupported, e.what()))?;
    fit(files, &columns, usize::from(id.is_none()))?;
    Ok(Found {
        columns,
        numbered: id.is_none(),
        notes,
    })
}

/// Returns an error for files whose columns cannot become these; the first `made` columns are not in the files.
pub fn fit(files: &[File], columns: &Columns, made: usize) -> Result<()> {
    let first = &files[0];
    for file in files {
        for column in &columns.all()[made..] {
            let Some(stored) = file.column(&column.name) else {
                let what = match std::ptr::eq(file, first) {
                    true => format!("has no column `{}`", column.name),
                    false => format!(
                        "has no column `{}`, which {} has",
                        column.name,
                        first.view.path().display()
                    ),
                };
                return Err(file.refuse(Kind::Unsupported, what));
            };
            if !convert::can(&stored.arrow, stored.logical, column.kind) {
                let what = format!(
                    "column `{}` is {}, which cannot become {}",
                    column.name,
                    shown(stored),
                    column.kind
                );
                return Err(file.refuse(Kind::Unsupported, what));
            }
            // Otherwise two files would be read as one, though their values mean different things.
            let other = first.column(&column.name).unwrap_or(stored);
            if (&other.arrow, other.logical) != (&stored.arrow, stored.logical) {
                let what = format!(
                    "column `{}` is {}, but {} in {}",
                    column.name,
                    shown(stored),
                    shown(other),
                    first.view.path().display()
                );
                return Err(file.refuse(Kind::Unsupported, what));
            }
        }
        if let Some(more) = file
            .columns
            .iter()
            .find(|c| first.column(&c.name).is_none())
        {
            let what = format!(
                "has a column `{}`, which {} does not have",
                more.name,
                first.view.path().display()
            );
            return Err(file.refuse(Kind::Unsupported, what));
        }
    }
    Ok(())
}

fn list(file: &File) -> String {
    let names = file
        .columns
        .iter()
        .take(limits::FILES_LISTED)
        .map(|c| format!("`{}`", c.name));
    format!("it has {}", names.collect::<Vec<_>>().join(", "))
}

fn shown(column: &Stored) -> String {
    match column.logical {
        Some(Logical::Other(name)) => name.to_owned(),
        Some(Logical::Uuid) => "UUID".to_owned(),
        Some(Logical::Json) => "JSON".to_owned(),
        None => column.arrow.to_string(),
    }
}

/// The key.
fn key(file: &File, column: &Stored) -> Result<Column> {
    let kind = match &column.arrow {
        kind if kind.is_integer() => ColumnType::Scalar(Scalar::Int64),
        DataType::FixedSizeBinary(_) if column.logical == Some(Logical::Uuid) => uuid(),
        DataType::Utf8 | DataType::Binary => ColumnType::VarChar { max_bytes: None },
        _ => {
            let what = format!(
                "column `{}` is {}: ids are whole numbers or text",
                column.name,
                shown(column)
            );
            let hint = "`id:` names another column, or row_number";
            return Err(file.refuse(Kind::Unsupported, what).hint(hint));
        }
    };
    Ok(Column::key(&column.name, kind))
}

fn uuid() -> ColumnType {
    ColumnType::VarChar {
        max_bytes: Some(36),
    }
}

/// Whether rows may have no value in a column. Missing vectors are found while reading.
fn is_nullable(files: &[File], name: &str, kind: ColumnType) -> bool {
    let mut found = files
        .iter()
        .filter_map(|file| file.column(name).map(|column| (file, column)));
    found.any(|(file, column)| match (file.has_nulls(column), kind) {
        (Some(false), _) => false,
        // Exactly as many values as there are if each row has a vector.
        (_, ColumnType::Vector(vector)) if matches!(column.arrow, DataType::List(_)) => {
            let each = convert::components(&column.arrow, vector);
            file.rows.checked_mul(each) != Some(file.values(column))
        }
        // Empty lists count as missing, too.
        (_, ColumnType::Sparse) | (Some(true), _) => true,
        (None, kind) => !kind.is_vector(),
    })
}

/// The type of a column, and what the operator should know about it.
fn become_of(
    files: &[File],
    column: &Stored,
    wish: Option<Wish>,
) -> Result<(ColumnType, Option<String>)> {
    let file = &files[0];
    let refused = |what: String| {
        let error = file.refuse(Kind::Unsupported, what);
        Err(error.hint("`columns:` lists the columns to copy, `types:` sets what a column becomes"))
    };
    let name = &column.name;
    let kind = match wish {
        Some(Wish::Type(kind)) => kind,
        Some(Wish::Vector(element)) => match dimension(files, column, element)? {
            Some(vector) => vector,
            None => {
                return refused(format!(
                    "column `{name}` is {}: its rows do not hold vectors of one length",
                    shown(column)
                ));
            }
        },
        None => match by_itself(files, column)? {
            Some(kind) => kind,
            None => {
                return refused(format!(
                    "column `{name}` is {}, which is not supported",
                    shown(column)
                ));
            }
        },
    };
    if !convert::can(&column.arrow, column.logical, kind) {
        return refused(format!(
            "column `{name}` is {}, which cannot become {kind}",
            shown(column)
        ));
    }
    let note = match (&column.arrow, kind) {
        (DataType::Timestamp(_, None), _) => Some(format!(
            "`{name}` has no time zone: its times are taken as UTC"
        )),
        (DataType::Timestamp(arrow_schema::TimeUnit::Nanosecond, _), _) => Some(format!(
            "`{name}`: nanoseconds are rounded down to microseconds"
        )),
        (DataType::List(of), ColumnType::Vector(vector))
            if *of.data_type() == DataType::Float64 && vector.element == Element::Float32 =>
        {
            Some(format!("`{name}`: float64 is rounded to float32"))
        }
        (DataType::Float64, ColumnType::Scalar(Scalar::Float)) => {
            Some(format!("`{name}`: doubles are rounded to floats"))
        }
        _ => None,
    };
    Ok((kind, note))
}

/// What a column becomes if the job does not say.
fn by_itself(files: &[File], column: &Stored) -> Result<Option<ColumnType>> {
    use DataType::*;
    if let Some(Logical::Other(_)) = column.logical {
        return Ok(None);
    }
    Ok(match &column.arrow {
        Utf8 if column.logical == Some(Logical::Json) => Some(ColumnType::Json),
        FixedSizeBinary(_) if column.logical == Some(Logical::Uuid) => Some(uuid()),
        FixedSizeBinary(_) => dimension(files, column, Element::Bit)?,
        Utf8 | Binary | Date32 | Time32(_) | Time64(_) | Decimal256(..) => {
            Some(ColumnType::VarChar { max_bytes: None })
        }
        Timestamp(..) => Some(ColumnType::Timestamptz),
        Decimal128(precision, 0) | Decimal64(precision, 0) | Decimal32(precision, 0)
            if *precision <= 18 =>
        {
            Some(ColumnType::Scalar(Scalar::Int64))
        }
        // As many digits as a double always preserves.
        Decimal128(precision, _) | Decimal64(precision, _) | Decimal32(precision, _) => {
            Some(match precision {
                ..=15 => ColumnType::Scalar(Scalar::Double),
                _ => ColumnType::VarChar { max_bytes: None },
            })
        }
        List(of) => {
            let element = match of.data_type() {
                Float32 | Float64 => Some(Element::Float32),
                Float16 => Some(Element::Float16),
                _ => None,
            };
            let vector = match element {
                Some(element) => dimension(files, column, element)?,
                None => None,
            };
            vector.or_else(|| scalar(of.data_type()).map(array))
        }
        Struct(_) if convert::can(&column.arrow, None, ColumnType::Sparse) => {
            Some(ColumnType::Sparse)
        }
        other => scalar(other).map(ColumnType::Scalar),
    })
}

fn array(of: Scalar) -> ColumnType {
    ColumnType::Array {
        of,
        capacity: None,
        max_bytes: None,
    }
}

/// The narrowest scalar that holds all values of a type.
fn scalar(kind: &DataType) -> Option<Scalar> {
    use DataType::*;
    Some(match kind {
        Boolean => Scalar::Bool,
        Int8 => Scalar::Int8,
        Int16 | UInt8 => Scalar::Int16,
        Int32 | UInt16 => Scalar::Int32,
        // Unsigned 64-bit integers that are too large are refused while reading.
        Int64 | UInt32 | UInt64 => Scalar::Int64,
        Float16 | Float32 => Scalar::Float,
        Float64 => Scalar::Double,
        Utf8 | Binary => Scalar::VarChar,
        _ => return None,
    })
}

/// Vectors of this element type, if the first rows all have the same number of components.
fn dimension(files: &[File], column: &Stored, element: Element) -> Result<Option<ColumnType>> {
    let stored = match &column.arrow {
        DataType::FixedSizeBinary(bytes) => u64::try_from(*bytes).ok(),
        _ => uniform(files, &column.name)?,
    };
    let bytes_of = match (&column.arrow, element) {
        (_, Element::Bit) => None,
        (DataType::List(of), _)
            if *of.data_type() != DataType::UInt8 || element == Element::Float32 =>
        {
            Some(1)
        }
        (_, Element::Float32) => Some(4),
        (_, Element::Float16 | Element::BFloat16) => Some(2),
        _ => Some(1),
    };
    let dimension = stored.and_then(|stored| match bytes_of {
        None => stored.checked_mul(8),
        Some(each) => stored.is_multiple_of(each).then_some(stored / each),
    });
    let dimension = dimension.filter(|d| (1..=limits::DIMENSIONS_MAX).contains(d));
    Ok(dimension.map(|dimension| {
        ColumnType::Vector(VectorType {
            element,
            dimension: dimension as u32,
        })
    }))
}

/// How many values each of the first rows has in a column, if all have the same number.
fn uniform(files: &[File], name: &str) -> Result<Option<u64>> {
    for file in files.iter().filter(|file| file.rows > 0) {
        let Some(number) = file.columns.iter().position(|c| c.name == name) else {
            continue;
        };
        let lengths = rows::lengths(file, number)?;
        let Some(first) = lengths.first() else {
            continue;
        };
        return Ok(lengths
            .iter()
            .all(|len| len == first)
            .then_some(*first as u64));
    }
    // Without rows, only the Arrow schema gives the length.
    let noted = noted_for_arrow(&files[0].metadata);
    let field = noted
        .as_ref()
        .and_then(|fields| fields.iter().find(|f| f.name() == name));
    Ok(match field.map(|f| f.data_type()) {
        Some(DataType::FixedSizeList(_, len)) => u64::try_from(*len).ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_type() {
        assert!(wish("array<json>").is_none() && wish("floats").is_none());
    }
}
