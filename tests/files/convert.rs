//! Vectors that become something else on the way: what arrives, what is refused, what is said to be lost.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use migration::{Jobs, support_script};
use support::fake_milvus::{Fake, Misbehave};
use support::{Engine, Server, run_python, test_env};

/// A Faiss file of flat vectors.
fn flat(path: &Path, dimension: usize, values: &[f32]) {
    let mut file = b"IxF2".to_vec();
    file.extend((dimension as u32).to_le_bytes());
    file.extend(((values.len() / dimension) as u64).to_le_bytes());
    file.extend([0; 16]);
    file.push(1);
    file.extend(1u32.to_le_bytes());
    file.extend((values.len() as u64).to_le_bytes());
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, file).unwrap();
}

/// Jobs beside a flat index `x.index`.
fn jobs(dimension: usize, values: &[f32]) -> Jobs {
    let jobs = Jobs::new();
    flat(&jobs.path("x.index"), dimension, values);
    jobs
}

/// A job from an index in its own directory.
fn job(index: &str, sink: &str, vector: &str, run: &str) -> String {
    format!(
        "source: {{faiss: {{path: {index}, lossy: allow}}}}\nsink: {{{sink}}}\n\
         fields: {{vector: {{name: embedding, {vector}}}}}\nrun: {{{run}}}\n"
    )
}

fn to(fake: &Fake) -> String {
    format!("milvus: {{address: '{}', collection: c}}", fake.address)
}

const FILE: &str = "hdf5: {path: out.h5}";

/// What became of the largest relative error, in the report of a run to one target.
fn largest_error(report: &Value) -> &Value {
    &report["targets"][0]["largest_relative_error"]
}

#[test]
fn halves_arrive_at_milvus_lite_as_numpy_makes_them() {
    let jobs = Jobs::new();
    let directory = jobs.0.path().to_str().unwrap().to_owned();
    let errors: Value =
        serde_json::from_str(&support_script("halves.py", &["make", &directory])).unwrap();
    let server = Server::shared(Engine::LiteCpp);
    // Every finite half that a quantizer of halves can hold is the same bits in the end, of either kind.
    for (name, index, vector, error) in [
        (
            "float16",
            "flat.index",
            "as: float16, normalize: l2",
            errors["float16"].clone(),
        ),
        (
            "bfloat16",
            "flat.index",
            "as: bfloat16, normalize: l2",
            errors["bfloat16"].clone(),
        ),
        ("halves", "halves.index", "as: float16", json!(0.0)),
        ("brains", "brains.index", "as: bfloat16", json!(0.0)),
    ] {
        let sink = format!(
            "milvus: {{address: '{}', collection: {name}}}",
            server.address()
        );
        let ended = jobs.run(name, &job(index, &sink, vector, "")).code(0);
        let said = largest_error(&ended.report).as_f64().unwrap();
        assert_eq!(said as f32, error.as_f64().unwrap() as f32, "{name}");
        let out = jobs.path("out").display().to_string();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/halves.py");
        // pymilvus 2.3 does not know halves.
        let read = Command::new(test_env().join("lite/venv-py/bin/python"))
            .arg(script)
            .args(["read", &server.address(), name, &out])
            .output()
            .unwrap();
        assert!(
            read.status.success(),
            "{}",
            String::from_utf8_lossy(&read.stderr)
        );
        let want = std::fs::read(jobs.path(&format!("{name}.want"))).unwrap();
        assert!(
            !want.is_empty() && std::fs::read(out).unwrap() == want,
            "{name}: other bytes arrived"
        );
    }
}

