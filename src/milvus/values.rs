//! How are values spelt in Milvus's messages? Columns to the bytes of a ScalarField or sparse vectors, and back.
//!
//! If a row has no value, requests leave it out and mark it in `valid_data`; answers have a placeholder.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, LargeBinaryArray, ListArray,
    PrimitiveArray, StringArray, TimestampMicrosecondArray,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field};

use super::proto::{FieldData, ScalarField, data_type};
use super::wire::{nested, number, put_varint};
use crate::schema::{ColumnType, Element, Scalar, VectorType, moment};
use crate::simd;

/// The number Milvus has for a type.
pub fn data_type_of(kind: ColumnType) -> i32 {
    match kind {
        ColumnType::Scalar(scalar) => scalar_type(scalar),
        ColumnType::VarChar { .. } => data_type::VARCHAR,
        ColumnType::Json => data_type::JSON,
        ColumnType::Array { .. } => data_type::ARRAY,
        ColumnType::Vector(vector) => super::wire::vector_data_type(vector.element),
        ColumnType::Sparse => data_type::SPARSE_FLOAT_VECTOR,
        ColumnType::Geometry => data_type::GEOMETRY,
        ColumnType::Timestamptz => data_type::TIMESTAMPTZ,
    }
}

/// The number Milvus has for a scalar.
pub fn scalar_type(scalar: Scalar) -> i32 {
    match scalar {
        Scalar::Bool => data_type::BOOL,
        Scalar::Int8 => data_type::INT8,
        Scalar::Int16 => data_type::INT16,
        Scalar::Int32 => data_type::INT32,
        Scalar::Int64 => data_type::INT64,
        Scalar::Float => data_type::FLOAT,
        Scalar::Double => data_type::DOUBLE,
        Scalar::VarChar => data_type::VARCHAR,
    }
}

/// Writes the content of a ScalarField: the values of these arrays, one after the other. A column without any values is
/// written, too: some servers crash without its member.
pub fn scalars(kind: ColumnType, arrays: &[ArrayRef], out: &mut Vec<u8>) {
    match kind {
        ColumnType::Scalar(scalar) => elements(scalar, arrays, out),
        ColumnType::VarChar { .. } => elements(Scalar::VarChar, arrays, out),
        ColumnType::Json => nested(out, 9, |out| {
            each_text(arrays, |text| {
                nested(out, 1, |out| out.extend(text.as_bytes()))
            });
        }),
        ColumnType::Array { of, .. } => nested(out, 8, |out| {
            for array in arrays {
                let lists = array.as_list::<i32>();
                for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
                    let list = [lists.value(row)];
                    nested(out, 1, |out| elements(of, &list, out));
                }
            }
            number(out, 2, scalar_type(of) as u64);
        }),
        ColumnType::Geometry => nested(out, 12, |out| {
            each_text(arrays, |text| {
                nested(out, 1, |out| out.extend(text.as_bytes()))
            });
        }),
        ColumnType::Timestamptz => nested(out, 6, |out| {
            for array in arrays {
                let moments = array.as_primitive::<TimestampMicrosecondType>();
                for micros in moments.iter().flatten() {
                    nested(out, 1, |out| out.extend(moment::shown(micros).as_bytes()));
                }
            }
        }),
        ColumnType::Vector(_) | ColumnType::Sparse => unreachable!("not a scalar"),
    }
}

fn elements(scalar: Scalar, arrays: &[ArrayRef], out: &mut Vec<u8>) {
    let member = match scalar {
        Scalar::Bool => 1,
        Scalar::Int8 | Scalar::Int16 | Scalar::Int32 => 2,
        Scalar::Int64 => 3,
        Scalar::Float => 4,
        Scalar::Double => 5,
        Scalar::VarChar => 6,
    };
    nested(out, member, |out| match scalar {
        Scalar::VarChar => {
            each_text(arrays, |text| {
                nested(out, 1, |out| out.extend(text.as_bytes()))
            });
        }
        // One packed field; none where there is nothing, as proto3 has it.
        _ if arrays.iter().all(|array| array.len() == array.null_count()) => {}
        _ => nested(out, 1, |out| {
            for array in arrays {
                packed(scalar, array, out);
            }
        }),
    });
}

fn each_text(arrays: &[ArrayRef], mut each: impl FnMut(&str)) {
    for array in arrays {
        array
            .as_string::<i32>()
            .iter()
            .flatten()
            .for_each(&mut each);
    }
}

