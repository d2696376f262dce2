//! Is it the same data? Compares what was read, delivered and counted; and the rows themselves, if asked for.
//! Never builds an index, never loads a collection, never repairs.

mod content;

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::batch::Target;
use crate::checkpoint::{Delivered, Totals};
use crate::error::{Error, Kind, Result};
use crate::job::{Existing, Verify};
use crate::plan::{Plan, side_by_side};
use crate::sink::{Action, Count, Strength};
use crate::source::Stillness;

pub use content::{Content, Extent, FirstDifference};

/// What proves that a target holds what was delivered to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// An exact count and, if batches were sent more than once, a look at each of their rows; or a look at all rows.
    Exact,
    /// The server's statistics, for rows that were each sent once.
    Statistics,
    /// Nothing that was counted or compared.
    Open,
}

/// What is known about one target at the end of a run, or later.
#[derive(Clone, Debug, Serialize)]
pub struct TargetReport {
    /// Its collection and partition, or file.
    pub name: String,
    /// Where its rows came from.
    pub source: String,
    /// The type of its vectors, as delivered.
    pub vector: String,
    /// What was done to it: skip, create, append or replace.
    pub action: String,
    /// Rows it had before.
    pub rows_before: u64,
    /// Rows that were removed with what was replaced, if known.
    pub rows_removed: Option<u64>,
    /// `exact count` or `statistics`.
    pub removed_rests_on: Option<String>,
    /// Whether the source may have changed while it was read.
    #[serde(skip)]
    pub moving: bool,
    /// Rows in the source, deleted ones not counted.
    pub rows_read: u64,
    /// Rows of the source that are marked deleted.
    pub rows_deleted: u64,
    /// Rows delivered and acknowledged; of these, upserted; left out; bytes; digest; relative error.
    #[serde(flatten)]
    pub totals: Totals,
    /// Whether rows with the same keys as delivered ones were replaced (`run.existing: upsert`).
    pub replaces: bool,
    /// Rows the destination counts now.
    pub rows_counted: Option<u64>,
    /// What that figure rests on: `exact count`, `statistics` or `acknowledgements`.
    pub rests_on: String,
    /// What proves that the rows are there, each once.
    pub proof: Proof,
    /// Rows for which that is not proven.
    pub rows_open: u64,
    /// Whether no figure contradicts another.
    pub counts_agree: bool,
    /// Whether that is proven, and the content agrees, if a comparison was asked for; or no proof was asked for.
    pub agrees: bool,
    /// The figures that disagree, or what qualifies their agreement.
    pub remark: Option<String>,
    /// The result of comparing its rows, if that was asked for.
    pub content: Option<Content>,
}

/// When to check whether a target holds what was delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At the end of the run: the sink knows how it counted what was there before.
    AtTheEnd,
    /// By another program: that is not known any more.
    Later,
}

/// Something that is safe to repeat.
pub type Deed<'d> = dyn FnMut() -> Result<()> + 'd;

/// How the caller wants a comparison to wait, stop and report.
pub struct Pacing<'h> {
    /// An error if the operator wants to stop.
    pub check: &'h (dyn Fn() -> Result<()> + Sync),
    /// Repeats it until it succeeds or patience ends.
    pub wait: &'h (dyn Fn(&mut Deed<'_>) -> Result<()> + Sync),
    /// Called with the rows, and their bytes, that were read.
    pub looked_at: &'h (dyn Fn(u64, u64) + Sync),
}

impl Pacing<'_> {
    fn patiently<T>(&self, mut deed: impl FnMut() -> Result<T>) -> Result<T> {
        let mut done = None;
        (self.wait)(&mut || {
            done = Some(deed()?);
            Ok(())
        })?;
        Ok(done.expect("it succeeded, so it was done"))
    }
}

