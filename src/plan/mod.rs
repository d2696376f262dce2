//! What will be done? The job made concrete: schema, targets, shards, limits, fingerprint.
//! Opens source and sink, and changes nothing anywhere.

mod aim;
mod existing;
mod fields;
pub mod files;
mod keyed;
mod last;
mod meaning;
mod parallel;
mod picks;
mod repeats;
mod share;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use crate::batch::{Batch, Limits, Manifest, Shard, Target};
use crate::buffers::Buffers;
use crate::convert::{Conversion, Converted, Rules, Shape};
use crate::error::{Error, Kind, Result};
use crate::job::{Endpoint, Form, Job, Misfits, NonFinite, RunSettings, Setting, did_you_mean};
use crate::limits;
use crate::sink::{Decision, Foreseen, SINKS, Sink, SinkKind};
use crate::source::{SOURCES, Source, SourceKind, Stillness, Survey};

use aim::{Aimed, aim};

pub use crate::source::content::SAMPLED;

pub use existing::{check_existing, check_numbers};
pub use last::{LastRows, find_last};
pub use meaning::Fingerprint;
pub use parallel::side_by_side;
pub use picks::Picks;
pub use repeats::{check_repeats, repeats};
pub use share::Share;

/// Everything decided before the first byte moves. `milvusdm plan` prints it.
pub struct Plan {
    /// The fingerprint of the settings that shape bytes, the source's identity, targets and shards.
    pub fingerprint: Fingerprint,
    /// The source.
    pub source: Box<dyn Source>,
    /// The destination.
    pub sink: Box<dyn Sink>,
    /// The data, with targets named and vectors typed as they will be at the destination.
    pub manifest: Manifest,
    /// How the vectors of plain rows are converted on the way, if at all.
    pub conversion: Option<Conversion>,
    /// By target number: how the columns of its sources are converted; none if rows are plain.
    pub shapes: BTreeMap<u32, Vec<Shape>>,
    /// The limits on batches.
    pub limits: Limits,
    /// The share of the whole that this plan covers, if several programs carry the job.
    pub share: Option<Share>,
    /// The job's `run` settings.
    pub settings: RunSettings,
    /// The kind of source, by its name in jobs.
    pub source_kind: String,
    /// The first id of a source that numbers its rows.
    pub first_id: u64,
    /// Whether the destination makes the ids.
    pub auto_id: bool,
    /// Which rows of a repeated id travel, if only the last ones do; empty until [`find_last`] has run.
    pub last: OnceLock<LastRows>,
    /// Threads that read and pack.
    pub threads: usize,
    /// Requests in flight: how many to begin with, and at most.
    pub in_flight: RangeInclusive<usize>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// By target number: why a target's name is not the one from the source and the job.
    pub renamed: BTreeMap<u32, String>,
}

impl Plan {
    /// Bytes of batches that may be held at one time: one in each pool thread and delivery thread, and as many in the
    /// channel between them as there are pool threads. During a conversion both versions are held.
    pub fn memory_bytes(&self) -> u64 {
        let beside = if self.conversion.is_some() || !self.shapes.is_empty() {
            self.threads
        } else {
            0
        };
        (2 * self.threads + self.in_flight.end() + beside) as u64 * self.limits.batch_bytes
    }

    /// Whether batches are identified by the keys they hold, because the source may change while it is read. Not needed
    /// if the destination is written afresh after a crash.
    pub fn moves(&self) -> bool {
        self.source.stillness() != Stillness::Frozen && self.sink.resumable()
    }

    /// Whether rows are placed after all earlier ones, because there may be more or fewer of them than were counted.
    pub fn by_place(&self) -> bool {
        self.source.stillness() != Stillness::Frozen && self.sink.in_order()
    }

    /// Continues with the shards that a run began with, in case the source would now be divided differently.
    pub fn adopt(&mut self, shards: Option<Vec<Shard>>) {
        if let Some(shards) = shards.filter(|_| self.moves()) {
            self.manifest.shards = shards;
        }
    }

