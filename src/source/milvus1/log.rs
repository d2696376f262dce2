//! What is in the log but was never flushed into a segment?
//! Reads the log forward in small blocks; the rule is Milvus's own (WalManager::GetNextRecord).
//!
//! A record is pending when its owner is alive and has flushed less than its lsn. The owner is the collection
//! if the record has no tag, else the live partition of that tag.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::format::wal::{self, Op, Records};
use crate::input::{Access, View};

use super::super::choose::Chosen;
use super::meta::Meta;

/// Records that would be lost, by collection.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Pending {
    /// Collections, in the order of the metadata.
    pub collections: Vec<PendingOf>,
}

/// Pending records of one collection.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct PendingOf {
    /// Its name.
    pub collection: String,
    /// What is done to each of its partitions; the default one is `_default`.
    pub partitions: BTreeMap<String, Deeds>,
}

/// Rows of pending records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Deeds {
    /// Rows to be added.
    pub inserts: u64,
    /// Ids to be deleted.
    pub deletes: u64,
    /// Rows to be replaced.
    pub updates: u64,
}

impl Pending {
    /// Whether nothing would be lost.
    pub fn is_empty(&self) -> bool {
        self.collections.is_empty()
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        type Count = fn(&Deeds) -> u64;
        let kinds: [(&str, &str, Count); 3] = [
            ("insert", "into", |d| d.inserts),
            ("update", "of", |d| d.updates),
            ("delete", "from", |d| d.deletes),
        ];
        let mut said = Vec::new();
        for of in &self.collections {
            for (kind, preposition, count) in kinds {
                let parts = of.partitions.iter().map(|(tag, d)| (tag, count(d)));
                let parts: Vec<_> = parts.filter(|(_, n)| *n > 0).collect();
                let total: u64 = parts.iter().map(|(_, n)| n).sum();
                let s = if total == 1 { "" } else { "s" };
                let mut text = format!("{total} {kind}{s} {preposition} {}", of.collection);
                match &parts[..] {
                    [] => continue,
                    [(tag, _)] if *tag == "_default" => {}
                    parts => {
                        let each = parts.iter().map(|(tag, n)| format!("{n} in {tag}"));
                        let each: Vec<String> = each.collect();
                        text.push_str(&format!(" ({})", each.join(", ")));
                    }
                }
                said.push(text);
            }
        }
        f.write_str(&said.join(", "))
    }
}

struct Owner {
    interest: Interest,
    flushed: u64,
}

/// Which records of an owner matter to what was chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Interest {
    None,
    /// Another partition was chosen, not the default one: a delete without a tag applies to all of them.
    Deletes,
    All,
}

/// Looks for pending records of chosen partitions in a log directory, which need not exist.
pub fn pending(dir: &Path, meta: &Meta, chosen: &[Chosen]) -> Result<Pending> {
    let files = files(dir)?;
    let meta_path = dir.join("mxlog.meta");
    let last = match meta_path.exists() {
        true => wal::last_lsn(View::open(&meta_path, Access::Read)?)?,
        // Then every record counts.
        false => u64::MAX,
    };
    let owners = owners(meta, chosen);
    let of_interest = owners.values().filter(|o| o.interest != Interest::None);
    let first = of_interest.map(|o| o.flushed).min();
    let Some(first) = first.filter(|first| *first < last) else {
        return Ok(Pending::default());
    };
    let (first_file, (last_file, last_end)) = (wal::split(first).0, wal::split(last));
    let mut found = BTreeMap::new();
    let mut before = None;
    for (number, path) in files {
        if number < first_file || number > last_file {
            continue;
        }
        // Files that were flushed are removed from the front; a gap is something else.
        if before.is_some_and(|before: u32| before.checked_add(1) != Some(number)) {
            let what = format!(
                "the log continues here, but file {}.wal is missing",
                number - 1
            );
            return Err(Error::path(Kind::Corrupt, &path, what));
        }
        before = Some(number);
        let mut view = View::open(&path, Access::Read)?;
        if number == last_file && last != u64::MAX {
            // What follows the last record is left from an unfinished write.
            view = view.cut(0, u64::from(last_end)).map_err(|_| {
                let what = format!(
                    "the log ends at byte {last_end}, says mxlog.meta, but the file has {} bytes",
                    view.len()
                );
                Error::path(Kind::Corrupt, &path, what)
            })?;
        }
        scan(Records::new(view, number), &owners, &mut found)?;
    }
    Ok(by_collection(meta, found))
}

