//! What happens once all rows are in: flush, index, load; and how are rows counted?
//! One step at a time, each started once; the caller waits.

use std::time::{Duration, Instant};

use tracing::info;

use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::milvus::proto::IndexDescription;
use crate::milvus::{Flavour, Flushing};
use crate::progress::Phase;
use crate::sink::{Action, Count, Decision, Finishing, Strength};

use super::decide::warn_of;
use super::{Milvus, fit};

/// How long to wait at least, and at most, before asking again whether a flush is done.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The state of a collection once all its rows are in.
#[derive(Clone, Debug, Default)]
pub(super) enum Step {
    #[default]
    Full,
    Flushing(Flushing),
    Flushed,
    Indexing,
    Indexed,
    Loading,
    Done,
}

fn doing(phase: Phase, figure: u64, percent: Option<u64>) -> Finishing {
    Finishing::Doing {
        phase,
        figure,
        percent,
    }
}

impl Milvus {
    /// Once everything is flushed, statistics show what the target held before the first byte was sent.
    pub(super) fn settled(&self, target: &Target, mut decision: Decision) -> Result<Decision> {
        let Some(ready) = self.ready(target.number) else {
            return Ok(decision);
        };
        if decision.action != Action::Append || ready.exact {
            return Ok(decision);
        }
        let collection = &ready.envelope.collection;
        // The last target in the collection looked before a row was sent to any of them.
        self.flush_since(collection, self.opened)?;
        let partition = self.counted_partition(target, ready.has_partition_key);
        let before = self.client.statistics(collection, partition)?;
        decision.rows_before = before;
        decision.ours = before == 0;
        Ok(decision)
    }

    /// Flushes a collection before anything is sent to it, once for all targets in it, unless a flush was started after
    /// the given time.
    pub(super) fn flush_since(&self, collection: &str, since: Instant) -> Result<()> {
        let mut flushed = self.flushed.lock().expect("no one panics with it locked");
        if flushed.get(collection).is_some_and(|begun| *begun >= since) {
            return Ok(());
        }
        let begun = Instant::now();
        let flushing = self.client.flush(collection)?;
        while !self.client.is_flushed(collection, &flushing)? {
            if begun.elapsed() > self.run.patience {
                let what = "the server has been flushing without making progress";
                return Err(Error::new(Kind::Busy, what));
            }
            std::thread::sleep((begun.elapsed() / 16).clamp(ASK_EVERY.0, ASK_EVERY.1));
        }
        flushed.insert(collection.to_owned(), begun);
        Ok(())
    }

    /// The next step for the collection that the target is in.
    pub(super) fn finished(&self, target: &Target) -> Result<Finishing> {
        let Some(ready) = self.ready(target.number) else {
            // Skipped: nothing in it may be changed.
            return Ok(Finishing::Done);
        };
        let collection = &ready.envelope.collection;
        let step = self.state().steps.get(collection).cloned();
        self.advance(target, collection, step.unwrap_or_default())
    }

    /// The next step for a collection that an earlier run filled and flushed.
    pub(super) fn completed(&self, target: &Target) -> Result<Finishing> {
        let Some(found) = self.client.collection(&target.name.collection)? else {
            return Ok(Finishing::Done);
        };
        let collection = &found.name;
        let step = self.state().steps.get(collection).cloned();
        let step = match step {
            Some(step) => step,
            None => {
                let mut missing = false;
                for field in self.indexed(target)? {
                    missing |= self.client.index(collection, &field)?.is_none();
                }
                self.check_indexes_there(target, collection)?;
                match missing {
                    true => Step::Flushed,
                    false => Step::Indexed,
                }
            }
        };
        self.advance(target, collection, step)
    }

