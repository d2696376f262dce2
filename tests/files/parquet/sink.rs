//! Files that the sink writes: read by others, restored, the same each time, whole or not there, gone on with after a kill.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use milvusdm::batch::{Limits, Part, Target};
use milvusdm::buffers::Buffers;
use milvusdm::job::{Form, Job};
use milvusdm::schema::{Column, ColumnType, Columns, Element, Index, Metric, Scalar, VectorType};
use milvusdm::sink::{Attempt, SINKS, Sink};
use serde_json::{Value, json};

use crate::parquet::cases::{Case, common, sparse, texts, vectors};
use crate::parquet::given::{of, open, rows};
use crate::parquet::migration::Jobs;
use crate::support::{batch, finish, tables, target};

pub const WIDE: Limits = Limits {
    batch_bytes: 4 << 20,
    batch_rows: 1 << 20,
};

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/parquet")
        .join(name);
    path.display().to_string()
}

pub fn sink(settings: &str) -> Box<dyn Sink> {
    let text = format!("source: {{none: {{}}}}\nsink: {{parquet: {{{settings}}}}}\n");
    let job = Job::parse(Path::new("job.yaml"), text).unwrap();
    let known = SINKS.iter().find(|kind| kind.name == "parquet").unwrap();
    let mut form = Form::new(
        "sink",
        job.sink.settings.clone(),
        known.settings,
        &job.mistakes,
    );
    let spec = (known.read)(&mut form);
    form.done();
    job.check().unwrap();
    spec.unwrap().open(&job.run).unwrap()
}

/// Columns of every type, some without a value in every other row; metric and index on the vectors.
fn every_type(count: usize) -> (std::sync::Arc<Columns>, Vec<arrow_array::ArrayRef>) {
    let keys: Vec<String> = (0..count).map(|n| format!("key {n} \"ü\"")).collect();
    let mut cases = common(count);
    for case in &mut cases {
        // Only texts have a length.
        if let ColumnType::Array { of, max_bytes, .. } = &mut case.column.kind
            && *of != Scalar::VarChar
        {
            *max_bytes = None;
        }
    }
    for element in Element::ALL {
        let mut case: Case = vectors(element.name(), element, count);
        case.column.metric = Some(if element == Element::Bit {
            Metric::Hamming
        } else {
            Metric::Cosine
        });
        let params = vec![("M".to_owned(), "16".to_owned())];
        let kind = "HNSW".to_owned();
        case.column.index = Some(Index { kind, params });
        cases.push(case);
    }
    cases.push(sparse(count, true));
    let key = Column::key(
        "pk",
        ColumnType::VarChar {
            max_bytes: Some(64),
        },
    );
    let columns = [key]
        .into_iter()
        .chain(cases.iter().map(|case| case.column.clone()))
        .collect();
    let values = [texts(&keys)]
        .into_iter()
        .chain(cases.into_iter().map(|case| case.values));
    (Columns::new(columns).unwrap(), values.collect())
}

fn write(
    sink: &dyn Sink,
    columns: &std::sync::Arc<Columns>,
    part: &Part,
    sizes: &[usize],
) -> Target {
    let plain = VectorType {
        element: Element::Float32,
        dimension: 8,
    };
    let target = Target {
        columns: columns.clone(),
        rows: part.len() as u64,
        ..target(sink, plain)
    };
    let decision = sink.decide(&target).unwrap();
    sink.begin(7);
    sink.prepare(&target, &decision, false).unwrap();
    let (mut first, mut sizes) = (0, sizes.iter().cycle());
    while first < part.len() {
        let batch = batch(&target, part, first, *sizes.next().unwrap());
        let rows = batch.rows() as usize;
        let parcel = sink.pack(batch, Buffers::default().take()).unwrap();
        sink.deliver(&parcel, Attempt::First).unwrap();
        first += rows;
    }
    finish(sink, &target).unwrap();
    target
}

#[test]
fn every_type_is_restored_with_key_metric_and_index() {
    for packing in ["none", "zstd", "snappy", "lz4", "gzip"] {
        let dir = tempfile::tempdir().unwrap();
        let (columns, values) = every_type(23);
        let part = Part::new(&columns, values, &Path::new("x").into(), 0).unwrap();
        let out = dir.path().join("out");
        let sink = sink(&format!(
            "dir: '{}', rows_per_file: 10, compression: {packing}",
            out.display()
        ));
        write(&*sink, &columns, &part, &[4, 9]);
        let source = open(&json!({"dir": out})).unwrap();
        let survey = source.survey(WIDE).unwrap();
        let restored = &survey.manifest.targets[0].columns;
        assert_eq!(restored.all(), columns.all(), "{packing}");
        assert_eq!(rows(&*source, WIDE).unwrap().1, of(&part), "{packing}");
    }
}