    /// Rows of a full batch of a target: batches are measured while they are read.
    pub fn batch_rows(&self, target: &Target) -> u64 {
        let Some(vector) = target.plain() else {
            let (bytes, _) = target.columns.row_bytes();
            let rows = self.limits.batch_bytes / bytes.max(1);
            return rows.clamp(1, self.limits.batch_rows);
        };
        self.limits
            .rows(self.conversion.map_or(vector, |c| c.was(vector)))
    }

    /// A batch ready to be packed: converted if the job asks for it.
    pub fn converted(&self, batch: Batch, rooms: &Buffers) -> Result<Converted> {
        let (batch, left_out) = last::only_last(self, batch);
        let target = &self.manifest.targets[batch.target as usize];
        // A file has room only for the rows that were announced.
        let non_finite = match self.sink.file(target) {
            Some(_) => NonFinite::Fail,
            None => self.settings.non_finite,
        };
        let mut converted = match (self.shape_of(&batch), self.conversion) {
            (Some(shape), _) => {
                let rules = Rules {
                    non_finite,
                    misfit: match self.sink.file(target) {
                        Some(_) if self.settings.misfit == Misfits::Skip => Misfits::Fail,
                        _ => self.settings.misfit,
                    },
                };
                shape.apply(batch, rules, rooms)?
            }
            (None, Some(conversion)) if target.plain().is_some() => {
                conversion.apply(&target.columns, batch, non_finite, rooms)?
            }
            _ => Converted {
                batch,
                left_out: Vec::new(),
                relative_error: None,
            },
        };
        converted.left_out.extend(left_out);
        Ok(converted)
    }

    /// How the columns of a batch are converted; all its parts have the same columns.
    fn shape_of(&self, batch: &Batch) -> Option<&Shape> {
        let mut shapes = self.shapes.get(&batch.target)?.iter();
        let columns = batch.parts.first()?.columns();
        shapes.find(|shape| shape.from().hold_the_same(columns))
    }

    /// Looks at each target and decides what will be done to it, without doing it. Reports the errors of all targets
    /// together.
    pub fn decide(&self) -> Result<Vec<Decision>> {
        let targets: Vec<&Target> = self.manifest.targets.iter().collect();
        let looked = side_by_side(&*self.sink, &targets, &|target| {
            match self.sink.decide(target) {
                // If no one answers, the other targets would fail the same way.
                Err(error) if error.kind().is_silence() => Err(error),
                looked => Ok(looked),
            }
        })?;
        let (mut wrong, mut decisions) = (Vec::new(), Vec::new());
        for one in looked {
            match one {
                Ok(decision) => decisions.push(decision),
                Err(error) => wrong.push(error),
            }
        }
        Error::check(wrong).map(|()| decisions)
    }

    /// Has the destination check what it would otherwise refuse only after all rows. Leaves nothing behind.
    pub fn prove(&self, decisions: &[Decision]) -> Result<()> {
        let targets = self.manifest.targets.iter().zip(decisions);
        Error::check(
            targets
                .filter_map(|(target, decision)| self.sink.prove(target, decision).err())
                .collect(),
        )
    }

    /// What the plan shows about each target besides its rows.
    pub fn foresee(&self, decisions: &[Decision]) -> Result<Vec<Foreseen>> {
        let of = |target: &Target| decisions.get(target.number as usize);
        let targets = self.manifest.targets.iter().filter(|t| of(t).is_some());
        side_by_side(&*self.sink, &targets.collect::<Vec<_>>(), &|target| {
            let decision = of(target).expect("others were left out");
            self.sink.foresee(target, decision)
        })
    }

    /// Whether the program has to check a target for repeated ids.
    pub fn keyed(&self, target: &Target) -> bool {
        self.sink.keyed(target.keys)
    }
}

/// The kind of source that a job names, or a mistake.
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

/// The settings under a kind; unknown keys are mistakes.
fn read<S: ?Sized>(mut form: Form, kind: fn(&mut Form) -> Option<Box<S>>) -> Option<Box<S>> {
    let spec = kind(&mut form);
    form.done();
    spec
}

/// Makes a job concrete. Mistakes in it, its source and its destination are reported together.
pub fn plan(job: &Job) -> Result<Plan> {
    looked_at(job, |source| source.ready()).whole(job)
}

