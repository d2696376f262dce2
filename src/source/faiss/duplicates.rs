//! Rows that are stored once for several ids: where is the one that is stored?
//! Holds a part of the table at a time, never all of it.

use std::collections::HashMap;

use bytes::Bytes;

use super::opened::Opened;
use crate::error::Result;
use crate::input::View;
use crate::limits;

/// A part of the table: for each pair, the stored row and the id that shares it.
pub struct Stretch {
    /// Number of its first pair.
    first: u64,
    pairs: Vec<(u64, i64)>,
}

impl Stretch {
    /// The part that holds this pair. Reads all ids of the index.
    pub fn holding(faiss: &Opened, table: &View, pair: u64) -> Result<Stretch> {
        let first = pair - pair % limits::DUPLICATES_AT_ONCE;
        let count = (table.len() / 16 - first).min(limits::DUPLICATES_AT_ONCE);
        let bytes = table.cut(first * 16, count * 16)?.bytes()?;
        let mut rows: HashMap<i64, Option<u64>> = numbers(&bytes)
            .step_by(2)
            .map(|kept| (kept, None))
            .collect();
        for run in &faiss.rows.stored.lists.runs {
            let Some(at) = run.ids else { continue };
            let mut done = 0;
            while done < run.rows {
                let some = (run.rows - done).min(1 << 17);
                let ids = faiss.data.cut(at + done * 8, some * 8)?.bytes()?;
                for (row, id) in (run.first + done..).zip(numbers(&ids)) {
                    if let Some(place) = rows.get_mut(&id) {
                        place.get_or_insert(row);
                    }
                }
                done += some;
            }
        }
        let mut pairs = Vec::with_capacity(count as usize);
        for (number, pair) in (first..).zip(bytes.chunks_exact(16)) {
            let mut two = numbers(pair);
            let (kept, other) = two.next().zip(two.next()).expect("chunks_exact(16)");
            let Some(Some(row)) = rows.get(&kept) else {
                let what = format!("id {other} shares the row of id {kept}, which no list holds");
                return Err(table.corrupt(number * 16, what));
            };
            pairs.push((*row, other));
        }
        Ok(Stretch { first, pairs })
    }

    /// Pairs from this one on, up to `count`; none if this part does not hold it.
    pub fn from(&self, pair: u64, count: u64) -> &[(u64, i64)] {
        let start = pair
            .checked_sub(self.first)
            .map_or(usize::MAX, |n| n as usize);
        let rest = self.pairs.get(start..).unwrap_or_default();
        &rest[..rest.len().min(count as usize)]
    }
}

/// The bytes as 64-bit numbers.
pub fn numbers(bytes: &[u8]) -> impl Iterator<Item = i64> {
    bytes
        .chunks_exact(8)
        .map(|word| i64::from_le_bytes(word.try_into().expect("chunks_exact(8)")))
}

/// Reads `count` ids at an offset of a file. Releases the pages of a mapping afterwards.
pub fn ids(file: &View, at: u64, count: u64) -> Result<Vec<i64>> {
    let bytes: Bytes = file.cut(at, count.saturating_mul(8))?.bytes()?;
    Ok(numbers(&bytes).collect())
}
