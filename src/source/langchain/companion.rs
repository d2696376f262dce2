//! What does the pickle next to an index hold? Documents by the labels of the index's rows.

use std::collections::{BTreeSet, HashMap};

use crate::error::{Error, Kind, Place, Result};
use crate::format::pickle::{self, Pickle, Value};
use crate::input::View;
use crate::limits;

/// Module and name.
type Class = (&'static str, &'static str);

/// Classes whose objects hold what is read here, in all releases of LangChain.
const STORES: [Class; 4] = [
    ("langchain_community.docstore.in_memory", "InMemoryDocstore"),
    ("langchain_classic.docstore.in_memory", "InMemoryDocstore"),
    ("langchain.docstore.in_memory", "InMemoryDocstore"),
    ("langchain.docstore", "InMemoryDocstore"),
];
const DOCUMENTS: [Class; 4] = [
    ("langchain_core.documents.base", "Document"),
    ("langchain.schema.document", "Document"),
    ("langchain.schema", "Document"),
    ("langchain.docstore.document", "Document"),
];

/// A document as it is migrated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    pub id: String,
    pub text: String,
    /// A JSON object.
    pub metadata: String,
}

/// Documents by the label of their row.
#[derive(Debug)]
pub struct Companion {
    documents: HashMap<i64, Document>,
    /// Documents that belong to no row.
    left_over: usize,
}

impl Companion {
    /// Reads `(docstore, {label: id})`.
    pub fn read(file: &View) -> Result<Companion> {
        if file.len() > limits::PICKLE_BYTES_MAX {
            let what = format!(
                "has {} bytes, but pickles of at most {} are read",
                file.len(),
                limits::PICKLE_BYTES_MAX
            );
            return Err(Error::path(Kind::Unsupported, file.path(), what));
        }
        let bytes = file.bytes()?;
        Companion::of(&bytes).map_err(|(at, what)| {
            let place = Place::File {
                path: file.path().clone(),
                at: at as u64,
            };
            let kind = match what.contains("not known here") {
                true => Kind::Unsupported,
                false => Kind::Corrupt,
            };
            Error::new(kind, what).at(place)
        })
    }

    /// The documents in a pickle; on an error, its position and description.
    pub fn of(bytes: &[u8]) -> std::result::Result<Companion, (usize, String)> {
        let is_known = |module: &str, name: &str| {
            [STORES, DOCUMENTS]
                .iter()
                .any(|all| all.contains(&(module, name)))
        };
        let (made, value) = pickle::read(bytes, &is_known)?;
        Companion::of_value(&made, value).map_err(|what| (bytes.len(), what))
    }

    fn of_value(made: &Pickle<'_>, value: Value<'_>) -> std::result::Result<Companion, String> {
        let Value::List(pair) = value else {
            return Err(NOT_LANGCHAIN.to_owned());
        };
        let [store, Value::Dict(labels)] = *made.list(pair) else {
            return Err(NOT_LANGCHAIN.to_owned());
        };
        let stored = made.get(state(made, store, &STORES)?, "_dict");
        let Some(Value::Dict(stored)) = stored else {
            return Err("has a store without documents".to_owned());
        };
        let mut by_id = HashMap::new();
        for (id, document) in made.dict(stored) {
            let id = id.text().ok_or("has a document whose id is not text")?;
            by_id.insert(id, *document);
        }
        let mut documents = HashMap::new();
        let mut used = BTreeSet::new();
        for (label, id) in made.dict(labels) {
            let (Value::Int(label), Some(id)) = (label, id.text()) else {
                return Err("has a row that is not a number, or an id that is not text".to_owned());
            };
            let label = i64::try_from(*label).map_err(|_| "has a row beyond all rows")?;
            let document = by_id
                .get(id)
                .ok_or_else(|| format!("row {label} is document {id:?}, which does not exist"))?;
            if !used.insert(id) {
                return Err(format!("document {id:?} belongs to two rows"));
            }
            let document = document_of(made, id, *document);
            let document = document.map_err(|e| format!("document {id:?}: {e}"))?;
            if documents.insert(label, document).is_some() {
                return Err(format!("row {label} occurs twice"));
            }
        }
        Ok(Companion {
            left_over: by_id.len() - used.len(),
            documents,
        })
    }

    /// How many rows have documents.
    pub fn rows(&self) -> u64 {
        self.documents.len() as u64
    }

