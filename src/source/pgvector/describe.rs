//! What do the columns become? The server's types as types of Milvus, and the SQL that selects each.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answers::Described;
use super::relation::{Relation, cell, identifier};
use super::values::Codec;
use super::wire::{Connection, Row};
use crate::error::{Error, Kind, Result};
use crate::job::did_you_mean;
use crate::limits;
use crate::schema::{Column, ColumnType, Columns, Scalar};

/// A column that is migrated.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// The SQL expression that selects it.
    pub sql: String,
    pub codec: Codec,
    pub kind: ColumnType,
    pub nullable: bool,
    /// What only the rows can tell.
    pub open: Option<Open>,
}

/// What only the rows can tell about a column.
#[derive(Clone, PartialEq, Debug)]
pub enum Open {
    /// How many dimensions its vectors have: the expression that counts them.
    Dimension(String),
    /// Whether all its arrays are lists without gaps.
    Lists,
}

/// How keys are selected, ordered and compared.
#[derive(Clone, PartialEq, Debug)]
pub struct KeyField {
    pub name: String,
    /// The order in which rows are read.
    pub order: String,
    /// The cast that follows a literal of a key.
    pub cast: &'static str,
    pub is_text: bool,
    /// Whether an index guarantees that it is unique, and it is never null.
    pub is_proven: bool,
}

/// The columns of a relation that are migrated: the key first.
#[derive(Clone, PartialEq, Debug)]
pub struct Fields {
    pub key: KeyField,
    pub all: Vec<Field>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

impl Fields {
    /// The columns of the target.
    pub fn columns(&self, relation: &Relation) -> Result<Arc<Columns>> {
        let all = self.all.iter().enumerate().map(|(number, field)| {
            let mut column = match number {
                0 => Column::key(&field.name, field.kind),
                _ => Column::new(&field.name, field.kind),
            };
            column.nullable = field.nullable;
            if let Some((metric, index)) = relation.indexes.get(&field.name) {
                column.metric = Some(metric.clone());
                column.index.clone_from(index);
            }
            column
        });
        Columns::new(all.collect())
    }
}

/// A type from the catalogue.
struct Type {
    schema: String,
    name: String,
    /// `e` for enumerations, `c` for composites, `p` for pseudo-types.
    class: String,
    is_array: bool,
    /// The type of its elements.
    of: Option<Box<Type>>,
}

/// Looks up the columns of a relation.
pub fn describe(
    connection: &mut Connection,
    relation: &Relation,
    key: Option<&str>,
    chosen: Option<&[String]>,
) -> Result<Fields> {
    let found = connection.describe(&format!("SELECT * FROM {}", relation.from))?;
    let key = key_of(relation, key, &found)?;
    let types = types(connection, &found)?;
    let mut columns: Vec<&Described> = vec![key];
    match chosen {
        None => columns.extend(found.iter().filter(|column| column.name != key.name)),
        Some(names) => {
            for name in names {
                let column = named(&found, name).ok_or_else(|| no_column(name, &found))?;
                if !columns.iter().any(|other| other.name == column.name) {
                    columns.push(column);
                }
            }
        }
    }
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    for (number, column) in columns.into_iter().enumerate() {
        let Some(kind) = types.get(&column.type_oid) else {
            let what = format!(
                "the server does not describe the type of column `{}`",
                column.name
            );
            return Err(Error::new(Kind::Unsupported, what));
        };
        let mut field = match number {
            0 => Field::of_key(column, kind)?,
            _ => Field::of(column, kind, &mut notes)?,
        };
        field.nullable = number > 0 && !relation.not_null.contains(&column.name);
        all.push(field);
    }
    let kind = &types[&key.type_oid];
    let is_c = connection.query(&format!(
        "SELECT c.collname IN ('C', 'POSIX', 'ucs_basic') OR c.collname = 'default' AND \
         d.datcollate IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8') \
         AND coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') = 'c' FROM pg_catalog.pg_database d, \
         (SELECT pg_catalog.pg_collation_for({}) COLLATE \"C\" AS name) p JOIN pg_catalog.pg_collation c \
         ON p.name IN (pg_catalog.quote_ident(c.collname), 'pg_catalog.' || pg_catalog.quote_ident(c.collname)) \
         WHERE d.datname = pg_catalog.current_database() LIMIT 1",
        match kind.name.as_str() {
            "text" | "varchar" => format!(
                "(SELECT q.{} FROM {} LIMIT 0)",
                identifier(&key.name),
                relation.from
            ),
            _ => "''::text".to_owned(),
        }
    ))?;
    let is_c = is_c.first().is_some_and(|row| cell(row, 0) == "t");
    let proven = relation.unique.contains(&key.name) && relation.not_null.contains(&key.name);
    Ok(Fields {
        key: KeyField::of(&key.name, kind, is_c, proven),
        all,
        notes,
    })
}

impl KeyField {
    fn of(name: &str, kind: &Type, is_c: bool, is_proven: bool) -> KeyField {
        let column = format!("q.{}", identifier(name));
        // Positions are compared by the bytes of a text, so rows must come in that order.
        let (order, cast, is_text) = match kind.name.as_str() {
            "int2" | "int4" | "int8" => (column, "::bigint", false),
            "uuid" => (column, "::uuid", true),
            "text" | "varchar" if is_c => (column, "", true),
            "text" | "varchar" => (format!("({column} COLLATE \"C\")"), "", true),
            _ => (format!("({column}::text COLLATE \"C\")"), "", true),
        };
        KeyField {
            name: name.to_owned(),
            order,
            cast,
            is_text,
            is_proven,
        }
    }
}

/// The column of this name, exactly or as SQL reads it.
fn named<'d>(found: &'d [Described], name: &str) -> Option<&'d Described> {
    let exact = found.iter().find(|column| column.name == name);
    exact.or_else(|| found.iter().find(|c| c.name == name.to_lowercase()))
}

