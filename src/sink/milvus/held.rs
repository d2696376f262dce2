//! What does a collection hold of what was delivered to it? Rows are queried by their keys, and counted.
//! Never loads a collection: one that is not loaded cannot be read.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};

use crate::batch::{Batch, Key, Part, Target};
use crate::error::{Error, Kind, Result};
use crate::job::{Misfits, NonFinite};
use crate::limits;
use crate::milvus::{Client, Flavour, Found, LookUp};
use crate::schema::ColumnType;
use crate::sink::equal;
use crate::sink::held::{Compared, Held, Holder, Way, What};

use super::check::Check;
use super::{Milvus, mend, pack};

impl Milvus {
    pub(super) fn held_there(&self, target: &Target) -> Result<Held<'_>> {
        let name = &target.name;
        if self.settings.auto_id {
            return Ok(Held::ids_of_the_servers_own(name));
        }
        let Some(found) = self.seen(&name.collection)? else {
            return Ok(Held::no_collection(name));
        };
        let fields = match self.fields(&found, target) {
            Ok(fields) => fields,
            Err(error) => {
                let all = match error.mistakes() {
                    [] => error.what().to_owned(),
                    all => all.iter().map(Error::what).collect::<Vec<_>>().join("; "),
                };
                return Ok(Held::Another(all));
            }
        };
        let partition = self.counted_partition(target, found.has_partition_key());
        if let Some(partition) = partition
            && !partition.is_empty()
            && self.seen_partition(&found.name, partition)?.is_none()
        {
            return Ok(Held::no_partition(name));
        }
        if !self.client.is_loaded(&found.name, partition)? {
            return Ok(Held::Hidden {
                why: format!("{name} is not loaded, and Milvus returns rows of loaded collections only"),
                hint: "`milvusdm verify --load` with the same job creates an index if there is none, loads, \
                       compares, and restores the previous state; `load: true` and an `index` in the job keep it loaded"
                    .to_owned(),
            });
        }
        let columns = target.columns.all();
        let mut looks = Vec::new();
        for field in &fields.sent {
            let others = field.column.filter(|at| *at != target.columns.key_number());
            let Some(number) = others else { continue };
            let defaulted = found
                .field(&field.name)
                .is_some_and(|field| field.default_value.is_some());
            looks.push(Look { number, defaulted });
        }
        let look_up = LookUp {
            collection: found.name.clone(),
            partition: partition.map(str::to_owned),
            key: target.columns.key().name.clone(),
            columns: looks
                .iter()
                .map(|look| columns[look.number].clone())
                .collect(),
            since: self.client.now()?,
        };
        Ok(Held::Rows(Box::new(Keyed {
            client: &self.client,
            look_up,
            looks,
            plain: target.plain().is_some(),
            checks: fields.checks,
            misfit: self.run.rules.misfit,
            // Milvus Lite keeps one row per key, and does not count by partition.
            counts: self.client.server().flavour != Flavour::LitePython,
        })))
    }
}

/// A collection or partition that is loaded.
struct Keyed<'s> {
    client: &'s Client,
    look_up: LookUp,
    /// For each column that is read, its place among the columns of rows.
    looks: Vec<Look>,
    plain: bool,
    checks: Vec<Check>,
    misfit: Misfits,
    counts: bool,
}

/// A column to compare.
struct Look {
    number: usize,
    /// Rows without a value got a default in the collection.
    defaulted: bool,
}

/// The most queries spent on identifying rows that have copies: enough for up to half as many rows.
const QUESTIONS: u32 = 128;

/// What is known about rows that occur more than once.
struct Copies<'b> {
    /// How many queries may still be made.
    questions: u32,
    /// The first one, and how often it occurs.
    first: Option<(Wanted<'b>, u64)>,
}

/// A row that was delivered.
#[derive(Clone)]
struct Wanted<'b> {
    key: Key,
    part: &'b Part,
    row: usize,
}

