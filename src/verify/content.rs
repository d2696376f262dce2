//! Are the rows at the destination those of the source? Reads the source again, and compares row by row.
//! Claims no more than it has checked.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::Pacing;
use crate::batch::{Batch, BatchId, Cut, Key, Part, Position, Shard, Target};
use crate::buffers::Buffers;
use crate::checkpoint::{Again, Delivered, Totals};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::job::IdCollision;
use crate::limits;
use crate::plan::{self, Picks, Plan};
use crate::sink::held::{Compared, Difference, Held, Holder, Way, What};
use crate::source::{Files, Steady, Stillness};

/// The result of comparing a target's rows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Content {
    /// What it rests on: such as `full content of 200000 rows by id`.
    pub rests_on: String,
    /// Whether everything that was compared agrees; false if nothing could be.
    pub agrees: bool,
    /// Rows whose ids and vectors were compared.
    pub rows_compared: u64,
    /// Rows that the destination counts, but does not return one by one.
    pub rows_only_counted: u64,
    /// Rows that differ.
    pub rows_differing: u64,
    /// Wrapping sum of the digests of all rows, if all were read again.
    pub digest: Option<String>,
    /// The first row that differs.
    pub first_difference: Option<FirstDifference>,
    /// Why content was not compared, if it was not.
    pub not_compared: Option<String>,
    /// What would let it be compared.
    pub hint: Option<String>,
    /// What is there in place of what was delivered, or what else should be known.
    pub remark: Option<String>,
}

/// A row that differs.
#[derive(Clone, Debug, Serialize)]
pub struct FirstDifference {
    /// What it is known by: a number or a string.
    pub id: serde_json::Value,
    /// `missing`, `copies`, `other vector`, `other value`, `other id` or `unreadable`.
    pub what: &'static str,
    /// The file it was read from.
    pub file: String,
    /// Its stored row number there.
    pub row: u64,
    /// The same in a sentence.
    pub said: String,
}

impl From<Difference> for FirstDifference {
    fn from(found: Difference) -> FirstDifference {
        FirstDifference {
            what: found.what.name(),
            file: found.file.display().to_string(),
            row: found.row,
            said: format!("id {} {}", found.key, found.what),
            id: found.key.into(),
        }
    }
}

/// Which rows are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// Some of each shard.
    Sample,
    /// All.
    Full,
    /// The batches that were sent more than once.
    Again,
}

/// Compares the rows of a target with what its destination holds.
pub fn compare(
    plan: &Plan,
    target: &Target,
    delivered: &Delivered,
    run: u64,
    extent: Extent,
    pacing: &Pacing<'_>,
) -> Result<Content> {
    let totals = delivered.totals;
    let mut holder = match pacing.patiently(|| plan.sink.held(target))? {
        Held::Rows(holder) => holder,
        Held::Another(what) => {
            return Ok(Content {
                rests_on: "a look at what is there".to_owned(),
                remark: Some(what),
                ..Content::default()
            });
        }
        Held::Hidden { .. } if totals.delivered == 0 => {
            return Ok(Content {
                rests_on: "full content of 0 rows".to_owned(),
                agrees: true,
                ..Content::default()
            });
        }
        Held::Hidden { why, hint } => {
            return Ok(Content {
                rests_on: "nothing: content was not compared".to_owned(),
                not_compared: Some(why),
                hint: Some(hint),
                ..Content::default()
            });
        }
    };
    let way = holder.way();
    let mut repeated = HashSet::new();
    // If ids may not repeat, the run has checked that.
    let looked = plan.keyed(target) && plan.settings.id_collision != IdCollision::Keep;
    if way == Way::ById && !looked {
        let (repeats, ids) = plan::repeats(plan, target, limits::REPEATED_IDS_MAX, pacing.check)?;
        if ids.len() == limits::REPEATED_IDS_MAX {
            return Ok(Content {
                rests_on: "nothing: content was not compared".to_owned(),
                not_compared: Some(format!(
                    "{repeats} rows of {} repeat ids, too many to be told apart",
                    target.name
                )),
                ..Content::default()
            });
        }
        repeated.extend(ids);
    }
    if extent == Extent::Again && !repeated.is_empty() {
        return Ok(Content {
            not_compared: Some("ids repeat, so rows of one batch cannot be told apart".to_owned()),
            ..Content::default()
        });
    }
    // Few rows, and files, are read whole.
    let full = match extent {
        Extent::Full => true,
        Extent::Sample => way == Way::InOrder || target.rows <= limits::SAMPLE_ROWS,
        Extent::Again => false,
    };
    let mut work = Work {
        plan,
        target,
        run,
        pacing,
        holder: holder.as_mut(),
        rooms: Buffers::default(),
        repeated,
        copies: BTreeMap::new(),
        tally: Compared::default(),
        digest: 0,
        delivered: 0,
        came: 0,
    };
    let shards = plan.manifest.shards.iter();
    for shard in shards.filter(|s| s.target == target.number) {
        match (full, extent) {
            (true, _) => work.all(shard)?,
            (false, Extent::Again) => {}
            (false, _) => work.some(shard)?,
        }
    }
    if extent == Extent::Again {
        work.again(&delivered.again)?;
    }
    if full {
        work.check_source(totals)?;
    }
    let only_counted = work.check_copies()?;
    let (tally, digest) = (work.tally, full.then_some(work.digest));
    let wanted = totals.delivered;
    Ok(describe(
        tally,
        digest,
        only_counted,
        wanted,
        holder.as_ref(),
    ))
}

