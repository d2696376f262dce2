//! Which rows has a segment, and which of them live? Looks at all its files when the source is opened; keeps none open.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::catalog::{self, Log, TIMESTAMP};
use super::columns::Shape;
use super::deletions::{Deletions, Group};
use super::log::{self, Field, Owner};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::input::{Access, Stamp, View};
use crate::limits;
use crate::schema::{Column, ColumnType, Scalar};
use crate::source::content;

/// A segment whose files were looked at.
#[derive(Debug)]
pub struct Segment {
    /// Its directory.
    pub dir: Arc<Path>,
    /// Stored rows, dead ones too.
    pub rows: u64,
    /// Rows that live.
    pub live: u64,
    /// Of what its files look like.
    pub identity: u64,
    /// Of samples of its files, and their numbers.
    pub content: u64,
    collection: i64,
    id: i64,
    commit_timestamp: u64,
    chunks: Vec<Chunk>,
    groups: Vec<Arc<Group>>,
    /// Live rows of each block; none where all live.
    blocks: Vec<u32>,
    access: Access,
}

/// Rows that lie in files of their own.
#[derive(Debug)]
struct Chunk {
    first: u64,
    rows: u64,
    /// The file of each column, where it has one of these rows.
    logs: Vec<Option<PathBuf>>,
    stamps: PathBuf,
}

impl Segment {
    /// Looks at a segment of a collection, and at the deletions that are about it.
    pub fn look(
        collection: i64,
        info: &catalog::Segment,
        shape: &Shape,
        groups: Vec<Arc<Group>>,
        access: Access,
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
            chunks: Vec::new(),
            groups,
            blocks: Vec::new(),
            access,
        };
        let logs = aligned(info, shape)?;
        let none = Vec::new();
        let stamps = info.fields.get(&TIMESTAMP).unwrap_or(&none);
        for (number, stamp) in stamps.iter().enumerate() {
            let view = log::open(&stamp.path, access)?;
            let rows = log::rows(&log::files(&view, segment.owner(TIMESTAMP))?);
            if stamp.rows > 0 && u64::try_from(stamp.rows) != Ok(rows) {
                let what = format!("has {rows} rows, the metadata say {}", stamp.rows);
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
            let file = log::open(path, access)?;
            let stamp = format!("{:?}", file.stamp());
            looks = digest::chained(looks, stamp.as_bytes());
            holds = digest::chained(holds, content(path, &file)?.as_bytes());
        }
        (segment.identity, segment.content) = (looks, holds);
        segment.live = segment.rows;
        if !segment.groups.is_empty() {
            segment.count(shape)?;
        }
        Ok(segment)
    }

    /// All its files, those with deletions among them.
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

    /// Counts live rows: keys and stamps are read once.
    fn count(&mut self, shape: &Shape) -> Result<()> {
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

    /// Live rows of a stretch that begins with a block.
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

    /// Complains when a file no longer looks as it did.
    pub fn unchanged(&self) -> Result<()> {
        let mut identity = 0;
        for path in self.paths() {
            let stamp = Stamp::at(path).map_err(|e| {
                let what = format!("the source is gone while it is read ({e})");
                Error::path(Kind::Changed, path, what)
            })?;
            let stamp = format!("{:?}", Some(stamp));
            identity = digest::chained(identity, stamp.as_bytes());
        }
        match identity == self.identity {
            true => Ok(()),
            false => {
                let what = "a file of this segment was changed while it is read";
                Err(Error::path(Kind::Changed, &self.dir, what)
                    .hint("leave the storage as it is meanwhile, or read a copy"))
            }
        }
    }
}

/// What a file holds, as far as samples tell.
fn content(path: &Path, file: &View) -> Result<String> {
    const SAMPLES: u64 = 2;
    let name = path.file_name().unwrap_or_default().display();
    let digest = match file.is_empty() {
        true => 0,
        false => content::sample(file, SAMPLES)?,
    };
    Ok(format!("{name} {} {digest:016x}", file.len()))
}

/// Complains of a segment whose files have another format.
fn supported(info: &catalog::Segment) -> Result<()> {
    let what = match info.storage_version {
        0 | 1 => return Ok(()),
        2 => "is of storage V2 (groups of columns in bare Parquet files, Milvus 2.6)".to_owned(),
        3 => "is of storage V3 (a manifest beside its files, Milvus 3.0)".to_owned(),
        other => format!("is of storage version {other}"),
    };
    let what = format!("{what}, which this program does not read yet");
    Err(Error::path(Kind::Unsupported, &info.dir, what)
        .hint("copy the collection from the running server: `source: {milvus: …}`"))
}

/// For each column, its log of each chunk. What was added to a collection later has none of the first chunks.
fn aligned<'i>(info: &'i catalog::Segment, shape: &Shape) -> Result<Vec<Vec<Option<&'i Log>>>> {
    let wrong = |what: String| Err(Error::path(Kind::Corrupt, &info.dir, what));
    let count = info.fields.get(&TIMESTAMP).map_or(0, Vec::len);
    if count == 0 && !info.fields.is_empty() {
        return wrong("the metadata name no logs of its moments (field 1)".to_owned());
    }
    let mut all = Vec::new();
    for (column, field) in shape.columns.all().iter().zip(&shape.fields) {
        let logs = info.fields.get(field).map_or(&[][..], |logs| logs);
        let may_lack = column.nullable || column.traits.default.is_some();
        let Some(lacking) = count
            .checked_sub(logs.len())
            .filter(|n| *n == 0 || may_lack)
        else {
            return wrong(format!(
                "the metadata name {} logs of field {field} (`{}`), and {count} of its moments: they do not fit",
                logs.len(),
                column.name
            ));
        };
        let lacking = std::iter::repeat_n(None, lacking);
        all.push(lacking.chain(logs.iter().map(Some)).collect());
    }
    Ok(all)
}

