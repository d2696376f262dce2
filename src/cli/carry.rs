//! Runs and plans jobs, and reports the outcome.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::progress::{Shown, Style};
use super::report::{self, About, writable};
use super::say::{Screen, Text, columns, print_json};
use super::shares::{self, Part, Ready};
use super::verify::compare;
use super::{Common, RunFlags, Sets, known, look, show, summary};
use crate::checkpoint::{Checkpoint, Delivered, Deliveries, Found, Totals};
use crate::error::{Error, Kind, Result, shown};
use crate::job::Job;
use crate::plan::{self, Plan};
use crate::progress::{Course, Doing, Phase, Progress, Snapshot};
use crate::run::{self, Stop};
use crate::sink::{Action, Decision};
use crate::verify::{self, TargetReport, When};

/// How long threads get to stop cleanly after a signal. Batches still on their way then stay in doubt, as the
/// checkpoint records.
const GRACE: Duration = Duration::from_millis(1800);

/// How often to check whether a signal came.
const LOOK: Duration = Duration::from_millis(50);

/// The report of a run, for people and for machines.
#[derive(Serialize)]
pub struct Report {
    /// `done`, `not proven`, `stopped`, `failed`, `skipped`, `done before` or `share done`.
    pub state: &'static str,
    /// The same under its original key, which ends never change.
    pub outcome: &'static str,
    /// If the run had nothing to do: when the job had finished, in seconds since the epoch. The figures are then those
    /// of the run that finished it.
    pub finished_at: Option<u64>,
    /// What was done to targets of a job that had finished, such as `products: indexing`.
    pub completed: Vec<String>,
    /// When, where, and by which program.
    #[serde(flatten)]
    pub about: About,
    /// The job file.
    pub job: String,
    /// The checkpoint file.
    pub checkpoint: String,
    /// The destination, without credentials.
    pub destination: String,
    /// If the source is not a file: whether one snapshot of it was read (`pinned`), or it could change meanwhile
    /// (`live`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<&'static str>,
    /// Seconds it took.
    pub seconds: f64,
    /// Counters of this attempt.
    pub progress: Option<Snapshot>,
    /// How it went over time, for HTML reports.
    #[serde(skip)]
    pub course: Course,
    /// The targets.
    pub targets: Vec<TargetReport>,
    /// Wrapping sum of the digests of all rows delivered.
    pub digest: String,
    /// Rows left out, some of them.
    pub left_out: Vec<LeftOutRow>,
    /// The error that ended it.
    pub error: Option<serde_json::Value>,
    /// What was left behind.
    pub left_behind: Vec<String>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// A row that was left out.
#[derive(Serialize)]
pub struct LeftOutRow {
    /// The target's name.
    pub target: String,
    /// The file it is in.
    pub file: String,
    /// Its stored row number.
    pub row: u64,
    /// What it is known by: a number or a string.
    pub id: serde_json::Value,
}

/// `milvusdm plan`: shows what would be done.
pub fn plan_job(path: &Path, sets: &Sets, common: &Common) -> Result<()> {
    let mut job = Job::read_with(path, &sets.set)?;
    known::begun_with(&mut job);
    look::survives(&job)?;
    let mut draft = plan::draft(&job);
    let (mut decisions, mut before) = (Vec::new(), None);
    if let Some(plan) = draft.plan.take() {
        let mut plan = known::placed(plan);
        let checkpoint = &plan.settings.checkpoint;
        let decided = Checkpoint::decided(checkpoint, &plan);
        let decides = decided.is_none() && !Checkpoint::has_finished(checkpoint, &plan);
        before = draft.note(Checkpoint::foresee(checkpoint, &plan)).flatten();
        draft.note(plan::check_repeats(&plan, &|| Ok(())));
        decisions = match decided {
            Some(mut decided) => {
                for decision in &mut decided {
                    let why = &decision.why;
                    decision.why =
                        format!("decided when the job began, and not applied again ({why})");
                }
                decided
            }
            None => draft.note(plan.decide()).unwrap_or_default(),
        };
        // A run that has nothing to decide looks nothing up.
        if decides && !decisions.is_empty() {
            let said = draft.note(known::there(&plan, &decisions, false, &|| Ok(())));
            plan.warnings.extend(said.unwrap_or_default());
        }
        draft.plan = Some(plan);
    }
    let plan = draft.whole(&job)?;
    let foreseen = plan.foresee(&decisions)?;
    let files = plan.manifest.targets.iter();
    let files: Vec<_> = files
        .map(|target| plan::files::files(&plan, target))
        .collect::<Result<_>>()?;
    let told = (&*decisions, &*foreseen, &*files);
    if common.json {
        return print_json(&show::plan_json(&job, &plan, told, before));
    }
    show::plan(&job, &plan, told, before).print()
}

/// `milvusdm run`: runs the job. The report is written, and with `--json` printed, whether the run succeeds or not.
pub fn run_job(path: &Path, flags: &RunFlags, part: Part, common: &Common) -> Result<()> {
    let started = Instant::now();
    let progress = Arc::new(Progress::default());
    let mut report = Report {
        state: "done",
        outcome: "done",
        finished_at: None,
        completed: Vec::new(),
        about: About::now(),
        job: path.display().to_string(),
        checkpoint: String::new(),
        destination: String::new(),
        snapshot: None,
        seconds: 0.0,
        progress: None,
        course: Course::default(),
        targets: Vec::new(),
        digest: String::new(),
        left_out: Vec::new(),
        error: None,
        left_behind: Vec::new(),
        warnings: Vec::new(),
    };
    let writable = flags.report.as_deref().map_or(Ok(()), writable);
    let result = match writable {
        Ok(()) => run_reported(path, flags, part, common, &progress, &mut report),
        // The report cannot hold this error.
        Err(error) => return Err(error),
    };
    report.seconds = started.elapsed().as_secs_f64();
    report.about.end(progress.doing());
    if let Err(error) = &result {
        report.outcome = match error.kind() {
            Kind::Stopped => "stopped",
            Kind::Unproven => "not proven",
            _ => "failed",
        };
        report.error = Some(show::error_json(error));
        for sentence in &report.left_behind {
            common.screen.say(&format!("note: {}", shown(sentence)));
        }
    }
    report.state = report.outcome;
    let written = match &flags.report {
        Some(path) => report::write(path, &report, &report.course),
        None => Ok(()),
    };
    let printed = match common.json {
        true => print_json(&report),
        false => Ok(()),
    };
    result.map_err(Error::reported).and(written).and(printed)
}

fn run_reported(
    path: &Path,
    flags: &RunFlags,
    part: Part,
    common: &Common,
    progress: &Arc<Progress>,
    report: &mut Report,
) -> Result<()> {
    let stop = Stop::default();
    watch_signals(
        &stop,
        "stopped on request; the same command continues where this one stopped",
        &common.screen,
    )?;
    let shown = Shown::start(flags.progress, progress.clone(), common);
    let mut job = Job::read_with(path, &flags.sets.set)?;
    if !flags.again {
        known::begun_with(&mut job);
    }
    let mut plan = known::placed(planned(&job, progress, &stop)?);
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    let checkpoint_path = plan.settings.checkpoint.clone();
    report.checkpoint = checkpoint_path.display().to_string();
    report.destination = plan.sink.describe();
    report.snapshot = known::snapshot(&plan);
    report.warnings = plan.warnings.clone();
    let found = match part {
        Part::Whole => Checkpoint::create_or_resume(&checkpoint_path, &plan, flags.again)?,
        Part::LastSteps => Checkpoint::gathered(&checkpoint_path, &plan)?,
        Part::Share(share) => {
            shares::check(&plan, flags)?;
            match shares::ready(&mut plan, share, progress, &stop, &mut report.warnings)? {
                Ready::Finished(finished) => Found::Finished(finished),
                Ready::Skipped(decisions) => {
                    drop(shown);
                    let nothing = vec![Totals::default(); decisions.len()];
                    report.targets = shares::told(&plan, &decisions, &nothing);
                    report.outcome = "skipped";
                    return show_summary(report, common);
                }
                Ready::Before(rows) => {
                    drop(shown);
                    report.outcome = "share done";
                    return print_closing(shares::closing(share, path, Some(rows)), common);
                }
                Ready::Rows(own, mut decisions) => {
                    drop(shown);
                    let shown = (flags.progress, common, &**progress);
                    send(&plan, &own, &mut decisions, &stop, shown, report)?;
                    shares::finish(&plan, &own, &decisions, report)?;
                    show_summary(report, common)?;
                    return print_closing(shares::closing(share, path, None), common);
                }
            }
        }
    };
    match found {
        Found::Finished(finished) => {
            let did = known::finished_before(&plan, &finished, progress, &stop, report);
            drop(shown);
            let did = did?;
            match common.json {
                true => Ok(()),
                false => did.print(),
            }
        }
        Found::Open(checkpoint) => {
            plan.adopt(checkpoint.shards());
            let ready = (progress, shown);
            let result = carry(&plan, checkpoint, &stop, flags, common, ready, report);
            let delivered = match &result {
                Ok(()) => true,
                Err(error) => error.kind() == Kind::Unproven,
            };
            let printed = match delivered {
                true => show_summary(report, common),
                false => Ok(()),
            };
            result.and(printed)
        }
    }
}

fn show_summary(report: &Report, common: &Common) -> Result<()> {
    if common.json {
        return Ok(());
    }
    if io::stdout().is_terminal() {
        // It may be the terminal that shows progress: the summary begins on a line of its own.
        common.screen.rest();
    }
    summary::summary(report, columns()).print()
}

fn print_closing(text: Text, common: &Common) -> Result<()> {
    match common.json {
        true => Ok(()),
        false => text.print(),
    }
}

/// Plans a job. An address that never answered is more likely wrong than slow, and is an error at once; the destination
/// of a job that has begun did exist, so it is waited for.
fn planned(job: &Job, progress: &Progress, stop: &Stop) -> Result<Plan> {
    look::survives(job)?;
    let first = plan::plan(job);
    match &first {
        Err(error)
            if matches!(error.kind(), Kind::Unreachable | Kind::Busy | Kind::Lost)
                && Checkpoint::is_begun(&known::log_of(job)) =>
        {
            tracing::warn!("{error:#}; the job has begun, so it waits");
            run::patiently(&job.run, progress, stop, || plan::plan(job))
        }
        _ => first,
    }
}

fn carry(
    plan: &Plan,
    checkpoint: Box<Checkpoint>,
    stop: &Stop,
    flags: &RunFlags,
    common: &Common,
    (planning, shown): (&Arc<Progress>, Shown),
    report: &mut Report,
) -> Result<()> {
    let doing = planning.doing();
    let mut decisions = match decide(plan, &checkpoint, doing, stop, flags.again) {
        Ok((decisions, said)) => {
            for sentence in &said {
                tracing::warn!("{sentence}");
            }
            report.warnings.extend(said);
            decisions
        }
        Err(error) => {
            // Nothing was touched: the job may be corrected and run as if for the first time.
            checkpoint.discard_if_untouched(false)?;
            return Err(error);
        }
    };
    drop(shown);
    let style = flags.progress;
    if decisions.iter().all(|d| d.action == Action::Skip) && !decisions.is_empty() {
        report.outcome = "skipped";
        report.targets = verified(plan, &checkpoint, &decisions, stop, (style, common, doing))?;
        return checkpoint.discard_if_untouched(false);
    }
    send(
        plan,
        &checkpoint,
        &mut decisions,
        stop,
        (style, common, planning),
        report,
    )?;
    report.targets = verified(plan, &checkpoint, &decisions, stop, (style, common, doing))?;
    verify::judge(&report.targets)?;
    let finished = checkpoint.finish()?;
    checkpoint.remove_shares()?;
    Deliveries::note(plan, checkpoint.path(), &decisions, Some(finished))
}

/// Delivers the rows of a plan that have no receipt yet.
fn send(
    plan: &Plan,
    checkpoint: &Checkpoint,
    decisions: &mut [Decision],
    stop: &Stop,
    (style, common, planning): (Style, &Common, &Progress),
    report: &mut Report,
) -> Result<()> {
    let progress = Arc::new(Progress::of(planning.doing().clone()));
    let wanted = |number: u32| decisions[number as usize].action != Action::Skip;
    let targets = plan.manifest.targets.iter().filter(|t| wanted(t.number));
    let (rows, bytes) = targets.fold((0, 0), |(r, b), t| (r + t.rows, b + t.bytes()));
    progress.total(rows, bytes);
    if checkpoint.resumed() {
        said_resumed(plan, checkpoint, rows, &common.screen);
    }
    let shown = Shown::start(style, progress.clone(), common);
    let carried = run::run(plan, checkpoint, decisions, &progress, stop);
    drop(shown);
    for sentence in plan.source.remarks() {
        tracing::warn!("{sentence}");
        report.warnings.push(sentence);
    }
    report.progress = Some(progress.snapshot());
    report.course = progress.course();
    report.seconds = progress.snapshot().seconds;
    report.left_out = left_out(plan, checkpoint.left_out());
    let targets = plan.manifest.targets.iter();
    let totals: Vec<Totals> = targets.map(|t| checkpoint.totals(t.number)).collect();
    report.digest = digest(totals.iter());
    if let Err((error, left)) = carried {
        report.left_behind = left;
        checkpoint.discard_if_untouched(plan.sink.resumable())?;
        return Err(match error.kind() {
            Kind::Stopped if !plan.sink.resumable() => Error::new(
                Kind::Stopped,
                "stopped on request",
            )
            .hint(
                "the same command continues; incomplete files are written again from their start",
            ),
            _ => error,
        });
    }
    Ok(())
}

/// Checks what the destination holds now that everything was delivered.
fn verified(
    plan: &Plan,
    checkpoint: &Checkpoint,
    decisions: &[Decision],
    stop: &Stop,
    shown: (Style, &Common, &Doing),
) -> Result<Vec<TargetReport>> {
    let past = decisions.iter().zip(&plan.manifest.targets);
    let past = past.map(|(decision, target)| checkpoint.delivered(target.number, decision));
    let past: Vec<Delivered> = past.collect();
    let verify = plan.settings.verify;
    compare(
        plan,
        checkpoint.run(),
        &past,
        verify,
        When::AtTheEnd,
        stop,
        shown,
    )
}

/// What will be done to each target: as recorded before, or decided and recorded now.
pub fn decide(
    plan: &Plan,
    checkpoint: &Checkpoint,
    doing: &Doing,
    stop: &Stop,
    again: bool,
) -> Result<(Vec<Decision>, Vec<String>)> {
    let targets = &plan.manifest.targets;
    let recorded: Option<Vec<Decision>> = targets
        .iter()
        .map(|t| checkpoint.decision(t.number).map(|(d, _)| d))
        .collect();
    if let Some(recorded) = recorded
        && checkpoint.resumed()
    {
        doing.begin(Phase::CheckingKeys, "");
        plan::find_last(plan, &|| stop.check())?;
        return Ok((recorded, Vec::new()));
    }
    let decisions = plan.decide()?;
    if let Some(earlier) = checkpoint.replaces() {
        known::differs_now(checkpoint, earlier, &decisions)?;
    }
    doing.begin(Phase::CheckingKeys, "");
    let said = known::there(plan, &decisions, again, &|| stop.check())?;
    plan::check_repeats(plan, &|| stop.check())?;
    doing.begin(Phase::Planning, "");
    plan.prove(&decisions)?;
    for (target, decision) in targets.iter().zip(&decisions) {
        if decision.action == Action::Skip {
            tracing::info!("{}: skipped: {}", target.name, decision.why);
        }
    }
    if decisions.iter().any(|d| d.action != Action::Skip) {
        let all = targets.iter().map(|target| target.number).zip(&decisions);
        checkpoint.decide_all(&all.collect::<Vec<_>>())?;
    }
    Ok((decisions, said))
}

/// The wrapping sum of the digests of all rows.
pub fn digest<'t>(totals: impl Iterator<Item = &'t Totals>) -> String {
    let all = totals.map(|totals| totals.digest);
    format!("{:016x}", all.fold(0u64, u64::wrapping_add))
}

