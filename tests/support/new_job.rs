//! What a new user does: `milvusdm init`, the lines marked EDIT, `plan`, `run`.

use std::path::Path;

use serde_json::Value;

use crate::support::milvusdm;

/// A new job of a source and a sink, with values for keys of its lines marked EDIT; all else stays as `init` wrote it.
#[track_caller]
fn written(dir: &Path, source: &str, sink: &str, edits: &[(&str, &str)]) -> String {
    let (code, job, said) = milvusdm(dir, &["init", source, sink]);
    assert_eq!(code, Some(0), "init {source} {sink}: {said}");
    let mut edits = edits.to_vec();
    let mut edit = |line: &str| {
        let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
        let key = rest.split(':').next().unwrap_or_default();
        let at = edits.iter().position(|(edited, _)| *edited == key);
        match at.filter(|_| line.contains("# EDIT:")) {
            Some(at) => format!("{indent}{key}: {}\n", edits.remove(at).1),
            None => format!("{line}\n"),
        }
    };
    let job = job.lines().map(&mut edit).collect();
    assert!(edits.is_empty(), "no line to edit for {edits:?}:\n{job}");
    job
}

/// Writes such a job, plans it and runs it in a directory; returns the report of the run, which ended well.
#[track_caller]
fn new_job(dir: &Path, source: &str, sink: &str, edits: &[(&str, &str)]) -> Value {
    let job = written(dir, source, sink, edits);
    let file = format!("{source}_to_{sink}.yaml");
    std::fs::write(dir.join(&file), &job).unwrap();
    let [_, report] = ["plan", "run"].map(|command| {
        let (code, report, said) = milvusdm(dir, &[command, &file, "--json"]);
        assert_eq!(code, Some(0), "{command}: {said}\n{report}\n{job}");
        report
    });
    serde_json::from_str(&report).unwrap()
}

/// Such jobs of a source into the Milvus at an address and into Parquet: how many rows went into each.
#[track_caller]
pub fn into_both(dir: &Path, source: &str, edits: &[(&str, &str)], address: &str) -> [u64; 2] {
    let out = dir.join(format!("{source}_out")).display().to_string();
    let places = [
        ("milvus", ("address", address)),
        ("parquet", ("dir", out.as_str())),
    ];
    places.map(|(sink, place)| {
        let edits = [edits, &[place]].concat();
        let report = new_job(dir, source, sink, &edits);
        let rows = report["progress"]["rows"].as_u64();
        rows.unwrap_or_else(|| panic!("{source} to {sink}: {report:#}"))
    })
}
