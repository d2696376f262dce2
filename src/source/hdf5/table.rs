//! Where do the rows of a dataset lie, and how are they got at?
//! Decides once for a dataset; reads no rows.

use bytes::Bytes;
use hdf5::Dataset;
use hdf5::dataset::Layout;

use super::kinds;
use crate::h5::filter::{Filter, Unpacker};
use crate::h5::index;
use crate::h5::raw::{self, Chunk};
use crate::input::View;
use crate::limits;
use crate::source::values::Stored;

/// A dataset as a table of rows.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub rows: u64,
    /// Its extents, rows first.
    pub shape: Vec<u64>,
    pub stored: Stored,
    /// Bytes of a row as stored.
    pub row_bytes: u64,
    pub place: Place,
    /// How it is laid out, for people.
    pub layout: String,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Where rows are.
#[derive(Debug)]
pub enum Place {
    /// In the file just as they are, in stretches.
    Runs(Vec<Run>),
    /// In the file's own headers: here they are.
    Held(Bytes),
    /// In chunks that have to be unpacked or put together.
    Bands(Bands),
}

/// Rows that lie one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub first: u64,
    pub rows: u64,
    /// Where the first is in the file.
    pub at: u64,
}

/// Rows in chunks. A band is a stretch of rows that is put together at once.
#[derive(Debug)]
pub struct Bands {
    /// Rows and bytes of a row of a chunk, and how many chunks lie beside each other.
    pub chunk_rows: u64,
    pub chunk_row_bytes: u64,
    pub across: u64,
    /// Columns of a chunk, in elements: its place is asked for in these.
    pub chunk_columns: u64,
    /// Rows of a band: never more than of a chunk.
    pub rows: u64,
    pub how: How,
}

/// How chunks are got at.
#[derive(Debug)]
pub enum How {
    /// At these places in the file, beside each other first: unpacked outside the library.
    Placed(Vec<Filter>, Vec<Chunk>),
    /// Handed out by the library as stored: unpacked outside of it.
    Handed(Vec<Filter>),
    /// Read by the library.
    Library,
}

/// A sentence about what cannot be read.
type Told<T> = Result<T, String>;

fn told(error: hdf5::Error) -> String {
    crate::h5::cause(&error)
}

impl Table {
    /// Looks where the rows of a dataset are in the file that `view` shows; `base` is the length of its user block.
    pub fn open(dataset: &Dataset, name: &str, view: &View, base: u64) -> Told<Table> {
        let shape = dataset.get_shape().map_err(told)?;
        let shape: Vec<u64> = shape.iter().map(|n| *n as u64).collect();
        let Some(rows) = shape.first().copied() else {
            return Err("is a single value, not a table".to_owned());
        };
        let dtype = dataset.dtype().map_err(told)?;
        let stored = kinds::stored(&dtype).map_err(|what| format!("holds {what}"))?;
        let columns = shape[1..].iter().try_fold(1u64, |a, b| a.checked_mul(*b));
        let row_bytes = columns.and_then(|c| c.checked_mul(stored.bytes() as u64));
        let row_bytes = row_bytes.filter(|b| b.checked_mul(rows.max(1)).is_some());
        let Some(row_bytes) = row_bytes else {
            return Err(format!(
                "has the extents {shape:?}, more than a file can hold"
            ));
        };
        let plist = dataset.create_plist().map_err(told)?;
        let mut table = Table {
            name: name.to_owned(),
            rows,
            shape,
            stored,
            row_bytes,
            place: Place::Runs(Vec::new()),
            layout: String::new(),
            notes: Vec::new(),
        };
        if !plist.get_external().map_err(told)?.is_empty() {
            return Err(
                "keeps its rows in external files: `h5repack` brings them together".to_owned(),
            );
        }
        let layout = plist.get_layout().map_err(told)?;
        let bytes = rows * row_bytes;
        match layout {
            Layout::Virtual => {
                return Err(
                    "is a virtual dataset, its rows lie in other files: name those files"
                        .to_owned(),
                );
            }
            _ if bytes == 0 => table.layout = format!("{layout:?}").to_lowercase(),
            Layout::Compact => {
                // The library copies what the extents say, however little is there (1.10.8).
                let there = dataset.storage_size();
                if there != bytes {
                    return Err(format!(
                        "needs {bytes} bytes in its header, {there} are there"
                    ));
                }
                let mut held = vec![0; bytes as usize];
                raw::read_rows(dataset, 0, row_bytes, &mut held).map_err(told)?;
                table.place = Place::Held(held.into());
                table.layout = "compact".to_owned();
            }
            Layout::Contiguous => {
                table.layout = "contiguous".to_owned();
                match dataset.offset() {
                    Some(at) => {
                        view.cut(at, bytes).map_err(|e| e.what().to_owned())?;
                        table.place = Place::Runs(vec![Run { first: 0, rows, at }]);
                    }
                    None => {
                        table.note_never_written(0);
                        table.bands(Bands {
                            chunk_rows: rows,
                            chunk_row_bytes: row_bytes,
                            across: 1,
                            chunk_columns: columns.unwrap_or(1),
                            rows: gather_rows(row_bytes),
                            how: How::Library,
                        })?;
                    }
                }
            }
            Layout::Chunked => table.chunked(dataset, view, base)?,
        }
        Ok(table)
    }

