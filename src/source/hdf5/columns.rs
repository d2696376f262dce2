//! Which datasets travel besides vectors and ids? Each has one number, boolean or text a row.

use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array,
};
use bytes::Bytes;
use hdf5::Dataset;

use super::axes::{Axes, Role};
use super::open::{File, find, listed, refused};
use super::rows::Rows;
use super::table::{Refusal, Table, told};
use crate::error::{Error, Kind, Result};
use crate::h5::raw::{self, Stretch};
use crate::h5::types::Class;
use crate::input::View;
use crate::limits;
use crate::schema::{ColumnType, Element, Scalar};
use crate::source::values::Stored;

/// A dataset that is a column.
#[derive(Debug)]
pub struct Column {
    /// Its name in the job; the target's column is named by the last part.
    pub name: String,
    /// What its values become.
    pub kind: ColumnType,
    pub values: Values,
}

/// Where its values are.
#[derive(Debug)]
pub enum Values {
    /// Each is as long as the others.
    Fixed(Box<Table>),
    /// Texts of variable length, in the dataset of this path, along this axis.
    Texts { path: String, axis: usize },
}

impl Column {
    /// Its name in a target.
    pub fn short(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// Opens the columns that a job names, which must have as many rows as the vectors.
pub fn open(
    file: &hdf5::File,
    path: &Path,
    names: &[String],
    view: &View,
    rows: u64,
) -> Result<Vec<Column>> {
    let columns = names.iter().map(|name| one(file, path, name, view, rows));
    columns.collect()
}

fn one(file: &hdf5::File, path: &Path, name: &str, view: &View, rows: u64) -> Result<Column> {
    let Some((dataset, origin)) = find(file, path, name)? else {
        let what = format!("has no dataset `{name}`{}", listed(file));
        return Err(Error::path(Kind::Job, path, what).hint("`columns:` lists those to migrate"));
    };
    let refuse = |refusal| refused(path, name, refusal);
    let facts = raw::type_of(&dataset).and_then(|values| values.facts());
    let facts = facts.map_err(|e| refuse(told(e)))?;
    let (there, kind, values) = if facts.class == Class::String && facts.variable {
        let shape: Vec<u64> = dataset.shape().iter().map(|n| *n as u64).collect();
        let axes = Axes::of(&shape, Role::Values).map_err(|what| refuse(what.into()))?;
        let texts = Values::Texts {
            path: origin.path,
            axis: axes.row,
        };
        let text = ColumnType::VarChar { max_bytes: None };
        (shape[axes.row], text, texts)
    } else {
        let table = Table::open(&dataset, origin, Role::Values, view, file.userblock());
        let table = table.map_err(refuse)?;
        (table.rows, kind(&table), Values::Fixed(Box::new(table)))
    };
    if there != rows {
        let what = format!("has {there} rows, but the vectors have {rows}");
        return Err(refuse(Refusal::corrupt(what)));
    }
    Ok(Column {
        name: name.to_owned(),
        kind,
        values,
    })
}

/// Reads whatever the library will be asked to read that could crash it if the file is damaged.
pub fn rehearse(file: &File, alive: &mut dyn FnMut()) -> Result<()> {
    for column in &file.columns {
        match &column.values {
            Values::Fixed(table) => super::rows::rehearse(table, &file.view, alive)?,
            Values::Texts { .. } => {
                let mut reading = Reading::new(column, &file.view);
                for row in [0, file.vectors.rows.saturating_sub(1)] {
                    let count = reading.fitting(row, 1.min(file.vectors.rows))?;
                    reading.read(row, count)?;
                }
            }
        }
        alive();
    }
    Ok(())
}

/// The narrowest type that holds all values of a table.
fn kind(table: &Table) -> ColumnType {
    ColumnType::Scalar(match table.stored {
        _ if table.named => Scalar::Bool,
        Stored::Bool => Scalar::Bool,
        Stored::Bytes(_) => return ColumnType::VarChar { max_bytes: None },
        Stored::Float { bytes: 8, .. } => Scalar::Double,
        Stored::Float { .. } => Scalar::Float,
        Stored::Integer { bytes, signed, .. } => match (bytes, signed) {
            (1, true) => Scalar::Int8,
            (1, false) | (2, true) => Scalar::Int16,
            (2, false) | (4, true) => Scalar::Int32,
            // Unsigned 64-bit numbers that are too large are found and refused while they are read.
            _ => Scalar::Int64,
        },
    })
}

/// Reads a column, forward.
pub struct Reading<'c> {
    column: &'c Column,
    view: &'c View,
    rows: Option<Rows<'c>>,
    dataset: Option<Dataset>,
}

impl<'c> Reading<'c> {
    pub fn new(column: &'c Column, view: &'c View) -> Reading<'c> {
        let rows = match &column.values {
            Values::Fixed(table) => Some(Rows::new(table, view)),
            Values::Texts { .. } => None,
        };
        Reading {
            column,
            view,
            rows,
            dataset: None,
        }
    }

    fn wrong(&self, kind: Kind, row: u64, what: impl std::fmt::Display) -> Error {
        let what = format!("`{}` row {row}: {what}", self.column.name);
        Error::path(kind, self.view.path(), what)
    }

