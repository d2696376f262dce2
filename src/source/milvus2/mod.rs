//! How is Milvus 2.x read at rest? Metadata from etcd, etcd's file or a backup; rows from segment files, storage V1
//! and V2, on a disk or in a bucket. Never writes, locks or creates anything, and never calls Milvus.
//!
//! Only live data is migrated: existing collections and partitions, segments with flushed rows that were not dropped
//! or merged into others, rows whose key was not deleted after they were written. Rows that were never flushed are only
//! in the log of a running server: they are counted and reported, with the time up to which the data is complete.

mod backup;
mod catalog;
mod columns;
mod deletions;
mod etcd;
mod files;
mod groups;
mod inspect;
mod live;
mod log;
mod meta;
mod reader;
mod segment;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::input::Volume;
use crate::limits;
use crate::milvus::proto::segment_state;

use super::choose::Choice;
use super::content::SAMPLED;
use super::{Reader, Source, Survey};
use catalog::{ALL_PARTITIONS, Collection};
use columns::Shape;
use deletions::{Deletions, Group};
use segment::Segment;

pub use backup::BACKUP;
pub use files::FILES;
pub use inspect::{Description, inspect};

/// An opened installation or backup: its live data and where they are.
struct Stored {
    /// Its place as the job names it.
    place: String,
    tables: Vec<Table>,
    segments: Vec<Segment>,
    /// Which segments were opened for reading.
    touched: Vec<AtomicBool>,
    warnings: Vec<String>,
    identity: BTreeMap<String, String>,
    content: BTreeMap<String, String>,
    /// Whether its files are in a bucket.
    is_remote: bool,
}

/// What will become one target: a partition, or a collection whose rows determine their partition themselves.
struct Table {
    name: TargetName,
    shape: Shape,
    segments: Range<usize>,
}

/// Whether a column of a collection determines partitions.
fn has_partition_key(collection: &Collection) -> bool {
    let mut fields = collection.schema.fields.iter();
    fields.any(|field| field.is_partition_key)
}

/// The names of collections and of their selectable partitions.
fn named(collections: &[Collection]) -> Vec<(&str, Vec<&str>)> {
    let named = collections.iter().map(|collection| {
        let tags = collection.partitions.iter().map(|part| &*part.tag);
        let tags = match has_partition_key(collection) {
            true => vec![""],
            false => tags.collect(),
        };
        (&*collection.name, tags)
    });
    named.collect()
}

impl Stored {
    /// Opens the selected collections. `place` is where they are, `meta` is where their metadata is.
    fn open(
        collections: &[Collection],
        choice: &Choice,
        place: &Path,
        meta: &Path,
        volume: &Volume,
    ) -> Result<Stored> {
        let mut source = Stored {
            place: place.display().to_string(),
            tables: Vec::new(),
            segments: Vec::new(),
            touched: Vec::new(),
            warnings: Vec::new(),
            identity: BTreeMap::from([
                ("directory".to_owned(), place.display().to_string()),
                ("metadata".to_owned(), meta.display().to_string()),
            ]),
            content: BTreeMap::new(),
            is_remote: volume.is_remote(),
        };
        let mut looked_at = Vec::new();
        let mut chosen = choice
            .choose(&named(collections), meta)?
            .into_iter()
            .peekable();
        while let Some(first) = chosen.next() {
            let mut partitions = vec![first.partition];
            while let Some(more) = chosen.next_if(|more| more.collection == first.collection) {
                partitions.push(more.partition);
            }
            source.add(&collections[first.collection], &partitions, volume)?;
            looked_at.push(&collections[first.collection]);
        }
        source.warnings = warnings(&looked_at);
        for (number, table) in source.tables.iter().enumerate() {
            if source.tables[..number]
                .iter()
                .any(|other| other.name == table.name)
            {
                let what = format!("{} is in several databases", table.name);
                return Err(Error::path(Kind::Job, meta, what)
                    .hint("select one with `db:`; a job for each database can write them to different places"));
            }
        }
        Ok(source)
    }

