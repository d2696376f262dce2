//! How are rows of a dataset read, one range at a time?
//! Mapped ones as stored; packed ones a band at a time, outside the library's lock if possible.

use bytes::Bytes;
use hdf5::Dataset;

use super::table::{Bands, How, Place, Table, turn};
use crate::error::{Error, Kind, Result};
use crate::h5::filter::{Filter, Unpacker};
use crate::input::View;

/// Reads ranges of a table, forward.
pub struct Rows<'t> {
    table: &'t Table,
    view: &'t View,
    unpacker: Unpacker,
    /// The band that was assembled last: its first row and its bytes.
    band: Option<(u64, Bytes)>,
    dataset: Option<Dataset>,
}

/// Reads whatever the library will be asked to read that could crash it if the file is damaged: everything that its own
/// filters unpack, and the first and the last rows of the rest.
pub fn rehearse(table: &Table, view: &View, alive: &mut dyn FnMut()) -> Result<()> {
    let Place::Bands(bands) = &table.place else {
        return Ok(());
    };
    let by_library = matches!(bands.how, How::Library | How::Variable | How::Items(_));
    if !by_library || table.rows == 0 {
        return Ok(());
    }
    let mut rows = Rows::new(table, view);
    let last = table.rows - 1;
    let mut row = 0;
    while row < last && (row == 0 || table.unpacked_by_library) {
        rows.pieces(row, 1)?;
        row = row.saturating_add(bands.rows);
        alive();
    }
    rows.pieces(last, 1).map(drop)
}

