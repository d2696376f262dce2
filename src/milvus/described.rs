//! What does Milvus' description of a collection mean? Fields become columns, with their functions and indexes.
//! Pure: knows messages, and makes no calls.

use serde_json::Value;

use super::default_of;
use super::proto::{FieldSchema, FunctionSchema, KeyValue, data_type};
use crate::schema::{
    Column, ColumnTraits, ColumnType, Element, Function, FunctionKind, Index, Role, Scalar,
    VectorType,
};

/// What Milvus calls the dynamic field.
pub const DYNAMIC: &str = "$meta";

/// Parameters of fields that are part of the type.
const TOLD: [&str; 3] = ["dim", "max_length", "max_capacity"];
/// Entries in an index's parameters that are not really parameters.
const APART: [&str; 3] = ["index_type", "metric_type", "params"];

/// The column for a field, or what cannot be read if we have no such type.
pub fn column(field: &FieldSchema) -> Result<Column, String> {
    let unread = |what: &str| format!("{what} {}", field.describe());
    let kind = kind(field).ok_or_else(|| unread("field"))?;
    let default = match &field.default_value {
        None => None,
        Some(value) => Some(default_of(value).ok_or_else(|| unread("the default of field"))?),
    };
    let params = field.type_params.iter();
    Ok(Column {
        role: match field {
            FieldSchema {
                is_primary_key: true,
                ..
            } => Role::Key,
            FieldSchema {
                is_partition_key: true,
                ..
            } => Role::PartitionKey,
            FieldSchema {
                is_dynamic: true, ..
            } => Role::Dynamic,
            _ => Role::Plain,
        },
        nullable: field.nullable,
        traits: ColumnTraits {
            description: field.description.clone(),
            default,
            is_clustering_key: field.is_clustering_key,
            params: pairs(params.filter(|p| !TOLD.contains(&&*p.key))),
            index_name: String::new(),
        },
        ..Column::new(&field.name, kind)
    })
}

fn pairs<'p>(params: impl Iterator<Item = &'p KeyValue>) -> Vec<(String, String)> {
    params.map(|p| (p.key.clone(), p.value.clone())).collect()
}

fn kind(field: &FieldSchema) -> Option<ColumnType> {
    let vector = |element| {
        Some(ColumnType::Vector(VectorType {
            element,
            dimension: field.dimension().filter(|dimension| *dimension > 0)?,
        }))
    };
    let number = |name: &str| field.param(name).and_then(|n| u32::try_from(n).ok());
    match field.data_type {
        data_type::VARCHAR => Some(ColumnType::VarChar {
            max_bytes: number("max_length"),
        }),
        data_type::JSON => Some(ColumnType::Json),
        data_type::ARRAY => Some(ColumnType::Array {
            of: scalar(field.element_type)?,
            capacity: number("max_capacity"),
            max_bytes: number("max_length"),
        }),
        data_type::FLOAT_VECTOR => vector(Element::Float32),
        data_type::BINARY_VECTOR => vector(Element::Bit),
        data_type::FLOAT16_VECTOR => vector(Element::Float16),
        data_type::BFLOAT16_VECTOR => vector(Element::BFloat16),
        data_type::INT8_VECTOR => vector(Element::Int8),
        data_type::SPARSE_FLOAT_VECTOR => Some(ColumnType::Sparse),
        data_type::GEOMETRY => Some(ColumnType::Geometry),
        data_type::TIMESTAMPTZ => Some(ColumnType::Timestamptz),
        other => scalar(other).map(ColumnType::Scalar),
    }
}

fn scalar(number: i32) -> Option<Scalar> {
    let is = |scalar: &Scalar| super::values::scalar_type(*scalar) == number;
    Scalar::ALL.into_iter().find(is)
}

/// A function, or what cannot be read if we do not know its kind.
pub fn function(function: &FunctionSchema) -> Result<Function, String> {
    let number = usize::try_from(function.kind).ok();
    let kind = number.and_then(|n| FunctionKind::ALL.get(n.checked_sub(1)?));
    Ok(Function {
        name: function.name.clone(),
        description: function.description.clone(),
        kind: *kind
            .ok_or_else(|| format!("function {} (of type {})", function.name, function.kind))?,
        inputs: function.input_field_names.clone(),
        outputs: function.output_field_names.clone(),
        params: pairs(function.params.iter()),
    })
}

/// The metric of an index, if it has one, and the index with its parameters one by one. Servers store those of its type
/// as JSON in one parameter.
pub fn index(params: &[KeyValue]) -> (Option<String>, Index) {
    let param = |name: &str| params.iter().find(|p| p.key == name).map(|p| &*p.value);
    let mut all = pairs(params.iter().filter(|p| !APART.contains(&&*p.key)));
    if let Ok(Value::Object(inner)) = serde_json::from_str(param("params").unwrap_or_default()) {
        all.extend(inner.into_iter().map(|(key, value)| match value {
            Value::String(text) => (key, text),
            value => (key, value.to_string()),
        }));
    }
    let kind = param("index_type").unwrap_or_default().to_owned();
    let metric = param("metric_type").filter(|metric| !metric.is_empty());
    let metric = metric.map(str::to_owned);
    (metric, Index { kind, params: all })
}

/// The same for an index that is not on a vector of the rows: its metric is one of the parameters.
pub fn index_with_metric(params: &[KeyValue]) -> Index {
    let (metric, mut index) = index(params);
    let metric = metric.map(|metric| ("metric_type".to_owned(), metric));
    index.params.extend(metric);
    index
}
