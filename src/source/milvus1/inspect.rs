//! What does a data directory hold, and what of it can be recovered?
//! Also describes what the source would refuse; reads headers and ids, no vectors.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::input::Access;
use crate::limits;

use super::super::choose::Choice;
use super::log::{self, Pending};
use super::meta::{Collection, Meta, Partition};
use super::segment::Segment;
use super::{Mysql, Place, lock};

/// What a data directory holds.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// What it is.
    pub kind: &'static str,
    /// Its `db` directory.
    pub path: String,
    /// Where the metadata is.
    pub metadata: String,
    /// Collections that are alive, in the order they were made.
    pub collections: Vec<DescribedCollection>,
    /// Collections and partitions that were dropped and are still listed.
    pub dropped: u64,
    /// Log records that were never flushed into segments.
    pub pending: Pending,
    /// The same in words, or why the log cannot be read; empty: nothing is pending.
    pub log: String,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// What can be recovered, in a sentence.
    pub recovery: String,
}

/// A collection.
#[derive(Clone, Debug, Serialize)]
pub struct DescribedCollection {
    /// Its name.
    pub name: String,
    /// Type and dimension, such as `float32 × 128`, or why they are unknown.
    pub vector: String,
    /// How it measures distances.
    pub metric: Option<String>,
    /// Its index, as Milvus 1.x calls it.
    pub index: &'static str,
    /// Whether its ids were made by the server.
    pub auto_id: bool,
    /// Its partitions, the default one first.
    pub partitions: Vec<DescribedPartition>,
    /// Why none of it can be recovered, if so.
    pub problem: Option<String>,
}

/// A partition.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DescribedPartition {
    /// Its tag; `_default` for the default partition.
    pub tag: String,
    /// Live rows that can be recovered.
    pub rows: u64,
    /// Rows that are marked deleted.
    pub rows_deleted: u64,
    /// Live rows, as the metadata counts them.
    pub rows_in_metadata: i64,
    /// The smallest and the largest id of a live row.
    pub ids: Option<(i64, i64)>,
    /// Segments that can be recovered.
    pub segments: u64,
    /// Segments that cannot, each with the reason.
    pub problems: Vec<String>,
}

/// Describes the data directory at this path; its metadata is in `mysql`, or in `db/meta.sqlite`.
pub fn inspect(path: &Path, mysql: Option<&Mysql>) -> Result<Description> {
    let place = Place::find(path)?;
    let (meta, _files) = place.meta(mysql)?;
    let chosen = Choice::default().choose(&meta.names(), &place.db)?;
    let (pending, log) = match log::pending(&place.log(), &meta, &chosen) {
        Ok(pending) => (pending.clone(), pending.to_string()),
        Err(e) => (Pending::default(), format!("cannot be read: {e}")),
    };
    let collections: Vec<_> = meta
        .collections
        .iter()
        .map(|collection| describe(&place, collection))
        .collect();
    let recovery = recovery(&meta, &collections, &log);
    Ok(Description {
        kind: "Milvus 1.x data directory",
        path: place.db.display().to_string(),
        metadata: mysql.map_or_else(
            || place.db.join("meta.sqlite").display().to_string(),
            Mysql::address,
        ),
        collections,
        dropped: meta.dropped,
        pending,
        log,
        warnings: lock::held(&place.root).into_iter().collect(),
        recovery,
    })
}

fn describe(place: &Place, collection: &Collection) -> DescribedCollection {
    let vector = collection.vector();
    let problem = match &vector {
        Err(e) => Some(e.what().to_owned()),
        Ok(_) if collection.hybrid => {
            Some("it is hybrid: attributes besides vectors are not read".to_owned())
        }
        Ok(_) => None,
    };
    let readable = vector.as_ref().ok().filter(|_| problem.is_none());
    let row_bytes = readable.map(|v| v.row_bytes());
    let partitions = collection.partitions.iter();
    DescribedCollection {
        name: collection.name.clone(),
        vector: vector.map_or_else(|e| e.what().to_owned(), |v| v.to_string()),
        metric: collection.metric().ok().map(|m| m.name().to_owned()),
        index: collection.index_name(),
        auto_id: collection.auto_id,
        partitions: partitions
            .map(|p| describe_partition(place, collection, p, row_bytes))
            .collect(),
        problem,
    }
}

