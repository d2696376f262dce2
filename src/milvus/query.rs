//! Which rows have these keys? Reads them back, and counts them.
//! One call each; what is asked must be loaded.
//!
//! Measured on 2.3.5: a query gives one row for a key however many there are, `count(*)` with the same expression
//! counts them all; the key 2⁶³−1 is counted, and never given.

use arrow_array::ArrayRef;

use crate::batch::Key;
use crate::error::{Error, Kind, Result};
use crate::schema::{Column, ColumnType, Role};

use super::control::partition_name;
use super::proto::{
    AllocTimestampRequest, AllocTimestampResponse, FieldData, QueryRequest, QueryResults,
};
use super::{Client, Flavour, values};

/// Where rows are looked for.
#[derive(Clone, Debug)]
pub struct LookUp {
    /// The collection.
    pub collection: String,
    /// The partition; empty: the default one; `None`: all of the collection.
    pub partition: Option<String>,
    /// The primary key's field.
    pub key: String,
    /// The columns to read.
    pub columns: Vec<Column>,
    /// What was written before it is seen; `None`: all that was acknowledged, which each query then waits for.
    pub since: Option<u64>,
}

/// Rows that were found, in the server's order.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Their keys.
    pub keys: Vec<Key>,
    /// The columns that were asked for.
    pub columns: Vec<ArrayRef>,
}

/// `common.ConsistencyLevel`: by the request's own timestamp.
const CUSTOMIZED: i32 = 4;

/// What servers call the dynamic field.
const DYNAMIC: &str = "$meta";