#[test]
fn duckdb_polars_pandas_and_pyarrow_read_the_same() {
    let jobs = Jobs::new();
    let job = json!({
        "source": {"parquet": {"path": fixture("types_v1.parquet")}},
        "sink": {"parquet": {"dir": "out", "rows_per_file": 5}},
    });
    jobs.run("a", &job.to_string()).code(0);
    let read = tables("parquet_read.py", &[jobs.path("out").to_str().unwrap()]);
    let read: Vec<Value> = serde_json::from_str(&read).unwrap();
    assert_eq!(read.len(), 12);
    assert_eq!(
        (&read[3]["id"], &read[3]["t"], &read[0]["t"]),
        (&json!(3), &json!(""), &Value::Null)
    );
    assert_eq!(read[4]["v"], json!(vec!["0x1.0000000000000p+1"; 4]));
    assert_eq!(read[5]["s"]["indices"], json!([1, 5]));
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(jobs.path("out/manifest.json")).unwrap()).unwrap();
    let counts: Vec<_> = manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["rows"].clone())
        .collect();
    assert_eq!(counts, [5, 5, 2]);
    let verified = jobs.milvusdm(&["verify", "a.yaml"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}

/// The files of a directory.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect()
}

/// A job over many rows in small batches, into this directory.
fn many(jobs: &Jobs, out: &str, more: Value) -> Value {
    let path = jobs.path("x.fbin");
    if !path.exists() {
        let (count, dimension) = (40_000u32, 16u32);
        let mut bytes = [count, dimension].map(u32::to_le_bytes).concat();
        bytes.extend((0..count * dimension).flat_map(|i| (i as f32 * 0.37).sin().to_le_bytes()));
        std::fs::write(&path, bytes).unwrap();
    }
    let mut job = json!({
        "source": {"vecs": {"path": path}},
        "sink": {"parquet": {"dir": out, "rows_per_file": 7000}},
        "run": {"batch": "16KiB"},
    });
    for (key, value) in more.as_object().unwrap() {
        job["run"][key] = value.clone();
    }
    job
}

#[test]
fn the_same_rows_are_the_same_bytes_and_a_killed_run_is_gone_on_with() {
    let jobs = Jobs::new();
    jobs.run(
        "one",
        &many(&jobs, "one", json!({"threads": 1})).to_string(),
    )
    .code(0);
    let whole = files(&jobs.path("one"));
    assert_eq!(whole.len(), 7, "{:?}", whole.keys());
    jobs.run(
        "two",
        &many(&jobs, "two", json!({"threads": 4})).to_string(),
    )
    .code(0);
    assert!(
        files(&jobs.path("two")) == whole,
        "another number of threads makes other bytes"
    );
    // So slow that it is killed on its way on any machine.
    let slow = json!({"max_rows_per_s": 120_000});
    let slow = many(&jobs, "three", slow).to_string();
    std::fs::write(jobs.path("three.yaml"), slow).unwrap();
    let (mut deaths, mut went_on) = (0, false);
    for number in 0..60u64 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
            .args(["run", "three.yaml", "--progress", "none"])
            .current_dir(jobs.0.path())
            .env("XDG_STATE_HOME", jobs.path("state"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(40 + 37 * number % 400 + 10 * number));
        child.kill().unwrap();
        match child.wait().unwrap().code() {
            Some(code) => {
                assert_eq!(code, 0);
                break;
            }
            None => deaths += 1,
        }
        let dir = jobs.path("three");
        let names = if dir.exists() {
            files(&dir)
        } else {
            BTreeMap::new()
        };
        went_on |= names.contains_key(".milvusdm-journal");
        if !names.contains_key("manifest.json") && names.contains_key(".milvusdm-journal") {
            let refused = open(&json!({"dir": dir})).err().unwrap();
            assert!(
                refused.0 == 2 && refused.1.contains("half-written"),
                "{refused:?}"
            );
        }
    }
    assert!(deaths > 0 && went_on, "no run was killed on its way");
    assert!(
        files(&jobs.path("three")) == whole,
        "{:?}",
        files(&jobs.path("three")).keys()
    );
}

