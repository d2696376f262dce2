//! How do rows get the columns of their target? Value by value if a type changes; unchanged columns are not
//! touched.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, StringArray};
use arrow_buffer::Buffer;
use bytes::Bytes;

use super::cell::{Cell, Maker};
use super::find::Found;
use super::shape::{Shape, Step};
use super::vectors::Conversion;
use super::{Converted, misfitting, part_of};
use crate::batch::{Batch, LeftOut, Part};
use crate::buffers::Buffers;
use crate::error::Result;
use crate::job::{Misfits, NonFinite};
use crate::json;
use crate::schema::{Column, ColumnType};

/// What to do with rows that cannot be converted.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// With rows that have NaN or infinity in a vector.
    pub non_finite: NonFinite,
    /// With rows that have another value that a type does not hold.
    pub misfit: Misfits,
}

/// The result of converting a part.
struct Made {
    arrays: Vec<ArrayRef>,
    /// Rows that have to be left out.
    odd: Vec<usize>,
    relative_error: f32,
}

/// A value that moves to the dynamic field because its own does not hold it: the row, the key, the JSON.
type Moved = (usize, String, String);

impl Shape {
    /// Converts a batch as requested.
    pub fn apply(&self, mut batch: Batch, rules: Rules, rooms: &Buffers) -> Result<Converted> {
        let mut parts = Vec::with_capacity(batch.parts.len());
        let (mut left_out, mut relative_error) = (Vec::new(), 0f32);
        for part in &batch.parts {
            let made = self.made(part, rules, rooms)?;
            relative_error = relative_error.max(made.relative_error);
            if made.odd.is_empty() {
                parts.push(part_of(&self.to, made.arrays, part));
                continue;
            }
            left_out.extend(made.odd.iter().map(|row| LeftOut::of(part, *row)));
            let mut kept = Vec::new();
            part.without(&made.odd, &mut kept);
            for part in &kept {
                let made = self.made(part, rules, rooms)?;
                parts.push(part_of(&self.to, made.arrays, part));
            }
        }
        batch.parts = parts;
        Ok(Converted {
            batch,
            left_out,
            relative_error: self.is_cast().then_some(relative_error),
        })
    }

    fn made(&self, part: &Part, rules: Rules, rooms: &Buffers) -> Result<Made> {
        let mut odd = Vec::new();
        let mut moved: Vec<Moved> = Vec::new();
        let mut relative_error = 0f32;
        let mut arrays: Vec<Option<ArrayRef>> = Vec::with_capacity(self.steps.len());
        for (step, column) in self.steps.iter().zip(self.to.all()) {
            arrays.push(match step {
                Step::Same(from) => Some(part.column(*from)),
                Step::Vector(from, conversion) => {
                    let (array, error) =
                        vectors(part, *from, *conversion, rules.non_finite, rooms, &mut odd)?;
                    relative_error = relative_error.max(error);
                    Some(array)
                }
                Step::Values(found) => {
                    Some(values(part, found, column, rules, &mut odd, &mut moved)?)
                }
                Step::Dynamic { .. } => None,
            });
        }
        odd.sort_unstable();
        odd.dedup();
        moved.sort_by_key(|(row, ..)| *row);
        let mut whole = Vec::with_capacity(arrays.len());
        for (array, step) in arrays.into_iter().zip(&self.steps) {
            whole.push(match (array, step) {
                (Some(array), _) => array,
                (None, step) => self.dynamic(part, step, &moved, rules, &mut odd)?,
            });
        }
        Ok(Made {
            arrays: whole,
            odd,
            relative_error,
        })
    }

    /// The dynamic field of each row.
    fn dynamic(
        &self,
        part: &Part,
        step: &Step,
        moved: &[Moved],
        rules: Rules,
        odd: &mut Vec<usize>,
    ) -> Result<ArrayRef> {
        let Step::Dynamic {
            base,
            without,
            with,
        } = step
        else {
            unreachable!("only the dynamic field is made last");
        };
        let there = base.map(|base| part.column(base));
        let there = there.as_ref().map(|array| array.as_string::<i32>());
        let columns: Vec<(ColumnType, ArrayRef, &String)> = with
            .iter()
            .map(|(number, name)| {
                (
                    part.columns().all()[*number].kind,
                    part.column(*number),
                    name,
                )
            })
            .collect();
        let mut moved = moved.iter().peekable();
        let mut texts = Vec::with_capacity(part.len());
        for row in 0..part.len() {
            let text = there.filter(|texts| texts.is_valid(row));
            let text = text.map_or("{}", |texts| texts.value(row));
            let mut more = Vec::new();
            for (kind, array, name) in &columns {
                let cell = Cell::of(*kind, array, row);
                match (&cell, cell.to_json()) {
                    (Cell::Null, _) => {}
                    (_, Some(json)) => more.push(((*name).clone(), json)),
                    (_, None) if rules.misfit == Misfits::Skip => odd.push(row),
                    (_, None) if rules.misfit == Misfits::Null => {}
                    (_, None) => {
                        let what = format!(": `{name}` is {cell}, which JSON cannot hold");
                        return Err(misfitting(part, row, what).hint(HINT));
                    }
                }
            }
            while let Some((_, name, json)) = moved.next_if(|(at, ..)| *at == row) {
                more.push((name.clone(), json.clone()));
            }
            texts.push(match json::changed(text, without, &more) {
                Ok(text) => text,
                Err(_) if odd.contains(&row) => "{}".to_owned(),
                Err(_) if rules.misfit == Misfits::Skip => {
                    odd.push(row);
                    "{}".to_owned()
                }
                Err(why) => {
                    let what = format!(": the dynamic field is not a JSON object: {why}");
                    return Err(misfitting(part, row, what).hint(HINT));
                }
            });
        }
        odd.sort_unstable();
        odd.dedup();
        Ok(Arc::new(StringArray::from_iter_values(texts)))
    }
}

