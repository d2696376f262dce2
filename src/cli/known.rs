//! What is known from earlier runs? Where the log of the job is, what it delivered, and what other jobs delivered.

use std::path::PathBuf;

use super::carry::{Report, digest, left_out};
use super::say::{Text, line};
use super::show;
use crate::checkpoint::{Checkpoint, Deliveries, Delivery, Earlier, Finished};
use crate::error::{Error, Kind, Result};
use crate::job::{Existing, Job};
use crate::plan::{self, Plan};
use crate::progress::Progress;
use crate::run::{self, Stop};
use crate::sink::{Action, Decision};
use crate::source::Stillness;
use crate::verify;

/// Where the log of a job may be, before its data is inspected.
pub fn log_of(job: &Job) -> PathBuf {
    let (own, before) = (&job.run.checkpoint, &job.run.checkpoint_before);
    match before {
        Some(before) if !own.exists() && before.exists() => before.clone(),
        _ => own.clone(),
    }
}

/// A run that has begun continues with batches of the same size: it records arrivals by batch.
pub fn begun_with(job: &mut Job) {
    let begun = Checkpoint::batch_bytes(&log_of(job));
    job.run.batch_bytes = begun.unwrap_or(job.run.batch_bytes);
}

/// If the source is not a file: the word for the state that is read.
pub fn snapshot(plan: &Plan) -> Option<&'static str> {
    let stillness = plan.source.stillness();
    (stillness != Stillness::Frozen).then(|| stillness.name())
}

/// Points a plan at its existing log, if there is one.
pub fn placed(mut plan: Plan) -> Plan {
    let found = Checkpoint::find(&plan);
    let path = found.display();
    if found != plan.settings.checkpoint {
        plan.warnings.push(format!(
            "the checkpoint is {path}, where an earlier version of this program left it"
        ));
    } else if let Some(why) = &plan.settings.checkpoint_why {
        plan.warnings
            .push(format!("the checkpoint is {path}: {why}"));
    }
    plan.settings.checkpoint = found;
    plan
}

/// What is known about rows that are already in the targets. Refuses what would duplicate rows, or remove them unasked.
/// `again`: the operator wants them delivered once more.
pub fn there(
    plan: &Plan,
    decisions: &[Decision],
    again: bool,
    check: &dyn Fn() -> Result<()>,
) -> Result<Vec<String>> {
    let mut said = plan::check_existing(plan, decisions, check)?;
    if let Some((target, delivery)) = Deliveries::find(plan, decisions)? {
        let what = delivered_before(&target, &delivery);
        if !again && plan.settings.existing == Existing::Fail {
            return Err(Error::new(Kind::Job, what).hint(
                "`--again` delivers them again, in addition to what is there; `run: {existing: upsert}` replaces rows with the same \
                 keys",
            ));
        }
        said.push(what);
    }
    Ok(said)
}

fn delivered_before(target: &str, delivery: &Delivery) -> String {
    let checkpoint = delivery.checkpoint.display();
    match &delivery.finished {
        Some(finished) => format!(
            "rows of this source were delivered to {target} {} by the job whose checkpoint is {checkpoint}, and may \
             still be there",
            show::ago(finished.at)
        ),
        None => format!(
            "rows of this source were being delivered to {target} {} by an unfinished run of the job whose checkpoint \
             is {checkpoint}; that job continues where it stopped",
            show::ago(delivery.begun)
        ),
    }
}

/// Refuses to deliver again what an earlier version of this job delivered, if its rows may still be in a target that is
/// appended to.
pub fn differs_now(
    checkpoint: &Checkpoint,
    earlier: &Earlier,
    decisions: &[Decision],
) -> Result<()> {
    let adds = |d: &Decision| d.action == Action::Append && !d.ours;
    if earlier.finished.rows == 0 || !decisions.iter().any(adds) {
        return Ok(());
    }
    let what = format!(
        "this job finished {} with {} rows delivered, which may still be there, but it has changed since:",
        show::ago(earlier.finished.at),
        earlier.finished.rows,
    );
    let error = Error::path(Kind::Job, checkpoint.path(), what);
    Err(earlier.listed(error).hint(
        "`--again` delivers again, in addition to what is there; `mode: overwrite` replaces what is there; for another load, use \
         another job file",
    ))
}

/// The same job on the same data has finished: the report repeats its figures, the destination is asked whether it
/// still has the rows, and gets the index and the loading that the job wants by now. Returns the text to print.
pub fn finished_before(
    plan: &Plan,
    finished: &Finished,
    progress: &Progress,
    stop: &Stop,
    report: &mut Report,
) -> Result<Text> {
    report.outcome = "done before";
    report.finished_at = Some(finished.at);
    let past = Checkpoint::past(&plan.settings.checkpoint, plan)?;
    report.targets = verify::told(plan, &past.targets);
    report.digest = digest(past.targets.iter().map(|past| &past.totals));
    report.left_out = left_out(plan, past.left_out);
    let mut counted = 0u64;
    for (target, report) in plan.manifest.targets.iter().zip(&mut report.targets) {
        let count = plan.sink.count(target)?;
        report.counted(count);
        counted += count.rows;
    }
    let ago = show::ago(finished.at);
    if counted < finished.rows {
        let what = format!(
            "this job finished {ago} with {} rows delivered, but the destination now counts {counted}",
            finished.rows
        );
        return Err(Error::new(Kind::Differs, what).hint(match counted {
            0 => "`milvusdm run --again` loads everything again",
            _ => {
                "another program may have removed rows; `milvusdm verify` tells which are missing; `run: {existing: upsert}` \
                 with --again sends every row once more without duplicates"
            }
        }));
    }
    for (target, past) in plan.manifest.targets.iter().zip(&past.targets) {
        // We must not change targets that existed and were skipped.
        if past.decision.action == Action::Skip {
            continue;
        }
        let steps = run::complete(plan, target, progress, stop)?;
        let steps: Vec<String> = steps.iter().map(|phase| phase.to_string()).collect();
        if !steps.is_empty() {
            report
                .completed
                .push(format!("{}: {}", target.name, steps.join(", ")));
        }
    }
    let nothing = match report.completed.is_empty() {
        true => "nothing to do".to_owned(),
        false => format!("no row to deliver ({})", report.completed.join("; ")),
    };
    let mut text = Text::default();
    line!(
        text,
        "{nothing}: this job finished {ago} with {} rows delivered, and the destination counts {counted}",
        finished.rows
    );
    Ok(text)
}
