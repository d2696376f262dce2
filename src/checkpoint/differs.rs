//! What does a log differ in from a plan, and what is said about it?

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::log::Log;
use crate::error::{Error, Kind};
use crate::plan::Fingerprint;

/// What stands for a value that one of two fingerprints has not.
const ABSENT: &str = "absent";

/// Rows that an earlier run delivered stay where they are: nobody may find them doubled without being told.
pub fn said_aside(path: &Path, log: &Log, differs: &[(String, String, String)]) {
    // A batch without a receipt may have arrived.
    let rows = log.delivered();
    if log.shards.is_empty() || rows == 0 && log.finished.is_some() {
        return;
    }
    let (which, or_more) = match log.finished {
        Some(_) => ("finished", ""),
        None => ("unfinished", " or more"),
    };
    let what = if differs.is_empty() {
        "this job".to_owned()
    } else {
        format!("a job that differs ({})", named(differs))
    };
    // A target of both is in the list only where its rows differ.
    let then = log.header.as_ref().map(|h| &h.fingerprint);
    let is_target = |key: &&String| key.starts_with(Fingerprint::TARGET);
    let targets = then.iter().flat_map(|f| f.keys()).filter(is_target);
    let gone = |key: &String| differs.iter().any(|(k, _, now)| k == key && now == ABSENT);
    let sink_differs = differs.iter().any(|(key, ..)| key.starts_with("sink."));
    if !sink_differs && targets.clone().count() > 0 && targets.clone().all(gone) {
        tracing::warn!(
            "{}: {which} run of another job, with {rows}{or_more} rows, is put aside",
            path.display()
        );
        return;
    }
    tracing::warn!(
        "{}: {which} run of {what} delivered {rows}{or_more} rows; it is put aside and everything is delivered anew: where \
         these rows still are and the mode is append, they will be there twice",
        path.display()
    );
}

/// The keys that differ, in a few words.
pub fn named(differs: &[(String, String, String)]) -> String {
    let keys: Vec<&str> = differs
        .iter()
        .take(4)
        .map(|(key, ..)| key.as_str())
        .collect();
    let more = if differs.len() > 4 { ", …" } else { "" };
    format!("{}{more}", keys.join(", "))
}

/// Keys whose values differ, each with both values.
pub fn differences(log: &Log, now: &Fingerprint) -> Vec<(String, String, String)> {
    let empty = BTreeMap::new();
    let then = log.header.as_ref().map_or(&empty, |h| &h.fingerprint);
    let keys: BTreeSet<&String> = then.keys().chain(now.0.keys()).collect();
    let nothing = ABSENT.to_owned();
    let pairs = keys.into_iter().map(|key| {
        let (a, b) = (
            then.get(key).unwrap_or(&nothing),
            now.0.get(key).unwrap_or(&nothing),
        );
        (key.clone(), a.clone(), b.clone())
    });
    pairs.filter(|(_, a, b)| a != b).collect()
}

pub fn another(path: &Path, differs: &[(String, String, String)]) -> Error {
    let source_only = differs
        .iter()
        .all(|(key, ..)| key.starts_with(Fingerprint::DATA));
    let listed = |error: Error| {
        let lines = differs.iter().take(8);
        let lines = lines.map(|(key, then, now)| format!("{key}: was {then}, is {now}"));
        lines.fold(error, Error::detail)
    };
    if source_only {
        let what = "the source changed since this unfinished run began:";
        return listed(Error::path(Kind::Changed, path, what))
            .hint("put the source back as it was (the very file: a copy is another), or begin anew with --again; rows already delivered stay, `mode: overwrite` removes them");
    }
    listed(Error::path(Kind::Job, path, "is the checkpoint of another, unfinished job:"))
        .hint("finish that job first, begin anew with --again (rows already delivered stay), or give this job a `run: checkpoint:` of its own")
}
