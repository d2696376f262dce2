//! Rows into Milvus 1.x. No real server can be had, so that a stand-in takes its place; the real client of 1.x
//! drives the stand-in, reads back what we sent, and makes the requests that ours are compared with.

#![allow(clippy::unwrap_used)]

mod doubt;
mod meanwhile;

use crate::support::{self, milvus1 as stand_in};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use bytes::Bytes;
use milvusdm::batch::{Batch, BatchId, Keys, Part, Position, Target, TargetName};
use milvusdm::buffers::Buffers;
use milvusdm::job::{Form, Job};
use milvusdm::schema::{Columns, Element, VectorType};
use milvusdm::sink::{SINKS, Sink};
use serde_json::{Value, json};
use tempfile::TempDir;

use stand_in::{Rows, StandIn, client, hex};

/// A directory with a job and its data.
struct Jobs {
    directory: TempDir,
}

impl Jobs {
    fn new() -> Jobs {
        Jobs {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A Faiss IndexFlatL2 file: rows are numbered from 0.
    fn faiss(&self, name: &str, rows: usize, dimension: usize) -> Rows {
        let vectors: Vec<Vec<u8>> = (0..rows).map(|row| vector(row, dimension)).collect();
        let mut bytes = b"IxF2".to_vec();
        bytes.extend((dimension as u32).to_le_bytes());
        bytes.extend((rows as u64).to_le_bytes());
        bytes.extend((1u64 << 20).to_le_bytes().repeat(2));
        bytes.push(1);
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(((rows * dimension) as u64).to_le_bytes());
        bytes.extend(vectors.concat());
        std::fs::write(self.path(name), bytes).unwrap();
        (0..).zip(vectors).collect()
    }

    fn start(&self, job: &str) -> Child {
        std::fs::write(self.path("job.yaml"), job).unwrap();
        Command::new(env!("CARGO_BIN_EXE_milvusdm"))
            .args([
                "run",
                "job.yaml",
                "--progress",
                "none",
                "--report",
                "report.json",
            ])
            .current_dir(self.directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, job: &str) -> Ended {
        Ended(self.start(job).wait_with_output().unwrap())
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("report.json")).unwrap()).unwrap()
    }
}

struct Ended(Output);

impl Ended {
    fn said(&self) -> String {
        let text = [&self.0.stdout[..], &self.0.stderr[..]].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[track_caller]
    fn code(self, expected: i32) -> String {
        let said = self.said();
        assert_eq!(self.0.status.code(), Some(expected), "{said}");
        said
    }
}

/// Any floats, odd ones among them.
fn vector(row: usize, dimension: usize) -> Vec<u8> {
    let float = |i: usize| match (row + i) % 97 {
        0 => f32::NAN.to_bits() | 0x1234,
        1 => f32::NEG_INFINITY.to_bits(),
        2 => (-0.0f32).to_bits(),
        3 => 1, // The least denormal.
        _ => (row as f32 * 0.25 - i as f32).to_bits(),
    };
    (0..dimension)
        .flat_map(|i| float(i).to_le_bytes())
        .collect()
}

fn f2m(server: &StandIn, more: &str) -> String {
    format!(
        "F2M:\n  milvus_version: 2.0.0\n  data_path: a.index\n  dest_host: 127.0.0.1\n  dest_port: {}\n  \
         dest_collection_name: c\n  collection_parameter: {{dimension: 8, index_file_size: 512, metric_type: L2}}\n  \
         {more}\n",
        server.port
    )
}

/// Small batches, one at a time where the order of calls matters.
const SMALL: &str = "run: {batch: 4KiB, threads: 1, connections: 1, in_flight: 1}";

fn only(rows: Rows) -> BTreeMap<String, Rows> {
    BTreeMap::from([(String::new(), rows)])
}

// ── the stand-in and the real client ───────────────────────────────────────

#[test]
fn the_real_client_finds_in_the_stand_in_what_it_knows() {
    let server = StandIn::start(&["--auto-flush", "0"]);
    assert_eq!(server.client("try", json!({})), json!(true));
}

#[test]
fn rows_count_after_a_second_without_a_flush() {
    let server = StandIn::start(&["--auto-flush", "0.2"]);
    let jobs = Jobs::new();
    jobs.faiss("a.index", 10, 8);
    jobs.run(&f2m(&server, "")).code(0);
    let q = json!({"collection": "c", "partition": "", "ids": [99], "vectors": [hex(&vector(1, 8))], "binary": false});
    server.client("insert", q);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        server.client("stats", json!({"collection": "c"}))["rows"],
        11
    );
}

// ── bytes ──────────────────────────────────────────────────────────────────

fn open(server: &StandIn, more: &str) -> Box<dyn Sink> {
    let text = format!(
        "source: {{faiss: {{path: x}}}}\nsink: {{milvus1: {{address: '{}'{more}}}}}\n",
        server.address()
    );
    let job = Job::parse(Path::new("test.yaml"), text).unwrap();
    let kind = SINKS.iter().find(|kind| kind.name == "milvus1").unwrap();
    let settings = job.sink.settings.clone();
    let mut form = Form::new("sink.milvus1", settings, kind.settings, &job.mistakes);
    let spec = (kind.read)(&mut form);
    form.done();
    job.check().unwrap();
    spec.unwrap().open(&job.run).unwrap()
}

fn target(kind: VectorType, collection: &str, partition: &str) -> Target {
    Target {
        number: 0,
        name: TargetName {
            collection: collection.to_owned(),
            partition: partition.to_owned(),
        },
        columns: Columns::plain("id", "embedding", kind).unwrap().measured(
            Some(match kind.element {
                Element::Bit => milvusdm::schema::Metric::Hamming,
                _ => milvusdm::schema::Metric::L2,
            }),
            None,
        ),
        traits: Default::default(),
        keys: Keys::Stored,
        auto_id: false,
        rows: 0,
        rows_deleted: 0,
        source: "test".to_owned(),
    }
}

#[test]
fn our_requests_are_byte_for_byte_those_of_the_real_client() {
    let server = StandIn::start(&[]);
    let ids = [0, 1, 127, 128, -1, i64::MAX, i64::MIN, 300, 1 << 40];
    let check =
        |collection: &str, partition: &str, kind: VectorType, ids: Option<&[i64]>, rows: usize| {
            let more = if ids.is_none() { ", auto_id: true" } else { "" };
            let sink = open(&server, more);
            let target = target(kind, collection, partition);
            let decision = sink.decide(&target).unwrap();
            sink.prepare(&target, &decision, false).unwrap();
            let width = kind.row_bytes() as usize;
            let vectors: Vec<u8> = (0..rows)
                .flat_map(|row| match kind.element {
                    // Python's floats quiet no NaN but carry no payload of a signalling one: plain numbers here.
                    Element::Float32 => (0..kind.dimension)
                        .flat_map(|i| (row as f32 / 3.0 - i as f32 * 1e-3).to_le_bytes())
                        .collect(),
                    _ => (0..width).map(|i| (row * 7 + i) as u8).collect::<Vec<u8>>(),
                })
                .collect();
            let given = ids.map_or((0..rows as i64).collect(), <[i64]>::to_vec);
            // Two parts, the second not aligned to anything.
            let mapped = Bytes::from([vec![9], vectors.clone()].concat()).slice(1..);
            let cut = rows / 2;
            let part = |from: usize, to: usize| {
                let bytes = mapped.slice(from * width..to * width);
                let ids = given[from..to].to_vec();
                Part::of_vectors(
                    &target.columns,
                    ids,
                    bytes,
                    &Path::new("x").into(),
                    from as u64,
                )
                .unwrap()
            };
            let parts = [part(0, cut), part(cut, rows)];
            let batch = Batch {
                id: BatchId {
                    run: 1,
                    shard: 0,
                    index: 0,
                },
                target: 0,
                first_row: 0,
                parts: parts.into_iter().filter(|p| !p.is_empty()).collect(),
                next: Position::Row(rows as u64),
            };
            let parcel = sink.pack(batch, Buffers::default().take()).unwrap();
            let ours = parcel.body.concat();
            let question = json!({
                "collection": collection,
                "partition": if partition.is_empty() { Value::Null } else { json!(partition) },
                "ids": ids.map(<[i64]>::to_vec),
                "vectors": vectors.chunks(width).map(hex).collect::<Vec<_>>(),
                "binary": kind.element == Element::Bit,
            });
            let theirs = client("-", "encode", question);
            assert_eq!(
                hex(&ours[5..]),
                theirs.as_str().unwrap(),
                "{collection} {kind}"
            );
            assert_eq!(
                ours[..5],
                [&[0][..], &(ours.len() as u32 - 5).to_be_bytes()].concat()
            );
        };
    let float = |dimension| VectorType {
        element: Element::Float32,
        dimension,
    };
    let bits = |dimension| VectorType {
        element: Element::Bit,
        dimension,
    };
    check("f4", "", float(4), Some(&ids), 9);
    check("f4_tag", "part 2/a.b", float(4), Some(&ids), 9);
    check("f1_one_row", "", float(1), Some(&[5]), 1);
    check("f31", "", float(31), Some(&ids), 9); // 124 bytes: both lengths in one byte,
    check("f32", "", float(32), Some(&ids), 9); // 128: in two.
    check("f4095", "p", float(4095), Some(&ids), 9);
    check("f4096", "p", float(4096), Some(&ids), 9);
    check("f8_auto", "", float(8), None, 300);
    check("b8", "", bits(8), Some(&ids), 9);
    check("b1024", "tag", bits(1024), Some(&ids), 9);
    check("b512_auto", "tag", bits(512), None, 200);
}

#[test]
fn what_arrives_is_what_the_real_client_would_have_sent() {
    let server = StandIn::start(&["--delete-state", "0"]);
    let jobs = Jobs::new();
    let rows = jobs.faiss("a.index", 90, 8);
    // Python carries no signalling NaN; these are quiet.
    jobs.run(&f2m(&server, "run: {threads: 1}")).code(0);
    let q = json!({
        "collection": "c", "partition": null, "ids": (0..90).collect::<Vec<_>>(),
        "vectors": rows.iter().map(|(_, v)| hex(v)).collect::<Vec<_>>(), "binary": false,
    });
    server.client("insert", q);
    let requests = server.requests("Insert");
    assert_eq!(requests.len(), 2);
    assert_eq!(hex(&requests[0]), hex(&requests[1]));
}

// ── jobs ───────────────────────────────────────────────────────────────────

#[test]
fn a_classic_job_fills_a_1x_server_and_the_real_client_reads_it_back() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    let rows = jobs.faiss("a.index", 3000, 8);
    let said = jobs.run(&f2m(&server, "run: {batch: 16KiB}")).code(0);
    assert!(
        said.contains("the job expects Milvus 2.0.0, but the server is Milvus 1.1.1"),
        "{said}"
    );
    assert_eq!(server.rows("c"), only(rows.clone()));
    let stats = server.client("stats", json!({"collection": "c"}));
    assert_eq!(stats["rows"], 3000);
    assert_eq!(stats["schema"], json!([8, 512, 1]));
    let ids: Vec<i64> = (0..3000).collect();
    let read = server.client(
        "read",
        json!({"collection": "c", "partition": "", "ids": ids}),
    );
    for (id, vector) in &rows {
        // The client reads every NaN as the plain one; what the server holds was compared above.
        let words = vector
            .chunks(4)
            .map(|w| f32::from_le_bytes(w.try_into().unwrap()));
        let plain = words.flat_map(|f| if f.is_nan() { f32::NAN } else { f }.to_le_bytes());
        let plain: Vec<u8> = plain.collect();
        assert_eq!(read[id.to_string()], hex(&plain), "id {id}");
    }
    let report = jobs.report();
    assert_eq!(report["targets"][0]["rows_counted"], 3000, "{report}");
    // The same command again has nothing to do.
    let calls = server.requests("Insert").len();
    jobs.run(&f2m(&server, "run: {batch: 16KiB}")).code(0);
    assert_eq!(server.requests("Insert").len(), calls);
}

