//! How do a file's values become those of a column? Nothing is lost unannounced, and what does not fit is reported.
//! Pure.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{self, ArrowPrimitiveType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, FixedSizeBinaryArray, LargeBinaryArray, ListArray,
    PrimitiveArray, StructArray, TimestampMicrosecondArray,
};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, TimeUnit};

use super::Logical;
use super::text::{decimal, text};
use crate::schema::{ColumnType, Element, Scalar, VectorType};
use crate::simd;

/// The row that does not fit, and why.
pub type Wrong = (usize, String);

/// Values in the form that a column of this type has.
pub fn convert(
    array: &ArrayRef,
    logical: Option<Logical>,
    kind: ColumnType,
    nullable: bool,
) -> Result<ArrayRef, Wrong> {
    if !nullable
        && array.null_count() > 0
        && let Some(row) = (0..array.len()).find(|row| array.is_null(*row))
    {
        return Err((row, "has no value".to_owned()));
    }
    match kind {
        ColumnType::Scalar(scalar) => of_scalar(array, scalar),
        ColumnType::VarChar { .. } => text(array, logical),
        ColumnType::Json | ColumnType::Geometry => text(array, None),
        ColumnType::Array { of, .. } => lists(array, of),
        ColumnType::Vector(vector) => vectors(array, vector),
        ColumnType::Sparse => sparse(array),
        ColumnType::Timestamptz => moments(array),
    }
}

/// Whether values of this type can become a column of that type at all.
pub fn can(from: &DataType, logical: Option<Logical>, kind: ColumnType) -> bool {
    use DataType::*;
    if let Some(Logical::Other(_)) = logical {
        return false;
    }
    match kind {
        ColumnType::Scalar(scalar) => can_scalar(from, scalar),
        ColumnType::VarChar { .. } => match from {
            Utf8 | Binary | Date32 | Time32(_) | Time64(_) => true,
            Decimal128(..) | Decimal32(..) | Decimal64(..) | Decimal256(..) => true,
            FixedSizeBinary(_) => true,
            other => other.is_integer(),
        },
        ColumnType::Json | ColumnType::Geometry => matches!(from, Utf8 | Binary),
        ColumnType::Array { of, .. } => match from {
            List(field) => can_scalar(field.data_type(), of),
            _ => false,
        },
        ColumnType::Vector(vector) => match from {
            List(field) | FixedSizeList(field, _) => can_element(field.data_type(), vector.element),
            Binary | FixedSizeBinary(_) => true,
            _ => false,
        },
        ColumnType::Sparse => match from {
            Binary => true,
            Struct(fields) => {
                let is = |field: &Field, float: bool| match field.data_type() {
                    List(of) if float => of.data_type().is_floating(),
                    List(of) => of.data_type().is_integer(),
                    _ => false,
                };
                matches!(&fields[..], [a, b] if a.name() == "indices" && b.name() == "values" && is(a, false) && is(b, true))
            }
            _ => false,
        },
        ColumnType::Timestamptz => matches!(from, Timestamp(..)),
    }
}

fn can_scalar(from: &DataType, scalar: Scalar) -> bool {
    use DataType::*;
    match scalar {
        Scalar::Bool => *from == Boolean,
        Scalar::Int8 | Scalar::Int16 | Scalar::Int32 | Scalar::Int64 => {
            from.is_integer()
                || matches!(from, Decimal128(_, 0) | Decimal64(_, 0) | Decimal32(_, 0))
        }
        Scalar::Float => matches!(from, Float16 | Float32 | Float64),
        Scalar::Double => {
            from.is_floating() || matches!(from, Decimal128(..) | Decimal64(..) | Decimal32(..))
        }
        Scalar::VarChar => matches!(from, Utf8 | Binary),
    }
}

fn can_element(from: &DataType, element: Element) -> bool {
    match element {
        Element::Float32 => from.is_floating() || from.is_integer(),
        Element::Float16 | Element::BFloat16 => matches!(from, DataType::Float16 | DataType::UInt8),
        Element::Int8 | Element::Bit => from.is_integer(),
    }
}

/// Bytes or numbers in a row of vectors of this type, if they are stored that way.
pub fn components(from: &DataType, vector: VectorType) -> u64 {
    match from {
        DataType::List(field)
            if *field.data_type() == DataType::UInt8 && vector.element != Element::Float32 =>
        {
            vector.row_bytes()
        }
        DataType::List(_) if vector.element == Element::Bit => vector.row_bytes(),
        DataType::List(_) => u64::from(vector.dimension),
        _ => vector.row_bytes(),
    }
}

