//! What will be done? The job made concrete: schema, targets, shards, limits, fingerprint.
//! Opens source and sink, and changes nothing anywhere.

mod existing;
pub mod files;
mod last;
mod meaning;
mod picks;
mod repeats;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use serde_yaml::Value;

use crate::batch::{Batch, Keys, Limits, Manifest, Shard, Target, TargetName};
use crate::buffers::Buffers;
use crate::convert::{Conversion, Converted};
use crate::error::{Error, Kind, Result};
use crate::job::{Endpoint, Form, Job, NonFinite, RunSettings, Setting, did_you_mean};
use crate::limits;
use crate::schema::Columns;
use crate::sink::{Decision, Foreseen, SINKS, Sink, SinkKind};
use crate::source::{SOURCES, Source, SourceKind, Stillness, Survey};

pub use crate::source::content::SAMPLED;

pub use existing::{check_existing, check_numbers};
pub use last::{LastRows, find_last};
pub use meaning::Fingerprint;
pub use picks::Picks;
pub use repeats::{check_repeats, repeats};

/// Everything decided before the first byte moves. Printing it is `milvusdm plan`.
pub struct Plan {
    /// Of the settings that shape bytes, the source's identity, targets and shards.
    pub fingerprint: Fingerprint,
    /// Where vectors come from.
    pub source: Box<dyn Source>,
    /// Where they go.
    pub sink: Box<dyn Sink>,
    /// What travels, targets named, and vectors typed, as they will be.
    pub manifest: Manifest,
    /// What is made of the vectors on the way, if anything.
    pub conversion: Option<Conversion>,
    /// How much travels together.
    pub limits: Limits,
    /// How it is run.
    pub settings: RunSettings,
    /// The kind of source, as jobs name it.
    pub source_kind: String,
    /// The first id of a source that numbers its rows.
    pub first_id: u64,
    /// Whether the destination makes the ids.
    pub auto_id: bool,
    /// Which rows of ids that repeat travel, where only the last ones do; empty until [`find_last`] has looked.
    pub last: OnceLock<LastRows>,
    /// Threads that read and pack.
    pub threads: usize,
    /// Requests that are out at a time: how many to begin with, and at most.
    pub in_flight: RangeInclusive<usize>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// By target number: why a target is not called as the source and the job would call it.
    pub renamed: BTreeMap<u32, String>,
}

impl Plan {
    /// Bytes of batches that may be held at one time: each pool thread and delivery thread holds one, and the
    /// channel between them as many as there are pool threads. What is converted is held beside what it was made of.
    pub fn memory_bytes(&self) -> u64 {
        let beside = if self.conversion.is_some() {
            self.threads
        } else {
            0
        };
        (2 * self.threads + self.in_flight.end() + beside) as u64 * self.limits.batch_bytes
    }

    /// Whether batches are known by the keys they hold, because the source may change while it is read. A destination
    /// that is written anew after a death needs no such knowledge.
    pub fn moves(&self) -> bool {
        self.source.stillness() != Stillness::Frozen && self.sink.resumable()
    }

    /// Goes on with the shards that a run began with, where the source would give others now.
    pub fn adopt(&mut self, shards: Option<Vec<Shard>>) {
        if let Some(shards) = shards.filter(|_| self.moves()) {
            self.manifest.shards = shards;
        }
    }

    /// Rows of a full batch of a target: batches are measured as they are read.
    pub fn batch_rows(&self, target: &Target) -> u64 {
        let Some(vector) = target.plain() else {
            let (bytes, _) = target.columns.row_bytes();
            let rows = self.limits.batch_bytes / bytes.max(1);
            return rows.clamp(1, self.limits.batch_rows);
        };
        self.limits
            .rows(self.conversion.map_or(vector, |c| c.was(vector)))
    }

    /// A batch as it is packed: converted where the job asks for it.
    pub fn converted(&self, batch: Batch, rooms: &Buffers) -> Result<Converted> {
        let (batch, left_out) = last::only_last(self, batch);
        let Some(conversion) = self.conversion else {
            return Ok(Converted {
                batch,
                left_out,
                relative_error: 0.0,
            });
        };
        let target = &self.manifest.targets[batch.target as usize];
        // A file has room for just the rows that were announced.
        let non_finite = match self.sink.file(target) {
            Some(_) => NonFinite::Fail,
            None => self.settings.non_finite,
        };
        let mut converted = conversion.apply(&target.columns, batch, non_finite, rooms)?;
        converted.left_out.extend(left_out);
        Ok(converted)
    }

