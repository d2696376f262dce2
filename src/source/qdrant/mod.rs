//! qdrant: how is a running Qdrant read? Over gRPC, by ranges of ids, page by page; nothing is changed there.
//!
//! Written from Qdrant's message definitions. The tests' server is a stand-in (tests/support/fake_qdrant.py), whose
//! answers are compared with those of the engine itself (`qdrant-edge`).

mod client;
mod describe;
mod ids;
mod payload;
mod points;
mod proto;
mod reader;
mod split;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::documents;
use super::named::{self, chosen};
use super::pace::{Pace, ROWS_PER_S};
use super::{Reader, Source, SourceKind, Spec as AnySpec, Stillness, Survey};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::call::{self, Secret, TlsFiles};
use crate::error::{Error, Kind, Result};
use crate::job::{Form, Globs, Setting};
use crate::limits;

use arrow_array::ArrayRef;

use client::{Client, Wanted, Where};
use describe::{Described, Without};
use ids::{Id, Keyed};
use proto::{
    CollectionConfig, CollectionInfo, CollectionParams, ShardKey, ShardKeyKinds, VectorParams,
    VectorsConfig, VectorsKinds,
};
use split::Range;

/// The source `qdrant`.
pub const KIND: SourceKind = SourceKind {
    name: "qdrant",
    summary: "a running Qdrant, over gRPC",
    settings: &[
        Setting::text(
            "address",
            "where its gRPC port is: http://host:6334, or https:// for TLS",
        )
        .required()
        .example("\"http://127.0.0.1:6334\""),
        Setting::secret("api_key", "a key that may read").example("\"${QDRANT_API_KEY}\""),
        call::TLS,
        named::COLLECTIONS,
        Setting::number_or_auto("page", (1, 1 << 20), "the most points per request"),
        Setting::number_or_auto("connections", (1, 64), "connections to read on").or("2"),
        ROWS_PER_S,
    ],
    read,
};

#[derive(Clone)]
struct Spec {
    address: String,
    api_key: Option<Secret>,
    tls: Option<TlsFiles>,
    collections: Vec<String>,
    page: u64,
    connections: usize,
    rows_per_s: Option<u64>,
}

fn read(form: &mut Form) -> Option<Box<dyn AnySpec>> {
    let address = form.required("address", "where its gRPC port is");
    let connections = form.number_or_auto("connections");
    let spec = Spec {
        address: String::new(),
        api_key: form.text("api_key").map(Secret),
        tls: TlsFiles::in_form(form),
        collections: form.list("collections").unwrap_or_default(),
        page: form
            .number_or_auto("page")
            .unwrap_or(limits::QDRANT_PAGE_POINTS),
        connections: connections.map_or(limits::CONNECTIONS_DEFAULT, |n| n as usize),
        rows_per_s: form.number("rows_per_s"),
    };
    match call::address(&address?, spec.tls.is_some(), (client::PORT, client::PORT)) {
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
        let tls = self.tls.as_ref().map(TlsFiles::read).transpose()?;
        let client = Client::open(
            &self.address,
            self.api_key.as_ref(),
            tls.as_ref(),
            self.connections,
        )?;
        Ok(Box::new(Qdrant {
            client,
            spec: self.clone(),
            admitted: admitted.clone(),
            stretches: OnceLock::new(),
            pace: Pace::new(self.rows_per_s),
            page_max: AtomicU64::new(self.page),
            vanished: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
        }))
    }
}

/// The columns of the points in an answer to `Points/Scroll`, for a collection with one unnamed vector: what a
/// reader makes of it, without a server.
pub fn scrolled(dimension: u64, answer: &[u8]) -> Result<Vec<ArrayRef>> {
    let vector = VectorParams {
        size: dimension,
        ..VectorParams::default()
    };
    let params = CollectionParams {
        vectors_config: Some(VectorsConfig {
            config: Some(VectorsKinds::Params(vector)),
        }),
        ..CollectionParams::default()
    };
    let info = CollectionInfo {
        config: Some(CollectionConfig {
            params: Some(params),
            ..CollectionConfig::default()
        }),
    };
    let without = Without::from([(String::new(), Some(0))]);
    let described = describe::describe("", &info, Keyed::ByInt, &without)?;
    let page = points::read(&described, answer, points::SCROLLED, Id::Num(u64::MAX))?;
    Ok(page.columns)
}

/// A server, and what is read from it.
struct Qdrant {
    client: Client,
    spec: Spec,
    admitted: Globs,
    /// What is read, once it is known.
    stretches: OnceLock<Vec<Stretch>>,
    pace: Pace,
    /// The largest number of points to ask for at a time: reduced when an answer was too long, or too much for the
    /// server.
    page_max: AtomicU64,
    /// Points that were gone when they were requested by their ids.
    vanished: AtomicU64,
    /// Points with ids of a kind that did not exist when the job was planned.
    strangers: AtomicU64,
}

