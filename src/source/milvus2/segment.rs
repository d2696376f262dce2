//! Which rows does a segment have, and which are live? Scans all its files when the source is opened; keeps none open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::catalog::{self, Log, TIMESTAMP};
use super::columns::Shape;
use super::deletions::{Deletions, Group, Share};
use super::groups::{self, GROUPED, Opened};
use super::log::{self, Field, Owner, Stored};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::input::{View, Volume};
use crate::limits;
use crate::parquet::File;
use crate::schema::{Column, ColumnType, Scalar};
use crate::source::content;

/// A segment whose files were scanned.
#[derive(Debug)]
pub struct Segment {
    /// Its directory.
    pub dir: Arc<Path>,
    /// Stored rows, including dead ones.
    pub rows: u64,
    /// Live rows.
    pub live: u64,
    /// A digest of the identities of its files.
    pub identity: u64,
    /// A digest of samples of its files, and of their names and lengths.
    pub content: u64,
    collection: i64,
    id: i64,
    commit_timestamp: u64,
    /// Whether each of its files holds a group of columns.
    is_grouped: bool,
    chunks: Vec<Chunk>,
    groups: Vec<Arc<Group>>,
    /// The number of live rows in each block; empty if all rows are live.
    blocks: Vec<u32>,
    /// Which rows are dead, one bit each, if there are too many deletions to hold at once.
    dead: Option<Vec<u64>>,
    volume: Volume,
}

/// A range of rows with its own files.
#[derive(Debug)]
struct Chunk {
    first: u64,
    rows: u64,
    /// The file of each column, if it has any of these rows.
    logs: Vec<Option<PathBuf>>,
    stamps: PathBuf,
}

impl Segment {
    /// Scans a segment of a collection and the deletions that apply to it.
    pub fn look(
        collection: i64,
        info: &catalog::Segment,
        shape: &Shape,
        groups: Vec<Arc<Group>>,
        volume: &Volume,
    ) -> Result<Segment> {
        supported(info)?;
        let mut segment = Segment {
            dir: info.dir.as_path().into(),
            rows: 0,
            live: 0,
            identity: 0,
            content: 0,
            collection,
            id: info.id,
            commit_timestamp: info.commit_timestamp,
            is_grouped: info.storage_version == GROUPED,
            chunks: Vec::new(),
            groups,
            blocks: Vec::new(),
            dead: None,
            volume: volume.clone(),
        };
        let grouped = match segment.is_grouped {
            true => Some(groups::fields(info, volume)?),
            false => None,
        };
        let fields = grouped.as_ref().unwrap_or(&info.fields);
        let logs = aligned(info, fields, shape)?;
        let none = Vec::new();
        let stamps = fields.get(&TIMESTAMP).unwrap_or(&none);
        for (number, stamp) in stamps.iter().enumerate() {
            let view = log::open(&stamp.path, volume)?;
            let rows = match segment.is_grouped {
                true => File::of(view.clone())?.rows,
                false => log::rows(&log::files(&view, segment.owner(TIMESTAMP))?),
            };
            if stamp.rows > 0 && u64::try_from(stamp.rows) != Ok(rows) {
                let what = format!("has {rows} rows, but the metadata records {}", stamp.rows);
                return Err(view.corrupt(0, what));
            }
            segment.chunks.push(Chunk {
                first: segment.rows,
                rows,
                logs: logs
                    .iter()
                    .map(|logs| logs[number].map(|log| log.path.clone()))
                    .collect(),
                stamps: stamp.path.clone(),
            });
            segment.rows += rows;
        }
        let (mut looks, mut holds) = (0, 0);
        for path in segment.paths() {
            let file = log::open(path, volume)?;
            let stamp = format!("{:?}", file.stamp());
            looks = digest::chained(looks, stamp.as_bytes());
            holds = digest::chained(holds, content(path, &file, volume.is_remote())?.as_bytes());
        }
        (segment.identity, segment.content) = (looks, holds);
        segment.live = segment.rows;
        if !segment.groups.is_empty() {
            segment.count(shape)?;
        }
        Ok(segment)
    }

