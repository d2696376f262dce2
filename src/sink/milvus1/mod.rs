//! Milvus 1.x: how are rows delivered into a collection?
//! Checks everything before the first byte is sent, and preserves every bit pattern. Never tries anything twice, and
//! drops nothing that it was not asked to replace.

mod doubt;
mod fit;
mod held;
mod place;
mod settings;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use tracing::info;

use crate::batch::{Batch, Keys, Limits, Target, TargetName};
use crate::buffers::Buffer;
use crate::error::{Error, Kind, Result};
use crate::job::{Existing, Form, OnDoubt, RunSettings};
use crate::limits;
use crate::milvus::v1::{DEFAULT_PARTITION, V1, wire};
use crate::simd;

use super::held::Held;
use super::milvus::settings as v2;
use super::{
    Action, Attempt, Count, Decision, Finishing, Parcel, Receipt, Redelivery, Sink, SinkKind, Spec,
    Strength,
};
use settings::Settings;

/// Milvus 0.10, 1.0 and 1.1.
pub const KIND: SinkKind = SinkKind {
    name: "milvus1",
    summary: "a collection of Milvus 1.x",
    settings: settings::SETTINGS,
    read: |form: &mut Form| Settings::read(form).map(|s| Box::new(s) as Box<dyn Spec>),
};

impl Spec for Settings {
    fn open(&self, run: &RunSettings) -> Result<Box<dyn Sink>> {
        let connections = run.connections.unwrap_or(limits::CONNECTIONS_DEFAULT);
        let server = V1::open(&self.client(), connections)?;
        Ok(sink(self.clone(), server, run))
    }
}

/// The sink of a job for `milvus` whose server turns out to be a 1.x one.
pub fn take_over(said: &v2::Settings, server: V1, run: &RunSettings) -> Result<Box<dyn Sink>> {
    let settings = Settings::taken_over(said, &server.name())?;
    Ok(sink(settings, server, run))
}

fn sink(settings: Settings, server: V1, run: &RunSettings) -> Box<dyn Sink> {
    Box::new(Milvus1 {
        server,
        settings,
        on_doubt: run.on_doubt,
        existing: run.existing,
        state: Mutex::default(),
        ready: RwLock::default(),
    })
}

/// A Milvus 1.x server as a destination.
struct Milvus1 {
    server: V1,
    settings: Settings,
    on_doubt: OnDoubt,
    existing: Existing,
    state: Mutex<State>,
    ready: RwLock<HashMap<u32, Arc<Ready>>>,
}

/// What is known about the collections of this job; several targets may share one.
#[derive(Default)]
struct State {
    /// For each collection, the target that was checked first: others must agree with it.
    first: HashMap<String, Target>,
    /// Collections that a target replaces completely, with what identifies each.
    to_replace: HashMap<String, u64>,
    /// Collections that this run created or replaced, or did before it died.
    made: HashSet<String>,
    /// Partitions that this run created or found fit to fill, or did before it died.
    made_partitions: HashSet<TargetName>,
}

/// A target whose collection and partition exist and fit.
struct Ready {
    target: Target,
    /// The decision, as it is with everything flushed.
    decision: Decision,
    delivered: AtomicU64,
    finished: AtomicBool,
}

impl Milvus1 {
    fn ready(&self, target: u32) -> Option<Arc<Ready>> {
        let ready = self.ready.read().expect("no one panics with it locked");
        ready.get(&target).cloned()
    }

    fn prepared(&self, target: u32) -> Arc<Ready> {
        let ready = self.ready(target);
        ready.expect("targets are prepared before their batches are packed")
    }

    fn insert(&self, ready: &Ready, parcel: &Parcel) -> Result<Receipt> {
        let taken = self.server.insert(&parcel.body)?;
        if taken != u64::from(parcel.rows) {
            return Err(Error::new(
                Kind::Differs,
                format!(
                    "{} rows were sent, but {taken} were acknowledged",
                    parcel.rows
                ),
            ));
        }
        ready.delivered.fetch_add(taken, Ordering::Relaxed);
        Ok(Receipt {
            rows: parcel.rows,
            upserted: false,
        })
    }

    /// An index is built when the last target of the collection is complete: building blocks all inserts into it.
    fn build_index(&self, ready: &Ready) -> Result<()> {
        let Some(plan) = fit::index(&ready.target, &self.settings)? else {
            return Ok(());
        };
        let collection = &ready.target.name.collection;
        let (number, params) = self.server.index(collection)?;
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        if number == plan.number && value(&params) == value(&plan.params) {
            return Ok(());
        }
        info!("index {} {} on {collection}", plan.number, plan.params);
        self.server
            .create_index(collection, plan.number, plan.params)
    }
}

impl Sink for Milvus1 {
    fn describe(&self) -> String {
        self.server.describe()
    }

    fn address(&self) -> Option<String> {
        Some(super::milvus::one_spelling(&self.settings.address))
    }

    fn incarnation(&self, target: &Target) -> Result<Option<String>> {
        let address = super::milvus::one_spelling(&self.settings.address);
        let there = self.server.collection(&target.name.collection)?;
        Ok(there.map(|_| format!("Milvus 1.x {address} {}", target.name)))
    }

    fn limits(&self, wanted: Limits) -> Limits {
        Limits {
            batch_bytes: wanted.batch_bytes.min(limits::V1_BATCH_BYTES_MAX),
            batch_rows: wanted.batch_rows.min(limits::BATCH_ROWS_MAX),
        }
    }

    fn remote(&self) -> bool {
        true
    }

