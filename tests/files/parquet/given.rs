//! What a source gives, as JSON.

use arrow_array::cast::AsArray;
use arrow_array::{Array, types};
use milvusdm::batch::{Limits, Part};
use milvusdm::error::Error;
use milvusdm::job::{Form, Mistakes};
use milvusdm::schema::{ColumnType, Scalar};
use milvusdm::source::{Source, parquet};
use serde_json::Value;

/// An exit code and what is said.
pub type Refusal = (u8, String);

fn refused(error: Error) -> Refusal {
    (error.kind().exit_code(), error.to_string())
}

pub fn open(settings: &Value) -> Result<Box<dyn Source>, Refusal> {
    let mistakes = Mistakes::default();
    let map = serde_yaml::from_str(&settings.to_string()).unwrap();
    let mut form = Form::new("source", map, parquet::KIND.settings, &mistakes);
    let spec = (parquet::KIND.read)(&mut form);
    form.done();
    match mistakes.all().first() {
        Some(mistake) => Err((2, mistake.what.clone())),
        None => spec.unwrap().open().map_err(refused),
    }
}

/// The columns of the only target, and its rows.
pub fn rows(source: &dyn Source, limits: Limits) -> Result<(Vec<String>, Vec<Value>), Refusal> {
    let manifest = source.survey(limits).map_err(refused)?.manifest;
    let columns = manifest.targets[0]
        .columns
        .all()
        .iter()
        .map(|c| c.to_string())
        .collect();
    let mut found = Vec::new();
    for shard in &manifest.shards {
        let mut reader = source
            .open(shard, shard.start.clone(), limits)
            .map_err(refused)?;
        while let Some(cut) = reader.next().map_err(refused)? {
            assert!(cut.parts.iter().map(|p| p.len() as u64).sum::<u64>() <= limits.batch_rows);
            cut.parts.iter().for_each(|part| found.extend(of(part)));
        }
    }
    assert_eq!(found.len() as u64, manifest.targets[0].rows);
    Ok((columns, found))
}

/// The rows of a part, a list of values each.
pub fn of(part: &Part) -> Vec<Value> {
    let kinds: Vec<ColumnType> = part.columns().all().iter().map(|c| c.kind).collect();
    let arrays: Vec<_> = (0..kinds.len()).map(|number| part.column(number)).collect();
    let row = |row| {
        kinds
            .iter()
            .zip(&arrays)
            .map(|(kind, array)| value(*kind, array, row))
            .collect()
    };
    (0..part.len())
        .map(|number| Value::Array(row(number)))
        .collect()
}

fn hex(bytes: &[u8]) -> Value {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into()
}

fn value(kind: ColumnType, array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match kind {
        ColumnType::Scalar(scalar) => one(scalar, array, row),
        ColumnType::VarChar { .. } | ColumnType::Json | ColumnType::Geometry => {
            array.as_string::<i32>().value(row).into()
        }
        ColumnType::Array { of, .. } => {
            let list = array.as_list::<i32>().value(row);
            (0..list.len()).map(|at| one(of, &list, at)).collect()
        }
        ColumnType::Vector(_) => hex(array.as_fixed_size_binary().value(row)),
        ColumnType::Sparse => hex(array.as_binary::<i64>().value(row)),
        ColumnType::Timestamptz => array
            .as_primitive::<types::TimestampMicrosecondType>()
            .value(row)
            .into(),
    }
}

fn one(scalar: Scalar, array: &dyn Array, row: usize) -> Value {
    match scalar {
        Scalar::Bool => array.as_boolean().value(row).into(),
        Scalar::Int8 => array.as_primitive::<types::Int8Type>().value(row).into(),
        Scalar::Int16 => array.as_primitive::<types::Int16Type>().value(row).into(),
        Scalar::Int32 => array.as_primitive::<types::Int32Type>().value(row).into(),
        Scalar::Int64 => array.as_primitive::<types::Int64Type>().value(row).into(),
        Scalar::Float => {
            hex(&f64::from(array.as_primitive::<types::Float32Type>().value(row)).to_le_bytes())
        }
        Scalar::Double => hex(&array
            .as_primitive::<types::Float64Type>()
            .value(row)
            .to_le_bytes()),
        Scalar::VarChar => array.as_string::<i32>().value(row).into(),
    }
}
