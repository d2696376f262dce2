//! Which fields of a mapping become columns, and of what type? Those that a job names.
//!
//! Numbers and texts are read from the documents. Only the server knows how dates and places are written there, since
//! it knows their formats: it is asked to return them in one format along with each document.

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::job::{did_you_mean, matches};
use crate::schema::{Column, ColumnType, Scalar};
use crate::source::documents::Typed;

/// A field of a mapping.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name, with dots between the names of objects.
    pub name: String,
    /// Its type in the mapping.
    pub kind: String,
    /// Whether it is in nested objects, of which a document may have several.
    pub nested: bool,
}

/// The type of a field's column, and the format that the server is asked for.
fn column(kind: &str) -> Option<(ColumnType, Option<&'static str>)> {
    let scalar = |scalar| Some((ColumnType::Scalar(scalar), None));
    let text = ColumnType::VarChar { max_bytes: None };
    match kind {
        "boolean" => scalar(Scalar::Bool),
        "byte" => scalar(Scalar::Int8),
        "short" => scalar(Scalar::Int16),
        "integer" => scalar(Scalar::Int32),
        "long" => scalar(Scalar::Int64),
        "half_float" | "float" => scalar(Scalar::Float),
        "double" | "scaled_float" => scalar(Scalar::Double),
        // Only text holds every value of the last two in Milvus.
        "keyword" | "text" | "wildcard" | "match_only_text" | "search_as_you_type" | "ip"
        | "version" | "binary" | "unsigned_long" => Some((text, None)),
        "date" => Some((ColumnType::Timestamptz, Some("epoch_millis"))),
        "date_nanos" => Some((text, Some("strict_date_optional_time_nanos"))),
        "geo_point" | "geo_shape" => Some((ColumnType::Geometry, Some("wkt"))),
        _ => None,
    }
}

/// Fields that could be columns but that the job does not name.
pub fn others(fields: &[Field], typed: &[Typed]) -> Vec<String> {
    let is_free = |field: &&Field| {
        let is_taken = typed.iter().any(|typed| typed.column.name == field.name);
        !is_taken && !field.nested && column(&field.kind).is_some()
    };
    let free = fields.iter().filter(is_free);
    free.map(|field| field.name.clone()).collect()
}

/// The columns that the job names, in the order of the mapping, and what a search requests so that the server formats
/// some of them.
pub fn columns(
    index: &str,
    fields: &[Field],
    wishes: &[String],
) -> Result<(Vec<Typed>, Vec<Value>)> {
    let wrong = |what: String| Error::new(Kind::Job, format!("index {index}: {what}"));
    let mut lists = vec![None; fields.len()];
    for wish in wishes {
        let (name, is_list) = match wish.strip_suffix("[]") {
            Some(name) => (name, true),
            None => (wish.as_str(), false),
        };
        let is_glob = name.contains(['*', '?']);
        let fits = |field: &Field| match is_glob {
            true => matches(name, &field.name) && !field.nested && column(&field.kind).is_some(),
            false => field.name == name,
        };
        let mut found = false;
        for (field, list) in fields.iter().zip(&mut lists) {
            if !fits(field) {
                continue;
            }
            found = true;
            if field.nested {
                return Err(wrong(format!(
                    "`{name}` is in nested objects, which become JSON"
                )));
            }
            if column(&field.kind).is_none() {
                let what = format!(
                    "no column can hold `{name}` ({}), which becomes JSON",
                    field.kind
                );
                return Err(wrong(what));
            }
            // An exact name takes precedence over a glob.
            if !is_glob || list.is_none() {
                *list = Some(is_list);
            }
        }
        if !found {
            let names: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
            let error = wrong(format!("its mapping has no field `{name}`"));
            return Err(match did_you_mean(name, &names) {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
    }
    let (mut typed, mut asked) = (Vec::new(), Vec::new());
    for (field, list) in fields.iter().zip(lists) {
        let (Some(is_list), Some((kind, spelling))) = (list, column(&field.kind)) else {
            continue;
        };
        let kind = match (is_list, kind) {
            (false, kind) => kind,
            (true, ColumnType::Scalar(of)) => list_of(of),
            (true, ColumnType::VarChar { .. }) => list_of(Scalar::VarChar),
            (true, kind) => {
                let what = format!("`{}[]`: no column can hold lists of {kind}", field.name);
                return Err(wrong(what));
            }
        };
        if let Some(spelling) = spelling {
            asked.push(json!({"field": field.name, "format": spelling}));
        }
        typed.push(Typed {
            column: Column {
                nullable: true,
                ..Column::new(&field.name, kind)
            },
            is_given: spelling.is_some(),
        });
    }
    Ok((typed, asked))
}

fn list_of(of: Scalar) -> ColumnType {
    ColumnType::Array {
        of,
        capacity: None,
        max_bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, kind: &str) -> Field {
        Field {
            name: name.to_owned(),
            kind: kind.to_owned(),
            nested: name.starts_with("parts."),
        }
    }

    #[test]
    fn names_and_globs_choose_columns_and_mistakes_are_told() {
        let fields = [
            field("a.n", "integer"),
            field("tags", "keyword"),
            field("title", "text"),
            field("when", "date"),
            field("where", "geo_point"),
            field("parts.name", "keyword"),
            field("range", "integer_range"),
        ];
        let chosen = |wishes: &[&str]| {
            let wishes: Vec<String> = wishes.iter().map(|wish| (*wish).to_owned()).collect();
            columns("i", &fields, &wishes).map(|(typed, asked)| {
                let typed = typed.iter().map(|typed| typed.column.to_string());
                (typed.collect::<Vec<_>>().join(", "), asked.len())
            })
        };
        for (wishes, expected, asked) in [
            (&["title"][..], "title varchar null", 0),
            (
                &["*", "tags[]"],
                "a.n int32 null, tags array<varchar> null, title varchar null, when timestamptz null, where geometry null",
                2,
            ),
            (
                &["tags[]", "t*"],
                "tags array<varchar> null, title varchar null",
                0,
            ),
            (
                &["a.*[]", "when"],
                "a.n array<int32> null, when timestamptz null",
                1,
            ),
        ] {
            assert_eq!(
                chosen(wishes).unwrap(),
                (expected.to_owned(), asked),
                "{wishes:?}"
            );
        }
        let others = |wishes: &[&str]| {
            let wishes: Vec<String> = wishes.iter().map(|wish| (*wish).to_owned()).collect();
            let (typed, _) = columns("i", &fields, &wishes).unwrap();
            others(&fields, &typed).join(", ")
        };
        assert_eq!(others(&[]), "a.n, tags, title, when, where");
        assert_eq!(others(&["t*", "when"]), "a.n, where");
        for (wish, expected) in [
            ("titel", "no field `titel`"),
            ("q*", "no field `q*`"),
            ("parts.name", "nested objects"),
            ("range", "integer_range"),
            ("when[]", "no column can hold lists of timestamptz"),
        ] {
            let error = chosen(&[wish]).unwrap_err();
            assert_eq!(error.kind(), Kind::Job);
            assert!(error.to_string().contains(expected), "{wish}: {error}");
        }
    }
}
