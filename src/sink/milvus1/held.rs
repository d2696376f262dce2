//! What does a collection of Milvus 1.x hold of what was delivered to it? Rows are looked up by their ids.
//! The server returns one row for an id, however many there are, and counts whole partitions only.

use std::collections::HashMap;

use bytes::Bytes;

use crate::batch::{Batch, Key, Target};
use crate::error::Result;
use crate::sink::held::{Compared, Held, Holder, Way, What};

use super::Milvus1;

impl Milvus1 {
    pub(super) fn held_there(&self, target: &Target) -> Result<Held<'_>> {
        let name = &target.name;
        if self.settings.auto_id {
            return Ok(Held::ids_of_the_servers_own(name));
        }
        let Some(found) = self.server.collection(&name.collection)? else {
            return Ok(Held::no_collection(name));
        };
        let kind = target.vector();
        if found.dimension != i64::from(kind.dimension) {
            return Ok(Held::Another(format!(
                "collection {} holds vectors of {} dimensions, but {kind} were delivered",
                name.collection, found.dimension
            )));
        }
        if !name.partition.is_empty()
            && !self
                .server
                .has_partition(&name.collection, &name.partition)?
        {
            return Ok(Held::no_partition(name));
        }
        let into_partitions = self.server.looks_into_partitions();
        if !into_partitions && self.server.rows(&name.collection)?.outside(&name.partition) > 0 {
            return Ok(Held::Hidden {
                why: format!(
                    "{} cannot look into a single partition, and {} has rows in others",
                    self.server.name(),
                    name.collection
                ),
                hint: "Milvus 1.1 can".to_owned(),
            });
        }
        let (mut partition, mut others) = (String::new(), Vec::new());
        if into_partitions && name.partition.is_empty() {
            let all = self.server.rows(&name.collection)?.0.into_iter();
            let others_with_rows = all.filter(|one| !one.tag.is_empty() && one.rows > 0);
            others = others_with_rows.map(|one| one.tag).collect();
        } else if into_partitions {
            partition = name.partition.clone();
        }
        Ok(Held::Rows(Box::new(ById {
            sink: self,
            collection: name.collection.clone(),
            partition,
            others,
        })))
    }
}

/// A collection or partition.
struct ById<'s> {
    sink: &'s Milvus1,
    collection: String,
    partition: String,
    /// The partitions that a look-up sees besides the intended one: the default partition has no tag by which to name
    /// it (milvus#6228), and a look-up without a tag searches all partitions.
    others: Vec<String>,
}

impl ById<'_> {
    /// The vectors that other partitions hold under these ids.
    fn elsewhere(&self, ids: &[i64]) -> Result<HashMap<i64, Vec<Bytes>>> {
        let mut elsewhere: HashMap<i64, Vec<Bytes>> = HashMap::new();
        for tag in &self.others {
            let found = self.sink.server.vectors(&self.collection, tag, ids)?;
            for (id, vector) in ids.iter().zip(found) {
                if let Some(vector) = vector {
                    elsewhere.entry(*id).or_default().push(vector);
                }
            }
        }
        Ok(elsewhere)
    }
}

impl Holder for ById<'_> {
    fn way(&self) -> Way {
        Way::ById
    }

    fn why_unread(&self) -> &'static str {
        "Milvus 1.x cannot look into the default partition alone, and other partitions hold rows with the same ids: those \
         rows were counted, but their vectors were not compared"
    }

    fn present(&mut self, keys: &[Key]) -> Result<Option<Vec<Key>>> {
        let server = &self.sink.server;
        let ids: Vec<i64> = keys.iter().filter_map(Key::number).collect();
        let found = server.vectors(&self.collection, &self.partition, &ids)?;
        let there = ids.iter().zip(found).filter(|(_, row)| row.is_some());
        Ok(Some(there.map(|(id, _)| Key::Int(*id)).collect()))
    }

    fn compare(&mut self, batch: &Batch) -> Result<Compared> {
        // Requests are as long as allowed, however short the parts are.
        let rows = batch.parts.iter().flat_map(|part| {
            let width = part.vectors().len() / part.len();
            part.vectors()
                .chunks_exact(width)
                .enumerate()
                .map(move |(row, wanted)| (part, row, wanted))
        });
        let ids = batch.parts.iter().flat_map(|part| part.ids());
        let ids: Vec<i64> = ids.copied().collect();
        let found = self
            .sink
            .server
            .vectors(&self.collection, &self.partition, &ids)?;
        let elsewhere = self.elsewhere(&ids)?;
        let mut compared = Compared::default();
        for ((id, found), (part, row, wanted)) in ids.iter().zip(&found).zip(rows) {
            // The server does not return the partition of a row.
            let is_unsure = |found: &Bytes| {
                let others = elsewhere.get(id);
                others.is_some_and(|others| *found != *wanted || others.contains(found))
            };
            match found {
                None => compared.differs(part, row, What::Missing),
                Some(found) if is_unsure(found) => compared.unread += 1,
                Some(found) => {
                    compared.rows += 1;
                    if *found != *wanted {
                        compared.differs(part, row, What::OtherVector);
                    }
                }
            }
        }
        Ok(compared)
    }
}
