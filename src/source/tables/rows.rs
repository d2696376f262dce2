//! How are rows of a table read, one range at a time? Contiguous rows in place; others are gathered into memory for
//! that range.

use bytes::Bytes;

use super::inflate::Inflater;
use super::{COUNT_BYTES, Place, Table};
use crate::error::{Error, Kind, Result};
use crate::schema::Element;
use crate::source::values::Wrong;

/// Reads ranges of a table.
pub struct Rows<'t> {
    table: &'t Table,
    inflater: Option<Inflater>,
}

impl<'t> Rows<'t> {
    /// A reader of this table.
    pub fn new(table: &'t Table) -> Rows<'t> {
        Rows {
            table,
            inflater: None,
        }
    }

    /// The table.
    pub fn table(&self) -> &'t Table {
        self.table
    }

    /// Rows as vectors of this element; not copied if they are stored in the format of the batches.
    pub fn vectors(&mut self, first: u64, count: u64, element: Element) -> Result<Bytes> {
        let stored = self.table.stored;
        let bytes = self.stored(first, count)?;
        if stored.travels_as(element) {
            return Ok(bytes);
        }
        let mut vectors = Vec::new();
        let done = stored.vectors_into(element, &bytes, &mut vectors);
        done.map_err(|wrong| self.wrong(first, wrong))?;
        Ok(Bytes::from(vectors))
    }

    /// Rows of one number each as ids.
    pub fn ids(&mut self, first: u64, count: u64) -> Result<Vec<i64>> {
        let bytes = self.stored(first, count)?;
        let mut ids = Vec::with_capacity(count as usize);
        let done = self.table.stored.ids_into(&bytes, &mut ids);
        done.map_err(|wrong| self.wrong(first, wrong))?;
        Ok(ids)
    }

    /// Prefetches rows.
    pub fn will_need(&self, first: u64, count: u64) {
        let stretch = match self.table.place {
            Place::Rows(at) => Some((at, self.table.row_bytes())),
            Place::Counted => Some((0, COUNT_BYTES + self.table.row_bytes())),
            Place::Columns(_) | Place::Packed(_) => None,
        };
        if let Some((at, width)) = stretch
            && let Ok(view) = self.table.view.cut(at + first * width, count * width)
        {
            view.will_need();
        }
    }

    fn wrong(&self, first: u64, (at, what): Wrong) -> Error {
        let row = first + at as u64 / self.table.columns;
        let what = format!("row {row}: {what}");
        Error::path(Kind::Unsupported, self.table.view.path(), what)
    }

    /// Rows as they are stored, one after another.
    fn stored(&mut self, first: u64, count: u64) -> Result<Bytes> {
        let table = self.table;
        let (view, width) = (&table.view, table.row_bytes());
        match &table.place {
            Place::Rows(at) => view.cut(at + first * width, count * width)?.bytes(),
            Place::Counted => self.counted(first, count),
            Place::Columns(at) => self.columns(*at, first, count),
            Place::Packed(packed) => {
                let start = first * width;
                let inflater = match &mut self.inflater {
                    Some(inflater) if inflater.at() <= start => inflater,
                    other => other.insert(Inflater::new(view, packed)),
                };
                inflater.skip_to(start)?;
                let mut rows = vec![0; (count * width) as usize];
                inflater.fill(&mut rows)?;
                Ok(Bytes::from(rows))
            }
        }
    }

    /// Rows without their counts, which must all be the same.
    fn counted(&self, first: u64, count: u64) -> Result<Bytes> {
        let table = self.table;
        let width = (COUNT_BYTES + table.row_bytes()) as usize;
        let start = first * width as u64;
        let bytes = table.view.cut(start, count * width as u64)?.bytes()?;
        let mut rows = Vec::with_capacity(bytes.len() - count as usize * COUNT_BYTES as usize);
        for (number, row) in bytes.chunks_exact(width).enumerate() {
            let (columns, values) = row.split_first_chunk::<4>().expect("a row has its count");
            if u64::from(u32::from_le_bytes(*columns)) != table.columns {
                let found = i32::from_le_bytes(*columns);
                let what = format!(
                    "row {} declares {found} components, but the first has {}",
                    first + number as u64,
                    table.columns
                );
                return Err(table.view.corrupt(start + (number * width) as u64, what));
            }
            rows.extend_from_slice(values);
        }
        Ok(Bytes::from(rows))
    }

    /// Rows of a table that is stored column by column.
    fn columns(&self, at: u64, first: u64, count: u64) -> Result<Bytes> {
        let table = self.table;
        let (value, width) = (table.stored.bytes(), table.row_bytes() as usize);
        let mut rows = vec![0; count as usize * width];
        for column in 0..table.columns {
            let from = at + (column * table.rows + first) * value as u64;
            let bytes = table.view.cut(from, count * value as u64)?.bytes()?;
            let mut to = column as usize * value;
            for number in bytes.chunks_exact(value) {
                rows[to..to + value].copy_from_slice(number);
                to += width;
            }
        }
        Ok(Bytes::from(rows))
    }
}
