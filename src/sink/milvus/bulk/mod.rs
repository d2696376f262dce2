//! The server's own import: how do batches become files, jobs, and rows that exist once?
//! A batch is a file. It is staged while it is packed, under a name that is never reused, and imported while it is
//! delivered; a ledger records what the server was asked. The same file is never submitted twice.

mod ask;
mod choose;
mod ledger;
mod one;
mod place;
mod settings;
mod stage;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::batch::{Batch, BatchId, Target};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::job::Existing;
use crate::milvus::{self, Collection, Server};
use crate::schema::{Column, Element, Role};
use crate::sink::{Parcel, Receipt};

use super::{Milvus, Ready, mend, pack};
use ask::Imports;
use choose::{Choice, Load};
use ledger::Ledger;
use one::One;
use place::{Place, Places};
use stage::Staging;

pub use settings::{BULK, BulkSettings, Format};

/// The server's own import, as a job configures it.
pub struct Bulk {
    /// The job's settings.
    pub settings: BulkSettings,
    imports: Imports,
    places: Places,
    choice: OnceLock<Choice>,
    run: AtomicU64,
    targets: RwLock<HashMap<u32, Arc<Staging>>>,
    /// A counter that makes names unique.
    named: AtomicU64,
}

impl Bulk {
    /// Built from the job's settings, for the server at these connection settings. `checkpoint` is the log of what
    /// arrived.
    pub fn new(
        settings: BulkSettings,
        server: &Server,
        to: &milvus::Settings,
        checkpoint: &Path,
    ) -> Result<Bulk> {
        Ok(Bulk {
            imports: Imports::of(server, to, settings.rest.as_deref())?,
            places: Places::open(&settings, checkpoint)?,
            settings,
            choice: OnceLock::new(),
            run: AtomicU64::new(0),
            targets: RwLock::default(),
            named: AtomicU64::new(0),
        })
    }

    /// Chooses between files and inserts, once.
    pub fn choose(&self, server: &Server, targets: &[Target], existing: Existing, still: bool) {
        let settings = &self.settings;
        let choice = || choose::choose(settings, server, targets, existing, still);
        self.choice.get_or_init(choice);
    }

    /// Whether rows are sent as files.
    pub fn is_chosen(&self) -> bool {
        self.choice.get().is_none_or(|choice| choice.bulk)
    }

    /// How a target's rows are sent, and why.
    pub fn way(&self, target: &Target, server: &Server) -> String {
        let why = self.choice.get().map_or("", |choice| &choice.why);
        if !self.is_chosen() {
            return format!("inserts, not `bulk`: {why}");
        }
        let (format, format_why) = self.format(target);
        let settings = &self.settings;
        let load = Load::of(target, settings);
        let at_work = choose::at_work(server, settings);
        let times = [load.bulk_s(at_work), load.insert_s()].map(choose::shown);
        format!(
            "bulk, {why}: {load} in about {} of at most {} rows ({format_why}), staged in {}, one job each, {} at a time; \
             about {}, by inserts about {}, at rates measured on a standalone Milvus 2.3.5 with two cores",
            choose::files(load.files, format.word()),
            choose::file_rows(target, settings),
            settings.path.display(),
            settings.jobs,
            times[0],
            times[1]
        )
    }

    /// Receives the run's number, after which its directory is named.
    pub fn begin(&self, run: u64) {
        self.run.store(run, Ordering::Relaxed);
    }

    fn place(&self) -> Place {
        self.places.of_run(self.run.load(Ordering::Relaxed))
    }

    /// The format of a target's files, and the reason.
    pub fn format(&self, target: &Target) -> (Format, &'static str) {
        let plain = target.plain().map(|kind| kind.element);
        match (self.settings.format, plain) {
            (Some(format), _) => (format, "the job says so"),
            (None, Some(Element::Float32 | Element::Bit)) => (
                Format::Npy,
                "rows are an id and a vector, and the server reads arrays fastest",
            ),
            (None, _) => (
                Format::Parquet,
                "rows have more than an id and a vector of floats or bits",
            ),
        }
    }

    /// Returns an error about what cannot be imported.
    pub fn check(&self, target: &Target, server: &Server, existing: Existing) -> Vec<Error> {
        let mut wrong = Vec::new();
        if let Some(what) = ask::missing(server) {
            let hint = "without `sink.milvus.bulk.when: always`, rows are inserted";
            wrong.push(Error::new(Kind::Unsupported, what).hint(hint));
        }
        if existing == Existing::Upsert {
            let what = "`run.existing: upsert` replaces rows, but an import only adds them";
            wrong.push(Error::new(Kind::Job, what));
        }
        let plain = target.plain().map(|kind| kind.element);
        let arrays = matches!(plain, Some(Element::Float32 | Element::Bit));
        if self.settings.format == Some(Format::Npy) && !arrays {
            let what = format!(
                "`sink.milvus.bulk.format: npy` allows only an id and a vector of floats or bits; {} has {}",
                target.name, target.columns
            );
            wrong
                .push(Error::new(Kind::Job, what).hint("`format: auto` uses parquet in this case"));
        }
        wrong.extend(self.places.check().err());
        wrong
    }

