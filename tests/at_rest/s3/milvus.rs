//! A Milvus 2.3.5 that keeps its storage in a bucket: what it wrote is read there, with metadata from its running etcd,
//! its file and a snapshot; a backup goes to the bucket and comes back.

use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::s3::canonical::{open, rows, sort};
use crate::s3::migration::{Jobs, check_installed, support_script};
use crate::s3::settings;
use crate::support::{Engine, Server};

/// Starts a Milvus on a bucket of its own.
pub fn milvus(bucket: &str) -> Server {
    check_installed();
    let address = Server::shared(Engine::SeaweedFs).address();
    let (host, port) = address.split_once(':').unwrap();
    let sets = [
        "common.storageType=minio".to_owned(),
        format!("minio.address={host}"),
        format!("minio.port={port}"),
        format!("minio.bucketName={bucket}"),
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    Server::start(Engine::Standalone, &sets)
}

/// The address of a server's etcd.
fn etcd(server: &Server) -> String {
    let state = std::fs::read(server.data().join("server.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    format!("http://127.0.0.1:{}", state["ports"]["etcd_client"])
}

#[track_caller]
fn same(settings: &str, expected: &Map<String, Value>, what: &str) {
    let source = open("milvus_files", settings).unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = rows(&*source, 64).unwrap_or_else(|e| panic!("{what}: {e}"));
    let names = |map: &Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(expected), "{what}");
    for (name, expected) in expected {
        assert_eq!(found[name], *expected, "{what}: {name}");
    }
}

#[test]
fn a_bucket_that_a_real_server_wrote_has_what_a_full_query_gives() {
    let server = milvus("of-milvus");
    let said = support_script("milvus2x.py", &[&server.address()]);
    let mut all: Map<String, Value> = serde_json::from_str(&said).unwrap();
    all.values_mut()
        .for_each(|rows| sort(rows.as_array_mut().unwrap()));
    let elsewhere = all.remove("db2.elsewhere").unwrap();
    let elsewhere = Map::from_iter([("elsewhere".to_owned(), elsewhere)]);

    // From its running etcd, while it runs.
    let bucket = format!("path: 's3://of-milvus/files', {}", settings());
    let live = format!("{bucket}, meta: '{}'", etcd(&server));
    same(&live, &all, "etcd");
    same(&format!("{live}, db: db2"), &elsewhere, "etcd, db2");
    same(&format!("{live}, prefix: by-dev/meta"), &all, "prefix");
    // The root is found below the bucket.
    let root = live.replace("s3://of-milvus/files", "s3://of-milvus");
    same(&root, &all, "bucket");

    // From its file, and from a snapshot of it that lies in a bucket.
    let file = server.data().join("data/etcd.data/member/snap/db");
    server.stop();
    same(
        &format!("{bucket}, meta: '{}'", file.display()),
        &all,
        "file",
    );
    let mut snapshot = std::fs::read(file).unwrap();
    snapshot.extend(Sha256::digest(&snapshot));
    let tests = crate::s3::bucket(&settings(), "s3://tests").unwrap();
    tests.put("etcd.snapshot", snapshot.into()).unwrap();
    let meta = format!("{bucket}, meta: 's3://of-milvus/etcd.snapshot'");
    let of_milvus = crate::s3::bucket(&settings(), "s3://of-milvus").unwrap();
    let found = tests.look("etcd.snapshot").unwrap().unwrap();
    let bytes = tests.read(&found, 0..found.bytes).unwrap();
    of_milvus.put("etcd.snapshot", bytes).unwrap();
    same(&meta, &all, "snapshot");
    there_and_back(&meta);
    missing(&of_milvus, &meta);
}

/// A backup in the bucket, verified without its source, and back into a fresh server.
fn there_and_back(from: &str) {
    let jobs = Jobs::new();
    let fresh = Server::shared(Engine::Standalone);
    let s3 = settings();
    let job = format!(
        "source: {{milvus_files: {{{from}}}}}\nsink: {{parquet: {{dir: 's3://tests/backup', {s3}}}}}\n"
    );
    jobs.run("backup", &job).code(0);
    assert!(!jobs.path("backup.yaml.ckpt.staging").exists());
    compared(&jobs, "backup.yaml");
    let job = format!(
        "source: {{parquet: {{dir: 's3://tests/backup', {s3}}}}}\nsink: {{milvus: {{address: '{}', index: source}}}}\n",
        fresh.address()
    );
    jobs.run("restore", &job).code(0);
    compared(&jobs, "restore.yaml");
}

#[track_caller]
fn compared(jobs: &Jobs, name: &str) {
    let full = ["--json", "--load", "--set", "run.verify=full"];
    let output = jobs.milvusdm(&[&["verify", name][..], &full].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}: {said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for target in report["targets"].as_array().unwrap() {
        assert_eq!(target["content"]["rows_differing"], 0, "{name}: {target:#}");
    }
}

/// A log that is gone is named.
fn missing(bucket: &std::sync::Arc<dyn milvusdm::store::Bucket>, settings: &str) {
    let mut log = None;
    let mut each = |page: Vec<milvusdm::store::Found>| {
        let wide = page.into_iter().map(|found| found.key);
        log = log.take().or(wide.max());
        true
    };
    bucket.walk("files/insert_log/", &mut each).unwrap();
    let log = log.unwrap();
    bucket.delete(&log).unwrap();
    let read = open("milvus_files", settings).and_then(|source| rows(&*source, 64));
    if let Err(error) = read {
        let name = Path::new(&log).file_name().unwrap().to_str().unwrap();
        assert_eq!(error.kind().exit_code(), 3, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}