    /// All its files, including those with deletions.
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let chunks = self.chunks.iter();
        let logs = chunks.flat_map(|c| c.logs.iter().flatten().chain([&c.stamps]));
        logs.chain(self.groups.iter().flat_map(|group| group.paths()))
    }

    fn owner(&self, field: i64) -> Owner {
        Owner {
            collection: self.collection,
            segment: self.id,
            field,
        }
    }

    /// Marks dead rows if there are too many deletions to hold at once, a share of the keys at a time.
    fn mark(&mut self, shape: &Shape) -> Result<()> {
        let mut of = 2;
        while of <= limits::DELETION_SHARES_MAX {
            if let Some(dead) = self.marked(shape, of)? {
                self.dead = Some(dead);
                return Ok(());
            }
            of *= 2;
        }
        let what = "has more deleted keys than this program can process";
        Err(Error::path(Kind::Unsupported, &self.dir, what)
            .hint("compact the collection in Milvus (pymilvus: Collection.compact), and flush it"))
    }

    /// Finds dead rows with this many shares: one bit for each row; `None` if a share is still too large.
    fn marked(&self, shape: &Shape, of: u64) -> Result<Option<Vec<u64>>> {
        let key = shape.columns.key_number();
        let mut dead = vec![0u64; self.rows.div_ceil(64) as usize];
        for number in 0..of {
            let mut all = Vec::with_capacity(self.groups.len());
            for group in &self.groups {
                match group.share(Share { number, of })? {
                    Some(deletions) => all.push(Arc::new(deletions)),
                    None => return Ok(None),
                }
            }
            let mut stretch = Stretch::of(self, shape, vec![key], 0..self.rows, all);
            while let Some(found) = stretch.next()? {
                for (row, _) in (found.row..).zip(&found.dead).filter(|(_, dead)| **dead) {
                    dead[(row / 64) as usize] |= 1 << (row % 64);
                }
            }
        }
        Ok(Some(dead))
    }

    /// Counts live rows: keys and timestamps are read once.
    fn count(&mut self, shape: &Shape) -> Result<()> {
        let mut is_too_much = false;
        for group in &self.groups {
            is_too_much = is_too_much || group.load()?.is_none();
        }
        if is_too_much {
            self.mark(shape)?;
        }
        let block = limits::LIVE_BLOCK_ROWS;
        let mut blocks = vec![0u32; self.rows.div_ceil(block) as usize];
        let key = shape.columns.key_number();
        let mut stretch = Stretch::new(self, shape, vec![key], 0..self.rows)?;
        while let Some(found) = stretch.next()? {
            for (row, dead) in (found.row..).zip(&found.dead) {
                blocks[(row / block) as usize] += u32::from(!dead);
            }
        }
        self.live = blocks.iter().map(|live| u64::from(*live)).sum();
        self.blocks = blocks;
        Ok(())
    }

    /// The number of live rows of a range that begins at a block boundary.
    pub fn live_in(&self, start: u64, end: u64) -> u64 {
        let block = limits::LIVE_BLOCK_ROWS;
        match self.blocks.is_empty() {
            true => end - start,
            false => {
                let blocks = (start / block) as usize..end.div_ceil(block) as usize;
                self.blocks[blocks].iter().map(|n| u64::from(*n)).sum()
            }
        }
    }

    /// Returns an error if a file has changed.
    pub fn unchanged(&self) -> Result<()> {
        // Reads from a bucket return the objects that were scanned, or fail.
        if self.volume.is_remote() {
            return Ok(());
        }
        let mut identity = 0;
        for path in self.paths() {
            let stamp = format!("{:?}", Some(self.volume.stamp(path)?));
            identity = digest::chained(identity, stamp.as_bytes());
        }
        match identity == self.identity {
            true => Ok(()),
            false => {
                let what = "a file of this segment changed while it was being read";
                Err(Error::path(Kind::Changed, &self.dir, what)
                    .hint("do not change the storage during the job, or read a copy"))
            }
        }
    }
}

