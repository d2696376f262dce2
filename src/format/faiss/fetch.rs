//! Collects the codes of rows in order, however an index lays them out.

use super::fast_scan::{TOGETHER, unpack};
use super::lists::{Layout, Lists, Run};
use crate::error::Result;
use crate::input::View;

impl Lists {
    /// Appends the codes of `rows` rows of a run, from its row `first` on, in order. `file` is where they are.
    pub fn fetch(
        &self,
        file: &View,
        run: &Run,
        first: u64,
        rows: u64,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (level_bytes, batch) = match self.layout {
            Layout::Levels { level_bytes, batch } => (level_bytes, batch),
            Layout::Blocks { pairs, batch } => {
                return self.fetch_packed(file, run, (first, rows), (pairs, batch), out);
            }
            Layout::Rows => {
                let at = run
                    .codes
                    .saturating_add(first.saturating_mul(self.code_bytes));
                let codes = file.cut(at, rows.saturating_mul(self.code_bytes))?;
                out.extend_from_slice(&codes.bytes()?);
                return Ok(());
            }
        };
        let (mut row, end) = (first, first.saturating_add(rows));
        while row < end {
            let place = row.checked_rem(batch).unwrap_or(0);
            let some = batch.saturating_sub(place).min(end.saturating_sub(row));
            let block = row.saturating_sub(place).saturating_mul(self.code_bytes);
            let block = run.codes.saturating_add(block);
            let start = out.len();
            let len = usize::try_from(some.saturating_mul(self.code_bytes)).unwrap_or(usize::MAX);
            out.resize(start.saturating_add(len), 0);
            let room = out.get_mut(start..).unwrap_or_default();
            let mut before = 0u64;
            while before < self.code_bytes {
                let width = level_bytes.min(self.code_bytes.saturating_sub(before));
                let at = block
                    .saturating_add(before.saturating_mul(batch))
                    .saturating_add(place.saturating_mul(width));
                let level = file.cut(at, some.saturating_mul(width))?.bytes()?;
                scatter(&level, width, room, self.code_bytes, before);
                before = before.saturating_add(width);
            }
            row = row.saturating_add(some);
        }
        Ok(())
    }
}

impl Lists {
    /// The same for codes packed for FastScan: 32 rows at a time, one pair of parts after the other.
    fn fetch_packed(
        &self,
        file: &View,
        run: &Run,
        (first, rows): (u64, u64),
        (pairs, batch): (u64, u64),
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let whole = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let (mut row, end) = (first, first.saturating_add(rows));
        while row < end {
            let within = row % TOGETHER;
            let some = TOGETHER.saturating_sub(within).min(end.saturating_sub(row));
            let place = row.checked_rem(batch).unwrap_or(0);
            let block = row.saturating_sub(place).saturating_mul(pairs);
            let bytes = batch.saturating_mul(pairs);
            let block = file.cut(run.codes.saturating_add(block), bytes)?;
            // Blocks have 32 rows unless the writer chose another size; those of 32 are read whole.
            let whole_block = match batch {
                TOGETHER => View::from_bytes("", block.bytes()?),
                _ => block,
            };
            let start = out.len();
            out.resize(start.saturating_add(whole(some.saturating_mul(pairs))), 0);
            let room = out.get_mut(start..).unwrap_or_default();
            for pair in 0..pairs {
                let at = pair
                    .saturating_mul(batch)
                    .saturating_add(place.saturating_sub(within));
                let mut packed = [0; TOGETHER as usize];
                whole_block.read(at, &mut packed)?;
                unpack(&packed, whole(within), whole(pair), whole(pairs), room);
            }
            row = row.saturating_add(some);
        }
        Ok(())
    }
}

/// Puts each piece of `width` bytes at `before` into the next row of `room`.
fn scatter(level: &[u8], width: u64, room: &mut [u8], row_bytes: u64, before: u64) {
    let whole = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    let rows = room.chunks_exact_mut(whole(row_bytes));
    for (row, piece) in rows.zip(level.chunks_exact(whole(width))) {
        let start = usize::try_from(before).unwrap_or(usize::MAX);
        if let Some(to) = row.get_mut(start..start.saturating_add(piece.len())) {
            to.copy_from_slice(piece);
        }
    }
}
