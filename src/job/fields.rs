//! What may a job say about columns? Reads `fields:`, noting every mistake.
//! Knows no source: planning finds out whether the columns exist.

use std::collections::BTreeSet;

use serde_yaml::{Mapping, Value};

use super::{Form, Normalize, Setting, StoreAs, Takes};
use crate::limits;
use crate::schema::{Bounds, ColumnType, Index, Metric, TooLong};

/// The settings under `fields:`.
pub(super) const FIELDS: &[Setting] = &[
    Setting::new(
        "id",
        Takes::Any(&[Takes::Text, Takes::Map(ID)]),
        "the primary key; left out: as in the source, `id` for files without names",
    )
    .example("id"),
    Setting::new(
        "vector",
        Takes::Any(&[Takes::Text, Takes::Map(VECTOR)]),
        "the vector, if there is only one; left out: as in the source, `embedding` for files without names",
    )
    .example("embedding"),
    Setting::new(
        "columns",
        Takes::Names(&Takes::Any(&[
            Takes::Flag,
            Takes::Choice(&TYPES),
            Takes::Map(COLUMN),
        ])),
        "for each column in the target, what it is made from, or its type; false: it is left out",
    ),
    Setting::choice("rest", &RESTS, "what becomes of columns that are not named").or("auto"),
];

const ID: &[Setting] = &[
    Setting::text("name", "the column in the target"),
    Setting::text(
        "from",
        "the column, or the path into JSON, that keys are made from; row_number: row numbers",
    ),
    Setting::choice("type", &["int64", "varchar"], "what keys become"),
    MAX_LENGTH,
];

const VECTOR: &[Setting] = &[
    Setting::text("name", "the column in the target"),
    AS,
    NORMALIZE,
];

const COLUMN: &[Setting] = &[
    Setting::text(
        "from",
        "the column, or the path into JSON such as meta.title; left out: the column of the same name",
    ),
    Setting::choice(
        "type",
        &TYPES,
        "what values become; left out: as in the source",
    ),
    MAX_LENGTH,
    Setting::number(
        "max_capacity",
        (1, limits::MILVUS_ARRAY_MAX as u64),
        "how many values an array may have",
    ),
    Setting::new(
        "nullable",
        Takes::Flag,
        "whether rows may lack a value; left out: as in the source",
    ),
    AS,
    NORMALIZE,
    Setting::choice(
        "metric",
        &METRICS,
        "of a vector: how distances are measured",
    ),
    Setting::map("index", INDEX, "the index to create on it"),
    Setting::choice(
        "too_long",
        &["fail", "truncate", "skip"],
        "what becomes of text that is longer than max_length",
    )
    .or("fail"),
];

const MAX_LENGTH: Setting = Setting::number(
    "max_length",
    (1, limits::MILVUS_TEXT_BYTES_MAX as u64),
    "how many bytes a text may have",
);
const AS: Setting = Setting::choice("as", StoreAs::WORDS, "what float32 components become");
const NORMALIZE: Setting = Setting::choice(
    "normalize",
    Normalize::WORDS,
    "scales each vector to length 1",
);

/// The settings under `index`.
pub const INDEX: &[Setting] = &[
    Setting::text("type", "the index type, such as HNSW or IVF_FLAT").required(),
    Setting::new("params", Takes::Names(&Takes::Text), "its parameters"),
];

/// Ways to measure distances.
pub const METRICS: [&str; 8] = [
    "L2",
    "IP",
    "COSINE",
    "HAMMING",
    "JACCARD",
    "TANIMOTO",
    "SUBSTRUCTURE",
    "SUPERSTRUCTURE",
];

/// Names of types, as Milvus has them.
pub const TYPES: [&str; 25] = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "float",
    "double",
    "varchar",
    "json",
    "array<bool>",
    "array<int8>",
    "array<int16>",
    "array<int32>",
    "array<int64>",
    "array<float>",
    "array<double>",
    "array<varchar>",
    "geometry",
    "timestamptz",
    "float_vector",
    "float16_vector",
    "bfloat16_vector",
    "int8_vector",
    "binary_vector",
    "sparse_float_vector",
];

