//! How does a file begin? Its temporary name, datasets, attributes and sizes.
//! Writes no rows.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use hdf5::dataset::{AllocTime, FillTime};
use hdf5::types::VarLenUnicode;
use rustix::fs::{Advice, RenameFlags};

use super::Layout;
use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::h5::filter::Filter;
use crate::h5::{self, attribute};
use crate::limits;
use crate::schema::{Element, VectorType};

/// The shape of a target's datasets.
#[derive(Clone, Debug)]
pub struct Shape {
    pub rows: u64,
    pub columns: u64,
    pub element: Element,
    /// Bytes per vector in the file.
    pub row_bytes: u64,
    pub chunk_rows: u64,
    pub id_chunk_rows: u64,
    pub filters: Vec<Filter>,
    pub id_filters: Vec<Filter>,
}

/// The columns of the dataset of vectors.
fn columns(vector: VectorType) -> u64 {
    match vector.element {
        Element::Bit => u64::from(vector.dimension) / 8,
        _ => u64::from(vector.dimension),
    }
}

/// Bytes per value in the file.
pub fn element_bytes(vector: VectorType) -> usize {
    (vector.row_bytes() / columns(vector)) as usize
}

impl Shape {
    pub fn of(target: &Target, layout: &Layout) -> Shape {
        let vector = target.vector();
        let row_bytes = vector.row_bytes();
        let rows = target.rows;
        let filtered = layout.filtered();
        let fit = |row_bytes: u64| {
            let bytes = if filtered {
                limits::HDF5_PACKED_CHUNK_BYTES
            } else {
                // All chunks of a file fit into one node of its index, however long the file is.
                let least = rows.saturating_mul(row_bytes) / limits::HDF5_CHUNKS_TYPICAL;
                least.max(limits::HDF5_CHUNK_BYTES)
            };
            bytes.div_ceil(row_bytes).clamp(1, rows.max(1))
        };
        let chunk_rows = layout.chunk_rows.unwrap_or_else(|| fit(row_bytes));
        let chunk_rows = chunk_rows.clamp(1, rows.max(1));
        // A whole number of chunks of vectors: this determines the order in which both are written.
        let id_chunk_rows =
            (fit(8).div_ceil(chunk_rows).saturating_mul(chunk_rows)).min(rows.max(1));
        Shape {
            rows,
            columns: columns(vector),
            element: vector.element,
            row_bytes,
            chunk_rows,
            id_chunk_rows,
            filters: layout.filters(element_bytes(vector)),
            id_filters: layout.filters(8),
        }
    }

    pub fn chunk_bytes(&self) -> u64 {
        self.chunk_rows.saturating_mul(self.row_bytes)
    }

    fn chunks(&self) -> u64 {
        let ids = self.rows.div_ceil(self.id_chunk_rows);
        self.rows.div_ceil(self.chunk_rows).max(ids)
    }
}

/// Bytes that a target needs on the disk, uncompressed.
pub fn bytes(target: &Target, layout: &Layout) -> u64 {
    let shape = Shape::of(target, layout);
    let whole = |chunk: u64| shape.rows.div_ceil(chunk).saturating_mul(chunk);
    let vectors = whole(shape.chunk_rows).saturating_mul(shape.row_bytes);
    let ids = whole(shape.id_chunk_rows).saturating_mul(8);
    // Index nodes: 40 bytes for each chunk and dataset; attributes and headers: some pages.
    let index = shape.chunks().saturating_mul(2 * 40 + 2);
    let total = vectors.saturating_add(ids).saturating_add(index);
    total.saturating_add(16 << 10)
}

/// Refuses values and chunks that HDF5 or this sink does not support.
pub fn check(target: &Target, layout: &Layout, path: &Path) -> Result<()> {
    if target.vector().element == Element::BFloat16 {
        let what = "HDF5 has no bfloat16 type that other programs read";
        return Err(Error::path(Kind::Unsupported, path, what)
            .hint("`as: float32` keeps the range, `as: float16` the size"));
    }
    let shape = Shape::of(target, layout);
    let (chunks, bytes) = (shape.chunks(), shape.chunk_bytes());
    let refuse = |what: String, hint: String| Err(Error::path(Kind::Job, path, what).hint(hint));
    if !layout.filtered() && chunks > limits::HDF5_CHUNKS_MAX {
        let least = shape.rows.div_ceil(limits::HDF5_CHUNKS_MAX);
        return refuse(
            format!(
                "chunk_rows: {} would create {chunks} chunks",
                shape.chunk_rows
            ),
            format!("use `chunk_rows: auto`, or at least {least}"),
        );
    }
    let most = match layout.filtered() {
        true => limits::HDF5_PACKED_CHUNK_BYTES_MAX,
        false => limits::HDF5_CHUNK_BYTES_MAX,
    };
    let most = most.max(shape.row_bytes);
    if bytes > most {
        return refuse(
            format!(
                "chunk_rows: {} would create chunks of {bytes} bytes",
                shape.chunk_rows
            ),
            format!(
                "use `chunk_rows: auto`, or at most {}",
                most / shape.row_bytes
            ),
        );
    }
    Ok(())
}