    /// Rows that were never written have the dataset's fill value, which the library knows.
    fn note_never_written(&mut self, row: u64) {
        self.notes.push(format!(
            "`{}` row {row} was never written: it has the dataset's fill value, and others may, too",
            self.name
        ));
    }

    fn chunked(&mut self, dataset: &Dataset, view: &View, base: u64) -> Told<()> {
        let plist = dataset.create_plist().map_err(told)?;
        let extents = plist.get_chunk().map_err(told)?.unwrap_or_default();
        let extents: Vec<u64> = extents.iter().map(|n| *n as u64).collect();
        if extents.len() != self.shape.len() || extents.len() > 2 || extents.contains(&0) {
            return Err(format!(
                "has chunks of {extents:?}, which do not fit its extents"
            ));
        }
        let (chunk_rows, chunk_columns) = (extents[0], extents.get(1).copied().unwrap_or(1));
        let columns = self.shape.get(1).copied().unwrap_or(1);
        let chunk_row_bytes = chunk_columns * self.stored.bytes() as u64;
        let across = columns.div_ceil(chunk_columns);
        let filters = plist.get_filters().map_err(told)?;
        // The last chunks may be stored without filters, and nothing says so at the chunk.
        let edges = plist
            .get_chunk_opts()
            .map_err(told)?
            .is_some_and(|o| !o.is_empty());
        self.layout = format!("chunked {extents:?}");
        if !filters.is_empty() {
            self.layout += &format!(", {}", named(&filters));
        }
        let ours = pipeline(&filters, self.stored.bytes());
        let ours = ours.filter(|f| Unpacker::knows(f) && (f.is_empty() || !edges));
        let mut bands = Bands {
            chunk_rows,
            chunk_row_bytes,
            across,
            chunk_columns,
            rows: chunk_rows,
            how: How::Library,
        };
        let Some(filters) = ours else {
            if let Some(filter) = filters.iter().find(|f| !f.decode_enabled()) {
                return Err(format!(
                    "is packed by filter {}, which this program's HDF5 library does not have",
                    named(std::slice::from_ref(filter))
                ));
            }
            return self.bands(bands);
        };
        let count = self.rows.div_ceil(chunk_rows).checked_mul(across);
        let placed = count.map(|n| self.places(dataset, view, base, &bands, n));
        let chunk_bytes = chunk_rows.saturating_mul(chunk_row_bytes);
        let Some(chunks) = placed.transpose()?.flatten() else {
            // Unfiltered chunks of unknown place are best read by the library: it reads just the rows.
            if !filters.is_empty() {
                bands.how = How::Handed(filters);
            } else {
                bands.rows = gather_rows(self.row_bytes).min(chunk_rows);
            }
            return self.bands(bands);
        };
        if let Some(missing) = chunks.iter().position(|c| c.bytes == 0) {
            let row = missing as u64 / across * chunk_rows;
            self.note_never_written(row);
            if filters.is_empty() {
                bands.rows = gather_rows(self.row_bytes).min(chunk_rows);
            }
            return self.bands(bands);
        }
        for chunk in &chunks {
            (view.cut(chunk.at, chunk.bytes)).map_err(|e| e.what().to_owned())?;
        }
        if !filters.is_empty() {
            // No room is made for a chunk that cannot come of what is stored.
            let least = chunk_bytes / limits::HDF5_UNPACKED_MAX;
            if let Some(odd) = chunks.iter().find(|c| c.bytes < least) {
                return Err(format!(
                    "has a chunk of {} bytes, which cannot hold {chunk_bytes}",
                    odd.bytes
                ));
            }
            bands.how = How::Placed(filters, chunks);
            return self.bands(bands);
        }
        if let Some(odd) = chunks.iter().find(|c| c.bytes != chunk_bytes) {
            return Err(format!(
                "has a chunk of {} bytes, {chunk_bytes} are needed",
                odd.bytes
            ));
        }
        if across == 1 && chunk_columns == columns {
            self.place = Place::Runs(runs(&chunks, self.rows, chunk_rows, self.row_bytes));
            return Ok(());
        }
        bands.rows = gather_rows(self.row_bytes).min(chunk_rows);
        bands.how = How::Placed(filters, chunks);
        self.bands(bands)
    }