/// Names of the columns in the target, and what becomes of their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSettings {
    /// The primary key's name; `None`: as in the source.
    pub id: Option<String>,
    /// The column, path or `row_number` that keys are made of; `None`: the source's keys.
    pub id_from: Option<String>,
    /// What keys are in the target; `None`: as in the source.
    pub id_type: Option<TypeSettings>,
    /// The vector's name, if there is only one; `None`: as in the source.
    pub vector: Option<String>,
    /// What components become; `None`: they stay what they are.
    pub store_as: Option<StoreAs>,
    /// Whether, and how, rows are scaled to length 1.
    pub normalize: Option<Normalize>,
    /// Columns that the job names, in its order.
    pub columns: Vec<ColumnSettings>,
    /// What becomes of columns that it does not name.
    pub rest: Rest,
}

impl FieldSettings {
    /// The word for keys that are numbers of rows.
    pub const ROW_NUMBER: &'static str = "row_number";

    /// The settings of a job that says nothing about columns.
    pub fn unsaid() -> FieldSettings {
        FieldSettings {
            id: None,
            id_from: None,
            id_type: None,
            vector: None,
            store_as: None,
            normalize: None,
            columns: Vec::new(),
            rest: Rest::Auto,
        }
    }

    /// Whether the job only names an id and a vector, and says what becomes of the vector.
    pub fn are_plain(&self) -> bool {
        let keys = self.id_from.is_none() && self.id_type.is_none();
        keys && self.columns.is_empty() && self.rest == Rest::Auto
    }
}

/// A type as the job spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeSettings {
    /// Milvus's name; `None`: the source's type, with other bounds.
    pub word: Option<String>,
    /// Its bounds.
    pub bounds: Bounds,
}

impl TypeSettings {
    /// The type that a column of this type becomes; a sentence if there is none.
    pub fn of(&self, source: Option<ColumnType>) -> Result<ColumnType, String> {
        let given = self.bounds;
        let word = match (&self.word, source) {
            (Some(word), _) => word.clone(),
            (None, Some(source)) => source.word(),
            (None, None) => return Err("a value from JSON needs a `type`".to_owned()),
        };
        let same = source.filter(|source| source.word() == word);
        let there = same.map_or(Bounds::default(), ColumnType::bounds);
        let dim = match source {
            Some(ColumnType::Vector(vector)) => Some(vector.dimension),
            _ => None,
        };
        ColumnType::of_word(
            &word,
            Bounds {
                dim,
                max_length: given.max_length.or(there.max_length),
                max_capacity: given.max_capacity.or(there.max_capacity),
            },
        )
    }
}

/// What the job says about one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSettings {
    /// Its name in the target, or in the source if it does not travel.
    pub name: String,
    /// The column or path that it is made of; `None`: the one of its name.
    pub from: Option<String>,
    /// Whether it travels.
    pub travels: bool,
    /// What it becomes.
    pub kind: Option<TypeSettings>,
    /// Whether its field is nullable; `None`: as in the source.
    pub nullable: Option<bool>,
    /// Of vectors: what components become.
    pub store_as: Option<StoreAs>,
    /// Of vectors: whether, and how, they are scaled to length 1.
    pub normalize: Option<Normalize>,
    /// Of vectors: how distances are measured.
    pub metric: Option<Metric>,
    /// The index to make on it.
    pub index: Option<Index>,
    /// Of text: what becomes of text that is too long.
    pub too_long: TooLong,
}

impl ColumnSettings {
    /// A column about which the job says nothing else.
    pub fn new(name: String, travels: bool) -> ColumnSettings {
        ColumnSettings {
            name,
            from: None,
            travels,
            kind: None,
            nullable: None,
            store_as: None,
            normalize: None,
            metric: None,
            index: None,
            too_long: TooLong::Fail,
        }
    }

    /// The column or path that it is made of.
    pub fn source(&self) -> &str {
        self.from.as_deref().unwrap_or(&self.name)
    }
}

/// What becomes of columns that the job does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Columns travel as they are; keys without a schema go to the dynamic field.
    Auto,
    /// All but vectors go to the dynamic field.
    Dynamic,
    /// They stay behind.
    Drop,
    /// The job is refused.
    Fail,
}

const RESTS: [&str; 4] = ["auto", "dynamic", "drop", "fail"];

