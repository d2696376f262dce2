//! Which collections and partitions of a server are meant? Names and globs.

use serde_yaml::Value;

use crate::error::{Error, Kind, Result};
use crate::job::{Form, Setting, Takes, did_you_mean, matches};
use crate::limits;
use crate::milvus::Client;

/// The setting.
pub const COLLECTIONS: Setting = Setting::new(
    "collections",
    Takes::Any(&[Takes::Texts, Takes::Names(&Takes::Texts)]),
    "names or globs, or a map {name: [partitions]}; left out: all",
)
.example("[products]");

/// Collections, each with partitions; none: all of them.
#[derive(Clone, Debug, Default)]
pub struct Choice(Vec<(String, Vec<String>)>);

impl Choice {
    /// Reads them.
    pub fn read(form: &mut Form) -> Choice {
        const KEY: &str = "collections";
        let Some(Value::Mapping(map)) = form.value(KEY) else {
            let names = form.list(KEY).unwrap_or_default();
            return Choice(names.into_iter().map(|name| (name, Vec::new())).collect());
        };
        let mut wanted = Vec::new();
        for (name, partitions) in &map {
            let Some(name) = form.scalar(KEY, name) else {
                continue;
            };
            let tags = match partitions {
                Value::Null => Vec::new(),
                Value::Sequence(tags) => {
                    let tags = tags.iter().map(|tag| form.scalar(KEY, tag));
                    tags.flatten().collect()
                }
                tag => form.scalar(KEY, tag).into_iter().collect(),
            };
            wanted.push((name, tags));
        }
        Choice(wanted)
    }

    /// The collections that are meant, each with globs of partitions. A name that fits nothing is a mistake.
    pub fn collections(&self, client: &Client) -> Result<Vec<(String, Vec<String>)>> {
        let there = client.collections()?;
        if self.0.is_empty() {
            return Ok(there.into_iter().map(|name| (name, Vec::new())).collect());
        }
        let mut chosen: Vec<(String, Vec<String>)> = Vec::new();
        for (glob, tags) in &self.0 {
            let mut hits: Vec<&String> = there.iter().filter(|name| matches(glob, name)).collect();
            let alias;
            // Aliases are not listed.
            if hits.is_empty()
                && !glob.is_empty()
                && !glob.contains(['*', '?'])
                && let Some(found) = client.collection(glob)?
            {
                alias = found.name;
                hits.push(&alias);
            }
            if hits.is_empty() {
                return Err(unknown("collection", glob, &there));
            }
            for name in hits {
                match chosen.iter_mut().find(|(other, _)| other == name) {
                    Some((_, all)) => all.extend(tags.iter().cloned()),
                    None => chosen.push((name.clone(), tags.clone())),
                }
            }
        }
        chosen.sort_unstable();
        Ok(chosen)
    }
}

/// Of a collection's partitions those that are meant, the default one with an empty name.
pub fn partitions(collection: &str, globs: &[String], there: Vec<String>) -> Result<Vec<String>> {
    let shown = |glob: &str| {
        if glob.is_empty() {
            "_default".to_owned()
        } else {
            glob.to_owned()
        }
    };
    for glob in globs {
        if !there.iter().any(|name| matches(&shown(glob), name)) {
            return Err(unknown(&format!("partition of {collection}"), glob, &there));
        }
    }
    let chosen = there
        .into_iter()
        .filter(|name| globs.is_empty() || globs.iter().any(|glob| matches(&shown(glob), name)));
    let named = chosen.map(|name| match name.as_str() {
        "_default" => String::new(),
        _ => name,
    });
    Ok(named.collect())
}

fn unknown(what: &str, glob: &str, there: &[String]) -> Error {
    let names: Vec<&str> = there.iter().map(String::as_str).collect();
    let listed = match names.len() {
        0 => "there is none".to_owned(),
        _ => format!(
            "there are {}",
            names[..names.len().min(limits::FILES_LISTED)].join(", ")
        ),
    };
    let error = Error::new(Kind::Job, format!("no {what} is called `{glob}`"));
    error.hint(did_you_mean(glob, &names).unwrap_or(listed))
}