#[test]
fn what_is_there_is_left_skipped_or_replaced() {
    let jobs = Jobs::new();
    let job = |name: &str, mode: &str| {
        json!({
            "source": {"parquet": {"path": fixture(name), "columns": ["v"]}},
            "sink": {"parquet": {"dir": "out", "mode": mode, "rows_per_file": 5}},
        })
        .to_string()
    };
    jobs.run("a", &job("types_v1.parquet", "fail")).code(0);
    let before = files(&jobs.path("out"));
    jobs.run("b", &job("types_v2.parquet", "fail"))
        .code(2)
        .says(&["manifest.json: exists", "mode: overwrite"]);
    jobs.run("c", &job("types_v2.parquet", "skip")).code(0);
    assert!(files(&jobs.path("out")) == before);
    jobs.run("d", &job("types_v2.parquet", "overwrite")).code(0);
    let after = files(&jobs.path("out"));
    assert!(
        after.keys().eq(before.keys())
            && after["part-00000.parquet"] == before["part-00000.parquet"]
    );
    std::fs::create_dir(jobs.path("other")).unwrap();
    std::fs::write(jobs.path("other/mine.parquet"), "x").unwrap();
    let stray = job("types_v1.parquet", "overwrite").replace("\"out\"", "\"other\"");
    jobs.run("e", &stray)
        .code(2)
        .says(&["mine.parquet", "no manifest"]);
}

#[test]
fn a_missing_extra_or_altered_file_is_named() {
    let jobs = Jobs::new();
    let job = json!({
        "source": {"parquet": {"path": fixture("vectors.parquet")}},
        "sink": {"parquet": {"dir": "out", "rows_per_file": 5, "compression": "none"}},
    });
    jobs.run("a", &job.to_string()).code(0);
    let back = json!({"source": {"parquet": {"dir": "out"}}, "sink": {"hdf5": {"path": "x.h5"}}})
        .to_string();
    let part = jobs.path("out/part-00001.parquet");
    let bytes = std::fs::read(&part).unwrap();
    let mut odd = bytes.clone();
    odd[60] ^= 1;
    std::fs::write(&part, &odd).unwrap();
    jobs.run("altered", &back)
        .code(3)
        .says(&["part-00001.parquet", "was altered"]);
    let verified = jobs.milvusdm(&["verify", "a.yaml"]);
    assert_eq!(verified.status.code(), Some(5), "{verified:?}");
    std::fs::write(&part, &bytes[1..]).unwrap();
    jobs.run("shorter", &back)
        .code(3)
        .says(&["part-00001.parquet", "the manifest declares"]);
    std::fs::remove_file(&part).unwrap();
    jobs.run("missing", &back)
        .code(3)
        .says(&["part-00001.parquet", "is missing"]);
    std::fs::write(&part, &bytes).unwrap();
    std::fs::write(jobs.path("out/more.parquet"), &bytes).unwrap();
    jobs.run("extra", &back)
        .code(3)
        .says(&["more.parquet", "not in the manifest"]);
    std::fs::remove_file(jobs.path("out/more.parquet")).unwrap();
    let manifest = std::fs::read_to_string(jobs.path("out/manifest.json")).unwrap();
    for (from, to) in [
        ("\"rows\": 12", "\"rows\": 13"),
        ("\"version\": 2", "\"version\": 9"),
        ("int64", "int65"),
        ("{", ""),
    ] {
        std::fs::write(
            jobs.path("out/manifest.json"),
            manifest.replacen(from, to, 1),
        )
        .unwrap();
        jobs.run("manifest", &back).code(3).says(&["manifest.json"]);
    }
    std::fs::write(jobs.path("out/manifest.json"), &manifest).unwrap();
    jobs.run("whole", &back).code(0);
}

#[test]
fn parquet_to_parquet_to_milvus_arrives_as_it_was() {
    let jobs = Jobs::new();
    let columns = ["v", "b", "u", "h", "d", "c", "l"];
    let job = json!({
        "source": {"parquet": {"path": fixture("types_v1.parquet"), "columns": columns}},
        "sink": {"parquet": {"dir": "out", "rows_per_file": 5}},
    });
    jobs.run("first", &job.to_string()).code(0);
    for engine in [
        crate::support::Engine::Standalone,
        crate::support::Engine::LitePython,
    ] {
        let server = crate::support::Server::shared(engine);
        let name = format!("to_{engine:?}").to_lowercase();
        let job = json!({
            "source": {"parquet": {"dir": "out"}},
            "sink": {"milvus": {"address": server.address(), "collection": name, "metric": "L2", "index": {"type": "FLAT"}, "load": true}},
            "run": {"verify": "full"},
        });
        jobs.run(&name, &job.to_string()).code(0).says(&["12"]);
        let verified = jobs.milvusdm(&["verify", &format!("{name}.yaml")]);
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    }
}
