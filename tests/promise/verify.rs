//! `milvusdm verify` against a real Milvus 2.3.5: it agrees where all is well, names the row where somebody took one,
//! changed one or added one, and says plainly when it could not look.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use serde_json::{Value, json};

use migration::{Ended, Jobs, server};
use support::{Engine, Server, run_python};

const CONNECT: &str = "
import sys, json, struct
import numpy as np
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
name = sys.argv[2]
";

/// Has pymilvus do something to a collection, which is `c` in the script.
fn pymilvus(collection: &str, script: &str) -> String {
    let script = format!("{CONNECT}c = Collection(name)\n{script}");
    run_python(&script, &[&server().address(), collection])
}

/// An HDF5 file made by a script that sets `ids` and `x`.
fn h5(jobs: &Jobs, name: &str, script: &str) {
    let script = format!(
        "import sys, h5py, numpy as np\n{script}\nwith h5py.File(sys.argv[1], 'w') as f:\n  f['embeddings'] = x\n  \
         f['ids'] = np.array(ids, dtype='i8')"
    );
    migration::check_installed();
    run_python(&script, &[jobs.path(name).to_str().unwrap()]);
}

/// A job from an HDF5 file to a collection.
fn job(file: &str, sink: &str, run: &str) -> String {
    format!(
        "source: {{hdf5: {{paths: [{file}]}}}}\n{}run: {{batch: 64KiB, {run}}}\n",
        migration::sink(sink)
    )
}

/// Compares what the job of this name brought.
fn verify(jobs: &Jobs, name: &str, more: &[&str]) -> Ended {
    let (file, report) = (format!("{name}.yaml"), format!("{name}.verify.json"));
    let _ = std::fs::remove_file(jobs.path(&report));
    let arguments = ["verify", &file, "--progress", "none", "--report", &report];
    let before = std::fs::read(jobs.path(&format!("{name}.yaml.ckpt"))).unwrap();
    let output = jobs.milvusdm(&[&arguments, more].concat());
    let after = std::fs::read(jobs.path(&format!("{name}.yaml.ckpt"))).unwrap();
    assert_eq!(before, after, "the checkpoint was changed");
    let report = std::fs::read(jobs.path(&report)).unwrap();
    Ended {
        code: output.status.code(),
        said: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        report: serde_json::from_slice(&report).unwrap(),
    }
}

fn content(ended: &Ended) -> &Value {
    &ended.report["targets"][0]["content"]
}

const FLAT: &str = "metric: L2, load: true, index: {type: FLAT}";

