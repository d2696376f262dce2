//! Plans and summaries, for people and for machines.

use std::time::{SystemTime, UNIX_EPOCH};

use super::carry::Report;
use crate::error::Error;
use crate::job::Job;
use crate::plan::Plan;
use crate::sink::Decision;
use crate::verify::{Proof, TargetReport};

/// Bytes as people say them.
pub fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=999_999 => format!("{:.1} kB", value / 1e3),
        1_000_000..=999_999_999 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.1} GB", value / 1e9),
    }
}

/// Seconds as people say them.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.min(1e9) as u64;
    match whole {
        0..=59 => format!("{seconds:.1} s"),
        60..=3599 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// How long ago a second since the epoch was.
pub fn ago(at: u64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(at, |d| d.as_secs());
    format!("{} ago", seconds(now.saturating_sub(at) as f64))
}

/// An error for machines.
pub fn error_json(error: &Error) -> serde_json::Value {
    let mistakes: Vec<_> = error.mistakes().iter().map(error_json).collect();
    serde_json::json!({
        "kind": format!("{:?}", error.kind()),
        "exit_code": error.kind().exit_code(),
        "what": error.what(),
        "place": error.place().map(|p| p.to_string()),
        "hint": error.hint_text(),
        "details": error.details(),
        "mistakes": mistakes,
    })
}

/// `milvusdm plan` for people.
pub fn plan(job: &Job, plan: &Plan, decisions: &[Decision], before: Option<String>) {
    let rows: u64 = plan.manifest.targets.iter().map(|t| t.rows).sum();
    let total: u64 = plan.manifest.targets.iter().map(|t| t.bytes()).sum();
    out!("job          {}", job.path.display());
    out!("source       {}", job.source.name);
    out!("destination  {}", plan.sink.describe());
    out!(
        "travels      {rows} rows, {} of vectors and ids, in {} shards",
        bytes(total),
        plan.manifest.shards.len()
    );
    out!(
        "batches      up to {}, {} threads read and pack, at most {} requests out at a time",
        bytes(plan.limits.batch_bytes),
        plan.threads,
        plan.in_flight.end()
    );
    out!(
        "memory       at most about {} of batches",
        bytes(plan.memory_bytes())
    );
    let before = before.map(|b| format!(", which {b}")).unwrap_or_default();
    out!(
        "checkpoint   {}{before}",
        plan.settings.checkpoint.display()
    );
    for (target, decision) in plan.manifest.targets.iter().zip(decisions) {
        out!("\ntarget       {}", name(&target.name.to_string()));
        out!("  from       {}", target.source);
        if let Some(why) = plan.renamed.get(&target.number) {
            out!("  renamed    {why}");
        }
        out!(
            "  rows       {} ({} marked deleted will not travel)",
            target.rows,
            target.rows_deleted
        );
        match (target.columns.all(), target.plain()) {
            ([id, vector], Some(kind)) => {
                out!(
                    "  schema     {}: int64 key, {}: {kind}",
                    id.name,
                    vector.name
                );
            }
            (columns, _) => {
                for column in columns {
                    out!("  column     {column}");
                }
            }
        }
        let metric = target.metric().map_or("not known", |m| m.name());
        out!("  metric     {metric} (in the source)");
        if let Some(conversion) = plan.conversion {
            out!("  converted  each vector is {conversion}");
        }
        let batch_rows = plan.batch_rows(target);
        out!(
            "  a batch    {batch_rows} rows; {} batches",
            target.rows.div_ceil(batch_rows)
        );
        out!("  will be    {}: {}", verb(decision), decision.why);
    }
    for warning in &plan.warnings {
        out!("\nwarning      {warning}");
    }
}

fn name(name: &str) -> &str {
    if name.is_empty() { "(the file)" } else { name }
}

fn verb(decision: &Decision) -> &'static str {
    match decision.action.name() {
        "skip" => "skipped",
        "create" => "created",
        "append" => "appended to",
        _ => "replaced",
    }
}