/// A digest of a file's content, from samples.
fn content(path: &Path, file: &View, is_remote: bool) -> Result<String> {
    const SAMPLES: u64 = 2;
    let name = path.file_name().unwrap_or_default().display();
    let digest = match file.stamp() {
        _ if file.is_empty() => 0,
        // A bucket has its own digest of each object.
        Some(stamp) if is_remote => stamp.inode.1,
        _ => content::sample(file, SAMPLES)?,
    };
    Ok(format!("{name} {} {digest:016x}", file.len()))
}

/// Refuses a segment whose files have another format.
fn supported(info: &catalog::Segment) -> Result<()> {
    let what = match info.storage_version {
        0 | 1 | GROUPED => return Ok(()),
        3 => "uses storage V3 (Milvus 3.0, where an Avro manifest names the files)".to_owned(),
        other => format!("uses storage version {other}"),
    };
    let what = format!("{what}, which this program does not read");
    Err(Error::path(Kind::Unsupported, &info.dir, what)
        .hint("copy the collection from the running server: `source: {milvus: …}`"))
}

/// For each column, its log in each chunk. A column added to a collection later has none for the first chunks.
fn aligned<'i>(
    info: &catalog::Segment,
    logs_of: &'i BTreeMap<i64, Vec<Log>>,
    shape: &Shape,
) -> Result<Vec<Vec<Option<&'i Log>>>> {
    let wrong = |what: String| Err(Error::path(Kind::Corrupt, &info.dir, what));
    let count = logs_of.get(&TIMESTAMP).map_or(0, Vec::len);
    if count == 0 && !logs_of.is_empty() {
        return wrong("the metadata names no logs of its timestamps (field 1)".to_owned());
    }
    let mut all = Vec::new();
    for (column, field) in shape.columns.all().iter().zip(&shape.fields) {
        let logs = logs_of.get(field).map_or(&[][..], |logs| logs);
        let may_lack = column.nullable || column.traits.default.is_some();
        let Some(lacking) = count
            .checked_sub(logs.len())
            .filter(|n| *n == 0 || may_lack)
        else {
            return wrong(format!(
                "the metadata names {} logs of field {field} (`{}`), but {count} logs of its timestamps",
                logs.len(),
                column.name
            ));
        };
        let lacking = std::iter::repeat_n(None, lacking);
        all.push(lacking.chain(logs.iter().map(Some)).collect());
    }
    Ok(all)
}

/// Values of some columns of a segment's rows, read forward.
pub struct Stretch<'s> {
    segment: &'s Segment,
    shape: &'s Shape,
    which: Vec<usize>,
    deletions: Vec<Arc<Deletions>>,
    at: u64,
    end: u64,
    open: Option<Open>,
    /// Files that are open, or were open since the last [`Stretch::evict`].
    pub views: Vec<View>,
}

struct Open {
    end: u64,
    fields: Vec<Field>,
    stamps: Option<Field>,
}

/// Rows in parallel columns.
pub struct Rows {
    /// The number of the first row in the segment.
    pub row: u64,
    /// A value for each row, by column.
    pub values: Vec<ArrayRef>,
    /// Whether each row is dead; empty if none can be.
    pub dead: Vec<bool>,
}

