//! Milvus 2.x: how are rows delivered into a collection?
//! Checks everything against the server's own description before the first byte is sent, and sends vector bytes
//! directly from the mapping. Never tries anything twice, and drops nothing that it was not asked to replace.

pub mod bulk;
mod check;
mod columns;
mod decide;
mod finish;
mod fit;
mod foresee;
mod held;
mod lend;
mod look;
mod mend;
pub mod pack;
mod prepare;
pub(super) mod settings;
mod traits;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::batch::{Batch, Keys, Limits, Target, TargetName};
use crate::buffers::Buffer;
use crate::error::{Error, Kind, Result};
use crate::job::{Existing, Form, IdCollision, OnDoubt, RunSettings, Verify};
use crate::limits;
use crate::milvus::{self, Client, Collection, Flavour, Write, wire};
use crate::schema::ColumnType;

use super::held::Held;
use super::{
    Action, Attempt, Count, Decision, Finishing, Foreseen, Loan, Parcel, Receipt, Redelivery, Sink,
    SinkKind, Spec,
};
use settings::Settings;

/// Milvus 2.x, Milvus Lite and the services built on it.
pub const KIND: SinkKind = SinkKind {
    name: "milvus",
    summary: "a collection of Milvus 2.x or Milvus Lite",
    settings: settings::SETTINGS,
    read: |form: &mut Form| Settings::read(form).map(|s| Box::new(s) as Box<dyn Spec>),
};

impl Spec for Settings {
    fn open(&self, run: &RunSettings) -> Result<Box<dyn Sink>> {
        // With a nearby server, more than two connections on two cores do not help.
        let connections = run.connections.unwrap_or(limits::CONNECTIONS_DEFAULT);
        let server = self.client()?;
        let client = match milvus::open(&server, connections)? {
            milvus::Opened::V2(client) => client,
            milvus::Opened::V1(server) => return super::milvus1::take_over(self, server, run),
        };
        if let Some(hint) = &self.version_hint
            && hint.trim_start_matches(['v', 'V']).starts_with('1')
        {
            warn!(
                "the job expects Milvus {hint}, but the server is {}",
                client.server()
            );
        }
        let bulk = self.bulk.clone();
        let bulk = bulk
            .map(|settings| bulk::Bulk::new(settings, client.server(), &server, &run.checkpoint));
        Ok(Box::new(Milvus {
            bulk: bulk.transpose()?,
            client,
            settings: self.clone(),
            run: Run {
                patience: run.patience,
                on_doubt: run.on_doubt,
                id_collision: run.id_collision,
                existing: run.existing,
                rules: pack::Rules {
                    non_finite: run.non_finite,
                    misfit: run.misfit,
                },
                verify: run.verify,
            },
            state: Mutex::default(),
            ready: RwLock::default(),
            opened: Instant::now(),
            flushed: Mutex::default(),
            looks: look::Looks::default(),
        }))
    }
}

/// A Milvus 2.x server as a destination.
pub struct Milvus {
    client: Client,
    settings: Settings,
    run: Run,
    state: Mutex<State>,
    ready: RwLock<HashMap<u32, Arc<Ready>>>,
    opened: Instant,
    /// Collections that were flushed before the first row, with the start of that flush.
    flushed: Mutex<HashMap<String, Instant>>,
    looks: look::Looks,
    /// How rows reach the server as files, if the job wants that.
    bulk: Option<bulk::Bulk>,
}

/// The settings of the run that matter here.
struct Run {
    patience: Duration,
    on_doubt: OnDoubt,
    id_collision: IdCollision,
    existing: Existing,
    rules: pack::Rules,
    verify: Verify,
}

/// What is known about the collections of this job; several targets may share one.
#[derive(Default)]
struct State {
    /// For each collection, the target that was checked first: others must agree with it.
    first: HashMap<String, Target>,
    /// Collections that a target replaces completely, with the server's id of each.
    to_replace: HashMap<String, u64>,
    /// Collections that this job created or replaced.
    made: HashSet<String>,
    /// Partitions that this job created or replaced.
    made_partitions: HashSet<TargetName>,
    /// Indexes that the server accepts, with the vectors they are on.
    proven: HashSet<(fit::IndexPlan, ColumnType)>,
    /// For each collection, the targets in it that do not have all their rows yet.
    unfilled: HashMap<String, HashSet<u32>>,
    /// The server's id of each collection when the last target in it was prepared.
    numbers: HashMap<String, i64>,
    /// The server's ids of partitions after the targets in them were prepared.
    partition_numbers: HashMap<TargetName, u64>,
    /// Collections as they were described after the last change to them.
    known: HashMap<String, Collection>,
    /// The description that this run gives to collections it creates.
    mark: String,
    /// The state of collections once all their rows are in.
    steps: HashMap<String, finish::Step>,
}

/// A target whose collection and partition exist and fit.
struct Ready {
    envelope: wire::Envelope,
    checks: Vec<check::Check>,
    decision: Decision,
    /// Whether rows could be counted exactly before the first row was sent.
    exact: bool,
    has_partition_key: bool,
    delivered: AtomicU64,
}