#[test]
fn a_job_may_name_the_1x_sink_itself_and_have_an_index_made() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    let rows = jobs.faiss("a.index", 200, 8);
    let job = format!(
        "source: {{faiss: {{path: a.index}}}}\nsink:\n  milvus1:\n    address: {}\n    collection: c\n    partition: p 1\n    \
         metric: IP\n    index: {{type: IVF_FLAT, params: {{nlist: 16}}}}\n    load: true\n",
        server.address()
    );
    jobs.run(&job).code(0);
    assert_eq!(server.rows("c")["p 1"], rows);
    let stats = server.client("stats", json!({"collection": "c"}));
    assert_eq!(stats["index"], json!([2, {"nlist": 16}]));
    assert_eq!(stats["partitions"], json!({"_default": 0, "p 1": 200}));
    assert_eq!(stats["schema"], json!([8, 1024, 2]));
    assert!(server.calls().contains(&"PreloadCollection".to_owned()));
}

#[test]
fn every_golden_directory_arrives_whole() {
    for version in ["v1.1.1", "v1.0.0"] {
        let server = StandIn::start(&[]);
        let jobs = Jobs::new();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/milvus1x")
            .join(version);
        let expected: Value =
            serde_json::from_slice(&std::fs::read(golden.join("expected.json")).unwrap()).unwrap();
        let job = format!(
            "M2M:\n  milvus_version: 1.x\n  source_milvus_path: {}\n  dest_host: 127.0.0.1\n  dest_port: {}\n  \
             mode: append\n  run: {{batch: 8KiB}}\n",
            golden.join("milvus").display(),
            server.port
        );
        jobs.run(&job).code(0);
        let mut tables = 0;
        for (collection, tag, digest) in tables_of(&expected) {
            let found = server.rows(&collection);
            let rows = found
                .get(&tag)
                .unwrap_or_else(|| panic!("{collection}/{tag} is not there"));
            assert_eq!(
                sha256(rows),
                digest,
                "{version} {collection}/{tag}, {} rows",
                rows.len()
            );
            tables += 1;
        }
        assert!(tables >= 7, "{tables}");
        let tags = server.requests("Insert");
        assert!(
            !tags
                .iter()
                .any(|raw| raw.windows(8).any(|w| w == b"_default")),
            "_default was sent"
        );
    }
}

