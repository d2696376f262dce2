//! How is a SQLite file read without a trace? Never writes, locks or creates anything next to it.
//!
//! Opened normally, even for reading, SQLite creates `-wal` and `-shm` files next to a file in WAL mode, and fails if
//! it may not; opened as immutable, it ignores what a crash left in `-wal`, which may be every table there is, and
//! accepts what `-journal` would have rolled back. So: immutable if neither file exists, otherwise a copy of both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use super::Files as Views;
use crate::error::{Error, Kind, Result};
use crate::input::{Access, View};
use crate::limits;

/// A SQLite file that connections can be opened to.
pub struct Sqlite {
    files: Files,
    path: Arc<Path>,
    /// Removed when dropped, after the connections.
    copy: Option<tempfile::TempDir>,
}

/// The files it was read from, to detect whether they change.
pub struct Files {
    main: View,
    companions: Vec<Companion>,
}

struct Companion {
    path: PathBuf,
    view: Option<View>,
}

impl Files {
    fn open(path: &Path) -> Result<Files> {
        let main = View::open(path, Access::Read)?;
        let mut companions = Vec::new();
        // -wal as Milvus leaves it; -journal for a file that was taken out of WAL mode.
        for suffix in ["-wal", "-journal"] {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            let path = PathBuf::from(name);
            let view = match holds_anything(&path)? {
                true => Some(View::open(&path, Access::Read)?),
                false => None,
            };
            companions.push(Companion { path, view });
        }
        Ok(Files { main, companions })
    }

    /// The views of existing files.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        let others = self.companions.iter().filter_map(|c| c.view.as_ref());
        std::iter::once(&self.main).chain(others)
    }

    /// Refuses a file that is shorter than its header declares, unless a log next to it has newer information: rows in
    /// pages that were cut off would not be noticed.
    pub fn check_whole(&self) -> Result<()> {
        if self.companions.iter().any(|c| c.view.is_some()) {
            return Ok(());
        }
        let mut header = [0; 100];
        self.main.read(0, &mut header)?;
        let page = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65_536,
            size => u64::from(size),
        };
        let number = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u32::from_be_bytes(bytes)
        };
        // Writers before 2010 did not maintain the page count; the change counter shows this.
        let pages = u64::from(number(28));
        if number(24) == number(92) && self.main.len() < pages * page {
            let what =
                format!("the file ends here: its header declares {pages} pages of {page} bytes");
            return Err(self.main.corrupt(self.main.len(), what));
        }
        Ok(())
    }

    /// The file itself, for rows read from it.
    pub fn main(&self) -> Views {
        Views::new([&self.main])
    }

    /// Fails if the file is no longer what was read.
    pub fn unchanged(&self) -> Result<()> {
        self.main.unchanged()?;
        for companion in &self.companions {
            match &companion.view {
                Some(view) => view.unchanged()?,
                None if holds_anything(&companion.path)? => {
                    return Err(Error::path(
                        Kind::Changed,
                        &companion.path,
                        "appeared while the source was being read: a program is writing here",
                    )
                    .hint("stop that program, then start again with --again"));
                }
                None => {}
            }
        }
        Ok(())
    }
}

fn holds_anything(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.len() > 0),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io(path, "look at", &e)),
    }
}

impl Sqlite {
    /// Opens the file at this path.
    pub fn open(path: &Path) -> Result<Sqlite> {
        let files = Files::open(path)?;
        let copy = match files.companions.iter().all(|c| c.view.is_none()) {
            true => None,
            false => Some(copy(&files)?),
        };
        Ok(Sqlite {
            files,
            path: path.into(),
            copy,
        })
    }