    fn advance(&self, target: &Target, collection: &str, step: Step) -> Result<Finishing> {
        let (next, told) = match step {
            Step::Full => {
                if !self.is_last_to_fill(target.number, collection) {
                    return Ok(Finishing::Done);
                }
                self.check_still_there(target)?;
                let flushing = self.client.flush(collection)?;
                (Step::Flushing(flushing), doing(Phase::Flushing, 0, None))
            }
            Step::Flushing(flushing) => match self.client.is_flushed(collection, &flushing)? {
                true => (Step::Flushed, Finishing::Next),
                false => return Ok(doing(Phase::Flushing, 0, None)),
            },
            Step::Flushed => match self.begin_index(target, collection)? {
                true => (Step::Indexing, doing(Phase::Indexing, 0, None)),
                false => (Step::Indexed, Finishing::Next),
            },
            Step::Indexing => match self.index_rows(target, collection)? {
                None => (Step::Indexed, Finishing::Next),
                Some((rows, of)) => {
                    let percent = (rows * 100).checked_div(of);
                    return Ok(doing(Phase::Indexing, rows, percent));
                }
            },
            Step::Indexed if !self.settings.load || self.client.is_loaded(collection, None)? => {
                self.give_aliases(target, collection)?;
                (Step::Done, Finishing::Done)
            }
            Step::Indexed => {
                self.client.load(collection)?;
                (Step::Loading, doing(Phase::Loading, 0, None))
            }
            Step::Loading => match self.client.is_loaded(collection, None)? {
                true => {
                    self.give_aliases(target, collection)?;
                    (Step::Done, Finishing::Done)
                }
                false => {
                    let progress = self.client.loading_progress(collection)?;
                    let figure = u64::try_from(progress).unwrap_or(0);
                    return Ok(doing(Phase::Loading, figure, Some(figure)));
                }
            },
            Step::Done => return Ok(Finishing::Done),
        };
        self.state().steps.insert(collection.to_owned(), next);
        Ok(told)
    }

    /// Records that more rows were sent to a collection: they must be flushed, indexed and loaded, too.
    pub(super) fn unfinished(&self, target: &Target) {
        if let Some(ready) = self.ready(target.number) {
            self.state().steps.remove(&ready.envelope.collection);
        }
    }

    /// Whether no other target of this run still waits for rows in the same collection. A flush covers a whole
    /// collection and takes seconds, so the last target does it for all; a run that died before that still has the last
    /// one to finish.
    fn is_last_to_fill(&self, target: u32, collection: &str) -> bool {
        let mut state = self.state();
        let Some(unfilled) = state.unfilled.get_mut(collection) else {
            return true;
        };
        unfilled.remove(&target);
        unfilled.is_empty()
    }

    /// Creates the missing indexes; returns whether any are wanted at all.
    fn begin_index(&self, target: &Target, collection: &str) -> Result<bool> {
        let plans = fit::indexes(target, &self.settings)?;
        for (field, plan) in &plans {
            if let Some(there) = self.client.index(collection, field)? {
                // The job may have been edited since it began.
                let another = fit::another_index(collection, field, &there, plan);
                warn_of(another.map(|error| format!("{}: it is kept", error.what())));
                continue;
            }
            let name = fit::index_name(target, &self.settings, field);
            self.client
                .create_index(collection, field, name, plan.extra_params())?;
            info!("index {plan} on {collection}");
        }
        let others = fit::other_indexes(target, &self.settings);
        for (field, name, plan) in &others {
            let there = self.client.indexes(collection)?;
            let same = |i: &IndexDescription| i.field_name == *field && i.index_name == *name;
            // A field has only one index, except for paths into JSON.
            let path = |p: &(String, String)| p.0 == "json_path";
            let is_there = match plan.params.iter().any(path) {
                true => there.iter().any(same),
                false => there.iter().any(|index| index.field_name == *field),
            };
            if !is_there {
                self.client
                    .create_index(collection, field, name, plan.extra_params())?;
                info!("index {plan} on {collection}.{field}");
            }
        }
        Ok(!plans.is_empty() || !others.is_empty())
    }

    /// Returns an error about an index from an earlier run that the job no longer wants.
    fn check_indexes_there(&self, target: &Target, collection: &str) -> Result<()> {
        let full = self.client.server().flavour == Flavour::Full;
        let mut wrong = Vec::new();
        for (field, plan) in fit::indexes(target, &self.settings)? {
            let Some(there) = self.client.index(collection, &field)? else {
                continue;
            };
            match fit::another_index(collection, &field, &there, &plan) {
                // Services and Milvus Lite may create an index of another type than requested.
                Some(error) if full && there.kind != "AUTOINDEX" => wrong.push(error),
                Some(error) => warn_of(Some(error.what().to_owned())),
                None => warn_of(fit::other_params(collection, &field, &there, &plan)),
            }
        }
        Error::check(wrong)
    }

    /// The fields that get an index.
    fn indexed(&self, target: &Target) -> Result<Vec<String>> {
        let vectors = fit::indexes(target, &self.settings)?;
        let others = fit::other_indexes(target, &self.settings);
        let others = others.into_iter().map(|(field, ..)| field);
        Ok(vectors
            .into_iter()
            .map(|(field, _)| field)
            .chain(others)
            .collect())
    }

