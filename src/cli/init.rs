//! What does a new job look like? A commented one for a source and a sink, generated from the lists of settings.

use std::fmt::Write as _;
use std::path::Path;

use super::formats::{Entry, sinks, sources};
use super::say::print;
use crate::error::{Error, Kind, Result, shown};
use crate::job::settings::{GENERAL, find};
use crate::job::{Need, Setting, Takes};

/// The column in which comments begin, unless a line is longer.
const COMMENTS: usize = 44;

/// `milvusdm init`: writes a job to standard output, or to a file that does not exist yet.
pub fn init(source: &str, sink: &str, file: Option<&Path>) -> Result<()> {
    let source = named(source, sources())?;
    let sink = named(sink, sinks())?;
    let name = file.map_or("JOB.yaml".to_owned(), |file| file.display().to_string());
    let job = job(&source, &sink, &shown(&name));
    match file {
        None => print(&job),
        Some(file) => create(file, &job),
    }
}

/// Writes a file that does not exist yet.
pub fn create(file: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file);
    let written = made.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::path(Kind::Job, file, "exists and is not overwritten")
        }
        _ => Error::io(file, "write it", &e),
    })
}

fn named(name: &str, kinds: Vec<Entry>) -> Result<Entry> {
    let found = kinds.into_iter().find(|kind| kind.name == name);
    found.ok_or_else(|| Error::new(Kind::Job, format!("unknown kind `{name}`")))
}

/// A job that runs once the lines marked EDIT are right; all other settings are there as comments.
fn job(source: &Entry, sink: &Entry, file: &str) -> String {
    let mut job = Page::default();
    job.line("# yaml-language-server: $schema=job.schema.json");
    job.line("# `milvusdm schema -o job.schema.json` writes the schema that this line tells editors to use.");
    job.line("#");
    job.line(&format!(
        "# {} -> {}. Edit the lines marked EDIT, then:",
        source.name, sink.name
    ));
    job.line(&format!(
        "#   milvusdm plan {file}      what will be done, and every mistake"
    ));
    job.line(&format!(
        "#   milvusdm run {file}       does it; the same command continues after a stop"
    ));
    job.line(&format!(
        "#   milvusdm verify {file}    compares row by row"
    ));
    // A source that names its collections passes the names on.
    let names = find(source.settings, "collections").is_some();
    job.entry("source", source, true);
    job.entry("sink", sink, names);
    for setting in GENERAL {
        job.line("");
        job.setting(setting, 0, false);
    }
    job.text
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{}", line.trim_end());
    }

    /// A kind with its settings, those to be edited first.
    fn entry(&mut self, what: &str, kind: &Entry, names: bool) {
        self.line("");
        self.commented(&format!("{what}:"), kind.summary);
        self.line(&format!("  {}:", kind.name));
        let choice = kind
            .settings
            .iter()
            .find(|s| s.need == Need::OneOf && !s.example.is_empty());
        let is_active = |setting: &&Setting| match setting.need {
            Need::Required => true,
            Need::OneOf => choice.is_some_and(|choice| choice.name == setting.name),
            // If rows come without the name of a collection, the job has to give it.
            Need::Optional => setting.name == "collection" && !names,
        };
        for setting in kind.settings.iter().filter(is_active) {
            self.setting(setting, 4, true);
        }
        for setting in kind.settings.iter().filter(|s| !is_active(s)) {
            self.setting(setting, 4, false);
        }
    }

    fn setting(&mut self, setting: &Setting, indent: usize, is_active: bool) {
        let (mark, indent) = match is_active {
            true => ("", " ".repeat(indent)),
            false => ("# ", " ".repeat(indent)),
        };
        let about = match is_active && setting.name != "collection" {
            true => format!("EDIT: {}", setting.about),
            false => setting.meaning(),
        };
        match (setting.takes, setting.example.is_empty()) {
            (Takes::Map(inner), true) => {
                self.commented(&format!("{indent}{mark}{}:", setting.name), setting.about);
                for setting in inner {
                    self.nested(setting, &format!("{indent}{mark}  "));
                }
            }
            _ => self.commented(
                &format!("{indent}{mark}{}: {}", setting.name, value(setting)),
                &about,
            ),
        }
    }

    /// A setting below one that is commented out.
    fn nested(&mut self, setting: &Setting, before: &str) {
        let head = format!("{before}{}:", setting.name);
        match setting.takes {
            Takes::Map(inner) if setting.example.is_empty() => {
                self.commented(&head, setting.about);
                for setting in inner {
                    self.nested(setting, &format!("{before}  "));
                }
            }
            _ => self.commented(&format!("{head} {}", value(setting)), &setting.meaning()),
        }
    }

    fn commented(&mut self, line: &str, comment: &str) {
        self.line(&format!("{line:<COMMENTS$} # {comment}"));
    }
}

/// A value as a new job shows it.
fn value(setting: &Setting) -> String {
    match (setting.example, setting.default, &setting.takes) {
        ("", "", Takes::Choice(words)) => words[0].to_owned(),
        ("", "", Takes::Number(min, _)) => min.to_string(),
        ("", "", Takes::Texts | Takes::Paths) => "[]".to_owned(),
        ("", "", Takes::Names(_)) => "{}".to_owned(),
        ("", "", _) if setting.need == Need::Required => setting.name.to_owned(),
        ("", "", _) => "\"\"".to_owned(),
        ("", default, _) => default.to_owned(),
        (example, ..) => example.to_owned(),
    }
}
