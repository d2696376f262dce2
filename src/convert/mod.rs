//! What do values become on the way? Vectors of length 1 or of a smaller type, columns of other names and types, values
//! from JSON: whatever the job asks for. Runs between read and pack, independent of source and sink; opens nothing, and
//! reports what was lost.

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
    /// The largest relative error of a component: |after − before| / |before|.
    /// Scaling rows to length 1 is not an error, and neither is a NaN or an infinity that stays one.
    /// `None`: no component was converted.
    pub relative_error: Option<f32>,
}

/// A mistake in a job's `fields:`, given the source's columns: the key and the error.
pub type Wrong = (String, Error);

/// An error about a row; `what` continues the sentence after the row's name.
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