/// A collection, or the part of it with a shard key.
struct Stretch {
    name: TargetName,
    place: Where,
    params: CollectionParams,
    described: Arc<Described>,
    /// How many points it has.
    count: u64,
    ranges: Vec<Range>,
    /// The number of points in each of them.
    rows: Vec<u64>,
    /// Whether ids are requested first: with many shards, each shard would otherwise be asked for whole pages.
    by_ids: bool,
    /// Where its rows are, for messages.
    path: Arc<Path>,
}

/// From this many shards on, a page is requested by ids.
const MANY_SHARDS: u32 = 3;

impl Qdrant {
    /// What is read, looked up once.
    fn stretches(&self) -> Result<&[Stretch]> {
        if self.stretches.get().is_none() {
            let found = self.look()?;
            let _ = self.stretches.set(found);
        }
        Ok(self.stretches.get().expect("it was just set"))
    }

    fn look(&self) -> Result<Vec<Stretch>> {
        let there = self.client.collections()?;
        let aliases = match self.spec.collections.is_empty() {
            true => Vec::new(),
            false => self.client.aliases()?,
        };
        let mut all = Vec::new();
        for name in chosen("collection", &self.spec.collections, &there, &aliases)? {
            let info = self.client.collection(&name)?.ok_or_else(|| {
                let what = format!("there is no collection {name} (any more)");
                Error::new(Kind::Job, what)
            })?;
            let config = info.config.clone().unwrap_or_default();
            let strict = config.strict_mode_config.unwrap_or_default();
            if let (Some(true), Some(most)) = (strict.enabled, strict.max_query_limit) {
                self.page_max
                    .fetch_min(u64::from(most.max(1)), Ordering::Relaxed);
            }
            let params = config.params.unwrap_or_default();
            let keys = match describe::is_divided(&params) {
                true => self
                    .client
                    .shard_keys(&name)?
                    .into_iter()
                    .map(Some)
                    .collect(),
                false => vec![None],
            };
            for shard_key in keys {
                let target = TargetName {
                    collection: name.clone(),
                    partition: shard_key.as_ref().map_or(String::new(), tag),
                };
                if self.admitted.admit(&target.collection, &target.partition) {
                    let place = Where {
                        collection: name.clone(),
                        shard_key,
                    };
                    all.push((target, place, info.clone(), params.clone()));
                }
            }
        }
        // Parts of one collection have the same columns, regardless of the ids and vectors they contain.
        let mut found = Vec::new();
        for parts in all.chunk_by(|a, b| a.0.collection == b.0.collection) {
            let mut keyed = Keyed::ByInt;
            let mut without = describe::Without::new();
            for (_, place, _, params) in parts {
                if !self.all_ints(place)? {
                    keyed = Keyed::ByText;
                }
                for vector in describe::vectors(params) {
                    let count = self.client.count_without(place, &vector)?;
                    without
                        .entry(vector)
                        .and_modify(|all| *all = all.zip(count).map(|(a, b)| a + b))
                        .or_insert(count);
                }
            }
            for (name, place, info, params) in parts {
                let described = describe::describe(&name.collection, info, keyed, &without)?;
                let next = |from| self.next_id(place, from);
                let path = format!("{}/{name}", self.client.address());
                let ranges = split::ranges(keyed, limits::QDRANT_RANGES, &next)?;
                let rows = self.counted(place, keyed, &ranges)?;
                found.push(Stretch {
                    count: rows.iter().sum(),
                    ranges,
                    rows,
                    by_ids: params.shard_number >= MANY_SHARDS && place.shard_key.is_none(),
                    described: Arc::new(described),
                    params: params.clone(),
                    path: Path::new(&path).into(),
                    place: place.clone(),
                    name: name.clone(),
                });
            }
        }
        Ok(found)
    }

    /// How many points each range has. The server counts whole collections only: with points in several ranges, ids are
    /// read.
    fn counted(&self, place: &Where, keyed: Keyed, ranges: &[Range]) -> Result<Vec<u64>> {
        let alone = ranges.iter().filter(|range| range.is_filled).count() == 1;
        let counted = ranges.iter().map(|range| match (range.is_filled, alone) {
            (false, _) => Ok(0),
            (true, true) => self.client.count(place),
            (true, false) => self.ids_of(place, keyed, range),
        });
        counted.collect()
    }

    fn ids_of(&self, place: &Where, keyed: Keyed, range: &Range) -> Result<u64> {
        let last = ids::last_of(&range.end, keyed);
        let most = self.page_max.load(Ordering::Relaxed);
        let mut next = ids::first_behind(&range.start);
        let mut rows = 0;
        while let Some(from) = next {
            let answer = self.client.scroll(place, from, most, Wanted::Ids)?;
            let page = points::ids(&answer, last)?;
            rows += page.ids.len() as u64;
            let behind = page.ids.last().and_then(|id| id.next());
            let on = behind.filter(|id| *id <= last && *id > from);
            next = on.filter(|_| page.beyond.is_none() && page.next.is_some());
        }
        Ok(rows)
    }