impl Holder for Keyed<'_> {
    fn way(&self) -> Way {
        Way::ById
    }

    fn why_unread(&self) -> &'static str {
        "Milvus 2.x does not return the row with id 9223372036854775807: it was counted, but its vector was not compared"
    }

    fn as_delivered(&self, batch: Batch) -> Result<Batch> {
        // Rows that were delivered passed the rules of the run.
        let (mut batch, _) = mend::fitted(&self.checks, self.misfit, batch)?;
        pack::leave_out(&mut batch, NonFinite::Skip)?;
        Ok(batch)
    }

    fn compare(&mut self, batch: &Batch) -> Result<Compared> {
        if key_bytes(batch) > limits::LOOK_UP_KEY_BYTES
            && let Some((left, right)) = batch.halves()
        {
            let mut compared = self.compare(&left)?;
            compared.add(self.compare(&right)?);
            return Ok(compared);
        }
        let rows = batch.parts.iter().flat_map(|part| {
            let keys = part.keys().enumerate();
            keys.map(move |(row, key)| Wanted { key, part, row })
        });
        let rows: Vec<Wanted<'_>> = rows.collect();
        let keys: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect();
        let found = self.client.rows(&self.look_up, &keys);
        let found = found.map_err(|e| self.unloaded(e))?;
        let there = There::new(found);
        let mut compared = Compared::default();
        // Rows that a query returned, each of which must occur once.
        let mut given = Vec::with_capacity(rows.len());
        for row in &rows {
            match there.row(&row.key) {
                Some(at) => {
                    compared.rows += 1;
                    given.push(row.clone());
                    if let Some(what) = self.differs(row, &there, at) {
                        compared.differs(row.part, row.row, what);
                    }
                }
                // A key that queries of real servers do not return, but that can be counted.
                None if row.key == Key::Int(i64::MAX) && self.counts => {
                    match self.count(std::slice::from_ref(&row.key))? {
                        0 => compared.differs(row.part, row.row, What::Missing),
                        1 => compared.unread += 1,
                        n => compared.differs(row.part, row.row, What::Copies(n)),
                    }
                }
                None => compared.differs(row.part, row.row, What::Missing),
            }
        }
        if there.distinct != given.len() {
            return Err(Error::new(
                Kind::Refused,
                "the server returned rows whose keys were not asked for",
            ));
        }
        if self.counts {
            self.look_for_copies(&given, &mut compared)?;
        }
        Ok(compared)
    }

    fn present(&mut self, keys: &[Key]) -> Result<Option<Vec<Key>>> {
        let found = self.client.present(&self.look_up, keys);
        let mut there = found.map_err(|e| self.unloaded(e))?;
        // A key that queries of real servers do not return.
        let last = Key::Int(i64::MAX);
        if keys.contains(&last) && self.counts && self.count(std::slice::from_ref(&last))? > 0 {
            there.push(last);
        }
        there.sort_unstable();
        there.dedup();
        Ok(Some(there))
    }

    fn copies(&mut self, keys: &[Key]) -> Result<Option<u64>> {
        match self.counts {
            true => self.count(keys).map(Some),
            false => Ok(None),
        }
    }
}

/// Bytes of a batch's keys, if they are text.
fn key_bytes(batch: &Batch) -> usize {
    let keys = batch.parts.iter().filter_map(Part::text_keys);
    keys.map(|keys| keys.iter().flatten().map(str::len).sum::<usize>())
        .sum()
}