    /// Looks at each target and says what will be done to it, without doing it. What is wrong with any of them is told
    /// together.
    pub fn decide(&self) -> Result<Vec<Decision>> {
        let mut wrong = Vec::new();
        let mut decisions = Vec::new();
        for target in &self.manifest.targets {
            match self.sink.decide(target) {
                Ok(decision) => decisions.push(decision),
                // Nobody answers: the other targets would fail alike.
                Err(error) if error.kind().is_silence() => return Err(error),
                Err(error) => wrong.push(error),
            }
        }
        Error::check(wrong).map(|()| decisions)
    }

    /// Has the destination look at what it would otherwise refuse when all rows are in. Leaves nothing behind.
    pub fn prove(&self, decisions: &[Decision]) -> Result<()> {
        let targets = self.manifest.targets.iter().zip(decisions);
        Error::check(
            targets
                .filter_map(|(target, decision)| self.sink.prove(target, decision).err())
                .collect(),
        )
    }

    /// What there is to tell of each target beyond its rows.
    pub fn foresee(&self, decisions: &[Decision]) -> Result<Vec<Foreseen>> {
        let targets = self.manifest.targets.iter().zip(decisions);
        let each = targets.map(|(target, decision)| self.sink.foresee(target, decision));
        each.collect()
    }

    /// Whether the ids of a target have to be told apart by us.
    pub fn keyed(&self, target: &Target) -> bool {
        self.sink.keyed(target.keys)
    }
}

/// The kind of source a job names, or a mistake.
fn find_kind<'k, K>(
    job: &Job,
    what: &str,
    endpoint: &Endpoint,
    kinds: &'k [K],
    name_of: fn(&K) -> &'static str,
) -> Option<&'k K> {
    if endpoint.name.is_empty() {
        return None;
    }
    let found = kinds.iter().find(|k| name_of(k) == endpoint.name);
    if found.is_none() {
        let names: Vec<&str> = kinds.iter().map(name_of).collect();
        let hint = did_you_mean(&endpoint.name, &names).unwrap_or_default();
        let hint = format!("{hint} `milvusdm formats` lists them all")
            .trim()
            .to_owned();
        let text = format!("unknown {what} `{}`", endpoint.name);
        job.mistakes.add(what, text, Some(hint));
    }
    found
}

fn form(job: &Job, what: &str, endpoint: &Endpoint, settings: &'static [Setting]) -> Form {
    let path = format!("{what}.{}", endpoint.name);
    Form::new(path, endpoint.settings.clone(), settings, &job.mistakes)
}

/// The settings under a kind; keys that it does not know are mistakes.
fn read<S: ?Sized>(mut form: Form, kind: fn(&mut Form) -> Option<Box<S>>) -> Option<Box<S>> {
    let spec = kind(&mut form);
    form.done();
    spec
}

/// Makes a job concrete. What is wrong with it, its source and its destination is told together.
pub fn plan(job: &Job) -> Result<Plan> {
    draft(job).whole(job)
}

/// A plan as far as one could be made, and what is wrong with it.
#[derive(Default)]
pub struct Draft {
    /// The plan; with mistakes, it is only good for finding more of them.
    pub plan: Option<Plan>,
    mistakes: Vec<Error>,
    /// What could not be looked at because of them.
    hidden: Vec<&'static str>,
}

impl Draft {
    /// What went well; what did not is noted.
    pub fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.mistakes.push(error)).ok()
    }

    /// The plan, or all that is wrong with the job in one error, which says what it hides.
    pub fn whole(mut self, job: &Job) -> Result<Plan> {
        let Some(mut error) = Error::several(std::mem::take(&mut self.mistakes)) else {
            return Ok(self.plan.expect("what is missing is a mistake"));
        };
        if !self.hidden.is_empty() {
            error = error.detail(format!(
                "note: until this is mended, nothing more can be said about {}",
                self.hidden.join(" and ")
            ));
        }
        Err(job.named(error))
    }
}

