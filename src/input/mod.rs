//! Where are the bytes? Views of files that know their file and offset, for errors about what is missing.
//! Never says what bytes mean.

mod cursor;
mod guard;
mod map;
mod shown;
mod volume;

use std::fs::File as OsFile;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Kind, Place, Result};
use crate::limits;
use volume::Far;

pub use cursor::Cursor;
pub use shown::origin;
pub use volume::{Entry, Remote, Seen, Volume};

/// How a file's bytes are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// Mapped into memory: nothing is copied.
    #[default]
    Map,
    /// Read with `pread`, for network mounts.
    Read,
}

/// The state of a file when it was opened: if any of it changes, the data may have changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Length in bytes.
    pub bytes: u64,
    /// Nanoseconds since the epoch.
    pub modified_ns: i128,
    /// Device and inode; for a file that is not on a disk, 0 and a hash of its identity.
    pub inode: (u64, u64),
}

impl Stamp {
    /// The current state of a file.
    pub fn at(path: &Path) -> io::Result<Stamp> {
        std::fs::metadata(path).map(|meta| Stamp::of(&meta))
    }

    /// Returns an error if a file has changed.
    pub fn unchanged(&self, path: &Path) -> Result<()> {
        self.same(Stamp::at(path), path)
    }

    /// Returns an error if the state `now` is another one.
    pub fn same(&self, now: io::Result<Stamp>, path: &Path) -> Result<()> {
        let what = match now {
            Ok(now) if now == *self => return Ok(()),
            Ok(now) if now.inode != self.inode => "was replaced by another file".to_owned(),
            Ok(now) if now.bytes != self.bytes => {
                format!("had {} bytes and now has {}", self.bytes, now.bytes)
            }
            Ok(_) => "was written to".to_owned(),
            Err(e) => format!("is gone ({e})"),
        };
        let what = format!("the source {what} while it was read");
        Err(Error::path(Kind::Changed, path, what).hint(
            "do not change the source during a run; once it is restored (the same file, with its time), the same \
             command continues",
        ))
    }

    fn of(meta: &std::fs::Metadata) -> Stamp {
        Stamp {
            bytes: meta.len(),
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
            inode: (meta.dev(), meta.ino()),
        }
    }
}

/// An open file: its path, its bytes, and its state.
struct File {
    path: Arc<Path>,
    len: u64,
    backing: Backing,
    stamp: Option<Stamp>,
}

enum Backing {
    Map(Arc<map::Map>),
    Read(Arc<OsFile>),
    Memory(Bytes),
    Remote(Far),
}

/// A range of a file: cheap to clone and cut, and able to tell where it is.
#[derive(Clone)]
pub struct View {
    file: Arc<File>,
    start: u64,
    len: u64,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes {}..{}",
            self.file.path.display(),
            self.start,
            self.start + self.len
        )
    }
}

impl View {
    /// All of a file. A path that cannot be opened is the job's mistake.
    pub fn open(path: &Path, access: Access) -> Result<View> {
        let wrong = |e: &io::Error| {
            let what = match e.kind() {
                io::ErrorKind::NotFound => "there is no such file".to_owned(),
                io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => format!("cannot open: {e}"),
            };
            Error::path(Kind::Job, path, what)
        };
        // Checked before it is opened: opening a pipe waits for a writer.
        let kind = std::fs::metadata(path).map_err(|e| wrong(&e))?;
        if !kind.is_file() {
            let what = if kind.is_dir() {
                "is a directory, not a file"
            } else {
                "is not a regular file"
            };
            return Err(Error::path(Kind::Job, path, what));
        }
        let os = Arc::new(OsFile::open(path).map_err(|e| wrong(&e))?);
        let meta = os.metadata().map_err(|e| wrong(&e))?;
        let len = meta.len();
        let backing = match access {
            // An empty file cannot be mapped.
            _ if len == 0 => Backing::Memory(Bytes::new()),
            Access::Read => Backing::Read(os),
            Access::Map => {
                let map = map::Map::new(&os).map_err(|e| Error::io(path, "map the file", &e))?;
                if map.as_ref().is_some_and(|m| m.bytes().len() as u64 != len) {
                    let what = "the length of the file changed while it was being opened";
                    return Err(Error::path(Kind::Changed, path, what));
                }
                map.map_or(Backing::Read(os), |map| Backing::Map(Arc::new(map)))
            }
        };
        let file = File {
            path: path.into(),
            len,
            backing,
            stamp: Some(Stamp::of(&meta)),
        };
        Ok(View {
            file: Arc::new(file),
            start: 0,
            len,
        })
    }

    /// Bytes in memory under a name: for tests and fuzzers.
    pub fn from_bytes(name: &str, bytes: impl Into<Bytes>) -> View {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        let file = File {
            path: Path::new(name).into(),
            len,
            backing: Backing::Memory(bytes),
            stamp: None,
        };
        View {
            file: Arc::new(file),
            start: 0,
            len,
        }
    }

