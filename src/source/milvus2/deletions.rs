//! Which keys were deleted, and when? The last timestamp of each, from all logs of a segment, in every format.
//! Bounded: if there are too many, a share of the keys is held at a time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::catalog::{Lineage, Log};
use super::log::{self, Owner};
use crate::digest;
use crate::error::{Error, Kind, Result};
use crate::format::binlog::{self, Event};
use crate::input::{View, Volume};
use crate::limits;
use crate::parquet::{self, File, Values};
use crate::schema::{ColumnType, Scalar};

/// The field number in logs of deletions, which belong to no field.
const NO_FIELD: i64 = -1;
const INT64: ColumnType = ColumnType::Scalar(Scalar::Int64);
const TEXT: ColumnType = ColumnType::VarChar { max_bytes: None };

/// Deleted keys, each with its last timestamp.
#[derive(Debug)]
pub enum Deletions {
    /// Numeric keys.
    Int(HashMap<i64, u64>),
    /// Text keys.
    Text(HashMap<Box<str>, u64>),
}

impl Deletions {
    /// Marks the dead rows among these: their key was deleted after they were written. An upsert writes both with the
    /// same timestamp, and the row it wrote is live.
    pub fn dead(&self, keys: &ArrayRef, stamps: &[u64], dead: &mut [bool]) {
        let mut note = |row: usize, at: Option<&u64>| {
            dead[row] |= at.is_some_and(|at| *at > stamps[row]);
        };
        match self {
            Deletions::Int(all) => {
                let keys = keys.as_primitive::<Int64Type>().values();
                for (row, key) in keys.iter().enumerate() {
                    note(row, all.get(key));
                }
            }
            Deletions::Text(all) => {
                let keys = keys.as_string::<i32>();
                for row in 0..keys.len() {
                    note(row, all.get(keys.value(row)));
                }
            }
        }
    }

    fn bytes(&self, texts: u64) -> u64 {
        match self {
            Deletions::Int(all) => all.len() as u64 * 32,
            Deletions::Text(all) => all.len() as u64 * 48 + texts,
        }
    }
}

/// Logs of deletions that apply to the same rows, read when they are needed.
#[derive(Debug)]
pub struct Group {
    collection: i64,
    logs: Vec<Log>,
    lineage: Arc<Lineage>,
    is_text: bool,
    volume: Volume,
    /// The deletions, as long as they are in use.
    read: Mutex<Weak<Deletions>>,
}

impl Group {
    /// Groups these logs of a collection.
    pub fn new(
        collection: i64,
        logs: Vec<Log>,
        lineage: &Arc<Lineage>,
        is_text: bool,
        volume: &Volume,
    ) -> Group {
        Group {
            collection,
            logs,
            lineage: lineage.clone(),
            is_text,
            volume: volume.clone(),
            read: Mutex::default(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Its files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.logs.iter().map(|log| &log.path)
    }

    /// The deletions in the logs; `None` if there are more than may be held.
    pub fn load(&self) -> Result<Option<Arc<Deletions>>> {
        // Threads that need the same deletions wait here instead of reading them twice.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = read.upgrade() {
            return Ok(Some(held));
        }
        let all = self.share(Share { number: 0, of: 1 })?.map(Arc::new);
        if let Some(all) = &all {
            *read = Arc::downgrade(all);
        }
        Ok(all)
    }

    /// The deletions of a share of the keys; `None` if there are more than may be held.
    pub fn share(&self, share: Share) -> Result<Option<Deletions>> {
        let mut loading = Loading {
            share,
            all: match self.is_text {
                true => Deletions::Text(HashMap::new()),
                false => Deletions::Int(HashMap::new()),
            },
            texts: 0,
            seen: 0,
            is_full: false,
        };
        for log in &self.logs {
            let owner = Owner {
                collection: self.collection,
                segment: log.segment,
                field: NO_FIELD,
            };
            let view = log::open(&log.path, &self.volume)?;
            loading.seen = 0;
            loading.log(&view, owner, &self.lineage)?;
            if loading.is_full {
                return Ok(None);
            }
            // Another log of the segment may be in its place.
            if log.rows > 0 && log.rows.unsigned_abs() != loading.seen {
                let (seen, rows) = (loading.seen, log.rows);
                let what = format!("has {seen} deletions, but the metadata records {rows}");
                return Err(view.corrupt(0, what));
            }
        }
        Ok(Some(loading.all))
    }
}

/// A deletion as JSON.
#[derive(Deserialize)]
struct Record<'r> {
    #[serde(borrow)]
    pk: &'r RawValue,
    ts: u64,
}

