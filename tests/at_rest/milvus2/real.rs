//! A real Milvus 2.3.5 of every column type, with deletions, upserts, a compaction, what was dropped and a second database:
//! its storage has what a full query gives, while it runs, in a copy, and after it has stopped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use milvusdm::error::Kind;
use serde_json::{Map, Value};

use crate::milvus2::canonical::{open, rows, sort};
use crate::milvus2::migration::{Jobs, check_installed, server, support_script};
use crate::support::{Engine, Server, python, run_python};

fn sh(script: &str, arguments: &[&Path]) {
    let output = Command::new("sh")
        .args(["-euc", script, "sh"])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// What a storage has of a database.
fn stored(path: &Path, db: &str) -> Map<String, Value> {
    let settings = format!("path: '{}', db: {db}", path.display());
    let source = open("milvus_files", &settings).unwrap_or_else(|e| panic!("{e}"));
    rows(&*source, 64).unwrap_or_else(|e| panic!("{e}"))
}

#[track_caller]
fn same(found: &Map<String, Value>, expected: &Map<String, Value>, what: &str) {
    let names = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}");
    for (name, expected) in expected {
        let (found, expected) = (
            found[name].as_array().unwrap(),
            expected.as_array().unwrap(),
        );
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found, expected, "{what}: {name}");
        }
        assert_eq!(found.len(), expected.len(), "{what}: {name}");
    }
}

/// Schema, indexes, partitions and rows of collections, as pymilvus tells them; `_again` is taken off names.
fn described(server: &Server, names: &[&str]) -> Value {
    let script = "
import sys, json
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
all = {}
for name in sys.argv[2:]:
    c = Collection(name)
    s = c.schema.to_dict()
    for f in s['fields']:
        f.pop('auto_id', None)
        # A length of texts means nothing where the elements are none.
        if f.get('element_type') not in (None, 21): f.get('params', {}).pop('max_length', None)
    index = [(i.field_name, i.index_name, {k: str(v) for k, v in i.params.items()}) for i in c.indexes]
    parts = [] if any(f.get('is_partition_key') for f in s['fields']) else sorted(p.name for p in c.partitions)
    all[name] = [s['fields'], s.get('enable_dynamic_field'), index, parts, c.num_shards, c.aliases]
print(json.dumps(all))
";
    let address = server.address();
    let said = run_python(script, &[&[&*address], names].concat());
    serde_json::from_str(&said).unwrap()
}

const NAMES: [&str; 4] = ["merged", "spread", "texts", "wide"];

#[test]
fn the_storage_of_a_real_server_has_what_a_full_query_gives() {
    check_installed();
    let source = Server::start(Engine::Standalone, &[]);
    let said = support_script("milvus2x.py", &[&source.address()]);
    let mut all: Map<String, Value> = serde_json::from_str(&said).unwrap();
    all.values_mut()
        .for_each(|rows| sort(rows.as_array_mut().unwrap()));
    let elsewhere = all.remove("db2.elsewhere").unwrap();
    let elsewhere = Map::from_iter([("elsewhere".to_owned(), elsewhere)]);
    assert!(all["wide"].as_array().unwrap().len() > 400 && all.len() == NAMES.len());

    // While it runs, and from a copy taken while it runs.
    let storage = source.data().join("data");
    same(&stored(&storage, "default"), &all, "running");
    same(&stored(&storage, "db2"), &elsewhere, "running");
    let jobs = Jobs::new();
    let copy = jobs.path("copy");
    sh("cp -r \"$1\" \"$2\"", &[&storage, &copy]);
    same(&stored(&copy, "default"), &all, "copy");
    let before = described(&source, &NAMES);
    copied_while_others_write(&source, &storage, &all);
    compacted(&storage);

    // Rows that are written and not flushed are not there, and that is said.
    let written = "
import sys
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
Collection('merged').insert([[7000, 7001], [[1.0] * 4] * 2])
";
    run_python(written, &[&source.address()]);
    source.stop();
    same(&stored(&storage, "default"), &all, "stopped");
    let settings = format!("path: '{}'", storage.display());
    let survey = open("milvus_files", &settings).unwrap();
    let warnings = survey
        .survey(milvusdm::batch::Limits {
            batch_bytes: 1 << 20,
            batch_rows: 1000,
        })
        .unwrap()
        .warnings;
    let growing = warnings
        .iter()
        .any(|w| w.starts_with("merged: as of 20") && w.contains("growing"));
    assert!(growing, "{warnings:?}");

    // Into a fresh server, with schema, indexes and partitions.
    let fresh = server();
    let address = fresh.address();
    let job = format!(
        "source: {{milvus_files: {{path: '{}'}}}}\nsink: {{milvus: {{address: '{address}', index: source}}}}\n",
        storage.display()
    );
    jobs.run("files", &job).code(0);
    compared(&jobs, "files.yaml");
    assert_eq!(strip(described(fresh, &NAMES)), strip(before.clone()));
    restore(&jobs, &storage, &before);
}

