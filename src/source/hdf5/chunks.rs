//! Where are the chunks of a dataset, and who unpacks them?
//! A list of chunks that contradicts the dataset is refused, not repaired.

use hdf5::Dataset;
use hdf5::plist::DatasetCreate;

use super::axes::times;
use super::table::{Bands, How, Place, Refusal, Run, Table, Told, gather_rows, told};
use crate::h5::filter::{Filter, Unpacker};
use crate::h5::index;
use crate::h5::raw::{self, Applied, Chunk};
use crate::h5::szip::Szip;
use crate::input::View;
use crate::limits;

impl Table {
    /// Looks at the chunks of this dataset.
    pub(super) fn chunked(
        &mut self,
        dataset: &Dataset,
        plist: &DatasetCreate,
        view: &View,
        base: u64,
    ) -> Told<()> {
        let extents = plist.get_chunk().map_err(told)?.unwrap_or_default();
        let extents: Vec<u64> = extents.iter().map(|n| *n as u64).collect();
        let rank = dataset.ndim();
        if extents.len() != rank || extents.contains(&0) {
            return Err(Refusal::corrupt(format!(
                "has chunks of {}, which do not fit its {rank} dimensions",
                times(&extents)
            )));
        }
        let columns = self.columns();
        let chunk_rows = extents[self.axes.row];
        let chunk_columns = self.axes.column.map_or(1, |column| extents[column]);
        let across = columns.div_ceil(chunk_columns);
        let filters = raw::filters(plist).map_err(told)?;
        self.layout = format!("chunked {extents:?}");
        if !filters.is_empty() {
            let names: Vec<String> = filters.iter().map(named).collect();
            self.layout += &format!(", {}", names.join(", "));
        }
        self.unpacked_by_library = filters.iter().any(|f| [NBIT, SCALE_OFFSET].contains(&f.id));
        // The last chunks may be stored without filters, and the chunk does not say so.
        let edges = plist.get_chunk_opts().map_err(told)?;
        let edges = edges.is_some_and(|o| !o.is_empty());
        let mut bands = Bands {
            chunk_rows,
            chunk_columns,
            across,
            rows: chunk_rows,
            how: How::Library,
        };
        let ours = pipeline(&filters, self.element_bytes as usize);
        let ours = ours.filter(|f| Unpacker::knows(f) && (f.is_empty() || !edges));
        // Axes that the table leaves out have one chunk, of extent 1.
        let left_out = |axis: &usize| *axis != self.axes.row && Some(*axis) != self.axes.column;
        let thin = (0..rank).filter(left_out).all(|axis| extents[axis] == 1);
        let plain = self.origin.members.is_empty() && thin;
        let Some(filters) = ours.filter(|_| plain) else {
            // Filters that the library lacks, we undo only if chunks are read whole and as they are.
            if let Some(missing) = filters.iter().find(|f| !f.known) {
                return Err(lacking(missing));
            }
            return self.bands(bands);
        };
        let count = self.rows.div_ceil(chunk_rows).checked_mul(across);
        let placed = count.map(|n| self.places(dataset, view, base, &bands, n));
        let Some(chunks) = placed.transpose()?.flatten() else {
            if let Some(szip) = filters.iter().find(|f| matches!(f, Filter::Szip(_))) {
                return Err(format!("has {count:?} chunks packed by {szip:?}, too many").into());
            }
            // Unfiltered chunks at unknown offsets are best read by the library, which reads only the rows needed.
            if filters.is_empty() {
                bands.rows = gather_rows(self.row_bytes).min(chunk_rows);
            }
            return self.bands(bands);
        };
        self.placed(bands, filters, chunks, view)
    }

