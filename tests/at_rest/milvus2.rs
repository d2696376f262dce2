//! Milvus 2.x at rest: an installation of 2.3.5, copies of it, backups, and what becomes of damaged ones.

#![allow(clippy::unwrap_used)]

pub mod canonical;
mod grouped;
mod hostile;
mod many;
mod real;
mod whole;

use crate::support::{migration, milvus2x as unpacked};

use std::fs;
use std::path::{Path, PathBuf};

use milvusdm::error::Kind;
use serde_json::{Map, Value};
use tempfile::TempDir;

use canonical::{open, rows, sort};
use migration::Jobs;
use unpacked::unpack;

/// The fixture, and rows that a reader must get from it.
struct Golden {
    dir: TempDir,
}

impl Golden {
    fn new() -> Golden {
        let dir = tempfile::tempdir().unwrap();
        unpack(dir.path());
        Golden { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Rows of a collection: those that the storage has, where a query gave others.
    fn expected(&self, collection: &str) -> Value {
        let of = |ending: &str| self.path(&format!("expected/{collection}{ending}.jsonl"));
        let path = Some(of(".offline")).filter(|path| path.exists());
        let text = fs::read_to_string(path.unwrap_or_else(|| of(""))).unwrap();
        let mut all: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        if collection == "pkey_auto" {
            // Rows find their partition themselves: none is named.
            all.iter_mut()
                .for_each(|row| row["$part"] = "_default".into());
        }
        sort(&mut all);
        all.into()
    }
}

const OF_DEFAULT: [&str; 7] = [
    "all_i64",
    "compacted",
    "dups",
    "jsons",
    "pkey_auto",
    "str_bin",
    "tail",
];

#[track_caller]
fn same(found: &Map<String, Value>, golden: &Golden, collections: &[&str]) {
    let names: Vec<&String> = found.keys().collect();
    assert_eq!(names, collections);
    for name in collections {
        let expected = golden.expected(name);
        let (found, expected) = (
            found[*name].as_array().unwrap(),
            expected.as_array().unwrap(),
        );
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(found.len(), expected.len(), "{name}");
    }
}

#[test]
fn every_row_of_the_storage_is_read_and_no_other() {
    let golden = Golden::new();
    let storage = golden.path("storage");
    for (access, batch_rows) in [("map", 1 << 20), ("read", 7)] {
        let settings = format!("path: '{}', access: {access}", storage.display());
        let source = open("milvus_files", &settings).unwrap();
        same(&rows(&*source, batch_rows).unwrap(), &golden, &OF_DEFAULT);
    }
    let settings = format!(
        "path: '{}', db: db2",
        golden.dir.path().join("storage").display()
    );
    let source = open("milvus_files", &settings).unwrap();
    same(&rows(&*source, 3).unwrap(), &golden, &["indb2"]);
    let settings = format!(
        "path: '{}', db: ['*'], collections: [str_*, indb2]",
        storage.display()
    );
    let source = open("milvus_files", &settings).unwrap();
    same(&rows(&*source, 3).unwrap(), &golden, &["indb2", "str_bin"]);
}

#[test]
fn every_row_of_a_backup_is_read_with_each_kind_of_metadata() {
    let golden = Golden::new();
    let settings = format!("path: '{}'", golden.path("backup").display());
    let read = || rows(&*open("milvus_backup", &settings).unwrap(), 100).unwrap();
    let collections = ["all_i64", "str_bin"];
    same(&read(), &golden, &collections);
    // Old backups have no file of all.
    fs::remove_file(golden.path("backup/meta/full_meta.json")).unwrap();
    same(&read(), &golden, &collections);
    // Older ones have no groups.
    let path = golden.path("backup/meta/segment_meta.json");
    let mut meta: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for segment in meta["infos"].as_array_mut().unwrap() {
        segment.as_object_mut().unwrap().remove("group_id").unwrap();
        segment
            .as_object_mut()
            .unwrap()
            .remove("v_channel")
            .unwrap();
        for of in segment["binlogs"].as_array_mut().unwrap() {
            // Nor numbers of logs: paths tell.
            of["binlogs"][0]
                .as_object_mut()
                .unwrap()
                .remove("log_id")
                .unwrap();
        }
    }
    fs::write(&path, meta.to_string()).unwrap();
    fs::remove_dir_all(golden.path("backup/binlogs")).unwrap();
    fs::rename(golden.path("storage"), golden.path("backup/binlogs")).unwrap();
    same(&read(), &golden, &collections);
}

/// Moves the deletions of all segments of a partition of the backup into a segment of their own.
fn apart(meta: &mut Value, binlogs: &Path, is_of_all: bool) {
    let collection = &mut meta["collection_backups"][0];
    let id = collection["collection_id"].as_i64().unwrap();
    let mut logs = Vec::new();
    for partition in collection["partition_backups"].as_array_mut().unwrap() {
        let of = partition["partition_id"].as_i64().unwrap();
        let to = if is_of_all { -1 } else { of };
        let own = binlogs.join(format!("delta_log/{id}/{to}/7777"));
        let mut moved = Vec::new();
        for segment in partition["segment_backups"].as_array_mut().unwrap() {
            let from = segment["segment_id"].as_i64().unwrap();
            let from = binlogs.join(format!("delta_log/{id}/{of}/{from}/{from}"));
            if let Some(deltas) = segment.as_object_mut().unwrap().remove("deltalogs") {
                fs::create_dir_all(&own).unwrap();
                for log in deltas[0]["binlogs"].as_array().unwrap() {
                    let name = log["log_id"].to_string();
                    // A log says which segment it belongs to.
                    let mut bytes = fs::read(from.join(&name)).unwrap();
                    bytes[37..45].copy_from_slice(&7777i64.to_le_bytes());
                    fs::write(own.join(&name), bytes).unwrap();
                    moved.push(log.clone());
                }
            }
        }
        match is_of_all {
            true => logs.append(&mut moved),
            false => {
                let level_0 = serde_json::json!({"segment_id": 7777, "collection_id": id, "partition_id": of,
                    "is_l0": true, "deltalogs": [{"binlogs": moved}]});
                partition["segment_backups"]
                    .as_array_mut()
                    .unwrap()
                    .push(level_0);
            }
        }
    }
    if is_of_all {
        collection["l0_segments"] = serde_json::json!([{"segment_id": 7777, "collection_id": id,
            "partition_id": -1, "is_l0": true, "deltalogs": [{"binlogs": logs}]}]);
    }
}

#[test]
fn deletions_in_segments_of_their_own_are_about_their_partition_or_all() {
    for is_of_all in [true, false] {
        let golden = Golden::new();
        let path = golden.path("backup/meta/full_meta.json");
        let mut meta: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        apart(&mut meta, &golden.path("backup/binlogs"), is_of_all);
        fs::write(&path, meta.to_string()).unwrap();
        let settings = format!("path: '{}'", golden.path("backup").display());
        let source = open("milvus_backup", &settings).unwrap();
        same(
            &rows(&*source, 100).unwrap(),
            &golden,
            &["all_i64", "str_bin"],
        );
    }
}

#[test]
fn what_is_not_in_the_storage_is_said_with_its_moment() {
    let golden = Golden::new();
    let jobs = Jobs::new();
    fs::write(
        jobs.path("tail.yaml"),
        format!(
            "source: {{milvus_files: {{path: '{}', collections: [tail]}}}}\nsink: {{parquet: {{dir: out}}}}\n",
            golden.path("storage").display()
        ),
    )
    .unwrap();
    let output = jobs.milvusdm(&["plan", "tail.yaml"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("tail: as of 2026-11-26T04:29:56Z, rows and deletions that were not flushed"),
        "{said}"
    );
    assert!(said.contains("1 segment growing"), "{said}");
}

#[test]
fn inspect_tells_of_a_storage_its_metadata_and_a_backup() {
    let golden = Golden::new();
    let jobs = Jobs::new();
    let inspect = |path: &str| -> Value {
        let path = golden.path(path);
        let output = jobs.milvusdm(&["inspect", path.to_str().unwrap(), "--json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"))
    };
    let collection = |found: &Value, name: &str| -> Value {
        let all = found["collections"].as_array().unwrap();
        all.iter().find(|c| c["name"] == name).unwrap().clone()
    };
    let storage = inspect("storage");
    let all = collection(&storage, "all_i64");
    assert_eq!(all["aliases"], serde_json::json!(["ali"]));
    assert_eq!(all["indexes"], serde_json::json!(["v FLAT L2"]));
    let parts = all["partitions"].as_array().unwrap();
    let rows: Vec<(u64, u64)> = parts
        .iter()
        .map(|p| {
            (
                p["rows"].as_u64().unwrap(),
                p["rows_deleted"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(rows, [(370, 95), (290, 20), (80, 20)]);
    assert_eq!(all["skipped"]["of partitions that are gone"][0], 2);
    assert_eq!(
        collection(&storage, "compacted")["skipped"]["dropped"][0],
        5
    );
    assert_eq!(collection(&storage, "tail")["skipped"]["growing"][0], 1);
    assert_eq!(storage["collections"].as_array().unwrap().len(), 8);
    let file = inspect("storage/etcd.data/member/snap/db");
    let part = &collection(&file, "all_i64")["partitions"][0];
    assert_eq!(
        (&part["rows"], &part["rows_in_metadata"]),
        (&Value::Null, &Value::from(465))
    );
    let backup = inspect("backup");
    assert_eq!(backup["recovery"], "941 rows can be recovered losslessly");
}

#[test]
fn jobs_that_cannot_be_meant_are_refused_with_what_to_do() {
    let golden = Golden::new();
    let storage = golden.path("storage").display().to_string();
    let bare = golden.path("bare");
    fs::create_dir_all(bare.join("insert_log")).unwrap();
    let bare = bare.display().to_string();
    for (kind, settings, expected) in [
        (
            "milvus_files",
            "path: 'gs://bucket/files'".to_owned(),
            "s3://bucket/prefix",
        ),
        ("milvus_files", format!("path: '{bare}'"), "`meta:` names"),
        (
            "milvus_files",
            format!("path: '{storage}', prefix: other/meta"),
            "by-dev/meta",
        ),
        (
            "milvus_files",
            format!("path: '{storage}', db: nope"),
            "there are: db2, default",
        ),
        (
            "milvus_files",
            format!("path: '{storage}', collections: [all_i65]"),
            "did you mean",
        ),
        (
            "milvus_files",
            format!("path: '{storage}', collections: [dropped]"),
            "no collection",
        ),
        (
            "milvus_backup",
            format!("path: '{}'", golden.dir.path().display()),
            "backup",
        ),
        (
            "milvus_backup",
            "path: 'http://bucket/backup/x'".to_owned(),
            "s3://bucket/prefix",
        ),
    ] {
        let error = open(kind, &settings).err().unwrap();
        assert_eq!(error.kind(), Kind::Job, "{settings}: {error}");
        assert!(error.to_string().contains(expected), "{settings}: {error}");
    }
}
