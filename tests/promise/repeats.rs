//! Repeats are safe, on a real Milvus 2.3.5: a job given once more, from elsewhere, spelt otherwise or under another
//! name delivers nothing twice; what would double or remove rows is refused, or said.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use std::path::Path;
use std::process::Command;

use serde_json::json;

use migration::{Ended, Jobs, server};
use support::run_python;

const CONNECT: &str = "
import sys
from pymilvus import *
connections.connect(uri='http://' + sys.argv[1])
c = Collection(sys.argv[2]) if utility.has_collection(sys.argv[2]) else None
";

fn pymilvus(collection: &str, script: &str) -> String {
    let script = format!("{CONNECT}{script}");
    let said = run_python(&script, &[&server().address(), collection]);
    said.trim().to_owned()
}

/// Rows of a collection by its statistics, nothing being loaded.
#[track_caller]
fn check_rows(collection: &str, rows: u64) {
    let counted = pymilvus(collection, "c.flush(); print(c.num_entities)");
    assert_eq!(counted, rows.to_string(), "{collection}");
}

/// An HDF5 file of 8 floats a row; ids from `first`, or none.
fn h5(jobs: &Jobs, name: &str, rows: u32, first: Option<i64>) {
    let ids = match first {
        Some(first) => format!("  f['ids'] = np.arange({first}, {first} + {rows}, dtype='i8')\n"),
        None => String::new(),
    };
    let script = format!(
        "import sys, h5py, numpy as np\nwith h5py.File(sys.argv[1], 'w') as f:\n  f['embeddings'] = \
         np.random.RandomState({rows}).rand({rows}, 8).astype('f4')\n{ids}"
    );
    migration::check_installed();
    run_python(&script, &[jobs.path(name).to_str().unwrap()]);
}

fn job(jobs: &Jobs, file: &str, sink: &str, run: &str) -> String {
    let path = jobs.path(file);
    let source = format!("source: {{hdf5: {{paths: ['{}']}}}}\n", path.display());
    format!("{source}{}run: {{{run}}}\n", migration::sink(sink))
}

/// The same job as the Python tool spells it.
fn classic(jobs: &Jobs, file: &str, collection: &str) -> String {
    let address = server().address();
    let (host, port) = address.split_once(':').unwrap();
    format!(
        "H2M:\n  milvus_version: 2.x\n  data_path: ['{}']\n  data_dir:\n  dest_host: '{host}'\n  dest_port: {port}\n  \
         mode: append\n  dest_collection_name: {collection}\n  dest_partition_name: ''\n  collection_parameter:\n    \
         dimension: 8\n    index_file_size: 1024\n    metric_type: L2\n",
        jobs.path(file).display()
    )
}

/// Runs a job file that is there, from this directory, with further arguments.
fn run_in(jobs: &Jobs, directory: &Path, name: &str, more: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .arg("run")
        .arg(jobs.path(&format!("{name}.yaml")))
        .args(["--progress", "none"])
        .args(more)
        .current_dir(directory)
        .env("XDG_STATE_HOME", jobs.path("state"))
        .output()
        .unwrap();
    Ended {
        code: output.status.code(),
        said: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        report: json!(null),
    }
}

#[test]
fn the_same_job_from_elsewhere_or_spelt_otherwise_delivers_nothing() {
    let jobs = Jobs::new();
    h5(&jobs, "a.h5", 2000, Some(0));
    let first = job(&jobs, "a.h5", "collection: r_same, metric: L2", "");
    jobs.run("job", &first).code(0).says(&["2000 rows"]);
    assert!(jobs.path("job.yaml.ckpt").exists());

    let elsewhere = tempfile::tempdir().unwrap();
    run_in(&jobs, elsewhere.path(), "job", &[])
        .code(0)
        .says(&["nothing to do"]);
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);

    let touch = "import os, sys; os.utime(sys.argv[1])";
    run_python(touch, &[jobs.path("a.h5").to_str().unwrap()]);
    jobs.run("job", &first).code(0).says(&["nothing to do"]);

    let others = [
        first.replace("127.0.0.1", "localhost"),
        first.replace("metric: L2", "metric: l2"),
        first.replace(
            "metric: L2",
            "metric: L2, shards: 2, mode: append, db: default",
        ),
        first.replace("run: {", "run: {batch: 64KiB, threads: 1"),
        first.replace(
            "collection: r_same",
            "collection: r_same, partition: _default",
        ),
        format!("# another comment\n{first}"),
        classic(&jobs, "a.h5", "r_same"),
    ];
    for other in others {
        jobs.run("job", &other)
            .code(0)
            .says(&["nothing to do", "2000 rows delivered"]);
    }
    check_rows("r_same", 2000);
}

