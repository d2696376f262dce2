//! What does `chroma.sqlite3` hold? Collections, their rows' ids and metadata, and writes that no index has taken
//! over yet.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use serde_json::Value;

use super::Collection;
use crate::error::{Error, Kind, Result};
use crate::json::quoted;
use crate::source::sqlite::Sqlite;

/// The key of a row's document among its metadata.
const DOCUMENT: &str = "chroma:document";
/// The key of its URI.
const URI: &str = "chroma:uri";

/// An open database.
pub struct Tables<'s> {
    pub sqlite: &'s Sqlite,
    connection: Connection,
}

/// The parts of a collection.
#[derive(Clone, Default, Debug)]
pub struct Segments {
    /// The directory of its vectors, and the type of their index.
    pub vector: Option<(String, String)>,
    /// The segment that its rows belong to.
    pub metadata: String,
}

/// A row as its tables have it.
pub struct Stored {
    pub id: String,
    /// JSON: an object of everything except document and URI.
    pub metadata: String,
    /// JSON.
    pub document: String,
    /// JSON.
    pub uri: String,
}

/// A write that no index has taken over yet.
pub struct Write {
    pub number: i64,
    pub operation: i64,
    pub id: String,
    pub has_vector: bool,
}

impl<'s> Tables<'s> {
    /// A connection for one thread.
    pub fn open(sqlite: &'s Sqlite) -> Result<Tables<'s>> {
        Ok(Tables {
            connection: sqlite.connect()?,
            sqlite,
        })
    }

    fn corrupt(&self, what: String) -> Error {
        Error::path(Kind::Corrupt, self.sqlite.path(), what)
    }

    /// Passes on each row of a statement's result.
    fn each(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        mut row: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<()> {
        let all = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query(values)?;
            while let Some(found) = rows.next()? {
                row(found)?;
            }
            Ok(())
        };
        all().map_err(|e| self.sqlite.failed(&e))
    }

    fn has_table(&self, name: &str) -> Result<bool> {
        let mut found = false;
        let sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1";
        self.each(sql, [name], |_| {
            found = true;
            Ok(())
        })?;
        Ok(found)
    }

    /// All collections of a database, by name.
    pub fn collections(&self, tenant: &str, database: &str) -> Result<Vec<Collection>> {
        for table in ["collections", "segments", "embeddings", "embeddings_queue"] {
            if !self.has_table(table)? {
                let what =
                    format!("is not a database of Chroma 0.4 or later: it has no table `{table}`");
                return Err(self.corrupt(what));
            }
        }
        // Early releases have only one database.
        let mut wanted = None;
        if self.has_table("databases")? {
            let mut others = Vec::new();
            let sql = "SELECT id, name, tenant_id FROM databases ORDER BY tenant_id, name";
            self.each(sql, [], |row| {
                let (name, of): (String, String) = (row.get(1)?, row.get(2)?);
                match name == database && of == tenant {
                    true => wanted = Some(row.get::<_, String>(0)?),
                    false => others.push(format!("{name} of {of}")),
                }
                Ok(())
            })?;
            if wanted.is_none() {
                let what = format!("has no database `{database}` of tenant `{tenant}`");
                let error = Error::path(Kind::Job, self.sqlite.path(), what);
                return Err(error.hint(format!("there are {}", others.join(", "))));
            }
        }
        let mut all = Vec::new();
        self.each("SELECT * FROM collections ORDER BY name", [], |row| {
            let names: Vec<&str> = row.as_ref().column_names().collect();
            let optional = |name: &str| match names.contains(&name) {
                true => row.get::<_, Option<String>>(name),
                false => Ok(None),
            };
            if wanted.is_some() && optional("database_id")? != wanted {
                return Ok(());
            }
            let json = |text: Option<String>| -> Value {
                let text = text.unwrap_or_default();
                serde_json::from_str(&text).unwrap_or_default()
            };
            let dimension: Option<i64> = row.get("dimension")?;
            all.push((
                row.get::<_, String>("id")?,
                row.get::<_, String>("name")?,
                dimension.and_then(|d| u64::try_from(d).ok()),
                json(optional("schema_str")?),
                json(optional("config_json_str")?),
            ));
            Ok(())
        })?;
        let mut collections = Vec::new();
        for (id, name, dimension, schema, configuration) in all {
            let mut metadata = serde_json::Map::new();
            let sql = "SELECT key, str_value FROM collection_metadata WHERE collection_id = ?1";
            self.each(sql, [&id], |row| {
                metadata.insert(row.get(0)?, row.get::<_, Option<String>>(1)?.into());
                Ok(())
            })?;
            let said = [&schema, &configuration, &metadata.into()];
            collections.push(Collection::of(&id, &name, dimension, said));
        }
        Ok(collections)
    }

    /// The parts of a collection.
    pub fn segments(&self, collection: &str) -> Result<Segments> {
        let mut found = Segments::default();
        let sql = "SELECT id, scope, type FROM segments WHERE collection = ?1";
        self.each(sql, [collection], |row| {
            let (id, scope): (String, String) = (row.get(0)?, row.get(1)?);
            match &*scope {
                "VECTOR" => found.vector = Some((id, row.get(2)?)),
                "METADATA" => found.metadata = id,
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// The last write that a segment has taken over.
    pub fn last_write(&self, segment: &str) -> Result<Option<i64>> {
        let mut last = None;
        let sql = "SELECT seq_id FROM max_seq_id WHERE segment_id = ?1";
        self.each(sql, [segment], |row| {
            last = match row.get_ref(0)? {
                ValueRef::Integer(number) => Some(number),
                // Early releases store it as big-endian bytes.
                ValueRef::Blob(bytes) => Some(bytes.iter().fold(0i64, |number, byte| {
                    number.wrapping_shl(8) | i64::from(*byte)
                })),
                _ => None,
            };
            Ok(())
        })?;
        Ok(last)
    }

    /// Writes to a collection after this one, in order.
    pub fn writes(&self, collection: &str, after: i64, mut each: impl FnMut(Write)) -> Result<()> {
        let sql = "SELECT seq_id, operation, id, vector IS NOT NULL FROM embeddings_queue \
                   WHERE substr(topic, -36) = ?1 AND seq_id > ?2 ORDER BY seq_id";
        self.each(sql, rusqlite::params![collection, after], |row| {
            each(Write {
                number: row.get(0)?,
                operation: row.get(1)?,
                id: row.get(2)?,
                has_vector: row.get(3)?,
            });
            Ok(())
        })
    }

    /// Appends the vector that was written.
    pub fn written(&self, number: i64, dimension: u32, out: &mut Vec<u8>) -> Result<()> {
        let mut wrong = Some("no longer exists".to_owned());
        let sql = "SELECT vector, encoding FROM embeddings_queue WHERE seq_id = ?1";
        self.each(sql, [number], |row| {
            let encoding: Option<String> = row.get(1)?;
            wrong = match (row.get_ref(0)?, encoding.as_deref()) {
                (ValueRef::Blob(bytes), None | Some("FLOAT32")) => {
                    out.extend_from_slice(bytes);
                    let fits = bytes.len() as u64 == u64::from(dimension) * 4;
                    (!fits).then(|| format!("has {} bytes, not {dimension} floats", bytes.len()))
                }
                (_, encoding) => Some(format!("is a vector of {}", encoding.unwrap_or("nothing"))),
            };
            Ok(())
        })?;
        match wrong {
            None => Ok(()),
            Some(what) => Err(self.corrupt(format!("write {number} {what}"))),
        }
    }

    /// The numbers and ids of a segment's rows, in the order in which they were first written.
    pub fn rows(&self, segment: &str, mut each: impl FnMut(i64, &str)) -> Result<()> {
        let sql = "SELECT id, embedding_id FROM embeddings WHERE segment_id = ?1 ORDER BY id";
        self.each(sql, [segment], |row| {
            each(row.get(0)?, row.get_ref(1)?.as_str()?);
            Ok(())
        })
    }

    /// The rows with these numbers, which ascend.
    pub fn stored(&self, segment: &str, numbers: &[i64]) -> Result<Vec<Stored>> {
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
            return Ok(Vec::new());
        };
        let mut all: Vec<Option<Stored>> = numbers.iter().map(|_| None).collect();
        let at: HashMap<i64, usize> = numbers.iter().copied().zip(0..).collect();
        let sql = "SELECT id, embedding_id FROM embeddings WHERE id BETWEEN ?1 AND ?2 AND segment_id = ?3";
        self.each(sql, rusqlite::params![first, last, segment], |row| {
            if let Some(at) = at.get(&row.get(0)?) {
                all[*at] = Some(Stored {
                    id: row.get(1)?,
                    metadata: "{".to_owned(),
                    document: "null".to_owned(),
                    uri: "null".to_owned(),
                });
            }
            Ok(())
        })?;
        let sql = "SELECT * FROM embedding_metadata WHERE id BETWEEN ?1 AND ?2 ORDER BY id, key";
        let mut wrong = None;
        self.each(sql, [first, last], |row| {
            let stored = at.get(&row.get("id")?).and_then(|at| all[*at].as_mut());
            let Some(stored) = stored else {
                return Ok(());
            };
            let key: String = row.get("key")?;
            match value(row)? {
                Some(value) if key == DOCUMENT => stored.document = value,
                Some(value) if key == URI => stored.uri = value,
                Some(value) => add(&mut stored.metadata, &key, &value),
                None => {
                    wrong.get_or_insert(format!(
                        "row {} has metadata {} that is infinite",
                        quoted(&stored.id),
                        quoted(&key)
                    ));
                }
            }
            Ok(())
        })?;
        if self.has_table("embedding_metadata_array")? {
            let sql = "SELECT * FROM embedding_metadata_array WHERE id BETWEEN ?1 AND ?2 ORDER BY id, key, rowid";
            let mut list: Option<(usize, String, String)> = None;
            let mut close = |list: Option<(usize, String, String)>| {
                if let Some((at, key, values)) = list
                    && let Some(stored) = &mut all[at]
                {
                    add(&mut stored.metadata, &key, &format!("[{values}]"));
                }
            };
            self.each(sql, [first, last], |row| {
                let Some(at) = at.get(&row.get("id")?) else {
                    return Ok(());
                };
                let key: String = row.get("key")?;
                let found = value(row)?.unwrap_or_else(|| "null".to_owned());
                match &mut list {
                    Some((of, name, values)) if of == at && *name == key => {
                        values.push(',');
                        values.push_str(&found);
                    }
                    other => close(other.replace((*at, key, found))),
                }
                Ok(())
            })?;
            close(list.take());
        }
        if let Some(what) = wrong {
            return Err(Error::path(Kind::Unsupported, self.sqlite.path(), what));
        }
        let all = all.into_iter().zip(numbers).map(|(stored, number)| {
            let mut stored = stored.ok_or_else(|| {
                self.corrupt(format!("row {number} of `embeddings` no longer exists"))
            })?;
            stored.metadata.push('}');
            Ok(stored)
        });
        all.collect()
    }
}

fn add(object: &mut String, key: &str, value: &str) {
    if object.len() > 1 {
        object.push(',');
    }
    object.push_str(&quoted(key));
    object.push(':');
    object.push_str(value);
}

/// The one value of a row of metadata, as JSON; `None` for a number that JSON cannot express.
fn value(row: &Row<'_>) -> rusqlite::Result<Option<String>> {
    for column in ["string_value", "bool_value", "int_value", "float_value"] {
        // Early releases have no booleans.
        let Ok(found) = row.get_ref(column) else {
            continue;
        };
        let text = match found {
            ValueRef::Null | ValueRef::Blob(_) => continue,
            ValueRef::Text(text) => quoted(&String::from_utf8_lossy(text)),
            ValueRef::Integer(number) if column == "bool_value" => (number != 0).to_string(),
            ValueRef::Integer(number) if column == "float_value" => {
                Value::from(number as f64).to_string()
            }
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) if !number.is_finite() => return Ok(None),
            ValueRef::Real(number) => Value::from(number).to_string(),
        };
        return Ok(Some(text));
    }
    Ok(Some("null".to_owned()))
}
