//! How are columns and collections spelt in JSON? Manifests store schemas this way.

use serde_json::{Map, Value, json};

use super::collection::{
    CollectionTraits, ColumnTraits, Consistency, DefaultValue, FieldIndex, Function, FunctionKind,
};
use super::words::Bounds;
use super::{Column, ColumnType, Columns, Index, Metric, Role, Scalar};
use crate::error::{Error, Kind, Result};

/// A map that is read key by key; errors name the key.
struct Reader<'v>(&'v Map<String, Value>);

fn wrong(what: String) -> Error {
    Error::new(Kind::Corrupt, what)
}

impl<'v> Reader<'v> {
    fn of(value: &'v Value, what: &str) -> Result<Reader<'v>> {
        match value {
            Value::Object(map) => Ok(Reader(map)),
            other => Err(wrong(format!("{what} is {other}, not an object"))),
        }
    }

    fn get<T>(
        &self,
        key: &str,
        what: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(value) => Ok(Some(value)),
                None => Err(wrong(format!("`{key}` is {value}, not {what}"))),
            },
        }
    }

    fn text(&self, key: &str) -> Result<String> {
        let text = self.get(key, "text", Value::as_str)?;
        Ok(text.unwrap_or_default().to_owned())
    }

    fn needed(&self, key: &str) -> Result<String> {
        let text = self.get(key, "text", Value::as_str)?;
        text.map(str::to_owned)
            .ok_or_else(|| wrong(format!("`{key}` is missing")))
    }

    fn number(&self, key: &str) -> Result<Option<u32>> {
        self.get(key, "a whole number below 2^32", |value| {
            value.as_u64()?.try_into().ok()
        })
    }

    fn flag(&self, key: &str) -> Result<bool> {
        Ok(self
            .get(key, "true or false", Value::as_bool)?
            .unwrap_or(false))
    }

    fn list<T>(&self, key: &str, read: impl Fn(&'v Value) -> Result<T>) -> Result<Vec<T>> {
        let list = self.get(key, "a list", Value::as_array)?;
        list.into_iter().flatten().map(read).collect()
    }

    fn texts(&self, key: &str) -> Result<Vec<String>> {
        self.list(key, |value| match value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(wrong(format!("`{key}` holds {value}, not text"))),
        })
    }

    fn pairs(&self, key: &str) -> Result<Vec<(String, String)>> {
        let map = self.get(key, "an object", Value::as_object)?;
        let pairs = map.into_iter().flatten().map(|(name, value)| match value {
            Value::String(text) => Ok((name.clone(), text.clone())),
            other => Err(wrong(format!("`{key}.{name}` is {other}, not text"))),
        });
        pairs.collect()
    }
}

fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    let empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    if !empty {
        map.insert(key.to_owned(), value);
    }
}

fn pairs(pairs: &[(String, String)]) -> Value {
    let pairs = pairs.iter();
    Value::Object(pairs.map(|(k, v)| (k.clone(), v.clone().into())).collect())
}

impl Index {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        put(&mut map, "type", self.kind.clone().into());
        put(&mut map, "params", pairs(&self.params));
        Value::Object(map)
    }

    fn from_json(value: &Value) -> Result<Index> {
        let map = Reader::of(value, "an index")?;
        Ok(Index {
            // An index on a scalar may have none: the server chose.
            kind: map.text("type")?,
            params: map.pairs("params")?,
        })
    }
}

impl DefaultValue {
    /// Floats that JSON has no number for become text.
    fn to_json(&self) -> Value {
        let float = |value: f64| match value.is_finite() {
            true => json!(value),
            false => value.to_string().into(),
        };
        match self {
            DefaultValue::Bool(value) => json!(value),
            DefaultValue::Int(value) => json!(value),
            DefaultValue::Float(value) => float(f64::from(*value)),
            DefaultValue::Double(value) => float(*value),
            DefaultValue::Text(value) => json!(value),
        }
    }