#[test]
fn the_same_rows_under_another_job_file_are_known_again() {
    let jobs = Jobs::new();
    h5(&jobs, "a.h5", 1000, Some(0));
    jobs.run("H2M", &classic(&jobs, "a.h5", "r_other"))
        .code(0)
        .says(&["1000 rows"]);
    // Nothing is loaded, so that no key can be looked up.
    let sink = "collection: r_other, metric: L2, load: true, index: {type: HNSW, params: {M: 16, efConstruction: 200}}";
    let other = job(&jobs, "a.h5", sink, "");
    let words = ["r_other", "H2M.yaml.ckpt", "--again"];
    jobs.run("hdf5_to_milvus", &other).code(2).says(&words);
    assert!(!jobs.path("hdf5_to_milvus.yaml.ckpt").exists());
    // Not even where the log was lost.
    std::fs::remove_file(jobs.path("H2M.yaml.ckpt")).unwrap();
    jobs.run("H2M", &classic(&jobs, "a.h5", "r_other"))
        .code(2)
        .says(&words);
    check_rows("r_other", 1000);
    // A collection that was made anew is another one.
    pymilvus("r_other", "c.drop()");
    jobs.run("hdf5_to_milvus", &other).code(0);
    // Once loaded, keys are looked up, whichever program wrote them.
    std::fs::remove_dir_all(jobs.path("state")).unwrap();
    jobs.run("again", &classic(&jobs, "a.h5", "r_other"))
        .code(2)
        .says(&["of 256 keys", "r_other already: 0, ", "existing: upsert"]);
    check_rows("r_other", 1000);
}

#[test]
fn a_finished_job_that_differs_is_refused_and_its_log_stays() {
    let jobs = Jobs::new();
    h5(&jobs, "a.h5", 500, Some(0));
    h5(&jobs, "b.h5", 501, Some(10_000));
    let first = job(&jobs, "a.h5", "collection: r_differs, metric: L2", "");
    jobs.run("job", &first).code(0);
    let log = std::fs::read(jobs.path("job.yaml.ckpt")).unwrap();
    let check = |job: &str, words: &[&str]| {
        jobs.run("job", job).code(2).says(&["--again"]).says(words);
        assert_eq!(std::fs::read(jobs.path("job.yaml.ckpt")).unwrap(), log);
        assert!(!jobs.path("job.yaml.ckpt.old").exists());
        check_rows("r_differs", 500);
    };
    check(&first.replace("a.h5", "b.h5"), &["a.h5", "501 rows"]);
    check(&first.replace("L2", "IP"), &["metric: was L2, is IP"]);
    h5(&jobs, "a.h5", 499, Some(0));
    check(&first, &["499 rows"]);
    // Another folder's job of the same name, given from here, does not touch it either.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(
        other.path().join("job.yaml"),
        "source: {faiss: {path: none}}\n",
    )
    .unwrap();
    let arguments = ["run", other.path().join("job.yaml").to_str().unwrap()].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_eq!(jobs.milvusdm(&arguments).status.code(), Some(2));
    assert_eq!(std::fs::read(jobs.path("job.yaml.ckpt")).unwrap(), log);

    run_in(&jobs, jobs.0.path(), "job", &["--again"])
        .code(0)
        .says(&["499 rows", "put aside"]);
    assert!(jobs.path("job.yaml.ckpt.old").exists());
    check_rows("r_differs", 999);
}

#[test]
fn row_numbers_do_not_meet_those_of_others() {
    let jobs = Jobs::new();
    h5(&jobs, "a.h5", 100, None);
    h5(&jobs, "b.h5", 101, None);
    for (name, sink) in [
        (
            "r_numbers",
            "collection: r_numbers, metric: L2, index: {type: FLAT}, load: true",
        ),
        ("r_unloaded", "collection: r_unloaded"),
    ] {
        jobs.run(&format!("{name}_a"), &job(&jobs, "a.h5", sink, ""))
            .code(0);
        let second = job(&jobs, "b.h5", sink, "");
        let words = ["already has 100 rows", "first_id: 100"];
        jobs.run(&format!("{name}_b"), &second).code(2).says(&words);
        assert!(!jobs.path(&format!("{name}_b.yaml.ckpt")).exists());
        let plan = jobs.milvusdm(&["plan", &format!("{name}_b.yaml")]);
        assert_eq!(plan.status.code(), Some(2), "{plan:?}");
        let moved = second.replace("{paths:", "{first_id: 100, paths:");
        jobs.run(&format!("{name}_b"), &moved).code(0);
        check_rows(name, 201);
    }
    let there = pymilvus(
        "r_numbers",
        "print(len(c.query('id >= 100', output_fields=['id'], consistency_level='Strong')))",
    );
    assert_eq!(there, "101");
}

