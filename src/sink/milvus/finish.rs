//! What is done when all rows are in: flush, index, load; and how are rows counted?
//! Waits while the server gets on, and says `Busy` when it no longer does. All of it may be repeated.

use std::time::{Duration, Instant};

use tracing::info;

use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::milvus::Flavour;
use crate::sink::{Action, Count, Decision, Strength};

use super::{Milvus, fit};

/// How long to wait at least, and at most, before asking again whether something is done.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// How far something got: done, or a figure that moves while it is not.
enum Progress {
    Done,
    At(u64),
}

impl Milvus {
    /// With everything flushed, statistics are what the target held before the first byte.
    pub(super) fn settled(&self, target: &Target, mut decision: Decision) -> Result<Decision> {
        let Some(ready) = self.ready(target.number) else {
            return Ok(decision);
        };
        if decision.action != Action::Append || ready.exact {
            return Ok(decision);
        }
        let collection = &ready.envelope.collection;
        self.flush(collection)?;
        let before = self.client.statistics(collection, self.scope(target)?)?;
        decision.rows_before = before;
        decision.ours = before == 0;
        Ok(decision)
    }

    pub(super) fn finished(&self, target: &Target) -> Result<()> {
        let Some(ready) = self.ready(target.number) else {
            // Skipped: nothing of it is ours to change.
            return Ok(());
        };
        self.check_still_there(target)?;
        let collection = &ready.envelope.collection;
        if !self.is_last_to_fill(target.number, collection) {
            return Ok(());
        }
        self.flush(collection)?;
        self.build_index(target, collection)?;
        if self.settings.load {
            self.load(collection)?;
        }
        Ok(())
    }

    /// Whether no other target of this run still waits for rows in the same collection. A flush is of a whole
    /// collection and takes seconds, so that the last one does it for all; whoever dies before has the last one
    /// still to finish.
    fn is_last_to_fill(&self, target: u32, collection: &str) -> bool {
        let mut state = self.state.lock().expect("no one panics with it locked");
        state.filled.insert(target);
        let ready = self.ready.read().expect("no one panics with it locked");
        let mut shared = ready
            .iter()
            .filter(|(_, ready)| ready.envelope.collection == collection);
        shared.all(|(number, _)| state.filled.contains(number))
    }

    fn flush(&self, collection: &str) -> Result<()> {
        let flushing = self.client.flush(collection)?;
        self.wait("flushing", || {
            let done = self.client.is_flushed(collection, &flushing)?;
            Ok(if done {
                Progress::Done
            } else {
                Progress::At(0)
            })
        })
    }

    fn build_index(&self, target: &Target, collection: &str) -> Result<()> {
        let Some(plan) = fit::index(target, &self.settings)? else {
            return Ok(());
        };
        let field = fit::vector_name(target);
        if self.client.index(collection, field)?.is_none() {
            self.client
                .create_index(collection, field, plan.extra_params())?;
            info!("index {} by {} on {collection}", plan.kind, plan.metric);
        }
        self.wait("building the index", || {
            let Some(index) = self.client.index(collection, field)? else {
                return Err(Error::new(
                    Kind::Refused,
                    format!("the index on {collection} was made, and is gone"),
                ));
            };
            if let Some(reason) = index.failed {
                return Err(Error::new(
                    Kind::Refused,
                    format!("the server could not build the index on {collection}: {reason}"),
                ));
            }
            Ok(match index.finished {
                true => Progress::Done,
                false => Progress::At(index.rows.0),
            })
        })
    }

    fn load(&self, collection: &str) -> Result<()> {
        if self.client.is_loaded(collection, None)? {
            return Ok(());
        }
        self.client.load(collection)?;
        self.wait("loading", || {
            if self.client.is_loaded(collection, None)? {
                return Ok(Progress::Done);
            }
            let progress = self.client.loading_progress(collection)?;
            Ok(Progress::At(u64::try_from(progress).unwrap_or(0)))
        })
    }

    /// Asks again and again, ever less often, until it is done or has not moved for as long as the job has
    /// patience.
    fn wait(&self, doing: &str, mut probe: impl FnMut() -> Result<Progress>) -> Result<()> {
        let started = Instant::now();
        let mut last = None;
        let mut moved = started;
        loop {
            match probe()? {
                Progress::Done => return Ok(()),
                Progress::At(figure) if last == Some(figure) => {}
                Progress::At(figure) => {
                    last = Some(figure);
                    moved = Instant::now();
                }
            }
            if moved.elapsed() > self.run.patience {
                return Err(Error::new(
                    Kind::Busy,
                    format!(
                        "the server has been {doing} for {} s without getting on",
                        moved.elapsed().as_secs()
                    ),
                ));
            }
            // So that little is lost by asking too late: a sixteenth of what it took.
            std::thread::sleep((started.elapsed() / 16).clamp(ASK_EVERY.0, ASK_EVERY.1));
        }
    }

    /// The strongest figure there is without building or loading. What was appended to is counted as it was
    /// before, so that the two figures can be compared.
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

    /// What the server's statistics say.
    pub(super) fn statistics_there(&self, target: &Target) -> Result<u64> {
        let partition = self.scope(target)?;
        self.client.statistics(&target.name.collection, partition)
    }

    /// The partition that counts of a target are about.
    fn scope<'t>(&self, target: &'t Target) -> Result<Option<&'t str>> {
        let found = self.client.collection(&target.name.collection)?;
        match found {
            Some(found) => Ok(self.counted_partition(target, found.has_partition_key())),
            None => Err(Error::new(
                Kind::Refused,
                format!("collection {} is not there", target.name.collection),
            )
            .hint("`milvusdm run --again` loads everything anew")),
        }
    }

    /// Rows of a collection, or of a partition of it.
    pub(super) fn count_there(
        &self,
        collection: &str,
        partition: Option<&str>,
        exactly: bool,
    ) -> Result<Count> {
        // Milvus Lite's statistics are of live rows, and its count(*) does not look at partitions.
        if self.client.server().flavour == Flavour::LitePython {
            return Ok(Count {
                rows: self.client.statistics(collection, partition)?,
                strength: Strength::Exact,
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
