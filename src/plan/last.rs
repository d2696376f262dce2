//! Which row of a key travels if only the last one may (`run.id_collision: last`)? The last in the source's order.
//! Reads keys only.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Plan;
use super::repeats::{each_part, repeats};
use crate::batch::{Batch, Key, LeftOut, Part};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::job::IdCollision;
use crate::limits;
use crate::source::Stillness;

/// For each target, the position of the last row of each key that several rows have: its file, and its number there.
pub type LastRows = BTreeMap<u32, HashMap<Key, (u64, u64)>>;

/// Finds the last rows, if the job asks for that, and returns how many rows stay behind. Called once for a plan, before
/// its rows are read.
pub fn find_last(plan: &Plan, stop: &dyn Fn() -> Result<()>) -> Result<u64> {
    if plan.settings.id_collision != IdCollision::Last || plan.last.get().is_some() {
        return Ok(0);
    }
    if plan.source.stillness() != Stillness::Frozen {
        let what = "`run.id_collision: last` needs a source that keeps its order, and this one may change while it is read";
        return Err(Error::new(Kind::Unsupported, what));
    }
    let (mut all, mut behind) = (LastRows::new(), 0);
    for target in plan.manifest.targets.iter().filter(|t| plan.keyed(t)) {
        let most = limits::REPEATED_IDS_MAX;
        let (rows, keys) = repeats(plan, target, most, stop)?;
        if keys.len() == most {
            let what = format!(
                "{rows} rows of target {} repeat the id of another row: the last ones of at most {most} ids can be found",
                target.name
            );
            return Err(Error::new(Kind::Unsupported, what));
        }
        if keys.is_empty() {
            continue;
        }
        let keys: HashSet<Key> = keys.into_iter().collect();
        let mut last = HashMap::with_capacity(keys.len());
        each_part(plan, target, stop, |part| {
            for (row, key) in part.keys().enumerate() {
                if keys.contains(&key) {
                    last.insert(key, place(part, row));
                }
            }
            Ok(())
        })?;
        all.insert(target.number, last);
        behind += rows;
    }
    plan.source.unchanged()?;
    let _ = plan.last.set(all);
    Ok(behind)
}

/// Splits a batch into rows that travel and rows whose key a later row has.
pub fn only_last(plan: &Plan, mut batch: Batch) -> (Batch, Vec<LeftOut>) {
    let Some(last) = plan.last.get().and_then(|all| all.get(&batch.target)) else {
        return (batch, Vec::new());
    };
    let mut left_out = Vec::new();
    let mut kept = Vec::with_capacity(batch.parts.len());
    for part in &batch.parts {
        let mut from = 0;
        for row in 0..part.len() {
            let stays = last
                .get(&part.key(row))
                .is_none_or(|at| *at == place(part, row));
            if stays {
                continue;
            }
            left_out.push(LeftOut::of(part, row));
            if row > from {
                kept.push(part.slice(from, row - from));
            }
            from = row + 1;
        }
        if from < part.len() {
            kept.push(part.slice(from, part.len() - from));
        }
    }
    batch.parts = kept;
    (batch, left_out)
}

fn place(part: &Part, row: usize) -> (u64, u64) {
    let file = digest::name(part.file.as_os_str().as_encoded_bytes());
    (file, part.row + row as u64)
}