    /// Whether all ids are numbers that fit an int64.
    fn all_ints(&self, place: &Where) -> Result<bool> {
        Ok(self.next_id(place, Id::Num(1 << 63))?.is_none())
    }

    /// The first id equal to or after one.
    fn next_id(&self, place: &Where, from: Id) -> Result<Option<Id>> {
        let answer = self.client.scroll(place, from, 1, Wanted::Ids)?;
        let page = points::ids(&answer, Id::Uuid(u128::MAX))?;
        Ok(page.ids.first().copied())
    }
}

/// The partition name for a shard key.
fn tag(key: &ShardKey) -> String {
    match &key.key {
        Some(ShardKeyKinds::Keyword(word)) => word.clone(),
        Some(ShardKeyKinds::Number(number)) => number.to_string(),
        None => String::new(),
    }
}

impl Source for Qdrant {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let mut manifest = Manifest {
            targets: Vec::new(),
            shards: Vec::new(),
        };
        let mut identity = BTreeMap::new();
        let address = self.client.address();
        let mut warnings = vec![format!(
            "Qdrant {} at {address} cannot pin its state: it is read live, and points that others write or delete meanwhile may \
             or may not be migrated",
            self.client.version
        )];
        for (part, stretch) in self.stretches()?.iter().enumerate() {
            let target = manifest.targets.len() as u32;
            let mut first_row = 0;
            for (number, range) in stretch.ranges.iter().enumerate() {
                let rows = stretch.rows[number];
                manifest.shards.push(Shard {
                    number: manifest.shards.len() as u32,
                    target,
                    part: part as u32,
                    name: format!(
                        "{}, {} of {}",
                        stretch.name,
                        number + 1,
                        stretch.ranges.len()
                    ),
                    rows,
                    first_row,
                    start: range.start.clone(),
                    end: range.end.clone(),
                });
                first_row += rows;
            }
            manifest.targets.push(Target {
                number: target,
                name: stretch.name.clone(),
                columns: stretch.described.columns.clone(),
                traits: Arc::default(),
                keys: Keys::Unique,
                auto_id: false,
                rows: stretch.count,
                rows_deleted: 0,
                source: stretch.path.display().to_string(),
            });
            let what = format!("on {address}, {}", stretch.described.columns);
            identity.insert(format!("collection {}", stretch.name), what);
            let known = stretch.described.notes.iter();
            let new = known.filter(|note| !warnings.contains(note));
            let new: Vec<String> = new.cloned().collect();
            warnings.extend(new);
        }
        Ok(Survey {
            manifest,
            identity,
            warnings,
            indexes_differ: None,
        })
    }

    fn stillness(&self) -> Stillness {
        Stillness::Live
    }

    fn reads_at_once(&self) -> Option<usize> {
        Some(self.spec.connections)
    }

    fn profile(&self, shard: &Shard) -> Result<Vec<String>> {
        documents::profile(self, shard)
    }

    fn remarks(&self) -> Vec<String> {
        let vanished = self.vanished.load(Ordering::Relaxed);
        let strangers = self.strangers.load(Ordering::Relaxed);
        let mut said = Vec::new();
        if vanished > 0 {
            said.push(format!(
                "{vanished} points were deleted while they were read, and were not migrated"
            ));
        }
        if strangers > 0 {
            said.push(
                "points appeared whose ids are not int64, although all were when the job was planned: they were not migrated"
                    .to_owned(),
            );
        }
        said
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
        let end = shard.end.clone();
        Ok(Box::new(reader::Points::new(
            self, stretch, from, end, limits,
        )))
    }

    fn unchanged(&self) -> Result<()> {
        let mut last = None;
        for stretch in self.stretches.get().into_iter().flatten() {
            let name = &stretch.place.collection;
            if last == Some(name) {
                continue;
            }
            last = Some(name);
            let found = match self.client.collection(name) {
                Ok(found) => found,
                // A server that does not answer has not changed.
                Err(error) if error.kind().is_silence() => continue,
                Err(error) => return Err(error),
            };
            let params = found.and_then(|info| info.config?.params);
            let same = |params: &CollectionParams| {
                params.vectors_config == stretch.params.vectors_config
                    && params.sparse_vectors_config == stretch.params.sparse_vectors_config
            };
            if !params.as_ref().is_some_and(same) {
                let what = format!(
                    "{name} was dropped or its vectors were changed since the job looked it up"
                );
                return Err(Error::new(Kind::Changed, what));
            }
        }
        Ok(())
    }
}
