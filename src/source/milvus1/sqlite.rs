//! How is `meta.sqlite` read? As a `Database` of cells.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::error::{Place, Result};
use crate::source::sqlite::{Files, Sqlite};

use super::meta::{Cell, Database};

/// The metadata file, open for reading.
pub struct MetaFile {
    // Dropped before the copy that it may have open.
    connection: Connection,
    file: Sqlite,
}

impl MetaFile {
    /// Opens the metadata file at this path.
    pub fn open(path: &Path) -> Result<MetaFile> {
        let file = Sqlite::open(path)?;
        Ok(MetaFile {
            connection: file.connect()?,
            file,
        })
    }

    /// The files it was read from, after everything was read; fails if they changed meanwhile.
    pub fn close(self) -> Result<Files> {
        self.file.close()
    }
}

impl Database for MetaFile {
    fn columns(&mut self, table: &'static str) -> Result<Option<Vec<String>>> {
        // A view could say anything, and take forever to say it.
        let there = self.connection.query_row(
            "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1",
            [table],
            |row| row.get::<_, i64>(0),
        );
        if there.map_err(|e| self.file.failed(&e))? == 0 {
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
        names().map(Some).map_err(|e| self.file.failed(&e))
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
        read().map_err(|e| self.file.failed(&e))
    }

    fn place(&self) -> Place {
        Place::Path(self.file.path().clone())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn tables_are_read_as_cells() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.sqlite");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (7)")
            .unwrap();
        let mut file = MetaFile::open(&path).unwrap();
        assert_eq!(file.rows("t", &["a"]).unwrap(), [[Cell::Int(7)]]);
        assert_eq!(file.columns("t").unwrap().unwrap(), ["a"]);
        assert!(file.columns("u").unwrap().is_none());
        file.close().unwrap().unchanged().unwrap();
    }

    #[test]
    fn rubbish_is_not_metadata() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![7; 5000]).unwrap();
        let read = MetaFile::open(file.path()).and_then(|mut s| s.columns("Tables"));
        assert_eq!(read.unwrap_err().kind(), Kind::Corrupt);
    }
}
