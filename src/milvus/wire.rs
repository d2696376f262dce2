//! How does a batch become an Insert? The request framed by hand, so that vector bytes are not copied.
//! Sends nothing and keeps nothing: it writes into a buffer, and says which mapped ranges travel between its pieces.
//!
//! ```text
//! | gRPC: 0, length u32 BE | 2 db | 3 collection | 4 partition | 7 num_rows | 5 field: … | 5 field: … | bytes … |
//! ```
//! Fields may come in any order, so vectors come last: with one vector the buffer holds one piece before it. Upsert
//! has the same fields: the same bytes serve both calls (tested on 2.3.5).

use std::ops::Range;

use arrow_array::{Array, ArrayRef};
use bytes::Bytes;

use crate::batch::Part;
use crate::limits;
use crate::schema::{ColumnType, Element, Scalar, VectorType};
use crate::simd;

use super::proto::data_type;
use super::values;

/// Everything in an insert except its rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The database; empty: the server's default.
    pub db: String,
    /// The collection.
    pub collection: String,
    /// The partition; empty: the default partition.
    pub partition: String,
    /// The fields that are sent: vectors after the others.
    pub fields: Vec<Field>,
}

/// A field that is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name in the collection.
    pub name: String,
    /// The column of the rows that it is made of; `None`: it is sent empty, and each row gets the server's default.
    pub column: Option<usize>,
    /// What its values are.
    pub kind: ColumnType,
    /// Whether rows without a value are marked; if not, each row has one.
    pub tells_nulls: bool,
    /// Whether it is the dynamic field.
    pub is_dynamic: bool,
}

impl Field {
    /// A field for which each row has a value.
    pub fn new(name: impl Into<String>, column: usize, kind: ColumnType) -> Field {
        Field {
            name: name.into(),
            column: Some(column),
            kind,
            tells_nulls: false,
            is_dynamic: false,
        }
    }
}

impl Envelope {
    /// An envelope for plain rows: with an int64 key, unless the server makes it, and a vector.
    pub fn plain(
        db: &str,
        collection: &str,
        partition: &str,
        id: Option<&str>,
        vector: (&str, VectorType),
    ) -> Envelope {
        let id = id.map(|id| Field::new(id, 0, ColumnType::Scalar(Scalar::Int64)));
        let vector = Field::new(vector.0, 1, ColumnType::Vector(vector.1));
        Envelope {
            db: db.to_owned(),
            collection: collection.to_owned(),
            partition: partition.to_owned(),
            fields: id.into_iter().chain([vector]).collect(),
        }
    }
}

/// A stretch of a body.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes in the room.
    Room(Range<usize>),
    /// Bytes that stay where they are.
    Mapped(Bytes),
}

/// The number Milvus has for vectors of these elements.
pub fn vector_data_type(element: Element) -> i32 {
    match element {
        Element::Float32 => data_type::FLOAT_VECTOR,
        Element::Float16 => data_type::FLOAT16_VECTOR,
        Element::BFloat16 => data_type::BFLOAT16_VECTOR,
        Element::Int8 => data_type::INT8_VECTOR,
        Element::Bit => data_type::BINARY_VECTOR,
    }
}

/// The field of VectorField that holds vectors of these elements.
fn vector_field(element: Element) -> u32 {
    match element {
        Element::Float32 => 2,
        Element::Bit => 3,
        Element::Float16 => 4,
        Element::BFloat16 => 5,
        Element::Int8 => 7,
    }
}

const VARINT: u32 = 0;
const LENGTH: u32 = 2;

/// Frames parts as one request: writes into `room`, which is empty, and returns what is sent in which order.
pub fn frame(envelope: &Envelope, parts: &[Part], room: &mut Vec<u8>) -> Vec<Piece> {
    let all = frame_checked(envelope, parts, room, |part, column, room| {
        if let Some(room) = room {
            room.extend_from_slice(part.vectors_of(column));
        }
        true
    });
    all.expect("no part was refused")
}