/// Values of some columns of a segment's rows, forward.
pub struct Stretch<'s> {
    segment: &'s Segment,
    shape: &'s Shape,
    which: Vec<usize>,
    deletions: Vec<Arc<Deletions>>,
    at: u64,
    end: u64,
    open: Option<Open>,
    /// The files that are open, and those that were since [`Stretch::forget`].
    pub views: Vec<View>,
}

struct Open {
    end: u64,
    fields: Vec<Field>,
    stamps: Option<Field>,
}

/// Rows side by side.
pub struct Rows {
    /// The number of the first in the segment.
    pub row: u64,
    /// A value for each, by column.
    pub values: Vec<ArrayRef>,
    /// Whether each is dead; empty where none can be.
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
        let groups = segment.groups.iter();
        Ok(Stretch {
            segment,
            shape,
            which,
            deletions: groups.map(|group| group.load()).collect::<Result<_>>()?,
            at: range.start,
            end: range.end,
            open: None,
            views: Vec::new(),
        })
    }

    /// Forgets files that are no longer read.
    pub fn forget(&mut self) {
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
        let dead = stamps.map_or(Vec::new(), |stamps| self.dead(&values, &stamps));
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

    /// Opens the files of the rows that come next.
    fn chunk(&mut self) -> Result<Open> {
        let chunks = &self.segment.chunks;
        let chunk = chunks
            .iter()
            .find(|chunk| self.at < chunk.first + chunk.rows);
        let Some(chunk) = chunk else {
            let what = format!("row {} is not there, it has {}", self.at, self.segment.rows);
            return Err(Error::path(Kind::Changed, &self.segment.dir, what));
        };
        let skip = self.at - chunk.first;
        let columns = self.shape.columns.all();
        let mut fields = Vec::with_capacity(self.which.len());
        for number in &self.which {
            let column = &columns[*number];
            fields.push(match &chunk.logs[*number] {
                None => Field::filled(column, column.traits.default.clone(), self.at),
                Some(path) => {
                    let owner = self.segment.owner(self.shape.fields[*number]);
                    field(
                        self.segment,
                        chunk,
                        path,
                        owner,
                        column,
                        skip,
                        &mut self.views,
                    )?
                }
            });
        }
        let stamps = match self.deletions.is_empty() {
            true => None,
            false => {
                let column = Column::new("timestamp", ColumnType::Scalar(Scalar::Int64));
                let owner = self.segment.owner(TIMESTAMP);
                let path = &chunk.stamps;
                let stamps = field(
                    self.segment,
                    chunk,
                    path,
                    owner,
                    &column,
                    skip,
                    &mut self.views,
                );
                Some(stamps?)
            }
        };
        Ok(Open {
            end: chunk.first + chunk.rows,
            fields,
            stamps,
        })
    }
}

fn field(
    segment: &Segment,
    chunk: &Chunk,
    path: &Path,
    owner: Owner,
    column: &Column,
    skip: u64,
    views: &mut Vec<View>,
) -> Result<Field> {
    let view = log::open(path, segment.access)?;
    let files = log::files(&view, owner)?;
    let rows = log::rows(&files);
    if rows != chunk.rows {
        let what = format!("has {rows} rows, others of its segment have {}", chunk.rows);
        return Err(view.corrupt(0, what));
    }
    views.push(view);
    Field::new(column, files, chunk.first, skip)
}
