//! What has to be there before the first row travels? Decisions are carried out, side by side where that helps.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::batch::Target;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::plan::{Plan, check_numbers};
use crate::progress::Progress;
use crate::sink::{Action, Decision};

use super::{Stop, patiently};

/// Carries out what was decided about each target, once.
pub(super) fn prepare(
    plan: &Plan,
    checkpoint: &Checkpoint,
    decisions: &mut [Decision],
    progress: &Progress,
    stop: &Stop,
) -> Result<()> {
    plan.sink.begin(checkpoint.run());
    let wanted = |target: &&Target| {
        let action = decisions[target.number as usize].action;
        action != Action::Skip && !checkpoint.done(target.number)
    };
    let targets: Vec<&Target> = plan.manifest.targets.iter().filter(wanted).collect();
    // What is made and not yet recorded as made has to be looked at again after a death: not too much at a time.
    for some in targets.chunks(limits::PREPARED_AT_ONCE) {
        let begun = |target: &Target| {
            let decided = checkpoint.decision(target.number);
            decided.is_some_and(|(_, prepared)| prepared)
        };
        side_by_side(plan, some, &|target: &Target| {
            stop.check()?;
            let begun = begun(target);
            if begun && !plan.sink.resumable() {
                checkpoint.reset(target.number)?;
            }
            let decision = &decisions[target.number as usize];
            patiently(&plan.settings, progress, stop, || {
                plan.sink.prepare(target, decision, begun)
            })
        })?;
        let mut prepared = Vec::with_capacity(some.len());
        for target in some {
            let decision = &mut decisions[target.number as usize];
            let place = plan.sink.place(target);
            if begun(target) {
                check_place(checkpoint, target, place)?;
            } else {
                let settled = patiently(&plan.settings, progress, stop, || {
                    plan.sink.settle(target, decision.clone())
                })?;
                check_numbers(plan, target, &settled)?;
                if settled != *decision {
                    checkpoint.decide(target.number, &settled)?;
                    *decision = settled;
                }
                prepared.push((target.number, place));
            }
            progress.resumed(checkpoint.totals(target.number).delivered);
        }
        if !prepared.is_empty() {
            checkpoint.prepared(&prepared)?;
        }
    }
    Ok(())
}

/// Refuses a place that was dropped and made anew since rows were sent to it.
fn check_place(checkpoint: &Checkpoint, target: &Target, place: u64) -> Result<()> {
    let before = checkpoint.place(target.number);
    if before == place || before == 0 || place == 0 {
        return Ok(());
    }
    let what = format!(
        "{} was dropped and made anew since this job began to fill it",
        target.name
    );
    Err(Error::new(Kind::Refused, what).hint(
        "what was delivered to it before is lost, and what it holds now is somebody else's: `milvusdm run --again` looks \
         at it anew",
    ))
}

/// Does something to each target: the first, which may make what the others share, then the others on several threads
/// where the destination is a server.
fn side_by_side(
    plan: &Plan,
    targets: &[&Target],
    deed: &(dyn Fn(&Target) -> Result<()> + Sync),
) -> Result<()> {
    let Some((first, others)) = targets.split_first() else {
        return Ok(());
    };
    deed(first)?;
    if !plan.sink.remote() {
        return others.iter().try_for_each(|target| deed(target));
    }
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..limits::PREPARED_SIDE_BY_SIDE.min(others.len()) {
            scope.spawn(|| {
                while let Some(target) = others.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = deed(target) {
                        next.store(others.len(), Ordering::Relaxed);
                        let mut failed = failed.lock().expect("no one panics with it locked");
                        failed.get_or_insert(error);
                    }
                }
            });
        }
    });
    match failed.into_inner().expect("no one panics with it locked") {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
