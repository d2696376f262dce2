//! Which field takes which column? The server's description of the collection decides: nothing is sent for which it has
//! no field, and nothing that it needs is left out.
//! Pure: compares what is wanted with what exists, and makes no calls.

use crate::batch::Target;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::milvus::proto::{FieldSchema, data_type};
use crate::milvus::wire::Field;
use crate::milvus::{Collection, Flavour, Server, values};
use crate::schema::{Column, ColumnType, Role, Scalar};

use super::check::Check;
use super::fit;
use super::settings::Settings;

/// How a target's rows are sent to a collection.
#[derive(Clone, Debug)]
pub struct Fields {
    /// What is sent, vectors last.
    pub sent: Vec<Field>,
    /// What values must satisfy; empty if rows are plain.
    pub checks: Vec<Check>,
}

/// Returns errors about columns that Milvus, or this server, does not have.
pub fn supported(target: &Target, server: &Server) -> Result<()> {
    let columns = target.columns.all();
    let wrong = |what: String| Err(Error::new(Kind::Unsupported, what));
    if columns.len() > limits::MILVUS_FIELDS_MAX {
        return wrong(format!(
            "{} columns: Milvus allows at most {}",
            columns.len(),
            limits::MILVUS_FIELDS_MAX
        ));
    }
    let vectors: Vec<&Column> = target.columns.vectors().map(|(_, column)| column).collect();
    let most = vectors_max(server);
    if vectors.is_empty() || vectors.len() > most {
        let names: Vec<&str> = vectors.iter().map(|column| &*column.name).collect();
        return wrong(format!(
            "{} vectors ({}): {server} allows 1 to {most}",
            vectors.len(),
            names.join(", ")
        ));
    }
    for column in columns {
        if let Some(why) = unsupported(column, server) {
            let what = format!("column `{}` of {}: {why}", column.name, target.name);
            return wrong(what).map_err(|e: Error| {
                e.hint("give columns another type or leave them out with `fields`")
            });
        }
    }
    Ok(())
}

/// An unknown release counts as new: hosted services do not reveal theirs.
fn since(server: &Server, release: (u32, u32)) -> bool {
    server.release.is_none_or(|r| r >= release)
}

fn vectors_max(server: &Server) -> usize {
    match server.flavour {
        Flavour::Full if !since(server, (2, 4)) => 1,
        Flavour::Full if since(server, (3, 0)) => 10,
        Flavour::V1 => 1,
        _ => 4,
    }
}

/// Whether rows of nullable fields may have no value there.
fn has_nulls(server: &Server) -> bool {
    match server.flavour {
        Flavour::Full => since(server, (2, 5)),
        Flavour::LitePython => true,
        // It acknowledges nulls, but then reads uninitialised memory.
        Flavour::LiteCpp | Flavour::V1 => false,
    }
}

/// Whether the field that is created for this column is nullable. Vectors are not: each row without one is reported as
/// a misfit.
pub fn is_nullable(column: &Column, server: &Server) -> bool {
    column.nullable && !column.kind.is_vector() && column.role == Role::Plain && has_nulls(server)
}

fn unsupported(column: &Column, server: &Server) -> Option<String> {
    let lacks = |what: &str| Some(format!("{server} has no {what}"));
    let full = server.flavour == Flavour::Full;
    match column.kind {
        ColumnType::Vector(kind) => fit::lacking(kind, server),
        ColumnType::Sparse if full && !since(server, (2, 4)) => lacks("sparse vectors"),
        ColumnType::Array { .. } if full && !since(server, (2, 3)) => lacks("arrays"),
        ColumnType::Json if full && !since(server, (2, 2)) => lacks("JSON"),
        // A server before 2.6 creates a collection with such a field, and crashes on its first row.
        ColumnType::Geometry | ColumnType::Timestamptz => match server.flavour {
            Flavour::LitePython => None,
            Flavour::Full if since(server, (2, 6)) => Some(format!(
                "{} was never tested with {server} and is written only to Milvus Lite",
                column.kind
            )),
            _ => lacks(&format!("type {}", column.kind)),
        },
        _ => None,
    }
}

