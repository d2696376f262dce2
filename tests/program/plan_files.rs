//! Which files a job means: globs, the home directory, and what a plan tells of several. No server is needed.

#![allow(clippy::unwrap_used)]

use crate::support::{self, migration};

use std::process::Command;

use migration::{Jobs, flat_index};
use serde_json::Value;
use support::run_python;

/// HDF5 files `p0.h5` to `p{files - 1}.h5` of 10 rows each; ids from `first` downwards by file, or none.
fn h5(jobs: &Jobs, files: u32, first: Option<i64>) {
    let ids = match first {
        Some(first) => format!("f['ids'] = {first} - 100 * p + np.arange(10)"),
        None => "pass".to_owned(),
    };
    migration::check_installed();
    let script = format!(
        "import sys, h5py, numpy as np\nfor p in range({files}):\n  with h5py.File(f'{{sys.argv[1]}}/p{{p}}.h5', 'w') as f:\n    \
         f['embeddings'] = np.full((10, 4), p, 'f4'); {ids}"
    );
    run_python(&script, &[jobs.0.path().to_str().unwrap()]);
}

/// What a command says of a job: exit code, output, and all that was said.
fn told(jobs: &Jobs, job: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    std::fs::write(jobs.path("job.yaml"), job).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_milvusdm"))
        .args(arguments)
        .arg("job.yaml")
        .current_dir(jobs.0.path())
        .env("HOME", jobs.0.path())
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let all = out.clone() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), out, all)
}

fn job(source: &str) -> String {
    format!("source: {{{source}}}\nsink: {{hdf5: {{path: out.h5, mode: overwrite}}}}\n")
}

