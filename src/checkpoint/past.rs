//! What did an earlier run leave in its log? Read without a lock, and nothing is written.

use std::path::Path;

use super::Checkpoint;
use super::differs::{differences, named};
use super::log::{self, Again, Log, TargetLog, Totals};
use crate::batch::Shard;
use crate::error::{Error, Kind, Result};
use crate::plan::{Fingerprint, Plan};
use crate::sink::{Action, Decision};

/// What a run that delivered everything left behind.
pub struct Past {
    /// The run's number.
    pub run: u64,
    /// For each target: what was decided about it, and what was delivered to it.
    pub targets: Vec<Delivered>,
    /// Rows that were left out, some of them: target, file, row, id.
    pub left_out: Vec<(u32, String, u64, serde_json::Value)>,
    /// The shards that it read, where the source would give others now.
    pub shards: Option<Vec<Shard>>,
}

/// What was decided about a target, and what was delivered to it.
#[derive(Clone)]
pub struct Delivered {
    /// What was decided.
    pub decision: Decision,
    /// How much was delivered.
    pub totals: Totals,
    /// The batches that were sent more than once, by shard and index.
    pub again: Vec<Again>,
}

impl Delivered {
    pub(super) fn of(decision: Decision, log: Option<&TargetLog>) -> Delivered {
        let mut again = log.map_or(Vec::new(), |log| log.again.clone());
        again.sort_unstable_by_key(|batch| (batch.shard, batch.index));
        Delivered {
            decision,
            totals: log.map(|log| log.totals).unwrap_or_default(),
            again,
        }
    }
}

impl Checkpoint {
    /// Returns an error if there is none at this path, before any server is contacted.
    pub fn expect(path: &Path) -> Result<()> {
        match path.try_exists() {
            Ok(false) => Err(none(path)),
            _ => Ok(()),
        }
    }

    /// Whether the log at this path says that this same job has finished.
    pub fn has_finished(path: &Path, plan: &Plan) -> bool {
        let log = log::text(path).ok().map(|text| log::read(path, &text));
        log.is_some_and(|log| {
            log.is_ok_and(|(log, _)| {
                log.finished.is_some() && differences(&log, &plan.fingerprint).is_empty()
            })
        })
    }

    /// The decisions from the beginning of the job that the log at this path belongs to, if it has not finished.
    pub fn decided(path: &Path, plan: &Plan) -> Option<Vec<Decision>> {
        let (log, _) = log::read(path, &log::text(path).ok()?).ok()?;
        log.header.as_ref()?;
        if log.finished.is_some() || !differences(&log, &plan.fingerprint).is_empty() {
            return None;
        }
        let targets = plan.manifest.targets.iter();
        targets
            .map(|t| log.targets.get(&t.number)?.decision.clone())
            .collect()
    }

    /// What the log at this path says about a run of this plan whose targets are all finished. Refuses the log of
    /// another job, and of a run that has not got that far.
    pub fn past(path: &Path, plan: &Plan) -> Result<Past> {
        let text = match log::text(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(none(path)),
            Err(e) => return Err(Error::io(path, "read the checkpoint", &e)),
        };
        let (log, _) = log::read(path, &text)?;
        let Some(header) = &log.header else {
            return Err(none(path));
        };
        let differs = differences(&log, &plan.fingerprint);
        if !differs.is_empty() {
            let data = differs
                .iter()
                .all(|(key, ..)| key.starts_with(Fingerprint::DATA));
            let names = named(&differs);
            return Err(match data {
                true => Error::path(
                    Kind::Changed,
                    path,
                    format!(
                        "the source has changed since this run, so it cannot be compared: {names}"
                    ),
                ),
                false => Error::path(
                    Kind::Job,
                    path,
                    format!("is the checkpoint of another job: {names} differ"),
                )
                .hint("verify needs the job as it was run"),
            });
        }
        let run = u64::from_str_radix(&header.run, 16).unwrap_or_default();
        let targets = plan
            .manifest
            .targets
            .iter()
            .map(|t| finished(&log, t.number));
        let targets: Option<Vec<_>> = targets.collect();
        let left_out = log.left_out.clone();
        let shards = Some(log.given.clone()).filter(|given| !given.is_empty());
        let past = |targets| Past {
            run,
            targets,
            left_out,
            shards,
        };
        targets.map(past).ok_or_else(|| {
            let rows: u64 = plan.manifest.targets.iter().map(|t| t.rows).sum();
            let what = format!(
                "this job has not finished: {} of {rows} rows were delivered",
                log.delivered()
            );
            Error::path(Kind::Job, path, what).hint(
                "`milvusdm run` with the same job continues; verify compares what has finished",
            )
        })
    }
}

/// What was decided and delivered, if the target is finished or was to be left alone.
fn finished(log: &Log, target: u32) -> Option<Delivered> {
    let target = log.targets.get(&target)?;
    let decision = target.decision.clone()?;
    let finished = target.done || decision.action == Action::Skip;
    finished.then(|| Delivered::of(decision, Some(target)))
}

fn none(path: &Path) -> Error {
    Error::path(
        Kind::Job,
        path,
        "there is no such checkpoint, so it is unknown what this job delivered",
    )
    .hint(
        "run the job first; its checkpoint is next to the job file, or at the path in `run.checkpoint`",
    )
}
