//! Is it the same data? What was read, delivered and counted, side by side; and the rows themselves, where asked for.
//! Never builds an index, never loads a collection, never repairs.

mod content;
mod picks;

use serde::Serialize;

use crate::batch::Target;
use crate::checkpoint::Totals;
use crate::error::{Error, Kind, Result};
use crate::job::Verify;
use crate::plan::Plan;
use crate::sink::{Action, Decision, Strength};

pub use content::{Content, Extent, FirstDifference};

/// What is known of one target at the end of a run, or later.
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
    /// Rows in the source, deleted ones not counted.
    pub rows_read: u64,
    /// Rows of the source that are marked deleted.
    pub rows_deleted: u64,
    /// Rows delivered and acknowledged; of these, upserted; left out; bytes; digest; relative error.
    #[serde(flatten)]
    pub totals: Totals,
    /// Rows the destination counts now.
    pub rows_counted: Option<u64>,
    /// What that figure rests on: `exact count`, `statistics` or `acknowledgements`.
    pub rests_on: String,
    /// Whether all figures agree.
    pub counts_agree: bool,
    /// Whether they do, and the content, too, where that was asked for.
    pub agrees: bool,
    /// The figures that do not agree, or how far they do.
    pub remark: Option<String>,
    /// What comparing its rows brought, where that was asked for.
    pub content: Option<Content>,
}

/// When it is asked whether a target holds what was delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// At the end of the run: the sink knows how it counted what was there before.
    AtTheEnd,
    /// By another program: that is not known any more.
    Later,
}

/// Something that is safe to repeat.
pub type Deed<'d> = dyn FnMut() -> Result<()> + 'd;

/// How whoever asks lets time pass.
pub struct Hands<'h> {
    /// An error when the operator wants to stop.
    pub check: &'h dyn Fn() -> Result<()>,
    /// Does it as often as patience lasts.
    pub wait: &'h dyn Fn(&mut Deed<'_>) -> Result<()>,
    /// Told of rows, and their bytes, that were read.
    pub looked_at: &'h dyn Fn(u64, u64),
}

impl Hands<'_> {
    fn patiently<T>(&self, mut deed: impl FnMut() -> Result<T>) -> Result<T> {
        let mut done = None;
        (self.wait)(&mut || {
            done = Some(deed()?);
            Ok(())
        })?;
        Ok(done.expect("it went well, so that it was done"))
    }
}

/// Compares row counts of every target: read with delivered, and delivered with what the destination counts; then
/// rows, where `verify` wants that. `past` is what was decided about each target and delivered to it by this run.
pub fn compare(
    plan: &Plan,
    run: u64,
    past: &[(Decision, Totals)],
    verify: Verify,
    when: When,
    hands: &Hands<'_>,
) -> Result<Vec<TargetReport>> {
    let targets = plan.manifest.targets.iter().zip(past);
    let counted = targets.clone().map(|(target, (decision, totals))| {
        (hands.check)()?;
        hands.patiently(|| count(plan, target, decision, *totals, verify, when))
    });
    let mut reports: Vec<TargetReport> = counted.collect::<Result<_>>()?;
    let extent = match verify {
        Verify::Off | Verify::Count => return Ok(reports),
        Verify::Sample => Extent::Sample,
        Verify::Full => Extent::Full,
    };
    for ((target, (decision, totals)), report) in targets.zip(&mut reports) {
        if decision.action == Action::Skip {
            continue;
        }
        let content = content::compare(plan, target, *totals, run, extent, hands)?;
        report.agrees &= content.agrees;
        report.content = Some(content);
    }
    Ok(reports)
}

/// Row counts of one target.
fn count(
    plan: &Plan,
    target: &Target,
    decision: &Decision,
    totals: Totals,
    verify: Verify,
    when: When,
) -> Result<TargetReport> {
    let mut report = TargetReport {
        name: target.name.to_string(),
        source: target.source.clone(),
        vector: target.columns.to_string(),
        action: decision.action.name().to_owned(),
        rows_before: decision.rows_before,
        rows_read: target.rows,
        rows_deleted: target.rows_deleted,
        totals,
        rows_counted: None,
        rests_on: "acknowledgements".to_owned(),
        counts_agree: true,
        agrees: true,
        remark: None,
        content: None,
    };
    if decision.action == Action::Skip {
        return Ok(report);
    }
    if totals.delivered + totals.left_out != target.rows {
        report.disagree(format!(
            "{} rows were read, {} delivered and {} left out",
            target.rows, totals.delivered, totals.left_out
        ));
    }
    if verify == Verify::Off {
        return Ok(report);
    }
    let exact = plan.sink.count(target)?;
    let mut counted = exact;
    let fits = |rows, strength| report.fits(rows, strength);
    if when == When::Later && decision.rows_before > 0 && !fits(exact.rows, exact.strength) {
        // What was there before may have been counted by statistics, and then only these can be compared with it.
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
            "the {} is {}, but of the {} rows that were there before some may have been deleted then",
            exact.strength, exact.rows, decision.rows_before
        ));
    }
    Ok(report)
}

impl TargetReport {
    /// The least and the most that the destination may count.
    fn bounds(&self, strength: Strength) -> (u64, u64) {
        let least = self.rows_before + self.totals.delivered;
        // Statistics count rows that an upsert replaced, too, as often as it had to be sent.
        let most = match strength {
            Strength::Statistics if self.totals.upserted > 0 => u64::MAX,
            _ => least,
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
        } else if counted > self.bounds(strength).0 {
            self.note(format!(
                "{counted} is an upper bound: statistics count rows that an upsert replaced; once the collection is \
                 indexed and loaded, `milvusdm verify` counts exactly"
            ));
        }
    }

    /// Why its content was not compared, if that was asked for and could not be had.
    fn not_compared(&self) -> Option<&str> {
        self.content.as_ref()?.not_compared.as_deref()
    }

    /// Whether something was found to differ.
    pub fn differs(&self) -> bool {
        !self.counts_agree || !self.agrees && self.not_compared().is_none()
    }

    /// All that does not agree, in a sentence.
    fn differences(&self) -> String {
        let mut said: Vec<String> = Vec::new();
        if !self.counts_agree {
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

/// An error that names every target that does not agree; or else those whose content could not be compared.
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
        return Err(listed(Kind::Differs, "source and destination do not agree:").hint(
            "do not rely on this copy; --again loads it anew, `mode: overwrite` replaces what is there",
        ));
    }
    let error = listed(
        Kind::Refused,
        "counts agree as far as they can be had, but not all that was asked for could be compared:",
    );
    let hint = bad.iter().find_map(|r| r.content.as_ref()?.hint.clone());
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}
