//! Which columns do the rows of a collection have, and which field does each come from? Reads its schema, its indexes
//! and its traits.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::catalog::{Collection, FIRST_FIELD};
use crate::error::{Error, Kind, Result};
use crate::milvus::described::{self, DYNAMIC};
use crate::milvus::proto::{FieldSchema, object_state};
use crate::schema::{
    CollectionTraits, Column, ColumnType, Columns, Consistency, FieldIndex, Metric, Role,
};

/// The structure of a collection's rows.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The columns: the key first, the dynamic field last.
    pub columns: Arc<Columns>,
    /// The field number of each column.
    pub fields: Vec<i64>,
    /// Everything else about the collection.
    pub traits: Arc<CollectionTraits>,
    /// Whether the server generated its keys.
    pub auto_id: bool,
    /// Whether a column determines the partition, so that none is named.
    pub has_partition_key: bool,
}

impl Shape {
    /// Reads it from the metadata.
    pub fn of(collection: &Collection) -> Result<Shape> {
        let wrong = |what: String| {
            let what = format!("collection {}: {what}", collection.name);
            let block = format!(
                "leave it out: collections: {{block: [{}]}}",
                collection.name
            );
            Error::new(Kind::Unsupported, what).hint(block)
        };
        let unread = |what: String| wrong(format!("{what} cannot be read by this program"));
        let schema = &collection.schema;
        if let Some(structs) = schema.struct_array_fields.first() {
            return Err(unread(format!(
                "field {}, a list of structs,",
                structs.name
            )));
        }
        let is_there = |field: &&FieldSchema| {
            field.field_id >= FIRST_FIELD && field.state == object_state::CREATED
        };
        let fields: Vec<&FieldSchema> = schema.fields.iter().filter(is_there).collect();
        let mut all: Vec<(i64, Column)> = Vec::with_capacity(fields.len() + 1);
        for field in fields.iter().filter(|field| !field.is_function_output) {
            let mut column = described::column(field).map_err(&unread)?;
            let mut indexes = collection.indexes.iter();
            if column.kind.is_vector()
                && let Some(index) = indexes.find(|index| index.field == field.name)
            {
                let (metric, made) = described::index(&index.params);
                column.metric = metric.and_then(|metric| Metric::named(&metric));
                column.index = Some(made);
                column.traits.index_name.clone_from(&index.name);
            }
            all.push((field.field_id, column));
        }
        let has_dynamic = all.iter().any(|(_, column)| column.role == Role::Dynamic);
        if schema.enable_dynamic_field && !has_dynamic {
            all.extend(dynamic(collection, &fields));
        }
        all.sort_by_key(|(id, column)| match column.role {
            Role::Key => (0, *id),
            Role::Dynamic => (2, *id),
            _ => (1, *id),
        });
        let traits = traits(collection, &fields).map_err(&unread)?;
        let (fields_in_order, columns): (Vec<i64>, Vec<Column>) = all.into_iter().unzip();
        let key = fields.iter().find(|field| field.is_primary_key);
        Ok(Shape {
            has_partition_key: fields.iter().any(|field| field.is_partition_key),
            auto_id: key.is_some_and(|key| key.auto_id),
            columns: Columns::new(columns).map_err(|e| wrong(e.what().to_owned()))?,
            fields: fields_in_order,
            traits: Arc::new(traits),
        })
    }
}

/// The dynamic field, if the metadata does not list it: the one that has logs but is not among the fields.
fn dynamic(collection: &Collection, fields: &[&FieldSchema]) -> Option<(i64, Column)> {
    let listed: BTreeSet<i64> = fields.iter().map(|field| field.field_id).collect();
    let logs = collection.segments.iter().flat_map(|s| s.fields.keys());
    let logs: BTreeSet<i64> = logs.filter(|id| **id >= FIRST_FIELD).copied().collect();
    let mut others = logs.difference(&listed);
    let column = Column {
        role: Role::Dynamic,
        ..Column::new(DYNAMIC, ColumnType::Json)
    };
    // Without any rows, it does not matter.
    let id = match others.next() {
        Some(id) => *id,
        None => listed.last().map_or(FIRST_FIELD, |last| last + 1),
    };
    Some((id, column))
}

fn traits(
    collection: &Collection,
    fields: &[&FieldSchema],
) -> std::result::Result<CollectionTraits, String> {
    let schema = &collection.schema;
    let outputs = fields.iter().filter(|field| field.is_function_output);
    let functions = schema.functions.iter().map(described::function);
    let is_vector = |name: &str| {
        let field = fields.iter().find(|field| field.name == name);
        let column = field.filter(|field| !field.is_function_output);
        column.is_some_and(|field| described::column(field).is_ok_and(|c| c.kind.is_vector()))
    };
    let others = collection
        .indexes
        .iter()
        .filter(|index| !is_vector(&index.field));
    let indexes = others.map(|index| FieldIndex {
        field: index.field.clone(),
        name: index.name.clone(),
        index: described::index_with_metric(&index.params),
    });
    let has_partition_key = fields.iter().any(|field| field.is_partition_key);
    let partitions = u32::try_from(collection.partitions.len()).ok();
    let consistency = usize::try_from(collection.consistency).ok();
    Ok(CollectionTraits {
        database: collection.db.clone(),
        description: schema.description.clone(),
        shards: u32::try_from(collection.shards).ok().filter(|n| *n > 0),
        partitions: partitions.filter(|n| has_partition_key && *n > 0),
        consistency: consistency.and_then(|at| Consistency::ALL.get(at).copied()),
        properties: (collection.properties.iter())
            .map(|p| (p.key.clone(), p.value.clone()))
            .collect(),
        functions: functions.collect::<std::result::Result<_, _>>()?,
        outputs: outputs
            .map(|field| described::column(field))
            .collect::<std::result::Result<_, _>>()?,
        indexes: indexes.collect(),
        aliases: collection.aliases.clone(),
    })
}
