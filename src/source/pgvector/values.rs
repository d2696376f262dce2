//! What do the bytes of a value mean? Converts the big-endian data of COPY directly into columns. Pure.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, LargeBinaryArray, ListArray, StringArray,
};
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer};

use super::text;
use crate::schema::{ColumnType, Element, Scalar, VectorType};
use crate::simd::kernels;

/// How the server sends a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Codec {
    Bool,
    /// Signed, with this many bytes.
    Int(usize),
    /// Unsigned, 4 bytes.
    Oid,
    Float,
    Double,
    Text,
    Json,
    /// A version number, then text.
    Jsonb,
    Uuid,
    Numeric,
    Date,
    Timestamp,
    Timestamptz,
    Bytea,
    /// With this many dimensions.
    Vector(u32),
    Halfvec(u32),
    Sparsevec,
    /// This many bits.
    Bits(u32),
    /// One dimension, no nulls.
    Array(Box<Codec>),
}

impl Codec {
    /// The type that its values become; texts have at most `max_bytes` bytes.
    pub fn kind(&self, max_bytes: Option<u32>) -> ColumnType {
        let vector = |element, dimension| ColumnType::Vector(VectorType { element, dimension });
        match self {
            Codec::Vector(dimension) => vector(Element::Float32, *dimension),
            Codec::Halfvec(dimension) => vector(Element::Float16, *dimension),
            Codec::Bits(bits) => vector(Element::Bit, bits.next_multiple_of(8)),
            Codec::Sparsevec => ColumnType::Sparse,
            Codec::Json | Codec::Jsonb => ColumnType::Json,
            Codec::Array(of) => ColumnType::Array {
                of: of.scalar(),
                capacity: None,
                max_bytes,
            },
            scalar => match scalar.scalar() {
                Scalar::VarChar => ColumnType::VarChar { max_bytes },
                scalar => ColumnType::Scalar(scalar),
            },
        }
    }

    fn scalar(&self) -> Scalar {
        match self {
            Codec::Bool => Scalar::Bool,
            Codec::Int(2) => Scalar::Int16,
            Codec::Int(4) => Scalar::Int32,
            Codec::Int(_) | Codec::Oid => Scalar::Int64,
            Codec::Float => Scalar::Float,
            Codec::Double => Scalar::Double,
            _ => Scalar::VarChar,
        }
    }

    /// Bytes that a value of length `len` occupies in a batch; for text, to within a few bytes.
    pub fn weight(&self, len: usize, kind: ColumnType) -> u64 {
        let len = len as u64;
        kind.value_bytes().unwrap_or(match self {
            Codec::Uuid => 36,
            Codec::Date => 10,
            Codec::Timestamp | Codec::Timestamptz => 27,
            Codec::Bytea | Codec::Numeric => len * 2,
            _ => len,
        })
    }
}

/// Builds the values of a column one by one.
pub struct Maker {
    kind: ColumnType,
    values: Values,
    nulls: NullBufferBuilder,
    len: usize,
    /// Buffer for formatted text.
    spelt: String,
}

enum Values {
    Bool(BooleanBufferBuilder),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Text(Vec<i32>, Vec<u8>),
    Vectors(usize, Vec<u8>),
    Sparse(Vec<i64>, Vec<u8>),
    List(Vec<i32>, Box<Values>, Scalar),
}

impl Values {
    fn of_scalar(scalar: Scalar) -> Values {
        match scalar {
            Scalar::Bool => Values::Bool(BooleanBufferBuilder::new(0)),
            // Postgres has no such type.
            Scalar::Int8 | Scalar::Int16 => Values::Int16(Vec::new()),
            Scalar::Int32 => Values::Int32(Vec::new()),
            Scalar::Int64 => Values::Int64(Vec::new()),
            Scalar::Float => Values::Float(Vec::new()),
            Scalar::Double => Values::Double(Vec::new()),
            Scalar::VarChar => Values::Text(vec![0], Vec::new()),
        }
    }

