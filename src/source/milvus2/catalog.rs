//! What does the metadata list? Collections with their fields, partitions, segments and logs, wherever it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::milvus::proto::{
    CollectionSchema, FieldBinlog, KeyValue, LEVEL_0, LogInfo, SegmentInfo, segment_state as state,
};

/// The field with the timestamps of writes.
pub const TIMESTAMP: i64 = 1;
/// The first field number for user-defined fields.
pub const FIRST_FIELD: i64 = 100;
/// Milvus's name for the partition that every collection has.
pub const DEFAULT_PARTITION: &str = "_default";
/// The partition id of deletions that apply to all partitions.
pub const ALL_PARTITIONS: i64 = -1;

/// A collection.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    /// Its id.
    pub id: i64,
    /// The database it is in.
    pub db: String,
    /// Its name.
    pub name: String,
    /// Its fields, including those that Milvus adds if the metadata lists them.
    pub schema: CollectionSchema,
    /// How many shards it has.
    pub shards: i32,
    /// The default consistency level of queries, by Milvus's number.
    pub consistency: i32,
    /// Names and values.
    pub properties: Vec<KeyValue>,
    /// Its aliases.
    pub aliases: Vec<String>,
    /// Indexes on its fields.
    pub indexes: Vec<Index>,
    /// Existing partitions, the default one first.
    pub partitions: Vec<Partition>,
    /// Segments that hold its rows and deletions.
    pub segments: Vec<Segment>,
    /// For each segment, read or not, those that compaction made it from; empty if the metadata does not record it.
    pub parents: BTreeMap<i64, Vec<i64>>,
    /// Segments that are not read, by kind: how many there are, and the rows they have according to the metadata.
    pub skipped: BTreeMap<String, (u64, i64)>,
    /// The Milvus timestamp up to which all writes are in its segments.
    pub as_of: Option<u64>,
}

impl Collection {
    /// Which segment comes from which.
    pub fn lineage(&self) -> Lineage {
        let mut parents = self.parents.clone();
        if parents.is_empty() {
            let segments = self.segments.iter();
            parents.extend(segments.map(|segment| (segment.id, vec![NO_SEGMENT])));
        }
        Lineage { parents }
    }
}

/// The id of no segment: in place of those that the metadata does not record.
const NO_SEGMENT: i64 = 0;

/// The segments that metadata names, and those that compaction made them from.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    parents: BTreeMap<i64, Vec<i64>>,
}

impl Lineage {
    /// Whether a log of deletions of `segment` may name `other` as its segment: a compaction copies the logs that were
    /// flushed while it ran into its result, unchanged (measured on 2.3.5). Ancestors may be gone from the metadata.
    pub fn may_copy(&self, segment: i64, other: i64) -> bool {
        let (mut ahead, mut seen, mut is_known) = (vec![segment], BTreeSet::new(), true);
        while let Some(id) = ahead.pop() {
            if id == other {
                return true;
            }
            match self.parents.get(&id) {
                Some(parents) if seen.insert(id) => ahead.extend(parents),
                Some(_) => {}
                None => is_known = false,
            }
        }
        !is_known && !self.parents.contains_key(&other)
    }
}

/// A partition of a collection.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its id.
    pub id: i64,
    /// Its name; empty for the default one.
    pub tag: String,
}

impl Partition {
    /// A partition from Milvus's name for it.
    pub fn new(id: i64, name: &str) -> Partition {
        let tag = if name == DEFAULT_PARTITION { "" } else { name };
        Partition {
            id,
            tag: tag.to_owned(),
        }
    }
}

/// An index.
#[derive(Clone, Debug)]
pub struct Index {
    /// The field it is on.
    pub field: String,
    /// Its name.
    pub name: String,
    /// Its type, its metric, and its other build parameters.
    pub params: Vec<KeyValue>,
}

/// A segment that is read.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its id.
    pub id: i64,
    /// The partition it is in, or [`ALL_PARTITIONS`].
    pub partition: i64,
    /// The channel that its rows and deletions came through.
    pub channel: String,
    /// Its number of rows according to the metadata.
    pub rows: i64,
    /// Its state, by Milvus's number.
    pub state: i32,
    /// Whether it holds deletions only.
    pub is_level_0: bool,
    /// 0 and 1: a binlog for each field.
    pub storage_version: i64,
    /// The timestamp of all its rows, if it overrides their own.
    pub commit_timestamp: u64,
    /// Its directory.
    pub dir: PathBuf,
    /// The logs of each field, in order.
    pub fields: BTreeMap<i64, Vec<Log>>,
    /// Logs of deletions.
    pub deletions: Vec<Log>,
}