#[test]
fn keys_that_are_there_are_found_before_the_first_row() {
    let jobs = Jobs::new();
    h5(&jobs, "a.h5", 3000, Some(0));
    h5(&jobs, "b.h5", 2000, Some(1000));
    h5(&jobs, "c.h5", 1000, Some(90_000));
    let sink = "collection: r_keys, metric: L2, index: {type: FLAT}, load: true";
    jobs.run("a", &job(&jobs, "a.h5", sink, "")).code(0);
    let refused = jobs.run("b", &job(&jobs, "b.h5", sink, "")).code(2);
    refused.says(&["of 256 keys", "r_keys already: 1000, ", "existing: keep"]);
    jobs.run("c", &job(&jobs, "c.h5", sink, "")).code(0);
    let count =
        "print(c.query('', output_fields=['count(*)'], consistency_level='Strong')[0]['count(*)'])";
    assert_eq!(pymilvus("r_keys", count), "4000");

    let upsert = jobs
        .run("b", &job(&jobs, "b.h5", sink, "existing: upsert"))
        .code(0);
    assert_eq!(upsert.report["targets"][0]["upserted"], json!(2000));
    assert!(upsert.report["warnings"].to_string().contains("replaces"));
    assert_eq!(pymilvus("r_keys", count), "4000");

    let kept = jobs
        .run("b2", &job(&jobs, "b.h5", sink, "existing: keep"))
        .code(0);
    assert!(kept.report["warnings"].to_string().contains("there twice"));
    assert_eq!(pymilvus("r_keys", count), "6000");
}

#[test]
fn overwriting_says_what_goes_and_an_empty_source_replaces_nothing() {
    let jobs = Jobs::new();
    h5(&jobs, "a.h5", 200, Some(0));
    h5(&jobs, "b.h5", 150, Some(0));
    h5(&jobs, "none.h5", 0, Some(0));
    let sink = |mode: &str| format!("collection: r_over, mode: {mode}");
    jobs.run("a", &job(&jobs, "a.h5", &sink("append"), ""))
        .code(0);
    let empty = job(&jobs, "none.h5", &sink("overwrite"), "");
    let words = ["none.h5", "200 rows (statistics)", "allow_empty: true"];
    jobs.run("none", &empty).code(2).says(&words);
    check_rows("r_over", 200);

    let over = job(&jobs, "b.h5", &sink("overwrite"), "");
    std::fs::write(jobs.path("b.yaml"), &over).unwrap();
    let plan = jobs.milvusdm(&["plan", "b.yaml"]);
    let said = String::from_utf8(plan.stdout).unwrap();
    assert!(
        said.contains("with 200 rows (statistics), which are deleted"),
        "{said}"
    );
    let ended = jobs.run("b", &over).code(0);
    let target = &ended.report["targets"][0];
    assert_eq!(target["rows_removed"], json!(200));
    assert_eq!(target["removed_rests_on"], json!("statistics"));
    check_rows("r_over", 150);

    let allowed = empty.replace("run: {", "run: {allow_empty: true");
    jobs.run("none", &allowed).code(0);
    check_rows("r_over", 0);
}

#[test]
fn a_run_with_nothing_to_do_tells_what_was_done_and_does_what_the_job_wants_by_now() {
    let jobs = Jobs::new();
    h5(&jobs, "a.h5", 300, Some(0));
    let first = job(&jobs, "a.h5", "collection: r_done, metric: L2", "");
    let done = jobs.run("job", &first).code(0);
    let again = jobs.run("job", &first).code(0);
    assert_eq!(again.report["state"], json!("done before"));
    for key in ["delivered", "bytes", "digest", "action", "rows_read"] {
        let (was, is) = (
            &done.report["targets"][0][key],
            &again.report["targets"][0][key],
        );
        assert_eq!(was, is, "{key}");
        assert!(!was.is_null(), "{key}");
    }
    assert_eq!(done.report["digest"], again.report["digest"]);
    let history = again.report["history"].as_array().unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0]["outcome"], json!("done"));

    let loaded = first.replace("metric: L2", "metric: L2, index: {type: FLAT}, load: true");
    jobs.run("job", &loaded)
        .code(0)
        .says(&["r_done: indexing", "loading", "300 rows delivered"]);
    let state = pymilvus(
        "r_done",
        "print(c.indexes[0].params['index_type'], utility.load_state('r_done'))",
    );
    assert_eq!(state, "FLAT Loaded");
    jobs.run("job", &loaded).code(0).says(&["nothing to do"]);
    // Another index than the one that is there is no such thing: it is said, and not passed over.
    let other = loaded.replace("{type: FLAT}", "{type: IVF_FLAT, params: {nlist: 8}}");
    let differs = [
        "has an index FLAT with metric L2 on `embedding`, but the job wants IVF_FLAT with metric L2",
    ];
    jobs.run("job", &other).code(5).says(&differs);
    let planned = jobs.milvusdm(&["plan", "job.yaml"]);
    assert_eq!(planned.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&planned.stderr).contains(differs[0]));
    let measured = loaded.replace("metric: L2", "metric: IP");
    jobs.run("job", &measured).says(&["with metric IP"]);
    jobs.run("job", &loaded).code(0).says(&["nothing to do"]);
    check_rows("r_done", 300);
}