    /// The document of a row.
    pub fn document(&self, label: i64) -> Option<&Document> {
        self.documents.get(&label)
    }

    /// What the operator should know.
    pub fn note(&self) -> Option<String> {
        let left = self.left_over;
        (left > 0).then(|| {
            format!("{left} documents of the store have no row in the index and are not migrated")
        })
    }
}

const NOT_LANGCHAIN: &str =
    "is not a pair of a store and the ids of rows, as LangChain's FAISS store saves it";

/// The fields of an object of one of these classes, by name.
fn state<'b>(
    made: &Pickle<'b>,
    value: Value<'b>,
    classes: &[Class],
) -> std::result::Result<Value<'b>, String> {
    let object = match value {
        Value::Object(number) => made.object(number),
        _ => None,
    };
    let object = object.ok_or("has a value where an object should be")?;
    let (module, name) = object.class;
    if !classes.contains(&(module, name)) {
        return Err(format!(
            "has an object of {module}.{name} in the wrong place"
        ));
    }
    let state = object.state;
    let state = state.ok_or_else(|| format!("has an empty object of {module}.{name}"))?;
    // Objects of pydantic keep their fields one level down.
    Ok(made.get(state, "__dict__").unwrap_or(state))
}

fn document_of<'b>(
    made: &Pickle<'b>,
    id: &str,
    value: Value<'b>,
) -> std::result::Result<Document, String> {
    let fields = state(made, value, &DOCUMENTS)?;
    let text = made.get(fields, "page_content").and_then(Value::text);
    let mut metadata = String::new();
    match made.get(fields, "metadata") {
        None | Some(Value::None) => metadata.push_str("{}"),
        Some(dict @ Value::Dict(_)) => json(made, dict, 0, &mut metadata)?,
        Some(_) => return Err("its metadata is not a dictionary".to_owned()),
    }
    Ok(Document {
        id: id.to_owned(),
        text: text.ok_or("it has no text")?.to_owned(),
        metadata,
    })
}

/// Writes a value as JSON.
fn json(
    made: &Pickle<'_>,
    value: Value<'_>,
    depth: usize,
    out: &mut String,
) -> std::result::Result<(), String> {
    if depth > limits::METADATA_DEPTH_MAX {
        return Err(format!(
            "its metadata is nested more than {} levels deep",
            limits::METADATA_DEPTH_MAX
        ));
    }
    if out.len() > limits::METADATA_BYTES_MAX {
        return Err(format!(
            "its metadata is longer than {} bytes as JSON",
            limits::METADATA_BYTES_MAX
        ));
    }
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if flag { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => match serde_json::Number::from_f64(number) {
            Some(number) => out.push_str(&number.to_string()),
            None => {
                return Err(format!(
                    "its metadata contains {number}, which JSON cannot express"
                ));
            }
        },
        Value::Text(text) => out.push_str(&spelt(text)),
        Value::List(number) => {
            out.push('[');
            for (number, item) in made.list(number).iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                json(made, *item, depth + 1, out)?;
            }
            out.push(']');
        }
        Value::Dict(number) => {
            out.push('{');
            for (number, (key, value)) in last_of_each(made.dict(number))?.iter().enumerate() {
                if number > 0 {
                    out.push(',');
                }
                out.push_str(&spelt(key));
                out.push(':');
                json(made, *value, depth + 1, out)?;
            }
            out.push('}');
        }
        Value::Bytes(_) | Value::Class(..) | Value::Object(_) | Value::Mark => {
            return Err(
                "its metadata contains what JSON cannot express: bytes or an object".to_owned(),
            );
        }
    }
    Ok(())
}

fn spelt(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

/// The entries of a dictionary; for duplicate keys, the last.
fn last_of_each<'b>(
    entries: &[(Value<'b>, Value<'b>)],
) -> std::result::Result<Vec<(String, Value<'b>)>, String> {
    let mut all: Vec<(String, Value<'b>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (key, value) in entries {
        let key = match key {
            Value::Text(key) => (*key).to_owned(),
            Value::Int(key) => key.to_string(),
            _ => return Err("its metadata has a key that is not text".to_owned()),
        };
        match places.get(&key) {
            Some(at) => all[*at].1 = *value,
            None => {
                places.insert(key.clone(), all.len());
                all.push((key, *value));
            }
        }
    }
    Ok(all)
}
