//! What cutting, slicing and halving batches must keep.

use super::*;
use crate::schema::Element;

fn part(ids: Vec<i64>) -> Part {
    let vector = VectorType {
        element: Element::Float32,
        dimension: 2,
    };
    let columns = Columns::plain("id", "embedding", vector).unwrap();
    let bytes: Vec<u8> = ids.iter().flat_map(|i| [*i as u8; 8]).collect();
    Part::of_vectors(
        &columns,
        ids,
        Bytes::from(bytes),
        &Path::new("x").into(),
        100,
    )
    .unwrap()
}

#[test]
fn a_part_may_lie_at_any_byte_of_a_mapping() {
    let bytes = Bytes::from(vec![7u8; 1 + 8 * 3]).slice(1..);
    let vector = VectorType {
        element: Element::Float32,
        dimension: 2,
    };
    let columns = Columns::plain("id", "embedding", vector).unwrap();
    let address = bytes.as_ptr();
    let part = Part::of_vectors(&columns, vec![1, 2, 3], bytes, &Path::new("x").into(), 0).unwrap();
    assert_eq!(part.vectors().as_ptr(), address, "the bytes were copied");
    assert_eq!(
        part.slice(1, 2).vector_bytes().as_ptr(),
        address.wrapping_add(8)
    );
}

#[test]
fn halves_keep_every_row_once_and_in_order() {
    let batch = Batch {
        id: BatchId {
            run: 1,
            shard: 2,
            index: 3,
        },
        target: 0,
        first_row: 10,
        parts: vec![part(vec![1]), part(vec![2, 3, 4]), part(vec![5])],
        next: Position::Row(5),
    };
    let (left, right) = batch.halves().unwrap();
    let ids = |b: &Batch| -> Vec<i64> { b.parts.iter().flat_map(|p| p.ids().to_vec()).collect() };
    assert_eq!((ids(&left), left.first_row), (vec![1, 2], 10));
    assert_eq!((ids(&right), right.first_row), (vec![3, 4, 5], 12));
    assert_eq!(right.parts[0].row, 101, "rows 2.. of the second part");
    assert_eq!(right.parts[0].vectors()[0], 3);
}