#[track_caller]
fn plan(jobs: &Jobs, source: &str) -> (String, Value) {
    let (code, text, said) = told(jobs, &job(source), &["plan"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, json, said) = told(jobs, &job(source), &["plan", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    (text, serde_json::from_str(&json).unwrap())
}

#[test]
fn a_plan_lists_files_with_their_rows_and_first_ids_in_their_order() {
    let jobs = Jobs::new();
    h5(&jobs, 30, None);
    let (text, json) = plan(&jobs, "hdf5: {dir: ., first_id: 7}");
    let lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|l| l.contains("30 files in this order"))
        .unwrap();
    let expected: Vec<String> = (0..10)
        .map(|n| format!("./p{n}.h5   10 rows, first id {}", 7 + 10 * n))
        .chain([
            "… 19 more".to_owned(),
            "./p29.h5  10 rows, first id 297".to_owned(),
        ])
        .collect();
    let found: Vec<&str> = lines[at + 1..].iter().take(12).map(|l| l.trim()).collect();
    assert_eq!(found, expected, "{text}");
    let files = &json["targets"][0]["files"];
    assert_eq!(files["count"], 30);
    let listed = files["listed"].as_array().unwrap();
    assert_eq!(listed.len(), 11);
    assert_eq!(
        listed[2],
        serde_json::json!({"path": "./p2.h5", "rows": 10, "first_id": 27})
    );
    assert_eq!(
        listed[10],
        serde_json::json!({"path": "./p29.h5", "rows": 10, "first_id": 297})
    );
    // A run does not repeat it, file by file.
    let (code, _, said) = told(
        &jobs,
        &job("hdf5: {dir: ., first_id: 7}"),
        &["run", "--progress", "none"],
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("p17.h5"), "{said}");
}

#[test]
fn ids_that_are_stored_are_those_of_the_first_rows() {
    let jobs = Jobs::new();
    h5(&jobs, 12, Some(5000));
    let (text, json) = plan(&jobs, "hdf5: {paths: [p11.h5, p2.h5]}");
    assert!(text.contains("p11.h5  10 rows, first id 3900"), "{text}");
    let listed = &json["targets"][0]["files"]["listed"];
    assert_eq!(listed[1]["first_id"], 4800, "{json:#}");
    // All twelve: a line for each is no longer than a line that leaves one out.
    let (text, _) = plan(&jobs, "hdf5: {dir: .}");
    assert!(
        text.contains("p10.h5  10 rows, first id 4000") && !text.contains("more"),
        "{text}"
    );
    // One file is just named.
    let (text, json) = plan(&jobs, "hdf5: {paths: p2.h5}");
    assert!(
        text.contains("from       p2.h5") && !text.contains("first id"),
        "{text}"
    );
    assert_eq!(json["targets"][0]["files"], Value::Null);
}

/// Parquet files `p0.parquet` to `p{files - 1}.parquet` of 10 rows each; ids from `first` downwards by file, or none.
fn parquet(jobs: &Jobs, files: u32, first: Option<i64>) {
    let ids = match first {
        Some(first) => format!("t['id'] = list(range({first} - 100 * p, {first} - 100 * p + 10))"),
        None => "pass".to_owned(),
    };
    let script = format!(
        "import sys, pyarrow as pa, pyarrow.parquet as pq\nfor p in range({files}):\n  \
         t = {{'v': pa.array([[float(p)] * 4] * 10, pa.list_(pa.float32(), 4))}}\n  {ids}\n  \
         pq.write_table(pa.table(t), f'{{sys.argv[1]}}/p{{p}}.parquet')"
    );
    let python = support::test_env().join("tables/bin/python");
    let written = Command::new(python)
        .args(["-c", &script])
        .arg(jobs.0.path())
        .status();
    assert!(written.unwrap().success());
}

#[test]
fn parquet_files_are_listed_as_others_are() {
    let jobs = Jobs::new();
    parquet(&jobs, 12, Some(5000));
    let (text, json) = plan(&jobs, "parquet: {paths: [p11.parquet, p2.parquet]}");
    let line = "p11.parquet  10 rows, first id 3900";
    assert!(text.contains(line), "{text}");
    let listed = &json["targets"][0]["files"]["listed"];
    assert_eq!(listed[1]["first_id"], 4800, "{json:#}");
    let (text, _) = plan(&jobs, "parquet: {dir: .}");
    assert!(text.contains("12 files in this order"), "{text}");
    assert!(
        text.contains("p10.parquet  10 rows, first id 4000"),
        "{text}"
    );

    // Numbered rows go on from file to file, in the order of people.
    let jobs = Jobs::new();
    parquet(&jobs, 12, None);
    let (text, json) = plan(&jobs, "parquet: {dir: ., id: row_number}");
    assert!(text.contains("p2.parquet   10 rows, first id 20"), "{text}");
    let listed = &json["targets"][0]["files"]["listed"];
    assert_eq!(listed[11]["first_id"], 110, "{json:#}");

    // What the sink wrote comes back by its manifest: files are listed before their sums are taken.
    let copy = "source: {parquet: {dir: ., id: row_number}}\nsink: {parquet: {dir: copy, rows_per_file: 50}}\n";
    let (code, _, said) = told(&jobs, copy, &["run", "--progress", "none"]);
    assert_eq!(code, Some(0), "{said}");
    let (text, json) = plan(&jobs, "parquet: {dir: copy}");
    let listed = json["targets"][0]["files"]["listed"].as_array();
    assert_eq!(listed.map(Vec::len), Some(3), "{text}{json:#}");
}

#[test]
fn globs_are_files_where_several_may_stand() {
    let jobs = Jobs::new();
    h5(&jobs, 12, None);
    for n in [10, 2, 1] {
        flat_index(&jobs, &format!("x{n}.index"), 5, 4);
    }
    std::fs::copy(jobs.path("p3.h5"), jobs.path("p[*].h5")).unwrap();
    let path = jobs.0.path().display().to_string();
    for (source, count, first, last) in [
        (
            "hdf5: {paths: ['p?.h5', 'p1?.h5']}".to_owned(),
            12,
            "p0.h5",
            "p11.h5",
        ),
        (
            format!("hdf5: {{paths: '{path}/p1*.h5'}}"),
            3,
            "p1.h5",
            "p11.h5",
        ),
        (
            "hdf5: {paths: [p11.h5, '~/p?.h5']}".to_owned(),
            11,
            "p11.h5",
            "p9.h5",
        ),
        ("hdf5: {glob: '~/p1*.h5'}".to_owned(), 3, "p1.h5", "p11.h5"),
        (
            "faiss: {path: x*.index}".to_owned(),
            3,
            "x1.index",
            "x10.index",
        ),
        // What is called so is meant.
        (
            "hdf5: {paths: ['p[*].h5', p1.h5]}".to_owned(),
            2,
            "p[*].h5",
            "p1.h5",
        ),
    ] {
        let (_, json) = plan(&jobs, &source);
        let files = &json["targets"][0]["files"];
        assert_eq!(files["count"], count, "{source}: {files}");
        let listed = files["listed"].as_array().unwrap();
        let ends = |file: &Value, name: &str| file["path"].as_str().unwrap().ends_with(name);
        assert!(ends(&listed[0], first), "{source}: {files}");
        assert!(ends(listed.last().unwrap(), last), "{source}: {files}");
    }
    let classic = "H2M: {data_path: ['p?.h5'], dest_host: 127.0.0.1, dest_port: 1, dest_collection_name: c, mode: append}\n";
    let (code, _, said) = told(&jobs, classic, &["plan"]);
    assert_eq!(code, Some(5), "{said}");
}

#[test]
fn where_one_path_is_needed_a_glob_is_refused_with_what_to_write() {
    let jobs = Jobs::new();
    h5(&jobs, 2, None);
    let out = "sink: {hdf5: {path: out.h5}}\n";
    for (job, words) in [
        (
            format!("source: {{hdf5: {{dir: 'd*'}}}}\n{out}"),
            "source.hdf5.dir: `d*` stands for several paths",
        ),
        (
            format!("source: {{numpy: {{vectors: '*.npy'}}}}\n{out}"),
            "source.numpy.vectors: `*.npy` stands for several arrays: list each by its full name",
        ),
        (
            format!("source: {{milvus1: {{path: '/var/*'}}}}\n{out}"),
            "source.milvus1.path",
        ),
        (
            format!("source: {{faiss: {{path: a, ids_file: '*.txt'}}}}\n{out}"),
            "source.faiss.ids_file",
        ),
        (
            "source: {hdf5: {paths: p0.h5}}\nsink: {hdf5: {path: 'o?.h5'}}\n".to_owned(),
            "sink.hdf5.path",
        ),
        (
            format!("source: {{hdf5: {{paths: p0.h5}}}}\n{out}run: {{checkpoint: 'c*'}}\n"),
            "run.checkpoint",
        ),
        (
            format!("source: {{hdf5: {{paths: '~root/p0.h5'}}}}\n{out}"),
            "home directory of root",
        ),
        (
            format!("source: {{hdf5: {{paths: 'q*.h5'}}}}\n{out}"),
            "q*.h5: no file matches this glob",
        ),
    ] {
        for command in ["plan", "run"] {
            let (code, _, said) = told(&jobs, &job, &[command]);
            assert_eq!(code, Some(2), "{job}: {said}");
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    assert!(!jobs.path("out.h5").exists() && !jobs.path("o?.h5").exists());
}

#[test]
fn an_index_says_which_ids_repeat_and_that_it_is_empty() {
    let jobs = Jobs::new();
    migration::check_installed();
    let script = "
import sys, faiss, numpy as np
d = sys.argv[1]
x = np.random.RandomState(1).rand(300, 8).astype('f4')
def index(name, make, *adds):
    i = faiss.index_factory(8, make); i.train(x)
    for first, ids in adds: i.add_with_ids(x[first:first + len(ids)], np.array(ids))
    faiss.write_index(i, f'{d}/{name}')
index('once', 'IDMap,Flat', (0, [5, 3, 9]))
index('map', 'IDMap,Flat', (0, [5, 3, 9]), (3, [3, 5, 3, 11]))
index('ivf', 'IVF4,Flat', (0, range(100)), (100, [7]))
index('empty', 'IVF4,Flat')
index('bare', 'Flat')
q = faiss.IndexFlatL2(8)
dedup = faiss.IndexIVFFlatDedup(q, 8, 2); dedup.train(x[:100])
dedup.add_with_ids(np.repeat(x[:10], 2, 0), np.arange(20))
faiss.write_index(dedup, f'{d}/dedup')
";
    run_python(script, &[jobs.0.path().to_str().unwrap()]);
    for (name, repeated, words) in [
        ("once", Some(0), "ids: stored, 3 to 9\n"),
        ("map", Some(2), "ids: stored, 3 to 11; 2 ids repeat"),
        ("ivf", Some(1), "ids: stored, 0 to 99; 1 id repeats"),
        // One row stands for two ids, which are not the same id twice.
        ("dedup", Some(0), "ids: stored, 0 to 19\n"),
        ("empty", None, "it has no rows"),
        ("bare", None, "is it the right file?"),
    ] {
        let output = jobs.milvusdm(&["inspect", name]);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(words), "{name}: {said}");
        let output = jobs.milvusdm(&["inspect", "--json", name]);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["ids"]["repeated"].as_u64(), repeated, "{name}: {told}");
    }
    let (text, _) = plan(&jobs, "faiss: {path: empty}");
    assert!(text.contains("warning: it has no rows"), "{text}");
}