/// `milvusdm plan --json`.
pub fn plan_json(
    job: &Job,
    plan: &Plan,
    decisions: &[Decision],
    before: Option<String>,
) -> serde_json::Value {
    let targets: Vec<serde_json::Value> = plan
        .manifest
        .targets
        .iter()
        .zip(decisions)
        .map(|(target, decision)| {
            let columns = &target.columns;
            let vector = columns.vectors().next().map(|(_, vector)| vector);
            let element = target.plain().map(|kind| kind.element.name());
            serde_json::json!({
                "name": target.name.to_string(),
                "collection": target.name.collection,
                "partition": target.name.partition,
                "source": target.source,
                "renamed": plan.renamed.get(&target.number),
                "rows": target.rows,
                "rows_deleted": target.rows_deleted,
                "bytes": target.bytes(),
                "id_field": columns.key().name,
                "vector_field": vector.map(|v| &v.name),
                "element": element,
                "dimension": target.plain().map(|kind| kind.dimension),
                "columns": columns.all().iter().map(|c| c.to_string()).collect::<Vec<_>>(),
                "converted": plan.conversion.map(|c| c.to_string()),
                "metric": target.metric().map(|m| m.name().to_owned()),
                "batch_rows": plan.batch_rows(target),
                "action": decision.action.name(),
                "rows_before": decision.rows_before,
                "why": decision.why,
            })
        })
        .collect();
    serde_json::json!({
        "job": job.path.display().to_string(),
        "source": job.source.name,
        "destination": plan.sink.describe(),
        "rows": plan.manifest.targets.iter().map(|t| t.rows).sum::<u64>(),
        "bytes": plan.manifest.targets.iter().map(|t| t.bytes()).sum::<u64>(),
        "shards": plan.manifest.shards.len(),
        "batch_bytes": plan.limits.batch_bytes,
        "memory_bytes": plan.memory_bytes(),
        "threads": plan.threads,
        "deliveries": plan.in_flight.end(),
        "checkpoint": plan.settings.checkpoint.display().to_string(),
        "checkpoint_found": before,
        "targets": targets,
        "warnings": plan.warnings,
    })
}

/// What a run did, for people.
pub fn summary(report: &Report) {
    if report.outcome == "skipped" {
        out!("nothing to do: every target exists, and the mode is skip");
        return;
    }
    let rows: u64 = report.targets.iter().map(|t| t.totals.delivered).sum();
    let total: u64 = report.targets.iter().map(|t| t.totals.bytes).sum();
    let (here, here_bytes) = report
        .progress
        .as_ref()
        .map_or((0, 0), |p| (p.rows - p.rows_resumed.min(p.rows), p.bytes));
    let span = report.seconds.max(0.001);
    out!(
        "done: {rows} rows ({}) in {}: {:.0} rows/s, {}/s",
        bytes(total),
        seconds(report.seconds),
        here as f64 / span,
        bytes((here_bytes as f64 / span) as u64),
    );
    targets(&report.targets);
}

/// What a verification found, for people.
pub fn verified(reports: &[TargetReport], span: f64) {
    if reports.is_empty() {
        return;
    }
    let word = if reports.iter().any(TargetReport::differs) {
        "differs"
    } else if reports.iter().all(|r| r.agrees) {
        "agrees"
    } else {
        "may hold what was delivered, which is not proven"
    };
    out!("the destination {word}; compared in {}", seconds(span));
    targets(reports);
}

/// Each target, and what is claimed of it.
fn targets(reports: &[TargetReport]) {
    for target in reports {
        let counted = match target.rows_counted {
            Some(n) => format!("counted {n} ({})", target.rests_on),
            None => format!("not counted (rests on {})", target.rests_on),
        };
        out!(
            "  {}: {}, {} there before, {} delivered, {} left out, {} deleted ones stayed behind; {counted}: {}",
            name(&target.name),
            target.action,
            target.rows_before,
            target.totals.delivered,
            target.totals.left_out,
            target.rows_deleted,
            if target.rows_counted.is_none() {
                "not compared"
            } else if !target.counts_agree {
                "DIFFERS"
            } else if target.proof == Proof::Open {
                "NOT PROVEN"
            } else {
                "agrees"
            },
        );
        if let Some(error) = target.totals.relative_error {
            out!(
                "    {}: the largest relative error of a component is {error:.2e}, over all rows delivered",
                target.vector
            );
        }
        if let Some(remark) = &target.remark {
            out!("    {remark}");
        }
        let Some(content) = &target.content else {
            continue;
        };
        match &content.not_compared {
            Some(why) => out!("    content NOT COMPARED: {why}"),
            None if content.agrees => out!("    {}: agrees", content.rests_on),
            None => out!("    {}: DIFFERS", content.rests_on),
        }
        if let Some(first) = &content.first_difference {
            let (rows, said) = (content.rows_differing, &first.said);
            out!(
                "    rows that differ: {rows}; first: {said} (row {} of {})",
                first.row,
                first.file
            );
        }
        if let Some(remark) = &content.remark {
            out!("    {remark}");
        }
    }
}
