//! Backups of a running server that are brought up to date a partition at a time, or by what a filter admits, and what is
//! restored from them.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::Value;

use crate::living::migration::Jobs;
use crate::living::{dump, job, other, same_rows, same_schema, source, support, to_milvus};

const MAKE: &str = r#"
import sys
from pymilvus import *
connections.connect(uri="http://" + sys.argv[1])
c = Collection("growing", CollectionSchema([FieldSchema("pk", DataType.INT64, is_primary=True),
               FieldSchema("v", DataType.FLOAT_VECTOR, dim=4), FieldSchema("n", DataType.INT64)]))
row = lambda i, n: {"pk": i, "v": [i, n, i / 3, -i], "n": n}
if sys.argv[2] == "make":
    for at, name in enumerate(["spring", "autumn", "winter"]):
        c.create_partition(name)
        c.insert([row(i, at) for i in range(at * 200, at * 200 + 150)], partition_name=name)
    c.flush()
    c.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    c.load()
elif sys.argv[2] == "autumn":
    c.delete("pk in %s" % list(range(200, 220)), partition_name="autumn")
    c.upsert([row(i, 77) for i in range(230, 240)], partition_name="autumn")
    c.insert([row(i, 78) for i in range(900, 925)], partition_name="autumn")
else:
    for at, name in enumerate(["spring", "autumn"]):
        c.upsert([row(i, 1000 + at) for i in range(at * 200 + 40, at * 200 + 60)], partition_name=name)
        c.insert([row(i, 1000 + at) for i in range(5000 + at * 100, 5030 + at * 100)], partition_name=name)
"#;

fn written(what: &str) {
    support::run_python(MAKE, &[&source().address(), what]);
}

#[track_caller]
fn whole(jobs: &Jobs, dir: &str, rows: u64) {
    let output = jobs.milvusdm(&["verify", dir, "--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["state"], &report["rows"]),
        (&"whole".into(), &rows.into())
    );
}

/// The files of a partition, and when each was written.
fn files(jobs: &Jobs, partition: &str) -> Vec<(PathBuf, SystemTime)> {
    let listing = fs::read_dir(jobs.path(&format!("backup/growing/{partition}"))).unwrap();
    let paths = listing.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .map(|path| (path.clone(), path.metadata().unwrap().modified().unwrap()))
        .collect();
    files.sort();
    files
}

/// What the restored collection is and holds is what the source is and holds now.
#[track_caller]
fn as_the_source() {
    let (one, there) = (dump(source(), &["growing"]), dump(other(), &["growing"]));
    same_rows("growing", &one["growing"], &there["growing"]);
    same_schema("growing", &one["growing"], &there["growing"]);
    assert_eq!(one["growing"]["count"], there["growing"]["count"]);
}

#[test]
fn a_backup_is_brought_up_to_date_by_partition_and_by_filter() {
    let jobs = Jobs::new();
    written("make");
    let all = job("parquet: {dir: backup}", "collections: [growing]", "");
    jobs.run("all", &all).code(0);
    whole(&jobs, "backup", 450);

    // One partition has changed, and only that one is read and replaced.
    written("autumn");
    let before = ["spring", "autumn", "winter"].map(|name| files(&jobs, name));
    let changed = job(
        "parquet: {dir: backup, mode: overwrite}",
        "collections: {growing: [autumn]}",
        "",
    );
    let ended = jobs.run("autumn", &changed).code(0);
    assert_eq!(ended.report["progress"]["rows"], 155);
    whole(&jobs, "backup", 455);
    let after = ["spring", "autumn", "winter"].map(|name| files(&jobs, name));
    assert_eq!((&before[0], &before[2]), (&after[0], &after[2]));
    assert_ne!(before[1], after[1]);
    let sink = to_milvus(other(), "index: source, load: true");
    let restore = |dir: &str, run: &str| {
        format!("source: {{parquet: {{dir: {dir}}}}}\nsink: {{{sink}}}\nrun: {{{run}}}\n")
    };
    jobs.run("restore", &restore("backup", "verify: full"))
        .code(0);
    as_the_source();

    // Rows that are new or were replaced since are known by a column.
    written("since");
    let newer = "collections: [growing], filter: 'n >= 1000'";
    let ended = jobs
        .run("since", &job("parquet: {dir: since}", newer, ""))
        .code(0);
    assert_eq!(ended.report["progress"]["rows"], 100);
    whole(&jobs, "since", 100);
    jobs.run("on top", &restore("since", "existing: upsert"))
        .code(0);
    as_the_source();
}