fn describe_partition(
    place: &Place,
    collection: &Collection,
    partition: &Partition,
    row_bytes: Option<u64>,
) -> DescribedPartition {
    let mut said = DescribedPartition {
        tag: match partition.tag.as_str() {
            "" => "_default".to_owned(),
            tag => tag.to_owned(),
        },
        ..DescribedPartition::default()
    };
    let whose = format!("{}/{}", collection.name, said.tag);
    for listed in &partition.segments {
        said.rows_in_metadata = said.rows_in_metadata.saturating_add(listed.row_count);
        let Some(row_bytes) = row_bytes else { continue };
        let dir = place.segment(&partition.table_id, &listed.segment_id);
        let looked = Segment::look(&dir, &whose, row_bytes).and_then(|segment| {
            let ids = id_range(&segment)?;
            Ok((segment, ids))
        });
        match looked {
            Ok((segment, ids)) => {
                said.segments += 1;
                said.rows += segment.live;
                said.rows_deleted += segment.rows - segment.live;
                said.ids = match (said.ids, ids) {
                    (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                    (a, b) => a.or(b),
                };
            }
            Err(e) => said.problems.push(one_line(&e)),
        }
    }
    said
}

/// The smallest and the largest id of the live rows.
fn id_range(segment: &Segment) -> Result<Option<(i64, i64)>> {
    const BLOCK: u64 = 64 << 10;
    let open = segment.open(Access::Read)?;
    let mut range: Option<(i64, i64)> = None;
    let mut row = 0;
    while row < segment.rows {
        let after = segment.rows.min(row + BLOCK);
        let ids = open.ids.payload.i64s(row * 8, after - row)?;
        let mut first = row;
        while let Some(start) = open.deleted.next_live(first, after) {
            let end = open.deleted.next_dead(start, after);
            for id in &ids[(start - row) as usize..(end - row) as usize] {
                let (low, high) = range.unwrap_or((*id, *id));
                range = Some((low.min(*id), high.max(*id)));
            }
            first = end;
        }
        row = after;
    }
    Ok(range)
}

fn recovery(meta: &Meta, collections: &[DescribedCollection], log: &str) -> String {
    let parts = collections.iter().flat_map(|c| &c.partitions);
    let (rows, broken) = parts.fold((0u64, 0), |(rows, broken), p| {
        (rows + p.rows, broken + p.problems.len())
    });
    let mut said = format!("{rows} rows can be recovered losslessly");
    let refused = collections.iter().filter(|c| c.problem.is_some()).count();
    if refused > 0 {
        said.push_str(&format!(
            "; {refused} of {} collections not at all",
            meta.collections.len()
        ));
    }
    if broken > 0 {
        said.push_str(&format!("; {broken} segments not at all"));
    }
    if !log.is_empty() {
        said.push_str(
            "; what is in the log only after that Milvus was started and shut down cleanly",
        );
    }
    said
}

fn one_line(error: &Error) -> String {
    match error.place() {
        Some(place) => format!("{place}: {}", error.what()),
        None => error.what().to_owned(),
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.kind, self.path)?;
        writeln!(f, "metadata: {}", self.metadata)?;
        for collection in &self.collections {
            let metric = collection.metric.as_deref().unwrap_or("unknown metric");
            let auto = if collection.auto_id {
                ", ids made by the server"
            } else {
                ""
            };
            writeln!(
                f,
                "collection {}: {}, {metric}, index {}{auto}",
                collection.name, collection.vector, collection.index
            )?;
            if let Some(problem) = &collection.problem {
                writeln!(f, "  cannot be recovered: {problem}")?;
            }
            for partition in &collection.partitions {
                write!(
                    f,
                    "  partition {}: {} rows, {} deleted, {} segments",
                    partition.tag, partition.rows, partition.rows_deleted, partition.segments
                )?;
                if let Some((low, high)) = partition.ids {
                    write!(f, ", ids {low} to {high}")?;
                }
                let counted = partition.rows_in_metadata;
                if i64::try_from(partition.rows) != Ok(counted) {
                    write!(f, "; metadata counts {counted} rows")?;
                }
                writeln!(f)?;
                for problem in partition.problems.iter().take(limits::LISTED_MAX) {
                    writeln!(f, "    cannot be recovered: {problem}")?;
                }
            }
        }
        if self.dropped > 0 {
            writeln!(f, "dropped and still listed: {}", self.dropped)?;
        }
        match self.log.as_str() {
            "" => writeln!(f, "log: nothing that is not in segments")?,
            log => writeln!(f, "log, never flushed: {log}")?,
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        write!(f, "{}", self.recovery)
    }
}
