//! What shape do jobs have? A JSON Schema (2020-12), generated from the lists of settings, for editors and checks.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::formats::{Entry, sinks, sources};
use super::say::print_json;
use crate::error::{Error, Kind, Result};
use crate::job::settings::{DIMENSION, GENERAL, find};
use crate::job::{CLASSIC, ClassicKey, Need, Setting, Takes, classic_keys};

/// Numbers above this are no longer exact in every reader of JSON.
const EXACT: u64 = 1 << 53;

/// `milvusdm schema`: writes to standard output, or to a file, which it replaces.
pub fn write(file: Option<&Path>) -> Result<()> {
    let Some(file) = file else {
        return print_json(&schema());
    };
    let text = serde_json::to_string_pretty(&schema()).expect("a schema is plain data");
    let written = std::fs::write(file, text + "\n");
    written.map_err(|e| Error::io(file, "write it", &e).with_kind(Kind::Io))
}

/// The schema of job files.
fn schema() -> Value {
    let mut properties = Map::new();
    properties.insert(
        "source".to_owned(),
        endpoint("where vectors come from", &sources()),
    );
    properties.insert("sink".to_owned(), endpoint("where vectors go", &sinks()));
    let mut shared = json!({
        "nothing": {"description": "nothing: as if the key were missing", "enum": [null, ""]},
        "variable": {
            "description": "text with an environment variable",
            "type": "string",
            "pattern": "\\$\\{[^}]*\\}",
        },
        "text": {"type": ["string", "number", "boolean"], "minLength": 1},
    });
    for setting in GENERAL {
        shared[setting.name] = property(setting);
        properties.insert(setting.name.to_owned(), reference(setting.name));
    }
    let mut shapes = vec![json!({
        "required": ["source", "sink"],
        "properties": Map::from_iter(CLASSIC.map(|name| (name.to_owned(), Value::Bool(false)))),
    })];
    for name in CLASSIC {
        properties.insert(name.to_owned(), classic(name));
        shapes.push(json!({"required": [name], "maxProperties": 1}));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A job of milvusdm",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "oneOf": shapes,
        "$defs": shared,
    })
}