/// Has pymilvus tell how a collection is found.
fn found(name: &str) -> String {
    pymilvus(
        name,
        "print(sorted(i.index_name for i in c.indexes), utility.load_state(sys.argv[2]))",
    )
}

#[test]
fn verify_loads_compares_and_leaves_a_collection_as_it_was() {
    let jobs = Jobs::new();
    h5(&jobs, "a.h5", 1500, Some(0));
    for (name, sink) in [
        ("r_bare", "collection: r_bare, metric: IP"),
        (
            "r_indexed",
            "collection: r_indexed, metric: L2, index: {type: IVF_FLAT, params: {nlist: 8}}",
        ),
        ("r_part", "collection: r_part, partition: one"),
    ] {
        jobs.run(name, &job(&jobs, "a.h5", sink, "")).code(0);
        let before = found(name);
        let file = format!("{name}.yaml");
        let verify = |more: &[&str]| {
            let output = jobs.milvusdm(&[&["verify", &file, "--json"], more].concat());
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            (output.status.code(), report)
        };
        let (code, report) = verify(&[]);
        assert_ne!(code, Some(0), "{report}");
        let said = report["error"].to_string();
        assert!(
            said.contains("verify --load") && !said.contains("--again"),
            "{said}"
        );
        let (code, report) = verify(&["--load"]);
        assert_eq!(code, Some(0), "{report:#}");
        let content = &report["targets"][0]["content"];
        assert_eq!(content["rows_compared"], json!(1500));
        assert_eq!(content["rows_differing"], json!(0));
        assert_eq!(found(name), before);
        // And a difference is found, which adds up.
        let twice = "import random\nrows = [[i for i in range(1500)], [[0.5] * 8] * 1500]\n\
                     c.insert(rows, partition_name='one' if c.has_partition('one') else None)\n\
                     c.insert(rows, partition_name='one' if c.has_partition('one') else None); c.flush()";
        pymilvus(name, twice);
        let (code, report) = verify(&["--load"]);
        assert_eq!(code, Some(5), "{report:#}");
        let content = &report["targets"][0]["content"];
        assert_eq!(content["rows_compared"], json!(1500));
        assert_eq!(content["rows_differing"], json!(1500));
        let said = report["error"].to_string();
        assert!(
            !said.contains("--again") && !said.contains("overwrite"),
            "{said}"
        );
        assert_eq!(found(name), before);
    }
}

#[test]
fn of_ids_that_repeat_the_last_row_travels_where_that_is_asked_for() {
    let jobs = Jobs::new();
    let script = "import sys, h5py, numpy as np\nwith h5py.File(sys.argv[1], 'w') as f:\n  f['embeddings'] = \
                  np.repeat(np.arange(3000, dtype='f4'), 8).reshape(3000, 8)\n  f['ids'] = np.arange(3000, dtype='i8') % 2000";
    migration::check_installed();
    run_python(script, &[jobs.path("a.h5").to_str().unwrap()]);
    let sink = "collection: r_last, metric: L2, index: {type: FLAT}, load: true";
    let run = "batch: 16KiB, verify: full";
    let refused = jobs.run("last", &job(&jobs, "a.h5", sink, run)).code(3);
    refused.says(&["1000 rows", "id_collision: last"]);
    let last = job(&jobs, "a.h5", sink, &format!("{run}, id_collision: last"));
    let ended = jobs
        .run("last", &last)
        .code(0)
        .says(&["1000 rows are not migrated"]);
    let target = &ended.report["targets"][0];
    assert_eq!(target["delivered"], json!(2000));
    assert_eq!(target["left_out"], json!(1000));
    let rows = pymilvus(
        "r_last",
        "r = c.query('id in [0, 999, 1000, 1999]', output_fields=['id', 'embedding'], consistency_level='Strong')\n\
         print(sorted((x['id'], int(x['embedding'][0])) for x in r), c.query('', output_fields=['count(*)'])[0]['count(*)'])",
    );
    assert_eq!(
        rows,
        "[(0, 2000), (999, 2999), (1000, 1000), (1999, 1999)] 2000"
    );
    jobs.run("last", &last).code(0).says(&["nothing to do"]);
    let verified = jobs.milvusdm(&["verify", "last.yaml"]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}