/// A file of a segment.
#[derive(Clone, Debug)]
pub struct Log {
    /// The segment it belongs to.
    pub segment: i64,
    /// Its id: logs of a field are ordered by it.
    pub id: i64,
    /// Where it is.
    pub path: PathBuf,
    /// Its number of rows according to the metadata; 0 if unknown.
    pub rows: i64,
}

/// Where files of segments are: below `insert` and `deletions`, by the ids of collection, partition and segment.
pub struct Root<'r> {
    /// `insert_log`.
    pub insert: &'r Path,
    /// `delta_log`.
    pub deletions: &'r Path,
}

impl Root<'_> {
    /// The directory of a segment; `group` is a directory level that backups have between partition and segment.
    fn dir(&self, root: &Path, segment: &SegmentInfo, group: Option<i64>) -> PathBuf {
        let mut dir = root.join(segment.collection.to_string());
        dir.push(segment.partition.to_string());
        if let Some(group) = group {
            dir.push(group.to_string());
        }
        dir.push(segment.id.to_string());
        dir
    }

    /// The logs of a segment, whatever paths the metadata records.
    pub fn segment(
        &self,
        info: &SegmentInfo,
        binlogs: &[FieldBinlog],
        deletions: &[FieldBinlog],
        group: Option<i64>,
    ) -> Segment {
        let dir = self.dir(self.insert, info, group);
        let mut fields: BTreeMap<i64, Vec<Log>> = BTreeMap::new();
        for of in binlogs {
            let below = dir.join(of.field.to_string());
            let logs = of.logs.iter().map(|log| file(info.id, &below, log));
            fields.entry(of.field).or_default().extend(logs);
        }
        for logs in fields.values_mut() {
            logs.sort_by_key(|log| log.id);
        }
        let below = self.dir(self.deletions, info, group);
        let deletions = deletions.iter().flat_map(|of| &of.logs);
        Segment {
            id: info.id,
            partition: info.partition,
            channel: info.channel.clone(),
            rows: info.rows,
            state: info.state,
            is_level_0: info.level == LEVEL_0,
            storage_version: info.storage_version,
            commit_timestamp: info.commit_timestamp,
            deletions: deletions.map(|log| file(info.id, &below, log)).collect(),
            fields,
            dir,
        }
    }
}

/// A log in its directory. Its name is its id, which old metadata records only in its path.
fn file(segment: i64, dir: &Path, log: &LogInfo) -> Log {
    let name = log.path.rsplit('/').next().unwrap_or_default();
    let id = match log.id {
        0 => name.parse().unwrap_or(0),
        id => id,
    };
    Log {
        segment,
        id,
        path: dir.join(id.to_string()),
        rows: log.rows,
    }
}

/// Kinds of segments whose rows will be available later.
pub const WAITING: [&str; 4] = ["growing", "sealed", "importing", "not yet visible"];

/// Why a segment is not read; `None` if it is.
pub fn why_skipped(info: &SegmentInfo, has_partition: bool, has_logs: bool) -> Option<String> {
    if !has_partition {
        return Some("of partitions that are gone".to_owned());
    }
    let is_open = matches!(info.state, state::GROWING | state::SEALED);
    let flushed = matches!(info.state, state::FLUSHED | state::FLUSHING);
    match info {
        _ if info.is_importing || info.is_fake || info.state == state::IMPORTING => {
            Some("importing".to_owned())
        }
        _ if info.is_invisible && info.by_compaction => Some("not yet visible".to_owned()),
        _ if flushed || is_open && has_logs => None,
        _ => Some(state::name(info.state)),
    }
}

/// Milliseconds since 1970 of a Milvus timestamp.
pub fn millis(stamp: u64) -> u64 {
    stamp >> 18
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_may_come_from_ancestors_and_from_segments_that_are_gone() {
        let lineage = |parents: &[(i64, &[i64])]| Lineage {
            parents: parents
                .iter()
                .map(|(id, from)| (*id, from.to_vec()))
                .collect(),
        };
        let known = lineage(&[(1, &[]), (2, &[]), (3, &[1]), (4, &[3, 4])]);
        for (segment, other, may) in [
            (4, 3, true),
            (4, 1, true),
            (4, 2, false),
            (4, 9, false),
            (1, 3, false),
            (2, 9, false),
        ] {
            assert_eq!(known.may_copy(segment, other), may, "{segment} {other}");
        }
        let gone = lineage(&[(2, &[]), (3, &[1])]);
        assert!(gone.may_copy(3, 1) && gone.may_copy(3, 9));
        assert!(!gone.may_copy(3, 2) && !gone.may_copy(2, 9));
    }
}