    /// Rows in chunks that are all known.
    fn placed(
        &mut self,
        mut bands: Bands,
        filters: Vec<Filter>,
        chunks: Vec<Chunk>,
        view: &View,
    ) -> Told<()> {
        let few = gather_rows(self.row_bytes).min(bands.chunk_rows);
        if let Some(missing) = chunks.iter().position(|c| c.bytes == 0) {
            let row = missing as u64 / bands.across * bands.chunk_rows;
            self.note_never_written(row);
            if filters.iter().any(|f| matches!(f, Filter::Szip(_))) {
                let what =
                    format!("row {row} was never written, and the others are packed by szip");
                return Err(what.into());
            }
            if filters.is_empty() {
                bands.rows = few;
            }
            return self.bands(bands);
        }
        for chunk in &chunks {
            let inside = view.cut(chunk.at, chunk.bytes);
            inside.map_err(|e| Refusal::corrupt(e.what()))?;
        }
        let chunk_bytes = self.chunk_bytes(&bands);
        if !filters.is_empty() {
            // Nothing is allocated for a chunk that the stored bytes could not unpack to.
            let least = chunk_bytes / limits::HDF5_UNPACKED_MAX;
            if let Some(odd) = chunks.iter().find(|c| c.bytes < least) {
                return Err(Refusal::corrupt(format!(
                    "has a chunk of {} bytes, which cannot hold {chunk_bytes}",
                    odd.bytes
                )));
            }
            bands.how = How::Placed(filters, chunks);
            return self.bands(bands);
        }
        if let Some(odd) = chunks.iter().find(|c| c.bytes != chunk_bytes) {
            return Err(Refusal::corrupt(format!(
                "has a chunk of {} bytes, expected {chunk_bytes}",
                odd.bytes
            )));
        }
        let whole = bands.across == 1 && bands.chunk_columns == self.columns();
        if whole && !self.axes.are_turned() {
            let runs = runs(&chunks, self.rows, bands.chunk_rows, self.row_bytes);
            self.place = Place::Runs(runs);
            return Ok(());
        }
        bands.rows = few;
        bands.how = How::Placed(filters, chunks);
        self.bands(bands)
    }

    /// Bytes of a chunk, unpacked.
    pub(super) fn chunk_bytes(&self, bands: &Bands) -> u64 {
        let elements = bands.chunk_rows.saturating_mul(bands.chunk_columns);
        elements.saturating_mul(self.element_bytes)
    }

    fn bands(&mut self, bands: Bands) -> Told<()> {
        let band = bands.rows.min(self.rows).saturating_mul(self.row_bytes);
        // A chunk may be larger than its dataset, and is unpacked whole.
        let chunk = match &bands.how {
            How::Placed(filters, _) if !filters.is_empty() => self.chunk_bytes(&bands),
            _ => 0,
        };
        let bytes = band.max(chunk);
        if bytes > limits::HDF5_BAND_BYTES_MAX {
            let rows = (limits::HDF5_CHUNK_BYTES / self.row_bytes.max(1)).max(1);
            let extents =
                (0..self.axes.row.max(self.axes.column.unwrap_or(0)) + 1).map(|axis| match axis {
                    axis if axis == self.axes.row => rows.min(self.rows).to_string(),
                    axis => self.shape[axis].to_string(),
                });
            return Err(format!(
                "has chunks of {} rows, which take {bytes} bytes of memory at once; \
                 `h5repack -l {}:CHUNK={}` cuts it into others",
                bands.chunk_rows,
                self.origin.path,
                extents.collect::<Vec<_>>().join("x")
            )
            .into());
        }
        self.place = Place::Bands(bands);
        Ok(())
    }