#[test]
fn a_row_taken_changed_or_added_is_named() {
    let float = (
        "v_float",
        FLAT,
        "x = np.random.RandomState(1).rand(20000, 16).astype('f4')",
        "[1.0] * 16",
    );
    let binary = (
        "v_binary",
        "metric: HAMMING, load: true, index: {type: BIN_FLAT}",
        "x = np.random.RandomState(1).randint(0, 256, (20000, 4)).astype('u1')",
        "bytes([1, 2, 3, 4])",
    );
    for (name, sink, vectors, other) in [float, binary] {
        let jobs = Jobs::new();
        let ids = "ids = np.random.RandomState(2).permutation(40000)[:20000] - 20000\nids[700] = -5\nids[(ids == -5) & \
                   (np.arange(20000) != 700)] = 30000";
        h5(&jobs, "a.h5", &format!("{vectors}\n{ids}"));
        jobs.run(
            name,
            &job("a.h5", &format!("collection: {name}, {sink}"), ""),
        )
        .code(0);
        let ended = verify(&jobs, name, &[]).code(0);
        let ended = ended.says(&[
            "the destination agrees",
            "full content of 20000 rows by id: agrees",
            "counted 20000 (exact count): agrees",
        ]);
        let target = &ended.report["targets"][0];
        assert_eq!(content(&ended)["digest"], target["digest"]);
        assert_eq!(content(&ended)["rows_compared"], json!(20_000));

        let before = "r = c.query('id in [-5]', output_fields=['embedding'], consistency_level='Strong')[0]['embedding']\n\
                      row = [r[0] if isinstance(r[0], bytes) else r]\n";
        let kept = pymilvus(
            name,
            &format!(
                "{before}print(row[0].hex() if isinstance(row[0], bytes) else list(map(float, row[0])))"
            ),
        );
        let row = match kept.starts_with('[') {
            true => kept,
            false => format!("bytes.fromhex('{kept}')"),
        };
        pymilvus(name, "c.delete('id in [-5]')");
        let ended = verify(&jobs, name, &[]).code(5);
        let ended = ended.says(&[
            "the destination differs",
            "1 row differs: id -5 is missing (row 700 of a.h5)",
            "the destination counts 19999 (exact count)",
        ]);
        assert_eq!(
            content(&ended)["first_difference"]["what"],
            json!("missing")
        );
        assert_eq!(ended.report["outcome"], json!("differs"));

        // Another row in its place: counts agree.
        pymilvus(name, &format!("c.insert([[123456], [{other}]])"));
        let ended = verify(&jobs, name, &[]).code(5);
        ended.says(&["id -5 is missing", "counted 20000 (exact count): agrees"]);
        pymilvus(
            name,
            &format!("c.delete('id in [123456]'); c.insert([[-5], [{row}]])"),
        );
        verify(&jobs, name, &[]).code(0);

        pymilvus(name, &format!("c.upsert([[-5], [{other}]])"));
        let ended = verify(&jobs, name, &[]).code(5);
        let ended = ended.says(&["1 row differs: id -5 is there with another vector"]);
        assert_eq!(ended.report["targets"][0]["counts_agree"], json!(true));
        pymilvus(name, &format!("c.upsert([[-5], [{row}]])"));
        verify(&jobs, name, &[]).code(0);

        pymilvus(name, &format!("c.insert([[-5], [{row}]])"));
        let ended = verify(&jobs, name, &[]).code(5);
        ended.says(&[
            "1 row differs: id -5 is there twice",
            "the destination counts 20001",
        ]);
        // One doubled and one gone: counts agree, and a query gives no two rows of a key.
        pymilvus(
            name,
            &format!(
                "c.delete('id in [30000]'); c.insert([[-5], [{row}]]); c.delete('id in [%d]' % c.query('id > 0', limit=1)[0]['id'])"
            ),
        );
        let ended = verify(&jobs, name, &[]).code(5);
        ended.says(&["rows differ, the first one: id"]);
    }
}

#[test]
fn what_is_not_loaded_is_not_compared_and_that_is_said() {
    let jobs = Jobs::new();
    h5(
        &jobs,
        "a.h5",
        "x = np.random.rand(300, 8).astype('f4')\nids = range(300)",
    );
    let text = job("a.h5", "collection: v_unloaded, metric: L2", "verify: full");
    let not_compared = [
        "content was not compared: v_unloaded is not loaded",
        "`load: true`",
        "counted 300 (statistics)",
    ];
    let ended = jobs.run("unloaded", &text).code(7);
    // The end of a run that was asked for more than it could look at is no success.
    let ended = ended.says(&not_compared[..2]);
    let ended = ended.says(&["warning: `run.verify: full` reads rows back"]);
    assert_eq!(ended.report["outcome"], json!("not proven"));
    assert_eq!(ended.report["targets"][0]["rows_counted"], json!(300));
    assert_eq!(ended.report["targets"][0]["agrees"], json!(false));
    let ended = verify(&jobs, "unloaded", &[]).code(7).says(&not_compared);
    assert_eq!(ended.report["outcome"], json!("not proven"));
    assert_eq!(content(&ended)["rows_compared"], json!(0));
    assert_eq!(content(&ended)["agrees"], json!(false));
    assert!(
        !ended.said.contains("destination differs"),
        "{}",
        ended.said
    );
    let state = "print(utility.load_state(name), c.indexes)";
    assert_eq!(
        pymilvus("v_unloaded", state),
        "NotLoad []",
        "it was loaded for this"
    );

    pymilvus(
        "v_unloaded",
        "c.create_index('embedding', {'index_type': 'FLAT', 'metric_type': 'L2', 'params': {}})\nc.load()",
    );
    let agrees = ["full content of 300 rows by id: agrees"];
    verify(&jobs, "unloaded", &[]).code(0).says(&agrees);
    // The same command has nothing left but to compare.
    let ended = jobs.run("unloaded", &text).code(0).says(&agrees);
    assert_eq!(ended.report["progress"]["batches"], json!(0));
    assert_eq!(
        ended.report["progress"]["last_receipt_seconds"],
        json!(null)
    );
    jobs.run("unloaded", &text).code(0).says(&["nothing to do"]);
}