/// Compares the row counts of every target: read with delivered, and delivered with what the destination counts; then
/// the rows, if `verify` wants that. `past` has what was decided about each target and delivered to it by this run.
pub fn compare(
    plan: &Plan,
    run: u64,
    past: &[Delivered],
    verify: Verify,
    when: When,
    pacing: &Pacing<'_>,
) -> Result<Vec<TargetReport>> {
    // A destination that has exhausted patience does not get it again for each target.
    let gone = AtomicBool::new(false);
    let targets: Vec<&Target> = plan.manifest.targets.iter().collect();
    // Everything was delivered: that it cannot be confirmed now does not make it a failure.
    let unsaid = |target: &Target, error: Error| {
        let silent = error.kind().is_silence() && error.kind() != Kind::Stopped;
        if when != When::AtTheEnd || !silent {
            return Err(error);
        }
        gone.store(true, Ordering::Relaxed);
        let mut report = acknowledged(plan, target, &past[target.number as usize]);
        report.open(report.totals.delivered);
        report.note(format!(
            "the destination could not be queried: {}",
            error.what()
        ));
        Ok(report)
    };
    let mut reports = side_by_side(&*plan.sink, &targets, &|target| {
        (pacing.check)()?;
        let ask = || count(plan, target, &past[target.number as usize], verify, when);
        let counted = match gone.load(Ordering::Relaxed) {
            true => ask(),
            false => pacing.patiently(ask),
        };
        counted.or_else(|error| unsaid(target, error))
    })?;
    let mut read = false;
    for ((target, past), report) in targets.iter().zip(past).zip(&mut reports) {
        (pacing.check)()?;
        match look(plan, target, past, run, verify, pacing, report) {
            Ok(looked) => read |= looked,
            Err(error) => *report = unsaid(target, error)?,
        }
    }
    // Each file was checked after its rows were read; what lists the files is checked once for all targets.
    if read {
        plan.source.unchanged()?;
    }
    Ok(reports)
}

/// Compares the rows of a target that was counted, if that is asked for, or if the count alone proves nothing. Returns
/// whether rows were read for that.
fn look(
    plan: &Plan,
    target: &Target,
    past: &Delivered,
    run: u64,
    verify: Verify,
    pacing: &Pacing<'_>,
    report: &mut TargetReport,
) -> Result<bool> {
    let extent = match verify {
        _ if past.decision.action == Action::Skip => return Ok(false),
        Verify::Off => return Ok(false),
        Verify::Count => None,
        Verify::Sample => Some(Extent::Sample),
        Verify::Full => Some(Extent::Full),
    };
    let compare = |extent| content::compare(plan, target, past, run, extent, pacing);
    if let Some(extent) = extent {
        let content = compare(extent)?;
        report.agrees &= content.agrees;
        let all = extent == Extent::Full && content.agrees && report.counts_agree;
        report.content = Some(content);
        if all {
            report.proven(Proof::Exact);
        }
    }
    let exactly = report.rests_on == Strength::Exact.to_string();
    let again = report.proof == Proof::Open && report.counts_agree && exactly;
    if again {
        report.look_again(compare(Extent::Again)?);
    }
    Ok(extent.is_some() || again)
}

/// What a log says about each target of a finished run; asks no server.
pub fn told(plan: &Plan, past: &[Delivered]) -> Vec<TargetReport> {
    let targets = plan.manifest.targets.iter().zip(past);
    targets
        .map(|(target, past)| acknowledged(plan, target, past))
        .collect()
}

/// What acknowledgements alone say about a target.
fn acknowledged(plan: &Plan, target: &Target, past: &Delivered) -> TargetReport {
    let Delivered {
        decision, totals, ..
    } = past;
    let moving = plan.source.stillness() != Stillness::Frozen;
    TargetReport {
        moving,
        name: target.name.to_string(),
        source: target.source.clone(),
        vector: target.columns.to_string(),
        action: decision.action.name().to_owned(),
        rows_before: decision.rows_before,
        rows_removed: decision.removes.map(|count| count.rows),
        removed_rests_on: decision.removes.map(|count| count.strength.to_string()),
        rows_read: match moving {
            // The rows that were read are all that existed at that time.
            true => totals.delivered + totals.left_out,
            false => target.rows,
        },
        rows_deleted: target.rows_deleted,
        totals: *totals,
        replaces: decision.action == Action::Append
            && decision.rows_before > 0
            && plan.settings.existing == Existing::Upsert,
        rows_counted: None,
        rests_on: "acknowledgements".to_owned(),
        proof: Proof::Open,
        rows_open: totals.delivered,
        counts_agree: true,
        agrees: true,
        remark: None,
        content: None,
    }
}