    fn of(kind: ColumnType) -> Values {
        match kind {
            ColumnType::Scalar(scalar) => Values::of_scalar(scalar),
            ColumnType::Array { of, .. } => {
                Values::List(vec![0], Box::new(Values::of_scalar(of)), of)
            }
            ColumnType::Vector(vector) => Values::Vectors(vector.row_bytes() as usize, Vec::new()),
            ColumnType::Sparse => Values::Sparse(vec![0], Vec::new()),
            _ => Values::of_scalar(Scalar::VarChar),
        }
    }

    /// Adds a placeholder for a missing value.
    fn put_nothing(&mut self) {
        match self {
            Values::Bool(bits) => bits.append(false),
            Values::Int16(all) => all.push(0),
            Values::Int32(all) => all.push(0),
            Values::Int64(all) => all.push(0),
            Values::Float(all) => all.push(0.0),
            Values::Double(all) => all.push(0.0),
            Values::Text(offsets, bytes) => offsets.push(bytes.len() as i32),
            Values::Vectors(width, bytes) => bytes.resize(bytes.len() + *width, 0),
            Values::Sparse(offsets, bytes) => offsets.push(bytes.len() as i64),
            Values::List(offsets, ..) => offsets.push(offsets[offsets.len() - 1]),
        }
    }

    fn put(&mut self, codec: &Codec, bytes: &[u8], spelt: &mut String) -> Result<(), String> {
        match (self, codec) {
            (Values::Bool(bits), Codec::Bool) => bits.append(word::<1>(bytes)?[0] != 0),
            (Values::Int16(all), Codec::Int(2)) => all.push(i16::from_be_bytes(word(bytes)?)),
            (Values::Int32(all), Codec::Int(4)) => all.push(i32::from_be_bytes(word(bytes)?)),
            (Values::Int64(all), Codec::Int(2)) => {
                all.push(i16::from_be_bytes(word(bytes)?).into());
            }
            (Values::Int64(all), Codec::Int(4)) => {
                all.push(i32::from_be_bytes(word(bytes)?).into());
            }
            (Values::Int64(all), Codec::Int(_)) => all.push(i64::from_be_bytes(word(bytes)?)),
            (Values::Int64(all), Codec::Oid) => all.push(u32::from_be_bytes(word(bytes)?).into()),
            (Values::Float(all), Codec::Float) => all.push(f32::from_be_bytes(word(bytes)?)),
            (Values::Double(all), Codec::Double) => all.push(f64::from_be_bytes(word(bytes)?)),
            (Values::Vectors(width, all), codec) => put_vector(*width, all, codec, bytes)?,
            (Values::Sparse(offsets, all), Codec::Sparsevec) => {
                put_sparse(all, bytes)?;
                offsets.push(all.len() as i64);
            }
            (Values::List(offsets, values, _), Codec::Array(of)) => {
                let count = put_elements(values, of, bytes, spelt)?;
                let end = offsets[offsets.len() - 1].checked_add(count);
                offsets.push(end.ok_or("has more elements than a batch can hold")?);
            }
            (Values::Text(offsets, all), codec) => {
                put_text(all, codec, bytes, spelt)?;
                let end = i32::try_from(all.len());
                offsets.push(end.map_err(|_| "is longer than a batch can hold")?);
            }
            _ => unreachable!("each column is made for its codec"),
        }
        Ok(())
    }

