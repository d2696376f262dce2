//! Which indices are wanted, and what do they hold? Turns settings and mappings from the server into columns.

use serde_json::{Map, Value};

use super::cluster::{Cluster, Dialect};
use super::mapping::{self, Field};
use super::settings::Settings;
use crate::error::{Error, Kind, Result};
use crate::http::{Method, encoded};
use crate::schema::{Column, ColumnType, Element, Metric, VectorType};
use crate::source::documents::Typed;

/// An index.
#[derive(Clone, Debug)]
pub struct Index {
    /// Its own name.
    pub name: String,
    /// Its name in the job: an alias of this index alone, or its own name.
    pub called: String,
    /// Distinguishes it from another index of the same name.
    pub uuid: String,
    /// How many shards it has.
    pub shards: u32,
    /// Whether several shards may hold documents with the same `_id`.
    pub is_routed: bool,
    /// Whether `_source` leaves vectors out unless they are requested.
    pub hides_vectors: bool,
    /// Whether it numbers its documents in the order of writes.
    pub is_numbered: bool,
    /// Fields that become columns.
    pub typed: Vec<Typed>,
    /// Fields that could become columns, if the job named them.
    pub others: Vec<String>,
    /// What a search requests in addition to documents.
    pub asked: Vec<Value>,
    /// What the operator should know.
    pub notes: Vec<String>,
    vectors: Vec<Column>,
}

/// The column of document ids.
pub fn key() -> Column {
    // The longest that servers accept.
    Column::key(
        "_id",
        ColumnType::VarChar {
            max_bytes: Some(512),
        },
    )
}

impl Index {
    /// The columns of its vectors.
    pub fn vectors(&self, nullable: bool) -> Vec<Column> {
        let mut all = self.vectors.clone();
        all.iter_mut().for_each(|column| column.nullable = nullable);
        all
    }

    /// The names of its vectors.
    pub fn vector_names(&self) -> Vec<String> {
        self.vectors
            .iter()
            .map(|column| column.name.clone())
            .collect()
    }
}

