//! What may a job name? The sources, the sinks and their settings, for people and for machines.

use serde_json::{Map, Value, json};

use super::Common;
use super::say::{Text, line, print_json};
use crate::error::Result;
use crate::job::settings::GENERAL;
use crate::job::{CLASSIC, ClassicKey, Setting, classic_keys};
use crate::sink::SINKS;
use crate::source::SOURCES;

/// A kind of source or sink.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The key in the job.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Its settings.
    pub settings: &'static [Setting],
}

/// All kinds of source.
pub fn sources() -> Vec<Entry> {
    let entry = |kind: &crate::source::SourceKind| Entry {
        name: kind.name,
        summary: kind.summary,
        settings: kind.settings,
    };
    SOURCES.iter().map(entry).collect()
}

/// All kinds of sink.
pub fn sinks() -> Vec<Entry> {
    let entry = |kind: &crate::sink::SinkKind| Entry {
        name: kind.name,
        summary: kind.summary,
        settings: kind.settings,
    };
    SINKS.iter().map(entry).collect()
}

/// `milvusdm formats`.
pub fn formats(common: &Common) -> Result<()> {
    if common.json {
        let list = |entries: Vec<Entry>| -> Value {
            let one = |entry: Entry| {
                let settings = entry.settings.iter();
                let settings: Map<String, Value> = settings
                    .map(|s| (s.name.to_owned(), s.meaning().into()))
                    .collect();
                json!({"name": entry.name, "summary": entry.summary, "settings": settings})
            };
            entries.into_iter().map(one).collect()
        };
        return print_json(&json!({"sources": list(sources()), "sinks": list(sinks())}));
    }
    let mut text = Text::default();
    for (title, entries) in [("Sources", sources()), ("Sinks", sinks())] {
        line!(text, "{title}");
        for entry in entries {
            line!(text, "  {:<10} {}", entry.name, entry.summary);
            tell(&mut text, "", entry.settings);
        }
    }
    line!(text, "All jobs");
    tell(&mut text, "", GENERAL);
    line!(
        text,
        "Classic jobs: the Python tool's, and what each setting means"
    );
    for job in CLASSIC {
        line!(text, "  {job}");
        for key in classic_keys(job) {
            let (key, meaning) = match key {
                ClassicKey::Means(key, general) => (key, general.to_owned()),
                ClassicKey::Own(setting) => (setting.name, setting.meaning()),
            };
            line!(text, "      {key:<37} {meaning}");
        }
    }
    text.print()
}

fn tell(text: &mut Text, above: &str, settings: &[Setting]) {
    for setting in settings {
        let key = format!("{above}{}", setting.name);
        line!(text, "      {key:<20} {}", setting.meaning());
        if let Some(inner) = setting.takes.settings() {
            tell(text, &format!("{key}."), inner);
        }
    }
}