impl Client {
    /// The server's time, where it tells: queries since then need not wait for it each time (measured: 0.4 s).
    pub fn now(&self) -> Result<Option<u64>> {
        let answer = self
            .tell::<AllocTimestampResponse>("AllocTimestamp", &AllocTimestampRequest::default());
        match answer {
            Ok(answer) => Ok((answer.timestamp > 0).then_some(answer.timestamp)),
            Err(e) if e.kind() == Kind::Refused => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The rows that have these keys, one for each key.
    pub fn rows(&self, look_up: &LookUp, keys: &[Key]) -> Result<Found> {
        self.check_keys(keys)?;
        let columns = look_up.columns.iter().map(field_name);
        let fields = [&*look_up.key].into_iter().chain(columns);
        let fields = fields.map(str::to_owned).collect();
        let answer: QueryResults = self.tell("Query", &self.query(look_up, keys, fields))?;
        read(look_up, answer)
            .map_err(|what| Error::new(Kind::Refused, format!("the answer holds {what}")))
            .map_err(|e| e.at(self.place("Query")))
    }

    /// Which of these keys there are rows of.
    pub fn present(&self, look_up: &LookUp, keys: &[Key]) -> Result<Vec<Key>> {
        let keys_only = LookUp {
            columns: Vec::new(),
            ..look_up.clone()
        };
        self.rows(&keys_only, keys).map(|found| found.keys)
    }

    /// How many rows have these keys: all of them where a key is there more than once.
    pub fn copies(&self, look_up: &LookUp, keys: &[Key]) -> Result<u64> {
        self.check_keys(keys)?;
        self.counted(&self.query(look_up, keys, vec!["count(*)".to_owned()]))
    }

    /// Milvus Lite before 3.0 reads no expression with a line break in it, and knows no other way to write one.
    fn check_keys(&self, keys: &[Key]) -> Result<()> {
        let breaks = |key: &&Key| matches!(key, Key::Text(text) if text.contains(['\n', '\r']));
        match keys.iter().find(breaks) {
            Some(key) if self.server.flavour == Flavour::LiteCpp => Err(Error::new(
                Kind::Unsupported,
                format!(
                    "{} cannot be asked for a key with a line break, such as {key}",
                    self.server
                ),
            )
            .hint("`run.verify: count` compares row counts")),
            _ => Ok(()),
        }
    }

    fn query(&self, look_up: &LookUp, keys: &[Key], output_fields: Vec<String>) -> QueryRequest {
        let partition = look_up.partition.as_deref().map(partition_name);
        QueryRequest {
            db_name: self.db.clone(),
            collection_name: look_up.collection.clone(),
            expr: expression(&look_up.key, keys, self.server.flavour),
            output_fields,
            partition_names: partition.map(str::to_owned).into_iter().collect(),
            guarantee_timestamp: look_up.since.unwrap_or(0),
            consistency_level: look_up.since.map_or(0, |_| CUSTOMIZED),
            ..QueryRequest::default()
        }
    }
}

fn field_name(column: &Column) -> &str {
    match column.role {
        Role::Dynamic => DYNAMIC,
        _ => &column.name,
    }
}

/// `id in [1,2,3]`, `id in ["a","b"]`.
fn expression(field: &str, keys: &[Key], flavour: Flavour) -> String {
    let mut text = format!("{field} in [");
    for (number, key) in keys.iter().enumerate() {
        if number > 0 {
            text.push(',');
        }
        match (key, flavour) {
            // Milvus reads the digits before the sign, and these are too many for it; it can count, though.
            (Key::Int(i64::MIN), Flavour::Full | Flavour::LiteCpp) => {
                text.push_str(&format!("{}-1", i64::MIN + 1));
            }
            (Key::Int(id), _) => text.push_str(&id.to_string()),
            (Key::Text(key), flavour) => quote(key, flavour, &mut text),
        }
    }
    text.push(']');
    text
}

/// A text as expressions have it. Tried on 2.3.5 with 19 nasty keys: any other spelling silently finds nothing.
/// Milvus Lite reads control characters as they are, but for line breaks.
fn quote(key: &str, flavour: Flavour, out: &mut String) {
    out.push('"');
    for c in key.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\0'..='\x1f' | '\x7f' if flavour == Flavour::Full => {
                out.push_str(&format!("\\x{:02x}", u32::from(c)));
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn read(look_up: &LookUp, answer: QueryResults) -> std::result::Result<Found, String> {
    let mut fields = answer.fields_data;
    let mut take = |name: &str| -> FieldData {
        let named = |f: &FieldData| f.field_name == name || name == DYNAMIC && f.is_dynamic;
        let at = fields.iter().position(named);
        // Without rows some versions leave the fields out.
        at.map_or_else(FieldData::default, |at| fields.swap_remove(at))
    };
    let keys = take(&look_up.key).scalars.unwrap_or_default();
    let texts = keys.string_data.unwrap_or_default().data;
    let ints = keys.long_data.unwrap_or_default().data;
    let keys: Vec<Key> = match texts.is_empty() {
        true => ints.into_iter().map(Key::Int).collect(),
        false => texts
            .into_iter()
            .map(|text| Key::Text(text.into()))
            .collect(),
    };
    let mut columns = Vec::with_capacity(look_up.columns.len());
    for column in &look_up.columns {
        let field = take(field_name(column));
        let array = values::read(column.kind, field, keys.len());
        let array = array.map_err(|what| match column.kind {
            ColumnType::Vector(_) => what,
            _ => format!("`{}`: {what}", column.name),
        })?;
        columns.push(array);
    }
    Ok(Found { keys, columns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_can_be_asked_for() {
        let ids = [i64::MIN, -1, 0, i64::MAX].map(Key::Int);
        assert_eq!(
            expression("id", &ids, Flavour::Full),
            "id in [-9223372036854775807-1,-1,0,9223372036854775807]"
        );
        assert_eq!(
            expression("k", &ids[..2], Flavour::LitePython),
            "k in [-9223372036854775808,-1]"
        );
        let texts = ["", "a\"b", "c\\", "d\ne\x7f", "ü😀'%{}"].map(|key| Key::Text(key.into()));
        assert_eq!(
            expression("k", &texts, Flavour::Full),
            r#"k in ["","a\"b","c\\","d\x0ae\x7f","ü😀'%{}"]"#
        );
        assert_eq!(
            expression("k", &[Key::Text("d\te\"".into())], Flavour::LiteCpp),
            "k in [\"d\te\\\"\"]"
        );
    }
}