/// Integers of any width, widened to fit all; `None` if they are not integers.
pub fn integers(array: &dyn Array) -> Option<Vec<i128>> {
    macro_rules! all {
        ($($kind:ident => $native:ty),*) => {
            match array.data_type() {
                $(DataType::$kind => array.as_primitive::<$native>().values().iter().map(|v| i128::from(*v)).collect(),)*
                DataType::Decimal32(..) => array.as_primitive::<types::Decimal32Type>().values().iter().map(|v| i128::from(*v)).collect(),
                DataType::Decimal64(..) => array.as_primitive::<types::Decimal64Type>().values().iter().map(|v| i128::from(*v)).collect(),
                DataType::Decimal128(..) => array.as_primitive::<types::Decimal128Type>().values().to_vec(),
                _ => return None,
            }
        };
    }
    Some(all!(
        Int8 => types::Int8Type, Int16 => types::Int16Type, Int32 => types::Int32Type, Int64 => types::Int64Type,
        UInt8 => types::UInt8Type, UInt16 => types::UInt16Type, UInt32 => types::UInt32Type, UInt64 => types::UInt64Type
    ))
}

fn narrowed<T>(array: &dyn Array, name: &str) -> Result<ArrayRef, Wrong>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    let Some(all) = integers(array) else {
        return Err((0, format!("{} is not an integer type", array.data_type())));
    };
    let mut values = Vec::with_capacity(all.len());
    for (row, value) in all.into_iter().enumerate() {
        values.push(match T::Native::try_from(value) {
            Ok(value) => value,
            Err(_) if array.is_null(row) => T::Native::default(),
            Err(_) => return Err((row, format!("{value} does not fit into {name}"))),
        });
    }
    Ok(Arc::new(PrimitiveArray::<T>::new(
        values.into(),
        array.nulls().cloned(),
    )))
}

fn of_scalar(array: &ArrayRef, scalar: Scalar) -> Result<ArrayRef, Wrong> {
    if *array.data_type() == scalar.arrow() {
        return Ok(array.clone());
    }
    match scalar {
        Scalar::Bool => Err((0, format!("{} is not a boolean type", array.data_type()))),
        Scalar::Int8 => narrowed::<types::Int8Type>(array, "int8"),
        Scalar::Int16 => narrowed::<types::Int16Type>(array, "int16"),
        Scalar::Int32 => narrowed::<types::Int32Type>(array, "int32"),
        Scalar::Int64 => narrowed::<types::Int64Type>(array, "int64"),
        Scalar::Float => floats(array),
        Scalar::Double => doubles(array),
        Scalar::VarChar => text(array, None),
    }
}

fn floats(array: &ArrayRef) -> Result<ArrayRef, Wrong> {
    let nulls = array.nulls().cloned();
    let values: Vec<f32> = match array.data_type() {
        DataType::Float16 => {
            let halves = array.as_primitive::<types::Float16Type>().values();
            halves.iter().map(|half| half.to_f32()).collect()
        }
        DataType::Float64 => {
            let doubles = array.as_primitive::<types::Float64Type>().values();
            let large = |d: &f64| d.is_finite() && (*d as f32).is_infinite();
            if let Some(row) = doubles.iter().position(large) {
                return Err((row, format!("{} is too large for a float", doubles[row])));
            }
            doubles.iter().map(|double| *double as f32).collect()
        }
        other => return Err((0, format!("{other} cannot become float"))),
    };
    Ok(Arc::new(PrimitiveArray::<types::Float32Type>::new(
        values.into(),
        nulls,
    )))
}