#[test]
fn whole_numbers_become_int8_and_nothing_else_does() {
    let values: Vec<f32> = (-128..128).map(|i| i as f32).collect();
    let right = jobs(8, &values);
    let fake = Fake::start("v2.6.0");
    let ended = right
        .run("j", &job("x.index", &to(&fake), "as: int8", ""))
        .code(0);
    assert_eq!(*largest_error(&ended.report), json!(0.0));
    assert_eq!(ended.report["targets"][0]["vector"], json!("int8 × 8"));
    let field = fake.arrived()[0].request.fields_data[1].clone();
    let bytes: Vec<u8> = (-128..=127i8).map(|i| i as u8).collect();
    assert_eq!(field.vectors.unwrap().int8_vector.unwrap(), bytes);

    // The one value that changes without an error: plan and run say so.
    let mut zeros = values.clone();
    zeros[8 * 3 + 2] = -0.0;
    let zeros = jobs(8, &zeros);
    let fake = Fake::start("v2.6.0");
    let words = "`as: int8` has only one zero: a component of -0.0 arrives as 0";
    let text = job("x.index", &to(&fake), "as: int8", "");
    zeros.run("j", &text).code(0).says(&[words]);
    let field = fake.arrived()[0].request.fields_data[1].clone();
    assert_eq!(field.vectors.unwrap().int8_vector.unwrap()[8 * 3 + 2], 0);
    for (vector, said) in [("as: int8", true), ("as: float16", false)] {
        let fake = Fake::start("v2.6.0");
        let text = job("x.index", &to(&fake), vector, "checkpoint: other");
        std::fs::write(zeros.path("plan.yaml"), text).unwrap();
        let planned = zeros.milvusdm(&["plan", "plan.yaml"]);
        let told = [planned.stdout, planned.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert_eq!(told.contains(words), said, "{told}");
    }

    for odd in [
        0.5,
        -129.0,
        128.0,
        f32::NAN,
        f32::INFINITY,
        f32::MIN_POSITIVE,
    ] {
        let mut values = values.clone();
        values[8 * 3 + 2] = odd;
        let jobs = jobs(8, &values);
        let fake = Fake::start("v2.6.0");
        let run = jobs
            .run("j", &job("x.index", &to(&fake), "as: int8", ""))
            .code(3);
        run.says(&["x.index", "row 3 (id 3)", "as component 2", "int8"]);
        assert!(fake.arrived().is_empty());
        // Only what is not finite may be left out.
        let skip = job(
            "x.index",
            &to(&fake),
            "as: int8",
            "non_finite: skip, checkpoint: other",
        );
        let code = if odd.is_finite() { 3 } else { 0 };
        let ended = jobs.run("k", &skip).code(code);
        if code == 0 {
            let left = json!([{"target": "c", "file": "x.index", "row": 3, "id": 3}]);
            assert_eq!(ended.report["left_out"], left);
            assert_eq!(fake.arrived()[0].request.num_rows, 31);
        }
    }
}

#[test]
fn what_becomes_infinite_is_refused_or_left_out() {
    // 65519.996 is the last to be rounded down to 65504.
    let mut values = vec![65519.996f32; 4 * 50];
    values[4 * 7 + 1] = 65520.0;
    values[4 * 9] = f32::NEG_INFINITY;
    values[4 * 49 + 3] = -1e38;
    let jobs = jobs(4, &values);
    let fake = Fake::start("v2.4.0");
    let job = |sink: &str, vector: &str, run: &str| job("x.index", sink, vector, run);
    jobs.run("fail", &job(&to(&fake), "as: float16", ""))
        .code(3)
        .says(&[
            "x.index: row 7 (id 7) has 65520.0 as component 1",
            "infinite once stored as float16",
            "skip",
        ]);
    assert!(fake.arrived().is_empty());
    let ended = jobs
        .run("skip", &job(&to(&fake), "as: float16", "non_finite: skip"))
        .code(0);
    let mut rows: Vec<u64> = ended.report["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| left["row"].as_u64().unwrap())
        .collect();
    rows.sort();
    assert_eq!(rows, [7, 9, 49]);
    let request = &fake.arrived()[0].request;
    let halves = request.fields_data[1]
        .vectors
        .clone()
        .unwrap()
        .float16_vector
        .unwrap();
    assert_eq!(
        (request.num_rows, halves),
        (47, [0xff, 0x7b].repeat(4 * 47).into())
    );
    // A file has room for all rows; what was infinite before stays so.
    jobs.run("file", &job(FILE, "as: float16", "non_finite: skip"))
        .code(3)
        .says(&["row 7 (id 7)"]);
    assert!(!jobs.path("out.h5").exists());
    values[4 * 7 + 1] = 1.0;
    values[4 * 49 + 3] = 1.0;
    flat(&jobs.path("x.index"), 4, &values);
    jobs.run("infinite", &job(FILE, "as: float16", "")).code(0);
    let script = "import sys, h5py; print(h5py.File(sys.argv[1])['embeddings'][9, :2])";
    let out = jobs.path("out.h5").display().to_string();
    assert_eq!(run_python(script, &[&out]), "[  -inf 65504.]");
    // bfloat16 has the range of float32.
    let fake = Fake::start("v2.4.0");
    jobs.run("wide", &job(&to(&fake), "as: bfloat16", "non_finite: skip"))
        .code(0);
    assert_eq!(fake.arrived()[0].request.num_rows, 49);
}

#[test]
fn zero_has_no_direction() {
    let mut values = vec![3.0f32; 4 * 10];
    values[4 * 6..4 * 7].fill(-0.0);
    let jobs = jobs(4, &values);
    for (name, vector) in [
        ("only", "normalize: l2"),
        ("both", "normalize: l2, as: float16"),
    ] {
        for run in ["", "non_finite: skip"] {
            let fake = Fake::start("v2.4.0");
            jobs.run(
                &format!("{name}{}", run.len()),
                &job("x.index", &to(&fake), vector, run),
            )
            .code(3)
            .says(&["x.index: row 6 (id 6) is zero, and cannot be scaled to length 1"]);
            assert!(fake.arrived().is_empty());
        }
    }
    values[4 * 6] = f32::NAN;
    flat(&jobs.path("x.index"), 4, &values);
    let fake = Fake::start("v2.4.0");
    let skip = job("x.index", &to(&fake), "normalize: l2", "non_finite: skip");
    let ended = jobs.run("nan", &skip).code(0);
    assert_eq!(ended.report["left_out"][0]["id"], json!(6));
    assert_eq!(
        *largest_error(&ended.report),
        Value::Null,
        "nothing was rounded to another type"
    );
    let vectors = fake.arrived()[0].request.fields_data[1]
        .vectors
        .clone()
        .unwrap();
    let Some(floats) = vectors.float_vector else {
        panic!("no floats")
    };
    assert_eq!(floats.data, 0.5f32.to_le_bytes().repeat(36));
}

#[test]
fn files_hold_halves_and_bytes() {
    let values: Vec<f32> = (0..700).map(|i| (i % 251) as f32 - 120.0).collect();
    let jobs = jobs(7, &values);
    let look = "import sys, h5py, numpy as np
f = h5py.File(sys.argv[1])
e = f['embeddings']
want = (np.arange(700) % 251 - 120).reshape(100, 7)
print(e.dtype.str, e.shape, (e[()] == want).all(), (f['ids'][()] == np.arange(100)).all(), f.attrs['dimension'])";
    for (kind, more, said) in [
        ("float16", "", "<f2"),
        ("int8", ", compression: gzip1, chunk_rows: 9", "|i1"),
    ] {
        if kind == "int8" {
            // 130 is no signed byte.
            let values: Vec<f32> = values.iter().map(|x| x.min(127.0)).collect();
            flat(&jobs.path("x.index"), 7, &values);
        }
        let sink = format!("hdf5: {{path: {kind}.h5{more}}}");
        let ended = jobs
            .run(kind, &job("x.index", &sink, &format!("as: {kind}"), ""))
            .code(0);
        assert_eq!(*largest_error(&ended.report), json!(0.0));
        let look = look.replace(
            "- 120)",
            if kind == "int8" {
                "- 120).clip(-128, 127)"
            } else {
                "- 120)"
            },
        );
        let path = jobs.path(&format!("{kind}.h5")).display().to_string();
        assert_eq!(
            run_python(&look, &[&path]),
            format!("{said} (100, 7) True True 7")
        );
    }
    jobs.run("bfloat16", &job("x.index", FILE, "as: bfloat16", ""))
        .code(3)
        .says(&["no bfloat16"]);
    assert!(!jobs.path("out.h5").exists());
}

/// What `milvusdm plan` says, and how it ends.
fn plan(jobs: &Jobs, job: &str) -> (Option<i32>, String) {
    std::fs::write(jobs.path("plan.yaml"), job).unwrap();
    let output = jobs.milvusdm(&["plan", "plan.yaml"]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_plan_shows_what_vectors_become_or_why_they_cannot() {
    let jobs = jobs(128, &[0.5; 128 * 20]);
    let binary =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/faiss/binary_flat.index");
    let binary: PathBuf = std::fs::canonicalize(binary).unwrap();
    let binary = binary.to_str().unwrap();
    let (old, new) = (Fake::start("v2.3.5"), Fake::start("v2.4.0"));
    let hamming = format!(
        "milvus: {{address: '{}', collection: c, metric: HAMMING, index: {{type: FLAT}}}}",
        new.address
    );
    let v1 = Fake::start("1.1.1");
    for (index, sink, vector, code, parts) in [
        (
            "x.index",
            to(&new),
            "as: float16",
            0,
            &[
                "embedding: float16 × 128",
                "stored as float16",
                "a batch    8065 rows",
            ][..],
        ),
        (
            "x.index",
            to(&new),
            "normalize: l2",
            0,
            &["embedding: float32 × 128", "scaled to length 1"],
        ),
        (
            "x.index",
            FILE.to_owned(),
            "as: int8",
            0,
            &["embedding: int8 × 128"],
        ),
        (
            "x.index",
            to(&old),
            "as: float16",
            3,
            &["Milvus v2.3.5 has no float16 vectors"],
        ),
        (
            "x.index",
            to(&new),
            "as: int8",
            3,
            &["Milvus v2.4.0 has no int8 vectors"],
        ),
        ("x.index", to(&v1), "as: float16", 3, &["not float16"]),
        (
            "x.index",
            hamming,
            "normalize: l2",
            2,
            &["metric HAMMING does not apply to float32 vectors"],
        ),
        (
            binary,
            FILE.to_owned(),
            "as: float16",
            2,
            &[
                "plan.yaml line 3: fields.vector.as:",
                "only float32 vectors are converted",
            ],
        ),
        (
            binary,
            FILE.to_owned(),
            "normalize: l2",
            2,
            &["plan.yaml line 3: fields.vector.normalize:", "only float32"],
        ),
        (
            "x.index",
            to(&new),
            "as: int8, normalize: l2",
            2,
            &["fields.vector.as: int8 holds whole numbers"],
        ),
        (
            "x.index",
            to(&new),
            "as: float61",
            2,
            &["`float61` is not one of float16, bfloat16, int8"],
        ),
        (
            "x.index",
            to(&new),
            "normalise: l2",
            2,
            &["did you mean `normalize`"],
        ),
    ] {
        let (ended, said) = plan(&jobs, &job(index, &sink, vector, ""));
        assert_eq!(ended, Some(code), "{vector}: {said}");
        for part in parts {
            assert!(said.contains(part), "no `{part}` in:\n{said}");
        }
    }
    assert_eq!(
        old.calls("CreateCollection") + new.calls("CreateCollection"),
        0
    );
    assert!(!jobs.path("out.h5").exists());
    // A classic job takes the same key.
    let (host, port) = new.address.split_once(':').unwrap();
    let classic = format!(
        "F2M:\n  milvus_version: 2.x\n  data_path: x.index\n  dest_host: {host}\n  dest_port: {port}\n  \
         mode: append\n  dest_collection_name: c\n  dest_partition_name: ''\n  collection_parameter: \
         {{dimension: 128, metric_type: L2}}\n  fields: {{vector: {{as: bfloat16}}}}\n"
    );
    let (ended, said) = plan(&jobs, &classic);
    assert_eq!(ended, Some(0), "{said}");
    assert!(said.contains("embedding: bfloat16 × 128"), "{said}");
}

#[test]
fn the_largest_error_outlives_a_run_that_failed() {
    // The worst component comes first, in the one batch that is delivered before the run fails.
    let mut values = vec![1.0f32; 16 * 2000];
    values[0] = 1.0 + 1.5 / 4096.0;
    values[16 * 1999] = 1.0 + 1.0 / 4096.0;
    let jobs = jobs(16, &values);
    let fake = Fake::start("v2.4.0");
    let run = "batch: 4KiB, threads: 1, connections: 1, in_flight: 1, checkpoint: one.ckpt";
    let with = |vector: &str| job("x.index", &to(&fake), vector, run);
    fake.next(Misbehave::Acknowledge(56));
    fake.next(Misbehave::Status(65535, 65535, "no, for good"));
    jobs.run("one", &with("as: float16")).code(5);
    assert_eq!(fake.arrived().len(), 1);
    // What becomes of the vectors is part of what the job is.
    jobs.run("other", &with("as: bfloat16")).code(2).says(&[
        "another, unfinished job",
        "fields",
        "float16 × 16",
    ]);
    let ended = jobs.run("one", &with("as: float16, normalize: l2")).code(2);
    assert!(ended.said.contains("length 1"), "{}", ended.said);
    // A server that refuses a batch may have kept a part of it: it goes as an upsert, and once more after the last flush,
    // and statistics, which count both, prove nothing.
    let ended = jobs.run("one", &with("as: float16")).code(7);
    let arrived = fake.arrived();
    let rows = |method: &str| -> i64 {
        let of = arrived.iter().filter(|a| a.method == method);
        of.map(|a| i64::from(a.request.num_rows)).sum()
    };
    assert_eq!((rows("Insert"), rows("Upsert")), (2000 - 56, 2 * 56));
    // A half has 1 and 1 + 4/4096, nothing between.
    let said = largest_error(&ended.report).as_f64().unwrap();
    let lost = 1.5 / 4096.0;
    assert!((said - lost / (1.0 + lost)).abs() < 1e-9, "{said}");
}