const HINT: &str = "`run.misfit: skip` leaves such rows out, and counts and lists them; `run.misfit: null` leaves the \
    value out, and `run.misfit: dynamic` keeps it in the dynamic field, where the field is nullable";

/// Values of another type.
fn values(
    part: &Part,
    found: &Found,
    column: &Column,
    rules: Rules,
    odd: &mut Vec<usize>,
    moved: &mut Vec<Moved>,
) -> Result<ArrayRef> {
    let source = &part.columns().all()[found.column];
    let array = part.column(found.column);
    let to_json = column.kind == ColumnType::Json;
    // Text in a column that becomes JSON is already JSON, as files store such columns.
    let as_text = to_json && matches!(source.kind, ColumnType::VarChar { .. } | ColumnType::Json);
    let mut maker = Maker::new(column.kind);
    for row in 0..part.len() {
        let cell = match as_text && array.is_valid(row) {
            true => {
                let text = array.as_string::<i32>().value(row);
                match json::get(text, &found.path) {
                    Some(text) => Cell::Json(text.into()),
                    None if json::is_json(text) => Cell::Null,
                    None => Cell::Odd(text.into()),
                }
            }
            false => Cell::at(source.kind, &array, row, &found.path),
        };
        let fits = match cell {
            Cell::Null if !column.nullable => false,
            _ => maker.put(&cell),
        };
        if fits {
            continue;
        }
        match rules.misfit {
            Misfits::Null if column.nullable => maker.put_null(),
            Misfits::Dynamic if column.nullable => {
                let json = cell
                    .to_json()
                    .unwrap_or_else(|| json::quoted(&cell.to_string()));
                moved.push((row, format!("{}_misfit", column.name), json));
                maker.put_null();
            }
            Misfits::Skip => {
                odd.push(row);
                maker.put_null();
            }
            _ => {
                let what = match cell {
                    Cell::Null => {
                        format!(": `{}` has no value, but the field needs one", column.name)
                    }
                    cell => format!(
                        ": `{}` is {cell}, which {} cannot hold",
                        column.name,
                        column.kind.word()
                    ),
                };
                return Err(misfitting(part, row, what).hint(HINT));
            }
        }
    }
    let array = maker.finish();
    match column.nullable || array.null_count() == 0 {
        true => Ok(array),
        // Placeholders for rows that are left out; nothing looks at them.
        false => Ok(without_nulls(&array)),
    }
}

fn without_nulls(array: &ArrayRef) -> ArrayRef {
    let data = array.to_data().into_builder().nulls(None).build();
    arrow_array::make_array(data.expect("what is null has something in its place"))
}

/// Converts vectors. Also returns the error of their components.
fn vectors(
    part: &Part,
    from: usize,
    conversion: Conversion,
    non_finite: NonFinite,
    rooms: &Buffers,
    odd: &mut Vec<usize>,
) -> Result<(ArrayRef, f32)> {
    let ColumnType::Vector(vector) = part.columns().all()[from].kind else {
        unreachable!("only dense vectors are converted");
    };
    let after = conversion
        .becomes(vector)
        .expect("it was checked when the shape was made");
    let width = after.row_bytes() as usize;
    let mut room = rooms.take();
    let mut scratch = rooms.take();
    let found = conversion.convert(part, from, non_finite, &mut scratch.bytes, &mut room.bytes)?;
    odd.extend(&found.odd);
    let bytes = match found.odd.is_empty() {
        true => room.freeze(),
        // Zeros in place of rows that are left out.
        false => {
            let mut whole = Vec::with_capacity(part.len() * width);
            let mut rows = room.bytes.chunks_exact(width);
            for row in 0..part.len() {
                match found.odd.contains(&row) {
                    true => whole.resize(whole.len() + width, 0),
                    false => whole.extend(rows.next().expect("each other row was converted")),
                }
            }
            Bytes::from(whole)
        }
    };
    let width = i32::try_from(width).expect("Columns::new checked the width");
    let array = FixedSizeBinaryArray::new(width, Buffer::from(bytes), None);
    Ok((Arc::new(array), found.relative_error))
}