    /// Where each chunk is, row by row; chunks never written have no bytes. `None` if the list would be longer than the
    /// file.
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
        let rank = dataset.ndim();
        let header = raw::address(dataset).map_err(told)?;
        if let Some(found) = index::chunks(view, base, header, rank, count)
            && let Ok(grid) = self.grid(found, bands, count)
            && self.agrees(dataset, bands, &grid)?
        {
            return Ok(Some(grid));
        }
        let most = usize::try_from(count)
            .unwrap_or(usize::MAX)
            .saturating_add(1);
        let found = raw::chunks(dataset, most).map_err(told)?;
        self.grid(found, bands, count).map(Some)
    }

    /// The first element of a chunk, by its number in the grid.
    fn offset(&self, bands: &Bands, number: u64, rank: usize) -> Vec<u64> {
        let mut offset = vec![0; rank];
        offset[self.axes.row] = number / bands.across * bands.chunk_rows;
        if let Some(column) = self.axes.column {
            offset[column] = number % bands.across * bands.chunk_columns;
        }
        offset
    }

    /// Puts chunks in order. Refuses a list with two chunks for one place, or with one that fits no place.
    fn grid(&self, found: Vec<index::Found>, bands: &Bands, count: u64) -> Told<Vec<Chunk>> {
        let none = Chunk {
            at: 0,
            bytes: 0,
            mask: 0,
        };
        let mut grid = vec![none; usize::try_from(count).unwrap_or_default()];
        for (offset, chunk) in found {
            let row = offset.get(self.axes.row).copied().unwrap_or(u64::MAX);
            let column = match self.axes.column {
                Some(column) => offset.get(column).copied().unwrap_or(u64::MAX),
                None => 0,
            };
            let number = (row / bands.chunk_rows)
                .saturating_mul(bands.across)
                .saturating_add(column / bands.chunk_columns);
            let wrong = |what: &str| {
                Err(Refusal::corrupt(format!(
                    "lists a chunk at {offset:?}, {what}: its index is damaged"
                )))
            };
            if column / bands.chunk_columns >= bands.across || number >= count {
                return wrong("beyond its extents");
            }
            if self.offset(bands, number, offset.len()) != offset {
                return wrong("where none begins");
            }
            if chunk.bytes == 0 {
                return wrong("of no bytes");
            }
            let place = &mut grid[number as usize];
            if *place != none {
                return wrong("twice");
            }
            *place = chunk;
        }
        Ok(grid)
    }

    /// Whether the library finds the first and the last chunk where we do.
    fn agrees(&self, dataset: &Dataset, bands: &Bands, grid: &[Chunk]) -> Told<bool> {
        for number in [0, grid.len() as u64 - 1] {
            let offset = self.offset(bands, number, dataset.ndim());
            let ours = grid[number as usize];
            let theirs = raw::find_chunk(dataset, &offset).map_err(told)?;
            if theirs != (ours.bytes > 0).then_some(ours) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Joins chunks that follow one another in the file into runs.
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

const DEFLATE: i32 = 1;
const SHUFFLE: i32 = 2;
const FLETCHER32: i32 = 3;
const SZIP: i32 = 4;
const NBIT: i32 = 5;
const SCALE_OFFSET: i32 = 6;
const LZF: i32 = 32000;

/// Filters by their number, as they are registered with the HDF Group.
const NAMES: [(i32, &str); 18] = [
    (SHUFFLE, "shuffle"),
    (FLETCHER32, "fletcher32"),
    (SZIP, "szip"),
    (NBIT, "nbit"),
    (SCALE_OFFSET, "scaleoffset"),
    (305, "LZO"),
    (307, "bzip2"),
    (LZF, "lzf"),
    (32001, "Blosc"),
    (32004, "LZ4"),
    (32008, "bitshuffle"),
    (32013, "ZFP"),
    (32015, "Zstandard"),
    (32017, "SZ"),
    (32022, "bitgroom"),
    (32024, "SZ3"),
    (32026, "Blosc2"),
    (32028, "SPERR"),
];

/// The pipeline in our terms, if we know all of its filters.
fn pipeline(filters: &[Applied], element: usize) -> Option<Vec<Filter>> {
    let ours = filters.iter().map(|filter| match filter.id {
        DEFLATE => {
            let level = filter.values.first().copied().unwrap_or_default();
            Some(Filter::Deflate(level.min(9) as u8))
        }
        SHUFFLE => Some(Filter::Shuffle(element)),
        FLETCHER32 => Some(Filter::Fletcher32),
        SZIP => Szip::new(&filter.values).map(Filter::Szip),
        LZF => Some(Filter::Lzf),
        _ => None,
    });
    ours.collect()
}

/// A filter's name for people.
fn named(filter: &Applied) -> String {
    let name = NAMES.iter().find(|(id, _)| *id == filter.id);
    match (filter.id, name) {
        (DEFLATE, _) => format!("gzip{}", filter.values.first().copied().unwrap_or_default()),
        (id, Some((_, name))) if id >= 305 && id != LZF => format!("{name} (filter {id})"),
        (_, Some((_, name))) => (*name).to_owned(),
        (id, None) => format!("filter {id}"),
    }
}

/// The refusal for a filter that is not available.
fn lacking(filter: &Applied) -> Refusal {
    let hint = match filter.id {
        305 => "on a machine with PyTables: `ptrepack --complib zlib IN OUT`",
        SZIP => "on a machine with szip: `h5repack -f GZIP=1 IN OUT`",
        _ => {
            "set HDF5_PLUGIN_PATH to a directory of filters (`pip install hdf5plugin` has most: hdf5plugin.PLUGIN_PATH); or \
             where the filter is: `h5repack -f GZIP=1 IN OUT`"
        }
    };
    let what = format!("is packed by {}, which is not built in", named(filter));
    Refusal::new(what, hint)
}