/// Reads `fields:`.
pub(super) fn read(form: Option<Form>) -> FieldSettings {
    let mut fields = FieldSettings::unsaid();
    let Some(mut form) = form else { return fields };
    match form.value("id") {
        Some(Value::Mapping(_)) => {
            let mut inner = form.form("id").expect("it is a map");
            fields.id = inner.text("name");
            fields.id_from = inner.text("from");
            fields.id_type = read_type(&mut inner, false);
            inner.done();
        }
        _ => fields.id = form.text("id"),
    }
    match form.value("vector") {
        Some(Value::Mapping(_)) => {
            let mut inner = form.form("vector").expect("it is a map");
            fields.vector = inner.text("name");
            (fields.store_as, fields.normalize) = read_conversion(&mut inner);
            inner.done();
        }
        _ => fields.vector = form.text("vector"),
    }
    if let Some(id) = &fields.id
        && fields.vector.as_ref() == Some(id)
    {
        form.mistake("vector", format!("id and vector are both called `{id}`"));
    }
    for (name, value) in form.entries("columns") {
        let column = read_column(&form, name, value);
        fields.columns.extend(column);
    }
    fields.rest = match form.choice("rest") {
        Some("dynamic") => Rest::Dynamic,
        Some("drop") => Rest::Drop,
        Some("fail") => Rest::Fail,
        _ => Rest::Auto,
    };
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let others = [&fields.id, &fields.vector];
    taken.extend(others.into_iter().flatten().map(String::as_str));
    for column in fields.columns.iter().filter(|column| column.travels) {
        if !taken.insert(&column.name) {
            let what = format!("two columns are called `{}`", column.name);
            form.mistake("columns", what);
        }
    }
    form.done();
    fields
}

fn read_column(fields: &Form, name: String, value: Value) -> Option<ColumnSettings> {
    let path = format!("columns.{name}");
    let map = match value {
        Value::Bool(false) => return Some(ColumnSettings::new(name, false)),
        Value::Bool(true) | Value::Null => Mapping::new(),
        Value::String(word) => match word.as_str() {
            "false" | "no" | "off" => return Some(ColumnSettings::new(name, false)),
            "" | "true" | "yes" | "on" => Mapping::new(),
            _ => Mapping::from_iter([("type".into(), word.into())]),
        },
        Value::Mapping(map) => map,
        _ => {
            let what = "must be a map such as {from: …, type: …}, the name of a type, or `false`";
            fields.mistake(&path, what);
            return None;
        }
    };
    let mut form = fields.inner(&path, map, COLUMN);
    let mut column = ColumnSettings::new(name, true);
    column.from = form.text("from");
    column.kind = read_type(&mut form, true);
    column.nullable = form.flag("nullable");
    (column.store_as, column.normalize) = read_conversion(&mut form);
    column.metric = read_metric(&mut form);
    column.index = match form.value("index") {
        None => None,
        Some(Value::Mapping(_)) => form.form("index").and_then(read_index),
        Some(_) => {
            form.mistake("index", "must be a map {type: …, params: …}");
            None
        }
    };
    let too_long = form.choice("too_long");
    column.too_long = match too_long {
        Some("truncate") => TooLong::Truncate,
        Some("skip") => TooLong::Skip,
        _ => TooLong::Fail,
    };
    form.done().then_some(column)
}

fn read_type(form: &mut Form, arrays: bool) -> Option<TypeSettings> {
    let settings = TypeSettings {
        word: form.choice("type").map(str::to_owned),
        bounds: Bounds {
            dim: None,
            max_length: form.number("max_length").map(|n| n as u32),
            max_capacity: match arrays {
                true => form.number("max_capacity").map(|n| n as u32),
                false => None,
            },
        },
    };
    if let Some(word) = &settings.word {
        // A vector's dimension is the source's.
        let dim = word.ends_with("_vector").then_some(8);
        let bounds = Bounds {
            dim,
            ..settings.bounds
        };
        if let Err(what) = ColumnType::of_word(word, bounds) {
            form.mistake("type", what);
            return None;
        }
    }
    let nothing = settings.word.is_none() && settings.bounds == Bounds::default();
    (!nothing).then_some(settings)
}

