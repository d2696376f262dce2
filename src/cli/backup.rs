//! Checks whether a backup is complete, without its source and without a server.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::carry::watch_signals;
use super::progress::{Shown, Style};
use super::say::{Text, line, print_json};
use super::{Common, show};
use crate::error::{Error, Kind, Result};
use crate::progress::{Doing, Phase, Progress};
use crate::run::Stop;
use crate::source::parquet::{self, Checked};

/// The result, for machines.
#[derive(Serialize)]
struct Report {
    /// `whole`, `damaged`, `stopped` or `failed`.
    state: &'static str,
    seconds: f64,
    rows: u64,
    #[serde(flatten)]
    checked: Checked,
    error: Option<serde_json::Value>,
}

/// `milvusdm verify DIR`.
pub fn verify(path: &Path, style: Style, common: &Common) -> Result<()> {
    let started = Instant::now();
    let (doing, stop) = (Doing::default(), Stop::default());
    watch_signals(
        &stop,
        "stopped on request; nothing was changed",
        &common.screen,
    )?;
    let progress = Arc::new(Progress::of(doing.clone()));
    doing.begin(Phase::Verifying, "");
    let shown = Shown::start(style, progress.clone(), common);
    let looked_at = |rows, bytes| progress.delivered(rows, bytes);
    let checked = parquet::check(path, &looked_at, &|| stop.check());
    drop(shown);
    let (checked, result) = match checked {
        Ok(checked) if checked.is_whole() => (checked, Ok(())),
        Ok(checked) => {
            let what = "the backup is damaged or incomplete";
            (checked, Err(Error::path(Kind::Corrupt, path, what)))
        }
        Err(error) => (Checked::default(), Err(error)),
    };
    let report = Report {
        state: match &result {
            Ok(()) => "whole",
            Err(error) if error.kind() == Kind::Corrupt => "damaged",
            Err(error) if error.kind() == Kind::Stopped => "stopped",
            Err(_) => "failed",
        },
        seconds: started.elapsed().as_secs_f64(),
        rows: checked.targets.iter().map(|target| target.rows).sum(),
        checked,
        error: result.as_ref().err().map(show::error_json),
    };
    for warning in &report.checked.warnings {
        tracing::warn!("{warning}");
    }
    let printed = match common.json {
        true => print_json(&report),
        false => told(&report).print(),
    };
    result.map_err(Error::reported).and(printed)
}

fn told(report: &Report) -> Text {
    let mut text = Text::default();
    for target in &report.checked.targets {
        let (rows, bytes) = (target.rows, target.bytes);
        let state = match target.problems.is_empty() {
            true => "whole",
            false => "damaged",
        };
        line!(text, "{}: {rows} rows, {bytes} bytes, {state}", target.path);
        for problem in &target.problems {
            line!(text, "  {problem}");
        }
    }
    for problem in &report.checked.problems {
        line!(text, "{problem}");
    }
    if report.error.is_none() {
        let count = report.checked.targets.len();
        line!(
            text,
            "the backup is whole: {} rows in {count} partitions, every byte and value as it was written",
            report.rows
        );
    }
    text
}