impl Keyed<'_> {
    /// What differs between a delivered row and the row in the collection.
    fn differs(&self, wanted: &Wanted<'_>, there: &There, at: usize) -> Option<What> {
        let columns = self.look_up.columns.iter().zip(&there.columns);
        for (look, (column, array)) in self.looks.iter().zip(columns) {
            let same = match column.kind {
                ColumnType::Vector(kind) => {
                    let width = kind.row_bytes() as usize;
                    let vectors = wanted.part.vectors_of(look.number);
                    let bytes = array.as_fixed_size_binary().value(at);
                    vectors[wanted.row * width..][..width] == *bytes
                }
                kind => {
                    let value = wanted.part.column(look.number);
                    look.defaulted && value.is_null(wanted.row)
                        || equal::values(kind, (&value, wanted.row), (array, at))
                }
            };
            if !same {
                return Some(match self.plain {
                    true => What::OtherVector,
                    false => What::OtherValue(column.name.clone()),
                });
            }
        }
        None
    }

    /// A query returns one row of a key, however many there are; counting tells how many.
    fn look_for_copies(&self, given: &[Wanted<'_>], compared: &mut Compared) -> Result<()> {
        if given.is_empty() {
            return Ok(());
        }
        let total = self.count_rows(given)?;
        let mut found = Copies {
            questions: QUESTIONS,
            first: None,
        };
        let rows = self.with_copies(given, total, &mut found)?;
        if let Some((row, copies)) = found.first {
            compared.differs(row.part, row.row, What::Copies(copies));
            compared.differing += rows - 1;
        }
        // A row that occurs twice and has another vector counts as one.
        let looked_for = given.len() as u64 + compared.missing;
        compared.differing = compared.differing.min(looked_for + compared.unread);
        Ok(())
    }

    /// How many of these rows have ids that occur more than once, if the collection has `total` rows with these ids.
    /// Halves the rows until single ones are left or too many queries were made: then as many as the surplus allows.
    fn with_copies<'b>(
        &self,
        some: &[Wanted<'b>],
        total: u64,
        found: &mut Copies<'b>,
    ) -> Result<u64> {
        let rows = some.len() as u64;
        let Some(surplus) = total.checked_sub(rows) else {
            return Err(self.moves());
        };
        if surplus == 0 {
            return Ok(0);
        }
        if let [row] = some {
            found.first.get_or_insert_with(|| (row.clone(), total));
            return Ok(1);
        }
        if found.questions == 0 && found.first.is_some() {
            return Ok(surplus.min(rows));
        }
        found.questions = found.questions.saturating_sub(1);
        let (left, right) = some.split_at(some.len() / 2);
        let in_left = self.count_rows(left)?;
        let in_right = total.checked_sub(in_left).ok_or_else(|| self.moves())?;
        let in_left = self.with_copies(left, in_left, found)?;
        Ok(in_left + self.with_copies(right, in_right, found)?)
    }

    fn count_rows(&self, rows: &[Wanted<'_>]) -> Result<u64> {
        let keys: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect();
        self.count(&keys)
    }

    fn count(&self, keys: &[Key]) -> Result<u64> {
        let count = self.client.copies(&self.look_up, keys);
        count.map_err(|e| self.unloaded(e))
    }

    /// A restarted server reloads what was loaded, which takes a while: later it will answer queries that it refuses
    /// until then.
    fn unloaded(&self, error: Error) -> Error {
        let LookUp {
            collection,
            partition,
            ..
        } = &self.look_up;
        let loaded = self.client.is_loaded(collection, partition.as_deref());
        match error.kind() {
            Kind::Refused if matches!(loaded, Ok(false)) => {
                let what = format!(
                    "{collection} was loaded, but no longer is: {}",
                    error.what()
                );
                Error::new(Kind::Busy, what)
            }
            _ => error,
        }
    }

    /// Two answers about the same rows contradict each other.
    fn moves(&self) -> Error {
        let what = format!(
            "rows of {} are changing while they are compared",
            self.look_up.collection
        );
        Error::new(Kind::Busy, what)
    }
}

/// What a query returned, by key.
struct There {
    /// The keys, each with the number of its row.
    keys: Vec<(Key, usize)>,
    distinct: usize,
    columns: Vec<ArrayRef>,
}

impl There {
    fn new(found: Found) -> There {
        let mut keys: Vec<(Key, usize)> = found.keys.into_iter().zip(0..).collect();
        keys.sort_unstable();
        let distinct = keys.chunk_by(|a, b| a.0 == b.0).count();
        There {
            keys,
            distinct,
            columns: found.columns,
        }
    }

    fn row(&self, key: &Key) -> Option<usize> {
        let at = self
            .keys
            .binary_search_by(|(there, _)| there.cmp(key))
            .ok()?;
        Some(self.keys[at].1)
    }
}
