//! What must not get into a server: each of many bad files is refused with its reason, while the server goes on, and holds
//! no row of the batch.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::migration::Jobs;
use super::support::{Engine, Server, python, test_env};

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/bad_rows.py")
}

/// Asks the server with pymilvus how many rows a collection has, as often as is wanted.
struct Watcher {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Watcher {
    fn new(server: &Server) -> Watcher {
        let mut child = Command::new(python())
            .arg(script())
            .args(["watch", &server.address()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Watcher { child, answers }
    }

    fn rows(&mut self, collection: &str) -> u64 {
        let asked = self.child.stdin.as_mut().unwrap();
        writeln!(asked, "{collection}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let count = answer.trim().parse();
        count.unwrap_or_else(|_| panic!("the server does not answer: {answer}"))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_goes_on_after_each_bad_file_and_has_none_of_its_rows() {
    let (server, jobs) = (Server::shared(Engine::Standalone), Jobs::new());
    let made = Command::new(test_env().join("tables/bin/python"))
        .arg(script())
        .arg("make")
        .arg(jobs.0.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{said}");
    let cases: Vec<Value> = serde_json::from_slice(&made.stdout).unwrap();
    assert!(cases.len() > 50, "{}", cases.len());
    let mut watcher = None;
    let (mut rows, mut wrong) = (0, Vec::new());
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let job = json!({
            "source": {"parquet": {"path": format!("{name}.parquet"), "id": case["id"], "types": case["types"]}},
            "sink": {"milvus": {"address": server.address(), "collection": "bad_rows", "load": true}},
            "fields": {"id": {"name": "pk", "type": "varchar", "max_length": 64}, "columns": case["columns"], "rest": "dynamic"},
        });
        let mut job = job;
        if name == "keys_of_numbers" {
            job["fields"]["id"] = "pk".into();
        }
        let ended = jobs.run(name, &job.to_string());
        let missing = case["says"].as_array().unwrap().iter();
        let missing: Vec<_> = missing
            .filter(|part| !ended.said.contains(part.as_str().unwrap()))
            .collect();
        let code = ended.code.map(i64::from);
        if code != case["code"].as_i64() || !missing.is_empty() {
            wrong.push(format!(
                "{name}: exit {code:?}, no {missing:?} in\n{}",
                ended.said
            ));
        }
        rows += if case["code"] == 0 { 3 } else { 0 };
        let found = watcher
            .get_or_insert_with(|| Watcher::new(server))
            .rows("bad_rows");
        assert_eq!(found, rows, "after {name}");
    }
    assert_eq!(rows, 6);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
