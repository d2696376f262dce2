//! How are the rows of row groups read? In blocks, each as long as memory allows.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};

use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowSelection, RowSelector};
use ::parquet::arrow::parquet_to_arrow_field_levels;
use ::parquet::errors::ParquetError;

use super::blocks::rows_at_once;
use super::guard::guarded;
use super::pages::Group;
use super::vectors::Vectors;
use super::{File, convert, describe};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::schema::Columns;

/// Consecutive rows.
pub struct Block {
    /// The number of the first in the file.
    pub row: u64,
    /// A value for each, by column.
    pub values: Vec<ArrayRef>,
}

/// Reads columns of some row groups, forwards.
pub struct Rows<'f> {
    file: File,
    /// For each column, its number in the file.
    from: Vec<usize>,
    columns: &'f Columns,
    /// How many of the first columns are not in the file.
    made: usize,
    group: usize,
    end: usize,
    /// The next row of the file, and the row at which the row group ends.
    row: u64,
    group_end: u64,
    open: Option<Open>,
}

/// A row group being read.
struct Open {
    /// Columns that are taken as they are in the file, by their position among the requested ones.
    lying: Vec<(usize, Vectors)>,
    /// The positions of the others, and the rows that the crate has read of them but that have not been handed over.
    others: Vec<usize>,
    reader: Option<ParquetRecordBatchReader>,
    held: Option<RecordBatch>,
}

impl<'f> Rows<'f> {
    /// A reader of row groups that starts at this row of the file; the first `made` columns are left to the caller.
    pub fn new(
        file: &'f File,
        columns: &'f Columns,
        made: usize,
        groups: Range<usize>,
        from: u64,
    ) -> Result<Rows<'f>> {
        let number = |name: &str| file.columns.iter().position(|c| c.name == name);
        let numbers = columns.all()[made..].iter().map(|c| {
            let gone = || {
                file.refuse(
                    Kind::Changed,
                    format!("no longer has a column `{}`", c.name),
                )
            };
            number(&c.name).ok_or_else(gone)
        });
        let first = (0..groups.start)
            .map(|group| file.group_rows(group))
            .sum::<u64>();
        let (mut group, mut group_end) = (groups.start, first);
        while group < groups.end && group_end + file.group_rows(group) <= from {
            group_end += file.group_rows(group);
            group += 1;
        }
        Ok(Rows {
            // Readers of the same file are at different positions.
            file: File {
                view: file.view.apart(),
                ..file.clone()
            },
            from: numbers.collect::<Result<_>>()?,
            columns,
            made,
            group,
            end: groups.end,
            row: from,
            group_end,
            open: None,
        })
    }

    /// The next rows; `None` at the end.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        loop {
            if self.open.is_none() {
                if self.group == self.end {
                    return Ok(None);
                }
                self.group_end += self.file.group_rows(self.group);
                self.open_group()?;
            }
            let left = self.group_end - self.row;
            let open = self.open.as_mut().expect("it was opened");
            let mut rows = left.min(limits::PARQUET_BLOCK_ROWS_MAX);
            for (place, vectors) in &mut open.lying {
                let ready = vectors.ready() as u64;
                if ready == 0 && left > 0 {
                    // From this row on, the crate reads it.
                    let place = *place;
                    open.lying.retain(|(other, _)| *other != place);
                    open.others.push(place);
                    rows = 0;
                    break;
                }
                rows = rows.min(ready);
            }
            if rows == 0 && left > 0 {
                self.open_reader()?;
                continue;
            }
            let held = self.held(left)?;
            if left == 0 {
                let open = self.open.as_mut().expect("it was opened");
                if open.lying.iter_mut().any(|(_, vectors)| !vectors.is_done()) {
                    let what = format!("row group {} has more vectors than rows", self.group);
                    return Err(self.file.refuse(Kind::Corrupt, what));
                }
                (self.open, self.group) = (None, self.group + 1);
                continue;
            }
            rows = held.map_or(rows, |held| rows.min(held));
            let row = self.row;
            let values = self.take(rows as usize, row)?;
            self.row += rows;
            return Ok(Some(Block { row, values }));
        }
    }

    /// Rows that the crate has read of this row group, of which `left` remain; `None` if the crate reads no column.
    fn held(&mut self, left: u64) -> Result<Option<u64>> {
        let open = self.open.as_mut().expect("it was opened");
        let Some(reader) = &mut open.reader else {
            return Ok(None);
        };
        if open.held.is_none() {
            let wrong = |e: ParquetError| wrong(&self.file, &self.from, self.group, e);
            open.held = next(reader)
                .map_err(wrong)?
                .filter(|batch| batch.num_rows() > 0);
        }
        let rows = open.held.as_ref().map_or(0, RecordBatch::num_rows) as u64;
        if rows > left || rows == 0 && left > 0 {
            let what = format!(
                "row group {} does not have as many rows as it declares, {}",
                self.group,
                self.file.group_rows(self.group)
            );
            return Err(self.file.refuse(Kind::Corrupt, what));
        }
        Ok(Some(rows))
    }

    fn open_group(&mut self) -> Result<()> {
        let skipped = self.file.group_rows(self.group) - (self.group_end - self.row);
        let wanted = self.columns.all()[self.made..].iter().zip(&self.from);
        let (mut lying, mut others) = (Vec::new(), Vec::new());
        for (place, (column, number)) in wanted.enumerate() {
            let stored = &self.file.columns[*number];
            let vectors = Vectors::new(&self.file, stored, column, self.group);
            match vectors.and_then(|vectors| vectors.after(skipped)) {
                Some(vectors) => lying.push((place, vectors)),
                None => others.push(place),
            }
        }
        self.open = Some(Open {
            lying,
            others,
            reader: None,
            held: None,
        });
        self.open_reader()
    }

    /// Has the crate read its columns from the next row on.
    fn open_reader(&mut self) -> Result<()> {
        let open = self.open.as_mut().expect("it was opened");
        (open.reader, open.held) = (None, None);
        if open.others.is_empty() {
            return Ok(());
        }
        let rows = self.file.group_rows(self.group);
        let skipped = rows - (self.group_end - self.row);
        let selection = (skipped > 0).then(|| {
            RowSelection::from(vec![
                RowSelector::skip(skipped as usize),
                RowSelector::select((rows - skipped) as usize),
            ])
        });
        let columns: Vec<usize> = open.others.iter().map(|place| self.from[*place]).collect();
        let block = rows_at_once(&self.file, &columns, self.group);
        let reader = self::open(&self.file, &columns, self.group, block, selection);
        open.reader = Some(reader.map_err(|e| wrong(&self.file, &columns, self.group, e))?);
        Ok(())
    }

    /// The values of the next rows, by column.
    fn take(&mut self, rows: usize, row: u64) -> Result<Vec<ArrayRef>> {
        let open = self.open.as_mut().expect("it was opened");
        let mut lying = open
            .lying
            .iter_mut()
            .map(|(place, vectors)| (*place, vectors.take(rows)));
        let mut next = lying.next();
        let held = open.held.take();
        let batch = held.as_ref().map(|held| held.slice(0, rows));
        open.held = held
            .filter(|held| held.num_rows() > rows)
            .map(|held| held.slice(rows, held.num_rows() - rows));
        let wanted = self.columns.all()[self.made..].iter().zip(&self.from);
        let all = wanted.enumerate().map(|(place, (column, number))| {
            if let Some((_, values)) = next.take_if(|(taken, _)| *taken == place) {
                next = lying.next();
                return Ok(values);
            }
            let stored = &self.file.columns[*number];
            // The crate returns columns in the file's order.
            let values = batch
                .as_ref()
                .and_then(|batch| batch.column_by_name(&stored.name));
            let values = values.ok_or_else(|| {
                self.file.refuse(
                    Kind::Corrupt,
                    format!("column `{}` was not read", stored.name),
                )
            })?;
            convert::convert(values, stored.logical, column.kind, column.nullable).map_err(
                |(at, what)| {
                    let what = format!("column `{}` row {}: {what}", column.name, row + at as u64);
                    self.file.refuse(Kind::Unsupported, what)
                },
            )
        });
        all.collect()
    }
}