fn doubles(array: &ArrayRef) -> Result<ArrayRef, Wrong> {
    let nulls = array.nulls().cloned();
    let values: Vec<f64> = match array.data_type() {
        DataType::Float16 => {
            let halves = array.as_primitive::<types::Float16Type>().values();
            halves.iter().map(|half| half.to_f64()).collect()
        }
        DataType::Float32 => {
            let floats = array.as_primitive::<types::Float32Type>().values();
            floats.iter().map(|float| f64::from(*float)).collect()
        }
        DataType::Decimal128(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal32(_, scale) => {
            // Through text, so that the decimal 0.1 becomes the double that is written 0.1.
            let all = integers(array).unwrap_or_default();
            all.into_iter()
                .map(|v| decimal(&v.to_string(), *scale).parse().unwrap_or(f64::NAN))
                .collect()
        }
        other => return Err((0, format!("{other} cannot become double"))),
    };
    Ok(Arc::new(PrimitiveArray::<types::Float64Type>::new(
        values.into(),
        nulls,
    )))
}

/// Lists of scalars without missing elements.
fn lists(array: &ArrayRef, of: Scalar) -> Result<ArrayRef, Wrong> {
    let Some(list) = array.as_list_opt::<i32>() else {
        return Err((0, format!("{} is not a list type", array.data_type())));
    };
    let offsets = list.value_offsets();
    let row_of = |at: usize| {
        offsets
            .partition_point(|offset| *offset as usize <= at)
            .saturating_sub(1)
    };
    let (first, last) = (offsets[0] as usize, offsets[list.len()] as usize);
    let values = list.values().slice(first, last - first);
    if values.null_count() > 0
        && let Some(at) = (0..values.len()).find(|at| values.is_null(*at))
    {
        return Err((
            row_of(first + at),
            "an element of the list is null".to_owned(),
        ));
    }
    let values = of_scalar(&values, of).map_err(|(at, what)| (row_of(first + at), what))?;
    let shifted: Vec<i32> = offsets.iter().map(|offset| offset - first as i32).collect();
    let field = Arc::new(Field::new("item", of.arrow(), false));
    let offsets = OffsetBuffer::new(shifted.into());
    let lists = ListArray::try_new(field, offsets, values, list.nulls().cloned());
    lists
        .map(|lists| Arc::new(lists) as ArrayRef)
        .map_err(|e| (0, e.to_string()))
}

fn vectors(array: &ArrayRef, vector: VectorType) -> Result<ArrayRef, Wrong> {
    let width = vector.row_bytes() as usize;
    let wanted = components(array.data_type(), vector) as usize;
    let differs = |row: usize, has: usize, what: &str| {
        Err((
            row,
            format!("has {has} {what}, others have {wanted}: all need the same number"),
        ))
    };
    let bytes: Buffer = match array.data_type() {
        DataType::FixedSizeList(field, has) => {
            let numbers = DataType::List(field.clone());
            let wanted = components(&numbers, vector) as usize;
            if *has as usize != wanted && !array.is_empty() {
                return Err((
                    0,
                    format!("has {has} components, others have {wanted}: all need the same number"),
                ));
            }
            let list = array.as_fixed_size_list();
            let first = list.value_offset_at(0);
            let values = list.values().slice(first, list.len() * wanted);
            // If a list is missing, its elements mean nothing.
            if values.null_count() > 0
                && let Some(at) =
                    (0..values.len()).find(|at| values.is_null(*at) && list.is_valid(at / wanted))
            {
                return Err((at / wanted, "a component is null".to_owned()));
            }
            packed(&values, vector.element).map_err(|(at, what)| (at / wanted, what))?
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            for (row, ends) in offsets.windows(2).enumerate() {
                let has = (ends[1] - ends[0]) as usize;
                if has != wanted && list.is_valid(row) {
                    return differs(row, has, "components");
                }
            }
            let (first, last) = (offsets[0] as usize, offsets[list.len()] as usize);
            let values = list.values().slice(first, last - first);
            if values.null_count() > 0
                && let Some(at) = (0..values.len()).find(|at| values.is_null(*at))
            {
                return Err((at / wanted, "a component is null".to_owned()));
            }
            let packed =
                packed(&values, vector.element).map_err(|(at, what)| (at / wanted, what))?;
            spread(packed, list.nulls(), list.len(), width)
        }
        DataType::FixedSizeBinary(has) => {
            if *has as usize != wanted && !array.is_empty() {
                return differs(0, *has as usize, "bytes");
            }
            let array = array.as_fixed_size_binary();
            array
                .values()
                .slice_with_length(array.offset() * width, array.len() * width)
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            let mut bytes = Vec::with_capacity(array.len() * width);
            for row in 0..array.len() {
                match array.is_valid(row).then(|| array.value(row)) {
                    Some(value) if value.len() == width => bytes.extend_from_slice(value),
                    Some(value) => return differs(row, value.len(), "bytes"),
                    None => bytes.resize(bytes.len() + width, 0),
                }
            }
            bytes.into()
        }
        other => return Err((0, format!("{other} cannot become a vector"))),
    };
    let array = FixedSizeBinaryArray::try_new(width as i32, bytes, array.nulls().cloned());
    array
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|e| (0, e.to_string()))
}

