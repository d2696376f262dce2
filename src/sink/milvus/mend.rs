//! What happens to values that do not fit their fields? They are truncated, left out with or without their rows, or
//! kept in the dynamic field, as the job allows; otherwise they are an error.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_buffer::NullBuffer;

use super::check::{Check, Misfit};
use crate::batch::{Batch, LeftOut, Part};
use crate::error::{Error, Kind, Result};
use crate::job::Misfits;
use crate::json;
use crate::schema::{ColumnType, Role, Scalar, TooLong};

/// A value that moves to the dynamic field because its own field cannot hold it: the row, the key, the JSON.
type Moved = (usize, String, String);

/// Adapts a batch's values to their fields, or removes rows, as far as the job allows. Returns the batch and the rows
/// that were removed.
pub fn fitted(checks: &[Check], rule: Misfits, mut batch: Batch) -> Result<(Batch, Vec<LeftOut>)> {
    if checks.is_empty() {
        return Ok((batch, Vec::new()));
    }
    let mut kept = Vec::with_capacity(batch.parts.len());
    let mut left_out = Vec::new();
    for part in &batch.parts {
        let (mut odd, mut part) = (Vec::new(), Cow::Borrowed(part));
        let mut moved: Vec<Moved> = Vec::new();
        let is_dynamic = |check: &&Check| check.role == Role::Dynamic;
        for check in checks.iter().filter(|check| !is_dynamic(check)) {
            mend(check, rule, &mut part, &mut odd, &mut moved).map_err(|e| e.batch(batch.id))?;
        }
        // Last, so that values moved into it are checked, too.
        for check in checks.iter().filter(is_dynamic) {
            take_in(check.column, &mut part, &mut moved);
            mend(check, rule, &mut part, &mut odd, &mut moved).map_err(|e| e.batch(batch.id))?;
        }
        odd.sort_unstable();
        odd.dedup();
        part.without(&odd, &mut kept);
        left_out.extend(odd.iter().map(|row| LeftOut::of(&part, *row)));
    }
    batch.parts = kept;
    Ok((batch, left_out))
}

/// Adapts the values of one column. Adds rows to be removed, and values that move to the dynamic field, to the lists.
fn mend(
    check: &Check,
    rule: Misfits,
    part: &mut Cow<Part>,
    odd: &mut Vec<usize>,
    moved: &mut Vec<Moved>,
) -> Result<()> {
    let array = part.column(check.column);
    let mut mended = Mended::default();
    for (row, misfit) in check.misfits(&array) {
        match treatment(check, rule, &misfit, part) {
            Treatment::Refuse => return Err(misfitting(part, check, row, &misfit)),
            Treatment::LeaveOut => odd.push(row),
            Treatment::Null => mended.nulls.push(row),
            Treatment::Cut => mended.cut.push(row),
            Treatment::Move => {
                let Some(json) = as_json(check.kind, &array, row) else {
                    return Err(misfitting(part, check, row, &misfit));
                };
                let name = &part.columns().all()[check.column].name;
                moved.push((row, format!("{name}_misfit"), json));
                mended.nulls.push(row);
            }
        }
    }
    if let Some(array) = mended.apply(check, &array) {
        *part = Cow::Owned(part.with_column(check.column, array));
    }
    Ok(())
}

/// What to do with a value that does not fit.
enum Treatment {
    Refuse,
    LeaveOut,
    Null,
    Cut,
    Move,
}

fn treatment(check: &Check, rule: Misfits, misfit: &Misfit, part: &Part) -> Treatment {
    let is_text = matches!(check.kind, ColumnType::VarChar { .. });
    if is_text && matches!(misfit, Misfit::TooLong(..)) {
        match check.too_long {
            TooLong::Truncate => return Treatment::Cut,
            TooLong::Skip => return Treatment::LeaveOut,
            TooLong::Fail => {}
        }
    }
    let has_dynamic = || part.columns().all().iter().any(|c| c.role == Role::Dynamic);
    match rule {
        Misfits::Null if check.nulls => Treatment::Null,
        Misfits::Dynamic if check.nulls && has_dynamic() => Treatment::Move,
        Misfits::Skip => Treatment::LeaveOut,
        Misfits::Fail | Misfits::Null | Misfits::Dynamic => Treatment::Refuse,
    }
}

