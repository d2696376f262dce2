//! How does a batch become an Insert? The request framed by hand, so that vector bytes are not copied.
//! Sends nothing and keeps nothing: it writes into a room and says which ranges travel between its stretches.
//!
//! ```text
//! | gRPC: 0, length u32 BE | 2 db | 3 collection | 4 partition | 7 num_rows | 5 ids: … | 5 vectors: … | bytes … |
//! ```
//! Fields may come in any order, so the vectors come last and the room holds one stretch before them. Upsert has
//! the same fields: the very bytes serve both calls (tried on 2.3.5).

use std::ops::Range;

use bytes::Bytes;

use crate::batch::Part;
use crate::limits;
use crate::schema::{Element, VectorType};
use crate::simd;

use super::proto::data_type;

/// All of an insert that is not rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The database; empty: the server's default.
    pub db: String,
    /// The collection.
    pub collection: String,
    /// The partition; empty: the default partition.
    pub partition: String,
    /// The primary key's field; `None` where the server makes the keys.
    pub id: Option<String>,
    /// The vector's field.
    pub vector: String,
    /// The vector's type, which the target's schema has too.
    pub kind: VectorType,
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

/// Frames parts as one request: writes into `room`, which is empty, and says what is sent in which order.
pub fn frame(envelope: &Envelope, parts: &[Part], room: &mut Vec<u8>) -> Vec<Piece> {
    let all = frame_checked(envelope, parts, room, |part, room| {
        if let Some(room) = room {
            room.extend_from_slice(part.vectors());
        }
        true
    });
    all.expect("no part was refused")
}

/// As [`frame`], with a look at each part on the way, which also gathers it where it is handed a room: so that a short
/// part is still in the cache when it is copied. `None`, and a room of no use, when a part was refused.
pub fn frame_checked(
    envelope: &Envelope,
    parts: &[Part],
    room: &mut Vec<u8>,
    look: impl FnMut(&Part, Option<&mut Vec<u8>>) -> bool,
) -> Option<Vec<Piece>> {
    debug_assert!(room.is_empty());
    let rows: usize = parts.iter().map(Part::len).sum();
    room.extend([0; 5]);
    text(room, 2, &envelope.db);
    text(room, 3, &envelope.collection);
    text(room, 4, &envelope.partition);
    number(room, 7, rows as u64);
    if let Some(id) = &envelope.id {
        ids(room, id, parts);
    }
    let mapped = vectors(room, envelope, parts, rows, look)?;
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
fn ids(room: &mut Vec<u8>, name: &str, parts: &[Part]) {
    let packed = parts.iter().map(|p| simd::varints_len(p.ids())).sum();
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
        simd::varints(part.ids(), room);
    }
    debug_assert_eq!(room.len(), end);
}

/// FieldData{type, field_name, vectors{dim, …}}, and the long ranges, each with the place in the room it comes at.
fn vectors(
    room: &mut Vec<u8>,
    envelope: &Envelope,
    parts: &[Part],
    rows: usize,
    mut look: impl FnMut(&Part, Option<&mut Vec<u8>>) -> bool,
) -> Option<Vec<(usize, Bytes)>> {
    let element = envelope.kind.element;
    let data_type = vector_data_type(element) as u64;
    let dimension = u64::from(envelope.kind.dimension);
    let bytes = rows * envelope.kind.row_bytes() as usize;
    // FloatArray is one level deeper than the byte strings of the other types.
    let inner = match element {
        Element::Float32 => tagged_len(1, bytes),
        _ => bytes,
    };
    let field = number_len(1, dimension) + tagged_len(vector_field(element), inner);
    let data = number_len(1, data_type) + text_len(2, &envelope.vector) + tagged_len(4, field);
    tag(room, 5, data);
    number(room, 1, data_type);
    text(room, 2, &envelope.vector);
    tag(room, 4, field);
    number(room, 1, dimension);
    tag(room, vector_field(element), inner);
    if element == Element::Float32 {
        tag(room, 1, bytes);
    }
    let mut mapped = Vec::new();
    for part in parts {
        let is_short = part.vectors().len() < limits::GATHER_BELOW_BYTES;
        if !look(part, is_short.then_some(&mut *room)) {
            return None;
        }
        if !is_short {
            mapped.push((room.len(), part.vector_bytes()));
        }
    }
    Some(mapped)
}

fn varint(room: &mut Vec<u8>, mut value: u64) {
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
    varint(room, u64::from(field << 3 | LENGTH));
    varint(room, len as u64);
}

/// The length of a field of `len` bytes, head and all.
fn tagged_len(field: u32, len: usize) -> usize {
    varint_len(u64::from(field << 3)) + varint_len(len as u64) + len
}

fn number(room: &mut Vec<u8>, field: u32, value: u64) {
    varint(room, u64::from(field << 3 | VARINT));
    varint(room, value);
}

fn number_len(field: u32, value: u64) -> usize {
    varint_len(u64::from(field << 3)) + varint_len(value)
}

/// A text; an empty one is left out, as proto3 has it.
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
        Envelope {
            db: "default".into(),
            collection: "products".into(),
            partition: "p1".into(),
            id: Some("id".into()),
            vector: "embedding".into(),
            kind,
        }
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
        if let Some(name) = &envelope.id {
            let field = fields.next().unwrap();
            let long = field.scalars.clone().unwrap().long_data.unwrap();
            assert_eq!((&field.field_name, field.data_type), (name, 5));
            assert_eq!(long.data, ids);
        }
        let field = fields.next().unwrap();
        assert_eq!(field.field_name, envelope.vector);
        assert_eq!(field.data_type, vector_data_type(envelope.kind.element));
        let dim = field.vectors.as_ref().unwrap().dim;
        assert_eq!(dim, i64::from(envelope.kind.dimension));
        let expected: Vec<u8> = parts.iter().flat_map(|p| p.vectors().to_vec()).collect();
        assert_eq!(vector_bytes(field, envelope.kind.element), expected);
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
                envelope.id = None;
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