    /// All of a file that is not on a disk.
    pub fn remote(path: &Path, remote: Arc<dyn Remote>, seen: Seen) -> View {
        let (len, stamp) = (seen.bytes, seen.stamp());
        let far = Far::new(remote, seen, limits::REMOTE_HELD);
        View::far(path.into(), len, far, Some(stamp))
    }

    fn far(path: Arc<Path>, len: u64, far: Far, stamp: Option<Stamp>) -> View {
        let file = File {
            path,
            len,
            backing: Backing::Remote(far),
            stamp,
        };
        View {
            file: Arc::new(file),
            start: 0,
            len,
        }
    }

    /// The same for a separate reader, so that several at different places do not evict each other's blocks.
    pub fn apart(&self) -> View {
        self.holding(limits::REMOTE_HELD)
    }

    /// The same for a reader that only goes forward.
    pub fn forward(&self) -> View {
        self.holding(limits::REMOTE_HELD_FORWARD)
    }

    fn holding(&self, most: usize) -> View {
        match &self.file.backing {
            Backing::Remote(far) => {
                let (file, far) = (&self.file, far.apart(most));
                let whole = View::far(file.path.clone(), file.len, far, file.stamp.clone());
                View {
                    file: whole.file,
                    ..*self
                }
            }
            _ => self.clone(),
        }
    }

    /// The file it is in.
    pub fn path(&self) -> &Arc<Path> {
        &self.file.path
    }

    /// Its first byte in the file.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A place in the file, `at` bytes into this view.
    pub fn place(&self, at: u64) -> Place {
        Place::File {
            path: self.file.path.clone(),
            at: self.start.saturating_add(at),
        }
    }

    /// An error about what is `at` bytes into this view.
    pub fn corrupt(&self, at: u64, what: impl Into<String>) -> Error {
        Error::new(Kind::Corrupt, what).at(self.place(at))
    }

    /// Cuts out a range, or reports the file, the offset and what is missing.
    pub fn cut(&self, at: u64, len: u64) -> Result<View> {
        match at.checked_add(len) {
            Some(end) if end <= self.len => Ok(View {
                file: self.file.clone(),
                start: self.start + at,
                len,
            }),
            _ => Err(self.corrupt(
                at,
                format!(
                    "{len} bytes are needed here, {} remain",
                    self.len.saturating_sub(at)
                ),
            )),
        }
    }

    /// The bytes with their owner: `'static`, so they may cross threads and live in Arrow.
    ///
    /// A mapping is not copied, and its pages are released when the last of these bytes is dropped.
    pub fn bytes(&self) -> Result<Bytes> {
        let (start, len) = (self.start, self.len);
        match &self.file.backing {
            Backing::Map(map) => Ok(map::Map::window(map, start as usize, len as usize)),
            Backing::Memory(bytes) => Ok(bytes.slice(start as usize..(start + len) as usize)),
            Backing::Read(_) => {
                let mut room = vec![0; len as usize];
                self.read(0, &mut room)?;
                Ok(Bytes::from(room))
            }
            Backing::Remote(far) => far.bytes(&self.file.path, start, len),
        }
    }

    /// Copies `room.len()` bytes from `at` into `room`.
    pub fn read(&self, at: u64, room: &mut [u8]) -> Result<()> {
        let cut = self.cut(at, room.len() as u64)?;
        let (start, end) = (cut.start as usize, (cut.start + cut.len) as usize);
        match &self.file.backing {
            Backing::Map(map) => room.copy_from_slice(&map.bytes()[start..end]),
            Backing::Memory(bytes) => room.copy_from_slice(&bytes[start..end]),
            Backing::Remote(far) => far.read(&self.file.path, cut.start, room)?,
            Backing::Read(os) => os.read_exact_at(room, cut.start).map_err(|e| {
                let path = &self.file.path;
                if e.kind() == io::ErrorKind::UnexpectedEof {
                    Error::new(Kind::Changed, "the file became shorter while it was read")
                        .at(cut.place(0))
                } else {
                    Error::io(path, "read", &e).at(cut.place(0))
                }
            })?,
        }
        Ok(())
    }

    /// `count` little-endian 64-bit integers from `at`, whatever their alignment.
    pub fn i64s(&self, at: u64, count: u64) -> Result<Vec<i64>> {
        let too_long = || self.corrupt(at, format!("{count} ids do not fit in any file"));
        let bytes = self.cut(at, count.checked_mul(8).ok_or_else(too_long)?)?;
        let mut ids = vec![0i64; count as usize];
        bytes.read(0, bytemuck::cast_slice_mut(&mut ids))?;
        ids.iter_mut().for_each(|id| *id = i64::from_le(*id));
        Ok(ids)
    }

    /// Releases the pages of a mapping that were read at random. Best effort; costs nothing otherwise.
    pub fn give_back(&self) {
        if let Backing::Map(map) = &self.file.backing {
            drop(map::Map::window(
                map,
                self.start as usize,
                self.len as usize,
            ));
        }
    }

    /// Asks the system to have these bytes ready soon. Best effort.
    pub fn will_need(&self) {
        if let Backing::Map(map) = &self.file.backing {
            map.will_need(self.start as usize, self.len as usize);
        }
    }