    fn bands(&mut self, bands: Bands) -> Told<()> {
        let band = bands.rows.min(self.rows).saturating_mul(self.row_bytes);
        // A chunk may be larger than its dataset, and is unpacked whole.
        let chunk = match &bands.how {
            How::Placed(filters, _) | How::Handed(filters) if !filters.is_empty() => {
                bands.chunk_rows.saturating_mul(bands.chunk_row_bytes)
            }
            _ => 0,
        };
        let bytes = band.max(chunk);
        if bytes > limits::HDF5_BAND_BYTES_MAX {
            let columns = self.shape.get(1).copied().unwrap_or(1);
            let rows = (limits::HDF5_CHUNK_BYTES / self.row_bytes.max(1)).max(1);
            return Err(format!(
                "has chunks of {} rows, which take {bytes} bytes of memory at once; \
                 `h5repack -l {}:CHUNK={rows}x{columns}` cuts it into others",
                bands.chunk_rows, self.name
            ));
        }
        self.place = Place::Bands(bands);
        Ok(())
    }

    /// Where each chunk is, beside each other first, never written ones with no bytes; `None` when that cannot
    /// be found out cheaply.
    fn places(
        &self,
        dataset: &Dataset,
        view: &View,
        base: u64,
        bands: &Bands,
        count: u64,
    ) -> Told<Option<Vec<Chunk>>> {
        // More chunks than bytes: most were never written.
        if count > view.len() {
            return Ok(None);
        }
        let header = raw::address(dataset).map_err(told)?;
        let rank = self.shape.len();
        let found = index::chunks(view, base, header, rank, count);
        let walked = found.and_then(|found| self.grid(found, bands, count));
        if let Some(grid) = walked
            && self.agrees(dataset, view, base, bands, &grid)?
        {
            return Ok(Some(grid));
        }
        // Addresses of some libraries do not count the user block, of others do.
        if count > limits::HDF5_CHUNKS_ASKED_MAX || base > 0 {
            return Ok(None);
        }
        let mut found = Vec::new();
        for i in 0..count {
            let offset = self.offset(bands, i);
            if let Some(chunk) = raw::find_chunk(dataset, &offset).map_err(told)? {
                found.push((offset, chunk));
            }
        }
        Ok(self.grid(found, bands, count))
    }

    /// The first element of a chunk, by its number in the grid.
    fn offset(&self, bands: &Bands, number: u64) -> Vec<u64> {
        let row = number / bands.across * bands.chunk_rows;
        let column = number % bands.across * bands.chunk_columns;
        [row, column][..self.shape.len()].to_vec()
    }

