//! How is `meta.sqlite` read without a trace? Never writes, locks or creates anything beside it.
//!
//! Milvus keeps it in WAL mode. Opened plainly, even for reading, SQLite makes `-wal` and `-shm` files beside it,
//! and fails if it may not; opened as immutable, it leaves out what a crash left in `-wal`, which may be every
//! table there is. So: immutable where there is no such file, else a copy of both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::error::{Error, Kind, Place, Result};
use crate::input::{Access, View};

use super::meta::{Cell, Database};

/// The metadata file, open for reading.
pub struct Sqlite {
    connection: Connection,
    files: Files,
    path: Arc<Path>,
    // Removed when dropped, after the connection.
    _copy: Option<tempfile::TempDir>,
}

/// The files it was read from, to see whether they stay as they were.
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
        // -wal as Milvus leaves it; -journal for a file that someone took out of WAL mode.
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

    /// Complains when the metadata is no longer what was read.
    pub fn unchanged(&self) -> Result<()> {
        self.main.unchanged()?;
        for companion in &self.companions {
            match &companion.view {
                Some(view) => view.unchanged()?,
                None if holds_anything(&companion.path)? => {
                    return Err(Error::path(
                        Kind::Changed,
                        &companion.path,
                        "appeared while the source is read: a Milvus is writing here",
                    )
                    .hint("stop that Milvus, then start again with --again"));
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
    /// Opens the metadata file at this path.
    pub fn open(path: &Path) -> Result<Sqlite> {
        let files = Files::open(path)?;
        let shared: Arc<Path> = path.into();
        let flags = OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let wrong = |e: rusqlite::Error| failed(&shared, &e);
        let (connection, copy) = if files.companions.iter().all(|c| c.view.is_none()) {
            let uri = format!("file:{}?immutable=1", encoded(path));
            let flags = flags | OpenFlags::SQLITE_OPEN_READ_ONLY;
            (
                Connection::open_with_flags(uri, flags).map_err(wrong)?,
                None,
            )
        } else {
            let copy = copy(&files)?;
            let uri = format!("file:{}", encoded(&copy.path().join(NAME)));
            let flags = flags | OpenFlags::SQLITE_OPEN_READ_WRITE;
            let connection = Connection::open_with_flags(uri, flags).map_err(wrong)?;
            // Nobody will open the copy again.
            connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
                .map_err(wrong)?;
            (connection, Some(copy))
        };
        connection
            .pragma_update(None, "trusted_schema", false)
            .map_err(wrong)?;
        Ok(Sqlite {
            connection,
            files,
            path: shared,
            _copy: copy,
        })
    }

    /// The files it was read from, once all is read; complains when they changed meanwhile.
    pub fn close(self) -> Result<Files> {
        self.files.unchanged()?;
        Ok(self.files)
    }
}

const NAME: &str = "meta.sqlite";

/// A copy of the file and what belongs to it; without `-shm`, which SQLite makes anew.
fn copy(files: &Files) -> Result<tempfile::TempDir> {
    let here = std::env::temp_dir();
    let failed = |e: io::Error| Error::io(&here, "make a copy of the metadata in", &e);
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
    // Two files are not copied at one moment: what was copied must be what is still there.
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

impl Database for Sqlite {
    fn columns(&mut self, table: &'static str) -> Result<Option<Vec<String>>> {
        // A view could say anything, and take forever to say it.
        let there = self.connection.query_row(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1",
            [table],
            |row| row.get::<_, i64>(0),
        );
        if there.map_err(|e| failed(&self.path, &e))? == 0 {
            return Ok(None);
        }
        let names = || -> rusqlite::Result<Vec<String>> {
            let sql = "SELECT name FROM pragma_table_info(?1)";
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([table])?;
            let mut names = Vec::new();
            while let Some(row) = rows.next()? {
                if let Cell::Text(name) = cell(row.get_ref(0)?) {
                    names.push(name);
                }
            }
            Ok(names)
        };
        names().map(Some).map_err(|e| failed(&self.path, &e))
    }

    fn rows(&mut self, table: &'static str, columns: &[&'static str]) -> Result<Vec<Vec<Cell>>> {
        let sql = format!("SELECT {} FROM `{table}`", columns.join(", "));
        let read = || -> rusqlite::Result<Vec<Vec<Cell>>> {
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query([])?;
            let mut all = Vec::new();
            while let Some(row) = rows.next()? {
                let mut cells = Vec::with_capacity(columns.len());
                for column in 0..columns.len() {
                    cells.push(cell(row.get_ref(column)?));
                }
                all.push(cells);
            }
            Ok(all)
        };
        read().map_err(|e| failed(&self.path, &e))
    }

    fn place(&self) -> Place {
        Place::Path(self.path.clone())
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Int(number),
        // A row count that went below zero is written as 1.8e19, which SQLite keeps as a real.
        ValueRef::Real(number) => Cell::Int(number as i64),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            Cell::Text(String::from_utf8_lossy(text).into_owned())
        }
    }
}

fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Corrupt,
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DiskFull) => Kind::Io,
        _ => Kind::Corrupt,
    };
    Error::path(kind, path, format!("cannot be read as metadata: {error}"))
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
        let mut sqlite = Sqlite::open(&path).unwrap();
        assert_eq!(sqlite.rows("t", &["a"]).unwrap(), [[Cell::Int(7)]]);
        assert_eq!(sqlite.columns("t").unwrap().unwrap(), ["a"]);
        assert!(sqlite.columns("u").unwrap().is_none());
        sqlite.close().unwrap().unchanged().unwrap();
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 1, "a file was made beside it");
    }

    #[test]
    fn rubbish_is_not_metadata() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 5000]).unwrap();
        let read = Sqlite::open(file.path()).and_then(|mut s| s.columns("Tables"));
        assert_eq!(read.unwrap_err().kind(), Kind::Corrupt);
    }
}
