//! What does a collection have? Fields, whichever way they are recorded, become columns.

use std::sync::Arc;

use serde_json::Value;

use crate::schema::{
    Bounds, CollectionTraits, Column, ColumnTraits, ColumnType, Columns, DefaultValue, FieldIndex,
    Function, FunctionKind, Index, Metric, Role, Scalar,
};

/// The name of the dynamic field.
pub const DYNAMIC: &str = "$meta";

/// A field as Milvus Lite describes it.
#[derive(Default)]
pub struct Field {
    pub name: String,
    /// Milvus's name of its type, arrays as `array<…>`.
    pub word: String,
    pub bounds: Bounds,
    pub is_key: bool,
    pub is_partition_key: bool,
    pub is_output: bool,
    pub auto_id: bool,
    pub nullable: bool,
    pub default: Option<DefaultValue>,
    pub description: String,
    pub params: Vec<(String, String)>,
}

/// An index and its field.
pub struct OnField {
    pub field: String,
    pub metric: Option<String>,
    pub index: Index,
}

/// What is recorded about a collection.
#[derive(Default)]
pub struct Recorded {
    pub fields: Vec<Field>,
    pub is_dynamic: bool,
    pub indexes: Vec<OnField>,
    /// Traits that do not belong to a field; function outputs and indexes are filled in.
    pub traits: CollectionTraits,
}

/// The columns of a collection's rows, and everything else about it.
pub struct Described {
    /// As they are migrated.
    pub columns: Arc<Columns>,
    pub traits: Arc<CollectionTraits>,
    pub auto_id: bool,
}

impl Recorded {
    /// Combines what is recorded; an error message if it does not make a collection.
    pub fn described(self) -> Result<Described, String> {
        let auto_id = self
            .fields
            .iter()
            .any(|field| field.is_key && field.auto_id);
        let (mut all, mut outputs) = (Vec::new(), Vec::new());
        for field in self.fields {
            let is_output = field.is_output;
            let column = field.column()?;
            if is_output {
                outputs.push(column);
            } else {
                all.push(column);
            }
        }
        let mut traits = self.traits;
        for OnField {
            field,
            metric,
            mut index,
        } in self.indexes
        {
            let of_rows = all.iter_mut().find(|c: &&mut Column| c.name == field);
            match of_rows.filter(|column| column.kind.is_vector()) {
                Some(column) => {
                    column.metric = metric.as_deref().and_then(Metric::named);
                    column.index = Some(index);
                }
                None => {
                    let metric = metric.filter(|metric| Metric::named(metric).is_some());
                    let metric = metric.map(|metric| ("metric_type".to_owned(), metric));
                    index.params.extend(metric);
                    traits.indexes.push(FieldIndex {
                        field,
                        name: String::new(),
                        index,
                    });
                }
            }
        }
        traits.outputs = outputs;
        all.sort_by_key(|column| column.role != Role::Key);
        if self.is_dynamic {
            all.push(Column {
                role: Role::Dynamic,
                ..Column::new(DYNAMIC, ColumnType::Json)
            });
        }
        Ok(Described {
            columns: Columns::new(all).map_err(|e| e.what().to_owned())?,
            traits: Arc::new(traits),
            auto_id,
        })
    }
}

impl Field {
    fn column(self) -> Result<Column, String> {
        let is_text = matches!(self.word.as_str(), "varchar" | "array<varchar>");
        let is_dense = self.word.ends_with("_vector") && !self.word.starts_with("sparse");
        // Descriptions may have more bounds than the type supports.
        let bounds = Bounds {
            dim: self.bounds.dim.filter(|_| is_dense),
            max_length: self.bounds.max_length.filter(|_| is_text),
            max_capacity: (self.bounds.max_capacity).filter(|_| self.word.starts_with("array<")),
        };
        let kind = ColumnType::of_word(&self.word, bounds);
        let kind = kind.map_err(|what| format!("field `{}`: {what}", self.name))?;
        Ok(Column {
            role: match (self.is_key, self.is_partition_key) {
                (true, _) => Role::Key,
                (_, true) => Role::PartitionKey,
                _ => Role::Plain,
            },
            // Missing vectors are stored as zeros.
            nullable: self.nullable && !kind.is_vector(),
            traits: ColumnTraits {
                description: self.description,
                default: self.default,
                params: self.params,
                ..ColumnTraits::default()
            },
            ..Column::new(self.name, kind)
        })
    }
}

/// A function whose type is given by Milvus's number.
pub fn function(
    number: u64,
    name: &str,
    inputs: Vec<String>,
    outputs: Vec<String>,
    params: Vec<(String, String)>,
) -> Result<Function, String> {
    let kind = usize::try_from(number).ok();
    let kind = kind.and_then(|number| FunctionKind::ALL.get(number.checked_sub(1)?));
    Ok(Function {
        name: name.to_owned(),
        description: String::new(),
        kind: *kind.ok_or_else(|| format!("function `{name}` has the unknown type {number}"))?,
        inputs,
        outputs,
        params,
    })
}

/// A default written as JSON, for a field of this type; `None` if fields of this type have no defaults in Milvus.
pub fn default_of(word: &str, value: &Value) -> Option<DefaultValue> {
    match Scalar::named(word)? {
        Scalar::Bool => value.as_bool().map(DefaultValue::Bool),
        Scalar::Float => value.as_f64().map(|v| DefaultValue::Float(v as f32)),
        Scalar::Double => value.as_f64().map(DefaultValue::Double),
        Scalar::VarChar => value.as_str().map(|v| DefaultValue::Text(v.to_owned())),
        Scalar::Int8 | Scalar::Int16 | Scalar::Int32 | Scalar::Int64 => {
            value.as_i64().map(DefaultValue::Int)
        }
    }
}

/// A JSON value as the text that Milvus accepts for a parameter.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