fn packed(scalar: Scalar, array: &ArrayRef, out: &mut Vec<u8>) {
    fn of<T: ArrowPrimitiveType>(array: &ArrayRef) -> impl Iterator<Item = T::Native> {
        array.as_primitive::<T>().iter().flatten()
    }
    let varint = |out: &mut Vec<u8>, value: i64| put_varint(out, value as u64);
    match scalar {
        Scalar::Bool => out.extend(array.as_boolean().iter().flatten().map(u8::from)),
        Scalar::Int8 => of::<Int8Type>(array).for_each(|v| varint(out, v.into())),
        Scalar::Int16 => of::<Int16Type>(array).for_each(|v| varint(out, v.into())),
        Scalar::Int32 => of::<Int32Type>(array).for_each(|v| varint(out, v.into())),
        Scalar::Int64 if array.null_count() == 0 => {
            simd::varints(array.as_primitive::<Int64Type>().values(), out);
        }
        Scalar::Int64 => of::<Int64Type>(array).for_each(|v| varint(out, v)),
        Scalar::Float => of::<Float32Type>(array).for_each(|v| out.extend(v.to_le_bytes())),
        Scalar::Double => of::<Float64Type>(array).for_each(|v| out.extend(v.to_le_bytes())),
        Scalar::VarChar => unreachable!("texts are not packed"),
    }
}

/// Writes the content of a SparseFloatArray, and returns how many dimensions it has.
pub fn sparse(arrays: &[ArrayRef], out: &mut Vec<u8>) -> u64 {
    let mut dimensions = 0;
    for array in arrays {
        for row in array.as_binary::<i64>().iter().flatten() {
            nested(out, 1, |out| out.extend(row));
            if let Some(last) = row.as_chunks::<8>().0.last() {
                let index = u32::from_le_bytes([last[0], last[1], last[2], last[3]]);
                dimensions = dimensions.max(u64::from(index) + 1);
            }
        }
    }
    number(out, 2, dimensions);
    dimensions
}

type Read<T> = Result<T, String>;

/// A column of an answer with this many rows.
pub fn read(kind: ColumnType, field: FieldData, rows: usize) -> Read<ArrayRef> {
    let valid = match field.valid_data.len() {
        0 => None,
        len if len == rows => Some(NullBuffer::from(field.valid_data)),
        len => return Err(format!("{len} validities for {rows} rows")),
    };
    let array: ArrayRef = match kind {
        ColumnType::Vector(vector) => {
            let bytes = field.vectors.and_then(|v| vector_bytes(v, vector));
            let mut bytes = bytes.unwrap_or_default();
            let width = vector.row_bytes() as i32;
            // Answers leave out missing vectors.
            if let Some(valid) = &valid
                && bytes.len() as u64 == vector.row_bytes() * (rows - valid.null_count()) as u64
            {
                let mut spread = vec![0; rows * width as usize];
                let rows = spread.chunks_exact_mut(width as usize).zip(valid.iter());
                let there = rows.filter_map(|(row, valid)| valid.then_some(row));
                for (row, there) in there.zip(bytes.chunks_exact(width as usize)) {
                    row.copy_from_slice(there);
                }
                bytes = spread.into();
            }
            if bytes.len() as u64 != vector.row_bytes() * rows as u64 {
                return Err(format!(
                    "{rows} keys, and {} bytes of vectors {vector}",
                    bytes.len()
                ));
            }
            Arc::new(FixedSizeBinaryArray::new(width, Buffer::from(bytes), None))
        }
        ColumnType::Sparse => {
            let sparse = field.vectors.and_then(|v| v.sparse_float_vector);
            let contents = sparse.unwrap_or_default().contents;
            let contents = spread(contents, rows, valid.as_ref(), Default::default)?;
            Arc::new(LargeBinaryArray::from_iter_values(contents.iter()))
        }
        ColumnType::Array { of, .. } => {
            let lists = field.scalars.and_then(|s| s.array_data);
            lists_of(of, lists.unwrap_or_default().data, rows, valid.as_ref())?
        }
        ColumnType::Json => {
            let texts = field.scalars.and_then(|s| s.json_data).unwrap_or_default();
            let mut array = StringBuilder::new();
            for text in spread(texts.data, rows, valid.as_ref(), Default::default)? {
                let text = std::str::from_utf8(&text).map_err(|e| format!("JSON: {e}"))?;
                array.append_value(text);
            }
            Arc::new(array.finish())
        }
        ColumnType::VarChar { .. } => flat(
            Scalar::VarChar,
            field.scalars.unwrap_or_default(),
            Some(rows),
            valid.as_ref(),
        )?,
        ColumnType::Scalar(scalar) => flat(
            scalar,
            field.scalars.unwrap_or_default(),
            Some(rows),
            valid.as_ref(),
        )?,
        ColumnType::Geometry => {
            let texts = field.scalars.and_then(|s| s.geometry_wkt_data);
            let texts = texts.unwrap_or_default().data;
            let texts = spread(texts, rows, valid.as_ref(), String::new)?;
            Arc::new(StringArray::from_iter_values(texts))
        }
        ColumnType::Timestamptz => {
            let texts = field.scalars.and_then(|s| s.string_data);
            let texts = texts.unwrap_or_default().data;
            let texts = spread(texts, rows, valid.as_ref(), String::new)?;
            let micros = texts.iter().enumerate().map(|(row, text)| {
                let is_there = valid.as_ref().is_none_or(|valid| valid.is_valid(row));
                match moment::read(text) {
                    None if is_there => Err(format!("`{text}` is not a timestamp")),
                    micros => Ok(micros.unwrap_or(0)),
                }
            });
            let micros: Vec<i64> = micros.collect::<Read<_>>()?;
            Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
        }
    };
    if array.len() != rows {
        return Err(format!("{rows} keys, and {} values", array.len()));
    }
    let Some(valid) = valid else { return Ok(array) };
    let data = array.to_data().into_builder().nulls(Some(valid)).build();
    data.map(arrow_array::make_array).map_err(|e| e.to_string())
}

