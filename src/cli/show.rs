//! Plans, for people and for machines; figures and times in words.

use std::time::{SystemTime, UNIX_EPOCH};

use super::say::{Text, line};
use crate::error::{Error, shown};
use crate::job::Job;
use crate::plan::Plan;
use crate::plan::files::{Files, Listed};
use crate::sink::{Decision, Foreseen};

/// Bytes for people, such as `1.5 GB`.
pub fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=999_999 => format!("{:.1} kB", value / 1e3),
        1_000_000..=999_999_999 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.1} GB", value / 1e9),
    }
}

/// Seconds for people, such as `2 min 5 s`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.min(1e9) as u64;
    match whole {
        0..=59 => format!("{seconds:.1} s"),
        60..=3599 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1 row`, `2 rows`.
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// A timestamp in UTC: `2026-11-26T06:50:00Z`.
pub fn utc(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (year, month, day) = date(seconds / 86_400);
    format!("{year:04}-{month:02}-{day:02}T{}Z", clock(at))
}

/// Its time of day, UTC.
pub fn clock(at: SystemTime) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()) % 86_400;
    let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
    format!("{hour:02}:{minute:02}:{:02}", seconds % 60)
}

/// Year, month and day of a day counted from 1970.
fn date(mut day: u64) -> (u64, u64, u64) {
    let is_leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for days in months {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    (year, month, day + 1)
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

/// What a plan shows about each target.
pub type Told<'a> = (&'a [Decision], &'a [Foreseen], &'a [Option<Files>]);

/// `milvusdm plan` for people.
pub fn plan(
    job: &Job,
    plan: &Plan,
    (decisions, foreseen, files): Told,
    before: Option<String>,
) -> Text {
    let mut text = Text::default();
    let rows: u64 = plan.manifest.targets.iter().map(|t| t.rows).sum();
    let total: u64 = plan.manifest.targets.iter().map(|t| t.bytes()).sum();
    line!(text, "job          {}", job.path.display());
    line!(text, "source       {}", job.source.name);
    line!(text, "destination  {}", plan.sink.describe());
    line!(
        text,
        "travels      {}, {} of vectors and ids, in {}",
        count(rows, "row", "rows"),
        bytes(total),
        count(plan.manifest.shards.len() as u64, "shard", "shards")
    );
    line!(
        text,
        "batches      up to {}; {} and pack, at most {} in flight",
        bytes(plan.limits.batch_bytes),
        count(plan.threads as u64, "thread reads", "threads read"),
        count(*plan.in_flight.end() as u64, "request", "requests")
    );
    line!(
        text,
        "memory       at most about {} of batches",
        bytes(plan.memory_bytes())
    );
    let before = before.map(|b| format!(", which {b}")).unwrap_or_default();
    line!(
        text,
        "checkpoint   {}{before}",
        plan.settings.checkpoint.display()
    );
    let told = decisions.iter().zip(foreseen).zip(files);
    for (target, ((decision, foreseen), files)) in plan.manifest.targets.iter().zip(told) {
        line!(text);
        line!(text, "target       {}", name(&target.name.to_string()));
        match files {
            Some(files) => list(&mut text, files),
            None => line!(text, "  from       {}", target.source),
        }
        if let Some(why) = plan.renamed.get(&target.number) {
            line!(text, "  renamed    {why}");
        }
        line!(
            text,
            "  rows       {} ({} marked deleted, not migrated)",
            target.rows,
            target.rows_deleted
        );
        let shape = plan.shapes.get(&target.number).and_then(|all| all.first());
        match (target.columns.all(), target.plain()) {
            ([id, vector], Some(kind)) if shape.is_none() => {
                line!(
                    text,
                    "  schema     {}: int64 key, {}: {kind}",
                    id.name,
                    vector.name
                );
            }
            (columns, _) => {
                let told = shape.map(|shape| shape.told());
                for (number, column) in columns.iter().enumerate() {
                    let from = told.and_then(|told| told.get(number));
                    match from.map(|told| &*told.from) {
                        Some(from) if from != column.to_string() => {
                            line!(text, "  column     {from} → {column}");
                        }
                        _ => line!(text, "  column     {column}"),
                    }
                }
            }
        }
        for lost in shape.iter().flat_map(|shape| shape.lost()) {
            line!(text, "  note       {lost}");
        }
        let in_source = target.metric().map_or("not known", |m| m.name());
        match &foreseen.metric_in_target {
            Some((metric, said_by)) => line!(text, "  metric     {metric} (from {said_by})"),
            None => line!(text, "  metric     {in_source} (in the source)"),
        }
        for (what, told) in [
            ("way   ", foreseen.way.as_str()),
            ("index ", foreseen.index.as_str()),
            ("load  ", foreseen.load),
            ("verify", foreseen.rests_on),
        ] {
            if !told.is_empty() {
                line!(text, "  {what}     {told}");
            }
        }
        if let Some(conversion) = plan.conversion.filter(|_| shape.is_none()) {
            line!(text, "  converted  each vector is {conversion}");
        }
        let batch_rows = plan.batch_rows(target);
        line!(
            text,
            "  a batch    {}; {}",
            count(batch_rows, "row", "rows"),
            count(target.rows.div_ceil(batch_rows), "batch", "batches")
        );
        line!(text, "  will be    {}: {}", verb(decision), decision.why);
        let said = profile(plan, target.number);
        if !said.is_empty() {
            line!(text, "  payload    a sample; the job could define:");
        }
        for said in said {
            line!(text, "    {said}");
        }
    }
    for warning in &plan.warnings {
        line!(text);
        line!(text, "warning: {warning}");
    }
    text
}

/// The files of a target, in columns.
fn list(text: &mut Text, files: &Files) {
    line!(
        text,
        "  from       {} in this order",
        count(files.count, "file", "files")
    );
    let path = |file: &Listed| shown(&file.path.to_string_lossy()).into_owned();
    let paths: Vec<String> = files.listed.iter().map(path).collect();
    let rows = files.listed.iter().map(|f| f.rows.to_string().len());
    let wide = paths.iter().map(|path| path.chars().count()).max();
    let (wide, rows_wide) = (wide.unwrap_or(0), rows.max().unwrap_or(0));
    let hidden = files.count - files.listed.len() as u64;
    for (number, (path, file)) in paths.iter().zip(&files.listed).enumerate() {
        if hidden > 0 && number + 1 == files.listed.len() {
            line!(text, "             … {hidden} more");
        }
        let (rows, first) = (file.rows, &file.first_id);
        line!(
            text,
            "             {path:<wide$}  {rows:>rows_wide$} rows, first id {first}"
        );
    }
}

/// The columns that the payload of a target's rows could have, as a job would define them. Empty if the source does not
/// answer now: everything that matters was asked before.
fn profile(plan: &Plan, target: u32) -> Vec<String> {
    let mut shards = plan.manifest.shards.iter().filter(|s| s.rows > 0);
    let shard = shards.find(|shard| shard.target == target);
    let lines = shard.map(|shard| plan.source.profile(shard));
    lines.and_then(std::result::Result::ok).unwrap_or_default()
}

/// A target's name; one file has none.
pub fn name(name: &str) -> &str {
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
    (decisions, foreseen, files): Told,
    before: Option<String>,
) -> serde_json::Value {
    let targets: Vec<serde_json::Value> = plan
        .manifest
        .targets
        .iter()
        .zip(decisions.iter().zip(foreseen).zip(files))
        .map(|(target, ((decision, foreseen), files))| {
            let columns = &target.columns;
            let shape = plan.shapes.get(&target.number).and_then(|all| all.first());
            let vector = columns.vectors().next().map(|(_, vector)| vector);
            let element = target.plain().map(|kind| kind.element.name());
            serde_json::json!({
                "name": target.name.to_string(),
                "collection": target.name.collection,
                "partition": target.name.partition,
                "source": target.source,
                "files": files.as_ref().map(files_json),
                "renamed": plan.renamed.get(&target.number),
                "rows": target.rows,
                "rows_deleted": target.rows_deleted,
                "bytes": target.bytes(),
                "id_field": columns.key().name,
                "vector_field": vector.map(|v| &v.name),
                "element": element,
                "dimension": target.plain().map(|kind| kind.dimension),
                "columns": columns.all().iter().map(|c| c.to_string()).collect::<Vec<_>>(),
                "made_of": shape.map(|s| s.told().iter().map(|told| &*told.from).collect::<Vec<_>>()),
                "lost": shape.map(|s| s.lost()),
                "converted": plan.conversion.map(|c| c.to_string()),
                "metric": target.metric().map(|m| m.name().to_owned()),
                "batch_rows": plan.batch_rows(target),
                "metric_in_target": foreseen.metric_in_target.as_ref().map(|(metric, _)| metric),
                "way": foreseen.way,
                "index": foreseen.index,
                "load": foreseen.load,
                "rests_on": foreseen.rests_on,
                "action": decision.action.name(),
                "rows_before": decision.rows_before,
                "why": decision.why,
                "profile": profile(plan, target.number),
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

fn files_json(files: &Files) -> serde_json::Value {
    let one = |file: &Listed| {
        let (path, first) = (file.path.display().to_string(), &file.first_id);
        let first = first
            .number()
            .map_or_else(|| first.to_string().into(), serde_json::Value::from);
        serde_json::json!({"path": path, "rows": file.rows, "first_id": first})
    };
    let listed: Vec<serde_json::Value> = files.listed.iter().map(one).collect();
    serde_json::json!({"count": files.count, "listed": listed})
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_are_written_as_the_calendar_has_them() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_796_256_000, "2026-12-03T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(utc(at), expected);
        }
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!(count(1, "batch", "batches"), "1 batch");
        assert_eq!(count(0, "batch", "batches"), "0 batches");
    }
}