    /// Checks that files can be staged, before anything is created or removed.
    pub fn prove(&self) -> Result<()> {
        self.places.prove()
    }

    /// Prepares the import of a target's rows into a collection.
    pub fn prepare(&self, target: &Target, found: &Collection, auto_id: bool) -> Result<()> {
        let mut columns = Vec::new();
        for (number, column) in target.columns.all().iter().enumerate() {
            let mut column = column.clone();
            match column.role {
                Role::Key if auto_id => continue,
                // The collection's description has no name for it.
                Role::Dynamic => column.name = "$meta".into(),
                _ => {}
            }
            columns.push((number, column));
        }
        let has = |name: &str| {
            columns
                .iter()
                .any(|(_, column): &(usize, Column)| *column.name == *name)
        };
        let missing = found.fields.iter().filter(|field| {
            !(has(&field.name) || field.is_function_output || auto_id && field.is_primary_key)
        });
        let missing: Vec<String> = missing.map(|field| field.describe()).collect();
        if !missing.is_empty() {
            let what = format!(
                "collection {} has fields for which the source has no values, but an import needs all fields: {}",
                found.name,
                missing.join(", ")
            );
            return Err(Error::new(Kind::Refused, what));
        }
        self.place().make()?;
        let staging = Staging {
            format: self.format(target).0,
            columns,
        };
        let mut targets = self.targets.write().expect("no one panics with it locked");
        targets.insert(target.number, Arc::new(staging));
        Ok(())
    }

    fn staging(&self, target: u32) -> Arc<Staging> {
        let targets = self.targets.read().expect("no one panics with it locked");
        let staging = targets.get(&target).cloned();
        staging.expect("targets are prepared before their batches are packed")
    }

    /// Stages a batch.
    pub(super) fn pack(&self, ready: &Ready, rules: pack::Rules, batch: Batch) -> Result<Parcel> {
        let (mut batch, mut left_out) = mend::fitted(&ready.checks, rules.misfit, batch)?;
        left_out.extend(pack::leave_out(&mut batch, rules.non_finite)?);
        let digests = batch.parts.iter().map(digest::part);
        let digest = digests.fold(0, u64::wrapping_add);
        let rows = batch.rows();
        let mut body = Vec::new();
        if rows > 0 {
            let name = self.new_set(&batch);
            self.place()
                .stage(&name, &self.staging(batch.target), &batch)?;
            body.push(Bytes::from(name));
        }
        Ok(Parcel {
            id: batch.id,
            rows: u32::try_from(rows).expect("batches have at most BULK_ROWS_MAX rows"),
            payload_bytes: batch.bytes(),
            digest,
            body,
            left_out,
            batch,
        })
    }

    /// A name that no set of files ever had.
    fn new_set(&self, batch: &Batch) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = since.map_or(0, |d| d.as_nanos());
        let count = self.named.fetch_add(1, Ordering::Relaxed);
        let name = name_of(batch.target, batch.id);
        format!("{name}-{nanos:x}.{:x}.{count}", std::process::id())
    }

    /// Has the server import what was staged, unless the ledger or the server shows that it already has.
    pub(super) fn deliver(
        &self,
        milvus: &Milvus,
        ready: &Ready,
        parcel: &Parcel,
    ) -> Result<Receipt> {
        let staged = parcel.body.first().expect("a parcel with rows was staged");
        let place = self.place();
        let batch = name_of(parcel.batch.target, parcel.id);
        let mut one = One {
            bulk: self,
            milvus,
            ready,
            parcel,
            ledger: Ledger::open(&place.ledger(&batch))?,
            place,
            staged: String::from_utf8_lossy(staged).into_owned(),
        };
        // A batch is imported completely or not at all: errors about requests that are too big or slow do not apply.
        one.deliver().map_err(|error| match error.kind() {
            Kind::Slow | Kind::TooMuch => error.with_kind(Kind::Lost),
            Kind::TooBig => error.with_kind(Kind::Refused),
            _ => error,
        })
    }

    /// Removes everything staged for a target once all its rows have arrived.
    pub fn tidy(&self, target: &Target) -> Result<()> {
        match self.settings.keep {
            true => Ok(()),
            false => self.place().tidy(&format!("t{}-", target.number)),
        }
    }
}

/// The prefix of all names of a batch.
fn name_of(target: u32, id: BatchId) -> String {
    format!("t{target}-{}-{}", id.shard, id.index)
}
