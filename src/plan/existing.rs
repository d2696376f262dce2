//! What is already in the targets? Rows of the job that are there before the first one is sent, and rows that a job
//! would remove: refused, or reported.
//! Looks rows up if a target can be read, and changes nothing.

use std::collections::BTreeMap;

use super::{Picks, Plan};
use crate::batch::{Key, Keys, Limits, Position, Shard, Target};
use crate::error::{Error, Kind, Result};
use crate::job::Existing;
use crate::limits;
use crate::sink::held::Held;
use crate::sink::{Action, Decision};
use crate::source::Stillness;

/// How many of the keys that are there an error lists.
const SHOWN: usize = 5;

/// Refuses what would duplicate rows, or remove them unasked. Returns sentences about what is known of the rest.
///
/// `stop` is called now and then; it fails if the operator wants to stop.
pub fn check_existing(
    plan: &Plan,
    decisions: &[Decision],
    stop: &dyn Fn() -> Result<()>,
) -> Result<Vec<String>> {
    let mut said = check_empty(plan, decisions)?;
    for (target, decision) in plan.manifest.targets.iter().zip(decisions) {
        stop()?;
        if decision.action == Action::Append && target.rows > 0 {
            check_numbers(plan, target, decision)?;
            said.extend(check_keys(plan, target, decision, stop)?);
        }
    }
    Ok(said)
}

/// What a job without rows would do to targets that have some. Targets that share a collection which is replaced whole
/// are taken together.
fn check_empty(plan: &Plan, decisions: &[Decision]) -> Result<Vec<String>> {
    let targets = &plan.manifest.targets;
    let mut arrive: BTreeMap<&str, u64> = BTreeMap::new();
    for target in targets {
        *arrive.entry(&target.name.collection).or_default() += target.rows;
    }
    let mut said = Vec::new();
    for (target, decision) in targets.iter().zip(decisions) {
        if decision.action != Action::Replace {
            continue;
        }
        let rows = match target.name.partition.as_str() {
            "" => arrive[target.name.collection.as_str()],
            _ => target.rows,
        };
        let removes = match decision.removes {
            Some(count) => format!("{} rows ({})", count.rows, count.strength),
            None => "what is there".to_owned(),
        };
        let name = match target.name.to_string() {
            name if name.is_empty() => "the file".to_owned(),
            name => name,
        };
        if rows == 0 && !plan.settings.allow_empty {
            let what = format!(
                "{}: there are no rows in the source, and `mode: overwrite` would remove {removes} of {name}",
                target.source
            );
            return Err(Error::new(Kind::Job, what).hint(
                "is it the right file? `run: {allow_empty: true}` empties the target anyway",
            ));
        }
        if decision.removes.is_some_and(|count| count.rows > 0) {
            said.push(format!("{name}: overwriting deletes {removes}"));
        }
    }
    Ok(said)
}

/// Refuses row numbers as keys if a target has rows: those are usually numbered from 0 as well. Checked again after a
/// target was flushed and its rows are known.
pub fn check_numbers(plan: &Plan, target: &Target, decision: &Decision) -> Result<()> {
    let numbered = target.keys == Keys::RowNumbers && plan.first_id == 0;
    let asked = plan.settings.existing != Existing::Fail;
    if !numbered || plan.auto_id || asked || decision.rows_before == 0 || target.rows == 0 {
        return Ok(());
    }
    let what = format!(
        "{}: the ids are row numbers from 0, and {} already has {} rows: different rows would get the same ids",
        target.source, target.name, decision.rows_before
    );
    let kind = &plan.source_kind;
    Err(Error::new(Kind::Job, what).hint(format!(
        "`source.{kind}.first_id: {}` continues the numbering; several files of one job are numbered consecutively",
        decision.rows_before
    )))
}

