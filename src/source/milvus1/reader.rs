//! How are the live rows of a segment read? As ranges of the mapping where most rows are live, gathered where few are.
//!
//! A batch is walked in stretches of stored rows, none longer than two batches of rows, so that memory does not
//! depend on how many rows between are deleted; where every second row lives, one stretch makes a batch. A dense
//! stretch is one window of the file, and each run of live rows a slice of it: however many runs there are, the file is
//! held once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::batch::{Cut, Limits, Part, Position, Shard};
use crate::error::{Error, Kind, Result};
use crate::schema::Columns;
use crate::source::{Files, Reader};

use super::Milvus1;
use super::segment::Open;

/// Reads a stretch of a segment.
pub struct Rows {
    segment: Open,
    columns: Arc<Columns>,
    row_bytes: u64,
    at: u64,
    end: u64,
    rows_max: u64,
}

impl Rows {
    /// The rows of a shard from a position on.
    pub fn open(source: &Milvus1, shard: &Shard, from: Position, limits: Limits) -> Result<Rows> {
        let wrong = |what: String| {
            Error::new(
                Kind::Changed,
                format!("shard {} ({}): {what}", shard.number, shard.name),
            )
        };
        // Only `part` and the positions are ours: a plan renumbers shards and targets.
        let part = shard.part as usize;
        let (Some(segment), Some(table)) = (source.segments.get(part), source.table(part)) else {
            return Err(wrong("there is no such segment now".to_owned()));
        };
        let end = shard.end.row();
        if end > segment.rows || from > shard.end {
            let rows = segment.rows;
            return Err(wrong(format!(
                "rows {from:?} to {end} are not there, the segment has {rows}"
            )));
        }
        let vector = table.vector;
        if let Some(touched) = source.touched.get(part) {
            touched.store(true, Ordering::Relaxed);
        }
        Ok(Rows {
            segment: segment.open(source.access)?,
            columns: table.columns.clone(),
            row_bytes: vector.row_bytes(),
            at: from.row(),
            end,
            rows_max: limits.rows(vector),
        })
    }

    /// The live rows of `first..after`, at most `wanted`, as parts; and the row after the last of them.
    fn stretch(&self, first: u64, after: u64, wanted: u64) -> Result<(Vec<Part>, u64)> {
        let deleted = &self.segment.deleted;
        let mut runs = Vec::new();
        let (mut row, mut live) = (first, 0);
        while let Some(start) = deleted.next_live(row, after).filter(|_| live < wanted) {
            let end = deleted.next_dead(start, after).min(start + wanted - live);
            runs.push((start, end));
            live += end - start;
            row = end;
        }
        let rows = row - first;
        let ids = self.segment.ids.payload.i64s(first * 8, rows)?;
        let view = &self.segment.vectors.payload;
        let file = view.path();
        let bytes = view
            .cut(first * self.row_bytes, rows * self.row_bytes)?
            .bytes()?;
        if live * 2 >= rows {
            let whole = Part::of_vectors(&self.columns, ids, bytes, file, first)?;
            let slice = |(start, end): &(u64, u64)| {
                whole.slice((start - first) as usize, (end - start) as usize)
            };
            return Ok((runs.iter().map(slice).collect(), row));
        }
        let mut gathered = Vec::with_capacity((live * self.row_bytes) as usize);
        let mut gathered_ids = Vec::with_capacity(live as usize);
        for (start, end) in &runs {
            let range = (start - first) as usize..(end - first) as usize;
            let width = self.row_bytes as usize;
            gathered.extend_from_slice(&bytes[range.start * width..range.end * width]);
            gathered_ids.extend_from_slice(&ids[range]);
        }
        let whole = Part::of_vectors(
            &self.columns,
            gathered_ids,
            Bytes::from(gathered),
            file,
            first,
        )?;
        let mut taken = 0;
        let parts = runs.iter().map(|(start, end)| {
            let count = (end - start) as usize;
            let mut part = whole.slice(taken, count);
            taken += count;
            // It was compacted: its rows are still those of the file.
            part.row = *start;
            part
        });
        Ok((parts.collect(), row))
    }
}

