//! What does `mode` mean for a collection or partition of Milvus 1.x in its current state, and how is it created?
//! Looking changes nothing; creating is safe to repeat: a dropped name stays taken for a second or so, which is
//! `Busy`, and the run asks again.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, MutexGuard};

use crate::batch::{Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::job::{Existing, Mode, OnDoubt};
use crate::milvus::v1::Rows;
use crate::milvus::v1::proto::CollectionSchema;
use crate::sink::{Action, Count, Decision, Strength};

use super::{Milvus1, Ready, State, fit};

impl Milvus1 {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics with it locked")
    }

    pub(super) fn decision(&self, target: &Target) -> Result<Decision> {
        self.check_job(target)?;
        let collection = &target.name.collection;
        let partition = &target.name.partition;
        let Some(found) = self.server.collection(collection)? else {
            fit::metric(target, &self.settings)?;
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
        let whole = partition.is_empty();
        if mode == Mode::Append || !whole && mode != Mode::Skip {
            fit::schema(&found, target, &self.settings)?;
        }
        if !whole && !self.server.has_partition(collection, partition)? {
            return Ok(Decision {
                action: Action::Create,
                rows_before: 0,
                ours: true,
                removes: None,
                replaces: 0,
                why: format!("partition {partition} of collection {collection} does not exist yet"),
            });
        }
        let what = match whole {
            true => format!("collection {collection}"),
            false => format!("partition {partition} of collection {collection}"),
        };
        if whole && mode == Mode::Overwrite {
            fit::metric(target, &self.settings)?;
            let number = number(&self.server.rows(collection)?, "");
            self.state().to_replace.insert(collection.clone(), number);
        }
        self.about(target, mode, &what)
    }

    /// What a mode means for something that exists.
    fn about(&self, target: &Target, mode: Mode, what: &str) -> Result<Decision> {
        let word = mode.word();
        let rows = || -> Result<u64> {
            let rows = self.server.rows(&target.name.collection)?;
            Ok(rows.of(&target.name.partition))
        };
        let (mut removes, mut replaces) = (None, 0);
        let (action, rows_before) = match mode {
            Mode::Fail => {
                return Err(
                    Error::new(Kind::Job, format!("{what} exists, and mode is {word}"))
                        .hint("use `mode: append` to add to it, `mode: overwrite` to replace it"),
                );
            }
            Mode::Skip => (Action::Skip, rows()?),
            Mode::Overwrite => {
                let all = self.server.rows(&target.name.collection)?;
                removes = Some(Count {
                    rows: match target.name.partition.as_str() {
                        "" => all.of("") + all.outside(""),
                        partition => all.of(partition),
                    },
                    // Counts only what has been flushed.
                    strength: Strength::Statistics,
                });
                replaces = number(&all, &target.name.partition);
                (Action::Replace, 0)
            }
            Mode::Append => (Action::Append, rows()?),
        };
        Ok(Decision {
            action,
            rows_before,
            ours: action == Action::Replace || action == Action::Append && rows_before == 0,
            removes,
            replaces,
            why: match action {
                Action::Replace => {
                    let rows = removes.map_or(0, |count| count.rows);
                    format!(
                        "{what} exists with {rows} rows (statistics), which are deleted, and mode is {word}"
                    )
                }
                Action::Append => format!("{what} exists with {rows_before} rows"),
                _ => format!("{what} exists, and mode is {word}"),
            },
        })
    }

    /// Checks what is known without asking what exists.
    fn check_job(&self, target: &Target) -> Result<()> {
        let settings = &self.settings;
        crate::sink::plain_only(target, "Milvus 1.x")?;
        fit::names(target)?;
        fit::vectors(target.vector())?;
        fit::index(target, settings)?;
        let most = self.server.index_file_size_max();
        if settings.index_file_size > most {
            return Err(Error::new(
                Kind::Job,
                format!(
                    "index_file_size {} is more than the {most} megabytes that {} allows",
                    settings.index_file_size,
                    self.server.name()
                ),
            ));
        }
        if settings.mode == Mode::Overwrite && settings.partition.as_deref() == Some("_default") {
            return Err(Error::new(
                Kind::Job,
                "the default partition cannot be dropped and therefore cannot be overwritten",
            )
            .hint("without `partition`, `mode: overwrite` replaces the whole collection"));
        }
        if settings.auto_id && self.on_doubt == OnDoubt::Upsert {
            return Err(Error::new(
                Kind::Job,
                "`run.on_doubt: upsert` needs ids, which `auto_id: true` leaves out",
            ));
        }
        if self.existing == Existing::Upsert {
            return Err(Error::new(
                Kind::Unsupported,
                "Milvus 1.x has no upsert, so `run.existing: upsert` is impossible",
            )
            .hint("`mode: overwrite` replaces the whole collection or partition"));
        }
        let mut state = self.state();
        let first = state
            .first
            .entry(target.name.collection.clone())
            .or_insert_with(|| target.clone());
        if first.vector() == target.vector() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unsupported,
            format!(
                "{} ({}) and {} ({}) cannot go into the same collection",
                first.name,
                first.vector(),
                target.name,
                target.vector()
            ),
        )
        .hint("rename collections with `into:`"))
    }

    pub(super) fn make_ready(
        &self,
        target: &Target,
        decision: &Decision,
        begun: bool,
    ) -> Result<()> {
        if decision.action == Action::Skip {
            return Ok(());
        }
        // One at a time: targets may share a collection.
        let mut state = self.state();
        let name = &target.name;
        fit::names(target)?;
        fit::vectors(target.vector())?;
        if begun && decision.action != Action::Append {
            // What this run created or replaced before it died holds rows by now. A target that replaces the whole
            // collection was handled with the first of the targets that share it.
            if name.partition.is_empty() || state.to_replace.contains_key(&name.collection) {
                state.made.insert(name.collection.clone());
            }
            state.made_partitions.insert(name.clone());
        } else if !begun {
            self.remove(target, decision, &mut state)?;
        }
        let found = self.collection_made(target, decision, begun, &mut state)?;
        fit::schema(&found, target, &self.settings)?;
        if !name.partition.is_empty() {
            self.partition_made(target, decision, begun, &mut state)?;
        }
        let (mut rows_before, mut ours) = (decision.rows_before, decision.ours);
        if decision.action == Action::Append && !begun {
            // Rows are counted only once they are flushed: this includes what others have just inserted.
            self.server.flush(&name.collection)?;
            rows_before = self.server.rows(&name.collection)?.of(&name.partition);
            ours = rows_before == 0;
        }
        let ready = Ready {
            target: target.clone(),
            decision: Decision {
                rows_before,
                ours,
                ..decision.clone()
            },
            delivered: AtomicU64::new(0),
            finished: AtomicBool::new(false),
        };
        let mut all = self.ready.write().expect("no one panics with it locked");
        all.insert(target.number, Arc::new(ready));
        Ok(())
    }

    /// Drops what is to be replaced, unless this run has already done so, and only what was decided on. Something newer
    /// with the same name is kept: the next step looks into it.
    fn remove(&self, target: &Target, decision: &Decision, state: &mut State) -> Result<()> {
        let TargetName {
            collection,
            partition,
        } = &target.name;
        let whole = match decision.action == Action::Replace && partition.is_empty() {
            true => Some(decision.replaces),
            false => state.to_replace.get(collection).copied(),
        };
        if state.made.contains(collection) || self.server.collection(collection)?.is_none() {
            return Ok(());
        }
        if let Some(number) = whole {
            if self.is_still(collection, None, number)? {
                self.server.drop_collection(collection)?;
            }
            return Ok(());
        }
        if decision.action == Action::Replace
            && !state.made_partitions.contains(&target.name)
            && self.server.has_partition(collection, partition)?
            && self.is_still(collection, Some(partition), decision.replaces)?
        {
            self.server.drop_partition(collection, partition)?;
        }
        Ok(())
    }

    /// Whether a collection, or a partition of it, is the one that was decided on. Milvus 1.x numbers neither, but it
    /// numbers their segments; one without segments is recognised by having none.
    fn is_still(&self, collection: &str, partition: Option<&str>, number: u64) -> Result<bool> {
        if number == 0 {
            return Ok(true);
        }
        if number == EMPTY {
            self.server.flush(collection)?;
        }
        let there = self.server.rows(collection)?;
        Ok(match number {
            EMPTY => there.segments(partition).next().is_none(),
            number => there.segments(partition).any(|one| one == number),
        })
    }

    fn collection_made(
        &self,
        target: &Target,
        decision: &Decision,
        begun: bool,
        state: &mut State,
    ) -> Result<CollectionSchema> {
        let name = &target.name.collection;
        if let Some(found) = self.server.collection(name)? {
            let wanted_new = decision.action != Action::Append && target.name.partition.is_empty();
            if wanted_new && !begun && !state.made.contains(name) {
                // It appeared after the look: if empty, it is what an earlier start of this job created.
                self.check_empty(name, None)?;
                state.made.insert(name.clone());
            }
            return Ok(found);
        }
        if begun || decision.action == Action::Append {
            return Err(gone(&format!("collection {name}")));
        }
        let schema = CollectionSchema {
            status: None,
            collection_name: name.clone(),
            dimension: i64::from(target.vector().dimension),
            index_file_size: self.settings.index_file_size as i64,
            metric_type: fit::metric(target, &self.settings)?,
        };
        self.server.create_collection(schema.clone())?;
        state.made.insert(name.clone());
        // Partitions of targets that were prepared before this one replaced the collection. They are still empty: no
        // row is sent before all targets are ready.
        let siblings = state.made_partitions.iter();
        for sibling in siblings.filter(|one| one.collection == *name && !one.partition.is_empty()) {
            self.server.create_partition(name, &sibling.partition)?;
        }
        Ok(schema)
    }

    fn partition_made(
        &self,
        target: &Target,
        decision: &Decision,
        begun: bool,
        state: &mut State,
    ) -> Result<()> {
        let (collection, partition) = (&target.name.collection, &target.name.partition);
        if self.server.has_partition(collection, partition)? {
            let ours = begun || state.made_partitions.contains(&target.name);
            if decision.action != Action::Append && !ours {
                // It appeared after the look, or was recreated after it was dropped.
                self.check_empty(collection, Some(partition))?;
            }
        } else if begun || decision.action == Action::Append {
            return Err(gone(&format!("partition {}", target.name)));
        } else {
            self.server.create_partition(collection, partition)?;
        }
        state.made_partitions.insert(target.name.clone());
        Ok(())
    }

    /// Refuses what should not exist yet, unless it is empty: then an earlier start of this job may have created it.
    /// Flushes it first, because unflushed rows are not counted.
    fn check_empty(&self, collection: &str, partition: Option<&str>) -> Result<()> {
        self.server.flush(collection)?;
        let there = self.server.rows(collection)?;
        let (what, rows) = match partition {
            Some(tag) => (format!("partition {collection}/{tag}"), there.of(tag)),
            None => (
                format!("collection {collection}"),
                there.of("") + there.outside(""),
            ),
        };
        if rows == 0 {
            return Ok(());
        }
        let what = format!(
            "{what} was created or filled after this job looked: it holds {rows} rows that are not its own"
        );
        Err(Error::new(Kind::Refused, what)
            .hint("nothing was sent to it: `milvusdm run --again` looks again, and `mode` then decides what happens to them"))
    }
}

/// A value of [`Decision::replaces`]: what is replaced has no segment to identify it.
const EMPTY: u64 = 1;

/// What identifies a collection, or a partition of it: its oldest segment, which stays the longest.
fn number(there: &Rows, partition: &str) -> u64 {
    let partition = Some(partition).filter(|tag| !tag.is_empty());
    there.segments(partition).min().unwrap_or(EMPTY)
}

/// What existed at the time of the decision no longer exists, and the rows that this job sent to it are lost.
fn gone(what: &str) -> Error {
    Error::new(
        Kind::Refused,
        format!("{what} no longer exists, although it did when this job looked"),
    )
    .hint("`milvusdm run --again` loads everything again")
}
