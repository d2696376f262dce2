//! How does a log differ from a plan, and what does the operator learn about it?

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Difference;
use super::log::Log;
use crate::error::{Error, Kind};
use crate::plan::{Fingerprint, SAMPLED};

/// Replaces a value that one of two fingerprints lacks.
const ABSENT: &str = "absent";

/// The warning when a log is put aside: rows that it delivered stay where they are, and must not be duplicated
/// silently. `None`: it delivered none.
pub fn in_place_of(path: &Path, log: &Log, differs: &[Difference], again: bool) -> Option<String> {
    // A batch without a receipt may have arrived.
    let rows = log.delivered();
    if !log.may_have_sent() || rows == 0 && log.finished.is_some() {
        return None;
    }
    let (which, or_more) = match log.finished {
        Some(_) => ("finished", ""),
        None => ("unfinished", " or more"),
    };
    let what = match differs.is_empty() {
        true => "this job".to_owned(),
        false => format!("a job that differs ({})", named(differs)),
    };
    let then = match again {
        true => {
            "; it is put aside and everything is delivered again: where these rows still are and nothing is overwritten, they \
             will be there twice"
        }
        false => ", which stay where they are; it is put aside",
    };
    Some(format!(
        "{}: {which} run of {what} delivered {rows}{or_more} rows{then}",
        path.display()
    ))
}

/// The keys that differ, in a few words.
pub fn named(differs: &[Difference]) -> String {
    let keys: Vec<&str> = differs
        .iter()
        .take(4)
        .map(|(key, ..)| key.as_str())
        .collect();
    let more = if differs.len() > 4 { ", …" } else { "" };
    format!("{}{more}", keys.join(", "))
}

/// Keys whose values differ, each with both values. How rows are cut into batches matters to an unfinished run only.
pub fn differences(log: &Log, now: &Fingerprint) -> Vec<Difference> {
    let Some(header) = &log.header else {
        return Vec::new();
    };
    let finished = log.finished.is_some();
    if header.version < 2 {
        let cut = |key: &str| finished && matches!(key, "limits of a batch" | "shards");
        return pairs(&header.fingerprint, &now.first, &cut);
    }
    let cut = |key: &str| finished && key.starts_with(Fingerprint::CUT);
    let mut differs = pairs(&header.fingerprint, &now.meaning, &cut);
    let sampled = |(key, value): (&String, &String)| {
        key.starts_with(Fingerprint::DATA) && value.contains(SAMPLED)
    };
    // Several hosts see the same state of the data with different times and inodes.
    let one_host = log.shares().is_none();
    if differs.is_empty() && !finished && one_host && now.meaning.iter().any(sampled) {
        // Rows of two states must not be mixed, and samples do not prove that the states are the same.
        let stamps = pairs(&header.stamps, &now.stamps, &|_| false);
        let data = |(key, a, b)| (format!("{}{key}", Fingerprint::DATA), a, b);
        differs = stamps.into_iter().map(data).collect();
    }
    differs
}

fn pairs(
    then: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
    left_out: &dyn Fn(&str) -> bool,
) -> Vec<Difference> {
    let keys: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
    let nothing = ABSENT.to_owned();
    let pairs = keys.into_iter().filter(|key| !left_out(key)).map(|key| {
        let (a, b) = (
            then.get(key).unwrap_or(&nothing),
            now.get(key).unwrap_or(&nothing),
        );
        (key.clone(), a.clone(), b.clone())
    });
    pairs.filter(|(_, a, b)| a != b).collect()
}

/// Whether a log of the first version, whose path depended on the working directory and the job's name only, belongs to
/// this job: they share a destination and a target.
pub fn is_of(log: &Log, now: &Fingerprint) -> bool {
    let Some(header) = &log.header else {
        return false;
    };
    if differences(log, now).is_empty() {
        return true;
    }
    let targets = |keys: &BTreeMap<String, String>| -> BTreeSet<String> {
        let keys = keys.keys().filter(|k| k.starts_with(Fingerprint::TARGET));
        keys.cloned().collect()
    };
    let (then, now) = (&header.fingerprint, &now.first);
    let place = |key: &&String| {
        let name = key.rsplit('.').next().unwrap_or_default();
        key.starts_with("sink.") && matches!(name, "address" | "path" | "dir")
    };
    let mut places = now.keys().filter(place);
    places.any(|key| then.get(key) == now.get(key)) && !targets(then).is_disjoint(&targets(now))
}

/// The error, with a line for each of the first keys that differ, showing both values.
pub fn listed(error: Error, differs: &[Difference]) -> Error {
    let lines = differs.iter().take(8);
    let lines = lines.map(|(key, then, now)| format!("{key}: was {then}, is {now}"));
    lines.fold(error, Error::detail)
}

/// Refuses a log of another, unfinished job.
pub fn another(path: &Path, differs: &[Difference]) -> Error {
    let source_only = differs
        .iter()
        .all(|(key, ..)| key.starts_with(Fingerprint::DATA));
    if source_only {
        let what = "the source changed since this unfinished run began:";
        return listed(Error::path(Kind::Changed, path, what), differs)
            .hint("restore the source, or restart with --again; rows already delivered stay, `mode: overwrite` removes them");
    }
    let what = "is the checkpoint of another, unfinished job:";
    listed(Error::path(Kind::Job, path, what), differs)
        .hint("finish that job first, restart with --again (rows already delivered stay), or give this job its own `run: checkpoint:`")
}
