//! Milvus 1.x segments: what do the bytes of `.rv`, `.uid` and `deleted_docs` mean?
//! Pure: opens nothing; allocates no more than one bit for each row.
//!
//! All three are a byte count and that many bytes, little-endian, without magic or checksum:
//! ```text
//! | bytes 8 | payload …        | anything |
//!             .rv           vectors, row after row: f32 × dimension, or dimension / 8 bytes of bits
//!             .uid          i64 ids; any value, repeats are legal
//!             deleted_docs  i32 row numbers of this segment; neither sorted nor unique
//! ```
//! The count decides, not the file's length: Milvus 1.1 replaces `deleted_docs` without truncating what a crash
//! left behind (DefaultDeletedDocsFormat), so bytes may follow the payload that mean nothing.

use crate::error::Result;
use crate::input::{Cursor, View};

/// Bytes of the count that every file starts with.
pub const HEADER_BYTES: u64 = 8;

/// The payload of one file.
#[derive(Clone, Debug)]
pub struct Column {
    /// How many items it has: vectors, ids or row numbers.
    pub count: u64,
    /// The items.
    pub payload: View,
    /// Bytes after the payload, which mean nothing.
    pub extra: u64,
}

/// The vectors of a segment, each `row_bytes` long (at least 1).
pub fn vectors(file: View, row_bytes: u64) -> Result<Column> {
    column(file, "vectors", row_bytes)
}

/// The ids of a segment.
pub fn ids(file: View) -> Result<Column> {
    column(file, "ids", 8)
}

/// The row numbers in `deleted_docs`, as stored.
pub fn deletions(file: View) -> Result<Column> {
    column(file, "deleted row numbers", 4)
}

fn column(file: View, what: &'static str, unit: u64) -> Result<Column> {
    let mut cursor = Cursor::new(file);
    let bytes = cursor.u64("the byte count at the start")?;
    let remaining = cursor.remaining();
    let Some(extra) = remaining.checked_sub(bytes) else {
        return Err(cursor.corrupt(
            0,
            format!("the file declares {bytes} bytes of {what}, but {remaining} follow"),
        ));
    };
    let (Some(count), Some(0)) = (bytes.checked_div(unit), bytes.checked_rem(unit)) else {
        return Err(cursor.corrupt(
            0,
            format!("{bytes} bytes of {what} are not a whole number of {unit} bytes each"),
        ));
    };
    let payload = cursor.payload(what, bytes, 1)?;
    Ok(Column {
        count,
        payload,
        extra,
    })
}

/// Which rows of a segment are deleted: a bit for each, or nothing when none is.
#[derive(Clone, Debug, Default)]
pub struct Deleted {
    words: Vec<u64>,
    count: u64,
}

const WORD: u64 = u64::BITS as u64;

impl Deleted {
    /// The deleted ones of `rows` rows. Repeats count once; a row that does not exist is an error.
    pub fn new(listed: &Column, rows: u64) -> Result<Deleted> {
        const BLOCK: u64 = 64 << 10;
        let mut deleted = Deleted::default();
        if listed.count == 0 {
            return Ok(deleted);
        }
        deleted.words = vec![0; usize_of(rows.div_ceil(WORD))];
        let mut block = vec![0u8; usize_of(BLOCK.min(listed.payload.len()))];
        let mut at = 0;
        while at < listed.payload.len() {
            let len = BLOCK.min(listed.payload.len().saturating_sub(at));
            block.truncate(usize_of(len));
            listed.payload.read(at, &mut block)?;
            for (index, four) in (0u64..).zip(block.as_chunks::<4>().0) {
                let row = i32::from_le_bytes(*four);
                let known = u64::try_from(row).ok().filter(|row| *row < rows);
                let Some(row) = known else {
                    let at = at.saturating_add(index.saturating_mul(4));
                    return Err(listed.payload.corrupt(
                        at,
                        format!("row {row} is marked deleted, but the segment has {rows} rows"),
                    ));
                };
                deleted.mark(row);
            }
            at = at.saturating_add(len);
        }
        Ok(deleted)
    }

    fn mark(&mut self, row: u64) {
        let (index, bit) = place(row);
        if let Some(word) = self.words.get_mut(index)
            && *word & bit == 0
        {
            *word |= bit;
            self.count = self.count.saturating_add(1);
        }
    }

