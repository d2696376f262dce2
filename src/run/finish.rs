//! What follows when a target has all its rows? The sink's steps, and a check of batches that were sent more than once,
//! because an earlier attempt may have arrived after the last.

use std::time::{Duration, Instant};

use crate::batch::{Batch, Key, Shard, Target};
use crate::checkpoint::{Again, batch_id};
use crate::error::{Error, Kind, Result};
use crate::job::OnDoubt;
use crate::limits;
use crate::plan::Plan;
use crate::progress::{Phase, Progress};
use crate::sink::held::Held;
use crate::sink::{Attempt, Finishing, Parcel, Redelivery};
use crate::source::Steady;

use super::deliver::{Way, deliver};
use super::wait::{patiently, sleep};
use super::{Run, Stop, pack};

/// How long to wait at least, and at most, before asking again whether a step is done.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Finishes these targets, after all their shards were delivered.
pub(super) fn finish(run: &Run<'_>, full: impl Iterator<Item = u32>) -> Result<()> {
    let mut targets = full.map(|number| &run.plan.manifest.targets[number as usize]);
    let finished = targets.try_for_each(|target| finish_one(run, target));
    finished.and(run.checkpoint.keep())
}

fn finish_one(run: &Run<'_>, target: &Target) -> Result<()> {
    run.check()?;
    let files = run.files_of(target.number);
    files.iter().try_for_each(|files| files.unchanged())?;
    steps(run, target)?;
    if sent_once_more(run, target)? {
        run.plan.sink.unfinish(target);
        steps(run, target)?;
    }
    run.checkpoint.record_done(target.number)
}

/// Does what the job wants done after the last row, if an earlier run that delivered everything left it undone. Returns
/// what had to be done.
pub fn complete(
    plan: &Plan,
    target: &Target,
    progress: &Progress,
    stop: &Stop,
) -> Result<Vec<Phase>> {
    let take = || plan.sink.complete(target);
    step_by_step(plan, target, progress, stop, &|| stop.check(), take)
}

/// Has the sink take one step after the other.
fn steps(run: &Run<'_>, target: &Target) -> Result<()> {
    let take = || run.plan.sink.finish(target);
    step_by_step(
        run.plan,
        target,
        run.progress,
        run.stop,
        &|| run.check(),
        take,
    )
    .map(drop)
}

/// Takes steps until all is done, and returns them. Each success restarts patience; no step is taken twice.
fn step_by_step(
    plan: &Plan,
    target: &Target,
    progress: &Progress,
    stop: &Stop,
    check: &dyn Fn() -> Result<()>,
    take: impl Fn() -> Result<Finishing>,
) -> Result<Vec<Phase>> {
    let mut did = Vec::new();
    let (mut doing, mut began) = (None, Instant::now());
    let (mut moved, mut last) = (began, 0);
    loop {
        let (phase, figure, percent) = match patiently(&plan.settings, progress, stop, &take)? {
            Finishing::Done => return Ok(did),
            Finishing::Next => continue,
            Finishing::Doing {
                phase,
                figure,
                percent,
            } => (phase, figure, percent),
        };
        let shown = progress.doing();
        if doing != Some(phase) {
            (doing, began, moved, last) = (Some(phase), Instant::now(), Instant::now(), figure);
            did.push(phase);
            shown.begin(phase, &target.name.collection);
            continue;
        }
        if let Some(percent) = percent {
            shown.percent(percent);
        }
        if figure != last {
            (moved, last) = (Instant::now(), figure);
        }
        if moved.elapsed() > plan.settings.patience {
            let seconds = moved.elapsed().as_secs();
            let what =
                format!("the server has been {phase} for {seconds} s without making progress");
            return Err(Error::new(Kind::Busy, what).hint(
                "the same command continues where this one stopped; `run: {patience: 1h}` waits longer",
            ));
        }
        // The wait grows with the time it takes, so that asking late loses a sixteenth at most.
        let wait = (began.elapsed() / 16).clamp(ASK_EVERY.0, ASK_EVERY.1);
        sleep(wait.min(plan.settings.late_wait), check)?;
    }
}

