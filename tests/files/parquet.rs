//! Parquet files of every type, codec and writer: what pyarrow, pandas, polars and DuckDB write is read, and what is not
//! is refused by name.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // What pymilvus gives.
#[path = "../milvus/columns/cases.rs"]
mod cases;
mod framed;
mod given;
mod hdf5_columns;
mod inspect;
mod lying;
mod memory;
mod moving;
mod sink;

use crate::support::{self, migration, random};

use milvusdm::batch::Limits;
use serde_json::Value;

use given::{open, rows};
use support::tables;

#[test]
fn every_writers_files_are_read_or_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let said = tables("parquet_files.py", &[dir.path().to_str().unwrap()]);
    let cases: Vec<Value> = serde_json::from_str(&said).unwrap();
    assert!(cases.len() > 110, "{}", cases.len());
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

fn check(case: &Value) -> Result<(), String> {
    let name = case["name"].as_str().unwrap();
    for (access, batch_rows) in [("map", 1 << 20), ("read", 77)] {
        let limits = Limits {
            batch_bytes: 1 << 20,
            batch_rows,
        };
        let mut settings = case["settings"].clone();
        settings["access"] = access.into();
        let read = open(&settings).and_then(|source| rows(&*source, limits));
        match (read, case.get("code")) {
            (Ok((columns, found)), None) => {
                let expected: Vec<&str> = case["columns"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|c| c.as_str().unwrap())
                    .collect();
                if columns != expected {
                    return Err(format!("{name}: {columns:?} are not {expected:?}"));
                }
                let expected = case["rows"].as_array().unwrap();
                if let Some((row, (found, expected))) = found
                    .iter()
                    .zip(expected)
                    .enumerate()
                    .find(|(_, (a, b))| a != b)
                {
                    return Err(format!(
                        "{name} ({access}) row {row}: {found} is not {expected}"
                    ));
                }
                if found.len() != expected.len() {
                    return Err(format!(
                        "{name}: {} rows, not {}",
                        found.len(),
                        expected.len()
                    ));
                }
            }
            (Err((code, text)), Some(expected)) => {
                let says = case["says"].as_array().unwrap();
                let missing = says
                    .iter()
                    .find(|part| !text.contains(part.as_str().unwrap()));
                if i64::from(code) != expected.as_i64().unwrap() || missing.is_some() {
                    return Err(format!("{name}: exit {code}, no {missing:?} in {text}"));
                }
            }
            (Ok(_), Some(_)) => return Err(format!("{name} is read")),
            (Err((_, text)), None) => return Err(format!("{name} is refused: {text}")),
        }
    }
    Ok(())
}
