//! milvus: how is a running Milvus 2.x read? In complete ranges of keys: paging with limits loses rows on real servers.
//!
//! Measurements on such servers shaped this: a limit may end a page too early where a key exists twice; a query of one
//! partition sees keys that another partition has too; what is not loaded cannot be read; and a restarted server
//! reports for a while that nothing is loaded.

mod ask;
mod choose;
mod describe;
mod reader;
mod split;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::pace::{Pace, ROWS_PER_S};
use super::{Reader, Source, SourceKind, Spec as AnySpec, Stillness, Survey};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::call::{self, TlsFiles};
use crate::error::{Error, Kind, Result};
use crate::job::{Form, Globs, Setting, Takes};
use crate::limits;
use crate::milvus::access;
use crate::milvus::proto::load_state;
use crate::milvus::{self, Client, Collection, Flavour, Login, LookUp};
use crate::schema::{CollectionTraits, Columns};

use ask::Asked;
use choose::{Choice, Databases, Home};

/// The source `milvus`.
pub const KIND: SourceKind = SourceKind {
    name: "milvus",
    summary: "a running Milvus 2.x server; collections must be loaded",
    settings: &[
        access::ADDRESS,
        access::USER,
        access::PASSWORD,
        access::TOKEN,
        choose::DATABASES,
        call::TLS,
        choose::COLLECTIONS,
        Setting::text(
            "filter",
            "a Milvus expression: only rows that match it are migrated",
        )
        .example("\"price > 3\""),
        Setting::new(
            "columns",
            Takes::Texts,
            "the fields to read besides the key; left out: all",
        ),
        Setting::flag("dynamic", "false: leave out the dynamic field").or("true"),
        Setting::flag(
            "load",
            "true: load collections that are not loaded, and release them afterwards",
        ),
        Setting::number_or_auto(
            "page",
            (1, limits::MILVUS_PAGE_ROWS_MAX),
            "the most rows per request",
        ),
        Setting::number_or_auto("connections", (1, 64), "connections to read on").or("2"),
        ROWS_PER_S,
    ],
    read,
};

#[derive(Clone)]
struct Spec {
    address: String,
    login: Login,
    databases: Databases,
    tls: Option<TlsFiles>,
    choice: Choice,
    filter: Option<String>,
    wanted: describe::Wanted,
    load: bool,
    page: u64,
    connections: usize,
    rows_per_s: Option<u64>,
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let address = form.required("address", "where the server is");
    let tls = TlsFiles::in_form(form);
    let login = access::read_login(form);
    let choice = Choice::read(form);
    let page = form.number_or_auto("page");
    let connections = form.number_or_auto("connections");
    let spec = Spec {
        address: String::new(),
        login,
        databases: Databases::read(form),
        tls,
        choice,
        filter: form.text("filter"),
        wanted: describe::Wanted {
            columns: form.list("columns"),
            dynamic: form.flag("dynamic").unwrap_or(true),
        },
        load: form.flag("load").unwrap_or(false),
        page: page.unwrap_or(limits::MILVUS_PAGE_ROWS_MAX),
        connections: connections.map_or(limits::CONNECTIONS_DEFAULT, |n| n as usize),
        rows_per_s: form.number("rows_per_s"),
    };
    match call::address(&address?, spec.tls.is_some(), milvus::PORTS) {
        Ok(address) => Some(Box::new(Spec { address, ..spec })),
        Err(what) => {
            form.mistake("address", what);
            None
        }
    }
}

impl AnySpec for Spec {
    fn open(&self) -> Result<Box<dyn Source>> {
        self.open_for(&Globs::default())
    }

    fn open_for(&self, admitted: &Globs) -> Result<Box<dyn Source>> {
        let settings = milvus::Settings {
            address: self.address.clone(),
            login: self.login.clone(),
            db: self.databases.alone().unwrap_or_default().to_owned(),
            tls: self.tls.as_ref().map(TlsFiles::read).transpose()?,
            deadlines: milvus::Deadlines::default(),
        };
        Ok(Box::new(Milvus {
            client: Arc::new(Client::open(&settings, self.connections)?),
            spec: self.clone(),
            admitted: admitted.clone(),
            stretches: OnceLock::new(),
            divided: Mutex::default(),
            since: OnceLock::new(),
            loaded: Mutex::default(),
            copies: AtomicU64::new(0),
            pace: Pace::new(self.rows_per_s),
        }))
    }
}

/// A server, and what is read from it.
struct Milvus {
    client: Arc<Client>,
    spec: Spec,
    admitted: Globs,
    /// What is read, once it is known.
    stretches: OnceLock<Vec<Stretch>>,
    /// How stretches were divided, for batches of this size: a plan asks more than once.
    divided: Mutex<BTreeMap<(usize, u64, u64), Vec<split::Counted>>>,
    /// The timestamp of the state that is read: everything written before it is visible.
    since: OnceLock<Option<u64>>,
    /// What was loaded for the job.
    loaded: Mutex<Vec<(Home, String)>>,
    /// Rows that share the key of another: the server returns one row per key.
    copies: AtomicU64,
    pace: Pace,
}