/// Where a file will be, and whether it may replace an existing one.
pub struct Claim {
    pub whole: PathBuf,
    pub replace: bool,
}

/// A file with its temporary name, in its final directory. Removed when dropped, unless it was kept.
pub struct Temporary {
    pub path: PathBuf,
    /// The final name, which it gets once it is complete.
    pub whole: PathBuf,
    replace: bool,
    kept: AtomicBool,
    /// Shows other runs that it is being written.
    lock: OnceLock<File>,
}

impl Claim {
    /// The temporary name of a file; a file with that name that a killed run left is removed.
    pub fn temporary(&self) -> Result<Temporary> {
        let Claim { whole, replace } = self;
        let name = whole.file_name().unwrap_or_default();
        let digest = crate::digest::name(name.as_encoded_bytes());
        let path = whole.with_file_name(format!(".milvusdm-{digest:016x}.tmp"));
        match File::open(&path) {
            Ok(left) => {
                // The program that writes it holds a lock. On file systems without locks, this is unknown.
                if let Err(std::fs::TryLockError::WouldBlock) = left.try_lock() {
                    let what = format!("is being written by another run, as {}", path.display());
                    return Err(Error::path(Kind::Job, whole, what));
                }
                std::fs::remove_file(&path)
                    .map_err(|e| Error::io(&path, "remove a file that an earlier run left", &e))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(&path, "check", &error)),
        }
        Ok(Temporary {
            path,
            whole: whole.to_owned(),
            replace: *replace,
            kept: AtomicBool::new(false),
            lock: OnceLock::new(),
        })
    }
}

impl Temporary {
    /// Locks the file that was created with this name. Best effort: not every file system has locks.
    fn lock(&self) {
        if let Ok(file) = File::open(&self.path) {
            let _ = file.try_lock();
            let _ = self.lock.set(file);
        }
    }

    /// Starts write-back early, so that the sync at the end has less to wait for. Best effort.
    pub fn write_back(&self, bytes: Range<u64>) {
        let len = NonZeroU64::new(bytes.end.saturating_sub(bytes.start));
        if let (Some(file), Some(len)) = (self.lock.get(), len) {
            // Pages that are not on disk yet stay in memory; their write-back starts here.
            let _ = rustix::fs::fadvise(file, bytes.start, Some(len), Advice::DontNeed);
        }
    }

    /// Syncs the whole file and gives it its final name.
    pub fn keep(&self) -> Result<()> {
        let io = |doing: &'static str| move |e: io::Error| Error::io(&self.whole, doing, &e);
        let file = File::open(&self.path).map_err(io("reopen it"))?;
        file.sync_all().map_err(io("sync"))?;
        self.rename()?;
        self.kept.store(true, Ordering::Release);
        if let Some(lock) = self.lock.get() {
            // Closing would suffice, but programs started in the meantime may have the same file open.
            let _ = lock.unlock();
        }
        let dir = self.whole.parent().filter(|p| !p.as_os_str().is_empty());
        let dir = File::open(dir.unwrap_or(Path::new("."))).map_err(io("open the directory"))?;
        dir.sync_all().map_err(io("sync the directory"))
    }

    fn rename(&self) -> Result<()> {
        let failed = |e: io::Error| Error::io(&self.whole, "rename the finished file", &e);
        if self.replace {
            return std::fs::rename(&self.path, &self.whole).map_err(failed);
        }
        let appeared = || {
            let what = "appeared while the new file was being written, and is left as it is";
            Err(Error::path(Kind::Job, &self.whole, what))
        };
        let here = rustix::fs::CWD;
        let renamed =
            rustix::fs::renameat_with(here, &self.path, here, &self.whole, RenameFlags::NOREPLACE);
        match renamed {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::EXIST) => appeared(),
            // Not every file system can refuse to replace.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                if self.whole.exists() {
                    return appeared();
                }
                std::fs::rename(&self.path, &self.whole).map_err(failed)
            }
            Err(error) => Err(failed(error.into())),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Acquire) {
            // It may never have been created.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Where the library puts chunks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// All of them when the dataset is created.
    Early,
    /// Each one when it is written.
    AsWritten,
    /// There are no chunks: the data is in one piece.
    OnePiece,
}