/// Row counts of one target.
fn count(
    plan: &Plan,
    target: &Target,
    past: &Delivered,
    verify: Verify,
    when: When,
) -> Result<TargetReport> {
    let (decision, totals) = (&past.decision, past.totals);
    let mut report = acknowledged(plan, target, past);
    if decision.action == Action::Skip {
        return Ok(report);
    }
    if totals.delivered + totals.left_out != report.rows_read {
        report.disagree(format!(
            "{} rows were read, {} delivered and {} left out",
            report.rows_read, totals.delivered, totals.left_out
        ));
    }
    if verify == Verify::Off {
        return Ok(report);
    }
    let exact = plan.sink.count(target)?;
    let mut counted = exact;
    let fits = |rows, strength| report.fits(rows, strength);
    if when == When::Later && decision.rows_before > 0 && !fits(exact.rows, exact.strength) {
        // Earlier rows may have been counted by statistics, and then only statistics are comparable.
        if let Some(rows) = plan.sink.statistics(target)?
            && fits(rows, Strength::Statistics)
        {
            counted.rows = rows;
            counted.strength = Strength::Statistics;
        }
    }
    report.rows_counted = Some(counted.rows);
    report.rests_on = counted.strength.to_string();
    report.judge(counted.rows, counted.strength);
    if counted != exact {
        report.note(format!(
            "the {} is {}, but some of the {} rows that were there before may have been deleted then",
            exact.strength, exact.rows, decision.rows_before
        ));
    }
    Ok(report)
}

impl TargetReport {
    /// The least and the most that the destination may count.
    fn bounds(&self, strength: Strength) -> (u64, u64) {
        let all = self.rows_before + self.totals.delivered;
        let least = match self.replaces {
            true => self.rows_before.max(self.totals.delivered),
            false => all,
        };
        // Statistics also count rows that an upsert replaced, once for each time it was sent.
        let most = match strength {
            Strength::Statistics if self.totals.upserted > 0 => u64::MAX,
            // Rows that were sent, but had disappeared from the source before they could be sent again.
            _ if self.moving && self.totals.sent_again > 0 => u64::MAX,
            _ => all,
        };
        (least, most)
    }

    fn fits(&self, counted: u64, strength: Strength) -> bool {
        let (least, most) = self.bounds(strength);
        (least..=most).contains(&counted)
    }

    fn judge(&mut self, counted: u64, strength: Strength) {
        if !self.fits(counted, strength) {
            self.disagree(format!(
                "{} rows were there before and {} were delivered, but the destination counts {counted} ({strength})",
                self.rows_before, self.totals.delivered
            ));
            return;
        }
        let all = self.rows_before + self.totals.delivered;
        if self.moving && counted > all && strength != Strength::Statistics {
            self.note(format!(
                "{} more rows than acknowledged are there: they were sent, but were gone from the source when they \
                 would have been sent again",
                counted - all
            ));
        }
        if self.replaces && self.totals.sent_again == 0 {
            // Only the count tells how many rows were replaced.
            self.proven(Proof::Statistics);
            if strength != Strength::Statistics {
                let replaced = self.bounds(strength).1 - counted;
                self.note(format!(
                    "{replaced} of the rows delivered replaced rows with the same keys"
                ));
            }
            return;
        }
        match strength {
            Strength::Unique => self.proven(Proof::Exact),
            Strength::Exact if self.totals.sent_again == 0 => self.proven(Proof::Exact),
            Strength::Statistics if self.totals.sent_again == 0 => self.proven(Proof::Statistics),
            // Rows that are there twice may hide others that are missing.
            Strength::Exact => self.open(self.totals.sent_again),
            Strength::Statistics => {
                self.open(self.totals.sent_again);
                self.note(format!(
                    "{counted} is an upper bound: {} rows were sent more than once, and statistics count a row each \
                     time it arrived: as many may be missing, or there twice",
                    self.totals.sent_again
                ));
            }
        }
    }

    /// Notes what the destination counts, if that can only be a lower bound.
    pub fn counted(&mut self, count: Count) {
        self.rows_counted = Some(count.rows);
        self.rests_on = count.strength.to_string();
        self.counts_agree = count.rows >= self.totals.delivered;
        self.agrees = self.counts_agree;
    }

    fn proven(&mut self, by: Proof) {
        (self.proof, self.rows_open) = (by, 0);
        self.agrees = self.counts_agree && self.content.as_ref().is_none_or(|c| c.agrees);
    }

    fn open(&mut self, rows: u64) {
        (self.proof, self.rows_open) = (Proof::Open, rows);
        self.agrees = false;
    }

