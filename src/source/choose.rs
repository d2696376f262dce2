//! Which collections and partitions are selected? The `collections` setting, and the job's allow and block lists.
//! Deals with names only.

use std::path::Path;

use serde_yaml::Value;

use crate::error::{Error, Kind, Result};
use crate::job::{Form, Globs, Setting, Takes, did_you_mean, matches};

const KEY: &str = "collections";

/// The setting.
pub const COLLECTIONS: Setting = Setting::new(
    KEY,
    Takes::Any(&[Takes::Texts, Takes::Names(&Takes::Texts)]),
    "a list of collections, or a map of collections to partitions (empty: all partitions; _default: the default one); \
     globs; left out: everything",
)
.example("[\"*\"]");

/// What a job selects from a source.
#[derive(Clone, Default, Debug)]
pub struct Choice {
    /// Collections, each with partitions (if empty, all); if empty, everything there is.
    wanted: Vec<(String, Vec<String>)>,
    /// What the allow and block lists admit of that.
    admitted: Globs,
}

/// A partition, by its position in the lists of existing names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Chosen {
    /// Index of the collection.
    pub collection: usize,
    /// Index of the partition in it.
    pub partition: usize,
}

impl Choice {
    /// Reads a map of collections with their partitions, or a list of collections.
    pub fn read(form: &mut Form) -> Choice {
        let mut choice = Choice::default();
        match form.value(KEY) {
            None => {}
            Some(Value::Mapping(map)) => {
                for (name, tags) in &map {
                    let Some(name) = form.scalar(KEY, name) else {
                        continue;
                    };
                    let tags = match tags {
                        Value::Null => Some(Vec::new()),
                        Value::String(s) if s.is_empty() => Some(Vec::new()),
                        Value::Sequence(tags) => {
                            let tags = tags.iter().map(|tag| match tag {
                                Value::Null => Some(String::new()),
                                tag => form.scalar(KEY, tag),
                            });
                            tags.collect()
                        }
                        tag => form.scalar(KEY, tag).map(|tag| vec![tag]),
                    };
                    choice.wanted.extend(tags.map(|tags| (name, tags)));
                }
            }
            Some(_) => {
                let names = form.list(KEY).unwrap_or_default();
                choice.wanted = names.into_iter().map(|name| (name, Vec::new())).collect();
            }
        }
        choice
    }

    /// The same with the job's allow and block lists.
    pub fn admit(&self, admitted: &Globs) -> Choice {
        Choice {
            wanted: self.wanted.clone(),
            admitted: admitted.clone(),
        }
    }

    /// The indices of the existing collections of which anything is selected. A name that matches nothing is an error.
    pub fn collections(&self, names: &[&str], place: &Path) -> Result<Vec<usize>> {
        let mut meant = Vec::new();
        for (glob, _) in &self.wanted {
            let mut found = hits(glob, names);
            if found.is_empty() {
                return Err(unknown("collection", glob, names, place));
            }
            meant.append(&mut found);
        }
        if self.wanted.is_empty() {
            meant.extend(0..names.len());
        }
        meant.sort_unstable();
        meant.dedup();
        meant.retain(|number| self.admitted.may_admit(names[*number]));
        Ok(meant)
    }

    /// The selected partitions, in the order of those that exist: collections, each with its partitions, the default
    /// one without a name. A name that matches nothing is an error.
    pub fn choose(&self, all: &[(&str, Vec<&str>)], place: &Path) -> Result<Vec<Chosen>> {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let everything = [("*".to_owned(), Vec::new())];
        let wanted = match self.wanted.is_empty() {
            true => &everything[..],
            false => &self.wanted,
        };
        let mut chosen = Vec::new();
        for (glob, tags) in wanted {
            let collections = hits(glob, &names);
            if collections.is_empty() && !self.wanted.is_empty() {
                return Err(unknown("collection", glob, &names, place));
            }
            let mut met = vec![false; tags.len()];
            let mut there = Vec::new();
            for collection in collections {
                let (_, partitions) = &all[collection];
                let shown: Vec<&str> = partitions.iter().map(|tag| shown(tag)).collect();
                if tags.is_empty() {
                    let all = 0..partitions.len();
                    chosen.extend(all.map(|partition| Chosen {
                        collection,
                        partition,
                    }));
                }
                for (tag, met) in tags.iter().zip(&mut met) {
                    for partition in hits(self::shown(tag), &shown) {
                        *met = true;
                        chosen.push(Chosen {
                            collection,
                            partition,
                        });
                    }
                }
                there.extend(shown);
            }
            // Partitions need not be known for collections that are left out anyway.
            if let Some((tag, _)) = tags.iter().zip(&met).find(|(_, met)| !**met)
                && !there.is_empty()
            {
                return Err(unknown(&format!("partition of {glob}"), tag, &there, place));
            }
        }
        chosen.sort_unstable();
        chosen.dedup();
        chosen.retain(|c| {
            let (name, partitions) = &all[c.collection];
            self.admitted.admit(name, partitions[c.partition])
        });
        Ok(chosen)
    }
}

/// The default partition's name in messages.
fn shown(tag: &str) -> &str {
    match tag {
        "" => "_default",
        tag => tag,
    }
}

/// The names that match a glob; an exact match wins, since tags may hold any character.
fn hits(glob: &str, names: &[&str]) -> Vec<usize> {
    if let Some(exact) = names.iter().position(|n| *n == glob) {
        return vec![exact];
    }
    let all = names.iter().enumerate();
    all.filter(|(_, n)| matches(glob, n))
        .map(|(i, _)| i)
        .collect()
}

fn unknown(what: &str, name: &str, there: &[&str], place: &Path) -> Error {
    const SHOWN: usize = 50;
    let mut list = there[..there.len().min(SHOWN)].join(", ");
    if there.len() > SHOWN {
        list.push_str(&format!(" and {} more", there.len() - SHOWN));
    }
    let list = match there.is_empty() {
        true => "there are none".to_owned(),
        false => format!("there are {list}"),
    };
    let error = Error::path(
        Kind::Job,
        place,
        format!("no {what} is called `{name}`: {list}"),
    );
    match did_you_mean(name, there) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