/// The vectors of the rows that have one, with gaps for the other rows.
fn spread(packed: Buffer, nulls: Option<&NullBuffer>, rows: usize, width: usize) -> Buffer {
    let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) else {
        return packed;
    };
    let mut bytes = vec![0u8; rows * width];
    let there = (0..rows).filter(|row| nulls.is_valid(*row));
    for (row, vector) in there.zip(packed.as_slice().chunks_exact(width)) {
        bytes[row * width..][..width].copy_from_slice(vector);
    }
    bytes.into()
}

/// Components in the form that is sent.
fn packed(values: &ArrayRef, element: Element) -> Result<Buffer, Wrong> {
    fn raw<T: ArrowPrimitiveType>(values: &ArrayRef) -> Buffer {
        values.as_primitive::<T>().values().inner().clone()
    }
    use DataType::*;
    use Element as E;
    Ok(match (values.data_type(), element) {
        (Float32, E::Float32) => raw::<types::Float32Type>(values),
        (Float16, E::Float16) => raw::<types::Float16Type>(values),
        (Int8, E::Int8) => raw::<types::Int8Type>(values),
        (UInt8, E::Bit | E::Float16 | E::BFloat16 | E::Int8) => raw::<types::UInt8Type>(values),
        (Float64, E::Float32) => {
            let doubles = values.as_primitive::<types::Float64Type>().values();
            let mut floats = vec![0; doubles.len() * 4];
            if !simd::f64_to_f32(bytemuck::cast_slice(doubles), &mut floats) {
                let large = |d: &f64| d.is_finite() && (*d as f32).is_infinite();
                let at = doubles.iter().position(large).unwrap_or(0);
                return Err((at, format!("{} is too large for a float32", doubles[at])));
            }
            floats.into()
        }
        (Float16, E::Float32) => {
            let halves = raw::<types::Float16Type>(values);
            let mut floats = vec![0; values.len() * 4];
            simd::f16_to_f32(halves.as_slice(), &mut floats);
            floats.into()
        }
        (other, _) => {
            let Some(all) = integers(values) else {
                return Err((
                    0,
                    format!("{other} cannot be components of {} vectors", element.name()),
                ));
            };
            let mut bytes = Vec::with_capacity(all.len());
            for (at, value) in all.into_iter().enumerate() {
                let lossless = match element {
                    E::Float32 => {
                        bytes.extend_from_slice(&(value as f32).to_le_bytes());
                        value as f32 as i128 == value
                    }
                    E::Int8 => i8::try_from(value).map(|v| bytes.push(v as u8)).is_ok(),
                    _ => u8::try_from(value).map(|v| bytes.push(v)).is_ok(),
                };
                if !lossless {
                    return Err((
                        at,
                        format!(
                            "{value} cannot be represented exactly in {} vectors",
                            element.name()
                        ),
                    ));
                }
            }
            bytes.into()
        }
    })
}

/// Sparse vectors: either pairs of an index and a value in the form that is sent, or two parallel lists.
fn sparse(array: &ArrayRef) -> Result<ArrayRef, Wrong> {
    if let Some(pairs) = array.as_binary_opt::<i32>() {
        return sparse_bytes(pairs);
    }
    let both: &StructArray = array.as_struct();
    let (indices, values) = (
        both.column(0).as_list::<i32>(),
        both.column(1).as_list::<i32>(),
    );
    let mut bytes = Vec::new();
    let mut offsets: Vec<i64> = vec![0];
    for row in 0..both.len() {
        if both.is_valid(row) {
            if indices.is_null(row) || values.is_null(row) {
                return Err((row, "indices or values are missing".to_owned()));
            }
            let (at, of) = (indices.value(row), values.value(row));
            if at.len() != of.len() || at.null_count() + of.null_count() > 0 {
                return Err((row, format!("{} indices for {} values", at.len(), of.len())));
            }
            let of = of_scalar(&of, Scalar::Float).map_err(|(_, what)| (row, what))?;
            let mut pairs = Vec::with_capacity(at.len());
            let all = integers(&at).unwrap_or_default();
            for (index, value) in all
                .into_iter()
                .zip(of.as_primitive::<types::Float32Type>().values())
            {
                let Ok(index) = u32::try_from(index) else {
                    return Err((row, format!("{index} is not an index of a sparse vector")));
                };
                pairs.push((index, *value));
            }
            pairs.sort_by_key(|(index, _)| *index);
            if let Some(twice) = pairs.windows(2).find(|two| two[0].0 == two[1].0) {
                return Err((row, format!("index {} occurs twice", twice[0].0)));
            }
            for (index, value) in pairs {
                bytes.extend(index.to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
        }
        offsets.push(bytes.len() as i64);
    }
    let offsets = OffsetBuffer::new(offsets.into());
    let array = LargeBinaryArray::try_new(offsets, bytes.into(), both.nulls().cloned());
    array
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|e| (0, e.to_string()))
}

/// Sparse vectors that are stored in the form that is sent.
fn sparse_bytes(array: &BinaryArray) -> Result<ArrayRef, Wrong> {
    for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
        let (pairs, rest) = array.value(row).as_chunks::<8>();
        if !rest.is_empty() {
            let what = format!("{} bytes are not pairs of 8 each", array.value(row).len());
            return Err((row, what));
        }
        let index = |pair: &[u8; 8]| u32::from_le_bytes([pair[0], pair[1], pair[2], pair[3]]);
        if let Some(two) = pairs
            .windows(2)
            .find(|two| index(&two[0]) >= index(&two[1]))
        {
            let what = format!("index {} follows index {}", index(&two[1]), index(&two[0]));
            return Err((row, what));
        }
    }
    let values = (0..array.len()).map(|row| array.is_valid(row).then(|| array.value(row)));
    Ok(Arc::new(LargeBinaryArray::from_iter(values)))
}

