//! Rows of a source in one spelling: floats as their bits, vectors as hex, JSON parsed; what a real server gives is
//! spelt the same way.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, types};
use milvusdm::batch::{Limits, Part};
use milvusdm::error::Result;
use milvusdm::job::{Form, Mistakes};
use milvusdm::schema::{ColumnType, Scalar};
use milvusdm::source::{SOURCES, Source};
use serde_json::{Map, Value, json};

/// The source of this kind that these settings make.
pub fn open(kind: &str, settings: &str) -> Result<Box<dyn Source>> {
    let mistakes = Mistakes::default();
    let map = serde_yaml::from_str(&format!("{{{settings}}}")).unwrap();
    let known = SOURCES.iter().find(|k| k.name == kind).unwrap();
    let mut form = Form::new("source", map, known.settings, &mistakes);
    let spec = (known.read)(&mut form);
    assert!(form.done(), "{settings}: {:?}", mistakes.all());
    spec.unwrap().open()
}

/// All rows of a source by collection, sorted by their text. `$part` is the partition.
pub fn rows(source: &dyn Source, batch_rows: u64) -> Result<Map<String, Value>> {
    let limits = Limits {
        batch_bytes: 4 << 20,
        batch_rows,
    };
    let manifest = source.survey(limits)?.manifest;
    let mut all: Map<String, Value> = Map::new();
    for shard in &manifest.shards {
        let target = &manifest.targets[shard.target as usize];
        let found = all.entry(&target.name.collection).or_insert(json!([]));
        let found = found.as_array_mut().unwrap();
        let mut reader = source.open(shard, shard.start.clone(), limits)?;
        let before = found.len() as u64;
        while let Some(cut) = reader.next()? {
            for part in &cut.parts {
                let partition = match target.name.partition.as_str() {
                    "" => "_default",
                    partition => partition,
                };
                found.extend(objects(part, partition));
            }
        }
        assert_eq!(found.len() as u64 - before, shard.rows, "{}", shard.name);
        reader.files().unchanged()?;
    }
    for rows in all.values_mut() {
        sort(rows.as_array_mut().unwrap());
    }
    Ok(all)
}

/// Sorts rows by their text.
pub fn sort(rows: &mut [Value]) {
    rows.sort_by_cached_key(Value::to_string);
}

fn objects(part: &Part, partition: &str) -> Vec<Value> {
    let mut objects = vec![Map::new(); part.len()];
    for (number, column) in part.columns().all().iter().enumerate() {
        let values = part.column(number);
        for (row, object) in objects.iter_mut().enumerate() {
            object.insert(column.name.clone(), value(column.kind, &values, row));
        }
    }
    for object in &mut objects {
        object.insert("$part".to_owned(), partition.into());
    }
    objects.into_iter().map(Value::Object).collect()
}

fn hex(bytes: &[u8]) -> Value {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<String>().into()
}

fn value(kind: ColumnType, values: &ArrayRef, row: usize) -> Value {
    if values.is_null(row) {
        return Value::Null;
    }
    match kind {
        ColumnType::Scalar(scalar) => of_scalar(scalar, values, row),
        ColumnType::VarChar { .. } => of_scalar(Scalar::VarChar, values, row),
        ColumnType::Json => serde_json::from_str(values.as_string::<i32>().value(row)).unwrap(),
        ColumnType::Array { of, .. } => {
            let list = values.as_list::<i32>().value(row);
            let all = (0..list.len()).map(|row| of_scalar(of, &list, row));
            all.collect::<Vec<Value>>().into()
        }
        ColumnType::Vector(_) => hex(values.as_fixed_size_binary().value(row)),
        ColumnType::Sparse => hex(values.as_binary::<i64>().value(row)),
        other => panic!("{other}"),
    }
}

fn of_scalar(scalar: Scalar, values: &ArrayRef, row: usize) -> Value {
    match scalar {
        Scalar::Bool => values.as_boolean().value(row).into(),
        Scalar::Int8 => values.as_primitive::<types::Int8Type>().value(row).into(),
        Scalar::Int16 => values.as_primitive::<types::Int16Type>().value(row).into(),
        Scalar::Int32 => values.as_primitive::<types::Int32Type>().value(row).into(),
        Scalar::Int64 => values.as_primitive::<types::Int64Type>().value(row).into(),
        Scalar::Float => {
            let float = values.as_primitive::<types::Float32Type>().value(row);
            float.to_bits().into()
        }
        Scalar::Double => {
            let double = values.as_primitive::<types::Float64Type>().value(row);
            double.to_bits().into()
        }
        Scalar::VarChar => values.as_string::<i32>().value(row).into(),
    }
}
