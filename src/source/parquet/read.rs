//! How are the rows of a file read? A block at a time, and numbered if they have no key.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};

use crate::batch::{Cut, Limits, Part};
use crate::error::Result;
use crate::parquet::{self, File};
use crate::schema::Columns;
use crate::source::cut::Cutter;
use crate::source::{Files, Reader};

/// Reads rows of one file.
pub struct FileReader<'s> {
    file: &'s File,
    columns: &'s Arc<Columns>,
    rows: parquet::Rows<'s>,
    /// If rows are numbered: how many precede the file.
    before: Option<u64>,
    cutter: Cutter,
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
            cutter: Cutter::new(limits, range.end),
        })
    }
}

impl Reader for FileReader<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let (columns, path, before) = (self.columns, self.file.view.path(), self.before);
        let rows = &mut self.rows;
        self.cutter.next(|| {
            let Some(block) = rows.next_block()? else {
                return Ok(None);
            };
            let mut values = block.values;
            if let Some(before) = before {
                let len = values.first().map_or(0, |values| values.len()) as u64;
                let first = before + block.row;
                // No existing file has too many rows for this type.
                let numbers =
                    Int64Array::from_iter_values((first..first + len).map(|row| row as i64));
                values.insert(0, Arc::new(numbers) as ArrayRef);
            }
            let part = Part::new(columns, values, path, block.row)?;
            Ok(Some(vec![part]))
        })
    }

    fn files(&self) -> Files {
        Files::new([&self.file.view])
    }
}