/// A plan as far as it could be made, and the mistakes found.
#[derive(Default)]
pub struct Draft {
    /// The plan; if there are mistakes, it only serves to find more of them.
    pub plan: Option<Plan>,
    mistakes: Vec<Error>,
    /// What could not be checked because of them.
    hidden: Vec<&'static str>,
}

impl Draft {
    /// The value of a result; an error is recorded.
    pub fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.mistakes.push(error)).ok()
    }

    /// The plan, or one error with all mistakes of the job, which also names what could not be checked.
    pub fn whole(mut self, job: &Job) -> Result<Plan> {
        let Some(mut error) = Error::several(std::mem::take(&mut self.mistakes)) else {
            return Ok(self.plan.expect("what is missing is a mistake"));
        };
        if !self.hidden.is_empty() {
            error = error.detail(format!(
                "note: until this is fixed, nothing more can be checked about {}",
                self.hidden.join(" and ")
            ));
        }
        Err(job.named(error))
    }
}

/// Checks everything that a job names, and changes nothing anywhere. One mistake does not keep it from finding others.
pub fn draft(job: &Job) -> Draft {
    looked_at(job, |_| Ok(()))
}

/// The same, after the source has been prepared for reading.
fn looked_at(job: &Job, ready: fn(&dyn Source) -> Result<()>) -> Draft {
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
        draft.note(ready(source.as_ref()))?;
        let survey = draft.note(source.survey(wanted))?;
        let source = draft.note(keyed::keyed(job, source, &survey))?;
        let survey = draft.note(source.survey(wanted))?;
        Some((source, survey))
    });
    let sink = sink.and_then(|sink| draft.note(sink.open(&job.run).map_err(|e| placed(job, e))));
    if source.is_none() {
        draft.hidden.push("the source");
    }
    // The destination is searched for rows of the source.
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

/// The plan for this source and sink, and the mistakes found.
fn concrete(
    job: &Job,
    source: Box<dyn Source>,
    survey: Survey,
    sink: Box<dyn Sink>,
    wanted: Limits,
) -> Result<(Plan, Vec<Error>)> {
    let still = source.stillness() == Stillness::Frozen;
    sink.choose(&survey.manifest.targets, still);
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
        shapes,
    } = aim(job, conversion, &survey, sink.as_ref())?;
    let lost = conversion.and_then(Conversion::loses);
    warnings.extend(renamed.values().cloned().chain(lost));
    let mut wrong = check(job, &manifest, sink.as_ref());
    if sink.recognises() && !still {
        let what = "files for a server's import need a source that does not change, and this one may change while it is read";
        let hint = "without `bulk` its rows are inserted";
        wrong.push(Error::new(Kind::Unsupported, what).hint(hint));
    }
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let readers = cores.max(source.reads_at_once().unwrap_or(0));
    let threads = job.run.threads.unwrap_or(readers);
    let threads = threads.min(sink.at_once().unwrap_or(threads));
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
        shapes,
        limits,
        share: None,
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

/// Mistakes in what would travel.
fn check(job: &Job, manifest: &Manifest, sink: &dyn Sink) -> Vec<Error> {
    let mut wrong = Vec::new();
    wrong.extend(check_dimension(job, manifest).err());
    if manifest.targets.is_empty() && !job.collections.is_empty() {
        wrong.push(
            Error::new(Kind::Job, "selects nothing in the source").at(job.place("collections")),
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

/// Requests in flight if neither the job nor the sink leaves their number to trial: the same at first and at most.
fn in_flight(run: &RunSettings, sink: &dyn Sink) -> RangeInclusive<usize> {
    if let Some(at_once) = sink.at_once() {
        return at_once..=at_once;
    }
    let connections = run.connections.unwrap_or(limits::CONNECTIONS_DEFAULT);
    let first = connections * run.in_flight.unwrap_or(limits::IN_FLIGHT_FIRST);
    match run.in_flight {
        None if sink.remote() => first..=connections * limits::IN_FLIGHT_MAX,
        _ => first..=first,
    }
}

/// Settings are read by sources and sinks, which do not know the job file: its name is added to their errors.
fn placed(job: &Job, error: Error) -> Error {
    if error.kind() == Kind::Job {
        error.at(job.place(""))
    } else {
        error
    }
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