#[test]
fn ids_of_the_servers_own_making_are_not_compared() {
    let jobs = Jobs::new();
    h5(
        &jobs,
        "a.h5",
        "x = np.random.rand(300, 8).astype('f4')\nids = range(300)",
    );
    let sink = format!("collection: v_auto, auto_id: true, {FLAT}");
    jobs.run("auto", &job("a.h5", &sink, "")).code(0);
    let ended = verify(&jobs, "auto", &[]).code(7);
    ended.says(&[
        "content was not compared: the server made the ids",
        "counted 300 (exact count)",
    ]);
}

#[test]
fn partitions_are_compared_each_for_itself_and_rows_from_before_are_left_alone() {
    let jobs = Jobs::new();
    h5(
        &jobs,
        "a.h5",
        "x = np.random.rand(400, 8).astype('f4')\nids = range(400)",
    );
    h5(
        &jobs,
        "b.h5",
        "x = np.random.rand(500, 8).astype('f4')\nids = range(100, 600)",
    );
    let sink = |partition: &str| format!("collection: v_parts, partition: {partition}, {FLAT}");
    jobs.run("one", &job("a.h5", &sink("p1"), "")).code(0);
    // The same ids as in the other partition, with other vectors.
    jobs.run("two", &job("b.h5", &sink("p2"), "")).code(0);
    for (name, rows) in [("one", 400), ("two", 500)] {
        let said = format!("full content of {rows} rows by id: agrees");
        verify(&jobs, name, &[]).code(0).says(&[&said]);
    }
    // Rows are added to a partition that has some.
    h5(
        &jobs,
        "c.h5",
        "x = np.random.rand(50, 8).astype('f4')\nids = range(1000, 1050)",
    );
    jobs.run("three", &job("c.h5", &sink("p2"), "")).code(0);
    let ended = verify(&jobs, "three", &[]).code(0);
    ended.says(&[" append 500 50 0 ", "full content of 50 rows by id: agrees"]);
    // Now the job before it finds more than it left.
    let ended = verify(&jobs, "two", &[]).code(5);
    ended.says(&[
        "the destination counts 550",
        "full content of 500 rows by id: agrees",
    ]);
    // The same rows once more.
    jobs.run("four", &job("c.h5", &sink("p2"), "existing: keep"))
        .code(0);
    let ended = verify(&jobs, "four", &[]).code(5);
    ended.says(&[
        " append 550 50 ",
        "50 rows differ, the first one: id 10",
        "is there twice",
    ]);
    pymilvus("v_parts", "c.release()\nc.drop_partition('p1')\nc.load()");
    let ended = verify(&jobs, "one", &[]).code(5);
    ended.says(&["partition"]);
    pymilvus("v_parts", "c.drop()");
    let ended = verify(&jobs, "two", &[]).code(5);
    ended.says(&["collection v_parts does not exist"]);
}

#[test]
fn a_count_from_before_that_rested_on_statistics_is_compared_with_statistics() {
    let jobs = Jobs::new();
    h5(
        &jobs,
        "a.h5",
        "x = np.random.rand(100, 8).astype('f4')\nids = range(100)",
    );
    h5(
        &jobs,
        "b.h5",
        "x = np.random.rand(50, 8).astype('f4')\nids = range(1000, 1050)",
    );
    jobs.run("first", &job("a.h5", "collection: v_before", ""))
        .code(0);
    pymilvus("v_before", "c.delete('id in [1, 2, 3]')\nc.flush()");
    let sink = format!("collection: v_before, {FLAT}");
    jobs.run("second", &job("b.h5", &sink, "verify: full"))
        .code(0)
        .says(&[" append 100 50 ", "full content of 50 rows by id: agrees"]);
    let ended = verify(&jobs, "second", &[]).code(0);
    ended.says(&[
        "counted 150 (statistics): agrees",
        "the exact count is 147, but some of the 100 rows that were there before may have been deleted then",
        "full content of 50 rows by id: agrees",
    ]);
    pymilvus("v_before", "c.delete('id in [1007]')");
    let ended = verify(&jobs, "second", &[]).code(5);
    ended.says(&["id 1007 is missing"]);
}