/// Timestamps in microseconds; finer ones are rounded down.
fn moments(array: &ArrayRef) -> Result<ArrayRef, Wrong> {
    fn scaled<T: ArrowPrimitiveType<Native = i64>>(
        array: &ArrayRef,
        times: i64,
        by: i64,
    ) -> Result<Vec<i64>, Wrong> {
        let all = array.as_primitive::<T>();
        let scale = |row: usize| match all.is_valid(row) {
            true => all
                .value(row)
                .checked_mul(times)
                .map(|value| value.div_euclid(by)),
            false => Some(0),
        };
        let wrong = |row: usize| (row, format!("{} is too far from 1970", all.value(row)));
        (0..all.len())
            .map(|row| scale(row).ok_or_else(|| wrong(row)))
            .collect()
    }
    let micros = match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            scaled::<types::TimestampSecondType>(array, 1_000_000, 1)?
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            scaled::<types::TimestampMillisecondType>(array, 1000, 1)?
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            scaled::<types::TimestampMicrosecondType>(array, 1, 1)?
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            scaled::<types::TimestampNanosecondType>(array, 1, 1000)?
        }
        other => return Err((0, format!("{other} is not a timestamp type"))),
    };
    let array = TimestampMicrosecondArray::new(micros.into(), array.nulls().cloned());
    Ok(Arc::new(array.with_timezone("UTC")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Decimal128Array, Float64Array, Int32Array, UInt64Array};

    #[test]
    fn what_does_not_fit_is_named_with_its_row() {
        let check = |array: ArrayRef, kind: ColumnType, expected: Wrong| {
            assert_eq!(convert(&array, None, kind, false).unwrap_err(), expected);
        };
        let int64 = ColumnType::Scalar(Scalar::Int64);
        check(
            Arc::new(UInt64Array::from(vec![1, u64::MAX])),
            int64,
            (1, format!("{} does not fit into int64", u64::MAX)),
        );
        check(
            Arc::new(Int32Array::from(vec![Some(1), None])),
            int64,
            (1, "has no value".to_owned()),
        );
        let float = ColumnType::Scalar(Scalar::Float);
        check(
            Arc::new(Float64Array::from(vec![1.0, 1e300])),
            float,
            (1, format!("{} is too large for a float", 1e300)),
        );
        let lists = ListArray::from_iter_primitive::<types::Float32Type, _, _>(vec![
            Some(vec![Some(1.0), Some(2.0)]),
            Some(vec![Some(3.0)]),
        ]);
        let vector = ColumnType::Vector(VectorType {
            element: Element::Float32,
            dimension: 2,
        });
        check(
            Arc::new(lists),
            vector,
            (
                1,
                "has 1 components, others have 2: all need the same number".to_owned(),
            ),
        );
    }

    #[test]
    fn decimals_become_the_nearest_double() {
        let array = Decimal128Array::from(vec![10, -30])
            .with_precision_and_scale(5, 2)
            .unwrap();
        let array = convert(
            &(Arc::new(array) as ArrayRef),
            None,
            ColumnType::Scalar(Scalar::Double),
            false,
        )
        .unwrap();
        assert_eq!(
            array.as_primitive::<types::Float64Type>().values()[..],
            [0.1, -0.3]
        );
    }
}
