//! What do values become on the way? Vectors of length 1 or of a smaller type, columns of other names and types, values
//! out of JSON: what the job asks for. Between read and pack, whatever the source and the sink; opens nothing, and says
//! what was lost.

mod cell;
mod find;
mod keys;
mod rows;
mod shape;
mod vectors;

use std::sync::Arc;

use arrow_array::ArrayRef;

use crate::batch::{Batch, LeftOut, Part};
use crate::error::{Error, Kind};
use crate::schema::Columns;

pub use keys::Keying;
pub use rows::Rules;
pub use shape::{Shape, Told};
pub use vectors::Conversion;

/// A batch as it will be packed.
pub struct Converted {
    /// The batch, without the rows that were left out.
    pub batch: Batch,
    /// Rows that could not be converted (`non_finite: skip`, `misfit: skip`).
    pub left_out: Vec<LeftOut>,
    /// By how much of itself a component differs from what it was made of, at most: |after − before| / |before|.
    /// What bringing rows to length 1 does is no error, and neither is a NaN or an infinity that stays one.
    /// `None`: no component was made another.
    pub relative_error: Option<f32>,
}

/// What is wrong with a job's `fields:` where it meets the source's columns: the key, and what about it.
pub type Wrong = (String, Error);

/// An error about a row; what is said begins with what stands between it and the row's name.
fn misfitting(part: &Part, row: usize, what: String) -> Error {
    let LeftOut { key, row, file } = LeftOut::of(part, row);
    let what = format!("row {row} (id {key}){what}");
    Error::path(Kind::Unsupported, &file, what)
}

/// The same arrays under other columns.
fn part_of(columns: &Arc<Columns>, arrays: Vec<ArrayRef>, part: &Part) -> Part {
    Part::new(columns, arrays, &part.file, part.row).expect("values were made for these columns")
}

#[cfg(test)]
mod tests;
