//! Pinecone as a source. No service of Pinecone's can be had here: its calls are answered by a stand-in written from its API
//! (tests/support/fake_pinecone.py); and directories of Parquet, as it imports them. What arrives is read by others.

#![cfg(feature = "pinecone")]

use crate::support::{self, arrived, away, killed, migration, new_job, pinecone as stand_in};

use std::path::Path;
use std::process::Command;

use arrived::{Rows, in_milvus, in_parquet, same, tables};
use away::{Line, goes_away_and_comes_back};
use killed::killed_four_times;
use migration::{Jobs, support_script};
use new_job::into_both;
use stand_in::Fake;
use support::{Engine, Server};

/// The rows of a namespace as they should arrive.
fn rows(kind: &str, namespace: &str) -> Rows {
    let text = support_script("fake_pinecone.py", &["rows", kind, namespace]);
    serde_json::from_str(&text).unwrap()
}

/// The columns of the files below a directory.
fn column_names(dir: &Path) -> String {
    let script = "import glob, sys; import pyarrow.parquet as pq\n\
        print({tuple(pq.read_schema(f).names) for f in glob.glob(sys.argv[1] + '/**/*.parquet', recursive=True)})";
    let mut python = Command::new(tables());
    let output = python.args(["-c", script]).arg(dir).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn to_parquet(dir: &Path) -> String {
    format!("sink: {{parquet: {{dir: '{}'}}}}\n", dir.display())
}

#[test]
fn every_cell_of_every_namespace_arrives_in_parquet() {
    let jobs = Jobs::new();
    for (kind, namespaces) in [
        ("dense", &["", "spring", "ü b"][..]),
        ("hybrid", &[""]),
        ("sparse", &[""]),
        ("busy", &["", "spring", "ü b"]),
    ] {
        let fake = Fake::start(kind, None);
        let dir = jobs.path(kind);
        let job = fake.source("collection: index") + &to_parquet(&dir) + "run: {verify: full}\n";
        let ended = jobs.run(kind, &job).code(0);
        assert_eq!(ended.report["snapshot"], "live", "{kind}");
        if kind == "dense" {
            ended.says(&["1743 rows will cost about 174 read units"]);
        }
        let mut expected = Rows::new();
        for namespace in namespaces {
            expected.extend(rows(kind, namespace));
        }
        same(&in_parquet(&dir), &expected);
    }
    let fake = Fake::start("dense", None);
    let one = jobs.path("one");
    let job = fake.source("collection: index, namespaces: [spr*]") + &to_parquet(&one);
    jobs.run("one", &job).code(0);
    same(&in_parquet(&one), &rows("dense", "spring"));
    let fake = Fake::start("empty", None);
    let job = fake.source("") + &to_parquet(&jobs.path("empty"));
    let ended = jobs.run("empty", &job).code(0);
    assert_eq!(ended.report["targets"][0]["delivered"], 0);
    // An index without rows is an empty collection.
    let lite = Server::shared(Engine::LitePython);
    let python = support::test_env().join("lite/venv-py/bin/python");
    let job = fake.source("collection: nothing")
        + &format!("sink: {{milvus: {{address: '{}'}}}}\n", lite.address());
    jobs.run("nothing", &job).code(0);
    assert!(in_milvus(&python, lite, "nothing").is_empty());
}

#[test]
fn namespaces_are_partitions_of_real_servers() {
    let jobs = Jobs::new();
    let fake = Fake::start("dense", None);
    let lite = Server::shared(Engine::LitePython);
    let lite_python = support::test_env().join("lite/venv-py/bin/python");
    let standalone = migration::server();
    let mut expected = Rows::new();
    for namespace in ["", "spring", "ü b"] {
        expected.extend(rows("dense", namespace));
    }
    for (to, python) in [(standalone, support::python()), (lite, lite_python.clone())] {
        let sink = format!("sink: {{milvus: {{address: '{}'}}}}\n", to.address());
        let job = fake.source("collection: namespaces") + &sink;
        let ended = jobs.run(&format!("to_{}", to.address()), &job).code(0);
        let delivered = |n: usize| ended.report["targets"][n]["delivered"].as_u64().unwrap();
        assert_eq!((0..3).map(delivered).sum::<u64>(), expected.len() as u64);
        let found = in_milvus(&python, to, "namespaces");
        same(&found, &expected);
    }
    // Rows without sparse values are no rows of a collection that has them: refused by id, or left out and counted.
    let fake = Fake::start("hybrid", None);
    let sink = format!("sink: {{milvus: {{address: '{}'}}}}\n", lite.address());
    let job = fake.source("collection: hybrid") + &sink;
    jobs.run("refused", &job)
        .code(3)
        .says(&["`sparse_values` has no value", "run.misfit: skip"]);
    let job = job.replace("collection: hybrid", "collection: hybrid_2") + "run: {misfit: skip}\n";
    jobs.run("skipped", &job).code(0);
    let expected: Rows = (rows("hybrid", "").into_iter())
        .filter(|(_, row)| !row["sparse_values"].is_null())
        .collect();
    let found = in_milvus(&lite_python, lite, "hybrid_2");
    same(&found, &expected);
}

#[test]
fn a_directory_of_parquet_has_a_namespace_in_each_directory() {
    let jobs = Jobs::new();
    for (kind, namespaces) in [
        ("dense", &["", "spring", "ü b"][..]),
        ("busy", &["", "spring", "ü b"]),
        ("hybrid", &[""]),
    ] {
        let from = jobs.path(&format!("{kind}_export"));
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/fake_pinecone.py"
        );
        let made = Command::new(tables())
            .args([script, "parquet", kind, from.to_str().unwrap()])
            .status();
        assert!(made.unwrap().success());
        let to = jobs.path(kind);
        let job = format!("source: {{pinecone: {{path: '{}'}}}}\n", from.display())
            + &to_parquet(&to)
            + "run: {verify: full}\n";
        let ended = jobs.run(kind, &job).code(0);
        let targets = ended.report["targets"].as_array().unwrap().len();
        assert_eq!(targets, namespaces.len());
        let mut expected = Rows::new();
        for namespace in namespaces {
            expected.extend(rows(kind, namespace));
        }
        same(&in_parquet(&to), &expected);
        // As the service gives them, down to the columns.
        let fake = Fake::start(kind, None);
        let served = jobs.path(&format!("{kind}_served"));
        let job = fake.source("collection: index") + &to_parquet(&served);
        jobs.run(&format!("{kind}_served"), &job).code(0);
        assert_eq!(column_names(&to), column_names(&served), "{kind}");
        let job = format!("source: {{pinecone: {{path: '{}'}}}}\n", from.display())
            + &to_parquet(&jobs.path("planned"));
        std::fs::write(jobs.path("plan.yaml"), job).unwrap();
        let planned = jobs.milvusdm(&["plan", "plan.yaml"]);
        let said = String::from_utf8_lossy(&[planned.stdout, planned.stderr].concat()).into_owned();
        assert!(said.contains("tags: {type: array<varchar>"), "{said}");
    }
    let job = format!(
        "source: {{pinecone: {{path: '{}'}}}}\n",
        jobs.path("nothing").display()
    ) + &to_parquet(&jobs.path("out"));
    std::fs::create_dir(jobs.path("nothing")).unwrap();
    jobs.run("nothing", &job)
        .code(2)
        .says(&["has neither .parquet files"]);
}

