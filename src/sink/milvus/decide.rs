//! What does `mode` mean for a target in its current state? Only looks, changes nothing.

use tracing::warn;

use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::job::{Existing, IdCollision, Mode, OnDoubt, Verify};
use crate::milvus::{Collection, Flavour};
use crate::schema::{Column, Metric};
use crate::sink::{Action, Count, Decision, Sink, Strength};

use super::Milvus;
use super::columns;
use super::fit;
use super::traits;

/// Warns the operator about something that stays different from the job.
pub(super) fn warn_of(differs: Option<String>) {
    if let Some(differs) = differs {
        warn!("{differs}");
    }
}

impl Milvus {
    pub(super) fn decision(&self, target: &Target) -> Result<Decision> {
        let mut wrong = fit::names(target);
        let may_be_there = wrong.is_empty();
        wrong.extend(self.check_job(target));
        // Do not ask a server for something that it does not support.
        if !may_be_there {
            return Err(Error::several(wrong).expect("one was noted"));
        }
        let decided = self
            .check_aliases(target)
            .and_then(|()| self.decision_of_found(target));
        match decided {
            Err(error) if error.kind().is_silence() => return Err(error),
            Err(error) => wrong.push(error),
            Ok(decision) if wrong.is_empty() => return Ok(decision),
            Ok(_) => {}
        }
        Err(Error::several(wrong).expect("one was noted"))
    }

    /// The decision, from what exists.
    fn decision_of_found(&self, target: &Target) -> Result<Decision> {
        let collection = &target.name.collection;
        let partition = &target.name.partition;
        let Some(found) = self.seen(collection)? else {
            self.check_load(target, false)?;
            return Ok(Decision {
                action: Action::Create,
                rows_before: 0,
                ours: true,
                removes: None,
                replaces: 0,
                why: format!("collection {collection} does not exist yet"),
            });
        };
        let mode = self.settings.mode;
        if partition.is_empty() {
            return self.about_collection(target, &found, mode);
        }
        if mode != Mode::Skip {
            self.check_found(target, &found)?;
        }
        if self.seen_partition(&found.name, partition)?.is_none() {
            return Ok(Decision {
                action: Action::Create,
                rows_before: 0,
                ours: true,
                removes: None,
                replaces: 0,
                why: format!("partition {partition} of collection {collection} does not exist yet"),
            });
        }
        let what = format!("partition {partition} of collection {collection}");
        self.about(target, &found, mode, &what)
    }

    fn about_collection(
        &self,
        target: &Target,
        found: &Collection,
        mode: Mode,
    ) -> Result<Decision> {
        let collection = &target.name.collection;
        if mode == Mode::Append {
            self.check_found(target, found)?;
        }
        if mode == Mode::Overwrite {
            if found.name != *collection {
                return Err(Error::new(
                    Kind::Job,
                    format!(
                        "{collection} is an alias of {}, which `mode: overwrite` would drop",
                        found.name
                    ),
                )
                .hint("use the name of the collection itself"));
            }
            self.check_load(target, false)?;
            let number = u64::try_from(found.number).unwrap_or(0);
            self.state().to_replace.insert(collection.clone(), number);
        }
        self.about(target, found, mode, &format!("collection {collection}"))
    }

    /// What a mode means for something that exists.
    fn about(
        &self,
        target: &Target,
        found: &Collection,
        mode: Mode,
        what: &str,
    ) -> Result<Decision> {
        let word = mode.word();
        match mode {
            Mode::Fail => Err(
                Error::new(Kind::Job, format!("{what} exists, and mode is {word}"))
                    .hint("use `mode: append` to add to it, `mode: overwrite` to replace it"),
            ),
            Mode::Skip => Ok(Decision {
                action: Action::Skip,
                rows_before: self.rows(target, found)?.rows,
                ours: false,
                removes: None,
                replaces: 0,
                why: format!("{what} exists, and mode is {word}"),
            }),
            Mode::Overwrite => {
                let removes = self.removed(target, found)?;
                let rows = removes.map_or(String::new(), |count| {
                    format!(
                        " with {} rows ({}), which are deleted",
                        count.rows, count.strength
                    )
                });
                Ok(Decision {
                    action: Action::Replace,
                    rows_before: 0,
                    ours: true,
                    removes,
                    replaces: self.number_of(target, found)?,
                    why: format!("{what} exists{rows}, and mode is {word}"),
                })
            }
            Mode::Append => {
                let before = self.rows(target, found)?;
                Ok(Decision {
                    action: Action::Append,
                    rows_before: before.rows,
                    // Statistics do not count unflushed rows, so they cannot prove that it is empty.
                    ours: before.rows == 0 && before.strength != Strength::Statistics,
                    removes: None,
                    replaces: 0,
                    why: format!(
                        "{what} exists with {} rows ({})",
                        before.rows, before.strength
                    ),
                })
            }
        }
    }