    /// Chunks in order; `None` when two are for the same place, or one for none.
    fn grid(&self, found: Vec<index::Found>, bands: &Bands, count: u64) -> Option<Vec<Chunk>> {
        let none = Chunk {
            at: 0,
            bytes: 0,
            mask: 0,
        };
        let mut grid = vec![none; usize::try_from(count).ok()?];
        for (offset, chunk) in found {
            let column = offset.get(1).copied().unwrap_or(0);
            let number = (offset[0] / bands.chunk_rows)
                .checked_mul(bands.across)?
                .checked_add(column / bands.chunk_columns)?;
            if self.offset(bands, number) != offset || chunk.bytes == 0 {
                return None;
            }
            let place = grid.get_mut(usize::try_from(number).ok()?)?;
            if *place != none {
                return None;
            }
            *place = chunk;
        }
        Some(grid)
    }

    /// Whether the library has the first and the last chunk where we have them.
    fn agrees(
        &self,
        dataset: &Dataset,
        view: &View,
        base: u64,
        bands: &Bands,
        grid: &[Chunk],
    ) -> Told<bool> {
        for number in [0, grid.len() as u64 - 1] {
            let (offset, ours) = (self.offset(bands, number), grid[number as usize]);
            if base == 0 {
                let theirs = raw::find_chunk(dataset, &offset).map_err(told)?;
                if theirs != (ours.bytes > 0).then_some(ours) {
                    return Ok(false);
                }
                continue;
            }
            let theirs = raw::read_chunk(dataset, &offset).map_err(told)?;
            let same = match &theirs {
                None => ours.bytes == 0,
                Some((mask, bytes)) => {
                    let here = view.cut(ours.at, ours.bytes).and_then(|v| v.bytes());
                    *mask == ours.mask && here.is_ok_and(|here| here == *bytes)
                }
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn gather_rows(row_bytes: u64) -> u64 {
    (limits::HDF5_GATHER_BYTES / row_bytes.max(1)).max(1)
}

/// Chunks that lie one behind the other are one run.
fn runs(chunks: &[Chunk], rows: u64, chunk_rows: u64, row_bytes: u64) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (i, chunk) in chunks.iter().enumerate() {
        let first = i as u64 * chunk_rows;
        let count = chunk_rows.min(rows - first);
        match runs.last_mut() {
            Some(run) if run.at + run.rows * row_bytes == chunk.at => run.rows += count,
            _ => runs.push(Run {
                first,
                rows: count,
                at: chunk.at,
            }),
        }
    }
    runs
}

/// The pipeline in our words, if we know all of its filters.
fn pipeline(filters: &[hdf5::filters::Filter], element: usize) -> Option<Vec<Filter>> {
    use hdf5::filters::Filter as Theirs;
    let ours = filters.iter().map(|filter| match filter {
        Theirs::Deflate(level) => Some(Filter::Deflate(*level)),
        Theirs::Shuffle => Some(Filter::Shuffle(element)),
        Theirs::Fletcher32 => Some(Filter::Fletcher32),
        Theirs::LZF => Some(Filter::Lzf),
        _ => None,
    });
    ours.collect()
}

fn named(filters: &[hdf5::filters::Filter]) -> String {
    use hdf5::filters::Filter as Theirs;
    let names = filters.iter().map(|filter| match filter {
        Theirs::Deflate(level) => format!("gzip{level}"),
        Theirs::Shuffle => "shuffle".to_owned(),
        Theirs::Fletcher32 => "fletcher32".to_owned(),
        Theirs::LZF => "lzf".to_owned(),
        Theirs::SZip(..) => "szip".to_owned(),
        Theirs::NBit => "nbit".to_owned(),
        Theirs::ScaleOffset(_) => "scaleoffset".to_owned(),
        Theirs::User(id, _) => id.to_string(),
    });
    names.collect::<Vec<_>>().join(", ")
}
