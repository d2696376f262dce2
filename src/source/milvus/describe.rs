//! What do a server's words about a collection mean? Fields become columns; the rest is what goes with them.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::job::did_you_mean;
use crate::milvus::proto::{FieldSchema, FunctionSchema, IndexDescription, KeyValue, data_type};
use crate::milvus::{Client, Collection, default_of};
use crate::schema::{
    CollectionTraits, Column, ColumnTraits, ColumnType, Columns, Consistency, Element, FieldIndex,
    Function, FunctionKind, Index, Metric, Role, Scalar, VectorType,
};

/// Which fields of a collection are read.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// These, and the key; `None`: all of them.
    pub columns: Option<Vec<String>>,
    /// Whether the dynamic field is.
    pub dynamic: bool,
}

/// What a server calls the dynamic field.
const DYNAMIC: &str = "$meta";

impl Wanted {
    fn takes(&self, name: &str) -> bool {
        let all = self.columns.as_ref();
        all.is_none_or(|names| names.iter().any(|wanted| wanted == name))
    }

    fn takes_dynamic(&self, found: &Collection) -> bool {
        found.is_dynamic && self.dynamic && self.takes(DYNAMIC)
    }

    /// Complains of names that are no fields.
    fn check(&self, found: &Collection) -> Result<()> {
        let outputs = found.fields.iter().filter(|f| f.is_function_output);
        let outputs: Vec<&str> = outputs.map(|f| &*f.name).collect();
        let fields = found.fields.iter().map(|f| &*f.name);
        let mut there: Vec<&str> = fields.filter(|name| !outputs.contains(name)).collect();
        there.extend(found.is_dynamic.then_some(DYNAMIC));
        for name in self.columns.iter().flatten() {
            let what = match name.as_str() {
                name if there.contains(&name) => continue,
                name if outputs.contains(&name) => {
                    format!(
                        "`{name}` of {} is made by a function, and cannot be read",
                        found.name
                    )
                }
                name => format!("{} has no field `{name}`", found.name),
            };
            let listed = format!("there are {}", there.join(", "));
            let hint = did_you_mean(name, &there).unwrap_or(listed);
            return Err(Error::new(Kind::Job, what).hint(hint));
        }
        Ok(())
    }
}

/// Parameters of fields that the type tells.
const TOLD: [&str; 3] = ["dim", "max_length", "max_capacity"];
/// Parameters of indexes that are no parameters of theirs.
const APART: [&str; 3] = ["index_type", "metric_type", "params"];

/// The columns that rows of a collection have: the key first, the dynamic field last.
pub fn columns(client: &Client, found: &Collection, wanted: &Wanted) -> Result<Arc<Columns>> {
    wanted.check(found)?;
    if let Some(name) = found.structs.iter().find(|name| wanted.takes(name)) {
        return Err(unread(found, &format!("field {name}, lists of structs,")));
    }
    let indexes = client.indexes(&found.name)?;
    let mut all = Vec::with_capacity(found.fields.len() + 1);
    let taken = |field: &&FieldSchema| field.is_primary_key || wanted.takes(&field.name);
    let fields = found.fields.iter().filter(|f| !f.is_function_output);
    for field in fields.filter(taken) {
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
    if wanted.takes_dynamic(found) {
        all.push(Column {
            role: Role::Dynamic,
            ..Column::new(DYNAMIC, ColumnType::Json)
        });
    }
    Columns::new(all)
}

/// What a collection is beside these columns.
pub fn traits(client: &Client, found: &Collection, columns: &Columns) -> Result<CollectionTraits> {
    let vector = |field: &str| {
        let field = found.field(field);
        field.is_some_and(|field| field.data_type >= data_type::BINARY_VECTOR)
    };
    let others = client.indexes(&found.name)?.into_iter();
    let others = others.filter(|index| !vector(&index.field_name));
    let consistency = usize::try_from(found.consistency).ok();
    let outputs = found.fields.iter().filter(|f| f.is_function_output);
    let functions: Result<_> = found.functions.iter().map(|f| function(found, f)).collect();
    let traits = CollectionTraits {
        description: found.description.clone(),
        shards: (found.shards > 0).then_some(found.shards),
        partitions: (found.has_partition_key() && found.partitions > 0).then_some(found.partitions),
        consistency: consistency.and_then(|at| Consistency::ALL.get(at).copied()),
        properties: (found.properties.iter())
            .map(|p| (p.key.clone(), p.value.clone()))
            .collect(),
        functions: functions?,
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
    };
    // What is about fields that are not read stays behind with them.
    Ok(traits.renamed(|name| columns.named(name).map(|_| name.to_owned())))
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
    let kind = kind(field).ok_or_else(|| unread(found, &format!("field {}", field.describe())))?;
    let default =
        match &field.default_value {
            None => None,
            Some(value) => Some(default_of(value).ok_or_else(|| {
                unread(found, &format!("the default of field {}", field.describe()))
            })?),
        };
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
            default,
            is_clustering_key: field.is_clustering_key,
            params: params.map(|p| (p.key.clone(), p.value.clone())).collect(),
            index_name: String::new(),
        },
        ..Column::new(&field.name, kind)
    })
}

fn unread(found: &Collection, what: &str) -> Error {
    let what = format!("{}: {what} cannot be read by this program", found.name);
    Error::new(Kind::Unsupported, what).hint("`source.milvus.columns` names the fields to read")
}

fn function(found: &Collection, function: &FunctionSchema) -> Result<Function> {
    let number = usize::try_from(function.kind).ok();
    let kind = number.and_then(|n| FunctionKind::ALL.get(n.checked_sub(1)?));
    let params = function.params.iter();
    Ok(Function {
        name: function.name.clone(),
        description: function.description.clone(),
        kind: *kind.ok_or_else(|| {
            let what = format!("function {} (of type {})", function.name, function.kind);
            unread(found, &what)
        })?,
        inputs: function.input_field_names.clone(),
        outputs: function.output_field_names.clone(),
        params: params.map(|p| (p.key.clone(), p.value.clone())).collect(),
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