/// The values of an answer, with placeholders for invalid ones that it leaves out.
fn spread<T>(
    values: Vec<T>,
    rows: usize,
    valid: Option<&NullBuffer>,
    none: impl Fn() -> T,
) -> Read<Vec<T>> {
    match valid {
        Some(valid) if values.len() != rows && values.len() == rows - valid.null_count() => {
            let mut values = values.into_iter();
            let spread = valid.iter().map(|valid| match valid {
                true => values.next().unwrap_or_else(&none),
                false => none(),
            });
            Ok(spread.collect())
        }
        _ if values.len() == rows => Ok(values),
        _ => Err(format!("{rows} keys, and {} values", values.len())),
    }
}

/// The elements of one ScalarField; all of them if `rows` is `None`.
fn flat(
    scalar: Scalar,
    field: ScalarField,
    rows: Option<usize>,
    valid: Option<&NullBuffer>,
) -> Read<ArrayRef> {
    fn ints<T: ArrowPrimitiveType>(values: Vec<i32>) -> Read<ArrayRef>
    where
        T::Native: TryFrom<i32>,
    {
        let narrow = values.into_iter().map(|value| {
            T::Native::try_from(value).map_err(|_| format!("{value} is too large for its type"))
        });
        let values: Vec<T::Native> = narrow.collect::<Read<_>>()?;
        Ok(Arc::new(PrimitiveArray::<T>::from_iter_values(values)))
    }
    let rows = |len: usize| rows.unwrap_or(len);
    Ok(match scalar {
        Scalar::Bool => {
            let data = field.bool_data.unwrap_or_default().data;
            let rows = rows(data.len());
            Arc::new(BooleanArray::from(spread(data, rows, valid, || false)?))
        }
        Scalar::Int8 | Scalar::Int16 | Scalar::Int32 => {
            let data = field.int_data.unwrap_or_default().data;
            let rows = rows(data.len());
            let data = spread(data, rows, valid, || 0)?;
            match scalar {
                Scalar::Int8 => ints::<Int8Type>(data)?,
                Scalar::Int16 => ints::<Int16Type>(data)?,
                _ => ints::<Int32Type>(data)?,
            }
        }
        Scalar::Int64 => {
            let data = field.long_data.unwrap_or_default().data;
            let rows = rows(data.len());
            let data = spread(data, rows, valid, || 0)?;
            Arc::new(PrimitiveArray::<Int64Type>::from(data))
        }
        Scalar::Float => {
            let bytes = field.float_data.unwrap_or_default().data;
            let words = bytes.as_chunks::<4>().0.iter();
            let data: Vec<f32> = words.map(|word| f32::from_le_bytes(*word)).collect();
            let rows = rows(data.len());
            let data = spread(data, rows, valid, || 0.0)?;
            Arc::new(PrimitiveArray::<Float32Type>::from(data))
        }
        Scalar::Double => {
            let bytes = field.double_data.unwrap_or_default().data;
            let words = bytes.as_chunks::<8>().0.iter();
            let data: Vec<f64> = words.map(|word| f64::from_le_bytes(*word)).collect();
            let rows = rows(data.len());
            let data = spread(data, rows, valid, || 0.0)?;
            Arc::new(PrimitiveArray::<Float64Type>::from(data))
        }
        Scalar::VarChar => {
            let data = field.string_data.unwrap_or_default().data;
            let rows = rows(data.len());
            let data = spread(data, rows, valid, String::new)?;
            Arc::new(StringArray::from_iter_values(data))
        }
    })
}

