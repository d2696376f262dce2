//! What is written to `--report` and printed by `--json`: when, by which program, and what came before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::{page, show};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::progress::{Course, Doing};

/// What every report says about its command.
#[derive(Serialize)]
pub struct About {
    /// The version of this program.
    pub version: &'static str,
    /// The host it ran on.
    pub host: String,
    /// When it began, UTC.
    pub start: String,
    /// When it ended, UTC.
    pub end: String,
    /// Seconds spent in each phase.
    pub phases: BTreeMap<String, f64>,
}

impl About {
    /// For a command that begins now.
    pub fn now() -> About {
        let host = rustix::system::uname();
        About {
            version: env!("CARGO_PKG_VERSION"),
            host: host.nodename().to_string_lossy().into_owned(),
            start: show::utc(SystemTime::now()),
            end: String::new(),
            phases: BTreeMap::new(),
        }
    }

    /// Notes the end of the command and the time spent in each phase.
    pub fn end(&mut self, doing: &Doing) {
        self.end = show::utc(SystemTime::now());
        let phases = doing.seconds().into_iter();
        self.phases = phases.map(|(phase, s)| (phase.to_string(), s)).collect();
    }
}

/// Returns an error if a report cannot be written: now rather than after the last row.
pub fn writable(report: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let opened = options.create(true).append(true).open(report);
    opened.map(drop).map_err(|e| failed(report, &e))
}

/// Writes a report: as a page if the name ends in .html, else as JSON. An existing JSON report moves into `history`.
pub fn write(path: &Path, report: &impl Serialize, course: &Course) -> Result<()> {
    let mut report = serde_json::to_value(report).expect("reports are plain data");
    if is_page(path) {
        return replace(path, page::page(&report, course).as_bytes());
    }
    let history = history(path);
    if let (Value::Object(report), false) = (&mut report, history.is_empty()) {
        report.insert("history".to_owned(), Value::Array(history));
    }
    let text = serde_json::to_vec_pretty(&report).expect("reports are plain data");
    replace(path, &text)
}

fn is_page(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|e| e.eq_ignore_ascii_case("html") || e.eq_ignore_ascii_case("htm"))
}

fn replace(path: &Path, text: &[u8]) -> Result<()> {
    // Atomically if possible: an existing report is worth keeping.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    if path.is_file() && std::fs::write(beside, text).is_ok() {
        return std::fs::rename(beside, path).map_err(|e| failed(path, &e));
    }
    std::fs::write(path, text).map_err(|e| failed(path, &e))
}

/// Earlier reports in the file, the oldest first.
fn history(path: &Path) -> Vec<Value> {
    let is_readable =
        |meta: std::fs::Metadata| meta.is_file() && meta.len() <= limits::REPORT_BYTES_MAX;
    if !std::fs::metadata(path).is_ok_and(is_readable) {
        return Vec::new();
    }
    let text = std::fs::read(path).unwrap_or_default();
    let Ok(Value::Object(mut before)) = serde_json::from_slice(&text) else {
        return Vec::new();
    };
    let mut history = match before.remove("history") {
        Some(Value::Array(history)) => history,
        _ => Vec::new(),
    };
    history.push(Value::Object(before));
    let surplus = history.len().saturating_sub(limits::REPORTS_KEPT);
    history.split_off(surplus)
}

fn failed(report: &Path, error: &std::io::Error) -> Error {
    Error::io(report, "write the report", error).with_kind(Kind::Io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_keeps_those_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.json");
        writable(&path).unwrap();
        for number in 0..limits::REPORTS_KEPT + 5 {
            write(&path, &json!({"number": number}), &Course::default()).unwrap();
        }
        let text = std::fs::read(&path).unwrap();
        let last: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(last["number"], limits::REPORTS_KEPT + 4);
        let history = last["history"].as_array().unwrap();
        assert_eq!(history.len(), limits::REPORTS_KEPT);
        assert_eq!(history[0]["number"], 4);
        assert!(history.iter().all(|one| one.get("history").is_none()));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