impl Reader for Rows {
    fn next(&mut self) -> Result<Option<Cut>> {
        let deleted = &self.segment.deleted;
        let Some(mut at) = deleted.next_live(self.at, self.end) else {
            return Ok(None);
        };
        let mut parts = Vec::new();
        let mut left = self.rows_max;
        loop {
            let after = self
                .end
                .min(at.saturating_add(self.rows_max.saturating_mul(2)));
            let (more, row) = self.stretch(at, after, left)?;
            left -= more.iter().map(|p| p.len() as u64).sum::<u64>();
            parts.extend(more);
            match deleted.next_live(row, self.end) {
                Some(next) if left > 0 => at = next,
                next => {
                    self.at = next.unwrap_or(self.end);
                    break;
                }
            }
        }
        // The next batch is read while this one is packed.
        let ahead = self.end.min(self.at + self.rows_max) - self.at;
        let vectors = &self.segment.vectors.payload;
        vectors
            .cut(self.at * self.row_bytes, ahead * self.row_bytes)?
            .will_need();
        Ok(Some(Cut {
            parts,
            next: Position::Row(self.at),
        }))
    }

    fn files(&self) -> Files {
        self.segment.files()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::input::Access;
    use crate::schema::{Element, VectorType};
    use crate::source::milvus1::segment::Segment;

    const ROWS: u64 = 5000;

    fn rows(dir: &Path, dead: &[u32], access: Access, rows_max: u64) -> Rows {
        let dir = dir.join("17");
        std::fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, payload: Vec<u8>| {
            let mut bytes = (payload.len() as u64).to_le_bytes().to_vec();
            bytes.extend(payload);
            std::fs::write(dir.join(name), bytes).unwrap();
        };
        let vectors = (0..ROWS).flat_map(|r| [r as f32, -1.0]);
        write("17.rv", vectors.flat_map(f32::to_le_bytes).collect());
        let ids = (0..ROWS).map(|r| r as i64 - 100);
        write("17.uid", ids.flat_map(i64::to_le_bytes).collect());
        let deletions = dead.iter().rev().flat_map(|r| r.to_le_bytes());
        write("deleted_docs", deletions.collect());
        let vector = VectorType {
            element: Element::Float32,
            dimension: 2,
        };
        let segment = Segment::look(&dir, "t", vector.row_bytes()).unwrap();
        Rows {
            segment: segment.open(access).unwrap(),
            columns: Columns::plain("id", "embedding", vector).unwrap(),
            row_bytes: vector.row_bytes(),
            at: 0,
            end: ROWS,
            rows_max,
        }
    }

    #[test]
    fn deleted_rows_leave_cuts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut seed = 7u64;
        for share in [0, 1, 20, 50, 90, 99, 100] {
            let dead: Vec<u32> = (0..ROWS as u32)
                .filter(|_| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                    (seed >> 33) % 100 < share
                })
                .collect();
            let live = (0..ROWS).filter(|r| dead.binary_search(&(*r as u32)).is_err());
            let live: Vec<u64> = live.collect();
            for (access, rows_max) in [(Access::Map, 64), (Access::Read, 64), (Access::Map, 9999)] {
                let mut rows = rows(dir.path(), &dead, access, rows_max);
                let mut found = Vec::new();
                while let Some(cut) = rows.next().unwrap() {
                    let count: usize = cut.parts.iter().map(Part::len).sum();
                    let left = live.len() - found.len();
                    assert_eq!(count, left.min(rows_max as usize), "batches are full");
                    for part in &cut.parts {
                        for (i, id) in part.ids().iter().enumerate() {
                            let row = part.row + i as u64;
                            assert_eq!(*id, row as i64 - 100);
                            assert_eq!(part.vectors()[i * 8..][..4], (row as f32).to_le_bytes());
                            found.push(row);
                        }
                    }
                }
                assert_eq!(found, live, "{share} %, seed {seed}");
            }
        }
    }

    #[test]
    fn a_dense_stretch_is_one_window_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut rows = rows(dir.path(), &[10, 20, 21], Access::Map, 1000);
        let cut = rows.next().unwrap().unwrap();
        let at = |part: &Part| part.vectors().as_ptr() as usize;
        let first = at(&cut.parts[0]);
        assert_eq!(cut.parts.len(), 3);
        for part in &cut.parts {
            assert_eq!(at(part) - first, part.row as usize * 8, "it was copied");
        }
    }

    #[test]
    fn a_sparse_stretch_is_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let dead: Vec<u32> = (0..ROWS as u32).filter(|r| r % 100 != 0).collect();
        let mut rows = rows(dir.path(), &dead, Access::Map, 10);
        let cut = rows.next().unwrap().unwrap();
        let numbers: Vec<u64> = cut.parts.iter().map(|p| p.row).collect();
        assert_eq!(numbers, (0..10).map(|n| n * 100).collect::<Vec<u64>>());
        assert_eq!(cut.next, Position::Row(1000));
    }
}
