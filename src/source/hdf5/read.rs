//! How do the rows of a file become batches?
//! As stored if they travel like that, else converted.

use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray, Int64Array};
use arrow_buffer::Buffer;
use bytes::Bytes;

use super::columns::Reading;
use super::open::File;
use super::rows::Rows;
use super::table::Table;
use crate::batch::{Cut, Limits, Part, Position};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::schema::Columns;
use crate::source::cut::Cutter;
use crate::source::values::Wrong;
use crate::source::{Files, Reader};

/// Reads rows of one file.
pub struct FileReader<'s> {
    file: &'s File,
    columns: Arc<Columns>,
    vectors: Rows<'s>,
    ids: Option<(&'s Table, Rows<'s>)>,
    /// The other columns, whose size limits batches.
    others: Vec<Reading<'s>>,
    cutter: Option<Cutter>,
    /// The id of the file's first row where rows are numbered.
    first_id: u64,
    row: u64,
    end: u64,
    batch_rows: u64,
}

impl<'s> FileReader<'s> {
    /// A reader of the rows from `row` to `end`.
    pub fn new(
        file: &'s File,
        row: u64,
        end: u64,
        first_id: u64,
        limits: Limits,
    ) -> Result<FileReader<'s>> {
        let end = end.min(file.vectors.rows);
        let others: Vec<Reading> = (file.columns.iter())
            .map(|column| Reading::new(column, &file.view))
            .collect();
        Ok(FileReader {
            file,
            columns: super::columns(file)?,
            cutter: (!others.is_empty()).then(|| Cutter::new(limits, end)),
            others,
            vectors: Rows::new(&file.vectors, &file.view),
            ids: (file.ids.as_ref()).map(|table| (table, Rows::new(table, &file.view))),
            first_id,
            row,
            end,
            batch_rows: limits.rows(file.vector),
        })
    }

    fn wrong(&self, table: &Table, values: u64, first: u64, (at, what): Wrong) -> Error {
        let row = first + at as u64 / values.max(1);
        let what = format!("`{}` row {row}: {what}", table.name);
        Error::path(Kind::Unsupported, self.file.view.path(), what)
    }

    fn read_ids(&mut self, first: u64, count: u64) -> Result<Vec<i64>> {
        let mut ids = Vec::with_capacity(count as usize);
        let Some((table, rows)) = &mut self.ids else {
            // Row numbers of real files fit.
            ids.extend((first..first + count).map(|row| (self.first_id + row) as i64));
            return Ok(ids);
        };
        let table = *table;
        for bytes in rows.pieces(first, count)? {
            let before = first + ids.len() as u64;
            table
                .stored
                .ids_into(&bytes, &mut ids)
                .map_err(|e| self.wrong(table, 1, before, e))?;
        }
        Ok(ids)
    }

    /// Vectors as they travel, in a limited number of pieces.
    fn read_vectors(&mut self, first: u64, count: u64) -> Result<Vec<Bytes>> {
        let table = &self.file.vectors;
        let pieces = self.vectors.pieces(first, count)?;
        let whole = self.file.wish.takes_as_it_is(table);
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        if whole && (pieces.len() == 1 || bytes / pieces.len() >= limits::GATHER_BELOW_BYTES) {
            return Ok(pieces);
        }
        let mut room = Vec::with_capacity((count * self.file.vector.row_bytes()) as usize);
        let values = table.row_bytes / table.stored.bytes() as u64;
        let mut before = first;
        for piece in &pieces {
            self.file
                .wish
                .vectors_into(table.stored, piece, &mut room)
                .map_err(|e| self.wrong(table, values, before, e))?;
            before += piece.len() as u64 / table.row_bytes;
        }
        Ok(vec![Bytes::from(room)])
    }
}

impl FileReader<'_> {
    /// The next rows, each part as long as they are stored together.
    fn block(&mut self) -> Result<Option<Vec<Part>>> {
        let mut count = self.batch_rows.min(self.end.saturating_sub(self.row));
        if count == 0 {
            return Ok(None);
        }
        let first = self.row;
        for other in &mut self.others {
            count = other.fitting(first, count)?;
        }
        let mut ids = self.read_ids(first, count)?;
        let pieces = self.read_vectors(first, count)?;
        let others = self.others.iter_mut();
        let others: Vec<ArrayRef> = others
            .map(|o| o.read(first, count))
            .collect::<Result<_>>()?;
        self.row += count;
        let ahead = self.batch_rows.min(self.end - self.row);
        self.vectors.will_need(self.row, ahead);
        let (mut parts, mut row) = (Vec::with_capacity(pieces.len()), first);
        let width = self.file.vector.row_bytes() as usize;
        let path = self.file.view.path();
        for piece in pieces {
            let rest = ids.split_off((piece.len() / width).min(ids.len()));
            let own = std::mem::replace(&mut ids, rest);
            let rows = own.len();
            parts.push(match others.is_empty() {
                true => Part::of_vectors(&self.columns, own, piece, path, row)?,
                false => {
                    let vectors =
                        FixedSizeBinaryArray::new(width as i32, Buffer::from(piece), None);
                    let mut values: Vec<ArrayRef> =
                        vec![Arc::new(Int64Array::from(own)), Arc::new(vectors)];
                    let at = (row - first) as usize;
                    values.extend(others.iter().map(|other| other.slice(at, rows)));
                    Part::new(&self.columns, values, path, row)?
                }
            });
            row += rows as u64;
        }
        Ok(Some(parts))
    }
}

impl Reader for FileReader<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        // With texts, rows differ in length.
        if let Some(mut cutter) = self.cutter.take() {
            let cut = cutter.next(|| self.block());
            self.cutter = Some(cutter);
            return cut;
        }
        Ok(self.block()?.map(|parts| Cut {
            parts,
            next: Position::Row(self.row),
        }))
    }

    fn files(&self) -> Files {
        Files::new([&self.file.view])
    }
}
