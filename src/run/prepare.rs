//! What has to exist before the first row travels? Decisions are carried out, in parallel if that helps.

use crate::batch::Target;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::plan::{Plan, check_numbers, side_by_side};
use crate::progress::Progress;
use crate::sink::{Action, Decision};
use crate::source::Stillness;

use super::{Stop, patiently};

/// Carries out the decision about each target, once.
pub fn prepare(
    plan: &Plan,
    checkpoint: &Checkpoint,
    decisions: &mut [Decision],
    progress: &Progress,
    stop: &Stop,
) -> Result<()> {
    plan.sink.begin(checkpoint.run());
    if plan.source.stillness() != Stillness::Frozen {
        plan.sink.rows_may_change();
    }
    for (target, decision) in plan.manifest.targets.iter().zip(decisions.iter()) {
        plan.sink.decided(target, decision);
    }
    let wanted = |target: &&Target| {
        let action = decisions[target.number as usize].action;
        action != Action::Skip && !checkpoint.done(target.number)
    };
    let targets: Vec<&Target> = plan.manifest.targets.iter().filter(wanted).collect();
    // After a crash, everything created but not yet recorded has to be checked again: so not too much at a time.
    for some in targets.chunks(limits::PREPARED_AT_ONCE) {
        let begun = |target: &Target| {
            let decided = checkpoint.decision(target.number);
            decided.is_some_and(|(_, prepared)| prepared)
        };
        let before = &*decisions;
        let settled = side_by_side(&*plan.sink, some, &|target: &Target| {
            stop.check()?;
            let begun = begun(target);
            if begun && !plan.sink.resumable() {
                checkpoint.reset(target.number)?;
            }
            let decision = &before[target.number as usize];
            patiently(&plan.settings, progress, stop, || {
                plan.sink.prepare(target, decision, begun)
            })?;
            if begun {
                return Ok(None);
            }
            let settle = || plan.sink.settle(target, decision.clone());
            patiently(&plan.settings, progress, stop, settle).map(Some)
        })?;
        let mut prepared = Vec::with_capacity(some.len());
        for (target, settled) in some.iter().zip(settled) {
            let decision = &mut decisions[target.number as usize];
            let place = patiently(&plan.settings, progress, stop, || plan.sink.place(target))?;
            match settled {
                None => check_place(checkpoint, target, place)?,
                Some(settled) => {
                    check_numbers(plan, target, &settled)?;
                    if settled != *decision {
                        checkpoint.decide(target.number, &settled)?;
                        *decision = settled;
                    }
                    prepared.push((target.number, place));
                }
            }
            progress.resumed(checkpoint.totals(target.number).delivered);
        }
        if !prepared.is_empty() {
            checkpoint.prepared(&prepared)?;
        }
    }
    Ok(())
}

/// Refuses a collection or partition that was dropped and recreated since rows were sent to it.
fn check_place(checkpoint: &Checkpoint, target: &Target, place: u64) -> Result<()> {
    let before = checkpoint.place(target.number);
    if before == place || before == 0 || place == 0 {
        return Ok(());
    }
    let what = format!(
        "{} has been dropped and recreated since this job began to fill it",
        target.name
    );
    Err(Error::new(Kind::Refused, what).hint(
        "what was delivered to it before is lost, and what it holds now is not this job's: `milvusdm run --again` looks \
         at it afresh",
    ))
}
