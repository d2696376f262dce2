//! Is it the same data? What was read, delivered and counted, side by side.
//! Never builds an index, never loads a collection, never repairs.

use serde::Serialize;

use crate::checkpoint::{Checkpoint, Totals};
use crate::error::{Error, Kind, Result};
use crate::job::Verify;
use crate::plan::Plan;
use crate::sink::{Action, Decision, Strength};

/// What is known of one target at the end of a run.
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
    pub agrees: bool,
    /// The figures that do not agree, or how far they do.
    pub remark: Option<String>,
}

/// Compares row counts of every target: read with delivered, and delivered with what the destination counts.
pub fn compare(
    plan: &Plan,
    checkpoint: &Checkpoint,
    decisions: &[Decision],
) -> Result<Vec<TargetReport>> {
    let mut reports = Vec::new();
    for target in &plan.manifest.targets {
        let decision = &decisions[target.number as usize];
        let totals = checkpoint.totals(target.number);
        let mut report = TargetReport {
            name: target.name.to_string(),
            source: target.source.clone(),
            vector: target.vector().to_string(),
            action: decision.action.name().to_owned(),
            rows_before: decision.rows_before,
            rows_read: target.rows,
            rows_deleted: target.rows_deleted,
            totals,
            rows_counted: None,
            rests_on: "acknowledgements".to_owned(),
            agrees: true,
            remark: None,
        };
        if decision.action != Action::Skip {
            if totals.delivered + totals.left_out != target.rows {
                report.disagree(format!(
                    "{} rows were read, {} delivered and {} left out",
                    target.rows, totals.delivered, totals.left_out
                ));
            }
            if plan.settings.verify != Verify::Off {
                let count = plan.sink.count(target)?;
                report.rows_counted = Some(count.rows);
                report.rests_on = count.strength.to_string();
                report.judge(count.rows, count.strength);
            }
        }
        reports.push(report);
    }
    Ok(reports)
}

impl TargetReport {
    fn judge(&mut self, counted: u64, strength: Strength) {
        let least = self.rows_before + self.totals.delivered;
        // Statistics count rows that an upsert replaced, too.
        let most = match strength {
            Strength::Exact => least,
            Strength::Statistics => least + self.totals.upserted,
        };
        if counted < least || counted > most {
            self.disagree(format!(
                "{} rows were there before and {} were delivered, but the destination counts {counted} ({strength})",
                self.rows_before, self.totals.delivered
            ));
        } else if counted > least {
            self.remark = Some(format!(
                "{counted} is an upper bound: statistics count rows that an upsert replaced"
            ));
        }
    }

    fn disagree(&mut self, remark: String) {
        self.agrees = false;
        self.remark = Some(match self.remark.take() {
            Some(before) => format!("{before}; {remark}"),
            None => remark,
        });
    }
}

/// An error that names every target whose figures do not agree.
pub fn judge(reports: &[TargetReport]) -> Result<()> {
    let differ = reports.iter().filter(|r| !r.agrees);
    let lines: Vec<String> = differ
        .map(|r| {
            format!(
                "\n  {}: {}",
                r.name,
                r.remark.as_deref().unwrap_or_default()
            )
        })
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Kind::Differs,
        format!("source and destination do not agree:{}", lines.concat()),
    )
    .hint(
        "do not rely on this copy; --again loads it anew, `mode: overwrite` replaces what is there",
    ))
}
