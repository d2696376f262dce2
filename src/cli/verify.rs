//! Compares what a finished job delivered with what its destination holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::carry::watch_signals;
use super::known::{log_of, placed};
use super::progress::{Shown, Style};
use super::report::{self, About, writable};
use super::say::{columns, print_json};
use super::{Common, Sets, look, show, summary};
use crate::checkpoint::{Checkpoint, Delivered};
use crate::error::{Error, Kind, Result};
use crate::job::{Job, Verify};
use crate::plan::{self, Plan};
use crate::progress::{Course, Doing, Phase, Progress};
use crate::run::{self, Stop};
use crate::sink::{Action, Loan};
use crate::verify::{self, Pacing, TargetReport, When};

/// What `milvusdm verify` accepts besides a job.
#[derive(Args, Clone, Default)]
pub struct VerifyFlags {
    /// Compare a sample of the rows of large collections, not all of them
    #[arg(long)]
    sample: bool,
    /// Load collections that are not loaded, with an index if they have none, and leave them as they were
    #[arg(long)]
    load: bool,
    #[command(flatten)]
    sets: Sets,
    /// How progress is shown
    #[arg(long, value_enum, default_value_t = Style::Auto)]
    pub(super) progress: Style,
    /// Write a report to this file: a page for browsers if it ends in .html, else JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// The result of a verification, for people and for machines.
#[derive(Serialize)]
pub struct Report {
    /// `agrees`, `differs`, `not proven`, `stopped` or `failed`.
    state: &'static str,
    /// The same under its original key.
    outcome: &'static str,
    /// When, where, and by which program.
    #[serde(flatten)]
    about: About,
    /// The job file.
    job: String,
    /// The checkpoint file.
    checkpoint: String,
    /// The destination, without credentials.
    destination: String,
    /// Seconds it took.
    seconds: f64,
    /// The targets.
    pub targets: Vec<TargetReport>,
    /// What the operator should know.
    warnings: Vec<String>,
    /// The error that ended it.
    error: Option<serde_json::Value>,
}

/// `milvusdm verify`: tells whether source and destination agree; changes nothing anywhere.
pub fn verify_job(path: &Path, flags: &VerifyFlags, common: &Common) -> Result<()> {
    let started = Instant::now();
    let doing = Doing::default();
    let mut report = Report {
        state: "agrees",
        outcome: "agrees",
        about: About::now(),
        job: path.display().to_string(),
        checkpoint: String::new(),
        destination: String::new(),
        seconds: 0.0,
        targets: Vec::new(),
        warnings: Vec::new(),
        error: None,
    };
    let result = look(path, flags, common, &doing, &mut report);
    report.seconds = started.elapsed().as_secs_f64();
    if let Err(error) = &result {
        report.outcome = match error.kind() {
            Kind::Differs => "differs",
            Kind::Stopped => "stopped",
            Kind::Unproven => "not proven",
            _ => "failed",
        };
        report.error = Some(show::error_json(error));
    }
    report.state = report.outcome;
    report.about.end(&doing);
    let written = match &flags.report {
        Some(path) => report::write(path, &report, &Course::default()),
        None => Ok(()),
    };
    let printed = match common.json {
        true => print_json(&report),
        false => summary::verified(&report.targets, report.seconds, columns()).print(),
    };
    result.map_err(Error::reported).and(written).and(printed)
}

fn look(
    path: &Path,
    flags: &VerifyFlags,
    common: &Common,
    doing: &Doing,
    report: &mut Report,
) -> Result<()> {
    if let Some(path) = &flags.report {
        writable(path)?;
    }
    let job = Job::read_with(path, &flags.sets.set)?;
    let stop = Stop::default();
    watch_signals(
        &stop,
        "stopped on request; nothing was changed",
        &common.screen,
    )?;
    job.check()?;
    let log = log_of(&job);
    report.checkpoint = log.display().to_string();
    Checkpoint::expect(&log)?;
    look::survives(&job)?;
    let mut plan = placed(plan::plan(&job)?);
    for warning in &plan.warnings {
        tracing::warn!("{warning}");
    }
    report.destination = plan.sink.describe();
    report.warnings = plan.warnings.clone();
    let mut past = Checkpoint::past(&plan.settings.checkpoint, &plan)?;
    plan.adopt(past.shards.take());
    let verify = match plan.settings.verify {
        Verify::Sample => Verify::Sample,
        _ if flags.sample => Verify::Sample,
        _ => Verify::Full,
    };
    plan::find_last(&plan, &|| stop.check())?;
    let mut loans = Vec::new();
    let lent = match flags.load {
        true => lend(&plan, &past.targets, &mut loans, doing, &stop),
        false => Ok(()),
    };
    let compared = lent.and_then(|()| {
        compare(
            &plan,
            past.run,
            &past.targets,
            verify,
            When::Later,
            &stop,
            (flags.progress, common, doing),
        )
    });
    // Whether or not the comparison succeeded, in reverse order.
    for loan in loans.iter().rev() {
        if let Err(error) = plan.sink.give_back(loan) {
            tracing::warn!(
                "a collection that was loaded for comparison could not be released again: {error:#}"
            );
        }
    }
    report.targets = compared.map_err(|error| match error.kind() {
        Kind::Stopped => Error::new(Kind::Stopped, "stopped on request; nothing was changed"),
        _ => error,
    })?;
    verify::judge(&report.targets)
}

/// Has the server load targets so that they can be read.
fn lend(
    plan: &Plan,
    past: &[Delivered],
    loans: &mut Vec<Loan>,
    doing: &Doing,
    stop: &Stop,
) -> Result<()> {
    for (target, past) in plan.manifest.targets.iter().zip(past) {
        stop.check()?;
        if past.decision.action != Action::Skip && past.totals.delivered > 0 {
            doing.begin(Phase::Loading, &target.name.collection);
            plan.sink.lend(target, loans, &|| stop.check())?;
        }
    }
    Ok(())
}

/// Compares, with the same patience as for delivering: a server may be restarting. Shows progress if rows are read.
pub fn compare(
    plan: &Plan,
    run: u64,
    past: &[Delivered],
    verify: Verify,
    when: When,
    stop: &Stop,
    (style, common, doing): (Style, &Common, &Doing),
) -> Result<Vec<TargetReport>> {
    let progress = Arc::new(Progress::of(doing.clone()));
    let targets = plan.manifest.targets.iter();
    let (rows, bytes) = targets.fold((0, 0), |(r, b), t| (r + t.rows, b + t.bytes()));
    progress.total(rows, bytes);
    doing.begin(Phase::Counting, "");
    let _shown = Shown::start(style, progress.clone(), common);
    let pacing = Pacing {
        check: &|| stop.check(),
        wait: &|deed| run::patiently(&plan.settings, &progress, stop, deed),
        looked_at: &|rows, bytes| {
            doing.begin(Phase::Verifying, "");
            progress.delivered(rows, bytes);
        },
    };
    verify::compare(plan, run, past, verify, when, &pacing)
}