    /// The state of the file when it was opened; `None` for bytes in memory.
    pub fn stamp(&self) -> Option<&Stamp> {
        self.file.stamp.as_ref()
    }

    /// Returns an error if the file has changed since it was opened.
    pub fn unchanged(&self) -> Result<()> {
        match (&self.file.stamp, &self.file.backing) {
            // Each range was read from the object that was seen, or refused.
            (_, Backing::Remote(_)) | (None, _) => return Ok(()),
            (Some(before), _) => before.unchanged(&self.file.path)?,
        }
        self.has_no_holes()
    }

    /// Returns an error if a page of a mapping could not be read although the file is unchanged.
    fn has_no_holes(&self) -> Result<()> {
        match &self.file.backing {
            Backing::Map(map) if map.is_holed() => {
                let what =
                    "a part of the file cannot be read: its disk, or something below it, failed";
                let error = Error::path(Kind::Io, &self.file.path, what);
                Err(error.hint("the system's log (dmesg) says more"))
            }
            _ => Ok(()),
        }
    }

    /// The length of the whole file.
    pub fn file_len(&self) -> u64 {
        self.file.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn mapped_read_and_held_bytes_are_the_same() {
        let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        let file = file(&bytes);
        for view in [
            View::open(file.path(), Access::Map).unwrap(),
            View::open(file.path(), Access::Read).unwrap(),
            View::from_bytes("x", bytes.clone()),
        ] {
            let cut = view.cut(4000, 60_001).unwrap().cut(1, 60_000).unwrap();
            assert_eq!(cut.bytes().unwrap(), bytes[4001..64_001]);
            assert_eq!(cut.bytes().unwrap(), bytes[4001..64_001], "pages come back");
            let ids = cut.i64s(3, 2).unwrap();
            assert_eq!(ids[0].to_le_bytes(), bytes[4004..4012]);
        }
    }

    #[test]
    fn mapped_bytes_know_their_file_and_no_others_do() {
        let (one, two) = (file(&[1; 9000]), file(&[2; 9000]));
        let inode = |file: &OsFile| Stamp::of(&file.metadata().unwrap()).inode;
        let views = [&one, &two].map(|f| View::open(f.path(), Access::Map).unwrap());
        for (view, file) in views.iter().zip([&one, &two]) {
            let bytes = view.cut(100, 8900).unwrap().bytes().unwrap();
            let (found, at) = origin(&bytes[4100..]).unwrap();
            assert_eq!((inode(&found), at), (inode(file.as_file()), 4200));
            let copy = bytes.to_vec();
            assert!(origin(&copy).is_none());
        }
        let read = View::open(one.path(), Access::Read).unwrap();
        assert!(origin(&read.bytes().unwrap()).is_none());
    }

    #[test]
    fn what_is_missing_is_said_with_its_place() {
        let view = View::from_bytes("/a.index", vec![0; 10]).cut(4, 6).unwrap();
        let error = view.cut(2, 5).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/a.index at byte 6: 5 bytes are needed here, 4 remain"
        );
        assert!(view.cut(u64::MAX, 2).is_err());
        assert!(view.i64s(0, u64::MAX / 2).is_err());
    }

    #[test]
    fn a_truncated_mapping_reads_as_zeros_and_is_noticed() {
        let file = file(&[7; 50_000]);
        let view = View::open(file.path(), Access::Map).unwrap();
        let bytes = view.cut(100, 40_000).unwrap().bytes().unwrap();
        assert_eq!(bytes[0], 7);
        file.as_file().set_len(10).unwrap();
        assert!(
            bytes[5_000..].iter().all(|b| *b == 0),
            "pages that vanished are zeros"
        );
        assert_eq!(view.unchanged().unwrap_err().kind(), Kind::Changed);
    }

    #[test]
    fn a_page_that_cannot_be_read_is_noticed_though_the_file_looks_as_before() {
        let file = file(&[7; 50_000]);
        let view = View::open(file.path(), Access::Map).unwrap();
        let modified = file.as_file().metadata().unwrap().modified().unwrap();
        // As a disk error does: SIGBUS, and the file's size, time and inode are what they were.
        file.as_file().set_len(10).unwrap();
        assert_eq!(view.cut(20_000, 1).unwrap().bytes().unwrap()[0], 0);
        file.as_file().set_len(50_000).unwrap();
        file.as_file().set_modified(modified).unwrap();
        assert_eq!(view.stamp(), Some(&Stamp::at(file.path()).unwrap()));
        assert_eq!(view.unchanged().unwrap_err().kind(), Kind::Io);
    }

    #[test]
    fn a_changed_file_is_noticed() {
        let mut file = file(b"12345678");
        let view = View::open(file.path(), Access::Map).unwrap();
        view.unchanged().unwrap();
        file.write_all(b"9").unwrap();
        file.flush().unwrap();
        let error = view.unchanged().unwrap_err();
        assert_eq!(error.kind(), Kind::Changed);
        assert!(
            error.to_string().contains("had 8 bytes and now has 9"),
            "{error}"
        );
    }
}
