//! Backup and restore: Milvus 1.x directories into HDF5 files, and these into a real Milvus 2.3.5.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::{Engine, Server, run_python};

const LIVE_ROWS: &str = include_str!("../support/live_rows.py");

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fixtures").join(name)
}

/// Runs a job in a directory of its own: what it said, and its exit code.
fn run(job: &str, dir: &Path) -> (i32, String) {
    let name = format!("job-{}.yaml", std::fs::read_dir(dir).unwrap().count());
    std::fs::write(dir.join(&name), job).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_milvusdm"));
    let command = command.args(["run", &name, "--progress", "none"]);
    let output = command.current_dir(dir).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn done(job: &str, dir: &Path) {
    let (code, said) = run(job, dir);
    assert_eq!(code, 0, "{said}\n{job}");
}

fn m2h(version: &str, out: &Path, more: &str) -> String {
    let source = fixture("milvus1x").join(version).join("milvus");
    format!(
        "M2H:\n  source_milvus_path: {}\n  data_dir: {}\n{more}",
        source.display(),
        out.display()
    )
}

/// The tables of a golden directory: collection, partition, rows, digest in stored order, digest sorted.
fn expected(version: &str) -> Vec<(String, String, u64, String, String)> {
    let path = fixture("milvus1x").join(version).join("expected.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let tables = all["tables"].as_array().unwrap().iter();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    tables
        .map(|t| {
            (
                text(&t["collection"]),
                text(&t["partition_tag"]),
                t["live_rows"].as_u64().unwrap(),
                text(&t["live_sha256"]),
                text(&t["live_sorted_sha256"]),
            )
        })
        .collect()
}

/// What h5py finds in all files under a directory: [collection, partition, rows, digest in stored order].
const FILES: &str = r#"
import glob, hashlib, h5py, json, sys
import numpy as np
out = []
for path in sorted(glob.glob(sys.argv[1] + '/*/*.h5')):
    f = h5py.File(path)
    e, i = f['embeddings'][()], f['ids'][()]
    assert len(e) == len(i)
    digest = hashlib.sha256(b''.join(a.tobytes() + b.tobytes() for a, b in zip(i, e))).hexdigest()
    out.append([f.attrs['collection'], f.attrs['partition'], len(i), digest])
print(json.dumps(out))
"#;

#[test]
fn every_row_of_a_golden_directory_is_in_its_file() {
    for version in ["v1.1.1", "v1.0.0"] {
        for more in [
            "",
            "  compression: gzip1\n  shuffle: true\n  chunk_rows: 77\n",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("out");
            done(&m2h(version, &out, more), dir.path());
            let said = run_python(FILES, &[out.to_str().unwrap()]);
            let mut found: Vec<(String, String, u64, String)> =
                serde_json::from_str(&said).unwrap();
            let tables = expected(version).into_iter();
            let mut expected: Vec<_> = tables.map(|(c, p, n, d, _)| (c, p, n, d)).collect();
            found.sort();
            expected.sort();
            // Collections are there with their default partition even where only another one is listed.
            found.retain(|f| f.2 > 0 || expected.contains(f));
            assert_eq!(found, expected, "{version} {more}");
        }
    }
}

/// The job that a backup comes with, aimed at a server, with further settings.
fn restore(collection: &Path, server: &Server, more: &str) -> String {
    let job = std::fs::read_to_string(collection.join("H2M.yaml")).unwrap();
    let port = server.address().split(':').next_back().unwrap().to_owned();
    job.replace("dest_port: 19530", &format!("dest_port: {port}")) + more
}

#[test]
fn a_backup_comes_back_with_every_row_id_and_partition() {
    let server = Server::shared(Engine::Standalone);
    let uri = format!("http://{}", server.address());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    done(&m2h("v1.1.1", &out, ""), dir.path());
    let mut names: Vec<String> = expected("v1.1.1").into_iter().map(|t| t.0).collect();
    names.dedup();
    for name in &names {
        let collection = out.join(name);
        let plain = restore(&collection, server, "");
        match name.as_str() {
            // Milvus 2.x takes no NaN: a row that has one is named, or left out when asked to.
            "f8_l2" => {
                let (code, said) = run(&plain, dir.path());
                assert_eq!(code, 3, "{said}");
                let skip = "  run: {non_finite: skip}\n";
                let (code, said) = run(&restore(&collection, server, skip), dir.path());
                assert_eq!(code, 0, "{said}");
            }
            // Nor the same id twice, unless all its rows are wanted.
            "f8_dupids" => {
                let (code, said) = run(&plain, dir.path());
                assert_eq!(code, 3, "{said}");
                done(
                    &restore(&collection, server, "  run: {id_collision: keep}\n"),
                    dir.path(),
                );
            }
            // A partition of 1.x may have a name that 2.x does not take: it gets another, and that is said.
            "f128_ip" => {
                let (code, said) = run(&plain, dir.path());
                assert_eq!(code, 0, "{said}");
                assert!(said.contains("\"part 2/a.b\" of f128_ip becomes"), "{said}");
            }
            _ => done(&plain, dir.path()),
        }
        let said = run_python(LIVE_ROWS, &[&uri, name]);
        let found: serde_json::Map<String, Value> = serde_json::from_str(&said).unwrap();
        for (_, partition, rows, _, digest) in expected("v1.1.1").iter().filter(|t| t.0 == *name) {
            let partition = match partition.as_str() {
                "" => "_default",
                "part 2/a.b" => {
                    let mut names = found.keys().filter(|n| n.starts_with("part_2_a_b_"));
                    names.next().expect("the partition has its new name")
                }
                other => other,
            };
            let there = &found[partition];
            match name.as_str() {
                "f8_l2" => {
                    let there = there[0].as_u64().unwrap();
                    assert!(there < *rows && there >= rows - 3, "{there} of {rows}");
                }
                // A query shows one row for each id.
                "f8_dupids" => assert!(there[0].as_u64().unwrap() <= *rows),
                _ => assert_eq!(
                    *there,
                    serde_json::json!([rows, digest]),
                    "{name}/{partition}"
                ),
            }
        }
    }
}

#[test]
fn published_files_are_read_back_equal() {
    let server = Server::shared(Engine::Standalone);
    let uri = format!("http://{}", server.address());
    let dir = tempfile::tempdir().unwrap();
    let port = server.address().split(':').next_back().unwrap().to_owned();
    let digests = r#"
import hashlib, h5py, json, sys
import numpy as np
f = h5py.File(sys.argv[1])
e, i = f['embeddings'], f['ids'][()]
e = e[()].astype('<f4') if e.dtype.kind == 'f' else np.frombuffer(e[()].tobytes(), 'u1').reshape(len(i), -1)
rows = sorted((int(a), b.tobytes()) for a, b in zip(i, e))
print(hashlib.sha256(b''.join(a.to_bytes(8, 'little', signed=True) + b for a, b in rows)).hexdigest())
"#;
    for (file, name, dimension, metric, rows) in [
        ("float_example.h5", "float_example", 100, "L2", 5000),
        ("byte_example.h5", "byte_example", 512, "HAMMING", 5),
    ] {
        let path = fixture("hdf5").join(file);
        let job = format!(
            "H2M:
  milvus_version: 2.x
  data_path:
    - {}
  dest_host: 127.0.0.1
  dest_port: {port}
  mode: overwrite
  dest_collection_name: {name}
  dest_partition_name: ''
  collection_parameter:
    dimension: {dimension}
    metric_type: {metric}
",
            path.display()
        );
        done(&job, dir.path());
        let digest = run_python(digests, &[path.to_str().unwrap()]);
        let said = run_python(LIVE_ROWS, &[&uri, name]);
        let found: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            found["_default"],
            serde_json::json!([rows, digest]),
            "{file}"
        );
    }
}