fn no_column(name: &str, found: &[Described]) -> Error {
    let names: Vec<&str> = found.iter().map(|column| &*column.name).collect();
    let error = Error::new(Kind::Job, format!("there is no column `{name}`"));
    let hint = did_you_mean(name, &names);
    error.hint(hint.unwrap_or_else(|| format!("there are {}", names.join(", "))))
}

fn key_of<'d>(
    relation: &Relation,
    key: Option<&str>,
    found: &'d [Described],
) -> Result<&'d Described> {
    let name = match (key, &relation.primary[..]) {
        (Some(name), _) => name,
        (None, [name]) => name,
        (None, primary) => {
            let what = match primary {
                [] => format!("{} has no primary key", relation.full_name),
                many => format!(
                    "{} has a primary key of {} columns ({}); rows are identified by one",
                    relation.full_name,
                    many.len(),
                    many.join(", ")
                ),
            };
            return Err(Error::new(Kind::Job, what).hint(
                "name a column without duplicates in `key:`; a query can build one: `query: \"select a || '/' || b as key, * \
                 from t\"`",
            ));
        }
    };
    named(found, name).ok_or_else(|| no_column(name, found))
}

/// The types of columns.
fn types(connection: &mut Connection, found: &[Described]) -> Result<BTreeMap<u32, Type>> {
    let numbers: Vec<String> = found.iter().map(|c| c.type_oid.to_string()).collect();
    if numbers.is_empty() {
        return Err(Error::new(Kind::Job, "the query returns no columns"));
    }
    let rows = connection.query(&format!(
        "SELECT t.oid, n.nspname, t.typname, t.typtype, t.typcategory = 'A' AND t.typlen = -1 AND t.typelem <> 0, \
         m.nspname, e.typname, e.typtype, e.typcategory = 'A' FROM pg_catalog.pg_type t \
         JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem \
         LEFT JOIN pg_catalog.pg_namespace m ON m.oid = e.typnamespace WHERE t.oid IN ({})",
        numbers.join(", ")
    ))?;
    let read = |row: &Row, at: usize| Type {
        schema: cell(row, at).to_owned(),
        name: cell(row, at + 1).to_owned(),
        class: cell(row, at + 2).to_owned(),
        is_array: cell(row, at + 3) == "t",
        of: None,
    };
    let types = rows.iter().filter_map(|row| {
        let mut kind = read(row, 1);
        kind.of = kind.is_array.then(|| Box::new(read(row, 5)));
        Some((cell(row, 0).parse().ok()?, kind))
    });
    Ok(types.collect())
}

