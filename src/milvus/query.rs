//! Which rows have these keys? Reads them back, and counts them.
//! One call each; the collection must be loaded.
//!
//! Measured on 2.3.5: a query returns one row for a key however many there are, but `count(*)` with the same expression
//! counts them all; the key 2⁶³−1 is counted, but never returned.

use arrow_array::ArrayRef;

use crate::batch::Key;
use crate::error::{Error, Kind, Result};
use crate::schema::{Column, ColumnType, Role};

use super::control::partition_name;
use super::proto::{
    AllocTimestampRequest, AllocTimestampResponse, FieldData, KeyValue, QueryRequest, QueryResults,
};
use super::{Client, Flavour, status, values};

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
    /// Everything written before this is seen; `None`: everything acknowledged, which each query then waits for.
    pub since: Option<u64>,
}

/// Rows after a key, up to another, inclusive; of these, those that a filter admits.
#[derive(Clone, Debug, Default)]
pub struct Range<'r> {
    /// After this one; `None`: from the first.
    pub after: Option<&'r Key>,
    /// Up to this one, inclusive; `None`: to the last.
    pub upto: Option<&'r Key>,
    /// An expression of Milvus's.
    pub filter: Option<&'r str>,
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
    /// The server's time, if it tells: queries since then need not wait each time (measured: 0.4 s).
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
        let answer = self.queried(&self.query(look_up, keys, fields))?;
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

    /// How many rows have these keys, all copies of a key counted.
    pub fn copies(&self, look_up: &LookUp, keys: &[Key]) -> Result<u64> {
        self.check_keys(keys)?;
        self.counted(&self.query(look_up, keys, vec!["count(*)".to_owned()]))
    }

    /// How many rows have this key, of those that a filter admits.
    pub fn count_key(&self, look_up: &LookUp, key: &Key, filter: Option<&str>) -> Result<u64> {
        let keys = std::slice::from_ref(key);
        self.check_askable(keys)?;
        let mut request = self.query(look_up, keys, vec!["count(*)".to_owned()]);
        if let Some(filter) = filter {
            request.expr = format!("({}) and ({filter})", request.expr);
        }
        self.counted(&request)
    }

    /// All rows of a range, in no particular order, with the columns of the look-up.
    pub fn range(&self, look_up: &LookUp, range: &Range<'_>, text: bool) -> Result<Vec<ArrayRef>> {
        let fields = look_up.columns.iter().map(field_name).map(str::to_owned);
        let request = self.ranged(look_up, range, text, fields.collect())?;
        let answer = self.queried(&request)?;
        let mut fields = answer.fields_data;
        let key = fields.iter().find(|field| field.field_name == look_up.key);
        let rows = key.and_then(|field| field.scalars.as_ref()).map(|key| {
            let ints = key.long_data.as_ref().map_or(0, |ints| ints.data.len());
            let texts = key.string_data.as_ref().map_or(0, |texts| texts.data.len());
            ints.max(texts)
        });
        let key = key.cloned().unwrap_or_default();
        let columns = look_up.columns.iter().map(|column| {
            let field = take(&mut fields, field_name(column));
            check_json(&key, column, &field).map_err(|e| e.at(self.place("Query")))?;
            let array = values::read(column.kind, field, rows.unwrap_or(0));
            array.map_err(|what| {
                let what = format!("the answer holds, of `{}`: {what}", column.name);
                Error::new(Kind::Refused, what).at(self.place("Query"))
            })
        });
        columns.collect()
    }

    /// The key of the row that follows this many rows of the range; `None` if there are fewer. Servers may count
    /// wrongly if keys repeat.
    pub fn key_at(
        &self,
        look_up: &LookUp,
        range: &Range<'_>,
        text: bool,
        before: u64,
    ) -> Result<Option<Key>> {
        let mut request = self.ranged(look_up, range, text, vec![look_up.key.clone()])?;
        let param = |name: &str, value: u64| KeyValue::new(name, value.to_string());
        request
            .query_params
            .extend([param("limit", 1), param("offset", before)]);
        let keys_only = LookUp {
            columns: Vec::new(),
            ..look_up.clone()
        };
        let found = read(&keys_only, self.queried(&request)?);
        let found =
            found.map_err(|what| Error::new(Kind::Refused, what).at(self.place("Query")))?;
        Ok(found.keys.into_iter().next())
    }

    /// How many rows there are in a range, all copies of a key counted.
    pub fn count_range(&self, look_up: &LookUp, range: &Range<'_>, text: bool) -> Result<u64> {
        self.counted(&self.ranged(look_up, range, text, vec!["count(*)".to_owned()])?)
    }

    fn ranged(
        &self,
        look_up: &LookUp,
        range: &Range<'_>,
        text: bool,
        output_fields: Vec<String>,
    ) -> Result<QueryRequest> {
        for key in [range.after, range.upto].into_iter().flatten() {
            self.check_askable(std::slice::from_ref(key))?;
        }
        let expr = bounds(&look_up.key, range, text, self.server.flavour);
        Ok(QueryRequest {
            expr,
            // In the order of keys and, if the server supports it, as of the requested time. Milvus Lite does not count
            // this way.
            // not count so.
            query_params: match output_fields.first().map(String::as_str) {
                Some("count(*)") if self.server.flavour != Flavour::Full => Vec::new(),
                _ => vec![KeyValue::new("iterator", "True")],
            },
            ..self.query(look_up, &[], output_fields)
        })
    }

    /// The answer to a query.
    pub(super) fn queried(&self, request: &QueryRequest) -> Result<QueryResults> {
        let answer: QueryResults = self.ask("Query", request)?;
        match &answer.status {
            Some(said) if !status::is_ok(said) => {
                Err(status::query_refusal(said).at(self.place("Query")))
            }
            _ => Ok(answer),
        }
    }

    fn check_keys(&self, keys: &[Key]) -> Result<()> {
        let askable = self.check_askable(keys);
        askable.map_err(|e| e.hint("`run.verify: count` compares row counts"))
    }

    /// Milvus Lite before 3.0 cannot parse an expression with a line break, and has no escape for one.
    fn check_askable(&self, keys: &[Key]) -> Result<()> {
        let breaks = |key: &&Key| matches!(key, Key::Text(text) if text.contains(['\n', '\r']));
        match keys.iter().find(breaks) {
            Some(key) if self.server.flavour == Flavour::LiteCpp => Err(Error::new(
                Kind::Unsupported,
                format!(
                    "{} cannot be asked for a key with a line break, such as {key}",
                    self.server
                ),
            )),
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

/// Servers before 2.5 accept bytes as JSON that are not text; these cannot travel, and are named.
fn check_json(key: &FieldData, column: &Column, field: &FieldData) -> Result<()> {
    let scalars = field.scalars.as_ref();
    let Some(texts) = scalars.and_then(|scalars| scalars.json_data.as_ref()) else {
        return Ok(());
    };
    let wrong = |text: &Vec<u8>| std::str::from_utf8(text).is_err();
    let Some(row) = texts.data.iter().position(wrong) else {
        return Ok(());
    };
    let keys = key.scalars.as_ref();
    let ints = keys.and_then(|keys| keys.long_data.as_ref()?.data.get(row).copied());
    let texts = keys.and_then(|keys| keys.string_data.as_ref()?.data.get(row).cloned());
    let key = ints
        .map(Key::Int)
        .or(texts.map(|text| Key::Text(text.into())));
    let key = key.map_or_else(String::new, |key| format!(" of the row with key {key}"));
    let what = format!(
        "`{}`{key} is not JSON: its bytes are not UTF-8",
        column.name
    );
    Err(Error::new(Kind::Corrupt, what)
        .hint("`source.milvus.filter` leaves the row behind, `columns` the field"))
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
            // Milvus parses the digits before the sign, and they overflow; an arithmetic expression works.
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

/// A text as a literal in expressions. Tested on 2.3.5 with 19 nasty keys: any other spelling silently finds nothing.
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

/// `(id > 7) and (id <= 9) and (price > 3)`.
fn bounds(field: &str, range: &Range<'_>, text: bool, flavour: Flavour) -> String {
    // The digits of the least number overflow in some parsers: its neighbour is equivalent.
    let bound = |sign: &str, key: &Key| match (sign, key) {
        (">", Key::Int(i64::MIN)) => format!("{field} >= {}", i64::MIN + 1),
        (_, Key::Int(i64::MIN)) => format!("{field} < {}", i64::MIN + 1),
        (sign, Key::Int(id)) => format!("{field} {sign} {id}"),
        (sign, Key::Text(key)) => {
            let mut bound = format!("{field} {sign} ");
            quote(key, flavour, &mut bound);
            bound
        }
    };
    let mut all: Vec<String> = Vec::new();
    all.extend(range.after.map(|key| bound(">", key)));
    all.extend(range.upto.map(|key| bound("<=", key)));
    if all.is_empty() {
        // The expression must not be empty.
        all.push(match text {
            true => format!("{field} >= \"\""),
            false => bound("<=", &Key::Int(i64::MAX)),
        });
    }
    all.extend(range.filter.map(str::to_owned));
    match all.as_slice() {
        [one] => one.clone(),
        all => format!("({})", all.join(") and (")),
    }
}

/// A field of an answer. Without rows some versions leave the fields out.
fn take(fields: &mut Vec<FieldData>, name: &str) -> FieldData {
    let named = |f: &FieldData| f.field_name == name || name == DYNAMIC && f.is_dynamic;
    let at = fields.iter().position(named);
    at.map_or_else(FieldData::default, |at| fields.swap_remove(at))
}

fn read(look_up: &LookUp, answer: QueryResults) -> std::result::Result<Found, String> {
    let mut fields = answer.fields_data;
    let mut take = |name: &str| take(&mut fields, name);
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
    fn ranges_are_said_as_servers_read_them() {
        let check = |after: Option<Key>, upto: Option<Key>, filter, text, expected: &str| {
            let range = Range {
                after: after.as_ref(),
                upto: upto.as_ref(),
                filter,
            };
            assert_eq!(bounds("k", &range, text, Flavour::Full), expected);
        };
        let (int, text) = (Key::Int, |key: &str| Key::Text(key.into()));
        check(None, None, None, false, "k <= 9223372036854775807");
        check(None, None, None, true, "k >= \"\"");
        check(
            Some(int(-3)),
            Some(int(9)),
            None,
            false,
            "(k > -3) and (k <= 9)",
        );
        check(
            Some(int(i64::MIN)),
            None,
            None,
            false,
            "k >= -9223372036854775807",
        );
        check(
            None,
            Some(int(i64::MIN)),
            None,
            false,
            "k < -9223372036854775807",
        );
        check(
            Some(text("a\"\\")),
            None,
            Some("x > 1 or y"),
            true,
            r#"(k > "a\"\\") and (x > 1 or y)"#,
        );
    }

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