/// Looks at everything that a job names, and changes nothing anywhere. One mistake does not keep it from finding others.
pub fn draft(job: &Job) -> Draft {
    let mut draft = Draft::default();
    let source: Option<&SourceKind> = find_kind(job, "source", &job.source, SOURCES, |k| k.name);
    let sink: Option<&SinkKind> = find_kind(job, "sink", &job.sink, SINKS, |k| k.name);
    let source = source.and_then(|k| read(form(job, "source", &job.source, k.settings), k.read));
    let sink = sink.and_then(|k| read(form(job, "sink", &job.sink, k.settings), k.read));
    draft.mistakes = job.mistaken();
    let wanted = Limits {
        batch_bytes: job.run.batch_bytes,
        batch_rows: limits::BATCH_ROWS_MAX,
    };
    let source = source.and_then(|source| {
        let source = source.open_for(&job.collections);
        let source = draft.note(source.map_err(|e| placed(job, e)))?;
        let survey = draft.note(source.survey(wanted))?;
        Some((source, survey))
    });
    let sink = sink.and_then(|sink| draft.note(sink.open(&job.run).map_err(|e| placed(job, e))));
    if source.is_none() {
        draft.hidden.push("the source");
    }
    // What is at the destination is looked up by what is in the source.
    let planned = source.zip(sink).and_then(|((source, survey), sink)| {
        let concrete = concrete(job, source, survey, sink, wanted);
        draft.note(concrete)
    });
    match planned {
        Some((plan, wrong)) => {
            draft.mistakes.extend(wrong);
            draft.plan = Some(plan);
        }
        None => draft.hidden.push("what is at the destination"),
    }
    draft
}

/// The plan that source and sink make, and what is wrong with it.
fn concrete(
    job: &Job,
    source: Box<dyn Source>,
    survey: Survey,
    sink: Box<dyn Sink>,
    wanted: Limits,
) -> Result<(Plan, Vec<Error>)> {
    let limits = sink.limits(wanted);
    let survey = if limits == wanted {
        survey
    } else {
        source.survey(limits)?
    };
    let mut warnings = survey.warnings.clone();
    let conversion = Conversion::asked(&job.fields);
    let Aimed {
        manifest,
        from,
        renamed,
    } = aim(job, conversion, &survey.manifest, sink.as_ref())?;
    let lost = conversion.and_then(Conversion::loses);
    warnings.extend(renamed.values().cloned().chain(lost));
    let wrong = check(job, &manifest, sink.as_ref());
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let readers = cores.max(source.reads_at_once().unwrap_or(0));
    let threads = job.run.threads.unwrap_or(readers);
    let in_flight = in_flight(&job.run, sink.as_ref());
    let fingerprint = meaning::fingerprint(
        job,
        source.as_ref(),
        &survey,
        &manifest,
        &from,
        limits,
        sink.as_ref(),
    )?;
    let plan = Plan {
        fingerprint,
        source,
        sink,
        manifest,
        conversion,
        limits,
        settings: job.run.clone(),
        source_kind: job.source.name.clone(),
        first_id: meaning::setting(&job.source, "first_id")
            .parse()
            .unwrap_or(0),
        last: OnceLock::new(),
        auto_id: meaning::setting(&job.sink, "auto_id") == "true",
        threads,
        in_flight,
        warnings,
        renamed,
    };
    Ok((plan, wrong))
}

/// What is wrong with what would travel.
fn check(job: &Job, manifest: &Manifest, sink: &dyn Sink) -> Vec<Error> {
    let mut wrong = Vec::new();
    wrong.extend(check_dimension(job, manifest).err());
    if manifest.targets.is_empty() && !job.collections.is_empty() {
        wrong.push(
            Error::new(Kind::Job, "admits nothing of what is in the source")
                .at(job.place("collections")),
        );
    }
    for target in &manifest.targets {
        // Files only: a server's collection has no path.
        let there = |path: &str| std::fs::canonicalize(path).ok();
        if let Some(path) = sink.file(target)
            && there(&path.to_string_lossy()).is_some_and(|p| there(&target.source) == Some(p))
        {
            wrong.push(Error::path(
                Kind::Job,
                &path,
                "the destination is the source",
            ));
        }
    }
    wrong
}

/// How many requests are out at a time where neither the job nor the sink leaves it to trial: as many at first as at
/// most.
fn in_flight(run: &RunSettings, sink: &dyn Sink) -> RangeInclusive<usize> {
    let connections = run.connections.unwrap_or(limits::CONNECTIONS_DEFAULT);
    let first = connections * run.in_flight.unwrap_or(limits::IN_FLIGHT_FIRST);
    match run.in_flight {
        None if sink.remote() => first..=connections * limits::IN_FLIGHT_MAX,
        _ => first..=first,
    }
}

/// Settings are read by sources and sinks, which do not know the job file: its name is put to their complaints.
fn placed(job: &Job, error: Error) -> Error {
    if error.kind() == Kind::Job {
        error.at(job.place(""))
    } else {
        error
    }
}

/// What travels, and how.
struct Aimed {
    manifest: Manifest,
    /// For each target, the names of the source's targets that go into it; none where the source has no names.
    from: Vec<Vec<String>>,
    renamed: BTreeMap<u32, String>,
}

