//! Inserts that are counted and thrown away.

use std::sync::Mutex;

use milvusdm::milvus::proto::MutationResult;
use tonic::body::Body;

use super::{State, next, say};

/// An insert of which no more is looked at than its fields' heads.
pub(super) async fn drain(state: &Mutex<State>, mut body: Body) -> http::Response<Body> {
    let mut skim = Skim::default();
    while let Some(Ok(data)) = next(&mut body).await {
        let began = !skim.collection.is_empty();
        skim.feed(&data);
        if !began && !skim.collection.is_empty() {
            let state = state.lock().unwrap();
            if !state.rows.contains_key(&skim.collection) {
                (state.first.unwrap())(&skim.collection);
            }
        }
    }
    let mut state = state.lock().unwrap();
    *state.rows.entry(skim.collection).or_default() += skim.rows;
    say(&MutationResult {
        insert_cnt: skim.rows,
        ..MutationResult::default()
    })
}

/// Reads a framed InsertRequest as it comes by, in whatever order its fields are: how many rows it has, for what.
struct Skim {
    skip: usize,
    head: Vec<u8>,
    collection: String,
    rows: i64,
}

impl Default for Skim {
    fn default() -> Skim {
        Skim {
            skip: 5,
            head: Vec::new(),
            collection: String::new(),
            rows: 0,
        }
    }
}

impl Skim {
    fn feed(&mut self, mut data: &[u8]) {
        const COLLECTION: u8 = 3 << 3 | 2;
        const ROWS: u8 = 7 << 3;
        loop {
            let skipped = self.skip.min(data.len());
            self.skip -= skipped;
            data = &data[skipped..];
            let Some((byte, rest)) = data.split_first() else {
                return;
            };
            data = rest;
            self.head.push(*byte);
            let number = |bytes: &[u8]| {
                let bits = bytes.iter().rev();
                bits.fold(0usize, |n, b| n << 7 | usize::from(b & 127))
            };
            match self.head.as_slice() {
                [COLLECTION, len, name @ ..] if name.len() == usize::from(*len) => {
                    self.collection = String::from_utf8(name.to_vec()).unwrap();
                }
                [COLLECTION, ..] | [_] | [.., 128..=255] => continue,
                [ROWS, rows @ ..] => self.rows = number(rows) as i64,
                [_, len @ ..] => self.skip = number(len),
                [] => unreachable!("a byte was pushed"),
            }
            self.head.clear();
        }
    }
}
