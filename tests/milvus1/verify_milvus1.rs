//! `milvusdm verify` against Milvus 1.x: a stand-in takes the place of the server, and the real client of 1.x does
//! what somebody else might have done to the collection.

#![allow(clippy::unwrap_used)]

use crate::support::milvus1 as stand_in;

use std::path::PathBuf;
use std::process::Command;

use milvusdm::milvus::v1::V1;
use milvusdm::milvus::{Deadlines, Login, Settings};
use serde_json::{Value, json};
use tempfile::TempDir;

use stand_in::{StandIn, hex};

/// Any floats, NaN and −0 among them.
fn vector(row: usize) -> Vec<u8> {
    let float = |i: usize| match (row + i) % 97 {
        0 => f32::NAN.to_bits() | 0x1234,
        1 => f32::NEG_INFINITY.to_bits(),
        2 => (-0.0f32).to_bits(),
        _ => (row as f32 * 0.25 - i as f32).to_bits(),
    };
    (0..8).flat_map(|i| float(i).to_le_bytes()).collect()
}

/// A flat Faiss index, with ids where they are given.
fn faiss(rows: usize, ids: Option<&[i64]>) -> Vec<u8> {
    let head = |fourcc: &[u8; 4]| {
        let mut file = [fourcc.as_slice(), &8u32.to_le_bytes()].concat();
        file.extend((rows as u64).to_le_bytes());
        file.extend((1u64 << 20).to_le_bytes().repeat(2));
        file.push(1);
        file.extend(1u32.to_le_bytes());
        file
    };
    let mut file = match ids {
        Some(_) => head(b"IxMp"),
        None => Vec::new(),
    };
    file.extend(head(b"IxF2"));
    file.extend((rows as u64 * 8).to_le_bytes());
    file.extend((0..rows).flat_map(vector));
    if let Some(ids) = ids {
        file.extend((rows as u64).to_le_bytes());
        file.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
    }
    file
}

struct Jobs(TempDir, StandIn);

impl Jobs {
    fn new(arguments: &[&str]) -> Jobs {
        Jobs(tempfile::tempdir().unwrap(), StandIn::start(arguments))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a verb of the program on a job; what it said, and its report.
    #[track_caller]
    fn milvusdm(&self, verb: &str, name: &str, code: i32) -> (String, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
            .args([verb, name, "--progress", "none", "--report", "report.json"])
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        let report = std::fs::read(self.path("report.json")).unwrap();
        (said, serde_json::from_slice(&report).unwrap())
    }

    /// Runs a job from this index, and then compares.
    #[track_caller]
    fn carry(&self, name: &str, index: Vec<u8>, sink: &str) {
        std::fs::write(self.path(&format!("{name}.index")), index).unwrap();
        let job = format!(
            "source: {{faiss: {{path: {name}.index}}}}\nsink: {{milvus1: {{address: '{}', collection: c{sink}}}}}\n",
            self.1.address()
        );
        std::fs::write(self.path(&format!("{name}.yaml")), job).unwrap();
        self.milvusdm("run", &format!("{name}.yaml"), 0);
    }

    fn server(&self) -> V1 {
        let settings = Settings {
            address: format!("http://{}", self.1.address()),
            login: Login::None,
            db: String::new(),
            tls: None,
            deadlines: Deadlines::default(),
        };
        V1::open(&settings, 1).unwrap()
    }

    fn delete(&self, partition: &str, id: i64) {
        let server = self.server();
        server.delete("c", partition, &[id]).unwrap();
        server.flush("c").unwrap();
    }

    fn insert(&self, partition: &str, id: i64, vector: &[u8]) {
        let row = json!({
            "collection": "c", "partition": partition, "ids": [id], "vectors": [hex(vector)], "binary": false
        });
        self.1.client("insert", row);
        self.server().flush("c").unwrap();
    }
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "no `{part}` in:\n{said}");
    }
}

#[test]
fn a_row_taken_or_changed_is_named_bit_for_bit() {
    let jobs = Jobs::new(&[]);
    jobs.carry("a", faiss(2500, None), "");
    let (said, report) = jobs.milvusdm("verify", "a.yaml", 0);
    says(
        &said,
        &[
            "full content of 2500 rows by id: agrees",
            "counted 2500 (exact count)",
        ],
    );
    assert_eq!(
        report["targets"][0]["content"]["digest"],
        report["targets"][0]["digest"]
    );

    jobs.delete("", 1203);
    let (said, _) = jobs.milvusdm("verify", "a.yaml", 5);
    says(
        &said,
        &[
            "1 row differs: id 1203 is missing (row 1203 of a.index)",
            "counts 2499",
        ],
    );

    let mut other = vector(1203);
    other[5] ^= 1;
    jobs.insert("", 1203, &other);
    let (said, report) = jobs.milvusdm("verify", "a.yaml", 5);
    says(
        &said,
        &["1 row differs: id 1203 is there with another vector"],
    );
    assert_eq!(report["targets"][0]["counts_agree"], json!(true));

    jobs.delete("", 1203);
    jobs.insert("", 1203, &vector(1203));
    jobs.milvusdm("verify", "a.yaml", 0);
    // A second row of an id is not given, but counted.
    jobs.insert("", 1203, &vector(1203));
    let (said, _) = jobs.milvusdm("verify", "a.yaml", 5);
    says(
        &said,
        &["2500 were delivered, but the destination counts 2501"],
    );
    let calls = jobs.1.calls();
    let writes = calls.iter().filter(|call| *call == "Insert").count();
    assert_eq!(writes, 1 + 3, "a verification inserted something");
}

