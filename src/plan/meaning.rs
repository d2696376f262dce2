//! What does a job mean? Ignores spellings, defaults and settings that affect no row, so that a job is recognised
//! however it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_yaml::{Mapping, Value};

use crate::batch::{Limits, Manifest};
use crate::convert::Conversion;
use crate::error::Result;
use crate::job::{Endpoint, FieldSettings, Job, absolute, expand};
use crate::sink::Sink;
use crate::source::{Source, Stillness, Survey};

/// What a checkpoint must agree with, key by key, so that a difference can be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// What the job means, and what the source holds.
    pub meaning: BTreeMap<String, String>,
    /// Stamps of the source's files: whether they are the same ones, untouched.
    pub stamps: BTreeMap<String, String>,
    /// For each target, the pieces of data that go into it, and how they are read.
    pub pieces: Vec<BTreeSet<String>>,
    /// The same, as the first version of the log spelt it: settings as written, and the files' times among them.
    pub first: BTreeMap<String, String>,
}

impl Fingerprint {
    /// Prefix of keys about the source's data, not about the job.
    pub const DATA: &'static str = "data: ";
    /// Prefix of keys about a target.
    pub const TARGET: &'static str = "target ";
    /// Prefix of keys about how the rows are cut: they matter only while batches are in flight.
    pub const CUT: &'static str = "batches: ";
    /// The key of the size of a batch.
    pub const BATCH_BYTES: &'static str = "batches: bytes";
}

/// Settings that affect no row: how bytes are read, who logs in, what is done to a collection when it is created or
/// after the last row; and those whose effect shows in the targets, their rows and the data.
const SHAPELESS: [&str; 26] = [
    "access",
    "bulk",
    "api_key",
    "collection",
    "collections",
    "connections",
    "db",
    "address",
    "ignore_wal",
    "index",
    "index_file_size",
    "lists",
    "load",
    "lossy",
    "metric",
    "page",
    "partition",
    "password",
    "rows_per_s",
    "shards",
    "tls",
    "token",
    "unsupported",
    "url",
    "user",
    "version_hint",
];

/// The meaning of a setting that is left out.
const DEFAULTS: &[(&str, &str)] = &[
    ("source.faiss.ids", "stored"),
    ("source.faiss.first_id", "0"),
    ("source.hdf5.vectors", "embeddings"),
    ("source.hdf5.ids", "ids"),
    ("source.hdf5.first_id", "0"),
    ("source.hdf5.transpose", "false"),
    ("sink.milvus.mode", "append"),
    ("sink.milvus.auto_id", "false"),
    ("sink.milvus1.mode", "append"),
    ("sink.milvus1.auto_id", "false"),
    ("sink.hdf5.mode", "fail"),
    ("sink.hdf5.compression", "none"),
    ("sink.hdf5.shuffle", "false"),
    ("sink.hdf5.chunk_rows", "auto"),
];

/// The fingerprint of a job. `from` lists, for each target, the source's targets that go into it.
pub fn fingerprint(
    job: &Job,
    source: &dyn Source,
    survey: &Survey,
    manifest: &Manifest,
    from: &[Vec<String>],
    limits: Limits,
    sink: &dyn Sink,
) -> Result<Fingerprint> {
    let identity = &survey.identity;
    let content = source.content()?;
    let mut meaning = BTreeMap::new();
    let mut note = |key: &str, value: String| meaning.insert(key.to_owned(), value);
    note("source", job.source.name.clone());
    note("sink", sink.address().unwrap_or(job.sink.name.clone()));
    note("fields", fields(job));
    if sink.remote() {
        note("metric", metric(job, manifest));
    }
    note(Fingerprint::BATCH_BYTES, limits.batch_bytes.to_string());
    note("batches: rows", limits.batch_rows.to_string());
    // The staging directory holds the ledger of what was imported.
    if let Some(bulk) = job.sink.settings.get("bulk").and_then(Value::as_mapping) {
        let path = bulk.get("staging").and_then(|staging| staging.get("path"));
        let path = path.map_or(String::new(), |path| scalar(path, true));
        note("batches: staged in", path);
    }
    // What may come and go identifies nothing.
    let still = source.stillness() == Stillness::Frozen;
    if still {
        note("batches: shards", manifest.shards.len().to_string());
    }
    for (target, from) in manifest.targets.iter().zip(from) {
        let from: Vec<&str> = from.iter().map(String::as_str).collect();
        let from = match from.join(", ") {
            names if names.is_empty() => String::new(),
            names => format!(" from {names}"),
        };
        let rows = match still {
            true => format!("{} rows of ", target.rows),
            false => String::new(),
        };
        note(
            &format!("{}{}", Fingerprint::TARGET, target.name),
            format!("{rows}{}{from}", target.columns),
        );
    }
    for (key, value) in content.as_ref().unwrap_or(identity) {
        note(&format!("{}{key}", Fingerprint::DATA), value.clone());
    }
    for (what, endpoint) in [("source", &job.source), ("sink", &job.sink)] {
        // The data is identified piece by piece, each with its path.
        let paths = what == "sink" || content.is_none();
        let path = format!("{what}.{}", endpoint.name);
        spell(&path, &endpoint.settings, paths, &mut meaning);
    }
    let pieces = from
        .iter()
        .map(|from| pieces(&meaning, from))
        .collect::<Vec<_>>();
    Ok(Fingerprint {
        meaning,
        pieces,
        stamps: identity.clone(),
        first: first(job, identity, manifest, limits),
    })
}