    /// Opens all segments of some partitions of a collection.
    fn add(&mut self, of: &Collection, partitions: &[usize], volume: &Volume) -> Result<()> {
        let shape = Shape::of(of)?;
        for dir in roots(of) {
            volume.know(&dir)?;
        }
        let is_text = matches!(
            shape.columns.key().kind,
            crate::schema::ColumnType::VarChar { .. }
        );
        let lineage = Arc::new(of.lineage());
        let mut apart: BTreeMap<(i64, &str), Vec<catalog::Log>> = BTreeMap::new();
        for segment in of.segments.iter().filter(|segment| segment.is_level_0) {
            let logs = apart
                .entry((segment.partition, &segment.channel))
                .or_default();
            logs.extend(segment.deletions.iter().cloned());
        }
        let apart = apart.into_iter().map(|((partition, channel), logs)| {
            (
                partition,
                channel,
                Arc::new(Group::new(of.id, logs, &lineage, is_text, volume)),
            )
        });
        let apart: Vec<(i64, &str, Arc<Group>)> = apart.collect();
        // Held, so that they are read only once for all segments.
        let held: Vec<Option<Arc<Deletions>>> = (apart.iter())
            .map(|(_, _, group)| group.load())
            .collect::<Result<_>>()?;
        for number in partitions {
            let first = self.segments.len();
            let partition = &of.partitions[*number];
            let is_here = |segment: &&catalog::Segment| {
                let here = shape.has_partition_key || segment.partition == partition.id;
                here && !segment.is_level_0
            };
            let (mut identity, mut content) = (0, 0);
            for info in of.segments.iter().filter(is_here) {
                let own = Group::new(of.id, info.deletions.clone(), &lineage, is_text, volume);
                let others = apart.iter().filter(|(partition, channel, _)| {
                    let same =
                        *channel == info.channel || channel.is_empty() || info.channel.is_empty();
                    same && [ALL_PARTITIONS, info.partition].contains(partition)
                });
                let groups = others
                    .map(|(_, _, group)| group.clone())
                    .chain([Arc::new(own)]);
                let groups = groups.filter(|group| !group.is_empty()).collect();
                let segment = Segment::look(of.id, info, &shape, groups, volume)?;
                identity = digest::chained(identity, &segment.identity.to_le_bytes());
                content = digest::chained(content, &segment.content.to_le_bytes());
                self.segments.push(segment);
                self.touched.push(AtomicBool::new(false));
            }
            let name = TargetName {
                collection: of.name.clone(),
                partition: match shape.has_partition_key {
                    true => String::new(),
                    false => partition.tag.clone(),
                },
            };
            let segments = first..self.segments.len();
            let about = format!("collection {name} ({}, number {})", of.db, of.id);
            let columns = &shape.columns;
            let count = segments.len();
            self.identity.insert(
                about.clone(),
                format!("{columns}, {count} segments, files {identity:016x}"),
            );
            let rows: u64 = self.segments[segments.clone()].iter().map(|s| s.live).sum();
            self.content.insert(
                about,
                format!(
                    "{columns}, {rows} rows, {count} segments, {SAMPLED} digest {content:016x}"
                ),
            );
            self.tables.push(Table {
                name,
                shape: shape.clone(),
                segments,
            });
        }
        drop(held);
        Ok(())
    }

    /// The target and the segment with a number. Segments are numbered across all targets in order.
    fn segment(&self, part: usize) -> Option<(&Table, &Segment)> {
        let first = self.tables.partition_point(|t| t.segments.end <= part);
        let found = (self.tables.get(first)?, self.segments.get(part)?);
        self.touched[part].store(true, Ordering::Relaxed);
        Some(found)
    }
}

/// The directories that hold all files of a collection, including those of its partitions.
fn roots(of: &Collection) -> BTreeSet<PathBuf> {
    let id = of.id.to_string();
    let logs = of.segments.iter().flat_map(|segment| {
        let fields = segment.fields.values().flatten();
        fields.chain(&segment.deletions).map(|log| &log.path)
    });
    let root = |path: &PathBuf| {
        let mut above = path.ancestors();
        let found = above.find(|dir| dir.file_name().is_some_and(|name| *name == *id));
        found.map(Path::to_owned)
    };
    logs.filter_map(root).collect()
}

/// Warns about what is missing from the segments of these collections, according to their metadata.
fn warnings(collections: &[&Collection]) -> Vec<String> {
    let at = |stamp: u64| format!("as of {}", moment(catalog::millis(stamp)));
    let mut warnings = Vec::new();
    for of in collections {
        let what = unflushed(of);
        if !what.is_empty() {
            let at = of
                .as_of
                .map_or(String::new(), |stamp| format!(" {},", at(stamp)));
            warnings.push(format!(
                "{}:{at} rows and deletions that were not flushed are not in its storage and will not be migrated: {}. To \
                 migrate everything, stop the writers and flush it",
                of.name,
                what.join(", ")
            ));
        }
    }
    let whole = collections.iter().filter(|of| unflushed(of).is_empty());
    if let Some(first) = whole.filter_map(|of| of.as_of).min() {
        let at = at(first);
        warnings.push(format!(
            "{at}: what was written later is not in the storage"
        ));
    }
    warnings
}

