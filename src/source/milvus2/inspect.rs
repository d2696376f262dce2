//! What does a storage, a backup or an etcd file hold, and how much of it can be recovered?
//! Also describes what the source would refuse; counts live rows if the files exist.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::catalog::{self, ALL_PARTITIONS, Collection, Lineage};
use super::columns::Shape;
use super::deletions::Group;
use super::files::{Place, is_root};
use super::segment::Segment;
use super::{backup, etcd, meta, moment};
use crate::error::{Error, Result};
use crate::format::bbolt;
use crate::input::{Access, View, Volume};
use crate::schema::ColumnType;
use crate::store::{self, Login};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// What it is.
    pub kind: String,
    /// Where it is.
    pub path: String,
    /// Where the metadata is.
    pub metadata: String,
    /// Live collections, in order of creation.
    pub collections: Vec<DescribedCollection>,
    /// What can be recovered, in one sentence.
    pub recovery: String,
}

/// A collection.
#[derive(Clone, Debug, Serialize)]
pub struct DescribedCollection {
    /// The database it is in.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its columns, or what is wrong with them if they cannot be read.
    pub columns: String,
    /// Its aliases.
    pub aliases: Vec<String>,
    /// Its indexes, such as `v HNSW L2`.
    pub indexes: Vec<String>,
    /// Its partitions, the default one first.
    pub partitions: Vec<DescribedPartition>,
    /// Segments that are not read, by kind: how many there are, and their rows according to the metadata.
    pub skipped: BTreeMap<String, (u64, i64)>,
    /// Segments that only hold deletions.
    pub segments_of_deletions: u64,
    /// The number of segments by storage version.
    pub storage_versions: BTreeMap<i64, u64>,
    /// The time up to which all writes are in its segments.
    pub as_of: Option<String>,
    /// Why none of it can be recovered; `None` if some can.
    pub problem: Option<String>,
}

/// A partition.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DescribedPartition {
    /// Its name.
    pub name: String,
    /// Live rows that can be recovered; `null` if their files were not examined.
    pub rows: Option<u64>,
    /// Rows that were deleted or replaced but are still stored.
    pub rows_deleted: Option<u64>,
    /// Stored rows according to the metadata.
    pub rows_in_metadata: i64,
    /// Segments.
    pub segments: u64,
    /// Segments that cannot be recovered, each with the reason.
    pub problems: Vec<String>,
}

/// Describes what is at this path; `None` if it does not belong to Milvus 2.x.
pub fn inspect(path: &Path) -> Result<Option<Description>> {
    let volume = store::volume(path, Access::Map, &Login::default())?;
    if volume.is_remote() || path.is_dir() {
        if backup::is_backup(path, &volume)? {
            let found = backup::read(path, &volume)?;
            let kind = format!("backup {} of Milvus {}", found.name, found.version);
            let meta = found.meta.display().to_string();
            return Ok(Some(describe(
                kind,
                path,
                meta,
                &found.collections,
                Some(&volume),
            )));
        }
        let place = match Place::find(path, None, &volume) {
            Ok(place) => place,
            Err(error) => {
                let mut is_ours = volume.is_remote();
                for dir in ["", "data", "files"] {
                    is_ours = is_ours || is_root(&path.join(dir), &volume)?;
                }
                return if is_ours { Err(error) } else { Ok(None) };
            }
        };
        let keys = etcd::read(&place.meta, &volume, None)?;
        let all = meta::collections(&keys, &place.root)?;
        let kind = "storage of Milvus 2.x".to_owned();
        let told = told(&keys);
        return Ok(Some(describe(kind, &place.root, told, &all, Some(&volume))));
    }
    if !bbolt::is_bbolt(&View::open(path, Access::Map)?) {
        return Ok(None);
    }
    let keys = etcd::read(path, &volume, None)?;
    let all = meta::collections(&keys, Path::new(""))?;
    let kind = "metadata of Milvus 2.x in etcd's file".to_owned();
    Ok(Some(describe(kind, path, told(&keys), &all, None)))
}

fn told(keys: &etcd::Keys) -> String {
    format!("{}, keys below {}", keys.file.display(), keys.prefix)
}

fn describe(
    kind: String,
    path: &Path,
    metadata: String,
    all: &[Collection],
    volume: Option<&Volume>,
) -> Description {
    let collections: Vec<_> = all.iter().map(|of| collection(of, volume)).collect();
    Description {
        kind,
        path: path.display().to_string(),
        metadata,
        recovery: recovery(&collections, volume.is_some()),
        collections,
    }
}

fn collection(of: &Collection, volume: Option<&Volume>) -> DescribedCollection {
    let shape = Shape::of(of);
    let mut versions = BTreeMap::new();
    for segment in &of.segments {
        *versions.entry(segment.storage_version.max(1)).or_default() += 1;
    }
    let index = |index: &catalog::Index| {
        let (metric, made) = crate::milvus::described::index(&index.params);
        let metric = metric.map_or(String::new(), |metric| format!(" {metric}"));
        format!("{} {}{metric}", index.field, made.kind)
    };
    let partitions = of.partitions.iter();
    let lineage = Arc::new(of.lineage());
    DescribedCollection {
        database: of.db.clone(),
        name: of.name.clone(),
        columns: match &shape {
            Ok(shape) => shape.columns.to_string(),
            Err(error) => error.what().to_owned(),
        },
        aliases: of.aliases.clone(),
        indexes: of.indexes.iter().map(index).collect(),
        partitions: partitions
            .map(|part| partition(of, part, &lineage, shape.as_ref().ok().zip(volume)))
            .collect(),
        skipped: of.skipped.clone(),
        segments_of_deletions: of.segments.iter().filter(|s| s.is_level_0).count() as u64,
        storage_versions: versions,
        as_of: of.as_of.map(|stamp| moment(catalog::millis(stamp))),
        problem: shape.err().map(|e| e.what().to_owned()),
    }
}