#[test]
fn rows_left_out_are_not_missed_and_kept_repeats_are_counted() {
    let jobs = Jobs::new();
    h5(
        &jobs,
        "a.h5",
        "x = np.random.rand(3000, 8).astype('f4')\nx[17, 3] = np.nan\nx[2999, 0] = np.inf\nids = range(3000)",
    );
    let sink = format!("collection: v_odd, {FLAT}");
    jobs.run("odd", &job("a.h5", &sink, "non_finite: skip, verify: full"))
        .code(0)
        .says(&["full content of 2998 rows by id: agrees"]);
    verify(&jobs, "odd", &[]).code(0).says(&["2998 2 0"]);

    h5(
        &jobs,
        "b.h5",
        "x = np.random.rand(3000, 8).astype('f4')\nids = np.arange(3000)\nids[10] = ids[2000] = ids[2500] = 7\nids[11] = 12",
    );
    let sink = format!("collection: v_keep, {FLAT}");
    jobs.run("keep", &job("b.h5", &sink, "id_collision: keep"))
        .code(0);
    let ended = verify(&jobs, "keep", &[]).code(0);
    let ended = ended.says(&["full content of 2994 rows by id, 6 more were only counted: agrees"]);
    assert_eq!(content(&ended)["rows_only_counted"], json!(6));
    // One of four goes for one more of another: the collection's count is the same.
    pymilvus(
        "v_keep",
        "c.insert([[7], [[0.5] * 8]]); c.delete('id in [2999]')",
    );
    let ended = verify(&jobs, "keep", &[]).code(5);
    ended.says(&["id 2999 is missing", "counted 3000"]);
    pymilvus(
        "v_keep",
        "r = [0.5] * 8; c.upsert([[7], [r]]); c.insert([[7, 7, 2999], [r, r, r]])",
    );
    let ended = verify(&jobs, "keep", &[]).code(5);
    ended.says(&["id 2999 is there with another vector", "2 rows differ"]);
}

#[test]
fn converted_rows_are_compared_with_what_was_delivered() {
    let jobs = Jobs::new();
    h5(
        &jobs,
        "a.h5",
        "x = np.random.rand(3000, 8).astype('f4')\nx[5, 5] = np.nan\nids = range(3000)",
    );
    let sink = format!("collection: v_unit, {FLAT}");
    let text = job("a.h5", &sink, "verify: full, non_finite: skip");
    let text = format!("{text}fields: {{vector: {{name: unit, normalize: l2}}}}\n");
    let agrees = ["full content of 2999 rows by id: agrees"];
    jobs.run("unit", &text).code(0).says(&agrees);
    let ended = verify(&jobs, "unit", &[]).code(0).says(&agrees);
    assert_eq!(
        content(&ended)["digest"],
        ended.report["targets"][0]["digest"]
    );
    pymilvus(
        "v_unit",
        "x = c.query('id in [7]', output_fields=['unit'])[0]['unit']\nc.upsert([[7], [[2 * v for v in x]]])",
    );
    verify(&jobs, "unit", &[])
        .code(5)
        .says(&["id 7 is there with another vector"]);
}

#[test]
fn copies_of_kept_repeats_are_named() {
    let jobs = Jobs::new();
    h5(
        &jobs,
        "a.h5",
        "x = np.random.rand(3000, 8).astype('f4')\nids = np.arange(3000)\nids[10] = 7\nids[11] = 12",
    );
    let sink = format!("collection: v_copies, {FLAT}");
    jobs.run("copies", &job("a.h5", &sink, "id_collision: keep"))
        .code(0);
    pymilvus("v_copies", "c.insert([[12], [[0.5] * 8]])");
    let ended = verify(&jobs, "copies", &[]).code(5);
    ended.says(&["1 row differs: id 12 is there 3 times (row 11 of a.h5)"]);
}

#[test]
fn every_id_can_be_asked_for() {
    let jobs = Jobs::new();
    h5(
        &jobs,
        "a.h5",
        "x = np.random.rand(6, 8).astype('f4')\nids = [-2**63, -2**63 + 1, -1, 0, 2**63 - 2, 2**63 - 1]",
    );
    let sink = format!("collection: v_ids, {FLAT}");
    jobs.run("ids", &job("a.h5", &sink, "")).code(0);
    let ended = verify(&jobs, "ids", &[]).code(0);
    ended.says(&["full content of 5 rows by id, 1 more were only counted: agrees"]);
    pymilvus("v_ids", "c.delete('id in [9223372036854775807]')");
    let ended = verify(&jobs, "ids", &[]).code(5);
    ended.says(&["id 9223372036854775807 is missing"]);
}

