//! What does a server hold? Tries each kind of server as a job without a login would, beginning with the one whose
//! default port it is.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_yaml::{Mapping, Value};

use crate::batch::Limits;
use crate::error::{Error, Kind, Result};
use crate::job::{Form, Mistakes};
use crate::source::SOURCES;

/// A kind of server: its name, the setting for an address, its default port, and other settings that a job needs.
type Known = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// The kinds that can be inspected.
const SERVERS: [Known; 5] = [
    ("chroma", "address", ":8000", &[]),
    ("elasticsearch", "urls", ":9200", &[("index", "*")]),
    ("qdrant", "address", ":6334", &[]),
    ("milvus", "address", ":19530", &[]),
    ("pinecone", "host", ".pinecone.io", &[]),
];

/// What a server holds.
#[derive(Debug, Serialize)]
pub struct Held {
    /// The kind of source that reads it.
    pub source: &'static str,
    pub address: String,
    pub collections: Vec<Collection>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// A collection, or a partition of one.
#[derive(Debug, Serialize)]
pub struct Collection {
    pub name: String,
    pub rows: u64,
    pub columns: String,
}

/// The address that an argument is: it has a scheme, or a port and no such file.
pub fn address(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let has_port = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
    });
    (text.contains("://") || has_port && !path.exists()).then_some(text)
}

/// Asks a server.
pub fn look(address: &str) -> Result<Held> {
    #[cfg(feature = "pgvector")]
    if address.starts_with("postgres://") || address.starts_with("postgresql://") {
        return tables(address);
    }
    let known = SERVERS
        .iter()
        .filter(|server| SOURCES.iter().any(|kind| kind.name == server.0));
    let mut servers: Vec<_> = known.collect();
    servers.sort_by_key(|server| !address.trim_end_matches('/').contains(server.2));
    // The service has its own host names, and answers nowhere else.
    servers.retain(|server| server.0 != "pinecone" || address.contains(server.2));
    let mut said = Vec::new();
    for &(kind, setting, _, more) in servers {
        match ask(kind, setting, address, more) {
            Ok(held) => return Ok(held),
            Err(error) if error.kind() == Kind::Unreachable => return Err(error),
            Err(error) => said.push(format!("as {kind}: {error:#}")),
        }
    }
    let what = format!("{address} does not answer like any kind of server that this program knows");
    let error = said
        .into_iter()
        .fold(Error::new(Kind::Refused, what), Error::detail);
    Err(error.hint("if it requires a login, `milvusdm plan` shows the same for a job that has one"))
}

/// The tables of a Postgres, each of which a job names by itself.
#[cfg(feature = "pgvector")]
fn tables(url: &str) -> Result<Held> {
    let (address, tables) = crate::source::pgvector::tables(url)?;
    let mut held = Held {
        source: "pgvector",
        address,
        collections: Vec::new(),
        notes: Vec::new(),
    };
    for name in tables {
        match ask("pgvector", "url", url, &[("table", &name)]) {
            Ok(found) => {
                let tables = found.collections.into_iter();
                held.collections.extend(tables.map(|table| Collection {
                    name: name.clone(),
                    ..table
                }));
                let new = |note: &String| !held.notes.contains(note);
                let notes: Vec<String> = found.notes.into_iter().filter(new).collect();
                held.notes.extend(notes);
            }
            Err(error) if error.kind().is_silence() => return Err(error),
            // What a job would have to say of it.
            Err(error) => held.notes.push(format!("{error:#}")),
        }
    }
    Ok(held)
}

fn ask(kind: &'static str, setting: &str, address: &str, more: &[(&str, &str)]) -> Result<Held> {
    let kind = SOURCES.iter().find(|known| known.name == kind);
    let kind = kind.expect("only known ones are asked");
    let mut settings = Mapping::new();
    for (key, value) in [(setting, address)].iter().chain(more) {
        settings.insert(Value::from(*key), Value::from(*value));
    }
    let mistakes = Mistakes::default();
    let mut form = Form::new("inspect", settings, kind.settings, &mistakes);
    let spec = (kind.read)(&mut form);
    form.done();
    let wrong = || {
        let what: Vec<String> = mistakes.all().into_iter().map(|m| m.what).collect();
        Error::new(Kind::Job, what.join("; "))
    };
    let source = spec.ok_or_else(wrong)?.open()?;
    let survey = source.survey(Limits {
        batch_bytes: crate::limits::BATCH_BYTES_DEFAULT,
        batch_rows: crate::limits::BATCH_ROWS_MAX,
    })?;
    let collections = survey.manifest.targets.iter().map(|target| Collection {
        name: target.name.to_string(),
        rows: target.rows,
        columns: target.columns.to_string(),
    });
    Ok(Held {
        source: kind.name,
        address: address.to_owned(),
        collections: collections.collect(),
        notes: survey.warnings,
    })
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, as source {}", self.address, self.source)?;
        if self.collections.is_empty() {
            write!(f, "\n  holds no collections")?;
        }
        for collection in &self.collections {
            let Collection {
                name,
                rows,
                columns,
            } = collection;
            write!(f, "\n  {name}: {rows} rows, {columns}")?;
        }
        for note in &self.notes {
            write!(f, "\n  note: {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_paths() {
        for (text, is) in [
            ("http://127.0.0.1:9200", true),
            ("https://x.svc.y.pinecone.io", true),
            ("localhost:19530", true),
            ("a.index", false),
            ("data/a:1", false),
            ("a:b", false),
            (":80", false),
        ] {
            assert_eq!(address(Path::new(text)).is_some(), is, "{text}");
        }
    }
}