    /// What is wrong with the job, as far as that is known without asking the server what exists.
    fn check_job(&self, target: &Target) -> Vec<Error> {
        let settings = &self.settings;
        let server = self.client.server();
        let mut wrong = Vec::new();
        wrong.extend(columns::supported(target, server).err());
        wrong.extend(fit::indexes(target, settings).err());
        wrong.extend(traits::check(target, settings, server).err());
        if let Some(bulk) = self.bulk() {
            wrong.extend(bulk.check(target, server, self.run.existing));
        }
        for warning in fit::warnings(target, settings) {
            warn!("{warning}");
        }
        if settings.mode == Mode::Overwrite && settings.partition.as_deref() == Some("_default") {
            wrong.push(
                Error::new(
                    Kind::Job,
                    "the default partition cannot be dropped and therefore cannot be overwritten",
                )
                .hint("without `partition`, `mode: overwrite` replaces the whole collection"),
            );
        }
        if !target.name.partition.is_empty() && !server.has_partitions() {
            wrong.push(Error::new(
                Kind::Unsupported,
                format!("{server} has no partitions"),
            ));
        }
        if settings.auto_id && self.run.on_doubt == OnDoubt::Upsert {
            wrong.push(Error::new(
                Kind::Job,
                "`run.on_doubt: upsert` needs ids, which `auto_id: true` leaves out",
            ));
        }
        if settings.auto_id && self.run.existing == Existing::Upsert {
            wrong.push(Error::new(
                Kind::Job,
                "`run.existing: upsert` needs ids, which `auto_id: true` leaves out",
            ));
        }
        self.foresee_verification();
        let keeps_repeats = self.run.id_collision == IdCollision::Keep && self.keyed(target.keys);
        if keeps_repeats && server.flavour == Flavour::LitePython {
            wrong.push(Error::new(
                Kind::Unsupported,
                format!(
                    "{server} keeps one row for each id, so `run.id_collision: keep` is impossible"
                ),
            ));
        }
        wrong.extend(self.check_siblings(target).err());
        wrong
    }

    /// Warns before the first row, not after the last, about what the job will be unable to compare.
    fn foresee_verification(&self) {
        let verify = self.run.verify;
        if !matches!(verify, Verify::Sample | Verify::Full) {
            return;
        }
        let word = verify.word();
        if self.settings.auto_id {
            warn!(
                "`run.verify: {word}` compares rows by their ids, which `auto_id: true` leaves out: it will fail"
            );
        } else if !self.settings.load {
            warn!(
                "`run.verify: {word}` reads rows back, and Milvus returns rows only from loaded collections: it will fail \
                 unless somebody loads the collection in the meantime; with `load: true` the run does so"
            );
        }
    }

