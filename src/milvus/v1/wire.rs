//! How does a batch become an Insert of Milvus 1.x? Row after row after the same few bytes, straight from the mapped
//! rows. Sends nothing: it writes into a buffer, once, in steps that the caller has just read through.
//!
//! ```text
//! | gRPC: 0, length u32 BE | 1 collection | 2 row | 2 row | … | 3 ids: packed varints | 4 tag | 5 "params": "{}" |
//!                            row: | 0x12 len | 0x0a len | floats … |    or    | 0x12 len | 0x12 len | bits … |
//! ```
//! Fields in the order of their numbers, as the Python client has them: tests/milvus1/milvus1_sink.rs holds the two
//! together byte for byte.

use bytes::Bytes;

use crate::schema::{Element, VectorType};
use crate::simd;

/// Bytes of a body that are handed to the connection at a time. Measured: more than 1 MiB gains nothing, and one
/// frame per row is ruinous.
const FRAME_BYTES: usize = 1 << 20;

const VARINT_MAX: usize = 10;

/// Writes one request. Rows first, then `end`.
pub struct Insert<'r> {
    room: &'r mut Vec<u8>,
    head: Vec<u8>,
    width: usize,
}

impl<'r> Insert<'r> {
    /// Begins a request for `rows` rows of vectors of this kind, which is float32 or binary.
    pub fn begin(
        room: &'r mut Vec<u8>,
        collection: &str,
        kind: VectorType,
        rows: usize,
    ) -> Insert<'r> {
        debug_assert!(room.is_empty());
        let width = usize::try_from(kind.row_bytes()).expect("rows fit into memory");
        let head = row_head(kind.element, width);
        room.reserve(rows * (head.len() + width + VARINT_MAX) + collection.len() + 512);
        room.extend([0; 5]);
        text(room, 1, collection);
        Insert { room, head, width }
    }

    /// Adds rows that lie together.
    pub fn rows(&mut self, vectors: &[u8]) {
        let (head, width) = (self.head.as_slice(), self.width);
        let stride = head.len() + width;
        let from = self.room.len();
        self.room.resize(from + vectors.len() / width * stride, 0);
        let slots = self.room[from..].chunks_exact_mut(stride);
        for (slot, vector) in slots.zip(vectors.chunks_exact(width)) {
            let (before, after) = slot.split_at_mut(head.len());
            before.copy_from_slice(head);
            after.copy_from_slice(vector);
        }
    }

    /// Adds the ids, unless the server makes them, and the rest.
    pub fn end<'i>(self, ids: impl Iterator<Item = &'i [i64]> + Clone, tag: &str) {
        let room = self.room;
        let packed: usize = ids.clone().map(simd::varints_len).sum();
        if packed > 0 {
            key(room, 3, packed);
            for ids in ids {
                simd::varints(ids, room);
            }
        }
        text(room, 4, tag);
        // The Python client always sends it; the server ignores it.
        key(room, 5, 12);
        text(room, 1, "params");
        text(room, 2, "{}");
        let len = u32::try_from(room.len() - 5).expect("batches are smaller than 64 MiB");
        room[1..5].copy_from_slice(&len.to_be_bytes());
    }
}

/// A request as the pieces it is sent in.
pub fn pieces(request: Bytes) -> Vec<Bytes> {
    let len = request.len();
    let starts = (0..len).step_by(FRAME_BYTES);
    starts
        .map(|from| request.slice(from..len.min(from + FRAME_BYTES)))
        .collect()
}

/// What precedes each row: the key and length of the RowRecord, then those of its data.
fn row_head(element: Element, width: usize) -> Vec<u8> {
    let field = match element {
        Element::Float32 => 1,
        _ => 2,
    };
    let mut inner = Vec::new();
    key(&mut inner, field, width);
    let mut head = Vec::new();
    key(&mut head, 2, inner.len() + width);
    head.extend(inner);
    head
}

/// The head of a field of `len` bytes.
fn key(room: &mut Vec<u8>, field: u8, len: usize) {
    room.push(field << 3 | 2);
    simd::varints(&[len as i64], room);
}

/// A text; an empty one is left out, as in proto3.
fn text(room: &mut Vec<u8>, field: u8, text: &str) {
    if !text.is_empty() {
        key(room, field, text.len());
        room.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::super::proto::InsertParam;
    use super::*;

    fn check(kind: VectorType, ids: &[Vec<i64>], auto_id: bool, tag: &str) {
        let width = kind.row_bytes() as usize;
        let rows: usize = ids.iter().map(Vec::len).sum();
        let vectors: Vec<u8> = (0..rows * width).map(|i| (i * 37 % 251) as u8).collect();
        let mut room = Vec::new();
        let mut insert = Insert::begin(&mut room, "products", kind, rows);
        let (first, rest) = vectors.split_at(rows / 2 * width);
        insert.rows(first);
        insert.rows(rest);
        let sent = if auto_id { &[] } else { ids };
        insert.end(sent.iter().map(Vec::as_slice), tag);

        let len = u32::from_be_bytes(room[1..5].try_into().unwrap()) as usize;
        assert_eq!((room[0], room.len()), (0, len + 5));
        let read = InsertParam::decode(&room[5..]).unwrap();
        assert_eq!(read.encode_to_vec(), &room[5..], "as prost makes it");
        assert_eq!(
            (read.collection_name.as_str(), read.partition_tag.as_str()),
            ("products", tag)
        );
        let ids = if auto_id { Vec::new() } else { ids.concat() };
        assert_eq!(read.row_id_array, ids);
        assert_eq!(read.row_record_array.len(), rows);
        for (row, vector) in read
            .row_record_array
            .iter()
            .zip(vectors.chunks_exact(width))
        {
            let (full, empty) = match kind.element {
                Element::Float32 => (&row.float_data, &row.binary_data),
                _ => (&row.binary_data, &row.float_data),
            };
            assert_eq!((&full[..], empty.len()), (vector, 0));
        }
        let pieces = pieces(Bytes::from(room.clone()));
        assert_eq!(pieces.concat(), room);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_batch_is_read_back_as_it_was(
            ids in proptest::collection::vec(proptest::collection::vec(any::<i64>(), 1..40), 1..6),
            binary in any::<bool>(),
            eighths in 1u32..80,
            auto_id in any::<bool>(),
            tag in "[a-z /']{0,5}",
        ) {
            let element = if binary { Element::Bit } else { Element::Float32 };
            check(VectorType { element, dimension: eighths * 8 }, &ids, auto_id, &tag);
        }
    }

    #[test]
    fn long_requests_are_sent_in_several_pieces() {
        let kind = VectorType {
            element: Element::Float32,
            dimension: 1024,
        };
        let ids: Vec<i64> = (0..1000).collect();
        check(kind, &[ids], false, "");
        assert_eq!(pieces(Bytes::from(vec![0; 3 * FRAME_BYTES + 1])).len(), 4);
    }
}