    fn name(&self, source: &TargetName) -> TargetName {
        let settings = &self.settings;
        let partition = match (&settings.partition, &settings.collection) {
            (Some(partition), _) => partition,
            (None, Some(_)) => "",
            (None, None) => source.partition.as_str(),
        };
        TargetName {
            collection: settings
                .collection
                .clone()
                .unwrap_or_else(|| source.collection.clone()),
            // One name for one thing, and this one must never be sent.
            partition: match partition {
                DEFAULT_PARTITION => String::new(),
                tag => tag.to_owned(),
            },
        }
    }

    /// 1.x keeps as many rows with an id as were inserted.
    fn keyed(&self, _: Keys) -> bool {
        false
    }

    fn decide(&self, target: &Target) -> Result<Decision> {
        self.decision(target)
    }

    fn begin(&self, _run: u64) {
        self.state().to_replace.clear();
    }

    fn decided(&self, target: &Target, decision: &Decision) {
        if decision.action == Action::Replace && target.name.partition.is_empty() {
            let name = target.name.collection.clone();
            self.state().to_replace.insert(name, decision.replaces);
        }
    }

    fn prepare(&self, target: &Target, decision: &Decision, begun: bool) -> Result<()> {
        self.make_ready(target, decision, begun)
    }

    fn settle(&self, target: &Target, decision: Decision) -> Result<Decision> {
        let ready = self.ready(target.number);
        Ok(ready.map_or(decision, |ready| ready.decision.clone()))
    }

    fn pack(&self, batch: Batch, mut room: Buffer) -> Result<Parcel> {
        let ready = self.prepared(batch.target);
        let kind = ready.target.vector();
        let width = usize::try_from(kind.row_bytes()).expect("rows fit into memory");
        let rows = batch.rows();
        let count = usize::try_from(rows).expect("batches fit into memory");
        let name = &ready.target.name;
        let mut digest = 0u64;
        let mut insert = wire::Insert::begin(&mut room.bytes, &name.collection, kind, count);
        let step_rows = (limits::CHECK_STEP_BYTES / width).max(1);
        for part in &batch.parts {
            let steps = part.vectors().chunks(step_rows * width);
            for (vectors, ids) in steps.zip(part.ids().chunks(step_rows)) {
                digest = digest.wrapping_add(simd::digest_rows(ids, vectors, width));
                // While they are in the cache.
                insert.rows(vectors);
            }
        }
        let ids = batch.parts.iter().map(|part| part.ids());
        let sent = if self.settings.auto_id { 0 } else { usize::MAX };
        insert.end(ids.take(sent), &name.partition);
        Ok(Parcel {
            id: batch.id,
            rows: u32::try_from(rows).expect("batches have at most BATCH_ROWS_MAX rows"),
            payload_bytes: rows * (kind.row_bytes() + 8),
            digest,
            body: wire::pieces(room.freeze()),
            left_out: Vec::new(),
            batch,
        })
    }

    fn deliver(&self, parcel: &Parcel, attempt: Attempt) -> Result<Receipt> {
        let ready = self.prepared(parcel.batch.target);
        let receipt = match attempt {
            Attempt::First => self.insert(&ready, parcel),
            Attempt::Again => self.deliver_again(&ready, parcel),
        };
        receipt.map_err(|e| e.batch(parcel.id))
    }

    /// Harmless, because an `Again` looks before it sends, and stops by itself if it cannot tell: see `doubt`.
    fn redelivery(&self, _: &Target, _: &Decision) -> Redelivery {
        if self.settings.auto_id {
            return Redelivery::Doubles(
                "the server generates the ids, so a second delivery cannot be told from the first; \
                 `run.on_doubt: resend` sends it again and accepts that its rows may be duplicated"
                    .to_owned(),
            );
        }
        Redelivery::Harmless
    }

    fn resumable(&self) -> bool {
        true
    }

    fn finish(&self, target: &Target) -> Result<Finishing> {
        let Some(ready) = self.ready(target.number) else {
            // Skipped: nothing in it may be changed.
            return Ok(Finishing::Done);
        };
        let collection = &target.name.collection;
        self.server.flush(collection)?;
        ready.finished.store(true, Ordering::SeqCst);
        let last = {
            let all = self.ready.read().expect("no one panics with it locked");
            let mut others = all
                .values()
                .filter(|r| r.target.name.collection == *collection);
            others.all(|r| r.finished.load(Ordering::SeqCst))
        };
        if last {
            self.build_index(&ready)?;
            if self.settings.load {
                self.server.load(collection)?;
            }
        }
        Ok(Finishing::Done)
    }

    fn count(&self, target: &Target) -> Result<Count> {
        let rows = self.server.rows(&target.name.collection)?;
        Ok(Count {
            rows: rows.of(&target.name.partition),
            strength: Strength::Exact,
        })
    }

    fn held<'s>(&'s self, target: &Target) -> Result<Held<'s>> {
        self.held_there(target)
    }

    fn abandon(&self, target: &Target, decision: &Decision) -> Option<String> {
        if decision.action == Action::Skip {
            return None;
        }
        let ready = self.ready(target.number)?;
        let delivered = ready.delivered.load(Ordering::Relaxed);
        let made = match decision.action {
            Action::Create => "was created",
            Action::Replace => "was replaced",
            _ => "was added to",
        };
        let name = &target.name;
        let what = match name.partition.is_empty() {
            true => format!("collection {}", name.collection),
            false => format!(
                "partition {} of collection {}",
                name.partition, name.collection
            ),
        };
        Some(format!(
            "{what} {made}; this run delivered {delivered} rows to it, which are kept: the same command continues, \
             `mode: overwrite` with --again starts over"
        ))
    }
}
