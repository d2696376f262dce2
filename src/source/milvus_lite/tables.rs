//! Milvus Lite 2.x: what does a SQLite file hold? A table for each collection, a row for each of its rows.
//!
//! Deleted rows are gone from the file, and upserts have replaced the old rows, but a key that was inserted twice is
//! stored twice: Milvus Lite returns the last one.

use std::ops::Range;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::fields::{Described, Field, OnField, Recorded, function};
use super::latest::{Key, Latest};
use crate::error::{Error, Kind, Result};
use crate::milvus::proto::{CollectionSchema, FieldSchema, KeyValue, data_type};
use crate::milvus::{default_of, lite};
use crate::schema::{Bounds, CollectionTraits, Index};
use crate::source::sqlite::Sqlite;

/// The first bytes of every SQLite file.
pub const SIGNATURE: &[u8; 16] = b"SQLite format 3\0";

const META: &str = "collection_meta";

/// A scanned table of a collection.
pub struct Table {
    pub name: String,
    pub described: Described,
    /// The numbers of the live rows, ascending.
    pub rows: Vec<i64>,
    /// Rows whose key was inserted again later.
    pub repeated: u64,
}

/// Whether the file is one of Milvus Lite's.
pub fn is_it(sqlite: &Sqlite, connection: &Connection) -> Result<bool> {
    has_table(sqlite, connection, META)
}

/// Whether there is such a table; a view could return anything, and take forever to do so.
fn has_table(sqlite: &Sqlite, connection: &Connection, name: &str) -> Result<bool> {
    let count = connection.query_row(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND name = ?1",
        [name],
        |row| row.get::<_, i64>(0),
    );
    count.map(|count| count > 0).map_err(|e| sqlite.failed(&e))
}

/// The names of all collections, sorted.
pub fn names(sqlite: &Sqlite, connection: &Connection) -> Result<Vec<String>> {
    if !is_it(sqlite, connection)? {
        let what = format!("is a SQLite file, but not one of Milvus Lite: it has no table {META}");
        return Err(Error::path(Kind::Unsupported, sqlite.path(), what));
    }
    let read = || -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT collection_name FROM collection_meta WHERE meta_type = 'schema'";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut names = Vec::new();
        while let Some(row) = rows.next()? {
            names.push(String::from_utf8_lossy(&bytes(row, 0)?).into_owned());
        }
        Ok(names)
    };
    let mut names = read().map_err(|e| sqlite.failed(&e))?;
    names.sort();
    if let Some(two) = names.windows(2).find(|two| two[0] == two[1]) {
        let what = format!("has collection `{}` twice", two[0]);
        return Err(Error::path(Kind::Corrupt, sqlite.path(), what));
    }
    Ok(names)
}

/// A text or a blob.
fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Null | ValueRef::Real(_) => Vec::new(),
    })
}