    /// Gives a complete collection the aliases of the source's collection, if the job asks for that. From then on they
    /// refer to it, whatever they referred to before.
    fn give_aliases(&self, target: &Target, collection: &str) -> Result<()> {
        if !self.settings.aliases {
            return Ok(());
        }
        for alias in &target.traits.aliases {
            match self.client.collection(alias)? {
                None => self.client.create_alias(collection, alias)?,
                Some(found) if found.name == collection => continue,
                Some(_) => self.client.move_alias(collection, alias)?,
            }
            info!("alias {alias} is {collection}");
        }
        Ok(())
    }

    /// Returns an error about an alias that is the name of a collection.
    pub(super) fn check_aliases(&self, target: &Target) -> Result<()> {
        if !self.settings.aliases {
            return Ok(());
        }
        for alias in &target.traits.aliases {
            let found = self.client.collection(alias)?;
            if *alias == target.name.collection || found.is_some_and(|f| f.name == *alias) {
                let what = format!("`aliases: true`, but there is a collection named {alias}");
                return Err(Error::new(Kind::Job, what).hint("rename collections with `into:`"));
            }
        }
        Ok(())
    }

    /// How many rows have been indexed, and of how many, over all fields; `None` once all are.
    fn index_rows(&self, target: &Target, collection: &str) -> Result<Option<(u64, u64)>> {
        let (mut rows, mut finished) = ((0u64, 0u64), true);
        for field in self.indexed(target)? {
            let Some(index) = self.client.index(collection, &field)? else {
                return Err(Error::new(
                    Kind::Refused,
                    format!("the index on {collection} was created, but no longer exists"),
                ));
            };
            if let Some(reason) = index.failed {
                return Err(Error::new(
                    Kind::Refused,
                    format!("the server could not build the index on {collection}: {reason}"),
                ));
            }
            rows.0 = rows.0.saturating_add(index.rows.0);
            rows.1 = rows.1.saturating_add(index.rows.1);
            finished &= index.finished;
        }
        Ok((!finished).then_some(rows))
    }

    /// The most reliable figure available without building or loading. A target that was appended to is counted in the
    /// same way as before, so that the two figures can be compared.
    pub(super) fn counted(&self, target: &Target) -> Result<Count> {
        let collection = match self.ready(target.number) {
            Some(ready) => ready.envelope.collection.clone(),
            None => target.name.collection.clone(),
        };
        let exactly = self.ready(target.number).is_none_or(|ready| {
            ready.exact
                || ready.decision.action != Action::Append
                || ready.decision.rows_before == 0
        });
        self.count_there(&collection, self.scope(target)?, exactly)
    }

    /// The row count in the server's statistics.
    pub(super) fn statistics_there(&self, target: &Target) -> Result<u64> {
        let partition = self.scope(target)?;
        self.client.statistics(&target.name.collection, partition)
    }

    /// The partition that is counted for a target.
    fn scope<'t>(&self, target: &'t Target) -> Result<Option<&'t str>> {
        if let Some(ready) = self.ready(target.number) {
            return Ok(self.counted_partition(target, ready.has_partition_key));
        }
        match self.seen(&target.name.collection)? {
            Some(found) => Ok(self.counted_partition(target, found.has_partition_key())),
            None => Err(Error::new(
                Kind::Refused,
                format!("collection {} does not exist", target.name.collection),
            )
            .hint("`milvusdm run --again` loads everything again")),
        }
    }

    /// Rows of a collection, or of a partition of it.
    pub(super) fn count_there(
        &self,
        collection: &str,
        partition: Option<&str>,
        exactly: bool,
    ) -> Result<Count> {
        // Milvus Lite's statistics count live rows, one per key, and its count(*) ignores partitions.
        if self.client.server().flavour == Flavour::LitePython {
            return Ok(Count {
                rows: self.client.statistics(collection, partition)?,
                strength: Strength::Unique,
            });
        }
        if exactly && self.client.is_loaded(collection, partition)? {
            return Ok(Count {
                rows: self.client.count(collection, partition)?,
                strength: Strength::Exact,
            });
        }
        Ok(Count {
            rows: self.client.statistics(collection, partition)?,
            strength: Strength::Statistics,
        })
    }
}
