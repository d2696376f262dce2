//! What does a collection of Milvus 1.x hold of what was delivered to it? Rows are asked for by their ids.
//! It gives one row for an id, however many there are, and counts whole partitions only.

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
                "collection {} holds vectors of {} dimensions, {kind} were delivered",
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
                    "{} cannot look into a partition, and {} has rows in others",
                    self.server.name(),
                    name.collection
                ),
                hint: "Milvus 1.1 can".to_owned(),
            });
        }
        let partition = match into_partitions {
            true => name.partition.clone(),
            false => String::new(),
        };
        Ok(Held::Rows(Box::new(ById {
            sink: self,
            collection: name.collection.clone(),
            partition,
        })))
    }
}

/// A collection or partition. The default partition cannot be named, and rows of all the others are seen with it.
struct ById<'s> {
    sink: &'s Milvus1,
    collection: String,
    partition: String,
}

impl Holder for ById<'_> {
    fn way(&self) -> Way {
        Way::ById
    }

    fn present(&mut self, keys: &[Key]) -> Result<Option<Vec<Key>>> {
        let server = &self.sink.server;
        let ids: Vec<i64> = keys.iter().filter_map(Key::number).collect();
        let found = server.vectors(&self.collection, &self.partition, &ids)?;
        let there = ids.iter().zip(found).filter(|(_, row)| row.is_some());
        Ok(Some(there.map(|(id, _)| Key::Int(*id)).collect()))
    }

    fn compare(&mut self, batch: &Batch) -> Result<Compared> {
        // However short the parts are, requests are as long as may be.
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
        let mut compared = Compared::default();
        for (found, (part, row, wanted)) in found.iter().zip(rows) {
            match found {
                None => compared.differs(part, row, What::Missing),
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