/// Collection, partition tag and digest of its sorted rows.
fn tables_of(expected: &Value) -> Vec<(String, String, String)> {
    let tables = expected["tables"].as_array().expect("tables");
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    tables
        .iter()
        .map(|t| {
            (
                text(&t["collection"]),
                text(&t["partition_tag"]),
                text(&t["live_sorted_sha256"]),
            )
        })
        .collect()
}

/// As the golden set has it: over rows sorted by id and vector, by the system's own tool.
fn sha256(rows: &Rows) -> String {
    use std::io::Write;
    let mut child = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let bytes: Vec<u8> = rows
        .iter()
        .flat_map(|(id, v)| [&id.to_le_bytes()[..], v].concat())
        .collect();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[test]
fn overwrite_waits_until_the_old_name_is_free() {
    let server = StandIn::start(&["--delete-state", "0.7"]);
    let jobs = Jobs::new();
    jobs.faiss("a.index", 50, 8);
    jobs.run(&f2m(&server, "mode: append")).code(0);
    let rows = jobs.faiss("a.index", 20, 8);
    let before = server.calls().len();
    jobs.run(&f2m(
        &server,
        "mode: overwrite\n  run: {checkpoint: b.ckpt}",
    ))
    .code(0);
    assert_eq!(server.rows("c"), only(rows));
    let calls = server.calls().split_off(before);
    let of = |name: &str| calls.iter().filter(|c| *c == name).count();
    assert!(
        of("DropCollection") == 1 && of("CreateCollection") > 1,
        "{calls:?}"
    );
}

#[test]
fn overwrite_of_a_partition_leaves_the_others_alone() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    let old = jobs.faiss("a.index", 50, 8);
    for (tag, checkpoint) in [("p", 1), ("q", 2)] {
        let more =
            format!("dest_partition_name: {tag}\n  run: {{checkpoint: '{checkpoint}.ckpt'}}");
        jobs.run(&f2m(&server, &more)).code(0);
    }
    let new = jobs.faiss("a.index", 20, 8);
    jobs.run(&f2m(&server, "dest_partition_name: p\n  mode: overwrite"))
        .code(0);
    let expected = [
        ("".to_owned(), vec![]),
        ("p".to_owned(), new),
        ("q".to_owned(), old),
    ];
    assert_eq!(server.rows("c"), BTreeMap::from(expected));
}