/// A value as JSON; invalid JSON becomes a JSON string. `None`: JSON has no such value.
fn as_json(kind: ColumnType, array: &ArrayRef, row: usize) -> Option<String> {
    Some(match kind {
        ColumnType::VarChar { .. } | ColumnType::Json | ColumnType::Geometry => {
            json::quoted(array.as_string::<i32>().value(row))
        }
        ColumnType::Array { of, .. } => {
            let list = array.as_list::<i32>().value(row);
            let each = (0..list.len()).map(|at| element(of, &list, at));
            format!("[{}]", each.collect::<Option<Vec<String>>>()?.join(","))
        }
        _ => return None,
    })
}

fn element(of: Scalar, list: &ArrayRef, at: usize) -> Option<String> {
    if list.is_null(at) {
        return Some("null".to_owned());
    }
    let float = |value: f64| {
        value
            .is_finite()
            .then(|| serde_json::Value::from(value).to_string())
    };
    Some(match of {
        Scalar::Bool => list.as_boolean().value(at).to_string(),
        Scalar::Int8 => list.as_primitive::<Int8Type>().value(at).to_string(),
        Scalar::Int16 => list.as_primitive::<Int16Type>().value(at).to_string(),
        Scalar::Int32 => list.as_primitive::<Int32Type>().value(at).to_string(),
        Scalar::Int64 => list.as_primitive::<Int64Type>().value(at).to_string(),
        Scalar::Float => float(list.as_primitive::<Float32Type>().value(at).into())?,
        Scalar::Double => float(list.as_primitive::<Float64Type>().value(at))?,
        Scalar::VarChar => json::quoted(list.as_string::<i32>().value(at)),
    })
}

/// Adds values to the dynamic field of their rows. A dynamic field that is not an object is left as it is, to be
/// reported later.
fn take_in(column: usize, part: &mut Cow<Part>, moved: &mut Vec<Moved>) {
    if moved.is_empty() {
        return;
    }
    moved.sort_by_key(|(row, ..)| *row);
    let mut moved = std::mem::take(moved).into_iter().peekable();
    let array = part.column(column);
    let texts = array.as_string::<i32>().iter().enumerate();
    let texts = texts.map(|(row, text)| {
        let mut more = Vec::new();
        while let Some((_, name, json)) = moved.next_if(|(at, ..)| *at == row) {
            more.push((name, json));
        }
        match more.is_empty() {
            true => text.map(Cow::Borrowed),
            false => {
                let text = text.unwrap_or("{}");
                Some(json::changed(text, &[], &more).map_or(Cow::Borrowed(text), Cow::Owned))
            }
        }
    });
    let texts: ArrayRef = Arc::new(texts.collect::<StringArray>());
    *part = Cow::Owned(part.with_column(column, texts));
}

/// A column whose values are being adapted.
#[derive(Default)]
struct Mended {
    nulls: Vec<usize>,
    cut: Vec<usize>,
}

impl Mended {
    fn apply(self, check: &Check, array: &ArrayRef) -> Option<ArrayRef> {
        if self.nulls.is_empty() && self.cut.is_empty() {
            return None;
        }
        let mut array = array.clone();
        if !self.cut.is_empty() {
            let mut cut = self.cut.iter().peekable();
            let texts = array.as_string::<i32>().iter().enumerate();
            let texts = texts.map(|(row, text)| match cut.next_if(|cut| **cut == row) {
                Some(_) => text.map(|text| &text[..text.floor_char_boundary(check.bytes_max)]),
                None => text,
            });
            array = Arc::new(texts.collect::<StringArray>());
        }
        if !self.nulls.is_empty() {
            let mut valid: Vec<bool> = (0..array.len()).map(|row| array.is_valid(row)).collect();
            self.nulls.iter().for_each(|row| valid[*row] = false);
            let data = array.to_data().into_builder();
            let data = data.nulls(Some(NullBuffer::from(valid))).build();
            array = arrow_array::make_array(data.expect("there are as many validities as values"));
        }
        Some(array)
    }
}

fn misfitting(part: &Part, check: &Check, row: usize, misfit: &Misfit) -> Error {
    let LeftOut { key, row, file } = LeftOut::of(part, row);
    let column = &part.columns().all()[check.column].name;
    let error = Error::path(
        Kind::Unsupported,
        &file,
        format!("row {row} (id {key}): `{column}` {misfit}"),
    );
    error.hint(match misfit {
        Misfit::TooLong(..) => {
            "`too_long: truncate` under `fields.columns` truncates such texts, `run.misfit: skip` leaves their rows out, \
             and counts and lists them; `run.misfit: dynamic` keeps them in the dynamic field, where the field is nullable"
        }
        _ => {
            "`run.misfit: skip` leaves such rows out, and counts and lists them; `run.misfit: null` leaves the value \
             out, and `run.misfit: dynamic` keeps it in the dynamic field, where the field is nullable"
        }
    })
}
