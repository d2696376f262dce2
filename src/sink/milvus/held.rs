//! What does a collection hold of what was delivered to it? Rows are asked for by their keys, and counted.
//! Never loads: what is not loaded cannot be read.

use bytes::Bytes;

use crate::batch::{Batch, Key, Part, Target};
use crate::error::{Error, Kind, Result};
use crate::job::NonFinite;
use crate::milvus::{Client, Flavour, LookUp};
use crate::sink::held::{Compared, Held, Holder, Way, What};

use super::{Milvus, fit, pack};

impl Milvus {
    pub(super) fn held_there(&self, target: &Target) -> Result<Held<'_>> {
        let name = &target.name;
        if self.settings.auto_id {
            return Ok(Held::ids_of_the_servers_own(name));
        }
        let Some(found) = self.client.collection(&name.collection)? else {
            return Ok(Held::no_collection(name));
        };
        if let Err(error) = fit::schema(&found, target, &self.settings) {
            return Ok(Held::Another(error.what().to_owned()));
        }
        let partition = self.counted_partition(target, found.has_partition_key());
        if let Some(partition) = partition
            && !partition.is_empty()
            && !self.client.has_partition(&found.name, partition)?
        {
            return Ok(Held::no_partition(name));
        }
        if !self.client.is_loaded(&found.name, partition)? {
            return Ok(Held::Hidden {
                why: format!("{name} is not loaded, and Milvus gives rows of what is loaded only"),
                hint: "`milvusdm verify --load` with the same job makes an index if there is none, loads, compares, and \
                       leaves the collection as it was; `load: true` and an `index` in the job keep it loaded"
                    .to_owned(),
            });
        }
        let look_up = LookUp {
            collection: found.name.clone(),
            partition: partition.map(str::to_owned),
            id: fit::id_name(target).to_owned(),
            vector: fit::vector_name(target).to_owned(),
            kind: target.vector(),
            since: self.client.now()?,
        };
        Ok(Held::Rows(Box::new(Keyed {
            client: &self.client,
            look_up,
            // It keeps one row for a key, and does not count by partition.
            counts: self.client.server().flavour != Flavour::LitePython,
        })))
    }
}

/// A collection or partition that is loaded.
struct Keyed<'s> {
    client: &'s Client,
    look_up: LookUp,
    counts: bool,
}

/// A row that was delivered.
#[derive(Clone, Copy)]
struct Wanted<'b> {
    id: i64,
    part: &'b Part,
    row: usize,
}

/// Questions asked to tell rows with copies apart: of as many as half of them each row is named exactly.
const QUESTIONS: u32 = 128;

/// What is known of rows that are there more than once.
struct Copies<'b> {
    /// How many may still be asked.
    questions: u32,
    /// The first, and how often it is there.
    first: Option<(Wanted<'b>, u64)>,
}

impl Wanted<'_> {
    fn vector(&self) -> &[u8] {
        let width = self.part.vectors().len() / self.part.len();
        &self.part.vectors()[self.row * width..][..width]
    }
}