    /// A connection for one thread.
    pub fn connect(&self) -> Result<Connection> {
        let wrong = |e: rusqlite::Error| self.failed(&e);
        let flags = OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match &self.copy {
            None => {
                let uri = format!("file:{}?immutable=1", encoded(&self.path));
                let flags = flags | OpenFlags::SQLITE_OPEN_READ_ONLY;
                Connection::open_with_flags(uri, flags).map_err(wrong)?
            }
            Some(copy) => {
                let uri = format!("file:{}", encoded(&copy.path().join(NAME)));
                let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE;
                let connection = Connection::open_with_flags(uri, flags).map_err(wrong)?;
                // All connections use what the copy has next to it.
                connection
                    .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                    .map_err(wrong)?;
                connection
            }
        };
        connection
            .pragma_update(None, "trusted_schema", false)
            .map_err(wrong)?;
        connection
            .set_limit(Limit::SQLITE_LIMIT_LENGTH, limits::SQLITE_VALUE_BYTES_MAX)
            .map_err(wrong)?;
        Ok(connection)
    }

    /// The files it consists of.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Where it is.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// The files it was read from, once everything is read; fails if they changed meanwhile.
    pub fn close(self) -> Result<Files> {
        self.files.unchanged()?;
        Ok(self.files)
    }

    /// The error for what SQLite reports about the file.
    pub fn failed(&self, error: &rusqlite::Error) -> Error {
        use rusqlite::ErrorCode;
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DiskFull) => {
                Kind::Io
            }
            _ => Kind::Corrupt,
        };
        Error::path(
            kind,
            &self.path,
            format!("cannot be read as a SQLite database: {error}"),
        )
    }
}

const NAME: &str = "copy.sqlite";

/// A copy of the file and its logs; without `-shm`, which SQLite recreates.
fn copy(files: &Files) -> Result<tempfile::TempDir> {
    let here = std::env::temp_dir();
    let failed = |e: io::Error| Error::io(&here, "make a copy of the SQLite file in", &e);
    let copy = tempfile::tempdir().map_err(failed)?;
    let to = |view: &View, suffix: &str| -> Result<()> {
        let mut to =
            std::fs::File::create(copy.path().join(format!("{NAME}{suffix}"))).map_err(failed)?;
        let mut at = 0;
        while at < view.len() {
            let block = view.cut(at, (1 << 20).min(view.len() - at))?;
            io::Write::write_all(&mut to, &block.bytes()?).map_err(failed)?;
            at += block.len();
        }
        Ok(())
    };
    to(&files.main, "")?;
    for companion in &files.companions {
        if let Some(view) = &companion.view {
            let name = companion.path.to_string_lossy();
            let suffix = name.rfind('-').map_or("", |at| &name[at..]);
            to(view, suffix)?;
        }
    }
    // Two files are not copied at the same moment: what was copied must still be there.
    files.unchanged()?;
    Ok(copy)
}

/// A path as the path of a URI.
fn encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                out.push(char::from(*byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_is_a_path_of_a_uri() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ä b?c%#&mode=rw.sqlite");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (7)")
            .unwrap();
        let sqlite = Sqlite::open(&path).unwrap();
        let read = |sqlite: &Sqlite| -> i64 {
            let connection = sqlite.connect().unwrap();
            connection
                .query_row("SELECT a FROM t", [], |row| row.get(0))
                .unwrap()
        };
        assert_eq!((read(&sqlite), read(&sqlite)), (7, 7));
        sqlite.close().unwrap().unchanged().unwrap();
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 1, "a file was made next to it");
    }

    #[test]
    fn what_a_journal_undoes_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let writer = Connection::open(&path).unwrap();
        writer
            .execute_batch(
                "PRAGMA cache_size = 1; PRAGMA cache_spill = 1; CREATE TABLE t(a);
                 INSERT INTO t VALUES (zeroblob(3000)); BEGIN;
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)
                 INSERT INTO t SELECT zeroblob(3000) FROM n",
            )
            .unwrap();
        // As a crash in the middle leaves them.
        let (killed, journal) = (
            dir.path().join("killed.db"),
            dir.path().join("killed.db-journal"),
        );
        std::fs::copy(&path, &killed).unwrap();
        std::fs::copy(dir.path().join("x.db-journal"), &journal).unwrap();
        assert!(
            std::fs::metadata(&killed).unwrap().len() > 100_000,
            "nothing was spilled"
        );
        let sqlite = Sqlite::open(&killed).unwrap();
        let connection = sqlite.connect().unwrap();
        let count: i64 = connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 1);
        sqlite.files().unchanged().unwrap();
        assert!(journal.exists());
    }
}
