//! Collections of a running server as a source: ranges of rows as shards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray;

use super::page;
use super::place::Place;
use super::reader::Pages;
use super::rest::Names;
use super::server::{Client, Wanted};
use super::{Collection, Settings};
use crate::batch::{Keys, Limits, Manifest, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::job::Globs;
use crate::limits;
use crate::schema::{ColumnType, Element, VectorType};
use crate::source::documents::{self, Layout};
use crate::source::named::chosen;
use crate::source::pace::Pace;
use crate::source::{Reader, Source, Stillness, Survey};

/// A server, and what is read from it.
pub struct Chroma {
    pub client: Client,
    pub settings: Settings,
    admitted: Globs,
    /// What is read, once it is known.
    looked: OnceLock<Looked>,
    pub pace: Pace,
    /// The largest number of rows to ask for at a time: reduced when an answer was too long.
    pub page_max: AtomicU64,
}

struct Looked {
    stretches: Vec<Stretch>,
    notes: Vec<String>,
}

/// A collection that is read.
pub struct Stretch {
    pub name: TargetName,
    pub collection: Collection,
    pub layout: Layout,
    pub kind: VectorType,
    count: u64,
    /// Places that divide it into ranges.
    places: Vec<Place>,
    /// Ids of its last rows.
    pub last_ids: Vec<String>,
    /// Where its rows are, for messages.
    pub place: Arc<Path>,
}

impl Chroma {
    pub fn new(client: Client, settings: Settings, admitted: Globs) -> Chroma {
        Chroma {
            client,
            admitted,
            looked: OnceLock::new(),
            pace: Pace::new(settings.rows_per_s),
            page_max: AtomicU64::new(settings.page),
            settings,
        }
    }

    /// What is read, looked up once.
    fn looked(&self) -> Result<&Looked> {
        if self.looked.get().is_none() {
            let found = self.look()?;
            let _ = self.looked.set(found);
        }
        Ok(self.looked.get().expect("it was just set"))
    }

    fn look(&self) -> Result<Looked> {
        let there = self.client.collections()?;
        let names: Vec<String> = there.iter().map(|c| c.name.clone()).collect();
        let wanted = chosen("collection", &self.settings.collections, &names, &[])?;
        let (mut stretches, mut notes) = (Vec::new(), Vec::new());
        for collection in there {
            let name = TargetName {
                collection: collection.name.clone(),
                partition: String::new(),
            };
            if !wanted.contains(&collection.name)
                || !self.admitted.admit(&name.collection, &name.partition)
            {
                continue;
            }
            let count = self.client.count(&collection.id)?;
            let Some(dimension) = self.dimension(&collection, count)? else {
                notes.push(collection.never_filled());
                continue;
            };
            notes.extend(collection.rounded());
            let layout = Layout::new(Collection::key(), vec![collection.embedding(dimension)])?;
            let place = format!("{}/{}", self.client.address(), collection.name);
            let ids_before = |rows: u64| {
                let first = rows.saturating_sub(limits::CHROMA_PLACE_IDS);
                self.client.ids(&collection.id, first, rows - first)
            };
            let ranges = (count / limits::CHROMA_RANGE_ROWS_MIN).clamp(1, limits::CHROMA_RANGES);
            let mut places = Vec::new();
            for number in 1..ranges {
                let rows = (u128::from(count) * u128::from(number) / u128::from(ranges)) as u64;
                let ids = ids_before(rows)?;
                // There are fewer if rows were deleted since they were counted.
                if ids.len() as u64 == limits::CHROMA_PLACE_IDS {
                    places.push(Place { rows, ids });
                }
            }
            let stretch = Stretch {
                last_ids: match count {
                    0 => Vec::new(),
                    count => ids_before(count)?,
                },
                name,
                kind: VectorType {
                    element: Element::Float32,
                    dimension,
                },
                layout,
                count,
                places,
                place: Path::new(&place).into(),
                collection,
            };
            if self.client.is_v1() && count > 0 {
                self.check_order(&stretch)?;
            }
            stretches.push(stretch);
        }
        Ok(Looked { stretches, notes })
    }

    /// The dimension of a collection: early servers do not report it, so it comes from the first row.
    fn dimension(&self, collection: &Collection, count: u64) -> Result<Option<u32>> {
        if collection.dimension.is_some() || count == 0 {
            return Ok(collection.dimension);
        }
        let answer = self.client.page(&collection.id, 0, 1, Wanted::Vectors)?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
        let first = answer["embeddings"][0].as_array();
        Ok(first.and_then(|vector| u32::try_from(vector.len()).ok()))
    }

    /// Refuses a server that returns vectors in another order than ids, as releases of 0.4 did.
    fn check_order(&self, stretch: &Stretch) -> Result<()> {
        let id = &stretch.collection.id;
        let names = Names::new("document".to_owned(), "uri".to_owned()).expect("they differ");
        let wrong = |_| {
            let what = format!("{}: the server's answer cannot be read", stretch.name);
            Error::new(Kind::Refused, what)
        };
        let listed = self
            .client
            .page(id, 0, limits::CHROMA_FIRST_PAGE_ROWS, Wanted::Vectors)?;
        let listed = page::read(&listed, stretch.kind, &names).map_err(wrong)?;
        for (row, one) in listed.ids.iter().enumerate().step_by(17) {
            let alone = self.client.by_ids(id, std::slice::from_ref(one))?;
            let alone = page::read(&alone, stretch.kind, &names).map_err(wrong)?;
            let vectors = [&listed, &alone].map(|page| page.columns[1].as_fixed_size_binary());
            if alone.ids.len() == 1 && vectors[0].value(row) != vectors[1].value(0) {
                let what = format!(
                    "{}: the server returns another vector for row {} in a list than on its own",
                    stretch.name,
                    crate::json::quoted(one)
                );
                return Err(Error::new(Kind::Unsupported, what).hint(
                    "early releases of Chroma mix up vectors: read the directory (`path:`), or start a newer release on it",
                ));
            }
        }
        Ok(())
    }

    fn stretch(&self, shard: &Shard) -> Result<&Stretch> {
        let stretch = self.looked()?.stretches.get(shard.part as usize);
        stretch.ok_or_else(|| {
            let what = format!("{} no longer exists", shard.name);
            Error::new(Kind::Changed, what)
        })
    }
}

impl Source for Chroma {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let Looked { stretches, notes } = self.looked()?;
        let (mut targets, mut shards) = (Vec::new(), Vec::new());
        let mut identity = BTreeMap::new();
        let address = self.client.address();
        let mut warnings = vec![format!(
            "Chroma at {address} cannot pin its state: it is read live, and rows that others write or delete meanwhile may or \
             may not be migrated"
        )];
        for (number, stretch) in stretches.iter().enumerate() {
            let mut bounds = vec![(0, Position::Start)];
            bounds.extend(stretch.places.iter().map(|p| (p.rows, p.position())));
            bounds.push((stretch.count, Position::End));
            let ranges = bounds.len() - 1;
            for (range, pair) in bounds.windows(2).enumerate() {
                shards.push(Shard {
                    number: shards.len() as u32,
                    target: number as u32,
                    part: number as u32,
                    name: format!("{}, {} of {ranges}", stretch.name, range + 1),
                    rows: pair[1].0 - pair[0].0,
                    first_row: pair[0].0,
                    start: pair[0].1.clone(),
                    end: pair[1].1.clone(),
                });
            }
            targets.push(Target {
                number: number as u32,
                name: stretch.name.clone(),
                columns: stretch.layout.columns().clone(),
                traits: Arc::default(),
                keys: Keys::Unique,
                auto_id: false,
                rows: stretch.count,
                rows_deleted: 0,
                source: stretch.place.display().to_string(),
            });
            let what = format!("{}, {}", stretch.collection.id, stretch.layout.columns());
            identity.insert(format!("collection {}", stretch.name), what);
        }
        warnings.extend(notes.iter().cloned());
        Ok(Survey {
            manifest: Manifest { targets, shards },
            identity,
            warnings,
            indexes_differ: None,
        })
    }

    fn stillness(&self) -> Stillness {
        Stillness::Live
    }

    fn reads_at_once(&self) -> Option<usize> {
        Some(self.settings.connections)
    }

    fn profile(&self, shard: &Shard) -> Result<Vec<String>> {
        documents::profile(self, shard)
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let stretch = self.stretch(shard)?;
        Ok(Box::new(Pages::new(self, stretch, shard, &from, limits)?))
    }

    fn unchanged(&self) -> Result<()> {
        let stretches = self.looked.get().map(|looked| &looked.stretches);
        for stretch in stretches.into_iter().flatten() {
            let before = &stretch.collection;
            let kind = ColumnType::Vector(stretch.kind);
            match self.client.collection(&before.name) {
                Ok(Some(now))
                    if now.id == before.id
                        && now.dimension.is_none_or(|d| now.embedding(d).kind == kind) => {}
                Ok(_) => {
                    let what = format!(
                        "{} was deleted or recreated since the job looked it up",
                        stretch.name
                    );
                    return Err(Error::new(Kind::Changed, what));
                }
                // A server that does not answer has not changed.
                Err(error) if error.kind().is_silence() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