type Found = BTreeMap<(String, String), Deeds>;

fn scan(
    mut records: Records,
    owners: &BTreeMap<(&str, &str), Owner>,
    found: &mut Found,
) -> Result<()> {
    while let Some(record) = records.next()? {
        // Milvus up to 1.1.1 skips records tagged `_default`, later ones apply them: they are of interest.
        let tag = match record.tag.as_str() {
            "_default" => "",
            tag => tag,
        };
        let Some(owner) = owners.get(&(record.collection.as_str(), tag)) else {
            continue;
        };
        let rows = u64::from(record.rows);
        let matters = match owner.interest {
            Interest::None => false,
            Interest::Deletes => record.op == Op::Delete,
            Interest::All => true,
        };
        if !matters || record.lsn <= owner.flushed {
            continue;
        }
        let mut deeds = Deeds::default();
        match record.op {
            Op::Insert | Op::Entity => deeds.inserts = rows,
            Op::Delete => deeds.deletes = rows,
            Op::Update => deeds.updates = rows,
            Op::None | Op::Flush => continue,
        }
        let sum = found
            .entry((record.collection, tag.to_owned()))
            .or_default();
        sum.inserts = sum.inserts.saturating_add(deeds.inserts);
        sum.deletes = sum.deletes.saturating_add(deeds.deletes);
        sum.updates = sum.updates.saturating_add(deeds.updates);
    }
    Ok(())
}

fn owners<'m>(meta: &'m Meta, chosen: &[Chosen]) -> BTreeMap<(&'m str, &'m str), Owner> {
    let mut owners = BTreeMap::new();
    let chosen: BTreeSet<Chosen> = chosen.iter().copied().collect();
    for (c, collection) in meta.collections.iter().enumerate() {
        let at = |partition| Chosen {
            collection: c,
            partition,
        };
        let any = (0..collection.partitions.len()).any(|p| chosen.contains(&at(p)));
        for (p, partition) in collection.partitions.iter().enumerate() {
            let interest = match (chosen.contains(&at(p)), partition.tag.as_str()) {
                (true, _) => Interest::All,
                (false, "") if any => Interest::Deletes,
                (false, _) => Interest::None,
            };
            let owner = Owner {
                interest,
                flushed: partition.flush_lsn,
            };
            owners.insert((collection.name.as_str(), partition.tag.as_str()), owner);
        }
    }
    owners
}

fn by_collection(meta: &Meta, mut found: Found) -> Pending {
    let mut pending = Pending::default();
    for collection in &meta.collections {
        let mut of = PendingOf {
            collection: collection.name.clone(),
            ..PendingOf::default()
        };
        for partition in &collection.partitions {
            let key = (collection.name.clone(), partition.tag.clone());
            let tag = match partition.tag.as_str() {
                "" => "_default",
                tag => tag,
            };
            if let Some(deeds) = found.remove(&key) {
                of.partitions.insert(tag.to_owned(), deeds);
            }
        }
        if !of.partitions.is_empty() {
            pending.collections.push(of);
        }
    }
    pending
}

/// The log's files by their numbers.
fn files(dir: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(e) => return Err(Error::io(dir, "list the log", &e)),
    };
    for entry in entries {
        let path = entry
            .map_err(|e| Error::io(dir, "list the log", &e))?
            .path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(number) = name.strip_suffix(".wal").and_then(|n| n.parse().ok()) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}