/// The compaction that was asked for has taken place: what was merged still lies there, and none of it was read.
fn compacted(storage: &Path) {
    let output = Jobs::new().milvusdm(&["inspect", storage.to_str().unwrap(), "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let collections = found["collections"].as_array().unwrap();
    let merged = collections.iter().find(|c| c["name"] == "merged").unwrap();
    let dropped = merged["skipped"]["dropped"][0].as_u64();
    assert!(dropped >= Some(2), "{merged:#}");
}

const WRITE: &str = "
import sys
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
key, vector = FieldSchema('id', DataType.INT64, is_primary=True), FieldSchema('v', DataType.FLOAT_VECTOR, dim=4)
c = Collection('meanwhile', CollectionSchema([key, vector]))
for at in range(10**6):
    ids = list(range(at * 50, at * 50 + 50))
    c.insert([ids, [[float(i)] * 4 for i in ids]])
    c.delete('id in %s' % ids[:5])
    c.flush()
    print(at, flush=True)
";

/// A copy that is taken in the midst of inserts, deletions and flushes of another collection: of that it has all flushes up
/// to some moment.
fn copied_while_others_write(source: &Server, storage: &Path, all: &Map<String, Value>) {
    let address = source.address();
    let mut writer = Command::new(python())
        .args(["-c", WRITE, &address])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(writer.stdout.take().unwrap()).lines();
    told.by_ref().take(2).for_each(|line| drop(line.unwrap()));
    let jobs = Jobs::new();
    let copy = jobs.path("copy");
    let mut read = Ok(Map::new());
    // etcd's file may be caught in the midst of a write: that is noticed, and another copy taken, as one would.
    for _ in 0..4 {
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir(&copy).unwrap();
        let script = r#"cd "$1"; cp -r etcd.data insert_log delta_log "$2""#;
        sh(script, &[storage, &copy]);
        let settings = format!("path: '{}'", copy.display());
        read = open("milvus_files", &settings).and_then(|source| rows(&*source, 64));
        match &read {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), Kind::Corrupt, "{error}"),
        }
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    let mut found = read.unwrap_or_else(|e| panic!("{e}"));
    let meanwhile = found.remove("meanwhile").unwrap();
    same(&found, all, "copy while others write");
    let mut ids: Vec<i64> = meanwhile
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_i64().unwrap())
        .collect();
    ids.sort_unstable();
    let last = ids.last().unwrap() / 50;
    // Deletions of the last flush may come in the next one.
    let whole = (0..last * 50).filter(|id| id % 50 >= 5);
    assert!(
        last >= 1 && whole.eq(ids.iter().copied().filter(|id| *id < last * 50)),
        "{ids:?}"
    );
    run_python(
        "import sys\nfrom pymilvus import *\nconnections.connect(uri='http://' + sys.argv[1])\nutility.drop_collection('meanwhile')",
        &[&address],
    );
}

/// Through Parquet and its manifest into the server, under other names.
fn restore(jobs: &Jobs, storage: &Path, before: &Value) {
    let fresh = server();
    let out = jobs.path("backup");
    let job = format!(
        "source: {{milvus_files: {{path: '{}'}}}}\nsink: {{parquet: {{dir: '{}', compression: zstd}}}}\n",
        storage.display(),
        out.display()
    );
    jobs.run("backup", &job).code(0);
    compared(jobs, "backup.yaml");
    let job = format!(
        "source: {{parquet: {{dir: '{}'}}}}\nsink: {{milvus: {{address: '{}', index: source}}}}\n\
         into: {{collection: '{{collection}}_again'}}\n",
        out.display(),
        fresh.address()
    );
    jobs.run("restore", &job).code(0);
    compared(jobs, "restore.yaml");
    let again: Vec<String> = NAMES.iter().map(|name| format!("{name}_again")).collect();
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    let after = described(fresh, &again).to_string().replace("_again", "");
    let after: Value = serde_json::from_str(&after).unwrap();
    assert_eq!(strip(after), strip(before.clone()));

    // The backup alone tells whether it is whole.
    let dir = jobs.path("backup/wide/p1");
    let file = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path());
    let file = file
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "parquet"))
        .unwrap();
    let whole = fs::read(&file).unwrap();
    for damaged in [
        &whole[..whole.len() - 1],
        &[&whole[..200], &[whole[200] ^ 1][..], &whole[201..]].concat(),
    ] {
        fs::write(&file, damaged).unwrap();
        let output = jobs.milvusdm(&["verify", "backup.yaml", "--json"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(3 | 5)),
            "{:?}: {said}",
            output.status
        );
    }
    fs::write(&file, &whole).unwrap();
    compared(jobs, "backup.yaml");
}

/// Compares source and destination row by row.
#[track_caller]
fn compared(jobs: &Jobs, name: &str) {
    let output = jobs.milvusdm(&[
        "verify",
        name,
        "--json",
        "--load",
        "--set",
        "run.verify=full",
    ]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}: {said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for target in report["targets"].as_array().unwrap() {
        let content = &target["content"];
        assert_eq!(content["rows_differing"], 0, "{name}: {target:#}");
        assert!(
            content["rows_compared"].as_u64() > Some(0),
            "{name}: {target:#}"
        );
    }
}

/// Without what is not carried: other names for collections.
fn strip(mut described: Value) -> Value {
    for of in described.as_object_mut().unwrap().values_mut() {
        of.as_array_mut().unwrap().pop();
    }
    described
}
