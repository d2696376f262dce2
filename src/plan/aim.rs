//! Where do the source's targets go? They are chosen, renamed, and merged if they get the same name.

use std::collections::BTreeMap;

use serde_yaml::Value;

use super::fields;
use crate::batch::{Keys, Manifest, Shard, Target, TargetName};
use crate::convert::{Conversion, Shape};
use crate::error::{Error, Kind, Result};
use crate::job::Job;
use crate::schema::Index;
use crate::sink::Sink;
use crate::source::Survey;

/// What is migrated, and how.
pub struct Aimed {
    /// Targets and shards as they will be.
    pub manifest: Manifest,
    /// For each target, the names of the source's targets that go into it; none if the source has no names.
    pub from: Vec<Vec<String>>,
    /// By target number: why its name is not the one from the source and the job.
    pub renamed: BTreeMap<u32, String>,
    /// By target number: how columns are converted.
    pub shapes: BTreeMap<u32, Vec<Shape>>,
}

/// Chooses what travels, renames it, and merges targets that get the same name.
pub fn aim(
    job: &Job,
    conversion: Option<Conversion>,
    survey: &Survey,
    sink: &dyn Sink,
) -> Result<Aimed> {
    let manifest = &survey.manifest;
    let mut targets: Vec<Target> = Vec::new();
    let mut from: Vec<Vec<String>> = Vec::new();
    let mut shapes: BTreeMap<u32, Vec<Shape>> = BTreeMap::new();
    // For each collection, the first of its sources: the one whose index it gets.
    let mut first: BTreeMap<String, Target> = BTreeMap::new();
    // For each of them, the name it would have if everything were allowed.
    let mut wanted: Vec<TargetName> = Vec::new();
    let mut renamed = BTreeMap::new();
    // For each collection, the position of the first target that goes into it.
    let mut homes: BTreeMap<String, Target> = BTreeMap::new();
    let several = has_several_databases(manifest);
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for mut target in manifest.targets.iter().cloned() {
        let name = &target.name;
        let db = &target.traits.database;
        if !(job.collections).admit_of(db, &name.collection, &name.partition) {
            continue;
        }
        if db.is_empty() && names_databases(job) {
            let what = format!("contains {{db}}, but the source reports no database for {name}");
            return Err(Error::new(Kind::Job, what).at(job.place("into")));
        }
        let wish = rename(job, db, name, sink.name(name));
        let allowed = match states_partition(job) {
            true => None,
            false => sink.allowed_name(&wish),
        };
        let (aimed, why) = match allowed {
            Some((aimed, why)) => (aimed, Some(why)),
            None => (wish.clone(), None),
        };
        if by_source(job) {
            let first = first
                .entry(aimed.collection.clone())
                .or_insert_with(|| target.clone());
            check_indexes(job, &aimed.collection, first, &target)?;
            if let Some(differ) = &survey.indexes_differ {
                let what = format!(
                    "is `source`, but files of the source have different indexes: {differ}"
                );
                return Err(no_one_index(job, what));
            }
        }
        let home = homes
            .entry(aimed.collection.clone())
            .or_insert_with(|| target.clone());
        check_databases(job, &aimed.collection, home, &target)?;
        let origin = match several {
            true => format!("{}.{}", target.traits.database, target.name),
            false => target.name.to_string(),
        };
        let origin = Some(origin).filter(|name| !name.is_empty());
        let shape = fields::aimed(job, conversion, &mut target)?;
        let number = match targets.iter_mut().find(|t| t.name == aimed) {
            Some(other) => {
                let before = &wanted[other.number as usize];
                if *before != wish {
                    return Err(Error::new(
                        Kind::Job,
                        format!("`{before}` and `{wish}` would both be called {aimed}"),
                    )
                    .hint("rename partitions with `into:`, or use a job for each"));
                }
                merge(other, &target)?;
                other.number
            }
            None => {
                let number = targets.len() as u32;
                wanted.push(wish);
                from.push(Vec::new());
                renamed.extend(why.map(|why| (number, why)));
                targets.push(Target {
                    number,
                    name: aimed,
                    ..target.clone()
                });
                number
            }
        };
        from[number as usize].extend(origin);
        if let Some(shape) = shape {
            fields::note(shapes.entry(number).or_default(), shape);
        }
        numbers.insert(target.number, number);
    }
    let chosen = manifest.shards.iter().filter_map(|shard| {
        let target = *numbers.get(&shard.target)?;
        Some(Shard {
            target,
            ..shard.clone()
        })
    });
    let mut shards: Vec<Shard> = chosen.collect();
    // The shards of a target are adjacent, in the source's order.
    shards.sort_by_key(|shard| shard.target);
    let mut rows = vec![0u64; targets.len()];
    for (number, shard) in shards.iter_mut().enumerate() {
        let before = &mut rows[shard.target as usize];
        shard.number = number as u32;
        shard.first_row = *before;
        *before += shard.rows;
    }
    let manifest = Manifest { targets, shards };
    Ok(Aimed {
        manifest,
        from,
        renamed,
        shapes,
    })
}

