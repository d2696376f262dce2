//! Which rows does the job select? A table, a view or a query, and what the catalogue knows about it.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{Connection, Row};
use crate::error::{Error, Kind, Result};
use crate::job::did_you_mean;
use crate::schema::{Index, Metric};

/// What the job names.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A table or view, with or without its schema.
    Table(String),
    /// A query.
    Query(String),
}

/// Rows of the server, and what is known about them.
#[derive(Clone, PartialEq, Debug)]
pub struct Relation {
    /// The expression after FROM; columns are those of `q`.
    pub from: String,
    /// Its name in a plan; empty for a query.
    pub name: String,
    /// Its name with the schema.
    pub full_name: String,
    /// Its OID; `None` for a query.
    pub oid: Option<String>,
    /// The estimated number of rows, if a sample can be taken without reading all of them.
    pub sampled_rows: Option<f64>,
    pub not_null: BTreeSet<String>,
    /// Columns with a unique index of their own.
    pub unique: BTreeSet<String>,
    /// The columns of the primary key.
    pub primary: Vec<String>,
    /// The metric and index of vectors.
    pub indexes: BTreeMap<String, (Metric, Option<Index>)>,
}

/// Text as an SQL literal.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name as an SQL identifier.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value of a row; empty if there is none.
pub fn cell(row: &Row, number: usize) -> &str {
    row.get(number).and_then(Option::as_deref).unwrap_or("")
}

impl Relation {
    /// Finds what the job names. Must be called outside a transaction.
    pub fn find(connection: &mut Connection, wanted: &Wanted) -> Result<Relation> {
        match wanted {
            Wanted::Table(name) => table(connection, name),
            Wanted::Query(sql) => Ok(Relation {
                // A comment at its end must not hide what follows.
                from: format!("({}\n) AS q", sql.trim().trim_end_matches(';')),
                name: String::new(),
                full_name: "the query".to_owned(),
                oid: None,
                sampled_rows: None,
                not_null: BTreeSet::new(),
                unique: BTreeSet::new(),
                primary: Vec::new(),
                indexes: BTreeMap::new(),
            }),
        }
    }
}

fn table(connection: &mut Connection, name: &str) -> Result<Relation> {
    let Some(found) = look_up(connection, name)? else {
        return Err(missing(connection, name));
    };
    let (oid, schema, table) = (cell(&found, 0), cell(&found, 1), cell(&found, 2));
    let (kind, has_children) = (cell(&found, 3), cell(&found, 5) == "t");
    if !["r", "p", "v", "m", "f"].contains(&kind) {
        let what = format!("{schema}.{table} is neither a table nor a view");
        return Err(Error::new(Kind::Job, what));
    }
    let attributes = connection.query(&format!(
        "SELECT attname, attnotnull FROM pg_catalog.pg_attribute WHERE attrelid = {oid} AND attnum > 0 \
         AND NOT attisdropped"
    ))?;
    let not_null = attributes.iter().filter(|row| cell(row, 1) == "t");
    let unique = connection.query(&format!(
        "SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid \
         AND a.attnum = i.indkey[0] WHERE i.indrelid = {oid} AND i.indisunique AND i.indisvalid AND i.indimmediate \
         AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 1"
    ))?;
    let primary = connection.query(&format!(
        "SELECT a.attname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid \
         AND a.attnum = ANY (i.indkey) WHERE i.indrelid = {oid} AND i.indisprimary ORDER BY a.attnum"
    ))?;
    let names =
        |rows: &[Row]| -> Vec<String> { rows.iter().map(|row| cell(row, 0).to_owned()).collect() };
    Ok(Relation {
        from: format!("{}.{} AS q", identifier(schema), identifier(table)),
        name: table.to_owned(),
        full_name: format!("{schema}.{table}"),
        oid: Some(oid.to_owned()),
        sampled_rows: ["r", "p", "m"]
            .contains(&kind)
            .then(|| cell(&found, 4).parse().unwrap_or(0.0)),
        not_null: not_null.map(|row| cell(row, 0).to_owned()).collect(),
        // An index of a table does not cover the tables that inherit from it; partitions share theirs.
        unique: match has_children && kind == "r" {
            true => BTreeSet::new(),
            false => names(&unique).into_iter().collect(),
        },
        primary: names(&primary),
        indexes: indexes(connection, oid)?,
    })
}

