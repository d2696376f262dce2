//! Where are the files of a source: on a disk, or elsewhere? Files elsewhere are read in blocks, a few of which are
//! held.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Access, Stamp, View};
use crate::error::{Error, Kind, Result};
use crate::limits;

/// What is known about a file elsewhere without reading it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Length in bytes.
    pub bytes: u64,
    /// When it was written, in nanoseconds since the epoch.
    pub modified_ns: i128,
    /// What distinguishes it from another file under this name.
    pub tag: Arc<str>,
}

impl Seen {
    /// The state as for a file on a disk, with its identity in place of the inode.
    pub(super) fn stamp(&self) -> Stamp {
        let bytes = self.tag.bytes();
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        Stamp {
            bytes: self.bytes,
            modified_ns: self.modified_ns,
            inode: (0, hash),
        }
    }
}

/// What is in a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Whether there is anything below it.
    pub is_dir: bool,
}

/// Files that are not on a disk: objects of a bucket, by their addresses.
pub trait Remote: Send + Sync {
    /// Looks a file up; `None`: there is none, or it is a directory.
    fn look(&self, path: &Path) -> Result<Option<Seen>>;

    /// The entries of a directory; none if it does not exist.
    fn list(&self, dir: &Path) -> Result<Vec<Entry>>;

    /// Looks up everything below a directory at once, so that later look-ups there need no request.
    fn know(&self, dir: &Path) -> Result<()>;

    /// Reads a range of the same file that was seen; an error of `Kind::Changed` if there is another one now.
    fn read(&self, path: &Path, seen: &Seen, at: u64, len: u64) -> Result<Bytes>;
}

/// Where files are.
#[derive(Clone)]
pub enum Volume {
    /// On a disk.
    Disk(Access),
    /// Elsewhere.
    Remote(Arc<dyn Remote>),
}

impl Default for Volume {
    fn default() -> Volume {
        Volume::Disk(Access::default())
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Volume::Disk(access) => write!(f, "Disk({access:?})"),
            Volume::Remote(_) => write!(f, "Remote"),
        }
    }
}

impl Volume {
    /// Whether files are elsewhere, so that each look at them is a request.
    pub fn is_remote(&self) -> bool {
        matches!(self, Volume::Remote(_))
    }

    /// All of a file. A path that cannot be opened is the job's mistake.
    pub fn open(&self, path: &Path) -> Result<View> {
        match self {
            Volume::Disk(access) => View::open(path, *access),
            Volume::Remote(remote) => match remote.look(path)? {
                Some(seen) => Ok(View::remote(path, remote.clone(), seen)),
                None => Err(Error::path(Kind::Job, path, "there is no such object")),
            },
        }
    }

    /// Whether there is a file.
    pub fn is_file(&self, path: &Path) -> Result<bool> {
        match self {
            Volume::Disk(_) => Ok(path.is_file()),
            Volume::Remote(remote) => Ok(remote.look(path)?.is_some()),
        }
    }

    /// Whether there is a directory.
    pub fn is_dir(&self, path: &Path) -> Result<bool> {
        match self {
            Volume::Disk(_) => Ok(path.is_dir()),
            Volume::Remote(remote) => Ok(!remote.list(path)?.is_empty()),
        }
    }

    /// Looks up everything below a directory at once, if each look-up is a request.
    pub fn know(&self, dir: &Path) -> Result<()> {
        match self {
            Volume::Disk(_) => Ok(()),
            Volume::Remote(remote) => remote.know(dir),
        }
    }

    /// The entries of a directory, in the order of names.
    pub fn list(&self, dir: &Path) -> Result<Vec<Entry>> {
        let mut entries = match self {
            Volume::Remote(remote) => remote.list(dir)?,
            Volume::Disk(_) => {
                let io = |e: std::io::Error| Error::io(dir, "list", &e);
                let mut entries = Vec::new();
                for entry in std::fs::read_dir(dir).map_err(io)? {
                    let entry = entry.map_err(io)?;
                    entries.push(Entry {
                        name: entry.file_name().to_string_lossy().into_owned(),
                        is_dir: entry.path().is_dir(),
                    });
                }
                entries
            }
        };
        entries.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(entries)
    }

    /// What a file looks like now.
    pub fn stamp(&self, path: &Path) -> Result<Stamp> {
        let gone = |what: String| Error::path(Kind::Changed, path, what);
        match self {
            Volume::Disk(_) => Stamp::at(path)
                .map_err(|e| gone(format!("the source disappeared while it was read ({e})"))),
            Volume::Remote(remote) => match remote.look(path)? {
                Some(seen) => Ok(seen.stamp()),
                None => Err(gone("the source disappeared while it was read".to_owned())),
            },
        }
    }
}

/// A file elsewhere, read in blocks, the last few of which are held.
pub(super) struct Far {
    remote: Arc<dyn Remote>,
    seen: Seen,
    held: Mutex<VecDeque<(u64, Bytes)>>,
    most: usize,
}

impl Far {
    pub(super) fn new(remote: Arc<dyn Remote>, seen: Seen, most: usize) -> Far {
        Far {
            remote,
            seen,
            held: Mutex::default(),
            most,
        }
    }

    /// The same file for a separate reader.
    pub(super) fn apart(&self, most: usize) -> Far {
        Far::new(self.remote.clone(), self.seen.clone(), most)
    }

    fn block(&self, path: &Path, number: u64) -> Result<Bytes> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = held.iter().position(|(n, _)| *n == number)
            && let Some(found) = held.remove(at)
        {
            let bytes = found.1.clone();
            held.push_back(found);
            return Ok(bytes);
        }
        drop(held);
        let at = number * limits::REMOTE_BLOCK_BYTES;
        let len = limits::REMOTE_BLOCK_BYTES.min(self.seen.bytes.saturating_sub(at));
        let bytes = self.remote.read(path, &self.seen, at, len)?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push_back((number, bytes.clone()));
        while held.len() > self.most {
            held.pop_front();
        }
        Ok(bytes)
    }

    /// Copies a range that is in the file.
    pub(super) fn read(&self, path: &Path, at: u64, room: &mut [u8]) -> Result<()> {
        let size = limits::REMOTE_BLOCK_BYTES;
        let mut done = 0;
        while done < room.len() {
            let at = at + done as u64;
            let block = self.block(path, at / size)?;
            let from = (at % size) as usize;
            let Some(rest) = block.get(from..).filter(|rest| !rest.is_empty()) else {
                return Err(Error::path(
                    Kind::Changed,
                    path,
                    "became shorter while it was read",
                ));
            };
            let some = rest.len().min(room.len() - done);
            room[done..done + some].copy_from_slice(&rest[..some]);
            done += some;
        }
        Ok(())
    }

    /// A range that is in the file; no copy if it is in one block.
    pub(super) fn bytes(&self, path: &Path, at: u64, len: u64) -> Result<Bytes> {
        let size = limits::REMOTE_BLOCK_BYTES;
        let from = at % size;
        if len == 0 {
            return Ok(Bytes::new());
        }
        if from + len <= size {
            let block = self.block(path, at / size)?;
            if from + len <= block.len() as u64 {
                return Ok(block.slice(from as usize..(from + len) as usize));
            }
        }
        let mut room = vec![0; len as usize];
        self.read(path, at, &mut room)?;
        Ok(Bytes::from(room))
    }
}