#[test]
fn the_default_partition_by_name_gets_its_rows_and_cannot_be_overwritten() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    let rows = jobs.faiss("a.index", 50, 8);
    jobs.run(&f2m(&server, "dest_partition_name: _default"))
        .code(0);
    assert_eq!(server.rows("c"), only(rows));
    let more = "dest_partition_name: _default\n  mode: overwrite\n  run: {checkpoint: b.ckpt}";
    let said = jobs.run(&f2m(&server, more)).code(2);
    assert!(
        said.contains("default partition cannot be dropped"),
        "{said}"
    );
}

#[test]
fn skip_and_fail_leave_a_collection_alone() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    let rows = jobs.faiss("a.index", 50, 8);
    jobs.run(&f2m(&server, "")).code(0);
    jobs.run(&f2m(&server, "mode: skip\n  run: {checkpoint: b.ckpt}"))
        .code(0);
    jobs.run(&f2m(&server, "mode: fail\n  run: {checkpoint: c.ckpt}"))
        .code(2);
    assert_eq!(server.rows("c"), only(rows));
}

#[test]
fn rows_that_do_not_fit_are_refused_before_anything_is_sent() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    jobs.faiss("a.index", 50, 8);
    jobs.run(&f2m(&server, "")).code(0);
    jobs.faiss("a.index", 50, 16);
    let job = f2m(&server, "run: {checkpoint: b.ckpt}").replace("dimension: 8", "dimension: 16");
    let said = jobs.run(&job).code(5);
    assert!(
        said.contains("holds float32 × 8, but the vectors of the source are float32 × 16"),
        "{said}"
    );
    let said = jobs
        .run(
            &job.replace("metric_type: L2", "metric_type: HAMMING")
                .replace(" c\n", " d\n"),
        )
        .code(2);
    assert!(
        said.contains("float32 vectors cannot use metric HAMMING"),
        "{said}"
    );
    assert_eq!(server.requests("Insert").len(), 1);
}