/// Describes what was found, and claims no more.
fn describe(
    tally: Compared,
    digest: Option<u64>,
    copies: u64,
    wanted: u64,
    holder: &dyn Holder,
) -> Content {
    let by = match holder.way() {
        Way::ById => "by id",
        Way::InOrder => "in order",
    };
    let rows = tally.rows;
    let mut content = Content {
        rests_on: match digest {
            Some(_) => format!("full content of {rows} rows {by}"),
            None => format!("sample of {rows} rows {by}"),
        },
        agrees: tally.differing == 0,
        // Rows that were looked for in vain, or whose count is wrong, were compared, too.
        rows_compared: (rows + tally.missing).max(tally.differing),
        rows_only_counted: tally.unread + copies,
        rows_differing: tally.differing,
        digest: digest.map(|d| format!("{d:016x}")),
        first_difference: tally.first.map(FirstDifference::from),
        ..Content::default()
    };
    if !content.agrees && holder.only_order_differs() {
        content.agrees = true;
        content.rows_differing = 0;
        content.first_difference = None;
        content.rests_on =
            format!("full content of {rows} rows by a digest that is independent of order");
        content.remark =
            Some("the rows are there, but not in the order in which they were written".to_owned());
    }
    if content.rows_only_counted > 0 {
        let more = format!(", {} more were only counted", content.rows_only_counted);
        content.rests_on.push_str(&more);
        let mut why = Vec::new();
        if copies > 0 {
            why.push("the destination returns one row per id, however many there are: rows of repeating ids were counted, their vectors not compared");
        }
        if tally.unread > 0 {
            why.push(holder.why_unread());
        }
        content.remark = Some(why.join("; "));
    }
    if rows == 0 && content.rows_differing == 0 && wanted > 0 {
        content.agrees = false;
        content.not_compared = Some("no row has an id of its own to look it up by".to_owned());
    }
    content
}

/// Rows of one id.
#[derive(Clone)]
struct Copies {
    key: Key,
    rows: u64,
    file: Arc<Path>,
    row: u64,
}

/// Comparing one target.
struct Work<'w> {
    plan: &'w Plan,
    target: &'w Target,
    run: u64,
    pacing: &'w Pacing<'w>,
    holder: &'w mut dyn Holder,
    rooms: Buffers,
    /// Ids that several rows of the target have: such rows are counted.
    repeated: HashSet<Key>,
    /// How many rows were delivered with each of them, and where the first is.
    copies: BTreeMap<Key, Copies>,
    tally: Compared,
    /// The digest of all rows as they were delivered.
    digest: u64,
    delivered: u64,
    /// Rows that were read, of all shards so far.
    came: u64,
}