/// The indices that a job names, in the order of their names.
pub fn find(cluster: &Cluster, settings: &Settings) -> Result<Vec<Index>> {
    let mut all: Vec<Index> = Vec::new();
    for name in &settings.index {
        let found = named(cluster, name, &settings.columns)?;
        if found.is_empty() {
            return Err(Error::new(Kind::Job, format!("no index matches `{name}`")));
        }
        for index in found {
            if !all.iter().any(|other| other.name == index.name) {
                all.push(index);
            }
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The uuid of an index; `None` if there is none of this name.
pub fn uuid(cluster: &Cluster, name: &str) -> Result<Option<String>> {
    let path = format!("/{}/_settings?flat_settings=true", encoded(name));
    match cluster.answered("settings", Method::Get, &path, None)? {
        (200..=299, answer) => {
            let all: Value = serde_json::from_slice(&answer).unwrap_or_default();
            let uuid = &all[name]["settings"]["index.uuid"];
            Ok(uuid.as_str().map(str::to_owned))
        }
        (404, _) => Ok(None),
        (status, answer) => Err(cluster.refusal("settings", status, &answer)),
    }
}

fn named(cluster: &Cluster, name: &str, columns: &[String]) -> Result<Vec<Index>> {
    // Commas and stars keep the meaning that they have for the server.
    let spelt = encoded(name).replace("%2A", "*").replace("%2C", ",");
    let path = format!("/{spelt}/_settings?flat_settings=true");
    let settings = match cluster.answered("settings", Method::Get, &path, None)? {
        (200..=299, answer) => serde_json::from_slice(&answer).unwrap_or_default(),
        (404, _) => {
            let what = format!("{} has no index `{name}`", cluster.address());
            return Err(Error::new(Kind::Job, what));
        }
        (status, answer) => return Err(cluster.refusal("settings", status, &answer)),
    };
    let path = format!("/{spelt}/_mapping");
    let mappings = cluster.json("mapping", Method::Get, &path, None)?;
    let Value::Object(settings) = settings else {
        return Ok(Vec::new());
    };
    let alone = settings.len() == 1 && !name.contains(['*', ',', '?', '<']);
    let mut all = Vec::new();
    for (own, found) in &settings {
        let mapping = &mappings[own.as_str()]["mappings"];
        let mut index = of(cluster, own, &found["settings"], mapping, columns)?;
        if alone {
            index.called = name.to_owned();
        }
        all.push(index);
    }
    Ok(all)
}

fn of(
    cluster: &Cluster,
    name: &str,
    settings: &Value,
    mapping: &Value,
    columns: &[String],
) -> Result<Index> {
    let said = |key: &str| settings[key].as_str();
    let odd = |what: &str| {
        let what = format!("index {name}: {what}");
        Err(Error::new(Kind::Unsupported, what))
    };
    let Some(shards) = said("index.number_of_shards").and_then(|n| n.parse().ok()) else {
        return odd("the server does not report how many shards it has");
    };
    let flag = |value: &Value| value.as_bool().or(value.as_str().map(|s| s == "true"));
    if flag(&mapping["_source"]["enabled"]) == Some(false) {
        return odd("keeps no `_source`, so its documents cannot be read");
    }
    let mut found = Fields {
        vectors: Vec::new(),
        notes: Vec::new(),
        wrong: None,
        leaves: Vec::new(),
        settings,
        name,
    };
    if let Value::Object(properties) = &mapping["properties"] {
        found.walk(properties, "", false);
    }
    if let Some(what) = found.wrong {
        return odd(&what);
    }
    let excludes = &mapping["_source"]["excludes"];
    if let Some(list) = excludes.as_array().filter(|list| !list.is_empty()) {
        found.notes.push(format!(
            "{name} excludes some fields from `_source`, so they are not migrated: {}",
            Value::from(list.clone())
        ));
    }
    let excluded = said("index.mapping.exclude_source_vectors");
    let hides = match (cluster.dialect, excluded) {
        (Dialect::OpenSearch, _) => false,
        (Dialect::Elasticsearch, Some(said)) => said == "true",
        // New indices hide them by default, and servers do not print defaults.
        (Dialect::Elasticsearch, None) => cluster.version >= (9, 2),
    };
    let routed = flag(&mapping["_routing"]["required"]) == Some(true);
    if routed {
        found.notes.push(format!(
            "{name} routes its documents by custom values: an `_id` may exist more than once"
        ));
    }
    let (typed, asked) = mapping::columns(name, &found.leaves, columns)?;
    if !typed.is_empty() {
        found.notes.push(format!(
            "{name}: fields that become columns have the values that the index makes of them: whole numbers without \
             fractions, lists without nulls, timestamps in UTC"
        ));
    }
    let is_numbered = said("index.disable_sequence_numbers") != Some("true");
    if !is_numbered {
        found.notes.push(format!(
            "{name} keeps no sequence numbers (`index.disable_sequence_numbers`): if the server loses the state \
             that is read, or this program ends, what is left is unknown"
        ));
    }
    Ok(Index {
        name: name.to_owned(),
        called: name.to_owned(),
        uuid: said("index.uuid").unwrap_or_default().to_owned(),
        shards,
        is_routed: routed,
        hides_vectors: hides,
        is_numbered,
        others: mapping::others(&found.leaves, &typed),
        typed,
        asked,
        notes: found.notes,
        vectors: found.vectors,
    })
}

/// A keyword of a mapping: OpenSearch returns some in capitals.
fn word(value: &Value) -> Option<String> {
    value.as_str().map(str::to_lowercase)
}

struct Fields<'f> {
    vectors: Vec<Column>,
    notes: Vec<String>,
    wrong: Option<String>,
    /// Fields that hold values, except vectors.
    leaves: Vec<Field>,
    settings: &'f Value,
    name: &'f str,
}

impl Fields<'_> {
    fn walk(&mut self, properties: &Map<String, Value>, before: &str, nested: bool) {
        for (key, field) in properties {
            let name = format!("{before}{key}");
            let kind = field["type"].as_str().unwrap_or("object");
            match kind {
                "dense_vector" | "knn_vector" if nested => self.notes.push(format!(
                    "{}: `{name}` is a vector of nested objects, and becomes JSON with them",
                    self.name
                )),
                "dense_vector" => self.dense(&name, field),
                "knn_vector" => self.knn(&name, field),
                "rank_vectors" | "sparse_vector" | "semantic_text" | "rank_features" => {
                    self.notes
                        .push(format!("{}: `{name}` ({kind}) becomes JSON", self.name));
                }
                _ => {
                    if let Value::Object(inner) = &field["properties"] {
                        self.walk(inner, &format!("{name}."), nested || kind == "nested");
                    } else {
                        self.leaves.push(Field {
                            name,
                            kind: kind.to_owned(),
                            nested,
                        });
                    }
                }
            }
        }
    }

    fn add(&mut self, name: &str, element: Element, dimension: &Value, metric: Option<Metric>) {
        let Some(dimension) = dimension.as_u64().and_then(|d| u32::try_from(d).ok()) else {
            self.wrong.get_or_insert(format!(
                "the mapping of `{name}` does not declare how many dimensions it has"
            ));
            return;
        };
        if dimension == 0 || element == Element::Bit && dimension % 8 != 0 {
            self.wrong
                .get_or_insert(format!("`{name}` has {dimension} dimensions"));
            return;
        }
        let kind = ColumnType::Vector(VectorType { element, dimension });
        let mut column = Column::new(name, kind);
        column.metric = metric;
        self.vectors.push(column);
    }

    /// Elasticsearch's vectors.
    fn dense(&mut self, name: &str, field: &Value) {
        // A field has no dimensions until a document has a vector in it.
        if field["dims"].is_null() {
            self.notes
                .push(format!("{}: `{name}` has had no vector yet", self.name));
            return;
        }
        let element = match word(&field["element_type"]).as_deref() {
            None | Some("float") => Element::Float32,
            Some("byte") => Element::Int8,
            Some("bit") => Element::Bit,
            Some("bfloat16") => Element::BFloat16,
            Some(other) => {
                self.wrong
                    .get_or_insert(format!("`{name}` has elements of type {other}"));
                return;
            }
        };
        let metric = match (element, field["similarity"].as_str()) {
            (Element::Bit, _) => Some(Metric::Hamming),
            (_, None | Some("cosine")) => Some(Metric::Cosine),
            (_, Some("l2_norm")) => Some(Metric::L2),
            (_, Some("dot_product" | "max_inner_product")) => Some(Metric::Ip),
            (_, Some(other)) => Some(Metric::Other(other.to_owned())),
        };
        self.add(name, element, &field["dims"], metric);
    }

    /// OpenSearch's vectors.
    fn knn(&mut self, name: &str, field: &Value) {
        let element = match word(&field["data_type"]).as_deref() {
            None | Some("float") => Element::Float32,
            Some("byte") => Element::Int8,
            Some("binary") => Element::Bit,
            Some(other) => {
                self.wrong
                    .get_or_insert(format!("`{name}` has elements of type {other}"));
                return;
            }
        };
        let method = &field["method"];
        let space = field["space_type"]
            .as_str()
            .or(method["space_type"].as_str());
        let space = space.or(self.settings["index.knn.space_type"].as_str());
        let metric = match (element, space) {
            (Element::Bit, _) => Some(Metric::Hamming),
            (_, None | Some("l2")) => Some(Metric::L2),
            (_, Some("cosinesimil")) => Some(Metric::Cosine),
            (_, Some("innerproduct")) => Some(Metric::Ip),
            (_, Some(other)) => Some(Metric::Other(other.to_owned())),
        };
        let derived = self.settings["index.knn.derived_source.enabled"].as_str() == Some("true");
        let by_faiss = method["engine"].as_str() != Some("lucene");
        if metric == Some(Metric::Cosine) && derived && by_faiss {
            self.notes.push(format!(
                "{}: the server stores `{name}` at length 1 and returns it that way: the original \
                 vectors may have had other lengths",
                self.name
            ));
        }
        self.add(name, element, &field["dimension"], metric);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn vectors_that_the_server_keeps_at_length_1_are_told() {
        let derived = json!({"index.knn.derived_source.enabled": "true"});
        let stored = json!({"index.knn.derived_source.enabled": "false"});
        for (settings, engine, space, told) in [
            (&derived, "faiss", "cosinesimil", true),
            (&derived, "faiss", "l2", false),
            (&derived, "lucene", "cosinesimil", false),
            (&stored, "faiss", "cosinesimil", false),
        ] {
            let method = json!({"name": "hnsw", "engine": engine, "space_type": space});
            let v = json!({"type": "knn_vector", "dimension": 4, "method": method});
            let Value::Object(properties) = json!({"v": v}) else {
                unreachable!("it is an object");
            };
            let mut fields = Fields {
                vectors: Vec::new(),
                notes: Vec::new(),
                wrong: None,
                leaves: Vec::new(),
                settings,
                name: "i",
            };
            fields.walk(&properties, "", false);
            assert_eq!(fields.vectors.len(), 1);
            let is_told = fields.notes.iter().any(|note| note.contains("at length 1"));
            assert_eq!(is_told, told, "{engine} {space}");
        }
    }
}