/// Looks up some of the job's keys.
fn check_keys(
    plan: &Plan,
    target: &Target,
    decision: &Decision,
    stop: &dyn Fn() -> Result<()>,
) -> Result<Option<String>> {
    let name = &target.name;
    // A target that was counted and found empty is empty; statistics do not count unflushed rows.
    if plan.auto_id || decision.ours {
        return Ok(None);
    }
    let unread = |why: String| {
        Some(format!(
            "{name} cannot be queried before the first row ({why}), so it is unknown whether keys of this job are \
             already there"
        ))
    };
    let mut holder = match plan.sink.held(target)? {
        Held::Rows(holder) => holder,
        Held::Hidden { why, .. } => return Ok(unread(why)),
        Held::Another(_) => return Ok(None),
    };
    let keys = sample(plan, target, stop)?;
    let there = match holder.present(&keys) {
        Ok(Some(there)) => there,
        Ok(None) => {
            return Ok(unread(
                "its rows cannot be looked up by their keys".to_owned(),
            ));
        }
        Err(error) if error.kind() == Kind::Refused => return Ok(unread(error.what().to_owned())),
        Err(error) => return Err(error),
    };
    if there.is_empty() {
        return Ok(None);
    }
    let shown: Vec<String> = there.iter().take(SHOWN).map(Key::to_string).collect();
    let more = if there.len() > SHOWN { ", …" } else { "" };
    let found = format!(
        "{} of {} keys of this job that were looked up are in {name} already: {}{more}",
        there.len(),
        keys.len(),
        shown.join(", ")
    );
    match plan.settings.existing {
        Existing::Upsert => Ok(Some(format!(
            "{found}; `run.existing: upsert` replaces rows with the same keys"
        ))),
        Existing::Keep => Ok(Some(format!(
            "{found}; `run.existing: keep` adds to them: these rows will be there twice"
        ))),
        Existing::Fail => Err(Error::new(
            Kind::Job,
            format!("{found}; appending would put these rows there twice"),
        )
        .hint(
            "`run: {existing: upsert}` replaces the rows with these keys, `run: {existing: keep}` adds the rows \
             anyway",
        )),
    }
}

/// Some keys of a target: the first and last of each shard, and some between.
fn sample(plan: &Plan, target: &Target, stop: &dyn Fn() -> Result<()>) -> Result<Vec<Key>> {
    let mut keys = Vec::new();
    let shards = plan.manifest.shards.iter();
    let by_key = plan.source.stillness() != Stillness::Frozen;
    let shards: Vec<&Shard> = shards
        .filter(|s| s.target == target.number && s.rows > 0)
        .collect();
    for shard in &shards {
        if by_key {
            stop()?;
            let most = limits::KEYS_LOOKED_UP.div_ceil(shards.len() as u64);
            keys.extend(keys_from(plan, target, shard, shard.start.clone(), most)?);
            continue;
        }
        let stored = shard.end.row() - shard.start.row();
        let picks = Picks::of(stored, target.rows, limits::KEYS_LOOKED_UP, 0);
        for pick in picks {
            stop()?;
            let at = shard.start.row() + pick;
            keys.extend(match pick + 1 == stored {
                true => last_key(plan, target, shard)?,
                false => keys_from(plan, target, shard, Position::Row(at), 1)?
                    .first()
                    .cloned(),
            });
        }
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// The key of a shard's last row that is not deleted.
fn last_key(plan: &Plan, target: &Target, shard: &Shard) -> Result<Option<Key>> {
    let stored = shard.end.row() - shard.start.row();
    let mut back = 1;
    loop {
        let at = Position::Row(shard.end.row() - back);
        let keys = keys_from(plan, target, shard, at, back)?;
        if !keys.is_empty() || back >= stored.min(limits::LOOK_UP_ROWS_MAX) {
            return Ok(keys.last().cloned());
        }
        back = (back * 2).min(stored);
    }
}

/// Keys of the next rows of a shard from a position in it, at most `most`.
fn keys_from(
    plan: &Plan,
    target: &Target,
    shard: &Shard,
    at: Position,
    most: u64,
) -> Result<Vec<Key>> {
    let row_bytes = target.columns.row_bytes().0;
    let few = Limits {
        batch_bytes: plan.limits.batch_bytes.min(row_bytes * most),
        batch_rows: most,
    };
    let mut reader = plan.source.open(shard, at, few)?;
    let cut = reader.next()?;
    let parts = cut.iter().flat_map(|cut| &cut.parts);
    Ok(parts.flat_map(|part| part.keys()).collect())
}