fn read_conversion(form: &mut Form) -> (Option<StoreAs>, Option<Normalize>) {
    let store_as = form.choice("as").and_then(StoreAs::of);
    let normalize = form.choice("normalize");
    let normalize = normalize.and_then(Normalize::of);
    if normalize.is_some() && store_as == Some(StoreAs::Int8) {
        let what = "int8 holds whole numbers, which rows of length 1 do not have";
        form.mistake("as", what);
    }
    (store_as, normalize)
}

/// Reads `metric`.
pub fn read_metric(form: &mut Form) -> Option<Metric> {
    form.choice("metric").and_then(Metric::named)
}

/// Reads the settings under `index`: a type and its parameters.
pub fn read_index(mut form: Form) -> Option<Index> {
    let kind = form.required("type", "the index type, such as HNSW or IVF_FLAT");
    let mut params = Vec::new();
    match form.value("params") {
        None => {}
        Some(Value::Mapping(map)) => {
            for (key, value) in &map {
                let name = key.as_str().unwrap_or_default().to_owned();
                if let Some(value) = form.scalar("params", value) {
                    params.push((name, value));
                }
            }
        }
        Some(_) => form.mistake("params", "must be a map such as {M: 16}"),
    }
    form.done();
    kind.map(|kind| Index {
        kind: kind.to_uppercase(),
        params,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Mistakes;
    use super::*;

    fn read_text(yaml: &str) -> (FieldSettings, Vec<String>) {
        let mistakes = Mistakes::default();
        let map = serde_yaml::from_str(yaml).unwrap();
        let fields = read(Some(Form::new("fields", map, FIELDS, &mistakes)));
        let said = mistakes.all();
        let said = said.iter().map(|m| format!("{}: {}", m.key, m.what));
        (fields, said.collect())
    }

    #[test]
    fn the_fields_of_the_interface_are_read() {
        let (fields, said) = read_text(
            "{id: {name: pk, from: doc_id, type: varchar, max_length: 64},
              columns: {
                embedding: {from: vec, as: float16, normalize: l2, metric: cosine, index: {type: hnsw, params: {M: 8}}},
                title: {from: meta.title, type: varchar, max_length: 512, too_long: truncate},
                price: double, tags: {type: 'array<varchar>', max_capacity: 64, max_length: 128}, secret: false},
              rest: dynamic}",
        );
        assert_eq!(said, Vec::<String>::new());
        assert_eq!(fields.id.as_deref(), Some("pk"));
        assert_eq!(fields.id_from.as_deref(), Some("doc_id"));
        let kind = |column: usize| fields.columns[column].kind.clone().unwrap().of(None);
        assert_eq!(
            kind(1),
            Ok(ColumnType::VarChar {
                max_bytes: Some(512)
            })
        );
        assert_eq!(fields.columns[1].source(), "meta.title");
        assert_eq!(kind(2).unwrap().to_string(), "double");
        assert_eq!(kind(3).unwrap().to_string(), "array<varchar(128)>(64)");
        assert!(!fields.columns[4].travels);
        let vector = &fields.columns[0];
        assert_eq!(vector.metric, Some(Metric::Cosine));
        assert_eq!(vector.index.as_ref().unwrap().kind, "HNSW");
        assert_eq!(fields.rest, Rest::Dynamic);
        assert!(!fields.are_plain());
    }

    #[test]
    fn every_mistake_is_noted_with_its_key() {
        let (_, said) = read_text(
            "{id: {type: double}, vector: v, rest: all, columns: {a: string, b: {type: varchar, max_length: 70000},
              c: 3, d: {too_long: cut}, e: {typ: bool}, v: bool, f: {type: json, max_length: 3}}}",
        );
        let expected = [
            "fields.id.type: `double` is not one of int64, varchar",
            "fields.columns.a.type: `string` is not one of bool, int8",
            "fields.columns.b.max_length: `70000` is not a whole number between 1 and 65535",
            "fields.columns.c: must be a map such as",
            "fields.columns.d.too_long: `cut` is not one of fail, truncate, skip",
            "fields.columns.e.typ: unknown key",
            "fields.columns.f.type: `json` has no max_length",
            "fields.rest: `all` is not one of auto, dynamic, drop, fail",
            "fields.columns: two columns are called `v`",
        ];
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(expected), "{said} is not {expected}");
        }
    }
}