    /// The default value for a column of this type; `None`: it does not have this type.
    pub fn from_json(value: &Value, kind: ColumnType) -> Option<DefaultValue> {
        let float = |value: &Value| match value {
            Value::String(text) => text.parse::<f64>().ok(),
            other => other.as_f64(),
        };
        let whole = |bits: u32| {
            let value = value.as_i64()?;
            let most = i64::MAX >> (64 - bits);
            (-most - 1..=most)
                .contains(&value)
                .then_some(DefaultValue::Int(value))
        };
        match kind {
            ColumnType::VarChar { .. } => value
                .as_str()
                .map(|text| DefaultValue::Text(text.to_owned())),
            ColumnType::Scalar(scalar) => match scalar {
                Scalar::Bool => value.as_bool().map(DefaultValue::Bool),
                Scalar::Int8 => whole(8),
                Scalar::Int16 => whole(16),
                Scalar::Int32 => whole(32),
                Scalar::Int64 => whole(64),
                Scalar::Float => float(value).map(|value| DefaultValue::Float(value as f32)),
                Scalar::Double => float(value).map(DefaultValue::Double),
                Scalar::VarChar => None,
            },
            _ => None,
        }
    }
}

const ROLES: [(Role, &str); 3] = [
    (Role::Key, "key"),
    (Role::Dynamic, "dynamic"),
    (Role::PartitionKey, "partition key"),
];

impl Column {
    /// As a JSON object, without what is unknown or false. [`super::TooLong`] belongs to the job and is not included.
    pub fn to_json(&self) -> Value {
        let bounds = self.kind.bounds();
        let role = ROLES.iter().find(|(role, _)| *role == self.role);
        let traits = &self.traits;
        let mut map = Map::new();
        map.insert("name".to_owned(), self.name.clone().into());
        put(&mut map, "type", self.kind.word().into());
        put(&mut map, "dim", json!(bounds.dim));
        put(&mut map, "max_length", json!(bounds.max_length));
        put(&mut map, "max_capacity", json!(bounds.max_capacity));
        put(&mut map, "role", json!(role.map(|(_, word)| word)));
        put(&mut map, "nullable", self.nullable.into());
        put(
            &mut map,
            "metric",
            json!(self.metric.as_ref().map(Metric::name)),
        );
        put(
            &mut map,
            "index",
            json!(self.index.as_ref().map(Index::to_json)),
        );
        put(&mut map, "index_name", traits.index_name.clone().into());
        put(&mut map, "description", traits.description.clone().into());
        if let Some(value) = &traits.default {
            map.insert("default".to_owned(), value.to_json());
        }
        put(&mut map, "clustering_key", traits.is_clustering_key.into());
        put(&mut map, "params", pairs(&traits.params));
        Value::Object(map)
    }

    /// The inverse of [`Column::to_json`].
    pub fn from_json(value: &Value) -> Result<Column> {
        let map = Reader::of(value, "a column")?;
        let name = map.get("name", "text", Value::as_str)?;
        let name = name.ok_or_else(|| wrong("a column has no `name`".to_owned()))?;
        let column = || -> Result<Column> {
            let bounds = Bounds {
                dim: map.number("dim")?,
                max_length: map.number("max_length")?,
                max_capacity: map.number("max_capacity")?,
            };
            let kind = ColumnType::of_word(&map.needed("type")?, bounds).map_err(wrong)?;
            let role = match map.text("role")?.as_str() {
                "" => Role::Plain,
                word => match ROLES.iter().find(|(_, w)| *w == word) {
                    Some((role, _)) => *role,
                    None => return Err(wrong(format!("`role` is {word:?}, which does not exist"))),
                },
            };
            let metric = map.get("metric", "text", Value::as_str)?;
            let default = map.get("default", &format!("a value of {}", kind.word()), |value| {
                DefaultValue::from_json(value, kind)
            })?;
            Ok(Column {
                nullable: map.flag("nullable")?,
                role,
                metric: metric.map(|name| {
                    Metric::named(name).unwrap_or_else(|| Metric::Other(name.to_owned()))
                }),
                index: map.0.get("index").map(Index::from_json).transpose()?,
                traits: ColumnTraits {
                    description: map.text("description")?,
                    default,
                    is_clustering_key: map.flag("clustering_key")?,
                    params: map.pairs("params")?,
                    index_name: map.text("index_name")?,
                },
                ..Column::new(name, kind)
            })
        };
        column().map_err(|e| wrong(format!("column `{name}`: {}", e.what())))
    }
}