    fn finish(self, kind: ColumnType, nulls: Option<NullBuffer>) -> Result<ArrayRef, String> {
        let wrong = |_| "contains text that is not UTF-8".to_owned();
        Ok(match self {
            Values::Bool(mut bits) => Arc::new(BooleanArray::new(bits.finish(), nulls)),
            Values::Int16(all) => Arc::new(Int16Array::new(all.into(), nulls)),
            Values::Int32(all) => Arc::new(Int32Array::new(all.into(), nulls)),
            Values::Int64(all) => Arc::new(Int64Array::new(all.into(), nulls)),
            Values::Float(all) => Arc::new(Float32Array::new(all.into(), nulls)),
            Values::Double(all) => Arc::new(Float64Array::new(all.into(), nulls)),
            Values::Text(offsets, bytes) => {
                let offsets = OffsetBuffer::new(offsets.into());
                let texts = StringArray::try_new(offsets, Buffer::from_vec(bytes), nulls);
                Arc::new(texts.map_err(wrong)?)
            }
            Values::Vectors(width, bytes) => {
                let width = i32::try_from(width).expect("Columns::new checked the width");
                Arc::new(FixedSizeBinaryArray::new(
                    width,
                    Buffer::from_vec(bytes),
                    nulls,
                ))
            }
            Values::Sparse(offsets, bytes) => {
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(LargeBinaryArray::new(
                    offsets,
                    Buffer::from_vec(bytes),
                    nulls,
                ))
            }
            Values::List(offsets, values, of) => {
                let values = values.finish(ColumnType::Scalar(of), None)?;
                let arrow_schema::DataType::List(field) = kind.arrow() else {
                    unreachable!("arrays are lists");
                };
                let offsets = OffsetBuffer::new(offsets.into());
                Arc::new(ListArray::new(field, offsets, values, nulls))
            }
        })
    }
}

impl Maker {
    /// An empty column of this type.
    pub fn new(kind: ColumnType) -> Maker {
        Maker {
            values: Values::of(kind),
            nulls: NullBufferBuilder::new(0),
            len: 0,
            spelt: String::new(),
            kind,
        }
    }

    /// Adds a value, or a null.
    pub fn put(&mut self, codec: &Codec, bytes: Option<&[u8]>) -> Result<(), String> {
        match bytes {
            Some(bytes) => {
                self.values.put(codec, bytes, &mut self.spelt)?;
                self.nulls.append_non_null();
            }
            None => {
                self.values.put_nothing();
                self.nulls.append_null();
            }
        }
        self.len += 1;
        Ok(())
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The values so far; the builder is then empty.
    pub fn finish(&mut self) -> Result<ArrayRef, String> {
        let done = std::mem::replace(self, Maker::new(self.kind));
        let mut nulls = done.nulls;
        done.values.finish(done.kind, nulls.finish())
    }
}

fn word<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    let wrong = || format!("has {} bytes, but its type has {N}", bytes.len());
    bytes.try_into().map_err(|_| wrong())
}

fn head<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), String> {
    let found = bytes
        .split_first_chunk::<N>()
        .map(|(head, rest)| (*head, rest));
    found.ok_or_else(|| format!("has {} bytes, fewer than its header", bytes.len()))
}

/// ```text
/// | dimension 2 | 0 2 | component 4 (halfvec: 2) … |      bits: | bits 4 | byte … |
/// ```
fn put_vector(width: usize, all: &mut Vec<u8>, codec: &Codec, bytes: &[u8]) -> Result<(), String> {
    let (wanted, each) = match codec {
        Codec::Vector(dimension) => (*dimension, 4),
        Codec::Halfvec(dimension) => (*dimension, 2),
        Codec::Bits(bits) => (*bits, 1),
        _ => unreachable!("each column is made for its codec"),
    };
    let (first, components) = head::<4>(bytes)?;
    let found = match codec {
        Codec::Bits(_) => u32::from_be_bytes(first),
        _ => u32::from(u16::from_be_bytes([first[0], first[1]])),
    };
    if found != wanted {
        return Err(format!(
            "has {found} dimensions, but the column has {wanted}"
        ));
    }
    if components.len() != width {
        return Err(format!(
            "has {} bytes for {found} dimensions",
            components.len()
        ));
    }
    let start = all.len();
    all.extend_from_slice(components);
    kernels().swap_bytes(each, &mut all[start..]);
    Ok(())
}

