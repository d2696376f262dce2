//! How are the values of one column read as Arrow arrays? For formats with one file per column.

use arrow_array::{ArrayRef, RecordBatch};

use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection, RowSelector};

use super::File;
use super::blocks::rows_at_once;
use super::rows::{next, open, wrong};
use crate::error::{Kind, Result};

/// The values of a column of a file, forwards.
pub struct Values {
    file: File,
    column: usize,
    group: usize,
    /// Rows of the row group that have not been read yet.
    left: u64,
    /// Rows to skip before the first one is read.
    skip: u64,
    reader: Option<ParquetRecordBatchReader>,
}

impl Values {
    /// The values from this row of the file on.
    pub fn new(file: &File, column: usize, from: u64) -> Values {
        Values {
            file: file.clone(),
            column,
            group: 0,
            left: 0,
            skip: from,
            reader: None,
        }
    }

    /// The next values; `None` at the end.
    pub fn next_block(&mut self) -> Result<Option<ArrayRef>> {
        loop {
            let Some(reader) = &mut self.reader else {
                if self.group == self.file.metadata.num_row_groups() {
                    return Ok(None);
                }
                let rows = self.file.group_rows(self.group);
                match rows.checked_sub(self.skip).filter(|left| *left > 0) {
                    Some(left) => self.open(left)?,
                    None => {
                        self.skip -= rows;
                        self.group += 1;
                    }
                }
                continue;
            };
            let batch = next(reader);
            let batch = batch.map_err(|e| wrong(&self.file, &[self.column], self.group, e))?;
            let rows = batch.as_ref().map_or(0, RecordBatch::num_rows) as u64;
            if rows > self.left || rows == 0 && self.left > 0 {
                let what = format!(
                    "row group {} does not have as many rows as it declares, {}",
                    self.group,
                    self.file.group_rows(self.group)
                );
                return Err(self.file.refuse(Kind::Corrupt, what));
            }
            self.left -= rows;
            match batch.filter(|_| rows > 0) {
                Some(batch) => return Ok(Some(batch.column(0).clone())),
                None => (self.reader, self.group) = (None, self.group + 1),
            }
        }
    }

    /// Opens a row group, to read this many rows of it.
    fn open(&mut self, left: u64) -> Result<()> {
        let skipped = std::mem::take(&mut self.skip);
        let selection = (skipped > 0).then(|| {
            RowSelection::from(vec![
                RowSelector::skip(skipped as usize),
                RowSelector::select(left as usize),
            ])
        });
        let columns = [self.column];
        let rows = rows_at_once(&self.file, &columns, self.group);
        let opened = open(&self.file, &columns, self.group, rows, selection);
        self.reader = Some(opened.map_err(|e| wrong(&self.file, &columns, self.group, e))?);
        self.left = left;
        Ok(())
    }
}