pub(super) fn open(
    file: &File,
    columns: &[usize],
    group: usize,
    block: usize,
    selection: Option<RowSelection>,
) -> ::parquet::errors::Result<ParquetRecordBatchReader> {
    let schema = file.metadata.file_metadata().schema_descr();
    let levels = parquet_to_arrow_field_levels(schema, file.mask(columns), None)?;
    let group = Group {
        view: &file.view,
        metadata: &file.metadata,
        number: group,
    };
    let new =
        || ParquetRecordBatchReader::try_new_with_row_groups(&levels, &group, block, selection);
    guarded(new).unwrap_or_else(|what| Err(ParquetError::General(what)))
}

pub(super) fn next(
    reader: &mut ParquetRecordBatchReader,
) -> ::parquet::errors::Result<Option<RecordBatch>> {
    let next = guarded(|| reader.next()).map_err(ParquetError::General)?;
    Ok(next.transpose()?)
}

/// The error about a row group; our own errors are unchanged.
pub(super) fn wrong(file: &File, columns: &[usize], group: usize, error: ParquetError) -> Error {
    let place = columns.first().map_or(0, |column| {
        let leaf = file
            .metadata
            .row_group(group)
            .column(file.columns[*column].leaves.start);
        u64::try_from(leaf.data_page_offset()).unwrap_or(0)
    });
    let what = match error {
        ParquetError::External(error) => match error.downcast::<Error>() {
            Ok(error) => return *error,
            Err(other) => other.to_string(),
        },
        other => describe(&other),
    };
    file.view
        .corrupt(place, format!("row group {group} cannot be read: {what}"))
}

/// How many values the first rows have in a column of lists or bytes, not counting rows without one.
pub fn lengths(file: &File, column: usize) -> Result<Vec<usize>> {
    let groups = file.metadata.num_row_groups();
    let Some(group) = (0..groups).find(|group| file.group_rows(*group) > 0) else {
        return Ok(Vec::new());
    };
    let columns = [column];
    let told = |e: ParquetError| wrong(file, &columns, group, e);
    let rows = rows_at_once(file, &columns, group).min(limits::PARQUET_SAMPLE_ROWS);
    let mut reader = open(file, &columns, group, rows, None).map_err(told)?;
    let Some(batch) = next(&mut reader).map_err(told)? else {
        return Ok(Vec::new());
    };
    let array = batch.column(0);
    let valid = (0..array.len()).filter(|row| array.is_valid(*row));
    Ok(match array.as_list_opt::<i32>() {
        Some(lists) => valid.map(|row| lists.value_length(row) as usize).collect(),
        None => match array.as_binary_opt::<i32>() {
            Some(bytes) => valid.map(|row| bytes.value(row).len()).collect(),
            None => Vec::new(),
        },
    })
}