impl Table {
    /// Scans the table of a collection.
    pub fn open(sqlite: &Sqlite, connection: &Connection, name: &str) -> Result<Table> {
        let recorded = recorded(sqlite, connection, name)?;
        let described = recorded.described().map_err(|what| {
            let what = format!("collection `{name}`: {what}");
            Error::path(Kind::Unsupported, sqlite.path(), what)
        })?;
        let wrong = |what: String| {
            let what = format!("collection `{name}`: {what}");
            Error::path(Kind::Corrupt, sqlite.path(), what)
        };
        if !has_table(sqlite, connection, name)? {
            return Err(wrong("its table is missing".to_owned()));
        }
        let failed = |e: rusqlite::Error| sqlite.failed(&e);
        let sql = format!(
            "SELECT rowid, milvus_id FROM {} ORDER BY rowid",
            quoted(name)
        );
        let mut statement = connection.prepare(&sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        let (mut all, mut latest) = (Vec::new(), Latest::default());
        while let Some(row) = rows.next().map_err(failed)? {
            let number: i64 = row.get(0).map_err(failed)?;
            if all.last().is_some_and(|last| *last >= number) {
                return Err(wrong(format!("row {number} is out of order")));
            }
            let position = u32::try_from(all.len());
            let position = position.map_err(|_| wrong("has too many rows".to_owned()))?;
            let (ValueRef::Text(key) | ValueRef::Blob(key)) = row.get_ref(1).map_err(failed)?
            else {
                return Err(wrong(format!("row {number} has no key")));
            };
            latest.row(Key::Text(key), u64::from(position), 0, position);
            all.push(number);
        }
        let living: Vec<Range<u64>> = latest.living(1).swap_remove(0);
        let living = living.into_iter().flatten().map(|at| all[at as usize]);
        let living: Vec<i64> = living.collect();
        Ok(Table {
            name: name.to_owned(),
            described,
            repeated: (all.len() - living.len()) as u64,
            rows: living,
        })
    }

    /// Reads live rows, from the one at `from` on, as columns; returns how many there are.
    pub fn block(
        &self,
        sqlite: &Sqlite,
        connection: &Connection,
        from: usize,
        past: usize,
        most_bytes: usize,
    ) -> Result<(usize, Vec<arrow_array::ArrayRef>)> {
        let wanted = &self.rows[from..past];
        let (Some(first), Some(last)) = (wanted.first(), wanted.last()) else {
            return Ok((0, Vec::new()));
        };
        let failed = |e: rusqlite::Error| sqlite.failed(&e);
        let sql = format!(
            "SELECT rowid, milvus_id, data FROM {} WHERE rowid BETWEEN ?1 AND ?2 ORDER BY rowid",
            quoted(&self.name)
        );
        let mut statement = connection.prepare(&sql).map_err(failed)?;
        let mut stored = statement.query([first, last]).map_err(failed)?;
        let mut rows = lite::Rows::new(&self.described.columns);
        while rows.rows() < wanted.len() && rows.bytes() < most_bytes {
            let expected = wanted[rows.rows()];
            let wrong = |what: String| {
                let what = format!("collection `{}` row {expected}: {what}", self.name);
                Error::path(Kind::Corrupt, sqlite.path(), what)
            };
            let Some(row) = stored.next().map_err(failed)? else {
                return Err(wrong("no longer exists".to_owned()));
            };
            let number: i64 = row.get(0).map_err(failed)?;
            if number < expected {
                continue;
            }
            if number > expected {
                return Err(wrong("no longer exists".to_owned()));
            }
            let text = |column| match row.get_ref(column) {
                Ok(ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => Ok(bytes),
                Ok(other) => Err(wrong(format!("has {} instead of bytes", other.data_type()))),
                Err(e) => Err(failed(e)),
            };
            rows.push(text(1)?, text(2)?).map_err(wrong)?;
        }
        let count = rows.rows();
        let values = rows.finish().map_err(|what| {
            let what = format!("collection `{}` from row {first} on: {what}", self.name);
            Error::path(Kind::Corrupt, sqlite.path(), what)
        })?;
        Ok((count, values))
    }
}

/// A name quoted for SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The file's description of a collection.
fn recorded(sqlite: &Sqlite, connection: &Connection, name: &str) -> Result<Recorded> {
    let read = || -> rusqlite::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let sql = "SELECT meta_type, blob_field FROM collection_meta WHERE collection_name = ?1";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([name])?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push((bytes(row, 0)?, bytes(row, 1)?));
        }
        Ok(all)
    };
    let wrong = |what: String| {
        let what = format!("collection `{name}`: {what}");
        Error::path(Kind::Corrupt, sqlite.path(), what)
    };
    let all = read().map_err(|e| sqlite.failed(&e))?;
    let schema = all.iter().find(|(kind, _)| kind == b"schema");
    let (_, schema) = schema.ok_or_else(|| wrong("it has no schema".to_owned()))?;
    let schema = lite::schema(schema);
    let schema = schema.map_err(|what| wrong(format!("its schema cannot be read: {what}")))?;
    let mut recorded = of_schema(&schema).map_err(|what| {
        let what = format!("collection `{name}`: {what}");
        Error::path(Kind::Unsupported, sqlite.path(), what)
    })?;
    for (_, index) in all.iter().filter(|(kind, _)| kind == b"index") {
        let index = lite::index(index);
        let index = index.map_err(|what| wrong(format!("an index cannot be read: {what}")))?;
        let of_field = schema.fields.iter().find(|f| f.field_id == index.field_id);
        let field = of_field.ok_or_else(|| {
            wrong(format!(
                "an index is on field {}, which does not exist",
                index.field_id
            ))
        })?;
        recorded.indexes.push(on_field(field, &index.params));
    }
    Ok(recorded)
}

