//! Which databases, collections and partitions of a server are selected? Names and globs.

use std::sync::Arc;

use serde_yaml::Value;

use crate::error::{Error, Kind, Result};
use crate::job::{Form, Setting, Takes, did_you_mean, matches};
use crate::limits;
use crate::milvus::Client;

/// The setting.
pub const DATABASES: Setting =
    Setting::texts("db", "one or more databases, or globs").or("default");

/// The setting.
pub const COLLECTIONS: Setting = Setting::new(
    "collections",
    Takes::Any(&[Takes::Texts, Takes::Names(&Takes::Texts)]),
    "names or globs, or a map {name: [partitions]}; db.name: in that database; left out: all",
)
.example("[products]");

/// A database and its client.
#[derive(Clone)]
pub struct Home {
    /// Its name.
    pub db: String,
    /// Connections that all databases share.
    pub client: Arc<Client>,
}

/// Names or globs of databases; if empty, the default one.
#[derive(Clone, Debug, Default)]
pub struct Databases(Vec<String>);

/// The default database.
pub const DEFAULT: &str = "default";

impl Databases {
    /// Reads them.
    pub fn read(form: &mut Form) -> Databases {
        Databases(form.list(DATABASES.name).unwrap_or_default())
    }

    /// The one that is named, empty if none is; `None` if only the server knows how many are selected.
    pub fn alone(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [one] if !is_glob(one) => Some(one),
            _ => None,
        }
    }

    /// The selected ones, in order. A name that matches nothing is an error. `client` is used if only one is selected.
    pub fn homes(&self, client: &Arc<Client>) -> Result<Vec<Home>> {
        if let Some(alone) = self.alone() {
            let db = if alone.is_empty() { DEFAULT } else { alone };
            return Ok(vec![Home {
                db: db.to_owned(),
                client: client.clone(),
            }]);
        }
        let there = client.databases()?;
        for glob in &self.0 {
            if !there.iter().any(|name| matches(glob, name)) {
                return Err(unknown("database", glob, &there));
            }
        }
        let meant = there
            .iter()
            .filter(|name| self.0.iter().any(|glob| matches(glob, name)));
        let homes = meant.map(|db| {
            Ok(Home {
                db: db.clone(),
                client: Arc::new(client.in_database(db)?),
            })
        });
        homes.collect()
    }
}

fn is_glob(name: &str) -> bool {
    name.contains(['*', '?'])
}

/// A collection of one of the databases, and globs of its partitions; if empty, all.
type Chosen<'h> = (&'h Home, String, Vec<String>);

/// Collections, each with partitions; if empty, all of them.
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

    /// The selected collections, in order. A name that matches nothing is an error.
    pub fn collections<'h>(&self, homes: &'h [Home]) -> Result<Vec<Chosen<'h>>> {
        let mut there: Vec<(&Home, String)> = Vec::new();
        for home in homes {
            let names = home.client.collections()?.into_iter();
            there.extend(names.map(|name| (home, name)));
        }
        if self.0.is_empty() {
            let all = there.into_iter();
            return Ok(all.map(|(home, name)| (home, name, Vec::new())).collect());
        }
        let mut chosen: Vec<Chosen<'h>> = Vec::new();
        for (glob, tags) in &self.0 {
            // Names of collections have no dots.
            let (of, collection) = glob.split_once('.').unwrap_or(("*", glob));
            let hits = there
                .iter()
                .filter(|(home, name)| matches(of, &home.db) && matches(collection, name));
            let mut hits: Vec<(&Home, String)> = hits.cloned().collect();
            // Aliases are not listed.
            if hits.is_empty() && !collection.is_empty() && !is_glob(collection) {
                for home in homes.iter().filter(|home| matches(of, &home.db)) {
                    let found = home.client.collection(collection)?;
                    hits.extend(found.map(|found| (home, found.name)));
                }
            }
            if hits.is_empty() {
                let names: Vec<String> = there.into_iter().map(|(_, name)| name).collect();
                return Err(unknown("collection", glob, &names));
            }
            for (home, name) in hits {
                let mut others = chosen.iter_mut();
                match others.find(|(h, other, _)| h.db == home.db && *other == name) {
                    // All of it, whatever else is selected.
                    Some((_, _, all)) if tags.is_empty() || all.is_empty() => all.clear(),
                    Some((_, _, all)) => all.extend(tags.iter().cloned()),
                    None => chosen.push((home, name, tags.clone())),
                }
            }
        }
        chosen.sort_by(|a, b| (&a.0.db, &a.1).cmp(&(&b.0.db, &b.1)));
        Ok(chosen)
    }
}

/// The selected partitions of a collection, the default one with an empty name.
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
        0 => "there are none".to_owned(),
        _ => format!(
            "there are {}",
            names[..names.len().min(limits::FILES_LISTED)].join(", ")
        ),
    };
    let error = Error::new(Kind::Job, format!("no {what} is called `{glob}`"));
    error.hint(did_you_mean(glob, &names).unwrap_or(listed))
}
