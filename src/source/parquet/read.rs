//! How do the rows of a file become batches? Cut by what their values weigh, whatever blocks they are read in.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};

use crate::batch::{Cut, Limits, Part, Position};
use crate::error::Result;
use crate::parquet::{self, File};
use crate::schema::Columns;
use crate::source::{Files, Reader};

/// Reads rows of one file.
pub struct FileReader<'s> {
    file: &'s File,
    columns: &'s Arc<Columns>,
    rows: parquet::Rows<'s>,
    /// Where rows are numbered, how many lie before the file.
    before: Option<u64>,
    end: u64,
    limits: Limits,
    /// Rows that were read and not yet handed over.
    held: Option<Part>,
}

impl<'s> FileReader<'s> {
    /// A reader of these rows of a file, which end with a row group.
    pub fn new(
        file: &'s File,
        columns: &'s Arc<Columns>,
        before: Option<u64>,
        range: Range<u64>,
        limits: Limits,
    ) -> Result<FileReader<'s>> {
        let (mut groups, mut row) = (0, 0);
        while groups < file.metadata.num_row_groups() && row < range.end {
            row += file.group_rows(groups);
            groups += 1;
        }
        let made = usize::from(before.is_some());
        Ok(FileReader {
            file,
            columns,
            rows: parquet::Rows::new(file, columns, made, 0..groups, range.start)?,
            before,
            end: range.end,
            limits,
            held: None,
        })
    }

    /// Rows that were read; `None` at the end.
    fn some(&mut self) -> Result<Option<Part>> {
        if let Some(part) = self.held.take() {
            return Ok(Some(part));
        }
        let Some(block) = self.rows.next_block()? else {
            return Ok(None);
        };
        let mut values = block.values;
        if let Some(before) = self.before {
            let len = values.first().map_or(0, |values| values.len()) as u64;
            let first = before + block.row;
            // Row numbers of files that exist fit.
            let numbers = Int64Array::from_iter_values((first..first + len).map(|row| row as i64));
            values.insert(0, Arc::new(numbers) as ArrayRef);
        }
        Part::new(self.columns, values, self.file.view.path(), block.row).map(Some)
    }
}

impl Reader for FileReader<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let mut parts: Vec<Part> = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        while let Some(part) = self.some()? {
            let fits = self.fitting(&part, rows, bytes);
            if fits < part.len() {
                self.held = Some(part.slice(fits, part.len() - fits));
            }
            if fits > 0 {
                let part = part.slice(0, fits);
                (rows, bytes) = (rows + fits as u64, bytes + part.bytes());
                parts.push(part);
            }
            if self.held.is_some() || rows == self.limits.batch_rows {
                break;
            }
        }
        let Some(last) = parts.last() else {
            return Ok(None);
        };
        let next = Position::Row((last.row + last.len() as u64).min(self.end));
        Ok(Some(Cut { parts, next }))
    }

    fn files(&self) -> Files {
        Files::new([&self.file.view])
    }
}

impl FileReader<'_> {
    /// How many rows of a part fit into a cut that has some: at least one, where it has none.
    fn fitting(&self, part: &Part, rows: u64, bytes: u64) -> usize {
        let most = self
            .limits
            .batch_rows
            .max(1)
            .saturating_sub(rows)
            .min(part.len() as u64) as usize;
        let room = self.limits.batch_bytes.saturating_sub(bytes);
        // Bytes of the first rows grow with their number.
        let (mut fit, mut above) = (0, most + 1);
        while above - fit > 1 {
            let middle = fit + (above - fit) / 2;
            match part.slice(0, middle).bytes() <= room {
                true => fit = middle,
                false => above = middle,
            }
        }
        fit.max(usize::from(rows == 0 && most > 0))
    }
}