/// Rows that were left out, as reports list them.
pub fn left_out(plan: &Plan, rows: Vec<(u32, String, u64, serde_json::Value)>) -> Vec<LeftOutRow> {
    let rows = rows.into_iter();
    rows.map(|(target, file, row, id)| LeftOutRow {
        target: plan.manifest.targets[target as usize].name.to_string(),
        file,
        row,
        id,
    })
    .collect()
}

/// Tells how far an earlier attempt of this job got, and what that means for this one.
fn said_resumed(plan: &Plan, checkpoint: &Checkpoint, rows: u64, screen: &Screen) {
    let targets = || plan.manifest.targets.iter();
    if plan.sink.resumable() {
        let before: u64 = targets()
            .map(|t| checkpoint.totals(t.number).delivered)
            .sum();
        screen.say(&format!("note: continues at row {before} of {rows}"));
        return;
    }
    let done = targets().filter(|t| checkpoint.done(t.number)).count();
    let all = plan.manifest.targets.len();
    screen.say(&format!(
        "note: {done} of {all} files finished; one that is not whole is written again from its first row"
    ));
}

/// The first SIGINT or SIGTERM stops the run cleanly, the second at once. Either way, the redrawn line is cleared.
pub fn watch_signals(stop: &Stop, said: &'static str, screen: &Screen) -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
    let failed = |e: std::io::Error| Error::new(Kind::Io, format!("cannot watch for signals: {e}"));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    // A file at the size limit (`ulimit -f`): if caught, it is a write error, like a full disk.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(failed)?;
    let (flag, screen) = (stop.flag(), screen.clone());
    let watch = move || {
        let mut asked: Option<Instant> = None;
        loop {
            for _ in signals.pending() {
                if asked.is_some() {
                    screen.part(None);
                    std::process::exit(130);
                }
                asked = Some(Instant::now());
                flag.store(true, Ordering::SeqCst);
            }
            if asked.is_some_and(|asked| asked.elapsed() > GRACE) {
                // Requests in flight stay in doubt; the checkpoint knows which.
                screen.part(Some(said));
                std::process::exit(130);
            }
            std::thread::sleep(LOOK);
        }
    };
    let spawned = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch);
    spawned.map(|_| ()).map_err(failed)
}