/// `source:` or `sink:`.
fn endpoint(about: &str, kinds: &[Entry]) -> Value {
    let kind = |kind: &Entry| {
        let mut settings = object(kind.settings);
        settings["description"] = kind.summary.into();
        (kind.name.to_owned(), settings)
    };
    let kinds: Map<String, Value> = kinds.iter().map(kind).collect();
    json!({
        "description": about,
        "type": "object",
        "properties": kinds,
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}

/// A classic job.
fn classic(name: &str) -> Value {
    let (mut settings, mut parameters) = (Vec::new(), Vec::new());
    for key in classic_keys(name) {
        match key {
            ClassicKey::Own(setting) => settings.push(setting),
            ClassicKey::Means(key, path) => match key.split_once('.') {
                Some((_, name)) => parameters.push(Setting {
                    name,
                    ..general(path)
                }),
                None => settings.push(Setting {
                    name: key,
                    ..general(path)
                }),
            },
        }
    }
    let mut job = object(&settings);
    if !parameters.is_empty() {
        job["properties"]["collection_parameter"] =
            json!({"anyOf": [object(&parameters), nothing()]});
    }
    job["description"] = "a job of the Python tool".into();
    job
}

/// The setting of a general job at a key path.
fn general(path: &str) -> Setting {
    let (kinds, rest) = match path.split_once('.') {
        Some(("source", rest)) => (sources(), rest),
        Some(("sink", rest)) => (sinks(), rest),
        _ => {
            let found = find(GENERAL, path).copied();
            return found.unwrap_or(DIMENSION);
        }
    };
    let (kind, key) = rest.split_once('.').unwrap_or((rest, ""));
    let kind = kinds.iter().find(|entry| entry.name == kind);
    let found = kind.and_then(|kind| find(kind.settings, key)).copied();
    found.expect("classic keys stand for existing keys")
}

/// A map of settings, and nothing else.
fn object(settings: &[Setting]) -> Value {
    let named = |setting: &Setting| {
        let is_general = find(GENERAL, setting.name).is_some_and(|g| g.about == setting.about);
        let property = match is_general {
            true => reference(setting.name),
            false => property(setting),
        };
        (setting.name.to_owned(), property)
    };
    let properties: Map<String, Value> = settings.iter().map(named).collect();
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    let that_are = |need: Need| {
        let names = settings.iter().filter(move |setting| setting.need == need);
        names.map(|setting| setting.name)
    };
    let required: Vec<&str> = that_are(Need::Required).collect();
    if !required.is_empty() {
        object["required"] = required.into();
    }
    let there = |name: &str| json!({"required": [name], "properties": {name: {"not": nothing()}}});
    let one_of: Vec<Value> = that_are(Need::OneOf).map(there).collect();
    if !one_of.is_empty() {
        object["oneOf"] = one_of.into();
    }
    object
}

/// A setting: what it is for, and which values it takes.
fn property(setting: &Setting) -> Value {
    let mut takes = shapes(&setting.takes);
    if setting.need != Need::Required {
        takes.push(nothing());
    }
    let mut property = json!({"description": setting.about, "anyOf": takes});
    if !setting.default.is_empty() {
        let default: Option<Value> = serde_yaml::from_str(setting.default).ok();
        property["default"] = default.unwrap_or_else(|| setting.default.into());
    }
    property
}

/// Each shape that a value may have.
fn shapes(takes: &Takes) -> Vec<Value> {
    let list = json!({"type": "array", "items": text()});
    match takes {
        Takes::Text | Takes::Secret | Takes::Path => vec![text()],
        Takes::Texts | Takes::Paths => vec![text(), list],
        Takes::Number(min, max) => number(*min, *max),
        Takes::NumberOrAuto(min, max) => {
            let mut shapes = vec![json!({"const": "auto"})];
            shapes.extend(number(*min, *max));
            shapes
        }
        Takes::Flag => vec![
            json!({"type": "boolean"}),
            json!({"enum": ["true", "yes", "on", "false", "no", "off"]}),
            variable(),
        ],
        Takes::Choice(words) => choice(words),
        Takes::Size => vec![
            json!({"type": "integer", "minimum": 0}),
            json!({"type": "string", "pattern": "^\\s*[0-9]+\\s*([KkMmGg]([Ii]?[Bb])?|[Bb])?\\s*$"}),
            variable(),
        ],
        Takes::Duration => vec![
            json!({"type": "integer", "minimum": 0}),
            json!({"type": "string", "pattern": "^\\s*([0-9]+|([0-9]+(ms|s|m|h|d)\\s*)+)\\s*$"}),
            variable(),
        ],
        Takes::Map(settings) => vec![object(settings)],
        Takes::Names(each) => {
            let mut each = shapes(each);
            each.push(nothing());
            vec![json!({"type": "object", "additionalProperties": {"anyOf": each}})]
        }
        Takes::Any(all) => all.iter().flat_map(shapes).collect(),
    }
}

fn number(min: u64, max: u64) -> Vec<Value> {
    let mut number = json!({"type": "integer", "minimum": min});
    if max <= EXACT {
        number["maximum"] = max.into();
    }
    let digits = json!({"type": "string", "pattern": "^\\+?[0-9]+$"});
    vec![number, digits, variable()]
}

/// One of some words, listed for editors; upper and lower case are both allowed.
fn choice(words: &[&str]) -> Vec<Value> {
    let mut list: Vec<Value> = words.iter().map(|word| json!(word)).collect();
    if words.contains(&"off") {
        // YAML 1.1 reads a bare `off` as false.
        list.push(false.into());
    }
    let any_case = |word: &&str| -> String {
        let letter = |c: char| match c.is_ascii_alphabetic() {
            true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
            false => c.to_string(),
        };
        word.chars().map(letter).collect()
    };
    let any_case: Vec<String> = words.iter().map(any_case).collect();
    let pattern = format!("^({})$", any_case.join("|"));
    vec![
        json!({"enum": list}),
        json!({"type": "string", "pattern": pattern}),
        variable(),
    ]
}

fn text() -> Value {
    reference("text")
}

fn nothing() -> Value {
    reference("nothing")
}

fn variable() -> Value {
    reference("variable")
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}
