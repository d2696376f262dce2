//! Qdrant as a source. No Qdrant can be had here: its calls are answered by a stand-in written from its messages
//! (tests/support/fake_qdrant.py). What arrives is read by others, and compared cell by cell.

#![cfg(feature = "qdrant")]

use crate::support::{self, arrived, away, killed, migration, new_job, qdrant as stand_in};

use std::process::Command;

use arrived::{Rows, in_milvus, in_parquet, same};
use away::{Line, goes_away_and_comes_back};
use killed::killed_four_times;
use migration::{Jobs, support_script};
use new_job::into_both;
use serde_json::json;
use stand_in::Fake;
use support::{Engine, Server};

/// The points of a collection as they should arrive.
fn points(name: &str) -> Rows {
    let text = support_script("fake_qdrant.py", &["points", name]);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_cell_of_every_collection_arrives_in_parquet() {
    let (fake, jobs) = (Fake::shared(), Jobs::new());
    for name in ["plain", "mixed", "now", "full", "wide", "parts"] {
        let dir = jobs.path(name);
        let job = format!(
            "{}sink: {{parquet: {{dir: '{}'}}}}\nrun: {{verify: full, batch: 64KiB}}\n",
            fake.source(&format!("collections: [{name}]")),
            dir.display()
        );
        let ended = jobs.run(name, &job).code(0);
        assert_eq!(ended.report["snapshot"], "live", "{name}");
        same(&in_parquet(&dir), &points(name));
    }
    // The stand-in deletes a point of this one between two looks: the files hold the others, and say how many.
    let job = format!(
        "{}sink: {{parquet: {{dir: '{}'}}}}\nrun: {{batch: 64KiB}}\n",
        fake.source("collections: [many]"),
        jobs.path("many").display()
    );
    let ended = jobs.run("many", &job).code(0);
    let ended = ended.says(&["1 points were deleted while they were read"]);
    let there = in_parquet(&jobs.path("many").join("many/_default"));
    let all = points("many");
    assert!(there.iter().all(|(key, row)| all.get(key) == Some(row)));
    assert_eq!(there.len(), all.len() - 1);
    assert_eq!(ended.report["targets"][0]["delivered"], there.len());
}

#[test]
fn points_go_to_real_servers_as_they_were() {
    let (fake, jobs) = (Fake::shared(), Jobs::new());
    let lite = Server::shared(Engine::LitePython);
    let lite_python = support::test_env().join("lite/venv-py/bin/python");
    let to_lite = format!("sink: {{milvus: {{address: '{}'}}}}\n", lite.address());
    let job = fake.source("collections: [today]") + &to_lite;
    let ended = jobs.run("full", &job).code(0);
    ended.says(&["searched by cosine", "read live"]);
    same(&in_milvus(&lite_python, lite, "full"), &points("full"));
    let standalone = migration::server();
    let to = format!(
        "sink: {{milvus: {{address: '{}', index: source, load: true}}}}\n",
        standalone.address()
    );
    let job = fake.source("collections: [plain, wide, parts, empty]") + &to;
    jobs.run("standalone", &job).code(0);
    for name in ["plain", "wide", "parts", "empty"] {
        same(
            &in_milvus(&support::python(), standalone, name),
            &points(name),
        );
    }
    // Rows without a vector are no rows of Milvus: refused by id, or left out and counted.
    let job = fake.source("collections: [now]")
        + &to_lite
        + "fields: {columns: {words: false, tokens: false}}\n";
    jobs.run("refused", &job)
        .code(3)
        .says(&["`a` has no value", "run.misfit: skip"]);
    let job = job.replace("[now]", "[mixed]") + "run: {misfit: skip}\n";
    let ended = jobs.run("skipped", &job).code(0);
    let expected: Rows = (points("mixed").into_iter())
        .filter(|(_, row)| !row["a"].is_null())
        .map(|(key, row)| (key, json!({"a": row["a"], "payload": row["payload"]})))
        .collect();
    let left_out = points("mixed").len() - expected.len();
    assert_eq!(ended.report["targets"][0]["left_out"], left_out);
    same(&in_milvus(&lite_python, lite, "mixed"), &expected);
}

#[test]
fn a_run_that_is_killed_goes_on_while_others_write() {
    let (fake, jobs) = (Fake::start(None), Jobs::new());
    let lite = Server::shared(Engine::LitePython);
    let job = format!(
        "{}sink: {{milvus: {{address: '{}'}}}}\nrun: {{batch: 4KiB}}\n",
        fake.source("collections: [moving], page: 50"),
        lite.address()
    );
    let ended = killed_four_times(&jobs, "moving", &job, 500);
    // Rows that were sent again and are gone since prove nothing either way.
    assert!(matches!(ended.code, Some(0 | 7)), "{}", ended.said);
    let python = support::test_env().join("lite/venv-py/bin/python");
    let found = in_milvus(&python, lite, "moving");
    for (key, row) in points("moving") {
        if key.parse::<u64>().unwrap() % 3 == 0 {
            assert_eq!(found.get(&key), Some(&row), "{key}");
        }
    }
    drop(fake);
}

#[test]
fn a_line_that_breaks_ends_the_run_once_patience_ends_and_the_same_command_goes_on() {
    let (fake, jobs) = (Fake::shared(), Jobs::new());
    let lite = Server::shared(Engine::LitePython);
    let python = support::test_env().join("lite/venv-py/bin/python");
    let mut line = Line::to(&fake.address);
    let text = format!(
        "source: {{qdrant: {{address: '{}', collections: [plain], page: 20}}}}\n\
         sink: {{milvus: {{address: '{}', collection: line}}}}\nrun: {{batch: 4KiB}}\n",
        line.address(),
        lite.address()
    );
    goes_away_and_comes_back(&jobs, "line", &mut line, &text, 150);
    same(&in_milvus(&python, lite, "line"), &points("plain"));
}

#[test]
fn what_is_wrong_is_one_sentence_with_its_exit_code() {
    let (fake, jobs) = (Fake::start(Some("right key")), Jobs::new());
    let out = jobs.path("out");
    let job = |more: &str| {
        let sink = format!("sink: {{parquet: {{dir: '{}'}}}}\n", out.display());
        fake.source(more) + &sink + "run: {patience: 1s}\n"
    };
    let run = |name: &str, more: &str| jobs.run(name, &job(more));
    run("no_key", "collections: [plain]")
        .code(5)
        .says(&["api_key"]);
    let ended = run("wrong", "api_key: hunter2, collections: [plain]").code(5);
    assert!(!ended.said.contains("hunter2"), "{}", ended.said);
    let key = "api_key: 'right key'";
    run("missing", &format!("{key}, collections: [plane]"))
        .code(2)
        .says(&["no collection is called `plane`", "plain"]);
    run("empty", &format!("{key}, collections: [empty]")).code(0);
    let log = std::fs::read_to_string(jobs.path("empty.yaml.ckpt")).unwrap();
    assert!(!log.contains("right key"), "{log}");
    let gone = job(&format!("{key}, collections: [plain]"));
    drop(fake);
    jobs.run("gone", &gone).code(5).says(&["cannot be reached"]);
}

#[test]
fn a_new_job_runs_once_its_marked_lines_are_edited() {
    let (fake, jobs) = (Fake::of("still"), Jobs::new());
    let lite = Server::shared(Engine::LitePython);
    let edits = [("address", fake.address.as_str())];
    let rows = into_both(&jobs.path("."), "qdrant", &edits, &lite.address());
    assert_eq!(rows, [40, 40]);
}

#[test]
fn the_stand_in_answers_as_the_engine_of_qdrant_does() {
    let python = support::test_env().join("qdrant/bin/python");
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/support/qdrant_engine.py"
    );
    let output = Command::new(python).arg(script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let pages = String::from_utf8_lossy(&output.stdout);
    assert!(pages.trim().parse::<u32>().unwrap() > 200, "{pages}");
}
