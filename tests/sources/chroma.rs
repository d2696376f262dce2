//! Chroma as a source: a real server of today, its directory, and what a front makes of it: the API of 0.4, logins, errors.

#![cfg(feature = "chroma")]

use crate::support::{self, arrived, away, chroma, killed, migration, new_job};

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use arrived::{Rows, in_milvus, in_parquet, same};
use away::{Line, goes_away_and_comes_back};
use chroma::Running;
use killed::killed_four_times;
use migration::Jobs;
use new_job::into_both;
use serde_json::Value;
use support::{Engine, Server};

/// The rows of a collection as they should arrive.
fn rows(server: &Running, name: &str) -> Rows {
    serde_json::from_str(&chroma::script(&["dump", &server.address, name])).unwrap()
}

/// The same but for the last bits of vectors.
#[track_caller]
fn nearly(found: &Rows, expected: &Rows) {
    assert_eq!(found.len(), expected.len());
    for (key, row) in expected {
        assert_eq!(found[key]["payload"], row["payload"], "{key}");
        let floats = |row: &Value| -> Vec<f64> {
            let all = row["embedding"].as_array().unwrap().iter();
            all.map(|float| float.as_f64().unwrap()).collect()
        };
        let pairs = floats(&found[key]).into_iter().zip(floats(row));
        for (one, two) in pairs {
            assert!((one - two).abs() <= 3e-7 * two.abs(), "{key}: {one} {two}");
        }
    }
}

fn source(address: &str, more: &str) -> String {
    format!("source: {{chroma: {{address: '{address}', {more}}}}}\n")
}

fn to_parquet(dir: &Path) -> String {
    format!("sink: {{parquet: {{dir: '{}'}}}}\n", dir.display())
}

#[test]
fn every_cell_of_every_collection_arrives_in_parquet() {
    let (server, jobs) = (chroma::shared(), Jobs::new());
    for name in ["every", "cosine", "inner.product-1", "emptied", "many"] {
        let dir = jobs.path(name);
        // A page of more rows than a statement of the server's has variables for.
        let more = match name {
            "many" => ", page: 32000",
            _ => "",
        };
        let job = source(&server.address, &format!("collections: [{name}]{more}"))
            + &to_parquet(&dir)
            + "run: {verify: full}\n";
        let ended = jobs.run(name, &job).code(0);
        assert_eq!(ended.report["snapshot"], "live", "{name}");
        let expected = rows(server, name);
        assert_eq!(ended.report["targets"][0]["delivered"], expected.len());
        match name {
            "emptied" => assert!(expected.is_empty()),
            _ => same(&in_parquet(&dir), &expected),
        }
    }
    // Nobody knows what to make for one that never had a row.
    let job =
        source(&server.address, "collections: [never, inner*]") + &to_parquet(&jobs.path("n"));
    let ended = jobs.run("never", &job).code(0);
    ended.says(&["never: it never had a row"]);
}

#[test]
fn rows_go_to_real_servers_as_they_were() {
    let (server, jobs) = (chroma::shared(), Jobs::new());
    let lite = Server::shared(Engine::LitePython);
    let lite_python = support::test_env().join("lite/venv-py/bin/python");
    let standalone = migration::server();
    for (to, python) in [(standalone, support::python()), (lite, lite_python)] {
        let sink = format!(
            "sink: {{milvus: {{address: '{}', index: source, load: true}}}}\n",
            to.address()
        );
        let job = source(&server.address, "collections: [every, cosine, emptied]") + &sink;
        let ended = jobs.run(&format!("to_{}", to.address()), &job).code(0);
        ended.says(&["read live", "may differ from what was sent in the last bit"]);
        for name in ["every", "cosine"] {
            same(&in_milvus(&python, to, name), &rows(server, name));
        }
        assert!(in_milvus(&python, to, "emptied").is_empty());
    }
}