fn on_field(field: &FieldSchema, params: &[KeyValue]) -> OnField {
    const APART: [&str; 3] = ["index_type", "metric_type", "dim"];
    let param = |key: &str| {
        params
            .iter()
            .find(|p| p.key == key)
            .map(|p| p.value.clone())
    };
    let others = params.iter().filter(|p| !APART.contains(&&*p.key));
    OnField {
        field: field.name.clone(),
        metric: param("metric_type"),
        index: Index {
            kind: param("index_type").unwrap_or_default(),
            params: others.map(|p| (p.key.clone(), p.value.clone())).collect(),
        },
    }
}

fn of_schema(schema: &CollectionSchema) -> std::result::Result<Recorded, String> {
    /// Fields below are internal to Milvus.
    const FIRST: i64 = 100;
    let own = schema.fields.iter().filter(|f| f.field_id >= FIRST);
    let is_dynamic = schema.enable_dynamic_field || own.clone().any(|f| f.is_dynamic);
    let functions = schema.functions.iter().map(|f| {
        let params = f.params.iter().map(|p| (p.key.clone(), p.value.clone()));
        let (inputs, outputs) = (f.input_field_names.clone(), f.output_field_names.clone());
        let number = u64::try_from(f.kind).unwrap_or(0);
        function(number, &f.name, inputs, outputs, params.collect())
    });
    Ok(Recorded {
        fields: own
            .filter(|f| !f.is_dynamic)
            .map(|f| field(schema, f))
            .collect(),
        is_dynamic,
        indexes: Vec::new(),
        traits: CollectionTraits {
            description: schema.description.clone(),
            functions: functions.collect::<std::result::Result<_, _>>()?,
            ..CollectionTraits::default()
        },
    })
}

fn field(schema: &CollectionSchema, field: &FieldSchema) -> Field {
    const TOLD: [&str; 3] = ["dim", "max_length", "max_capacity"];
    let word = |number| data_type::name(number).to_ascii_lowercase();
    let bound = |key: &str| {
        let found = field.type_params.iter().find(|p| p.key == key);
        found.and_then(|p| p.value.parse().ok())
    };
    let params = field
        .type_params
        .iter()
        .filter(|p| !TOLD.contains(&&*p.key));
    Field {
        name: field.name.clone(),
        word: match field.data_type {
            data_type::ARRAY => format!("array<{}>", word(field.element_type)),
            number => word(number),
        },
        bounds: Bounds {
            dim: bound("dim"),
            max_length: bound("max_length"),
            max_capacity: bound("max_capacity"),
        },
        is_key: field.is_primary_key,
        is_partition_key: field.is_partition_key,
        is_output: field.is_function_output
            || schema
                .functions
                .iter()
                .any(|f| f.output_field_names.contains(&field.name)),
        auto_id: field.auto_id || schema.auto_id,
        nullable: field.nullable,
        default: field.default_value.as_ref().and_then(default_of),
        description: field.description.clone(),
        params: params.map(|p| (p.key.clone(), p.value.clone())).collect(),
    }
}

/// Refuses a file that a process is writing to right now.
pub fn check_unlocked(path: &Path) -> Result<()> {
    match super::lock::writer(path) {
        None => Ok(()),
        Some(writer) => {
            let what = format!("is being written to{}", super::lock::named(writer));
            Err(Error::path(Kind::Job, path, what).hint("wait until that program has finished"))
        }
    }
}
