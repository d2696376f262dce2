//! Which keys does etcd hold, according to its file or the server? The newest revision of each below Milvus's prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Result};
use crate::format::bbolt::Bolt;
use crate::input::{Access, View, Volume};
use crate::limits;
use crate::milvus::proto::Revision;

/// The path of etcd's file below its data directory.
pub const FILE: &str = "member/snap/db";
/// The value that marks a deleted key.
const TOMBSTONE: &[u8] = &[0xe2, 0x9b, 0xbc];
/// Bytes of the checksum that `etcdctl snapshot save` appends.
const SUM_BYTES: u64 = 32;
/// The length of etcd's file is a multiple of this, without that checksum.
const BLOCK: u64 = 512;

/// Keys and values below a prefix.
pub struct Keys {
    /// The file they were read from, or the address of the etcd.
    pub file: PathBuf,
    /// The prefix, without the trailing `/`.
    pub prefix: String,
    all: BTreeMap<Bytes, Bytes>,
}

impl Keys {
    /// The keys of the selected installation.
    pub fn of(from: &Path, all: BTreeMap<Bytes, Bytes>, prefix: Option<&str>) -> Result<Keys> {
        Ok(Keys {
            prefix: choose(from, &all, prefix)?,
            file: from.to_owned(),
            all,
        })
    }

    /// Keys that start with this path below the prefix, without that part, and their values.
    pub fn below<'k>(&'k self, path: &str) -> impl Iterator<Item = (&'k str, &'k Bytes)> {
        let start = format!("{}/{path}", self.prefix).into_bytes();
        let skip = start.len();
        let from = Bytes::from(start.clone());
        let all = self.all.range(from..);
        let all = all.take_while(move |(key, _)| key.starts_with(&start));
        all.filter_map(move |(key, value)| {
            let key = std::str::from_utf8(key.get(skip..)?).ok()?;
            Some((key, value))
        })
    }

    /// An error about the value of a key.
    pub fn wrong(&self, path: &str, key: &str, what: impl std::fmt::Display) -> Error {
        let what = format!("key {}/{path}{key} cannot be read: {what}", self.prefix);
        Error::path(Kind::Corrupt, &self.file, what)
    }
}

/// Reads the keys of a file; if there are several prefixes, `prefix` selects one.
pub fn read(path: &Path, volume: &Volume, prefix: Option<&str>) -> Result<Keys> {
    if volume.is_remote() {
        // Objects do not change while they are read.
        return once(volume.open(path)?, path, prefix).map(|(keys, _)| keys);
    }
    let mut tries = 0;
    loop {
        let read = open(path).and_then(|view| once(view, path, prefix));
        tries += 1;
        let busy = match &read {
            Ok((_, transaction)) => newest(path).is_ok_and(|now| now > *transaction + 1),
            Err(error) => error.kind() == Kind::Corrupt && newest(path).is_ok(),
        };
        match read {
            Ok((keys, _)) if !busy => return Ok(keys),
            Ok(_) if tries == limits::ETCD_TRIES => {
                let what = "was written to while it was being read";
                return Err(Error::path(Kind::Changed, path, what)
                    .hint("read a file of `etcdctl snapshot save`, or a copy"));
            }
            Err(error) if !busy || tries == limits::ETCD_TRIES => return Err(error),
            // A running server moves pages while they are read: what is damaged now may be intact on the next attempt.
            _ => {}
        }
    }
}

fn open(path: &Path) -> Result<View> {
    let length = std::fs::metadata(path).map_or(0, |meta| meta.len());
    // A copy in memory cannot change while it is read.
    let access = match length <= limits::ETCD_HELD_BYTES_MAX {
        true => Access::Read,
        false => Access::Map,
    };
    View::open(path, access)
}

fn newest(path: &Path) -> Result<u64> {
    Ok(Bolt::of(View::open(path, Access::Map)?)?.transaction)
}