/// Segments of a collection that are missing from its storage or incomplete.
fn unflushed(of: &Collection) -> Vec<String> {
    let open = [segment_state::GROWING, segment_state::SEALED];
    let partly = of
        .segments
        .iter()
        .filter(|segment| open.contains(&segment.state))
        .count();
    let mut what = Vec::new();
    for (why, (count, rows)) in &of.skipped {
        if catalog::WAITING.contains(&why.as_str()) {
            let rows = match rows {
                0 => String::new(),
                rows => format!(" ({rows} rows)"),
            };
            what.push(format!("{} {why}{rows}", segments(*count)));
        }
    }
    if partly > 0 {
        what.push(format!("the unflushed part of {}", segments(partly as u64)));
    }
    what
}

fn segments(count: u64) -> String {
    format!("{count} segment{}", if count == 1 { "" } else { "s" })
}

/// A time in UTC.
fn moment(millis: u64) -> String {
    crate::schema::moment::shown((millis / 1000 * 1_000_000) as i64)
}

impl Source for Stored {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let mut manifest = Manifest {
            targets: Vec::new(),
            shards: Vec::new(),
        };
        for (number, table) in (0u32..).zip(&self.tables) {
            let all = &self.segments[table.segments.clone()];
            let rows = all.iter().map(|s| s.live).sum();
            let stored: u64 = all.iter().map(|s| s.rows).sum();
            let shard_rows = shard_rows(stored, table.shape.columns.row_bytes().0, limits);
            let mut first_row = 0;
            for (part, segment) in table.segments.clone().zip(all) {
                let mut start = 0;
                while start < segment.rows {
                    let end = segment.rows.min(start.saturating_add(shard_rows));
                    let live = segment.live_in(start, end);
                    if live > 0 {
                        let id = segment.dir.file_name().unwrap_or_default().display();
                        manifest.shards.push(Shard {
                            number: manifest.shards.len() as u32,
                            target: number,
                            part: part as u32,
                            name: format!("{} segment {id} rows {start}..{end}", table.name),
                            rows: live,
                            first_row,
                            start: Position::Row(start),
                            end: Position::Row(end),
                        });
                        first_row += live;
                    }
                    start = end;
                }
            }
            manifest.targets.push(Target {
                number,
                name: table.name.clone(),
                columns: table.shape.columns.clone(),
                traits: table.shape.traits.clone(),
                keys: Keys::Stored,
                auto_id: table.shape.auto_id,
                rows,
                rows_deleted: stored - rows,
                source: self.place.clone(),
            });
        }
        Ok(Survey {
            manifest,
            identity: self.identity.clone(),
            warnings: self.warnings.clone(),
            indexes_differ: None,
        })
    }

    fn reads_at_once(&self) -> Option<usize> {
        self.is_remote.then_some(limits::REMOTE_READS_AT_ONCE)
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        Ok(Some(self.content.clone()))
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        Ok(Box::new(reader::Live::open(self, shard, &from, limits)?))
    }

    /// Checks all segments opened so far. The metadata may change meanwhile: the files that it named are what is read.
    fn unchanged(&self) -> Result<()> {
        for (segment, touched) in self.segments.iter().zip(&self.touched) {
            if touched.load(Ordering::Relaxed) {
                segment.unchanged()?;
            }
        }
        Ok(())
    }
}

/// Stored rows of a shard: a share of the target, at least a few batches, and whole blocks.
fn shard_rows(rows: u64, row_bytes: u64, limits: Limits) -> u64 {
    const BATCHES_MIN: u64 = 8;
    let batch = (limits.batch_bytes / row_bytes.max(1)).min(limits.batch_rows);
    let share = rows.div_ceil(limits::SHARDS_PER_TARGET);
    share
        .max(batch.saturating_mul(BATCHES_MIN))
        .max(1)
        .div_ceil(limits::LIVE_BLOCK_ROWS)
        .saturating_mul(limits::LIVE_BLOCK_ROWS)
}