#[test]
fn a_new_job_runs_once_its_marked_lines_are_edited() {
    let (fake, jobs) = (Fake::start("still", None), Jobs::new());
    let lite = Server::shared(Engine::LitePython);
    let edits = [("host", fake.address.as_str())];
    let rows = into_both(&jobs.path("."), "pinecone", &edits, &lite.address());
    assert_eq!(rows, [30, 30]);
}

#[test]
fn a_run_that_is_killed_goes_on_while_others_write() {
    let (fake, jobs) = (Fake::start("moving", None), Jobs::new());
    let lite = Server::shared(Engine::LitePython);
    let job = fake.source("collection: moving_pines, page: 20")
        + &format!("sink: {{milvus: {{address: '{}'}}}}\n", lite.address())
        + "run: {batch: 4KiB}\n";
    let ended = killed_four_times(&jobs, "moving", &job, 400);
    // Rows that were sent again and are gone since prove nothing either way.
    assert!(matches!(ended.code, Some(0 | 7)), "{}", ended.said);
    let python = support::test_env().join("lite/venv-py/bin/python");
    let found = in_milvus(&python, lite, "moving_pines");
    let expected = rows("moving", "");
    for (key, row) in expected.iter().filter(|(key, _)| key.starts_with("keep-")) {
        assert_eq!(found.get(key), Some(row), "{key}");
    }
}

#[test]
fn a_line_that_breaks_ends_the_run_once_patience_ends_and_the_same_command_goes_on() {
    let (fake, jobs) = (Fake::start("dense", None), Jobs::new());
    let lite = Server::shared(Engine::LitePython);
    let python = support::test_env().join("lite/venv-py/bin/python");
    let mut line = Line::to(&fake.address);
    let text = format!(
        "source: {{pinecone: {{host: '{}', collection: line, page: 20}}}}\nsink: {{milvus: {{address: '{}'}}}}\n\
         run: {{batch: 4KiB}}\n",
        line.address(),
        lite.address()
    );
    goes_away_and_comes_back(&jobs, "line", &mut line, &text, 300);
    let mut expected = Rows::new();
    for namespace in ["", "spring", "ü b"] {
        expected.extend(rows("dense", namespace));
    }
    same(&in_milvus(&python, lite, "line"), &expected);
}

#[test]
fn what_is_wrong_is_one_sentence_with_its_exit_code() {
    let jobs = Jobs::new();
    let to = to_parquet(&jobs.path("out")) + "run: {patience: 1s}\n";
    let fake = Fake::start("dense", Some("right key"));
    let run = |name: &str, fake: &Fake, more: &str| jobs.run(name, &(fake.source(more) + &to));
    run("no_key", &fake, "").code(5).says(&["Invalid API Key"]);
    let ended = run("wrong", &fake, "api_key: hunter2").code(5);
    assert!(!ended.said.contains("hunter2"), "{}", ended.said);
    run("missing", &fake, "api_key: right key, namespaces: [sprung]")
        .code(2)
        .says(&["no namespace is called `sprung`", "spring"]);
    let gone = fake.source("api_key: right key") + &to;
    drop(fake);
    jobs.run("gone", &gone).code(5).says(&["cannot be reached"]);
    run("pods", &Fake::start("pods", None), "")
        .code(3)
        .says(&["a pod-based index cannot list its ids"]);
    run("mixed", &Fake::start("mixed", None), "")
        .code(5)
        .says(&["which is not byte order"]);
    run("sparse", &Fake::start("hybrid", None), "sparse: no")
        .code(3)
        .says(&["has sparse values", "`sparse: yes`"]);
}