/// What is sent to a collection, and what values must satisfy. Returns errors about everything in the collection that
/// rows of this target do not fit.
pub fn fields(
    found: &Collection,
    target: &Target,
    settings: &Settings,
    server: &Server,
) -> Result<Fields> {
    let there: Vec<String> = found.fields.iter().map(|f| f.describe()).collect();
    let there = there.join(", ");
    let mismatch = |what: String| {
        Error::new(
            Kind::Refused,
            format!("schema mismatch: collection {} {what}", found.name),
        )
    };
    let rename =
        format!("`fields: {{id: …, vector: …}}` names the fields; the collection has {there}");
    let Some(key) = found.fields.iter().find(|f| f.is_primary_key) else {
        return Err(mismatch("has no primary key".to_owned()));
    };
    let id = target.columns.key();
    let wanted = values::data_type_of(id.kind);
    let mut wrong = Vec::new();
    if key.data_type != wanted {
        let kind = data_type::name(key.data_type);
        wrong.push(mismatch(format!(
            "has a {kind} primary key `{}`, but the ids of the source are {}",
            key.name,
            data_type::name(wanted)
        )));
    }
    match (found.auto_id, settings.auto_id) {
        (true, false) => {
            let what = "generates its own ids, so those of the source cannot be kept".to_owned();
            wrong.push(mismatch(what).hint("`auto_id: true` leaves them out"));
        }
        (false, true) => {
            let what = "does not generate ids, and the job sends none".to_owned();
            wrong.push(mismatch(what).hint("leave out `auto_id: true`"));
        }
        (false, false) if key.name != id.name => {
            let what = format!("has its ids in `{}`, not in `{}`", key.name, id.name);
            wrong.push(mismatch(what).hint(&*rename));
        }
        _ => {}
    }
    let (mut sent, mut checks, mut lacks) = (Vec::new(), Vec::new(), Vec::new());
    for (number, column) in target.columns.all().iter().enumerate() {
        // Mistakes about the key have been recorded.
        if column.role == Role::Key && (settings.auto_id || !wrong.is_empty()) {
            continue;
        }
        let field = match (column.role, found.field(&column.name)) {
            (Role::Dynamic, None) if found.is_dynamic => None,
            (Role::Dynamic, _) => {
                let error = mismatch("has no dynamic field".to_owned());
                let hint =
                    "`fields: {rest: drop}` leaves out columns that have no field of their own";
                wrong.push(error.hint(hint));
                continue;
            }
            (_, None) => {
                lacks.push(format!("`{}`", column.name));
                continue;
            }
            (_, Some(field)) => Some(field),
        };
        if let Some(what) = field.and_then(|field| field_fits(column, field).err()) {
            wrong.push(mismatch(what));
        }
        let nulls = has_nulls(server)
            && field.is_some_and(|field| field.nullable || field.default_value.is_some());
        sent.push(Field {
            name: field.map_or(String::new(), |field| field.name.clone()),
            column: Some(number),
            kind: column.kind,
            tells_nulls: nulls,
            is_dynamic: column.role == Role::Dynamic,
        });
        checks.push(check(found, column, number, field, nulls, server));
    }
    if !lacks.is_empty() {
        let fields = if lacks.len() == 1 { "field" } else { "fields" };
        let what = format!("has no {fields} {}", lacks.join(", "));
        wrong.push(mismatch(what).hint(rename));
    }
    let ours = |field: &FieldSchema| {
        field.name == key.name || sent.iter().any(|sent| sent.name == field.name)
    };
    let others: Vec<&FieldSchema> = found.fields.iter().filter(|f| !ours(f)).collect();
    let missing = others
        .iter()
        .filter(|f| f.is_required() || !may_be_left_out(f, server));
    let missing: Vec<String> = missing.map(|f| f.describe()).collect();
    if !missing.is_empty() {
        wrong.push(mismatch(format!(
            "needs values that the source does not have: {}",
            missing.join(", ")
        )));
    }
    if found.has_partition_key() && !target.name.partition.is_empty() {
        wrong.push(mismatch(
            "has a partition key, so the job cannot name a partition".to_owned(),
        ));
    }
    Error::check(wrong)?;
    // Servers before 2.5 crash if a field with a default is left out; if it is sent empty, each row gets the default.
    let defaulted = others.iter().filter(|f| f.default_value.is_some());
    if server.flavour == Flavour::Full && !since(server, (2, 5)) {
        let kind_of = |field: &FieldSchema| kind_of(field.data_type);
        sent.extend(defaulted.filter_map(|field| {
            Some(Field {
                column: None,
                ..Field::new(&field.name, 0, kind_of(field)?)
            })
        }));
    }
    // The sort is stable: the other fields stay in the order of the columns.
    sent.sort_by_key(|field| field.kind.is_vector());
    if target.plain().is_some() {
        checks.clear();
    }
    Ok(Fields { sent, checks })
}