/// A table by its name as SQL reads it, otherwise by its exact name.
fn look_up(connection: &mut Connection, name: &str) -> Result<Option<Row>> {
    let sql = |condition: String| {
        format!(
            "SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples, \
             EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = c.oid) \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE {condition}"
        )
    };
    let read = format!("c.oid = pg_catalog.to_regclass({})", literal(name));
    match connection.query(&sql(read)) {
        Ok(mut rows) if !rows.is_empty() => return Ok(Some(rows.swap_remove(0))),
        // It may not be a valid SQL name, but still be the name of a table.
        Err(error) if error.kind().is_silence() => return Err(error),
        _ => {}
    }
    let visible = format!(
        "c.relname = {} AND pg_catalog.pg_table_is_visible(c.oid)",
        literal(name)
    );
    let parts = name.split_once('.').map(|(schema, table)| {
        format!(
            "c.relname = {} AND n.nspname = {}",
            literal(table),
            literal(schema)
        )
    });
    for condition in [Some(visible), parts].into_iter().flatten() {
        let mut rows = connection.query(&sql(condition))?;
        if !rows.is_empty() {
            return Ok(Some(rows.swap_remove(0)));
        }
    }
    Ok(None)
}

/// Tables and views that have a column of vectors.
pub fn with_vectors(connection: &mut Connection) -> Result<Vec<String>> {
    let rows = connection.query(
        "SELECT DISTINCT CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN c.relname::text \
         ELSE n.nspname || '.' || c.relname END \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 \
         AND t.typname IN ('vector', 'halfvec', 'sparsevec') ORDER BY 1 LIMIT 100",
    )?;
    Ok(rows.iter().map(|row| cell(row, 0).to_owned()).collect())
}

fn missing(connection: &mut Connection, name: &str) -> Error {
    let error = Error::new(Kind::Job, format!("there is no table `{name}`"));
    let Ok(names) = with_vectors(connection) else {
        return error;
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match did_you_mean(name, &names) {
        Some(hint) => error.hint(hint),
        None if names.is_empty() => error.hint("no table of this database has vectors"),
        None => error.hint(format!("tables with vectors: {}", names.join(", "))),
    }
}

/// The metric and index of each column that has one of pgvector's.
fn indexes(
    connection: &mut Connection,
    oid: &str,
) -> Result<BTreeMap<String, (Metric, Option<Index>)>> {
    let rows = connection.query(&format!(
        "SELECT a.attname, m.amname, o.opcname, pg_catalog.array_to_string(c.reloptions, ',') \
         FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
         JOIN pg_catalog.pg_am m ON m.oid = c.relam JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid \
         AND a.attnum = i.indkey[0] JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0] \
         WHERE i.indrelid = {oid} AND m.amname IN ('hnsw', 'ivfflat') AND i.indisvalid ORDER BY i.indexrelid"
    ))?;
    let mut all = BTreeMap::new();
    for row in &rows {
        let Some(metric) = metric(cell(row, 2)) else {
            continue;
        };
        let index = index(cell(row, 1), cell(row, 2), cell(row, 3));
        all.entry(cell(row, 0).to_owned())
            .or_insert((metric, index));
    }
    Ok(all)
}

fn metric(class: &str) -> Option<Metric> {
    let name = [
        ("_l2_ops", "L2"),
        ("_ip_ops", "IP"),
        ("_cosine_ops", "COSINE"),
        ("_hamming_ops", "HAMMING"),
        ("_jaccard_ops", "JACCARD"),
    ]
    .into_iter()
    .find_map(|(end, name)| class.ends_with(end).then_some(name))?;
    Metric::named(name)
}

/// The equivalent index in Milvus, if there is one.
fn index(method: &str, class: &str, options: &str) -> Option<Index> {
    if class.starts_with("bit") || class.starts_with("sparsevec") {
        return None;
    }
    let option = |name: &str, default: &str| {
        let mut all = options.split(',').filter_map(|pair| pair.split_once('='));
        let found = all.find(|(key, _)| *key == name);
        found.map_or(default, |(_, value)| value).to_owned()
    };
    let pair = |name: &str, value: String| (name.to_owned(), value);
    Some(match method {
        "hnsw" => Index {
            kind: "HNSW".to_owned(),
            params: vec![
                pair("M", option("m", "16")),
                pair("efConstruction", option("ef_construction", "64")),
            ],
        },
        _ => Index {
            kind: "IVF_FLAT".to_owned(),
            params: vec![pair("nlist", option("lists", "100"))],
        },
    })
}
