//! How are names and rows identified? By digests that never change: checkpoints, file names and partitions hold them.
//!
//! The digest of rows is the wrapping sum over their values of digests that are bound to the row's key and to the
//! column's name, so that a value in the wrong row or column is noticed, and rows may come in any order. The single
//! vector of plain rows is bound to the key alone.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::{Array, types};

use crate::batch::Part;
use crate::schema::{ColumnType, Scalar};
use crate::simd;

/// The digest of a name. Frozen: names of partitions and files contain it.
pub fn name(name: &[u8]) -> u64 {
    chained(0, name)
}

/// The digest of a name that follows others with the digest `before`.
pub fn chained(before: u64, name: &[u8]) -> u64 {
    simd::row_digest(before as i64, name)
}

/// The digest of rows.
pub fn part(part: &Part) -> u64 {
    if part.is_empty() {
        return 0;
    }
    let columns = part.columns();
    let others = (0..columns.all().len()).filter(|number| *number != columns.key_number());
    others.fold(0, |sum, number| sum.wrapping_add(column(part, number)))
}

/// The digest of a column's values.
pub fn column(part: &Part, number: usize) -> u64 {
    let keys = keys(part, number);
    let column = &part.columns().all()[number];
    if let ColumnType::Vector(vector) = column.kind
        && !column.nullable
    {
        return simd::digest_rows(&keys, part.vectors_of(number), vector.row_bytes() as usize);
    }
    let array = part.column(number);
    let mut buffer = Vec::new();
    let digests = keys.iter().enumerate().map(|(row, key)| {
        match value(column.kind, &array, row, &mut buffer) {
            Some(bytes) => simd::row_digest(*key, bytes),
            None => simd::row_digest(*key ^ NULL, &[]),
        }
    });
    digests.fold(0, u64::wrapping_add)
}

/// Distinguishes a missing value from an empty one.
const NULL: i64 = 0x6e75_6c6c_6e75_6c6c;

/// Keys in the form that a column's values are bound to.
pub fn keys(part: &Part, number: usize) -> Cow<'_, [i64]> {
    let columns = part.columns();
    if columns.as_plain().is_some() {
        return Cow::Borrowed(part.ids());
    }
    let salt = name(columns.all()[number].name.as_bytes()) as i64;
    Cow::Owned(match part.text_keys() {
        None => part.ids().iter().map(|id| id ^ salt).collect(),
        Some(texts) => {
            let texts = texts.iter().map(|text| text.unwrap_or_default());
            texts
                .map(|text| name(text.as_bytes()) as i64 ^ salt)
                .collect()
        }
    })
}

/// The bytes of a value, the same on every machine and in every array; `None`: there is none.
pub fn value<'v>(
    kind: ColumnType,
    array: &'v dyn Array,
    row: usize,
    buffer: &'v mut Vec<u8>,
) -> Option<&'v [u8]> {
    if array.is_null(row) {
        return None;
    }
    buffer.clear();
    Some(match kind {
        ColumnType::Vector(_) => array.as_fixed_size_binary().value(row),
        ColumnType::Sparse => array.as_binary::<i64>().value(row),
        ColumnType::VarChar { .. } | ColumnType::Json | ColumnType::Geometry => {
            array.as_string::<i32>().value(row).as_bytes()
        }
        ColumnType::Timestamptz => {
            let moment = array.as_primitive::<types::TimestampMicrosecondType>();
            buffer.extend(moment.value(row).to_le_bytes());
            buffer
        }
        ColumnType::Scalar(scalar) => {
            element(scalar, array, row, buffer);
            buffer
        }
        ColumnType::Array { of, .. } => {
            let list = array.as_list::<i32>().value(row);
            for at in 0..list.len() {
                element(of, &list, at, buffer);
            }
            buffer
        }
    })
}

fn element(scalar: Scalar, array: &dyn Array, row: usize, buffer: &mut Vec<u8>) {
    match scalar {
        Scalar::Bool => buffer.push(u8::from(array.as_boolean().value(row))),
        Scalar::Int8 => {
            let value = array.as_primitive::<types::Int8Type>().value(row);
            buffer.extend(value.to_le_bytes());
        }
        Scalar::Int16 => {
            let value = array.as_primitive::<types::Int16Type>().value(row);
            buffer.extend(value.to_le_bytes());
        }
        Scalar::Int32 => {
            let value = array.as_primitive::<types::Int32Type>().value(row);
            buffer.extend(value.to_le_bytes());
        }
        Scalar::Int64 => {
            let value = array.as_primitive::<types::Int64Type>().value(row);
            buffer.extend(value.to_le_bytes());
        }
        Scalar::Float => {
            let value = array.as_primitive::<types::Float32Type>().value(row);
            buffer.extend(value.to_le_bytes());
        }
        Scalar::Double => {
            let value = array.as_primitive::<types::Float64Type>().value(row);
            buffer.extend(value.to_le_bytes());
        }
        Scalar::VarChar => {
            let text = array.as_string::<i32>().value(row);
            // Marks the end of each text.
            buffer.extend((text.len() as u64).to_le_bytes());
            buffer.extend(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_digests() {
        assert_eq!(name(b""), 0x4f86_164b_d312_d4e3);
        assert_eq!(name(b"products/2026"), 0x5d5e_cab1_bad7_3cbe);
        assert_eq!(chained(7, b"segment 1"), 0xd8ae_149d_115a_cd88);
    }
}
