//! The files of a Milvus 1.x segment: `| bytes of a row 1 | bytes of deleted_docs 2 | deleted_docs … | .uid and .rv … |`.

use milvusdm::format::segment::{Deleted, deletions, ids, vectors};
use milvusdm::input::View;

pub fn run(bytes: &[u8]) {
    let Some(([width, len @ ..], rest)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let (listed, rows) = rest.split_at(rest.len().min(u16::from_le_bytes(*len).into()));
    let view = |name: &str, bytes: &[u8]| View::from_bytes(name, bytes.to_vec());
    let _ = vectors(view("1.rv", rows), u64::from(*width).max(1));
    let Ok(ids) = ids(view("1.uid", rows)) else {
        return;
    };
    let Ok(deleted) =
        deletions(view("deleted_docs", listed)).and_then(|listed| Deleted::new(&listed, ids.count))
    else {
        return;
    };
    let (mut live, mut at) = (0, 0);
    while let Some(first) = deleted.next_live(at, ids.count) {
        at = deleted.next_dead(first, ids.count);
        live += at - first;
    }
    assert_eq!(
        (live, live + deleted.count()),
        (deleted.live(0, ids.count), ids.count)
    );
}

pub fn seeds() -> Vec<Vec<u8>> {
    let column = |payload: Vec<u8>| [&(payload.len() as u64).to_le_bytes()[..], &payload].concat();
    let seed = |dead: &[i32]| {
        let listed = column(dead.iter().flat_map(|row| row.to_le_bytes()).collect());
        let ids = column((0..300i64).flat_map(|id| id.to_le_bytes()).collect());
        [
            &[32][..],
            &(listed.len() as u16).to_le_bytes(),
            &listed,
            &ids,
        ]
        .concat()
    };
    vec![
        seed(&[]),
        seed(&[3, 250, 299, 0, 3]),
        seed(&(0..300).collect::<Vec<_>>()),
        seed(&[300]),
        seed(&[-1]),
    ]
}