fn partition(
    of: &Collection,
    part: &catalog::Partition,
    lineage: &Arc<Lineage>,
    look: Option<(&Shape, &Volume)>,
) -> DescribedPartition {
    let name = match part.tag.is_empty() {
        true => catalog::DEFAULT_PARTITION.to_owned(),
        false => part.tag.clone(),
    };
    let mut said = DescribedPartition {
        name,
        rows: look.map(|_| 0),
        rows_deleted: look.map(|_| 0),
        ..DescribedPartition::default()
    };
    let is_here = |s: &&catalog::Segment| s.partition == part.id && !s.is_level_0;
    for info in of.segments.iter().filter(is_here) {
        said.segments += 1;
        said.rows_in_metadata = said.rows_in_metadata.saturating_add(info.rows);
        let Some((shape, volume)) = look else {
            continue;
        };
        let key = shape.columns.key().kind;
        let is_text = matches!(key, ColumnType::VarChar { .. });
        let about = |s: &&catalog::Segment| {
            s.id == info.id
                || s.is_level_0 && [ALL_PARTITIONS, info.partition].contains(&s.partition)
        };
        let logs = of.segments.iter().filter(about).flat_map(|s| &s.deletions);
        let group = Group::new(of.id, logs.cloned().collect(), lineage, is_text, volume);
        let groups = match group.is_empty() {
            true => Vec::new(),
            false => vec![Arc::new(group)],
        };
        match Segment::look(of.id, info, shape, groups, volume) {
            Ok(segment) => {
                said.rows = said.rows.map(|rows| rows + segment.live);
                let dead = segment.rows - segment.live;
                said.rows_deleted = said.rows_deleted.map(|rows| rows + dead);
            }
            Err(error) => said.problems.push(one_line(&error)),
        }
    }
    said
}

fn one_line(error: &Error) -> String {
    match error.place() {
        Some(place) => format!("{place}: {}", error.what()),
        None => error.what().to_owned(),
    }
}

fn recovery(collections: &[DescribedCollection], has_files: bool) -> String {
    let parts = || collections.iter().flat_map(|c| &c.partitions);
    if !has_files {
        let rows: i64 = parts()
            .map(|p| p.rows_in_metadata)
            .fold(0, i64::saturating_add);
        return format!(
            "the metadata counts {rows} stored rows; the rows are in the storage that it describes"
        );
    }
    let rows: u64 = parts().filter_map(|p| p.rows).sum();
    let broken: usize = parts().map(|p| p.problems.len()).sum();
    let mut said = format!("{rows} rows can be recovered losslessly");
    let refused = collections.iter().filter(|c| c.problem.is_some()).count();
    if refused > 0 {
        said.push_str(&format!(
            "; {refused} of {} collections cannot be recovered",
            collections.len()
        ));
    }
    if broken > 0 {
        said.push_str(&format!("; {broken} segments cannot be recovered"));
    }
    let waits = |c: &DescribedCollection| {
        let mut skipped = c.skipped.keys();
        skipped.any(|why| catalog::WAITING.contains(&why.as_str()))
    };
    if collections.iter().any(waits) {
        said.push_str("; unflushed rows can be recovered only after Milvus has flushed them");
    }
    said
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.kind, self.path)?;
        writeln!(f, "metadata: {}", self.metadata)?;
        for collection in &self.collections {
            let db = match collection.database.as_str() {
                "default" => String::new(),
                db => format!(" (database {db})"),
            };
            writeln!(
                f,
                "collection {}{db}: {}",
                collection.name, collection.columns
            )?;
            let lists = [
                ("aliases", &collection.aliases),
                ("indexes", &collection.indexes),
            ];
            for (what, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
                writeln!(f, "  {what}: {}", list.join(", "))?;
            }
            if let Some(at) = &collection.as_of {
                writeln!(f, "  as of {at}")?;
            }
            for part in &collection.partitions {
                write!(f, "  partition {}: ", part.name)?;
                match (part.rows, part.rows_deleted) {
                    (Some(rows), Some(dead)) => write!(f, "{rows} rows, {dead} deleted, ")?,
                    _ => write!(
                        f,
                        "{} stored rows according to the metadata, ",
                        part.rows_in_metadata
                    )?,
                }
                writeln!(f, "{} segments", part.segments)?;
                for problem in &part.problems {
                    writeln!(f, "    cannot be recovered: {problem}")?;
                }
            }
            if collection.segments_of_deletions > 0 {
                let count = collection.segments_of_deletions;
                writeln!(f, "  {count} segments hold deletions only")?;
            }
            for (why, (count, rows)) in &collection.skipped {
                writeln!(
                    f,
                    "  left out: {count} segments {why}, {rows} rows according to the metadata"
                )?;
            }
            for (version, count) in collection.storage_versions.range(2..) {
                writeln!(f, "  storage V{version}: {count} segments")?;
            }
        }
        writeln!(f, "{}", self.recovery)
    }
}
