//! How can a collection that is not loaded be read? It gets an index if it has none, and is loaded; both are undone
//! afterwards.

use std::time::{Duration, Instant};

use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::schema::{Column, ColumnType, Element};
use crate::sink::Loan;

use super::fit::{self, IndexPlan};
use super::{Flavour, Milvus};

/// The name of a temporary index.
const INDEX: &str = "milvusdm_verify";

/// How often to ask whether something is done.
const ASK_EVERY: Duration = Duration::from_millis(200);

impl Milvus {
    pub(super) fn lent(
        &self,
        target: &Target,
        loans: &mut Vec<Loan>,
        check: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        let name = &target.name.collection;
        let Some(found) = self.client.collection(name)? else {
            return Ok(());
        };
        let name = &found.name;
        let partition = self.counted_partition(target, found.has_partition_key());
        if self.client.is_loaded(name, partition)? {
            return Ok(());
        }
        if let Some(partition) = partition.filter(|p| !p.is_empty())
            && !self.client.has_partition(name, partition)?
        {
            return Ok(());
        }
        // A loaded collection has an index on each of its vectors.
        let alone = target.columns.vectors().count() == 1;
        for (_, column) in target.columns.vectors() {
            let field = &column.name;
            if self.client.index(name, field)?.is_some() {
                continue;
            }
            loans.push(Loan::Index {
                collection: name.clone(),
                field: field.clone(),
            });
            let plan = self.plainest(column, alone);
            (self.client).create_index(name, field, INDEX, plan.extra_params())?;
            self.until("building the index", check, || {
                let index = self.client.index(name, field)?;
                if let Some(why) = index.as_ref().and_then(|index| index.failed.as_ref()) {
                    let what = format!("the server could not build an index on {name}: {why}");
                    return Err(Error::new(Kind::Refused, what));
                }
                Ok(index.is_some_and(|index| index.finished))
            })?;
        }
        // If another partition is loaded, only this one is loaded in addition.
        let partly = self.client.server().flavour == Flavour::Full
            && self.client.is_loaded(name, None)?
            && partition.is_some();
        let partition = partition.filter(|_| partly);
        loans.push(Loan::Loaded {
            collection: name.clone(),
            partition: partition.map(str::to_owned),
        });
        match partition {
            Some(partition) => self.client.load_partition(name, partition)?,
            None => self.client.load(name)?,
        }
        self.until("loading", check, || self.client.is_loaded(name, partition))
    }

    pub(super) fn given_back(&self, loan: &Loan) -> Result<()> {
        match loan {
            Loan::Index { collection, field } => self.client.drop_index(collection, field, INDEX),
            Loan::Loaded {
                collection,
                partition: Some(partition),
            } => self.client.release_partition(collection, partition),
            Loan::Loaded { collection, .. } => self.client.release_collection(collection),
        }
    }

    /// The index that is cheapest to build, with the job's metric if that is known.
    fn plainest(&self, column: &Column, alone: bool) -> IndexPlan {
        let metric = fit::metric(column, &self.settings, alone).ok().flatten();
        let element = match column.kind {
            ColumnType::Vector(kind) => Some(kind.element),
            _ => None,
        };
        let (kind, otherwise) = match element {
            Some(Element::Bit) => ("BIN_FLAT", "HAMMING"),
            Some(Element::Float32) => ("FLAT", "L2"),
            Some(_) => ("AUTOINDEX", "L2"),
            None => ("SPARSE_INVERTED_INDEX", "IP"),
        };
        IndexPlan {
            kind: kind.to_owned(),
            metric: metric.map_or(otherwise.to_owned(), |m| m.name().to_owned()),
            params: Vec::new(),
        }
    }

    fn until(
        &self,
        doing: &str,
        check: &dyn Fn() -> Result<()>,
        done: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        let began = Instant::now();
        while !done()? {
            check()?;
            if began.elapsed() > self.run.patience {
                let what = format!("the server has been {doing} for longer than `run.patience`");
                return Err(
                    Error::new(Kind::Busy, what).hint("set `run: {patience: 1h}` to wait longer")
                );
            }
            std::thread::sleep(ASK_EVERY);
        }
        Ok(())
    }
}