/// Like [`frame`], but calls `look` for each column of dense vectors, part by part; with a buffer it also gathers the
/// vectors, so that a short part is still in the cache when it is copied. `None`, and a useless buffer, if a part was
/// refused.
pub fn frame_checked(
    envelope: &Envelope,
    parts: &[Part],
    room: &mut Vec<u8>,
    mut look: impl FnMut(&Part, usize, Option<&mut Vec<u8>>) -> bool,
) -> Option<Vec<Piece>> {
    debug_assert!(room.is_empty());
    let rows: usize = parts.iter().map(Part::len).sum();
    room.extend([0; 5]);
    text(room, 2, &envelope.db);
    text(room, 3, &envelope.collection);
    text(room, 4, &envelope.partition);
    number(room, 7, rows as u64);
    let mut mapped = Vec::new();
    for field in &envelope.fields {
        match (field.kind, field.column) {
            (ColumnType::Vector(kind), Some(column)) => {
                let look = |part: &Part, room: Option<&mut Vec<u8>>| look(part, column, room);
                vectors(room, field, kind, column, parts, &mut mapped, look)?;
            }
            (ColumnType::Scalar(Scalar::Int64), Some(column)) if !field.tells_nulls => {
                ints(room, &field.name, column, parts);
            }
            (kind, column) => others(room, field, kind, column, parts),
        }
    }
    let mut pieces = Vec::with_capacity(2 * mapped.len() + 1);
    let mut from = 0;
    let mut total = room.len();
    for (at, bytes) in mapped {
        if at > from {
            pieces.push(Piece::Room(from..at));
        }
        from = at;
        total += bytes.len();
        pieces.push(Piece::Mapped(bytes));
    }
    if room.len() > from {
        pieces.push(Piece::Room(from..room.len()));
    }
    let len = u32::try_from(total - 5).expect("batches are smaller than 64 MiB");
    room[1..5].copy_from_slice(&len.to_be_bytes());
    Some(pieces)
}

/// FieldData{type, field_name, scalars{long_data{data}}}.
fn ints(room: &mut Vec<u8>, name: &str, column: usize, parts: &[Part]) {
    let packed = parts
        .iter()
        .map(|p| simd::varints_len(p.ints_of(column)))
        .sum();
    let array = tagged_len(1, packed);
    let scalars = tagged_len(3, array);
    let data = number_len(1, data_type::INT64 as u64) + text_len(2, name) + tagged_len(3, scalars);
    tag(room, 5, data);
    number(room, 1, data_type::INT64 as u64);
    text(room, 2, name);
    tag(room, 3, scalars);
    tag(room, 3, array);
    tag(room, 1, packed);
    let end = room.len() + packed;
    for part in parts {
        simd::varints(part.ints_of(column), room);
    }
    debug_assert_eq!(room.len(), end);
}

/// FieldData of scalars, arrays, JSON or sparse vectors.
fn others(
    room: &mut Vec<u8>,
    field: &Field,
    kind: ColumnType,
    column: Option<usize>,
    parts: &[Part],
) {
    let arrays: Vec<ArrayRef> = match column {
        Some(column) => parts.iter().map(|part| part.column(column)).collect(),
        None => Vec::new(),
    };
    nested(room, 5, |room| {
        number(room, 1, values::data_type_of(kind) as u64);
        text(room, 2, &field.name);
        match kind {
            ColumnType::Sparse => nested(room, 4, |room| {
                let mut dimensions = 0;
                nested(room, 6, |room| dimensions = values::sparse(&arrays, room));
                number(room, 1, dimensions);
            }),
            _ => nested(room, 3, |room| values::scalars(kind, &arrays, room)),
        }
        if field.is_dynamic {
            number(room, 6, 1);
        }
        if field.tells_nulls {
            tag(room, 7, arrays.iter().map(|array| array.len()).sum());
            for array in &arrays {
                room.extend((0..array.len()).map(|row| u8::from(array.is_valid(row))));
            }
        }
    });
}