/// Whether collections of more than one database travel; then their names alone do not tell them apart.
fn has_several_databases(manifest: &Manifest) -> bool {
    let mut all = manifest.targets.iter().map(|t| &t.traits.database);
    let first = all.next();
    all.any(|other| Some(other) != first)
}

fn names_databases(job: &Job) -> bool {
    let names = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains("{db}"));
    names(&job.into.collection) || names(&job.into.partition)
}

/// Refuses to merge collections of two databases that only happen to have the same name.
fn check_databases(job: &Job, collection: &str, first: &Target, other: &Target) -> Result<()> {
    let stated = match &job.into.collection {
        Some(text) => !text.contains("{collection}"),
        None => job.sink.settings.contains_key("collection"),
    };
    let (one, two) = (&first.traits.database, &other.traits.database);
    if one == two || stated {
        return Ok(());
    }
    let what = format!(
        "{one}.{} and {two}.{} would both be called {collection}",
        first.name.collection, other.name.collection
    );
    let error = Error::new(Kind::Job, what).at(job.place("into.collection"));
    Err(error.hint(
        "`into: {collection: \"{db}_{collection}\"}` keeps them apart; a name without {collection} merges them",
    ))
}

/// Whether the job wants the same index as the source.
fn by_source(job: &Job) -> bool {
    let index = job.sink.settings.get("index");
    index.and_then(Value::as_str) == Some("source")
}

/// Refuses sources of one collection that have different indexes: which one it got would be arbitrary.
fn check_indexes(job: &Job, collection: &str, first: &Target, other: &Target) -> Result<()> {
    if first.index() == other.index() {
        return Ok(());
    }
    let said = |target: &Target| {
        target
            .index()
            .map_or("no index".to_owned(), Index::to_string)
    };
    let what = format!(
        "is `source`, but of what goes into {collection} {} has {}, and {} has {}",
        first.name,
        said(first),
        other.name,
        said(other)
    );
    Err(no_one_index(job, what))
}

/// An error about the job's `index: source`.
fn no_one_index(job: &Job, what: String) -> Error {
    let error = Error::new(Kind::Job, what).at(job.place(&format!("sink.{}.index", job.sink.name)));
    error.hint("name one, such as `index: {type: HNSW, params: {M: 16, efConstruction: 200}}`")
}

/// Whether `into:` gives a partition's name literally.
fn states_partition(job: &Job) -> bool {
    let words = ["{db}", "{collection}", "{partition}"];
    let stated = |text: &String| words.iter().all(|word| !text.contains(word));
    job.into.partition.as_ref().is_some_and(stated)
}

fn rename(job: &Job, db: &str, source: &TargetName, sink: TargetName) -> TargetName {
    let fill = |template: &Option<String>, otherwise: String| match template {
        Some(text) => text
            .replace("{db}", db)
            .replace("{collection}", &source.collection)
            .replace("{partition}", &source.partition),
        None => otherwise,
    };
    let partition = fill(&job.into.partition, sink.partition);
    TargetName {
        collection: fill(&job.into.collection, sink.collection),
        partition: if partition == "_default" {
            String::new()
        } else {
            partition
        },
    }
}

/// Adds the rows of another source target to one that gets the same name.
fn merge(into: &mut Target, other: &Target) -> Result<()> {
    let refuse = |what: String| {
        Err(Error::new(
            Kind::Job,
            format!(
                "`{}` cannot be merged into `{}`: {what}",
                other.name, into.name
            ),
        ))
    };
    if !into.columns.hold_the_same(&other.columns) {
        return refuse(format!("it holds {}, not {}", other.columns, into.columns));
    }
    if into.metric() != other.metric() {
        let name = |t: &Target| t.metric().map_or("none", |m| m.name()).to_owned();
        return refuse(format!("its metric is {}, not {}", name(other), name(into)));
    }
    into.rows += other.rows;
    into.rows_deleted += other.rows_deleted;
    into.auto_id &= other.auto_id;
    if into.index() != other.index() {
        // It does not matter: the job would have been refused.
        into.columns = into.columns.measured(into.metric().cloned(), None);
    }
    // Keys that are unique in each may repeat in both.
    if into.keys != other.keys || into.keys == Keys::Unique {
        into.keys = Keys::Stored;
    }
    Ok(())
}