impl<'s> Stretch<'s> {
    /// These columns of a range of rows.
    pub fn new(
        segment: &'s Segment,
        shape: &'s Shape,
        which: Vec<usize>,
        range: std::ops::Range<u64>,
    ) -> Result<Stretch<'s>> {
        let mut deletions = Vec::new();
        if segment.dead.is_none() {
            for group in &segment.groups {
                let all = group.load()?.ok_or_else(|| {
                    let what = "has more deletions than when it was opened";
                    Error::path(Kind::Changed, &segment.dir, what)
                })?;
                deletions.push(all);
            }
        }
        Ok(Stretch::of(segment, shape, which, range, deletions))
    }

    /// The same with these deletions.
    fn of(
        segment: &'s Segment,
        shape: &'s Shape,
        which: Vec<usize>,
        range: std::ops::Range<u64>,
        deletions: Vec<Arc<Deletions>>,
    ) -> Stretch<'s> {
        Stretch {
            segment,
            shape,
            which,
            deletions,
            at: range.start,
            end: range.end,
            open: None,
            views: Vec::new(),
        }
    }

    /// Forgets files that are no longer read.
    pub fn evict(&mut self) {
        if self.open.is_none() {
            self.views.clear();
        }
    }

    /// The next rows; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Rows>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.chunk()?,
        };
        let mut count = (open.end.min(self.end) - self.at) as usize;
        for field in open.fields.iter_mut().chain(&mut open.stamps) {
            count = count.min(field.ready()?);
        }
        if count == 0 {
            let what = format!("row {} has no value in one of its fields", self.at);
            return Err(Error::path(Kind::Corrupt, &self.segment.dir, what));
        }
        let row = self.at;
        let values: Vec<ArrayRef> = open.fields.iter_mut().map(|f| f.take(count)).collect();
        let stamps = open.stamps.as_mut().map(|stamps| stamps.take(count));
        let dead = match (&self.segment.dead, stamps) {
            (_, Some(stamps)) => self.dead(&values, &stamps),
            (Some(bits), None) => (row..row + count as u64)
                .map(|row| bits[(row / 64) as usize] >> (row % 64) & 1 == 1)
                .collect(),
            (None, None) => Vec::new(),
        };
        self.at += count as u64;
        if self.at < open.end {
            self.open = Some(open);
        }
        Ok(Some(Rows { row, values, dead }))
    }

    fn dead(&self, values: &[ArrayRef], stamps: &ArrayRef) -> Vec<bool> {
        let key = self.shape.columns.key_number();
        let key = self.which.iter().position(|number| *number == key);
        let keys = &values[key.expect("the key is always read")];
        let stamps: Vec<u64> = match self.segment.commit_timestamp {
            0 => {
                let all = stamps.as_primitive::<Int64Type>().values();
                all.iter().map(|at| *at as u64).collect()
            }
            all => vec![all; keys.len()],
        };
        let mut dead = vec![false; keys.len()];
        for deletions in &self.deletions {
            deletions.dead(keys, &stamps, &mut dead);
        }
        dead
    }

    /// Opens the files of the next rows.
    fn chunk(&mut self) -> Result<Open> {
        let chunks = &self.segment.chunks;
        let chunk = chunks
            .iter()
            .find(|chunk| self.at < chunk.first + chunk.rows);
        let Some(chunk) = chunk else {
            let what = format!(
                "row {} does not exist: the segment has {} rows",
                self.at, self.segment.rows
            );
            return Err(Error::path(Kind::Changed, &self.segment.dir, what));
        };
        let skip = self.at - chunk.first;
        let columns = self.shape.columns.all();
        let (mut fields, mut opened) = (Vec::with_capacity(self.which.len()), Opened::default());
        let mut open = |path: &Path, field: i64, column: &Column| {
            let segment = self.segment;
            let files = match segment.is_grouped {
                true => vec![opened.column(path, field, &segment.volume)?],
                false => {
                    let view = log::open(path, &segment.volume)?;
                    log::files(&view, segment.owner(field))?
                }
            };
            let views = files.iter().map(|stored| stored.file.view.clone());
            self.views.extend(views);
            values(chunk, files, column, skip)
        };
        for number in &self.which {
            let column = &columns[*number];
            fields.push(match &chunk.logs[*number] {
                None => Field::filled(column, column.traits.default.clone(), self.at),
                Some(path) => open(path, self.shape.fields[*number], column)?,
            });
        }
        let stamps = match self.deletions.is_empty() {
            true => None,
            false => {
                let column = Column::new("timestamp", ColumnType::Scalar(Scalar::Int64));
                Some(open(&chunk.stamps, TIMESTAMP, &column)?)
            }
        };
        Ok(Open {
            end: chunk.first + chunk.rows,
            fields,
            stamps,
        })
    }
}

/// The values of a column in a chunk, except those of its first `skip` rows.
fn values(chunk: &Chunk, files: Vec<Stored>, column: &Column, skip: u64) -> Result<Field> {
    let rows = log::rows(&files);
    if rows != chunk.rows
        && let Some(first) = files.first()
    {
        let what = format!(
            "has {rows} rows, but other files of its segment have {}",
            chunk.rows
        );
        return Err(first.file.view.corrupt(0, what));
    }
    Field::new(column, files, chunk.first, skip)
}