/// Checks batches that were sent more than once: a proxy in between may deliver an earlier attempt after the last, and
/// its rows would be there twice. If rows can be read, they are counted; if not, the batch is sent once more and
/// replaces what came. Returns whether anything was sent.
fn sent_once_more(run: &Run<'_>, target: &Target) -> Result<bool> {
    let number = target.number as usize;
    let again = run
        .checkpoint
        .delivered(target.number, &run.decisions[number])
        .again;
    if again.is_empty() || !may_replace(run, target) {
        return Ok(false);
    }
    let mut sent = false;
    for _ in 0..limits::LOOKS_AFTER {
        let doubted = run.doubted();
        run.progress.wait(
            "requests that may still arrive".to_owned(),
            doubted.elapsed(),
            run.plan.settings.late_wait,
        );
        while let late = doubted + run.plan.settings.late_wait
            && let Some(wait) = late.checked_duration_since(Instant::now())
            && !wait.is_zero()
        {
            sleep(wait, &|| run.check())?;
        }
        run.progress.moves();
        for batch in &again {
            sent |= look_after(run, target, batch)?;
        }
        // What was just sent may itself be late.
        if run.doubted() == doubted {
            break;
        }
    }
    Ok(sent)
}

/// Whether rows of this job may be replaced by copies of themselves at any time.
fn may_replace(run: &Run<'_>, target: &Target) -> bool {
    let sink = &run.plan.sink;
    let decision = &run.decisions[target.number as usize];
    sink.replaces()
        && match run.plan.settings.on_doubt {
            OnDoubt::Upsert => true,
            OnDoubt::Auto => sink.redelivery(target, decision) == Redelivery::Harmless,
            OnDoubt::Resend | OnDoubt::Stop => false,
        }
}

/// Checks one batch; returns whether it was sent.
fn look_after(run: &Run<'_>, target: &Target, again: &Again) -> Result<bool> {
    let plan = run.plan;
    let mut shards = plan.manifest.shards.iter();
    let shard = shards.find(|s| s.number == again.shard);
    let shard = shard.expect("the log is of this plan");
    let stretch = Shard {
        end: again.to.clone(),
        ..shard.clone()
    };
    let source = plan.source.as_ref();
    let mut reader = Steady::new(source, stretch, again.from.clone(), plan.limits);
    let files = run.patiently(|| reader.files())?;
    let (mut sent, mut any) = (false, false);
    // A source that changes may have more rows there by now than fit a batch.
    while let Some(cut) = run.patiently(|| reader.rows())? {
        run.check()?;
        any = true;
        let id = batch_id(run.checkpoint, shard, again.index);
        let batch = Batch {
            id,
            target: target.number,
            first_row: shard.first_row,
            parts: cut.parts,
            next: cut.next,
        };
        let packed = pack(run, batch);
        files.unchanged()?;
        let (parcel, _) = packed.map_err(|e| e.batch(id))?;
        if run.patiently(|| is_there_once(run, target, &parcel))? {
            continue;
        }
        let mut way = Way::new(run, id, &files, true);
        run.enter()?;
        let delivered = deliver(run, &parcel, Attempt::Again, &mut way);
        run.leave();
        delivered.map_err(|e| e.batch(id))?;
        files.unchanged()?;
        run.handed(id, false);
        sent = true;
    }
    if !any && !plan.moves() {
        let what = format!("{}: a batch that was delivered is gone", target.source);
        return Err(Error::new(Kind::Changed, what));
    }
    Ok(sent)
}

/// Whether each row of a batch is found to be there once, or cannot be looked at.
fn is_there_once(run: &Run<'_>, target: &Target, parcel: &Parcel) -> Result<bool> {
    let Held::Rows(mut holder) = run.plan.sink.held(target)? else {
        return Ok(false);
    };
    let parts = parcel.batch.parts.iter();
    let keys: Vec<Key> = parts.flat_map(|part| part.keys()).collect();
    for some in keys.chunks(limits::LOOK_UP_ROWS_MAX as usize) {
        match holder.copies(some)? {
            Some(count) if count != some.len() as u64 => return Ok(false),
            // The destination has one row a key.
            Some(_) | None => {}
        }
    }
    Ok(true)
}