fn lists_of(
    of: Scalar,
    lists: Vec<ScalarField>,
    rows: usize,
    valid: Option<&NullBuffer>,
) -> Read<ArrayRef> {
    let mut lengths = Vec::with_capacity(rows);
    let mut all = ScalarField::default();
    for mut list in spread(lists, rows, valid, ScalarField::default)? {
        lengths.push(list.len(of));
        all.append(&mut list, of);
    }
    let values = flat(of, all, None, None)?;
    let field = match ColumnType::arrow(ColumnType::Array {
        of,
        capacity: None,
        max_bytes: None,
    }) {
        DataType::List(field) => field,
        other => Arc::new(Field::new("item", other, false)),
    };
    let offsets = OffsetBuffer::from_lengths(lengths);
    let lists = ListArray::try_new(field, offsets, values, None);
    Ok(Arc::new(lists.map_err(|e| e.to_string())?))
}

pub(super) fn vector_bytes(
    field: super::proto::VectorField,
    vector: VectorType,
) -> Option<bytes::Bytes> {
    match vector.element {
        Element::Float32 => field.float_vector.map(|floats| floats.data),
        Element::Bit => field.binary_vector,
        Element::Float16 => field.float16_vector,
        Element::BFloat16 => field.bfloat16_vector,
        Element::Int8 => field.int8_vector,
    }
}

impl ScalarField {
    /// How many elements of this type there are.
    pub(super) fn len(&self, of: Scalar) -> usize {
        match of {
            Scalar::Bool => self.bool_data.as_ref().map_or(0, |d| d.data.len()),
            Scalar::Int8 | Scalar::Int16 | Scalar::Int32 => {
                self.int_data.as_ref().map_or(0, |d| d.data.len())
            }
            Scalar::Int64 => self.long_data.as_ref().map_or(0, |d| d.data.len()),
            Scalar::Float => self.float_data.as_ref().map_or(0, |d| d.data.len() / 4),
            Scalar::Double => self.double_data.as_ref().map_or(0, |d| d.data.len() / 8),
            Scalar::VarChar => self.string_data.as_ref().map_or(0, |d| d.data.len()),
        }
    }

    /// Appends another's elements of this type.
    pub(super) fn append(&mut self, other: &mut ScalarField, of: Scalar) {
        match of {
            Scalar::Bool => {
                let data = &mut self.bool_data.get_or_insert_default().data;
                data.append(&mut other.bool_data.take().unwrap_or_default().data);
            }
            Scalar::Int8 | Scalar::Int16 | Scalar::Int32 => {
                let data = &mut self.int_data.get_or_insert_default().data;
                data.append(&mut other.int_data.take().unwrap_or_default().data);
            }
            Scalar::Int64 => {
                let data = &mut self.long_data.get_or_insert_default().data;
                data.append(&mut other.long_data.take().unwrap_or_default().data);
            }
            Scalar::Float => {
                let data = &mut self.float_data.get_or_insert_default().data;
                data.append(&mut other.float_data.take().unwrap_or_default().data);
            }
            Scalar::Double => {
                let data = &mut self.double_data.get_or_insert_default().data;
                data.append(&mut other.double_data.take().unwrap_or_default().data);
            }
            Scalar::VarChar => {
                let data = &mut self.string_data.get_or_insert_default().data;
                data.append(&mut other.string_data.take().unwrap_or_default().data);
            }
        }
    }
}