/// The pieces of data that go into a target: its tables, or else everything. With how ids and vectors are found in
/// them, and without their paths.
fn pieces(meaning: &BTreeMap<String, String>, from: &[String]) -> BTreeSet<String> {
    let settings = meaning.iter().filter(|(key, _)| key.starts_with("source."));
    let settings: String = settings
        .map(|(key, value)| format!(", {key} {value}"))
        .collect();
    let data = |key: &str| key.strip_prefix(Fingerprint::DATA).map(str::to_owned);
    let pieces = meaning
        .iter()
        .filter_map(|(key, value)| Some((data(key)?, value)));
    let pieces: Vec<(String, &String)> = pieces.collect();
    let named = |key: &str| from.iter().any(|name| key == format!("collection {name}"));
    let some = pieces.iter().any(|(key, _)| named(key));
    let pieces = pieces.into_iter().filter(|(key, _)| !some || named(key));
    pieces
        .map(|(_, value)| format!("{value}{settings}"))
        .collect()
}

/// A setting of a source or sink in canonical spelling; empty if it is left out.
pub fn setting(endpoint: &Endpoint, key: &str) -> String {
    endpoint
        .settings
        .get(key)
        .map_or(String::new(), |value| scalar(value, false))
}

fn fields(job: &Job) -> String {
    let FieldSettings { id, vector, .. } = &job.fields;
    let id = id.as_deref().unwrap_or("id");
    let vector = vector.as_deref().unwrap_or("embedding");
    let becomes = Conversion::asked(&job.fields).map_or(String::new(), |c| format!(", {c}"));
    let plain = format!("{id}, {vector}{becomes}");
    if job.fields.are_plain() {
        return plain;
    }
    let mut fields = job.fields.clone();
    for column in &mut fields.columns {
        // They affect no row.
        (column.metric, column.index) = (None, None);
    }
    let FieldSettings {
        id_from,
        id_type,
        columns,
        rest,
        ..
    } = fields;
    format!("{plain}, key {id_from:?} {id_type:?}, {columns:?}, rest {rest:?}")
}

/// The metric that an index would get: the job's, else the source's.
fn metric(job: &Job, manifest: &Manifest) -> String {
    let said = job.sink.settings.get("metric").and_then(Value::as_str);
    if let Some(said) = said.filter(|s| !s.is_empty()) {
        return expand(said).unwrap_or_default().to_uppercase();
    }
    let names = manifest.targets.iter().filter_map(|t| t.metric());
    let names: BTreeSet<&str> = names.map(|m| m.name()).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}

/// Settings in one spelling.
fn spell(path: &str, map: &Mapping, paths: bool, parts: &mut BTreeMap<String, String>) {
    for (key, value) in map {
        let key = key.as_str().unwrap_or_default();
        let is_path = matches!(key, "path" | "paths" | "dir" | "ids_file");
        if SHAPELESS.contains(&key) || is_path && !paths {
            continue;
        }
        let path = format!("{path}.{key}");
        let text = match value {
            Value::Mapping(inner) => {
                spell(&path, inner, paths, parts);
                continue;
            }
            Value::Sequence(items) => {
                let items: Vec<String> = items.iter().map(|v| scalar(v, is_path)).collect();
                items.join(", ")
            }
            value => scalar(value, is_path),
        };
        let text = match key {
            "mode" | "compression" => text.to_lowercase(),
            _ => text,
        };
        if !text.is_empty() && !DEFAULTS.contains(&(path.as_str(), text.as_str())) {
            parts.insert(path, text);
        }
    }
}

