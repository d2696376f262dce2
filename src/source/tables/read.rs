//! How do the rows of vectors and ids become batches?

use std::ops::Range;
use std::sync::Arc;

use super::{Pair, Rows};
use crate::batch::{Cut, Limits, Part, Position};
use crate::error::Result;
use crate::schema::{Columns, Element, VectorType};
use crate::source::{Files, Reader};

/// Reads rows of one pair.
pub struct PairReader<'s> {
    vectors: Rows<'s>,
    ids: Option<Rows<'s>>,
    columns: &'s Arc<Columns>,
    element: Element,
    /// The id of the file's first row if rows are numbered.
    first_id: u64,
    row: u64,
    end: u64,
    batch_rows: u64,
}

impl<'s> PairReader<'s> {
    /// A reader of these rows.
    pub fn new(
        pair: &'s Pair,
        columns: &'s Arc<Columns>,
        vector: VectorType,
        rows: Range<u64>,
        first_id: u64,
        limits: Limits,
    ) -> PairReader<'s> {
        PairReader {
            vectors: Rows::new(&pair.vectors),
            ids: pair.ids.as_ref().map(Rows::new),
            columns,
            element: vector.element,
            first_id,
            row: rows.start,
            end: rows.end.min(pair.vectors.rows),
            batch_rows: limits.rows(vector),
        }
    }
}

impl Reader for PairReader<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let count = self.batch_rows.min(self.end.saturating_sub(self.row));
        if count == 0 {
            return Ok(None);
        }
        let first = self.row;
        let ids = match &mut self.ids {
            Some(ids) => ids.ids(first, count)?,
            // The source has checked that the last one fits.
            None => (first..first + count)
                .map(|row| (self.first_id + row) as i64)
                .collect(),
        };
        let vectors = self.vectors.vectors(first, count, self.element)?;
        self.row += count;
        self.vectors
            .will_need(self.row, self.batch_rows.min(self.end - self.row));
        let file = self.vectors.table().view.path();
        Ok(Some(Cut {
            parts: vec![Part::of_vectors(self.columns, ids, vectors, file, first)?],
            next: Position::Row(self.row),
        }))
    }

    fn files(&self) -> Files {
        let vectors = &self.vectors.table().view;
        match &self.ids {
            Some(ids) => Files::new([vectors, &ids.table().view]),
            None => Files::new([vectors]),
        }
    }
}
