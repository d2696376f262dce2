//! What does a destination hold of what was delivered? Types for comparing rows with what is there.
//! Changes nothing at either end.

use std::sync::Arc;

use crate::batch::{Batch, Key, Part, TargetName};
use crate::error::Result;

/// What can be read back of a target.
pub enum Held<'s> {
    /// Its rows.
    Rows(Box<dyn Holder + 's>),
    /// Nothing: the reason, and what the operator can do about it.
    Hidden {
        /// Such as `collection c is not loaded`.
        why: String,
        /// What would make it readable.
        hint: String,
    },
    /// What is there cannot be what was delivered; the reason.
    Another(String),
}

impl Held<'_> {
    /// The ids of the target's rows were made by the server.
    pub fn ids_of_the_servers_own(name: &TargetName) -> Self {
        Held::Hidden {
            why: format!(
                "the server made the ids of {name}, so that its rows have no key to be asked for by"
            ),
            hint: "without `auto_id: true` rows keep their ids, and can be compared".to_owned(),
        }
    }

    /// The collection does not exist any more.
    pub fn no_collection(name: &TargetName) -> Self {
        Held::Another(format!("collection {} is not there", name.collection))
    }

    /// The partition does not exist any more.
    pub fn no_partition(name: &TargetName) -> Self {
        Held::Another(format!("partition {name} is not there"))
    }
}

/// How rows are found at a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By their ids: rows with the same id are not distinguished.
    ById,
    /// By their position: all of them, with their ids.
    InOrder,
}

/// A target at its destination, open for reading.
pub trait Holder {
    /// How rows are found there.
    fn way(&self) -> Way;

    /// The rows of a batch as they were delivered: without those that the destination does not accept.
    fn as_delivered(&self, batch: Batch) -> Result<Batch> {
        Ok(batch)
    }

    /// Compares rows as they were delivered with what is there, bit for bit.
    fn compare(&mut self, batch: &Batch) -> Result<Compared>;

    /// How many rows there have these keys, all copies counted; `None` if the destination cannot tell.
    fn copies(&mut self, _keys: &[Key]) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Which of these keys are there; `None` if the destination cannot be asked.
    fn present(&mut self, _keys: &[Key]) -> Result<Option<Vec<Key>>> {
        Ok(None)
    }

    /// Why the destination does not return some rows that are there.
    fn why_unread(&self) -> &'static str {
        ""
    }

    /// Whether everything compared so far is there, but in another order.
    fn only_order_differs(&self) -> bool {
        false
    }
}

/// The result of comparing some rows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Compared {
    /// Rows whose ids and vectors were compared.
    pub rows: u64,
    /// Rows that are there, but that the destination does not return: their vectors were not compared.
    pub unread: u64,
    /// Rows that differ.
    pub differing: u64,
    /// Of these, rows that are missing: they were searched for, but not compared.
    pub missing: u64,
    /// The first of them.
    pub first: Option<Difference>,
}

impl Compared {
    /// Records a row that differs.
    pub fn differs(&mut self, part: &Part, row: usize, what: What) {
        self.differing += 1;
        self.missing += u64::from(what == What::Missing);
        self.first.get_or_insert_with(|| Difference {
            key: part.key(row),
            file: part.file.clone(),
            row: part.row + row as u64,
            what,
        });
    }

    /// Adds the result of comparing other rows.
    pub fn add(&mut self, other: Compared) {
        self.rows += other.rows;
        self.unread += other.unread;
        self.differing += other.differing;
        self.missing += other.missing;
        self.first = self.first.take().or(other.first);
    }
}

/// A row that is not there as it was delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// What identifies it.
    pub key: Key,
    /// The source file that holds it.
    pub file: Arc<std::path::Path>,
    /// Its stored row number there.
    pub row: u64,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// It is not there.
    Missing,
    /// Its id is there more often than it was delivered: this many times.
    Copies(u64),
    /// Its id is there with a different vector.
    OtherVector,
    /// It is there with a different value in this column.
    OtherValue(String),
    /// Another id is in its position.
    OtherId(Key),
    /// What is in its position cannot be read; the reason.
    Unreadable(String),
}

impl What {
    /// One word for machines.
    pub fn name(&self) -> &'static str {
        match self {
            What::Missing => "missing",
            What::Copies(_) => "copies",
            What::OtherVector => "other vector",
            What::OtherValue(_) => "other value",
            What::OtherId(_) => "other id",
            What::Unreadable(_) => "unreadable",
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Missing => f.write_str("is missing"),
            What::Copies(2) => f.write_str("is there twice"),
            What::Copies(n) => write!(f, "is there {n} times"),
            What::OtherVector => f.write_str("is there with another vector"),
            What::OtherValue(column) => write!(f, "is there with another value in `{column}`"),
            What::OtherId(id) => write!(f, "has id {id} in its place"),
            What::Unreadable(why) => write!(f, "cannot be read back: {why}"),
        }
    }
}