#[test]
fn partitions_are_looked_into_where_the_server_can() {
    let jobs = Jobs::new(&[]);
    jobs.carry("a", faiss(50, None), ", partition: p1");
    jobs.carry("b", faiss(60, None), ", partition: p2");
    for name in ["a.yaml", "b.yaml"] {
        jobs.milvusdm("verify", name, 0);
    }
    jobs.delete("p1", 7);
    let (said, _) = jobs.milvusdm("verify", "a.yaml", 5);
    says(&said, &["id 7 is missing"]);
    jobs.milvusdm("verify", "b.yaml", 0);

    let old = Jobs::new(&["--version", "1.0.0"]);
    old.carry("a", faiss(50, None), ", partition: p1");
    let (said, _) = old.milvusdm("verify", "a.yaml", 0);
    says(&said, &["full content of 50 rows by id: agrees"]);
    old.carry("b", faiss(60, None), ", partition: p2");
    let (said, report) = old.milvusdm("verify", "a.yaml", 7);
    says(
        &said,
        &[
            "content was not compared",
            "cannot look into a single partition",
        ],
    );
    assert_eq!(report["outcome"], json!("not proven"));
}

#[test]
fn ids_that_repeat_and_ids_of_its_own_making_are_only_counted() {
    let jobs = Jobs::new(&[]);
    let mut ids: Vec<i64> = (0..50).collect();
    ids[20] = 3;
    jobs.carry("a", faiss(50, Some(&ids)), "");
    let (said, report) = jobs.milvusdm("verify", "a.yaml", 0);
    says(
        &said,
        &["full content of 48 rows by id, 2 more were only counted: agrees"],
    );
    assert_eq!(
        report["targets"][0]["content"]["rows_only_counted"],
        json!(2)
    );
    jobs.delete("", 21);
    jobs.milvusdm("verify", "a.yaml", 5);

    let jobs = Jobs::new(&[]);
    jobs.carry("a", faiss(50, None), ", auto_id: true");
    let (said, _) = jobs.milvusdm("verify", "a.yaml", 7);
    says(
        &said,
        &[
            "content was not compared: the server made the ids",
            "counted 50 (exact count)",
        ],
    );
}

#[test]
fn a_whole_directory_agrees() {
    let jobs = Jobs::new(&[]);
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/milvus1x/v1.1.1/milvus"
    );
    let address = jobs.1.address();
    let job = format!(
        "source: {{milvus1: {{path: '{golden}'}}}}\nsink: {{milvus1: {{address: '{address}'}}}}\n"
    );
    std::fs::write(jobs.path("all.yaml"), job).unwrap();
    jobs.milvusdm("run", "all.yaml", 0);
    let (_, report) = jobs.milvusdm("verify", "all.yaml", 0);
    let targets = report["targets"].as_array().unwrap();
    assert!(targets.len() > 15);
    for target in targets {
        let content = &target["content"];
        let rows = content["rows_compared"].as_u64().unwrap()
            + content["rows_only_counted"].as_u64().unwrap();
        assert_eq!(json!(rows), target["delivered"], "{target}");
        assert_eq!(content["digest"], target["digest"]);
    }
}

#[test]
fn a_key_in_two_partitions_is_compared_with_its_own() {
    let jobs = Jobs::new(&[]);
    jobs.carry("a", faiss(50, None), "");
    // The same keys with other vectors, and a key of its own.
    jobs.carry("b", faiss(3, Some(&[7, 8, 100])), ", partition: p1");
    let (said, report) = jobs.milvusdm("verify", "a.yaml", 0);
    says(
        &said,
        &[
            "full content of 48 rows by id, 2 more were only counted: agrees",
            "cannot look into the default partition alone",
        ],
    );
    assert_eq!(report["targets"][0]["content"]["rows_differing"], json!(0));
    let (said, _) = jobs.milvusdm("verify", "b.yaml", 0);
    says(&said, &["full content of 3 rows by id: agrees"]);
    // A run that compares at its end looks the same way: the keys of its partition are in two others.
    std::fs::write(jobs.path("c.index"), faiss(4, Some(&[7, 9, 100, 101]))).unwrap();
    let job = format!(
        "source: {{faiss: {{path: c.index}}}}\nsink: {{milvus1: {{address: '{}', collection: c, partition: p2}}}}\n\
         run: {{verify: full}}\n",
        jobs.1.address()
    );
    std::fs::write(jobs.path("c.yaml"), job).unwrap();
    let (said, _) = jobs.milvusdm("run", "c.yaml", 0);
    says(&said, &["full content of 4 rows by id: agrees"]);

    // What is wrong is still found: in the default partition, and in one that has a tag.
    jobs.delete("", 30);
    let (said, _) = jobs.milvusdm("verify", "a.yaml", 5);
    says(&said, &["1 row differs: id 30 is missing"]);
    jobs.delete("p1", 8);
    jobs.insert("p1", 8, &vector(40));
    let (said, _) = jobs.milvusdm("verify", "b.yaml", 5);
    says(&said, &["1 row differs: id 8 is there with another vector"]);
}