fn once(view: View, path: &Path, prefix: Option<&str>) -> Result<(Keys, u64)> {
    if view.len() > limits::ETCD_FILE_BYTES_MAX {
        let what = format!("has {} bytes, more than etcd can hold", view.len());
        return Err(Error::path(Kind::Corrupt, path, what));
    }
    check_sum(&view)?;
    let bolt = Bolt::of(view)?;
    let mut all: BTreeMap<Bytes, Bytes> = BTreeMap::new();
    let mut each = |name: Bytes, value: Bytes| {
        let revision = Revision::decode(value.clone());
        let revision = revision
            .map_err(|e| bolt.corrupt(&value, format!("a value in etcd cannot be read: {e}")))?;
        // After the two numbers of a revision, `t` marks the key as deleted.
        let is_deleted = name.get(17) == Some(&b't');
        let taken = take(&mut all, revision, is_deleted);
        taken.map_err(|what| bolt.corrupt(&value, what))
    };
    if !bolt.bucket("key", &mut each)? {
        let what = "is a bbolt file, but not one of etcd: it has no bucket `key`";
        return Err(Error::path(Kind::Corrupt, path, what));
    }
    Ok((Keys::of(path, all, prefix)?, bolt.transaction))
}

/// Records the new value of a key, if it is one of Milvus's.
pub fn take(
    all: &mut BTreeMap<Bytes, Bytes>,
    revision: Revision,
    is_deleted: bool,
) -> std::result::Result<(), String> {
    if !is_of_milvus(&revision.key) {
        return Ok(());
    }
    match is_deleted || revision.value == TOMBSTONE {
        true => drop(all.remove(&revision.key)),
        false => drop(all.insert(revision.key, revision.value)),
    }
    match all.len() > limits::ETCD_KEYS_MAX {
        true => Err(format!(
            "etcd holds more than {} keys of Milvus",
            limits::ETCD_KEYS_MAX
        )),
        false => Ok(()),
    }
}

/// Refuses a snapshot whose checksum differs from the one at its end.
fn check_sum(view: &View) -> Result<()> {
    if view.len() % BLOCK != SUM_BYTES {
        return Ok(());
    }
    let end = view.len() - SUM_BYTES;
    let mut sum = Sha256::new();
    let mut at = 0;
    while at < end {
        let len = limits::SUMMED_AT_ONCE.min(end - at);
        sum.update(&view.cut(at, len)?.bytes()?);
        at += len;
    }
    let mut said = [0; SUM_BYTES as usize];
    view.read(end, &mut said)?;
    match sum.finalize()[..] == said {
        true => Ok(()),
        false => Err(view.corrupt(end, "the snapshot is damaged: its SHA-256 does not match")),
    }
}

/// The paths of Milvus's metadata; the rest are copies, watches and sessions.
const KEPT: [&str; 3] = ["/root-coord/", "/datacoord-meta/", "/field-index/"];
/// The path of older versions of the same metadata.
const SNAPSHOTS: &str = "/snapshots";

fn is_of_milvus(key: &[u8]) -> bool {
    let Ok(key) = std::str::from_utf8(key) else {
        return false;
    };
    let at = KEPT.iter().filter_map(|part| key.find(part)).min();
    at.is_some_and(|at| !key[..at].ends_with(SNAPSHOTS))
}

/// The prefix of the selected installation.
fn choose(path: &Path, all: &BTreeMap<Bytes, Bytes>, asked: Option<&str>) -> Result<String> {
    let of = |key: &Bytes| {
        let key = std::str::from_utf8(key).ok()?;
        let at = KEPT.iter().filter_map(|part| key.find(part)).min()?;
        Some(key[..at].to_owned())
    };
    let mut there: BTreeSet<String> = all.keys().filter_map(of).collect();
    let wrong = |what: String| Err(Error::path(Kind::Job, path, what));
    let list = there.iter().cloned().collect::<Vec<_>>().join(", ");
    match asked.map(|asked| asked.trim_matches('/')) {
        Some(asked) if there.contains(asked) => Ok(asked.to_owned()),
        Some(asked) => wrong(format!(
            "has no Milvus metadata below {asked}; there are: {list}"
        )),
        None if there.len() == 1 => Ok(there.pop_first().unwrap_or_default()),
        None if there.is_empty() => wrong("has no metadata of Milvus 2.x".to_owned()),
        None => wrong(format!("holds several installations of Milvus: {list}"))
            .map_err(|e: Error| e.hint("select one with `prefix:`")),
    }
}