#[test]
fn a_directory_is_read_as_its_server_would() {
    let jobs = Jobs::new();
    let directory = jobs.path("data");
    let server = Running::serve(&directory);
    chroma::script(&["keep", &server.address]);
    let expected = ["kept", "unit", "short"].map(|name| (name, rows(&server, name)));
    drop(server);
    for (name, expected) in &expected {
        for access in ["map", "read"] {
            let dir = jobs.path(&format!("{name}_{access}"));
            let job = format!(
                "source: {{chroma: {{path: '{}', collections: [{name}], access: {access}}}}}\n{}run: {{verify: full}}\n",
                directory.display(),
                to_parquet(&dir)
            );
            let ended = jobs.run(&format!("{name}_{access}"), &job).code(0);
            assert!(ended.report["snapshot"].is_null(), "{}", ended.said);
            match *name {
                // What is in the log only comes as it was sent, and not as a server keeps it.
                "unit" => nearly(&in_parquet(&dir), expected),
                _ => same(&in_parquet(&dir), expected),
            }
        }
    }
    let plan = |more: &str| {
        let text = format!(
            "source: {{chroma: {{path: '{}', {more}}}}}\n{}",
            directory.display(),
            to_parquet(&jobs.path("out"))
        );
        std::fs::write(jobs.path("plan.yaml"), text).unwrap();
        let output = jobs.milvusdm(&["plan", "plan.yaml"]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = plan("");
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "never: it never had a row",
        "document: {type: varchar",
        "tags: {type: array<varchar>",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    for (more, code, part) in [
        ("collections: [kepd]", 2, "no collection is called `kepd`"),
        ("database: other", 2, "has no database `other`"),
    ] {
        let (found, said) = plan(more);
        assert_eq!(found, Some(code), "{said}");
        assert!(said.contains(part), "{said}");
    }
    let inspected = jobs.milvusdm(&["inspect", directory.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&inspected.stderr).into_owned();
    assert_eq!(inspected.status.code(), Some(3), "{said}");
    assert!(said.contains("`chroma: {path: …}`"), "{said}");
    // An index whose file is gone or short is named.
    let mut indexes = Vec::new();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let file = entry.unwrap().path().join("data_level0.bin");
        if file.with_file_name("index_metadata.pickle").exists() {
            indexes.push(file);
        }
    }
    assert!(!indexes.is_empty(), "no index was written");
    for file in &indexes {
        let whole = std::fs::read(file).unwrap();
        std::fs::write(file, &whole[..whole.len() - 1]).unwrap();
    }
    let (code, said) = plan("");
    assert!(
        code == Some(3) && said.contains("data_level0.bin"),
        "{said}"
    );
}

#[test]
fn a_new_job_runs_once_its_marked_lines_are_edited() {
    let jobs = Jobs::new();
    let directory = jobs.path("store");
    chroma::script(&["small", directory.to_str().unwrap(), "25", "4"]);
    let server = Running::serve(&directory);
    let lite = Server::shared(Engine::LitePython);
    let edits = [("address", server.address.as_str())];
    let rows = into_both(&jobs.path("."), "chroma", &edits, &lite.address());
    assert_eq!(rows, [25, 25]);
}

#[test]
fn an_address_is_inspected() {
    let (server, jobs) = (chroma::shared(), Jobs::new());
    let inspect = |address: &str| {
        let output = jobs.milvusdm(&["inspect", "--json", address]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Value = serde_json::from_str(&said).unwrap_or_default();
        (output.status.code(), found)
    };
    let (code, found) = inspect(&server.address);
    assert_eq!((code, &found["source"]), (Some(0), &"chroma".into()));
    let named = |name: &str| {
        let all = found["collections"].as_array().unwrap();
        all.iter().find(|c| c["name"] == name).unwrap().clone()
    };
    assert_eq!(named("many")["rows"], 33_000);
    assert!(
        named("cosine")["columns"]
            .as_str()
            .unwrap()
            .contains("embedding")
    );
    let front = Running::start(&["front", &server.address, "--token", "right"]);
    assert_eq!(inspect(&front.address).0, Some(5));
    drop(front);
    assert_eq!(inspect("127.0.0.1:1").0, Some(5));
}

#[test]
fn a_server_of_the_first_api_is_read_and_one_that_mixes_vectors_up_is_not() {
    let (server, jobs) = (chroma::shared(), Jobs::new());
    let front = Running::start(&["front", &server.address, "--v1"]);
    for name in ["every", "cosine"] {
        let dir = jobs.path(name);
        let job = source(&front.address, &format!("collections: [{name}]")) + &to_parquet(&dir);
        jobs.run(name, &job).code(0);
        same(&in_parquet(&dir), &rows(server, name));
    }
    let front = Running::start(&["front", &server.address, "--v1", "--mix"]);
    let job = source(&front.address, "collections: [every]") + &to_parquet(&jobs.path("out"));
    jobs.run("mixed", &job)
        .code(3)
        .says(&["in a list than on its own"]);
}

#[test]
fn what_goes_wrong_is_one_sentence_with_its_exit_code() {
    let (server, jobs) = (chroma::shared(), Jobs::new());
    let to = to_parquet(&jobs.path("out")) + "run: {patience: 1s}\n";
    let run =
        |name: &str, address: &str, more: &str| jobs.run(name, &(source(address, more) + &to));
    run("missing", &server.address, "collections: [evry]")
        .code(2)
        .says(&["no collection is called `evry`", "every"]);
    run("tenant", &server.address, "tenant: nobody")
        .code(2)
        .says(&["there is no such database", "default_database"]);
    run("twice", &server.address, "collections: [named]")
        .code(3)
        .says(&[
            "row \"a\" has metadata `document`",
            "`document:` and `uri:`",
        ]);
    run(
        "named",
        &server.address,
        "collections: [named], document: text",
    )
    .code(0);
    let front = Running::start(&["front", &server.address, "--token", "right"]);
    let ended = run(
        "password",
        &front.address,
        "token: hunter2, collections: [cosine]",
    )
    .code(5);
    assert!(!ended.said.contains("hunter2"), "{}", ended.said);
    ended.says(&["refused the login", "Unauthorized"]);
    run(
        "login",
        &front.address,
        "token: right, collections: [emptied]",
    )
    .code(0);
    // An error now and then is waited for.
    let front = Running::start(&["front", &server.address, "--fail", "7"]);
    let job = source(&front.address, "collections: [every], page: 100")
        + &to_parquet(&jobs.path("failing"));
    jobs.run("failing", &job).code(0);
    same(&in_parquet(&jobs.path("failing")), &rows(server, "every"));
    // A server that goes away in the middle.
    let front = Running::start(&["front", &server.address, "--die", "6"]);
    run("away", &front.address, "collections: [every], page: 100")
        .code(5)
        .says(&["cannot be reached"]);
    run("gone", &front.address, "collections: [every]")
        .code(5)
        .says(&["cannot be reached"]);
    let milvus = Server::shared(Engine::LitePython);
    run("other", &format!("http://{}", milvus.address()), "").code(5);
}

#[test]
fn a_line_that_breaks_ends_the_run_once_patience_ends_and_the_same_command_goes_on() {
    let (server, jobs) = (chroma::shared(), Jobs::new());
    let lite = Server::shared(Engine::LitePython);
    let python = support::test_env().join("lite/venv-py/bin/python");
    let mut line = Line::to(&server.address);
    let text = source(&line.address(), "collections: [every], page: 100")
        + &format!(
            "sink: {{milvus: {{address: '{}', collection: line}}}}\n",
            lite.address()
        )
        + "run: {batch: 4KiB}\n";
    goes_away_and_comes_back(&jobs, "line", &mut line, &text, 400);
    same(&in_milvus(&python, lite, "line"), &rows(server, "every"));
}

#[test]
fn rows_that_nobody_touches_arrive_once_while_others_come_and_go_and_the_program_is_killed() {
    let (server, jobs) = (chroma::shared(), Jobs::new());
    let milvus = migration::server();
    let expected = rows(server, "moving");
    let mut writer = Command::new(chroma::python())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/chroma.py"
        ))
        .args(["write", &server.address, "moving"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let said = writer.stdout.as_mut().unwrap();
    BufReader::new(said).read_line(&mut line).unwrap();
    let text = source(&server.address, "collections: [moving], page: 300")
        + &format!("sink: {{milvus: {{address: '{}'}}}}\n", milvus.address())
        + "run: {batch: 16KiB}\n";
    let ended = killed_four_times(&jobs, "moving", &text, 1000);
    writer.kill().unwrap();
    writer.wait().unwrap();
    // Rows that were sent again and are gone since prove nothing either way.
    assert!(matches!(ended.code, Some(0 | 7)), "{}", ended.said);
    let found = in_milvus(&support::python(), milvus, "moving");
    let kept = expected.iter().filter(|(key, _)| key.starts_with("keep-"));
    for (key, row) in kept {
        assert_eq!(found.get(key), Some(row), "{key}");
    }
}