#[test]
fn partitions_that_got_another_name_are_found_under_it() {
    let jobs = Jobs::new();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/milvus1x/v1.1.1/milvus");
    let job = [
        migration::source(&path, "collections: [f128_ip]"),
        migration::sink("index: source, load: true"),
        "into: {collection: 'v_{collection}'}\n".to_owned(),
    ];
    jobs.run("renamed", &job.concat()).code(0);
    let ended = verify(&jobs, "renamed", &[]).code(0);
    let targets = ended.report["targets"].as_array().unwrap();
    assert!(targets.len() > 1);
    for target in targets {
        let content = &target["content"];
        assert_eq!(content["rows_compared"], target["delivered"]);
        assert_eq!(content["digest"], target["digest"]);
    }
    pymilvus(
        "v_f128_ip",
        "p = [p.name for p in c.partitions if p.name.startswith('part_2')][0]\n\
             i = c.query('id > 0', limit=1, partition_names=[p])[0]['id']\nc.delete('id in [%d]' % i, partition_name=p)",
    );
    let ended = verify(&jobs, "renamed", &[]).code(5);
    ended.says(&["v_f128_ip/part_2_a_b_daaa0a17: ", "is missing"]);
}

#[test]
fn milvus_lite_is_compared_too() {
    let floats = "x = np.random.rand(3000, 8).astype('f4')\nids = range(3000)";
    let halves = "x = np.random.rand(3000, 8).astype('f2')\nids = range(3000)";
    for (engine, data) in [
        (Engine::LitePython, floats),
        (Engine::LiteCpp, floats),
        (Engine::LiteCpp, halves),
    ] {
        let jobs = Jobs::new();
        h5(&jobs, "a.h5", data);
        h5(&jobs, "b.h5", data);
        let sink = |name: &str| {
            format!(
                "sink: {{milvus: {{address: '{}', collection: {name}, {FLAT}}}}}\nrun: {{batch: 64KiB}}\n",
                Server::shared(engine).address()
            )
        };
        let name = if data == floats { "floats" } else { "halves" };
        let text = |file: &str| format!("source: {{hdf5: {{paths: [{file}]}}}}\n{}", sink(name));
        jobs.run("lite", &text("a.h5")).code(0);
        let ended = verify(&jobs, "lite", &[]).code(0);
        let ended = ended.says(&["full content of 3000 rows by id: agrees"]);
        assert_eq!(
            content(&ended)["digest"],
            ended.report["targets"][0]["digest"]
        );
        // The other's vectors are others.
        let over = text("b.h5").replace(
            &format!("collection: {name}"),
            &format!("mode: overwrite, collection: {name}"),
        );
        jobs.run("other", &over).code(0);
        let ended = verify(&jobs, "lite", &[]).code(5);
        ended.says(&["3000 rows differ, the first one: id 0 is there with another vector"]);
    }
}

#[test]
fn a_sample_is_called_one() {
    let jobs = Jobs::new();
    h5(
        &jobs,
        "a.h5",
        "x = np.random.rand(60000, 8).astype('f4')\nids = range(60000)",
    );
    let sink = format!("collection: v_sample, {FLAT}");
    let text = job("a.h5", &sink, "verify: sample");
    let ended = jobs.run("sample", &text).code(0).says(&["sample of 10"]);
    let rows = content(&ended)["rows_compared"].as_u64().unwrap();
    assert!((10_000..11_000).contains(&rows), "{rows}");
    assert_eq!(content(&ended)["digest"], json!(null));
    assert!(!ended.said.contains("full content"), "{}", ended.said);
    let ended = verify(&jobs, "sample", &[]).code(0);
    ended.says(&["sample of 10", "rows by id: agrees"]);
    // The first and the last row are always among them.
    for id in [0, 59_999] {
        pymilvus("v_sample", &format!("c.upsert([[{id}], [[0.5] * 8]])"));
        let ended = verify(&jobs, "sample", &[]).code(5);
        ended.says(&[
            &format!("id {id} is there with another vector"),
            "sample of",
        ]);
        pymilvus("v_sample", &format!("c.delete('id in [{id}]')"));
        let ended = verify(&jobs, "sample", &[]).code(5);
        ended.says(&[&format!("id {id} is missing")]);
        if id == 0 {
            let x =
                "import h5py\nx = h5py.File(sys.argv[3])['embeddings'][0]\nc.insert([[0], [x]])";
            let script = format!("{CONNECT}c = Collection(name)\n{x}");
            let file = jobs.path("a.h5");
            run_python(
                &script,
                &[&server().address(), "v_sample", file.to_str().unwrap()],
            );
        }
    }
}
