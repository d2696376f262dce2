//! What does a server's description of a collection mean? Fields become columns; the rest becomes traits.

use std::sync::Arc;

use super::choose::DEFAULT;
use crate::error::{Error, Kind, Result};
use crate::job::did_you_mean;
use crate::milvus::described::{self, DYNAMIC};
use crate::milvus::proto::{FieldSchema, data_type};
use crate::milvus::{Client, Collection};
use crate::schema::{
    CollectionTraits, Column, ColumnType, Columns, Consistency, FieldIndex, Metric, Role,
};

/// Which fields of a collection are read.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// These and the key; `None` for all.
    pub columns: Option<Vec<String>>,
    /// Whether the dynamic field is read.
    pub dynamic: bool,
}

impl Wanted {
    fn takes(&self, name: &str) -> bool {
        let all = self.columns.as_ref();
        all.is_none_or(|names| names.iter().any(|wanted| wanted == name))
    }

    fn takes_dynamic(&self, found: &Collection) -> bool {
        found.is_dynamic && self.dynamic && self.takes(DYNAMIC)
    }

    /// Refuses names that are not fields.
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
                        "`{name}` of {} is computed by a function and cannot be read",
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

/// The columns of a collection's rows: the key first, the dynamic field last.
pub fn columns(client: &Client, found: &Collection, wanted: &Wanted) -> Result<Arc<Columns>> {
    wanted.check(found)?;
    if let Some(name) = found.structs.iter().find(|name| wanted.takes(name)) {
        return Err(unread(found, &format!("field {name}, a list of structs,")));
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
            let (metric, made) = described::index(&index.params);
            column.metric = metric.and_then(|metric| Metric::named(&metric));
            column.index = Some(made);
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

/// Everything else about a collection.
pub fn traits(client: &Client, found: &Collection, columns: &Columns) -> Result<CollectionTraits> {
    let vector = |field: &str| {
        let field = found.field(field);
        field.is_some_and(|field| field.data_type >= data_type::BINARY_VECTOR)
    };
    let others = client.indexes(&found.name)?.into_iter();
    let others = others.filter(|index| !vector(&index.field_name));
    let consistency = usize::try_from(found.consistency).ok();
    let outputs = found.fields.iter().filter(|f| f.is_function_output);
    let function = |f| described::function(f).map_err(|what| unread(found, &what));
    let functions: Result<_> = found.functions.iter().map(function).collect();
    let traits = CollectionTraits {
        database: match client.db() {
            "" => DEFAULT.to_owned(),
            db => db.to_owned(),
        },
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
                index: described::index_with_metric(&index.params),
            })
            .collect(),
        aliases: found.aliases.clone(),
    };
    // Traits of fields that are not read are left out with them.
    Ok(traits.renamed(|name| columns.named(name).map(|_| name.to_owned())))
}

fn column(found: &Collection, field: &FieldSchema) -> Result<Column> {
    described::column(field).map_err(|what| unread(found, &what))
}

fn unread(found: &Collection, what: &str) -> Error {
    let what = format!("{}: {what} cannot be read by this program", found.name);
    Error::new(Kind::Unsupported, what).hint("`source.milvus.columns` selects the fields to read")
}