impl Type {
    fn is_builtin(&self) -> bool {
        self.schema == "pg_catalog"
    }

    /// How values that are not vectors are sent; `None` if they need special handling.
    fn codec(&self) -> Option<Codec> {
        if self.class == "e" || self.name == "citext" {
            return Some(Codec::Text);
        }
        if !self.is_builtin() {
            return None;
        }
        Some(match self.name.as_str() {
            "bool" => Codec::Bool,
            "int2" => Codec::Int(2),
            "int4" => Codec::Int(4),
            "int8" => Codec::Int(8),
            "oid" => Codec::Oid,
            "float4" => Codec::Float,
            "float8" => Codec::Double,
            "text" | "varchar" | "bpchar" | "name" => Codec::Text,
            "uuid" => Codec::Uuid,
            "numeric" => Codec::Numeric,
            "date" => Codec::Date,
            "timestamp" => Codec::Timestamp,
            "timestamptz" => Codec::Timestamptz,
            "bytea" => Codec::Bytea,
            _ => return None,
        })
    }
}

/// Bytes of the longest text of a type, if it has a limit; characters have up to four.
fn longest(name: &str, typmod: i32) -> Option<u32> {
    let bytes = match name {
        "varchar" | "bpchar" => u32::try_from(typmod).ok()?.checked_sub(4)?.checked_mul(4)?,
        "uuid" => 36,
        _ => return None,
    };
    (1..=limits::MILVUS_TEXT_BYTES_MAX as u32)
        .contains(&bytes)
        .then_some(bytes)
}

impl Field {
    fn made(column: &Described, sql: String, codec: Codec, max_bytes: Option<u32>) -> Field {
        Field {
            name: column.name.clone(),
            kind: codec.kind(max_bytes),
            sql,
            codec,
            nullable: false,
            open: None,
        }
    }

    /// The key column: an int64 or text.
    fn of_key(column: &Described, kind: &Type) -> Result<Field> {
        let sql = format!("q.{}", identifier(&column.name));
        let max = longest(&kind.name, column.typmod);
        let text = |sql| Ok(Field::made(column, sql, Codec::Text, max));
        match (kind.name.as_str(), kind.codec()) {
            (_, Some(codec @ Codec::Int(_))) => Ok(Field {
                kind: ColumnType::Scalar(Scalar::Int64),
                ..Field::made(column, sql, codec, None)
            }),
            (_, Some(Codec::Uuid)) => Ok(Field::made(column, sql, Codec::Uuid, max)),
            ("text" | "varchar", Some(_)) => text(sql),
            (_, Some(Codec::Text | Codec::Numeric | Codec::Date | Codec::Oid)) => {
                text(format!("{sql}::text"))
            }
            (name, _) => {
                let what = format!(
                    "rows are identified by a number or text, but column `{}` is {name}",
                    column.name
                );
                Err(Error::new(Kind::Job, what)
                    .hint("name another column in `key:`; a query can build one"))
            }
        }
    }