impl Milvus {
    fn ready(&self, target: u32) -> Option<Arc<Ready>> {
        let ready = self.ready.read().expect("no one panics with it locked");
        ready.get(&target).cloned()
    }

    /// The partition to count; `None` if the server counts whole collections only.
    fn counted_partition<'t>(&self, target: &'t Target, has_key: bool) -> Option<&'t str> {
        (!has_key && self.client.server().has_partitions()).then_some(&*target.name.partition)
    }

    /// How rows reach the server as files, if they do.
    fn bulk(&self) -> Option<&bulk::Bulk> {
        self.bulk.as_ref().filter(|bulk| bulk.is_chosen())
    }

    /// Whether an `Again` is sent as an upsert.
    fn upserts(&self) -> bool {
        let asked = self.run.existing == Existing::Upsert;
        !self.settings.auto_id && (asked || self.run.on_doubt != OnDoubt::Resend)
    }
}

/// The canonical spelling of an address: `localhost` resolves to 127.0.0.1 first wherever Milvus runs. `[::1]` stays:
/// another server may listen there.
pub(super) fn one_spelling(address: &str) -> String {
    address
        .to_ascii_lowercase()
        .replace("://localhost:", "://127.0.0.1:")
}

impl Sink for Milvus {
    fn describe(&self) -> String {
        format!("{} at {}", self.client.server(), self.client.address())
    }

    fn address(&self) -> Option<String> {
        let db = match self.settings.db.as_str() {
            "" | "default" => String::new(),
            db => format!(", database {db}"),
        };
        Some(format!("{}{db}", one_spelling(&self.settings.address)))
    }

    fn incarnation(&self, target: &Target) -> Result<Option<String>> {
        self.incarnation_of(target)
    }

    fn complete(&self, target: &Target) -> Result<Finishing> {
        self.completed(target)
    }

    fn choose(&self, targets: &[Target], still: bool) {
        if let Some(bulk) = &self.bulk {
            bulk.choose(self.client.server(), targets, self.run.existing, still);
        }
    }

    fn limits(&self, wanted: Limits) -> Limits {
        if let Some(bulk) = self.bulk() {
            return Limits {
                batch_bytes: bulk.settings.file_bytes,
                batch_rows: limits::BULK_ROWS_MAX,
            };
        }
        let rows = match self.client.server().flavour {
            Flavour::LiteCpp => limits::LITE_CPP_ROWS_MAX,
            _ => limits::BATCH_ROWS_MAX,
        };
        Limits {
            batch_bytes: wanted.batch_bytes.min(limits::BATCH_BYTES_MAX),
            batch_rows: wanted.batch_rows.min(rows),
        }
    }

    fn remote(&self) -> bool {
        true
    }

    fn at_once(&self) -> Option<usize> {
        self.bulk().map(|bulk| bulk.settings.jobs)
    }

    fn recognises(&self) -> bool {
        self.bulk().is_some()
    }

    fn name(&self, source: &TargetName) -> TargetName {
        let partition = match (&self.settings.partition, &self.settings.collection) {
            (Some(partition), _) => partition.as_str(),
            (None, Some(_)) => "",
            (None, None) => &source.partition,
        };
        TargetName {
            collection: self
                .settings
                .collection
                .clone()
                .unwrap_or_else(|| source.collection.clone()),
            // One name for one thing: the default partition has the empty name.
            partition: match partition {
                "_default" => String::new(),
                name => name.to_owned(),
            },
        }
    }

    fn allowed_name(&self, name: &TargetName) -> Option<(TargetName, String)> {
        if self.settings.partition.as_deref() == Some(&*name.partition) {
            return None;
        }
        let partition = fit::allowed_partition(&name.partition)?;
        let said = format!(
            "partition {:?} of {} becomes {partition}: Milvus 2.x allows only letters, digits and underscores",
            name.partition, name.collection
        );
        let collection = name.collection.clone();
        Some((
            TargetName {
                collection,
                partition,
            },
            said,
        ))
    }

    fn keyed(&self, keys: Keys) -> bool {
        !self.settings.auto_id && keys == Keys::Stored
    }

    fn decide(&self, target: &Target) -> Result<Decision> {
        self.decision(target)
    }

    fn begin(&self, run: u64) {
        self.looks.clear();
        if let Some(bulk) = self.bulk() {
            bulk.begin(run);
        }
        let mut state = self.state();
        state.mark = format!("milvusdm run {run:016x}");
        state.to_replace.clear();
    }

    fn decided(&self, target: &Target, decision: &Decision) {
        if decision.action == Action::Replace && target.name.partition.is_empty() {
            let name = target.name.collection.clone();
            self.state().to_replace.insert(name, decision.replaces);
        }
    }

    fn place(&self, target: &Target) -> Result<u64> {
        self.placed(target)
    }

    fn foresee(&self, target: &Target, decision: &Decision) -> Result<Foreseen> {
        self.foreseen(target, decision)
    }

    fn prove(&self, target: &Target, decision: &Decision) -> Result<()> {
        if let Some(bulk) = self.bulk() {
            bulk.prove()?;
        }
        self.prove_index(target, decision)
    }