fn scalar(value: &Value, is_path: bool) -> String {
    let text = match value {
        Value::String(text) => expand(text).unwrap_or_default(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        _ => String::new(),
    };
    match text.as_str() {
        "yes" | "on" => "true".to_owned(),
        "no" | "off" => "false".to_owned(),
        text if is_path => absolute(Path::new(text)).display().to_string(),
        _ => text,
    }
}

/// The fingerprint as in the first version of the log: logs that it began are still continued.
fn first(
    job: &Job,
    identity: &BTreeMap<String, String>,
    manifest: &Manifest,
    limits: Limits,
) -> BTreeMap<String, String> {
    let mut parts = BTreeMap::new();
    for (what, endpoint) in [("source", &job.source), ("sink", &job.sink)] {
        let path = format!("{what}.{}", endpoint.name);
        flatten(&path, &endpoint.settings, &mut parts);
    }
    parts.insert("fields".to_owned(), fields(job));
    parts.insert("into".to_owned(), format!("{:?}", job.into));
    parts.insert("collections".to_owned(), format!("{:?}", job.collections));
    let rows = format!("{} bytes, {} rows", limits.batch_bytes, limits.batch_rows);
    parts.insert("limits of a batch".to_owned(), rows);
    for target in &manifest.targets {
        let what = format!("{} rows of {}", target.rows, target.columns);
        parts.insert(format!("{}{}", Fingerprint::TARGET, target.name), what);
    }
    parts.insert("shards".to_owned(), manifest.shards.len().to_string());
    for (key, value) in identity {
        parts.insert(format!("{}{key}", Fingerprint::DATA), value.clone());
    }
    parts
}

/// Settings as `path = value`, as they are written, secrets left out.
fn flatten(path: &str, map: &Mapping, parts: &mut BTreeMap<String, String>) {
    const LEFT_OUT: [&str; 7] = [
        "password",
        "token",
        "url",
        "access",
        "version_hint",
        "index",
        "load",
    ];
    for (key, value) in map {
        let key = key.as_str().unwrap_or_default();
        if LEFT_OUT.contains(&key) {
            continue;
        }
        let path = format!("{path}.{key}");
        match value {
            Value::Mapping(inner) => flatten(&path, inner, parts),
            other => {
                let text = serde_json::to_string(other).unwrap_or_default();
                parts.insert(path, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(path: &str, yaml: &str) -> BTreeMap<String, String> {
        let mut parts = BTreeMap::new();
        spell(path, &serde_yaml::from_str(yaml).unwrap(), true, &mut parts);
        parts
    }

    #[test]
    fn what_is_written_out_is_what_is_left_out() {
        let check = |path: &str, one: &str, other: &str| {
            assert_eq!(spelt(path, one), spelt(path, other), "{one} {other}");
        };
        let milvus = "sink.milvus";
        check(milvus, "{}", "{mode: append, auto_id: false, shards: 2}");
        check(milvus, "{mode: APPEND}", "{auto_id: no, load: true}");
        check(milvus, "{auto_id: true}", "{auto_id: 'on'}");
        check(milvus, "{user: a, password: b}", "{token: c}");
        check("sink.hdf5", "{path: x.h5}", "{path: ./x.h5, mode: fail}");
        check("source.hdf5", "{paths: a.h5}", "{paths: [a.h5], ids: ids}");
        check(
            "source.faiss",
            "{ids: stored, lossy: allow}",
            "{first_id: 0}",
        );
    }

    #[test]
    fn what_shapes_rows_differs() {
        let check = |path: &str, one: &str, other: &str| {
            assert_ne!(spelt(path, one), spelt(path, other), "{one} {other}");
        };
        check("sink.milvus", "{mode: append}", "{mode: overwrite}");
        check("sink.milvus", "{auto_id: true}", "{auto_id: false}");
        check("source.faiss", "{first_id: 100}", "{}");
        check("source.faiss", "{ids: row_number}", "{}");
        check("source.hdf5", "{vectors: train}", "{}");
        check("sink.hdf5", "{path: x.h5}", "{path: y.h5}");
    }
}
