//! What is one value in another type? Values are converted exactly or not at all: only doubles that become floats are
//! rounded.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;

use crate::json;
use crate::schema::{ColumnType, Scalar};

/// A value of any type.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'v> {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number in single precision.
    Single(f32),
    /// A number in double precision.
    Double(f64),
    /// Text.
    Text(Cow<'v, str>),
    /// Values.
    List(Vec<Cell<'v>>),
    /// Text that should be JSON but is not: no type holds it.
    Odd(Cow<'v, str>),
    /// JSON as written: a value that is none of the others, or that was never parsed.
    Json(Cow<'v, str>),
}

/// Whether values of a type may become values of another, each by itself.
pub fn can_become(from: ColumnType, to: ColumnType) -> bool {
    use ColumnType::*;
    match (from, to) {
        _ if from.word() == to.word() => true,
        (Scalar(_) | VarChar { .. }, Scalar(_) | VarChar { .. } | Json) => true,
        (Json, Scalar(_) | VarChar { .. } | Array { .. }) => true,
        (Array { .. }, Array { .. } | Json) => true,
        (Geometry, VarChar { .. }) => true,
        (Timestamptz, Scalar(crate::schema::Scalar::Int64)) => true,
        _ => false,
    }
}

impl<'v> Cell<'v> {
    /// A value of a column of this type.
    pub fn of(kind: ColumnType, array: &'v dyn Array, row: usize) -> Cell<'v> {
        if array.is_null(row) {
            return Cell::Null;
        }
        match kind {
            ColumnType::Scalar(scalar) => Cell::scalar(scalar, array, row),
            ColumnType::VarChar { .. } | ColumnType::Geometry => {
                Cell::Text(array.as_string::<i32>().value(row).into())
            }
            ColumnType::Json => Cell::of_json(array.as_string::<i32>().value(row)),
            ColumnType::Timestamptz => {
                Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            ColumnType::Array { of, .. } => {
                let lists = array.as_list::<i32>();
                let (first, len) = (lists.value_offsets()[row], lists.value_length(row));
                let values = lists.values();
                let each = first as usize..(first + len) as usize;
                Cell::List(each.map(|at| Cell::scalar(of, values, at)).collect())
            }
            ColumnType::Vector(_) | ColumnType::Sparse => Cell::Null,
        }
    }

    /// A value of a column, or the value at a path into its JSON.
    pub fn at(kind: ColumnType, array: &'v dyn Array, row: usize, path: &[String]) -> Cell<'v> {
        if path.is_empty() || array.is_null(row) {
            return Cell::of(kind, array, row);
        }
        let text = array.as_string::<i32>().value(row);
        match json::get(text, path) {
            Some(value) => Cell::of_json(value),
            None if json::is_json(text) => Cell::Null,
            None => Cell::Odd(text.into()),
        }
    }

    fn scalar(scalar: Scalar, array: &'v dyn Array, row: usize) -> Cell<'v> {
        if array.is_null(row) {
            return Cell::Null;
        }
        match scalar {
            Scalar::Bool => Cell::Bool(array.as_boolean().value(row)),
            Scalar::Int8 => Cell::Int(array.as_primitive::<Int8Type>().value(row).into()),
            Scalar::Int16 => Cell::Int(array.as_primitive::<Int16Type>().value(row).into()),
            Scalar::Int32 => Cell::Int(array.as_primitive::<Int32Type>().value(row).into()),
            Scalar::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
            Scalar::Float => Cell::Single(array.as_primitive::<Float32Type>().value(row)),
            Scalar::Double => Cell::Double(array.as_primitive::<Float64Type>().value(row)),
            Scalar::VarChar => Cell::Text(array.as_string::<i32>().value(row).into()),
        }
    }

    /// Parses a JSON text. A value that cannot be parsed without loss stays as written.
    pub fn of_json(text: &'v str) -> Cell<'v> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        let as_is = || Cell::Json(text.into());
        match text.as_bytes().first() {
            Some(b'n') if text == "null" => Cell::Null,
            Some(b't') if text == "true" => Cell::Bool(true),
            Some(b'f') if text == "false" => Cell::Bool(false),
            Some(b'"') => match serde_json::from_str::<String>(text) {
                Ok(text) => Cell::Text(text.into()),
                Err(_) => as_is(),
            },
            Some(b'[') => match serde_json::from_str::<Vec<&serde_json::value::RawValue>>(text) {
                Ok(values) => {
                    Cell::List(values.into_iter().map(|v| Cell::of_json(v.get())).collect())
                }
                Err(_) => as_is(),
            },
            Some(b'-' | b'0'..=b'9') => match (text.parse(), serde_json::from_str::<f64>(text)) {
                (Ok(whole), _) => Cell::Int(whole),
                // Integers too large for int64 would be rounded.
                (_, Ok(float)) if text.contains(['.', 'e', 'E']) => Cell::Double(float),
                _ => as_is(),
            },
            _ => as_is(),
        }
    }

    /// The value as JSON; `None`: JSON has no such value.
    pub fn to_json(&self) -> Option<String> {
        Some(match self {
            Cell::Null => "null".to_owned(),
            Cell::Bool(value) => value.to_string(),
            Cell::Int(value) => value.to_string(),
            Cell::Single(value) if value.is_finite() => format!("{value:?}"),
            Cell::Double(value) if value.is_finite() => format!("{value:?}"),
            Cell::Single(_) | Cell::Double(_) | Cell::Odd(_) => return None,
            Cell::Text(text) => json::quoted(text),
            Cell::Json(text) => text.clone().into_owned(),
            Cell::List(values) => {
                let values = values.iter().map(Cell::to_json);
                format!("[{}]", values.collect::<Option<Vec<_>>>()?.join(","))
            }
        })
    }

    /// As a whole number.
    pub fn whole(&self) -> Option<i64> {
        let of_float = |value: f64| {
            let fits = value.trunc() == value && (-(2f64.powi(63))..2f64.powi(63)).contains(&value);
            fits.then_some(value as i64)
        };
        match self {
            Cell::Bool(value) => Some(i64::from(*value)),
            Cell::Int(value) => Some(*value),
            Cell::Single(value) => of_float(f64::from(*value)),
            Cell::Double(value) => of_float(*value),
            Cell::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// As text.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Cell::Text(text) => Some(Cow::Borrowed(text)),
            Cell::Bool(_) | Cell::Int(_) => self.to_json().map(Cow::Owned),
            Cell::Single(value) => Some(format!("{value:?}").into()),
            Cell::Double(value) => Some(format!("{value:?}").into()),
            // A number with more digits than our numbers have.
            Cell::Json(text) if !text.starts_with(['{', '[']) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    fn bool(&self) -> Option<bool> {
        match self {
            Cell::Bool(value) => Some(*value),
            Cell::Int(0) => Some(false),
            Cell::Int(1) => Some(true),
            Cell::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn double(&self) -> Option<f64> {
        match self {
            Cell::Int(value) => {
                let float = *value as f64;
                (float as i128 == i128::from(*value)).then_some(float)
            }
            Cell::Single(value) => Some(f64::from(*value)),
            Cell::Double(value) => Some(*value),
            Cell::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn single(&self) -> Option<f32> {
        match self {
            Cell::Single(value) => Some(*value),
            Cell::Int(value) => {
                let float = *value as f32;
                (float as i128 == i128::from(*value)).then_some(float)
            }
            _ => {
                let double = self.double()?;
                let float = double as f32;
                (float.is_finite() || !double.is_finite()).then_some(float)
            }
        }
    }
}

/// The value, shortened if it is long.
impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 60;
        let text = match self {
            Cell::Single(value) => format!("{value:?}"),
            Cell::Double(value) => format!("{value:?}"),
            Cell::Odd(text) => json::quoted(text),
            other => other.to_json().unwrap_or_else(|| format!("{other:?}")),
        };
        match text.len() > MOST {
            true => write!(f, "{}…", &text[..text.floor_char_boundary(MOST)]),
            false => f.write_str(&text),
        }
    }
}

/// Values of a type, one after another.
pub struct Maker {
    kind: ColumnType,
    values: Values,
    valid: Vec<bool>,
}

enum Values {
    Bool(BooleanBuilder),
    Int8(PrimitiveBuilder<Int8Type>),
    Int16(PrimitiveBuilder<Int16Type>),
    Int32(PrimitiveBuilder<Int32Type>),
    Int64(PrimitiveBuilder<Int64Type>),
    Float(PrimitiveBuilder<Float32Type>),
    Double(PrimitiveBuilder<Float64Type>),
    Text(StringBuilder),
    Json(StringBuilder),
    List(Box<Values>, Vec<usize>, Scalar),
}

impl Values {
    fn of_scalar(scalar: Scalar) -> Values {
        match scalar {
            Scalar::Bool => Values::Bool(Default::default()),
            Scalar::Int8 => Values::Int8(Default::default()),
            Scalar::Int16 => Values::Int16(Default::default()),
            Scalar::Int32 => Values::Int32(Default::default()),
            Scalar::Int64 => Values::Int64(Default::default()),
            Scalar::Float => Values::Float(Default::default()),
            Scalar::Double => Values::Double(Default::default()),
            Scalar::VarChar => Values::Text(Default::default()),
        }
    }

    /// Whether the value has this type; if not, nothing was added.
    fn put(&mut self, cell: &Cell<'_>) -> bool {
        fn added<T>(value: Option<T>, add: impl FnOnce(T)) -> bool {
            let is_one = value.is_some();
            if let Some(value) = value {
                add(value);
            }
            is_one
        }
        fn narrow<T: TryFrom<i64>>(cell: &Cell<'_>) -> Option<T> {
            T::try_from(cell.whole()?).ok()
        }
        match self {
            Values::Bool(all) => added(cell.bool(), |value| all.append_value(value)),
            Values::Int8(all) => added(narrow(cell), |value| all.append_value(value)),
            Values::Int16(all) => added(narrow(cell), |value| all.append_value(value)),
            Values::Int32(all) => added(narrow(cell), |value| all.append_value(value)),
            Values::Int64(all) => added(cell.whole(), |value| all.append_value(value)),
            Values::Float(all) => added(cell.single(), |value| all.append_value(value)),
            Values::Double(all) => added(cell.double(), |value| all.append_value(value)),
            Values::Text(all) => added(cell.text(), |value| all.append_value(value)),
            Values::Json(all) => added(cell.to_json(), |value| all.append_value(value)),
            Values::List(inner, lengths, of) => {
                let Cell::List(values) = cell else {
                    return false;
                };
                // Checked before any is added.
                let mut trial = Values::of_scalar(*of);
                if !values.iter().all(|value| trial.put(value)) {
                    return false;
                }
                lengths.push(values.len());
                values.iter().all(|value| inner.put(value))
            }
        }
    }

    /// A placeholder for a missing value.
    fn skip(&mut self) {
        match self {
            Values::Bool(all) => all.append_value(false),
            Values::Int8(all) => all.append_value(0),
            Values::Int16(all) => all.append_value(0),
            Values::Int32(all) => all.append_value(0),
            Values::Int64(all) => all.append_value(0),
            Values::Float(all) => all.append_value(0.0),
            Values::Double(all) => all.append_value(0.0),
            Values::Text(all) | Values::Json(all) => all.append_value(""),
            Values::List(_, lengths, _) => lengths.push(0),
        }
    }

    fn finish(self, kind: ColumnType) -> ArrayRef {
        match self {
            Values::Bool(mut all) => Arc::new(all.finish()),
            Values::Int8(mut all) => Arc::new(all.finish()),
            Values::Int16(mut all) => Arc::new(all.finish()),
            Values::Int32(mut all) => Arc::new(all.finish()),
            Values::Int64(mut all) => Arc::new(all.finish()),
            Values::Float(mut all) => Arc::new(all.finish()),
            Values::Double(mut all) => Arc::new(all.finish()),
            Values::Text(mut all) | Values::Json(mut all) => Arc::new(all.finish()),
            Values::List(inner, lengths, of) => {
                let DataType::List(field) = kind.arrow() else {
                    unreachable!("arrays are lists");
                };
                let values = inner.finish(ColumnType::Scalar(of));
                let offsets = OffsetBuffer::from_lengths(lengths);
                Arc::new(ListArray::new(field, offsets, values, None))
            }
        }
    }
}

impl Maker {
    /// A maker for this type, which is neither a vector nor a type that is only passed on.
    pub fn new(kind: ColumnType) -> Maker {
        let values = match kind {
            ColumnType::Scalar(scalar) => Values::of_scalar(scalar),
            ColumnType::Json => Values::Json(Default::default()),
            ColumnType::Array { of, .. } => {
                Values::List(Box::new(Values::of_scalar(of)), Vec::new(), of)
            }
            _ => Values::Text(Default::default()),
        };
        Maker {
            kind,
            values,
            valid: Vec::new(),
        }
    }

    /// Adds a value; false if the type does not hold it, and nothing was added.
    pub fn put(&mut self, cell: &Cell<'_>) -> bool {
        match cell {
            Cell::Null => self.put_null(),
            cell if !self.values.put(cell) => return false,
            _ => self.valid.push(true),
        }
        true
    }

    /// Adds a null.
    pub fn put_null(&mut self) {
        self.values.skip();
        self.valid.push(false);
    }

    /// All of them.
    pub fn finish(self) -> ArrayRef {
        let array = self.values.finish(self.kind);
        if self.valid.iter().all(|valid| *valid) {
            return array;
        }
        let data = array.to_data().into_builder();
        let data = data.nulls(Some(NullBuffer::from(self.valid))).build();
        arrow_array::make_array(data.expect("there are as many validities as values"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(kind: ColumnType, cell: Cell<'_>) -> Option<String> {
        let mut maker = Maker::new(kind);
        if !maker.put(&cell) {
            return None;
        }
        let array = maker.finish();
        Some(Cell::of(kind, &array, 0).to_string())
    }

    #[test]
    fn values_are_taken_over_exactly_or_not_at_all() {
        let kind = |word: &str| ColumnType::of_word(word, Default::default()).unwrap();
        let text = |text: &'static str| Cell::Text(text.into());
        for (word, cell, expected) in [
            ("int8", Cell::Int(-128), Some("-128")),
            ("int8", Cell::Int(128), None),
            ("int8", Cell::Double(3.0), Some("3")),
            ("int8", Cell::Double(3.5), None),
            (
                "int64",
                text("-9223372036854775808"),
                Some("-9223372036854775808"),
            ),
            ("int64", text("9223372036854775808"), None),
            ("int64", Cell::Double(9.3e18), None),
            ("int64", Cell::Double(f64::NAN), None),
            ("int64", text(" 1"), None),
            ("float", Cell::Double(0.1), Some("0.1")),
            ("float", Cell::Double(1e300), None),
            ("float", Cell::Int(16_777_217), None),
            ("double", Cell::Int(9_007_199_254_740_993), None),
            ("double", Cell::Int(-3), Some("-3.0")),
            ("bool", Cell::Int(1), Some("true")),
            ("bool", Cell::Int(2), None),
            ("bool", text("false"), Some("false")),
            ("varchar", Cell::Int(7), Some("\"7\"")),
            ("varchar", Cell::Single(0.1), Some("\"0.1\"")),
            ("varchar", Cell::List(vec![]), None),
            ("varchar", Cell::of_json("{}"), None),
            (
                "varchar",
                Cell::of_json("123456789012345678901"),
                Some("\"123456789012345678901\""),
            ),
            ("double", Cell::of_json("123456789012345678901"), None),
            ("array<int8>", Cell::of_json("[1, 2.0]"), Some("[1,2]")),
            ("array<int8>", Cell::of_json("[1, 300]"), None),
            (
                "array<varchar>",
                Cell::of_json(r#"["a", "\u00fc"]"#),
                Some(r#"["a","ü"]"#),
            ),
            ("array<varchar>", Cell::of_json(r#"["a", null]"#), None),
            ("array<bool>", text("true"), None),
            ("json", Cell::Double(f64::NAN), None),
            (
                "json",
                Cell::List(vec![Cell::Int(1), text("a")]),
                Some(r#"[1,"a"]"#),
            ),
            ("bool", Cell::Null, Some("null")),
            ("array<bool>", Cell::Null, Some("null")),
        ] {
            let said = format!("{cell} as {word}");
            assert_eq!(made(kind(word), cell).as_deref(), expected, "{said}");
        }
    }
}
