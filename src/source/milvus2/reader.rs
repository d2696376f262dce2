//! How are the live rows of a segment passed on? As they are decoded; dead rows are cut out without copying.

use std::sync::Arc;

use crate::batch::{Cut, Limits, Part, Position, Shard};
use crate::error::{Error, Kind, Result};
use crate::source::cut::Cutter;
use crate::source::{Files, Reader};

use super::Stored;
use super::segment::Stretch;

/// Reads a range of a segment.
pub struct Live<'s> {
    stretch: Stretch<'s>,
    columns: &'s Arc<crate::schema::Columns>,
    file: &'s Arc<std::path::Path>,
    cutter: Cutter,
}

impl<'s> Live<'s> {
    /// The live rows of a shard from a position on.
    pub fn open(
        source: &'s Stored,
        shard: &Shard,
        from: &Position,
        limits: Limits,
    ) -> Result<Live<'s>> {
        let wrong = |what: String| {
            let what = format!("shard {} ({}): {what}", shard.number, shard.name);
            Error::new(Kind::Changed, what)
        };
        // Only `part` and the positions are ours: a plan renumbers shards and targets.
        let Some((table, segment)) = source.segment(shard.part as usize) else {
            return Err(wrong("its segment no longer exists".to_owned()));
        };
        let (start, end) = (from.row(), shard.end.row());
        if start > end || end > segment.rows {
            let what = format!(
                "rows {start} to {end} do not exist: the segment has {} rows",
                segment.rows
            );
            return Err(wrong(what));
        }
        let all = (0..table.shape.columns.all().len()).collect();
        Ok(Live {
            stretch: Stretch::new(segment, &table.shape, all, start..end)?,
            columns: &table.shape.columns,
            file: &segment.dir,
            cutter: Cutter::new(limits, end),
        })
    }
}

impl Reader for Live<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let Live {
            stretch,
            columns,
            file,
            cutter,
        } = self;
        stretch.evict();
        cutter.next(|| {
            let Some(rows) = stretch.next()? else {
                return Ok(None);
            };
            let whole = Part::new(columns, rows.values, file, rows.row)?;
            let dead = rows.dead.iter().enumerate();
            let dead: Vec<usize> = dead.filter(|(_, dead)| **dead).map(|(n, _)| n).collect();
            let mut parts = Vec::new();
            whole.without(&dead, &mut parts);
            Ok(Some(parts))
        })
    }

    fn files(&self) -> Files {
        Files::new(&self.stretch.views)
    }
}
