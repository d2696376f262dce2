//! What do a server's words about a collection mean? Fields become columns; the rest is what goes with them.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::milvus::proto::{FieldSchema, IndexDescription, KeyValue, data_type};
use crate::milvus::{Client, Collection};
use crate::schema::{
    CollectionTraits, Column, ColumnTraits, ColumnType, Columns, Consistency, Element, FieldIndex,
    Index, Metric, Role, Scalar, VectorType,
};

/// Parameters of fields that the type tells.
const TOLD: [&str; 3] = ["dim", "max_length", "max_capacity"];
/// Parameters of indexes that are no parameters of theirs.
const APART: [&str; 3] = ["index_type", "metric_type", "params"];

/// The columns that rows of a collection have: the key first, the dynamic field last.
pub fn columns(client: &Client, found: &Collection) -> Result<Arc<Columns>> {
    let indexes = client.indexes(&found.name)?;
    let mut all = Vec::with_capacity(found.fields.len() + 1);
    for field in found.fields.iter().filter(|f| !f.is_function_output) {
        let mut column = column(found, field)?;
        if column.kind.is_vector()
            && let Some(index) = indexes.iter().find(|i| i.field_name == field.name)
        {
            column.metric = param(&index.params, "metric_type").and_then(Metric::named);
            column.index = Some(of(index));
            column.traits.index_name = index.index_name.clone();
        }
        all.push(column);
    }
    all.sort_by_key(|column| column.role != Role::Key);
    if found.is_dynamic {
        all.push(Column {
            role: Role::Dynamic,
            ..Column::new("$meta", ColumnType::Json)
        });
    }
    Columns::new(all)
}

/// What a collection is beside its columns.
pub fn traits(client: &Client, found: &Collection) -> Result<CollectionTraits> {
    let vector = |field: &str| {
        let field = found.field(field);
        field.is_some_and(|field| field.data_type >= data_type::BINARY_VECTOR)
    };
    let others = client.indexes(&found.name)?.into_iter();
    let others = others.filter(|index| !vector(&index.field_name));
    let consistency = usize::try_from(found.consistency).ok();
    let outputs = found.fields.iter().filter(|f| f.is_function_output);
    Ok(CollectionTraits {
        description: found.description.clone(),
        shards: (found.shards > 0).then_some(found.shards),
        partitions: (found.has_partition_key() && found.partitions > 0).then_some(found.partitions),
        consistency: consistency.and_then(|at| Consistency::ALL.get(at).copied()),
        properties: (found.properties.iter())
            .map(|p| (p.key.clone(), p.value.clone()))
            .collect(),
        functions: Vec::new(),
        outputs: outputs
            .map(|field| column(found, field))
            .collect::<Result<_>>()?,
        indexes: others
            .map(|index| FieldIndex {
                field: index.field_name.clone(),
                name: index.index_name.clone(),
                index: with_metric(&index),
            })
            .collect(),
        aliases: found.aliases.clone(),
    })
}

fn param<'p>(params: &'p [KeyValue], name: &str) -> Option<&'p str> {
    let found = params.iter().find(|p| p.key == name)?;
    Some(&found.value)
}

/// An index, its parameters one by one. Servers have those of its type as JSON in one of them.
fn of(index: &IndexDescription) -> Index {
    let mut params: Vec<(String, String)> = index
        .params
        .iter()
        .filter(|p| !APART.contains(&&*p.key))
        .map(|p| (p.key.clone(), p.value.clone()))
        .collect();
    let inner = param(&index.params, "params").unwrap_or_default();
    if let Ok(serde_json::Value::Object(inner)) = serde_json::from_str(inner) {
        params.extend(inner.into_iter().map(|(key, value)| match value {
            serde_json::Value::String(text) => (key, text),
            value => (key, value.to_string()),
        }));
    }
    Index {
        kind: param(&index.params, "index_type")
            .unwrap_or_default()
            .to_owned(),
        params,
    }
}

/// The same, of what is no vector of the rows: how it measures is one of its parameters.
fn with_metric(index: &IndexDescription) -> Index {
    let mut all = of(index);
    let metric = param(&index.params, "metric_type").filter(|metric| !metric.is_empty());
    all.params
        .extend(metric.map(|metric| ("metric_type".to_owned(), metric.to_owned())));
    all
}

fn column(found: &Collection, field: &FieldSchema) -> Result<Column> {
    let kind = kind(field).ok_or_else(|| {
        let what = format!(
            "{}: field {} cannot be read by this program",
            found.name,
            field.describe()
        );
        Error::new(Kind::Unsupported, what)
    })?;
    let role = match (field.is_primary_key, field.is_partition_key) {
        (true, _) => Role::Key,
        (_, true) => Role::PartitionKey,
        _ => Role::Plain,
    };
    let params = field.type_params.iter();
    let params = params.filter(|p| !TOLD.contains(&&*p.key));
    Ok(Column {
        role,
        nullable: field.nullable,
        traits: ColumnTraits {
            description: field.description.clone(),
            default: None,
            is_clustering_key: field.is_clustering_key,
            params: params.map(|p| (p.key.clone(), p.value.clone())).collect(),
            index_name: String::new(),
        },
        ..Column::new(&field.name, kind)
    })
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
        other => scalar(other).map(ColumnType::Scalar),
    }
}

fn scalar(number: i32) -> Option<Scalar> {
    Some(match number {
        data_type::BOOL => Scalar::Bool,
        data_type::INT8 => Scalar::Int8,
        data_type::INT16 => Scalar::Int16,
        data_type::INT32 => Scalar::Int32,
        data_type::INT64 => Scalar::Int64,
        data_type::FLOAT => Scalar::Float,
        data_type::DOUBLE => Scalar::Double,
        data_type::VARCHAR => Scalar::VarChar,
        _ => return None,
    })
}
