//! More deletions than are held at a time: the same rows, whatever their number.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::milvus2::Golden;
use crate::milvus2::canonical::{open, rows};
use crate::support::test_env;

/// How many keys are deleted, and how long most of them are: more than may be held.
const KEYS: usize = 18_000;
const KEY_BYTES: usize = 4096;
const _: () = assert!((KEYS * KEY_BYTES) as u64 > milvusdm::limits::DELETIONS_BYTES_MAX);

/// Deletions of long keys that are nowhere, and of three that are there, in a file without an envelope.
const MADE: &str = r"
import sys, json, pyarrow as pa, pyarrow.parquet as pq
path, count, width, there = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
keys = [str(i).zfill(width) for i in range(count)]
for at, key in zip((7, count // 2, count - 1), there): keys[at] = key
pq.write_table(pa.table({'pk': keys, 'ts': pa.array([2**62] * count, pa.int64())}), path, store_schema=False)
";

#[test]
fn deletions_beyond_the_bound_are_applied_a_share_at_a_time() {
    let golden = Golden::new();
    let meta = golden.path("backup/meta/full_meta.json");
    let mut all: Value = serde_json::from_slice(&fs::read(&meta).unwrap()).unwrap();
    let collection = &mut all["collection_backups"][1];
    assert_eq!(collection["collection_name"], "str_bin");
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
        "path: '{}', collections: [str_bin]",
        golden.path("backup").display()
    );
    let before = || rows(&*open("milvus_backup", &settings).unwrap(), 100).unwrap();
    let mut expected = before()["str_bin"].as_array().unwrap().clone();
    let rows = expected.len();
    let gone = [0, rows / 2, rows - 1].map(|at| expected[at]["id"].clone());
    expected.retain(|row| !gone.contains(&row["id"]));
    assert_eq!(expected.len(), rows - 3);
    let output = Command::new(test_env().join("tables/bin/python"))
        .args(["-c", MADE])
        .arg(dir.join("1"))
        .args([KEYS.to_string(), KEY_BYTES.to_string()])
        .arg(Value::from(gone.to_vec()).to_string())
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
    assert_eq!(before()["str_bin"].as_array().unwrap(), &expected);
}
