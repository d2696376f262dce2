//! Carries out a decision: drops, creates, and looks again. Nothing is sent to a collection before it was described and
//! found to fit after its last change.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use crate::batch::{Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::milvus::{Collection, NewCollection, wire};
use crate::sink::{Action, Decision, Strength};

use super::{Milvus, Ready, State, columns, fit, traits};

impl Milvus {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no one panics with it locked")
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
        let name = &target.name;
        Error::check(fit::names(target))?;
        columns::supported(target, self.client.server())?;
        // One at a time: targets may share a collection.
        let found = {
            let mut state = self.state();
            if begun {
                // What this job created or replaced before it died holds rows by now. A target that replaces the
                // whole collection was handled with the first of the targets that share it.
                if decision.action != Action::Append {
                    if self.replaces_whole(target, decision, &state).is_some()
                        || name.partition.is_empty()
                    {
                        state.made.insert(name.collection.clone());
                    }
                    state.made_partitions.insert(name.clone());
                }
            } else if let Some(number) = self.replaces_whole(target, decision, &state) {
                self.remove_collection(&name.collection, number, &mut state)?;
            }
            let found = self.collection_made(target, decision, begun, &mut state)?;
            state.numbers.insert(name.collection.clone(), found.number);
            found
        };
        let columns::Fields { sent, mut checks } = self.fields(&found, target)?;
        if let Some(bulk) = self.bulk() {
            bulk.prepare(target, &found, self.settings.auto_id)?;
            // Inserts into old servers accept only objects; their import accepts any JSON.
            checks
                .iter_mut()
                .for_each(|check| check.objects_only = false);
        }
        if !name.partition.is_empty() {
            // In parallel, because no two targets share a partition.
            if !begun {
                self.remove_partition(target, &found, decision)?;
            }
            self.partition_made(target, &found, decision, begun)?;
            let mut state = self.state();
            state.made_partitions.insert(name.clone());
            state.partition_numbers.remove(name);
        }
        let exact = decision.action == Action::Append
            && self.rows(target, &found)?.strength != Strength::Statistics;
        let envelope = wire::Envelope {
            db: self.client.db().to_owned(),
            collection: found.name.clone(),
            partition: name.partition.clone(),
            fields: sent,
        };
        let ready = Ready {
            envelope,
            checks,
            decision: decision.clone(),
            exact,
            has_partition_key: found.has_partition_key(),
            delivered: AtomicU64::new(0),
        };
        self.state()
            .unfilled
            .entry(found.name.clone())
            .or_default()
            .insert(target.number);
        let mut all = self.ready.write().expect("no one panics with it locked");
        all.insert(target.number, Arc::new(ready));
        // What existed before no longer does.
        self.looks.clear();
        Ok(())
    }

    /// How a target's rows are sent to a collection, if they fit.
    pub(super) fn fields(&self, found: &Collection, target: &Target) -> Result<columns::Fields> {
        columns::fields(found, target, &self.settings, self.client.server())
    }

    /// The id of the collection that a target takes part in replacing completely, 0 if the server did not return it;
    /// `None`: the target does not.
    fn replaces_whole(&self, target: &Target, decision: &Decision, state: &State) -> Option<u64> {
        let replaces = decision.action == Action::Replace && target.name.partition.is_empty();
        match replaces {
            true => Some(decision.replaces),
            false => state.to_replace.get(&target.name.collection).copied(),
        }
    }

    /// The server's id of where a prepared target goes. Partitions are listed together, because by then the last one
    /// exists.
    pub(super) fn placed(&self, target: &Target) -> Result<u64> {
        let name = &target.name;
        let Some(ready) = self.ready(target.number) else {
            return Ok(0);
        };
        if name.partition.is_empty() {
            let number = self.state().numbers.get(&name.collection).copied();
            return Ok(number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0));
        }
        let known = self.state().partition_numbers.get(name).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let all = self.client.partitions(&ready.envelope.collection)?;
        let mut state = self.state();
        for (partition, number) in all {
            let collection = name.collection.clone();
            let name = TargetName {
                collection,
                partition,
            };
            state.partition_numbers.insert(name, number);
        }
        let number = state.partition_numbers.get(name).copied();
        number.ok_or_else(|| gone(&format!("partition {name}")))
    }

    /// Drops a partition that is to be replaced, unless this job has already done so.
    fn remove_partition(
        &self,
        target: &Target,
        found: &Collection,
        decision: &Decision,
    ) -> Result<()> {
        let name = &target.name;
        let gone = {
            let state = self.state();
            state.made.contains(&name.collection) || state.made_partitions.contains(name)
        };
        if gone || decision.action != Action::Replace {
            return Ok(());
        }
        let there = self.client.partitions(&found.name)?;
        // A different one was created since the decision: by an earlier start of this job, or by somebody else. It is
        // kept, and the next step looks into it.
        let is_it = |number: &u64| decision.replaces == 0 || *number == decision.replaces;
        if there.get(&name.partition).is_some_and(is_it) {
            // A loaded partition cannot be dropped.
            self.client
                .release_partition(&found.name, &name.partition)?;
            self.client.drop_partition(&found.name, &name.partition)?;
        }
        Ok(())
    }

    fn remove_collection(&self, name: &str, number: u64, state: &mut State) -> Result<()> {
        if state.made.contains(name) {
            return Ok(());
        }
        let Some(found) = self.client.collection(name)? else {
            return Ok(());
        };
        if found.name != name {
            return Err(Error::new(
                Kind::Refused,
                format!("{name} has become an alias of {}", found.name),
            )
            .hint("`milvusdm run --again` starts the job over"));
        }
        if number != 0 && u64::try_from(found.number) != Ok(number) {
            // Created since the decision: by an earlier start of this job, or by somebody else. It is kept, and the
            // next step looks into it.
            return Ok(());
        }
        state.known.remove(name);
        self.client.release_collection(name)?;
        self.client.drop_collection(name)
    }

    fn collection_made(
        &self,
        target: &Target,
        decision: &Decision,
        begun: bool,
        state: &mut State,
    ) -> Result<Collection> {
        let name = &target.name.collection;
        let description = traits::description(target, &state.mark);
        // It may have been described since the last change to it.
        let found = match state.known.get(name) {
            Some(found) => Some(found.clone()),
            None => self.client.collection(name)?,
        };
        if let Some(found) = found {
            let wanted_new = decision.action != Action::Append && target.name.partition.is_empty();
            if wanted_new
                && !begun
                && !state.made.contains(name)
                && found.description != description
            {
                // It was created after the look: if empty, by an earlier start of this job.
                self.fields(&found, target)?;
                self.check_empty(target, &found, &format!("collection {name}"))?;
            }
            state.known.insert(name.clone(), found.clone());
            return Ok(found);
        }
        if begun || decision.action == Action::Append {
            return Err(gone(&format!("collection {name}")));
        }
        let carried = traits::carried(target, &self.settings, self.client.server());
        self.client.create_collection(&NewCollection {
            name,
            description: &description,
            columns: &carried.columns,
            traits: &carried.traits,
            consistency: self.settings.consistency.or(carried.traits.consistency),
            nullable: &|column| columns::is_nullable(column, self.client.server()),
            auto_id: self.settings.auto_id,
            shards: self.settings.shards.or(carried.traits.shards).unwrap_or(1),
        })?;
        state.made.insert(name.clone());
        // Partitions of targets that were made ready before this one replaced the collection. They are still empty: no
        // row is sent before all targets are ready.
        for sibling in state
            .made_partitions
            .iter()
            .filter(|p| p.collection == *name && !p.partition.is_empty())
        {
            self.client.create_partition(name, &sibling.partition)?;
        }
        let found = self.client.collection(name)?.ok_or_else(|| {
            Error::new(
                Kind::Refused,
                format!("collection {name} was created, but the server does not find it"),
            )
        })?;
        // Servers silently ignore what they do not know.
        let server = self.client.server();
        let asked = columns::as_asked(&found, target, server);
        let asked = asked.and_then(|()| traits::as_asked(&found, &carried, &self.settings, server));
        if let Err(error) = asked {
            // This job created it, and it is empty.
            state.made.remove(name);
            self.client.drop_collection(name)?;
            return Err(error);
        }
        state.known.insert(name.clone(), found.clone());
        Ok(found)
    }

    /// Refuses what should not exist yet, unless it is empty: then an earlier start of this job may have created it.
    /// Flushes it first, because statistics do not count unflushed rows.
    fn check_empty(&self, target: &Target, found: &Collection, what: &str) -> Result<()> {
        let looked = Instant::now();
        let mut there = self.rows(target, found)?;
        if there.rows == 0 && there.strength == Strength::Statistics {
            self.flush_since(&found.name, looked)?;
            there = self.rows(target, found)?;
        }
        if there.rows == 0 {
            return Ok(());
        }
        let what = format!(
            "{what} was created after this job looked, and holds {} rows that are not its own",
            there.rows
        );
        Err(Error::new(Kind::Refused, what)
            .hint("nothing was sent to it: `milvusdm run --again` looks again, and `mode` then decides what happens to them"))
    }

    fn partition_made(
        &self,
        target: &Target,
        found: &Collection,
        decision: &Decision,
        begun: bool,
    ) -> Result<()> {
        let partition = &target.name.partition;
        if self.client.has_partition(&found.name, partition)? {
            let made = self.state().made_partitions.contains(&target.name);
            if decision.action != Action::Append && !begun && !made {
                // It was created after the look, or recreated after it was dropped.
                self.check_empty(target, found, &format!("partition {}", target.name))?;
            }
            return Ok(());
        }
        if begun || decision.action == Action::Append {
            return Err(gone(&format!("partition {}", target.name)));
        }
        self.client.create_partition(&found.name, partition)
    }
}