    /// Notes the result of checking the batches that were sent more than once, if all rows were counted exactly: the
    /// others are there once or not at all, so the count proves the rest.
    fn look_again(&mut self, found: Content) {
        if let Some(why) = found.not_compared {
            self.note(format!(
                "rows that were sent more than once were not checked: {why}"
            ));
        } else if !found.agrees {
            let first = found.first_difference.map(|first| first.said);
            let differ = format!(
                "of {} rows that were sent more than once {} differ",
                self.totals.sent_again, found.rows_differing
            );
            let first = first.or(found.remark).unwrap_or_default();
            match self.moving {
                // That does not prove that they did not arrive as they were then.
                true => self.note(format!("{differ} from what the source holds now: {first}")),
                false => self.disagree(format!("{differ}: {first}")),
            }
        } else if found.rows_compared + found.rows_only_counted >= self.totals.sent_again {
            self.proven(Proof::Exact);
        } else {
            self.note(format!(
                "of {} rows that were sent more than once {} could be compared: the source no longer has the others",
                self.totals.sent_again,
                found.rows_compared + found.rows_only_counted
            ));
        }
    }

    /// Whether something was found to differ.
    pub fn differs(&self) -> bool {
        let content = self.content.as_ref();
        !self.counts_agree || content.is_some_and(|c| !c.agrees && c.not_compared.is_none())
    }

    /// Whether each row was compared.
    fn was_compared(&self) -> bool {
        let content = self.content.as_ref();
        content.is_some_and(|c| c.not_compared.is_none())
    }

    /// Whether more rows are there than were there before and delivered.
    fn has_more(&self) -> bool {
        let known = self.rows_before + self.totals.delivered;
        !self.counts_agree && self.rows_counted.is_some_and(|counted| counted > known)
    }

    /// Everything that disagrees, in a sentence.
    fn differences(&self) -> String {
        let mut said: Vec<String> = Vec::new();
        if !self.counts_agree || self.proof == Proof::Open {
            said.extend(self.remark.clone());
        }
        if let Some(content) = &self.content
            && !content.agrees
        {
            let first = content.first_difference.as_ref().map(|first| {
                let rows = content.rows_differing;
                let which = match rows {
                    1 => "1 row differs".to_owned(),
                    _ => format!("{rows} rows differ, the first one"),
                };
                format!(
                    "{which}: {} (row {} of {})",
                    first.said, first.row, first.file
                )
            });
            let otherwise = content
                .not_compared
                .as_ref()
                .map(|why| format!("content was not compared: {why}"));
            said.extend(first.or(otherwise).or_else(|| content.remark.clone()));
        }
        said.join("; ")
    }

    fn note(&mut self, remark: String) {
        self.remark = Some(match self.remark.take() {
            Some(before) => format!("{before}; {remark}"),
            None => remark,
        });
    }

    fn disagree(&mut self, remark: String) {
        self.counts_agree = false;
        self.agrees = false;
        self.note(remark);
    }
}

/// An error that names every target that disagrees, or else those whose content could not be compared.
pub fn judge(reports: &[TargetReport]) -> Result<()> {
    let bad: Vec<&TargetReport> = reports.iter().filter(|r| !r.agrees).collect();
    if bad.is_empty() {
        return Ok(());
    }
    let line = |r: &&TargetReport| match r.name.as_str() {
        // A file that is the only target has no name.
        "" => r.differences(),
        name => format!("{name}: {}", r.differences()),
    };
    let listed = |kind, what: &str| {
        bad.iter()
            .map(line)
            .fold(Error::new(kind, what), Error::detail)
    };
    if bad.iter().any(|r| r.differs()) {
        let error = listed(Kind::Differs, "source and destination do not agree:");
        return Err(error.hint(match bad.iter().any(|r| r.has_more()) {
            true => {
                "do not rely on this copy before you know whose rows these are: another program may have written there \
                 meanwhile, or rows of this job are there twice; `milvusdm verify --load` compares this job's rows one \
                 by one"
            }
            false if bad.iter().all(|r| r.was_compared()) => {
                "do not rely on this copy: all rows were compared, and these differ"
            }
            false => "do not rely on this copy; `milvusdm verify --load` tells which rows differ",
        }));
    }
    let error = listed(
        Kind::Unproven,
        "everything was delivered, but it is not proven that the destination holds it:",
    );
    let hint = bad.iter().find_map(|r| r.content.as_ref()?.hint.clone());
    Err(error.hint(hint.unwrap_or_else(|| {
        "`milvusdm verify --load` with the same job compares every row; the same `run` command counts again, exactly \
         once the collection is loaded"
            .to_owned()
    })))
}