/// A partition, or a collection that is read as a whole.
struct Stretch {
    home: Home,
    name: TargetName,
    /// Its name for messages: with the database if several are read.
    shown: String,
    /// The server's id of the collection.
    collection: i64,
    look_up: LookUp,
    columns: Arc<Columns>,
    traits: Arc<CollectionTraits>,
    auto_id: bool,
    /// Its load state when it was looked up.
    load_state: i32,
    /// Where its rows are, for messages.
    place: Arc<Path>,
}

impl Milvus {
    /// What is read, looked up once.
    fn stretches(&self) -> Result<&[Stretch]> {
        if self.stretches.get().is_none() {
            let found = self.look()?;
            let _ = self.stretches.set(found);
        }
        Ok(self.stretches.get().expect("it was just set"))
    }

    fn look(&self) -> Result<Vec<Stretch>> {
        let since = match self.since.get() {
            Some(since) => *since,
            None => {
                let now = self.client.now()?;
                *self.since.get_or_init(|| now)
            }
        };
        let homes = self.spec.databases.homes(&self.client)?;
        let mut all = Vec::new();
        for (home, name, tags) in self.spec.choice.collections(&homes)? {
            let client = &home.client;
            if !self.admitted.may_admit_of(&home.db, &name) {
                continue;
            }
            let found = described(client, &name)?;
            let columns = describe::columns(client, &found, &self.spec.wanted)?;
            let traits = Arc::new(describe::traits(client, &found, &columns)?);
            let partitions = match self.by_partition(&found) {
                false => vec![None],
                true => {
                    let there = client.partitions(&found.name)?;
                    let mut there: Vec<String> = there.into_keys().collect();
                    there.sort_unstable();
                    let chosen = choose::partitions(&name, &tags, there)?;
                    chosen.into_iter().map(Some).collect()
                }
            };
            for partition in partitions {
                let name = TargetName {
                    collection: found.name.clone(),
                    partition: partition.clone().unwrap_or_default(),
                };
                if !(self.admitted).admit_of(&home.db, &name.collection, &name.partition) {
                    continue;
                }
                let shown = match homes.len() {
                    1 => name.to_string(),
                    _ => format!("{}.{name}", home.db),
                };
                let place = format!("{}/{shown}", client.address());
                all.push(Stretch {
                    look_up: LookUp {
                        collection: found.name.clone(),
                        partition: partition.clone(),
                        key: columns.key().name.clone(),
                        columns: columns.all().to_vec(),
                        since,
                    },
                    load_state: client.load_state(&found.name, partition.as_deref())?,
                    home: home.clone(),
                    shown,
                    collection: found.number,
                    columns: columns.clone(),
                    traits: traits.clone(),
                    auto_id: found.auto_id,
                    place: Path::new(&place).into(),
                    name,
                });
            }
        }
        Ok(all)
    }

    fn divided(&self, part: usize, asked: &Asked, limits: Limits) -> Result<Vec<split::Counted>> {
        let key = (part, limits.batch_bytes, limits.batch_rows);
        let known = || self.divided.lock().expect("no one panics with it locked");
        if let Some(ranges) = known().get(&key) {
            return Ok(ranges.clone());
        }
        let ranges = split::ranges(asked, limits)?;
        known().insert(key, ranges.clone());
        Ok(ranges)
    }

    /// Whether each partition is read separately: a key may be in several, and a query of all returns it once.
    fn by_partition(&self, found: &Collection) -> bool {
        self.client.server().has_partitions() && !found.has_partition_key()
    }

    /// The error for a server that was restarted, or is still loading.
    fn loading(&self, stretch: &Stretch) -> Error {
        let what = format!("the server is still loading {}", stretch.shown);
        Error::new(Kind::Busy, what).hint("it can be read once it is loaded")
    }

    fn not_loaded(&self, stretch: &Stretch) -> Error {
        let what = format!(
            "{} is not loaded, and Milvus returns rows only of what is loaded",
            stretch.shown
        );
        Error::new(Kind::Refused, what).hint(
            "load it first, or let the job load it, and release it afterwards: `source: {milvus: {load: true}}`",
        )
    }
}

fn described(client: &Client, name: &str) -> Result<Collection> {
    client.collection(name)?.ok_or_else(|| {
        let what = format!("there is no collection {name} (any more)");
        Error::new(Kind::Job, what)
    })
}