/// ```text
/// | dimension 4 | pairs 4 | 0 4 | index 4 … | value 4 … |
/// ```
fn put_sparse(all: &mut Vec<u8>, bytes: &[u8]) -> Result<(), String> {
    let (first, rest) = head::<12>(bytes)?;
    let pairs = u32::from_be_bytes([first[4], first[5], first[6], first[7]]) as usize;
    if pairs.checked_mul(8) != Some(rest.len()) {
        return Err(format!("has {} bytes for {pairs} pairs", rest.len()));
    }
    let (indexes, values) = rest.split_at(pairs * 4);
    let mut least = 0;
    for (index, value) in (indexes.as_chunks::<4>().0.iter()).zip(values.as_chunks::<4>().0) {
        let index = u32::from_be_bytes(*index);
        if index < least {
            return Err("has indices that do not ascend".to_owned());
        }
        least = index.saturating_add(1);
        all.extend(index.to_le_bytes());
        all.extend(f32::from_be_bytes(*value).to_le_bytes());
    }
    Ok(())
}

/// ```text
/// | dimensions 4 | has nulls 4 | type 4 | (length 4, lower bound 4) … | (bytes 4, value) … |
/// ```
fn put_elements(
    values: &mut Values,
    of: &Codec,
    bytes: &[u8],
    spelt: &mut String,
) -> Result<i32, String> {
    let (first, mut rest) = head::<12>(bytes)?;
    let count = match u32::from_be_bytes([first[0], first[1], first[2], first[3]]) {
        0 => 0,
        1 => {
            let (bounds, elements) = head::<8>(rest)?;
            rest = elements;
            u32::from_be_bytes([bounds[0], bounds[1], bounds[2], bounds[3]])
        }
        dimensions => {
            return Err(format!(
                "is now an array of {dimensions} dimensions, but the column had none"
            ));
        }
    };
    for _ in 0..count {
        let (len, after) = head::<4>(rest)?;
        let Ok(len) = usize::try_from(i32::from_be_bytes(len)) else {
            return Err("now has a NULL element, but the column had none".to_owned());
        };
        let (value, after) = after
            .split_at_checked(len)
            .ok_or("ends within an element")?;
        values.put(of, value, spelt)?;
        rest = after;
    }
    match rest {
        [] => i32::try_from(count).map_err(|_| "has too many elements".to_owned()),
        _ => Err(format!("has {} bytes after its elements", rest.len())),
    }
}

