//! Which row of each key is live? The one that was written last, unless its key was deleted later.
//! Takes 32 bytes for each row and each deletion until the result is known.

use std::cmp::Reverse;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// Rows and deletions, in any order.
#[derive(Default)]
pub struct Latest {
    entries: Vec<Entry>,
    hashes: [RandomState; 2],
}

struct Entry {
    /// The key; for text, two unpredictable digests.
    key: [u64; 2],
    /// When it was written.
    at: u64,
    /// The piece it is in, or [`DELETION`].
    piece: u32,
    row: u32,
}

const DELETION: u32 = u32::MAX;

/// A key.
#[derive(Clone, Copy)]
pub enum Key<'k> {
    Int(i64),
    Text(&'k [u8]),
}

impl Latest {
    fn key(&self, key: Key<'_>) -> [u64; 2] {
        match key {
            Key::Int(number) => [number as u64, 0],
            Key::Text(text) => [0, 1].map(|i| self.hashes[i].hash_one(text)),
        }
    }

    /// Records a row of a piece.
    pub fn row(&mut self, key: Key<'_>, at: u64, piece: u32, row: u32) {
        let key = self.key(key);
        self.entries.push(Entry {
            key,
            at,
            piece,
            row,
        });
    }

    /// Records that rows with this key that were written before this time are dead.
    pub fn deletion(&mut self, key: Key<'_>, at: u64) {
        self.row(key, at, DELETION, 0);
    }

    /// The ranges of live rows for each of this many pieces.
    pub fn living(mut self, pieces: usize) -> Vec<Vec<Range<u64>>> {
        // At the same time, a row outlives a deletion, and of two copies the one in the first piece lives.
        self.entries.sort_unstable_by_key(|entry| {
            let is_row = entry.piece != DELETION;
            (
                entry.key,
                entry.at,
                is_row,
                Reverse((entry.piece, entry.row)),
            )
        });
        let last = self.entries.chunk_by(|one, two| one.key == two.key);
        let last = last.filter_map(|of_key| of_key.last());
        let mut rows = vec![Vec::new(); pieces];
        for entry in last.filter(|entry| entry.piece != DELETION) {
            rows[entry.piece as usize].push(entry.row);
        }
        rows.into_iter().map(stretches).collect()
    }
}

fn stretches(mut rows: Vec<u32>) -> Vec<Range<u64>> {
    rows.sort_unstable();
    let mut all: Vec<Range<u64>> = Vec::new();
    for row in rows.into_iter().map(u64::from) {
        match all.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => all.push(row..row + 1),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_each_key_lives() {
        let mut latest = Latest::default();
        for (row, (key, at)) in [(1, 1), (2, 2), (1, 3), (3, 4), (4, 6)]
            .into_iter()
            .enumerate()
        {
            latest.row(Key::Int(key), at, 0, row as u32);
        }
        latest.deletion(Key::Int(2), 5);
        latest.deletion(Key::Int(4), 5);
        latest.deletion(Key::Int(9), 7);
        // A copy of a row that a crash left in two places, and a later one.
        latest.row(Key::Int(3), 4, 1, 0);
        latest.row(Key::Int(1), 8, 1, 1);
        latest.row(Key::Int(7), 9, 1, 2);
        let rows = |stretches: Vec<Range<u64>>| stretches.into_iter().flatten().collect::<Vec<_>>();
        let living: Vec<Vec<u64>> = latest.living(3).into_iter().map(rows).collect();
        assert_eq!(living, [vec![3, 4], vec![1, 2], vec![]]);
    }

    #[test]
    fn texts_are_keys_by_their_bytes() {
        let mut latest = Latest::default();
        for (row, key) in ["a", "b", "a", "", "ab", ""].into_iter().enumerate() {
            latest.row(Key::Text(key.as_bytes()), row as u64, 0, row as u32);
        }
        assert_eq!(latest.living(1), [vec![1..3, 4..6]]);
    }
}
