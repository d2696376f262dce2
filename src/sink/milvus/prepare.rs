//! Carries a decision out: drops, makes, and looks again. Nothing is sent to a collection that was not described
//! and found to fit after the last change to it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, MutexGuard};

use tracing::warn;

use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::milvus::{Collection, wire};
use crate::sink::{Action, Decision, Strength};

use super::{Milvus, Ready, State, fit};

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
        // One at a time: targets may share a collection.
        let mut state = self.state();
        let name = &target.name;
        fit::names(target)?;
        fit::vectors(target.vector(), self.client.server())?;
        if begun {
            // What this run, before it died, made or replaced holds rows by now.
            if decision.action != Action::Append {
                state.made.insert(name.collection.clone());
            }
        } else if decision.action == Action::Replace {
            self.remove(target, &mut state)?;
        }
        let found = self.collection_made(target, decision, begun, &mut state)?;
        fit::schema(&found, target, &self.settings)?;
        if !name.partition.is_empty() {
            self.partition_made(target, &found, decision)?;
        }
        let exact = self.rows(target, &found)?.strength == Strength::Exact;
        let envelope = wire::Envelope {
            db: self.client.db().to_owned(),
            collection: found.name.clone(),
            partition: name.partition.clone(),
            id: (!self.settings.auto_id).then(|| fit::id_name(target).to_owned()),
            vector: fit::vector_name(target).to_owned(),
            kind: target.vector(),
        };
        let ready = Ready {
            envelope,
            decision: decision.clone(),
            exact,
            delivered: AtomicU64::new(0),
        };
        let mut all = self.ready.write().expect("no one panics with it locked");
        all.insert(target.number, Arc::new(ready));
        Ok(())
    }

    /// Drops what is replaced, unless this run has already done so.
    fn remove(&self, target: &Target, state: &mut State) -> Result<()> {
        let name = &target.name;
        if state.made.contains(&name.collection) {
            return Ok(());
        }
        let Some(found) = self.client.collection(&name.collection)? else {
            return Ok(());
        };
        let whole = name.partition.is_empty() || state.to_replace.contains(&name.collection);
        if whole {
            if found.name != name.collection {
                return Err(Error::new(
                    Kind::Refused,
                    format!("{} became an alias of {}", name.collection, found.name),
                ));
            }
            self.client.release_collection(&found.name)?;
            return self.client.drop_collection(&found.name);
        }
        if self.client.has_partition(&found.name, &name.partition)? {
            // A loaded partition is not dropped.
            self.client
                .release_partition(&found.name, &name.partition)?;
            self.client.drop_partition(&found.name, &name.partition)?;
        }
        Ok(())
    }

    fn collection_made(
        &self,
        target: &Target,
        decision: &Decision,
        begun: bool,
        state: &mut State,
    ) -> Result<Collection> {
        let name = &target.name.collection;
        let found = self.client.collection(name)?;
        if let Some(found) = found {
            let wanted_new = decision.action == Action::Create && target.name.partition.is_empty();
            if wanted_new && !begun && !state.made.contains(name) {
                // It came since the look: empty, it is what an earlier start of this job made.
                fit::schema(&found, target, &self.settings)?;
                if self.rows(target, &found)?.rows > 0 {
                    return Err(Error::new(
                        Kind::Refused,
                        format!("collection {name} was made and filled by somebody since it was looked for"),
                    )
                    .hint("run the job again: it looks anew"));
                }
            }
            state.made.insert(name.clone());
            return Ok(found);
        }
        if decision.action == Action::Append {
            return Err(Error::new(
                Kind::Refused,
                format!("collection {name} is gone since it was looked at"),
            )
            .hint("`--again` runs the job anew"));
        }
        if begun {
            warn!(
                "collection {name}, which this job had begun to fill, is not there: it is made (again)"
            );
        }
        self.client.create_collection(
            name,
            fit::id_name(target),
            fit::vector_name(target),
            target.vector(),
            self.settings.auto_id,
            self.settings.shards,
        )?;
        state.made.insert(name.clone());
        let found = self.client.collection(name)?;
        found.ok_or_else(|| {
            Error::new(
                Kind::Refused,
                format!("collection {name} was made, and is not there"),
            )
        })
    }

    fn partition_made(
        &self,
        target: &Target,
        found: &Collection,
        decision: &Decision,
    ) -> Result<()> {
        let partition = &target.name.partition;
        if self.client.has_partition(&found.name, partition)? {
            return Ok(());
        }
        if decision.action == Action::Append {
            return Err(Error::new(
                Kind::Refused,
                format!("partition {} is gone since it was looked at", target.name),
            )
            .hint("`--again` runs the job anew"));
        }
        self.client.create_partition(&found.name, partition)
    }
}