impl Holder for Keyed<'_> {
    fn way(&self) -> Way {
        Way::ById
    }

    fn as_delivered(&self, mut batch: Batch) -> Result<Batch> {
        let floats = pack::floats(self.look_up.kind.element);
        pack::leave_out(&mut batch, NonFinite::Skip, floats)?;
        Ok(batch)
    }

    fn compare(&mut self, batch: &Batch) -> Result<Compared> {
        let rows = batch.parts.iter().flat_map(|part| {
            let ids = part.ids().iter().enumerate();
            ids.map(move |(row, id)| Wanted { id: *id, part, row })
        });
        let rows: Vec<Wanted<'_>> = rows.collect();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let found = self.client.rows(&self.look_up, &ids);
        let found = found.map_err(|e| self.unloaded(e))?;
        let width = self.look_up.kind.row_bytes() as usize;
        let there = There::new(&found.ids, found.vectors, width);
        let mut compared = Compared::default();
        // Rows that a query gave, each of which has to be there once.
        let mut given = Vec::with_capacity(rows.len());
        for row in &rows {
            match there.vector(row.id) {
                Some(vector) => {
                    compared.rows += 1;
                    given.push(*row);
                    if vector != row.vector() {
                        compared.differs(row.part, row.row, What::OtherVector);
                    }
                }
                // A key that queries of real servers do not give: it can be counted.
                None if row.id == i64::MAX && self.counts => match self.count(&[row.id])? {
                    0 => compared.differs(row.part, row.row, What::Missing),
                    1 => compared.unread += 1,
                    n => compared.differs(row.part, row.row, What::Copies(n)),
                },
                None => compared.differs(row.part, row.row, What::Missing),
            }
        }
        if there.distinct != given.len() {
            return Err(Error::new(
                Kind::Refused,
                "the server gave rows whose keys were not asked for",
            ));
        }
        if self.counts {
            self.look_for_copies(&given, &mut compared)?;
        }
        Ok(compared)
    }

    fn present(&mut self, keys: &[Key]) -> Result<Option<Vec<Key>>> {
        let ids: Vec<i64> = keys.iter().filter_map(Key::number).collect();
        let found = self.client.present(&self.look_up, &ids);
        let mut there = found.map_err(|e| self.unloaded(e))?;
        // A key that queries of real servers do not give.
        if ids.contains(&i64::MAX) && self.counts && self.count(&[i64::MAX])? > 0 {
            there.push(i64::MAX);
        }
        there.sort_unstable();
        there.dedup();
        Ok(Some(there.into_iter().map(Key::Int).collect()))
    }

    fn copies(&mut self, keys: &[Key]) -> Result<Option<u64>> {
        let ids: Vec<i64> = keys.iter().filter_map(Key::number).collect();
        match self.counts {
            true => self.count(&ids).map(Some),
            false => Ok(None),
        }
    }
}

impl Keyed<'_> {
    /// A query gives one row of a key, however many there are; counting tells.
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
        // A row with another vector that is there twice is one row.
        let looked_for = given.len() as u64 + compared.missing;
        compared.differing = compared.differing.min(looked_for + compared.unread);
        Ok(())
    }

    /// How many of these rows have ids that are there more than once, `total` rows in all. Halved until single rows are
    /// left, or so many questions were asked: then it is as many as the surplus allows.
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
            found.first.get_or_insert((*row, total));
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
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        self.count(&ids)
    }

    fn count(&self, ids: &[i64]) -> Result<u64> {
        let count = self.client.copies(&self.look_up, ids);
        count.map_err(|e| self.unloaded(e))
    }

    /// A server that was started again loads what was loaded, which takes a while: what it refuses till then it will
    /// answer later.
    fn unloaded(&self, error: Error) -> Error {
        let LookUp {
            collection,
            partition,
            ..
        } = &self.look_up;
        let loaded = self.client.is_loaded(collection, partition.as_deref());
        match error.kind() {
            Kind::Refused if matches!(loaded, Ok(false)) => {
                let what = format!("{collection} was loaded, and is not: {}", error.what());
                Error::new(Kind::Busy, what)
            }
            _ => error,
        }
    }

    /// Two answers about the same rows do not fit each other.
    fn moves(&self) -> Error {
        let what = format!(
            "rows of {} change while they are compared",
            self.look_up.collection
        );
        Error::new(Kind::Busy, what)
    }
}

/// What a query gave, to be found by key.
struct There {
    /// Keys, and which of the rows each is.
    keys: Vec<(i64, usize)>,
    distinct: usize,
    vectors: Bytes,
    width: usize,
}

impl There {
    fn new(ids: &[i64], vectors: Bytes, width: usize) -> There {
        let mut keys: Vec<(i64, usize)> = ids.iter().copied().zip(0..).collect();
        keys.sort_unstable();
        let distinct = keys.chunk_by(|a, b| a.0 == b.0).count();
        There {
            keys,
            distinct,
            vectors,
            width,
        }
    }

    fn vector(&self, id: i64) -> Option<&[u8]> {
        let at = self.keys.binary_search_by_key(&id, |(key, _)| *key).ok()?;
        self.vectors
            .get(self.keys[at].1 * self.width..)?
            .get(..self.width)
    }
}