    /// How many rows are deleted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many rows of `first..after` are not deleted.
    pub fn live(&self, first: u64, after: u64) -> u64 {
        let rows = after.saturating_sub(first);
        if self.words.is_empty() {
            return rows;
        }
        let mut dead = 0u64;
        let mut row = first;
        while row < after {
            let next = next_word(row).min(after);
            let here = self.word(row) >> (row % WORD);
            let kept = next.saturating_sub(row);
            let mask = u64::MAX >> WORD.saturating_sub(kept).min(63);
            dead = dead.saturating_add(u64::from((here & mask).count_ones()));
            row = next;
        }
        rows.saturating_sub(dead)
    }

    /// The first row of `first..after` that is not deleted.
    pub fn next_live(&self, first: u64, after: u64) -> Option<u64> {
        self.find(first, after, |word| !word)
    }

    /// The first row of `first..after` that is deleted, or `after`.
    pub fn next_dead(&self, first: u64, after: u64) -> u64 {
        if self.words.is_empty() {
            return after;
        }
        self.find(first, after, |word| word).unwrap_or(after)
    }

    fn find(&self, first: u64, after: u64, wanted: impl Fn(u64) -> u64) -> Option<u64> {
        let mut row = first;
        while row < after {
            let here = wanted(self.word(row)) >> (row % WORD);
            if here != 0 {
                let found = row.saturating_add(u64::from(here.trailing_zeros()));
                return (found < after).then_some(found);
            }
            row = next_word(row);
        }
        None
    }

    fn word(&self, row: u64) -> u64 {
        self.words.get(place(row).0).copied().unwrap_or(0)
    }
}

fn place(row: u64) -> (usize, u64) {
    (usize_of(row / WORD), 1 << (row % WORD))
}

fn next_word(row: u64) -> u64 {
    (row | (WORD - 1)).saturating_add(1)
}

/// A length that a file of this machine has.
fn usize_of(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(promised: u64, payload: &[u8]) -> View {
        let mut bytes = promised.to_le_bytes().to_vec();
        bytes.extend(payload);
        View::from_bytes("1.rv", bytes)
    }

    fn deleted(rows: &[i32], of: u64) -> Result<Deleted> {
        let payload: Vec<u8> = rows.iter().flat_map(|r| r.to_le_bytes()).collect();
        Deleted::new(&deletions(file(payload.len() as u64, &payload))?, of)
    }

    #[test]
    fn the_count_rules_not_the_length() {
        let column = vectors(file(16, &[7; 19]), 8).unwrap();
        assert_eq!((column.count, column.extra), (2, 3));
        assert_eq!(column.payload.start(), HEADER_BYTES);
        for (promised, payload, said) in [
            (17, 16, "declares 17 bytes of vectors, but 16 follow"),
            (u64::MAX, 16, "declares 18446744073709551615 bytes"),
            (12, 16, "12 bytes of vectors are not a whole number of 8"),
        ] {
            let error = vectors(file(promised, &vec![0; payload]), 8).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!(error.kind(), crate::error::Kind::Corrupt);
        }
        assert!(ids(View::from_bytes("1.uid", vec![0; 7])).is_err());
    }

    #[test]
    fn deletions_may_repeat_in_any_order_but_must_be_rows() {
        let some = deleted(&[3, 250, 299, 0, 7, 123, 3], 300).unwrap();
        assert_eq!(some.count(), 6);
        assert_eq!(some.live(0, 300), 294);
        for rows in [&[300][..], &[-1], &[i32::MIN], &[0, i32::MAX]] {
            let error = deleted(rows, 300).unwrap_err().to_string();
            assert!(error.contains("the segment has 300 rows"), "{error}");
        }
        assert_eq!(deleted(&[], 300).unwrap().live(5, 9), 4);
    }

    #[test]
    fn runs_and_counts_agree_with_counting_one_by_one() {
        let mut seed = 9u64;
        for of in [1u64, 63, 64, 65, 128, 1000] {
            for share in [0u64, 1, 50, 99, 100] {
                let mut dead = Vec::new();
                for row in 0..of {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                    if (seed >> 33) % 100 < share {
                        dead.push(row as i32);
                    }
                }
                let some = deleted(&dead, of).unwrap();
                let is_dead = |row: u64| dead.contains(&(row as i32));
                for (first, after) in [(0, of), (of / 3, of), (1, of / 2), (of, of)] {
                    let live: Vec<u64> = (first..after).filter(|r| !is_dead(*r)).collect();
                    assert_eq!(some.live(first, after), live.len() as u64, "seed {seed}");
                    assert_eq!(some.next_live(first, after), live.first().copied());
                    let gone = (first..after).find(|r| is_dead(*r));
                    assert_eq!(some.next_dead(first, after), gone.unwrap_or(after));
                }
            }
        }
    }
}
