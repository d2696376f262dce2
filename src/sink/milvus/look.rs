//! What exists before anything is changed? Asked once per collection, however many targets are in it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard};

use crate::error::Result;
use crate::milvus::{Collection, IndexState};

use super::Milvus;

/// What the server has answered.
#[derive(Default)]
pub(super) struct Looks {
    collections: Mutex<HashMap<String, Option<Collection>>>,
    /// For each collection the numbers of its partitions.
    partitions: Mutex<HashMap<String, HashMap<String, u64>>>,
    /// By collection and field.
    indexes: Mutex<HashMap<(String, String), Option<IndexState>>>,
}

impl Looks {
    /// Discards everything, because the next steps change what exists.
    pub(super) fn clear(&self) {
        lock(&self.collections).clear();
        lock(&self.partitions).clear();
        lock(&self.indexes).clear();
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().expect("no one panics with it locked")
}

/// What is known under a key; asks the server if nothing is. Two threads at the same time may both ask.
fn known<K: Hash + Eq, V, T>(
    all: &Mutex<HashMap<K, V>>,
    key: K,
    get: impl Fn(&V) -> T,
    ask: impl FnOnce() -> Result<V>,
) -> Result<T> {
    if let Some(known) = lock(all).get(&key) {
        return Ok(get(known));
    }
    let asked = ask()?;
    let got = get(&asked);
    lock(all).insert(key, asked);
    Ok(got)
}

impl Milvus {
    /// The collection of this name or alias, if there is one.
    pub(super) fn seen(&self, name: &str) -> Result<Option<Collection>> {
        let ask = || self.client.collection(name);
        known(&self.looks.collections, name.to_owned(), Option::clone, ask)
    }

    /// The server's id of a partition, 0 if the server does not return it; `None` if there is no such partition.
    pub(super) fn seen_partition(&self, collection: &str, partition: &str) -> Result<Option<u64>> {
        let ask = || self.client.partitions(collection);
        let get = |all: &HashMap<String, u64>| all.get(partition).copied();
        known(&self.looks.partitions, collection.to_owned(), get, ask)
    }

    /// The index on a field, if there is one.
    pub(super) fn seen_index(&self, collection: &str, field: &str) -> Result<Option<IndexState>> {
        let ask = || self.client.index(collection, field);
        let key = (collection.to_owned(), field.to_owned());
        known(&self.looks.indexes, key, Option::clone, ask)
    }
}
