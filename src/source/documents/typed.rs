//! How do fields of documents become columns of their own? The way a server with a mapping reads them: one value or
//! several, numbers from strings, whole numbers without fractions.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array,
    Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::DataType;

use super::scan::{Read, Scan};
use crate::schema::{Column, ColumnType, Scalar};

/// A field that becomes a column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Typed {
    /// The column, named like the field.
    pub column: Column,
    /// Whether the server returns its values along with the document, since only the server knows their format there.
    pub is_given: bool,
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Bool(bool),
    /// A whole number, or a timestamp.
    Whole(i64),
    Number(f64),
    Text(String),
    List(Vec<Value>),
}

/// The value of a field; `None` if there is nothing.
pub fn value(scan: &mut Scan<'_>, kind: ColumnType) -> Read<Option<Value>> {
    let (of, is_list) = match kind {
        ColumnType::Array { of, .. } => (scalar(of), true),
        kind => (kind, false),
    };
    let mut all = Vec::new();
    values(scan, of, &mut all)?;
    match (all.len(), is_list) {
        (0, false) => Ok(None),
        // To a server, an empty list is the same as a missing field.
        (0, true) => Ok(None),
        (_, true) => Ok(Some(Value::List(all))),
        (1, false) => Ok(all.pop()),
        (count, false) => Err(format!(
            "has {count} values, but a column of {kind} holds one (`[]` after its name makes a list)"
        )),
    }
}

fn scalar(of: Scalar) -> ColumnType {
    match of {
        Scalar::VarChar => ColumnType::VarChar { max_bytes: None },
        of => ColumnType::Scalar(of),
    }
}

/// Nested lists are read as one list.
fn values(scan: &mut Scan<'_>, kind: ColumnType, all: &mut Vec<Value>) -> Read<()> {
    match scan.peek() {
        Some(b'[') => {
            let list = scan.value()?;
            Scan::new(list).elements(|scan| values(scan, kind, all))
        }
        Some(b'n') if scan.next_is_null() => Ok(()),
        Some(b'"') => {
            let text = scan.string()?;
            all.push(one(&text, true, kind).ok_or_else(|| odd(&crate::json::quoted(&text), kind))?);
            Ok(())
        }
        Some(b'{') => Err(odd(scan.value()?, kind)),
        _ => {
            let text = scan.value()?;
            all.push(one(text, false, kind).ok_or_else(|| odd(text, kind))?);
            Ok(())
        }
    }
}

fn odd(value: &str, kind: ColumnType) -> String {
    let shown = &value[..value.floor_char_boundary(40)];
    format!("is {shown}, which is not a valid {kind}")
}

/// A value of this type; `is_text` if it was in quotes.
fn one(text: &str, is_text: bool, kind: ColumnType) -> Option<Value> {
    match kind {
        ColumnType::Scalar(Scalar::Bool) => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            "" => Some(Value::Bool(false)),
            _ => None,
        },
        ColumnType::Scalar(Scalar::Float | Scalar::Double) => {
            let number = number(text)?;
            let fits = kind == ColumnType::Scalar(Scalar::Double) || (number as f32).is_finite();
            fits.then_some(Value::Number(number))
        }
        ColumnType::Scalar(scalar) => {
            let most = match scalar {
                Scalar::Int8 => i64::from(i8::MAX),
                Scalar::Int16 => i64::from(i16::MAX),
                Scalar::Int32 => i64::from(i32::MAX),
                _ => i64::MAX,
            };
            let whole = whole(text)?;
            (-most - 1..=most)
                .contains(&whole)
                .then_some(Value::Whole(whole))
        }
        // As milliseconds since 1970.
        ColumnType::Timestamptz => {
            let millis: i64 = text.parse().ok()?;
            millis.checked_mul(1000).map(Value::Whole)
        }
        ColumnType::Geometry if !is_text => None,
        _ => Some(Value::Text(text.to_owned())),
    }
}

fn number(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number)
}

fn whole(text: &str) -> Option<i64> {
    if let Ok(whole) = text.parse() {
        return Some(whole);
    }
    let cut = number(text)?.trunc();
    (-(2f64.powi(63))..2f64.powi(63))
        .contains(&cut)
        .then_some(cut as i64)
}

impl Value {
    fn bool(&self) -> bool {
        matches!(self, Value::Bool(true))
    }

    fn whole(&self) -> i64 {
        match self {
            Value::Whole(whole) => *whole,
            _ => 0,
        }
    }

    fn number(&self) -> f64 {
        match self {
            Value::Number(number) => *number,
            _ => 0.0,
        }
    }

    fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            _ => "",
        }
    }
}

/// The column of values of one type.
pub fn array(kind: ColumnType, values: &[Option<Value>]) -> ArrayRef {
    fn each<'v, T>(
        values: &'v [Option<Value>],
        as_one: impl Fn(&'v Value) -> T,
    ) -> impl Iterator<Item = Option<T>> {
        values.iter().map(move |value| value.as_ref().map(&as_one))
    }
    match kind {
        ColumnType::Scalar(Scalar::Bool) => {
            Arc::new(each(values, Value::bool).collect::<BooleanArray>())
        }
        // `one` has already refused values that do not fit into these types.
        ColumnType::Scalar(Scalar::Int8) => {
            Arc::new(each(values, |value| value.whole() as i8).collect::<Int8Array>())
        }
        ColumnType::Scalar(Scalar::Int16) => {
            Arc::new(each(values, |value| value.whole() as i16).collect::<Int16Array>())
        }
        ColumnType::Scalar(Scalar::Int32) => {
            Arc::new(each(values, |value| value.whole() as i32).collect::<Int32Array>())
        }
        ColumnType::Scalar(Scalar::Int64) => {
            Arc::new(each(values, Value::whole).collect::<Int64Array>())
        }
        ColumnType::Scalar(Scalar::Float) => {
            Arc::new(each(values, |value| value.number() as f32).collect::<Float32Array>())
        }
        ColumnType::Scalar(Scalar::Double) => {
            Arc::new(each(values, Value::number).collect::<Float64Array>())
        }
        ColumnType::Timestamptz => {
            let moments: TimestampMicrosecondArray = each(values, Value::whole).collect();
            Arc::new(moments.with_timezone("UTC"))
        }
        ColumnType::Array { of, .. } => {
            let DataType::List(field) = kind.arrow() else {
                unreachable!("arrays are lists");
            };
            let (mut lengths, mut inner) = (Vec::with_capacity(values.len()), Vec::new());
            for value in values {
                let list = match value {
                    Some(Value::List(list)) => list.as_slice(),
                    _ => &[],
                };
                lengths.push(list.len());
                inner.extend(list.iter().cloned().map(Some));
            }
            let valid: NullBuffer = values.iter().map(Option::is_some).collect();
            let inner = array(scalar(of), &inner);
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::new(field, offsets, inner, Some(valid)))
        }
        _ => Arc::new(each(values, Value::text).collect::<StringArray>()),
    }
}
