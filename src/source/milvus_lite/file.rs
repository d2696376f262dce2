//! Milvus Lite 2.x as a source: ranges of tables as shards.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;

use super::Wanted;
use super::tables::{self, Table};
use crate::batch::{Cut, Keys, Limits, Manifest, Part, Position, Shard, Target, TargetName};
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::source::cut::Cutter;
use crate::source::files::{add_shards, identities};
use crate::source::sqlite::Sqlite;
use crate::source::{Files, Reader, Source, Survey, content};

/// An opened file.
pub struct LiteFile {
    sqlite: Sqlite,
    tables: Vec<Table>,
    warnings: Vec<String>,
}

impl LiteFile {
    /// Opens the selected collections of a file.
    pub fn open(wanted: &Wanted) -> Result<LiteFile> {
        if let Some(db) = wanted
            .db
            .as_deref()
            .filter(|db| *db != super::catalog::DEFAULT)
        {
            let what = format!("has no database `{db}`: Milvus Lite 2.x has only one");
            return Err(Error::path(Kind::Job, &wanted.path, what));
        }
        tables::check_unlocked(&wanted.path)?;
        let sqlite = Sqlite::open(&wanted.path)?;
        sqlite.files().check_whole()?;
        let connection = sqlite.connect()?;
        let names = tables::names(&sqlite, &connection)?;
        let all: Vec<(&str, Vec<&str>)> = names.iter().map(|n| (&**n, vec![""])).collect();
        let (mut opened, mut warnings) = (Vec::new(), Vec::new());
        for chosen in wanted.choice.choose(&all, &wanted.path)? {
            let table = Table::open(&sqlite, &connection, &names[chosen.collection])?;
            if table.repeated > 0 {
                warnings.push(format!(
                    "{}: if a key was inserted more than once, only its last row is migrated, the one that Milvus \
                     Lite returns; {} rows are left out, which its count(*) includes",
                    table.name, table.repeated
                ));
            }
            opened.push(table);
        }
        Ok(LiteFile {
            sqlite,
            tables: opened,
            warnings,
        })
    }
}

impl Source for LiteFile {
    fn survey(&self, _: Limits) -> Result<Survey> {
        let (mut targets, mut shards) = (Vec::new(), Vec::new());
        for (number, table) in self.tables.iter().enumerate() {
            let rows = table.rows.len() as u64;
            add_shards(&mut shards, number, &table.name, rows);
            targets.push(Target {
                number: number as u32,
                name: TargetName {
                    collection: table.name.clone(),
                    partition: String::new(),
                },
                columns: table.described.columns.clone(),
                traits: table.described.traits.clone(),
                keys: Keys::Unique,
                auto_id: table.described.auto_id,
                rows,
                rows_deleted: table.repeated,
                source: self.sqlite.path().display().to_string(),
            });
        }
        Ok(Survey {
            identity: identities(self.sqlite.files().views())?,
            warnings: self.warnings.clone(),
            manifest: Manifest { targets, shards },
            indexes_differ: None,
        })
    }

    fn content(&self) -> Result<Option<BTreeMap<String, String>>> {
        content::of_all(self.sqlite.files().views()).map(Some)
    }

    fn open<'s>(
        &'s self,
        shard: &Shard,
        from: Position,
        limits: Limits,
    ) -> Result<Box<dyn Reader + 's>> {
        let Some(table) = self.tables.get(shard.part as usize) else {
            let what = format!("there is no table for {}", shard.name);
            return Err(Error::new(Kind::Changed, what));
        };
        let end = shard.end.row().min(table.rows.len() as u64);
        Ok(Box::new(TableReader {
            sqlite: &self.sqlite,
            connection: self.sqlite.connect()?,
            table,
            next: from.row().min(end) as usize,
            end: end as usize,
            cutter: Cutter::new(limits, end),
        }))
    }

    fn file(&self, _: u32) -> Option<&Path> {
        Some(self.sqlite.path())
    }

    fn unchanged(&self) -> Result<()> {
        self.sqlite.files().unchanged()
    }
}

/// Reads a range of a table.
struct TableReader<'s> {
    sqlite: &'s Sqlite,
    connection: Connection,
    table: &'s Table,
    next: usize,
    end: usize,
    cutter: Cutter,
}

impl Reader for TableReader<'_> {
    fn next(&mut self) -> Result<Option<Cut>> {
        let TableReader {
            sqlite,
            connection,
            table,
            next,
            end,
            cutter,
        } = self;
        cutter.next(|| {
            let first = *next;
            let (rows, values) =
                table.block(sqlite, connection, first, *end, limits::LITE_BLOCK_BYTES)?;
            if rows == 0 {
                return Ok(None);
            }
            *next += rows;
            let columns = &table.described.columns;
            Part::new(columns, values, sqlite.path(), first as u64).map(|part| Some(vec![part]))
        })
    }

    fn files(&self) -> Files {
        self.sqlite.files().main()
    }
}
