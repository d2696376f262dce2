//! How is a collection created? Everything that a schema has, in the server's messages.
//! A server silently ignores what it does not know: so what it created is read back and compared.

use prost::Message;

use super::proto::{
    CollectionSchema, CreateCollectionRequest, FieldSchema, FunctionSchema, KeyValue, Status,
    ValueField,
};
use super::{Client, values};
use crate::error::Result;
use crate::limits;
use crate::schema::{
    CollectionTraits, Column, ColumnType, Columns, Consistency, DefaultValue, Function,
    FunctionKind, Role, Scalar,
};

/// A collection to be created.
pub struct NewCollection<'c> {
    /// Its name.
    pub name: &'c str,
    /// Its description.
    pub description: &'c str,
    /// Its columns.
    pub columns: &'c Columns,
    /// Its other properties.
    pub traits: &'c CollectionTraits,
    /// The default consistency level; `None`: the server's default.
    pub consistency: Option<Consistency>,
    /// Which columns may be null.
    pub nullable: &'c dyn Fn(&Column) -> bool,
    /// Whether the server makes the keys.
    pub auto_id: bool,
    /// How many shards it has.
    pub shards: u32,
}

/// Properties that describe the installation that a collection comes from, not the collection.
const STAY: [&str; 4] = [
    "replicate",
    "cipher.",
    "schema_version",
    "collection.resource_groups",
];

/// The properties that a collection takes along.
pub fn properties(traits: &CollectionTraits) -> impl Iterator<Item = &(String, String)> {
    let stays = |name: &str| STAY.iter().any(|prefix| name.starts_with(prefix));
    traits
        .properties
        .iter()
        .filter(move |(name, _)| !stays(name))
}

impl Client {
    /// Creates a collection.
    pub fn create_collection(&self, new: &NewCollection<'_>) -> Result<()> {
        let columns = new.columns.all().iter();
        let fields = columns.filter(|c| c.role != Role::Dynamic);
        let fields = fields.map(|column| FieldSchema {
            auto_id: new.auto_id && column.role == Role::Key,
            nullable: (new.nullable)(column),
            ..field_schema(column)
        });
        let outputs = new.traits.outputs.iter().map(|output| FieldSchema {
            is_function_output: true,
            ..field_schema(output)
        });
        let schema = CollectionSchema {
            name: new.name.to_owned(),
            description: new.description.to_owned(),
            auto_id: new.auto_id,
            fields: fields.chain(outputs).collect(),
            enable_dynamic_field: new.columns.all().iter().any(|c| c.role == Role::Dynamic),
            functions: new.traits.functions.iter().map(function_schema).collect(),
            struct_array_fields: Vec::new(),
        };
        // The server refuses a number of partitions without a partition key.
        let spread = |column: &Column| column.role == Role::PartitionKey;
        let partitions = match new.columns.all().iter().any(spread) {
            true => new.traits.partitions,
            false => None,
        };
        let consistency = new.consistency.map_or(0, |level| level as i32);
        let request = CreateCollectionRequest {
            db_name: self.db().to_owned(),
            collection_name: new.name.to_owned(),
            schema: schema.encode_to_vec(),
            shards_num: new.shards as i32,
            consistency_level: consistency,
            properties: pairs(properties(new.traits)),
            num_partitions: partitions.map_or(0, i64::from),
        };
        self.tell::<Status>("CreateCollection", &request)?;
        Ok(())
    }
}

fn pairs<'p>(pairs: impl Iterator<Item = &'p (String, String)>) -> Vec<KeyValue> {
    pairs
        .map(|(key, value)| KeyValue::new(key, value.clone()))
        .collect()
}

fn function_schema(function: &Function) -> FunctionSchema {
    let number = FunctionKind::ALL
        .iter()
        .position(|kind| *kind == function.kind);
    FunctionSchema {
        name: function.name.clone(),
        description: function.description.clone(),
        kind: number.map_or(0, |number| number as i32 + 1),
        input_field_names: function.inputs.clone(),
        output_field_names: function.outputs.clone(),
        params: pairs(function.params.iter()),
    }
}

/// A field for a column. Unknown lengths become the longest ones allowed.
fn field_schema(column: &Column) -> FieldSchema {
    let mut params = Vec::new();
    let mut param = |key: &str, value: u64| params.push(KeyValue::new(key, value.to_string()));
    let longest = |most: Option<u32>| most.map_or(limits::MILVUS_TEXT_BYTES_MAX as u64, u64::from);
    let mut element_type = 0;
    match column.kind {
        ColumnType::Vector(vector) => param("dim", u64::from(vector.dimension)),
        ColumnType::VarChar { max_bytes } => param("max_length", longest(max_bytes)),
        ColumnType::Array {
            of,
            capacity,
            max_bytes,
        } => {
            element_type = values::scalar_type(of);
            let most = capacity.map_or(limits::MILVUS_ARRAY_MAX as u64, u64::from);
            param("max_capacity", most);
            if of == Scalar::VarChar {
                param("max_length", longest(max_bytes));
            }
        }
        _ => {}
    }
    params.extend(pairs(column.traits.params.iter()));
    FieldSchema {
        name: column.name.clone(),
        description: column.traits.description.clone(),
        is_primary_key: column.role == Role::Key,
        is_partition_key: column.role == Role::PartitionKey,
        is_clustering_key: column.traits.is_clustering_key,
        data_type: values::data_type_of(column.kind),
        element_type,
        type_params: params,
        default_value: column
            .traits
            .default
            .as_ref()
            .and_then(|value| default_value(column.kind, value)),
        ..FieldSchema::default()
    }
}

/// The default that a server's field has; `None`: none that any of our types can have.
pub fn default_of(field: &ValueField) -> Option<DefaultValue> {
    let whole = field.int_data.map(i64::from).or(field.long_data);
    field
        .bool_data
        .map(DefaultValue::Bool)
        .or(whole.map(DefaultValue::Int))
        .or(field.float_data.map(DefaultValue::Float))
        .or(field.double_data.map(DefaultValue::Double))
        .or(field.string_data.clone().map(DefaultValue::Text))
}

/// A default in the message of its type; `None`: the type has no such default. Every server crashes on one in a member
/// of another type, and on one of a type without defaults.
pub fn default_value(kind: ColumnType, value: &DefaultValue) -> Option<ValueField> {
    let mut field = ValueField::default();
    match (kind, value) {
        (ColumnType::Scalar(Scalar::Bool), DefaultValue::Bool(value)) => {
            field.bool_data = Some(*value);
        }
        (ColumnType::Scalar(scalar), DefaultValue::Int(value)) => {
            let (least, most) = match scalar {
                Scalar::Int8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
                Scalar::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
                Scalar::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
                Scalar::Int64 => (i64::MIN, i64::MAX),
                _ => return None,
            };
            match scalar {
                _ if !(least..=most).contains(value) => return None,
                Scalar::Int64 => field.long_data = Some(*value),
                _ => field.int_data = Some(*value as i32),
            }
        }
        (ColumnType::Scalar(Scalar::Float), DefaultValue::Float(value)) => {
            field.float_data = Some(*value);
        }
        (ColumnType::Scalar(Scalar::Double), DefaultValue::Double(value)) => {
            field.double_data = Some(*value);
        }
        (ColumnType::VarChar { .. }, DefaultValue::Text(value)) => {
            field.string_data = Some(value.clone());
        }
        _ => return None,
    }
    Some(field)
}