    /// Targets that share a collection must agree on its schema.
    fn check_siblings(&self, target: &Target) -> Result<()> {
        let mut state = self.state();
        let first = state
            .first
            .entry(target.name.collection.clone())
            .or_insert_with(|| target.clone());
        if first.columns.hold_the_same(&target.columns) {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unsupported,
            format!(
                "{} ({}) and {} ({}) cannot go into the same collection",
                first.name, first.columns, target.name, target.columns
            ),
        )
        .hint("rename collections with `into:`"))
    }

    /// Returns errors about a collection that does not fit.
    fn check_found(&self, target: &Target, found: &Collection) -> Result<()> {
        let schema = self.fields(found, target).map(|_| ());
        let index = self.check_index(target, found);
        Error::check(
            [schema, index]
                .into_iter()
                .filter_map(Result::err)
                .collect(),
        )
    }

    /// A collection without an index cannot be loaded.
    fn check_load(&self, target: &Target, has_index: bool) -> Result<()> {
        let makes_one = !fit::indexes(target, &self.settings)?.is_empty();
        if !self.settings.load || has_index || makes_one {
            return Ok(());
        }
        Err(Error::new(
            Kind::Job,
            "`load: true` needs an index on the vectors, but the job does not create one",
        )
        .hint("for example `index: {type: AUTOINDEX}`"))
    }

    /// Existing indexes are kept; the job must not want others.
    fn check_index(&self, target: &Target, found: &Collection) -> Result<()> {
        let vectors = target.columns.vectors().map(|(_, column)| column);
        let vectors: Vec<&Column> = vectors.collect();
        let mut there = Vec::with_capacity(vectors.len());
        for column in &vectors {
            there.push(self.seen_index(&found.name, &column.name)?);
        }
        let has_all = there.iter().all(Option::is_some);
        let mut wrong: Vec<Error> = self.check_load(target, has_all).err().into_iter().collect();
        let wanted = fit::indexes(target, &self.settings)?;
        for (column, there) in vectors.iter().zip(there) {
            let Some(there) = there else { continue };
            if let Some((field, wanted)) = wanted.iter().find(|(field, _)| *field == column.name) {
                if let Some(error) = fit::another_index(&found.name, field, &there, wanted) {
                    wrong.push(error);
                    continue;
                }
                warn_of(fit::other_params(&found.name, field, &there, wanted));
            }
            let metric = fit::metric(column, &self.settings, vectors.len() == 1)?;
            if let Some(metric) = metric.as_ref().map(Metric::name)
                && metric != there.metric
            {
                warn!(
                    "the index on collection {} has metric {}, not {metric}",
                    found.name, there.metric
                );
            }
        }
        Error::check(wrong)
    }

    /// The server's id of a target's collection or partition.
    fn number_of(&self, target: &Target, found: &Collection) -> Result<u64> {
        match target.name.partition.as_str() {
            "" => Ok(u64::try_from(found.number).unwrap_or(0)),
            partition => Ok(self.seen_partition(&found.name, partition)?.unwrap_or(0)),
        }
    }

    /// Rows that are deleted by replacing: those of the collection, in all partitions; `None` if another target
    /// accounts for them.
    fn removed(&self, target: &Target, found: &Collection) -> Result<Option<Count>> {
        if target.name.partition.is_empty() {
            return self.count_there(&found.name, None, true).map(Some);
        }
        match self
            .state()
            .to_replace
            .contains_key(&target.name.collection)
        {
            true => Ok(None),
            false => self.rows(target, found).map(Some),
        }
    }

    /// The server's id of the collection, which is never used again, and the partition. Milvus Lite numbers its
    /// collections from 1, so there the address is added.
    pub(super) fn incarnation_of(&self, target: &Target) -> Result<Option<String>> {
        /// Ids above this are timestamps.
        const OF_THE_TIME: i64 = 1 << 40;
        let name = &target.name.collection;
        // Once prepared, this is the one that receives the rows.
        let ready = self.state().known.get(name).cloned();
        let found = match ready {
            Some(found) => found,
            None => match self.seen(name)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let (number, partition) = (found.number, &target.name.partition);
        Ok(Some(match number > OF_THE_TIME {
            true => format!("collection {number}/{partition}"),
            false => {
                let address = self.address().unwrap_or_default();
                format!("{address} {} {number}/{partition}", found.name)
            }
        }))
    }

    /// Rows of a target that exists: counted if it is loaded, else by statistics.
    pub(super) fn rows(&self, target: &Target, found: &Collection) -> Result<Count> {
        let partition = self.counted_partition(target, found.has_partition_key());
        self.count_there(&found.name, partition, true)
    }
}
