//! Rows as they arrived, read by others: pyarrow, pymilvus.

#![allow(dead_code)] // Each test binary uses its own part of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use crate::support::{self, Server};

/// Rows by their keys.
pub type Rows = Map<String, Value>;

/// A Python with pyarrow.
pub fn tables() -> PathBuf {
    support::test_env().join("tables/bin/python")
}

fn arrived(python: &Path, arguments: &[&str]) -> Rows {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/support/qdrant_arrived.py"
    );
    let output = Command::new(python).arg(script).args(arguments).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The rows of all Parquet files in a directory.
pub fn in_parquet(dir: &Path) -> Rows {
    arrived(&tables(), &["parquet", dir.to_str().unwrap(), "id"])
}

/// The rows of a collection.
pub fn in_milvus(python: &Path, server: &Server, name: &str) -> Rows {
    arrived(python, &["milvus", &server.address(), name, "id"])
}

#[track_caller]
pub fn same(found: &Rows, expected: &Rows) {
    for (key, row) in expected {
        assert_eq!(found.get(key), Some(row), "{key}");
    }
    assert_eq!(found.len(), expected.len());
}