    fn prepare(&self, target: &Target, decision: &Decision, begun: bool) -> Result<()> {
        self.make_ready(target, decision, begun)
    }

    fn settle(&self, target: &Target, decision: Decision) -> Result<Decision> {
        self.settled(target, decision)
    }

    fn pack(&self, batch: Batch, room: Buffer) -> Result<Parcel> {
        let ready = self.ready(batch.target);
        let ready = ready.expect("targets are prepared before their batches are packed");
        if let Some(bulk) = self.bulk() {
            return bulk.pack(&ready, self.run.rules, batch);
        }
        pack::pack(&ready.envelope, &ready.checks, self.run.rules, batch, room)
    }

    fn deliver(&self, parcel: &Parcel, attempt: Attempt) -> Result<Receipt> {
        if parcel.rows == 0 {
            // All rows were left out; the server refuses empty inserts.
            return Ok(Receipt {
                rows: 0,
                upserted: false,
            });
        }
        if let (Some(bulk), Some(ready)) = (self.bulk(), self.ready(parcel.batch.target)) {
            let receipt = bulk.deliver(self, &ready, parcel)?;
            ready
                .delivered
                .fetch_add(u64::from(receipt.rows), Ordering::Relaxed);
            return Ok(receipt);
        }
        let write = match attempt {
            Attempt::Again if self.upserts() => Write::Upsert,
            _ => Write::Insert,
        };
        // Halves of a batch share its id: their first rows distinguish them.
        let key = format!("{}/{}+{}", parcel.id, parcel.batch.first_row, parcel.rows);
        let result = self
            .client
            .write(write, &parcel.body, &key)
            .map_err(|e| e.batch(parcel.id))?;
        let taken = match write {
            Write::Insert => result.insert_cnt,
            // Not every version returns both.
            Write::Upsert => result.upsert_cnt.max(result.insert_cnt),
        };
        if taken != i64::from(parcel.rows) {
            return Err(Error::new(
                Kind::Differs,
                format!(
                    "{} rows were sent, but {taken} were acknowledged",
                    parcel.rows
                ),
            )
            .batch(parcel.id));
        }
        if let Some(ready) = self.ready(parcel.batch.target) {
            let rows = u64::from(parcel.rows);
            ready.delivered.fetch_add(rows, Ordering::Relaxed);
        }
        Ok(Receipt {
            rows: parcel.rows,
            upserted: write == Write::Upsert,
        })
    }

    fn redelivery(&self, target: &Target, decision: &Decision) -> Redelivery {
        if self.bulk().is_some() {
            return Redelivery::Harmless;
        }
        let doubles = |why: &str, choices: &str| Redelivery::Doubles(format!("{why}; {choices}"));
        let resend =
            "`run.on_doubt: resend` sends it again and accepts that its rows may be duplicated";
        if self.settings.auto_id {
            return doubles(
                "the server generates the ids, so a second delivery cannot be told from the first",
                resend,
            );
        }
        if self.run.id_collision == IdCollision::Keep && target.keys == Keys::Stored {
            return doubles(
                "ids may repeat (`run.id_collision: keep`), and an upsert would remove repeats",
                resend,
            );
        }
        if !decision.ours && self.run.existing != Existing::Upsert {
            return doubles(
                "the collection held rows before, and an upsert would replace those with the same ids",
                "`run.on_doubt: upsert` accepts that, `run.on_doubt: resend` sends it again and accepts duplicate rows",
            );
        }
        Redelivery::Harmless
    }

    fn resumable(&self) -> bool {
        true
    }

    fn replaces(&self) -> bool {
        self.bulk().is_none() && self.upserts() && self.run.id_collision != IdCollision::Keep
    }

    fn finish(&self, target: &Target) -> Result<Finishing> {
        let finishing = self.finished(target)?;
        if let (Some(bulk), Finishing::Done) = (self.bulk(), finishing) {
            bulk.tidy(target)?;
        }
        Ok(finishing)
    }

    fn unfinish(&self, target: &Target) {
        self.unfinished(target);
    }

    fn count(&self, target: &Target) -> Result<Count> {
        self.counted(target)
    }

    fn statistics(&self, target: &Target) -> Result<Option<u64>> {
        self.statistics_there(target).map(Some)
    }

    fn held<'s>(&'s self, target: &Target) -> Result<Held<'s>> {
        self.held_there(target)
    }

    fn lend(
        &self,
        target: &Target,
        loans: &mut Vec<Loan>,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        self.lent(target, loans, check)
    }

    fn give_back(&self, loan: &Loan) -> Result<()> {
        self.given_back(loan)
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
        let what = match target.name.partition.is_empty() {
            true => format!("collection {}", target.name.collection),
            false => format!(
                "partition {} of collection {}",
                target.name.partition, target.name.collection
            ),
        };
        Some(format!(
            "{what} {made}; this run delivered {delivered} rows to it, which are kept: the same command continues, \
             `mode: overwrite` with --again starts over"
        ))
    }
}