/// The share of keys whose digest falls into one of several classes.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// The number of the class: less than `of`.
    pub number: u64,
    /// The number of classes.
    pub of: u64,
}

impl Share {
    fn has(self, key: &[u8]) -> bool {
        self.of == 1 || digest::name(key) % self.of == self.number
    }
}

struct Loading {
    share: Share,
    all: Deletions,
    texts: u64,
    /// Deletions in the log that is being read, of all shares.
    seen: u64,
    /// Whether the limit is exceeded, so that nothing more is added.
    is_full: bool,
}

impl Loading {
    fn log(&mut self, view: &View, mut owner: Owner, lineage: &Lineage) -> Result<()> {
        if !binlog::is_binlog(view) {
            return self.columns(&File::of(view.clone())?);
        }
        let log = binlog::read(view, Event::Delete)?;
        if lineage.may_copy(owner.segment, log.segment) {
            owner.segment = log.segment;
        }
        owner.check(&log, view)?;
        for payload in log.payloads {
            if self.is_full {
                break;
            }
            let file = File::of(payload)?;
            match (log.has_columns, file.columns.len()) {
                (true, _) => self.columns(&file)?,
                (false, 1) => self.records(&file)?,
                (false, count) => {
                    let what = format!("has {count} columns, but deletions in JSON have one");
                    return Err(file.view.corrupt(0, what));
                }
            }
        }
        Ok(())
    }

    /// Reads keys and timestamps from two columns.
    fn columns(&mut self, file: &File) -> Result<()> {
        if file.columns.len() != 2 {
            let what = format!(
                "has {} columns, but deletions have two: keys and timestamps",
                file.columns.len()
            );
            let error = Error::new(Kind::Unsupported, what).at(file.view.place(0));
            return Err(error);
        }
        let kind = match self.all {
            Deletions::Int(_) => INT64,
            Deletions::Text(_) => TEXT,
        };
        let (mut keys, mut stamps) = (Blocks::new(file, 0, kind)?, Blocks::new(file, 1, INT64)?);
        while let Some((keys, stamps)) = both(&mut keys, &mut stamps)? {
            let at = stamps.as_primitive::<Int64Type>().values();
            match keys.as_string_opt::<i32>() {
                Some(texts) => {
                    for (row, at) in at.iter().enumerate() {
                        self.text(texts.value(row), *at as u64);
                    }
                }
                None => {
                    let keys = keys.as_primitive::<Int64Type>().values();
                    for (key, at) in keys.iter().zip(at) {
                        self.int(*key, *at as u64);
                    }
                }
            }
            if self.is_too_much() {
                break;
            }
        }
        Ok(())
    }

    /// Reads keys and timestamps from text: JSON, or the format of the first releases.
    fn records(&mut self, file: &File) -> Result<()> {
        let mut values = Blocks::new(file, 0, TEXT)?;
        let mut row = 0u64;
        while let Some(block) = values.next()? {
            for text in block.as_string::<i32>().iter().flatten() {
                self.record(text).map_err(|what| {
                    let what = format!("deletion {row}: {what}");
                    file.view.corrupt(0, what)
                })?;
                row += 1;
            }
            if self.is_too_much() {
                break;
            }
        }
        Ok(())
    }

    fn record(&mut self, text: &str) -> std::result::Result<(), String> {
        if !text.starts_with('{') {
            let both = text.rsplit_once(',');
            let both = both.and_then(|(key, at)| Some((key.parse().ok()?, at.parse().ok()?)));
            let (key, at) =
                both.ok_or_else(|| format!("{text:?} is not a key with a timestamp"))?;
            return match self.all {
                Deletions::Int(_) => {
                    self.int(key, at);
                    Ok(())
                }
                Deletions::Text(_) => Err(format!("{text:?} has a numeric key, but keys are text")),
            };
        }
        let record: Record = serde_json::from_str(text).map_err(|e| format!("{text:?}: {e}"))?;
        let key = record.pk.get();
        let other = |e: serde_json::Error| format!("{text:?} has a key of another type: {e}");
        match self.all {
            Deletions::Int(_) => self.int(serde_json::from_str(key).map_err(other)?, record.ts),
            Deletions::Text(_) => {
                let key: String = serde_json::from_str(key).map_err(other)?;
                self.text(&key, record.ts);
            }
        }
        Ok(())
    }