impl<'w> Work<'w> {
    /// Compares all rows of a shard.
    fn all(&mut self, shard: &Shard) -> Result<()> {
        let mut reader = self.reader(shard, shard.start.clone());
        let by_place = self.plan.by_place();
        let mut first_row = if by_place { self.came } else { shard.first_row };
        let mut index = 0;
        while let Some(cut) = self.pacing.patiently(|| reader.rows())? {
            (self.pacing.check)()?;
            let rows = rows(&cut);
            let batch = self.batch(shard, index, first_row, cut.parts, cut.next);
            let batch = self.as_delivered(batch)?;
            for part in &batch.parts {
                self.digest = self.digest.wrapping_add(digest::part(part));
                self.delivered += part.len() as u64;
            }
            let batch = self.without_repeats(batch);
            self.compare(batch, &reader.files()?)?;
            index += 1;
            first_row += rows;
            (self.pacing.looked_at)(rows, rows * self.target.columns.row_bytes().0);
        }
        self.came = first_row;
        Ok(())
    }

    /// Compares the batches that were sent more than once, and no others.
    fn again(&mut self, again: &[Again]) -> Result<()> {
        for batch in again {
            (self.pacing.check)()?;
            let mut shards = self.plan.manifest.shards.iter();
            let shard = shards.find(|s| s.number == batch.shard);
            let shard = shard.expect("the log is of this plan");
            let stretch = Shard {
                end: batch.to.clone(),
                ..shard.clone()
            };
            let mut reader = self.reader(&stretch, batch.from.clone());
            let mut any = false;
            while let Some(cut) = self.pacing.patiently(|| reader.rows())? {
                any = true;
                let rows = self.batch(shard, batch.index, 0, cut.parts, cut.next);
                let rows = self.as_delivered(rows)?;
                let rows = self.without_repeats(rows);
                self.compare(rows, &reader.files()?)?;
            }
            if !any && !self.plan.moves() {
                let what = format!(
                    "{}: a batch that was delivered is not in the source",
                    self.target.name
                );
                return Err(Error::new(Kind::Changed, what));
            }
        }
        Ok(())
    }