impl Source for Milvus {
    fn survey(&self, limits: Limits) -> Result<Survey> {
        let mut manifest = Manifest {
            targets: Vec::new(),
            shards: Vec::new(),
        };
        let mut identity = BTreeMap::new();
        for (part, stretch) in self.stretches()?.iter().enumerate() {
            match stretch.load_state {
                load_state::LOADED => {}
                load_state::LOADING => return Err(self.loading(stretch)),
                _ if self.spec.load => {}
                _ => return Err(self.not_loaded(stretch)),
            }
            let target = manifest.targets.len() as u32;
            let asked = Asked::of(self, stretch);
            let ranges = match stretch.load_state == load_state::LOADED {
                true => self.divided(part, &asked, limits)?,
                false => split::unknown(&asked)?,
            };
            let mut first_row = 0;
            for (number, (start, end, rows)) in ranges.iter().enumerate() {
                manifest.shards.push(Shard {
                    number: manifest.shards.len() as u32,
                    target,
                    part: part as u32,
                    name: format!("{}, {} of {}", stretch.shown, number + 1, ranges.len()),
                    rows: *rows,
                    first_row,
                    start: start.clone(),
                    end: end.clone(),
                });
                first_row += rows;
            }
            manifest.targets.push(Target {
                number: target,
                name: stretch.name.clone(),
                columns: stretch.columns.clone(),
                traits: stretch.traits.clone(),
                keys: Keys::Unique,
                auto_id: stretch.auto_id,
                rows: first_row,
                rows_deleted: 0,
                source: stretch.place.display().to_string(),
            });
            identity.insert(
                format!("collection {}", stretch.shown),
                format!(
                    "number {} on {}, {}",
                    stretch.collection,
                    self.client.address(),
                    stretch.columns
                ),
            );
        }
        let server = self.client.server();
        let how = match self.stillness() {
            Stillness::Pinned => {
                "is read as it is now (pinned), as far as the server keeps that state: what it compacts or expires \
                 meanwhile may be lost"
            }
            _ => {
                "cannot pin its state: it is read live, and rows that others write or delete meanwhile may or may not be migrated"
            }
        };
        let mut warnings = vec![format!("{server} at {} {how}", self.client.address())];
        let db = self.spec.databases.alone().filter(|db| !db.is_empty());
        identity.extend(db.map(|db| ("database".to_owned(), db.to_owned())));
        if let Some(filter) = &self.spec.filter {
            warnings.push(format!("only rows that match `{filter}` are migrated"));
        }
        Ok(Survey {
            manifest,
            identity,
            warnings,
            indexes_differ: None,
        })
    }

    fn stillness(&self) -> Stillness {
        let server = self.client.server();
        let pins = server.flavour == Flavour::Full && server.release.is_some_and(|r| r >= (2, 5));
        match pins && self.since.get().is_some_and(Option::is_some) {
            true => Stillness::Pinned,
            false => Stillness::Live,
        }
    }

    fn reads_at_once(&self) -> Option<usize> {
        Some(self.spec.connections)
    }

    fn ready(&self) -> Result<()> {
        if !self.spec.load {
            return Ok(());
        }
        let looked = self.look()?;
        let mut missing: Vec<&Stretch> = looked
            .iter()
            .filter(|stretch| stretch.load_state == load_state::NOT_LOADED)
            .collect();
        missing.dedup_by_key(|stretch| (&stretch.home.db, &stretch.name.collection));
        for Stretch { home, name, .. } in missing {
            let (client, name) = (&home.client, &*name.collection);
            client.load(name).map_err(|error| match error.kind() {
                Kind::Refused => {
                    error.hint("a collection needs an index to be loaded: does it have one?")
                }
                _ => error,
            })?;
            (self.loaded.lock())
                .expect("no one panics with it locked")
                .push((home.clone(), name.to_owned()));
            let (mut last, mut moved) = (-1, Instant::now());
            while !client.is_loaded(name, None)? {
                let percent = client.loading_progress(name)?;
                if percent != last {
                    (last, moved) = (percent, Instant::now());
                }
                if moved.elapsed() > Duration::from_secs(limits::SLOW_DEADLINE_S) {
                    let what = format!("the server makes no progress in loading {name}");
                    return Err(Error::new(Kind::Refused, what));
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(())
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let Some(stretch) = self.stretches()?.get(shard.part as usize) else {
            let what = format!("{} no longer exists", shard.name);
            return Err(Error::new(Kind::Changed, what));
        };
        let asked = Asked::of(self, stretch);
        let end = shard.end.clone();
        Ok(Box::new(reader::Pages::new(asked, from, end, limits)))
    }

    fn unchanged(&self) -> Result<()> {
        let mut seen = BTreeMap::new();
        for stretch in self.stretches.get().into_iter().flatten() {
            let name = &stretch.name.collection;
            if seen.insert((&stretch.home.db, name), ()).is_some() {
                continue;
            }
            match stretch.home.client.collection(name) {
                Ok(Some(found)) if found.number == stretch.collection => {}
                Ok(_) => {
                    let what =
                        format!("{name} was dropped or recreated since the job looked it up");
                    return Err(Error::new(Kind::Changed, what));
                }
                // A server that does not answer has not changed.
                Err(error) if error.kind().is_silence() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn remarks(&self) -> Vec<String> {
        let copies = self.copies.load(Ordering::Relaxed);
        let said = (copies > 0).then(|| {
            format!(
                "{copies} rows have the key of another row: Milvus returns one row per key, which was migrated; the server \
                 counts all"
            )
        });
        said.into_iter().collect()
    }
}

impl Drop for Milvus {
    fn drop(&mut self) {
        let loaded = self.loaded.get_mut().expect("no one panics with it locked");
        for (home, name) in loaded {
            if let Err(error) = home.client.release_collection(name) {
                tracing::warn!(
                    "{name} was loaded for this job and could not be released: {error:#}"
                );
            }
        }
    }
}