/// FieldData{type, field_name, vectors{dim, …}}; the long ranges go to `mapped`, each with its position in the
/// buffer.
fn vectors(
    room: &mut Vec<u8>,
    field: &Field,
    kind: VectorType,
    column: usize,
    parts: &[Part],
    mapped: &mut Vec<(usize, Bytes)>,
    mut look: impl FnMut(&Part, Option<&mut Vec<u8>>) -> bool,
) -> Option<()> {
    let element = kind.element;
    let data_type = vector_data_type(element) as u64;
    let dimension = u64::from(kind.dimension);
    let rows: usize = parts.iter().map(Part::len).sum();
    let bytes = rows * kind.row_bytes() as usize;
    // FloatArray is one level deeper than the byte strings of the other types.
    let inner = match element {
        Element::Float32 => tagged_len(1, bytes),
        _ => bytes,
    };
    let vectors = number_len(1, dimension) + tagged_len(vector_field(element), inner);
    let data = number_len(1, data_type) + text_len(2, &field.name) + tagged_len(4, vectors);
    tag(room, 5, data);
    number(room, 1, data_type);
    text(room, 2, &field.name);
    tag(room, 4, vectors);
    number(room, 1, dimension);
    tag(room, vector_field(element), inner);
    if element == Element::Float32 {
        tag(room, 1, bytes);
    }
    for part in parts {
        let is_short = part.vectors_of(column).len() < limits::GATHER_BELOW_BYTES;
        if !look(part, is_short.then_some(&mut *room)) {
            return None;
        }
        if !is_short {
            mapped.push((room.len(), part.vector_bytes_of(column)));
        }
    }
    Some(())
}

/// Writes a field whose length is known only after writing.
pub(super) fn nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let len = out.len() - start;
    let mut head = Vec::with_capacity(16);
    tag(&mut head, field, len);
    out.splice(start..start, head);
}

pub(super) fn put_varint(room: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        room.push(value as u8 | 0x80);
        value >>= 7;
    }
    room.push(value as u8);
}

fn varint_len(value: u64) -> usize {
    simd::varints_len(&[value as i64])
}

/// The head of a field of `len` bytes.
fn tag(room: &mut Vec<u8>, field: u32, len: usize) {
    put_varint(room, u64::from(field << 3 | LENGTH));
    put_varint(room, len as u64);
}

/// The length of a field of `len` bytes, head and all.
fn tagged_len(field: u32, len: usize) -> usize {
    varint_len(u64::from(field << 3)) + varint_len(len as u64) + len
}

pub(super) fn number(room: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(room, u64::from(field << 3 | VARINT));
    put_varint(room, value);
}

fn number_len(field: u32, value: u64) -> usize {
    varint_len(u64::from(field << 3)) + varint_len(value)
}

/// A text; an empty one is left out, as in proto3.
fn text(room: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        tag(room, field, text.len());
        room.extend_from_slice(text.as_bytes());
    }
}