impl Milvus {
    /// Refuses a collection that was dropped, recreated or changed while rows were on their way to it; the same for the
    /// partitions that this run fills.
    pub(super) fn check_still_there(&self, target: &Target) -> Result<()> {
        let name = &target.name.collection;
        let anew = |what: &str| {
            let what = format!("{what} was dropped and recreated while this job filled it");
            Error::new(Kind::Refused, what)
                .hint("rows delivered before that are lost: `milvusdm run --again` loads everything again")
        };
        let Some(found) = self.client.collection(name)? else {
            return Err(gone(&format!("collection {name}")));
        };
        if self.state().numbers.get(name) != Some(&found.number) {
            return Err(anew(&format!("collection {name}")));
        }
        self.fields(&found, target)?;
        let mut filled = self.state().partition_numbers.clone();
        filled
            .retain(|one, _| one.collection == *name && self.state().made_partitions.contains(one));
        if filled.is_empty() {
            return Ok(());
        }
        let there = self.client.partitions(&found.name)?;
        filled.iter().try_for_each(|(one, number)| {
            let what = format!("partition {one}");
            match there.get(&one.partition) {
                Some(now) if now == number => Ok(()),
                Some(_) => Err(anew(&what)),
                None => Err(gone(&what)),
            }
        })
    }
}

/// What existed at the time of the decision no longer exists, and the rows that this job sent to it are lost.
fn gone(what: &str) -> Error {
    Error::new(
        Kind::Refused,
        format!("{what} no longer exists, although it did when this job looked"),
    )
    .hint("`milvusdm run --again` loads everything again")
}