/// Whether rows may lack a field that has a default or may be null.
fn may_be_left_out(field: &FieldSchema, server: &Server) -> bool {
    let by_us = field.default_value.is_some() && kind_of(field.data_type).is_some();
    match server.flavour {
        Flavour::LiteCpp => false,
        Flavour::Full if !since(server, (2, 5)) => by_us || field.default_value.is_none(),
        _ => true,
    }
}

/// Fields that may have a default.
fn kind_of(number: i32) -> Option<ColumnType> {
    let scalar = Scalar::ALL
        .into_iter()
        .find(|scalar| values::scalar_type(*scalar) == number)?;
    Some(match scalar {
        Scalar::VarChar => ColumnType::VarChar { max_bytes: None },
        scalar => ColumnType::Scalar(scalar),
    })
}

/// Returns an error if a collection was not created as requested.
pub fn as_asked(found: &Collection, target: &Target, server: &Server) -> Result<()> {
    let columns = target.columns.all().iter();
    for column in columns {
        let made = match (column.role, found.field(&column.name)) {
            (Role::Dynamic, _) => found.is_dynamic,
            (Role::PartitionKey, Some(field)) => field.is_partition_key,
            (_, Some(field)) => field.nullable || !is_nullable(column, server),
            (_, None) => false,
        };
        if !made {
            return Err(Error::new(
                Kind::Refused,
                format!(
                    "{server} created collection {} without a suitable field for `{column}`",
                    found.name
                ),
            )
            .hint("give columns another type or leave them out with `fields.columns`"));
        }
    }
    Ok(())
}

/// An error if a field cannot hold the values of a column.
fn field_fits(column: &Column, field: &FieldSchema) -> std::result::Result<(), String> {
    let wanted = values::data_type_of(column.kind);
    let has = |what: String| Err(format!("has {}, but {what}", field.describe()));
    match column.kind {
        ColumnType::Vector(kind)
            if field.data_type != wanted || field.dimension() != Some(kind.dimension) =>
        {
            return has(format!(
                "the vectors of the source are {}({})",
                data_type::name(wanted),
                kind.dimension
            ));
        }
        ColumnType::Array { of, .. } if field.element_type != values::scalar_type(of) => {
            return has(format!("column `{}` is {}", column.name, column.kind));
        }
        _ if field.data_type != wanted => {
            return has(format!("column `{}` is {}", column.name, column.kind));
        }
        _ => {}
    }
    match field.is_function_output {
        true => has("the server fills it itself".to_owned()),
        false => Ok(()),
    }
}

fn check(
    found: &Collection,
    column: &Column,
    number: usize,
    field: Option<&FieldSchema>,
    nulls: bool,
    server: &Server,
) -> Check {
    let param = |name: &str, otherwise: usize| {
        let value = field.and_then(|field| field.param(name));
        value.unwrap_or(otherwise)
    };
    let is_json = column.kind == ColumnType::Json;
    let old = server.flavour == Flavour::Full && !since(server, (2, 4));
    Check {
        column: number,
        kind: column.kind,
        role: column.role,
        nulls,
        bytes_max: match is_json {
            true => limits::MILVUS_JSON_BYTES_MAX,
            false => param("max_length", limits::MILVUS_TEXT_BYTES_MAX),
        },
        values_max: param("max_capacity", limits::MILVUS_ARRAY_MAX),
        takes_nan: old,
        objects_only: is_json && (old || server.flavour == Flavour::LitePython),
        takes_empty: server.flavour != Flavour::LitePython,
        taken: match column.role {
            Role::Dynamic => found.fields.iter().map(|f| f.name.clone()).collect(),
            _ => Vec::new(),
        },
        too_long: column.too_long,
    }
}