/// A new file with its attributes and empty datasets.
pub struct Made {
    pub file: hdf5::File,
    pub vectors: hdf5::Dataset,
    pub ids: hdf5::Dataset,
}

/// Creates the file of a target with its temporary name.
pub fn make(temporary: &Temporary, target: &Target, shape: &Shape, space: Space) -> Result<Made> {
    let made = build(&temporary.path, target, shape, space)
        .map_err(|e| h5::failed(Kind::Io, &temporary.whole, "create the file", &e))?;
    temporary.lock();
    Ok(made)
}

fn build(path: &Path, target: &Target, shape: &Shape, space: Space) -> hdf5::Result<Made> {
    let mut options = hdf5::File::with_options();
    // Nothing is placed between chunks: no other small data, and the index is one node, created before them.
    // The lock is ours, not the library's: that one could not be released before all processes that inherited the file
    // closed it.
    options.fapl().small_data_block_size(0).file_locking(false);
    if space == Space::Early {
        let entries = shape.chunks().clamp(64, limits::HDF5_CHUNKS_MAX);
        options.fcpl().istore_k(entries.div_ceil(2) as u32);
    }
    options.fcpl().obj_track_times(false);
    let file = options.create_excl(path)?;
    let (rows, columns) = (shape.rows as usize, shape.columns as usize);
    let mut vectors = file.new_dataset_builder();
    let mut ids = file.new_dataset_builder();
    for builder in [&mut vectors, &mut ids] {
        *builder = (builder.clone())
            .obj_track_times(false)
            .fill_time(FillTime::Never)
            .alloc_time(Some(match space {
                Space::Early | Space::OnePiece => AllocTime::Early,
                Space::AsWritten => AllocTime::Incr,
            }));
    }
    if space != Space::OnePiece {
        vectors = vectors.chunk((shape.chunk_rows as usize, columns));
        ids = ids.chunk(shape.id_chunk_rows as usize);
    }
    if space == Space::AsWritten {
        vectors = vectors.set_filters(&pipeline(&shape.filters));
        ids = ids.set_filters(&pipeline(&shape.id_filters));
    }
    let extents = (rows, columns);
    let vectors = match shape.element {
        Element::Float32 => vectors.empty::<f32>().shape(extents),
        Element::BFloat16 => return Err("bfloat16 should have been refused before".into()),
        Element::Float16 => vectors.empty::<half::f16>().shape(extents),
        Element::Int8 => vectors.empty::<i8>().shape(extents),
        Element::Bit => vectors.empty::<u8>().shape(extents),
    };
    let vectors = vectors.create(h5::VECTORS)?;
    let ids = ids.empty::<i64>().shape(rows).create(h5::IDS)?;
    if let Some(metric) = target.metric() {
        text(&file, attribute::METRIC, metric.name())?;
    }
    let dimension = i64::from(target.vector().dimension);
    let attr = file.new_attr::<i64>().create(attribute::DIMENSION)?;
    attr.write_scalar(&dimension)?;
    text(&file, attribute::COLLECTION, &target.name.collection)?;
    text(&file, attribute::PARTITION, &target.name.partition)?;
    text(&file, attribute::SOURCE, &target.source)?;
    text(&file, attribute::VERSION, env!("CARGO_PKG_VERSION"))?;
    Ok(Made { file, vectors, ids })
}

fn pipeline(filters: &[Filter]) -> Vec<hdf5::filters::Filter> {
    let name = |f: &Filter| match f {
        Filter::Shuffle(_) => hdf5::filters::Filter::Shuffle,
        Filter::Deflate(level) => hdf5::filters::Filter::Deflate(*level),
        Filter::Lzf => hdf5::filters::Filter::LZF,
        Filter::Fletcher32 => hdf5::filters::Filter::Fletcher32,
        Filter::Szip(_) => unreachable!("no layout uses szip, which is only read"),
    };
    filters.iter().map(name).collect()
}

/// A text attribute. Strings in HDF5 end at a NUL, so text that contains one is stored as bytes.
fn text(file: &hdf5::File, name: &str, value: &str) -> hdf5::Result<()> {
    match VarLenUnicode::from_str(value) {
        Ok(value) => {
            let attr = file.new_attr::<VarLenUnicode>().create(name)?;
            attr.write_scalar(&value)
        }
        Err(_) => {
            let attr = file.new_attr::<u8>().shape(value.len()).create(name)?;
            attr.write_raw(value.as_bytes())
        }
    }
}
