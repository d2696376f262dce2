//! A job carried by several programs: what each of them does before and after its own rows.

use std::path::Path;
use std::time::Duration;

use super::RunFlags;
use super::carry::{Report, decide};
use super::say::{Text, line};
use crate::checkpoint::{Checkpoint, Delivered, Finished, Found, Totals};
use crate::error::{Error, Kind, Result};
use crate::plan::{Plan, Share};
use crate::progress::{Phase, Progress};
use crate::run::{self, Stop};
use crate::sink::{Action, Decision};
use crate::verify::{self, TargetReport};

/// How often a program that waits for another one checks.
const LOOK: Duration = Duration::from_millis(200);

/// The part of a job that a command carries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// A share of the rows.
    Share(Share),
    /// The steps after the last row, once all shares have finished.
    LastSteps,
}

/// What is left to do for a share.
pub enum Ready {
    /// The whole job has finished.
    Finished(Finished),
    /// Every target exists, and the mode is skip.
    Skipped(Vec<Decision>),
    /// The share has already finished.
    Before(u64),
    /// Rows, with the decisions about their targets.
    Rows(Box<Checkpoint>, Vec<Decision>),
}

/// Refuses jobs that cannot be carried in shares.
pub fn check(plan: &Plan, flags: &RunFlags) -> Result<()> {
    if !plan.sink.remote() || !plan.sink.resumable() {
        let what = format!("{}: a file is written by one program", plan.sink.describe());
        return Err(Error::new(Kind::Job, what).hint("--shard needs a server as the destination"));
    }
    if flags.again {
        let what = "--again restarts a whole job, which one share must not do to the others";
        return Err(Error::new(Kind::Job, what).hint(format!(
            "move {}* away to start over in shares, or run the job with --again and without --shard",
            plan.settings.checkpoint.display()
        )));
    }
    Ok(())
}

/// Waits until the targets are decided on and created, by this program or by another share's, and opens the log of this
/// share; the plan then covers the share alone.
pub fn ready(
    plan: &mut Plan,
    share: Share,
    progress: &Progress,
    stop: &Stop,
    said: &mut Vec<String>,
) -> Result<Ready> {
    let path = plan.settings.checkpoint.clone();
    let found = Checkpoint::in_common(&path, plan, share.of, &|| {
        stop.check()?;
        // It holds the log for as long as it runs, and looking through a billion keys takes time.
        progress
            .doing()
            .begin(Phase::Planning, "waiting for another share");
        std::thread::sleep(LOOK);
        Ok(())
    })?;
    let common = match found {
        Found::Finished(finished) => return Ok(Ready::Finished(finished)),
        Found::Open(common) => common,
    };
    plan.adopt(common.shards());
    let decisions = prepared(plan, &common, progress, stop, said);
    let decisions = match decisions {
        Ok(decisions) => decisions,
        Err(error) => {
            common.discard_if_untouched(plan.sink.resumable())?;
            return Err(error);
        }
    };
    if decisions.iter().all(|d| d.action == Action::Skip) && !decisions.is_empty() {
        common.discard_if_untouched(false)?;
        return Ok(Ready::Skipped(decisions));
    }
    let own = common.of_share(plan, share)?;
    plan.keep(share);
    Ok(match own {
        Found::Finished(finished) => Ready::Before(finished.rows),
        Found::Open(own) => Ready::Rows(own, decisions),
    })
}

/// The decisions about the targets, all of them carried out.
fn prepared(
    plan: &Plan,
    common: &Checkpoint,
    progress: &Progress,
    stop: &Stop,
    said: &mut Vec<String>,
) -> Result<Vec<Decision>> {
    let (mut decisions, more) = decide(plan, common, progress.doing(), stop, false)?;
    for sentence in &more {
        tracing::warn!("{sentence}");
    }
    said.extend(more);
    let skips = decisions.iter().all(|d| d.action == Action::Skip);
    if !skips && !common.is_prepared() {
        run::prepare(plan, common, &mut decisions, progress, stop)?;
    }
    Ok(decisions)
}

/// Records that a share has delivered all its rows.
pub fn finish(
    plan: &Plan,
    own: &Checkpoint,
    decisions: &[Decision],
    report: &mut Report,
) -> Result<()> {
    let targets = plan.manifest.targets.iter();
    let totals: Vec<Totals> = targets.map(|t| own.totals(t.number)).collect();
    report.targets = told(plan, decisions, &totals);
    report.outcome = "share done";
    own.finish().map(drop)
}

/// What acknowledgements say about each target.
pub fn told(plan: &Plan, decisions: &[Decision], totals: &[Totals]) -> Vec<TargetReport> {
    let past = decisions
        .iter()
        .zip(totals)
        .map(|(decision, totals)| Delivered {
            decision: decision.clone(),
            totals: *totals,
            again: Vec::new(),
        });
    verify::told(plan, &past.collect::<Vec<_>>())
}

/// The closing sentence of a share; `before`: how many rows it had delivered before this command.
pub fn closing(share: Share, job: &Path, before: Option<u64>) -> Text {
    let mut text = Text::default();
    let what = match before {
        Some(rows) => format!("nothing to do: {share} has already finished, with {rows} rows"),
        None => format!("{share} has finished"),
    };
    let job = job.display();
    line!(
        text,
        "{what}; `milvusdm finish {job}` takes the last steps once all have"
    );
    text
}