impl<'t> Rows<'t> {
    pub fn new(table: &'t Table, view: &'t View) -> Rows<'t> {
        Rows {
            table,
            view,
            unpacker: Unpacker::default(),
            band: None,
            dataset: None,
        }
    }

    /// The bytes of rows as stored, in as few pieces as possible.
    pub fn pieces(&mut self, first: u64, count: u64) -> Result<Vec<Bytes>> {
        let table = self.table;
        let (mut row, end) = (first, (first + count).min(table.rows));
        let mut pieces = Vec::new();
        while row < end {
            let (bytes, rows) = match &table.place {
                Place::Runs(runs) => {
                    let next = runs.partition_point(|run| run.first <= row);
                    let Some(run) = next.checked_sub(1).map(|i| &runs[i]) else {
                        return Err(self.wrong(row, "is in no chunk"));
                    };
                    let rows = (run.first + run.rows).min(end).saturating_sub(row);
                    let at = run.at + (row - run.first) * table.row_bytes;
                    (self.view.cut(at, rows * table.row_bytes)?.bytes()?, rows)
                }
                Place::Held(bytes) => {
                    let (from, to) = (row * table.row_bytes, end * table.row_bytes);
                    (bytes.slice(from as usize..to as usize), end - row)
                }
                Place::Bands(bands) => {
                    let (start, band) = self.band(bands, row)?;
                    let rows = (start + band.len() as u64 / table.row_bytes).min(end) - row;
                    let from = ((row - start) * table.row_bytes) as usize;
                    (
                        band.slice(from..from + (rows * table.row_bytes) as usize),
                        rows,
                    )
                }
            };
            if rows == 0 {
                return Err(self.wrong(row, "is in no chunk"));
            }
            pieces.push(bytes);
            row += rows;
        }
        Ok(pieces)
    }

    /// Asks for pages ahead of use.
    pub fn will_need(&self, first: u64, count: u64) {
        let Place::Runs(runs) = &self.table.place else {
            return;
        };
        let next = runs.partition_point(|run| run.first <= first);
        let Some(run) = next.checked_sub(1).map(|i| &runs[i]) else {
            return;
        };
        let rows = (run.first + run.rows)
            .min(first + count)
            .saturating_sub(first);
        let at = run.at + (first - run.first) * self.table.row_bytes;
        if let Ok(view) = self.view.cut(at, rows * self.table.row_bytes) {
            view.will_need();
        }
    }

    fn wrong(&self, row: u64, what: impl std::fmt::Display) -> Error {
        let what = format!("`{}` row {row} {what}", self.table.name);
        Error::path(Kind::Corrupt, self.view.path(), what)
    }

    /// The band that a row is in.
    fn band(&mut self, bands: &Bands, row: u64) -> Result<(u64, Bytes)> {
        let chunk = row / bands.chunk_rows;
        let start = chunk * bands.chunk_rows + row % bands.chunk_rows / bands.rows * bands.rows;
        if let Some((first, bytes)) = &self.band
            && *first == start
        {
            return Ok((start, bytes.clone()));
        }
        // The previous one is freed first: two are never held.
        self.band = None;
        let table = self.table;
        let end = (start + bands.rows)
            .min((chunk + 1) * bands.chunk_rows)
            .min(table.rows);
        let mut band = vec![0u8; ((end - start) * table.row_bytes) as usize];
        match &bands.how {
            How::Library => {
                let dataset = self.dataset(start)?;
                let read = table.read(&dataset, start, &mut band);
                read.map_err(|e| {
                    self.wrong(start, format!("cannot be read: {}", crate::h5::cause(&e)))
                })?;
            }
            How::Variable => {
                let dataset = self.dataset(start)?;
                let read = table.read_variable(&dataset, start, &mut band);
                let read = read.map_err(|e| self.wrong(start, crate::h5::cause(&e)))?;
                read.map_err(|what| {
                    let what = format!("`{}` {what}", table.name);
                    Error::path(Kind::Unsupported, self.view.path(), what)
                })?;
            }
            How::Items(items) => items.read(table, self.view, start, &mut band)?,
            How::Columns(at) => {
                let (rows, element) = (end - start, table.element_bytes);
                for column in 0..table.columns() {
                    let from = at + (column * table.rows + start) * element;
                    let values = self.view.cut(from, rows * element)?.bytes()?;
                    let to = column * element;
                    turn(&values, element, rows, 0, table.row_bytes, to, &mut band);
                }
            }
            How::Placed(filters, chunks) => {
                for column in 0..bands.across {
                    let stored = chunks[(chunk * bands.across + column) as usize];
                    let view = self.view.cut(stored.at, stored.bytes)?;
                    let skip = start - chunk * bands.chunk_rows;
                    let row = bands.chunk_columns * table.element_bytes;
                    match (filters.is_empty(), table.axes.are_turned()) {
                        (true, false) => {
                            // Only the rows of the band matter.
                            let bytes = view.cut(skip * row, (end - start) * row)?.bytes()?;
                            self.scatter(&bytes, bands, column, 0, &mut band);
                        }
                        (true, true) => {
                            self.scatter(&view.bytes()?, bands, column, skip, &mut band);
                        }
                        (false, _) => {
                            let stored = (stored.mask, &*view.bytes()?);
                            self.unpack(bands, filters, stored, column, start, &mut band)?;
                        }
                    }
                }
            }
        }
        let band = Bytes::from(band);
        self.band = Some((start, band.clone()));
        Ok((start, band))
    }

    fn unpack(
        &mut self,
        bands: &Bands,
        filters: &[Filter],
        (mask, bytes): (u32, &[u8]),
        column: u64,
        start: u64,
        band: &mut [u8],
    ) -> Result<()> {
        let whole = self.table.chunk_bytes(bands) as usize;
        let as_it_is = bands.across == 1 && !self.table.axes.are_turned();
        let unpacked = if as_it_is && band.len() == whole {
            self.unpacker.unpack(filters, mask, bytes, band)
        } else {
            let mut chunk = vec![0u8; whole];
            let done = self.unpacker.unpack(filters, mask, bytes, &mut chunk);
            self.scatter(&chunk, bands, column, 0, band);
            done
        };
        unpacked.map_err(|what| self.wrong(start, format!("is in a chunk that {what}")))
    }

    /// The dataset, opened only when the library has to read it.
    fn dataset(&mut self, row: u64) -> Result<Dataset> {
        if let Some(dataset) = &self.dataset {
            return Ok(dataset.clone());
        }
        let opened =
            hdf5::File::open(self.view.path()).and_then(|f| f.dataset(&self.table.origin.path));
        let dataset = opened.map_err(|e| self.wrong(row, crate::h5::cause(&e)))?;
        Ok(self.dataset.insert(dataset).clone())
    }

    /// Copies the rows of a chunk, from `skip` on, into their columns of a band, without what lies past the dataset's
    /// edges.
    fn scatter(&self, chunk: &[u8], bands: &Bands, column: u64, skip: u64, band: &mut [u8]) {
        let table = self.table;
        let row_bytes = table.row_bytes;
        let chunk_row = bands.chunk_columns * table.element_bytes;
        let from = column * chunk_row;
        if table.axes.are_turned() {
            let (element, rows) = (table.element_bytes, bands.chunk_rows);
            turn(chunk, element, rows, skip, row_bytes, from, band);
            return;
        }
        let width = chunk_row.min(row_bytes - from) as usize;
        let rows = chunk.chunks_exact(chunk_row as usize).skip(skip as usize);
        for (row, to) in rows.zip(band.chunks_exact_mut(row_bytes as usize)) {
            to[from as usize..from as usize + width].copy_from_slice(&row[..width]);
        }
    }
}