    /// How many of these rows may be read at a time.
    pub fn fitting(&mut self, first: u64, count: u64) -> Result<u64> {
        let Values::Texts { axis, .. } = self.column.values else {
            return Ok(count);
        };
        let mut rows = count.min(limits::HDF5_VARIABLE_ROWS);
        let dataset = self.dataset(first)?;
        while rows > 1 {
            let stretch = Stretch { axis, first, rows };
            let bytes = raw::variable_bytes(&dataset, stretch)
                .map_err(|e| self.wrong(Kind::Corrupt, first, crate::h5::cause(&e)))?;
            if bytes <= limits::HDF5_GATHER_BYTES {
                break;
            }
            rows /= 2;
        }
        Ok(rows)
    }

    /// The values of rows.
    pub fn read(&mut self, first: u64, count: u64) -> Result<ArrayRef> {
        let (axis, rows) = match (&self.column.values, &mut self.rows) {
            (Values::Texts { axis, .. }, _) => (*axis, None),
            (_, rows) => (0, rows.as_mut()),
        };
        match rows {
            Some(rows) => {
                let pieces = rows.pieces(first, count)?;
                self.fixed(first, &pieces)
            }
            None => self.texts(Stretch {
                axis,
                first,
                rows: count,
            }),
        }
    }

    fn dataset(&mut self, row: u64) -> Result<Dataset> {
        if let Some(dataset) = &self.dataset {
            return Ok(dataset.clone());
        }
        let Values::Texts { path, .. } = &self.column.values else {
            unreachable!("only texts are read through the library here");
        };
        let opened = hdf5::File::open(self.view.path()).and_then(|file| file.dataset(path));
        let dataset = opened.map_err(|e| self.wrong(Kind::Corrupt, row, crate::h5::cause(&e)))?;
        Ok(self.dataset.insert(dataset).clone())
    }

    fn texts(&mut self, stretch: Stretch) -> Result<ArrayRef> {
        let dataset = self.dataset(stretch.first)?;
        let (mut texts, mut row) = (StringBuilder::new(), stretch.first);
        let read = raw::read_variable(&dataset, 1, stretch, &mut |text| {
            let text = std::str::from_utf8(text).map_err(|_| "bytes are not UTF-8 text")?;
            texts.append_value(text);
            row += 1;
            Ok(())
        });
        read.map_err(|e| self.wrong(Kind::Corrupt, stretch.first, crate::h5::cause(&e)))?
            .map_err(|what| self.wrong(Kind::Unsupported, row, what))?;
        Ok(Arc::new(texts.finish()))
    }

    fn fixed(&self, first: u64, pieces: &[Bytes]) -> Result<ArrayRef> {
        let Values::Fixed(table) = &self.column.values else {
            unreachable!("texts of variable length are read by the library");
        };
        let bytes = pieces.concat();
        Ok(match (table.stored, self.column.kind) {
            (Stored::Bytes(len), _) => {
                let mut texts = StringBuilder::new();
                for (row, text) in bytes.chunks_exact(len.max(1)).enumerate() {
                    let end = text
                        .iter()
                        .rposition(|byte| *byte != 0)
                        .map_or(0, |at| at + 1);
                    let text = std::str::from_utf8(&text[..end]);
                    let wrong = |_| {
                        let row = first + row as u64;
                        self.wrong(Kind::Unsupported, row, "bytes are not UTF-8 text")
                    };
                    texts.append_value(text.map_err(wrong)?);
                }
                Arc::new(texts.finish())
            }
            (Stored::Float { big_endian, .. }, ColumnType::Scalar(Scalar::Double)) => {
                let words = bytes.as_chunks::<8>().0.iter();
                let doubles = words.map(|word| match big_endian {
                    true => f64::from_be_bytes(*word),
                    false => f64::from_le_bytes(*word),
                });
                Arc::new(Float64Array::from_iter_values(doubles))
            }
            (Stored::Float { .. }, _) => {
                let mut floats = Vec::with_capacity(bytes.len());
                let done = table
                    .stored
                    .vectors_into(Element::Float32, &bytes, &mut floats);
                done.map_err(|(at, what)| self.wrong(Kind::Unsupported, first + at as u64, what))?;
                let words = floats.as_chunks::<4>().0.iter();
                Arc::new(Float32Array::from_iter_values(
                    words.map(|word| f32::from_le_bytes(*word)),
                ))
            }
            (stored, ColumnType::Scalar(scalar)) => self.whole(first, stored, scalar, &bytes)?,
            _ => unreachable!("a column of numbers is one of scalars"),
        })
    }

    fn whole(&self, first: u64, stored: Stored, scalar: Scalar, bytes: &[u8]) -> Result<ArrayRef> {
        let mut numbers = Vec::with_capacity(bytes.len() / stored.bytes());
        for (row, number) in stored.integers(bytes).enumerate() {
            let fits = match scalar {
                Scalar::Bool => (0..=1).contains(&number),
                _ => i64::try_from(number).is_ok(),
            };
            if !fits {
                let what = format!("is {number}, which {} cannot hold", scalar.name());
                return Err(self.wrong(Kind::Unsupported, first + row as u64, what));
            }
            numbers.push(number as i64);
        }
        let numbers = numbers.into_iter();
        // They have no more bits than their types.
        Ok(match scalar {
            Scalar::Bool => Arc::new(numbers.map(|n| Some(n == 1)).collect::<BooleanArray>()),
            Scalar::Int8 => Arc::new(Int8Array::from_iter_values(numbers.map(|n| n as i8))),
            Scalar::Int16 => Arc::new(Int16Array::from_iter_values(numbers.map(|n| n as i16))),
            Scalar::Int32 => Arc::new(Int32Array::from_iter_values(numbers.map(|n| n as i32))),
            _ => Arc::new(Int64Array::from_iter_values(numbers)),
        })
    }
}