    fn reader(&self, shard: &Shard, from: Position) -> Steady<'w> {
        let plan = self.plan;
        Steady::new(plan.source.as_ref(), shard.clone(), from, plan.limits)
    }

    /// Compares some rows of a shard. Skips the rows between, without touching their vectors' pages.
    fn some(&mut self, shard: &Shard) -> Result<()> {
        let mut reader = self.reader(shard, shard.start.clone());
        let seed = self.run ^ u64::from(shard.number);
        let mut picks =
            Picks::of(shard.rows, self.target.rows, limits::SAMPLE_ROWS, seed).peekable();
        let (mut before, mut picked, mut index) = (0, Vec::new(), 0);
        loop {
            (self.pacing.check)()?;
            let cut = self.pacing.patiently(|| reader.rows())?;
            for part in cut.iter().flat_map(|cut| &cut.parts) {
                let after = before + part.len() as u64;
                while let Some(pick) = picks.next_if(|pick| *pick < after) {
                    let row = (pick - before) as usize;
                    if self.repeated.is_empty() || !self.repeated.contains(&part.key(row)) {
                        picked.push(part.copied(row));
                    }
                }
                before = after;
            }
            if picked.len() >= limits::SAMPLED_AT_ONCE || cut.is_none() && !picked.is_empty() {
                let rows = std::mem::take(&mut picked);
                let batch = self.batch(shard, index, 0, rows, shard.end.clone());
                let batch = self.as_delivered(batch)?;
                self.compare(batch, &reader.files()?)?;
                index += 1;
            }
            let Some(cut) = cut else { return Ok(()) };
            let rows = rows(&cut);
            (self.pacing.looked_at)(rows, rows * self.target.columns.row_bytes().0);
        }
    }

    fn batch(
        &self,
        shard: &Shard,
        index: u32,
        first_row: u64,
        parts: Vec<Part>,
        next: Position,
    ) -> Batch {
        Batch {
            id: BatchId {
                run: self.run,
                shard: shard.number,
                index,
            },
            target: self.target.number,
            first_row,
            parts,
            next,
        }
    }

    /// A batch as it was delivered: converted, and without the rows that were left out.
    fn as_delivered(&self, batch: Batch) -> Result<Batch> {
        let converted = self.plan.converted(batch, &self.rooms)?;
        self.holder.as_delivered(converted.batch)
    }

    fn compare(&mut self, batch: Batch, files: &Files) -> Result<()> {
        let row_bytes = batch.bytes().div_ceil(batch.rows().max(1));
        let most = (limits::LOOK_UP_BYTES / row_bytes.max(1)).clamp(1, limits::LOOK_UP_ROWS_MAX);
        for piece in pieces(batch, most) {
            (self.pacing.check)()?;
            let holder = &mut self.holder;
            let compared = self.pacing.patiently(|| holder.compare(&piece))?;
            // Checked before a difference is believed: a page that vanished reads as zeros.
            files.unchanged()?;
            self.tally.add(compared);
        }
        Ok(())
    }

    /// Takes out rows whose ids repeat, and counts them.
    fn without_repeats(&mut self, mut batch: Batch) -> Batch {
        if self.repeated.is_empty() {
            return batch;
        }
        let mut kept = Vec::with_capacity(batch.parts.len());
        for part in &batch.parts {
            let mut from = 0;
            for (row, key) in part.keys().enumerate() {
                if !self.repeated.contains(&key) {
                    continue;
                }
                if row > from {
                    kept.push(part.slice(from, row - from));
                }
                from = row + 1;
                let first = || Copies {
                    key: key.clone(),
                    rows: 0,
                    file: part.file.clone(),
                    row: part.row + row as u64,
                };
                self.copies.entry(key.clone()).or_insert_with(first).rows += 1;
            }
            if from < part.len() {
                kept.push(part.slice(from, part.len() - from));
            }
        }
        batch.parts = kept;
        batch
    }

    /// Checks that the rows read again are those that were delivered: otherwise the comparison proves nothing.
    fn check_source(&self, totals: Totals) -> Result<()> {
        let same = self.digest == totals.digest && self.delivered == totals.delivered;
        // A changing source has changed: each row was looked for as it is now.
        if same || self.plan.source.stillness() != Stillness::Frozen {
            return Ok(());
        }
        self.plan.source.unchanged()?;
        Err(Error::new(
            Kind::Changed,
            format!(
                "{}: the source does not return the rows that were delivered: {} of digest {:016x}, not {} of digest {:016x}",
                self.target.name, self.delivered, self.digest, totals.delivered, totals.digest
            ),
        )
        .hint("it was written to since; only `milvusdm run --again` delivers what it holds now"))
    }

    /// Counts the copies of ids that repeat, and returns how many rows these are.
    fn check_copies(&mut self) -> Result<u64> {
        let copies: Vec<Copies> = std::mem::take(&mut self.copies).into_values().collect();
        for some in copies.chunks(limits::COPIES_AT_ONCE) {
            (self.pacing.check)()?;
            self.check_some_copies(some)?;
        }
        Ok(copies.iter().map(|c| c.rows).sum())
    }

    fn check_some_copies(&mut self, some: &[Copies]) -> Result<()> {
        let keys: Vec<Key> = some.iter().map(|c| c.key.clone()).collect();
        let wanted: u64 = some.iter().map(|c| c.rows).sum();
        let holder = &mut self.holder;
        let Some(there) = self.pacing.patiently(|| holder.copies(&keys))? else {
            return Ok(());
        };
        let differing = there.abs_diff(wanted);
        if differing == 0 {
            return Ok(());
        }
        // The first that differs is named, the others are counted.
        if self.tally.first.is_none() {
            let [one] = some else {
                let (left, right) = some.split_at(some.len() / 2);
                self.check_some_copies(left)?;
                return self.check_some_copies(right);
            };
            self.tally.first = Some(Difference {
                key: one.key.clone(),
                file: one.file.clone(),
                row: one.row,
                what: match there {
                    0 => What::Missing,
                    n => What::Copies(n),
                },
            });
        }
        self.tally.differing += differing;
        Ok(())
    }
}

/// Splits a batch into pieces of at most this many rows, in order: one query each.
fn pieces(batch: Batch, most: u64) -> Vec<Batch> {
    match batch.rows() {
        0 => Vec::new(),
        rows if rows <= most => vec![batch],
        _ => {
            let (left, right) = batch.halves().expect("it has more than one row");
            let mut all = pieces(left, most);
            all.extend(pieces(right, most));
            all
        }
    }
}

fn rows(cut: &Cut) -> u64 {
    cut.parts.iter().map(|p| p.len() as u64).sum()
}
