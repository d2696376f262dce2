//! Which files do the rows of a target come from, in which order, and under which ids?
//! Reads a row of each file that it lists.

use std::path::PathBuf;

use super::Plan;
use crate::batch::{Key, Limits, Target};
use crate::error::Result;
use crate::limits;

/// The files of a target, if the source is several files.
#[derive(Clone, PartialEq, Debug)]
pub struct Files {
    /// How many have rows.
    pub count: u64,
    /// The first ones in their order, and the last.
    pub listed: Vec<Listed>,
}

/// A file with rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed {
    /// Its path in the job.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// The id of its first row.
    pub first_id: Key,
}

/// The files of a target; `None` if the source is one file, or no files.
pub fn files(plan: &Plan, target: &Target) -> Result<Option<Files>> {
    // For each part: the first of its shards, and the rows of all.
    let mut parts: Vec<(usize, u64)> = Vec::new();
    let shards = &plan.manifest.shards;
    for (number, shard) in shards.iter().enumerate() {
        if shard.target != target.number || shard.rows == 0 {
            continue;
        }
        match parts.last_mut() {
            Some((first, rows)) if shards[*first].part == shard.part => *rows += shard.rows,
            _ => parts.push((number, shard.rows)),
        }
    }
    if plan.source.file(1).is_none() {
        return Ok(None);
    }
    let one = Limits {
        batch_rows: 1,
        ..plan.limits
    };
    let last = parts.len().saturating_sub(1);
    // Replacing one line by "1 more" saves nothing.
    let most = match parts.len() {
        n if n <= limits::FILES_LISTED + 2 => n,
        _ => limits::FILES_LISTED,
    };
    let mut listed = Vec::new();
    for (number, (first, rows)) in parts.iter().enumerate() {
        if number >= most && number != last {
            continue;
        }
        let shard = &shards[*first];
        let mut reader = plan.source.peek(shard, one)?;
        let cut = reader.next()?;
        let first_row = cut.as_ref().and_then(|cut| cut.parts.first());
        let Some((path, part)) = plan.source.file(shard.part).zip(first_row) else {
            continue;
        };
        listed.push(Listed {
            path: path.to_owned(),
            rows: *rows,
            first_id: part.key(0),
        });
    }
    Ok(Some(Files {
        count: parts.len() as u64,
        listed,
    }))
}