/// Chooses what travels, names it as it will be, and merges targets that get the same name.
fn aim(
    job: &Job,
    conversion: Option<Conversion>,
    manifest: &Manifest,
    sink: &dyn Sink,
) -> Result<Aimed> {
    let mut targets: Vec<Target> = Vec::new();
    let mut from: Vec<Vec<String>> = Vec::new();
    // For each collection, the first of its sources: the one whose index it gets.
    let mut first: BTreeMap<String, Target> = BTreeMap::new();
    // For each of them, the name it would have if everything were allowed.
    let mut wanted: Vec<TargetName> = Vec::new();
    let mut renamed = BTreeMap::new();
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for mut target in manifest.targets.iter().cloned() {
        let name = &target.name;
        if !job.collections.admit(&name.collection, &name.partition) {
            continue;
        }
        let wish = rename(job, name, sink.name(name));
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
        }
        let origin = Some(target.name.to_string()).filter(|name| !name.is_empty());
        target.columns = columns(job, conversion, &target)?;
        let number = match targets.iter_mut().find(|t| t.name == aimed) {
            Some(other) => {
                let before = &wanted[other.number as usize];
                if *before != wish {
                    return Err(Error::new(
                        Kind::Job,
                        format!("`{before}` and `{wish}` would both be called {aimed}"),
                    )
                    .hint("`into:` gives partitions other names; a job for each will do too"));
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
    // Shards of a target stand together, in the source's order.
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
    })
}

/// Whether the job wants a collection indexed as its source was.
fn by_source(job: &Job) -> bool {
    let index = job.sink.settings.get("index");
    index.and_then(Value::as_str) == Some("source")
}

/// Refuses sources of one collection that are indexed otherwise: which index it got would be chance.
fn check_indexes(job: &Job, collection: &str, first: &Target, other: &Target) -> Result<()> {
    if first.index() == other.index() {
        return Ok(());
    }
    let said = |target: &Target| match target.index() {
        None => "no index".to_owned(),
        Some(index) => {
            let params = index.params.iter().map(|(k, v)| format!("{k}: {v}"));
            let params: Vec<String> = params.collect();
            match params.is_empty() {
                true => index.kind.clone(),
                false => format!("{} {{{}}}", index.kind, params.join(", ")),
            }
        }
    };
    let what = format!(
        "is `source`, but of what goes into {collection} {} has {}, and {} has {}",
        first.name,
        said(first),
        other.name,
        said(other)
    );
    let error = Error::new(Kind::Job, what).at(job.place(&format!("sink.{}.index", job.sink.name)));
    Err(error.hint("name one, such as `index: {type: HNSW, params: {M: 16, efConstruction: 200}}`"))
}

/// Whether `into:` states a partition's name letter by letter.
fn states_partition(job: &Job) -> bool {
    let stated = |text: &String| !text.contains("{collection}") && !text.contains("{partition}");
    job.into.partition.as_ref().is_some_and(stated)
}

fn rename(job: &Job, source: &TargetName, sink: TargetName) -> TargetName {
    let fill = |template: &Option<String>, otherwise: String| match template {
        Some(text) => text
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

/// What a target's rows will have.
fn columns(job: &Job, conversion: Option<Conversion>, target: &Target) -> Result<Arc<Columns>> {
    let Some(vector) = target.plain() else {
        return Ok(target.columns.clone());
    };
    let vector = match conversion {
        None => vector,
        Some(conversion) => conversion.becomes(vector).map_err(|what| {
            let error = Error::new(Kind::Job, format!("{}: {what}", target.source));
            error.at(job.place(conversion.key()))
        })?,
    };
    let columns = Columns::plain(&job.fields.id, &job.fields.vector, vector)?;
    Ok(columns.measured(target.metric().cloned(), target.index().cloned()))
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
        // Nobody asks for it: the job would have been refused.
        into.columns = into.columns.measured(into.metric().cloned(), None);
    }
    // What is unique in each need not be so in both.
    if into.keys != other.keys || into.keys == Keys::Unique {
        into.keys = Keys::Stored;
    }
    Ok(())
}

fn check_dimension(job: &Job, manifest: &Manifest) -> Result<()> {
    let Some(dimension) = job.dimension else {
        return Ok(());
    };
    for target in &manifest.targets {
        let found = target.plain().map(|vector| vector.dimension);
        if let Some(found) = found
            && u64::from(found) != dimension
        {
            let what = format!(
                "is {dimension}, but {} has {found} dimensions",
                target.source
            );
            return Err(Error::new(Kind::Job, what).at(job.place("dimension")));
        }
    }
    Ok(())
}