#[test]
fn what_a_1x_server_lacks_is_refused_in_words() {
    let server = StandIn::start(&[]);
    let jobs = Jobs::new();
    jobs.faiss("a.index", 5, 8);
    for (more, words) in [
        (
            "dest_user: root\n  dest_password: secret1",
            "which has no logins",
        ),
        ("dest_token: secret1", "which has no logins"),
        ("dest_db: other", "which has no databases"),
    ] {
        let said = jobs.run(&f2m(&server, more)).code(2);
        assert!(
            said.contains(words) && said.contains("Milvus 1.1.1") && !said.contains("secret1"),
            "{said}"
        );
    }
    assert!(!server.calls().contains(&"CreateCollection".to_owned()));
}

#[test]
fn a_2x_server_is_not_taken_for_a_1x_one() {
    let server = support::fake_milvus::Fake::start("v2.3.5");
    let jobs = Jobs::new();
    jobs.faiss("a.index", 5, 8);
    let job = format!(
        "source: {{faiss: {{path: a.index}}}}\nsink: {{milvus1: {{address: '{}', collection: c}}}}\n",
        server.address
    );
    let said = jobs.run(&job).code(5);
    assert!(
        said.contains("this is Milvus v2.3.5, not a 1.x server"),
        "{said}"
    );
    assert!(said.contains("`sink: {milvus: …}`"), "{said}");
}