fn put_text(
    all: &mut Vec<u8>,
    codec: &Codec,
    bytes: &[u8],
    spelt: &mut String,
) -> Result<(), String> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let hex = |byte: &u8| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    spelt.clear();
    match codec {
        Codec::Jsonb => match bytes.split_first() {
            Some((1, text)) => all.extend_from_slice(text),
            _ => return Err("is not jsonb of version 1".to_owned()),
        },
        Codec::Uuid => {
            for (at, byte) in word::<16>(bytes)?.iter().enumerate() {
                if matches!(at, 4 | 6 | 8 | 10) {
                    all.push(b'-');
                }
                all.extend(hex(byte));
            }
        }
        Codec::Bytea => all.extend(bytes.iter().flat_map(hex)),
        Codec::Numeric => text::numeric(bytes, spelt)?,
        Codec::Date => text::date(i32::from_be_bytes(word(bytes)?), spelt),
        Codec::Timestamp => text::moment(i64::from_be_bytes(word(bytes)?), "", spelt),
        Codec::Timestamptz => text::moment(i64::from_be_bytes(word(bytes)?), "Z", spelt),
        _ => all.extend_from_slice(bytes),
    }
    all.extend_from_slice(spelt.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::{Array, types};

    fn made(codec: Codec, values: &[Option<&[u8]>]) -> Result<ArrayRef, String> {
        let mut maker = Maker::new(codec.kind(None));
        for value in values {
            maker.put(&codec, *value)?;
        }
        assert_eq!(maker.len(), values.len());
        maker.finish()
    }

    #[test]
    fn vectors_are_turned_around() {
        let vector = b"\0\x02\0\0\x3f\x80\0\0\xc0\0\0\0";
        let array = made(Codec::Vector(2), &[Some(vector), None]).unwrap();
        let array = array.as_fixed_size_binary();
        let expected = [1f32, -2.0].map(f32::to_le_bytes).concat();
        assert_eq!(array.value(0), expected);
        assert!(array.is_null(1));
        let half = made(Codec::Halfvec(1), &[Some(b"\0\x01\0\0\x3c\0")]).unwrap();
        assert_eq!(half.as_fixed_size_binary().value(0), [0, 0x3c]);
        let bits = made(Codec::Bits(10), &[Some(b"\0\0\0\x0a\xf0\x40")]).unwrap();
        assert_eq!(bits.as_fixed_size_binary().value(0), [0xf0, 0x40]);
        let pairs = b"\0\0\0\x09\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\x08\x3f\x80\0\0\x40\0\0\0";
        let sparse = made(Codec::Sparsevec, &[Some(pairs)]).unwrap();
        let expected = [
            &[1, 0, 0, 0, 0, 0, 0x80, 0x3f][..],
            &[8, 0, 0, 0, 0, 0, 0, 0x40],
        ];
        assert_eq!(sparse.as_binary::<i64>().value(0), expected.concat());
        for (codec, bytes) in [
            (Codec::Vector(3), &vector[..]),
            (Codec::Vector(2), &vector[..11]),
            (Codec::Vector(2), b"\0"),
            (Codec::Sparsevec, &pairs[..20]),
            (Codec::Bits(8), b"\0\0\0\x09\0"),
        ] {
            assert!(made(codec.clone(), &[Some(bytes)]).is_err(), "{codec:?}");
        }
    }

    #[test]
    fn arrays_are_lists_and_what_is_none_is_refused() {
        let of = |codec: Codec| Codec::Array(Box::new(codec));
        let two = b"\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x02\0\0\0\x01\0\0\0\x04\0\0\0\x07\0\0\0\x04\xff\xff\xff\xff";
        let empty = b"\0\0\0\0\0\0\0\0\0\0\0\x17";
        let lists = made(of(Codec::Int(4)), &[Some(two), None, Some(empty)]).unwrap();
        let lists = lists.as_list::<i32>();
        let first = lists.value(0);
        assert_eq!(
            first.as_primitive::<types::Int32Type>().values(),
            &[7, -1][..]
        );
        assert!(lists.is_null(1) && lists.value(2).is_empty());
        for len in 0..two.len() {
            assert!(
                made(of(Codec::Int(4)), &[Some(&two[..len])]).is_err(),
                "{len}"
            );
        }
        let null = b"\0\0\0\x01\0\0\0\x01\0\0\0\x17\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff";
        assert!(made(of(Codec::Int(4)), &[Some(null)]).is_err());
        let deep = b"\0\0\0\x02\0\0\0\0\0\0\0\x17\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01";
        assert!(made(of(Codec::Int(4)), &[Some(deep)]).is_err());
    }

    #[test]
    fn texts_of_all_kinds_are_spelt() {
        let text = |codec: Codec, bytes: &[u8]| {
            let array = made(codec, &[Some(bytes)])?;
            Ok::<_, String>(array.as_string::<i32>().value(0).to_owned())
        };
        let uuid: Vec<u8> = (0..16).map(|i| i * 17).collect();
        assert_eq!(
            text(Codec::Uuid, &uuid).unwrap(),
            "00112233-4455-6677-8899-aabbccddeeff"
        );
        assert_eq!(text(Codec::Jsonb, b"\x01{\"a\": 1}").unwrap(), "{\"a\": 1}");
        assert_eq!(text(Codec::Bytea, b"\0\xfe").unwrap(), "00fe");
        assert_eq!(text(Codec::Date, &[0; 4]).unwrap(), "2000-01-01");
        assert!(text(Codec::Text, b"\xff").is_err());
        assert!(text(Codec::Jsonb, b"\x02{}").is_err());
        assert!(text(Codec::Uuid, b"\0").is_err());
    }
}
