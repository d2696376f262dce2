//! More deletions than are held at a time: the same rows, whatever their number.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::Golden;
use crate::canonical::{open, rows};
use crate::support::test_env;

/// Deletions of keys from ten million on, and of three keys that are there, in a file without an envelope.
const MADE: &str = r"
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
keys = np.arange(10_000_000, 12_200_000)
keys[[7, 1_100_000, 2_199_999]] = [int(k) for k in sys.argv[2:]]
stamps = np.full(len(keys), 2**62)
pq.write_table(pa.table({'pk': keys, 'ts': stamps}), sys.argv[1], store_schema=False)
";

#[test]
fn deletions_beyond_the_bound_are_applied_a_share_at_a_time() {
    let golden = Golden::new();
    let meta = golden.path("backup/meta/full_meta.json");
    let mut all: Value = serde_json::from_slice(&fs::read(&meta).unwrap()).unwrap();
    let collection = &mut all["collection_backups"][0];
    assert_eq!(collection["collection_name"], "all_i64");
    let (id, partition) = (
        &collection["collection_id"],
        &collection["partition_backups"][0],
    );
    let dir = format!(
        "backup/binlogs/delta_log/{id}/{}/7777",
        partition["partition_id"]
    );
    let dir = golden.path(&dir);
    fs::create_dir_all(&dir).unwrap();
    let settings = format!(
        "path: '{}', collections: [all_i64]",
        golden.path("backup").display()
    );
    let before = || rows(&*open("milvus_backup", &settings).unwrap(), 100).unwrap();
    let mut expected = before()["all_i64"].as_array().unwrap().clone();
    let of_partition = |row: &&Value| row["$part"] == "_default";
    let gone: Vec<Value> = expected
        .iter()
        .filter(of_partition)
        .map(|row| row["id"].clone())
        .collect();
    let gone: Vec<Value> = [0, gone.len() / 2, gone.len() - 1]
        .map(|at| gone[at].clone())
        .to_vec();
    expected.retain(|row| row["$part"] != "_default" || !gone.contains(&row["id"]));
    let output = Command::new(test_env().join("tables/bin/python"))
        .args(["-c", MADE])
        .arg(dir.join("1"))
        .args(gone.iter().map(Value::to_string))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let partition = partition["partition_id"].clone();
    let level_0 = json!({"segment_id": 7777, "collection_id": id, "partition_id": partition, "is_l0": true,
        "deltalogs": [{"binlogs": [{"log_id": 1}]}]});
    let segments = &mut collection["partition_backups"][0]["segment_backups"];
    segments.as_array_mut().unwrap().push(level_0);
    fs::write(&meta, all.to_string()).unwrap();
    assert_eq!(before()["all_i64"].as_array().unwrap(), &expected);
}