    fn int(&mut self, key: i64, at: u64) {
        self.seen += 1;
        if !self.share.has(&key.to_le_bytes()) {
            return;
        }
        if let Deletions::Int(all) = &mut self.all {
            let last = all.entry(key).or_insert(at);
            *last = (*last).max(at);
        }
    }

    fn text(&mut self, key: &str, at: u64) {
        self.seen += 1;
        if !self.share.has(key.as_bytes()) {
            return;
        }
        let Deletions::Text(all) = &mut self.all else {
            return;
        };
        match all.get_mut(key) {
            Some(last) => *last = (*last).max(at),
            None => {
                self.texts += key.len() as u64;
                all.insert(key.into(), at);
            }
        }
    }

    fn is_too_much(&mut self) -> bool {
        self.is_full |= self.all.bytes(self.texts) > limits::DELETIONS_BYTES_MAX;
        self.is_full
    }
}

/// The values of a column, converted to the type needed.
struct Blocks<'f> {
    file: &'f File,
    values: Values,
    column: usize,
    kind: ColumnType,
    held: Option<ArrayRef>,
}

impl<'f> Blocks<'f> {
    fn new(file: &'f File, column: usize, kind: ColumnType) -> Result<Blocks<'f>> {
        log::check(file, column, kind)?;
        Ok(Blocks {
            file,
            values: Values::new(file, column, 0),
            column,
            kind,
            held: None,
        })
    }

    fn next(&mut self) -> Result<Option<ArrayRef>> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        let Some(block) = self.values.next_block()? else {
            return Ok(None);
        };
        let logical = self.file.columns[self.column].logical;
        let block = parquet::convert(&block, logical, self.kind, false);
        let block = block.map_err(|(row, what)| {
            let what = format!("deletion {row}: {what}");
            self.file.view.corrupt(0, what)
        })?;
        Ok(Some(block))
    }
}

/// As many values of two parallel columns as both have ready.
fn both(one: &mut Blocks<'_>, two: &mut Blocks<'_>) -> Result<Option<(ArrayRef, ArrayRef)>> {
    let (Some(a), Some(b)) = (one.next()?, two.next()?) else {
        return Ok(None);
    };
    let count = a.len().min(b.len());
    let rest = |array: &ArrayRef| {
        let left = array.len() - count;
        (left > 0).then(|| array.slice(count, left))
    };
    (one.held, two.held) = (rest(&a), rest(&b));
    Ok(Some((a.slice(0, count), b.slice(0, count))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int64Array, StringArray};

    use super::*;

    fn loading(is_text: bool, share: Share) -> Loading {
        Loading {
            share,
            all: match is_text {
                true => Deletions::Text(HashMap::new()),
                false => Deletions::Int(HashMap::new()),
            },
            texts: 0,
            seen: 0,
            is_full: false,
        }
    }

    #[test]
    fn each_key_is_in_one_share_with_its_last_moment() {
        let texts: Vec<String> = (0..500).map(|key| format!("k{key}")).collect();
        let of_texts: ArrayRef = Arc::new(StringArray::from_iter_values(&texts));
        let of_numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(-250..250));
        for (is_text, keys) in [(true, of_texts), (false, of_numbers)] {
            // Odd keys were deleted at 5 and 9, even ones at 7 and 3: rows written at 8 outlive only the latter.
            let mut found = vec![0; 500];
            for number in 0..4 {
                let mut loading = loading(is_text, Share { number, of: 4 });
                for (row, text) in texts.iter().enumerate() {
                    for at in [[7, 3], [5, 9]][row % 2] {
                        match is_text {
                            true => loading.text(text, at),
                            false => loading.int(row as i64 - 250, at),
                        }
                    }
                }
                let mut dead = vec![false; 500];
                loading.all.dead(&keys, &[8; 500], &mut dead);
                dead.iter()
                    .zip(&mut found)
                    .for_each(|(dead, found)| *found += u32::from(*dead));
                let held = loading.all.bytes(loading.texts);
                assert!((500 / 6 * 32..500 / 3 * 56).contains(&held), "{held}");
            }
            assert!(
                found
                    .iter()
                    .enumerate()
                    .all(|(row, found)| *found == row as u32 % 2)
            );
        }
    }

    #[test]
    fn numbers_are_too_many_beyond_the_bound() {
        let mut loading = loading(false, Share { number: 0, of: 1 });
        let most = limits::DELETIONS_BYTES_MAX as i64 / 32;
        (0..most).for_each(|key| loading.int(key, 1));
        assert!(!loading.is_too_much());
        loading.int(-1, 1);
        assert!(loading.is_too_much());
    }
}
