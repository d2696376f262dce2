//! Answers of a Qdrant with points in them: what is read of one has as many values in each column as points.

use arrow_array::Array;
use milvusdm::source::qdrant::scrolled;

const DIMENSION: u8 = 4;

/// Each column is as long as the others.
pub fn run(bytes: &[u8]) {
    let Ok(columns) = scrolled(u64::from(DIMENSION), bytes) else {
        return;
    };
    let rows = columns.first().map_or(0, |column| column.len());
    assert!(columns.iter().all(|column| column.len() == rows));
}

/// A field that has a length, which is short here.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    // Numbers from 16 on take two bytes.
    let tag = u16::from(number) << 3 | 2;
    let tag = match tag {
        0..=127 => vec![tag as u8],
        _ => vec![tag as u8 | 0x80, (tag >> 7) as u8],
    };
    [tag, vec![body.len() as u8], body.to_vec()].concat()
}

fn point(id: u8, vector: &[u8]) -> Vec<u8> {
    let number = [field(1, b"n"), field(2, &[3 << 3, id])].concat();
    let text = [field(1, b"t"), field(2, &field(4, "ü\"\n".as_bytes()))].concat();
    let nothing_and_x = [field(1, &[1 << 3, 0]), field(1, &field(4, b"x"))].concat();
    let list = [field(1, b"l"), field(2, &field(7, &nothing_and_x))].concat();
    let payload = [number, text, list].map(|entry| field(2, &entry)).concat();
    let vectors = field(4, &field(1, vector));
    let point = [field(1, &[1 << 3, id]), payload, vectors].concat();
    field(2, &point)
}

/// Points of a server of today, and of one before 1.14.
pub fn seeds() -> Vec<Vec<u8>> {
    let floats: Vec<u8> = (0..DIMENSION)
        .flat_map(|n| f32::from(n).to_le_bytes())
        .collect();
    let today = field(101, &field(1, &floats));
    let before = field(1, &floats);
    let next = field(1, &[1 << 3, 9]);
    vec![
        [next, point(1, &today), point(2, &today)].concat(),
        [point(3, &before), point(100, &before)].concat(),
    ]
}