    fn of(column: &Described, kind: &Type, notes: &mut Vec<String>) -> Result<Field> {
        let name = &column.name;
        let sql = format!("q.{}", identifier(name));
        let made = |codec: Codec, max| Ok(Field::made(column, sql.clone(), codec, max));
        let dimension = u32::try_from(column.typmod).ok().filter(|d| *d > 0);
        let opened = |codec: Codec| {
            let counted = format!("{}.vector_dims({sql})", identifier(&kind.schema));
            Ok(Field {
                open: dimension.is_none().then_some(Open::Dimension(counted)),
                ..Field::made(column, sql.clone(), codec, None)
            })
        };
        if let Some(of) = &kind.of {
            return Field::of_array(column, sql, of, notes);
        }
        match kind.name.as_str() {
            "vector" => return opened(Codec::Vector(dimension.unwrap_or(1))),
            "halfvec" => return opened(Codec::Halfvec(dimension.unwrap_or(1))),
            "sparsevec" => return made(Codec::Sparsevec, None),
            "bit" if kind.is_builtin() => {
                let bits = dimension.unwrap_or(1);
                if bits % 8 != 0 {
                    notes.push(format!(
                        "`{name}`: bit({bits}) becomes a binary vector of {} dimensions; the added ones are 0",
                        bits.next_multiple_of(8)
                    ));
                }
                return made(Codec::Bits(bits), None);
            }
            "json" if kind.is_builtin() => return made(Codec::Json, None),
            "jsonb" if kind.is_builtin() => return made(Codec::Jsonb, None),
            _ => {}
        }
        match (kind.codec(), kind.class.as_str()) {
            (Some(codec), _) => made(codec, longest(&kind.name, column.typmod)),
            (None, "c") => {
                notes.push(format!(
                    "`{name}`: values of the composite type {} become JSON",
                    kind.name
                ));
                let sql = format!("pg_catalog.to_json({sql})::text");
                Ok(Field::made(column, sql, Codec::Json, None))
            }
            (None, "p") => {
                let what = format!("column `{name}` is of the type {}", kind.name);
                Err(Error::new(Kind::Unsupported, what)
                    .hint("list the columns to migrate in `columns:`; a query can give it a type"))
            }
            (None, _) => {
                notes.push(format!(
                    "`{name}`: {} becomes text, as Postgres writes it",
                    kind.name
                ));
                Ok(Field::made(
                    column,
                    format!("{sql}::text"),
                    Codec::Text,
                    None,
                ))
            }
        }
    }

    fn of_array(
        column: &Described,
        sql: String,
        of: &Type,
        notes: &mut Vec<String>,
    ) -> Result<Field> {
        let name = &column.name;
        match of.codec() {
            Some(codec) => {
                let max = longest(&of.name, column.typmod);
                Ok(Field {
                    open: Some(Open::Lists),
                    ..Field::made(column, sql, Codec::Array(Box::new(codec)), max)
                })
            }
            None if ["vector", "halfvec", "sparsevec"].contains(&of.name.as_str()) => {
                let what = format!(
                    "column `{name}` holds arrays of {}, but a row has one vector per column",
                    of.name
                );
                Err(Error::new(Kind::Unsupported, what).hint(
                    "list the columns to migrate in `columns:`; a query can give each vector a row: `select … from t, \
                     unnest(t.vectors) with ordinality`",
                ))
            }
            None => {
                notes.push(format!("`{name}`: arrays of {} become JSON", of.name));
                Ok(Field::made(
                    column,
                    format!("pg_catalog.to_json({sql})::text"),
                    Codec::Json,
                    None,
                ))
            }
        }
    }

    /// The same field, once the rows have shown that not all values are lists.
    pub fn of_json(&self) -> Field {
        Field {
            sql: format!("pg_catalog.to_json({})::text", self.sql),
            codec: Codec::Json,
            kind: ColumnType::Json,
            open: None,
            ..self.clone()
        }
    }

    /// The same field, once the rows have shown how many dimensions its vectors have.
    pub fn of_dimension(&self, dimension: u32) -> Field {
        let codec = match self.codec {
            Codec::Halfvec(_) => Codec::Halfvec(dimension),
            _ => Codec::Vector(dimension),
        };
        Field {
            kind: codec.kind(None),
            codec,
            open: None,
            ..self.clone()
        }
    }
}