impl Columns {
    /// As a JSON list of columns.
    pub fn to_json(&self) -> Value {
        self.all().iter().map(Column::to_json).collect()
    }

    /// The inverse of [`Columns::to_json`].
    pub fn from_json(value: &Value) -> Result<std::sync::Arc<Columns>> {
        let list = value
            .as_array()
            .ok_or_else(|| wrong("columns are not a list".to_owned()))?;
        Columns::new(list.iter().map(Column::from_json).collect::<Result<_>>()?)
    }
}

impl Function {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert("name".to_owned(), self.name.clone().into());
        put(&mut map, "type", self.kind.name().into());
        put(&mut map, "description", self.description.clone().into());
        put(&mut map, "inputs", json!(self.inputs));
        put(&mut map, "outputs", json!(self.outputs));
        put(&mut map, "params", pairs(&self.params));
        Value::Object(map)
    }

    fn from_json(value: &Value) -> Result<Function> {
        let map = Reader::of(value, "a function")?;
        let word = map.needed("type")?;
        let kind = FunctionKind::ALL
            .into_iter()
            .find(|kind| kind.name() == word);
        Ok(Function {
            name: map.needed("name")?,
            description: map.text("description")?,
            kind: kind.ok_or_else(|| wrong(format!("there is no function of type {word:?}")))?,
            inputs: map.texts("inputs")?,
            outputs: map.texts("outputs")?,
            params: map.pairs("params")?,
        })
    }
}

impl FieldIndex {
    fn to_json(&self) -> Value {
        let mut map = Map::new();
        put(&mut map, "field", self.field.clone().into());
        put(&mut map, "name", self.name.clone().into());
        put(&mut map, "type", self.index.kind.clone().into());
        put(&mut map, "params", pairs(&self.index.params));
        Value::Object(map)
    }

    fn from_json(value: &Value) -> Result<FieldIndex> {
        let map = Reader::of(value, "an index")?;
        Ok(FieldIndex {
            field: map.needed("field")?,
            name: map.text("name")?,
            index: Index::from_json(value)?,
        })
    }
}