fn text_len(field: u32, text: &str) -> usize {
    match text.is_empty() {
        true => 0,
        false => tagged_len(field, text.len()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::milvus::proto::{FieldData, InsertRequest};
    use crate::schema::Columns;

    fn envelope(kind: VectorType) -> Envelope {
        Envelope::plain("default", "products", "p1", Some("id"), ("embedding", kind))
    }

    fn part(kind: VectorType, ids: Vec<i64>, seed: u8) -> Part {
        let columns = Columns::plain("id", "embedding", kind).unwrap();
        let len = kind.row_bytes() as usize * ids.len();
        let bytes: Vec<u8> = (0..len)
            .map(|i| (i as u8).wrapping_mul(31) ^ seed)
            .collect();
        let file: Arc<Path> = Path::new("x").into();
        Part::of_vectors(&columns, ids, Bytes::from(bytes), &file, 0).unwrap()
    }

    /// The whole body, and how many of its pieces stayed where they were.
    fn body(envelope: &Envelope, parts: &[Part]) -> (Vec<u8>, usize) {
        let mut room = Vec::new();
        let pieces = frame(envelope, parts, &mut room);
        let mapped = pieces.iter().filter(|p| matches!(p, Piece::Mapped(_)));
        let mapped = mapped.count();
        let bytes = pieces.iter().map(|p| match p {
            Piece::Room(range) => room[range.clone()].to_vec(),
            Piece::Mapped(bytes) => bytes.to_vec(),
        });
        (bytes.collect::<Vec<_>>().concat(), mapped)
    }

    fn vector_bytes(field: &FieldData, element: Element) -> Bytes {
        let vectors = field.vectors.clone().unwrap();
        match element {
            Element::Float32 => vectors.float_vector.map(|f| f.data),
            Element::Bit => vectors.binary_vector,
            Element::Float16 => vectors.float16_vector,
            Element::BFloat16 => vectors.bfloat16_vector,
            Element::Int8 => vectors.int8_vector,
        }
        .unwrap()
    }

    fn check(envelope: &Envelope, parts: &[Part]) {
        let (bytes, _) = body(envelope, parts);
        let len = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        assert_eq!((bytes[0], bytes.len()), (0, len + 5));
        let request = InsertRequest::decode(&bytes[5..]).unwrap();
        assert_eq!(request.encoded_len(), len, "as long as prost makes it");
        assert_eq!(request.db_name, envelope.db);
        assert_eq!(request.collection_name, envelope.collection);
        assert_eq!(request.partition_name, envelope.partition);
        let ids: Vec<i64> = parts.iter().flat_map(|p| p.ids().to_vec()).collect();
        assert_eq!(request.num_rows as usize, ids.len());
        let mut fields = request.fields_data.iter();
        for sent in &envelope.fields {
            let field = fields.next().unwrap();
            assert_eq!(field.field_name, sent.name);
            let ColumnType::Vector(kind) = sent.kind else {
                let long = field.scalars.clone().unwrap().long_data.unwrap();
                assert_eq!((field.data_type, long.data), (5, ids.clone()));
                continue;
            };
            assert_eq!(field.data_type, vector_data_type(kind.element));
            let dim = field.vectors.as_ref().unwrap().dim;
            assert_eq!(dim, i64::from(kind.dimension));
            let expected: Vec<u8> = parts.iter().flat_map(|p| p.vectors().to_vec()).collect();
            assert_eq!(vector_bytes(field, kind.element), expected);
        }
        assert!(fields.next().is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_batch_is_read_back_as_it_was(
            ids in proptest::collection::vec(proptest::collection::vec(any::<i64>(), 1..40), 1..6),
            element in 0usize..5,
            eighths in 1u32..40,
            auto_id in any::<bool>(),
            partition in "[a-z_]{0,5}",
        ) {
            let kind = VectorType { element: Element::ALL[element], dimension: eighths * 8 };
            let parts: Vec<Part> = ids.into_iter().enumerate().map(|(i, ids)| part(kind, ids, i as u8)).collect();
            let mut envelope = envelope(kind);
            envelope.partition = partition;
            if auto_id {
                envelope.fields.remove(0);
            }
            check(&envelope, &parts);
        }
    }

    #[test]
    fn long_ranges_stay_where_they_are_and_short_ones_are_gathered() {
        let kind = VectorType {
            element: Element::Float32,
            dimension: 256,
        };
        let many: Vec<i64> = (0..100).collect();
        let parts = [
            part(kind, vec![1], 1),
            part(kind, many.clone(), 2),
            part(kind, many, 3),
            part(kind, vec![2, 3], 4),
        ];
        let mut room = Vec::new();
        let pieces = frame(&envelope(kind), &parts, &mut room);
        let mapped: Vec<&Bytes> = pieces
            .iter()
            .filter_map(|p| match p {
                Piece::Mapped(bytes) => Some(bytes),
                Piece::Room(_) => None,
            })
            .collect();
        assert_eq!(mapped.len(), 2);
        assert_eq!(
            mapped[0].as_ptr(),
            parts[1].vectors().as_ptr(),
            "not copied"
        );
        assert_eq!(pieces.len(), 4, "room, range, range, room");
        check(&envelope(kind), &parts);
    }
}