impl CollectionTraits {
    /// As a JSON object, without what is unknown.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let all = |list: Vec<Value>| Value::Array(list);
        put(&mut map, "database", self.database.clone().into());
        put(&mut map, "description", self.description.clone().into());
        put(&mut map, "shards", json!(self.shards));
        put(&mut map, "partitions", json!(self.partitions));
        put(
            &mut map,
            "consistency",
            json!(self.consistency.map(Consistency::name)),
        );
        put(&mut map, "properties", pairs(&self.properties));
        put(
            &mut map,
            "functions",
            all(self.functions.iter().map(Function::to_json).collect()),
        );
        put(
            &mut map,
            "outputs",
            all(self.outputs.iter().map(Column::to_json).collect()),
        );
        put(
            &mut map,
            "indexes",
            all(self.indexes.iter().map(FieldIndex::to_json).collect()),
        );
        put(&mut map, "aliases", json!(self.aliases));
        Value::Object(map)
    }

    /// The inverse of [`CollectionTraits::to_json`].
    pub fn from_json(value: &Value) -> Result<CollectionTraits> {
        let map = Reader::of(value, "a collection")?;
        let consistency = map.get("consistency", "a consistency level", |value| {
            Consistency::named(value.as_str()?)
        })?;
        Ok(CollectionTraits {
            database: map.text("database")?,
            description: map.text("description")?,
            shards: map.number("shards")?,
            partitions: map.number("partitions")?,
            consistency,
            properties: map.pairs("properties")?,
            functions: map.list("functions", Function::from_json)?,
            outputs: map.list("outputs", Column::from_json)?,
            indexes: map.list("indexes", FieldIndex::from_json)?,
            aliases: map.texts("aliases")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::kinds;
    use super::*;

    #[test]
    fn columns_and_collections_are_read_back_as_they_were() {
        let mut all = vec![Column::key(
            "id",
            ColumnType::VarChar { max_bytes: Some(9) },
        )];
        for (number, kind) in kinds().into_iter().enumerate() {
            let mut column = Column::new(format!("c{number}"), kind);
            column.nullable = number % 2 == 1;
            column.traits.description = "says \"this\"".to_owned();
            column.traits.params = vec![("mmap.enabled".to_owned(), "true".to_owned())];
            column.traits.is_clustering_key = number == 3;
            column.traits.default = match kind {
                ColumnType::Scalar(Scalar::Bool) => Some(DefaultValue::Bool(false)),
                ColumnType::Scalar(Scalar::Int64) => Some(DefaultValue::Int(i64::MIN)),
                ColumnType::Scalar(Scalar::Int8) => Some(DefaultValue::Int(-128)),
                ColumnType::Scalar(Scalar::Float) => Some(DefaultValue::Float(0.1)),
                ColumnType::Scalar(Scalar::Double) => Some(DefaultValue::Double(f64::NEG_INFINITY)),
                ColumnType::VarChar { .. } => Some(DefaultValue::Text(String::new())),
                _ => None,
            };
            if kind.is_vector() {
                column.metric = Some(Metric::Other("L1".to_owned()));
                column.traits.index_name = "by_vector".to_owned();
                column.index = Some(Index {
                    kind: "HNSW".to_owned(),
                    params: vec![("M".to_owned(), "16".to_owned())],
                });
            }
            all.push(column);
        }
        all[1].role = Role::PartitionKey;
        let mut dynamic = Column::new("$meta", ColumnType::Json);
        dynamic.role = Role::Dynamic;
        all.push(dynamic);
        let columns = Columns::new(all).unwrap();
        assert_eq!(*Columns::from_json(&columns.to_json()).unwrap(), *columns);

        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let traits = CollectionTraits {
            database: "shop".to_owned(),
            description: "products".to_owned(),
            shards: Some(2),
            partitions: Some(16),
            consistency: Some(Consistency::Bounded),
            properties: vec![pair("collection.ttl.seconds", "3600")],
            functions: vec![Function {
                name: "words".to_owned(),
                description: String::new(),
                kind: FunctionKind::Bm25,
                inputs: vec!["title".to_owned()],
                outputs: vec!["title_words".to_owned()],
                params: vec![pair("bm25_k1", "1.2")],
            }],
            outputs: vec![Column::new("title_words", ColumnType::Sparse)],
            indexes: vec![
                FieldIndex {
                    field: "meta".to_owned(),
                    name: "meta_a".to_owned(),
                    index: Index {
                        kind: "INVERTED".to_owned(),
                        params: vec![pair("json_path", "meta['a']")],
                    },
                },
                FieldIndex {
                    field: "price".to_owned(),
                    name: "by_price".to_owned(),
                    index: Index {
                        kind: String::new(),
                        params: Vec::new(),
                    },
                },
            ],
            aliases: vec!["shop".to_owned()],
        };
        assert_eq!(
            CollectionTraits::from_json(&traits.to_json()).unwrap(),
            traits
        );
        let nothing = CollectionTraits::default();
        assert_eq!(nothing.to_json(), json!({}));
        assert_eq!(CollectionTraits::from_json(&json!({})).unwrap(), nothing);
    }

    #[test]
    fn what_is_wrong_in_a_schema_is_named() {
        let said = |value: Value| Columns::from_json(&json!([value])).unwrap_err().to_string();
        for (value, expected) in [
            (json!({"type": "bool"}), "a column has no `name`"),
            (json!({"name": "a"}), "column `a`: `type` is missing"),
            (
                json!({"name": "a", "type": "int8", "default": 128}),
                "`default` is 128, not a value of int8",
            ),
            (
                json!({"name": "a", "type": "bool", "role": "king"}),
                "`role` is \"king\"",
            ),
            (
                json!({"name": "a", "type": "varchar", "max_length": -1}),
                "`max_length` is -1",
            ),
            (json!(3), "a column is 3, not an object"),
        ] {
            let said = said(value);
            assert!(said.contains(expected), "{said}");
        }
    }
}
